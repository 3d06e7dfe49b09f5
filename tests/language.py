"""Small language models with seeded random weights, written with nothing but the standard library: as the folder that
Hugging Face's transformers would save, and as a single GGUF file."""

import json
import random
import shutil
import struct
from array import array
from pathlib import Path

CHAT = Path(__file__).resolve().parent.parent / "test-data/generation/chat"
TOKENIZER = json.loads((CHAT / "tokenizer.json").read_text())
VOCABULARY = 1 + max(token["id"] for token in TOKENIZER["added_tokens"] + [{"id": max(TOKENIZER["model"]["vocab"].values())}])
IDS = TOKENIZER["model"]["vocab"] | {token["content"]: token["id"] for token in TOKENIZER["added_tokens"]}
BEGIN, END = IDS["<s>"], IDS["<|eot_id|>"]
# Answers of thousands of tokens: long enough to be interrupted.
CONTEXT = 32768
HIDDEN, HEADS, KEY_HEADS, HEAD, WIDE, LAYERS = 64, 4, 2, 16, 96, 2
SEED = 20261122


def tensors(prefix="model."):
    """Names as transformers has them, shapes, and numbers that make answers differ from token to token."""
    generator = random.Random(SEED)

    def matrix(name, *shape):
        return name, shape, array("f", (generator.gauss(0, 0.25) for _ in range(shape[0] * shape[1])))

    def ones(name, length):
        return name, (length,), array("f", [1.0] * length)

    yield matrix(f"{prefix}embed_tokens.weight", VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        at = f"{prefix}layers.{layer}."
        yield ones(f"{at}input_layernorm.weight", HIDDEN)
        yield matrix(f"{at}self_attn.q_proj.weight", HEADS * HEAD, HIDDEN)
        yield matrix(f"{at}self_attn.k_proj.weight", KEY_HEADS * HEAD, HIDDEN)
        yield matrix(f"{at}self_attn.v_proj.weight", KEY_HEADS * HEAD, HIDDEN)
        yield matrix(f"{at}self_attn.o_proj.weight", HIDDEN, HEADS * HEAD)
        yield ones(f"{at}post_attention_layernorm.weight", HIDDEN)
        yield matrix(f"{at}mlp.gate_proj.weight", WIDE, HIDDEN)
        yield matrix(f"{at}mlp.up_proj.weight", WIDE, HIDDEN)
        yield matrix(f"{at}mlp.down_proj.weight", HIDDEN, WIDE)
    yield ones(f"{prefix}norm.weight", HIDDEN)
    yield matrix("lm_head.weight", VOCABULARY, HIDDEN)


def safetensors():
    """All of it in one file: a head in JSON, and the numbers after it."""
    head, body = {}, bytearray()
    for name, shape, numbers in tensors():
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + 4 * len(numbers)]}
        body += numbers.tobytes()
    head = json.dumps(head).encode()
    return struct.pack("<Q", len(head)) + head + body


def config(**changes):
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": WIDE, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "head_dim": HEAD, "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT, "tie_word_embeddings": False, "bos_token_id": BEGIN, "eos_token_id": END,
    } | changes  # fmt: skip


def folder(path, template="llama3.jinja", manifest=None, **changes):
    """A model's folder at `path`. `changes` are of its configuration; a `template` of None is none at all."""
    path = Path(path)
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config(**changes)))
    (path / "model.safetensors").write_bytes(safetensors())
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<|eot_id|>"}))
    shutil.copy(CHAT / "tokenizer.json", path)
    if template:
        source = CHAT / template
        (path / "chat_template.jinja").write_text(source.read_text() if source.is_file() else template)
    if manifest:
        (path / "headland.model.toml").write_text(manifest)
    return path


GGUF_NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip
GGUF_ALIGNMENT = 32


def neighbours(numbers, heads):
    """Rows of a projection in the order of llama's GGUF files, where the two numbers that a position turns together lie side
    by side, not half a head apart."""
    rows = [numbers[at : at + HIDDEN] for at in range(0, len(numbers), HIDDEN)]
    ordered = array("f")
    for head in range(heads):
        for pair in range(HEAD // 2):
            for half in range(2):
                ordered += rows[head * HEAD + half * (HEAD // 2) + pair]
    return ordered


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    """The type's number and the value."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case str():
            return struct.pack("<I", 8) + gguf_string(value)
        case float():
            return struct.pack("<If", 6, value)
        case int():
            return struct.pack("<II", 4, value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(gguf_string, value))
        case [*_]:
            return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def gguf():
    """The same model as a GGUF file: its metadata with the tokenizer in it, descriptions of tensors, tensors."""
    tokens = sorted(IDS, key=IDS.get)
    special = {token["id"] for token in TOKENIZER["added_tokens"]}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in TOKENIZER["model"]["merges"]]
    entries = {
        "general.architecture": "llama", "llama.vocab_size": VOCABULARY, "llama.block_count": LAYERS,
        "llama.context_length": CONTEXT, "llama.embedding_length": HIDDEN, "llama.feed_forward_length": WIDE,
        "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KEY_HEADS,
        "llama.attention.key_length": HEAD, "llama.attention.value_length": HEAD, "llama.rope.dimension_count": HEAD,
        "llama.attention.layer_norm_rms_epsilon": 1e-6, "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if IDS[token] in special else 1 for token in tokens],
        "tokenizer.ggml.merges": merges, "tokenizer.ggml.bos_token_id": BEGIN, "tokenizer.ggml.eos_token_id": END,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.chat_template": (CHAT / "llama3.jinja").read_text(),
    }  # fmt: skip
    described, body = [], bytearray()
    for name, shape, numbers in tensors(prefix=""):
        stem = name.removesuffix(".weight")
        layer = ""
        if stem.startswith("layers."):
            _, number, stem = stem.split(".", 2)
            layer = f"blk.{number}."
        if stem in ("self_attn.q_proj", "self_attn.k_proj"):
            numbers = neighbours(numbers, shape[0] // HEAD)
        # Extents of axes, the innermost first; type 0 is 32-bit floats.
        axes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        described.append(gguf_string(f"{layer}{GGUF_NAMES[stem]}.weight") + axes + struct.pack("<IQ", 0, len(body)))
        body += numbers.tobytes() + bytes(-4 * len(numbers) % GGUF_ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(described), len(entries))
    head += b"".join(gguf_string(key) + gguf_value(value) for key, value in entries.items()) + b"".join(described)
    return head + bytes(-len(head) % GGUF_ALIGNMENT) + body
