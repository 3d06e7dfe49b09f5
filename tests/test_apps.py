"""Apps: the two examples do their work, bodies stream both ways, routes go by host and prefix, many at once stay right."""

import http.client
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gateway as support
from manifests import app

TRACE = "0af7651916cd43dd8448eb211c80319c"


def search(gateway, **request):
    answer = gateway.post("/search", json_body=request)
    assert answer.status == 200, answer.text
    return answer.json()["results"]


def test_own_documents_are_ranked_by_meaning(gateway):
    documents = [
        "The stock market fell sharply on Monday.",
        "A kitten is playing with a ball of wool.",
        "The recipe asks for two eggs and some flour.",
        "Young cats love to chase things.",
    ]
    results = search(gateway, query="playful cats", documents=documents, top_k=4)
    assert {result["index"] for result in results[:2]} == {1, 3}
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True) and all(-1.001 <= score <= 1.001 for score in scores)
    assert all(result["document"] == documents[result["index"]] for result in results)
    assert len(search(gateway, query="playful cats", documents=documents, top_k=1)) == 1


def test_scores_are_the_models_cosines(gateway, goldens):
    """What the guest makes of text by wasi:nn agrees with sentence-transformers."""
    usable = [golden for golden in goldens["goldens"] if golden["sentence"].strip() and "\0" not in golden["sentence"]]
    query, *others = usable
    results = search(gateway, query=query["sentence"], documents=[each["sentence"] for each in others], top_k=len(others))
    for result in results:
        expected = np.dot(query["embedding"], others[result["index"]]["embedding"])
        assert abs(result["score"] - expected) < 1e-3, result


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("what helps me fall asleep?", "nod off"),
        ("watering fields in dry years", "Drip irrigation"),
        ("looking at planets from my garden", "Jupiter"),
        ("is the software signed by its author?", "maker's seal"),
    ],
)
def test_the_built_in_corpus_is_searched(gateway, query, expected):
    results = search(gateway, query=query)
    assert len(results) == 3 and expected in results[0]["document"], results


def test_the_corpus_embeddings_are_the_models(gateway):
    """The guest carries them ready made; asked with a corpus text, that very text has to come first with score 1."""
    text = "Egg whites whip best in a spotlessly clean bowl without a trace of yolk."
    best = search(gateway, query=text)[0]
    assert best["document"] == text and abs(best["score"] - 1) < 1e-4


def test_every_sample_digit_is_read(gateway, samples):
    for image, entry in samples:
        kind = "image/jpeg" if image.suffix == ".jpg" else "image/png"
        answer = gateway.post("/digits", image.read_bytes(), headers={"content-type": kind})
        assert answer.status == 200, f"{image}: {answer.text}"
        result = answer.json()
        assert result["digit"] == entry["digit"], image
        probabilities = result["probabilities"]
        assert len(probabilities) == 10 and abs(sum(probabilities) - 1) < 1e-4
        assert max(probabilities) == probabilities[result["digit"]] == result["confidence"]


def test_guests_explain_themselves(gateway):
    for path, word in [("/search", "query"), ("/digits", "PNG")]:
        answer = gateway.get(path)
        assert answer.status == 200 and word in answer.text and "curl" in answer.text
        refused = gateway.request("DELETE", path)
        assert refused.status == 405 and "POST" in refused.headers["allow"]


def test_tensors_of_all_seven_types_pass_between_guest_and_host(gateway):
    types = gateway.get("/fixtures/tensors").json()["types"]
    assert [each["type"] for each in types] == ["FP16", "FP32", "FP64", "BF16", "U8", "I32", "I64"]
    assert all(each["type kept"] and each["data kept"] and each["shape"] == [2, 3] for each in types), types


@pytest.mark.parametrize("dtype", ["FP16", "FP32", "FP64", "BF16", "U8", "I32", "I64"])
def test_tensors_of_all_seven_types_pass_through_a_model(gateway, dtype):
    model = "identity_" + {"U8": "UINT8", "I32": "INT32", "I64": "INT64"}.get(dtype, dtype)
    answer = gateway.get(f"/fixtures/tensors?model={model}&input=x&type={dtype}").json()
    assert answer == {"outputs": [{"output": "y", "type kept": True, "shape": [6], "data kept": True}]}


def read_until(stream, wanted):
    received = b""
    while wanted not in received:
        more = stream.recv(65536)
        assert more, f"closed after {received!r}"
        received += more
    return received


def test_bodies_stream_both_ways(gateway):
    """Each chunk comes back before the next one is sent: neither side waits for an end."""
    with gateway.socket() as stream:
        stream.sendall(b"POST /fixtures/echo-stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in (b"first", b"second", b"third"):
            stream.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            read_until(stream, part)
        stream.sendall(b"0\r\n\r\n")
        read_until(stream, b"0\r\n\r\n")


def test_a_large_body_is_echoed_whole(gateway):
    body = bytes(range(256)) * (4 << 12)
    answer = gateway.post("/fixtures/echo-stream", body, headers={"content-type": "x/y"})
    assert answer.status == 200 and answer.body == body and answer.headers["content-type"] == "x/y"
    pieces = (body[at : at + 9973] for at in range(0, len(body), 9973))
    assert gateway.post("/fixtures/echo-stream", pieces).body == body


def test_a_guest_of_wasi_http_0_3_serves_as_others_do(gateway):
    """It streams both ways, calls a model, keeps its instance where its route says so, and fails alone."""
    with gateway.socket() as stream:
        stream.sendall(b"POST /fixtures/service/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in (b"first", b"second"):
            stream.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            read_until(stream, part)
    numbers = np.array([1.5, -2.0, 0.25], "<f4").tobytes()
    answer = gateway.post("/fixtures/service/infer?model=identity_FP32&input=x&shape=3", numbers)
    assert answer.body == b"[1.5, -2.0, 0.25]", answer.body
    assert [gateway.get("/fixtures/service/count").body for _ in range(3)] == [b"1"] * 3
    assert gateway.get("/fixtures/service/trap").status == 500
    counts = [int(gateway.get("/fixtures/reused/service/count").body) for _ in range(3)]
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]


def test_a_slow_answer_comes_line_by_line(gateway):
    with gateway.socket() as stream:
        stream.sendall(b"GET /fixtures/slow-body?lines=2&ms=700 HTTP/1.1\r\nhost: x\r\n\r\n")
        first = read_until(stream, b"line 1\n")
        assert b"line 2" not in first
        read_until(stream, b"line 2\n")


def test_request_ids_are_kept_or_made(gateway):
    mine = gateway.get("/fixtures/hello", headers={"x-request-id": "my-id-7"})
    assert mine.request_id == "my-id-7"
    made = [gateway.get(path).request_id for path in ("/fixtures/hello", "/v2", "/v1/models", "/nowhere", "/v2/models/none")]
    assert len(set(made)) == len(made) and all(len(each) == 32 for each in made)
    replaced = gateway.get("/fixtures/hello", headers={"x-request-id": "not sane"})
    assert replaced.request_id and replaced.request_id != "not sane"


def test_a_trace_goes_on(gateway):
    answer = gateway.get("/fixtures/hello", headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
    (line,) = gateway.wait_for_log(TRACE, request_id=answer.request_id, target="access")
    assert line["trace_id"] == TRACE


def test_what_a_guest_prints_is_in_the_log_with_app_and_request(gateway):
    answer = gateway.get("/fixtures/chatty")
    assert answer.text == "said it all\n"
    gateway.wait_for_log("the rest of its stdout is dropped", request_id=answer.request_id)
    lines = gateway.log_entries(request_id=answer.request_id, target="guest")
    assert {line["app"] for line in lines} == {"fixtures"}
    assert {line.get("stream") for line in lines} >= {"stdout", "stderr"}
    said = [line.get("line", "").strip('"') for line in lines]
    for stream in ("stdout", "stderr"):
        assert [f"{stream} line {at}" for at in range(1, 21)] == [line for line in said if line.startswith(f"{stream} line")]
    # A guest forges no line of its own, and colours nobody's terminal.
    assert not gateway.log_entries(forged="yes") and "\x1b" not in gateway.log()


def test_http_1_0_without_a_host_is_served(gateway):
    with gateway.socket() as stream:
        stream.sendall(b"GET /fixtures/hello HTTP/1.0\r\n\r\n")
        received = b""
        while more := stream.recv(4096):
            received += more
    head, body = received.split(b"\r\n\r\n", 1)
    assert b" 200 " in head.splitlines()[0] and body == b"hello, world\n"


def test_one_connection_carries_many_requests(gateway):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    for path in ("/fixtures/hello", "/v2", "/nowhere", "/fixtures/hello"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == (404 if path == "/nowhere" else 200)
    connection.close()


def test_apps_answer_by_host_and_longest_prefix(tmp_path, gateway):
    routes = [
        ("any", None, "/", "echo_stream"),
        ("deep", None, "/deep/er", "hello"),
        ("named", "named.test", "/", "hello"),
    ]
    apps = [app(tmp_path, name, path, component, host=host) for name, host, path, component in routes]
    with support.Gateway(tmp_path, *[f"--app={each}" for each in apps], cache_of=gateway) as other:

        def answer(path, host="localhost"):
            return other.post(path, b"echo", headers={"host": host}).text

        assert answer("/") == answer("/deep") == answer("/deep/erx") == "echo"
        assert answer("/deep/er") == answer("/deep/er/x?y") == "hello, world\n"
        assert answer("/", "named.test") == answer("/x", "NAMED.test:8080") == "hello, world\n"
        assert answer("/", "other.test") == "echo"
        # The native routes are nobody else's.
        assert other.get("/v2").json()["name"] == "headland"
        assert "error" in other.get("/v1/nothing").json()


def test_canaries_share_by_weight(tmp_path, gateway):
    path = tmp_path / "canary.app.toml"
    routes = [("hello", 3), ("echo_stream", 1)]
    path.write_text(
        'name = "canary"\n'
        + "".join(f'[[route]]\npath = "/"\ncomponent = "{support.component(name)}"\nweight = {weight}\n' for name, weight in routes)
    )
    with support.Gateway(tmp_path, f"--app={path}", cache_of=gateway) as other:
        answers = [other.post("/", b"echo").text for _ in range(400)]
    hello, echo = answers.count("hello, world\n"), answers.count("echo")
    assert hello + echo == 400 and 60 < echo < 140, (hello, echo)


class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_outgoing_requests_reach_what_the_manifest_allows_and_nothing_else(tmp_path, gateway):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        path = app(tmp_path, "out", "/out", "outbound", more=f'[outbound]\nallow = ["http://127.0.0.1:{port}"]')
        with support.Gateway(tmp_path, f"--app={path}", cache_of=gateway) as other:
            assert other.get(f"/out?url=http://127.0.0.1:{port}/x").json() == {"status": 204}
            for denied in (f"http://localhost:{port}/", f"http://127.0.0.1:{other.admin_port}/metrics", f"https://127.0.0.1:{port}/"):
                answer = other.get(f"/out?url={denied}").json()
                assert "HttpRequestDenied" in answer["error"], answer
            other.wait_for_log(f'add ."http://127.0.0.1:{other.admin_port}." to `allow` under .outbound', app="out")
        server.shutdown()


def test_an_environment_variable_of_the_manifest_chooses_the_model(tmp_path, gateway):
    path = app(tmp_path, "two", "/two", "digits", more='[models]\nallow = ["other"]\n[env]\nMODEL = "other"')
    arguments = [f"--app={path}", f"--model=other={support.DIGITS}"]
    with support.Gateway(tmp_path, *arguments, cache_of=gateway) as other:
        image = support.DIGITS / "samples/7.png"
        assert other.post("/two", image.read_bytes()).json()["digit"] == 7


def test_many_different_requests_at_once_are_all_right(gateway, samples, goldens):
    short = [golden for golden in goldens["goldens"] if golden["sentence"] and len(golden["input_ids"]) < 40]

    def digit(at):
        image, entry = samples[at % len(samples)]
        assert gateway.post("/digits", image.read_bytes()).json()["digit"] == entry["digit"]

    def infer(at):
        _, entry = samples[at % len(samples)]
        body = {"id": str(at), "inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": [entry["image"]]}]}
        answer = gateway.post("/v2/models/digits/infer", json_body=body).json()
        logits = answer["outputs"][0]["data"]
        assert answer["id"] == str(at) and logits.index(max(logits)) == entry["digit"]

    def embed(at):
        golden = short[at % len(short)]
        request = {"model": "all-minilm-l6-v2", "input": golden["sentence"]}
        vector = gateway.post("/v1/embeddings", json_body=request).json()["data"][0]["embedding"]
        assert sum(a * b for a, b in zip(vector, golden["embedding"])) > 0.9999

    def find(_):
        assert "nod off" in search(gateway, query="what helps me fall asleep?")[0]["document"]

    def echo(at):
        body = str(at).encode() * 5000
        assert gateway.post("/fixtures/echo-stream", body).body == body

    def trap(_):
        assert gateway.get("/fixtures/trap").status == 500

    def hello(at):
        answer = gateway.get("/fixtures/hello", headers={"x-request-id": f"many-{at}"})
        assert (answer.body, answer.request_id) == (b"hello, world\n", f"many-{at}")

    kinds = [digit, infer, embed, find, echo, trap, hello, digit]
    with ThreadPoolExecutor(32) as pool:
        results = [pool.submit(kinds[at % len(kinds)], at) for at in range(320)]
    for result in results:
        result.result()
