//! The answers a model gave before, for graphs that give the same answer to the same question. Off unless the model's
//! package asks for it.
//!
//! An answer is found by the SHA-256 of everything that decides it: names, types, shapes and bytes of the inputs, and the
//! wanted outputs. The cache belongs to one loaded model and goes with it, so no other version's answer is ever given.

use headland_nn_core::{NamedTensor, OutputSelection};
use headland_package::Sha256Digest;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::call::{Inputs, TextUsage};

/// What an entry takes besides its outputs, roughly.
const ENTRY_BYTES: usize = 320;

/// An answer as it is remembered.
#[derive(Clone)]
pub(crate) struct Remembered {
    pub outputs: Vec<NamedTensor>,
    pub text: Option<TextUsage>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Sha256Digest, Remembered> for Bytes {
    fn weight(&self, _: &Sha256Digest, answer: &Remembered) -> u64 {
        let outputs: usize = answer.outputs.iter().map(|output| output.tensor.data().len()).sum();
        let truncated = answer.text.as_ref().map_or(0, |text| text.truncated.len() * size_of::<usize>());
        (ENTRY_BYTES + outputs + truncated) as u64
    }
}

pub(crate) struct Responses(Cache<Sha256Digest, Remembered, Bytes>);

impl Responses {
    pub fn new(bytes_max: u64) -> Self {
        let entries = usize::try_from(bytes_max / (4 * ENTRY_BYTES as u64)).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        Responses(Cache::with_weighter(entries, bytes_max, Bytes))
    }

    pub fn get(&self, key: &Sha256Digest) -> Option<Remembered> {
        self.0.get(key)
    }

    /// Remembers copies: outputs may be views of a whole batch's, which a small entry must not keep in memory.
    pub fn put(&self, key: Sha256Digest, outputs: &[NamedTensor], text: Option<&TextUsage>) {
        let copy = |output: &NamedTensor| {
            let tensor = &output.tensor;
            let data = bytes::Bytes::copy_from_slice(tensor.data());
            let tensor = headland_nn_core::Tensor::new(tensor.dtype(), tensor.shape().clone(), data).ok()?;
            Some(NamedTensor { name: output.name.clone(), tensor })
        };
        if let Some(outputs) = outputs.iter().map(copy).collect() {
            self.0.insert(key, Remembered { outputs, text: text.cloned() });
        }
    }
}

/// What decides the answer; `None` for texts that came tokenised, whose raw form is gone.
pub(crate) fn key(inputs: &Inputs, wanted: &OutputSelection) -> Option<Sha256Digest> {
    let Inputs::Tensors(tensors) = inputs else { return None };
    let mut sorted: Vec<&NamedTensor> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Sha256::new();
    // Every part with its length before it: no two requests are the same bytes.
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for input in sorted {
        part(input.name.as_bytes());
        part(input.tensor.dtype().to_string().as_bytes());
        input.tensor.shape().iter().for_each(|extent| part(&extent.to_le_bytes()));
        part(b"");
        part(input.tensor.data());
    }
    match wanted {
        OutputSelection::All => part(b"all"),
        OutputSelection::Only(wanted) => wanted.iter().for_each(|index| part(&index.to_le_bytes())),
    }
    Some(Sha256Digest::from_raw(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use headland_nn_core::Tensor;

    use super::*;

    fn input(name: &str, shape: &[usize], values: Vec<f32>) -> NamedTensor {
        NamedTensor::new(name, Tensor::from_vec(shape, values).unwrap())
    }

    #[test]
    fn whatever_decides_the_answer_is_in_the_key() {
        let key = |inputs: Vec<NamedTensor>, wanted: &OutputSelection| key(&inputs.into(), wanted).unwrap();
        let all = OutputSelection::All;
        let (a, b) = (|| input("a", &[2], vec![1.0, 2.0]), || input("b", &[1], vec![3.0]));
        let first = key(vec![a(), b()], &all);
        assert_eq!(first, key(vec![b(), a()], &all), "the order of inputs is no matter");
        for other in [
            key(vec![a()], &all),
            key(vec![input("a", &[1, 2], vec![1.0, 2.0]), b()], &all),
            key(vec![input("a", &[2], vec![1.0, 2.5]), b()], &all),
            key(vec![input("c", &[2], vec![1.0, 2.0]), b()], &all),
            key(vec![a(), b()], &OutputSelection::Only(vec![0])),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let responses = Responses::new(64 << 10);
        for index in 0..1000u32 {
            let outputs = [input("y", &[256], vec![index as f32; 256])];
            responses.put(Sha256Digest::of(&index.to_le_bytes()), &outputs, None);
        }
        assert!(responses.0.weight() <= 64 << 10 && responses.0.len() > 10);
    }
}
