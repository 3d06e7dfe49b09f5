#!/usr/bin/env python3
"""A fleet on this machine: three nats-servers, two control planes, five PoPs, two of them far away. Deploys the example apps and
models, signed, asks every PoP, kills one that holds a model, and shows that requests go on being answered.

`make demo-fleet` builds, fetches and calls this with the tests' Python. It ends with 0 only if every answer was right.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import gateway as support  # noqa: E402
from fleet import Fleet  # noqa: E402

# Name, region, location, and how many milliseconds a byte takes to get there from the others.
POPS = [
    ("fra1", "eu", "50.1,8.7", None),
    ("fra2", "eu", "50.1,8.7", None),
    ("ams1", "eu", "52.4,4.9", None),
    ("nyc1", "us", "40.7,-74.0", 40),
    ("sin1", "asia", "1.35,103.8", 80),
]
MINILM = "all-minilm-l6-v2"


def say(text):
    print(f"\n\033[1m{text}\033[0m", flush=True)


def command(client, *arguments):
    print("$ headland " + " ".join(f"'{each}'" if " " in each else each for each in map(str, arguments)))
    print(client.run(*arguments).stdout, end="")


def search(pop):
    answer = pop.post("/search", json_body={"query": "what helps me fall asleep?", "top_k": 1})
    return answer.json()["results"][0]["document"] if answer.status == 200 else None


def embed(pop):
    body = {"model": MINILM, "input": "a cat on a mat"}
    started = time.monotonic()
    answer = pop.post("/v1/embeddings", json_body=body)
    took_ms = (time.monotonic() - started) * 1000
    return (answer.json()["data"][0]["embedding"], took_ms) if answer.status == 200 else (None, answer.text)


def read_digit(pop):
    image = ROOT / "models/digits/samples/7.jpg"
    answer = pop.post("/digits", image.read_bytes(), headers={"content-type": "image/jpeg"})
    return answer.json()["digit"] if answer.status == 200 else None


class Caller(threading.Thread):
    """Asks one PoP without a pause, and keeps what it was answered."""

    def __init__(self, pop, stop):
        super().__init__()
        self.pop, self.stop, self.answered, self.failed, self.worst_ms = pop, stop, 0, [], 0.0

    def run(self):
        while not self.stop.is_set():
            embedding, more = embed(self.pop)
            if embedding:
                self.answered, self.worst_ms = self.answered + 1, max(self.worst_ms, more)
            else:
                self.failed.append(more)


def demo(fleet):
    for name, region, location, one_way_ms in POPS:
        fleet.start_pop(name, region, "--location", location, one_way_ms=one_way_ms)
    say("Models and apps are signed, and pushed to a control plane")
    fleet.push_model(support.minilm(), MINILM, manifest='[placement]\nmin_replicas = 2\nmin_domains = 2\n')
    fleet.push_model(support.DIGITS, "digits")
    fleet.deploy_app(support.manifest("rust/semantic-search"), "semantic-search")
    fleet.deploy_app(support.manifest("rust/digits"), "digits")
    holders = fleet.until_placed(f"{MINILM}:1", count=2)
    fleet.until_placed("digits:1")
    client = fleet.client()
    command(client, "pop", "list")
    command(client, "placement", "show")

    say("Every PoP answers, whether it holds the model or not")
    reference = None
    for pop in fleet.pops.values():
        found = support.eventually(f"{pop.name} searches", lambda: search(pop), 60)
        assert "nod off" in found, f"{pop.name} found: {found}"
        assert support.eventually(f"{pop.name} reads digits", lambda: read_digit(pop), 60) == 7
        embedding, took_ms = embed(pop)
        reference = reference or embedding
        assert max(abs(a - b) for a, b in zip(embedding, reference)) < 1e-3, f"{pop.name} answers something else"
        held = "here" if pop.name in holders else "elsewhere"
        print(f"  {pop.name}: search, digits and embeddings are right; {MINILM} is {held}, {took_ms:.1f} ms")

    victim = holders[0]
    say(f"{victim}, which holds {MINILM}, is killed while all others are asked")
    stop = threading.Event()
    callers = [Caller(pop, stop) for pop in fleet.pops.values() if pop.name != victim]
    for caller in callers:
        caller.start()
    try:
        support.eventually("all are answered", lambda: all(caller.answered > 20 for caller in callers), 60)
        fleet.pops[victim].kill()
        killed = time.monotonic()
        moved = lambda: victim not in (pops := fleet.placement(f"{MINILM}:1")) and len(pops) >= 2 and pops
        holders = support.eventually("the replica is placed elsewhere", moved, 90)
        print(f"  placed at {' and '.join(holders)} {time.monotonic() - killed:.1f} s after the kill")
        more = [caller.answered + 20 for caller in callers]
        support.eventually("all are answered still", lambda: all(c.answered >= m for c, m in zip(callers, more)), 60)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    for caller in callers:
        print(f"  {caller.pop.name}: {caller.answered} answered, {len(caller.failed)} failed, the slowest took {caller.worst_ms:.0f} ms")
    assert not any(caller.failed for caller in callers), next(caller.failed for caller in callers if caller.failed)[:3]
    command(client, "pop", "list")
    command(client, "plan", "--explain", f"{MINILM}:1")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the folder with the members' logs and data")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headland-fleet-"))
    say(f"Three nats-servers, two control planes, {len(POPS)} PoPs; their logs are in {folder}")
    with Fleet(folder, controls=2, nats_servers=3) as fleet:
        demo(fleet)
    say("All answers were right, and no request failed")
    if not options.keep:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
