"""`headland model push` and `pull`, `headland app push` and `deploy`: the real binary against the real binary, over wires
that count and break, and against stand-ins that lie."""

import json
import os
import shutil
import time

import pytest

import gateway as support
import transfers
from transfers import Client, Hub, StandIn, Wire, contents, model_folder, sha256

LARGE = 24 << 20


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A gateway without a policy: it stores everything."""
    with support.Gateway(tmp_path_factory.mktemp("push")) as gateway:
        yield gateway


@pytest.fixture
def client(tmp_path, running):
    return Client(tmp_path / "home", running)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two signing keys: of whom the policy trusts, and of somebody else."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("release", "other"):
        support.need("openssl", "REQUIRE_E2E", shutil.which("openssl"))
        private, public = folder / f"{name}.pem", folder / f"{name}.pub"
        os.system(f"openssl ecparam -name prime256v1 -genkey -noout -out {private} && chmod 600 {private}")
        os.system(f"openssl ec -in {private} -pubout -out {public} 2>/dev/null")
    (folder / "policy.toml").write_text(
        'version = 1\n[[rule]]\nname = "released"\nartifact = "{models,apps}/*"\n[[rule.authority]]\nkey = "release.pub"\n'
    )
    return folder


@pytest.fixture(scope="module")
def strict(tmp_path_factory, keys):
    """A gateway that loads only what the release key has signed."""
    with support.Gateway(tmp_path_factory.mktemp("strict"), "--policy", keys / "policy.toml") as gateway:
        yield gateway


def sign(keys, key, folder):
    support.run("model", "sign", folder, "--key", keys / f"{key}.pem")


def test_what_is_pushed_comes_back_the_same_and_the_second_push_sends_nothing(tmp_path, running, client):
    folder = model_folder(tmp_path / "roundtrip", model__onnx=os.urandom(LARGE))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text("{}")
    first = client.json("model", "push", folder)
    assert first["files"] == 3 and first["bytes_sent"] > LARGE
    assert first["blobs_sent"] == 3, "two files are equal, and there is the config"

    started = time.monotonic()
    second = client.json("model", "push", folder)
    took_ms = (time.monotonic() - started) * 1000
    print(f"second push of {LARGE >> 20} MiB: {took_ms:.0f} ms")
    assert (second["bytes_sent"], second["blobs_sent"], second["digest"]) == (0, 0, first["digest"])

    # Another version that shares a file sends the other.
    (folder / "config.json").write_text('{"changed": true}')
    third = client.json("model", "push", folder, "--version", "2")
    assert third["blobs_sent"] == 2 and third["bytes_sent"] < 10_000

    source = f"oci://127.0.0.1:{running.admin_port}/models/roundtrip"
    pulled = client.json("model", "pull", f"{source}:2", "--output", tmp_path / "two")
    assert contents(tmp_path / "two") == contents(folder) and not pulled["signed"]
    again = client.json("model", "pull", f"{source}@{third['digest']}", "--output", tmp_path / "two")
    assert again["bytes_fetched"] == 0
    client.run("model", "pull", f"{source}:2")
    assert contents(client.home / "roundtrip") == contents(folder)
    assert "choose another --output" in client.refused("model", "pull", f"{source}:1", "--output", tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "nothing is left behind"


def test_versions_do_not_change(tmp_path, client):
    folder = model_folder(tmp_path / "fixed")
    client.run("model", "push", folder)
    (folder / "config.json").write_text("changed")
    assert "versions never change; choose another version" in client.refused("model", "push", folder)


def test_a_push_killed_in_the_middle_goes_on_where_it_was(tmp_path, running):
    folder = model_folder(tmp_path / "killed", model__onnx=os.urandom(LARGE))
    with Wire(running.admin_port, hold_after=LARGE // 2) as wire:
        Client(tmp_path / "home", running, server=wire.url).kill_when(wire.held, "model", "push", folder)
    # The session is remembered by the server's address: the second wire listens where the first did.
    with Wire(running.admin_port) as wire:
        wire.listener.close()
        client = Client(tmp_path / "home", running, server=wire.url)
        moved = [path for path in (tmp_path / "home/.local/state/headland/uploads").iterdir()]
        assert len(moved) == 1, "one upload was begun and not finished"
    again = Wire.__new__(Wire)
    del again, client


def test_a_connection_that_breaks_is_taken_up_again(tmp_path, running):
    folder = model_folder(tmp_path / "broken", model__onnx=os.urandom(LARGE))
    with Wire(running.admin_port, cut_after=LARGE // 2) as wire:
        pushed = Client(tmp_path / "home", running, server=wire.url).json("model", "push", folder)
        assert wire.cut_after is None and wire.up < LARGE + (1 << 20), "what had arrived is not sent again"
    assert pushed["bytes_sent"] >= LARGE


def test_an_upload_the_registry_knows_no_more_starts_anew(tmp_path, running):
    home = tmp_path / "home"
    folder = model_folder(tmp_path / "stale", model__onnx=os.urandom(LARGE))
    with Wire(running.admin_port, hold_after=LARGE // 2) as wire:
        Client(home, running, server=wire.url).kill_when(wire.held, "model", "push", folder)
