//! Memory for weights: aligned, so that no vector load crosses a cache line.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
const ALIGNMENT: usize = 64;

/// Zeros to begin with, the first at the start of a cache line.
pub(crate) struct Buffer<N> {
    /// With room in front.
    data: Vec<N>,
    begin: usize,
}

impl<N: Copy + Default> Buffer<N> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let room = ALIGNMENT / size_of::<N>();
        let data = vec![N::default(); len + room];
        // Both ends are counted in elements; that the allocator aligns elements makes the distance a whole number of them.
        let begin = data.as_ptr().addr().wrapping_neg() % ALIGNMENT / size_of::<N>();
        let mut buffer = Buffer { data, begin };
        buffer.data.truncate(begin + len);
        buffer
    }
}

impl<N> Deref for Buffer<N> {
    type Target = [N];

    fn deref(&self) -> &[N] {
        &self.data[self.begin..]
    }
}

impl<N> DerefMut for Buffer<N> {
    fn deref_mut(&mut self) -> &mut [N] {
        &mut self.data[self.begin..]
    }
}
