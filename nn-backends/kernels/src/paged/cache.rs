//! The memory of keys and values.

use std::io;

use super::super::matrix::{Element, Half};
use crate::memory::Buffer;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 16;

/// In what numbers keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStorage {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
}

/// Keys and values of all layers, in pages.
pub struct KeyValueCache {
    pages: usize,
    layers: usize,
    heads: usize,
    head_size: usize,
    data: Data,
}

enum Data {
    F32(Buffer<f32>),
    F16(Buffer<Half>),
}

/// Values of a head are whole vectors.
const fn padded(head_size: usize) -> usize {
    head_size.next_multiple_of(crate::simd::LANES_MAX)
}

/// Elements of a layer's head in a page: keys, then values.
const fn head_elements(head_size: usize) -> usize {
    PAGE_TOKENS * (head_size + padded(head_size))
}

impl CacheStorage {
    /// Bytes of a page, if they can be counted.
    pub fn page_bytes(self, layers: usize, heads: usize, head_size: usize) -> Option<usize> {
        let element = match self {
            CacheStorage::F32 => 4,
            CacheStorage::F16 => 2,
        };
        let padded = head_size.checked_next_multiple_of(crate::simd::LANES_MAX)?;
        [PAGE_TOKENS, layers, heads, element].into_iter().try_fold(head_size.checked_add(padded)?, usize::checked_mul)
    }
}

impl KeyValueCache {
    /// Empty pages. Memory that was never written takes none.
    ///
    /// # Errors
    /// When the system gives no memory for them.
    pub fn new(storage: CacheStorage, pages: usize, layers: usize, heads: usize, head_size: usize) -> io::Result<Self> {
        let bytes = storage.page_bytes(layers, heads, head_size).and_then(|bytes| bytes.checked_mul(pages));
        bytes.ok_or(io::ErrorKind::OutOfMemory)?;
        let elements = pages * layers * heads * head_elements(head_size);
        let data = match storage {
            CacheStorage::F32 => Data::F32(Buffer::try_zeros(elements)?),
            CacheStorage::F16 => Data::F16(Buffer::try_zeros(elements)?),
        };
        Ok(KeyValueCache { pages, layers, heads, head_size, data })
    }

    /// Pages there are.
    pub fn pages(&self) -> usize {
        self.pages
    }

    pub(super) fn fits(&self, layer: usize, heads: usize, head_size: usize) -> bool {
        layer < self.layers && (heads, head_size) == (self.heads, self.head_size)
    }

    /// Writes the keys and values of one token of a layer, head after head, to the place of `position` in its page.
    ///
    /// # Panics
    /// When they are no keys and values of all heads, or when there is no such layer or page.
    pub fn write(&mut self, layer: usize, page: u32, position: usize, keys: &[f32], values: &[f32]) {
        let (heads, size) = (self.heads, self.head_size);
        assert!(keys.len() == heads * size && values.len() == heads * size, "keys of {heads} heads of {size}");
        assert!(layer < self.layers && (page as usize) < self.pages, "page {page}, layer {layer}");
        let start = self.start(layer, 0, page);
        let elements = start..start + heads * head_elements(size);
        let slot = position % PAGE_TOKENS;
        match &mut self.data {
            Data::F32(data) => write(&mut data[elements], size, slot, keys, values, |x| x),
            Data::F16(data) => {
                write(&mut data[elements], size, slot, keys, values, |x| Half(half::f16::from_f32(x).to_bits()))
            }
        }
    }

    fn start(&self, layer: usize, head: usize, page: u32) -> usize {
        ((page as usize * self.layers + layer) * self.heads + head) * head_elements(self.head_size)
    }

    /// Does something with the elements, whatever they are.
    #[inline(always)]
    pub(super) fn with<U: Use>(&self, layer: usize, head: usize, work: U) {
        let stride = self.layers * self.heads * head_elements(self.head_size);
        let first = self.start(layer, head, 0);
        match &self.data {
            Data::F32(data) => work.of(Head { data: &data[first..], stride, size: self.head_size }),
            Data::F16(data) => work.of(Head { data: &data[first..], stride, size: self.head_size }),
        }
    }
}

/// What is done with elements of either type.
pub(super) trait Use {
    fn of<E: Element>(self, head: Head<E>);
}

/// A layer's head in all pages.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, E> {
    data: &'a [E],
    stride: usize,
    size: usize,
}

impl<'a, E> Head<'a, E> {
    /// The keys of a page: for each of their elements a row of all tokens.
    #[inline(always)]
    pub fn keys(&self, page: u32) -> &'a [E] {
        &self.data[page as usize * self.stride..][..self.size * PAGE_TOKENS]
    }

    /// The values of a page: a row for each token, as wide as [`Self::width`].
    #[inline(always)]
    pub fn values(&self, page: u32) -> &'a [E] {
        &self.data[page as usize * self.stride + self.size * PAGE_TOKENS..][..self.width() * PAGE_TOKENS]
    }

    #[inline(always)]
    pub fn width(&self) -> usize {
        padded(self.size)
    }
}

fn write<E>(page: &mut [E], size: usize, slot: usize, keys: &[f32], values: &[f32], element: impl Fn(f32) -> E) {
    let heads = keys.chunks_exact(size).zip(values.chunks_exact(size));
    for (page, (keys, values)) in page.chunks_exact_mut(head_elements(size)).zip(heads) {
        let (page_keys, page_values) = page.split_at_mut(size * PAGE_TOKENS);
        for (key, row) in keys.iter().zip(page_keys.chunks_exact_mut(PAGE_TOKENS)) {
            row[slot] = element(*key);
        }
        let row = &mut page_values[slot * padded(size)..];
        row.iter_mut().zip(values).for_each(|(place, value)| *place = element(*value));
    }
}
