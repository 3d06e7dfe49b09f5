//! What an app is deployed from: its manifest, and the bytes of the components it names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_package::{AppManifest, AppManifestError, AppName, ModelVersion};

use crate::cache::COMPONENT_BYTES_MAX;

/// An app as bytes, wherever they come from.
#[derive(Clone, Debug)]
pub struct AppSource {
    /// What it is made of and what it may do.
    pub manifest: AppManifest,
    /// Its components, by the names the manifest has for them.
    pub components: BTreeMap<String, Bytes>,
    /// Its version; an app that is a folder has none.
    pub version: Option<ModelVersion>,
}

/// An app whose files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The manifest is at fault.
    #[error(transparent)]
    Manifest(#[from] AppManifestError),
    /// A component cannot be read.
    #[error("app `{app}`: cannot read {path}")]
    Read {
        /// The app.
        app: AppName,
        /// Its component.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A component is larger than [`COMPONENT_BYTES_MAX`].
    #[error("app `{app}`: {path} is larger than 256 MiB, the most a component may be")]
    TooLarge {
        /// The app.
        app: AppName,
        /// Its component.
        path: PathBuf,
    },
}

impl AppSource {
    /// Reads a `headland.app.toml` and the components it names.
    ///
    /// # Errors
    /// [`SourceError`], naming the file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let manifest = AppManifest::read(path)?;
        let mut components = BTreeMap::new();
        for route in &manifest.routes {
            if !components.contains_key(&route.component) {
                components.insert(route.component.clone(), read(&manifest, &route.component)?);
            }
        }
        Ok(AppSource { manifest, components, version: None })
    }
}

fn read(manifest: &AppManifest, component: &str) -> Result<Bytes, SourceError> {
    let (app, path) = (manifest.name.clone(), manifest.component_file(component));
    let content = fs::metadata(&path).and_then(|metadata| match metadata.len() > COMPONENT_BYTES_MAX {
        true => Ok(None),
        false => fs::read(&path).map(Some),
    });
    match content {
        Ok(Some(content)) => Ok(content.into()),
        Ok(None) => Err(SourceError::TooLarge { app, path }),
        Err(source) => Err(SourceError::Read { app, path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_as_its_manifest_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("headland.app.toml");
        let route = |path, component| format!("[[route]]\npath = '{path}'\ncomponent = '{component}'\n");
        fs::write(&manifest, format!("name = 'x'\n{}{}", route("/a", "./a.wasm"), route("/b", "./a.wasm"))).unwrap();
        let error = AppSource::open(&manifest).unwrap_err().to_string();
        assert!(error.starts_with("app `x`: cannot read ") && error.ends_with("a.wasm"), "{error}");
        fs::write(dir.path().join("a.wasm"), "bytes").unwrap();
        let source = AppSource::open(&manifest).unwrap();
        assert_eq!(source.components, BTreeMap::from([("./a.wasm".to_owned(), Bytes::from("bytes"))]));
        let huge = fs::File::create(dir.path().join("a.wasm")).unwrap();
        huge.set_len(COMPONENT_BYTES_MAX + 1).unwrap();
        assert!(AppSource::open(&manifest).unwrap_err().to_string().contains("larger than 256 MiB"));
    }
}
