"""A fleet whose clocks are minutes apart: it forms, serves, and survives what it survives anyway."""

from datetime import datetime, timedelta
from pathlib import Path

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


def fleet_of(folder, **more):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    return Fleet(folder / "fleet", **more)


def clock(member):
    """What time it was for a member when it began."""
    return datetime.fromisoformat(member.log_entries()[0]["timestamp"])


def test_pops_whose_clocks_are_minutes_apart_serve_each_other_and_one_that_is_hours_behind_says_why_it_does_not(tmp_path):
    clocks = {"fra1": skewed("+7m"), "nyc1": skewed("-7m"), "osl1": skewed("-2h")}
    with fleet_of(tmp_path, environments=clocks) as fleet:
        ahead, behind, right = (fleet.start_pop(*where) for where in [("fra1", "eu"), ("nyc1", "us"), ("sin1", "asia")])
        assert clock(ahead) - clock(behind) > timedelta(minutes=13)
        fleet.start_pop("osl1", "north")
        fleet.push_model(support.DIGITS, "digits", manifest=TWO + 'regions = ["eu", "us"]\n')
        for name, region in [("ahead", "eu"), ("behind", "us"), ("hours", "north")]:
            fleet.push_model(support.DIGITS, name, manifest=f'[placement]\nregions = ["{region}"]\n')
        assert fleet.until_placed("digits:1", count=2) == ["fra1", "nyc1"]
        assert fleet.until_placed("ahead:1") == ["fra1"] and fleet.until_placed("behind:1") == ["nyc1"]
        failed = lambda: next((each for each in fleet.client().json("pop", "show", "osl1")["models"] if each["standing"] == "failed"), None)
        said = support.eventually(f"the PoP says why it has no model\n{fleet.log_tails()}", failed, 30)["reason"]
        assert "could not be had from control-a (the peer was refused: certificate not valid yet" in said, said
        for pop in (ahead, behind, right):
            for model in ("digits", "ahead", "behind"):
                support.eventually(f"{pop.name} answers for {model}\n{fleet.log_tails()}", lambda: answers(pop, model), 30)
        with Askers([behind, right]) as askers:
            askers.until_more(50)
            ahead.kill()
            askers.until_more(200)
            support.eventually("the loss is seen", lambda: fleet.placement("digits:1") == ["nyc1"], 30)
            askers.until_more(50)
        assert askers.failed == [], askers.failed[:3]


def test_control_planes_whose_clocks_are_minutes_apart_lead_one_after_the_other_and_never_both(tmp_path):
    with fleet_of(tmp_path, controls=2, environments={"control-a": skewed("+9m"), "control-b": skewed("-9m")}) as fleet:
        pops = [fleet.start_pop("fra1", "eu"), fleet.start_pop("nyc1", "us")]
        assert clock(fleet.controls["control-a"]) - clock(fleet.controls["control-b"]) > timedelta(minutes=17)
        [(leader, epoch)] = support.eventually("somebody leads", fleet.leaders, 30).items()
        fleet.push_model(support.DIGITS, "digits")
        fleet.until_placed("digits:1")
        for pop in pops:
            support.eventually(f"{pop.name} answers", lambda: answers(pop), 30)
        both = lambda: all("digits" in fleet.client(each).run("model", "list").stdout for each in fleet.controls.values())
        support.eventually("both control planes have the model", both, 30)
        with Askers(pops) as askers:
            fleet.controls[leader].kill()
            [(successor, later)] = support.eventually("the other leads", fleet.leaders, 30).items()
            assert successor != leader and later > epoch
            fleet.push_model(support.DIGITS, "later")
            fleet.until_placed("later:1")
            fleet.start_control(leader)
            found = lambda: any(each["model"] == "later:1" for each in fleet.client(fleet.controls[leader]).json("placement", "show")["models"])
            support.eventually("the first knows what happened since", found, 30)
            assert fleet.leaders() == {successor: later}
            fleet.push_model(support.DIGITS, "last")
            fleet.until_placed("last:1")
            assert fleet.leaders() == {successor: later}
        assert askers.failed == [], askers.failed[:3]
        for pop in pops:
            support.eventually(f"{pop.name} answers for what was new", lambda: answers(pop, "last"), 30)
        refused = [entry for pop in pops for entry in pop.log_entries() if "left behind is not done" in str(entry)]
        assert refused == [], "nobody wrote in the name of an old epoch"
