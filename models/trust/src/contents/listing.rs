//! A listing: what a manifest says will come. Enough to judge a signature by, before gigabytes are sent.

use std::collections::BTreeMap;
use std::ops::Range;

use headland_package::Sha256Digest;

use super::{Contents, ContentsError, HashAlgorithm};

/// Sizes in bytes and SHA-256 digests, by path.
#[derive(Clone, Debug, Default)]
pub struct Listing(pub BTreeMap<String, (u64, Sha256Digest)>);

impl Contents for Listing {
    fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.0.get(path).map(|(size, _)| *size)
    }

    fn is_here(&self) -> bool {
        false
    }

    fn digest(
        &self,
        path: &str,
        algorithm: HashAlgorithm,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, ContentsError> {
        let (size, digest) = self.0.get(path).ok_or_else(|| ContentsError::NotFound(path.to_owned()))?;
        let whole = range.is_none_or(|range| range == (0..*size));
        if algorithm == HashAlgorithm::Sha256 && whole {
            Ok(digest.as_bytes().to_vec())
        } else {
            Err(ContentsError::NotThereYet(path.to_owned()))
        }
    }
}
