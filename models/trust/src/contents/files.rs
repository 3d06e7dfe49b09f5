//! Files in memory or mapped: the very bytes that are loaded afterwards.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use headland_package::FileBytes;

use super::{Contents, ContentsError, HashAlgorithm};

/// Files by path. A digest that is known of them is not computed again.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a, B = Bytes>(pub &'a BTreeMap<String, B>);

impl<B: FileBytes> Contents for Files<'_, B> {
    fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.0.get(path).map(|file| file.bytes().len() as u64)
    }

    fn digest(
        &self,
        path: &str,
        algorithm: HashAlgorithm,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, ContentsError> {
        let missing = || ContentsError::NotFound(path.to_owned());
        let file = self.0.get(path).ok_or_else(missing)?;
        let bytes = file.bytes();
        let Some(range) = range else {
            return Ok(match file.known_sha256().filter(|_| algorithm == HashAlgorithm::Sha256) {
                Some(known) => known.as_bytes().to_vec(),
                None => algorithm.digest(bytes),
            });
        };
        let start = usize::try_from(range.start).map_err(|_| missing())?;
        let end = usize::try_from(range.end).map_err(|_| missing())?;
        Ok(algorithm.digest(bytes.get(start..end).ok_or_else(missing)?))
    }
}
