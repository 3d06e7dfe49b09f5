"""Real nats-server processes on loopback, one or a cluster: started, killed, started again on what they stored, ended by their
ids. Needs nothing but Python's standard library, so that scripts can use it too."""

import http.client
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 10
LOG_LINES_SHOWN = 25


class NatsError(Exception):
    """A server that does not do as it should."""


def is_installed():
    return shutil.which("nats-server") is not None


def free_ports(count):
    """Ports that nothing listens on: all held until the last is found, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class NatsServer:
    """One server with JetStream. It keeps its ports and its folder for as long as this object lives."""

    def __init__(self, folder, *arguments, ports=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.monitoring_port = ports or free_ports(2)
        self.log_path = self.folder / "nats-server.log"
        self.command = [
            "nats-server", "--addr", "127.0.0.1",
            "--port", str(self.port), "--http_port", str(self.monitoring_port),
            "--jetstream", "--store_dir", str(self.folder / "data"),
            *map(str, arguments),
        ]  # fmt: skip
        self.process = None

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        try:
            self.wait_until_healthy()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts it, on what it stored before, and does not wait: a member of a cluster waits for the others."""
        if self.is_running():
            raise NatsError(f"{self.url} runs already")
        with self.log_path.open("ab") as log:
            # In a session of its own, so that Ctrl-C is for whoever started it.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def is_healthy(self):
        """Whether it answers for JetStream and has all that its cluster has."""
        connection = http.client.HTTPConnection("127.0.0.1", self.monitoring_port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def wait_until_healthy(self, seconds=START_SECONDS_MAX):
        deadline = time.monotonic() + seconds
        while not self.is_healthy():
            if not self.is_running():
                raise NatsError(f"{self.url} ended; its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise NatsError(f"{self.url} is not ready after {seconds} s; its log:\n{self.log_tail()}")
            time.sleep(0.02)

    def kill(self):
        """SIGKILL: what it acknowledged has to be there when it starts again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        """Asks it to end, and kills it when it takes too long."""
        if self.is_running():
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def log_tail(self):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


class NatsCluster:
    """Servers that know each other; three are the fewest of which one may be lost."""

    def __init__(self, folder, size=3, name="headland"):
        ports = free_ports(3 * size)
        routes = [f"nats://127.0.0.1:{port}" for port in ports[2 * size :]]
        self.nodes = [
            NatsServer(
                Path(folder) / f"node{at}",
                *("--server_name", f"node{at}", "--cluster_name", name, "--cluster", routes[at], "--routes", ",".join(routes)),
                ports=ports[2 * at : 2 * at + 2],
            )
            for at in range(size)
        ]

    @property
    def url(self):
        """All of them, as `--nats` takes it."""
        return ",".join(node.url for node in self.nodes)

    def __enter__(self):
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for node in self.nodes:
            node.kill()


def main():
    """Runs a cluster until Ctrl-C, for trying things out by hand."""
    with tempfile.TemporaryDirectory(prefix="headland-nats-") as folder, NatsCluster(folder) as cluster:
        print(cluster.url, flush=True)
        try:
            cluster.nodes[0].process.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
