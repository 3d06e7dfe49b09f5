//! Mapped files, and how their pages leave this process's memory again.
//!
//! A model is read once from front to back, to be verified, and again to be packed for the kernels. Then most of it is not
//! looked at any more, and its pages would stay in this process's resident memory beside what was packed of them. They can
//! go: whoever reads on finds them in the system's page cache.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use bytes::Bytes;
use memmap2::{Mmap, UncheckedAdvice};

/// The mappings there are, by their address: a slice of [`Bytes`] does not say what it is a part of.
static MAPPINGS: LazyLock<Mutex<BTreeMap<usize, Weak<Mmap>>>> = LazyLock::new(Mutex::default);

/// A mapping as bytes, so that [`release`] knows it.
pub fn bytes(map: Mmap) -> Bytes {
    let map = Arc::new(map);
    let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    mappings.retain(|_, map| map.strong_count() > 0);
    mappings.insert(map.as_ptr().addr(), Arc::downgrade(&map));
    Bytes::from_owner(Shared(map))
}

struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Takes the pages of the mapping that `part` lies in out of this process's resident memory, until they are read again.
/// Does nothing where `part` is no part of a mapping.
pub fn release(part: &Bytes) {
    let address = part.as_ptr().addr();
    let mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((start, map)) = mappings.range(..=address).next_back() else { return };
    let Some(map) = map.upgrade().filter(|map| address - start < map.len()) else { return };
    // SAFETY: the mapping is of a file and read-only, so its pages hold what the file holds, before and after.
    let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn resident_kib(bytes: &Bytes) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", bytes.as_ptr().addr());
        let own = smaps.split_once(&start).unwrap().1;
        let rss = own.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn released_pages_leave_memory_and_read_the_same_again() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
        file.write_all(&content).unwrap();
        // SAFETY: nobody else has the file.
        let mapped = bytes(unsafe { Mmap::map(&file).unwrap() });
        assert_eq!(mapped, content);
        assert!(resident_kib(&mapped) >= 1 << 10, "{} KiB", resident_kib(&mapped));
        release(&mapped.slice(5000..6000));
        assert_eq!(resident_kib(&mapped), 0);
        assert_eq!(mapped, content);
    }

    #[test]
    fn what_is_not_mapped_stays_as_it_is() {
        let heap = Bytes::from(vec![7; 1 << 16]);
        release(&heap);
        assert_eq!(heap, vec![7; 1 << 16]);
        release(&Bytes::from_static(b"abc"));
    }
}
