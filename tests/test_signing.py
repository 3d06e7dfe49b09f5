"""Signing and verifying with the real commands, against the standard's reference tool, and `docs/signing.md` as written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gateway as support
from pki import CURVES, DATA, KEYLESS, PROVIDER, SIGNER, TRUSTED_ROOT, make_certificate, make_key, openssl
from walk import Shell, sections

TOOL = Path(sys.executable).with_name("model_signing")
PAGE = (support.ROOT / "docs/signing.md").read_text()


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Keys and certificates: a root, one under it, and a signer's under that."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
    signer = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n"
    root = make_certificate(folder, "Root", extensions=authority)
    middle = make_certificate(folder, "Middle", root, extensions=authority)
    return root, middle, make_certificate(folder, "Release", middle, extensions=signer)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_key(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture
def model(tmp_path):
    """A small model folder."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 40)
    (folder / "other.bin").write_bytes(bytes(range(255, -1, -1)) * 40)
    (folder / "sub/tokenizer.json").write_text('{"a": 1}')
    (folder / "empty").touch()
    return folder


def tool(*arguments):
    """The reference tool, which has to succeed."""
    support.need(f"the reference tool ({TOOL}; tests/requirements.txt)", "REQUIRE_E2E", TOOL.is_file())
    result = subprocess.run([str(TOOL), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def sign(model, private, *more):
    return support.run("model", "sign", model, "--key", private, *more)


def verify(model, *arguments):
    return support.run("model", "verify", model, *arguments, check=False)


def refused(model, *arguments):
    """What a verification says that has to fail because of the model."""
    result = verify(model, *arguments)
    assert result.returncode == 1, result
    assert result.stdout == ""
    return result.stderr


def not_judged(*arguments):
    """What a command says that makes no sense."""
    result = support.run(*arguments, check=False)
    assert result.returncode == 2, result
    return result.stderr


# The reference tool, in both directions.


@pytest.mark.parametrize("curve", CURVES)
def test_the_tool_accepts_what_we_sign_with_a_key(tmp_path, model, curve):
    private, public = make_key(tmp_path, "key", curve)
    sign(model, private)
    tool("verify", "key", model, "--signature", model / "model.sig", "--public_key", public)
    assert verify(model, "--key", public).returncode == 0


def test_the_tool_accepts_our_shards(tmp_path, model, keys):
    """As a library: its command has no option for shards, and does not look into the signature for them."""
    private, public = keys
    signature = tmp_path / "shards.sig"
    sign(model, private, "--method", "shards", "--signature", signature)
    script = "import sys, model_signing as m; m.verifying.Config().use_elliptic_key_verifier(public_key=sys.argv[3]).verify(sys.argv[1], sys.argv[2])"
    support.need(f"the reference tool ({TOOL}; tests/requirements.txt)", "REQUIRE_E2E", TOOL.is_file())
    subprocess.run([sys.executable, "-c", script, str(model), str(signature), str(public)], check=True, timeout=120)
    assert verify(model, "--key", public, "--signature", signature).returncode == 0


@pytest.mark.parametrize("curve", CURVES)
def test_we_accept_what_the_tool_signs_with_a_key(tmp_path, model, curve):
    private, public = make_key(tmp_path, "key", curve)
    tool("sign", "key", model, "--signature", model / "model.sig", "--private_key", private)
    result = verify(model, "--key", public)
    assert result.returncode == 0 and "is signed by key " in result.stdout and "5 file(s)" in result.stdout, result


def test_certificates_work_in_both_directions(tmp_path, model, chain):
    root, middle, (private, leaf) = chain
    sign(model, private, "--certificate-chain", middle[1], leaf)
    tool("verify", "certificate", model, "--signature", model / "model.sig", "--certificate_chain", root[1])
    ours = verify(model, "--certificate-chain", root[1])
    assert ours.returncode == 0 and "is signed by CN=Release,O=Acme (certified by CN=Middle,O=Acme)" in ours.stdout, ours
    theirs = model / "model.sig"
    theirs.unlink()
    tool(
        "sign", "certificate", model, "--signature", theirs, "--private_key", private,
        "--signing_certificate", leaf, "--certificate_chain", middle[1],
    )  # fmt: skip
    assert verify(model, "--certificate-chain", root[1]).stdout == ours.stdout


def test_a_model_that_is_one_file_is_signed_beside_it(model, keys):
    private, public = keys
    weights = model / "weights.bin"
    assert "weights.bin.sig" in sign(weights, private).stdout
    signature = model / "weights.bin.sig"
    tool("verify", "key", weights, "--signature", signature, "--public_key", public)
    assert verify(weights, "--key", public).returncode == 0
    weights.write_bytes(b"other")
    assert "`.` is not the file that was signed" in refused(weights, "--key", public)


@pytest.mark.parametrize("name", ["blake2b", "blake3"])
def test_other_hashes_are_signed_and_verified(model, keys, name):
    private, public = keys
    assert f", {name}, by key " in sign(model, private, "--hash", name).stdout
    assert verify(model, "--key", public).returncode == 0
    (model / "config.json").write_text("[]")
    assert f"its {name} is " in refused(model, "--key", public)


def test_links_are_signed_when_asked_for(model, keys):
    private, public = keys
    (model / "link.bin").symlink_to("weights.bin")
    said = support.run("model", "sign", model, "--key", private, check=False)
    assert said.returncode == 1 and "`link.bin` is a symbolic link" in said.stderr
    sign(model, private, "--allow-symlinks")
    tool("verify", "key", model, "--signature", model / "model.sig", "--public_key", public, "--allow_symlinks")
    assert verify(model, "--key", public).returncode == 0


def test_ignored_paths_are_those_the_tool_ignores(model, keys):
    private, public = keys
    (model / "cache").mkdir()
    (model / "cache/x").write_text("x")
    sign(model, private, "--ignore-paths", model / "cache")
    tool("verify", "key", model, "--signature", model / "model.sig", "--public_key", public)
    result = verify(model, "--key", public)
    assert result.returncode == 0 and "not signed, and ignored: cache/x" in result.stdout
    (model / "notes").write_text("x")
    assert "`notes` is in the model, but not signed" in refused(model, "--key", public)
    assert verify(model, "--key", public, "--ignore-paths", model / "notes").returncode == 0
    assert verify(model, "--key", public, "--ignore-unsigned-files").returncode == 0


# What is wrong is named, and nothing else.


def swap(model):
    (model / "weights.bin").rename(model / "x")
    (model / "other.bin").rename(model / "weights.bin")
    (model / "x").rename(model / "other.bin")


DAMAGES = {
    "changed": (lambda model: (model / "weights.bin").write_bytes(b"x"), "`weights.bin` is not the file that was signed: its sha256 is 2d711642"),
    "missing": (lambda model: (model / "sub/tokenizer.json").unlink(), "`sub/tokenizer.json` is signed, but missing from the model"),
    "extra": (lambda model: (model / "sub/evil.py").write_text(""), "`sub/evil.py` is in the model, but not signed"),
    "swapped": (swap, "`other.bin` is not the file that was signed"),
    "renamed": (lambda model: (model / "config.json").rename(model / "Config.json"), "`config.json` is signed, but missing"),
    "a link": (lambda model: [(model / "empty").unlink(), (model / "empty").symlink_to("/dev/null")], "neither a file nor a folder"),
    "a cut signature": (lambda model: (model / "model.sig").write_text("{"), "the bundle of the signature cannot be read"),
    "no signature": (lambda model: (model / "model.sig").unlink(), "there is no signature "),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_by_file_and_cause(model, keys, damage):
    private, public = keys
    sign(model, private)
    spoil, expected = DAMAGES[damage]
    spoil(model)
    said = refused(model, "--key", public)
    assert f"headland: {model} does not verify: " in said and expected in said, said
    answer = verify(model, "--key", public, "--json")
    assert answer.returncode == 1 and answer.stderr == ""
    answer = json.loads(answer.stdout)
    assert answer["verified"] is False and expected in answer["reason"], answer


def test_an_unknown_key_and_another_models_signature_are_refused(tmp_path, model, keys):
    private, public = keys
    sign(model, private)
    _, other = make_key(tmp_path, "other")
    said = refused(model, "--key", other)
    assert "signed with key " in said and "; the trusted key is " in said and "Is it the right key?" in said
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights.bin").write_bytes(b"x")
    said = refused(elsewhere, "--key", public, "--signature", model / "model.sig")
    assert "`config.json` is signed, but missing from the model" in said


def test_a_signature_counts_only_as_what_it_is(tmp_path, model, keys, chain):
    (private, public), (root, middle, leaf) = keys, chain
    sign(model, private)
    assert "made with a key, and what is trusted here is a certificate chain" in refused(model, "--certificate-chain", root[1])
    identity = ["--identity", "a@acme.example", "--identity-provider", "https://accounts.acme.example"]
    said = refused(model, *identity)
    assert "what is trusted here is a keyless identity" in said and "Verify it as it is signed" in said
    sign(model, leaf[0], "--certificate-chain", leaf[1], middle[1])
    stranger = make_certificate(tmp_path, "Stranger", extensions="basicConstraints=critical,CA:TRUE\n")
    assert "does not chain to a trusted root" in refused(model, "--certificate-chain", stranger[1])
    assert "made with a certificate chain" in refused(model, "--key", public)


def test_an_expired_certificate_does_not_count(tmp_path):
    signature, root = DATA / "certificate-expired.sig", DATA / "root.pem"
    said = refused(DATA / "model", "--signature", signature, "--certificate-chain", root)
    assert "expired on " in said and "with a certificate that is valid" in said


def test_an_identity_counts_as_its_instance_knows_it(tmp_path):
    def arguments(who=SIGNER, provider=PROVIDER):
        return [DATA / "model", "--signature", KEYLESS, "--identity", who, "--identity-provider", provider]

    result = verify(*arguments(), "--trusted-root", TRUSTED_ROOT)
    assert result.returncode == 0 and f"is signed by {SIGNER} (as known to {PROVIDER})" in result.stdout, result
    for other in (arguments(who="signer@acme.example.org"), arguments(provider=f"{PROVIDER}/")):
        assert "whom no trusted identity matches" in refused(*other, "--trusted-root", TRUSTED_ROOT)
    # The public instance has never heard of it.
    assert "does not verify against the trusted root" in refused(*arguments())
    changed = tmp_path / "model"
    shutil.copytree(DATA / "model", changed)
    (changed / "config.json").write_text("[]")
    assert "`config.json` is not the file that was signed" in refused(changed, *arguments()[1:], "--trusted-root", TRUSTED_ROOT)


# Keys, paths and options that make no sense.


def test_a_key_that_others_can_read_gets_a_warning_and_works(tmp_path, model):
    private, _ = make_key(tmp_path, "key")
    assert sign(model, private).stderr == ""
    private.chmod(0o644)
    assert f"warning: {private} may be read by others (mode 644); run `chmod 600 {private}`" in sign(model, private).stderr


def test_nothing_of_a_private_key_is_ever_said(tmp_path, model):
    private, public = make_key(tmp_path, "key")
    secrets = [line for line in private.read_text().splitlines() if not line.startswith("-")]
    for arguments in (["sign", model, "--key", private], ["verify", model, "--key", private], ["sign", model, "--key", public]):
        said = support.run("model", *arguments, check=False)
        assert not any(secret in said.stdout + said.stderr for secret in secrets)


def test_keys_that_cannot_be_used_say_why(tmp_path, model, keys):
    private, public = keys
    encrypted, rsa = tmp_path / "encrypted.pem", tmp_path / "rsa.pem"
    openssl("pkcs8", "-topk8", "-in", private, "-out", encrypted, "-passout", "pass:x")
    openssl("genrsa", "-out", rsa, 2048)
    for key, why in [
        (public, "holds no private key in PEM form"),
        (encrypted, "is encrypted; decrypt it first"),
        (rsa, "is not an elliptic-curve key on P-256, P-384 or P-521"),
        (tmp_path / "nowhere", "cannot read "),
    ]:
        result = support.run("model", "sign", model, "--key", key, check=False)
        assert result.returncode == 1 and why in result.stderr and str(key) in result.stderr, result
        assert not (model / "model.sig").exists()
    said = not_judged("model", "verify", model, "--key", private)
    assert "holds no public key in PEM form" in said


def test_a_certificate_for_another_key_signs_nothing(model, keys, chain):
    result = support.run("model", "sign", model, "--key", keys[0], "--certificate-chain", chain[2][1], check=False)
    assert result.returncode == 1 and "the certificate is for key " in result.stderr
    assert not (model / "model.sig").exists()


def test_a_command_line_that_makes_no_sense_is_no_verdict(tmp_path, model, keys):
    private, public = keys
    sign(model, private)
    root = tmp_path / "root.json"
    root.write_text("{}")
    identity = ["--identity", "a", "--identity-provider", "b"]
    for arguments, why in [
        ([], "required"),
        (["--key", public, "--certificate-chain", public], "cannot be used with"),
        (["--identity", "a"], "--identity-provider"),
        (["--key", public, "--trusted-root", root], "--identity"),
        ([*identity, "--trusted-root", root], "is not a usable sigstore trusted root"),
        (["--key", public, "--ignore-paths", tmp_path], "is not inside"),
        (["--key", public, "--ignore-paths", "config.json"], f"did you mean {model}/config.json?"),
    ]:
        assert why in not_judged("model", "verify", model, *arguments)
    assert "there is no model at" in not_judged("model", "verify", tmp_path / "nowhere", "--key", public)
    result = support.run("model", "sign", model, "--key", private, "--hash", "blake3", "--method", "shards", check=False)
    assert result.returncode == 1 and "leave one of them out" in result.stderr


def test_signing_twice_signs_the_same_files(model, keys):
    private, public = keys
    first = json.loads(sign(model, private, "--json").stdout)
    again = json.loads(sign(model, private, "--json").stdout)
    assert first == again
    assert first["files"] == ["config.json", "empty", "other.bin", "sub/tokenizer.json", "weights.bin"]
    answer = json.loads(verify(model, "--key", public, "--json").stdout)
    assert answer["verified"] is True and answer["signer"] == {"method": "key", "hint": first["key"]}
    assert answer["files"] == first["files"] and answer["unsigned"] == [] and answer["bytes"] == first["bytes"]


def test_a_terminal_is_told_what_a_strangers_file_names_would_do_to_it(model, keys):
    private, public = keys
    (model / "a\x1b[31m\nb").touch()
    sign(model, private, "--ignore-paths", model / "a\x1b[31m\nb")
    said = verify(model, "--key", public).stdout
    assert "ignored: a\\u{1b}[31m\\nb\n" in said


# Apps.


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "hello"
    folder.mkdir()
    shutil.copy(support.component("hello"), folder / "hello.wasm")
    manifest = folder / "headland.app.toml"
    manifest.write_text('name = "hello"\n[[route]]\npath = "/"\ncomponent = "hello.wasm"\n')
    return manifest


def test_an_app_is_signed_as_the_manifest_that_is_pushed(app, keys):
    private, _ = keys
    signed = json.loads(support.run("app", "sign", app, "--key", private, "--version", "2", "--json").stdout)
    bundle = json.loads((app.parent / "headland.app.sig").read_text())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert signed["digest"].startswith("sha256:") and signed["version"] == "2"
    again = json.loads(support.run("app", "sign", app, "--key", private, "--version", "3", "--json").stdout)
    assert again["digest"] != signed["digest"]


def test_an_app_that_cannot_be_pushed_is_not_signed(app, keys):
    private, _ = keys
    text = app.read_text()
    shutil.copy(app.parent / "hello.wasm", app.parent.parent / "hello.wasm")
    both = text.replace("hello.wasm", "../hello.wasm") + '[[route]]\npath = "/b"\ncomponent = "hello.wasm"\n'
    for changed, why in [(text.replace("hello.wasm", "nowhere.wasm"), "nowhere.wasm; build it first"), (both, "names of their own")]:
        app.write_text(changed)
        result = support.run("app", "sign", app, "--key", private, check=False)
        assert result.returncode == 1 and why in result.stderr, result
        assert not (app.parent / "headland.app.sig").exists()


def test_a_policy_holds_for_apps_that_the_operator_names_too(app, keys, tmp_path):
    private, public = keys
    policy = tmp_path / "policy.toml"
    policy.write_text(f'version = 1\n[[rule]]\nname = "ours"\nartifact = "apps/*"\n[[rule.authority]]\nkey = "{public}"\n')
    said = support.refuses_to_start(tmp_path / "unsigned", f"--app={app}", "--policy", policy)
    assert "carries no signature" in said and "apps/hello:1" in said
    # A component that lies elsewhere is signed with the app, and served.
    shutil.move(app.parent / "hello.wasm", app.parent.parent / "hello.wasm")
    app.write_text(app.read_text().replace("hello.wasm", "../hello.wasm"))
    support.run("app", "sign", app, "--key", private)
    with support.Gateway(tmp_path / "signed", f"--app={app}", "--policy", policy) as gateway:
        assert gateway.get("/").status == 200
    (app.parent.parent / "hello.wasm").write_bytes((app.parent.parent / "hello.wasm").read_bytes() + b"\0")
    said = support.refuses_to_start(tmp_path / "changed", f"--app={app}", "--policy", policy)
    assert "sha256:" in said


# The page, as it is written.


class Reader:
    """Somebody who follows the page in an empty folder, with a second terminal for the gateway."""

    def __init__(self, folder):
        listen, admin = support.free_ports(2)
        self.port, self.folder, self.gateway = listen, folder, None
        (folder / "bin").mkdir()
        (folder / "bin/headland").symlink_to(support.binary())
        (folder / "bin/model_signing").symlink_to(TOOL)
        for part in ["models", "guest-examples"]:
            (folder / part).symlink_to(support.ROOT / part)
        support.component("hello")
        environment = {
            "PATH": f"{folder}/bin:/usr/local/bin:/usr/bin:/bin",
            "HEADLAND_LISTEN": f"127.0.0.1:{listen}",
            "HEADLAND_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "HEADLAND_SERVER": f"http://127.0.0.1:{admin}",
            "ORT_DYLIB_PATH": str(support.onnxruntime_library()),
        }
        self.shell = Shell(folder, environment)

    def follow(self, step):
        if "headland up" not in step.commands:
            step.commands = step.commands.replace("localhost:8080", f"127.0.0.1:{self.port}")
            return self.shell.do(step)
        with (self.folder / "gateway.log").open("wb") as log:
            commands = step.commands.replace("headland up", "exec headland up")
            self.gateway = self.shell.start(commands, stdout=log, stderr=log)
        support.eventually("the gateway of the page is ready", self.is_ready, support.START_SECONDS_MAX)

    def is_ready(self):
        said = (self.folder / "gateway.log").read_text()
        assert self.gateway.poll() is None, said
        try:
            connection = support.http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def stop(self):
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.wait(support.STOP_SECONDS_MAX)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    support.need(f"the reference tool ({TOOL}; tests/requirements.txt)", "REQUIRE_E2E", TOOL.is_file())
    support.need("openssl", "REQUIRE_E2E", shutil.which("openssl"))
    reader = Reader(tmp_path_factory.mktemp("page"))
    yield reader
    reader.stop()


@pytest.mark.parametrize(("title", "steps"), [pytest.param(*section, id=section[0]) for section in sections(PAGE)])
def test_the_page_on_signing_does_what_it_says(reader, title, steps):
    for step in steps:
        reader.follow(step)
