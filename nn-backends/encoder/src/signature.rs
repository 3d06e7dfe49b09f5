//! The tensors that every text encoder takes and gives.

use headland_nn_core::{BatchAxes, DType, Dim, InputAxes, OutputAxes, Padding, Signature, TensorSpec};

/// Position of `sentence_embedding` among the outputs.
pub const SENTENCE_EMBEDDING: usize = 0;
/// Position of `token_embeddings` among the outputs.
pub const TOKEN_EMBEDDINGS: usize = 1;

/// Token ids, mask and segments in, INT64 `[batch, sequence]`, of which only the ids must be there; out, FP32, one
/// embedding of width `sentence` per text, and one of width `hidden` per token.
pub fn signature(hidden: usize, sentence: usize) -> Signature {
    let axes = || vec![Dim::named("batch"), Dim::named("sequence")];
    let ids = |name: &str| TensorSpec::new(name, DType::I64, axes());
    Signature {
        inputs: vec![ids("input_ids"), ids("attention_mask").optional(), ids("token_type_ids").optional()],
        outputs: vec![
            TensorSpec::new("sentence_embedding", DType::F32, vec![Dim::named("batch"), Dim::Fixed(sentence)]),
            TensorSpec::new(
                "token_embeddings",
                DType::F32,
                vec![Dim::named("batch"), Dim::named("sequence"), Dim::Fixed(hidden)],
            ),
        ],
    }
}

/// How requests of [`signature`] share a run: texts side by side, shorter ones padded with what the mask leaves out.
pub fn batching(padding: Padding) -> BatchAxes {
    let ids = InputAxes { batch: 0, length: Some(1), pad: 0.0 };
    BatchAxes {
        inputs: vec![ids; 3],
        outputs: vec![OutputAxes { batch: 0, length: None }, OutputAxes { batch: 0, length: Some(1) }],
        padding,
        mask: Some(1),
    }
}
