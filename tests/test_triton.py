"""The Open Inference Protocol through NVIDIA's own client: health, metadata, infer as JSON and as binary tensors."""

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

import gateway as support

MINILM = "all-minilm-l6-v2"


@pytest.fixture(scope="module")
def client(gateway):
    with triton.InferenceServerClient(f"127.0.0.1:{gateway.port}", network_timeout=60.0) as client:
        yield client


def tensor(name, array, binary):
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def wanted(binary, *names):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def images(samples):
    return np.array([entry["image"] for _, entry in samples], np.float32).reshape(-1, 8, 8)


def test_the_server_is_live_ready_and_says_what_it_is(client):
    assert client.is_server_live() and client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "headland" and "binary_tensor_data" in metadata["extensions"]


def test_models_are_ready_by_name_and_version(client):
    assert client.is_model_ready("digits") and client.is_model_ready("digits", "1")
    assert not client.is_model_ready("digits", "999")
    assert not client.is_model_ready("unknown")


def test_metadata_is_the_graphs_signature(client):
    metadata = client.get_model_metadata("digits")
    assert (metadata["name"], metadata["versions"]) == ("digits", ["1"])
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8]}]
    assert metadata["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}]
    assert client.get_model_metadata("digits", "1") == metadata


def test_a_text_model_lists_text_before_its_raw_inputs(client):
    metadata = client.get_model_metadata(MINILM)
    assert metadata["inputs"][0] == {"name": "text", "datatype": "BYTES", "shape": [-1]}
    raw = {each["name"]: (each["datatype"], each["shape"]) for each in metadata["inputs"][1:]}
    assert raw["input_ids"] == ("INT64", [-1, -1])
    assert set(raw) == {"input_ids", "attention_mask", "token_type_ids"}
    outputs = {each["name"]: (each["datatype"], each["shape"]) for each in metadata["outputs"]}
    assert outputs == {"sentence_embedding": ("FP32", [-1, 384]), "token_embeddings": ("FP32", [-1, -1, 384])}


@pytest.mark.parametrize("binary_in", [False, True], ids=["json in", "binary in"])
@pytest.mark.parametrize("binary_out", [False, True], ids=["json out", "binary out"])
def test_digits_agrees_with_onnxruntime(client, samples, binary_in, binary_out):
    batch = images(samples)
    session = onnxruntime.InferenceSession(support.DIGITS / "model.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run(["logits"], {"image": batch})
    answer = client.infer("digits", [tensor("image", batch, binary_in)], outputs=wanted(binary_out, "logits"))
    logits = answer.as_numpy("logits")
    assert logits.dtype == np.float32 and logits.shape == (len(samples), 10)
    assert np.abs(logits - expected).max() < 1e-5
    assert list(logits.argmax(axis=1)) == [entry["digit"] for _, entry in samples]


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_text_and_own_tokens_agree(client, goldens, binary):
    golden = goldens["goldens"][0]
    text = np.array([golden["sentence"].encode()], np.object_)
    from_text = client.infer(MINILM, [tensor("text", text, binary)], outputs=wanted(binary, "sentence_embedding"))
    ids = np.array([golden["input_ids"]], np.int64)
    raw = [tensor("input_ids", ids, binary), tensor("attention_mask", np.ones_like(ids), binary)]
    raw.append(tensor("token_type_ids", np.zeros_like(ids), binary))
    from_ids = client.infer(MINILM, raw, outputs=wanted(binary, "sentence_embedding"))
    text_vector, ids_vector = (each.as_numpy("sentence_embedding")[0] for each in (from_text, from_ids))
    assert np.abs(text_vector - ids_vector).max() < 1e-6
    assert np.dot(ids_vector, np.array(golden["embedding"], np.float32)) > 0.9999


def test_padded_tokens_give_what_unpadded_ones_give(client, goldens):
    """A client that pads its own batch gets, row by row, what each text gets alone."""
    some = sorted(goldens["goldens"], key=lambda golden: len(golden["input_ids"]))[1:5]
    width = max(len(golden["input_ids"]) for golden in some)
    ids = np.zeros((len(some), width), np.int64)
    mask = np.zeros_like(ids)
    for row, golden in enumerate(some):
        ids[row, : len(golden["input_ids"])] = golden["input_ids"]
        mask[row, : len(golden["input_ids"])] = 1
    answer = client.infer(MINILM, [tensor("input_ids", ids, True), tensor("attention_mask", mask, True)])
    for row, golden in enumerate(some):
        assert np.dot(answer.as_numpy("sentence_embedding")[row], np.array(golden["embedding"], np.float32)) > 0.9999


def test_outputs_come_as_they_were_asked_for(client, goldens):
    ids = np.array([goldens["goldens"][0]["input_ids"]], np.int64)
    inputs = [tensor("input_ids", ids, True), tensor("attention_mask", np.ones_like(ids), True)]
    only = client.infer(MINILM, inputs, outputs=wanted(True, "token_embeddings"))
    assert [each["name"] for each in only.get_response()["outputs"]] == ["token_embeddings"]
    assert only.as_numpy("token_embeddings").shape == (1, ids.shape[1], 384)
    # The second asked for first, one binary and one JSON.
    mixed = client.infer(MINILM, inputs, outputs=wanted(False, "token_embeddings") + wanted(True, "sentence_embedding"))
    outputs = mixed.get_response()["outputs"]
    assert [each["name"] for each in outputs] == ["token_embeddings", "sentence_embedding"]
    assert "data" in outputs[0] and "data" not in outputs[1]
    assert np.allclose(mixed.as_numpy("token_embeddings"), only.as_numpy("token_embeddings"), atol=1e-6)
    # Not asked for at all: both, and binary, because this client then says `binary_data_output`.
    every = client.infer(MINILM, inputs).get_response()["outputs"]
    assert [each["name"] for each in every] == ["sentence_embedding", "token_embeddings"]
    assert all("binary_data_size" in each["parameters"] for each in every)


def test_the_request_id_comes_back(client, samples):
    answer = client.infer("digits", [tensor("image", images(samples[:1]), True)], request_id="my-own-id", model_version="1")
    response = answer.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("my-own-id", "digits", "1")


ARRAYS = {
    "BOOL": np.array([True, False, True]),
    "INT8": np.array([-128, 0, 127], np.int8),
    "INT16": np.array([-32768, 0, 32767], np.int16),
    "INT32": np.array([-(2**31), 0, 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "UINT8": np.array([0, 1, 255], np.uint8),
    "UINT16": np.array([0, 1, 65535], np.uint16),
    "UINT32": np.array([0, 1, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 1, 2**64 - 1], np.uint64),
    "FP16": np.array([0.5, -65504, 6e-8], np.float16),
    "FP32": np.array([0.1, -3.4e38, 1e-45], np.float32),
    "FP64": np.array([0.1, -1.7e308, 5e-324], np.float64),
    "BYTES": np.array(["plain", "", "Grüße 🚀"], np.object_),
}


# FP16 as JSON is not in the client: test_half_precision_as_json has it.
WAYS = [(dtype, binary) for dtype in ARRAYS for binary in (False, True) if (dtype, binary) != ("FP16", False)]


@pytest.mark.parametrize(("dtype", "binary"), WAYS)
def test_every_type_passes_through_exactly(client, dtype, binary):
    array = ARRAYS[dtype]
    answer = client.infer(f"identity_{dtype}", [tensor("x", array, binary)], outputs=wanted(binary, "y"))
    assert answer.get_output("y")["datatype"] == dtype
    result = answer.as_numpy("y")
    if dtype == "BYTES":
        result = np.array([each.decode() if isinstance(each, bytes) else each for each in result], np.object_)
    assert np.array_equal(result, array), result


def test_bytes_that_onnx_has_no_string_for_are_refused(client):
    """ONNX strings are text that ends at a NUL; anything else would arrive changed."""
    for element in (b"\xff", b"a\0b"):
        array = np.array([element], np.object_)
        with pytest.raises(InferenceServerException, match="not UTF-8 text without NUL") as caught:
            client.infer("identity_BYTES", [tensor("x", array, True)], outputs=wanted(True, "y"))
        assert caught.value.status() == "400"


@pytest.mark.parametrize("dtype", ["FP16", "BF16"])
def test_half_precision_as_json(gateway, dtype):
    """Types that the client, or numpy, has no JSON for."""
    request = {"inputs": [{"name": "x", "shape": [3], "datatype": dtype, "data": [0.5, -2, 1.0]}]}
    answer = gateway.post(f"/v2/models/identity_{dtype}/infer", json_body=request)
    (output,) = answer.json()["outputs"]
    assert (output["datatype"], output["data"]) == (dtype, [0.5, -2.0, 1.0])


def test_bf16_passes_as_binary(client):
    array = np.array([0.5, -2, 3.0e38], ml_dtypes.bfloat16)
    answer = client.infer("identity_BF16", [tensor("x", array, True)], outputs=wanted(True, "y"))
    assert np.array_equal(answer.as_numpy("y").astype(ml_dtypes.bfloat16), array)


def test_an_empty_tensor_passes(client):
    for binary in (False, True):
        answer = client.infer("identity_FP32", [tensor("x", np.empty(0, np.float32), binary)], outputs=wanted(binary, "y"))
        assert answer.as_numpy("y").shape == (0,)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([("wrong", np.zeros((1, 8, 8), np.float32))], "unknown input `wrong`"),
        ([("image", np.zeros((1, 8, 9), np.float32))], "input `image` is FP32[1,8,9]"),
        ([("image", np.zeros((8, 8), np.float32))], "input `image` is FP32[8,8]"),
        ([("image", np.zeros((1, 8, 8), np.float64))], "input `image` is FP64[1,8,8]"),
        ([("image", np.zeros((1, 8, 8), np.float32))] * 2, "input `image` is given twice"),
    ],
    ids=["name", "shape", "rank", "dtype", "twice"],
)
@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_what_does_not_fit_names_the_signature(client, inputs, expected, binary):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("digits", [tensor(name, array, binary) for name, array in inputs])
    assert caught.value.status() == "400"
    assert expected in caught.value.message() and "image FP32[" in caught.value.message(), caught.value.message()


def test_an_unknown_output_names_those_there_are(client, samples):
    with pytest.raises(InferenceServerException, match="unknown output `probabilities`; the model gives logits FP32") as caught:
        client.infer("digits", [tensor("image", images(samples[:1]), True)], outputs=wanted(True, "probabilities"))
    assert caught.value.status() == "400"


def test_an_unknown_model_or_version_names_the_loaded_ones(client, samples):
    inputs = [tensor("image", images(samples[:1]), True)]
    with pytest.raises(InferenceServerException, match="model `mnist` is not loaded; loaded: .*digits:1") as caught:
        client.infer("mnist", inputs)
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="digits:2.* is not loaded; loaded: digits:1") as caught:
        client.infer("digits", inputs, model_version="2")
    assert caught.value.status() == "404"


def test_what_is_not_offered_says_so_in_the_protocols_shape(client):
    """No configuration, statistics or repository extension is listed in the metadata, and none answers."""
    for ask in (
        lambda: client.get_model_config("digits"),
        lambda: client.get_inference_statistics("digits"),
        client.get_model_repository_index,
        client.get_system_shared_memory_status,
    ):
        with pytest.raises(InferenceServerException, match="there is no `/v2/") as caught:
            ask()
        assert caught.value.status() == "404"


def test_a_timeout_of_the_client_is_kept(client, goldens):
    """`timeout` counts microseconds; one is too short for anything."""
    text = np.array([goldens["goldens"][-1]["sentence"].encode()], np.object_)
    with pytest.raises(InferenceServerException, match="deadline") as caught:
        client.infer(MINILM, [tensor("text", text, True)], timeout=1)
    assert caught.value.status() == "504"
