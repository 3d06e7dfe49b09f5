//! What a model's configuration says: the sizes of a decoder, and in what the families differ.
//!
//! One decoder computes all families; each difference is a setting here, read by `hugging_face` from a `config.json` and by
//! `gguf` from a file's metadata. Sizes come from a stranger: each has a bound, so that no product of them overflows.

mod gguf;
mod hugging_face;
mod rope;

pub(crate) use gguf::from_gguf;
pub(crate) use hugging_face::from_config;
pub(crate) use rope::{Pairing, Rope, Scaling};

use headland_kernels::Gate;

/// Models that share an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, and what is built like them.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3.
    Gemma3,
    /// Phi-3.
    Phi3,
}

/// Names of the families, as `config.json` has them in `model_type`.
pub(crate) const KNOWN: &str = "llama, mistral, qwen2, qwen3, gemma2, gemma3, gemma3_text, phi3";
/// The same, as GGUF files have them in `general.architecture`.
pub(crate) const KNOWN_IN_GGUF: &str = "llama (Mistral too), qwen2, qwen3, gemma2, gemma3, phi3";

/// A decoder's sizes and settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The family.
    pub family: Family,
    /// Tokens that logits are given for.
    pub vocabulary: usize,
    /// Width of a token's state.
    pub hidden: usize,
    /// Width between the halves of a feed-forward block.
    pub feed_forward: usize,
    /// Heads of queries.
    pub query_heads: usize,
    /// Heads of keys and values.
    pub key_heads: usize,
    /// Width of a head.
    pub head_size: usize,
    /// What each layer sees.
    pub layers: Vec<Layer>,
    /// Positions that it was made for.
    pub context_max: usize,
    pub(crate) norm_epsilon: f32,
    /// Added to every norm's weights: Gemma stores them less one.
    pub(crate) norm_offset: f32,
    pub(crate) embedding_scale: f32,
    /// What attention's scores are multiplied by.
    pub(crate) score_scale: f32,
    pub(crate) score_cap: Option<f32>,
    pub(crate) logit_cap: Option<f32>,
    pub(crate) gate: Gate,
    /// Whether what a block adds is normalised as well.
    pub(crate) norms_after: bool,
    /// Whether queries and keys are normalised head by head.
    pub(crate) head_norms: bool,
    /// How positions turn queries and keys: in layers that see all, and in those with a window.
    pub(crate) ropes: [Rope; 2],
}

/// What a layer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// How many tokens each one sees, itself included; all when absent.
    pub window: Option<usize>,
}

/// Bounds of sizes, far above those of any model: what exceeds them was not meant.
const VOCABULARY_MAX: usize = 1 << 22;
const WIDTH_MAX: usize = 1 << 18;
const HEADS_MAX: usize = 1 << 10;
const HEAD_SIZE_MAX: usize = 1 << 10;
const LAYERS_MAX: usize = 1 << 10;
const CONTEXT_MAX: usize = 1 << 24;

impl Architecture {
    /// Holds the sizes against their bounds.
    ///
    /// # Errors
    /// The first that is out of them.
    fn check(self) -> Result<Self, String> {
        let within = |name: &str, value: usize, max: usize| match value {
            1.. if value <= max => Ok(()),
            _ => Err(format!("{name} is {value}; it is between 1 and {max}")),
        };
        within("the vocabulary", self.vocabulary, VOCABULARY_MAX)?;
        within("the hidden size", self.hidden, WIDTH_MAX)?;
        within("the feed-forward size", self.feed_forward, WIDTH_MAX)?;
        within("the number of attention heads", self.query_heads, HEADS_MAX)?;
        within("the number of key-value heads", self.key_heads, HEADS_MAX)?;
        within("the head size", self.head_size, HEAD_SIZE_MAX)?;
        within("the number of layers", self.layers.len(), LAYERS_MAX)?;
        within("the context length", self.context_max, CONTEXT_MAX)?;
        if !self.query_heads.is_multiple_of(self.key_heads) {
            return Err(format!("{} attention heads cannot share {} of keys", self.query_heads, self.key_heads));
        }
        if let Some(0) = self.layers.iter().filter_map(|layer| layer.window).min() {
            return Err("a window of no tokens".to_owned());
        }
        let rotated = self.ropes.iter().map(|rope| 2 * rope.frequencies.len()).max().unwrap_or(0);
        if rotated > self.head_size {
            return Err(format!("{rotated} elements of a head of {} are to be rotated", self.head_size));
        }
        let positive = |name: &str, value: f32| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(format!("{name} is {value}")),
        };
        positive("the norms' epsilon", self.norm_epsilon)?;
        positive("the scale of scores", self.score_scale)?;
        self.score_cap.map_or(Ok(()), |cap| positive("the cap of scores", cap))?;
        self.logit_cap.map_or(Ok(()), |cap| positive("the cap of logits", cap))?;
        Ok(self)
    }

    /// The rope of a layer.
    pub(crate) fn rope(&self, layer: Layer) -> &Rope {
        &self.ropes[usize::from(layer.window.is_some())]
    }

    /// Width of a token's queries, keys and values together.
    pub(crate) fn query_key_value(&self) -> usize {
        (self.query_heads + 2 * self.key_heads) * self.head_size
    }
}
