"""Writes gguf.json: GGUF files by their recipes, and what llama.cpp answers with each.

    python make_gguf.py            (needs gguf and llama-cpp-python; written with 0.19 and 0.3.36)

A recipe is the metadata, and each tensor's name, shape and type. Their bytes come of a counter and a hash, here and in the
tests alike, so that files of megabytes need not be kept: blocks are random but for their scales. The first recipes are one
shape in every type of block, the others one type in every architecture.
"""

import ctypes
import json
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

HERE = Path(__file__).parent
ANSWER = 32
PROMPT = 24
# Bytes and elements of blocks, and where their half-precision scales stand, with what they are.
BLOCKS = {
    "Q4_0": (18, 32, {0: 2.0**-6}),
    "Q5_0": (22, 32, {0: 2.0**-7}),
    "Q8_0": (34, 32, {0: 2.0**-10}),
    "Q4_K": (144, 256, {0: 2.0**-12, 2: 7.5 * 2.0**-12}),
    "Q5_K": (176, 256, {0: 2.0**-13, 2: 15.5 * 2.0**-13}),
    "Q6_K": (210, 256, {208: 2.0**-14}),
}
TYPES = dict(F32=0, F16=1, Q4_0=2, Q5_0=6, Q8_0=8, Q4_K=12, Q5_K=13, Q6_K=14, BF16=30)


def mix(seed, count):
    """SplitMix64, `count` numbers of it."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def seed_of(name):
    """FNV-1a."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return seed


def units(name, count):
    """Numbers from -1 to 1."""
    return ((mix(seed_of(name), count) >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).astype(np.float32)


def tensor_bytes(name, shape, kind, base, scale, values):
    count = int(np.prod(shape))
    if values is not None:
        return np.array(values, dtype=np.float32).tobytes()
    if kind in BLOCKS:
        size, depth, scales = BLOCKS[kind]
        blocks = count // depth
        data = (mix(seed_of(name), blocks * size) >> np.uint64(56)).astype(np.uint8).reshape(blocks, size)
        if kind == "Q4_0":
            # Without -8, or the mean is not zero, and all answers are alike.
            low, high = data & 15, data >> 4
            data = np.where(low == 0, 8, low) | (np.where(high == 0, 8, high) << 4)
            data = data.astype(np.uint8)
        for at, value in scales.items():
            data[:, at : at + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)
        return data.tobytes()
    floats = np.float32(base) + np.float32(scale) * units(name, count)
    if kind == "F32":
        return floats.tobytes()
    if kind == "F16":
        return floats.astype(np.float16).tobytes()
    return (floats.view(np.uint32) >> np.uint32(16)).astype(np.uint16).tobytes()


def recipe(arch, kind, hidden=256, wide=256, layers=2, heads=4, keys=2, size=64, vocabulary=256, more=(), extra=()):
    scale = 2.0 / hidden**0.5 if kind in ("F16", "BF16") else 0.0
    entries = {
        "general.architecture": arch, "tokenizer.ggml.model": "no_vocab", f"{arch}.vocab_size": vocabulary,
        f"{arch}.block_count": layers, f"{arch}.context_length": 512, f"{arch}.embedding_length": hidden,
        f"{arch}.feed_forward_length": wide, f"{arch}.attention.head_count": heads,
        f"{arch}.attention.head_count_kv": keys, f"{arch}.attention.key_length": size,
        f"{arch}.attention.value_length": size, f"{arch}.rope.dimension_count": size,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5, f"{arch}.rope.freq_base": 10000.0,
    } | {f"{arch}.{key}": value for key, value in dict(more).items()}
    tensors = []

    def matrix(name, rows, columns):
        tensors.append([name, [rows, columns], kind, 0.0, scale, None])

    def vector(name, length, base=1.0, width=0.2):
        tensors.append([name, [length], "F32", base, width, None])

    gemma = arch.startswith("gemma")
    matrix("token_embd.weight", vocabulary, hidden)
    if gemma:
        # Multiplied by the root of the width, and small beside what the layers add: or a token names itself.
        tensors[0][4] = 0.02
    else:
        matrix("output.weight", vocabulary, hidden)
    vector("output_norm.weight", hidden)
    for layer in range(layers):
        b = f"blk.{layer}."
        vector(b + "attn_norm.weight", hidden)
        vector(b + "ffn_norm.weight", hidden)
        if arch == "phi3":
            matrix(b + "attn_qkv.weight", (heads + 2 * keys) * size, hidden)
            matrix(b + "ffn_up.weight", 2 * wide, hidden)
        else:
            for part, count in [("q", heads), ("k", keys), ("v", keys)]:
                matrix(f"{b}attn_{part}.weight", count * size, hidden)
                if arch == "qwen2":
                    vector(f"{b}attn_{part}.bias", count * size, 0.0, 0.5)
            matrix(b + "ffn_gate.weight", wide, hidden)
            matrix(b + "ffn_up.weight", wide, hidden)
        matrix(b + "attn_output.weight", hidden, heads * size)
        matrix(b + "ffn_down.weight", hidden, wide)
        if arch in ("qwen3", "gemma3"):
            vector(b + "attn_q_norm.weight", size)
            vector(b + "attn_k_norm.weight", size)
        if gemma:
            vector(b + "post_attention_norm.weight", hidden)
            vector(b + "post_ffw_norm.weight", hidden)
    for name, values in extra:
        tensors.append([name, [len(values)], "F32", 0.0, 0.0, values])
    return dict(entries=entries, tensors=tensors)


def recipes():
    for kind in ["F16", "BF16", "Q4_0", "Q5_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]:
        yield f"llama-{kind}", recipe("llama", kind)
    small = dict(kind="F16", hidden=64, wide=96, size=16, vocabulary=128)
    factors = [1.0, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]
    yield "llama-freqs", recipe("llama", **small, extra=[("rope_freqs.weight", factors)])
    yield "qwen2", recipe("qwen2", **small)
    yield "qwen3", recipe("qwen3", **small)
    window = {"attention.sliding_window": 16}
    caps = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0}
    yield "gemma2", recipe("gemma2", **small, layers=3, more=window | caps)
    yield "gemma3", recipe("gemma3", **small, layers=7, more=window | {"rope.freq_base": 1000000.0})
    long = [("rope_factors_long.weight", factors), ("rope_factors_short.weight", [1.0] * 8)]
    original = {"rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.1}
    yield "phi3", recipe("phi3", **small, more=original, extra=long)


def write(path, made):
    writer = gguf.GGUFWriter(path, made["entries"]["general.architecture"])
    for key, value in made["entries"].items():
        if key == "general.architecture":
            continue
        add = writer.add_string if isinstance(value, str) else writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(key, value)
    for name, shape, kind, base, scale, values in made["tensors"]:
        data = np.frombuffer(tensor_bytes(name, shape, kind, base, scale, values), dtype=np.uint8)
        rows = shape[0] if len(shape) > 1 else 1
        data = data.reshape(rows, -1) if len(shape) > 1 else data
        if kind == "F32":
            writer.add_tensor(name, data.view(np.float32).reshape(shape))
        elif kind == "F16":
            writer.add_tensor(name, data.view(np.float16).reshape(shape))
        else:
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType(TYPES[kind]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Model:
    def __init__(self, path):
        parameters = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
        assert self.model, path
        context = llama_cpp.llama_context_default_params()
        context.n_ctx, context.n_batch, context.n_ubatch, context.n_threads, context.n_threads_batch = 512, 512, 512, 1, 1
        context.type_k = context.type_v = 0  # 32 bits
        context.flash_attn_type = 0
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def step(self, tokens):
        # The batch only points to them.
        kept = (ctypes.c_int * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(kept, len(tokens))
        assert llama_cpp.llama_decode(self.context, batch) == 0
        logits = llama_cpp.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(logits, shape=(self.vocabulary,)).copy()

    def answer(self, prompt):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        logits = first = self.step(prompt)
        tokens, closest = [], np.inf
        for index in range(ANSWER):
            top = np.sort(logits)[-2:]
            closest = min(closest, (top[1] - top[0]) / logits.std())
            tokens.append(int(np.argmax(logits)))
            if index + 1 < ANSWER:
                logits = self.step(tokens[-1:])
        return first, tokens, closest

    def close(self):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)


def main():
    silence = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
    goldens = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, made in recipes():
            path = f"{folder}/{name}.gguf"
            write(path, made)
            model = Model(path)
            # Of many prompts the one whose choices are least close: activations in 8 bits are rounded, not always alike.
            best = None
            for seed in range(60):
                prompt = [int(x % np.uint64(model.vocabulary)) for x in mix(seed, PROMPT)]
                first, tokens, closest = model.answer(prompt)
                if len(set(tokens)) > 4 and (best is None or closest > best[3]):
                    best = (prompt, first, tokens, closest)
            model.close()
            assert best, (name, tokens, first)
            prompt, first, tokens, closest = best
            print(f"{name}: choices are {closest:.4f} deviations apart at least, {len(set(tokens))} different tokens")
            goldens[name] = made | dict(prompt=prompt, logits=[round(float(x), 4) for x in first], tokens=tokens)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(golden)}" for name, golden in goldens.items())
    (HERE / "gguf.json").write_text("{\n" + lines + "\n}\n")


main()
