"""The server people write first: FastAPI, ONNX Runtime, the OpenAI embeddings route.

    MODEL=folder ONNX=model.onnx uvicorn server:app
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(str(Path(os.environ["MODEL"]) / "tokenizer.json"))
tokenizer.enable_truncation(256)
tokenizer.enable_padding()
session = onnxruntime.InferenceSession(os.environ["ONNX"])
app = FastAPI()


class Embeddings(BaseModel):
    model: str
    input: str | list[str]


@app.get("/health")
def health():
    return {}


@app.post("/v1/embeddings")
def embeddings(request: Embeddings):
    texts = [request.input] if isinstance(request.input, str) else request.input
    encoded = tokenizer.encode_batch(texts)
    ids = np.array([one.ids for one in encoded], np.int64)
    mask = np.array([one.attention_mask for one in encoded], np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (vectors,) = session.run(["sentence_embedding"], feeds)
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors.tolist())]
    tokens = int(mask.sum())
    return {"object": "list", "data": data, "model": request.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
