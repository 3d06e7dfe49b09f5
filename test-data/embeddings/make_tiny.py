#!/usr/bin/env python3
"""Writes tiny/: small random models of each family candle runs, and what transformers and sentence-transformers compute.

    /tmp/st/bin/python test-data/embeddings/make_tiny.py      (the environment of make_goldens.py)

The families differ in tensor names, positions and segments; masks with padding on either side and in the middle show that
packing a batch changes nothing.
"""

import json
import shutil
from pathlib import Path

import torch
import transformers
from sentence_transformers.models import Pooling

SIZES = dict(vocab_size=40, num_hidden_layers=2, num_attention_heads=2, hidden_size=16, intermediate_size=24)
TOKENS = [[5, 6, 7, 8, 9, 1], [10, 11, 12, 1, 1, 1], [1, 1, 13, 14, 15, 16], [17, 18, 19, 20, 21, 22]]
MASK = [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1]]
TYPES = [[0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]]
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens"]


def families():
    yield "bert", transformers.BertModel(transformers.BertConfig(**SIZES, max_position_embeddings=8))
    yield "roberta", transformers.RobertaModel(
        transformers.RobertaConfig(**SIZES, max_position_embeddings=10, type_vocab_size=1, pad_token_id=1)
    )
    yield "distilbert", transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=40, n_layers=2, n_heads=2, dim=16, hidden_dim=24, max_position_embeddings=8, activation="gelu"
        )
    )
    tanh = transformers.BertConfig(**SIZES, max_position_embeddings=8, hidden_act="gelu_new")
    yield "bert-with-head", transformers.BertForMaskedLM(tanh)


def rounded(tensor):
    return [float(f"{value:.8g}") for value in tensor.flatten().tolist()]


def main() -> None:
    out = Path(__file__).with_name("tiny")
    shutil.rmtree(out, ignore_errors=True)
    for seed, (name, model) in enumerate(families()):
        torch.manual_seed(seed)
        with torch.no_grad():
            # Freshly initialised models are nearly linear and have no biases; these numbers tell more apart.
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.4 + (0.1 if parameter.dim() == 1 else 0.0))
        model.eval()
        folder = out / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        (folder / "model.safetensors").chmod(0o644)
        inputs = {"input_ids": torch.tensor(TOKENS), "attention_mask": torch.tensor(MASK)}
        types = TYPES if name.startswith("bert") else [[0] * 6] * 4
        if name != "distilbert":
            inputs["token_type_ids"] = torch.tensor(types)
        base = getattr(model, "bert", model)
        with torch.no_grad():
            tokens = base(**inputs).last_hidden_state
        golden = {"input_ids": TOKENS, "attention_mask": MASK, "token_type_ids": types, "token_embeddings": rounded(tokens)}
        for mode in MODES:
            features = {"token_embeddings": tokens, "attention_mask": inputs["attention_mask"]}
            golden[mode] = rounded(Pooling(16, mode)(features)["sentence_embedding"])
        (folder / "golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(sum(file.stat().st_size for file in out.rglob("*") if file.is_file()), "bytes")


if __name__ == "__main__":
    main()
