//! A model's tensors by what they are for, out of safetensors or a GGUF file, each held against the expected shape.

mod safetensors;

use bytes::Bytes;
use headland_gguf::{Gguf, Tensor};
use headland_kernels::Storage;
use headland_nn_core::{ModelFiles, NnError};

use crate::architecture::Family;
use safetensors::Safetensors;

/// Where the tensors of a model are.
pub(crate) struct Weights {
    /// What errors call the files.
    described: String,
    files: Files,
}

enum Files {
    Safetensors(Safetensors),
    Gguf(Box<Gguf>),
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Embedding,
    FinalNorm,
    Head,
    AttentionNorm,
    Query,
    Key,
    Value,
    /// The three in one.
    QueryKeyValue,
    AttentionOutput,
    QueryNorm,
    KeyNorm,
    AfterAttentionNorm,
    FeedForwardNorm,
    AfterFeedForwardNorm,
    Gate,
    Up,
    /// The two in one.
    GateUp,
    Down,
}

/// A matrix, as it is stored.
pub(crate) struct Stored {
    pub storage: Storage,
    pub outputs: usize,
    pub inputs: usize,
    pub bytes: Bytes,
}

impl Weights {
    /// The tensors of a Hugging Face folder: of `model.safetensors`, or of the files that `model.safetensors.index.json`
    /// lists.
    ///
    /// # Errors
    /// [`NnError::BadModel`] naming file and cause.
    pub fn of_folder(model: &ModelFiles) -> Result<Self, NnError> {
        let files = Files::Safetensors(Safetensors::open(model)?);
        Ok(Weights { described: model.label().to_owned(), files })
    }

    /// The tensors of a GGUF file that errors call `described`.
    pub fn of_gguf(described: String, gguf: Gguf) -> Self {
        Weights { described, files: Files::Gguf(Box::new(gguf)) }
    }

    /// The matrix for `part` of `layer`, `[outputs, inputs]`.
    ///
    /// # Errors
    /// [`NnError::BadModel`] when it is missing, or of another shape.
    pub fn matrix(
        &self,
        family: Family,
        part: Part,
        layer: usize,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Stored, NnError> {
        let name = self.name(family, part, layer, "weight");
        let tensor = self.find(&name).ok_or_else(|| self.bad(&name, "is missing"))?;
        if tensor.shape != [outputs, inputs] {
            let problem =
                format!("has shape {:?}, and the configuration calls for {:?}", tensor.shape, [outputs, inputs]);
            return Err(self.bad(&name, &problem));
        }
        if tensor.storage.bytes(inputs).is_none() {
            return Err(self.bad(&name, &format!("has rows of {inputs}, which are no whole blocks")));
        }
        Ok(Stored { storage: tensor.storage, outputs, inputs, bytes: tensor.bytes })
    }

    /// The numbers for `part` of `layer`, so many of them.
    ///
    /// # Errors
    /// As [`Self::matrix`].
    pub fn vector(
        &self,
        family: Family,
        part: Part,
        layer: usize,
        kind: &str,
        len: usize,
    ) -> Result<Vec<f32>, NnError> {
        let name = self.name(family, part, layer, kind);
        let tensor = self.find(&name).ok_or_else(|| self.bad(&name, "is missing"))?;
        if tensor.shape != [len] {
            return Err(
                self.bad(&name, &format!("has shape {:?}, and the configuration calls for [{len}]", tensor.shape))
            );
        }
        let mut numbers = vec![0.0; len];
        tensor.storage.read(&tensor.bytes, &mut numbers);
        Ok(numbers)
    }

    /// Whether there is a tensor for `part` of `layer`.
    pub fn has(&self, family: Family, part: Part, layer: usize, kind: &str) -> bool {
        self.find(&self.name(family, part, layer, kind)).is_some()
    }

    fn find(&self, name: &str) -> Option<Tensor> {
        match &self.files {
            Files::Safetensors(files) => files.tensor(name),
            Files::Gguf(gguf) => gguf.tensor(name).cloned(),
        }
    }

    fn name(&self, family: Family, part: Part, layer: usize, kind: &str) -> String {
        match &self.files {
            Files::Safetensors(files) => {
                let prefix = files.prefix();
                match part {
                    Part::Embedding => format!("{prefix}embed_tokens.{kind}"),
                    Part::FinalNorm => format!("{prefix}norm.{kind}"),
                    Part::Head => format!("lm_head.{kind}"),
                    _ => format!("{prefix}layers.{layer}.{}.{kind}", in_folders(family, part)),
                }
            }
            Files::Gguf(_) => match part {
                Part::Embedding => format!("token_embd.{kind}"),
                Part::FinalNorm => format!("output_norm.{kind}"),
                Part::Head => format!("output.{kind}"),
                _ => format!("blk.{layer}.{}.{kind}", in_gguf(part)),
            },
        }
    }

    fn bad(&self, name: &str, problem: &str) -> NnError {
        NnError::bad_model(format!("{}: tensor `{name}` {problem}", self.described))
    }
}

fn in_folders(family: Family, part: Part) -> &'static str {
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
    match part {
        Part::AttentionNorm => "input_layernorm",
        Part::Query => "self_attn.q_proj",
        Part::Key => "self_attn.k_proj",
        Part::Value => "self_attn.v_proj",
        Part::QueryKeyValue => "self_attn.qkv_proj",
        Part::AttentionOutput => "self_attn.o_proj",
        Part::QueryNorm => "self_attn.q_norm",
        Part::KeyNorm => "self_attn.k_norm",
        Part::AfterAttentionNorm => "post_attention_layernorm",
        Part::FeedForwardNorm if gemma => "pre_feedforward_layernorm",
        Part::FeedForwardNorm => "post_attention_layernorm",
        Part::AfterFeedForwardNorm => "post_feedforward_layernorm",
        Part::Gate => "mlp.gate_proj",
        Part::Up => "mlp.up_proj",
        Part::GateUp => "mlp.gate_up_proj",
        Part::Down => "mlp.down_proj",
        Part::Embedding | Part::FinalNorm | Part::Head => "",
    }
}

fn in_gguf(part: Part) -> &'static str {
    match part {
        Part::AttentionNorm => "attn_norm",
        Part::Query => "attn_q",
        Part::Key => "attn_k",
        Part::Value => "attn_v",
        Part::QueryKeyValue => "attn_qkv",
        Part::AttentionOutput => "attn_output",
        Part::QueryNorm => "attn_q_norm",
        Part::KeyNorm => "attn_k_norm",
        Part::AfterAttentionNorm => "post_attention_norm",
        Part::FeedForwardNorm => "ffn_norm",
        Part::AfterFeedForwardNorm => "post_ffw_norm",
        Part::Gate => "ffn_gate",
        // Where the two are in one, they are under the name of the second.
        Part::Up | Part::GateUp => "ffn_up",
        Part::Down => "ffn_down",
        Part::Embedding | Part::FinalNorm | Part::Head => "",
    }
}
