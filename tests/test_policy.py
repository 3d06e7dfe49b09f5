"""`headland policy` with the real command: what a policy says, and what it decides about models and apps, and why."""

import json
import re
import shutil

import pytest

import gateway as support
from pki import DATA, KEYLESS, PROVIDER, SIGNER, TRUSTED_ROOT, make_certificate, make_key

PAGE = (support.ROOT / "docs/policy.md").read_text()
TRUST = support.ROOT / "models/trust/tests/policy/keys"

RELEASED = """version = 1

[[rule]]
name = "withdrawn"
artifact = "models/old-*"

[[rule]]
name = "released"
artifact = "{models,apps}/*"

[[rule.authority]]
key = "release.pub"
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_key(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture
def policy(tmp_path, keys):
    """A function that writes the policy with this text, its key beside it."""
    shutil.copy(keys[1], tmp_path / "release.pub")

    def write(text=RELEASED):
        (tmp_path / "policy.toml").write_text(text)
        return tmp_path / "policy.toml"

    return write


@pytest.fixture
def model(tmp_path, keys):
    """A signed model that states its name and version."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "headland.model.toml").write_text('name = "digits"\nversion = "2.1"\n')
    support.run("model", "sign", folder, "--key", keys[0])
    return folder


def decision(status, *arguments):
    """What `policy test` says, as text and as JSON, with this exit status."""
    text = support.run("policy", "test", *arguments, check=False)
    assert text.returncode == status and text.stderr == "", text
    as_json = support.run("policy", "test", *arguments, "--json", check=False)
    assert as_json.returncode == status, as_json
    return text.stdout, json.loads(as_json.stdout)


def block(language):
    return re.search(f"```{language}\n(.*?)```", PAGE, re.DOTALL).group(1)


# What a policy says.


def test_the_example_of_the_page_means_what_the_page_says(tmp_path):
    """Except for its sigstore instance, whose root is not ours to hand out: the public one stands in for it."""
    (tmp_path / "keys").mkdir()
    for name in ["release.pub", "ca.pem"]:
        shutil.copy(TRUST / name, tmp_path / "keys" / name)
    text = block("toml")
    (tmp_path / "policy.toml").write_text(text.replace('trusted_root = "keys/trusted_root.json"\n', ""))
    result = support.run("policy", "check", tmp_path / "policy.toml")
    expected = block("text").replace("policy.toml", str(tmp_path / "policy.toml"), 1)
    assert result.stdout == expected.replace("the sigstore instance in keys/trusted_root.json", "the public sigstore instance")


def test_a_policy_reads_as_json_too(policy):
    answer = json.loads(support.run("policy", "check", policy(), "--json").stdout)
    assert [rule["name"] for rule in answer["rules"]] == ["withdrawn", "released"]
    assert answer["rules"][1]["mode"] == "enforce" and answer["rules"][0]["authorities"] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace("artifact", "artefact", 1), "policy.toml:5:1: unknown key `artefact`; did you mean `artifact`?"),
        (lambda text: text.replace('"models/old-*"', '"old-*"'), "write `models/acme-*` for some models"),
        (lambda text: text.replace("version = 1", "version = 2"), "version"),
        (lambda text: text.replace('"released"', '"withdrawn"'), "withdrawn"),
        (lambda text: text.replace("release.pub", "nowhere.pub"), "nowhere.pub"),
        (lambda text: text.replace("release.pub", "policy.toml"), "policy.toml: holds no public key in PEM form"),
        (lambda text: text + 'certificate = { roots = ["release.pub"] }\n', "exactly one of `key`, `certificate` and `keyless`"),
        (lambda text: text[: len(text) // 2], "policy.toml"),
    ],
    ids=["typo", "hopeless glob", "version", "same name", "no such key", "no key", "two kinds", "cut"],
)
def test_a_policy_with_a_mistake_is_named_by_place_and_cause(policy, model, change, expected):
    path = policy(change(RELEASED))
    result = support.run("policy", "check", path, check=False)
    assert result.returncode == 1 and expected in result.stderr and str(path) in result.stderr, result
    result = support.run("policy", "test", path, model, check=False)
    assert result.returncode == 2 and expected in result.stderr, result


# What it decides.


def test_a_model_is_judged_as_what_it_says_it_is(policy, model):
    text, answer = decision(0, policy(), model)
    assert text.startswith(f"models/digits:2.1 is admitted by {policy()}.\n")
    assert "rule `withdrawn` does not fit: it is about models/old-*" in text
    assert "rule `released` decides" in text and "signature 1 counts under the key in release.pub" in text
    assert answer["verdict"] == "admitted" and answer["rule"]["name"] == "released"
    assert answer["signer"]["method"] == "key" and answer["complete"] is True


def test_a_model_is_not_what_another_name_or_version_says(policy, model):
    text, answer = decision(1, policy(), model, "--version", "3")
    assert "is offered with version `3`, but the package itself states version `2.1`" in text
    assert answer["verdict"] == "denied" and answer["signer"] is not None
    text, _ = decision(1, policy(), model, "--name", "old-digits")
    assert "models/old-digits:2.1 is refused" in text and "the rule names no authority" in text


def test_an_old_version_is_refused(policy, model):
    text, _ = decision(1, policy(RELEASED.replace('"{models,apps}/*"', '"models/*"\nminimum_version = "2.2"')), model)
    assert "version 2.1 is older than 2.2, the oldest the rule admits" in text


def test_what_is_changed_unsigned_or_named_by_no_rule_is_refused(tmp_path, policy, model, keys):
    (model / "model.onnx").write_bytes(b"else")
    assert "`model.onnx` is not the file that was signed" in decision(1, policy(), model)[0]
    (model / "model.sig").unlink()
    assert "it carries no signature" in decision(1, policy(), model)[0]
    text, answer = decision(1, policy(RELEASED.replace("{models,apps}", "apps")), model)
    assert "no rule fits, and what no rule names is refused" in text and answer["rule"] is None


def test_a_rule_that_warns_admits_and_says_so(policy, model):
    (model / "model.onnx").write_bytes(b"else")
    text, answer = decision(0, policy(RELEASED.replace('"{models,apps}/*"', '"**"\nmode = "warn"')), model)
    assert "is admitted with a warning" in text and "without `mode = \"warn\"` this would be refused" in text
    assert answer["verdict"] == "admitted_with_warning"


def test_any_of_several_signatures_and_authorities_will_do(tmp_path, policy, model, keys):
    stranger, _ = make_key(tmp_path, "stranger")
    support.run("model", "sign", model, "--key", stranger, "--signature", tmp_path / "strange.sig", "--ignore-paths", model / "model.sig")
    assert "signed with key " in decision(1, policy(), model, "--signature", tmp_path / "strange.sig")[0]
    _, answer = decision(0, policy(), model, "--signature", tmp_path / "strange.sig", model / "model.sig")
    assert [attempt["refusal"] is None for attempt in answer["attempts"]] == [False, True]


def test_an_expired_certificate_is_refused_by_name(tmp_path):
    (tmp_path / "policy.toml").write_text(
        'version = 1\n[[rule]]\nname = "all"\nartifact = "**"\n'
        f'[[rule.authority]]\ncertificate = {{ roots = ["{DATA / "root.pem"}"] }}\n'
    )
    arguments = [DATA / "model", "--signature", DATA / "certificate-expired.sig"]
    assert " expired on " in decision(1, tmp_path / "policy.toml", *arguments)[0]


def test_a_certificate_counts_under_its_root_and_name(tmp_path, policy, model):
    root = make_certificate(tmp_path, "Root", extensions="basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")
    private, leaf = make_certificate(tmp_path, "Release", root, extensions="keyUsage=critical,digitalSignature\n")
    support.run("model", "sign", model, "--key", private, "--certificate-chain", leaf)
    trusting = lambda subject: RELEASED.replace(
        'key = "release.pub"', f'certificate = {{ roots = ["Root.crt"], subject = "{subject}" }}'
    )
    assert "signed by CN=Release,O=Acme" in decision(0, policy(trusting("CN=Release,O=Acme")), model)[0]
    assert "is not the subject that is trusted here" in decision(1, policy(trusting("CN=Other,O=Acme")), model)[0]


@pytest.mark.parametrize(
    ("identity", "status"),
    [
        (f'issuer = "{PROVIDER}", subject = "{SIGNER}"', 0),
        (f'issuer = "{PROVIDER}", subject_regex = ".*@acme\\\\.example"', 0),
        (f'issuer = "{PROVIDER}", subject_regex = "acme"', 1),
        (f'issuer = "https://elsewhere.example", subject = "{SIGNER}"', 1),
    ],
    ids=["exact", "by pattern", "part of a name", "another provider"],
)
def test_a_keyless_signature_counts_for_whom_the_rule_names(tmp_path, identity, status):
    (tmp_path / "policy.toml").write_text(
        'version = 1\n[[rule]]\nname = "all"\nartifact = "**"\n[[rule.authority]]\n'
        f'keyless = {{ identities = [{{ {identity} }}], trusted_root = "{TRUSTED_ROOT}" }}\n'
    )
    text, _ = decision(status, tmp_path / "policy.toml", DATA / "model", "--signature", KEYLESS)
    assert (f"signed by {SIGNER} (as known to {PROVIDER})" if status == 0 else "whom no trusted identity matches") in text


def test_an_app_is_judged_by_its_manifest_and_version(tmp_path, policy, keys):
    folder = tmp_path / "hello"
    folder.mkdir()
    shutil.copy(support.component("hello"), folder / "hello.wasm")
    manifest = folder / "headland.app.toml"
    manifest.write_text('name = "hello"\n[[route]]\npath = "/"\ncomponent = "hello.wasm"\n')
    assert "it carries no signature" in decision(1, policy(), manifest)[0]
    support.run("app", "sign", manifest, "--version", "2", "--key", keys[0])
    text, answer = decision(0, policy(), manifest, "--version", "2")
    assert text.startswith("apps/hello:2 is admitted") and answer["rule"]["name"] == "released"
    assert "the signature is for sha256:" in decision(1, policy(), manifest, "--version", "3")[0]
    (folder / "hello.wasm").write_bytes(b"else")
    assert "the signature is for sha256:" in decision(1, policy(), manifest, "--version", "2")[0]


def test_what_cannot_be_judged_is_no_refusal(tmp_path, policy, model):
    for arguments, why in [
        ([tmp_path / "nowhere"], "is neither a model's folder nor an app's headland.app.toml"),
        ([model, "--signature", tmp_path / "nowhere.sig"], "nowhere.sig"),
        ([model, "--name", "a/b"], "is not a model name"),
        ([tmp_path / "nowhere.toml"], "nowhere.toml"),
    ]:
        result = support.run("policy", "test", policy(), *arguments, check=False)
        assert result.returncode == 2 and why in result.stderr and result.stdout == "", result
