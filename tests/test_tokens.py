"""`headland token` with the real command, as `docs/access.md` describes it."""

import json
import stat
import time

import pytest

import gateway as support


@pytest.fixture
def tokens(tmp_path):
    """A function that runs `headland token` on a data directory of its own."""

    def run(*arguments, check=True):
        return support.run("token", *arguments, "--data-dir", tmp_path, check=check)

    return run


def listed(tokens):
    return json.loads(tokens("list", "--json").stdout)["tokens"]


def test_a_token_is_shown_once_and_kept_as_a_hash(tokens, tmp_path):
    made = tokens("create", "ci", "--scope", "push", "--expires", "90d")
    token = made.stdout.strip()
    assert token.startswith("hl_") and len(token) == 46 and "\n" not in token
    assert "token `ci` (" in made.stderr and "not shown again" in made.stderr and token not in made.stderr
    kept = tmp_path / "tokens.json"
    assert token not in kept.read_text() and stat.S_IMODE(kept.stat().st_mode) == 0o600
    entry = listed(tokens)[0]
    assert entry["name"] == "ci" and entry["scopes"] == ["push"] and token.endswith(entry["ends_with"])
    assert abs(entry["expires_unix_s"] - time.time() - 90 * 86400) < 120
    table = tokens("list").stdout
    day = time.strftime("%Y-%m-%d", time.gmtime(entry["expires_unix_s"]))
    assert table.startswith("ID  ") and entry["id"] in table and day in table and token not in table


def test_scopes_are_given_as_a_list_or_one_by_one(tokens):
    tokens("create", "a", "--scope", "push,deploy")
    tokens("create", "b", "--scope", "deploy", "--scope", "push")
    assert [token["scopes"] for token in listed(tokens)] == [["push", "deploy"]] * 2
    assert "never" in tokens("list").stdout


def test_a_revoked_token_is_gone(tokens):
    made = json.loads(tokens("create", "ci", "--scope", "read", "--json").stdout)
    assert made["token"].startswith("hl_") and made["name"] == "ci"
    assert "token `ci`" in tokens("revoke", made["id"]).stdout
    assert listed(tokens) == []
    again = tokens("revoke", made["id"], check=False)
    assert again.returncode == 1 and "`headland token list` shows those there are" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["ci"], 2, "--scope"),
        (["ci", "--scope", "all"], 2, "[possible values: read, push, deploy, admin]"),
        (["ci", "--scope", "push", "--expires", "soon"], 2, "such as 90d"),
        (["ci", "--scope", "push", "--expires", "0d"], 2, "at least one minute"),
        (["local", "--scope", "push"], 1, "choose another name"),
        ([" ci", "--scope", "push"], 1, "1 to 64 printable characters"),
    ],
    ids=["no scope", "unknown scope", "no time", "no lifetime", "reserved name", "bad name"],
)
def test_a_token_that_makes_no_sense_is_not_made(tokens, tmp_path, arguments, status, why):
    result = tokens("create", *arguments, check=False)
    assert result.returncode == status and why in result.stderr and result.stdout == "", result
    assert not (tmp_path / "tokens.json").exists()


def test_a_data_directory_that_is_not_there_gets_no_tokens(tmp_path):
    result = support.run("token", "create", "ci", "--scope", "push", "--data-dir", tmp_path / "nowhere", check=False)
    assert result.returncode == 1 and "start `headland up` first, or name it with --data-dir" in result.stderr
    assert not (tmp_path / "nowhere").exists()
