"""Starts the real `headland` binary, talks to it, reads its log and stops it. No test code sleeps: it polls to a deadline."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("HEADLAND_CACHE") or ROOT / ".cache")
MINILM = CACHE / "models/all-minilm-l6-v2"
DIGITS = ROOT / "models/digits"
GUESTS = ROOT / "guest-examples"
COMPONENTS = GUESTS / "dist"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40
REFUSE_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 60


def need(part, variable, there):
    """Skips when `part` is absent, or fails where the environment says that it has to be there."""
    if there:
        return
    if os.environ.get(variable) or os.environ.get("REQUIRE_E2E"):
        pytest.fail(f"{part} is missing and {variable} or REQUIRE_E2E is set")
    pytest.skip(f"{part} is missing")


def binary():
    built = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/headland"
    path = Path(os.environ.get("HEADLAND_BINARY") or built)
    need(f"the headland binary ({path}; `make build`)", "REQUIRE_E2E", path.is_file())
    return path


def onnxruntime_library():
    path = Path(os.environ.get("ORT_DYLIB_PATH") or CACHE / "onnxruntime/libonnxruntime.so")
    need(f"the ONNX Runtime library ({path}; `make fetch`)", "REQUIRE_ONNXRUNTIME", path.is_file())
    return path


def minilm():
    need(f"the model {MINILM} (`make fetch`)", "REQUIRE_MODELS", (MINILM / "model.safetensors").is_file())
    return MINILM


def component(name):
    path = COMPONENTS / f"{name}.wasm"
    need(f"the guest {path} (`make guests`)", "REQUIRE_GUESTS", path.is_file())
    return path


def manifest(folder):
    component("hello")
    return GUESTS / folder / "headland.app.toml"


def identity_graphs(folder):
    """Each graph of test-data/onnx/identity_*.onnx as a model folder of its own, as `--model` takes them."""
    for graph in sorted((ROOT / "test-data/onnx").glob("identity_*.onnx")):
        model = folder / graph.stem
        model.mkdir(parents=True)
        shutil.copy(graph, model / "model.onnx")
        yield model


def free_ports(count):
    """Ports that nothing listens on: all held until the last is found, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def eventually(what, check, seconds=10):
    """Polls `check` until it is true, and returns what it gave. Fails with `what`, or with what that says then, after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


@dataclass
class Answer:
    """A response, read to its end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    @property
    def request_id(self):
        return self.headers["x-request-id"]


class Gateway:
    """One `headland up` process on free ports of 127.0.0.1, its log in a file; or another command that serves."""

    def __init__(
        self, folder, *arguments, log="info,guest=debug", log_format="json", data_dir=None, cache_of=None, env=None, serves="up"
    ):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.admin_port = free_ports(2)
        self.log_path = self.folder / "headland.log"
        self.data_dir = Path(data_dir or self.folder / "data")
        if cache_of:
            # A data directory serves one gateway at a time; what another one compiled spares the work.
            self.data_dir.mkdir(parents=True, exist_ok=True)
            (self.data_dir / "cache").symlink_to(cache_of.data_dir / "cache")
        self.command = [
            str(binary()), serves,
            "--listen", f"127.0.0.1:{self.port}",
            "--admin-listen", f"127.0.0.1:{self.admin_port}",
            "--data-dir", str(self.data_dir),
            "--log", log, "--log-format", log_format,
            *map(str, arguments),
        ]  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADLAND_")}
        environment["ORT_DYLIB_PATH"] = str(onnxruntime_library())
        environment.update(env or {})
        with self.log_path.open("wb") as log_file:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=log_file, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT
            )

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.admin_port}"

    def __enter__(self):
        try:
            eventually("the gateway is ready", self.is_ready, START_SECONDS_MAX)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, *_):
        code = self.stop()
        if kind is None:
            assert code == 0, f"`headland up` ended with {code} on SIGTERM; its log:\n{self.log_tail()}"

    def is_ready(self):
        if self.process.poll() is not None:
            pytest.fail(f"`headland up` ended with {self.process.returncode}; its log:\n{self.log_tail()}")
        try:
            return self.get("/v2/health/ready").status == 200
        except OSError:
            return False

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """Asks the gateway to stop, and returns its exit code; kills it when it takes too long."""
        if self.process.poll() is None:
            self.terminate()
        return self.wait()

    def wait(self):
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return "a kill, after not stopping in time"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def request(self, method, path, body=None, headers=None, *, json_body=None, port=None):
        """Sends one request on a connection of its own. `body` may be an iterator: it is sent in chunks then."""
        headers = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, body, **more)

    @property
    def admin_token(self):
        """The token that the gateway leaves for whoever may read its data directory."""
        return (self.data_dir / "admin.token").read_text().strip()

    def admin(self, path, method="GET", body=None):
        headers = {"authorization": f"Bearer {self.admin_token}"}
        return self.request(method, path, body=body, headers=headers, port=self.admin_port)

    def socket(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS_MAX)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines=30):
        return "\n".join(line[:400] for line in self.log().splitlines()[-lines:])

    def log_entries(self, **fields):
        """The log's JSON lines that have these fields."""
        entries = (json.loads(line) for line in self.log().splitlines() if line.startswith("{") and line.endswith("}"))
        return [entry for entry in entries if all(entry.get(key) == value for key, value in fields.items())]

    def wait_for_log(self, what, **fields):
        """The log lines with these fields, as soon as one says `what` (a regular expression over the whole line)."""

        def found():
            return [entry for entry in self.log_entries(**fields) if re.search(what, json.dumps(entry, ensure_ascii=False))]

        return eventually(f"a log line of {fields} with /{what}/ in:\n{self.log_tail()}", found)


def refuses_to_start(folder, *arguments, **more):
    """Runs `headland up`, which has to end by itself with an error, and returns what it said."""
    gateway = Gateway(folder, *arguments, log_format="text", **more)
    try:
        code = gateway.process.wait(REFUSE_SECONDS_MAX)
    finally:
        gateway.kill()
    assert code == 1, f"ended with {code}:\n{gateway.log_tail()}"
    return gateway.log()


def run(*arguments, check=True):
    """Runs another subcommand to its end."""
    result = subprocess.run([str(binary()), *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=ROOT)
    if check:
        assert result.returncode == 0, f"{result.args} ended with {result.returncode}: {result.stderr}"
    return result
