//! The Rust types that tensors are made of.

use crate::TensorType;

/// A number a tensor can hold. FP16 and BF16 have no Rust type; such tensors are made from bytes.
pub trait Element: Copy + sealed::Sealed {
    /// Its `wasi:nn` type.
    const TYPE: TensorType;
}

mod sealed {
    /// Values to and from the little-endian bytes of a tensor.
    pub trait Sealed: Sized {
        fn to_bytes(values: &[Self]) -> Vec<u8>;
        fn from_bytes(bytes: &[u8]) -> Vec<Self>;
    }
}

macro_rules! element {
    ($($rust:ty => $type:ident),*) => {$(
        impl Element for $rust {
            const TYPE: TensorType = TensorType::$type;
        }

        impl sealed::Sealed for $rust {
            fn to_bytes(values: &[Self]) -> Vec<u8> {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }

            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytes.as_chunks().0.iter().map(|chunk| Self::from_le_bytes(*chunk)).collect()
            }
        }
    )*};
}

element!(f32 => Fp32, f64 => Fp64, u8 => U8, i32 => I32, i64 => I64);
