//! An input to measure a graph with: zeros of the smallest shape that it takes.

use headland_nn_core::{Dim, NamedTensor, NnError, Tensor, TensorSpec};

use crate::session::SharedSession;
use crate::{signature, value};

/// The most that is made up for one input, in bytes. A graph that takes more is not measured.
const SAMPLE_BYTES_MAX: usize = 64 << 20;

/// Runs the graph on zeros.
///
/// # Errors
/// When it does not take them.
pub(crate) fn run_zeros(session: &SharedSession) -> Result<(), NnError> {
    let signature = signature::of_session(session.session()).map_err(NnError::runtime)?;
    let inputs = signature.inputs.iter().map(zeros).collect::<Result<Vec<_>, _>>()?;
    let values = inputs.iter().map(|input| value::to_ort(session.memory(), input));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    let feeds: Vec<_> = values.iter().map(value::Input::ptr).enumerate().collect();
    let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
    session.run(&feeds, &outputs).map(|_| ()).map_err(|error| NnError::runtime(error.message()))
}

/// Zeros for `spec`, its dynamic axes of extent 1.
fn zeros(spec: &TensorSpec) -> Result<NamedTensor, NnError> {
    let extent = |dim: &Dim| match dim {
        Dim::Fixed(extent) => *extent,
        Dim::Dynamic(_) => 1,
    };
    let shape: Vec<usize> = spec.dims.iter().map(extent).collect();
    // A string of no bytes is its length alone.
    let size = spec.dtype.size().unwrap_or(size_of::<u32>());
    let bytes = shape.iter().try_fold(size, |bytes, &extent| bytes.checked_mul(extent));
    let bytes = bytes.filter(|bytes| *bytes <= SAMPLE_BYTES_MAX).ok_or_else(|| NnError::runtime("a large input"))?;
    Ok(NamedTensor::new(&*spec.name, Tensor::new(spec.dtype, shape, vec![0; bytes].into())?))
}

#[cfg(test)]
mod tests {
    use headland_nn_core::DType;

    use super::*;

    #[test]
    fn zeros_have_the_smallest_shape_and_are_not_made_beyond_a_limit() {
        let spec = |dtype, extent| TensorSpec::new("x", dtype, vec![Dim::named("batch"), Dim::Fixed(extent)]);
        for dtype in DType::ALL {
            assert_eq!(**zeros(&spec(dtype, 3)).unwrap().tensor.shape(), [1, 3], "{dtype}");
        }
        assert!(zeros(&spec(DType::F32, usize::MAX)).is_err());
        assert!(zeros(&spec(DType::F32, 1 << 30)).is_err());
    }
}
