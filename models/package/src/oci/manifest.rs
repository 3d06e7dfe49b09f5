//! OCI manifests and indexes, read strictly where an ambiguity could make two readers see two things.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{JSON_DEPTH_MAX, bounded_annotations, bounded_list, too_deep};
use super::{
    ARTIFACT_TYPE_APP, ARTIFACT_TYPE_MODEL, ARTIFACT_TYPE_SIGNATURE, Descriptor, EMPTY_CONFIG, MANIFEST_BYTES_MAX,
    MEDIA_TYPE_DOCKER_LIST, MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_TYPE_EMPTY, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST,
};

/// An image manifest: a config and layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: SchemaVersion,
    /// [`MEDIA_TYPE_MANIFEST`], or Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config blob.
    pub config: Descriptor,
    /// The content blobs.
    #[serde(deserialize_with = "bounded_list")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one is about; a signature's is what it signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Anything else.
    #[serde(default, deserialize_with = "bounded_annotations", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, rename = "manifests", skip_serializing)]
    foreign: Option<Never>,
}

/// An index: a list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: SchemaVersion,
    /// [`MEDIA_TYPE_INDEX`], or Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What kind of artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(deserialize_with = "bounded_list")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Anything else.
    #[serde(default, deserialize_with = "bounded_annotations", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, rename = "layers", skip_serializing)]
    foreign_layers: Option<Never>,
    #[serde(default, rename = "config", skip_serializing)]
    foreign_config: Option<Never>,
}

/// The number 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct SchemaVersion;

impl TryFrom<u64> for SchemaVersion {
    type Error = String;

    fn try_from(version: u64) -> Result<Self, String> {
        if version == 2 { Ok(SchemaVersion) } else { Err(format!("schemaVersion is {version}; it must be 2")) }
    }
}

impl From<SchemaVersion> for u64 {
    fn from(SchemaVersion: SchemaVersion) -> u64 {
        2
    }
}

/// A field that must not be there: a document that is manifest and index at once means one thing to one reader and
/// another to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Never {}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(
            "a manifest has `config` and `layers`, an index `manifests`, and neither has the other's",
        ))
    }
}

/// What can be put under a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// A manifest, OCI's or Docker's.
    Manifest(Manifest),
    /// A list of manifests, OCI's or Docker's.
    Index(Index),
}

/// What kind of artifact a manifest says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactKind {
    /// A model, as ModelPack writes it.
    Model,
    /// An app.
    App,
    /// A sigstore bundle about another manifest.
    Signature,
    /// Anything else: stored, never loaded.
    Other,
}

/// Bytes that are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Beyond the limit.
    #[error("the manifest has {0} bytes; at most {MANIFEST_BYTES_MAX} are accepted")]
    TooLarge(usize),
    /// Nested beyond the limit.
    #[error("the manifest nests deeper than {JSON_DEPTH_MAX} levels")]
    TooDeep,
    /// A media type nobody here knows.
    #[error("manifests of media type `{0}` are not accepted; write `{MEDIA_TYPE_MANIFEST}` or `{MEDIA_TYPE_INDEX}`")]
    UnknownMediaType(String),
    /// The bytes contradict the type they were announced with.
    #[error("sent as `{announced}`, but the manifest says `mediaType` is `{stated}`")]
    MediaTypeMismatch {
        /// The request's content type.
        announced: String,
        /// What stands in the manifest.
        stated: String,
    },
    /// Not JSON, or not a manifest.
    #[error("not a manifest")]
    Json(#[from] serde_json::Error),
}

impl Document {
    /// Reads a manifest or index that was announced as `media_type`.
    ///
    /// # Errors
    /// [`ManifestError`]: too large, too deep, of an unknown or contradicting type, or not what the image
    /// specification describes.
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        let is_index = match media_type {
            MEDIA_TYPE_MANIFEST | MEDIA_TYPE_DOCKER_MANIFEST => false,
            MEDIA_TYPE_INDEX | MEDIA_TYPE_DOCKER_LIST => true,
            other => return Err(ManifestError::UnknownMediaType(other.chars().take(128).collect())),
        };
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        if too_deep(bytes) {
            return Err(ManifestError::TooDeep);
        }
        let document = if is_index {
            Document::Index(serde_json::from_slice(bytes)?)
        } else {
            Document::Manifest(serde_json::from_slice(bytes)?)
        };
        match document.stated_media_type() {
            Some(stated) if stated != media_type => Err(ManifestError::MediaTypeMismatch {
                announced: media_type.to_owned(),
                stated: stated.chars().take(128).collect(),
            }),
            _ => Ok(document),
        }
    }

    fn stated_media_type(&self) -> Option<&str> {
        match self {
            Document::Manifest(manifest) => manifest.media_type.as_deref(),
            Document::Index(index) => index.media_type.as_deref(),
        }
    }

    /// The manifest this one is about.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Document::Manifest(manifest) => manifest.subject.as_ref(),
            Document::Index(index) => index.subject.as_ref(),
        }
    }

    /// What kind of artifact it says it is.
    pub fn kind(&self) -> ArtifactKind {
        match self {
            Document::Manifest(manifest) => manifest.kind(),
            Document::Index(_) => ArtifactKind::Other,
        }
    }

    /// The artifact type, as the referrers API lists it.
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Document::Manifest(manifest) => Some(manifest.artifact_type()),
            Document::Index(index) => index.artifact_type.as_deref(),
        }
    }

    /// The annotations of the whole.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Document::Manifest(manifest) => &manifest.annotations,
            Document::Index(index) => &index.annotations,
        }
    }
}

impl Manifest {
    /// A manifest of `artifact_type` with these parts.
    pub fn new(artifact_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Manifest {
            schema_version: SchemaVersion,
            media_type: Some(MEDIA_TYPE_MANIFEST.to_owned()),
            artifact_type: Some(artifact_type.to_owned()),
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            foreign: None,
        }
    }

    /// Reads an OCI image manifest.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        match Document::parse(MEDIA_TYPE_MANIFEST, bytes)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(ManifestError::UnknownMediaType(MEDIA_TYPE_INDEX.to_owned())),
        }
    }

    /// The manifest as it is pushed. Equal manifests give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and maps with string keys are JSON")
    }

    /// What it says it is: `artifactType`, else the config's media type, as the image specification has it.
    pub fn artifact_type(&self) -> &str {
        self.artifact_type
            .as_deref()
            .filter(|artifact_type| !artifact_type.is_empty())
            .unwrap_or(&self.config.media_type)
    }

    /// [`Manifest::artifact_type`] as one of the kinds that mean something here.
    pub fn kind(&self) -> ArtifactKind {
        match self.artifact_type() {
            ARTIFACT_TYPE_MODEL => ArtifactKind::Model,
            ARTIFACT_TYPE_APP => ArtifactKind::App,
            ARTIFACT_TYPE_SIGNATURE => ArtifactKind::Signature,
            _ => ArtifactKind::Other,
        }
    }

    /// The config of an artifact that has none.
    pub fn empty_config() -> Descriptor {
        Descriptor::of(MEDIA_TYPE_EMPTY, EMPTY_CONFIG)
    }
}

#[cfg(test)]
mod tests;
