//! An [`Architecture`] out of `config.json`, as transformers writes it: up to version 4 with `rope_theta` and
//! `rope_scaling`, since version 5 with `rope_parameters`.

use std::collections::BTreeMap;

use headland_kernels::Gate;
use serde::Deserialize;
use serde_json::Value;

use super::{Architecture, Family, KNOWN, LAYERS_MAX, Layer, Pairing, Rope, Scaling};

#[derive(Deserialize)]
struct Config {
    model_type: String,
    /// Gemma 3 with its images has the language model's configuration inside.
    text_config: Option<Value>,
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    partial_rotary_factor: Option<f64>,
    query_pre_attn_scalar: Option<f64>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f32>,
}

/// How positions are stretched; what is left out differs by type.
#[derive(Clone, Debug, Default, Deserialize)]
struct RopeConfig {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    short_factor: Option<Vec<f32>>,
    long_factor: Option<Vec<f32>>,
    attention_factor: Option<f32>,
}

/// The architecture that a `config.json` describes, for contexts of `context` tokens at most where that is given: models
/// whose positions are stretched for long contexts are as they were made where they need not be.
///
/// # Errors
/// What is missing, or not known here.
pub(crate) fn from_config(json: &[u8], context: Option<usize>) -> Result<Architecture, String> {
    let config: Config = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let family = match config.model_type.as_str() {
        "llama" => Family::Llama,
        "mistral" => Family::Mistral,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "gemma2" => Family::Gemma2,
        "gemma3_text" => Family::Gemma3,
        "gemma3" => {
            let inner = config.text_config.ok_or("`text_config` is missing")?;
            let inner = serde_json::to_vec(&inner).map_err(|error| error.to_string())?;
            return from_config(&inner, context);
        }
        "phi3" => Family::Phi3,
        other => return Err(format!("models of type `{other}` are not run here; those that are: {KNOWN}")),
    };
    config.read(family, context)?.check()
}

impl Config {
    fn read(&self, family: Family, context: Option<usize>) -> Result<Architecture, String> {
        let missing = |name: &str| format!("`{name}` is missing");
        let hidden = self.hidden_size.ok_or_else(|| missing("hidden_size"))?;
        let query_heads = self.num_attention_heads.filter(|heads| *heads > 0);
        let query_heads = query_heads.ok_or_else(|| missing("num_attention_heads"))?;
        let head_size = self.head_dim.or(family.default_head_size()).unwrap_or(hidden / query_heads);
        let context_max = self.max_position_embeddings.ok_or_else(|| missing("max_position_embeddings"))?;
        let context_max = context.map_or(context_max, |context| context.min(context_max));
        let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        let [full, window] = self.ropes(family, head_size, context_max)?;
        let scalar = self.query_pre_attn_scalar.filter(|_| gemma).unwrap_or(head_size as f64);
        Ok(Architecture {
            family,
            vocabulary: self.vocab_size.ok_or_else(|| missing("vocab_size"))?,
            hidden,
            feed_forward: self.intermediate_size.ok_or_else(|| missing("intermediate_size"))?,
            query_heads,
            key_heads: self.num_key_value_heads.unwrap_or(query_heads),
            head_size,
            layers: self.layers(family)?,
            context_max,
            norm_epsilon: self.rms_norm_eps.unwrap_or(1e-6),
            norm_offset: if gemma { 1.0 } else { 0.0 },
            embedding_scale: if gemma { (hidden as f32).sqrt() } else { 1.0 },
            score_scale: scalar.powf(-0.5) as f32,
            score_cap: self.attn_logit_softcapping.filter(|_| gemma),
            logit_cap: self.final_logit_softcapping.filter(|_| gemma),
            gate: self.gate()?,
            norms_after: gemma,
            head_norms: matches!(family, Family::Qwen3 | Family::Gemma3),
            ropes: [full, window],
        })
    }

    fn gate(&self) -> Result<Gate, String> {
        let name = self.hidden_activation.as_ref().or(self.hidden_act.as_ref());
        match name.map(String::as_str) {
            None | Some("silu" | "swish") => Ok(Gate::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Gate::GeluTanh),
            Some(other) => {
                Err(format!("the activation `{other}` is not computed here; `silu` and `gelu_pytorch_tanh` are"))
            }
        }
    }

    fn layers(&self, family: Family) -> Result<Vec<Layer>, String> {
        let count = self.num_hidden_layers.ok_or("`num_hidden_layers` is missing")?;
        if count > LAYERS_MAX {
            return Err(format!("`num_hidden_layers` is {count}; {LAYERS_MAX} at most"));
        }
        let off = self.use_sliding_window == Some(false);
        let window = self.sliding_window.filter(|_| !off || self.layer_types.is_some());
        if let Some(types) = &self.layer_types {
            if types.len() != count {
                return Err(format!("`layer_types` has {} layers, `num_hidden_layers` {count}", types.len()));
            }
            let layer = |kind: &String| match kind.as_str() {
                "full_attention" => Ok(Layer { window: None }),
                "sliding_attention" if window.is_some() => Ok(Layer { window }),
                "sliding_attention" => Err("a layer slides, and `sliding_window` is missing".to_owned()),
                other => Err(format!("layers of type `{other}` are not computed here")),
            };
            return types.iter().map(layer).collect();
        }
        let slides = |layer: usize| match family {
            Family::Gemma2 => layer.is_multiple_of(2),
            Family::Gemma3 => !(layer + 1).is_multiple_of(self.sliding_window_pattern.unwrap_or(6).max(1)),
            Family::Qwen2 | Family::Qwen3 => {
                self.use_sliding_window == Some(true) && layer >= self.max_window_layers.unwrap_or(0)
            }
            Family::Llama => false,
            Family::Mistral | Family::Phi3 => true,
        };
        Ok((0..count).map(|layer| Layer { window: window.filter(|_| slides(layer)) }).collect())
    }

    /// For layers that see all, and for those with a window.
    fn ropes(&self, family: Family, head_size: usize, context_max: usize) -> Result<[Rope; 2], String> {
        let parse = |value: &Value| {
            serde_json::from_value::<RopeConfig>(value.clone()).map_err(|error| format!("its positions: {error}"))
        };
        let by_layer =
            |value: &Value| serde_json::from_value::<BTreeMap<String, Option<RopeConfig>>>(value.clone()).ok();
        if let Some(parameters) = &self.rope_parameters {
            if let Some(mut kinds) = by_layer(parameters).filter(|kinds| kinds.contains_key("full_attention")) {
                let full = kinds.remove("full_attention").flatten().unwrap_or_default();
                let window = kinds.remove("sliding_attention").flatten().unwrap_or_else(|| full.clone());
                return Ok([self.rope(&full, head_size, context_max)?, self.rope(&window, head_size, context_max)?]);
            }
            let rope = self.rope(&parse(parameters)?, head_size, context_max)?;
            return Ok([rope.clone(), rope]);
        }
        let scaled = self.rope_scaling.as_ref().filter(|value| !value.is_null()).map(parse).transpose()?;
        let full = RopeConfig { rope_theta: self.rope_theta, ..scaled.unwrap_or_default() };
        let local = match family {
            Family::Gemma3 => {
                RopeConfig { rope_theta: Some(self.rope_local_base_freq.unwrap_or(10_000.0)), ..RopeConfig::default() }
            }
            _ => full.clone(),
        };
        let full = match (family, full.rope_theta) {
            (Family::Gemma3, None) => RopeConfig { rope_theta: Some(1_000_000.0), ..full },
            _ => full,
        };
        Ok([self.rope(&full, head_size, context_max)?, self.rope(&local, head_size, context_max)?])
    }

    fn rope(&self, rope: &RopeConfig, head_size: usize, context_max: usize) -> Result<Rope, String> {
        let part = rope.partial_rotary_factor.or(self.partial_rotary_factor).unwrap_or(1.0);
        if !(0.0..=1.0).contains(&part) {
            return Err(format!("`partial_rotary_factor` is {part}"));
        }
        let rotated = (head_size as f64 * part) as usize;
        let base = rope.rope_theta.unwrap_or(10_000.0);
        let needed = |name: &str, value: Option<f64>| {
            let value = value.filter(|value| value.is_finite() && *value > 0.0);
            value.ok_or_else(|| format!("its positions' `{name}` is missing or no number to divide by"))
        };
        let scaling = match rope.rope_type.as_deref() {
            None | Some("default") => Scaling::None,
            Some("linear") => Scaling::Linear(needed("factor", rope.factor)?),
            Some("llama3") => Scaling::Llama3 {
                factor: needed("factor", rope.factor)?,
                low: needed("low_freq_factor", rope.low_freq_factor)?,
                high: needed("high_freq_factor", rope.high_freq_factor)?,
                original_context: needed(
                    "original_max_position_embeddings",
                    rope.original_max_position_embeddings.map(|context| context as f64),
                )?,
            },
            Some("longrope" | "su") => self.long(rope, context_max)?,
            Some(other) => {
                return Err(format!(
                    "positions of type `{other}` are not computed here; those that are: default, linear, llama3, longrope"
                ));
            }
        };
        Rope::new(rotated, base, &scaling, Pairing::Halves)
    }

    /// LongRoPE (Ding et al., 2024): one set of divisors up to the context the model was first made for, another beyond.
    fn long(&self, rope: &RopeConfig, context_max: usize) -> Result<Scaling, String> {
        let original = self.original_max_position_embeddings.or(rope.original_max_position_embeddings);
        let original = original.filter(|original| *original > 1);
        let original = original.ok_or("`original_max_position_embeddings` is missing")?;
        let divisors = if context_max > original { &rope.long_factor } else { &rope.short_factor };
        let divisors = divisors.clone().ok_or("its positions' `short_factor` or `long_factor` is missing")?;
        let stretched = self.max_position_embeddings.unwrap_or(original) as f64 / original as f64;
        let factor = rope.attention_factor.unwrap_or_else(|| match stretched {
            ..=1.0 => 1.0,
            _ => (1.0 + stretched.ln() / (original as f64).ln()).sqrt() as f32,
        });
        Ok(Scaling::Divisors { divisors, factor })
    }
}

impl Family {
    /// The width of heads in models whose configuration leaves it out, where that is not what the hidden size comes to.
    fn default_head_size(self) -> Option<usize> {
        match self {
            Family::Gemma2 | Family::Gemma3 => Some(256),
            Family::Qwen3 => Some(128),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#""vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 128"#;

    fn read(more: &str) -> Result<Architecture, String> {
        from_config(format!("{{{SMALL}, {more}}}").as_bytes(), None)
    }

    #[test]
    fn a_family_that_is_not_known_is_told_which_are() {
        let error = read(r#""model_type": "mamba""#).unwrap_err();
        assert!(error.contains("`mamba`") && error.contains("qwen3") && error.contains("phi3"), "{error}");
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for (more, expected) in [
            (r#""model_type": "llama", "num_key_value_heads": 3"#, "4 attention heads cannot share 3"),
            (r#""model_type": "llama", "num_key_value_heads": 0"#, "key-value heads is 0"),
            (r#""model_type": "llama", "head_dim": 1000000"#, "head size is 1000000"),
            (r#""model_type": "llama", "rope_scaling": {"type": "yarn"}"#, "`yarn` are not computed"),
            (r#""model_type": "llama", "rope_scaling": {"type": "linear"}"#, "`factor` is missing"),
            (r#""model_type": "llama", "hidden_act": "relu""#, "`relu`"),
            (r#""model_type": "mistral", "sliding_window": 0"#, "a window of no tokens"),
            (r#""model_type": "gemma2", "layer_types": ["full_attention"]"#, "has 1 layers"),
            (r#""model_type": "phi3", "rope_scaling": {"type": "longrope"}"#, "original_max_position_embeddings"),
        ] {
            let error = read(more).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
        }
    }

    #[test]
    fn windows_are_where_the_family_has_them() {
        let windows = |more: &str| read(more).unwrap().layers.iter().map(|layer| layer.window).collect::<Vec<_>>();
        assert_eq!(windows(r#""model_type": "mistral", "sliding_window": 8"#), [Some(8); 2]);
        assert_eq!(windows(r#""model_type": "mistral", "sliding_window": null"#), [None; 2]);
        assert_eq!(windows(r#""model_type": "gemma2", "sliding_window": 8, "head_dim": 8"#), [Some(8), None]);
        assert_eq!(windows(r#""model_type": "qwen2", "sliding_window": 8, "use_sliding_window": false"#), [None; 2]);
    }
}
