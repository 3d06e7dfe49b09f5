//! How requests for a graph may share a run, as far as its signature tells.
//!
//! Names and symbols are conventions, and most prove nothing: an axis called `batch` says nothing of what a graph does
//! along it. Only text encoders as the usual exporters write them are recognised; others run singly unless their package
//! says more.

use headland_nn_core::{BatchAxes, Batching, DType, Dim, InputAxes, OutputAxes, Padding, Signature, TensorSpec};

/// What exporters call the inputs of a text encoder.
const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";

/// The axes of a text encoder, or why requests run singly.
pub(crate) fn of_signature(signature: &Signature) -> Batching {
    match encoder_axes(signature) {
        Some(axes) => Batching::Axes(axes),
        None => Batching::Single {
            why: "its package names no batch axes, and its graph is not one of a text encoder with an attention mask"
                .into(),
        },
    }
}

fn encoder_axes(signature: &Signature) -> Option<BatchAxes> {
    let inputs = &signature.inputs;
    let there = |name: &str| inputs.iter().position(|input| input.name == name);
    there(IDS)?;
    let mask = there(MASK)?;
    let tokens = |input: &TensorSpec| {
        let known = [IDS, MASK, TYPES].contains(&&*input.name);
        let dynamic = matches!(input.dims[..], [Dim::Dynamic(_), Dim::Dynamic(_)]);
        known && dynamic && matches!(input.dtype, DType::I64 | DType::I32)
    };
    let length = inputs.first()?.dims.get(1)?;
    let output = |output: &TensorSpec| match &output.dims[..] {
        [Dim::Dynamic(_), rest @ ..] => {
            let named = matches!(length, Dim::Dynamic(Some(_)));
            let length = (named && rest.first() == Some(length)).then_some(1);
            // An axis that may be anything could be as long as the inputs' without saying so.
            let rest = &rest[length.map_or(0, |_| 1)..];
            rest.iter().all(|dim| matches!(dim, Dim::Fixed(_))).then_some(OutputAxes { batch: 0, length })
        }
        _ => None,
    };
    let axes = InputAxes { batch: 0, length: Some(1), pad: 0.0 };
    inputs.iter().all(tokens).then_some(())?;
    Some(BatchAxes {
        inputs: vec![axes; inputs.len()],
        outputs: signature.outputs.iter().map(output).collect::<Option<_>>()?,
        padding: Padding::Computed,
        mask: Some(mask),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(inputs: &[&str], outputs: Vec<Vec<Dim>>) -> Signature {
        let dims = || vec![Dim::named("batch_size"), Dim::named("sequence_length")];
        Signature {
            inputs: inputs.iter().map(|name| TensorSpec::new(*name, DType::I64, dims())).collect(),
            outputs: outputs.into_iter().map(|dims| TensorSpec::new("out", DType::F32, dims)).collect(),
        }
    }

    fn hidden_states() -> Vec<Dim> {
        vec![Dim::named("batch_size"), Dim::named("sequence_length"), Dim::Fixed(384)]
    }

    #[test]
    fn an_exported_text_encoder_shares_runs_by_its_mask() {
        let pooled = vec![Dim::named("batch_size"), Dim::Fixed(384)];
        let Batching::Axes(axes) = of_signature(&exported(&[TYPES, IDS, MASK], vec![hidden_states(), pooled])) else {
            panic!("not recognised");
        };
        assert_eq!((axes.mask, axes.padding, axes.inputs.len()), (Some(2), Padding::Computed, 3));
        assert_eq!(axes.outputs, [Some(1), None].map(|length| OutputAxes { batch: 0, length }));
    }

    #[test]
    fn others_run_singly() {
        let single = |signature: Signature| matches!(of_signature(&signature), Batching::Single { .. });
        assert!(single(exported(&[IDS], vec![hidden_states()])), "no mask");
        assert!(single(exported(&[IDS, MASK, "past_key_values"], vec![hidden_states()])), "an unknown input");
        assert!(single(exported(&[IDS, MASK], vec![vec![Dim::Fixed(1), Dim::Fixed(384)]])), "no batch axis");
        assert!(
            single(exported(&[IDS, MASK], vec![vec![Dim::named("batch_size"), Dim::Dynamic(None)]])),
            "what length?"
        );
        let mut fixed = exported(&[IDS, MASK], vec![hidden_states()]);
        fixed.inputs[1].dims[1] = Dim::Fixed(128);
        assert!(single(fixed), "a fixed length");
    }
}
