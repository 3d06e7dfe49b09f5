//! Tensors: an element type, a shape and shared bytes. Cloning copies a pointer, never the data.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::strings::{StringsIter, encode_strings};
use crate::{DType, Element};

/// The most axes a tensor may have. ONNX Runtime's and candle's practical limits are far above any real model.
pub const MAX_RANK: usize = 16;

/// The extents of a tensor, outermost first. Rank 0 is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The number of elements, or `None` if it overflows `usize`.
    pub fn elements(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
    }
}

impl std::ops::Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Shape(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why bytes are not the tensor they are said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape has more than [`MAX_RANK`] axes.
    #[error("a shape of {0} dimensions; at most {MAX_RANK} are supported")]
    RankTooHigh(usize),
    /// The element count or byte length does not fit the address space.
    #[error("shape {0} has more elements than can be addressed")]
    ShapeOverflows(Shape),
    /// The byte length does not follow from shape and type.
    #[error("{dtype} {shape} needs {expected} bytes, got {actual}")]
    WrongByteLength {
        /// Element type.
        dtype: DType,
        /// Declared shape.
        shape: Shape,
        /// Bytes the two call for.
        expected: usize,
        /// Bytes that came.
        actual: usize,
    },
    /// The number of elements does not follow from the shape.
    #[error("shape {shape} needs {expected} elements, got {actual}")]
    WrongElementCount {
        /// Declared shape.
        shape: Shape,
        /// Elements the shape calls for.
        expected: usize,
        /// Elements that came.
        actual: usize,
    },
    /// A length prefix inside BYTES data points past the end.
    #[error("BYTES data is cut short: the element at byte {offset} says it is longer than what is left")]
    TruncatedString {
        /// Offset of the element's length prefix.
        offset: usize,
    },
    /// The tensor was read as another type than it has.
    #[error("the tensor holds {actual}, not {expected}")]
    WrongType {
        /// Type the reader wanted.
        expected: DType,
        /// Type of the tensor.
        actual: DType,
    },
}

/// A tensor in row-major order, little-endian. Cheap to clone: the bytes are shared.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    data: Bytes,
}

impl Tensor {
    /// Takes `data` as it is, after checking that its length follows from `dtype` and `shape`.
    ///
    /// # Errors
    /// When it does not, or the shape is out of bounds.
    pub fn new(dtype: DType, shape: impl Into<Shape>, data: Bytes) -> Result<Self, TensorError> {
        let shape = shape.into();
        let elements = checked_elements(&shape)?;
        match dtype.size() {
            Some(size) => {
                let expected = elements.checked_mul(size).ok_or_else(|| TensorError::ShapeOverflows(shape.clone()))?;
                if data.len() != expected {
                    return Err(TensorError::WrongByteLength { dtype, shape, expected, actual: data.len() });
                }
            }
            None => {
                let mut actual = 0;
                for item in StringsIter::new(&data) {
                    item?;
                    actual += 1;
                }
                if actual != elements {
                    return Err(TensorError::WrongElementCount { shape, expected: elements, actual });
                }
            }
        }
        Ok(Tensor { dtype, shape, data })
    }

    /// Takes ownership of `values` without copying them.
    ///
    /// # Errors
    /// When the shape calls for another number of elements.
    pub fn from_vec<T: Element>(shape: impl Into<Shape>, values: Vec<T>) -> Result<Self, TensorError> {
        let shape = shape.into();
        let expected = checked_elements(&shape)?;
        if values.len() != expected {
            return Err(TensorError::WrongElementCount { shape, expected, actual: values.len() });
        }
        Ok(Tensor { dtype: T::DTYPE, shape, data: Bytes::from_owner(OwnedElements(values)) })
    }

    /// A BYTES tensor from strings.
    ///
    /// # Errors
    /// When the shape calls for another number of elements.
    pub fn from_strings<S: AsRef<[u8]>>(shape: impl Into<Shape>, items: &[S]) -> Result<Self, TensorError> {
        let shape = shape.into();
        let expected = checked_elements(&shape)?;
        if items.len() != expected {
            return Err(TensorError::WrongElementCount { shape, expected, actual: items.len() });
        }
        Ok(Tensor { dtype: DType::Bytes, shape, data: encode_strings(items).into() })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The bytes, row-major and little-endian.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Gives the bytes up without copying them.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// The elements as `T`: borrowed where the bytes are aligned for `T` (the rule), copied where they are not (the
    /// middle of a network body, at times).
    ///
    /// # Errors
    /// [`TensorError::WrongType`] when the tensor holds another type.
    pub fn to_slice<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        if self.dtype != T::DTYPE {
            return Err(TensorError::WrongType { expected: T::DTYPE, actual: self.dtype });
        }
        Ok(match bytemuck::try_cast_slice(&self.data) {
            Ok(aligned) => Cow::Borrowed(aligned),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(&self.data)),
        })
    }

    /// The elements of a BYTES tensor, in order.
    ///
    /// # Errors
    /// [`TensorError::WrongType`] when the tensor holds another type.
    pub fn strings(&self) -> Result<Vec<&[u8]>, TensorError> {
        if self.dtype != DType::Bytes {
            return Err(TensorError::WrongType { expected: DType::Bytes, actual: self.dtype });
        }
        StringsIter::new(&self.data).collect()
    }

    /// The same bytes under another shape of as many elements, without copying.
    ///
    /// # Errors
    /// [`TensorError::WrongElementCount`] when the new shape has another number of elements.
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Self, TensorError> {
        let shape = shape.into();
        let (expected, actual) = (checked_elements(&shape)?, self.shape.elements().unwrap_or(0));
        if expected != actual {
            return Err(TensorError::WrongElementCount { shape, expected, actual });
        }
        Ok(Tensor { shape, ..self })
    }
}

fn checked_elements(shape: &Shape) -> Result<usize, TensorError> {
    if shape.len() > MAX_RANK {
        return Err(TensorError::RankTooHigh(shape.len()));
    }
    shape.elements().ok_or_else(|| TensorError::ShapeOverflows(shape.clone()))
}

impl fmt::Debug for Tensor {
    /// Type and shape only: tensors are large, and may hold what must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {})", self.dtype, self.shape)
    }
}

/// Lets `Bytes` own a typed vector, keeping its alignment.
struct OwnedElements<T>(Vec<T>);

impl<T: bytemuck::Pod> AsRef<[u8]> for OwnedElements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shares_its_bytes() {
        let tensor = Tensor::from_vec([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(tensor.data().as_ptr(), tensor.clone().data().as_ptr());
    }

    #[test]
    fn a_wrong_byte_length_names_what_it_should_be() {
        let error = Tensor::new(DType::F32, [2, 3], Bytes::from_static(&[0; 20])).unwrap_err();
        assert_eq!(error.to_string(), "FP32 [2,3] needs 24 bytes, got 20");
    }

    #[test]
    fn a_shape_that_overflows_is_refused() {
        let error = Tensor::new(DType::U8, [usize::MAX, 2], Bytes::new()).unwrap_err();
        assert!(matches!(error, TensorError::ShapeOverflows(_)), "{error}");
        let error = Tensor::new(DType::F64, [usize::MAX / 4], Bytes::new()).unwrap_err();
        assert!(matches!(error, TensorError::ShapeOverflows(_)), "{error}");
    }

    #[test]
    fn a_zero_extent_is_an_empty_tensor() {
        let tensor = Tensor::new(DType::F32, [0, 384], Bytes::new()).unwrap();
        assert!(tensor.to_slice::<f32>().unwrap().is_empty());
    }

    #[test]
    fn misaligned_bytes_are_copied_not_misread() {
        let mut raw = vec![0u8];
        raw.extend_from_slice(bytemuck::cast_slice(&[1.5f32, -2.0]));
        let shifted = Bytes::from(raw).slice(1..);
        let tensor = Tensor::new(DType::F32, [2], shifted).unwrap();
        assert_eq!(&*tensor.to_slice::<f32>().unwrap(), &[1.5, -2.0]);
    }

    #[test]
    fn reading_as_another_type_is_an_error() {
        let tensor = Tensor::from_vec([1], vec![1i64]).unwrap();
        let error = tensor.to_slice::<f32>().unwrap_err();
        assert_eq!(error.to_string(), "the tensor holds INT64, not FP32");
    }

    #[test]
    fn strings_round_trip() {
        let tensor = Tensor::from_strings([2, 1], &["", "grüße"]).unwrap();
        assert_eq!(tensor.strings().unwrap(), [b"".as_slice(), "grüße".as_bytes()]);
        assert_eq!(Tensor::new(DType::Bytes, [2, 1], tensor.data().clone()).unwrap(), tensor);
    }

    #[test]
    fn a_lying_length_prefix_is_refused() {
        let error = Tensor::new(DType::Bytes, [1], Bytes::from_static(&[255, 255, 255, 255, 1])).unwrap_err();
        assert_eq!(error, TensorError::TruncatedString { offset: 0 });
    }
}
