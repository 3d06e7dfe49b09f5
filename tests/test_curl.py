"""What the documentation shows with curl, done with the real curl."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import gateway as support


@pytest.fixture(scope="module")
def curl():
    support.need("curl", "REQUIRE_CURL", shutil.which("curl"))

    def run(*arguments, stdin=None):
        command = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60", "--noproxy", "*", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=90).stdout

    return run


def test_an_image_is_uploaded(curl, gateway, samples):
    for image, entry in samples:
        answer = json.loads(curl(f"{gateway.url}/digits", "--data-binary", f"@{image}"))
        assert answer["digit"] == entry["digit"], image


def test_an_image_is_uploaded_in_chunks(curl, gateway, samples):
    image, entry = samples[0]
    answer = curl(f"{gateway.url}/digits", "-X", "POST", "-T", "-", stdin=image.read_bytes())
    assert json.loads(answer)["digit"] == entry["digit"]


def test_a_query_needs_no_content_type(curl, gateway):
    """curl calls JSON a form unless told otherwise; nothing here depends on it."""
    answer = json.loads(curl(f"{gateway.url}/search", "-d", '{"query": "what helps me fall asleep?"}'))
    assert "nod off" in answer["results"][0]["document"]
    body = '{"model": "all-minilm-l6-v2", "input": "hello"}'
    assert len(json.loads(curl(f"{gateway.url}/v1/embeddings", "-d", body))["data"][0]["embedding"]) == 384


def test_binary_tensors_are_put_together_by_hand(curl, gateway, samples):
    _, entry = samples[0]
    raw = np.array(entry["image"], "<f4").tobytes()
    tensor = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = curl(
        f"{gateway.url}/v2/models/digits/infer", "--data-binary", "@-", "--include",
        "-H", f"Inference-Header-Content-Length: {len(head)}", "-H", "Content-Type: application/octet-stream",
        stdin=head + raw,
    )  # fmt: skip
    headers, body = answer.split(b"\r\n\r\n", 1)
    lengths = [line.split(b":")[1] for line in headers.split(b"\r\n") if line.lower().startswith(b"inference-header")]
    logits = np.frombuffer(body[int(lengths[0]) :], "<f4")
    assert logits.argmax() == entry["digit"] and logits.shape == (10,)


def test_http2_with_prior_knowledge(curl, gateway, samples):
    image, entry = samples[0]
    url = f"{gateway.url}/digits"
    answer = curl(url, "--http2-prior-knowledge", "--data-binary", f"@{image}", "-w", " %{http_version}")
    body, version = answer.decode().rsplit(" ", 1)
    assert version == "2" and json.loads(body)["digit"] == entry["digit"]


def test_head_and_expect_continue_work(curl, gateway, samples):
    assert b"200 OK" in curl(f"{gateway.url}/v2/health/ready", "--head")
    image, entry = samples[0]
    answer = curl(f"{gateway.url}/digits", "--data-binary", f"@{image}", "-H", "Expect: 100-continue")
    assert json.loads(answer)["digit"] == entry["digit"]
