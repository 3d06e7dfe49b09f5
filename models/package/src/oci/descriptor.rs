//! Descriptors: how a manifest refers to content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::bounded_annotations;
use crate::Sha256Digest;

/// A reference to content: its type, digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Its digest; sha256 is the one algorithm that is kept here.
    pub digest: Sha256Digest,
    /// Its bytes.
    pub size: u64,
    /// What kind of artifact the content describes, if it is a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Anything else.
    #[serde(default, deserialize_with = "bounded_annotations", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Describes `content`.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Descriptor::new(media_type, Sha256Digest::of(content), content.len() as u64)
    }

    /// Describes content by its digest.
    pub fn new(media_type: &str, digest: Sha256Digest, size: u64) -> Self {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The same, with an annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }
}
