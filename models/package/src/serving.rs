//! What `headland.model.toml` says of how a model is served: backend, precision, batching, remembered answers.

use std::collections::BTreeMap;
use std::time::Duration;

use headland_nn_core::{BatchAxes, InputAxes, OutputAxes, Padding, Precision, Signature};
use serde::Deserialize;

use crate::ByteSize;

/// The longest that a package may let requests wait for each other, in microseconds.
pub const DELAY_US_MAX: u64 = 1_000_000;

/// The most answers that a package may have under way at a time.
pub const STREAMS_MAX: usize = 1024;

/// Which backend is to run the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The one that is faster on this machine, of those that can.
    #[default]
    Auto,
    /// candle.
    Candle,
    /// ONNX Runtime.
    Onnx,
}

/// In what numbers the model is to compute, as the manifest writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RawPrecision {
    #[default]
    Full,
    Int8,
}

impl From<RawPrecision> for Precision {
    fn from(raw: RawPrecision) -> Self {
        match raw {
            RawPrecision::Full => Precision::Full,
            RawPrecision::Int8 => Precision::Int8,
        }
    }
}

/// `[batching]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchingManifest {
    /// `false` runs every request alone.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The most rows in one run.
    pub max_rows: Option<usize>,
    /// The most tokens (rows times length) in one run.
    pub max_tokens: Option<usize>,
    /// Numbers of rows that run best.
    #[serde(default)]
    pub preferred_rows: Vec<usize>,
    /// The longest a request may wait for others, in microseconds.
    pub max_delay_us: Option<u64>,
    /// Axes of each input, by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, InputEntry>,
    /// Axes of each output, by name.
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputEntry>,
}

fn yes() -> bool {
    true
}

/// The axes of an input.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputEntry {
    /// The axis of the rows, from 0.
    pub axis: usize,
    /// The axis that may differ from request to request.
    pub length_axis: Option<usize>,
    /// What shorter requests are filled up with.
    #[serde(default)]
    pub pad: f64,
    /// Set on the one input that tells elements (1) from padding (0).
    #[serde(default)]
    pub mask: bool,
}

/// The axes of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputEntry {
    /// The axis of the rows, from 0.
    pub axis: usize,
    /// The axis that is as long as the inputs.
    pub length_axis: Option<usize>,
}

/// `[cache]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheManifest {
    /// Memory for answers that are given again to an equal request.
    pub max_bytes: ByteSize,
}

/// `[generation]`: how a language model answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationManifest {
    /// Tokens of a prompt and its answer together; what the model was made for when absent.
    pub max_context: Option<usize>,
    /// Memory for keys and values.
    pub kv_cache: Option<ByteSize>,
    /// Answers that are under way at a time.
    pub max_streams: Option<usize>,
}

impl GenerationManifest {
    /// Refuses numbers that cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        if [self.max_context, self.max_streams].contains(&Some(0)) || self.kv_cache == Some(ByteSize(0)) {
            return Err("[generation] numbers are at least 1".to_owned());
        }
        if self.max_streams.is_some_and(|streams| streams > STREAMS_MAX) {
            return Err(format!("[generation] `max_streams` is at most {STREAMS_MAX}"));
        }
        Ok(())
    }
}

impl BatchingManifest {
    /// Refuses numbers that cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        if [self.max_rows, self.max_tokens].contains(&Some(0)) || self.preferred_rows.contains(&0) {
            return Err("[batching] numbers of rows and tokens are at least 1".to_owned());
        }
        if !self.preferred_rows.is_sorted() {
            return Err("[batching] `preferred_rows` are to be ascending".to_owned());
        }
        if self.max_delay_us.is_some_and(|delay| delay > DELAY_US_MAX) {
            return Err(format!("[batching] `max_delay_us` is at most {DELAY_US_MAX}"));
        }
        Ok(())
    }

    /// The longest a request may wait for others.
    pub fn delay_max(&self) -> Option<Duration> {
        self.max_delay_us.map(Duration::from_micros)
    }

    /// The axes for a graph of this `signature`; `None` when the manifest names none.
    ///
    /// # Errors
    /// The name that only one of the two has.
    pub fn axes(&self, signature: &Signature) -> Result<Option<BatchAxes>, String> {
        if self.inputs.is_empty() && self.outputs.is_empty() {
            return Ok(None);
        }
        let known = |names: &[&str], entry: &String, kind: &str| {
            let known = names.contains(&&**entry);
            let there = names.join(", ");
            known.then_some(()).ok_or_else(|| format!("[batching] the graph has no {kind} `{entry}`; it has {there}"))
        };
        let inputs: Vec<&str> = signature.inputs.iter().map(|spec| &*spec.name).collect();
        let outputs: Vec<&str> = signature.outputs.iter().map(|spec| &*spec.name).collect();
        self.inputs.keys().try_for_each(|name| known(&inputs, name, "input"))?;
        self.outputs.keys().try_for_each(|name| known(&outputs, name, "output"))?;
        let missing = |kind: &str, name: &str| {
            format!("[batching] {kind} `{name}` needs its axis: {kind}s.{name} = {{ axis = 0 }}")
        };
        let input = |name: &&str| {
            let entry = self.inputs.get(*name).ok_or_else(|| missing("input", name))?;
            Ok(InputAxes { batch: entry.axis, length: entry.length_axis, pad: entry.pad })
        };
        let output = |name: &&str| {
            let entry = self.outputs.get(*name).ok_or_else(|| missing("output", name))?;
            Ok(OutputAxes { batch: entry.axis, length: entry.length_axis })
        };
        Ok(Some(BatchAxes {
            inputs: inputs.iter().map(input).collect::<Result<_, String>>()?,
            outputs: outputs.iter().map(output).collect::<Result<_, String>>()?,
            padding: Padding::Computed,
            mask: inputs.iter().position(|name| self.inputs.get(*name).is_some_and(|entry| entry.mask)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use headland_nn_core::{DType, Dim, TensorSpec};

    use super::*;

    fn signature() -> Signature {
        let spec = |name| TensorSpec::new(name, DType::F32, vec![Dim::Dynamic(None); 2]);
        Signature { inputs: vec![spec("image")], outputs: vec![spec("logits")] }
    }

    fn manifest(toml: &str) -> BatchingManifest {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn axes_are_taken_by_name() {
        let manifest = manifest(
            "inputs.image = { axis = 0, length_axis = 1, pad = -1, mask = true }\noutputs.logits = { axis = 1 }",
        );
        let axes = manifest.axes(&signature()).unwrap().unwrap();
        assert_eq!(axes.inputs, [InputAxes { batch: 0, length: Some(1), pad: -1.0 }]);
        assert_eq!((&axes.outputs[..], axes.mask), (&[OutputAxes { batch: 1, length: None }][..], Some(0)));
        assert_eq!(self::manifest("max_rows = 4").axes(&signature()), Ok(None));
    }

    #[test]
    fn names_that_do_not_meet_say_what_to_write() {
        let error = |toml: &str| manifest(toml).axes(&signature()).unwrap_err();
        assert_eq!(
            error("inputs.image = { axis = 0 }"),
            "[batching] output `logits` needs its axis: outputs.logits = { axis = 0 }"
        );
        assert_eq!(
            error("inputs.picture = { axis = 0 }\noutputs.logits = { axis = 0 }"),
            "[batching] the graph has no input `picture`; it has image"
        );
    }

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        for toml in [
            "max_rows = 0",
            "max_tokens = 0",
            "preferred_rows = [8, 4]",
            "preferred_rows = [0]",
            "max_delay_us = 1000001",
        ] {
            assert!(manifest(toml).check().is_err(), "{toml}");
        }
        assert!(manifest("max_rows = 8\npreferred_rows = [4, 8]\nmax_delay_us = 500").check().is_ok());
    }
}
