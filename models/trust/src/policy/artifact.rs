//! What is judged, by name: `models/NAME:VERSION` or `apps/NAME:VERSION`, and what a package says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use headland_package::oci::{ANNOTATION_VERSION, Manifest, ManifestError};
use headland_package::strict_toml::{self, FILE_BYTES_MAX, TomlError};
use headland_package::{AppName, FileBytes, IdError, ModelName, ModelVersion};
use serde::{Deserialize, Serialize};

/// Where a model says what it is.
pub(super) const MODEL_MANIFEST: &str = "headland.model.toml";

/// A model or an app as it stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Artifact {
    kind: Kind,
    name: String,
    version: ModelVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Model,
    App,
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::App => "apps",
        }
    }
}

impl Artifact {
    /// This version of this model.
    pub fn model(name: &ModelName, version: &ModelVersion) -> Self {
        Artifact { kind: Kind::Model, name: name.as_str().to_owned(), version: version.clone() }
    }

    /// This version of this app.
    pub fn app(name: &AppName, version: &ModelVersion) -> Self {
        Artifact { kind: Kind::App, name: name.as_str().to_owned(), version: version.clone() }
    }

    /// The repository it stands in, `models/NAME` or `apps/NAME`: what a rule's glob is held against.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.kind.folder(), self.name)
    }

    /// Its name, without the folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version it goes by in the registry.
    pub fn version(&self) -> &ModelVersion {
        &self.version
    }

    /// Whether what the package says of itself is what it is pushed, stored or loaded as.
    ///
    /// # Errors
    /// [`OtherArtifact`], naming both.
    pub fn check_stated(&self, stated: &Stated) -> Result<(), OtherArtifact> {
        let other = |what, stated: &str, given: &str| OtherArtifact {
            artifact: self.clone(),
            what,
            stated: stated.to_owned(),
            given: given.to_owned(),
        };
        match (&stated.name, &stated.version) {
            (Some(name), _) if *name != self.name => Err(other("name", name, &self.name)),
            (_, Some(version)) if *version != self.version => {
                Err(other("version", version.as_str(), self.version.as_str()))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.kind.folder(), self.name, self.version)
    }
}

impl Serialize for Artifact {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text that names no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no artifact; write `models/NAME:VERSION` or `apps/NAME:VERSION`")]
pub struct ParseArtifactError(String);

impl FromStr for Artifact {
    type Err = ParseArtifactError;

    fn from_str(text: &str) -> Result<Self, ParseArtifactError> {
        let parse = || {
            let (repository, version) = text.split_once(':')?;
            let (folder, name) = repository.split_once('/')?;
            let version = version.parse().ok()?;
            match folder {
                "models" => Some(Artifact::model(&name.parse().ok()?, &version)),
                "apps" => Some(Artifact::app(&name.parse().ok()?, &version)),
                _ => None,
            }
        };
        parse().ok_or_else(|| ParseArtifactError(text.chars().take(256).collect()))
    }
}

/// What a package says of itself in bytes that its signature covers: a model in its `headland.model.toml`, an app in the
/// annotation `org.opencontainers.image.version` of its manifest.
///
/// A signature says who signed, not what the bytes are called: without this, whoever may push could offer an old, signed
/// version under a new number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Stated {
    /// The name, where it is stated.
    pub name: Option<String>,
    /// The version, where it is stated.
    pub version: Option<ModelVersion>,
}

impl Stated {
    /// What a model with these files says of itself, by those of them that are not `left_out` by its signature.
    ///
    /// # Errors
    /// When its `headland.model.toml` is too large, or no TOML.
    pub(super) fn by_model<B: FileBytes>(files: &BTreeMap<String, B>, left_out: &[String]) -> Result<Self, TomlError> {
        let signed = !left_out.iter().any(|path| path == MODEL_MANIFEST);
        let manifest = files.get(MODEL_MANIFEST).filter(|_| signed).map(FileBytes::bytes);
        let Some(manifest) = manifest else { return Ok(Stated::default()) };
        if manifest.len() as u64 > FILE_BYTES_MAX {
            return Err(TomlError::TooLarge { path: MODEL_MANIFEST.into() });
        }
        // The loader reads the rest of it, and strictly.
        strict_toml::parse(MODEL_MANIFEST, &String::from_utf8_lossy(manifest))
    }

    /// What an app with this OCI manifest says of itself.
    ///
    /// # Errors
    /// When the bytes are no manifest, or the version it states cannot be one.
    pub(super) fn by_app(manifest: &[u8]) -> Result<Self, StatedError> {
        let version = Manifest::parse(manifest)?.annotations.get(ANNOTATION_VERSION).map(|text| text.parse());
        Ok(Stated { name: None, version: version.transpose()? })
    }
}

/// An app's manifest that does not say, or says wrongly, what it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum StatedError {
    /// No manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The annotation holds no version.
    #[error("annotation `{ANNOTATION_VERSION}`: {0}")]
    Version(#[from] IdError),
}

/// A package that is not what it is offered as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{artifact} is offered with {what} `{given}`, but the package itself states {what} `{stated}`; \
     offer it as what it is, or sign a package that states `{given}`"
)]
pub struct OtherArtifact {
    artifact: Artifact,
    what: &'static str,
    stated: String,
    given: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_parse_back_to_what_was_written() {
        for text in ["models/digits:2.1", "apps/hello:1"] {
            assert_eq!(text.parse::<Artifact>().unwrap().to_string(), text);
        }
        for text in ["", "digits:1", "models/digits", "blobs/x:1", "models/../x:1", "models/a/b:1", "models/a:1:2"] {
            assert!(text.parse::<Artifact>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_package_that_states_another_name_or_version_is_told_both() {
        let artifact: Artifact = "models/digits:3".parse().unwrap();
        let stated = |name: Option<&str>, version: Option<&str>| Stated {
            name: name.map(str::to_owned),
            version: version.map(|version| version.parse().unwrap()),
        };
        assert_eq!(artifact.check_stated(&Stated::default()), Ok(()));
        assert_eq!(artifact.check_stated(&stated(Some("digits"), Some("3"))), Ok(()));
        assert_eq!(
            artifact.check_stated(&stated(Some("letters"), None)).unwrap_err().to_string(),
            "models/digits:3 is offered with name `digits`, but the package itself states name `letters`; \
             offer it as what it is, or sign a package that states `digits`"
        );
        let error = artifact.check_stated(&stated(Some("digits"), Some("1"))).unwrap_err().to_string();
        assert!(error.contains("version `3`") && error.contains("version `1`"), "{error}");
    }
}
