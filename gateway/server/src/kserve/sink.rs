//! Where the elements of a JSON array go: typed vectors that become a tensor without another copy.

use headland_nn_core::{DType, Element, Tensor, TensorError};

/// Takes elements one by one. Each method says whether the value is one of the sink's type.
pub(crate) trait Sink {
    const DTYPE: DType;

    fn unsigned(&mut self, _value: u64) -> bool {
        false
    }
    fn signed(&mut self, _value: i64) -> bool {
        false
    }
    fn float(&mut self, _value: f64) -> bool {
        false
    }
    fn boolean(&mut self, _value: bool) -> bool {
        false
    }
    fn text(&mut self, _value: &str) -> bool {
        false
    }

    /// The elements as a tensor of one axis.
    fn finish(self) -> Result<Tensor, TensorError>;
}

fn push<T, E>(values: &mut Vec<T>, value: Result<T, E>) -> bool {
    value.map(|value| values.push(value)).is_ok()
}

/// Integers, exact.
#[derive(Default)]
pub(crate) struct Ints<T>(Vec<T>);

impl<T: Element + TryFrom<u64> + TryFrom<i64>> Sink for Ints<T> {
    const DTYPE: DType = T::DTYPE;

    fn unsigned(&mut self, value: u64) -> bool {
        push(&mut self.0, T::try_from(value))
    }
    fn signed(&mut self, value: i64) -> bool {
        push(&mut self.0, T::try_from(value))
    }
    fn finish(self) -> Result<Tensor, TensorError> {
        Tensor::from_vec([self.0.len()], self.0)
    }
}

/// A floating-point type, rounded to from JSON's double.
pub(crate) trait Float: Element {
    fn round(value: f64) -> Self;
}

impl Float for f64 {
    fn round(value: f64) -> Self {
        value
    }
}
impl Float for f32 {
    fn round(value: f64) -> Self {
        value as f32
    }
}
impl Float for half::f16 {
    fn round(value: f64) -> Self {
        half::f16::from_f64(value)
    }
}
impl Float for half::bf16 {
    fn round(value: f64) -> Self {
        half::bf16::from_f64(value)
    }
}

/// Floating-point numbers. JSON's integers are numbers too.
#[derive(Default)]
pub(crate) struct Floats<T>(Vec<T>);

impl<T: Float> Sink for Floats<T> {
    const DTYPE: DType = T::DTYPE;

    fn unsigned(&mut self, value: u64) -> bool {
        self.float(value as f64)
    }
    fn signed(&mut self, value: i64) -> bool {
        self.float(value as f64)
    }
    fn float(&mut self, value: f64) -> bool {
        self.0.push(T::round(value));
        true
    }
    fn finish(self) -> Result<Tensor, TensorError> {
        Tensor::from_vec([self.0.len()], self.0)
    }
}

/// `true` and `false`, one byte each.
#[derive(Default)]
pub(crate) struct Bools(Vec<u8>);

impl Sink for Bools {
    const DTYPE: DType = DType::Bool;

    fn boolean(&mut self, value: bool) -> bool {
        self.0.push(value.into());
        true
    }
    fn finish(self) -> Result<Tensor, TensorError> {
        Tensor::new(DType::Bool, [self.0.len()], self.0.into())
    }
}

/// Strings, in the length-prefixed encoding BYTES tensors have.
#[derive(Default)]
pub(crate) struct Strings {
    data: Vec<u8>,
    count: usize,
}

impl Strings {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

impl Sink for Strings {
    const DTYPE: DType = DType::Bytes;

    fn text(&mut self, value: &str) -> bool {
        let Ok(length) = u32::try_from(value.len()) else { return false };
        self.data.extend_from_slice(&length.to_le_bytes());
        self.data.extend_from_slice(value.as_bytes());
        self.count += 1;
        true
    }
    fn finish(self) -> Result<Tensor, TensorError> {
        Tensor::new(DType::Bytes, [self.count], self.data.into())
    }
}
