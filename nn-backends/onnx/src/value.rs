//! Tensors to ONNX Runtime's values and back, copying as little as can be.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use bytes::Bytes;
use headland_nn_core::{DType, MAX_RANK, NamedTensor, NnError, Tensor};
use ort::memory::{Allocator, MemoryInfo};
use ort::value::{DynValue, TensorElementType};
use ort::{AsPointer, sys};

use crate::signature;

/// A value of ONNX Runtime's, released when dropped.
pub(crate) struct Value(NonNull<sys::OrtValue>);

// SAFETY: a value is a reference-counted tensor, which ONNX Runtime has any thread release.
unsafe impl Send for Value {}
// SAFETY: what is done to a shared one only reads.
unsafe impl Sync for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: it is ours, and this is its last use.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}

impl Value {
    /// Takes `value` over; `None` when it is null.
    ///
    /// # Safety
    /// Nobody else may release it.
    pub unsafe fn own(value: *mut sys::OrtValue) -> Option<Self> {
        NonNull::new(value).map(Value)
    }

    /// A tensor over `data`, which must be aligned for `ty` and stay where it is for as long as the value is used.
    pub fn view(memory: &MemoryInfo<'_>, ty: TensorElementType, shape: &[usize], data: &[u8]) -> Result<Self, NnError> {
        let mut extents = [0i64; MAX_RANK];
        for (extent, &given) in extents.iter_mut().zip(shape) {
            *extent = i64::try_from(given).map_err(NnError::runtime)?;
        }
        let mut value = ptr::null_mut();
        // SAFETY: all pointers are valid for the call, as long as the lengths beside them say: no tensor has more than
        // `MAX_RANK` axes. ONNX Runtime only reads from an input's bytes.
        let made = unsafe {
            let status = (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                data.as_ptr().cast_mut().cast(),
                data.len(),
                extents.as_ptr(),
                shape.len(),
                ty.into(),
                &mut value,
            );
            ort::Error::result_from_status(status).map(|()| Value::own(value))
        };
        made.map_err(|error| NnError::runtime(error.message()))?.ok_or_else(|| NnError::runtime("no tensor was made"))
    }

    pub fn ptr(&self) -> *const sys::OrtValue {
        self.0.as_ptr()
    }

    /// Element type and shape of a tensor.
    fn type_and_shape(&self) -> ort::Result<(TensorElementType, Vec<i64>)> {
        let api = ort::api();
        // SAFETY: each call gets a live value or description, and places to write to that are as large as it is told. The
        // description is released on every way out.
        unsafe {
            let check = |status| ort::Error::result_from_status(status);
            let mut info = ptr::null_mut();
            check((api.GetTensorTypeAndShape)(self.ptr(), &mut info))?;
            let (mut ty, mut rank) = (sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, 0);
            let mut read = || {
                check((api.GetTensorElementType)(info, &mut ty))?;
                check((api.GetDimensionsCount)(info, &mut rank))?;
                let mut shape = vec![0; rank];
                check((api.GetDimensions)(info, shape.as_mut_ptr(), rank))?;
                Ok(shape)
            };
            let shape: ort::Result<Vec<i64>> = read();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            Ok((ty.into(), shape?))
        }
    }

    /// Whether this is a tensor, and not a sequence or a map.
    fn is_tensor(&self) -> bool {
        let mut answer = 0;
        // SAFETY: a live value, and a place for the answer.
        let asked = unsafe { ort::Error::result_from_status((ort::api().IsTensor)(self.ptr(), &mut answer)) };
        asked.is_ok() && answer != 0
    }

    /// The first byte of a tensor that is in the processor's memory.
    fn data(&self) -> Result<*const u8, NnError> {
        let (api, mut memory, mut data) = (ort::api(), ptr::null(), ptr::null_mut::<c_void>());
        let mut device = sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU;
        // SAFETY: a live value, whose memory's description lives as long as it does, and places for the answers.
        let found = unsafe {
            ort::Error::result_from_status((api.GetTensorMemoryInfo)(self.ptr(), &mut memory)).and_then(|()| {
                (api.MemoryInfoGetDeviceType)(memory, &mut device);
                ort::Error::result_from_status((api.GetTensorMutableData)(self.0.as_ptr(), &mut data))
            })
        };
        found.map_err(|error| NnError::runtime(error.message()))?;
        match device {
            sys::OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU => Ok(data.cast_const().cast()),
            _ => Err(NnError::runtime("an output was left in the device's memory")),
        }
    }
}

/// An input of a run.
pub(crate) enum Input<'a> {
    /// A view of the caller's bytes.
    View(Value, PhantomData<&'a [u8]>),
    /// A view of an aligned copy of them.
    Copy(Value, #[expect(dead_code, reason = "the view points there")] Vec<u64>),
    /// Strings, which ONNX Runtime copies.
    Strings(DynValue),
}

impl Input<'_> {
    pub fn ptr(&self) -> *const sys::OrtValue {
        match self {
            Input::View(value, _) | Input::Copy(value, _) => value.ptr(),
            Input::Strings(value) => value.ptr(),
        }
    }
}

/// A view of `input` where its bytes are aligned, a copy where they are not; strings are always copied.
///
/// # Errors
/// [`NnError::InvalidInput`] for what ONNX Runtime must not see: booleans other than 0 and 1, strings with NUL bytes or
/// outside UTF-8.
pub(crate) fn to_ort<'a>(memory: &MemoryInfo<'_>, input: &'a NamedTensor) -> Result<Input<'a>, NnError> {
    let (tensor, data) = (&input.tensor, &input.tensor.data()[..]);
    let (ty, shape) = (signature::element_type(tensor.dtype()), &**tensor.shape());
    let Some(size) = tensor.dtype().size() else { return strings(input) };
    if tensor.dtype() == DType::Bool {
        check_booleans(input)?;
    }
    if data.as_ptr().addr().is_multiple_of(size) {
        return Ok(Input::View(Value::view(memory, ty, shape, data)?, PhantomData));
    }
    let mut copy = vec![0u64; data.len().div_ceil(size_of::<u64>())];
    let bytes = &mut bytemuck::cast_slice_mut(&mut copy)[..data.len()];
    bytes.copy_from_slice(data);
    Ok(Input::Copy(Value::view(memory, ty, shape, bytes)?, copy))
}

fn check_booleans(input: &NamedTensor) -> Result<(), NnError> {
    match input.tensor.data().iter().all(|&byte| byte <= 1) {
        true => Ok(()),
        false => Err(NnError::invalid(format!("input `{}` is BOOL and has an element other than 0 and 1", input.name))),
    }
}

fn strings(input: &NamedTensor) -> Result<Input<'_>, NnError> {
    let items: Option<Vec<String>> = input.tensor.strings()?.into_iter().map(text).collect();
    let items = items.ok_or_else(|| {
        NnError::invalid(format!("input `{}` has an element that is not UTF-8 text without NUL bytes", input.name))
    })?;
    let shape = input.tensor.shape().to_vec();
    let value = ort::value::Tensor::from_string_array((shape, items.as_slice())).map_err(NnError::runtime)?;
    Ok(Input::Strings(value.into_dyn()))
}

/// `bytes` as ONNX Runtime takes strings: NUL-terminated UTF-8.
fn text(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned)
}

/// Takes over what a run returned. The bytes stay where ONNX Runtime put them, and live as long as the tensor; only
/// strings, and outputs that are views of one of `inputs`, are copied.
pub(crate) fn from_ort(value: Value, inputs: &[NamedTensor]) -> Result<Tensor, NnError> {
    if !value.is_tensor() {
        return Err(NnError::runtime("an output is no tensor, where the graph promised one"));
    }
    let (ty, shape) = value.type_and_shape().map_err(|error| NnError::runtime(error.message()))?;
    let dtype = signature::dtype(ty).ok_or_else(|| NnError::runtime(format!("an output holds {ty}")))?;
    let shape = shape.iter().map(|&extent| usize::try_from(extent)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(NnError::runtime)?;
    let Some(size) = dtype.size() else { return strings_from_ort(value, shape) };
    let length = shape.iter().try_fold(size, |product, &extent| product.checked_mul(extent));
    let length = length.ok_or_else(|| NnError::runtime("an output has more bytes than can be addressed"))?;
    let output = Output { start: value.data()?, length, _value: value };
    let is_view = inputs.iter().any(|input| overlap(input.tensor.data(), output.as_ref()));
    let data = if is_view { Bytes::copy_from_slice(output.as_ref()) } else { Bytes::from_owner(output) };
    Tensor::new(dtype, shape, data).map_err(NnError::runtime)
}

fn strings_from_ort(value: Value, shape: Vec<usize>) -> Result<Tensor, NnError> {
    // SAFETY: the pointer is a live tensor's, and from here on `ort` alone releases it.
    let value = unsafe { DynValue::from_ptr(std::mem::ManuallyDrop::new(value).0, Some(&Allocator::default())) };
    let (_, items) = value.try_extract_strings().map_err(NnError::runtime)?;
    Tensor::from_strings(shape, &items).map_err(NnError::runtime)
}

fn overlap(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (a.as_ptr_range(), b.as_ptr_range());
    a.start < b.end && b.start < a.end
}

/// An output of a run, in the memory ONNX Runtime allocated for it.
struct Output {
    start: *const u8,
    length: usize,
    _value: Value,
}

// SAFETY: the bytes belong to the value, which may be sent, and nobody writes to them.
unsafe impl Send for Output {}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        if self.start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: a tensor on the processor is one row-major block of as many bytes as its shape and type call for, which
        // is `length`. ONNX Runtime initialised it before the run returned and writes to it no more; it frees it when
        // the value, which keeps its allocator alive, is dropped.
        unsafe { slice::from_raw_parts(self.start, self.length) }
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
        let message = check_booleans(&NamedTensor::new("mask", tensor)).unwrap_err().to_string();
        assert_eq!(message, "input `mask` is BOOL and has an element other than 0 and 1");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_by_name() {
        for bytes in [b"\xff".as_slice(), b"a\0b"] {
            let tensor = Tensor::from_strings([1], &[bytes]).unwrap();
            let message = strings(&NamedTensor::new("words", tensor)).map(|_| ()).unwrap_err().to_string();
            assert_eq!(message, "input `words` has an element that is not UTF-8 text without NUL bytes");
        }
    }
}
