//! How requests for one graph may share a run: along which axis they are put side by side, and what fills the gaps.

use std::borrow::Cow;

use crate::DType;

/// Whether an executor takes several requests in one run.
#[derive(Clone, Debug, PartialEq)]
pub enum Batching {
    /// Every request runs alone.
    Single {
        /// Why, for whoever wonders: `its package names no batch axis`.
        why: Cow<'static, str>,
    },
    /// Requests are put side by side.
    Axes(BatchAxes),
}

/// The axes along which requests are put side by side. A row is one extent of the batch axis; what is in one row does not
/// change what comes out of another.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchAxes {
    /// One for each input of the signature.
    pub inputs: Vec<InputAxes>,
    /// One for each output of the signature.
    pub outputs: Vec<OutputAxes>,
    /// What padding costs the executor.
    pub padding: Padding,
    /// Position of an optional input that tells elements from padding, ones from zeros. Where requests of several lengths
    /// meet and one of them left it out, it is made up.
    pub mask: Option<usize>,
}

/// The axes of an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputAxes {
    /// The axis of the rows.
    pub batch: usize,
    /// The axis whose extent may differ from request to request; the same extent for all inputs of a request that have
    /// one. All other axes must agree.
    pub length: Option<usize>,
    /// The value that fills shorter requests up, cast to the input's type.
    pub pad: f64,
}

/// The axes of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputAxes {
    /// The axis of the rows.
    pub batch: usize,
    /// The axis that is as long as the inputs' length axis, and is cut back to each request's own.
    pub length: Option<usize>,
}

/// What padded elements cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// As much as others: the graph computes them.
    Computed,
    /// Next to nothing: the executor leaves them out.
    Skipped,
}

impl InputAxes {
    /// One padding element of `dtype`, little-endian; `None` where the value does not exist in it, or for strings.
    pub fn pad_bytes(&self, dtype: DType) -> Option<Vec<u8>> {
        fn integer<T: TryFrom<i128>>(value: f64) -> Option<T> {
            (value.fract() == 0.0 && value.abs() < 1e18).then(|| T::try_from(value as i128).ok()).flatten()
        }
        let value = self.pad;
        Some(match dtype {
            DType::Bool => vec![integer::<u8>(value).filter(|&bit| bit <= 1)?],
            DType::U8 => integer::<u8>(value)?.to_le_bytes().to_vec(),
            DType::U16 => integer::<u16>(value)?.to_le_bytes().to_vec(),
            DType::U32 => integer::<u32>(value)?.to_le_bytes().to_vec(),
            DType::U64 => integer::<u64>(value)?.to_le_bytes().to_vec(),
            DType::I8 => integer::<i8>(value)?.to_le_bytes().to_vec(),
            DType::I16 => integer::<i16>(value)?.to_le_bytes().to_vec(),
            DType::I32 => integer::<i32>(value)?.to_le_bytes().to_vec(),
            DType::I64 => integer::<i64>(value)?.to_le_bytes().to_vec(),
            DType::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
            DType::BF16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
            DType::F32 => (value as f32).to_le_bytes().to_vec(),
            DType::F64 => value.to_le_bytes().to_vec(),
            DType::Bytes => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padding_element_is_of_the_inputs_type_or_not_at_all() {
        let pad = |pad, dtype| InputAxes { batch: 0, length: Some(1), pad }.pad_bytes(dtype);
        assert_eq!(pad(1.0, DType::I64), Some(vec![1, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(pad(-1.0, DType::I8), Some(vec![255]));
        assert_eq!(pad(0.5, DType::F32), Some(0.5f32.to_le_bytes().to_vec()));
        for (value, dtype) in [(-1.0, DType::U8), (0.5, DType::I32), (2.0, DType::Bool), (0.0, DType::Bytes)] {
            assert_eq!(pad(value, dtype), None, "{value} {dtype}");
        }
    }
}
