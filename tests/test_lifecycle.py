"""Starting, looking at and stopping the gateway: the commands, the compiled-component cache, the drain, the metrics."""

import json
import socket
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

import gateway as support
from manifests import app

SLOW_TEXTS = 12


def samples_of(text):
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def value(samples, name, **labels):
    return sum(value for (sample, have), value in samples.items() if sample == name and set(labels.items()) <= have)


def slow_request(gateway, answers):
    """An inference that takes about a second, on a thread of its own."""
    request = {"model": "all-minilm-l6-v2", "input": ["sea " * 250] * SLOW_TEXTS}
    thread = threading.Thread(target=lambda: answers.append(gateway.post("/v1/embeddings", json_body=request)))
    thread.start()
    return thread


def metrics(gateway):
    return samples_of(gateway.admin("/metrics").text)


def test_sigterm_lets_requests_in_flight_finish_and_takes_no_new_ones(tmp_path):
    gateway = support.Gateway(tmp_path, f"--model=all-minilm-l6-v2={support.minilm()}")
    answers = []
    with gateway:
        threads = [slow_request(gateway, answers) for _ in range(2)]
        pending = "headland_inference_pending_requests"
        support.eventually("requests run, and parts of them wait", lambda: value(metrics(gateway), pending) >= 1)
        gateway.terminate()
        support.eventually("no new request is served", lambda: not takes_requests(gateway))
        for thread in threads:
            thread.join()
        assert [answer.status for answer in answers] == [200, 200], [answer.text for answer in answers]
        assert all(len(answer.json()["data"]) == SLOW_TEXTS for answer in answers)
        assert gateway.wait() == 0


def takes_requests(gateway):
    try:
        return gateway.get("/v2/health/ready").status == 200
    except OSError:
        return False


def test_a_second_sigterm_ends_at_once(tmp_path):
    waits = app(tmp_path, "waits", "/waits", "slow_body", limits="deadline_ms = 60000")
    with support.Gateway(tmp_path, f"--app={waits}") as gateway:
        with gateway.socket() as stuck:
            stuck.sendall(b"GET /waits?lines=60&ms=1000 HTTP/1.1\r\nhost: x\r\n\r\n")
            support.eventually("the guest runs", lambda: value(metrics(gateway), "headland_guest_instances", app="waits") == 1)
            gateway.terminate()
            support.eventually("the drain began", lambda: not takes_requests(gateway))
            assert gateway.process.poll() is None, "a request is in flight: the first signal waits for it"
            gateway.terminate()
            assert gateway.process.wait(5) == 130
        # It was told twice, and said so: that is how this one ends well.
        gateway.process.returncode = 0


def test_a_taken_port_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for option, other in [("--listen", "--admin-listen"), ("--admin-listen", "--listen")]:
            arguments = ["up", option, address, other, "127.0.0.1:0", "--data-dir", tmp_path]
            result = support.run(*arguments, check=False)
            assert result.returncode == 1
            assert address in result.stderr and "in use" in result.stderr, result.stderr
            assert option in result.stderr, f"the error should say which option chooses another: {result.stderr}"


def component_origins(gateway):
    return [entry["origin"] for entry in gateway.log_entries(message="component ready")]


def test_components_are_compiled_once_and_corrupt_cache_entries_again(tmp_path):
    hello = app(tmp_path, "hello", "/hello", "hello")
    data = tmp_path / "data"

    def start(name):
        with support.Gateway(tmp_path / name, f"--app={hello}", log="debug", data_dir=data) as gateway:
            assert gateway.get("/hello").status == 200
            return component_origins(gateway), gateway.log()

    assert start("first")[0] == ["Compiled"]
    assert start("second")[0] == ["Cached"]
    (code,) = data.rglob("*.cwasm")
    whole = code.read_bytes()
    for name, bytes_ in [("flipped", whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]), ("cut", whole[:1000]), ("empty", b"")]:
        code.write_bytes(bytes_)
        origins, log = start(name)
        assert origins == ["Compiled"] and "corrupt" in log
    assert start("mended")[0] == ["Cached"]


def test_model_list_and_show(gateway):
    server = ("--server", gateway.admin_url, "--data-dir", str(gateway.data_dir))
    listed = support.run("model", "list", *server).stdout.splitlines()
    assert listed[0].split() == ["NAME", "VERSION", "ALIASES", "STATE", "DEVICE", "SIZE", "WHY"]
    rows = {line.split()[0]: line.split()[1:] for line in listed[1:]}
    assert rows["all-minilm-l6-v2"][2:4] == ["READY", "cpu"] and rows["digits"][2:4] == ["READY", "cpu"]
    models = {model["name"]: model for model in json.loads(support.run("model", "list", *server, "--json").stdout)["models"]}
    assert models["digits"]["digest"].startswith("sha256:") and models["all-minilm-l6-v2"]["memory_bytes"] > 80_000_000
    assert "image" in support.run("model", "show", "digits", *server).stdout
    assert json.loads(support.run("model", "show", "digits", *server, "--json").stdout)["name"] == "digits"
    unknown = support.run("model", "show", "nope", *server, check=False)
    assert unknown.returncode == 1 and "digits" in unknown.stderr


def test_app_list_show_and_check(gateway, tmp_path):
    server = ("--server", gateway.admin_url, "--data-dir", str(gateway.data_dir))
    listed = support.run("app", "list", *server).stdout.splitlines()
    assert listed[0].split() == ["APP", "VERSION", "STATE", "HOST", "PATH", "WEIGHT", "REQUESTS"]
    assert any(line.split()[:5] == ["semantic-search", "-", "READY", "any", "/search"] for line in listed)
    apps = {app["name"]: app for app in json.loads(support.run("app", "list", *server, "--json").stdout)["apps"]}
    assert apps["digits"]["models"] == ["digits"]
    assert "deadline_ms" in support.run("app", "show", "digits", *server).stdout
    assert support.run("app", "show", "nope", *server, check=False).returncode == 1
    for folder in ("rust/semantic-search", "rust/digits", "fixtures"):
        assert "is fine" in support.run("app", "check", support.manifest(folder)).stdout
    missing = tmp_path / "missing.app.toml"
    missing.write_text('name = "x"\n[[route]]\npath = "/"\ncomponent = "nowhere.wasm"\n')
    result = support.run("app", "check", missing, check=False)
    assert result.returncode == 1 and "nowhere.wasm" in result.stderr


def test_a_gateway_that_is_not_there_says_what_to_check():
    (port,) = support.free_ports(1)
    result = support.run("model", "list", "--server", f"http://127.0.0.1:{port}", check=False)
    assert result.returncode == 1
    assert "is `headland up` running" in result.stderr, result.stderr


def test_help_has_examples_and_completions_are_scripts():
    for command in ([], ["up"]):
        assert "Examples:" in support.run(*command, "--help").stdout
    assert support.run("--version").stdout.startswith("headland ")
    for shell, sign in [("bash", "complete -F"), ("zsh", "#compdef headland"), ("fish", "complete -c headland")]:
        assert sign in support.run("completions", shell).stdout
    typo = support.run("up", "--modle", "x", check=False)
    assert typo.returncode == 2 and "--model" in typo.stderr


def test_metrics_are_prometheus_text_and_count(gateway, samples):
    def numbers():
        now = samples_of(gateway.admin("/metrics").text)
        return [
            value(now, "headland_http_requests_total", route="kserve_infer", status="200"),
            value(now, "headland_http_requests_total", route="kserve_infer", status="400"),
            value(now, "headland_http_requests_total", route="app", app="digits"),
            value(now, "headland_inference_request_success_total", model="digits"),
            value(now, "headland_inference_request_failure_total", model="digits"),
            value(now, "headland_guest_runs_total", app="digits", outcome="ok"),
            value(now, "headland_http_request_duration_seconds_count", route="kserve_infer"),
        ]

    image, entry = samples[0]
    pixels = [pixel for row in entry["image"] for pixel in row]
    request = {"inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": pixels}]}
    before = numbers()
    assert gateway.post("/v2/models/digits/infer", json_body=request).status == 200
    request["inputs"][0]["shape"] = [64]
    assert gateway.post("/v2/models/digits/infer", json_body=request).status == 400
    assert gateway.post("/digits", image.read_bytes()).status == 200
    # An answer is counted when its last byte is sent, which the client may see before the counter does.
    expected = [1, 1, 1, 2, 1, 1, 2]
    support.eventually(
        f"the counters went up by {expected}; {before}, {numbers()}",
        lambda: [now - then for now, then in zip(numbers(), before)] == expected,
    )


def test_metrics_answer_to_operators_only(gateway):
    assert gateway.admin("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
    assert gateway.get("/metrics").status == 404


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_access_log_has_a_line_per_request_without_its_query(tmp_path, log_format):
    hello = app(tmp_path, "hello", "/hello", "hello")
    with support.Gateway(tmp_path, f"--app={hello}", log="info", log_format=log_format) as gateway:
        answer = gateway.get("/hello?token=secret")
        line = support.eventually("the line", lambda: [line for line in gateway.log().splitlines() if answer.request_id in line])
    assert "secret" not in line[0] and "/hello" in line[0] and "200" in line[0]
