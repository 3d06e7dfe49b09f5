//! `data` of a JSON tensor: an array, flat or nested, whose elements go straight into typed memory.
//!
//! serde_json drives the visitor, so no tree of values is ever built; the nesting is checked on the way.

use std::fmt;

use headland_nn_core::{DType, MAX_RANK, Shape, Tensor, TensorError};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::sink::{Bools, Floats, Ints, Sink, Strings};

/// The elements of one tensor, and how they were nested.
#[derive(Debug)]
pub(crate) struct Data {
    flat: Tensor,
    nesting: Vec<usize>,
}

/// Data that does not have the shape the request says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShapeError {
    #[error("the data is nested as {nesting}, but the shape is {shape}")]
    Nesting { nesting: Shape, shape: Shape },
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Data {
    /// The tensor, if `shape` is what the data has. A flat array fits every shape of as many elements.
    pub(crate) fn into_tensor(self, shape: Vec<usize>) -> Result<Tensor, ShapeError> {
        if self.nesting.len() > 1 && !shape.starts_with(&self.nesting) {
            return Err(ShapeError::Nesting { nesting: self.nesting.into(), shape: shape.into() });
        }
        Ok(self.flat.reshape(shape)?)
    }
}

/// Reads [`Data`] of elements of `dtype`.
pub(crate) struct DataSeed(pub DType);

impl<'de> DeserializeSeed<'de> for DataSeed {
    type Value = Data;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        match self.0 {
            DType::Bool => collect(Bools::default(), deserializer),
            DType::U8 => collect(Ints::<u8>::default(), deserializer),
            DType::U16 => collect(Ints::<u16>::default(), deserializer),
            DType::U32 => collect(Ints::<u32>::default(), deserializer),
            DType::U64 => collect(Ints::<u64>::default(), deserializer),
            DType::I8 => collect(Ints::<i8>::default(), deserializer),
            DType::I16 => collect(Ints::<i16>::default(), deserializer),
            DType::I32 => collect(Ints::<i32>::default(), deserializer),
            DType::I64 => collect(Ints::<i64>::default(), deserializer),
            DType::F16 => collect(Floats::<half::f16>::default(), deserializer),
            DType::BF16 => collect(Floats::<half::bf16>::default(), deserializer),
            DType::F32 => collect(Floats::<f32>::default(), deserializer),
            DType::F64 => collect(Floats::<f64>::default(), deserializer),
            DType::Bytes => collect(Strings::default(), deserializer),
        }
    }
}

fn collect<'de, S: Sink, D: Deserializer<'de>>(mut sink: S, deserializer: D) -> Result<Data, D::Error> {
    let mut nesting = Nesting::default();
    Walk { sink: &mut sink, nesting: &mut nesting, level: 0 }.deserialize(deserializer)?;
    Ok(Data { flat: sink.finish().map_err(D::Error::custom)?, nesting: nesting.extents() })
}

/// The shape of the arrays so far.
#[derive(Default)]
struct Nesting {
    /// The extent of each level, known once the first array of that level has ended.
    extents: [Option<usize>; MAX_RANK],
    /// The level the elements are on, known from the first of them.
    leaves: Option<usize>,
}

impl Nesting {
    fn leaf<E: Error>(&mut self, level: usize) -> Result<(), E> {
        if self.leaves == Some(level) {
            return Ok(());
        }
        let array_here = self.extents.get(level).copied().flatten().is_some();
        if level == 0 || array_here || self.leaves.is_some() {
            return Err(E::custom(if level == 0 { "`data` must be an array" } else { RAGGED }));
        }
        self.leaves = Some(level);
        Ok(())
    }

    fn open<E: Error>(&self, level: usize) -> Result<(), E> {
        if level >= MAX_RANK {
            return Err(E::custom(format_args!("`data` is nested deeper than {MAX_RANK} levels")));
        }
        if self.leaves.is_some_and(|leaves| leaves <= level) { Err(E::custom(RAGGED)) } else { Ok(()) }
    }

    fn close<E: Error>(&mut self, level: usize, extent: usize) -> Result<(), E> {
        let known = self.extents.get_mut(level).map(|known| *known.get_or_insert(extent));
        if known == Some(extent) { Ok(()) } else { Err(E::custom(RAGGED)) }
    }

    fn extents(&self) -> Vec<usize> {
        self.extents.iter().map_while(|extent| *extent).collect()
    }
}

const RAGGED: &str = "`data` is ragged: all arrays of one level must have one length";

struct Walk<'s, S> {
    sink: &'s mut S,
    nesting: &'s mut Nesting,
    level: usize,
}

impl<S: Sink> Walk<'_, S> {
    fn leaf<E: Error>(self, value: impl fmt::Display + Copy, push: impl FnOnce(&mut S) -> bool) -> Result<(), E> {
        self.nesting.leaf(self.level)?;
        if push(self.sink) { Ok(()) } else { Err(E::custom(format_args!("`{value}` is no {} element", S::DTYPE))) }
    }
}

impl<'de, S: Sink> DeserializeSeed<'de> for Walk<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Walk<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements or arrays of them", S::DTYPE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.nesting.open(self.level)?;
        let mut extent = 0usize;
        loop {
            let inner = Walk { sink: &mut *self.sink, nesting: &mut *self.nesting, level: self.level + 1 };
            if seq.next_element_seed(inner)?.is_none() {
                return self.nesting.close(self.level, extent);
            }
            extent += 1;
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.leaf(value, |sink| sink.unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.leaf(value, |sink| sink.signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.leaf(value, |sink| sink.float(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.leaf(value, |sink| sink.boolean(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.leaf("a string", |sink| sink.text(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(dtype: DType, json: &str, shape: &[usize]) -> Result<Tensor, String> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let data = DataSeed(dtype).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
        data.into_tensor(shape.to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn flat_and_nested_data_are_the_same_tensor() {
        let flat = read(DType::I32, "[1,2,3,-4]", &[2, 2]).unwrap();
        let nested = read(DType::I32, "[[1,2],[3,-4]]", &[2, 2]).unwrap();
        assert_eq!(flat, nested);
        assert_eq!(&*flat.to_slice::<i32>().unwrap(), &[1, 2, 3, -4]);
        assert_eq!(read(DType::I32, "[[],[]]", &[2, 0]).unwrap().data().len(), 0);
    }

    #[test]
    fn sixty_four_bit_integers_are_exact() {
        let tensor = read(DType::I64, "[9223372036854775807,-9223372036854775808]", &[2]).unwrap();
        assert_eq!(&*tensor.to_slice::<i64>().unwrap(), &[i64::MAX, i64::MIN]);
        let tensor = read(DType::U64, "[18446744073709551615]", &[1]).unwrap();
        assert_eq!(&*tensor.to_slice::<u64>().unwrap(), &[u64::MAX]);
    }

    #[test]
    fn every_type_is_read() {
        assert_eq!(&read(DType::Bool, "[true,false]", &[2]).unwrap().data()[..], &[1, 0]);
        assert_eq!(
            read(DType::Bytes, r#"["a\n","ü"]"#, &[2]).unwrap().strings().unwrap(),
            ["a\n".as_bytes(), "ü".as_bytes()]
        );
        let half = read(DType::F16, "[0.5,1]", &[2]).unwrap();
        assert_eq!(&*half.to_slice::<half::f16>().unwrap(), &[half::f16::from_f32(0.5), half::f16::ONE]);
        let brain = read(DType::BF16, "[-2]", &[1]).unwrap();
        assert_eq!(&*brain.to_slice::<half::bf16>().unwrap(), &[half::bf16::from_f32(-2.0)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (dtype, json, shape, expected) in [
            (DType::I8, "[300]", &[1][..], "`300` is no INT8 element at line 1 column 4"),
            (DType::U8, "[-1]", &[1], "`-1` is no UINT8 element"),
            (DType::I32, "[1.5]", &[1], "`1.5` is no INT32 element"),
            (DType::F32, "[true]", &[1], "`true` is no FP32 element"),
            (DType::F32, "[\"1\"]", &[1], "`a string` is no FP32 element"),
            (DType::F32, "[null]", &[1], "invalid type: null, expected FP32 elements or arrays of them"),
            (DType::F32, "1", &[1], "`data` must be an array"),
            (DType::F32, "[[1,2],[3]]", &[2, 2], "ragged"),
            (DType::F32, "[1,[2]]", &[2], "ragged"),
            (DType::F32, "[[2],1]", &[2], "ragged"),
            (DType::F32, "[[[1]],[2]]", &[2], "ragged"),
            (DType::F32, "[[],1]", &[1], "ragged"),
            (DType::F32, "[1,2]", &[3], "shape [3] needs 3 elements, got 2"),
            (DType::F32, "[[1,2,3],[4,5,6]]", &[3, 2], "nested as [2,3], but the shape is [3,2]"),
            (DType::F32, &"[".repeat(40), &[1], "nested deeper than 16 levels"),
        ] {
            let error = read(dtype, json, shape).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nesting_never_changes_the_elements(
            rows in 0usize..6, columns in 1usize..6, seed in prop::collection::vec(any::<f32>(), 36)
        ) {
            let values: Vec<f32> = seed.into_iter().map(|x| if x.is_finite() { x } else { 0.0 }).take(rows * columns).collect();
            let nested: Vec<&[f32]> = values.chunks(columns).collect();
            for json in [serde_json::to_string(&values), serde_json::to_string(&nested)] {
                let tensor = read(DType::F32, &json.unwrap(), &[rows, columns]).unwrap();
                prop_assert_eq!(&*tensor.to_slice::<f32>().unwrap(), &values[..]);
            }
        }

        #[test]
        fn integers_round_trip(values in prop::collection::vec(any::<i64>(), 0..40)) {
            let tensor = read(DType::I64, &serde_json::to_string(&values).unwrap(), &[values.len()]).unwrap();
            prop_assert_eq!(&*tensor.to_slice::<i64>().unwrap(), &values[..]);
        }
    }
}
