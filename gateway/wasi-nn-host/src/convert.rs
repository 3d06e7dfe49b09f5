//! Between the guest's types and ours: tensor types, tensors, error codes.

use headland_batcher::Unavailable;
use headland_nn_core::{DType, NamedTensor, NnError, Tensor};
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::resources::{GuestError, GuestTensor};

/// `wasi:nn/tensor.tensor-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum TensorType {
    #[component(name = "FP16")]
    Fp16,
    #[component(name = "FP32")]
    Fp32,
    #[component(name = "FP64")]
    Fp64,
    #[component(name = "BF16")]
    Bf16,
    #[component(name = "U8")]
    U8,
    #[component(name = "I32")]
    I32,
    #[component(name = "I64")]
    I64,
}

/// `wasi:nn/errors.error-code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum ErrorCode {
    /// A caller's mistake: wrong names, types or shapes.
    #[component(name = "invalid-argument")]
    InvalidArgument,
    /// Not a known graph encoding.
    #[component(name = "invalid-encoding")]
    InvalidEncoding,
    /// The deadline passed.
    #[component(name = "timeout")]
    Timeout,
    /// The backend failed, or will not take the request now.
    #[component(name = "runtime-error")]
    RuntimeError,
    /// Something wasi:nn has no form for.
    #[component(name = "unsupported-operation")]
    UnsupportedOperation,
    /// More than a limit allows.
    #[component(name = "too-large")]
    TooLarge,
    /// No such model is loaded.
    #[component(name = "not-found")]
    NotFound,
    /// The app may not do this.
    #[component(name = "security")]
    Security,
    /// Anything else.
    #[component(name = "unknown")]
    Unknown,
}

impl TensorType {
    fn dtype(self) -> DType {
        match self {
            TensorType::Fp16 => DType::F16,
            TensorType::Fp32 => DType::F32,
            TensorType::Fp64 => DType::F64,
            TensorType::Bf16 => DType::BF16,
            TensorType::U8 => DType::U8,
            TensorType::I32 => DType::I32,
            TensorType::I64 => DType::I64,
        }
    }

    /// The guest's type for ours. BOOL has U8's bytes; the rest of the Open Inference Protocol's types wasi:nn lacks.
    fn of(dtype: DType) -> Option<Self> {
        Some(match dtype {
            DType::F16 => TensorType::Fp16,
            DType::F32 => TensorType::Fp32,
            DType::F64 => TensorType::Fp64,
            DType::BF16 => TensorType::Bf16,
            DType::U8 | DType::Bool => TensorType::U8,
            DType::I32 => TensorType::I32,
            DType::I64 => TensorType::I64,
            DType::U16 | DType::U32 | DType::U64 | DType::I8 | DType::I16 | DType::Bytes => return None,
        })
    }
}

/// A guest's tensor as ours, under the type the graph expects where the two share their bytes (U8 for BOOL).
pub(crate) fn to_tensor(name: &str, guest: GuestTensor, expected: Option<DType>) -> Result<Tensor, GuestError> {
    let dtype = match (guest.ty, expected) {
        (TensorType::U8, Some(DType::Bool)) => DType::Bool,
        (ty, _) => ty.dtype(),
    };
    let shape: Vec<usize> = guest.dimensions.iter().map(|&dim| dim as usize).collect();
    Tensor::new(dtype, shape, guest.data)
        .map_err(|error| GuestError { code: ErrorCode::InvalidArgument, data: format!("input `{name}`: {error}") })
}

/// An output as the guest's tensor.
pub(crate) fn to_guest_tensor(output: NamedTensor) -> Result<GuestTensor, GuestError> {
    let NamedTensor { name, tensor } = output;
    let unsupported = |data| GuestError { code: ErrorCode::UnsupportedOperation, data };
    let ty = TensorType::of(tensor.dtype())
        .ok_or_else(|| unsupported(format!("output `{name}` is {}, which wasi:nn has no type for", tensor.dtype())))?;
    let dimensions: Result<Vec<u32>, _> = tensor.shape().iter().map(|&dim| u32::try_from(dim)).collect();
    let dimensions = dimensions
        .map_err(|_| unsupported(format!("output `{name}` has shape {}, beyond wasi:nn's u32", tensor.shape())))?;
    Ok(GuestTensor { dimensions, ty, data: tensor.into_data() })
}

impl From<NnError> for GuestError {
    fn from(error: NnError) -> Self {
        let code = match &error {
            NnError::InvalidInput(_) => ErrorCode::InvalidArgument,
            NnError::TooLarge(_) => ErrorCode::TooLarge,
            NnError::DeadlineExceeded { .. } => ErrorCode::Timeout,
            NnError::Overloaded { .. }
            | NnError::ShuttingDown { .. }
            | NnError::Unreachable { .. }
            | NnError::BrokenOff { .. }
            | NnError::DeviceUnavailable(_)
            | NnError::BadModel(_)
            | NnError::Runtime(_) => ErrorCode::RuntimeError,
        };
        let data = match &error {
            NnError::DeviceUnavailable(_) | NnError::BadModel(_) | NnError::Runtime(_) => {
                "the model failed on this request; the gateway's log has the cause".to_owned()
            }
            _ => error.to_string(),
        };
        GuestError { code, data }
    }
}

impl From<Unavailable> for GuestError {
    /// Of a model that is not there it says only that: which others are is not the guest's to know.
    fn from(error: Unavailable) -> Self {
        let (code, data) = match &error {
            Unavailable::NotLoaded(not_loaded) => {
                (ErrorCode::NotFound, format!("model `{}` is not loaded on this host", not_loaded.asked))
            }
            Unavailable::Denied(_) => (ErrorCode::Security, error.to_string()),
            Unavailable::Broken(_) | Unavailable::NoMemory(_) | Unavailable::Busy(_) => {
                (ErrorCode::RuntimeError, error.to_string())
            }
        };
        GuestError { code, data }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn every_guest_type_comes_back_as_itself() {
        use TensorType::{Bf16, Fp16, Fp32, Fp64, I32, I64, U8};
        for ty in [Fp16, Fp32, Fp64, Bf16, U8, I32, I64] {
            assert_eq!(TensorType::of(ty.dtype()), Some(ty));
        }
    }

    #[test]
    fn a_byte_count_that_does_not_fit_is_an_invalid_argument() {
        let guest = GuestTensor { dimensions: vec![2], ty: TensorType::Fp32, data: Bytes::from_static(&[0; 7]) };
        let error = to_tensor("x", guest, None).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert_eq!(error.data, "input `x`: FP32 [2] needs 8 bytes, got 7");
    }

    #[test]
    fn the_hosts_insides_stay_on_the_host() {
        let error = GuestError::from(NnError::runtime("/var/lib/headland/models/x is on fire"));
        assert_eq!(error.code, ErrorCode::RuntimeError);
        assert!(!error.data.contains("/var"), "{}", error.data);
    }

    #[test]
    fn an_output_type_the_guest_lacks_is_named() {
        let output = NamedTensor::new("label", Tensor::from_strings([1], &["seven"]).unwrap());
        let error = to_guest_tensor(output).map(|_| ()).unwrap_err();
        assert_eq!(error.code, ErrorCode::UnsupportedOperation);
        assert_eq!(error.data, "output `label` is BYTES, which wasi:nn has no type for");
    }
}
