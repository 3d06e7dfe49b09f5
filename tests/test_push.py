"""`headland model push` and `pull`, `headland app push` and `deploy`: the real binary against the real binary, over wires
that count and break, and against stand-ins that lie."""

import json
import os
import shutil
import time

import pytest

import gateway as support
from pki import make_key
from transfers import Client, Hub, StandIn, Wire, contents, make_token, model_folder, sha256

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
    """Two signing keys, the policy's and somebody else's, and the policy."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("release", "other"):
        make_key(folder, name)
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


def test_a_file_that_is_not_what_was_promised_is_refused_and_read_again(tmp_path, client):
    folder = model_folder(tmp_path / "promised", model__onnx=os.urandom(2 << 20))
    remembered = client.home / ".local/state/headland/digests"

    def pushed():
        client.run("model", "push", folder)
        return any("model.onnx" in path.read_text() for path in remembered.glob("*"))

    support.eventually("the digest of a file that rests is remembered", pushed)
    [memory] = remembered.iterdir()
    digest = sha256((folder / "model.onnx").read_bytes())
    memory.write_text(memory.read_text().replace(digest, sha256(b"something else")))
    (folder / "config.json").write_text('{"version": 2}')
    error = client.refused("model", "push", folder, "--version", "2")
    assert "sending model.onnx" in error and "changed while it was sent" in error, error
    assert [model["version"] for model in client.json("model", "list")["models"] if model["name"] == "promised"] == ["1"]
    client.run("model", "push", folder, "--version", "2")


def test_versions_do_not_change(tmp_path, client):
    folder = model_folder(tmp_path / "fixed")
    client.run("model", "push", folder)
    (folder / "config.json").write_text("changed")
    assert "versions never change; choose another version" in client.refused("model", "push", folder)


def test_a_push_killed_in_the_middle_goes_on_where_it_was(tmp_path, running):
    folder = model_folder(tmp_path / "killed", model__onnx=os.urandom(LARGE))
    with Wire(running.admin_port, hold_after=LARGE // 2) as wire:
        client = Client(tmp_path / "home", running, server=wire.url)
        client.kill_when(wire.held, "model", "push", folder)
        before = wire.release()
        assert "killed" not in client.run("model", "list").stdout, "half a model is no model"
        pushed = client.json("model", "push", folder)
        print(f"killed after {before} bytes; {wire.up - before} bytes were sent again of {LARGE}")
        assert wire.up - before < LARGE * 0.6 and pushed["bytes_sent"] < LARGE * 0.6
        assert list((client.home / ".local/state/headland/uploads").iterdir()) == [], "nothing is left to go on with"
        client.run("model", "pull", f"oci://127.0.0.1:{wire.port}/models/killed:1")
    assert contents(client.home / "killed") == contents(folder)


def test_an_upload_the_registry_knows_no_more_starts_anew(tmp_path, running):
    folder = model_folder(tmp_path / "stale", model__onnx=os.urandom(LARGE))
    with Wire(running.admin_port, hold_after=LARGE // 2) as wire:
        client = Client(tmp_path / "home", running, server=wire.url)
        client.kill_when(wire.held, "model", "push", folder)
        wire.release()
        [session] = (client.home / ".local/state/headland/uploads").iterdir()
        path = session.read_text().removeprefix(wire.url)
        assert session.stat().st_mode & 0o077 == 0

        def cancelled():
            return running.request("DELETE", path, headers=authorization(running), port=running.admin_port).status == 204

        support.eventually("the upload is cancelled", cancelled)
        assert client.json("model", "push", folder)["bytes_sent"] > LARGE
        assert "stale" in client.run("model", "list").stdout


def test_a_connection_that_breaks_is_taken_up_again(tmp_path, running):
    folder = model_folder(tmp_path / "broken", model__onnx=os.urandom(LARGE))
    with Wire(running.admin_port, cut_after=LARGE // 2) as wire:
        client = Client(tmp_path / "home", running, server=wire.url)
        client.run("model", "push", folder)
        assert wire.cut_after is None, "it was cut"
        assert wire.up < LARGE + (2 << 20), "what had arrived is not sent again"
        with Wire(running.admin_port, direction="down", cut_after=LARGE // 2) as back:
            client.run("model", "pull", f"oci://127.0.0.1:{back.port}/models/broken:1")
            assert back.cut_after is None and back.down < LARGE + (2 << 20)
    assert contents(client.home / "broken") == contents(folder)


def test_a_pull_killed_in_the_middle_goes_on_where_it_was_and_shows_nothing_half(tmp_path, running, client):
    folder = model_folder(tmp_path / "halved", model__onnx=os.urandom(LARGE))
    client.run("model", "push", folder)
    with Wire(running.admin_port, direction="down", hold_after=LARGE // 2) as wire:
        source = f"oci://127.0.0.1:{wire.port}/models/halved:1"
        client.kill_when(wire.held, "model", "pull", source, on_disk=LARGE // 4)
        assert not (client.home / "halved").exists()
        before = wire.release()
        pulled = client.json("model", "pull", source)
        print(f"killed after {before} bytes; {wire.down - before} bytes were fetched again of {LARGE}")
        assert wire.down - before < LARGE * 0.8 and pulled["bytes_fetched"] < LARGE * 0.8
    assert contents(client.home / "halved") == contents(folder)


def test_what_an_earlier_pull_left_is_not_trusted(tmp_path, running, client):
    folder = model_folder(tmp_path / "spoilt", model__onnx=os.urandom(LARGE))
    client.run("model", "push", folder)
    with Wire(running.admin_port, direction="down", hold_after=LARGE // 2) as wire:
        source = f"oci://127.0.0.1:{wire.port}/models/spoilt:1"
        client.kill_when(wire.held, "model", "pull", source, on_disk=LARGE // 4)
        wire.release()
        [part] = [path for path in client.home.glob(".spoilt.pull-*/parts/*") if path.stat().st_size > 1 << 20]
        with part.open("r+b") as file:
            file.write(b"tampered")
        client.run("model", "pull", source)
    assert contents(client.home / "spoilt") == contents(folder)


def authorization(gateway):
    return {"authorization": "Bearer " + (gateway.data_dir / "admin.token").read_text().strip()}


def test_a_large_model_with_a_bad_signature_costs_kilobytes(tmp_path, strict, keys):
    folder = model_folder(tmp_path / "rejected")
    with (folder / "model.onnx").open("wb") as file:
        file.truncate(256 << 20)
    sign(keys, "other", folder)
    with Wire(strict.admin_port) as wire:
        client = Client(tmp_path / "home", strict, server=wire.url)
        error = client.refused("model", "push", folder)
        print(f"refused after {wire.up} bytes: {error}")
        assert "rejected:1 was refused" in error and "released" in error, "the rule is named"
        assert wire.up < 64 << 10
        assert "rejected" not in client.run("model", "list").stdout


def test_a_signed_model_is_pushed_loaded_aliased_asked_and_removed(tmp_path, strict, keys):
    client = Client(tmp_path / "home", strict)
    folder = tmp_path / "digits"
    shutil.copytree(support.DIGITS, folder)
    sign(keys, "release", folder)
    pushed = client.json("model", "push", folder, "--name", "digits", "--version", "2.1")
    assert pushed["signed"] and pushed["blobs_sent"] > 0
    assert client.json("model", "push", folder, "--name", "digits", "--version", "2.1")["bytes_sent"] == 0

    assert client.run("model", "load", "digits:2.1").stdout == "loaded `digits:2.1`\n"
    assert client.run("model", "alias", "digits:2.1", "stable").stdout == "`digits:stable` is version 2.1 now\n"
    [model] = client.json("model", "list")["models"]
    assert (model["name"], model["version"], model["state"], model["aliases"]) == ("digits", "2.1", "READY", ["stable"])
    assert "released" in model["admitted"], "the rule that admitted it"
    assert "stable" in client.run("model", "list").stdout
    shown = client.run("model", "show", "digits:stable").stdout
    assert "model.onnx" in shown and "released" in shown and "device: cpu" in shown, shown
    assert strict.get("/v2/models/digits/versions/stable/ready").status == 200

    pulled = client.json("model", "pull", f"oci://127.0.0.1:{strict.admin_port}/models/digits:2.1")
    assert pulled["signed"] and contents(client.home / "digits") == contents(folder)
    support.run("model", "verify", client.home / "digits", "--key", keys / "release.pub")

    assert "--force" in client.refused("model", "rm", "digits:2.1")
    client.run("model", "unload", "digits:2.1")
    client.run("model", "alias", "digits:2.1", "stable", "--delete")
    client.run("model", "rm", "digits:2.1", "--force")
    assert client.json("model", "list")["models"] == []


def test_a_token_is_asked_for_and_its_scope_is_named(tmp_path, running, client):
    folder = model_folder(tmp_path / "tokens")
    nobody = Client(tmp_path / "nobody", running, HEADLAND_DATA_DIR=str(tmp_path / "elsewhere"))
    for command in [("model", "list"), ("model", "push", folder), ("app", "list")]:
        error = nobody.refused(*command)
        assert "a token is needed" in error and "HEADLAND_TOKEN" in error
    token = make_token(client, "reader", "read")
    reader = Client(tmp_path / "reader", running, HEADLAND_DATA_DIR=str(tmp_path / "elsewhere"), HEADLAND_TOKEN=token)
    reader.run("model", "list")
    assert "lacks the scope `push`" in reader.refused("model", "push", folder)
    assert "lacks the scope `deploy`" in reader.refused("model", "load", "digits")
    wrong = Client(tmp_path / "wrong", running, HEADLAND_TOKEN="hl_" + "x" * 43)
    assert "set HEADLAND_TOKEN to a good token" in wrong.refused("model", "list")


def test_a_token_goes_to_no_other_machine_unencrypted(tmp_path, running):
    client = Client(tmp_path / "home", running, server="http://gateway.invalid:8081", HEADLAND_TOKEN="hl_" + "x" * 43)
    for command in [("model", "list"), ("model", "push", model_folder(tmp_path / "m")), ("app", "rollback", "x")]:
        error = client.refused(*command)
        assert "unencrypted" in error and "--insecure-token-over-http" in error and "hl_x" not in error


def test_what_is_no_model_or_no_server_says_so(tmp_path, running, client):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in client.refused("model", "push", empty)
    folder = model_folder(tmp_path / "Upper Case")
    assert "--name NAME" in client.refused("model", "push", folder)
    assert "lower-case" in client.refused("model", "push", folder, "--name", "Upper")
    missing = tmp_path / "no.sig"
    assert "no.sig" in client.refused("model", "push", folder, "--name", "m", "--signature", missing)
    assert "no model `nothere`" in client.refused("model", "show", "nothere")
    assert "say which version" in client.refused("model", "rm", "nothere")
    assert "there is no models/nothere:1" in client.refused(
        "model", "pull", f"oci://127.0.0.1:{running.admin_port}/models/nothere:1"
    )
    for source in ["digits", "http://x/y", "oci://x", "hf://a/b/c", "hf://../x", "hf://a/b@../x", "oci://x/../y:1"]:
        client.refused("model", "pull", source)
    [port] = support.free_ports(1)
    nowhere = Client(tmp_path / "home2", running, server=f"http://127.0.0.1:{port}")
    assert "is `headland up` running" in nowhere.refused("model", "list")


class Liar(StandIn):
    """A registry with one model, which it describes and sends as told."""

    def __init__(self, files, sent=None, manifest=None):
        super().__init__()
        layers = [
            {
                "mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": sha256(content), "size": len(content),
                "annotations": {"org.cncf.model.filepath": name},
            }
            for name, content in files
        ]  # fmt: skip
        self.manifest = manifest or json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "config": {"mediaType": "application/vnd.cncf.model.config.v1+json", "digest": sha256(b"{}"), "size": 2},
            "layers": layers,
        }).encode()  # fmt: skip
        self.blobs = {sha256(content): content for _, content in files} | (sent or {})

    def route(self, request):
        last = request.path.split("?")[0].rsplit("/", 1)[-1]
        if "/manifests/" in request.path and not last.startswith("sha256-"):
            return request.send(200, self.manifest, Content_Type="application/vnd.oci.image.manifest.v1+json")
        if last in self.blobs and "/blobs/" in request.path:
            return request.send_range(self.blobs[last])
        return request.send(404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no such thing"}]}')


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "a\\x", "", "a//x"])
def test_a_registry_cannot_write_outside_the_folder(tmp_path, client, name):
    with Liar([("model.onnx", b"weights"), (name, b"evil")]) as liar:
        error = client.refused("model", "pull", f"oci://127.0.0.1:{liar.port}/models/m:1")
    assert "file path" in error
    assert contents(client.home) == {} and not (tmp_path / "x").exists()


def test_a_registry_cannot_send_other_bytes(client):
    with Liar([("model.onnx", b"weights")], {sha256(b"weights"): b"WEIGHTS"}) as liar:
        source = f"oci://127.0.0.1:{liar.port}/models/m:1"
        assert f"model.onnx: it has digest {sha256(b'WEIGHTS')}, where {sha256(b'weights')}" in client.refused("model", "pull", source)
    with Liar([("model.onnx", b"weights")], {sha256(b"weights"): b"weights and more"}) as liar:
        source = f"oci://127.0.0.1:{liar.port}/models/m:1"
        assert "longer than the 7 bytes" in client.refused("model", "pull", source)
        wrong = f"oci://127.0.0.1:{liar.port}/models/m@{sha256(b'another')}"
        assert "not the manifest that was asked for" in client.refused("model", "pull", wrong)
    assert not (client.home / "m").exists()
    with Liar([], manifest=b"[" * 100_000) as liar:
        client.refused("model", "pull", f"oci://127.0.0.1:{liar.port}/models/m:1")


def test_a_token_for_one_gateway_is_not_shown_to_a_registry(tmp_path, running):
    token = (running.data_dir / "admin.token").read_text().strip()
    client = Client(tmp_path / "home", running, HEADLAND_TOKEN=token, HEADLAND_DATA_DIR=str(tmp_path / "elsewhere"))
    with Liar([("model.onnx", b"weights")]) as liar:
        client.run("model", "pull", f"oci://127.0.0.1:{liar.port}/models/m:1")
        assert liar.asked and all("authorization" not in map(str.lower, headers) for _, headers in liar.asked)


HUB_FILES = {
    ".gitattributes": b"*.bin filter=lfs",
    "README.md": b"# model",
    "1_Pooling/config.json": b"{}",
    "config.json": b'{"hidden_size": 384}',
    "model.safetensors": os.urandom(LARGE),
    "odd name #1.json": b"{}",
    "onnx/model.onnx": b"graph",
    "pytorch_model.bin": b"pickle",
    "tf_model.h5": b"h5",
    "tokenizer.json": b"{}",
    "vocab.txt": b"a",
}
NEEDED = ["1_Pooling/config.json", "config.json", "model.safetensors", "odd name #1.json", "tokenizer.json", "vocab.txt"]


def hub_client(tmp_path, hub, **environment):
    return Client(tmp_path / "home", None, server="http://127.0.0.1:1", HF_ENDPOINT=hub.url, NO_PROXY="127.0.0.1", **environment)


@pytest.mark.parametrize("describes", [True, False])
def test_a_model_of_the_hub_is_pulled_without_what_it_does_not_need(tmp_path, describes):
    with Hub("acme/mini", HUB_FILES, ["model.safetensors"], describes) as hub:
        client = hub_client(tmp_path, hub)
        pulled = client.json("model", "pull", "hf://acme/mini")
        assert contents(client.home / "mini") == {name: HUB_FILES[name] for name in NEEDED}
        assert (pulled["revision"], pulled["files"]) == (Hub.COMMIT, len(NEEDED))
        client.run("model", "pull", "hf://acme/mini@v1.2", "--output", "chosen", "--include", "onnx/", "*.md")
        assert set(contents(client.home / "chosen")) == {"onnx/model.onnx", "README.md"}
        assert "no such model or revision" in client.refused("model", "pull", "hf://acme/mini@v9")
        assert "nothing to fetch" in client.refused("model", "pull", "hf://acme/mini", "--output", "x", "--include", "*.gguf")


def test_a_pull_from_the_hub_goes_on_and_its_bytes_are_checked(tmp_path):
    with Hub("acme/mini", HUB_FILES, ["model.safetensors"]) as hub:
        with Wire(hub.port, direction="down", hold_after=LARGE // 2) as wire:
            client = Client(tmp_path / "home", None, server="http://127.0.0.1:1", HF_ENDPOINT=wire.url)
            client.kill_when(wire.held, "model", "pull", "hf://acme/mini", on_disk=LARGE // 4)
            wire.release()
            assert client.json("model", "pull", "hf://acme/mini")["bytes_fetched"] < LARGE * 0.8
        assert contents(client.home / "mini") == {name: HUB_FILES[name] for name in NEEDED}
        assert any(name.lower() == "range" for _, headers in hub.asked for name in headers)
        hub.sent["model.safetensors"] = os.urandom(LARGE)
        error = hub_client(tmp_path, hub).refused("model", "pull", "hf://acme/mini", "--output", "tampered")
        assert "fetching model.safetensors" in error and not (client.home / "tampered").exists()


@pytest.mark.parametrize("name", ["../x.json", "/tmp/x.json", "a/../../x.json"])
def test_the_hub_cannot_write_outside_the_folder(tmp_path, name):
    with Hub("acme/mini", HUB_FILES | {name: b"evil"}) as hub:
        client = hub_client(tmp_path, hub)
        assert "file path" in client.refused("model", "pull", "hf://acme/mini")
        assert contents(client.home) == {}


def test_the_hubs_token_is_sent_to_the_hub_only(tmp_path):
    with Hub("acme/private", HUB_FILES, token="hf_secret") as hub:
        assert "HF_TOKEN" in hub_client(tmp_path, hub).refused("model", "pull", "hf://acme/private")
        hub_client(tmp_path, hub, HF_TOKEN="hf_secret").run("model", "pull", "hf://acme/private")
    plain = Client(tmp_path / "home", None, server="http://127.0.0.1:1", HF_ENDPOINT="http://hub.invalid", HF_TOKEN="hf_secret")
    assert "unencrypted" in plain.refused("model", "pull", "hf://acme/private", "--output", "y")


def app_folder(folder, component, version_text):
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(support.component(component), folder / "guest.wasm")
    (folder / "headland.app.toml").write_text(
        f'name = "greeter"\n[[route]]\npath = "/greet"\ncomponent = "guest.wasm"\n[env]\nTEXT = "{version_text}"\n'
    )
    return folder / "headland.app.toml"


def test_an_app_is_pushed_deployed_rolled_back_and_removed(tmp_path, strict, keys):
    client = Client(tmp_path / "home", strict)
    manifest = app_folder(tmp_path / "app", "hello", "one")

    def push(version):
        support.run("app", "sign", manifest, "--version", version, "--key", keys / "release.pem")
        return client.json("app", "push", manifest, "--version", version)

    assert push("1")["blobs_sent"] == 3
    assert client.json("app", "push", manifest, "--version", "1")["bytes_sent"] == 0
    assert "say --version" in client.refused("app", "push", manifest)
    assert client.run("app", "deploy", "greeter:1").stdout == "deployed greeter:1, at /greet\n"
    assert strict.get("/greet").status == 200
    app_folder(tmp_path / "app", "hello", "two")
    assert push("2")["blobs_sent"] == 1, "the component is there already"
    client.run("app", "deploy", manifest, "--version", "2")
    assert client.json("app", "show", "greeter")["version"] == "2"
    assert client.run("app", "rollback", "greeter").stdout.startswith("greeter is back at version 1")
    assert "greeter" in client.run("app", "list").stdout
    client.run("app", "rm", "greeter")
    assert strict.get("/greet").status == 404
    assert "greeter" in client.refused("app", "deploy", "greeter:9")


def test_an_app_without_a_signature_gets_the_next_version(tmp_path, running, client):
    manifest = app_folder(tmp_path / "next", "hello", "one")
    assert [client.json("app", "push", manifest)["version"] for _ in range(2)] == ["1", "1"]
    app_folder(tmp_path / "next", "hello", "two")
    assert client.json("app", "push", manifest)["version"] == "2"


def test_every_command_explains_itself():
    for group, names in {
        "model": ["sign", "verify", "push", "pull", "list", "show", "alias", "rm", "load", "unload"],
        "app": ["list", "show", "check", "sign", "push", "deploy", "rollback", "rm"],
    }.items():
        for name in names:
            text = support.run(group, name, "--help").stdout
            assert "Example" in text and f"headland {group} {name}" in text, f"headland {group} {name} --help:\n{text}"
