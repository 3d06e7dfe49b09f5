//! A model package: a folder as people already have it, its format found by looking, plus an optional
//! `headland.model.toml` for what cannot be found.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use headland_nn_core::{ModelFiles, Precision};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::placement::PlacementManifest;
use crate::serving::{BackendChoice, BatchingManifest, CacheManifest, RawPrecision};
use crate::strict_toml::{self, TomlError};
use crate::{ModelName, ModelVersion, Sha256Digest, folder};

/// The manifest's file name.
pub const MANIFEST: &str = "headland.model.toml";

/// What kind of model a folder holds, and so which backend can load it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A sentence-transformers or plain Hugging Face encoder folder: `config.json` and `model.safetensors`.
    HuggingFaceEncoder,
    /// An ONNX graph, at this path inside the folder.
    Onnx(String),
}

/// A model's files, looked through.
#[derive(Clone, Debug)]
pub struct ModelPackage {
    /// The files, the graph named where the format leaves that open.
    pub files: ModelFiles,
    /// Its name, if the manifest states one.
    pub name: Option<ModelName>,
    /// Its version, if the manifest states one.
    pub version: Option<ModelVersion>,
    /// What it is.
    pub format: Format,
    /// Device it asks for, as written (`cpu`, `cuda:0`); the gateway's default when absent.
    pub device: Option<String>,
    /// How many executors to run it on; the backend knows best when absent.
    pub instances: Option<NonZeroUsize>,
    /// Which backend is to run it.
    pub backend: BackendChoice,
    /// In what numbers it is to compute.
    pub precision: Precision,
    /// The least cosine between what it gives so and in full, where that is measured.
    pub precision_cosine_min: f32,
    /// How requests share a run.
    pub batching: BatchingManifest,
    /// Memory for answers that are given again, in bytes; 0 remembers none.
    pub cache_bytes_max: u64,
    /// Where in a fleet it may be.
    pub placement: PlacementManifest,
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
    graph: Option<String>,
    device: Option<String>,
    instances: Option<usize>,
    #[serde(default)]
    backend: BackendChoice,
    #[serde(default)]
    precision: RawPrecision,
    precision_cosine_min: Option<f32>,
    batching: Option<BatchingManifest>,
    cache: Option<CacheManifest>,
    #[serde(default)]
    placement: PlacementManifest,
}

/// The least cosine that 8-bit weights may come to against full ones, unless the package says otherwise.
pub const PRECISION_COSINE_MIN: f32 = 0.98;

/// The most executors one model may ask for.
pub const INSTANCES_MAX: usize = 64;

impl ModelPackage {
    /// Looks through the folder `root`.
    ///
    /// # Errors
    /// [`PackageError`] naming the file and the cause.
    pub fn open(root: &Path) -> Result<Self, PackageError> {
        ModelPackage::of(folder::open(root)?)
    }

    /// Looks through `files`.
    ///
    /// # Errors
    /// [`PackageError`] naming the file and the cause.
    pub fn of(files: ModelFiles) -> Result<Self, PackageError> {
        let unusable = |problem: String| PackageError::Unusable { path: files.label().into(), problem };
        let manifest = match files.get(MANIFEST) {
            Some(text) => parse(&files.describe(MANIFEST), text)?,
            None => RawManifest::default(),
        };
        manifest.placement.check().map_err(|problem| unusable(format!("{MANIFEST}: {problem}")))?;
        let instances = match manifest.instances {
            None => None,
            Some(instances) => match NonZeroUsize::new(instances).filter(|_| instances <= INSTANCES_MAX) {
                None => return Err(unusable(format!("{MANIFEST}: `instances` must be between 1 and {INSTANCES_MAX}"))),
                some => some,
            },
        };
        // Absent is not the same as empty: serde's default of `enabled` is for a table that is there.
        let batching = manifest.batching.unwrap_or(BatchingManifest { enabled: true, ..BatchingManifest::default() });
        batching.check().map_err(|problem| unusable(format!("{MANIFEST}: {problem}")))?;
        let paths: Vec<&str> = files.iter().map(|(path, _)| path).collect();
        let format = format_of(&paths, manifest.graph).map_err(unusable)?;
        let files = match &format {
            Format::Onnx(graph) => files.with_graph(graph.as_str()),
            Format::HuggingFaceEncoder => files,
        };
        Ok(ModelPackage {
            files,
            name: manifest.name,
            version: manifest.version,
            format,
            device: manifest.device,
            instances,
            backend: manifest.backend,
            precision: manifest.precision.into(),
            precision_cosine_min: manifest.precision_cosine_min.unwrap_or(PRECISION_COSINE_MIN),
            batching,
            cache_bytes_max: manifest.cache.map_or(0, |cache| cache.max_bytes.0),
            placement: manifest.placement,
        })
    }

    /// The package's digest: SHA-256 over the files' SHA-256 digests in path order, as OpenSSF Model Signing v1.0
    /// computes the digest of a model it signs (method `files`). Reads every byte.
    pub fn digest(&self) -> Sha256Digest {
        let mut digests = Sha256::new();
        for (_, bytes) in self.files.iter() {
            digests.update(Sha256::digest(bytes));
        }
        Sha256Digest::from_raw(digests.finalize().into())
    }
}

/// What the text of a package's manifest says of where in a fleet the model may be; `label` is what errors call the text.
///
/// # Errors
/// [`PackageError`] naming the key and the cause.
pub fn placement_of(label: &str, text: &[u8]) -> Result<PlacementManifest, PackageError> {
    let placement = parse(label, text)?.placement;
    let unusable = |problem| PackageError::Unusable { path: label.into(), problem };
    placement.check().map_err(unusable)?;
    Ok(placement)
}

fn parse(label: &str, text: &[u8]) -> Result<RawManifest, PackageError> {
    let not_text = |_| PackageError::Unusable { path: label.into(), problem: "it is not UTF-8".to_owned() };
    let text = std::str::from_utf8(text).map_err(not_text)?;
    Ok(strict_toml::parse(label, text)?)
}

/// Decides the format from the file list alone.
fn format_of(files: &[&str], graph: Option<String>) -> Result<Format, String> {
    let has = |name: &str| files.contains(&name);
    if let Some(graph) = graph {
        return if has(&graph) {
            Ok(Format::Onnx(graph))
        } else {
            Err(format!("{MANIFEST} says `graph = \"{}\"`, but there is no such file", graph))
        };
    }
    if has("config.json") && has("model.safetensors") {
        return Ok(Format::HuggingFaceEncoder);
    }
    let onnx: Vec<&str> = files.iter().copied().filter(|file| file.ends_with(".onnx")).collect();
    match onnx.as_slice() {
        [only] => return Ok(Format::Onnx((*only).to_owned())),
        [] => {}
        _ if has("model.onnx") => return Ok(Format::Onnx("model.onnx".into())),
        several => {
            return Err(format!(
                "several ONNX graphs ({}); say which with `graph = \"...\"` in {MANIFEST}",
                several.join(", ")
            ));
        }
    }
    if files.iter().any(|file| file.ends_with(".gguf")) {
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
    use crate::Accelerator;

    fn format(files: &[&str]) -> Result<Format, String> {
        format_of(files, None)
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
        std::fs::write(dir.path().join("model.sig"), b"a signature is no part of what it signs").unwrap();
        std::fs::write(dir.path().join(".gitignore"), b"x").unwrap();
        let package = ModelPackage::open(dir.path()).unwrap();
        let raw = [*Sha256Digest::of(b"b").as_bytes(), *Sha256Digest::of(b"a").as_bytes()].concat();
        assert_eq!(package.digest(), Sha256Digest::of(&raw));
    }

    #[test]
    fn where_a_model_may_be_is_read_and_checked() {
        let placement = |text: &str| placement_of("m", text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(placement("name = 'm'"), Ok(PlacementManifest::default()));
        let all = placement(
            "[placement]\naccelerator = 'required'\nmin_replicas = 2\nmax_replicas = 8\nmin_domains = 2\n\
             regions = ['eu-west']\nmemory = '18GiB'\npriority = 5",
        );
        let all = all.unwrap();
        assert_eq!((all.accelerator, all.min_replicas, all.max_replicas), (Accelerator::Required, 2, Some(8)));
        assert_eq!((all.memory.unwrap().0, all.regions[0].as_str()), (18 << 30, "eu-west"));
        for (text, expected) in [
            ("[placement]\nmax_replicas = 0", "`max_replicas` is between 1 and 10000"),
            ("[placement]\nmin_replicas = 3\nmax_replicas = 2", "`min_replicas` no more than it"),
            ("[placement]\nmin_domains = 2", "`min_domains` is between 1 and `min_replicas`"),
            ("[placement]\npriority = 0", "`priority` is between 1 and 1000"),
            ("[placement]\nregions = ['the moon']", "`the moon` is not a region name"),
        ] {
            let error = placement(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = ModelPackage::open(Path::new("/no/such/model")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /no/such/model");
    }
}
