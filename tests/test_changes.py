"""Many changes in a row, and control planes that lose everything they had: the fleet ends where its operators wanted it."""

import json
import random

import pytest

import gateway as support
import graphs
import nats
from fleet import Fleet
from test_push import app_folder
from test_rollout import ask

CHANGES = 100
SETTLE_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path_factory.mktemp("changes") / "fleet", controls=2) as fleet:
        for name, region in [("fra1", "eu"), ("nyc1", "us")]:
            fleet.start_pop(name, region)
        yield fleet


class Operator:
    """Changes the fleet at one of its control planes, and knows what is wanted of it in the end."""

    def __init__(self, fleet, folder):
        self.fleet, self.folder, self.random = fleet, folder, random.Random(7)
        # What `live` stands for of models with two versions; which of the others are there; which version the app has.
        self.live, self.present, self.app = {}, set(), None
        for name in [f"two-{at}" for at in range(4)] + [f"one-{at}" for at in range(8)]:
            for version in "12" if name.startswith("two") else "1":
                self.sign(name, version)

    def sign(self, name, version):
        self.fleet.sign(graphs.write(self.folder / f"{name}-{version}", graphs.gather(8, columns=int(version))))

    def push(self, control, name, version):
        self.fleet.client(control).run("model", "push", self.folder / f"{name}-{version}", "--name", name, "--version", version)

    def admin(self, control, method, path, body=None):
        answer = control.admin(f"/admin/v1/{path}", method, body=None if body is None else json.dumps(body))
        assert answer.status < 300, (path, answer.status, answer.text)

    def move(self, control, name):
        version = self.random.choice("12")
        self.admin(control, "PUT", f"models/{name}/aliases/live", {"version": version})
        self.live[name] = version

    def come_or_go(self, control):
        name = f"one-{self.random.randrange(8)}"
        if name in self.present:
            self.admin(control, "DELETE", f"models/{name}/versions/1?force=true")
        else:
            self.push(control, name, "1")
        self.present ^= {name}

    def deploy(self, control):
        self.app = "2" if self.app == "1" else "1"
        manifest = app_folder(self.folder / f"app-{self.app}", "hello", f"version {self.app}")
        signature = self.folder / f"app-{self.app}.sig"
        if not signature.exists():
            key = self.fleet.folder / "release.pem"
            support.run("app", "sign", manifest, "--version", self.app, "--key", key, "--signature", signature)
        client = self.fleet.client(control)
        client.run("app", "push", manifest, "--version", self.app, "--signature", signature)
        client.run("app", "deploy", f"greeter:{self.app}")

    def begin(self, control):
        for at in range(4):
            for version in "12":
                self.push(control, f"two-{at}", version)
            self.move(control, f"two-{at}")
        self.deploy(control)

    def change(self, control, count):
        for at in range(count):
            if at % 25 == 24:
                self.deploy(control)
            elif at % 5 == 4:
                self.come_or_go(control)
            else:
                self.move(control, f"two-{self.random.randrange(4)}")

    def known(self, control):
        """What a control plane says there is."""
        listed = self.fleet.client(control).json("model", "list")["models"]
        live = {each["name"]: each["version"] for each in listed if "live" in each["aliases"]}
        present = {each["name"] for each in listed if each["name"].startswith("one-")}
        return live, present

    def until_known(self, control):
        wanted = (self.live, self.present)
        support.eventually(
            f"{control.name} knows of {wanted}", lambda: self.known(control) == wanted, SETTLE_SECONDS_MAX
        )

    def until_done(self):
        for pop in self.fleet.pops.values():
            support.eventually(f"{pop.name} serves what is wanted", lambda: self.is_done(pop), SETTLE_SECONDS_MAX)

    def is_done(self, pop):
        for name, version in self.live.items():
            answer = ask(pop, f"{name}/versions/live")
            if answer.status != 200 or answer.json()["model_version"] != version:
                return False
        there = {f"one-{at}" for at in range(8) if ask(pop, f"one-{at}").status == 200}
        return there == self.present and served(pop, self.fleet) == self.app


def served(member, fleet):
    """The version of the app that a member serves."""
    shown = fleet.client(member).run("app", "show", "greeter", "--json", check=False)
    return json.loads(shown.stdout).get("version") if shown.returncode == 0 else None


@pytest.fixture(scope="module")
def operator(fleet, tmp_path_factory):
    return Operator(fleet, tmp_path_factory.mktemp("operator"))


def test_two_hundred_changes_in_a_row_and_a_leader_killed_in_the_middle_end_in_what_was_wanted_last(fleet, operator):
    [leader] = support.eventually("somebody leads", fleet.leaders, 30)
    [other] = set(fleet.controls) - {leader}
    operator.begin(fleet.controls[leader])
    operator.change(fleet.controls[leader], CHANGES)
    operator.until_known(fleet.controls[other])
    support.eventually("the other has the app", lambda: served(fleet.controls[other], fleet) == operator.app, SETTLE_SECONDS_MAX)
    fleet.controls[leader].kill()
    operator.change(fleet.controls[other], CHANGES)
    fleet.start_control(leader)
    for control in fleet.controls.values():
        operator.until_known(control)
        served_there = lambda: served(control, fleet) == operator.app
        support.eventually(f"{control.name} has the app", served_there, SETTLE_SECONDS_MAX)
    operator.until_done()
    wanted = set(operator.live) | operator.present
    held = lambda pop: {each["model"].split(":")[0] for each in fleet.client().json("pop", "show", pop.name)["models"]}
    thrown_away = lambda: set().union(*map(held, fleet.pops.values())) <= wanted
    support.eventually("what was removed is thrown away", thrown_away, SETTLE_SECONDS_MAX)


def test_control_planes_that_lost_everything_have_the_models_again_from_the_pops_and_go_on(fleet, operator, tmp_path):
    operator.until_done()
    for control in fleet.controls.values():
        control.kill()
    for name, control in list(fleet.controls.items()):
        control.data_dir.rename(tmp_path / name)
        fleet.start_control(name)
    for control in fleet.controls.values():
        operator.until_known(control)
    operator.until_done()
    new = next(iter(fleet.controls.values()))
    operator.sign("new", "1")
    operator.push(new, "new", "1")
    fleet.until_placed("new:1")
    for pop in fleet.pops.values():
        support.eventually(f"{pop.name} answers for what is new", lambda: ask(pop, "new").status == 200, SETTLE_SECONDS_MAX)
