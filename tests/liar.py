"""Whoever may write to a fleet's NATS server and says what is not so: heartbeats of a PoP that does not exist."""

import json
import socket
import threading

EVERY_SECONDS = 1


class Liar:
    """Speaks as a PoP until it is stopped. `says` may be changed at any time."""

    def __init__(self, nats_port, pop, **says):
        self.subject = f"headland.heartbeat.{pop}"
        self.says = {
            "pop": pop,
            "incarnation": 1,
            "place": {"region": "eu"},
            # Nobody listens there.
            "address": "127.0.0.1:1",
            "listen": "127.0.0.1:1",
            "devices": [],
            "era": 0,
            "epoch": 0,
            "generation": 0,
            "models": [],
            "apps": [],
            "demand": [],
            "window_ms": 1000 * EVERY_SECONDS,
            **says,
        }
        self.stopped = threading.Event()
        self.connection = socket.create_connection(("127.0.0.1", nats_port))
        self.connection.sendall(b'CONNECT {"verbose":false}\r\n')
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.speak, self.listen)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.connection.close()

    def speak(self):
        sequence = 0
        while True:
            sequence += 1
            text = json.dumps({"format": 1, "sequence": sequence, **self.says}).encode()
            try:
                self.connection.sendall(f"PUB {self.subject} {len(text)}\r\n".encode() + text + b"\r\n")
            except OSError:
                return
            if self.stopped.wait(EVERY_SECONDS):
                return

    def listen(self):
        try:
            while heard := self.connection.recv(1 << 16):
                if b"PING" in heard:
                    self.connection.sendall(b"PONG\r\n")
        except OSError:
            return
