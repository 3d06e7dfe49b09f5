"""The OpenAI routes through OpenAI's own Python SDK: embeddings in every form it sends, its answers, its exceptions."""

import base64
import json

import numpy as np
import openai
import pytest

MODEL = "all-minilm-l6-v2"


@pytest.fixture(scope="module")
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def vectors(response):
    return np.array([item.embedding for item in response.data], np.float32)


def cosine(a, b):
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_a_string_becomes_one_unit_vector(client):
    response = client.embeddings.create(model=MODEL, input="hello")
    assert (response.object, response.model) == ("list", MODEL)
    assert [(item.object, item.index) for item in response.data] == [("embedding", 0)]
    vector = vectors(response)[0]
    assert vector.shape == (384,)
    assert abs(np.linalg.norm(vector) - 1) < 1e-5


def test_embeddings_agree_with_sentence_transformers(client, goldens):
    """Batched and padded by us, alone and unpadded there."""
    goldens = [golden for golden in goldens["goldens"] if golden["sentence"]]
    response = client.embeddings.create(model=MODEL, input=[golden["sentence"] for golden in goldens])
    assert [item.index for item in response.data] == list(range(len(goldens)))
    for golden, vector in zip(goldens, vectors(response)):
        assert cosine(vector, golden["embedding"]) > 0.9999, golden["sentence"][:60]


def test_token_ids_give_what_their_text_gives(client, goldens):
    """Special tokens included, as the goldens have them; one list of ids, and a list of such lists."""
    some = [golden for golden in goldens["goldens"] if len(golden["input_ids"]) < 30][:4]
    many = client.embeddings.create(model=MODEL, input=[golden["input_ids"] for golden in some])
    for golden, vector in zip(some, vectors(many)):
        assert cosine(vector, golden["embedding"]) > 0.9999, golden["sentence"]
    one = client.embeddings.create(model=MODEL, input=some[0]["input_ids"])
    assert cosine(vectors(one)[0], some[0]["embedding"]) > 0.9999
    assert one.usage.prompt_tokens == len(some[0]["input_ids"])


def test_float_and_base64_are_the_same_numbers(client, gateway):
    as_float = client.embeddings.create(model=MODEL, input="a cat", encoding_format="float")
    as_default = client.embeddings.create(model=MODEL, input="a cat")
    assert np.array_equal(vectors(as_float), vectors(as_default))
    # On the wire, base64 is little-endian float32.
    request = {"model": MODEL, "input": "a cat", "encoding_format": "base64"}
    wire = gateway.post("/v1/embeddings", json_body=request).json()["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(wire), "<f4"), vectors(as_float)[0])


def test_usage_counts_tokens_without_padding(client, goldens):
    some = [golden for golden in goldens["goldens"] if golden["sentence"]]
    response = client.embeddings.create(model=MODEL, input=[golden["sentence"] for golden in some])
    tokens = sum(len(golden["input_ids"]) for golden in some)
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (tokens, tokens)


def test_a_text_that_was_cut_is_said_so_in_a_header(client):
    long = "sea " * 1000
    raw = client.embeddings.with_raw_response.create(model=MODEL, input=["short", long])
    assert raw.headers["x-headland-truncated"] == "1 of 2 texts cut to 256 tokens"
    # It is the vector of what is left, as with sentence-transformers.
    left = client.embeddings.create(model=MODEL, input="sea " * 254)
    assert cosine(vectors(raw.parse())[1], vectors(left)[0]) > 0.9999
    raw = client.embeddings.with_raw_response.create(model=MODEL, input="short")
    assert "x-headland-truncated" not in raw.headers


def test_models_are_listed_and_retrieved(client):
    listed = {model.id: model for model in client.models.list()}
    assert {MODEL, "digits"} <= set(listed)
    assert listed[MODEL].object == "model"
    assert client.models.retrieve(MODEL).id == MODEL


def test_an_unknown_model_is_the_sdks_not_found_and_names_the_loaded_ones(client):
    for ask in (
        lambda: client.embeddings.create(model="gpt-9", input="x"),
        lambda: client.models.retrieve("gpt-9"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask()
        assert MODEL in caught.value.message and "digits" in caught.value.message
        assert caught.value.code == "model_not_found"
        assert caught.value.request_id


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"model": "digits", "input": "x"}, "digits"),
        ({"model": MODEL, "input": []}, "input"),
        ({"model": MODEL, "input": ["x"] * 2049}, "2048"),
        ({"model": MODEL, "input": [999_999_999]}, "999999999"),
        ({"model": MODEL, "input": [-1]}, "-1"),
        ({"model": MODEL, "input": "x", "encoding_format": "int8"}, "base64"),
    ],
    ids=["no embedding model", "no input", "too many inputs", "id over the vocabulary", "negative id", "unknown encoding"],
)
def test_requests_that_make_no_sense_are_the_sdks_bad_request(client, arguments, expected):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(**arguments)
    assert expected in caught.value.message, caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert client.embeddings.create(model=MODEL, input="the next good one").data


def test_malformed_json_says_where(gateway):
    answer = gateway.post("/v1/embeddings", b'{"model": "all-minilm-l6-v2",\n "input": nope}')
    assert answer.status == 400
    error = answer.json()["error"]
    assert "line 2" in error["message"] and "column" in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_an_unknown_route_answers_in_openais_shape(gateway):
    answer = gateway.post("/v1/images/generations", json_body={})
    assert answer.status == 404 and answer.json()["error"]["message"]
    answer = gateway.get("/v1/embeddings")
    assert answer.status == 405 and answer.json()["error"]["message"]
    assert "POST" in answer.headers["allow"]


def test_text_over_native_tensors_and_over_openai_agree(client, gateway):
    request = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a lighthouse"]}]}
    native = gateway.post(f"/v2/models/{MODEL}/infer", json_body=request).json()["outputs"][0]
    assert native["name"] == "sentence_embedding"
    ours = vectors(client.embeddings.create(model=MODEL, input="a lighthouse"))[0]
    assert np.allclose(ours, np.array(json.loads(json.dumps(native["data"])), np.float32), atol=1e-6)
