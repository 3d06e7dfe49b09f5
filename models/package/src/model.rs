//! A model package: a folder as people already have it, its format found by looking, plus an optional
//! `headland.model.toml` for what cannot be found.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::strict_toml::{self, TomlError};
use crate::{ModelName, ModelVersion, Sha256Digest};

/// The manifest's file name.
pub const MANIFEST: &str = "headland.model.toml";
/// The most files one package may have.
pub const FILES_MAX: usize = 10_000;
/// The deepest folder nesting inside a package.
pub const DEPTH_MAX: usize = 16;

/// What kind of model a folder holds, and so which backend can load it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A sentence-transformers or plain Hugging Face encoder folder: `config.json` and `model.safetensors`.
    HuggingFaceEncoder,
    /// An ONNX graph, at this path inside the folder.
    Onnx(PathBuf),
}

/// A model folder that was looked through.
#[derive(Clone, Debug)]
pub struct ModelPackage {
    /// The folder.
    pub root: PathBuf,
    /// Its name, if the manifest states one.
    pub name: Option<ModelName>,
    /// Its version; `1` unless stated.
    pub version: ModelVersion,
    /// What it is.
    pub format: Format,
    /// Device it asks for, as written (`cpu`, `cuda:0`); the gateway's default when absent.
    pub device: Option<String>,
    /// How many executors to run it on.
    pub instances: usize,
    /// Every file, relative to the folder, sorted.
    pub files: Vec<PathBuf>,
}

/// A folder that is no usable model package.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] TomlError),
    /// The folder as a whole is wrong.
    #[error("{path}: {problem}")]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What is wrong and what would help.
        problem: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    name: Option<ModelName>,
    version: Option<ModelVersion>,
    graph: Option<PathBuf>,
    device: Option<String>,
    instances: Option<usize>,
}

/// The most executors one model may ask for.
pub const INSTANCES_MAX: usize = 64;

impl ModelPackage {
    /// Looks through `root`.
    ///
    /// # Errors
    /// [`PackageError`] naming the file and the cause.
    pub fn open(root: &Path) -> Result<Self, PackageError> {
        let unusable = |problem: String| PackageError::Unusable { path: root.to_owned(), problem };
        let mut files = Vec::new();
        list_files(root, Path::new(""), 0, &mut files)?;
        files.sort();
        let manifest_path = root.join(MANIFEST);
        let manifest: RawManifest =
            if manifest_path.exists() { strict_toml::read(&manifest_path)? } else { RawManifest::default() };
        let instances = manifest.instances.unwrap_or(1);
        if !(1..=INSTANCES_MAX).contains(&instances) {
            return Err(unusable(format!("{MANIFEST}: `instances` must be between 1 and {INSTANCES_MAX}")));
        }
        let format = format_of(&files, manifest.graph).map_err(unusable)?;
        Ok(ModelPackage {
            root: root.to_owned(),
            name: manifest.name,
            version: manifest.version.unwrap_or_default(),
            format,
            device: manifest.device,
            instances,
            files,
        })
    }

    /// The package's digest: SHA-256 over the files' SHA-256 digests in path order, as OpenSSF Model Signing v1.0
    /// computes the digest of a model it signs (method `files`). Reads every byte.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn digest(&self) -> Result<Sha256Digest, PackageError> {
        let mut digests = Sha256::new();
        for file in &self.files {
            let path = self.root.join(file);
            let digest = Sha256Digest::of_file(&path).map_err(|source| PackageError::Read { path, source })?;
            digests.update(digest.as_bytes());
        }
        Ok(Sha256Digest::from_raw(digests.finalize().into()))
    }
}

fn list_files(root: &Path, below: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), PackageError> {
    let folder = if depth == 0 { root.to_owned() } else { root.join(below) };
    let read_error = |source| PackageError::Read { path: folder.clone(), source };
    if depth > DEPTH_MAX {
        return Err(PackageError::Unusable {
            path: folder,
            problem: format!("nested deeper than {DEPTH_MAX} folders"),
        });
    }
    for entry in std::fs::read_dir(&folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        let relative = below.join(entry.file_name());
        // Hidden files (`.gitattributes`, `.cache`) are the tools', not the model's.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let metadata =
            std::fs::metadata(entry.path()).map_err(|source| PackageError::Read { path: entry.path(), source })?;
        if metadata.is_dir() {
            list_files(root, &relative, depth + 1, files)?;
        } else {
            files.push(relative);
        }
        if files.len() > FILES_MAX {
            let problem = format!("more than {FILES_MAX} files; is this the model's folder?");
            return Err(PackageError::Unusable { path: root.to_owned(), problem });
        }
    }
    Ok(())
}

/// Decides the format from the file list alone.
fn format_of(files: &[PathBuf], graph: Option<PathBuf>) -> Result<Format, String> {
    let has = |name: &str| files.iter().any(|file| file == Path::new(name));
    if let Some(graph) = graph {
        return if files.contains(&graph) {
            Ok(Format::Onnx(graph))
        } else {
            Err(format!("{MANIFEST} says `graph = \"{}\"`, but there is no such file", graph.display()))
        };
    }
    if has("config.json") && has("model.safetensors") {
        return Ok(Format::HuggingFaceEncoder);
    }
    let onnx: Vec<&PathBuf> = files.iter().filter(|file| file.extension().is_some_and(|e| e == "onnx")).collect();
    match onnx.as_slice() {
        [only] => return Ok(Format::Onnx((*only).clone())),
        [] => {}
        _ if has("model.onnx") => return Ok(Format::Onnx("model.onnx".into())),
        several => {
            let names: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            return Err(format!(
                "several ONNX graphs ({}); say which with `graph = \"...\"` in {MANIFEST}",
                names.join(", ")
            ));
        }
    }
    if files.iter().any(|file| file.extension().is_some_and(|e| e == "gguf")) {
        return Err("a GGUF file; this version loads ONNX graphs and sentence-transformers folders".into());
    }
    if has("config.json") {
        return Err("config.json is there, but model.safetensors is missing".into());
    }
    Err("no model found; expected config.json with model.safetensors, or an .onnx file".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(files: &[&str]) -> Result<Format, String> {
        format_of(&files.iter().map(PathBuf::from).collect::<Vec<_>>(), None)
    }

    #[test]
    fn formats_are_found_by_looking() {
        assert_eq!(format(&["config.json", "model.safetensors", "vocab.txt"]), Ok(Format::HuggingFaceEncoder));
        assert_eq!(format(&["README.md", "net.onnx"]), Ok(Format::Onnx("net.onnx".into())));
        assert_eq!(format(&["a.onnx", "model.onnx"]), Ok(Format::Onnx("model.onnx".into())));
    }

    #[test]
    fn what_cannot_be_decided_says_what_to_write() {
        for (files, expected) in [
            (&["a.onnx", "b.onnx"][..], "say which with `graph = "),
            (&["config.json"][..], "model.safetensors is missing"),
            (&["m.gguf"][..], "a GGUF file"),
            (&[][..], "no model found"),
        ] {
            let error = format(files).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_file_digests_in_path_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("b.onnx"), b"b").unwrap();
        std::fs::write(dir.path().join("sub/a"), b"a").unwrap();
        std::fs::write(dir.path().join(".hidden"), b"x").unwrap();
        let package = ModelPackage::open(dir.path()).unwrap();
        let raw = [*Sha256Digest::of(b"b").as_bytes(), *Sha256Digest::of(b"a").as_bytes()].concat();
        assert_eq!(package.digest().unwrap(), Sha256Digest::of(&raw));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = ModelPackage::open(Path::new("/no/such/model")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /no/such/model");
    }
}
