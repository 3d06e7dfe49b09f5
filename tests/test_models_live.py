"""Models while the gateway runs: loaded on demand, replaced under load, refused when tampered with, withdrawn by the policy;
and Triton's model repository API with its own client."""

import json
import shutil
import threading

import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import gateway as support
from pki import make_key
from transfers import Client

IMAGE = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 8, 8], "data": [0.0] * 64}]}
POLICY = 'version = 1\n[[rule]]\nname = "released"\nartifact = "models/*"\n[[rule.authority]]\nkey = "{key}.pub"\n'


@pytest.fixture
def keys(tmp_path):
    for name in ("release", "other"):
        make_key(tmp_path, name)
    (tmp_path / "policy.toml").write_text(POLICY.format(key="release"))
    return tmp_path


@pytest.fixture
def strict(tmp_path, keys):
    with support.Gateway(tmp_path / "gateway", "--policy", keys / "policy.toml") as gateway:
        yield gateway


def digits(folder, note="one"):
    """The digit model; a note makes it another version."""
    shutil.copytree(support.DIGITS, folder)
    (folder / "NOTE.md").write_text(note)
    return folder


def push(client, keys, folder, version, key="release"):
    support.run("model", "sign", folder, "--key", keys / f"{key}.pem")
    return client.run("model", "push", folder, "--name", "digits", "--version", version)


def infer(gateway, model="digits"):
    return gateway.post(f"/v2/models/{model}/infer", json_body=IMAGE)


def test_a_pushed_model_answers_the_first_request_for_it(tmp_path, keys, strict):
    client = Client(tmp_path / "home", strict)
    missing = infer(strict)
    assert missing.status == 404
    push(client, keys, digits(tmp_path / "digits"), "1")
    assert strict.get("/v2/models/digits/ready").status == 404, "asking whether it is ready loads nothing"
    assert infer(strict).status == 200
    assert strict.get("/v2/models/digits/ready").status == 200
    assert infer(strict, "digits/versions/7").status == 404


def test_no_request_fails_while_versions_change(tmp_path, keys, strict):
    client = Client(tmp_path / "home", strict)
    push(client, keys, digits(tmp_path / "v1"), "1")
    assert infer(strict).status == 200
    stop, statuses = threading.Event(), []

    def ask():
        while not stop.is_set():
            statuses.append(infer(strict).status)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for version in ("2", "3", "4"):
            push(client, keys, digits(tmp_path / f"v{version}", version), version)
            client.run("model", "load", "digits")
            assert strict.get("/v2/models/digits").json()["versions"] == [version]
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    print(f"{len(statuses)} requests over three version changes")
    assert len(statuses) > 20 and set(statuses) == {200}


def test_a_file_changed_in_the_data_directory_is_never_loaded(tmp_path, keys, strict):
    client = Client(tmp_path / "home", strict)
    folder = digits(tmp_path / "digits")
    push(client, keys, folder, "1")
    graph = (folder / "model.onnx").read_bytes()
    [blob] = [path for path in strict.data_dir.glob("registry/**/*") if path.is_file() and path.read_bytes() == graph]
    blob.chmod(0o600)
    blob.write_bytes(graph[:-1] + bytes([graph[-1] ^ 1]))
    answer = infer(strict)
    assert answer.status == 500 and "could not be loaded" in answer.json()["error"], answer.body
    reason = client.json("model", "show", "digits")["reason"]
    assert str(blob) in reason and "sha256:" in reason, reason
    # Put back as it was, it is loaded again.
    blob.write_bytes(graph)
    client.run("model", "load", "digits")
    assert infer(strict).status == 200


def test_a_changed_policy_unloads_what_it_no_longer_admits(tmp_path, keys, strict):
    client = Client(tmp_path / "home", strict)
    push(client, keys, digits(tmp_path / "digits"), "1")
    assert infer(strict).status == 200
    (keys / "policy.toml").write_text(POLICY.format(key="other"))
    support.eventually("the model is withdrawn", lambda: infer(strict).status == 403)
    assert "digits:1" not in [f"{m['name']}:{m['version']}" for m in client.json("model", "list")["models"] if m["state"] == "READY"]
    assert "does not count" in client.json("model", "show", "digits")["reason"]
    (keys / "policy.toml").write_text(POLICY.format(key="release"))
    support.eventually("the model is admitted again", lambda: infer(strict).status == 200)


def test_a_policy_holds_for_folders_that_the_operator_names_too(tmp_path, keys):
    folder = digits(tmp_path / "digits")
    said = support.refuses_to_start(tmp_path / "unsigned", f"--model=digits={folder}", "--policy", keys / "policy.toml")
    assert "carries no signature" in said and "digits" in said
    support.run("model", "sign", folder, "--key", keys / "release.pem")
    with support.Gateway(tmp_path / "signed", f"--model=digits={folder}", "--policy", keys / "policy.toml") as gateway:
        assert infer(gateway).status == 200
        (keys / "policy.toml").write_text(POLICY.format(key="other"))
        support.eventually("the model is withdrawn", lambda: infer(gateway).status == 404)
        (keys / "policy.toml").write_text(POLICY.format(key="release"))
    (folder / "NOTE.md").write_text("changed after it was signed")
    said = support.refuses_to_start(tmp_path / "changed", f"--model=digits={folder}", "--policy", keys / "policy.toml")
    assert "NOTE.md" in said


def test_idle_models_make_room_for_others(tmp_path, keys):
    config = tmp_path / "headland.toml"
    size = (support.DIGITS / "model.onnx").stat().st_size
    config.write_text(f'[trust]\npolicy = "policy.toml"\n[memory]\ncpu = "{size * 3 // 2}B"\n')
    with support.Gateway(tmp_path / "small", "--config", config) as gateway:
        client = Client(tmp_path / "home", gateway)
        for version in ("1", "2"):
            push(client, keys, digits(tmp_path / version, version), version)
        assert infer(gateway, "digits/versions/1").status == 200
        support.eventually("the other version has room", lambda: infer(gateway, "digits/versions/2").status == 200)
        states = {model["version"]: model["state"] for model in client.json("model", "list")["models"]}
        assert states == {"1": "UNAVAILABLE", "2": "READY"}


def test_tritons_client_loads_lists_and_unloads(tmp_path, keys, strict):
    client = Client(tmp_path / "home", strict)
    push(client, keys, digits(tmp_path / "digits"), "1")
    headers = {"Authorization": f"Bearer {strict.admin_token}"}
    with triton.InferenceServerClient(f"127.0.0.1:{strict.admin_port}") as admin:
        states = lambda: {each["name"]: each["state"] for each in admin.get_model_repository_index(headers=headers)}
        assert states() == {"digits": "UNAVAILABLE"}
        admin.load_model("digits", headers=headers)
        assert states() == {"digits": "READY"}
        assert infer(strict).status == 200
        admin.unload_model("digits", headers=headers)
        assert states() == {"digits": "UNAVAILABLE"}
        with pytest.raises(InferenceServerException, match="not in the registry"):
            admin.load_model("nothere", headers=headers)
        with pytest.raises(InferenceServerException, match="`config` is not supported"):
            admin.load_model("digits", headers=headers, config=json.dumps({}))
        with pytest.raises(InferenceServerException, match="token"):
            admin.load_model("digits")
