"""A Llama of 1.1 billion random weights as a GGUF file, out of a seed.

    python llama_model.py q4_k_m|q8_0|q4_0 OUT.gguf

TinyLlama's shape. Blocks are random bytes with a fixed scale: what is measured does not depend on what the weights say. Types
of tensors are those that llama.cpp's quantiser mixes: in Q4_K_M half of the values' and the last projections are Q6_K, and the
head is Q6_K wherever the rest has fewer bits.
"""

import sys

import gguf
import numpy as np

HIDDEN, LAYERS, HEADS, KEY_HEADS, WIDE, VOCABULARY = 2048, 22, 32, 4, 5632, 32000
HEAD = HIDDEN // HEADS
SEED = 20261101
# Of a block: bytes, elements, and where its half-precision scales stand, with what they are. Weights become small enough that
# states neither vanish nor overflow in 22 layers.
BLOCKS = {
    "Q4_0": (18, 32, {0: 2.0**-9}),
    "Q8_0": (34, 32, {0: 2.0**-13}),
    "Q4_K": (144, 256, {0: 2.0**-15, 2: 7.5 * 2.0**-15}),
    "Q6_K": (210, 256, {208: 2.0**-17}),
}


def takes_more_bits(layer):
    eighth = LAYERS // 8
    return layer < eighth or layer >= 7 * LAYERS // 8 or (layer - eighth) % 3 == 2


class Writer:
    def __init__(self, path):
        self.file, self.random = gguf.GGUFWriter(path, "llama"), np.random.default_rng(SEED)
        self.file.add_name("random 1.1B")
        self.file.add_block_count(LAYERS)
        self.file.add_context_length(2048)
        self.file.add_embedding_length(HIDDEN)
        self.file.add_feed_forward_length(WIDE)
        self.file.add_head_count(HEADS)
        self.file.add_head_count_kv(KEY_HEADS)
        self.file.add_layer_norm_rms_eps(1e-5)
        self.file.add_rope_dimension_count(HEAD)
        self.file.add_rope_freq_base(10000.0)
        self.file.add_vocab_size(VOCABULARY)
        self.file.add_tokenizer_model("no_vocab")

    def matrix(self, name, outputs, inputs, kind):
        size, depth, scales = BLOCKS[kind]
        blocks = self.random.integers(0, 256, (outputs * inputs // depth, size), dtype=np.uint8)
        for at, scale in scales.items():
            blocks[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), dtype=np.uint8)
        self.file.add_tensor(name, blocks.reshape(outputs, -1), raw_dtype=gguf.GGMLQuantizationType[kind])

    def norm(self, name):
        self.file.add_tensor(name, np.ones(HIDDEN, dtype=np.float32))

    def close(self):
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()


def main(kind, path):
    base = {"q4_k_m": "Q4_K", "q8_0": "Q8_0", "q4_0": "Q4_0"}[kind]
    writer = Writer(path)
    writer.matrix("token_embd.weight", VOCABULARY, HIDDEN, base)
    writer.norm("output_norm.weight")
    writer.matrix("output.weight", VOCABULARY, HIDDEN, "Q8_0" if kind == "q8_0" else "Q6_K")
    for layer in range(LAYERS):
        more = "Q6_K" if kind == "q4_k_m" and takes_more_bits(layer) else base
        name = lambda part: f"blk.{layer}.{part}.weight"
        writer.norm(name("attn_norm"))
        writer.matrix(name("attn_q"), HIDDEN, HIDDEN, base)
        writer.matrix(name("attn_k"), KEY_HEADS * HEAD, HIDDEN, base)
        writer.matrix(name("attn_v"), KEY_HEADS * HEAD, HIDDEN, more)
        writer.matrix(name("attn_output"), HIDDEN, HIDDEN, base)
        writer.norm(name("ffn_norm"))
        writer.matrix(name("ffn_gate"), WIDE, HIDDEN, base)
        writer.matrix(name("ffn_up"), WIDE, HIDDEN, base)
        writer.matrix(name("ffn_down"), HIDDEN, WIDE, more)
    writer.close()


main(*sys.argv[1:])
