"""What cannot be served is refused at the start: models, manifests, configuration, libraries; each by name and cause."""

import shutil

import pytest

import gateway as support
from manifests import app, config


def copy_of_minilm(folder):
    """Its small files copied, its weights linked."""
    for source in support.minilm().rglob("*"):
        target = folder / source.relative_to(support.minilm())
        if source.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.name == "model.safetensors":
            target.symlink_to(source)
        else:
            shutil.copy(source, target)
    return folder


def spoil(folder, name, content):
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)


WEIGHTS_HEAD = 100_000


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model.safetensors", "cut", "model.safetensors"),
        ("model.safetensors", b"nonsense", "model.safetensors"),
        ("model.safetensors", b"\xff" * 64, "model.safetensors"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("config.json", b"{", "config.json"),
        ("config.json", b"{}", "config.json"),
        ("config.json", b'{"model_type": "t5"}', "t5"),
        ("tokenizer.json", b"{", "tokenizer.json"),
        ("1_Pooling/config.json", b"{", "1_Pooling/config.json"),
        ("1_Pooling/config.json", b'{"pooling_mode_weightedmean_tokens": true}', "weightedmean"),
        ("modules.json", b"[", "modules.json"),
    ],
    ids=[
        "cut weights", "short weights", "bad weights", "no weights", "cut config", "empty config", "foreign config",
        "cut tokenizer", "cut pooling", "unknown pooling", "cut modules",
    ],  # fmt: skip
)
def test_a_corrupt_text_model_is_refused_by_file_and_cause(tmp_path, name, content, expected):
    folder = copy_of_minilm(tmp_path / "model")
    if content == "cut":
        with (support.minilm() / name).open("rb") as weights:
            content = weights.read(WEIGHTS_HEAD)
    spoil(folder, name, content)
    said = support.refuses_to_start(tmp_path, f"--model=minilm={folder}")
    assert expected in said and str(folder) in said, said
    assert "panicked" not in said, said


@pytest.mark.parametrize(
    ("graph", "expected"),
    [("corrupt.onnx", "model.onnx"), ("external_missing.onnx", "nowhere.bin"), ("external_outside.onnx", "model.onnx"), (None, "no model found")],
)
def test_a_corrupt_onnx_model_is_refused_by_file_and_cause(tmp_path, graph, expected):
    folder = tmp_path / "model"
    folder.mkdir()
    if graph:
        shutil.copy(support.ROOT / "test-data/onnx" / graph, folder / "model.onnx")
    said = support.refuses_to_start(tmp_path, f"--model=m={folder}")
    assert expected in said and str(folder) in said, said
    assert "panicked" not in said, said


def test_a_missing_model_folder_is_named(tmp_path):
    said = support.refuses_to_start(tmp_path, f"--model=m={tmp_path}/nowhere")
    assert f"{tmp_path}/nowhere" in said and "No such file" in said, said


def test_two_models_of_one_name_are_refused(tmp_path):
    said = support.refuses_to_start(tmp_path, f"--model=digits={support.DIGITS}", f"--model=digits={support.DIGITS}")
    assert "two models are `digits:1`" in said, said


def test_a_device_that_is_not_there_is_no_silent_cpu(tmp_path):
    for path in (support.DIGITS, support.minilm()):
        text = f'[[model]]\nname = "m"\npath = "{path}"\ndevice = "cuda:7"\n'
        said = support.refuses_to_start(tmp_path, f"--config={config(tmp_path, text)}")
        assert "cuda:7" in said, said


def test_a_missing_onnxruntime_says_how_to_get_it(tmp_path):
    environment = {"ORT_DYLIB_PATH": str(tmp_path / "libonnxruntime.so")}
    said = support.refuses_to_start(tmp_path, f"--model=digits={support.DIGITS}", env=environment)
    assert str(tmp_path / "libonnxruntime.so") in said and "onnxruntime" in said, said
    assert "panicked" not in said, said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[limits]\nbdy = "1MiB"', ":2:1: unknown key `bdy`; did you mean `body`?"),
        ('[[model]]\npath = "x"\nquue = 1', ":3:1: unknown key `quue`; did you mean `queue`?"),
        ('listen = "somewhere"', ":1:10: "),
        ("[[model]]\npath = ", ":2:"),
    ],
)
def test_a_configuration_that_cannot_be_read_names_line_and_suggestion(tmp_path, text, expected):
    path = config(tmp_path, text)
    said = support.refuses_to_start(tmp_path, f"--config={path}")
    assert f"{path}{expected}" in said, said


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('[limit]\nmemory = "1MiB"', "unknown key `limit`; did you mean `limits`?"),
        ('[models]\nalow = ["digits"]', "unknown key `alow`; did you mean `allow`?"),
        ('[outbound]\nallow = ["example.com"]', "must be scheme and host"),
    ],
)
def test_a_manifest_that_cannot_be_read_names_line_and_suggestion(tmp_path, more, expected):
    path = app(tmp_path, "x", "/", "hello", more=more)
    said = support.refuses_to_start(tmp_path, f"--app={path}")
    assert expected in said and str(path) in said, said
    checked = support.run("app", "check", path, check=False)
    assert checked.returncode == 1 and expected in checked.stderr, checked.stderr


def test_components_that_cannot_run_are_refused(tmp_path):
    path = app(tmp_path, "x", "/", "hello")
    for content, expected in [(b"hello", "is not a component"), (b"\0asm\x0d\0\x01\0", "cannot be linked"), (None, "cannot read")]:
        component = tmp_path / "x.wasm"
        component.unlink(missing_ok=True)
        if content is not None:
            component.write_bytes(content)
        path.write_text(f'name = "x"\n[[route]]\npath = "/"\ncomponent = "{component}"\n')
        said = support.refuses_to_start(tmp_path, f"--app={path}")
        assert expected in said and str(component) in said and "`x`" in said, said


def test_two_apps_cannot_claim_one_path(tmp_path, gateway):
    apps = [app(tmp_path, name, "/same", "hello") for name in ("one", "two")]
    said = support.refuses_to_start(tmp_path, *[f"--app={each}" for each in apps], cache_of=gateway)
    assert "`one` and `two` both claim path `/same`" in said, said
