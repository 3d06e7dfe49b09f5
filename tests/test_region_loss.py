"""A region that is lost: all its PoPs at once, under load on the others, and what becomes of it when they come back."""

import pytest

import gateway as support
import nats
from fleet import Fleet
from test_fleet import Askers, answers

SPREAD = "[placement]\nmin_replicas = 4\nmin_domains = 2\n"
ALONE = '[placement]\nregions = ["eu"]\n'


@pytest.fixture
def fleet(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_no_request_elsewhere_fails_when_a_region_is_lost_and_it_is_taken_up_again_when_it_is_back(fleet):
    europe, america = [("fra1", "eu"), ("fra2", "eu"), ("par1", "eu")], [("nyc1", "us"), ("nyc2", "us")]
    start = lambda places: [fleet.start_pop(name, region, "--failure-domain", region) for name, region in places]
    lost = start(europe)
    # As long as there is no other region, it stands in this one.
    fleet.push_model(support.DIGITS, "anywhere")
    fleet.until_placed("anywhere:1")
    others = start(america)
    fleet.push_model(support.DIGITS, "digits", manifest=SPREAD)
    fleet.push_model(support.DIGITS, "local", manifest=ALONE)
    fleet.until_placed("digits:1", count=4)
    fleet.until_placed("local:1")
    for pop in others:
        for model in ("digits", "local", "anywhere"):
            support.eventually(f"{pop.name} answers for {model}\n{fleet.log_tails()}", lambda: answers(pop, model), 30)
    with Askers(others) as askers:
        askers.until_more(50)
        for pop in lost:
            pop.process.kill()
        for pop in lost:
            pop.kill()
        askers.until_more(200)
        gone = lambda: all(fleet.client().json("pop", "show", pop.name)["liveness"] == "lost" for pop in lost)
        support.eventually("the region is seen to be lost", gone, 30)
        support.eventually(
            f"what may be elsewhere is\n{fleet.log_tails()}",
            lambda: fleet.placement("digits:1") == ["nyc1", "nyc2"] and fleet.placement("anywhere:1"),
            30,
        )
        shown = fleet.client().run("placement", "show").stdout
        assert fleet.placement("local:1") == [] and "local:1" in shown, shown
        askers.until_more(50)
        start(europe)
        fleet.until_placed("digits:1", count=4)
        fleet.until_placed("local:1")
        askers.until_more(50)
    assert askers.failed == [], askers.failed[:3]
    for pop in fleet.pops.values():
        for model in ("digits", "local", "anywhere"):
            support.eventually(f"{pop.name} answers for {model}\n{fleet.log_tails()}", lambda: answers(pop, model), 30)
