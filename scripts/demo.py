#!/usr/bin/env python3
"""Starts the gateway with the example apps, asks each a real question, and shows what was asked and answered.

`make demo` builds and fetches, then calls this. It leaves the gateway running until Ctrl-C; with --once it stops it and
ends with 0 only if every answer was right. Needs nothing but Python's standard library.
"""

import argparse
import codecs
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 40
ANSWER_SECONDS_MAX = 30
LOG_LINES_SHOWN = 25
PORT_VARIABLE = "HEADLAND_DEMO_PORT"
# Of a streamed answer on the screen.
WIDTH = 110
MODEL = "all-minilm-l6-v2"
WRITER = "small-talk"
SAMPLES = Path("models/digits/samples")
IMAGES = {"drawn-3.png": 3, "7.jpg": 7, "white-on-black-5.png": 5}


class DemoError(Exception):
    """Something that keeps the demo from going on, told to whoever runs it."""


class Gateway:
    """`headland up` as a child process, its log in a file."""

    def __init__(self, binary, cache, port):
        self.url, self.admin_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
        self.log_path = cache / "demo/headland.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        command = [
            binary, "up",
            "--model", f"{MODEL}={cache}/models/{MODEL}",
            "--model", "digits=models/digits",
            "--model", f"{WRITER}=models/{WRITER}",
            "--app", "guest-examples/rust/semantic-search/headland.app.toml",
            "--app", "guest-examples/rust/digits/headland.app.toml",
            "--app", "guest-examples/rust/chat-guard/headland.app.toml",
            "--data-dir", cache / "demo",
            "--listen", f"127.0.0.1:{port}",
            "--admin-listen", f"127.0.0.1:{port + 1}",
        ]  # fmt: skip
        environment = {**os.environ, "ORT_DYLIB_PATH": f"{cache}/onnxruntime/libonnxruntime.so"}
        with self.log_path.open("wb") as log:
            # In a session of its own, so that Ctrl-C reaches it as one orderly SIGTERM from here.
            self.process = subprocess.Popen(
                list(map(str, command)), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.is_ready():
            if self.process.poll() is not None:
                raise DemoError(f"the gateway ended with {self.process.returncode} while starting\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise DemoError(f"the gateway was not ready within {START_SECONDS_MAX} s\n{self.log_tail()}")
            time.sleep(0.05)

    def is_ready(self):
        try:
            return ask(f"{self.url}/v2/health/ready")[0] == 200
        except OSError:
            return False

    def log_tail(self):
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"--- the end of {self.log_path}", *lines])

    def stop(self):
        """Stops the gateway as an operator would, and says whether it ended cleanly."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX) == 0
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False


# No proxy stands between this machine and itself, whatever the environment says.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url, body=None, headers=None):
    """One request: status, body, and how long it took in milliseconds."""
    request = urllib.request.Request(url, body, headers or {})
    started = time.monotonic()
    try:
        with OPENER.open(request, timeout=ANSWER_SECONDS_MAX) as response:
            status, answer = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, answer = error.code, error.read()
    return status, answer, (time.monotonic() - started) * 1000


class Show:
    """Prints questions and answers side by side, and remembers whether all were right."""

    def __init__(self):
        self.right = self.asked = self.column = 0
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.bold, self.green, self.red, self.off = ("\033[1m", "\033[32m", "\033[31m", "\033[0m") if colour else [""] * 4

    def title(self, text):
        print(f"\n{self.bold}{text}{self.off}")

    def line(self, head, text):
        print(f"  {head:<8} {text}")

    def json(self, url, body):
        """Asks in JSON; gives the answer, or None when it was no success."""
        return self.answer(*ask(url, json.dumps(body).encode(), {"content-type": "application/json"}))

    def image(self, url, path):
        self.line("POST", f"{url}   {path}")
        kind = "image/png" if path.suffix == ".png" else "image/jpeg"
        return self.answer(*ask(url, (ROOT / path).read_bytes(), {"content-type": kind}))

    def stream(self, url, body, lines=True):
        """Asks, and gives the answer while it comes: line by line, or as it arrives."""
        request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
        started = time.monotonic()
        with OPENER.open(request, timeout=ANSWER_SECONDS_MAX) as response:
            self.headers = response.headers
            decoder = codecs.getincrementaldecoder("utf-8")()
            for part in response if lines else iter(lambda: response.read1(), b""):
                yield decoder.decode(part)
        self.took = (time.monotonic() - started) * 1000

    def piece(self, text):
        """Shows a piece of an answer as it comes, in one paragraph."""
        if not self.column:
            print("  answer   ", end="")
            self.column = 11
        for word in re.split(r"(?<= )", text):
            if self.column + len(word) > WIDTH and word.strip():
                print("\n           ", end="")
                self.column = 11
            print(word, end="", flush=True)
            self.column += len(word)
        return text

    def end(self):
        print()
        self.column = 0

    def answer(self, status, answer, took):
        if status == 200:
            self.took = took
            return json.loads(answer)
        self.line(str(status), answer.decode(errors="replace").strip()[:300])
        return None

    def check(self, is_right, claim):
        self.asked += 1
        self.right += bool(is_right)
        mark = f"{self.green}✓{self.off}" if is_right else f"{self.red}✗{self.off}"
        print(f"  {mark} {claim}" + (f"  ({self.took:.1f} ms)" if is_right else ""))


def search(show, url):
    show.title("Semantic search: a Wasm app that asks the embedding model over wasi:nn")
    documents = [
        "The cathedral's bells are rung by hand every Sunday.",
        "Cacti store water in their stems to outlast the dry season.",
        "Our quarterly revenue grew by nine percent.",
    ]
    query = "how do desert plants survive without rain?"
    for ask_for, body, expected in [
        ("among 3 documents of your own", {"query": query, "documents": documents}, documents[1]),
        ("in the built-in corpus", {"query": "what helps me fall asleep?", "top_k": 3}, "nod off at night"),
    ]:
        show.line("POST", f"{url}/search   {json.dumps(body['query'])} {ask_for}")
        answer = show.json(f"{url}/search", body)
        results = answer["results"] if answer else []
        for result in results:
            show.line(f"{result['score']:8.3f}", result["document"])
        show.check(results and expected in results[0]["document"], "the document that answers the question comes first")


def digits(show, url):
    show.title("Digits: a Wasm app that decodes a picture and asks an ONNX model over wasi:nn")
    for name, expected in IMAGES.items():
        answer = show.image(f"{url}/digits", SAMPLES / name)
        if answer:
            show.line("answer", f"digit {answer['digit']}, confidence {answer['confidence']:.3f}")
        show.check(answer and answer["digit"] == expected, f"it shows a {expected}")


def chat(show, url):
    show.title("OpenAI's API: a chat, streamed token by token")
    show.line("POST", f"{url}/v1/chat/completions   What is Headland?")
    body = {
        "model": WRITER, "messages": [{"role": "user", "content": "What is Headland?"}], "temperature": 0,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    text, usage = "", None
    for line in show.stream(f"{url}/v1/chat/completions", json.dumps(body)):
        if line.startswith("data: {"):
            event = json.loads(line[len("data: "):])
            usage = event["usage"] or usage
            for choice in event["choices"]:
                text += show.piece(choice["delta"].get("content", ""))
    show.end()
    show.check("edge AI inference gateway" in text, f"a sentence that says so, in {usage and usage['completion_tokens']} tokens")


def guarded_chat(show, url):
    show.title("Chat guard: a Wasm app that streams a language model's answer, and lets no personal data through")
    question = "Give me the contact details of Mara Lindqvist."
    show.line("POST", f"{url}/chat   {question}")
    text = "".join(show.piece(piece) for piece in show.stream(f"{url}/chat", question, lines=False))
    show.end()
    show.check("Mara" in text and "[e-mail removed]" in text and "@" not in text, "the address that the model knows is removed on its way")
    show.line("POST", f"{url}/chat   My e-mail address is jane@example.com.")
    list(show.stream(f"{url}/chat", "My e-mail address is jane@example.com.", lines=False))
    show.check(show.headers["x-guard-removed"] == "1", "the address in the question never reaches the model")


def embeddings(show, url):
    show.title("OpenAI's API: embeddings, tokenised by the gateway")
    texts = ["a ship at sea", "a boat on the ocean", "interest rates"]
    show.line("POST", f"{url}/v1/embeddings   {json.dumps(texts)}")
    answer = show.json(f"{url}/v1/embeddings", {"model": MODEL, "input": texts})
    vectors = [item["embedding"] for item in answer["data"]] if answer else []
    for text, vector in zip(texts, vectors):
        show.line("answer", f"{text:<20} {shortened(vector)}")
    sizes_fit = len(vectors) == 3 and all(len(v) == 384 and abs(math.sqrt(dot(v, v)) - 1) < 1e-4 for v in vectors)
    show.check(sizes_fit, "three vectors of 384 numbers, each of length 1")
    near = sizes_fit and dot(vectors[0], vectors[1]) > 0.5 > 0.2 > dot(vectors[0], vectors[2])
    show.check(near, "ship and boat are near each other, interest rates are far away")


def infer(show, url):
    show.title("Open Inference Protocol: the same models, without an app, as KServe and Triton clients ask")
    route = f"{url}/v2/models/digits/infer"
    image = json.loads((ROOT / SAMPLES / "expected.json").read_text())["0.png"]["image"]
    show.line("POST", f"{route}   an 8 x 8 image of a 0")
    body = {"inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": [image]}]}
    answer = show.json(route, body)
    logits = answer["outputs"][0]["data"] if answer else []
    if logits:
        show.line("answer", f"{answer['outputs'][0]['name']} {shortened(logits)}")
    show.check(logits and logits.index(max(logits)) == 0, "the largest of ten logits is that of 0")
    route = f"{url}/v2/models/{MODEL}/infer"
    show.line("POST", f"{route}   the text \"a ship at sea\"")
    answer = show.json(route, {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a ship at sea"]}]})
    output = answer["outputs"][0] if answer else {"name": "", "shape": []}
    if answer:
        show.line("answer", f"{output['name']} {shortened(output['data'])}")
    show.check(output["shape"] == [1, 384], "one vector of 384 numbers")


def binary_infer(show, url):
    """The binary-tensor extension: JSON first, then the tensors as they lie in memory."""
    image = json.loads((ROOT / SAMPLES / "expected.json").read_text())["8.png"]["image"]
    tensor = struct.pack("<64f", *(pixel for row in image for pixel in row))
    head = {
        "inputs": [
            {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": len(tensor)}}
        ]
    }
    head = json.dumps(head).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    route = f"{url}/v2/models/digits/infer"
    show.line("POST", f"{route}   an 8 x 8 image of an 8, as {len(tensor)} raw bytes")
    answer = show.answer(*ask(route, head + tensor, headers))
    logits = answer["outputs"][0]["data"] if answer else []
    if logits:
        show.line("answer", f"logits {shortened(logits)}")
    show.check(logits and logits.index(max(logits)) == 8, "the largest of ten logits is that of 8")


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def shortened(vector):
    return f"[{', '.join(f'{value:.3f}' for value in vector[:4])}, ... {len(vector)} numbers]"


def try_next(gateway, binary):
    return f"""
Try next, from {ROOT}:
  curl {gateway.url}/search -d '{{"query": "how do I keep plants alive without rain?"}}'
  curl {gateway.url}/digits --data-binary @{SAMPLES}/drawn-4.png
  curl -N {gateway.url}/chat -d 'Tell me a story about an owl.'
  {binary} run models/{WRITER} "Why is the sky blue?"
  curl {gateway.url}/v1/embeddings -H 'content-type: application/json' -d '{{"model": "{MODEL}", "input": "hello"}}'
  curl {gateway.url}/v2/models/{MODEL}
  curl {gateway.url}/v2/models/{MODEL}/infer -d '{{"inputs": [{{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}}]}}'
  curl {gateway.admin_url}/metrics
  {binary} model list --server {gateway.admin_url}
The log is in {gateway.log_path}. Ctrl-C stops the gateway."""


def chosen_port():
    text = os.environ.get(PORT_VARIABLE, "8080")
    if not text.isdecimal() or not 1 <= int(text) <= 65534:
        raise DemoError(f"{PORT_VARIABLE}={text} is no port number between 1 and 65534")
    port = int(text)
    for each in (port, port + 1):
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", each))
        except OSError as error:
            example = f"{PORT_VARIABLE}=9000 make demo"
            raise DemoError(f"port {each} cannot be used: {error.strerror}; choose others (9000 and 9001) with: {example}") from error
    return port


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the headland binary")
    parser.add_argument("--cache", type=Path, required=True, help="where `make fetch` put models and libraries")
    parser.add_argument("--once", action="store_true", help="stop after the requests; 0 only if all answers were right")
    options = parser.parse_args()
    return options.binary.absolute(), options.cache.absolute(), options.once


def demo(binary, cache, once):
    port = chosen_port()
    gateway = Gateway(binary, cache, port)
    show = Show()
    interrupted = False
    try:
        print(f"Starting {binary} up (log: {gateway.log_path})")
        started = time.monotonic()
        gateway.wait_until_ready()
        print(f"Ready after {time.monotonic() - started:.1f} s: {gateway.url}, administration on {gateway.admin_url}")
        for part in (search, digits, chat, guarded_chat, embeddings, infer, binary_infer):
            part(show, gateway.url)
        print(f"\n{show.right} of {show.asked} answers were right.")
        if show.right < show.asked:
            print(gateway.log_tail())
        if not once:
            print(try_next(gateway, binary), flush=True)
            code = gateway.process.wait()
            raise DemoError(f"the gateway ended by itself with {code}\n{gateway.log_tail()}")
    except KeyboardInterrupt:
        interrupted = True
        print("\nStopping the gateway.")
    finally:
        stopped_cleanly = gateway.stop()
    if not stopped_cleanly:
        raise DemoError(f"the gateway did not stop cleanly\n{gateway.log_tail()}")
    print("The gateway stopped cleanly.")
    # Ctrl-C is how one leaves the demo, but it cuts --once short.
    return 0 if show.right == show.asked and not (once and interrupted) else 1


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    try:
        return demo(*arguments())
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
