//! Memory for weights.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;
use memmap2::{MmapMut, MmapRaw};

/// Address space that buffers are cut from, one after the other. What is not touched takes no memory.
const SLAB_BYTES: usize = 64 << 20;

/// Buffers start at cache lines.
const ALIGN: usize = 64;

/// A multiple of every system's pages: what is given back starts and ends there. Advice on less than a page would be taken
/// for the whole of it, and with it for the neighbours' numbers.
const PAGE_BYTES: usize = 64 << 10;

/// The slab that has room left.
static LATEST: Mutex<Option<Arc<Slab>>> = Mutex::new(None);

/// Numbers, at first all zeros: aligned, and in huge pages where the system has some to give. One matrix rarely fills a
/// huge page; a model's matrices, one after the other, do, and a text's way through them then misses no translation.
pub(crate) struct Buffer<N> {
    start: NonNull<N>,
    len: usize,
    slab: Arc<Slab>,
    of: PhantomData<N>,
}

// SAFETY: it owns its numbers, like a `Vec`; no other buffer has a part of them.
unsafe impl<N: Send> Send for Buffer<N> {}
// SAFETY: likewise.
unsafe impl<N: Sync> Sync for Buffer<N> {}

impl<N: Pod> Buffer<N> {
    /// `len` zeros.
    ///
    /// # Panics
    /// When there is no memory left, where other allocations abort.
    pub fn zeros(len: usize) -> Self {
        Buffer::try_zeros(len).expect("memory for weights")
    }

    /// The same.
    ///
    /// # Errors
    /// When the system gives no memory.
    pub fn try_zeros(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<N>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = latest.as_ref().and_then(|slab| Some((slab.cut(bytes)?, slab.clone())));
        let (start, slab) = match cut {
            Some(cut) => cut,
            None => {
                let slab = Arc::new(Slab::new(bytes.max(SLAB_BYTES))?);
                let start = slab.cut(bytes).ok_or(io::ErrorKind::OutOfMemory)?;
                *latest = Some(slab.clone());
                (start, slab)
            }
        };
        Ok(Buffer { start: start.cast(), len, slab, of: PhantomData })
    }
}

impl<N> Drop for Buffer<N> {
    fn drop(&mut self) {
        // Its neighbours may live on: the pages that are all its own go back now.
        let start = self.start.as_ptr().addr();
        let (first, end) = (start.next_multiple_of(PAGE_BYTES), start + self.len * size_of::<N>());
        let whole = end.saturating_sub(first) / PAGE_BYTES * PAGE_BYTES;
        self.slab.give_back(first, whole);
    }
}

impl<N: Pod> Deref for Buffer<N> {
    type Target = [N];

    fn deref(&self) -> &[N] {
        // SAFETY: the slab lives as long as this, the numbers were zeros from the start and any bytes are a number, and
        // nobody else has them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<N: Pod> DerefMut for Buffer<N> {
    fn deref_mut(&mut self) -> &mut [N] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

struct Slab {
    pages: MmapRaw,
    used: Mutex<usize>,
}

impl Slab {
    fn new(bytes: usize) -> io::Result<Self> {
        let pages = MmapMut::map_anon(bytes)?;
        // A hint: without huge pages all works as well, only slower.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Ok(Slab { pages: pages.into(), used: Mutex::new(0) })
    }

    /// The next `bytes` that no buffer has had, if there is room for them: all zeros.
    fn cut(&self, bytes: usize) -> Option<NonNull<u8>> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *used;
        let end = start.checked_add(bytes).filter(|end| *end <= self.pages.len())?;
        *used = end.next_multiple_of(ALIGN);
        NonNull::new(self.pages.as_mut_ptr().wrapping_add(start))
    }

    #[cfg(target_os = "linux")]
    fn give_back(&self, first: usize, bytes: usize) {
        let offset = first - self.pages.as_mut_ptr().addr();
        if bytes > 0 {
            // SAFETY: these pages are a buffer's own that is being dropped, and are not cut again.
            let _ = unsafe { self.pages.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes) };
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn give_back(&self, _first: usize, _bytes: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeros_aligned_and_each_their_own() {
        let mut buffers: Vec<Buffer<f32>> = (1..40).map(|i| Buffer::zeros(i * 1_001)).collect();
        for (i, buffer) in buffers.iter_mut().enumerate() {
            assert_eq!((buffer.as_ptr().addr() % ALIGN, buffer.len()), (0, (i + 1) * 1_001));
            assert!(buffer.iter().all(|x| *x == 0.0));
            buffer.fill(i as f32);
        }
        // Every second one goes, pages and all; the others stay as they are.
        let mut index = 0;
        buffers.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        buffers.extend((1..20).map(|i| Buffer::zeros(i * 777)));
        assert!(buffers[..19].iter().zip((1..).step_by(2)).all(|(buffer, i)| buffer.iter().all(|x| *x == i as f32)));
        assert!(buffers[19..].iter().all(|buffer| buffer.iter().all(|x| *x == 0.0)));
    }

    #[test]
    fn what_is_larger_than_aslab_gets_its_own() {
        let large: Buffer<u8> = Buffer::zeros(SLAB_BYTES + 1);
        assert_eq!((large.len(), large[SLAB_BYTES]), (SLAB_BYTES + 1, 0));
        assert_eq!(Buffer::<f32>::zeros(0).len(), 0);
    }
}
