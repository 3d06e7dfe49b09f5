"""A fleet in which things break: members cut off from each other and from NATS, nats-servers lost, wrong bytes, no room. What is
lost: nothing."""

import pytest

import gateway as support
import nats
from fleet import Distance, Fleet
from test_fleet import TWO, Askers, answers


@pytest.fixture
def fleet(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_a_pop_cut_off_from_nats_serves_on_and_catches_up(fleet):
    line = Distance(fleet.nats.port)
    cut_off = fleet.start_pop("fra1", "eu", nats_url=f"nats://127.0.0.1:{line.port}")
    other = fleet.start_pop("nyc1", "us")
    fleet.push_model(support.DIGITS, "digits", manifest=TWO)
    fleet.until_placed("digits:1", count=2)
    with Askers([cut_off, other]) as askers:
        askers.until_more(20)
        line.cut()
        lost = lambda: fleet.client().json("pop", "show", "fra1")["liveness"] == "lost"
        support.eventually("the fleet misses it", lost, 30)
        askers.until_more(50)
        fleet.push_model(support.DIGITS, "later", manifest=TWO)
        fleet.until_placed("later:1", count=1)
        line.mend()
        fleet.until_placed("later:1", count=2)
        askers.until_more(20)
    assert askers.failed == [], askers.failed[:3]
    assert support.eventually("it answers for what was new", lambda: answers(cut_off, "later"), 30)


def test_a_pop_that_is_lost_to_the_control_plane_alone_is_still_asked_for_what_only_it_has(fleet):
    line = Distance(fleet.nats.port)
    fleet.start_pop("fra1", "eu", nats_url=f"nats://127.0.0.1:{line.port}")
    caller = fleet.start_pop("nyc1", "us")
    # It may be nowhere else.
    fleet.push_model(support.DIGITS, "digits", manifest='[placement]\nregions = ["eu"]\n')
    assert fleet.until_placed("digits:1") == ["fra1"]
    support.eventually("the caller answers", lambda: answers(caller), 30)
    with Askers([caller]) as askers:
        askers.until_more(20)
        line.cut()
        lost = lambda: fleet.client().json("pop", "show", "fra1")["liveness"] == "lost"
        support.eventually("the fleet misses it", lost, 30)
        support.eventually("it is not placed", lambda: fleet.placement("digits:1") == [], 30)
        askers.until_more(300)
        line.mend()
        fleet.until_placed("digits:1")
        askers.until_more(20)
    assert askers.failed == [], askers.failed[:3]


def test_requests_go_around_a_pop_that_cannot_be_reached(fleet):
    far = [fleet.start_pop(name, "eu", one_way_ms=1) for name in ("fra1", "fra2")]
    caller = fleet.start_pop("nyc1", "us")
    # Nobody may hold it at the caller's.
    fleet.push_model(support.DIGITS, "digits", manifest=TWO + 'regions = ["eu"]\n')
    fleet.until_placed("digits:1", count=2)
    support.eventually("the caller answers", lambda: answers(caller), 30)
    with Askers([caller] * 2) as askers:
        for pop in far:
            askers.until_more(30)
            pop.distance.cut()
            askers.until_more(100)
            pop.distance.mend()
            askers.until_more(100)
    assert askers.failed == [], askers.failed[:3]


def test_a_corrupt_file_at_a_peer_is_thrown_away_and_had_from_another(fleet):
    first = fleet.start_pop("fra1", "eu")
    fleet.push_model(support.DIGITS, "digits", manifest=TWO)
    fleet.until_placed("digits:1")
    [weights] = [path for path in (first.data_dir / "registry").rglob("*") if path.is_file() and path.read_bytes() == (support.DIGITS / "model.onnx").read_bytes()]
    damaged = bytearray(weights.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(damaged)
    second = fleet.start_pop("fra2", "eu")
    fleet.until_placed("digits:1", count=2)
    second.wait_for_log("sent other bytes than their digest says", level="ERROR")
    assert answers(second)


def test_a_pop_without_room_is_told_apart_and_the_model_goes_elsewhere(fleet, tmp_path):
    (tmp_path / "small.toml").write_text('[registry]\nquota = "4KiB"\n')
    fleet.start_pop("fra1", "eu", "--config", tmp_path / "small.toml")
    fleet.push_model(support.DIGITS, "digits")
    said = lambda: next((each for each in fleet.client().json("pop", "show", "fra1")["models"] if each["standing"] == "failed"), None)
    failed = support.eventually(f"the PoP says why\n{fleet.log_tails()}", said, 60)
    assert "the store is full" in failed["reason"], failed
    shown = fleet.client().run("placement", "show").stdout
    assert "digits:1 failed at fra1, which is tried again in" in shown and "the store is full" in shown, shown
    fleet.start_pop("fra2", "eu")
    assert fleet.until_placed("digits:1") == ["fra2"]


def test_nats_servers_may_go_one_by_one_and_all_at_once(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet", nats_servers=3) as fleet:
        pops = [fleet.start_pop("fra1", "eu"), fleet.start_pop("nyc1", "us")]
        fleet.push_model(support.DIGITS, "digits")
        fleet.until_placed("digits:1")
        for pop in pops:
            support.eventually(f"{pop.name} answers", lambda: answers(pop), 30)
        with Askers(pops) as askers:
            fleet.nats.nodes[0].kill()
            fleet.push_model(support.DIGITS, "second")
            fleet.until_placed("second:1")
            for server in fleet.nats.nodes[1:]:
                server.kill()
            askers.until_more(100)
            for server in fleet.nats.nodes:
                server.start()
            fleet.push_model(support.DIGITS, "third")
            fleet.until_placed("third:1", seconds=120)
            askers.until_more(20)
        assert askers.failed == [], askers.failed[:3]
        for pop in pops:
            support.eventually(f"{pop.name} answers for what was new", lambda: answers(pop, "third"), 60)


def test_a_model_that_needs_a_gpu_waits_for_one_and_is_never_loaded_on_a_processor(fleet):
    first, second = fleet.start_pop("fra1", "eu"), fleet.start_pop("fra2", "eu")
    fleet.push_model(support.DIGITS, "digits", manifest='[placement]\naccelerator = "required"\n')
    missing = lambda: "not placed: digits:1" in fleet.client().run("placement", "show").stdout
    support.eventually("the plan says so", missing, 30)
    for pop in [first, second] * 10:
        assert pop.post("/v2/models/digits/infer", json_body={"inputs": []}).status == 404
    [model] = fleet.client().json("placement", "show")["models"]
    assert model["replicas"] == [], model
