"""A gateway with a small language model under mixed requests for as long as they last: what memory does meanwhile, and whether
it comes back to where it was.

    python benches/soak.py --binary target/release/headland --out target/bench [--requests 10000] [--seed 1]

Short and long prompts, streamed and whole, several answers at once, clients that leave in the middle, read slowly or ask for
what cannot be, at bounded concurrency. Ends with 1 unless every request was answered as it should be, nothing runs afterwards,
and the memory is what it was after the first tenth. Leaves soak.json there, which plots.py draws. Needs nothing but Python's
standard library; `make soak` runs it and draws.
"""

import argparse
import collections
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

MODEL = "words"
CONCURRENCY = 24
# Fewer than ask at once, so that some wait, and now and then the queue is full.
STREAMS_MAX = 12
QUEUE_MAX = 24
CONTEXT = 8192
# Less than all streams may want: some have to give their memory to others.
KV_CACHE = "2MiB"
MANIFEST = f'[generation]\nmax_streams = {STREAMS_MAX}\nmax_context = {CONTEXT}\nkv_cache = "{KV_CACHE}"\n'
# The first requests: allocators and scratch memory grow to what the load needs.
WARM_UP_SHARE = 0.1
SAMPLE_SECONDS = 0.25
IDLE_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 120
# Resident memory that may be there more in the end than after the warm-up.
GROWTH_BYTES_MAX = 16 << 20
# Who is refused is told to wait for a second or more, and waits for less.
REFUSED_SECONDS = 0.1
MIB = 1 << 20
KNOWN_PROMPT = "The quick brown fox"
WORDS = "river stone bridge apple engine garden winter paper silver music window forest".split()
# What is sent, and how often of a hundred.
KINDS = {
    "streamed": 30, "whole": 18, "long prompt": 8, "shared beginning": 8, "several answers": 5, "known answer": 5,
    "leaves a stream": 12, "leaves before the answer": 4, "reads slowly": 2, "bad": 8,
}  # fmt: skip
# Each is a 400 that names the parameter or the body.
BAD = [
    {"temperature": -1}, {"max_tokens": 2**31}, {"stop": ["x"] * 10_000}, {"tempreature": 1}, {"messages": []},
    {"messages": [{"role": "wizard", "content": "x"}]}, {"messages": [{"role": "user", "content": "ox " * 9000}]},
    {"logit_bias": {"999999": 1}}, {"n": 1000}, {"max_tokens": "many"},
]  # fmt: skip


class Failure(Exception):
    """Something that must not be, told to whoever runs this."""


class Gateway:
    """`headland up` with the model, its log in a file."""

    def __init__(self, binary, folder):
        import language

        language.folder(folder / "model", manifest=MANIFEST)
        self.port, self.admin_port = free_ports(2)
        (folder / "headland.toml").write_text(f'[[model]]\nname = "{MODEL}"\npath = "model"\nqueue = {QUEUE_MAX}\n')
        self.log_path = folder / "headland.log"
        command = [
            binary, "up", "--config", folder / "headland.toml", "--data-dir", folder / "data", "--log", "warn",
            "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}",
        ]  # fmt: skip
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_ready(self):
        wait_until("the gateway is ready", self.is_ready)

    def is_ready(self):
        if self.process.poll() is not None:
            raise Failure(f"the gateway ended with {self.process.returncode}; see {self.log_path}")
        try:
            return get(self.port, "/v2/health/ready")[0] == 200
        except OSError:
            return False

    def metrics(self):
        """Sums over labels, by name."""
        found = collections.Counter()
        for line in get(self.admin_port, "/metrics")[1].decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name.split("{")[0]] += float(value)
        return found

    def wait_until_idle(self):
        def idle():
            now = self.metrics()
            return not any(now[name] for name in ("headland_generation_running_requests", "headland_inference_pending_requests"))

        wait_until("nothing runs", idle)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(IDLE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(what, check):
    deadline = time.monotonic() + IDLE_SECONDS_MAX
    while not check():
        if time.monotonic() > deadline:
            raise Failure(f"not within {IDLE_SECONDS_MAX} s: {what}")
        time.sleep(0.05)


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS_MAX)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Sampler(threading.Thread):
    """Reads the gateway's metrics four times a second."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.samples, self.ended = gateway, [], threading.Event()
        self.began = time.monotonic()

    def run(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self):
        now = self.gateway.metrics()
        self.samples.append((time.monotonic() - self.began, now))
        return now


class Client:
    """Sends requests of one kind each, and counts what comes of them."""

    def __init__(self, gateway, seed):
        self.gateway, self.seed = gateway, seed
        self.lock, self.counts, self.wrong = threading.Lock(), collections.Counter(), []
        self.known = self.ask({"messages": user(KNOWN_PROMPT), "temperature": 0, "max_tokens": 24})[1]

    def open(self, body, receive_bytes=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=ANSWER_SECONDS_MAX)
        if receive_bytes:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": MODEL} | body), {"content-type": "application/json"})
        return connection

    def ask(self, body):
        """The status, and what was said: the texts of all answers."""
        connection = self.open(body)
        try:
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        if response.status != 200:
            error = json.loads(raw)["error"]
            if response.status == 503 and not int(response.headers.get("retry-after", 0)):
                raise Failure("503 without Retry-After")
            if response.status == 503:
                time.sleep(REFUSED_SECONDS)
            return response.status, error["code"]
        if not body.get("stream"):
            return 200, [choice["message"]["content"] for choice in json.loads(raw)["choices"]]
        *events, done, _ = raw.decode().split("\n\n")
        if done != "data: [DONE]":
            raise Failure(f"a stream ends with {events[-1:]} {done}")
        told = collections.defaultdict(str)
        for event in events:
            for choice in json.loads(event.removeprefix("data: "))["choices"]:
                told[choice["index"]] += choice["delta"].get("content") or ""
        return 200, [told[index] for index in sorted(told)]

    def run(self, number):
        generator = random.Random(f"{self.seed} {number}")
        kind = generator.choices(list(KINDS), KINDS.values())[0]
        try:
            outcome = self.one(kind, generator)
        except (Failure, OSError, http.client.HTTPException, ValueError, KeyError) as error:
            outcome = "wrong"
            with self.lock:
                self.wrong.append(f"{number}, {kind}: {error!r}")
        with self.lock:
            self.counts[kind, outcome] += 1

    def one(self, kind, generator):
        body = {"messages": user(text(generator, 3, 30)), "max_tokens": generator.randint(5, 80), "ignore_eos": True}
        body["temperature"] = generator.choice([0, 0.7, 1])
        body["stream"] = generator.random() < 0.5
        endless = {"max_tokens": CONTEXT - 1000, "stream": True}
        match kind:
            case "streamed" | "whole":
                return self.good(body | {"stream": kind == "streamed"}, 1)
            case "long prompt":
                return self.good(body | {"messages": user(text(generator, 200, 600))}, 1)
            case "shared beginning":
                rules = {"role": "system", "content": "Be brief and be kind. " * 60}
                return self.good(body | {"messages": [rules, *body["messages"]]}, 1)
            case "several answers":
                return self.good(body | {"n": 4, "temperature": 1}, 4)
            case "known answer":
                status, told = self.ask({"messages": user(KNOWN_PROMPT), "temperature": 0, "max_tokens": 24, "stream": body["stream"]})
                if status == 200 and told != self.known:
                    raise Failure(f"{told} instead of {self.known}")
                return f"{status}"
            case "bad":
                status, code = self.ask(body | generator.choice(BAD))
                if status != 400:
                    raise Failure(f"{status} {code}")
                return "400"
            case "leaves a stream":
                return self.leave(self.open(body | endless), generator.randint(0, 40))
            case "reads slowly":
                return self.leave(self.open(body | endless | {"max_tokens": 1500}, receive_bytes=4096), 1)
            case "leaves before the answer":
                connection = self.open(body | endless | {"stream": False})
                time.sleep(generator.random() / 20)
                connection.close()
                return "left"

    def good(self, body, answers):
        status, told = self.ask(body)
        if status == 503:
            return "503"
        if status != 200 or len(told) != answers or not all(told):
            raise Failure(f"{status} {told}")
        return "200"

    def leave(self, connection, pieces):
        """Reads so many pieces, and goes."""
        try:
            response = connection.getresponse()
            if response.status != 200:
                return f"{response.status}"
            for _ in range(pieces):
                response.readline()
            return "left"
        finally:
            connection.close()


def user(content):
    return [{"role": "user", "content": content}]


def text(generator, least, most):
    return " ".join(generator.choice(WORDS) for _ in range(generator.randint(least, most)))


def at_bounded_concurrency(work, numbers):
    numbers, lock = iter(numbers), threading.Lock()

    def worker():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(number)

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def figures(samples, requests):
    """As plots.py draws them."""
    name = f"headland, mixed requests: {requests:,} over {CONCURRENCY} connections"

    def panel(title, y, read):
        points = [[round(at, 2), read(now)] for at, now in samples]
        curves = [{"name": name, "points": points}]
        return {"title": title, "x": "seconds", "y": y, "x_log": False, "y_log": False, "curves": curves}

    panels = [
        panel("Resident memory of the process", "MiB", lambda now: now["process_resident_memory_bytes"] / MIB),
        panel("Keys and values held", "MiB", lambda now: now["headland_generation_kv_cache_used_bytes"] / MIB),
        panel("Answers under way", "answers", lambda now: now["headland_generation_running_requests"]),
    ]
    return {"plots": [{"file": "soak", "panels": panels}]}


def tell(client, counters, resident, took):
    print(f"{sum(client.counts.values())} requests in {took:.0f} s; tokens, steps, preemptions:", end=" ")
    print(*(f"{counters[f'headland_generation_{name}_total']:,.0f}" for name in ("tokens", "steps", "preemptions")), sep=", ")
    for kind in KINDS:
        outcomes = {outcome: count for (of, outcome), count in sorted(client.counts.items()) if of == kind}
        print(f"  {kind:<26}", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    print("resident memory, MiB:", ", ".join(f"{when} {value / MIB:.1f}" for when, value in resident.items()))


def soak(options, folder):
    gateway = Gateway(options.binary, folder)
    try:
        gateway.wait_until_ready()
        client, sampler, resident = Client(gateway, options.seed), Sampler(gateway), {}
        warm_up = int(options.requests * WARM_UP_SHARE)

        def measure(when):
            gateway.wait_until_idle()
            now = sampler.sample()
            resident[when] = now["process_resident_memory_bytes"]
            return now

        measure("loaded")
        sampler.start()
        at_bounded_concurrency(client.run, range(warm_up))
        measure("after the warm-up")
        at_bounded_concurrency(client.run, range(warm_up, options.requests))
        took = time.monotonic() - sampler.began
        last = measure("in the end")
        sampler.ended.set()
        sampler.join()
    finally:
        code = gateway.stop()
    resident["at most"] = max(now["process_resident_memory_bytes"] for _, now in sampler.samples)
    (folder / "soak.json").write_text(json.dumps(figures(sampler.samples, options.requests)))
    tell(client, last, resident, took)
    problems = client.wrong[:10]
    growth = resident["in the end"] - resident["after the warm-up"]
    if growth > GROWTH_BYTES_MAX:
        problems.append(f"memory grew by {growth / MIB:.1f} MiB, and {GROWTH_BYTES_MAX / MIB:.0f} are tolerated")
    if last["headland_generation_kv_cache_used_bytes"]:
        problems.append("keys and values are held for nobody")
    if code:
        problems.append(f"the gateway ended with {code} on SIGTERM")
    if "panicked" in gateway.log_path.read_text(errors="replace"):
        problems.append(f"something panicked: see {gateway.log_path}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is made, or emptied of the last run")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.binary, folder = options.binary.resolve(), options.out.resolve() / f"{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        problems = soak(options, folder)
    except Failure as failure:
        problems = [str(failure)]
    for problem in problems:
        print(f"soak: {problem}", file=sys.stderr)
    if (folder / "soak.json").is_file():
        (folder / "soak.json").replace(options.out / "soak.json")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
