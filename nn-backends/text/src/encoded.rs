//! What comes out: the token sequences of a request's texts, made into tensors for all or some of them.

use std::sync::Arc;

use headland_nn_core::{NamedTensor, NnError, Signature, Tensor};

use crate::MAX_TOKENS;

/// The tokens of a request's texts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Encoded {
    sequences: Arc<[Arc<Sequence>]>,
    pad_id: u32,
    tokens: usize,
}

/// One text's tokens, special tokens in place, at most the model's longest sequence of them.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub ids: Vec<u32>,
    pub type_ids: Vec<u32>,
    pub truncated: bool,
}

impl Encoded {
    /// # Errors
    /// [`NnError::TooLarge`] beyond [`MAX_TOKENS`].
    pub(crate) fn new(sequences: Vec<Arc<Sequence>>, pad_id: u32) -> Result<Self, NnError> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
        if tokens > MAX_TOKENS {
            return Err(NnError::TooLarge(
                format!(
                    "{} texts of together {tokens} tokens; at most {MAX_TOKENS} fit into one request, so send fewer texts at once",
                    sequences.len()
                )
                .into(),
            ));
        }
        Ok(Encoded { sequences: sequences.into(), pad_id, tokens })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is no text; never so for what an encoder gives.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Tokens of all texts together, special tokens included, padding not: what OpenAI calls usage.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens of each text.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.sequences.iter().map(|sequence| sequence.ids.len())
    }

    /// Indices of the texts that were cut to the model's longest sequence, ascending.
    pub fn truncated(&self) -> Vec<usize> {
        let cut = self.sequences.iter().enumerate().filter(|(_, sequence)| sequence.truncated);
        cut.map(|(index, _)| index).collect()
    }

    /// The tensors of all texts.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn inputs(&self, signature: &Signature) -> Result<Vec<NamedTensor>, NnError> {
        self.tensors(signature, self.sequences.iter().map(|sequence| &**sequence))
    }

    /// The tensors of the texts `rows`, in that order, right-padded to the longest of them: `input_ids` (the tokenizer's
    /// padding id after a text's end), `attention_mask` (1 for a token, 0 for padding) and `token_type_ids`, each INT64
    /// `[texts, longest]`, without those that `signature` does not have: many graphs take no `token_type_ids`.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`] for a row there is not.
    pub fn rows(&self, signature: &Signature, rows: &[usize]) -> Result<Vec<NamedTensor>, NnError> {
        if let Some(row) = rows.iter().find(|&&row| row >= self.len()) {
            return Err(NnError::invalid(format!("there is no text {row} among {}", self.len())));
        }
        self.tensors(signature, rows.iter().map(|&row| &*self.sequences[row]))
    }

    fn tensors<'s>(
        &self,
        signature: &Signature,
        sequences: impl ExactSizeIterator<Item = &'s Sequence> + Clone,
    ) -> Result<Vec<NamedTensor>, NnError> {
        let shape = [sequences.len(), sequences.clone().map(|sequence| sequence.ids.len()).max().unwrap_or(0)];
        let padded = |padding: u32, of: fn(&Sequence) -> &[u32]| {
            let mut values = Vec::with_capacity(shape[0] * shape[1]);
            for sequence in sequences.clone() {
                let end = values.len() + shape[1];
                values.extend(of(sequence).iter().map(|&id| i64::from(id)));
                values.resize(end, i64::from(padding));
            }
            Tensor::from_vec(shape, values)
        };
        let mask = || {
            let mut values = Vec::with_capacity(shape[0] * shape[1]);
            for sequence in sequences.clone() {
                let end = values.len() + shape[1];
                values.resize(values.len() + sequence.ids.len(), 1i64);
                values.resize(end, 0);
            }
            Tensor::from_vec(shape, values)
        };
        let takes = |name: &str| signature.inputs.iter().any(|spec| spec.name == *name);
        let mut inputs = Vec::with_capacity(3);
        if takes("input_ids") {
            inputs.push(NamedTensor::new("input_ids", padded(self.pad_id, |sequence| &sequence.ids)?));
        }
        if takes("attention_mask") {
            inputs.push(NamedTensor::new("attention_mask", mask()?));
        }
        if takes("token_type_ids") {
            inputs.push(NamedTensor::new("token_type_ids", padded(0, |sequence| &sequence.type_ids)?));
        }
        Ok(inputs)
    }
}
