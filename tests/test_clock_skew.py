"""A fleet whose clocks are minutes apart: it forms, serves, and survives what it survives anyway."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

import gateway as support
import nats
from fleet import Fleet
from test_fleet import TWO, Askers, answers

LIBRARIES = [Path("/usr/lib") / machine / "faketime/libfaketime.so.1" for machine in ("x86_64-linux-gnu", "aarch64-linux-gnu")]


def skewed(by):
    """The environment of a process whose wall clock is off; how fast time passes for it is as for all others."""
    library = next((each for each in LIBRARIES if each.is_file()), None)
    support.need("libfaketime (apt-get install faketime)", "REQUIRE_NATS", library)
    return {"LD_PRELOAD": str(library), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


CLOCKS = {"control-a": "+9m", "control-b": "-9m", "fra1": "+7m", "nyc1": "-7m", "osl1": "-2h"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    environments = {name: skewed(by) for name, by in CLOCKS.items()}
    with Fleet(tmp_path_factory.mktemp("clocks") / "fleet", controls=2, environments=environments) as fleet:
        for name, region in [("fra1", "eu"), ("nyc1", "us"), ("sin1", "asia"), ("osl1", "north")]:
            fleet.start_pop(name, region)
        fleet.push_model(support.DIGITS, "digits", manifest=TWO + 'regions = ["eu", "us"]\n')
        for name, region in [("ahead", "eu"), ("behind", "us"), ("hours", "north")]:
            fleet.push_model(support.DIGITS, name, manifest=f'[placement]\nregions = ["{region}"]\n')
        assert fleet.until_placed("digits:1", count=2) == ["fra1", "nyc1"]
        yield fleet


def clock(member):
    """What time it was for a member when it began."""
    return datetime.fromisoformat(member.log_entries()[0]["timestamp"])


def serving(fleet):
    return [fleet.pops[name] for name in ("fra1", "nyc1", "sin1")]


def test_pops_whose_clocks_are_minutes_apart_ask_each_other(fleet):
    ahead, behind, right = serving(fleet)
    assert clock(ahead) - clock(behind) > timedelta(minutes=13)
    assert fleet.until_placed("ahead:1") == ["fra1"] and fleet.until_placed("behind:1") == ["nyc1"]
    for pop in (ahead, behind, right):
        for model in ("digits", "ahead", "behind"):
            support.eventually(f"{pop.name} answers for {model}", lambda: answers(pop, model), 30)


def test_a_pop_whose_clock_is_hours_behind_says_which_certificate_it_cannot_take(fleet):
    failed = lambda: next((each for each in fleet.client().json("pop", "show", "osl1")["models"] if each["standing"] == "failed"), None)
    said = support.eventually("the PoP says why it has no model", failed, 30)["reason"]
    assert "(the peer was refused: certificate not valid yet" in said, said


def test_control_planes_whose_clocks_are_minutes_apart_lead_one_after_the_other_and_never_both(fleet):
    controls = fleet.controls
    assert clock(controls["control-a"]) - clock(controls["control-b"]) > timedelta(minutes=17)
    [(leader, epoch)] = support.eventually("somebody leads", fleet.leaders, 30).items()
    both = lambda: all("digits" in fleet.client(each).run("model", "list").stdout for each in controls.values())
    support.eventually("both control planes have the model", both, 30)
    with Askers(serving(fleet)) as askers:
        controls[leader].kill()
        [(successor, later)] = support.eventually("the other leads", fleet.leaders, 30).items()
        assert successor != leader and later > epoch
        fleet.push_model(support.DIGITS, "later")
        fleet.until_placed("later:1")
        fleet.start_control(leader)
        known = lambda: "later:1" in fleet.client(controls[leader]).run("placement", "show").stdout
        support.eventually("the first knows what happened since", known, 30)
        assert fleet.leaders() == {successor: later}
        fleet.push_model(support.DIGITS, "last")
        fleet.until_placed("last:1")
        assert fleet.leaders() == {successor: later}
    assert askers.failed == [], askers.failed[:3]
    for pop in serving(fleet):
        support.eventually(f"{pop.name} answers for what was new", lambda: answers(pop, "last"), 30)
    refused = [entry for pop in serving(fleet) for entry in pop.log_entries() if "left behind is not done" in str(entry)]
    assert refused == [], "nobody wrote in the name of an old epoch"


def test_no_request_fails_when_a_pop_whose_clock_is_ahead_is_killed(fleet):
    ahead, *others = serving(fleet)
    with Askers(others) as askers:
        askers.until_more(50)
        ahead.kill()
        askers.until_more(200)
        support.eventually("the loss is seen", lambda: fleet.placement("digits:1") == ["nyc1"], 30)
        askers.until_more(50)
    assert askers.failed == [], askers.failed[:3]
