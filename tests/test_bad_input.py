"""Bad input, and what it gets. After each of these tests the next good request has to succeed."""

import http.client
import io
import json
import random
import socket
import struct
import threading
import time

import pytest
from PIL import Image

import gateway as support

INFER = "/v2/models/digits/infer"
EMBED = "/v2/models/all-minilm-l6-v2/infer"
PIXELS = [0.0] * 64


def still_fine(gateway):
    """One good request through everything: HTTP, a guest, wasi:nn, ONNX Runtime."""
    answer = gateway.post("/digits", (support.DIGITS / "samples/7.png").read_bytes())
    assert answer.status == 200 and answer.json()["digit"] == 7, answer.text


@pytest.fixture(autouse=True)
def the_next_good_request_succeeds(gateway):
    yield
    still_fine(gateway)


def image(**changes):
    tensor = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": PIXELS, **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


def binary(request, tail, length=None):
    """A request of the binary-tensor extension: body and headers."""
    head = json.dumps(request).encode()
    return head + tail, {"inference-header-content-length": str(len(head) if length is None else length)}


def error_of(answer):
    """The message, in the Open Inference Protocol's shape."""
    body = answer.json()
    assert set(body) == {"error"}, body
    return body["error"]


def problem_of(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.headers
    problem = answer.json()
    assert problem["status"] == answer.status and problem["title"] and problem["type"], problem
    return problem


# Names


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v2/models/nope", "GET"),
        ("/v2/models/nope/ready", "GET"),
        ("/v2/models/nope/infer", "POST"),
        ("/v2/models/digits/versions/9", "GET"),
        ("/v2/models/digits/versions/9/infer", "POST"),
        ("/v2/models/digits:9/infer", "POST"),
        ("/v2/models/%20bad%20name/infer", "POST"),
    ],
)
def test_an_unknown_model_or_version_is_404_and_names_the_loaded_ones(gateway, path, method):
    answer = gateway.request(method, path, json_body=image() if method == "POST" else None)
    assert answer.status == 404
    message = error_of(answer)
    assert "digits:1" in message and "loaded" in message, message


def test_a_model_by_version_or_digest_in_its_name_is_found(gateway):
    digest = next(each for each in gateway.admin("/admin/v1/models").json()["models"] if each["name"] == "digits")["digest"]
    for name in ("digits:1", f"digits@{digest}"):
        assert gateway.post(f"/v2/models/{name}/infer", json_body=image()).status == 200, name


def test_no_app_is_404_and_says_what_to_write(gateway):
    answer = gateway.get("/nobody/home")
    assert answer.status == 404
    problem = problem_of(answer)
    assert "/nobody/home" in problem["detail"] and "[[route]]" in problem["detail"]
    assert problem["request_id"] == answer.request_id


def test_other_methods_are_405_with_allow(gateway):
    answer = gateway.get(INFER)
    assert answer.status == 405 and "POST" in answer.headers["allow"] and error_of(answer)


# Tensors


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "picture"}, "unknown input `picture`"),
        ({"shape": [1, 8, 9], "data": [0.0] * 72}, "FP32[1,8,9]"),
        ({"shape": [64]}, "FP32[64]"),
        ({"shape": []}, "[]"),
        ({"datatype": "FP64"}, "FP64[1,8,8]"),
        ({"datatype": "FP33"}, "FP33"),
        ({"data": PIXELS[:-1]}, "64 elements, got 63"),
        ({"data": [*PIXELS, 0.0]}, "64 elements, got 65"),
        ({"data": [PIXELS[:32], PIXELS[:31]]}, "ragged"),
        ({"data": [PIXELS[:32], PIXELS[32:]]}, "nested as [2,32]"),
        ({"data": ["1"] * 64}, "FP32 element"),
        ({"data": 7}, "array"),
        ({"data": None}, "data"),
        ({"shape": [-1, 8, 8]}, "-1"),
        ({"shape": [2**40, 2**40, 2**40]}, ""),
        ({"shape": [2**64, 1, 1]}, ""),
        ({"shape": [1.5, 8, 8]}, "1.5"),
        ({"shape": [1] * 100}, ""),
        ({"parameters": {"shared_memory_region": "x"}, "data": None}, "shared"),
    ],
)
def test_a_tensor_that_does_not_fit_is_400(gateway, changes, expected):
    answer = gateway.post(INFER, json_body=image(**changes))
    assert answer.status == 400, answer.text
    assert expected in error_of(answer), answer.text


@pytest.mark.parametrize("changes", [{"name": "picture"}, {"shape": [64]}, {"datatype": "FP64"}])
def test_a_tensor_that_does_not_fit_names_the_signature(gateway, changes):
    assert "the model takes image FP32[" in error_of(gateway.post(INFER, json_body=image(**changes)))


@pytest.mark.parametrize(
    ("size", "tail", "length", "expected"),
    [
        (256, bytes(255), None, "255"),
        (256, bytes(257), None, "1 bytes are left over"),
        (255, bytes(255), None, "255"),
        (-1, bytes(256), None, "-1"),
        (2**63, bytes(256), None, ""),
        (256, bytes(256), 10**9, "1000000000"),
        (256, bytes(256), "ten", "Inference-Header-Content-Length"),
        (256, bytes(256), 7, "column"),
    ],
    ids=["short body", "long body", "short tensor", "negative", "huge", "head over body", "no number", "cut JSON"],
)
def test_binary_tensors_of_the_wrong_length_are_400(gateway, size, tail, length, expected):
    body, headers = binary(image(data=None, parameters={"binary_data_size": size}), tail, length)
    answer = gateway.post(INFER, body, headers=headers)
    assert answer.status == 400 and expected in error_of(answer), answer.text


def test_strings_with_broken_lengths_are_400(gateway):
    for raw in (b"\x05\0\0\0abc", b"\xff\xff\xff\xffabc", b"\x01\0", b"\x01\0\0\0ab"):
        tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
        body, headers = binary({"inputs": [tensor]}, raw)
        answer = gateway.post("/v2/models/identity_BYTES/infer", body, headers=headers)
        assert answer.status == 400 and "x" in error_of(answer), answer.text


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([{"name": "input_ids", "shape": [1, 600], "datatype": "INT64", "data": [7] * 600}], "512"),
        ([{"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [101, 10**6]}], "1000000"),
        ([{"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [101, -1]}], "-1"),
        (
            [
                {"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [101, 102]},
                {"name": "attention_mask", "shape": [1, 3], "datatype": "INT64", "data": [1, 1, 1]},
            ],
            "axis `sequence` is 2 in `input_ids` and 3 in `attention_mask`",
        ),
        (
            [
                {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]},
                {"name": "input_ids", "shape": [1, 1], "datatype": "INT64", "data": [101]},
            ],
            "stands alone",
        ),
        ([{"name": "text", "shape": [1], "datatype": "INT32", "data": [1]}], "text"),
        ([], "is missing"),
    ],
    ids=["too long", "id over the vocabulary", "negative id", "mask of another length", "text and ids", "text of numbers", "none"],
)
def test_text_models_refuse_what_they_cannot_read(gateway, inputs, expected):
    answer = gateway.post(EMBED, json_body={"inputs": inputs})
    assert answer.status == 400 and expected in error_of(answer), answer.text


def test_text_that_is_no_utf8_is_400(gateway):
    raw = struct.pack("<I", 3) + b"a\xff\xfe"
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    body, headers = binary({"inputs": [tensor]}, raw)
    answer = gateway.post(EMBED, body, headers=headers)
    assert answer.status == 400 and "UTF-8" in error_of(answer), answer.text


def test_long_text_is_cut_and_said_to_be(gateway):
    texts = ["short", "sea " * 1000, "sea " * 100_000]
    answer = gateway.post(EMBED, json_body={"inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": texts}]})
    assert answer.status == 200
    assert answer.headers["x-headland-truncated"] == "2 of 3 texts cut to 256 tokens"


# Bodies


@pytest.mark.parametrize(
    ("body", "line"),
    [(b"", 1), (b"{", 1), (b'{"inputs": [\n\n nonsense]}', 3), (b'{"inputs": {}}', 1), (b"[]", 1), (b"\xff\xfe", 1), (b"[" * 5000, 1)],
)
def test_malformed_json_is_400_with_its_position(gateway, body, line):
    answer = gateway.post(INFER, body)
    assert answer.status == 400 and f"line {line}, column" in error_of(answer), answer.text


def test_an_apps_own_json_errors_have_their_position(gateway):
    answer = gateway.post("/search", b'{"query": "x",\n nope}')
    assert answer.status == 400 and "line 2" in problem_of(answer)["detail"]


def test_random_damage_is_never_a_failure_of_ours(gateway):
    """Bytes of good requests changed, cut and doubled, from a fixed seed: a client's mistake, every time."""
    generator = random.Random(20261121)
    good = [
        (INFER, *binary(image(data=None, parameters={"binary_data_size": 256}), bytes(256))),
        (INFER, json.dumps(image()).encode(), {}),
        (EMBED, json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}).encode(), {}),
        ("/v1/embeddings", json.dumps({"model": "all-minilm-l6-v2", "input": ["a", "b"]}).encode(), {}),
        ("/search", json.dumps({"query": "a", "documents": ["b"]}).encode(), {}),
        ("/digits", (support.DIGITS / "samples/7.png").read_bytes(), {}),
        ("/digits", (support.DIGITS / "samples/7.jpg").read_bytes(), {}),
    ]
    for at in range(420):
        path, body, headers = good[at % len(good)]
        damaged = bytearray(body)
        for _ in range(generator.randint(1, 4)):
            where = generator.randrange(len(damaged) or 1)
            kind = generator.randrange(4)
            if kind == 0 and damaged:
                damaged[where] = generator.randrange(256)
            elif kind == 1:
                del damaged[where:]
            elif kind == 2:
                damaged[where:where] = damaged[: generator.randint(1, 20)]
            else:
                damaged[where : where + 1] = str(generator.choice([-1, 0, 2**31, 2**63, 1e400])).encode()
        answer = gateway.post(path, bytes(damaged), headers=headers)
        assert answer.status < 500, f"{at}: {path} {bytes(damaged)!r}: {answer.status} {answer.text}"


def test_compressed_bodies_are_415_on_native_routes(gateway):
    answer = gateway.post(INFER, b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert answer.status == 415 and error_of(answer)


def send_too_much(port, head, pieces):
    """Sends until the gateway has had enough, then reads its answer to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as stream:
        stream.sendall(head)
        try:
            for piece in pieces:
                stream.sendall(piece)
        except OSError:
            pass
        received = b""
        try:
            while more := stream.recv(65536):
                received += more
        except OSError:
            pass
    return received


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@pytest.mark.parametrize(("path", "mebibytes"), [("/search", 9), ("/digits", 17)])
def test_a_body_over_an_apps_limit_is_413(gateway, path, mebibytes, framing):
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    piece = bytes(1 << 16)
    if framing == "chunked":
        head += "transfer-encoding: chunked\r\n\r\n"
        pieces = [b"10000\r\n" + piece + b"\r\n"] * (mebibytes * 16) + [b"0\r\n\r\n"]
    else:
        head += f"content-length: {mebibytes << 20}\r\n\r\n"
        pieces = []
    received = send_too_much(gateway.port, head.encode(), pieces)
    assert received.startswith(b"HTTP/1.1 413 "), received[:500]
    assert b"application/problem+json" in received and b"limit of" in received


@pytest.mark.parametrize(
    ("picture", "status", "expected"),
    [
        (b"", 400, "no body"),
        (b"GIF89a nonsense", 415, "neither a PNG nor a JPEG"),
        ("cut.png", 422, "PNG cannot be decoded"),
        ("flipped.png", 422, "PNG cannot be decoded"),
        ("cut.jpg", 422, "JPEG cannot be decoded"),
        ("blank.png", 422, "no digit found"),
    ],
    ids=["empty", "not a picture", "cut PNG", "corrupt PNG", "cut JPEG", "blank"],
)
def test_a_picture_that_cannot_be_read_is_told_so_by_the_guest(gateway, picture, status, expected):
    answer = gateway.post("/digits", spoilt(picture) if isinstance(picture, str) else picture)
    assert answer.status == status and expected in problem_of(answer)["detail"], answer.text


def spoilt(name):
    if name == "blank.png":
        out = io.BytesIO()
        Image.new("L", (28, 28), 255).save(out, "PNG")
        return out.getvalue()
    whole = (support.DIGITS / f"samples/7.{name[-3:]}").read_bytes()
    if name == "flipped.png":
        at = whole.index(b"IDAT") + 20
        return whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    return whole[: len(whole) // 3]


# Guests


def test_a_trap_is_500_with_the_request_id_and_nothing_of_the_inside(gateway):
    answer = gateway.get("/fixtures/trap")
    assert answer.status == 500
    problem = problem_of(answer)
    assert problem["request_id"] == answer.request_id and answer.request_id in problem["detail"]
    for inside in ("secret", "battery", "password", "panic", "wasm", ".rs", "unreachable"):
        assert inside not in answer.text, answer.text
    # All of it is in the log, under the same id.
    gateway.wait_for_log("correct-horse", request_id=answer.request_id, app="fixtures")
    gateway.wait_for_log("battery-staple", request_id=answer.request_id)
    gateway.wait_for_log("guest failed", request_id=answer.request_id)


def test_an_endless_guest_is_504_at_its_deadline_and_starves_nobody(gateway):
    started = time.monotonic()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(gateway.get("/fixtures/spin-forever"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert gateway.get("/fixtures/hello").status == 200
    hello_took = time.monotonic() - started
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [504] * 4
    assert "deadline of 1000 ms" in problem_of(answers[0])["detail"]
    assert hello_took < 1, "a quick guest had to wait for four endless ones"
    assert time.monotonic() - started < 10


def test_a_guest_that_says_nothing_is_500(gateway):
    answer = gateway.get("/fixtures/never-responds")
    assert answer.status == 500 and "without answering" in problem_of(answer)["detail"]


def test_a_guest_that_eats_all_memory_is_told_its_limit(gateway):
    answer = gateway.get("/fixtures/eat-memory")
    assert answer.status == 500 and "memory limit of 32 MiB" in problem_of(answer)["detail"], answer.text
    polite = gateway.get("/fixtures/eat-memory?politely")
    assert polite.status == 200 and 20 <= polite.json()["mebibytes"] < 32


def test_a_guest_that_fails_within_its_body_breaks_the_connection(gateway):
    """The client must not take the beginning for the whole."""
    for path in ("/fixtures/trap-mid-body", "/fixtures/slow-body?lines=100&ms=100"):
        with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected)):
            gateway.get(path)
    text = gateway.admin("/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith('headland_guest_responses_cut_off_total{app="fixtures"}')]
    assert float(line.split()[-1]) >= 2


def test_a_client_that_leaves_stops_its_guest(gateway):
    def instances():
        text = gateway.admin("/metrics").text
        (line,) = [line for line in text.splitlines() if line.startswith('headland_guest_instances{app="fixtures"}')]
        return float(line.split()[-1])

    # An instance that answers several requests stays for a while after the last one.
    support.eventually("no guest is left of other tests", lambda: instances() == 0, seconds=60)
    for request in (b"GET /fixtures/spin-forever HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /fixtures/slow-body?lines=9&ms=900 HTTP/1.1\r\nhost: x\r\n\r\n"):
        with gateway.socket() as stream:
            stream.sendall(request)
            support.eventually("the guest runs", lambda: instances() > 0)
        support.eventually("the guest is gone", lambda: instances() == 0, seconds=5)


def test_a_request_body_that_breaks_off_harms_nobody(gateway):
    for path in ("/fixtures/echo-stream", "/digits", INFER):
        with gateway.socket() as stream:
            stream.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode() + bytes(500))
        still_fine(gateway)


@pytest.mark.parametrize(
    ("mistake", "code", "expected"),
    [
        ("shape", "invalid-argument", "FP32[1,8,9]; the model takes image FP32["),
        ("rank", "invalid-argument", "FP32[64]; the model takes image FP32["),
        ("type", "invalid-argument", "INT64[1,8,8]; the model takes image FP32["),
        ("name", "invalid-argument", "unknown input `picture`; the model takes image FP32["),
        ("bytes", "invalid-argument", "255"),
        ("missing", "invalid-argument", "input `image` is missing"),
        ("extra", "invalid-argument", "unknown input `more`"),
        ("twice", "invalid-argument", "given twice"),
        ("overflow", "invalid-argument", ""),
    ],
)
def test_a_guests_wrong_tensors_are_told_apart(gateway, mistake, code, expected):
    answer = gateway.get(f"/fixtures/wrong-shape/{mistake}").json()
    assert answer["code"] == code and expected in answer["data"], answer
    assert len(gateway.get("/fixtures/wrong-shape/right").json()["logits"]) == 10


def test_a_model_that_is_not_listed_is_denied_and_the_denial_says_what_to_write(gateway):
    answer = gateway.get("/fixtures/unlisted-model?model=all-minilm-l6-v2").json()
    assert answer["code"] == "security"
    for part in ("`fixtures`", '"all-minilm-l6-v2"', "`allow`", "[models]", "headland.app.toml"):
        assert part in answer["data"], answer
    assert gateway.get("/fixtures/unlisted-model?model=digits").json() == {"loaded": True}
    assert gateway.get("/fixtures/unlisted-model?model=digits:9").json()["code"] == "not-found"
    assert gateway.get("/fixtures/unlisted-model?model=a/b").json()["code"] == "invalid-argument"


def test_a_guests_own_graph_is_refused(gateway):
    answer = gateway.get("/fixtures/unlisted-model?load=1").json()
    assert answer["code"] == "security" and "load-by-name" in answer["data"]


def test_outgoing_requests_are_denied_unless_listed(gateway):
    answer = gateway.get(f"/fixtures/outbound?url={gateway.admin_url}/metrics")
    assert "HttpRequestDenied" in answer.json()["error"], answer.text
    gateway.wait_for_log("to allow it, add .*under .outbound", app="fixtures")


# Connections


def raw(gateway, request, seconds=30):
    with gateway.socket() as stream:
        stream.settimeout(seconds)
        received = b""
        try:
            stream.sendall(request)
            while more := stream.recv(65536):
                received += more
        except ConnectionError:
            pass
    return received


def test_what_is_no_http_is_400_and_closed(gateway):
    assert raw(gateway, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(gateway, b"GET / HTTP/9.9\r\n\r\n").startswith(b"HTTP/1.1 400")
    smuggled = b"POST /fixtures/hello HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"
    assert raw(gateway, smuggled).startswith(b"HTTP/1.1 400")


def test_a_host_that_cannot_be_told_is_400(gateway):
    for hosts in (b"host: \xff\xfe\r\n", b"host: a\r\nhost: b\r\n", b"host: a b\r\n", b"host: u:p@a\r\n", b"host: a/b\r\n"):
        answer = raw(gateway, b"GET /fixtures/hello HTTP/1.1\r\n" + hosts + b"connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400") and b"application/problem+json" in answer, answer


@pytest.mark.parametrize("head", [
    b"GET /fixtures/hello HTTP/1.1\r\n",
    b"GET /fixtures/hello HTTP/1.1\r\nhost: [::1]:99999999\r\n",
    b"GET http://other.test/fixtures/hello HTTP/1.1\r\nhost: y\r\n",
    b"FOO /fixtures/hello HTTP/1.1\r\nhost: y\r\n",
    b"GET /fixtures/hello HTTP/1.1\r\nhost: y\r\nx-bytes: \xff\xfe\r\nte: trailers\r\nkeep-alive: 5\r\nupgrade: websocket\r\n",
])  # fmt: skip
def test_odd_heads_reach_the_guest_unharmed(gateway, head):
    answer = raw(gateway, head + b"connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"hello, world\n"), answer


def test_too_many_or_too_large_headers_are_431(gateway):
    large = b"GET /fixtures/hello HTTP/1.1\r\nhost: x\r\nx-large: " + b"x" * 100_000 + b"\r\n\r\n"
    assert raw(gateway, large).startswith(b"HTTP/1.1 431")
    many = b"GET /fixtures/hello HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x-%d: y\r\n" % at for at in range(150)) + b"\r\n"
    assert raw(gateway, many).startswith(b"HTTP/1.1 431")


def test_a_head_that_never_ends_is_cut_off(gateway):
    started = time.monotonic()
    raw(gateway, b"GET /fixtures/hello HTTP/1.1\r\nhost: x\r\nx-slow: ")
    assert 5 < time.monotonic() - started < 25
