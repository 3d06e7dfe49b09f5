"""Many PoPs: real control planes, PoPs and nats-servers. Models are placed, asked for everywhere, and survive what fails."""

import json
import threading
import time

import pytest

import gateway as support
import nats
from fleet import POLICY, Fleet

IMAGE = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 8, 8], "data": [0.0] * 64}]}
TWO = '[placement]\nmin_replicas = 2\nmin_domains = 2\n'


@pytest.fixture
def fleet(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def infer(pop, model="digits"):
    return pop.post(f"/v2/models/{model}/infer", json_body=IMAGE)


def answers(pop, model="digits"):
    """Whether a PoP answers for a model, and what."""
    answer = infer(pop, model)
    return answer.json()["outputs"][0]["data"] if answer.status == 200 else None


class Askers:
    """Asks PoPs again and again, and keeps what did not go well."""

    def __init__(self, pops, model="digits"):
        self.stop, self.answered, self.failed = threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.ask, args=(pop, model)) for pop in pops]

    def ask(self, pop, model):
        while not self.stop.is_set():
            try:
                answer = infer(pop, model)
            except OSError as error:
                self.failed.append((pop.name, repr(error)))
                continue
            if answer.status == 200:
                self.answered += 1
            else:
                self.failed.append((pop.name, answer.text[:300]))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def until_more(self, count):
        before = self.answered
        support.eventually(f"{count} more answers; failed: {self.failed[:3]}", lambda: self.answered >= before + count, 60)


def test_a_model_is_placed_once_and_answers_everywhere(fleet):
    pops = [fleet.start_pop(name, region) for name, region in [("fra1", "eu"), ("nyc1", "us"), ("sin1", "asia")]]
    fleet.push_model(support.DIGITS, "digits")
    [holder] = fleet.until_placed("digits:1")
    outputs = [support.eventually(f"{pop.name} answers\n{fleet.log_tails()}", lambda: answers(pop), 30) for pop in pops]
    assert all(output == outputs[0] for output in outputs), "the same wherever it is asked for"
    metadata = [pop.get("/v2/models/digits").json() for pop in pops]
    assert all(each["inputs"] == metadata[0]["inputs"] and each["versions"] == ["1"] for each in metadata)
    bad = [pop.post("/v2/models/digits/infer", json_body={"inputs": []}) for pop in pops]
    assert {answer.status for answer in bad} == {400} and len({json.dumps(answer.json()) for answer in bad}) == 1

    listed = fleet.client().run("pop", "list").stdout
    assert all(name in listed for name in ("fra1", "nyc1", "sin1", "control-a")), listed
    shown = fleet.client().json("pop", "show", holder)
    assert [model["model"] for model in shown["models"]] == ["digits:1"]
    planned = fleet.client().run("plan", "--explain", "digits:1", "--what-if", f"lose pop {holder}").stdout
    assert "digits:1" in planned and f" {holder} (" not in planned and "within" in planned, planned


def test_a_fleet_plans_by_the_policy_it_is_told(fleet):
    pops = [fleet.start_pop(name, region) for name, region in [("fra1", "eu"), ("nyc1", "us")]]
    policy, client = fleet.folder / "planned.toml", fleet.client()
    assert "the fleet has no policy record" in client.refused("policy", "show")
    fleet.push_model(support.DIGITS, "digits")
    fleet.until_placed("digits:1")
    rule = POLICY.split("[[rule]]")[1].replace("[[rule.authority]]", 'regions = ["{region}"]\n[[rule.authority]]')
    for region, holder in [("us", "nyc1"), ("eu", "fra1")]:
        policy.write_text("version = 1\n[[rule]]" + rule.format(region=region))
        client.run("policy", "set", policy)
        assert [rule["regions"] for rule in client.json("policy", "show")["rules"]] == [[region]]
        moved = lambda: fleet.placement("digits:1") == [holder]
        support.eventually(f"it is in {region} alone\n{fleet.log_tails()}", moved, 60)
        assert f"the policy allows {region}" in client.run("plan", "--explain", "digits:1").stdout
        for pop in pops:
            support.eventually(f"{pop.name} answers", lambda: answers(pop), 30)
    policy.write_text("version = 1\n")
    client.run("policy", "set", policy)
    shown = lambda: "not placed: digits:1 is allowed in no region" in client.run("placement", "show").stdout
    support.eventually("what no rule fits is placed nowhere", shown, 30)
    control = fleet.controls["control-a"]
    bad = {"rules": [{"name": "r", "artifact": "digits", "admits": True}]}
    token = (control.data_dir / "admin.token").read_text().strip()
    put = lambda: control.request("PUT", "/admin/v1/policy/fleet", json_body=bad, port=control.admin_port, headers={"authorization": f"Bearer {token}"})
    assert (put().status, put().json()["type"]) == (400, "/errors/bad-policy"), put().text
    assert client.json("policy", "show")["rules"] == []


def test_an_app_serves_everywhere_while_its_model_is_in_one_place(fleet, samples):
    pops = [fleet.start_pop("fra1", "eu"), fleet.start_pop("nyc1", "us")]
    fleet.push_model(support.DIGITS, "digits")
    fleet.deploy_app(support.manifest("rust/digits"), "digits")
    fleet.until_placed("digits:1")
    image, expected = samples[0]
    for pop in pops:
        read = lambda: pop.post("/digits", image.read_bytes(), headers={"content-type": "image/png"})
        answer = support.eventually(f"{pop.name} serves the app\n{fleet.log_tails()}", lambda: (a := read()).status == 200 and a, 60)
        assert str(answer.json()["digit"]) == str(expected["digit"] if isinstance(expected, dict) else expected)


def test_no_request_fails_when_a_pop_that_holds_the_model_is_killed(fleet):
    for name, region in [("fra1", "eu"), ("fra2", "eu"), ("nyc1", "us")]:
        fleet.start_pop(name, region)
    fleet.push_model(support.DIGITS, "digits", manifest=TWO)
    holders = fleet.until_placed("digits:1", count=2)
    victim = fleet.pops[holders[0]]
    others = [pop for pop in fleet.pops.values() if pop is not victim]
    for pop in others:
        support.eventually(f"{pop.name} answers", lambda: answers(pop), 30)
    with Askers(others) as askers:
        askers.until_more(50)
        victim.kill()
        askers.until_more(200)
        moved = support.eventually(
            "the lost replica is placed elsewhere",
            lambda: victim.name not in (pops := fleet.placement("digits:1")) and len(pops) >= 2 and pops,
            60,
        )
        askers.until_more(50)
    assert askers.failed == [] and victim.name not in moved, askers.failed[:3]


def test_pops_serve_without_control_plane_and_without_nats_and_catch_up(fleet):
    pops = [fleet.start_pop("fra1", "eu"), fleet.start_pop("nyc1", "us")]
    fleet.push_model(support.DIGITS, "digits")
    fleet.until_placed("digits:1")
    for pop in pops:
        support.eventually(f"{pop.name} answers", lambda: answers(pop), 30)
    with Askers(pops) as askers:
        fleet.controls["control-a"].kill()
        fleet.nats.kill()
        askers.until_more(200)
        fleet.nats.start()
        fleet.nats.wait_until_healthy()
        fleet.start_control("control-a")
        fleet.push_model(support.DIGITS, "other")
        fleet.until_placed("other:1")
        askers.until_more(50)
    assert askers.failed == [], askers.failed[:3]
    for pop in pops:
        support.eventually(f"{pop.name} answers for the new model\n{fleet.log_tails()}", lambda: answers(pop, "other"), 30)


def test_a_drained_pop_hands_over_and_holds_nothing_then(fleet):
    for name in ("fra1", "fra2"):
        fleet.start_pop(name, "eu")
    fleet.push_model(support.DIGITS, "digits")
    [holder] = fleet.until_placed("digits:1")
    [other] = [name for name in fleet.pops if name != holder]
    support.eventually("the other answers too", lambda: answers(fleet.pops[other]), 30)
    client = fleet.client()
    with Askers(fleet.pops.values()) as askers:
        askers.until_more(20)
        client.run("pop", "drain", holder)
        support.eventually(f"the model moved\n{fleet.log_tails()}", lambda: fleet.placement("digits:1") == [other], 60)
        askers.until_more(20)
    assert askers.failed == [], askers.failed[:3]
    assert client.json("pop", "show", holder)["intent"] == "draining"
    error = client.refused("pop", "drain", "nowhere")
    assert "there is no PoP `nowhere`; there are" in error


def test_a_standby_takes_over_when_the_leader_is_killed(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet", controls=2) as fleet:
        pop = fleet.start_pop("fra1", "eu")
        fleet.push_model(support.DIGITS, "digits")
        fleet.until_placed("digits:1")

        def leaders():
            alive = [each for each in fleet.controls.values() if each.process.poll() is None]
            roles = {each.name: fleet.client(each).json("pop", "list") for each in alive}
            return {name: said["epoch"] for name, said in roles.items() if said["role"] == "leader"}

        before = support.eventually("somebody leads", leaders, 30)
        # What was pushed to the one is at the other before it is needed there.
        support.eventually(
            "both control planes have the model",
            lambda: all(
                any(model["in_registry"] for model in fleet.client(each).json("model", "list")["models"])
                for each in fleet.controls.values()
            ),
            60,
        )
        [leader] = before
        killed = time.monotonic()
        fleet.controls[leader].kill()
        after = support.eventually("the other leads", leaders, 30)
        assert time.monotonic() - killed < 10 + 2 + 1, "within the lease and two seconds"
        [(successor, epoch)] = after.items()
        assert successor != leader and epoch > before[leader]
        fleet.push_model(support.DIGITS, "later")
        fleet.until_placed("later:1")
        support.eventually("the PoP answers for it", lambda: answers(pop, "later"), 30)


def test_two_pops_of_one_name_and_foreign_identities_are_refused(fleet, tmp_path):
    fleet.start_pop("fra1", "eu")
    fleet.issue("nyc1")
    said = support.refuses_to_start(
        tmp_path / "wrong",
        "--nats", fleet.nats.url, "--identity", fleet.identities / "nyc1", "--pop", "fra9", "--region", "eu",
        "--peer-listen", "127.0.0.1:0",
        serves="pop",
    )  # fmt: skip
    assert "is the identity of pop/nyc1, and not of pop/fra9; make one with `headland control issue`" in said, said
    first = fleet.pops["fra1"]
    second = fleet.start_pop("fra1", "us", data_dir=tmp_path / "twin")
    shown = support.eventually("the second is told", lambda: (p := fleet.client().json("pop", "show", "fra1")).get("rival") and p, 30)
    assert "another PoP of this name speaks from" in shown["rival"] and shown["place"]["region"] == "eu"
    second.stop()
    fleet.pops["fra1"] = first
