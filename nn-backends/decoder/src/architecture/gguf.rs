//! An [`Architecture`] out of a GGUF file's metadata, read as llama.cpp reads it.

use headland_gguf::{Gguf, Value};
use headland_kernels::Gate;

use super::{Architecture, Family, KNOWN_IN_GGUF, LAYERS_MAX, Layer, Pairing, Rope, Scaling};

/// The architecture of the model in `file`, for contexts of `context` tokens at most where that is given.
///
/// # Errors
/// What is missing, or not known here.
pub(crate) fn from_gguf(file: &Gguf, context: Option<usize>) -> Result<Architecture, String> {
    let name = file.get("general.architecture").and_then(Value::text).ok_or("`general.architecture` is missing")?;
    let family = match name {
        "llama" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "qwen3" => Family::Qwen3,
        "gemma2" => Family::Gemma2,
        "gemma3" => Family::Gemma3,
        "phi3" => Family::Phi3,
        other => {
            return Err(format!("models of architecture `{other}` are not run here; those that are: {KNOWN_IN_GGUF}"));
        }
    };
    Metadata { file, name, family }.read(context)?.check()
}

struct Metadata<'a> {
    file: &'a Gguf,
    /// What its keys begin with.
    name: &'a str,
    family: Family,
}

impl Metadata<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.file.get(&format!("{}.{key}", self.name))
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.number()
    }

    fn size(&self, key: &str) -> Option<usize> {
        let value = self.get(key)?;
        // Some sizes may differ from layer to layer; those that do not are read.
        let value = match value.array() {
            Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => first,
            Some(_) => return None,
            None => value,
        };
        usize::try_from(value.integer()?).ok()
    }

    fn need(&self, key: &str) -> Result<usize, String> {
        self.size(key).ok_or_else(|| format!("`{}.{key}` is missing or no size", self.name))
    }

    fn read(&self, context: Option<usize>) -> Result<Architecture, String> {
        let (hidden, query_heads) = (self.need("embedding_length")?, self.need("attention.head_count")?);
        let head_size = self.size("attention.key_length").or_else(|| hidden.checked_div(query_heads)).unwrap_or(0);
        if self.size("attention.value_length").is_some_and(|size| size != head_size) {
            return Err("its heads' keys and values are of different sizes".to_owned());
        }
        let context_max = self.need("context_length")?;
        let context_max = context.map_or(context_max, |context| context.min(context_max));
        let embedding = self.file.tensor("token_embd.weight").ok_or("tensor `token_embd.weight` is missing")?;
        let vocabulary = embedding.shape.first().copied().unwrap_or(0);
        let layers = self.need("block_count")?;
        if layers > LAYERS_MAX {
            return Err(format!("it has {layers} layers; {LAYERS_MAX} at most"));
        }
        let (gemma, gemma2) = (matches!(self.family, Family::Gemma2 | Family::Gemma3), self.family == Family::Gemma2);
        // The largest of both families divide by the share of a head, as their configurations do.
        let by_share = matches!((self.family, layers), (Family::Gemma2, 46) | (Family::Gemma3, 62));
        let scalar = if by_share { hidden as f64 / query_heads as f64 } else { head_size as f64 };
        let cap = |key: &str, default: f32| self.number(key).map_or(default, |cap| cap as f32);
        Ok(Architecture {
            family: self.family,
            vocabulary,
            hidden,
            feed_forward: self.need("feed_forward_length")?,
            query_heads,
            key_heads: self.size("attention.head_count_kv").unwrap_or(query_heads),
            head_size,
            layers: self.layers(layers),
            context_max,
            norm_epsilon: self.number("attention.layer_norm_rms_epsilon").unwrap_or(1e-6) as f32,
            // It is in the file's weights already.
            norm_offset: 0.0,
            embedding_scale: if gemma { (hidden as f32).sqrt() } else { 1.0 },
            score_scale: scalar.powf(-0.5) as f32,
            score_cap: gemma2.then(|| cap("attn_logit_softcapping", 50.0)),
            logit_cap: gemma2.then(|| cap("final_logit_softcapping", 30.0)),
            gate: if gemma { Gate::GeluTanh } else { Gate::Silu },
            norms_after: gemma,
            head_norms: matches!(self.family, Family::Qwen3 | Family::Gemma3),
            ropes: self.ropes(head_size, context_max)?,
        })
    }

    fn layers(&self, count: usize) -> Vec<Layer> {
        let window = self.size("attention.sliding_window").filter(|window| *window > 0);
        let slides = |layer: usize| match self.family {
            Family::Gemma2 => layer.is_multiple_of(2),
            Family::Gemma3 => !(layer + 1).is_multiple_of(6),
            _ => false,
        };
        (0..count).map(|layer| Layer { window: window.filter(|_| slides(layer)) }).collect()
    }

    fn ropes(&self, head_size: usize, context_max: usize) -> Result<[Rope; 2], String> {
        let rotated = self.size("rope.dimension_count").unwrap_or(head_size);
        let default = if self.family == Family::Gemma3 { 1_000_000.0 } else { 10_000.0 };
        let base = self.number("rope.freq_base").unwrap_or(default);
        let pairing = if self.family == Family::Llama { Pairing::Neighbours } else { Pairing::Halves };
        let full = Rope::new(rotated, base, &self.scaling(context_max)?, pairing)?;
        let window = match self.family {
            Family::Gemma3 => {
                let base = self.number("rope.freq_base_swa").unwrap_or(10_000.0);
                Rope::new(rotated, base, &Scaling::None, pairing)?
            }
            _ => full.clone(),
        };
        Ok([full, window])
    }

    fn scaling(&self, context_max: usize) -> Result<Scaling, String> {
        let original = self.size("rope.scaling.original_context_length");
        let divisors = |name: &str| {
            let tensor = self.file.tensor(name)?;
            let mut divisors = vec![0.0; tensor.shape.iter().product()];
            tensor.storage.read(&tensor.bytes, &mut divisors);
            Some(divisors)
        };
        if let Some(divisors) = divisors("rope_freqs.weight") {
            return Ok(Scaling::Divisors { divisors, factor: 1.0 });
        }
        let long = original.is_some_and(|original| context_max > original);
        let name = if long { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        if let Some(divisors) = divisors(name) {
            let factor = self.number("rope.scaling.attn_factor").unwrap_or(1.0) as f32;
            return Ok(Scaling::Divisors { divisors, factor });
        }
        match self.get("rope.scaling.type").and_then(Value::text) {
            None | Some("none" | "longrope") => Ok(Scaling::None),
            Some("linear") => match self.number("rope.scaling.factor") {
                Some(factor) if factor > 0.0 => Ok(Scaling::Linear(factor)),
                _ => Err("the factor of its positions is missing".to_owned()),
            },
            Some(other) => Err(format!("positions of type `{other}` are not computed here; linear and longrope are")),
        }
    }
}
