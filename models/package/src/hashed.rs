//! Bytes that go with their digest, so that gigabytes are hashed once and not by everyone who has to know.

use bytes::Bytes;

use crate::Sha256Digest;

/// Bytes and the SHA-256 digest that was computed of them. The bytes cannot change; the digest cannot be another's.
#[derive(Clone, Debug)]
pub struct Hashed {
    bytes: Bytes,
    sha256: Sha256Digest,
}

impl Hashed {
    /// Hashes `bytes`.
    pub fn of(bytes: Bytes) -> Self {
        Hashed { sha256: Sha256Digest::of(&bytes), bytes }
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Their digest.
    pub fn sha256(&self) -> Sha256Digest {
        self.sha256
    }
}

/// Bytes whose digest may be known already.
pub trait FileBytes: Send + Sync {
    /// The bytes.
    fn bytes(&self) -> &Bytes;

    /// Their digest, if it was computed of them before.
    fn known_sha256(&self) -> Option<Sha256Digest> {
        None
    }
}

impl FileBytes for Bytes {
    fn bytes(&self) -> &Bytes {
        self
    }
}

impl FileBytes for Hashed {
    fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn known_sha256(&self) -> Option<Sha256Digest> {
        Some(self.sha256)
    }
}
