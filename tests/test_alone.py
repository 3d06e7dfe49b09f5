"""`headland up` is a fleet of one: the commands of a fleet work against it, and say what is so. And it costs next to nothing."""

import os
import shutil

import pytest

import gateway as support
from pki import make_key
from transfers import Client

REGIONS = """version = 1
[[rule]]
name = "released"
artifact = "models/*"
{regions}
[[rule.authority]]
key = "release.pub"
"""
IMAGE = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 8, 8], "data": [0.0] * 64}]}
# A look at the records and a heartbeat, each every two seconds.
TOLD_SECONDS_MAX = 20


@pytest.fixture
def folder(tmp_path):
    make_key(tmp_path, "release")
    (tmp_path / "policy.toml").write_text(REGIONS.format(regions=""))
    return tmp_path


def start(folder, *arguments):
    return support.Gateway(folder / "gateway", "--policy", folder / "policy.toml", *arguments)


def push(folder, client, version="1", manifest=None):
    source = folder / f"digits-{version}"
    shutil.copytree(support.DIGITS, source)
    (source / "NOTE.md").write_text(version)
    if manifest:
        (source / "headland.model.toml").write_text(manifest)
    support.run("model", "sign", source, "--key", folder / "release.pem")
    client.run("model", "push", source, "--name", "digits", "--version", version)


def standings(client, model="digits:1"):
    """How the model stands, by PoP."""
    found = [each for each in client.json("placement", "show")["models"] if each["model"] == model]
    return {replica["pop"]: replica["standing"] for each in found for replica in each["replicas"]}


def until_standing(client, standing, model="digits:1"):
    is_so = lambda: standings(client, model) == {"local": standing}
    support.eventually(f"{model} is {standing}", is_so, TOLD_SECONDS_MAX)


def infer(gateway, model="digits"):
    return gateway.post(f"/v2/models/{model}/infer", json_body=IMAGE)


def test_what_is_pushed_is_told_and_what_is_removed_is_told_no_more(folder):
    with start(folder, "--region", "eu") as gateway:
        client = Client(folder / "home", gateway)
        push(folder, client)
        until_standing(client, "stored")
        assert infer(gateway).status == 200
        until_standing(client, "ready")
        [pop] = client.json("pop", "list")["pops"]
        assert (pop["pop"], pop["place"]["region"], pop["liveness"], pop["intent"]) == ("local", "eu", "live", "active")
        [device] = pop["devices"]
        assert device["device"] == "cpu" and device["units"] == os.cpu_count() and 0 < device["used_bytes"] < device["memory_bytes"]
        assert pop["listen"] == f"127.0.0.1:{gateway.port}"
        [model] = client.json("pop", "show", "local")["models"]
        assert model["model"] == "digits:1" and model["memory_bytes"] > 0
        planned = client.run("plan", "--explain", "digits:1").stdout
        assert "0 to load" in planned and "0 to unload" in planned and "local (cpu-" in planned, planned
        assert "it loads a model when it is first asked for, whatever the plan says" in planned, planned
        lost = client.run("plan", "--what-if", "lose pop local").stdout
        assert "digits:1" in lost and "1 of its replicas" in lost, lost
        assert "within 0.00 % of the best possible" in client.run("placement", "show").stdout
        for _ in range(40):
            infer(gateway)
        asked = lambda: client.json("placement", "show")["models"][0]["requests_per_s"] > 0
        support.eventually("requests are counted", asked, TOLD_SECONDS_MAX)
        client.run("model", "rm", "--force", "digits:1")
        support.eventually("it is gone", lambda: standings(client) == {}, TOLD_SECONDS_MAX)


def test_a_model_that_was_named_is_told_and_so_is_why_another_cannot_be_where_it_asks_to_be(folder):
    # No policy: what the operator names needs no signature.
    with support.Gateway(folder / "gateway", f"--model=digits={support.DIGITS}") as gateway:
        client = Client(folder / "home", gateway)
        until_standing(client, "ready")
        assert "1 replica" in client.run("plan", "--explain", "digits:1").stdout
    with start(folder, "--region", "eu") as gateway:
        client = Client(folder / "home", gateway)
        push(folder, client, manifest="[placement]\nmin_replicas = 2\nmin_domains = 2\n")
        missing = lambda: [line for line in client.run("placement", "show").stdout.splitlines() if "not placed" in line]
        [line] = support.eventually("the plan says what lacks", missing, TOLD_SECONDS_MAX)
        assert line == "not placed: digits:1 finds devices in 1 failure domain only (missing: 1 of its replicas, 1 of its failure domains)"


def test_the_policy_that_was_given_is_what_is_planned_by(folder):
    (folder / "policy.toml").write_text(REGIONS.format(regions='regions = ["us"]'))
    with start(folder, "--region", "eu") as gateway:
        client = Client(folder / "home", gateway)
        push(folder, client)
        rules = client.json("policy", "show")["rules"]
        assert [(rule["name"], rule["regions"]) for rule in rules] == [("released", ["us"])]
        told = lambda: "digits:1 is allowed only in us, where no PoP is" in client.run("placement", "show").stdout
        support.eventually("it is said that it cannot be here", told, TOLD_SECONDS_MAX)
        assert infer(gateway).status == 403
        assert "by this gateway's own policy file" in client.refused("policy", "set", folder / "policy.toml")
        (folder / "policy.toml").write_text(REGIONS.format(regions='regions = ["eu"]'))
        support.eventually("the new policy lets it run", lambda: infer(gateway).status == 200, 30)
        until_standing(client, "ready")
        placed = lambda: "not placed" not in client.run("placement", "show").stdout
        support.eventually("it is planned for", placed, TOLD_SECONDS_MAX)


def test_without_a_policy_it_is_said_how_to_give_one(tmp_path):
    with support.Gateway(tmp_path / "gateway") as gateway:
        said = Client(tmp_path / "home", gateway).refused("policy", "show")
        assert "started without a policy" in said and "--policy FILE" in said, said


def test_what_makes_no_sense_with_one_pop_is_refused_with_the_reason(folder):
    with start(folder) as gateway:
        client = Client(folder / "home", gateway)
        support.eventually("it is heard", lambda: client.json("pop", "list")["pops"], TOLD_SECONDS_MAX)
        assert "`local` is the only PoP: there is no other that could take over" in client.refused("pop", "drain", "local")
        for command in (["status"], ["pause", "digits"], ["abort", "digits"]):
            assert "with one PoP a new version is meant as soon as it is pushed" in client.refused("rollout", *command)
        assert "there is no PoP `fra1`" in client.refused("pop", "cordon", "fra1")
        assert "what is pushed to it or asked of it is loaded all the same" in client.run("pop", "cordon", "local").stdout
        cordoned = lambda: client.json("pop", "show", "local")["intent"] == "cordoned"
        support.eventually("it is cordoned", cordoned)
        push(folder, client)
        assert infer(gateway).status == 200
    with start(folder) as gateway:
        client = Client(folder / "home", gateway)
        support.eventually("it is still cordoned after a restart", lambda: cordoned_at(client), TOLD_SECONDS_MAX)
        assert client.run("pop", "uncordon", "local").stdout == "`local` is active now: it is used like any other\n"


def cordoned_at(client):
    return [pop["intent"] for pop in client.json("pop", "list")["pops"]] == ["cordoned"]


def test_records_survive_a_kill_and_are_made_anew_when_they_are_damaged_or_lost(folder):
    gateway = start(folder)
    records = gateway.data_dir / "control.redb"
    support.eventually("the gateway is ready", gateway.is_ready, support.START_SECONDS_MAX)
    client = Client(folder / "home", gateway)
    push(folder, client)
    until_standing(client, "stored")
    gateway.kill()
    for damage in (lambda: None, lambda: records.write_bytes(os.urandom(1 << 16)), records.unlink):
        damage()
        with start(folder) as gateway:
            client = Client(folder / "home", gateway)
            until_standing(client, "stored")
            assert infer(gateway).status == 200
    assert records.with_suffix(".damaged").exists()


def test_a_second_version_is_meant_at_once_and_both_are_told(folder):
    with start(folder) as gateway:
        client = Client(folder / "home", gateway)
        push(folder, client)
        assert infer(gateway).status == 200
        push(folder, client, version="2")
        assert infer(gateway, "digits/versions/2").status == 200
        until_standing(client, "ready", "digits:2")
        assert set(standings(client, "digits:1")) == {"local"}
        # The plan asks for a replica of the version that is meant, and of no other.
        explained = client.run("plan", "--explain", "digits:1").stdout.split("\ndigits:1\n")[1]
        assert "at least 0 replicas" in explained, explained
