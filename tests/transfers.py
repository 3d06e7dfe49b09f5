"""What tests of pushing and pulling need: the command as a user runs it, a network that counts and breaks, stand-ins."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import gateway as support

COMMAND_SECONDS_MAX = 100
PIECE = 64 << 10


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def model_folder(folder, **files):
    """A folder of these files; underscores twice in a name are a dot. What is in it need not be loadable."""
    folder.mkdir(parents=True)
    for name, content in {"model__onnx": os.urandom(1 << 20), "config__json": b"{}", **files}.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Client:
    """`headland`, asking one gateway from the gateway's own machine, with a home of its own."""

    def __init__(self, home, gateway, server=None, **environment):
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("HEADLAND_", "HF_", "XDG_"))}
        self.environment |= {"HOME": str(self.home), "HEADLAND_SERVER": server or gateway.admin_url}
        self.environment |= {"HEADLAND_DATA_DIR": str(gateway.data_dir)} if gateway else {}
        self.environment |= {key: value for key, value in environment.items() if value is not None}

    def start(self, *arguments):
        command = [str(support.binary()), *map(str, arguments)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment, cwd=self.home
        )

    def run(self, *arguments, check=True):
        with self.start(*arguments) as process:
            out, error = process.communicate(timeout=COMMAND_SECONDS_MAX)
        if check:
            assert process.returncode == 0, f"{arguments} ended with {process.returncode}:\n{out}{error}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json").stdout)

    def refused(self, *arguments):
        """Runs what has to fail, and returns what it said."""
        result = self.run(*arguments, check=False)
        assert result.returncode == 1, f"{arguments} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
        assert result.stderr.startswith("headland: ") or "\nheadland: " in result.stderr, result.stderr
        return result.stderr

    def kill_when(self, event, *arguments, on_disk=0):
        """Starts a command, and kills it -9 when `event` is set and it has written so many bytes below its home."""
        process = self.start(*arguments)
        try:
            assert event.wait(COMMAND_SECONDS_MAX), "the command ended before it was to be killed"
            written = lambda: sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file())
            support.eventually(f"{on_disk} bytes are on the disk", lambda: written() >= on_disk)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def make_token(client, name, *scopes):
    """A new token, once the running gateway knows it."""
    made = client.run("token", "create", name, *(f"--scope={scope}" for scope in scopes)).stdout.split()
    [token] = [word for word in made if word.startswith("hl_")]
    holder = Client(client.home / name, None, server=client.environment["HEADLAND_SERVER"], HEADLAND_TOKEN=token)
    support.eventually("the gateway knows the new token", lambda: holder.run("model", "list", check=False).returncode == 0)
    return token


class Wire:
    """Stands between a client and a server, and counts. After `hold_after` bytes it passes nothing more on and says so;
    after `cut_after` bytes it cuts the connection, once."""

    def __init__(self, port, direction="up", hold_after=None, cut_after=None):
        self.target, self.direction = port, direction
        self.hold_after, self.cut_after = hold_after, cut_after
        self.up = self.down = 0
        self.held, self.released, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.lock, self.sockets = threading.Lock(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def release(self):
        """Cuts the connections that were held, and passes on everything from now on. Returns what has passed so far."""
        self.hold_after = None
        self.released.set()
        return getattr(self, self.direction)

    def __exit__(self, *_):
        self.closed.set()
        self.release()
        with self.lock:
            for each in [self.listener, *self.sockets]:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def accept(self):
        while not self.closed.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            with self.lock:
                self.sockets += [client, server]
            for source, sink, way in [(client, server, "up"), (server, client, "down")]:
                threading.Thread(target=self.pass_on, args=(source, sink, way), daemon=True).start()

    def pass_on(self, source, sink, way):
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                if way == self.direction and self.disturb():
                    break
                sink.sendall(data)
                with self.lock:
                    setattr(self, way, getattr(self, way) + len(data))
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def disturb(self):
        with self.lock:
            passed = getattr(self, self.direction)
            cut = self.cut_after is not None and passed >= self.cut_after
            if cut:
                self.cut_after = None
        if self.hold_after is not None and passed >= self.hold_after:
            self.held.set()
            self.released.wait()
            return True
        return cut


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.stand_in.answer(self)

    do_HEAD = do_GET

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            # A client that was killed, or has seen enough, goes away.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    def send_range(self, content, **headers):
        """The content, or the part of it that was asked for."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not wanted:
            return self.send(200, content, **headers)
        first = int(wanted[1])
        if first >= len(content):
            return self.send(416, b"", Content_Range=f"bytes */{len(content)}")
        last = min(int(wanted[2] or len(content)), len(content) - 1)
        where = f"bytes {first}-{last}/{len(content)}"
        return self.send(206, content[first : last + 1], Content_Range=where, **headers)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that was killed is no news."""


class StandIn:
    """An HTTP server whose `answer` a test chooses. Keeps what was asked."""

    def __init__(self):
        self.asked = []
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.stand_in = self
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        self.asked.append((request.path, dict(request.headers)))
        self.route(request)


class Hub(StandIn):
    """The routes of the Hugging Face hub that a download needs, over one repository."""

    COMMIT = "5f3c1e0a9b8d7c6f5e4d3c2b1a09f8e7d6c5b4a3"

    def __init__(self, name, files, large=(), describes=True, token=None):
        super().__init__()
        self.name, self.files, self.large, self.describes, self.token = name, files, large, describes, token
        self.sent = dict(files)

    def route(self, request):
        path = unquote(request.path.split("?")[0])
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return request.send(401, b"Repository not found")
        if path in [f"/api/models/{self.name}/revision/{revision}" for revision in ("main", "v1.2", self.COMMIT)]:
            siblings = [self.sibling(name) for name in self.files]
            return request.send(200, json.dumps({"sha": self.COMMIT, "siblings": siblings}).encode())
        prefix = f"/{self.name}/resolve/{self.COMMIT}/"
        content = self.sent.get(path.removeprefix(prefix)) if path.startswith(prefix) else None
        if content is None:
            return request.send(404, b"Entry not found")
        etag = '"' + hashlib.sha256(content).hexdigest() + '"'
        return request.send_range(content, ETag=etag, X_Repo_Commit=self.COMMIT, Accept_Ranges="bytes")

    def sibling(self, name):
        content = self.files[name]
        if not self.describes:
            return {"rfilename": name}
        sibling = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
        if name in self.large:
            sibling["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return sibling
