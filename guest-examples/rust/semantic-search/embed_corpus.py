#!/usr/bin/env python3
"""Writes corpus/MODEL.f32: the built-in corpus embedded by a running gateway (standard library only).

Usage: embed_corpus.py [--url http://127.0.0.1:8080] [--model all-minilm-l6-v2]
Run it whenever corpus/texts.txt changes; src/corpus.rs says what is in the file, and its tests check it.
"""

import argparse
import json
import pathlib
import struct
import urllib.request

CORPUS = pathlib.Path(__file__).parent / "corpus"


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def embed(url: str, model: str, texts: list[str]) -> list[list[float]]:
    request = urllib.request.Request(
        f"{url}/v1/embeddings",
        data=json.dumps({"model": model, "input": texts}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        data = json.load(response)["data"]
    return [item["embedding"] for item in sorted(data, key=lambda item: item["index"])]


def write(model: str, source: bytes, embeddings: list[list[float]]) -> None:
    values = [value for embedding in embeddings for value in embedding]
    file = struct.pack("<Q", fnv1a(source)) + struct.pack(f"<{len(values)}f", *values)
    path = CORPUS / f"{model}.f32"
    path.write_bytes(file)
    print(f"{path}: {len(embeddings)} embeddings, {len(file)} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--model", default="all-minilm-l6-v2")
    args = parser.parse_args()
    source = (CORPUS / "texts.txt").read_bytes()
    write(args.model, source, embed(args.url, args.model, source.decode().splitlines()))


if __name__ == "__main__":
    main()
