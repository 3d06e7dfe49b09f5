//! The smallest sentence-embedding model there is, and loading one like it.

use bytes::Bytes;
use headland_candle::CandleBackend;
use headland_nn_core::{Backend as _, Device, LoadOptions, ModelFiles, NamedTensor, NnError, OutputSelection, Tensor};
use serde_json::{Value, json};

/// The `config.json` of a BERT with one layer.
pub const CONFIG: &str = r#"{"model_type": "bert", "vocab_size": 4, "hidden_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 2, "intermediate_size": 4, "max_position_embeddings": 4, "type_vocab_size": 2}"#;

/// The most zeros that are put behind a safetensors header: no model of an input's size has more.
const DATA_BYTES_MAX: u64 = 1 << 20;

/// The header of a `model.safetensors` that fits [`CONFIG`].
pub fn header() -> String {
    let table = |name: &str, rows: usize| (format!("embeddings.{name}_embeddings.weight"), vec![rows, 4]);
    let mut tensors = vec![table("word", 4), table("position", 4), table("token_type", 2)];
    for norm in ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"] {
        tensors.extend(["weight", "bias"].map(|part| (format!("{norm}.LayerNorm.{part}"), vec![4])));
    }
    let own = ["attention.self.query", "attention.self.key", "attention.self.value"];
    for linear in own.into_iter().chain(["attention.output.dense", "intermediate.dense", "output.dense"]) {
        tensors.push((format!("encoder.layer.0.{linear}.weight"), vec![4, 4]));
        tensors.push((format!("encoder.layer.0.{linear}.bias"), vec![4]));
    }
    let mut end = 0;
    let entries = tensors.into_iter().map(|(name, shape)| {
        let begin = end;
        end += 4 * shape.iter().product::<usize>();
        (name, json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] }))
    });
    Value::Object(entries.collect()).to_string()
}

/// A `model.safetensors` with this header and as many zeros as its tensors call for.
pub fn weights(header: &[u8]) -> Bytes {
    let parsed: Option<Value> = serde_json::from_slice(header).ok();
    let tensors = parsed.as_ref().and_then(Value::as_object).into_iter().flat_map(|tensors| tensors.values());
    let ends = tensors.filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    let zeros = ends.max().filter(|&end| end <= DATA_BYTES_MAX).unwrap_or(0);
    [&(header.len() as u64).to_le_bytes(), header, &vec![0; zeros as usize]].concat().into()
}

/// Loads a model; one that loads must then run.
pub fn load_and_run(model: &ModelFiles) -> Result<(), NnError> {
    let mut executors = CandleBackend::new().load(model, &LoadOptions::one_on(Device::Cpu))?;
    let executor = &mut executors[0];
    let ids = NamedTensor::new("input_ids", Tensor::from_vec([1, 1], vec![0_i64]).expect("one id"));
    let outputs = executor.run(&[ids], &OutputSelection::All).expect("a model that loads runs");
    assert_eq!(outputs.len(), 2);
    Ok(())
}
