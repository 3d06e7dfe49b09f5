//! Tensors to ONNX Runtime's values and back, copying as little as can be.

use std::borrow::Cow;
use std::fmt::Debug;
use std::slice;

use bytemuck::checked;
use bytes::Bytes;
use half::{bf16, f16};
use headland_nn_core::{DType, Element, NamedTensor, NnError, Tensor};
use ort::session::SessionInputValue;
use ort::value::{DynTensor, DynTensorValueType, DynValue, PrimitiveTensorElementType, TensorRef, ValueType};

use crate::signature;

type OrtTensor<T> = ort::value::Tensor<T>;

/// A view of `input` where its bytes are aligned, a copy where they are not; strings are always copied.
///
/// # Errors
/// [`NnError::InvalidInput`] for what ONNX Runtime must not see: booleans other than 0 and 1, strings with NUL bytes or
/// outside UTF-8.
pub(crate) fn to_ort(input: &NamedTensor) -> Result<SessionInputValue<'_>, NnError> {
    let tensor = &input.tensor;
    match tensor.dtype() {
        DType::Bool => booleans(input),
        DType::U8 => numbers::<u8>(tensor),
        DType::U16 => numbers::<u16>(tensor),
        DType::U32 => numbers::<u32>(tensor),
        DType::U64 => numbers::<u64>(tensor),
        DType::I8 => numbers::<i8>(tensor),
        DType::I16 => numbers::<i16>(tensor),
        DType::I32 => numbers::<i32>(tensor),
        DType::I64 => numbers::<i64>(tensor),
        DType::F16 => numbers::<f16>(tensor),
        DType::BF16 => numbers::<bf16>(tensor),
        DType::F32 => numbers::<f32>(tensor),
        DType::F64 => numbers::<f64>(tensor),
        DType::Bytes => strings(input),
    }
}

fn numbers<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>, NnError>
where
    T: Element + PrimitiveTensorElementType + Debug,
{
    let shape: &[usize] = tensor.shape();
    match tensor.to_slice::<T>()? {
        Cow::Borrowed(elements) => view(shape, elements),
        Cow::Owned(elements) => Ok(OrtTensor::from_array((shape.to_vec(), elements)).map_err(NnError::runtime)?.into()),
    }
}

fn booleans(input: &NamedTensor) -> Result<SessionInputValue<'_>, NnError> {
    let elements: &[bool] = checked::try_cast_slice(input.tensor.data()).map_err(|_| {
        NnError::invalid(format!("input `{}` is BOOL and has an element other than 0 and 1", input.name))
    })?;
    view(input.tensor.shape(), elements)
}

fn view<'a, T>(shape: &[usize], elements: &'a [T]) -> Result<SessionInputValue<'a>, NnError>
where
    T: PrimitiveTensorElementType + Debug + Clone + 'static,
{
    Ok(TensorRef::from_array_view((shape.to_vec(), elements)).map_err(NnError::runtime)?.into())
}

fn strings(input: &NamedTensor) -> Result<SessionInputValue<'_>, NnError> {
    let items: Option<Vec<String>> = input.tensor.strings()?.into_iter().map(text).collect();
    let items = items.ok_or_else(|| {
        NnError::invalid(format!("input `{}` has an element that is not UTF-8 text without NUL bytes", input.name))
    })?;
    let shape = input.tensor.shape().to_vec();
    Ok(OrtTensor::from_string_array((shape, items.as_slice())).map_err(NnError::runtime)?.into())
}

/// `bytes` as ONNX Runtime takes strings: NUL-terminated UTF-8.
fn text(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned)
}

/// Takes over what a run returned. The bytes stay where ONNX Runtime put them, and live as long as the tensor; only
/// strings, and outputs that are views of one of `inputs`, are copied.
pub(crate) fn from_ort(value: DynValue, inputs: &[NamedTensor]) -> Result<Tensor, NnError> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(NnError::runtime(format!("an output is a {} where the graph promised a tensor", value.dtype())));
    };
    let dtype = signature::dtype(*ty).ok_or_else(|| NnError::runtime(format!("an output holds {ty}")))?;
    let shape = shape.iter().map(|&extent| usize::try_from(extent)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(NnError::runtime)?;
    let Some(size) = dtype.size() else {
        let (_, items) = value.try_extract_strings().map_err(NnError::runtime)?;
        return Tensor::from_strings(shape, &items).map_err(NnError::runtime);
    };
    let length = shape.iter().try_fold(size, |product, &extent| product.checked_mul(extent));
    let length = length.ok_or_else(|| NnError::runtime("an output has more bytes than can be addressed"))?;
    let output = Output { value: value.downcast::<DynTensorValueType>().map_err(NnError::runtime)?, length };
    if !output.value.memory_info().is_cpu_accessible() {
        return Err(NnError::runtime("an output was left in the device's memory"));
    }
    let is_view = inputs.iter().any(|input| overlap(input.tensor.data(), output.as_ref()));
    let data = if is_view { Bytes::copy_from_slice(output.as_ref()) } else { Bytes::from_owner(output) };
    Tensor::new(dtype, shape, data).map_err(NnError::runtime)
}

fn overlap(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (a.as_ptr_range(), b.as_ptr_range());
    a.start < b.end && b.start < a.end
}

/// An output of a run, in the memory ONNX Runtime allocated for it.
struct Output {
    value: DynTensor,
    length: usize,
}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        let start = self.value.data_ptr().cast::<u8>();
        if start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: a tensor on the processor is one row-major block of as many bytes as its shape and type call for, which
        // is `length`. ONNX Runtime initialised it before the run returned and writes to it no more; it frees it when
        // `value`, which keeps its allocator alive, is dropped.
        unsafe { slice::from_raw_parts(start, self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_seen_and_neighbours_are_not() {
        let buffer = [0u8; 8];
        assert!(overlap(&buffer[..5], &buffer[4..]));
        assert!(!overlap(&buffer[..4], &buffer[4..]));
        assert!(!overlap(&buffer[..0], &buffer));
    }

    #[test]
    fn a_boolean_of_2_is_refused_by_name() {
        let tensor = Tensor::new(DType::Bool, [2], Bytes::from_static(&[1, 2])).unwrap();
        let message = to_ort(&NamedTensor::new("mask", tensor)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(message, "input `mask` is BOOL and has an element other than 0 and 1");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_by_name() {
        for bytes in [b"\xff".as_slice(), b"a\0b"] {
            let tensor = Tensor::from_strings([1], &[bytes]).unwrap();
            let message = to_ort(&NamedTensor::new("words", tensor)).map(|_| ()).unwrap_err().to_string();
            assert_eq!(message, "input `words` has an element that is not UTF-8 text without NUL bytes");
        }
    }
}
