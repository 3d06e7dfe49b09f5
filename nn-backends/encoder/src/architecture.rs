//! What `config.json` says a model is: a family of encoders with one set of tensor names, and its sizes.

use headland_nn_core::{ModelFiles, NnError};
use serde::Deserialize;

use crate::files::read_json;

const CONFIG: &str = "config.json";

/// The model types this backend runs.
const KNOWN_TYPES: [&str; 5] = ["bert", "roberta", "xlm-roberta", "camembert", "distilbert"];

/// An encoder-only transformer of the BERT family.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// Where its tensors are.
    pub names: &'static Names,
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Width of a token's embedding.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Attention heads; `hidden` is a multiple of it.
    pub heads: usize,
    /// Width between the two halves of a feed-forward block.
    pub intermediate: usize,
    /// What stands there.
    pub activation: Activation,
    /// Added to the variance in layer normalisation.
    pub norm_epsilon: f32,
    /// Rows of the position table.
    pub positions: usize,
    /// Set for the RoBERTa branch: positions count from the one after this token id, and that token has none.
    pub counts_from_padding: Option<u32>,
    /// Rows of the segment table; 0 when the model has none.
    pub token_types: usize,
}

/// The nonlinearity between the two halves of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// Exact, by the error function.
    #[serde(rename = "gelu")]
    Gelu,
    /// The approximation by tanh.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluTanh,
    /// Negative values become zero.
    #[serde(rename = "relu")]
    Relu,
}

/// Where a family keeps its tensors, below the folder's own prefix. Layer names are below `layer`.N.
#[derive(Debug)]
pub struct Names {
    /// Prefix of the layers, before their number.
    pub layer: &'static str,
    /// The query projection.
    pub query: &'static str,
    /// The key projection.
    pub key: &'static str,
    /// The value projection.
    pub value: &'static str,
    /// The projection after attention.
    pub attention_output: &'static str,
    /// The normalisation after it.
    pub attention_norm: &'static str,
    /// The widening half of the feed-forward block.
    pub feed_forward_in: &'static str,
    /// The narrowing half.
    pub feed_forward_out: &'static str,
    /// The normalisation at the end of a layer.
    pub output_norm: &'static str,
}

const BERT: Names = Names {
    layer: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    feed_forward_in: "intermediate.dense",
    feed_forward_out: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT: Names = Names {
    layer: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    feed_forward_in: "ffn.lin1",
    feed_forward_out: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// `config.json`, under BERT's names with DistilBERT's as aliases.
#[derive(Deserialize)]
struct ConfigFile {
    vocab_size: usize,
    #[serde(alias = "dim")]
    hidden_size: usize,
    #[serde(alias = "n_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    intermediate_size: usize,
    #[serde(alias = "activation", default = "exact_gelu")]
    hidden_act: Activation,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default = "bert_epsilon")]
    layer_norm_eps: f32,
    #[serde(default)]
    pad_token_id: u32,
    position_embedding_type: Option<String>,
}

fn exact_gelu() -> Activation {
    Activation::Gelu
}

fn bert_epsilon() -> f32 {
    1e-12
}

#[derive(Deserialize)]
struct TypeOnly {
    model_type: Option<String>,
}

impl Architecture {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`NnError::BadModel`] for another family, a missing field or sizes that cannot be.
    pub fn read(model: &ModelFiles) -> Result<Self, NnError> {
        let bad = |cause: String| NnError::bad_model(format!("{}: {cause}", model.describe(CONFIG)));
        // The type first: another kind of model lacks half the fields, and which one is not what its owner needs to hear.
        let model_type = read_json::<TypeOnly>(model, CONFIG)?.model_type.unwrap_or_default();
        if !KNOWN_TYPES.contains(&model_type.as_str()) {
            return Err(bad(format!(
                "models of `model_type` `{model_type}` are not supported here; the known ones are {}",
                KNOWN_TYPES.join(", ")
            )));
        }
        let config: ConfigFile = read_json(model, CONFIG)?;
        let distilbert = model_type == "distilbert";
        let roberta = !distilbert && model_type != "bert";
        match config.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => {
                return Err(bad(format!("`position_embedding_type` `{other}`; only `absolute` is supported")));
            }
        }
        let architecture = Architecture {
            names: if distilbert { &DISTILBERT } else { &BERT },
            vocabulary: config.vocab_size,
            hidden: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            intermediate: config.intermediate_size,
            activation: config.hidden_act,
            norm_epsilon: config.layer_norm_eps,
            positions: config.max_position_embeddings,
            counts_from_padding: roberta.then_some(config.pad_token_id),
            token_types: if distilbert { 0 } else { config.type_vocab_size },
        };
        architecture.check().map_err(bad)?;
        Ok(architecture)
    }

    /// Refuses sizes that no table or head can have.
    fn check(&self) -> Result<(), String> {
        if [self.vocabulary, self.hidden, self.heads, self.intermediate, self.longest()].contains(&0) {
            return Err("a size is zero, or all positions are taken by padding".to_owned());
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!(
                "`hidden_size` {} is no multiple of `num_attention_heads` {}",
                self.hidden, self.heads
            ));
        }
        Ok(())
    }

    /// Tokens of the longest sequence there are positions for.
    pub fn longest(&self) -> usize {
        match self.counts_from_padding {
            Some(padding) => self.positions.saturating_sub(padding as usize + 1),
            None => self.positions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Architecture, NnError> {
        Architecture::read(&ModelFiles::new("m", [(CONFIG.to_owned(), json.to_owned().into())]))
    }

    #[test]
    fn an_unknown_model_type_lists_the_known_ones() {
        let message = read(r#"{"model_type": "t5"}"#).unwrap_err().to_string();
        assert!(message.contains("`t5`") && message.contains("bert, roberta"), "{message}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let message = read(r#"{"model_type": "bert", "vocab_size": 5}"#).unwrap_err().to_string();
        assert!(message.contains("config.json: missing field `hidden_size`"), "{message}");
    }

    #[test]
    fn distilbert_and_roberta_differ_where_they_should() {
        let distilbert = read(
            r#"{"model_type": "distilbert", "vocab_size": 9, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16,
                "activation": "gelu", "max_position_embeddings": 512}"#,
        )
        .unwrap();
        assert_eq!((distilbert.token_types, distilbert.longest(), distilbert.names.query), (0, 512, "attention.q_lin"));
        let roberta = read(
            r#"{"model_type": "roberta", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 514, "type_vocab_size": 1,
                "pad_token_id": 1}"#,
        )
        .unwrap();
        assert_eq!((roberta.token_types, roberta.longest(), roberta.counts_from_padding), (1, 512, Some(1)));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let message = read(
            r#"{"model_type": "bert", "vocab_size": 9, "hidden_size": 9, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 16, "max_position_embeddings": 4}"#,
        )
        .unwrap_err()
        .to_string();
        assert!(message.ends_with("`hidden_size` 9 is no multiple of `num_attention_heads` 2"), "{message}");
    }
}
