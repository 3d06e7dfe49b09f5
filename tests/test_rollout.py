"""New versions in a fleet of five: they go out in waves that an operator may stop, and one that fails is taken back by itself."""

import os
import threading

import pytest

import gateway as support
import graphs
import nats
from fleet import Fleet

PLACES = [("fra1", "eu"), ("fra2", "eu"), ("nyc1", "us"), ("nyc2", "us"), ("sin1", "asia")]
# So that no version is slower than another only because it is further away.
EVERYWHERE = "[placement]\nmin_replicas = 5\n"
WAVE_SECONDS = 60


def ask(pop, model):
    return pop.post(
        f"/v2/models/{model}/infer", json_body={"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1], "data": [6]}]}
    )


class Callers:
    """Ask every PoP for a model by its bare name, one after the other, and keep which version answered last at each."""

    def __init__(self, fleet, model):
        self.fleet, self.model, self.versions, self.failed, self.stop = fleet, model, {}, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        # So few that none is judged by its first answers while a test still looks at it.
        while not self.stop.wait(0.05):
            for pop in self.fleet.pops.values():
                answer = ask(pop, self.model)
                self.versions[pop.name] = answer.json()["model_version"] if answer.status == 200 else answer.status
                if answer.status != 200:
                    self.failed.append((pop.name, answer.text))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def until(self, what, **counts):
        """Waits until so many PoPs answer with each version: `v1=4, v2=1`."""
        wanted = sorted(version.removeprefix("v") for version, count in counts.items() for _ in range(count))
        answered = lambda: sorted(map(str, self.versions.values())) == wanted
        support.eventually(f"{what}: {wanted}", answered, 60)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path_factory.mktemp("rollout") / "fleet") as fleet:
        for name, region in PLACES:
            fleet.start_pop(name, region)
        yield fleet


def push(fleet, folder, name, version, rows=8, manifest=EVERYWHERE, **graph):
    fleet.push_model(graphs.write(folder / f"{name}-{version}", graphs.gather(rows, **graph)), name, version, manifest)


def begin(fleet, folder, name):
    """A model whose first version serves everywhere, and whose second one is on its way."""
    push(fleet, folder, name, "1")
    fleet.until_placed(f"{name}:1", count=len(PLACES))


def state(fleet, name):
    [rollout] = [each for each in fleet.client().json("rollout", "status")["rollouts"] if each["name"] == name]
    return rollout["state"]["state"], rollout["wave"], rollout["state"].get("reason")


def test_a_rollout_is_paused_and_resumed_and_taken_back_by_an_operator(fleet, tmp_path):
    begin(fleet, tmp_path, "stopped")
    client = fleet.client()
    with Callers(fleet, "stopped") as callers:
        callers.until("the first version answers everywhere", v1=5)
        push(fleet, tmp_path, "stopped", "2")
        callers.until("the first wave is one PoP", v1=4, v2=1)
        assert state(fleet, "stopped") == ("running", 0, None)
        client.run("rollout", "pause", "stopped")
        assert state(fleet, "stopped") == ("paused", 0, None)
        client.run("rollout", "resume", "stopped")
        assert state(fleet, "stopped") == ("running", 0, None)
        client.run("rollout", "abort", "stopped")
        callers.until("the old version answers everywhere again", v1=5)
        now, _, reason = state(fleet, "stopped")
        assert now == "back" and reason, (now, reason)
    assert "there is no rollout of `nothing`" in client.refused("rollout", "pause", "nothing")


def test_a_version_whose_requests_fail_is_taken_back_by_itself_with_the_reason(fleet, tmp_path):
    begin(fleet, tmp_path, "broken")
    with Callers(fleet, "broken") as callers:
        push(fleet, tmp_path, "broken", "2", fails=True)
        back = lambda: state(fleet, "broken")[0] == "back"
        support.eventually("it is taken back", back, 30)
        callers.until("the old version answers everywhere again", v1=5)
    _, wave, reason = state(fleet, "broken")
    assert wave == 0 and reason.startswith("100.0 % of ") and "requests failed, and 0.0 % of " in reason, reason
    fleet.controls["control-a"].wait_for_log("the rollout was taken back: 100.0 % of", level="ERROR")


def test_a_version_that_refuses_what_the_one_before_took_is_taken_back(fleet, tmp_path):
    begin(fleet, tmp_path, "narrow")
    with Callers(fleet, "narrow") as callers:
        push(fleet, tmp_path, "narrow", "2", rows=4)
        support.eventually("it is taken back", lambda: state(fleet, "narrow")[0] == "back", 30)
        callers.until("the old version answers everywhere again", v1=5)
    said = fleet.client().run("rollout", "status").stdout
    assert " back " in said and " requests failed" in said and "{" not in said, said


def test_no_request_fails_while_a_good_version_with_one_replica_goes_out(fleet, tmp_path):
    push(fleet, tmp_path, "alone", "1", manifest="")
    fleet.until_placed("alone:1")
    for pop in fleet.pops.values():
        support.eventually(f"{pop.name} answers", lambda pop=pop: ask(pop, "alone").status == 200, 30)
    with Callers(fleet, "alone") as callers:
        push(fleet, tmp_path, "alone", "2", manifest="")
        callers.until("the first wave is one PoP", v1=4, v2=1)
    assert callers.failed == []


IMPOSSIBLE = {
    "huge": ('memory = "900000GiB"', "huge:1 needs 879 TiB on a CPU; the largest has "),
    "nowhere": ('regions = ["atlantis"]', "nowhere:1 is allowed only in atlantis, where no PoP is"),
    "many": ("min_replicas = 9\nmin_domains = 9", "many:1 finds devices in 5 failure domains only (missing: 4 of its replicas"),
}


def test_what_cannot_be_placed_is_reported_with_the_reason_and_changes_nothing_else(fleet, tmp_path):
    begin(fleet, tmp_path, "possible")
    with Callers(fleet, "possible") as callers:
        callers.until("a model that can be placed answers everywhere", v1=5)
        report(fleet, tmp_path)
    assert callers.failed == []


def report(fleet, folder):
    client = fleet.client()
    for name, (placement, _) in IMPOSSIBLE.items():
        fleet.push_model(graphs.write(folder / name, graphs.gather(8)), name, manifest=f"[placement]\n{placement}\n")
    # As much of it as can be is placed.
    fleet.until_placed("many:1", count=5)
    planned = client.run("plan").stdout
    assert all(why in planned for _, why in IMPOSSIBLE.values()), planned
    shown = client.run("placement", "show").stdout
    assert all(f"not placed: {name}:1" in shown for name in IMPOSSIBLE), shown
    explained = client.run("plan", "--explain", "nowhere:1").stdout
    assert "nowhere:1 is allowed only in atlantis, where no PoP is (missing: 1 of its replicas" in explained.split("\nnowhere:1\n")[1]
    for name in ("huge", "nowhere"):
        assert fleet.placement(f"{name}:1") == [] and ask(fleet.pops["fra1"], name).status == 404
    for name in IMPOSSIBLE:
        client.run("model", "rm", "--force", f"{name}:1")
    gone = lambda: not any(f"{name}:1" in client.run("plan").stdout for name in IMPOSSIBLE)
    support.eventually("what is removed lacks nothing", gone, 30)


WRONG = {
    "min_replicas = 2\nmin_domains = 3": "[placement] `min_domains` is between 1 and `min_replicas`",
    "min_replicas = 2\nmax_replicas = 1": "[placement] `max_replicas` is between 1 and 10000, and `min_replicas` no more than it",
    'regions = ["no such/region"]': "region",
    'accelerator = "tpu"': "unknown variant `tpu`, expected one of `required`, `preferred`, `none`",
}


@pytest.mark.parametrize("placement", WRONG)
def test_a_placement_that_cannot_be_meant_is_refused_before_it_is_pushed(fleet, tmp_path, placement):
    folder = graphs.write(tmp_path / "wrong", graphs.gather(8))
    (folder / "headland.model.toml").write_text(f"[placement]\n{placement}\n")
    fleet.sign(folder)
    said = fleet.client().refused("model", "push", folder, "--name", "wrong", "--version", "1")
    assert WRONG[placement] in said and "headland.model.toml" in said, said


@pytest.mark.skipif("HEADLAND_LONG" not in os.environ, reason="a wave is watched for a minute; HEADLAND_LONG=1 waits for it")
def test_the_second_wave_follows_when_the_first_was_watched_for_a_minute(fleet, tmp_path):
    begin(fleet, tmp_path, "waves")
    with Callers(fleet, "waves") as callers:
        push(fleet, tmp_path, "waves", "2")
        callers.until("the first wave is one PoP", v1=4, v2=1)
        second = lambda: state(fleet, "waves") == ("running", 1, None)
        support.eventually("the second wave", second, WAVE_SECONDS + 30)
        callers.until("the second wave is a quarter of the PoPs", v1=3, v2=2)
