//! Memory for weights.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// Numbers in pages of their own: aligned, given back as a whole, and in huge pages where the system has some to give.
pub(crate) struct Buffer<N> {
    pages: MmapMut,
    of: PhantomData<N>,
}

impl<N: Pod> Buffer<N> {
    /// `len` zeros.
    ///
    /// # Panics
    /// When there is no memory left, where other allocations abort.
    pub fn zeros(len: usize) -> Self {
        let pages = MmapMut::map_anon(len * size_of::<N>()).expect("memory for weights");
        // A hint: without huge pages all works as well, only slower.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Buffer { pages, of: PhantomData }
    }
}

impl<N: Pod> Deref for Buffer<N> {
    type Target = [N];

    fn deref(&self) -> &[N] {
        bytemuck::cast_slice(&self.pages)
    }
}

impl<N: Pod> DerefMut for Buffer<N> {
    fn deref_mut(&mut self) -> &mut [N] {
        bytemuck::cast_slice_mut(&mut self.pages)
    }
}
