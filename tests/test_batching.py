"""Requests that meet in batches: what comes out is what would have come out alone, nobody starves, and the metrics tell."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gateway import DIGITS, Gateway, minilm

WORDS = "river stone bridge apple engine garden winter paper silver music window forest".split()
DIGITS_BATCHING = """
name = "digits"
version = "batched"
instances = 1
[batching]
inputs.image = { axis = 0 }
outputs.logits = { axis = 0 }
"""


def texts(count):
    """Texts of three to some sixty tokens, all different."""
    return [f"{number} " + " ".join(WORDS[(number * step) % len(WORDS)] for step in range(1, 1 + number % 50)) for number in range(count)]


def embed(gateway, text):
    answer = gateway.post("/v1/embeddings", json_body={"model": "all-minilm-l6-v2", "input": text})
    assert answer.status == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["data"]], np.float32)


def metrics(gateway, model):
    """The unlabelled sum of each series of `model`, by name."""
    found = {}
    for line in gateway.admin("/metrics").text.splitlines():
        match = re.match(r'(\w+)\{(.*)\} (\S+)$', line)
        if match and f'model="{model}"' in match[2] and "le=" not in match[2]:
            found[match[1]] = found.get(match[1], 0) + float(match[3])
    return found


def at_once(work, items, workers=32):
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, items))


def package(folder, source, manifest, name="model"):
    """A copy of a model's folder with another manifest."""
    copy = folder / name
    shutil.copytree(source, copy)
    (copy / "headland.model.toml").write_text(manifest)
    return copy


def image(seed):
    return np.random.default_rng(seed).random((1, 8, 8), np.float32) * 16


def infer(gateway, values, model="digits", headers=None, **parameters):
    tensor = {"name": "image", "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": "logits"}], "parameters": parameters}
    return gateway.post(f"/v2/models/{model}/infer", json_body=body, headers=headers)


def logits(answer):
    assert answer.status == 200, answer.text
    return np.array(answer.json()["outputs"][0]["data"], np.float32)


def shown(gateway, model):
    return gateway.admin(f"/admin/v1/models/{model}").json()


def test_texts_that_meet_in_a_batch_are_embedded_as_if_they_were_alone(tmp_path):
    with Gateway(tmp_path, "--model", minilm()) as gateway:
        all_texts = texts(96)
        alone = [embed(gateway, text)[0] for text in all_texts]
        before = metrics(gateway, "all-minilm-l6-v2")
        together = at_once(lambda text: embed(gateway, text)[0], all_texts)
        after = metrics(gateway, "all-minilm-l6-v2")
        for one, other in zip(alone, together):
            assert np.abs(one - other).max() < 1e-5
        requests = after["headland_inference_batch_requests_sum"] - before["headland_inference_batch_requests_sum"]
        batches = after["headland_inference_batch_requests_count"] - before["headland_inference_batch_requests_count"]
        assert requests == 96 and batches < 96, f"{batches} batches"
        assert after["headland_inference_queue_delay_seconds_count"] == 192


def test_many_texts_in_one_request_come_back_in_order_whatever_their_lengths(tmp_path):
    with Gateway(tmp_path, "--model", minilm()) as gateway:
        all_texts = texts(200)
        together = embed(gateway, all_texts)
        assert together.shape == (200, 384)
        for index in (0, 1, 49, 50, 120, 199):
            assert np.abs(embed(gateway, all_texts[index])[0] - together[index]).max() < 1e-5, index
        stats = metrics(gateway, "all-minilm-l6-v2")
        assert stats["headland_inference_rows_total"] >= 206


def test_an_onnx_graph_batches_when_its_package_names_the_axes_and_says_why_when_not(tmp_path):
    batched = package(tmp_path, DIGITS, DIGITS_BATCHING, "batched")
    with Gateway(tmp_path / "gateway", "--model", f"digits={batched}", "--model", f"plain={DIGITS}") as gateway:
        alone = [logits(infer(gateway, image(seed), "plain")) for seed in range(64)]
        together = at_once(lambda seed: logits(infer(gateway, image(seed))), range(64))
        for one, other in zip(alone, together):
            assert np.abs(one - other).max() < 1e-4
        # Wide requests are put side by side and taken apart by rows.
        wide = np.concatenate([image(seed) for seed in range(150)])
        rows = logits(infer(gateway, wide)).reshape(150, -1)
        assert np.abs(rows[:64] - np.array(alone)).max() < 1e-4
        assert shown(gateway, "digits")["batching"]["rows_max"] == 64
        assert shown(gateway, "plain")["batching"]["off_because"].startswith("its package names no batch axes")


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (DIGITS_BATCHING.replace("inputs.image", "inputs.picture"), "the graph has no input `picture`; it has image"),
        (DIGITS_BATCHING.replace("image = { axis = 0 }", "image = { axis = 7 }"), "`image` has 3 axes"),
        (DIGITS_BATCHING.replace("outputs.logits = { axis = 0 }\n", ""), "output `logits` needs its axis"),
        ("[batching]\nmax_rows = 0\n", "at least 1"),
        ("[batching]\nmax_row = 1\n", "did you mean `max_rows`"),
        ("[cache]\nmax_bytes = 'lots'\n", "lots"),
        ('precision = "int4"\n', "int8"),
        ('precision = "int8"\n', "is for text encoders"),
        ('backend = "candle"\n', "candle runs no ONNX graphs"),
    ],
)
def test_a_package_that_is_wrong_about_itself_says_where(tmp_path, manifest, problem):
    from gateway import refuses_to_start

    said = refuses_to_start(tmp_path / "gateway", "--model", package(tmp_path, DIGITS, manifest))
    assert problem in said, said


def test_remembered_answers_say_so_and_differ_by_whatever_differs(tmp_path):
    cached = package(tmp_path, DIGITS, 'name = "digits"\n[cache]\nmax_bytes = "1MiB"\n')
    with Gateway(tmp_path / "gateway", "--model", cached, "--model", f"plain={DIGITS}") as gateway:
        first, again, other = infer(gateway, image(1)), infer(gateway, image(1)), infer(gateway, image(2))
        assert [answer.headers["x-cache"] for answer in (first, again, other)] == ["miss", "hit", "miss"]
        assert first.json()["outputs"] == again.json()["outputs"] != other.json()["outputs"]
        assert infer(gateway, image(1), "plain").headers["x-cache"] is None
        stats = metrics(gateway, "digits")
        assert (stats["headland_inference_cache_hits_total"], stats["headland_inference_cache_misses_total"]) == (1, 2)


def test_eight_bit_weights_are_measured_and_shown(tmp_path):
    small = package(tmp_path, minilm(), 'name = "minilm"\nprecision = "int8"\n')
    with Gateway(tmp_path / "gateway", "--model", small, "--model", minilm()) as gateway:
        said = shown(gateway, "minilm")["runs"]
        match = re.search(r"cosine to full weights ([\d.]+) on average, ([\d.]+) at least", said)
        assert match and float(match[1]) > 0.995, said
        for text in texts(20):
            body = {"model": "minilm", "input": text}
            vector = np.array(gateway.post("/v1/embeddings", json_body=body).json()["data"][0]["embedding"])
            assert float(vector @ embed(gateway, text)[0]) > 0.98, text


def test_weights_that_lose_more_than_the_package_allows_are_refused(tmp_path):
    from gateway import refuses_to_start

    strict = package(tmp_path, minilm(), 'name = "minilm"\nprecision = "int8"\nprecision_cosine_min = 1.0\n')
    said = refuses_to_start(tmp_path / "gateway", "--model", strict)
    assert "with 8-bit weights the least cosine" in said and "the package asks for 1" in said, said


def test_who_would_be_answered_too_late_is_told_at_once_and_when_to_come_back(tmp_path):
    with Gateway(tmp_path, "--model", minilm()) as gateway:
        long = " ".join(WORDS * 20)
        for _ in range(4):
            embed(gateway, [long] * 4)
        body = {
            "parameters": {"timeout": 300_000},
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [16], "data": [long] * 16}],
        }
        answers = at_once(lambda _: gateway.post("/v2/models/all-minilm-l6-v2/infer", json_body=body), range(64), 64)
        statuses = {answer.status for answer in answers}
        assert 503 in statuses and statuses <= {200, 503, 504}, statuses
        refused = next(answer for answer in answers if answer.status == 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert "is busy" in refused.json()["error"], json.dumps(refused.json())
        embed(gateway, "still well")
