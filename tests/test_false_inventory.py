"""PoPs that have less than they say: the plan believes what came of it, and nobody who asks for something else notices."""

import resource

import pytest

import gateway as support
import graphs
import nats
from fleet import Fleet
from liar import Liar
from test_fleet import TWO, Askers, answers
from test_rollout import ask

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
# What a PoP may still take after it has started, and what the model takes that is too large for that.
ROOM, LARGE = 32 * MIB, 64 * MIB


@pytest.fixture
def fleet(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def until_shown(fleet, what):
    """What `headland placement show` says, as soon as `what` is in it."""
    shown = lambda: next((said for said in [fleet.client().run("placement", "show").stdout] if what in said), None)
    return support.eventually(f"`{what}` is shown", shown, 60)


def test_a_model_goes_elsewhere_when_a_pop_has_less_memory_than_it_says_and_what_it_holds_is_served_on(fleet, tmp_path):
    poor = fleet.start_pop("fra1", "eu")
    fleet.push_model(graphs.write(tmp_path / "small", graphs.gather(8)), "small")
    fleet.until_placed("small:1")
    status = (line.split() for line in open(f"/proc/{poor.process.pid}/status"))
    [taken] = [int(line[1]) << 10 for line in status if line[0] == "VmData:"]
    resource.prlimit(poor.process.pid, resource.RLIMIT_DATA, (taken + ROOM, resource.RLIM_INFINITY))
    fleet.push_model(graphs.write(tmp_path / "large", graphs.gather(8, columns=LARGE // 4 // 8)), "large")
    shown = until_shown(fleet, "large:1 failed at fra1, which is tried again in")
    assert "std::bad_alloc" in shown, shown
    until_shown(fleet, "not placed: large:1")
    assert ask(poor, "small").status == 200
    fleet.start_pop("fra2", "eu")
    assert fleet.until_placed("large:1") == ["fra2"]
    assert ask(poor, "small").status == 200
    support.eventually("the poor one passes requests on", lambda: ask(poor, "large").status == 200, 30)


def device(name, kind, memory_bytes, units=1):
    return {"device": name, "class": kind, "memory_bytes": memory_bytes, "used_bytes": 0, "units": units}


HUGE = [device("cpu", "cpu-512", TIB, 512), device("cuda:0", "NVIDIA H900", TIB)]


def test_a_pop_that_is_not_there_and_says_it_has_everything_costs_no_request(fleet, tmp_path):
    pops = [fleet.start_pop(name, region) for name, region in [("fra1", "eu"), ("fra2", "eu"), ("nyc1", "us")]]
    fleet.push_model(support.DIGITS, "digits", manifest=TWO + 'regions = ["eu"]\n')
    fleet.until_placed("digits:1", count=2)
    for pop in pops:
        support.eventually(f"{pop.name} answers", lambda: answers(pop), 30)
    ready = {"name": "digits", "version": "1", "standing": "ready", "device": "cpu", "memory_bytes": 1}
    with Askers(pops) as askers, Liar(fleet.nats.port, "ghost", devices=HUGE, models=[ready]) as ghost:
        fleet.until_placed("digits:1", count=3)
        askers.until_more(1000)
        # What only it could hold, it refuses.
        fleet.push_model(support.DIGITS, "giant", manifest='[placement]\nmemory = "100GiB"\nregions = ["eu"]\n')
        support.eventually("the plan gives it the model", lambda: " ghost" in planned(fleet, "giant:1"), 30)
        refused = {"name": "giant", "version": "1", "standing": "failed", "reason": "not today", "no_memory": True}
        ghost.says["models"] = [ready, refused]
        assert "not today" in until_shown(fleet, "giant:1 failed at ghost, which is tried again in")
        (tmp_path / "large.toml").write_text('[memory]\ncpu = "200GiB"\n')
        fleet.start_pop("fra3", "eu", "--config", tmp_path / "large.toml")
        assert "fra3" in support.eventually("it is placed elsewhere", lambda: fleet.placement("giant:1"), 60)
        askers.until_more(200)
    assert askers.failed == [], askers.failed[:3]
    for pop in fleet.pops.values():
        support.eventually(f"{pop.name} answers for what the other refused", lambda: answers(pop, "giant"), 30)


def planned(fleet, model):
    """What the plan says of a model."""
    return fleet.client().run("plan", "--explain", model, check=False).stdout.split(f"\n{model}\n")[-1]
