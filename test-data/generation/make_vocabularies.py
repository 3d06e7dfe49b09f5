"""Writes vocabularies.json: tokenizers as GGUF files have them, and the tokens that llama.cpp makes of texts with each.

    python make_vocabularies.py            (needs gguf, llama-cpp-python and transformers; written with 0.19, 0.3.36 and 5.23)

The vocabularies are trained here, on the texts below: one of pieces with scores, as SentencePiece has them, and one of bytes
with merges. Files are told apart by few entries, so each is written as another's with changes. Transformers has to agree, for
the families whose tokenizers it builds from the same tables.
"""

import ctypes
import json
import random
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import tokenizers
import transformers
from transformers.convert_slow_tokenizer import generate_merges

HERE = Path(__file__).parent
CORPUS = [
    "The gateway answers near its users, and the model is never far away from them. " * 4,
    "def answer(self, question: str) -> list[int]:\n    return [token for token in self.model(question) if token != 0]\n" * 3,
    "Grüße aus Köln und Zürich; naïve façade, 5 € für 3 Äpfel. " * 2,
    "机器学习正在改变世界。今天天气很好。" * 2,
    "In 2024 there were 1234567 requests; 99.9% took less than 10 ms, don't you think? I'll see, we've time. " * 3,
    "        indented\n\n\n\tand tabbed\r\n", "привет мир, как дела? ПРИВЕТ МИР " * 2, "<user> says: hello... <<<>>> [[[]]] ((())) --- === *** ",
]
TEXTS = [
    "", " ", "  ", "   ", "     ", "\n", "\n\n", " \n ", "\t", "\r\n\r\n", "a", " a", "a ", "  a  b   c    d     e", "Hello, world!", " Hello, world! ",
    "The gateway answers near its users.", "don't can't I'll we've DON'T I'M it's 's ''s", "0", "12", "123", "1234", "12345", "123456789", "3.14159", "1,000,000.50",
    "x1y22z333", "a\nb", "a\n\nb\n", "a \n b", "\n a", "def f(x):\n    if x > 0:\n\treturn x ** 2  # comment\n", "{\"key\": [1, 2.5, null, true]}", "http://example.com/a?b=c&d=e#f",
    "user@example.com", "+49 (30) 1234-5678", "Grüße, naïve façade", "GRÜSSE AUS KÖLN", "机器学习", "今天 weather 很好", "こんにちは世界", "안녕하세요", "привет ПРИВЕТ", "שלום עולם", "مرحبا بالعالم",
    "नमस्ते दुनिया", "สวัสดี", "😀", "😀😀 a 😀", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷", "e\u0301 a\u0308 (combining)", "\u00a0nbsp\u00a0", "\u2003em\u2003space", "zero\u200bwidth", "\ufeffbom", "½ ² Ⅷ ٣", "a_b-c/d\\e|f",
    "...", "....", "-----", "=== *** ###", "$$$ €€€ £", "<=>", "^~|`+", "camelCaseWord HTTPServer XMLHttpRequest", "ALL CAPS words", "\u2581underscore\u2581", "<0x0A>", "<0x", "\0 nul \x01", "\x7f\x1f",
    "<s>", "</s>", "<s>a</s>", "a<s> b", "<|user|>\n  a <|end|>\n b</s> c", "<start_of_turn> a<end_of_turn>\n", "<|im_start|>user\nhi<|im_end|>\n", "x <|im_end|>  y", "<unk>", "<|im_end|", "aaaaaaa", "aaaaaaaaaaaaaaaa", "abababab", "the the  the   the", "\U0010ffff", "mixed \u0627\u0628 text 12 \u0661\u0662",
]
PIECES, BYTES = 700, 640
CONTROL, USER_DEFINED, BYTE, NORMAL, UNKNOWN = 3, 4, 6, 1, 2


def texts():
    """Those above, and random ones of few characters, in which much can be joined in more than one way."""
    chance = random.Random(1)
    alphabets = [" a", "ab", " .\n", "the ansr", "0123 ", "äßé e", "aA'sS ", " \t\r\n", "天气很好 a", "-=<>[]()*. "]
    return TEXTS + ["".join(chance.choices(alphabet, k=chance.randint(2, 40))) for alphabet in alphabets for _ in range(6)]


def pieces():
    """Llama 2's order: what is unknown, where texts begin and end, bytes, pieces as they were joined, characters."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("\u2581+[^\u2581]*"), "isolated")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=PIECES, show_progress=False)
    made.train_from_iterator(CORPUS + ["aaaaaaaaaaaaaaaa " * 3, " " * 16 + "x " + " " * 8 + "y"] * 2, trainer)
    vocabulary = made.get_vocab()
    trained = sorted(vocabulary, key=vocabulary.get)
    joined = [token for token in trained if len(token) > 1]
    characters = [token for token in trained if len(token) == 1]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + joined + characters
    count = len(joined) + len(characters)
    return {
        "general.architecture": "llama", "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 259 + [-float(rank) for rank in range(count)],
        "tokenizer.ggml.token_type": [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * count,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
    }


def byte_pairs():
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=BYTES, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    model = json.loads(made.to_str())["model"]
    special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<user>"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return {
        "general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": tokens + special,
        "tokenizer.ggml.token_type": [NORMAL] * len(tokens) + [CONTROL] * 4 + [USER_DEFINED],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": len(tokens), "tokenizer.ggml.eos_token_id": len(tokens) + 1,
    }


def more_pieces(scores, more):
    """Those of `scores`, and these."""
    more = [token for token in more if token not in scores["tokenizer.ggml.tokens"]]
    kinds = [CONTROL if token.startswith("<") else USER_DEFINED for token in more]
    added = dict(tokens=more, scores=[-1000.0] * len(more), token_type=kinds)
    return {f"tokenizer.ggml.{key}": scores[f"tokenizer.ggml.{key}"] + values for key, values in added.items()}


def files():
    """Names, what a file is a change of, and the changes."""
    scores, merges = pieces(), byte_pairs()
    yield "scores", None, scores
    gemma = ["<start_of_turn>", "<end_of_turn>", "\n\n", "\n\n\n", "\u2581\u2581\u2581\u2581\u2581"]
    yield "gemma", "scores", more_pieces(scores, gemma) | {
        "tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_eos_token": True,
        "tokenizer.ggml.eot_token_id": len(scores["tokenizer.ggml.tokens"]) + 1,
    }
    phi3 = more_pieces(scores, ["<|endoftext|>", "<|user|>", "<|end|>"])
    yield "phi3", "scores", phi3 | {"general.name": "Phi 3 mini (phi3)", "tokenizer.ggml.add_bos_token": False}
    yield "merges", None, merges
    for split in ["default", "gpt-2", "llama-bpe", "dbrx", "qwen2", "smollm", "tekken", "gpt-4o"]:
        yield split, "merges", {"tokenizer.ggml.pre": split}
    yield "qwen2-bos", "merges", {"tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.add_bos_token": True}
    yield "llama-bpe-no-bos", "merges", {"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": False}


def write(path, entries):
    writer = gguf.GGUFWriter(path, entries["general.architecture"])
    for key, value in entries.items():
        match value:
            case _ if key == "general.architecture": pass
            case bool(): writer.add_bool(key, value)
            case int(): writer.add_uint32(key, value)
            case str(): writer.add_string(key, value)
            case list(): writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def of_llama_cpp(path, all_texts):
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    room = (llama_cpp.llama_token * 4096)()
    encoded = []
    for text in all_texts:
        raw = text.encode()
        encoded.append(room[: llama_cpp.llama_tokenize(vocabulary, raw, len(raw), room, 4096, True, True)])
    count = llama_cpp.llama_vocab_n_tokens(vocabulary)
    ends = [token for token in range(count) if llama_cpp.llama_vocab_is_eog(vocabulary, token)]
    llama_cpp.llama_model_free(model)
    return encoded, ends


def of_transformers(name, entries, all_texts):
    """By transformers' own tokenizers of these families, and by its converter from scores to merges."""
    vocabulary = {token: at for at, token in enumerate(entries["tokenizer.ggml.tokens"])}
    special = [token for token, kind in zip(vocabulary, entries["tokenizer.ggml.token_type"]) if kind in (CONTROL, USER_DEFINED, UNKNOWN)]
    special = [tokenizers.AddedToken(token, normalized=False, special=True) for token in special]
    if name == "scores":
        merges = generate_merges(vocabulary, dict(zip(vocabulary, entries["tokenizer.ggml.scores"])))
        model = tokenizers.models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        made = tokenizers.Tokenizer(model)
        prepend, replace = tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")
        made.normalizer = tokenizers.normalizers.Sequence([prepend, replace])
        made.add_special_tokens(special)
    else:
        merges = [tuple(merge.split(" ")) for merge in entries["tokenizer.ggml.merges"]]
        family = dict(qwen2=transformers.Qwen2Tokenizer)[name]
        made = family(vocab=vocabulary, merges=merges, unk_token=None, bos_token=None, eos_token="</s>", pad_token=None)
        made.add_tokens(special)
        made = made.backend_tokenizer
        # A file has no word for it, and llama.cpp leaves texts as they are.
        made.normalizer = tokenizers.normalizers.Sequence([])
    return [made.encode(text, add_special_tokens=False).ids for text in all_texts]


@llama_cpp.llama_log_callback
def silent(*_):
    pass


def main():
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    all_texts, made, described = texts(), {}, []
    for name, base, changes in files():
        made[name] = entries = (made[base] if base else {}) | changes
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vocabulary.gguf"
            write(path, entries)
            encoded, ends = of_llama_cpp(path, all_texts)
        described.append(dict(name=name, base=base, entries=changes, tokens=encoded, ends=ends))
        print(name, len(entries["tokenizer.ggml.tokens"]), "tokens, ends:", ends)
        if name in ("scores", "qwen2"):
            begin = [1] if name == "scores" else []
            for text, ours, theirs in zip(all_texts, encoded, of_transformers(name, entries, all_texts)):
                assert ours == begin + theirs, (name, text, ours, theirs)
    lines = ",\n".join(json.dumps(file, ensure_ascii=True, separators=(",", ":")) for file in described)
    (HERE / "vocabularies.json").write_text(f'{{"texts": {json.dumps(all_texts)},\n"files": [\n{lines}\n]}}\n')


main()
