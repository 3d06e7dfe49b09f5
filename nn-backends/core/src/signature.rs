//! What a graph takes and gives: named tensors with fixed and dynamic axes, and the check of a request against them.

use std::fmt;

use crate::{DType, NamedTensor, NnError, Tensor};

/// One axis of a tensor in a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this extent.
    Fixed(usize),
    /// Any extent; axes that share a name must agree within one request.
    Dynamic(Option<String>),
}

impl Dim {
    /// A named dynamic axis.
    pub fn named(name: &str) -> Self {
        Dim::Dynamic(Some(name.to_owned()))
    }

    /// The protocol's number: the extent, or -1 for a dynamic axis.
    pub fn as_i64(&self) -> i64 {
        match self {
            Dim::Fixed(extent) => i64::try_from(*extent).unwrap_or(i64::MAX),
            Dim::Dynamic(_) => -1,
        }
    }
}

/// One input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name callers use.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The axes, outermost first.
    pub dims: Vec<Dim>,
    /// Whether a request may leave it out.
    pub optional: bool,
}

impl TensorSpec {
    /// A required tensor.
    pub fn new(name: impl Into<String>, dtype: DType, dims: Vec<Dim>) -> Self {
        TensorSpec { name: name.into(), dtype, dims, optional: false }
    }

    /// The same tensor, one that a request may leave out.
    pub fn optional(self) -> Self {
        TensorSpec { optional: true, ..self }
    }

    fn fits(&self, tensor: &Tensor) -> bool {
        tensor.dtype() == self.dtype
            && tensor.shape().len() == self.dims.len()
            && self.dims.iter().zip(tensor.shape().iter()).all(|(dim, &extent)| match dim {
                Dim::Fixed(fixed) => *fixed == extent,
                Dim::Dynamic(_) => true,
            })
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[", self.name, self.dtype)?;
        for (i, dim) in self.dims.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match dim {
                Dim::Fixed(extent) => write!(f, "{extent}")?,
                Dim::Dynamic(Some(name)) => f.write_str(name)?,
                Dim::Dynamic(None) => f.write_str("?")?,
            }
        }
        f.write_str("]")?;
        if self.optional { f.write_str(" (optional)") } else { Ok(()) }
    }
}

/// The inputs and outputs of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Signature {
    /// What a request brings.
    pub inputs: Vec<TensorSpec>,
    /// What it gets.
    pub outputs: Vec<TensorSpec>,
}

impl Signature {
    /// Checks a request's tensors: all required ones there, none unknown or twice, types and shapes fitting, axes of one
    /// name agreeing.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`], with the first mismatch and the whole expected signature.
    pub fn check_inputs(&self, inputs: &[NamedTensor]) -> Result<(), NnError> {
        let refuse = |what: String| Err(NnError::invalid(format!("{what}; the model takes {}", list(&self.inputs))));
        let mut axes: Vec<(&str, usize, &str)> = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            let Some(spec) = self.inputs.iter().find(|spec| spec.name == *input.name) else {
                return refuse(format!("unknown input `{}`", input.name));
            };
            if inputs[..i].iter().any(|earlier| earlier.name == input.name) {
                return refuse(format!("input `{}` is given twice", input.name));
            }
            if !spec.fits(&input.tensor) {
                return refuse(format!("input `{}` is {}{}", input.name, input.tensor.dtype(), input.tensor.shape()));
            }
            for (dim, &extent) in spec.dims.iter().zip(input.tensor.shape().iter()) {
                let Dim::Dynamic(Some(axis)) = dim else { continue };
                match axes.iter().find(|(name, ..)| name == axis) {
                    None => axes.push((axis, extent, &spec.name)),
                    Some((_, known, _)) if *known == extent => {}
                    Some((_, known, other)) => {
                        return refuse(format!(
                            "axis `{axis}` is {known} in `{other}` and {extent} in `{}`",
                            input.name
                        ));
                    }
                }
            }
        }
        match self.inputs.iter().find(|spec| !spec.optional && !inputs.iter().any(|i| *i.name == spec.name)) {
            Some(missing) => refuse(format!("input `{}` is missing", missing.name)),
            None => Ok(()),
        }
    }

    /// The position of the output called `name`.
    ///
    /// # Errors
    /// [`NnError::InvalidInput`], listing the outputs there are.
    pub fn output_index(&self, name: &str) -> Result<usize, NnError> {
        self.outputs.iter().position(|spec| spec.name == name).ok_or_else(|| {
            NnError::invalid(format!("unknown output `{name}`; the model gives {}", list(&self.outputs)))
        })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", list(&self.inputs), list(&self.outputs))
    }
}

fn list(specs: &[TensorSpec]) -> String {
    specs.iter().map(TensorSpec::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bert() -> Signature {
        let dims = || vec![Dim::named("batch"), Dim::named("sequence")];
        Signature {
            inputs: vec![
                TensorSpec::new("input_ids", DType::I64, dims()),
                TensorSpec::new("attention_mask", DType::I64, dims()).optional(),
            ],
            outputs: vec![TensorSpec::new("out", DType::F32, vec![Dim::named("batch"), Dim::Fixed(384)])],
        }
    }

    fn ids(name: &str, shape: [usize; 2]) -> NamedTensor {
        NamedTensor::new(name, Tensor::from_vec(shape, vec![0i64; shape[0] * shape[1]]).unwrap())
    }

    #[track_caller]
    fn refused(inputs: &[NamedTensor], expected: &str) {
        let message = bert().check_inputs(inputs).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
        assert!(message.ends_with("input_ids INT64[batch,sequence], attention_mask INT64[batch,sequence] (optional)"));
    }

    #[test]
    fn optional_inputs_may_be_left_out() {
        bert().check_inputs(&[ids("input_ids", [2, 3])]).unwrap();
    }

    #[test]
    fn every_mismatch_is_named_with_the_signature() {
        refused(&[ids("ids", [1, 1])], "unknown input `ids`;");
        refused(&[], "input `input_ids` is missing;");
        refused(&[ids("input_ids", [1, 1]), ids("input_ids", [1, 1])], "input `input_ids` is given twice;");
        let floats = NamedTensor::new("input_ids", Tensor::from_vec([1, 1], vec![0f32]).unwrap());
        refused(&[floats], "input `input_ids` is FP32[1,1];");
        refused(
            &[ids("input_ids", [2, 3]), ids("attention_mask", [2, 4])],
            "axis `sequence` is 3 in `input_ids` and 4 in `attention_mask`;",
        );
    }

    #[test]
    fn an_unknown_output_lists_the_known_ones() {
        let message = bert().output_index("logits").unwrap_err().to_string();
        assert_eq!(message, "unknown output `logits`; the model gives out FP32[batch,384]");
    }
}
