"""Fixtures: one gateway with every model and app for the whole run, and what it takes to ask it."""

import json
import os

import pytest

import gateway as support

# No proxy stands between this machine and itself, whatever the environment says.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """The gateway most tests ask: MiniLM, digits, the identity graphs, and all example apps and fixtures."""
    folder = tmp_path_factory.mktemp("gateway")
    models = [f"all-minilm-l6-v2={support.minilm()}", f"digits={support.DIGITS}"]
    models += support.identity_graphs(folder / "models")
    apps = map(support.manifest, ["rust/semantic-search", "rust/digits", "fixtures"])
    arguments = [f"--model={model}" for model in models] + [f"--app={app}" for app in apps]
    with support.Gateway(folder, *arguments) as running:
        yield running


@pytest.fixture(scope="session")
def samples():
    """The handwritten digits: image file, the digit it shows."""
    folder = support.DIGITS / "samples"
    expected = json.loads((folder / "expected.json").read_text())
    return [(folder / name, entry) for name, entry in sorted(expected.items())]


@pytest.fixture(scope="session")
def goldens():
    """What sentence-transformers makes of fixed sentences."""
    return json.loads((support.ROOT / "test-data/embeddings/minilm.json").read_text())
