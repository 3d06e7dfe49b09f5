"""`headland sim`: a fleet in simulated time, as somebody would try it who plans one."""

import json
import subprocess
import xml.etree.ElementTree as xml

import gateway as support


def sim(*args, ok=True):
    done = subprocess.run([support.binary(), "sim", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert (done.returncode == 0) == ok, done.stderr
    return done


def test_a_small_fleet_is_simulated_alike_each_time_and_drawn(tmp_path):
    once = sim("run", "small", "--hours", 3, "--json", "--out", tmp_path).stdout
    assert once == sim("run", "small", "--hours", 3, "--json").stdout
    outcome = json.loads(once)
    assert len(outcome["hours"]) == 3 and outcome["answered"] / outcome["requests"] > 0.9
    assert json.loads((tmp_path / "sim.json").read_text()) == outcome
    for name in ["sim-map.svg", "sim-timeline.svg"]:
        assert xml.parse(tmp_path / name).getroot().tag.endswith("svg")
    assert once != sim("run", "small", "--hours", 3, "--json", "--seed", 7).stdout


def test_a_scenario_is_printed_changed_and_run(tmp_path):
    printed = sim("show", "small").stdout
    mine = tmp_path / "mine.toml"
    mine.write_text(printed.replace("hours = 12", "hours = 1"))
    said = sim("run", mine).stdout
    assert said.startswith("1 hours, ") and "answered: " in said and "recovery: " in said


def test_what_is_no_scenario_is_refused_with_what_would_be(tmp_path):
    assert "it is none of `world`, `day`, `small`, and no file" in sim("run", "moon", ok=False).stderr
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("popz = 3\n")
    assert "popz" in sim("run", wrong, ok=False).stderr
    wrong.write_text("pops = 0\n")
    assert "at least one PoP" in sim("run", wrong, ok=False).stderr
    wrong.write_text("burstiness = nan\n")
    assert "burstiness" in sim("run", wrong, ok=False).stderr
    wrong.write_text("pull_bytes_per_s = -1.0\n")
    assert "pull_bytes_per_s must be at least one byte a second" in sim("run", wrong, ok=False).stderr
    wrong.write_text("pops = 1000000000\n")
    assert "at most" in sim("run", wrong, ok=False).stderr
