"""Pushes, lists, pulls and deletes with the `oras` package; `oras_client.py HOST:PORT` against a registry with models/m:1."""

import json
import os
import sys
import tempfile

import oras.client

at = sys.argv[1]
client = oras.client.OrasClient(insecure=True)
os.chdir(tempfile.mkdtemp())
content = {"small.txt": b"small", "large.bin": os.urandom(3_000_000)}
for name, data in content.items():
    with open(name, "wb") as file:
        file.write(data)


def pulled(target):
    files = client.pull(target=target, outdir=tempfile.mkdtemp())
    return {os.path.basename(path): open(path, "rb").read() for path in files}


for tag, options in {"whole": {}, "chunked": {"do_chunked": True, "chunk_size": 1_000_000}}.items():
    target = f"{at}/library/files:{tag}"
    response = client.push(target=target, files=list(content), manifest_annotations={"pushed": tag}, **options)
    assert response.status_code == 201, response
    assert pulled(target) == content, tag

assert client.get_tags(f"{at}/library/files") == ["chunked", "whole"]

outdir = tempfile.mkdtemp()
client.pull(target=f"{at}/models/m:1", outdir=outdir)
assert open(f"{outdir}/model.onnx", "rb").read() == b"weights"
assert open(f"{outdir}/1_Pooling/config.json", "rb").read() == b"{}"
manifest = client.get_manifest(f"{at}/models/m:1")
assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json", json.dumps(manifest)

assert client.delete_tags(f"{at}/library/files", ["whole"]) == ["whole"]
assert client.get_tags(f"{at}/library/files") == ["chunked"]
print("oras: pushed whole and in chunks, pulled, listed, deleted")
