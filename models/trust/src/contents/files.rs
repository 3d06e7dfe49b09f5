//! Files in memory or mapped: the very bytes that are loaded afterwards.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::{Contents, ContentsError, HashAlgorithm};

/// Files by path.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a>(pub &'a BTreeMap<String, Bytes>);

impl Contents for Files<'_> {
    fn paths(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.0.get(path).map(|bytes| bytes.len() as u64)
    }

    fn digest(
        &self,
        path: &str,
        algorithm: HashAlgorithm,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, ContentsError> {
        let missing = || ContentsError::NotFound(path.to_owned());
        let bytes = self.0.get(path).ok_or_else(missing)?;
        let Some(range) = range else { return Ok(algorithm.digest(bytes)) };
        let start = usize::try_from(range.start).map_err(|_| missing())?;
        let end = usize::try_from(range.end).map_err(|_| missing())?;
        Ok(algorithm.digest(bytes.get(start..end).ok_or_else(missing)?))
    }
}
