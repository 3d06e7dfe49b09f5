"""The registry on the admin listener of `headland up`, behind tokens, with clients that know nothing of Headland: skopeo and
Python's oras."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile

import pytest

import gateway as support
from transfers import Client, contents, make_token, model_folder, sha256


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with support.Gateway(tmp_path_factory.mktemp("registry")) as gateway:
        yield gateway


@pytest.fixture
def client(tmp_path, running):
    return Client(tmp_path / "home", running)


@pytest.fixture
def token(running):
    return (running.data_dir / "admin.token").read_text().strip()


@pytest.fixture
def skopeo(tmp_path):
    support.need("skopeo", "REQUIRE_E2E", shutil.which("skopeo"))
    environment = os.environ | {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}

    def run(*arguments, stdin=None, check=True):
        command = ["skopeo", "--insecure-policy", *map(str, arguments)]
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, env=environment)
        if check:
            assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout if check else result

    return run


def write_image(folder):
    """An OCI image of one layer, as a layout on disk."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = 2 << 20
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    layer = gzip.compress(archive.getvalue(), 1)
    rootfs = {"type": "layers", "diff_ids": [sha256(archive.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    image = "application/vnd.oci.image"
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": f"{image}.manifest.v1+json",
        "config": {"mediaType": f"{image}.config.v1+json", "digest": sha256(config), "size": len(config)},
        "layers": [{"mediaType": f"{image}.layer.v1.tar+gzip", "digest": sha256(layer), "size": len(layer)}],
    }).encode()  # fmt: skip
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (layer, config, manifest):
        (blobs / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = {"mediaType": f"{image}.manifest.v1+json", "digest": sha256(manifest), "size": len(manifest)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def test_skopeo_logs_in_pushes_and_pulls(tmp_path, running, skopeo, token):
    image, back = tmp_path / "image", tmp_path / "back"
    write_image(image)
    host = f"127.0.0.1:{running.admin_port}"
    place = f"docker://{host}/library/tool:1"
    refused = skopeo("copy", "--dest-tls-verify=false", f"oci:{image}:1", place, check=False)
    assert refused.returncode != 0 and "unauthorized" in refused.stderr
    wrong = skopeo("login", "--tls-verify=false", "-u", "token", "--password-stdin", host, stdin="hl_wrong", check=False)
    assert wrong.returncode != 0

    assert "Login Succeeded" in skopeo("login", "--tls-verify=false", "-u", "token", "--password-stdin", host, stdin=token)
    skopeo("copy", "--dest-tls-verify=false", f"oci:{image}:1", place)
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{host}/library/tool"))["Tags"] == ["1"]
    skopeo("copy", "--src-tls-verify=false", place, f"oci:{back}:1")
    assert contents(back / "blobs") == contents(image / "blobs")
    skopeo("delete", "--tls-verify=false", place)


def test_skopeo_copies_a_model_to_another_name_and_headland_pulls_it(tmp_path, running, skopeo, client, token):
    folder = model_folder(tmp_path / "copied")
    client.run("model", "push", folder)
    host, credentials = f"127.0.0.1:{running.admin_port}", f"token:{token}"
    skopeo(
        "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", credentials, "--dest-creds", credentials,
        f"docker://{host}/models/copied:1", f"docker://{host}/models/renamed:7",
    )  # fmt: skip
    client.run("model", "pull", f"oci://{host}/models/renamed:7")
    assert contents(client.home / "renamed") == contents(folder)


def test_oras_pushes_and_pulls_with_a_token(tmp_path, running, client, token, monkeypatch):
    try:
        import oras.client
    except ImportError:
        support.need("the Python package oras", "REQUIRE_E2E", False)
    host = f"127.0.0.1:{running.admin_port}"
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")
    (tmp_path / "files/small.txt").write_text("small")
    (tmp_path / "files/large.bin").write_bytes(os.urandom(3 << 20))
    with_token = oras.client.OrasClient(insecure=True)
    with_token.auth.set_token_auth(token)
    for tag, options in {"whole": {}, "chunked": {"do_chunked": True, "chunk_size": 1 << 20}}.items():
        target = f"{host}/library/files:{tag}"
        assert with_token.push(target=target, files=["small.txt", "large.bin"], **options).status_code == 201
        with_token.pull(target=target, outdir=str(tmp_path / tag))
        assert contents(tmp_path / tag) == contents(tmp_path / "files")
    assert with_token.get_tags(f"{host}/library/files") == ["chunked", "whole"]

    model = model_folder(tmp_path / "model")
    client.run("model", "push", model)
    with_token.pull(target=f"{host}/models/model:1", outdir=str(tmp_path / "pulled"))
    assert contents(tmp_path / "pulled") == contents(model)


def test_a_token_for_reading_cannot_push(tmp_path, running, skopeo, client):
    reader = make_token(client, "onlooker", "read")
    folder = model_folder(tmp_path / "seen")
    client.run("model", "push", folder)
    host = f"127.0.0.1:{running.admin_port}"
    copy = ["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-creds", f"token:{reader}"]
    skopeo(*copy, f"docker://{host}/models/seen:1", f"oci:{tmp_path / 'seen-layout'}:1")
    more = ["--dest-creds", f"token:{reader}", f"docker://{host}/models/seen:1", f"docker://{host}/models/taken:1"]
    assert skopeo(*copy, *more, check=False).returncode != 0
    assert "taken" not in client.run("model", "list").stdout


@pytest.mark.parametrize("path", ["/v2/", "/v2/models/x/tags/list", "/v2/models/x/manifests/1", "/admin/v1/models"])
def test_without_a_token_there_is_a_challenge(running, path):
    answer = running.get(path, port=running.admin_port)
    assert answer.status == 401
    if path.startswith("/v2/"):
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
    else:
        assert answer.json()["type"] == "/errors/token-needed"
