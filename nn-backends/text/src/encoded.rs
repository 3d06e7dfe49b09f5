//! What comes out: the padded tensors of a batch of token sequences.

use headland_nn_core::{NamedTensor, NnError, Signature, Tensor};

use crate::MAX_PADDED_TOKENS;

/// Token tensors of a batch of texts, right-padded to the longest.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Token ids, INT64 `[texts, longest]`; the tokenizer's padding id after a text's end.
    pub input_ids: Tensor,
    /// 1 for a token, 0 for padding, INT64 `[texts, longest]`.
    pub attention_mask: Tensor,
    /// Segment ids, INT64 `[texts, longest]`.
    pub token_type_ids: Tensor,
    /// Tokens of all texts together, special tokens included, padding not: what OpenAI calls usage.
    pub tokens: usize,
    /// Indices of the texts that were cut to the model's longest sequence, ascending.
    pub truncated: Vec<usize>,
}

impl Encoded {
    /// The tensors under the names models know them by, without those `signature` does not have: many graphs take no
    /// `token_type_ids`.
    pub fn into_inputs(self, signature: &Signature) -> Vec<NamedTensor> {
        [
            ("input_ids", self.input_ids),
            ("attention_mask", self.attention_mask),
            ("token_type_ids", self.token_type_ids),
        ]
        .into_iter()
        .filter(|(name, _)| signature.inputs.iter().any(|spec| spec.name == *name))
        .map(|(name, tensor)| NamedTensor::new(name, tensor))
        .collect()
    }
}

/// One text's tokens, special tokens in place, at most the model's longest sequence of them.
pub(crate) struct Sequence {
    pub ids: Vec<u32>,
    pub type_ids: Vec<u32>,
    pub truncated: bool,
}

/// Pads `sequences` into tensors.
pub(crate) fn pad(sequences: &[Sequence], pad_id: u32) -> Result<Encoded, NnError> {
    let shape = [sequences.len(), sequences.iter().map(|s| s.ids.len()).max().unwrap_or(0)];
    let elements = shape[0] * shape[1];
    if elements > MAX_PADDED_TOKENS {
        let [texts, longest] = shape;
        return Err(NnError::TooLarge(
            format!(
                "{texts} texts, the longest of {longest} tokens, come to {elements} tokens after padding; at most \
                 {MAX_PADDED_TOKENS} fit into one request, so send fewer texts at once"
            )
            .into(),
        ));
    }
    let padded = |padding: u32, of: fn(&Sequence) -> &[u32]| {
        let mut values = Vec::with_capacity(elements);
        for sequence in sequences {
            let end = values.len() + shape[1];
            values.extend(of(sequence).iter().map(|&id| i64::from(id)));
            values.resize(end, i64::from(padding));
        }
        Tensor::from_vec(shape, values)
    };
    let mut mask = vec![0i64; elements];
    for (row, sequence) in mask.chunks_mut(shape[1].max(1)).zip(sequences) {
        row[..sequence.ids.len()].fill(1);
    }
    Ok(Encoded {
        input_ids: padded(pad_id, |sequence| &sequence.ids)?,
        attention_mask: Tensor::from_vec(shape, mask)?,
        token_type_ids: padded(0, |sequence| &sequence.type_ids)?,
        tokens: sequences.iter().map(|sequence| sequence.ids.len()).sum(),
        truncated: (0..sequences.len()).filter(|&index| sequences[index].truncated).collect(),
    })
}
