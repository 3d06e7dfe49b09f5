//! GGUF files: what stands in their head, and where their tensors lie.
//!
//! Read by the decoder for its weights, and by `headland-chat` for the tokenizer that stands in the same file.
//!
//! The format is ggml's (docs/gguf.md of its repository), versions 2 and 3. Every count and size in it is a stranger's word:
//! nothing is taken memory for that the file is not as long as, and every tensor is held against the file's end.

use std::collections::BTreeMap;

use bytes::Bytes;
use headland_kernels::{BlockFormat, Storage};

/// The most tensors of a file; models have thousands.
const TENSORS_MAX: u64 = 1 << 16;
/// The most entries of its metadata.
const ENTRIES_MAX: u64 = 1 << 14;
/// Elements of all its arrays together: vocabularies have some hundred thousand, and as many merges.
const ELEMENTS_MAX: u64 = 1 << 22;
/// Arrays within arrays.
const DEPTH_MAX: usize = 4;
/// Axes of a tensor.
const AXES_MAX: u32 = 4;
/// The coarsest alignment of tensors, in bytes.
const ALIGNMENT_MAX: usize = 1 << 16;

/// A file's head.
#[derive(Debug)]
pub struct Gguf {
    entries: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

/// A tensor, in its place.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// How its elements are stored.
    pub storage: Storage,
    /// Extents, that of the elements that lie side by side last.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// An entry of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer of any width.
    Integer(i128),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text. Some tokenizers' is no UTF-8 in places: those bytes are U+FFFD.
    String(String),
    /// Several of one type.
    Array(Vec<Value>),
}

impl Gguf {
    /// Reads a file's head.
    ///
    /// # Errors
    /// What is wrong, and where in the file.
    pub fn parse(file: &Bytes) -> Result<Self, String> {
        let mut reader = Reader { file, at: 0, elements: 0 };
        if reader.take(4)? != b"GGUF" {
            return Err("it does not begin with `GGUF`".to_owned());
        }
        match reader.u32()? {
            2 | 3 => {}
            version => return Err(format!("its version of GGUF is {version}; 2 and 3 are read")),
        }
        let tensors = reader.count("tensors", TENSORS_MAX)?;
        let entries = reader.count("entries of metadata", ENTRIES_MAX)?;
        let entry = |_| {
            let key = reader.string()?;
            let kind = reader.u32()?;
            Ok((key, reader.value(kind, 0)?))
        };
        let entries: BTreeMap<String, Value> = (0..entries).map(entry).collect::<Result<_, String>>()?;
        let infos: Vec<Info> = (0..tensors).map(|_| reader.tensor()).collect::<Result<_, _>>()?;
        let alignment = match entries.get("general.alignment") {
            None => 32,
            Some(value) => usize::try_from(value.integer().unwrap_or(0)).unwrap_or(0),
        };
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
            return Err(format!("its tensors are aligned to {alignment} bytes"));
        }
        let begin = reader.at.next_multiple_of(alignment);
        let tensors = infos.into_iter().map(|info| info.locate(file, begin));
        Ok(Gguf { entries, tensors: tensors.collect::<Result<_, _>>()? })
    }

    /// The entry `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// The tensor `name`.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}

impl Value {
    /// The integer that this is.
    pub fn integer(&self) -> Option<i128> {
        match self {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The number that this is.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Integer(integer) => Some(*integer as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The text that this is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The several that this is.
    pub fn array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The yes or no that this is.
    pub fn bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

/// A tensor as the head describes it.
struct Info {
    name: String,
    shape: Vec<usize>,
    storage: Storage,
    offset: u64,
}

impl Info {
    fn locate(self, file: &Bytes, begin: usize) -> Result<(String, Tensor), String> {
        let Info { name, shape, storage, offset } = self;
        let elements = shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
        // A row is whole blocks: rows are what is read.
        let row = shape.last().and_then(|extent| storage.bytes(*extent));
        let len = elements.and_then(|elements| storage.bytes(elements)).filter(|_| row.is_some());
        let len =
            len.ok_or_else(|| format!("tensor `{name}` of {shape:?} is not made of whole blocks of {storage:?}"))?;
        let start = usize::try_from(offset).ok().and_then(|offset| begin.checked_add(offset));
        let end = start.and_then(|start| start.checked_add(len)).filter(|end| *end <= file.len());
        let (Some(start), Some(end)) = (start, end) else {
            return Err(format!(
                "tensor `{name}` of {shape:?} has {len} bytes at {offset} after {begin}, and the file ends at {}",
                file.len()
            ));
        };
        Ok((name, Tensor { storage, shape, bytes: file.slice(start..end) }))
    }
}

struct Reader<'a> {
    file: &'a Bytes,
    at: usize,
    /// Elements of arrays so far.
    elements: u64,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.file.len());
        let end = end
            .ok_or_else(|| format!("it ends at {}, within something of {len} bytes at {}", self.file.len(), self.at))?;
        let taken = &self.file[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self, of: &str, max: u64) -> Result<u64, String> {
        match self.u64()? {
            count if count <= max => Ok(count),
            count => Err(format!("it says that it has {count} {of}; {max} at most are read")),
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let len = self.u64()?;
        let len = usize::try_from(len).map_err(|_| format!("a text of {len} bytes at {}", self.at))?;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Integer(self.array::<1>()?[0].into()),
            1 => Value::Integer((self.array::<1>()?[0] as i8).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::String(self.string()?),
            9 if depth < DEPTH_MAX => {
                let (kind, count) = (self.u32()?, self.u64()?);
                self.elements = self.elements.saturating_add(count);
                if self.elements > ELEMENTS_MAX {
                    let at = self.at;
                    return Err(format!("an array of {count} elements at {at}; {ELEMENTS_MAX} of all arrays are read"));
                }
                // Room is made as elements come: a lying count takes none.
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value(kind, depth + 1)?);
                }
                Value::Array(values)
            }
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            kind => return Err(format!("an entry of type {kind} at {}", self.at)),
        })
    }

    fn tensor(&mut self) -> Result<Info, String> {
        let name = self.string()?;
        let axes = self.u32()?;
        if !(1..=AXES_MAX).contains(&axes) {
            return Err(format!("tensor `{name}` has {axes} axes"));
        }
        let extent = |reader: &mut Self| {
            let extent = reader.u64()?;
            usize::try_from(extent).map_err(|_| format!("tensor `{name}` has an axis of {extent}"))
        };
        let mut shape: Vec<usize> = (0..axes).map(|_| extent(self)).collect::<Result<_, _>>()?;
        // ggml counts axes from the one whose elements lie side by side.
        shape.reverse();
        let storage = storage(self.u32()?).map_err(|error| format!("tensor `{name}`: {error}"))?;
        Ok(Info { shape, storage, offset: self.u64()?, name })
    }
}

/// The storage that ggml gives this number.
fn storage(number: u32) -> Result<Storage, headland_kernels::UnknownFormat> {
    Ok(match number {
        0 => Storage::F32,
        1 => Storage::F16,
        2 => Storage::Blocks(BlockFormat::Q4_0),
        3 => Storage::Blocks(BlockFormat::Q4_1),
        6 => Storage::Blocks(BlockFormat::Q5_0),
        7 => Storage::Blocks(BlockFormat::Q5_1),
        8 => Storage::Blocks(BlockFormat::Q8_0),
        12 => Storage::Blocks(BlockFormat::Q4K),
        13 => Storage::Blocks(BlockFormat::Q5K),
        14 => Storage::Blocks(BlockFormat::Q6K),
        30 => Storage::BF16,
        other => return Err(headland_kernels::UnknownFormat(other)),
    })
}

#[cfg(test)]
mod tests;
