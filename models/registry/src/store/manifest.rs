//! What the store reads in a manifest: which blobs and manifests it is made of, and whose referrer it is. Pure.
//!
//! Image manifests and indexes of the OCI image specification 1.1, and their Docker ancestors, which have the same fields.
//! What the parts mean (a model, a component, a signature) is for others to judge.

use std::collections::BTreeMap;

use headland_package::Sha256Digest;
use serde::Deserialize;

use super::StoreError;

/// The largest manifest, in bytes; the distribution specification's number.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// The most blobs, or manifests, that one manifest may name.
pub const MANIFEST_PARTS_MAX: usize = 2_001;
/// The most bytes of annotations, which every referrers listing repeats.
const ANNOTATIONS_BYTES_MAX: usize = 64 << 10;
/// How much of a foreign media type is shown.
const SHOWN_CHARS_MAX: usize = 120;

/// Media types of manifests that name a config and layers.
pub const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// Media types of manifests that name manifests.
pub const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// Something a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) digest: Sha256Digest,
    pub(super) size: u64,
}

/// A manifest, read as far as the store needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) subject: Option<Sha256Digest>,
    pub(super) blobs: Vec<Part>,
    pub(super) manifests: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    subject: Option<RawDescriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
}

fn invalid(problem: impl Into<String>) -> StoreError {
    StoreError::ManifestInvalid { problem: problem.into() }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
}

impl RawDescriptor {
    fn part(&self) -> Result<Part, StoreError> {
        let digest = self.digest.parse().map_err(|error| invalid(format!("`{}`: {error}", shown(&self.digest))))?;
        Ok(Part { digest, size: self.size })
    }
}

fn parts(raw: &[RawDescriptor]) -> Result<Vec<Part>, StoreError> {
    if raw.len() > MANIFEST_PARTS_MAX {
        return Err(invalid(format!("it names {} parts, and {MANIFEST_PARTS_MAX} are the most", raw.len())));
    }
    raw.iter().map(RawDescriptor::part).collect()
}

/// Reads a manifest that came with this media type.
pub(super) fn parse(media_type: &str, bytes: &[u8]) -> Result<Parsed, StoreError> {
    let is_index = match media_type {
        _ if MANIFEST_TYPES.contains(&media_type) => false,
        _ if INDEX_TYPES.contains(&media_type) => true,
        _ => return Err(StoreError::ManifestType { given: shown(media_type) }),
    };
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(invalid(format!("it has {} bytes, and {MANIFEST_BYTES_MAX} are the most", bytes.len())));
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| invalid(shown(&error.to_string())))?;
    check_kind(&raw, media_type, is_index)?;
    let annotations = raw.annotations.unwrap_or_default();
    if annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > ANNOTATIONS_BYTES_MAX {
        return Err(invalid(format!("its annotations have more than {ANNOTATIONS_BYTES_MAX} bytes")));
    }
    let mut blobs = parts(&raw.layers.unwrap_or_default())?;
    let config_type = raw.config.as_ref().map(|config| config.media_type.clone());
    blobs.extend(raw.config.map(|config| config.part()).transpose()?);
    let manifests = parts(&raw.manifests.unwrap_or_default())?;
    let subject = raw.subject.map(|subject| subject.part()).transpose()?.map(|part| part.digest);
    // The image specification: an image manifest without an artifact type is of its config's type.
    let artifact_type = raw.artifact_type.filter(|text| !text.is_empty()).or(config_type);
    Ok(Parsed { artifact_type, annotations, subject, blobs, manifests })
}

/// A manifest is what its media type says and nothing else besides: a document that is both an image and an index means
/// different things to different readers.
fn check_kind(raw: &Raw, media_type: &str, is_index: bool) -> Result<(), StoreError> {
    if raw.schema_version != 2 {
        return Err(invalid(format!("its schemaVersion is {}, not 2", raw.schema_version)));
    }
    match &raw.media_type {
        Some(inner) if inner != media_type => {
            return Err(invalid(format!("it says it is `{}` and came as `{media_type}`", shown(inner))));
        }
        _ => {}
    }
    match (is_index, raw.config.is_some(), raw.layers.is_some(), raw.manifests.is_some()) {
        (true, false, false, true) | (false, true, true, false) => Ok(()),
        (true, ..) => Err(invalid("an index has `manifests`, and neither `config` nor `layers`")),
        (false, ..) => Err(invalid("an image manifest has `config` and `layers`, and no `manifests`")),
    }
}

#[cfg(test)]
mod tests;
