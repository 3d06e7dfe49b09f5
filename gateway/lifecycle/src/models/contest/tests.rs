//! Contests between backends that take as long as a test says.

use headland_nn_core::{BatchAxes, Batching, DType, Device, Dim, Signature, Tensor, TensorSpec};

use super::*;

/// A backend whose runs take `rounds` times as long as they must, and whose answers are off by `error` in 8 bits.
struct Paced {
    name: &'static str,
    rounds: u32,
    error: f32,
    broken: bool,
}

struct PacedExecutor {
    signature: Signature,
    rounds: u32,
    error: f32,
}

impl Backend for Paced {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, _: &ModelFiles, options: &LoadOptions) -> Result<Vec<Box<dyn Executor>>, NnError> {
        if self.broken {
            return Err(NnError::bad_model("of no use"));
        }
        let spec = |name, dtype| TensorSpec::new(name, dtype, vec![Dim::Dynamic(None); 2]);
        let signature = Signature { inputs: vec![spec("input_ids", DType::I64)], outputs: vec![spec("y", DType::F32)] };
        let error = if options.precision == Precision::Int8 { self.error } else { 0.0 };
        Ok(vec![Box::new(PacedExecutor { signature, rounds: self.rounds, error })])
    }
}

impl Executor for PacedExecutor {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn memory_bytes(&self) -> u64 {
        0
    }
    fn batching(&self) -> Batching {
        Batching::Axes(BatchAxes {
            inputs: vec![],
            outputs: vec![],
            padding: headland_nn_core::Padding::Computed,
            mask: None,
        })
    }
    fn run(&mut self, inputs: &[NamedTensor], _: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        // Work that grows with the rounds and that nothing can leave out.
        let mut hash = Sha256Digest::of(inputs[0].tensor.data());
        for _ in 0..self.rounds {
            hash = Sha256Digest::of(hash.to_string().as_bytes());
        }
        let rows = inputs[0].tensor.shape()[0];
        let values = (0..rows).flat_map(|_| [1.0, self.error]).collect();
        Ok(vec![NamedTensor::new("y", Tensor::from_vec([rows, 2], values)?)])
    }
}

fn paced(name: &'static str, rounds: u32) -> Arc<dyn Backend> {
    Arc::new(Paced { name, rounds, error: 0.1, broken: false })
}

fn text() -> TextEncoder {
    let tokenizer = r#"{"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0}}}"#;
    TextEncoder::open(&files(tokenizer)).unwrap().unwrap()
}

fn files(tokenizer: &str) -> ModelFiles {
    ModelFiles::new("m", [("tokenizer.json".to_owned(), tokenizer.to_owned().into())])
}

#[test]
fn the_quicker_backend_wins_whichever_comes_first() {
    for order in [[("slow", 20_000), ("quick", 10)], [("quick", 10), ("slow", 20_000)]] {
        let backends = order.map(|(name, rounds)| paced(name, rounds)).into();
        let won = quickest(backends, &files(""), &LoadOptions::default(), &text()).unwrap();
        assert_eq!(won.backend.name(), "quick");
    }
}

#[test]
fn a_backend_that_cannot_load_it_is_left_out_and_its_word_counts_when_none_can() {
    let broken = || -> Arc<dyn Backend> { Arc::new(Paced { name: "broken", rounds: 1, error: 0.0, broken: true }) };
    let won = quickest(vec![broken(), paced("slow", 100)], &files(""), &LoadOptions::default(), &text()).unwrap();
    assert_eq!(won.backend.name(), "slow");
    let error = quickest(vec![broken()], &files(""), &LoadOptions::default(), &text()).err().unwrap();
    assert_eq!(error.to_string(), "of no use");
}

#[test]
fn the_loss_is_the_cosine_to_full_weights() {
    let backend = Paced { name: "x", rounds: 1, error: 0.1, broken: false };
    let options = LoadOptions { precision: Precision::Int8, ..LoadOptions::default() };
    let mut executors = backend.load(&files(""), &options).unwrap();
    let loss = loss(&backend, executors[0].as_mut(), &files(""), &options, &text()).unwrap();
    let expected = 1.0 / (1.0f32 + 0.01).sqrt();
    assert!((loss.least - expected).abs() < 1e-5 && (loss.mean - expected).abs() < 1e-5, "{loss:?}");
}

#[test]
fn results_outlive_the_process_and_a_broken_file_holds_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backends.json");
    let winner = |key: &str| Results::open(Some(path.clone())).winner(key);
    Results::open(Some(path.clone())).keep("k".into(), "b");
    Results::open(Some(path.clone())).keep("l".into(), "c");
    assert_eq!((winner("k").as_deref(), winner("l").as_deref(), winner("other")), (Some("b"), Some("c"), None));
    std::fs::write(&path, b"{").unwrap();
    assert_eq!(winner("k"), None);
}
