"""A gateway with a small language model under mixed requests for as long as they last: what memory does meanwhile, and whether
it comes back to where it was.

    python benches/soak.py --binary target/release/headland --out target/bench [--requests 10000] [--seed 1]

Short and long prompts, streamed and whole, several answers at once, clients that leave in the middle, read slowly or ask for
what cannot be, at bounded concurrency. Ends with 1 unless every request was answered as it should be, nothing runs afterwards,
and the memory comes back to what it was after the first tenth (to 16 MiB). Leaves soak.json there, which plots.py draws. Needs
nothing but Python's standard library; `make soak` runs it and draws.
"""

import argparse
import collections
import http.client
import itertools
import json
import os
import random
import signal
import socket
import statistics
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
CONTEXT = 4096
# Less than all streams may want: some have to give their memory to others.
KV_CACHE = "1MiB"
MANIFEST = f'[generation]\nmax_streams = {STREAMS_MAX}\nmax_context = {CONTEXT}\nkv_cache = "{KV_CACHE}"\n'
# After each of these parts all requests are waited for, and memory is read. In the first one allocators and scratch memory grow
# to what the load needs; what memory comes back to after later ones is held against that.
PARTS = 10
SAMPLE_SECONDS = 0.25
POINTS_MAX = 240
IDLE_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 120
# How much more resident memory than after the first part the second half may have at its least.
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
    """Reads the gateway's metrics four times a second, with how many requests have ended."""

    def __init__(self, gateway, client):
        super().__init__(daemon=True)
        self.gateway, self.client, self.samples = gateway, client, []
        self.ended, self.lock = threading.Event(), threading.Lock()

    def run(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self):
        now = self.gateway.metrics()
        sample = (self.client.ended, now)
        with self.lock:
            self.samples.append(sample)
        return sample


class Client:
    """Sends requests of one kind each, and counts what comes of them."""

    def __init__(self, gateway, seed):
        self.gateway, self.seed, self.ended = gateway, seed, 0
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
            self.ended += 1

    def one(self, kind, generator):
        body = {"messages": user(text(generator, 3, 30)), "max_tokens": generator.randint(5, 80), "ignore_eos": True}
        body["temperature"] = generator.choice([0, 0.7, 1])
        body["stream"] = generator.random() < 0.5
        endless = {"max_tokens": CONTEXT // 2, "stream": True}
        match kind:
            case "streamed" | "whole":
                return self.good(body | {"stream": kind == "streamed"}, 1)
            case "long prompt":
                return self.good(body | {"messages": user(text(generator, 100, 300))}, 1)
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
                return self.leave(self.open(body | endless, receive_bytes=4096), 1)
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


def thinned(points, choose):
    """So few points that a curve of them can be read: what `choose` makes of each stretch."""
    stretch = -(-len(points) // POINTS_MAX)
    parts = [points[at : at + stretch] for at in range(0, len(points) - 1, stretch)]
    # The last one is how it ends, and no stretch.
    parts.append(points[-1:])
    return [[round(part[0][0], 1), round(choose([value for _, value in part]), 3)] for part in parts]


def figures(samples, rests, requests):
    """As plots.py draws them. `rests` are the samples when nothing was under way."""
    name = f"headland, mixed requests: {requests:,} over {CONCURRENCY} connections"

    def panel(title, y, curves):
        curves = [{"name": name, "points": points} for name, points in curves.items()]
        return {"title": title, "x": "requests", "y": y, "x_log": False, "y_log": False, "curves": curves}

    def over_time(metric, unit, choose):
        return thinned([(at, now[metric] / unit) for at, now in samples], choose)

    resident = over_time("process_resident_memory_bytes", MIB, max)
    at_rest = [[round(at, 1), round(now["process_resident_memory_bytes"] / MIB, 3)] for at, now in rests]
    held = over_time("headland_generation_kv_cache_used_bytes", MIB, statistics.mean)
    running = over_time("headland_generation_running_requests", 1, statistics.mean)
    panels = [
        panel("Resident memory of the process", "MiB", {name: resident, "nothing under way": at_rest}),
        panel("Keys and values held", "MiB", {name: held}),
        panel("Answers under way", "answers", {name: running}),
    ]
    return {"plots": [{"file": "soak", "panels": panels}]}


def tell(client, took, counters, resident, least, most):
    print(f"{client.ended} requests in {took:.0f} s; tokens, steps, preemptions:", end=" ")
    print(*(f"{counters[f'headland_generation_{name}_total']:,.0f}" for name in ("tokens", "steps", "preemptions")), sep=", ")
    for kind in KINDS:
        outcomes = {outcome: count for (of, outcome), count in sorted(client.counts.items()) if of == kind}
        print(f"  {kind:<26}", ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    loaded, first, *others = (f"{value / MIB:.1f}" for value in resident)
    print(f"resident memory with nothing under way, MiB: {loaded} when loaded, {first} after a tenth, then {', '.join(others)}")
    print(f"under way: {least / MIB:.1f} at least in the second half, {most / MIB:.1f} at most")


def soak(options, folder):
    gateway = Gateway(options.binary, folder)
    try:
        gateway.wait_until_ready()
        client, rests = Client(gateway, options.seed), []
        sampler, began = Sampler(gateway, client), time.monotonic()

        def rest():
            gateway.wait_until_idle()
            rests.append(sampler.sample())

        rest()
        sampler.start()
        ends = [options.requests * part // PARTS for part in range(PARTS + 1)]
        for first, end in itertools.pairwise(ends):
            at_bounded_concurrency(client.run, range(first, end))
            rest()
        took = time.monotonic() - began
        sampler.ended.set()
        sampler.join()
    finally:
        code = gateway.stop()
    (folder / "soak.json").write_text(json.dumps(figures(sampler.samples, rests, options.requests)))
    over_time = [(at, now["process_resident_memory_bytes"]) for at, now in sampler.samples]
    half = rests[PARTS // 2][0]
    least = min(value for at, value in over_time if at >= half)
    resident = [now["process_resident_memory_bytes"] for _, now in rests]
    tell(client, took, rests[-1][1], resident, least, max(value for _, value in over_time))
    problems = client.wrong[:10]
    # An allocator keeps now more, now less of what is free: what leaks is never less again.
    growth = least - resident[1]
    if growth > GROWTH_BYTES_MAX:
        problems.append(f"memory grew by {growth / MIB:.1f} MiB, and {GROWTH_BYTES_MAX / MIB:.0f} are tolerated")
    if rests[-1][1]["headland_generation_kv_cache_used_bytes"]:
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
