#!/usr/bin/env python3
"""Fills `corpus/TARGET/` with small inputs to start from, made of the repository's own test data."""

import base64
import json
import struct
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parent
OMS = ROOT / "models/trust/test-data/oms"
COSIGN = ROOT / "models/trust/tests/policy/cosign"
SIGNING = ROOT / "test-data/signing"


def seed(target: str, name: str, content: bytes | str) -> None:
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def statement(bundle: Path) -> bytes | None:
    envelope = json.loads(bundle.read_bytes()).get("dsseEnvelope")
    return base64.b64decode(envelope["payload"]) if envelope else None


def bundles() -> None:
    for bundle in [*OMS.glob("*.sig"), SIGNING / "keyless.sig"]:
        seed("oms_bundle", bundle.name, bundle.read_bytes())
        seed("oms_bundle", f"{bundle.stem}-signed", b"s" + statement(bundle))
        seed("oms_bundle", f"{bundle.stem}-repaired", b"r" + statement(bundle))
    for bundle in [*COSIGN.glob("*.json"), OMS / "certificate.sig"]:
        seed("component_bundle", bundle.name, bundle.read_bytes())
        if payload := statement(bundle):
            seed("component_bundle", f"{bundle.stem}-signed", b"s" + payload)


def trust() -> None:
    key, root = (OMS / "p256.pub").read_text(), (OMS / "root.pem").read_text()
    for file in [*OMS.glob("*.pub"), OMS / "root.pem", SIGNING / "trusted_root.json"]:
        seed("trust_material", file.name, file.read_bytes())
    rules = {
        "key": f"[[rule.authority]]\nkey = '''{key}'''\n",
        "certificate": f"[[rule.authority]]\n[rule.authority.certificate]\nroots = ['''{root}''']\nsubject_regex = \"CN=.*\"\n",
        "keyless": "[[rule.authority]]\n[rule.authority.keyless]\ntrusted_root = \"trusted_root.json\"\n"
        'identities = [{ issuer = "https://accounts.acme.example", subject_regex = ".*@acme\\\\.example" }]\n',
        "warn": 'mode = "warn"\n',
        "limits": 'minimum_version = "2.0"\nregions = ["eu-north", "eu-west"]\naccelerators = ["cuda", "cpu"]\n',
    }
    for name, more in rules.items():
        text = f'version = 1\n\n[[rule]]\nname = "{name}"\nartifact = "{{models,apps}}/*-[a-z]?*"\n{more}'
        seed("policy", name, text)


def descriptor(media_type: str, **annotations: str) -> dict:
    digest = "sha256:" + "0123456789abcdef" * 4
    described = {"mediaType": media_type, "digest": digest, "size": 7}
    return described | ({"annotations": annotations} if annotations else {})


def manifests() -> None:
    def manifest(artifact_type: str, config: str, layers: list[dict], **more) -> str:
        head = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
        body = {"artifactType": artifact_type, "config": descriptor(config), "layers": layers}
        return json.dumps(head | body | more)

    model, app = "application/vnd.cncf.model", "application/vnd.headland.app.v1+toml"
    signature, title = "application/vnd.dev.sigstore.bundle.v0.3+json", "org.opencontainers.image.title"
    weights = descriptor(f"{model}.weight.v1.raw", **{"org.cncf.model.filepath": "a/model.safetensors"})
    config = descriptor(f"{model}.weight.config.v1.raw", **{"org.cncf.model.filepath": "config.json"})
    of_model = manifest(f"{model}.manifest.v1+json", f"{model}.config.v1+json", [weights, config])
    seed("oci_manifest", "model", of_model)
    wasm = descriptor("application/wasm", **{title: "a.wasm"})
    version = {"annotations": {"org.opencontainers.image.version": "2"}}
    seed("oci_manifest", "app", manifest(app, "application/vnd.wasm.config.v0+json", [wasm, descriptor(app)], **version))
    subject = {"subject": descriptor("application/vnd.oci.image.manifest.v1+json")}
    empty = "application/vnd.oci.empty.v1+json"
    seed("oci_manifest", "signature", manifest(signature, empty, [descriptor(signature)], **subject))
    index = {"schemaVersion": 2, "manifests": [descriptor("application/vnd.oci.image.manifest.v1+json")]}
    seed("oci_manifest", "index", json.dumps(index))
    seed("oci_manifest", "docker", of_model.replace("oci.image.manifest.v1", "docker.distribution.manifest.v2"))


def header() -> str:
    """The header of a `model.safetensors` for a BERT of one layer, as `src/encoder.rs` has it."""
    layer, four = "encoder.layer.0", [4]
    shapes = {f"embeddings.{table}_embeddings.weight": [rows, 4] for table, rows in
              [("word", 4), ("position", 4), ("token_type", 2)]}
    for norm in ["embeddings", f"{layer}.attention.output", f"{layer}.output"]:
        shapes |= {f"{norm}.LayerNorm.{part}": four for part in ["weight", "bias"]}
    for linear in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                   "intermediate.dense", "output.dense"]:
        shapes |= {f"{layer}.{linear}.weight": [4, 4], f"{layer}.{linear}.bias": four}
    tensors, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * (shape[0] * shape[-1] if len(shape) == 2 else shape[0])
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    return json.dumps(tensors, separators=(",", ":"))


def weights() -> None:
    seed("safetensors_header", "header", header())
    seed("safetensors_header", "half", header().replace("F32", "F16"))
    seed("safetensors_header", "with-prefix", header().replace('{"embeddings', '{"bert.embeddings', 1))
    raw = header().encode()
    seed("safetensors_header", "file", len(raw).to_bytes(8, "little") + raw + bytes(1024))


def ggufs() -> None:
    """The files of `vocabularies.json` with few tokens: the fuzzer is to find its way through tables, not to read them all."""
    def text(value: str) -> bytes:
        return len(value.encode()).to_bytes(8, "little") + value.encode()

    def value(entry) -> tuple[int, bytes]:
        match entry:
            case bool(): return 7, bytes([entry])
            case int(): return 5, entry.to_bytes(4, "little")
            case float(): return 6, struct.pack("<f", entry)
            case str(): return 8, text(entry)
        items = [value(item) for item in entry]
        return 9, items[0][0].to_bytes(4, "little") + len(items).to_bytes(8, "little") + b"".join(raw for _, raw in items)

    def file(entries: dict) -> bytes:
        body = b"".join(text(key) + kind.to_bytes(4, "little") + raw for key, (kind, raw) in
                        ((f"tokenizer.ggml.{key}", value(entry)) for key, entry in entries.items()))
        return b"GGUF" + (3).to_bytes(4, "little") + bytes(8) + len(entries).to_bytes(8, "little") + body

    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "n", "s", "\u2581a", "an", "\u2581an"]
    scores = {"model": "llama", "tokens": pieces, "scores": [-float(at) for at in range(11)], "token_type": [2, 3, 3, 6] + [1] * 7}
    seed("gguf_tokenizer", "scores", file(scores))
    seed("gguf_tokenizer", "flags", file(scores | {"add_space_prefix": False, "add_eos_token": True, "eot_token_id": 2}))
    parts = ["a", "n", "s", "\u0120", "an", "\u0120an", "<s>"]
    merges = {"model": "gpt2", "tokens": parts, "merges": ["a n", "\u0120 an"], "token_type": [1] * 6 + [3], "bos_token_id": 6}
    for split in ["default", "llama-bpe", "qwen2", "smollm"]:
        seed("gguf_tokenizer", split, file(merges | {"pre": split}))


def tokenizer(model: dict, pre_tokenizer: dict, normalizer: dict | None) -> str:
    added = [{"id": at, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for at, token in enumerate(["[CLS]", "[SEP]"])]
    post = {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]}
    return json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
                       "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post,
                       "decoder": None, "model": model})


def configs() -> None:
    def files(name: str, **contents: str) -> None:
        seed("model_config", name, "\0".join(part for path, text in contents.items() for part in (path, text)))

    config = (FUZZ / "src/encoder.rs").read_text().split('r#"')[1].split('"#')[0]
    files("config", **{"config.json": config})
    files("roberta", **{"config.json": config.replace('"bert"', '"roberta"').replace("}", ', "pad_token_id": 1}')})
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in
               [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]]
    files("modules", **{"modules.json": json.dumps(modules), "1_Pooling/config.json": '{"pooling_mode": ["mean", "cls"]}'})
    files("flags", **{"modules.json": json.dumps(modules), "1_Pooling/config.json": '{"pooling_mode_max_tokens": true}'})
    files("manifest", **{"headland.model.toml": 'name = "m"\nversion = "2"\ndevice = "cpu"\ninstances = 2\n'})
    vocabulary = {"[CLS]": 0, "[SEP]": 1, "two": 2, "[UNK]": 3, "##s": 4, "word": 5}
    word_piece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary}
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True}
    length = {"sentence_bert_config.json": '{"max_seq_length": 4, "do_lower_case": true}',
              "tokenizer_config.json": '{"model_max_length": 8, "pad_token": {"content": "[SEP]"}}'}
    files("word-piece", **{"tokenizer.json": tokenizer(word_piece, {"type": "BertPreTokenizer"}, bert)}, **length)
    bpe = {"type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": None,
           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
           "vocab": vocabulary | {"w": 6, "o": 7, "wo": 8}, "merges": [["w", "o"]]}
    split = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|[a-z]+"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}]}
    files("bpe", **{"tokenizer.json": tokenizer(bpe, split, {"type": "NFC"})})
    unigram = {"type": "Unigram", "unk_id": 0, "byte_fallback": False,
               "vocab": [["<unk>", 0.0], ["\u2581two", -1.5], ["\u2581", -2.0], ["w", -3.0]]}
    space = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    replace = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"},
               "content": " "}, {"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}]}
    files("unigram", **{"tokenizer.json": tokenizer(unigram, space, replace)})
    prompts = '{"prompts": {"query": "query: "}, "default_prompt_name": "query"}'
    files("prompt", **{"config_sentence_transformers.json": prompts,
                       "tokenizer.json": tokenizer(word_piece, {"type": "Whitespace"}, None)})
    app = '[[route]]\nhost = "a.example"\npath = "/a"\ncomponent = "a.wasm"\nweight = 50\n[models]\nallow = ["m"]\n'
    limits = '[limits]\nmemory = "64MiB"\ndeadline_ms = 500\nbody = "1MiB"\ninstances = 2\n[env]\nA = "b"\n'
    seed("app_manifest", "app", f'name = "search"\n{app}[outbound]\nallow = ["api.example:443"]\n{limits}')


def graphs() -> None:
    for graph in (ROOT / "test-data/onnx").glob("*.onnx"):
        seed("onnx_external", graph.name, graph.read_bytes())


def requests() -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "INT64"}
    plain = json.dumps({"inputs": [tensor | {"data": [1, 2]}]}).encode()
    seed("kserve_infer", "json", b"\xff\xff" + plain)
    binary = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": 16}}]}).encode()
    seed("kserve_infer", "binary", len(binary).to_bytes(2, "little") + binary + bytes(16))


def peers() -> None:
    def body(kind: int, head: dict, tail: bytes = b"") -> bytes:
        text = json.dumps(head).encode()
        padding = bytes(-(4 + len(text)) % 8)
        return bytes([kind]) + len(text).to_bytes(4, "little") + text + padding + tail

    digest = "sha256:" + "0" * 64
    model = {"model": "m", "version": "1", "digest": digest, "caller": "app", "weight": 1}
    floats = {"name": "x", "dtype": "FP32", "shape": [2], "bytes": 8}
    words = {"name": "text", "dtype": "BYTES", "shape": [1], "bytes": 6}
    ids = {"name": "tokens", "dtype": "UINT32", "shape": [2], "bytes": 8}
    seed("peer_wire", "tensor", body(0, model | {"inputs": [floats], "outputs": ["y"], "deadline_us": 9}, bytes(8)))
    seed("peer_wire", "text", body(0, model | {"inputs": [words]}, b"\x02\0\0\0hi"))
    seed("peer_wire", "tokens", body(0, model | {"inputs": [ids], "tokens": [1, 1]}, bytes(8)))
    timing = {"input_us": 1, "queue_us": 2, "infer_us": 3, "total_us": 4}
    text = {"tokens": 3, "truncated": [0], "tokens_max": 8}
    seed("peer_wire", "answer", body(1, {"outputs": [floats], "timing": timing, "text": text}, bytes(8)))
    error = {"kind": "queue_full", "model": "m", "queue_max": 1, "retry_after_us": 1}
    seed("peer_wire", "error", body(1, {"error": error}))

    def frames(*bodies: bytes) -> bytes:
        return b"".join((len(each) - 1).to_bytes(4, "little") + each[1:] for each in bodies)

    piece = body(0, {"outputs": [words]}, b"\x02\0\0\0hi")
    seed("peer_wire", "pieces", b"\x03" + frames(piece, piece, body(0, {"ended": True})))
    seed("peer_wire", "broken", b"\x03" + frames(piece, body(0, {"error": error})))
    spec = {"name": "x", "dtype": "FP32", "dims": [1, "batch", None]}
    described = {"name": "m", "version": "1", "digest": digest, "backend": "onnx", "device": "cuda:1"}
    seed("peer_wire", "description", b"\x02" + json.dumps(described | {"inputs": [spec], "outputs": [spec]}).encode())


for fill in [bundles, trust, manifests, weights, ggufs, configs, graphs, requests, peers]:
    fill()
