#!/usr/bin/env python3
"""Writes minilm.json: what sentence-transformers makes of fixed sentences, for the Rust tests to agree with.

    python3 -m venv /tmp/st && /tmp/st/bin/pip install torch sentence-transformers
    /tmp/st/bin/python test-data/embeddings/make_goldens.py .cache/models/all-minilm-l6-v2

Runs on the CPU in float32, each sentence alone, so that no padding can reach the numbers.
"""

import json
import sys
from pathlib import Path

import sentence_transformers
import torch
import transformers

SENTENCES = [
    "The cat sits outside.",
    "",
    "hello",
    "   leading, trailing \t and \n inner   white space   ",
    "Grüße aus Köln: ÀÉÎÕÜ, naïve façade.",
    "机器学习正在改变世界。",
    "Привет, мир! Καλημέρα κόσμε",
    "emoji 🚀🔥 and a flag 🇩🇪, ZWJ 👩‍💻",
    "control\u0000 chars\u200b and\u00a0no-break\u3000spaces\ufeff",
    "Special tokens inside a text: [CLS] [MASK] and [SEP].",
    "x" * 300,
    "HTTP/1.1 503 Service Unavailable; retry-after=2.5s (see https://example.com/a?b=c&d=%20e)",
    "A headland is a coastal landform, a point of land usually high and often with a sheer drop. " * 2,
    # 256 tokens are all that max_seq_length leaves of these.
    "The quick brown fox jumps over the lazy dog while the harbour lights go out one by one. " * 40,
    "边缘计算" * 200,
]


def main() -> None:
    model = sentence_transformers.SentenceTransformer(sys.argv[1], device="cpu")
    model.eval()
    goldens = []
    with torch.no_grad():
        for sentence in SENTENCES:
            tokens = model.preprocess([sentence])
            embedding = model.encode([sentence], convert_to_numpy=True)[0]
            goldens.append(
                {
                    "sentence": sentence,
                    "input_ids": tokens["input_ids"][0].tolist(),
                    "embedding": [float(f"{value:.8g}") for value in embedding],
                }
            )
    document = {
        "made_with": {
            "sentence-transformers": sentence_transformers.__version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__.split("+")[0],
        },
        "max_seq_length": model.max_seq_length,
        "goldens": goldens,
    }
    out = Path(__file__).with_name("minilm.json")
    # One golden a line: a change to one shows as one line.
    head = json.dumps({key: document[key] for key in ("made_with", "max_seq_length")}, ensure_ascii=True)
    lines = ",\n".join(json.dumps(golden, ensure_ascii=True, separators=(",", ":")) for golden in goldens)
    out.write_text(f'{head[:-1]}, "goldens": [\n{lines}\n]}}\n')
    print(f"{out}: {len(goldens)} sentences, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
