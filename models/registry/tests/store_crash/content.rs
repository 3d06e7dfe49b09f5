//! What parent and child both know: the bytes of each blob follow from its number.

use headland_package::Sha256Digest;
use headland_registry::store::Repository;

const BLOB_BYTES_MAX: u64 = 100_000;

/// A small generator: the same seed makes the same choices on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// A blob's bytes follow from its number, so the parent knows them too.
pub fn content(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let len = random.below(BLOB_BYTES_MAX);
    (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}

pub fn repository() -> Repository {
    "models/m".parse().unwrap()
}

/// Each child's manifests are about a subject of their own.
pub fn subject(seed: u64) -> Sha256Digest {
    Sha256Digest::of(&seed.to_le_bytes())
}
