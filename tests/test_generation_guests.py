"""Language models for guests: streamed by `wasi:nn`, asked by Spin's interface, guarded on the way, and left in the middle."""

import http.client
import json

import pytest

import gateway as support
import language
from manifests import app
from test_generation import idle

SMALL_TALK = support.ROOT / "models/small-talk"
MARA = "Give me the contact details of Mara Lindqvist."


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generation-guests")
    allowed = '[models]\nallow = ["small-talk", "words", "all-minilm-l6-v2"]'
    limits = "deadline_ms = 20000"
    models = {"small-talk": SMALL_TALK, "words": language.folder(folder / "words"), "all-minilm-l6-v2": support.minilm()}
    apps = [
        support.GUESTS / "rust/chat-guard/headland.app.toml",
        app(folder, "spin", "/spin", "spin_llm", limits=limits, more=allowed),
        app(folder, "walker", "/walks", "walks_away", limits=limits, more=allowed),
        app(folder, "hasty", "/hasty", "walks_away", limits="deadline_ms = 300", more=allowed),
        app(folder, "stranger", "/stranger", "spin_llm", limits=limits),
    ]
    support.component("chat_guard")
    named = [f"--model={name}={at}" for name, at in models.items()]
    with support.Gateway(folder, *named, *[f"--app={manifest}" for manifest in apps]) as running:
        yield running


def streamed(gateway, path, body, headers=None):
    """The answer's head, its pieces as they came, and its trailers."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=support.ANSWER_SECONDS_MAX)
    connection.request("POST", path, body.encode(), {"te": "trailers", **(headers or {})})
    response = connection.getresponse()
    pieces = list(iter(lambda: response.read1(65536), b""))
    connection.close()
    return response, pieces


def test_an_answer_streams_through_a_guest_without_the_personal_data_in_it(guests):
    whole = guests.post("/v1/chat/completions", json_body={
        "model": "small-talk", "messages": [{"role": "user", "content": MARA}], "temperature": 0,
    }).json()["choices"][0]["message"]["content"]  # fmt: skip
    assert "@example" in whole, "the model knows an address, or this shows nothing"
    response, pieces = streamed(guests, "/chat", MARA)
    text = b"".join(pieces).decode()
    assert response.status == 200 and response.headers["x-guard-removed"] == "0"
    assert "@" not in text and "555" not in text
    assert "[e-mail removed]" in text and "[number removed]" in text and "Mara" in text


def test_personal_data_in_a_question_never_reaches_the_model(guests):
    response, pieces = streamed(guests, "/chat", "My e-mail address is jane@example.com, call +1 555 010 7788.")
    assert response.headers["x-guard-removed"] == "2"
    assert b"jane" not in b"".join(pieces)


def test_trailers_say_what_an_answer_took(guests):
    question = b"What is Headland?"
    head = f"POST /chat HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\ncontent-length: {len(question)}\r\n\r\n"
    with guests.socket() as connection:
        connection.sendall(head.encode() + question)
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"trailer: x-guard-filtered, x-finish-reason, x-usage" in raw
    end = raw[raw.rindex(b"\r\n0\r\n"):].decode()
    assert "x-finish-reason: stop" in end and "x-guard-filtered: 0" in end
    usage = json.loads(next(line for line in end.splitlines() if line.startswith("x-usage: "))[len("x-usage: "):])
    assert usage["completion_tokens"] > 20 and usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_guest_that_asks_nothing_is_told_so(guests):
    for body, status in [("", 400), ("   ", 400)]:
        response, _ = streamed(guests, "/chat", body)
        assert response.status == status
    assert guests.get("/chat").status == 200


def test_a_guest_that_walks_away_leaves_nothing_behind(guests):
    messages = json.dumps([{"role": "user", "content": "hi"}])
    for _ in range(5):
        response, pieces = streamed(guests, "/walks?pieces=2", messages, {"x-model": "words"})
        assert response.status == 200 and pieces
    idle(guests, "words")
    # So does one whose deadline passes while it streams.
    response, _ = streamed(guests, "/walks?pieces=3", messages, {"x-model": "words"})
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead):
        connection = http.client.HTTPConnection("127.0.0.1", guests.port, timeout=support.ANSWER_SECONDS_MAX)
        connection.request("POST", "/hasty", messages, {"x-model": "words"})
        connection.getresponse().read()
    idle(guests, "words")


def spin(gateway, path="/spin", **asked):
    return gateway.post(path, json_body=asked).json()


def test_spins_interface_answers_as_the_models_do(guests):
    prompt = "<|user|>What is Headland?<|end|><|assistant|>"
    answer = spin(guests, model="small-talk", prompt=prompt, max_tokens=12)
    text = guests.post("/v1/completions", json_body={
        "model": "small-talk", "prompt": prompt, "max_tokens": 12, "temperature": 0,
    }).json()  # fmt: skip
    assert answer["text"] == text["choices"][0]["text"]
    assert answer["usage"] == [text["usage"]["prompt_tokens"], 12]
    # Without parameters it has Spin's own: a hundred tokens at the most.
    assert 0 < spin(guests, model="small-talk", prompt=prompt)["usage"][1] <= 100


def test_spins_interface_embeds_as_openais_does(guests):
    texts = ["a ship at sea", "interest rates"]
    answer = spin(guests, model="all-minilm-l6-v2", texts=texts)
    expected = guests.post("/v1/embeddings", json_body={"model": "all-minilm-l6-v2", "input": texts}).json()
    for mine, theirs in zip(answer["embeddings"], expected["data"], strict=True):
        assert all(abs(a - b) < 1e-5 for a, b in zip(mine, theirs["embedding"], strict=True))
    assert answer["usage"] == expected["usage"]["prompt_tokens"]


def test_spins_interface_says_what_is_wrong(guests):
    assert spin(guests, model="nothing", prompt="a") == {"error": "model-not-supported"}
    assert spin(guests, "/stranger", model="small-talk", prompt="a") == {"error": "model-not-supported"}
    assert spin(guests, model="all-minilm-l6-v2", prompt="a")["error"] == "invalid-input"
    assert spin(guests, model="small-talk", texts=["a"])["error"] == "invalid-input"
    too_long = spin(guests, model="small-talk", prompt="a", max_tokens=5000)
    assert too_long["error"] == "invalid-input" and "1024 tokens at most" in too_long["why"]
