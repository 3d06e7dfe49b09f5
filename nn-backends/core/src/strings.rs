//! The encoding of BYTES elements: a 4-byte little-endian length, then the bytes, one element after the other.
//!
//! This is what the Open Inference Protocol's binary extension sends, so such a body becomes a tensor unchanged.

use crate::TensorError;

/// Writes `items` in the length-prefixed encoding.
///
/// # Panics
/// When an item is 4 GiB or longer; every body that can reach here is bounded far below.
pub fn encode_strings<S: AsRef<[u8]>>(items: &[S]) -> Vec<u8> {
    let mut out = Vec::with_capacity(items.iter().map(|item| 4 + item.as_ref().len()).sum());
    for item in items {
        let item = item.as_ref();
        out.extend_from_slice(&u32::try_from(item.len()).expect("a string under 4 GiB").to_le_bytes());
        out.extend_from_slice(item);
    }
    out
}

/// Reads elements out of the length-prefixed encoding; stops after the first error.
pub struct StringsIter<'a> {
    data: &'a [u8],
    offset: usize,
}

impl<'a> StringsIter<'a> {
    /// Starts at the beginning of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        StringsIter { data, offset: 0 }
    }
}

impl<'a> Iterator for StringsIter<'a> {
    type Item = Result<&'a [u8], TensorError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.data[self.offset..];
        if rest.is_empty() {
            return None;
        }
        let element = rest.split_first_chunk::<4>().and_then(|(prefix, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*prefix)).ok()?;
            rest.get(..length)
        });
        match element {
            Some(element) => {
                self.offset += 4 + element.len();
                Some(Ok(element))
            }
            None => {
                let offset = std::mem::replace(&mut self.offset, self.data.len());
                Some(Err(TensorError::TruncatedString { offset }))
            }
        }
    }
}
