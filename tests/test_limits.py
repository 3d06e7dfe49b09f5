"""A gateway with small limits: full queues, taken instances and large bodies are answers, and leave it well."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import gateway as support
from manifests import app, config
from test_bad_input import image, send_too_much, still_fine

MINILM = "all-minilm-l6-v2"


@pytest.fixture(scope="module")
def small(tmp_path_factory, gateway):
    folder = tmp_path_factory.mktemp("small")
    slow = app(folder, "slow", "/slow", "slow_body")
    single = app(folder, "single", "/single", "slow_body", limits="instances = 1")
    path = config(
        folder,
        f"""
        [limits]
        body = "1MiB"
        instances = 2
        [[model]]
        name = "{MINILM}"
        path = "{support.minilm()}"
        queue = 1
        [[model]]
        path = "{support.DIGITS}"
        name = "digits"
        instances = 2
        [[app]]
        manifest = "{slow}"
        [[app]]
        manifest = "{single}"
        [[app]]
        manifest = "{support.manifest("rust/digits")}"
        """,
    )
    with support.Gateway(folder, f"--config={path}", cache_of=gateway) as running:
        yield running
        still_fine(running)


def test_a_full_queue_is_503_with_retry_after(small):
    native = {"inputs": [{"name": "text", "shape": [16], "datatype": "BYTES", "data": ["sea " * 250] * 16}]}
    openai = {"model": MINILM, "input": ["sea " * 250] * 16}

    def ask(at):
        if at % 2:
            return small.post("/v1/embeddings", json_body=openai)
        return small.post(f"/v2/models/{MINILM}/infer", json_body=native)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.status for answer in answers} == {200, 503}
    assert len(refused) >= 6
    for answer in refused:
        assert int(answer.headers["retry-after"]) >= 1
        error = answer.json()["error"]
        message = error if isinstance(error, str) else error["message"]
        assert f"`{MINILM}` is busy: its queue is full (1 waiting)" in message and "try again" in message
    assert small.post("/v1/embeddings", json_body={"model": MINILM, "input": "after"}).status == 200


def test_no_free_instance_is_503_with_retry_after(small):
    with small.socket() as first, small.socket() as second:
        for stream in (first, second):
            stream.sendall(b"GET /slow?lines=9&ms=900 HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b" 200 " in stream.recv(4096)
        answer = small.get("/slow?lines=1")
        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
        assert "guest instances" in answer.json()["detail"] and "busy" in answer.json()["detail"]
        # Native routes need none.
        assert small.post("/v2/models/digits/infer", json_body=image()).status == 200
    support.eventually("the slots are free again", lambda: small.get("/slow?lines=1").status == 200)


def test_an_app_at_its_own_limit_leaves_the_rest_to_others(small):
    with small.socket() as stream:
        stream.sendall(b"GET /single?lines=9&ms=900 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in stream.recv(4096)
        answer = small.get("/single?lines=1")
        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
        assert small.get("/slow?lines=1").status == 200
    support.eventually("the slot is free again", lambda: small.get("/single?lines=1").status == 200)


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@pytest.mark.parametrize("path", ["/v2/models/digits/infer", "/v1/embeddings"])
def test_a_body_over_the_gateways_limit_is_413(small, path, framing):
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    piece = b" " * (1 << 16)
    if framing == "chunked":
        head += "transfer-encoding: chunked\r\n\r\n"
        pieces = [b"10000\r\n" + piece + b"\r\n"] * 64 + [b"0\r\n\r\n"]
    else:
        head += f"content-length: {(1 << 20) + 1}\r\n\r\n"
        pieces = []
    received = send_too_much(small.port, head.encode(), pieces)
    assert received.startswith(b"HTTP/1.1 413 "), received[:500]
    assert b"1 MiB" in received and b'"error"' in received


def test_real_clients_learn_that_their_body_was_too_large(small):
    """They go on sending while the answer is already there, and have to see it all the same."""
    with openai.OpenAI(base_url=f"{small.url}/v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError, match="larger than 1 MiB") as caught:
            client.embeddings.create(model=MINILM, input="x" * (20 << 20))
        assert caught.value.status_code == 413
    images = np.zeros((20 << 12, 8, 8), np.float32)
    tensor = triton.InferInput("image", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images)
    with triton.InferenceServerClient(f"127.0.0.1:{small.port}") as client:
        with pytest.raises(InferenceServerException, match="larger than 1 MiB") as caught:
            client.infer("digits", [tensor])
        assert caught.value.status() == "413"


def test_a_body_just_within_the_limit_is_read(small):
    padding = b" " * ((1 << 20) - 700)
    body = json.dumps(image()).encode() + padding
    assert len(body) <= 1 << 20
    assert small.post("/v2/models/digits/infer", body).status == 200
    assert small.post("/v2/models/digits/infer", iter([body[:1000], body[1000:]])).status == 200
