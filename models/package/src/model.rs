//! A model package: a folder as people already have it, its format found by looking, plus an optional
//! `headland.model.toml` for what cannot be found.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use headland_nn_core::{ModelFiles, Precision};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::placement::PlacementManifest;
use crate::serving::{BackendChoice, BatchingManifest, CacheManifest, GenerationManifest, RawPrecision};
use crate::strict_toml::{self, TomlError};
use crate::{ModelName, ModelVersion, Sha256Digest, folder};

/// The manifest's file name.
pub const MANIFEST: &str = "headland.model.toml";

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Where the weights are in several files.
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";

/// What kind of model a folder holds, and so which backend can load it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A sentence-transformers or plain Hugging Face encoder folder: `config.json` and `model.safetensors`.
    HuggingFaceEncoder,
    /// An ONNX graph, at this path inside the folder.
    Onnx(String),
    /// A language model that answers token by token, as Hugging Face stores it: `config.json` and safetensors, one file or
    /// several.
    HuggingFaceDecoder,
    /// The same in one GGUF file, at this path inside the folder.
    Gguf(String),
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
    /// How it answers, if it is a language model.
    pub generation: GenerationManifest,
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
    generation: Option<GenerationManifest>,
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
        ModelPackage::of(folder::open_model(root)?)
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
        let manifest_keys = ManifestKeys {
            generation: manifest.generation.is_some(),
            several: manifest.instances.is_some_and(|instances| instances > 1),
            precision: manifest.precision != RawPrecision::Full,
            backend: manifest.backend != BackendChoice::Auto,
            batching: manifest.batching.is_some(),
            cache: manifest.cache.is_some(),
        };
        let generation = manifest.generation.unwrap_or_default();
        generation.check().map_err(|problem| unusable(format!("{MANIFEST}: {problem}")))?;
        // Absent is not the same as empty: serde's default of `enabled` is for a table that is there.
        let batching = manifest.batching.unwrap_or(BatchingManifest { enabled: true, ..BatchingManifest::default() });
        batching.check().map_err(|problem| unusable(format!("{MANIFEST}: {problem}")))?;
        let paths: Vec<&str> = files.iter().map(|(path, _)| path).collect();
        let decoder = files.get(CONFIG).is_some_and(|config| is_decoder(config));
        let format = format_of(&paths, manifest.graph, decoder).map_err(unusable)?;
        if let Some(problem) = without_effect(&manifest_keys, &format) {
            return Err(unusable(format!("{MANIFEST}: {problem}")));
        }
        let files = match &format {
            Format::Onnx(graph) => files.with_graph(graph.as_str()),
            Format::HuggingFaceEncoder | Format::HuggingFaceDecoder | Format::Gguf(_) => files,
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
            generation,
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

/// What of the manifest only some formats know.
struct ManifestKeys {
    generation: bool,
    several: bool,
    precision: bool,
    backend: bool,
    batching: bool,
    cache: bool,
}

/// What is said that has no effect on a model of this format: nobody is to think that it had.
fn without_effect(keys: &ManifestKeys, format: &Format) -> Option<String> {
    let ManifestKeys { generation, several, precision, backend, batching, cache } = *keys;
    if !format.is_decoder() {
        return generation.then(|| "[generation] is for language models, which this is not; leave it out".to_owned());
    }
    let said = [
        (several, "`instances`"),
        (precision, "`precision`"),
        (backend, "`backend`"),
        (batching, "[batching]"),
        (cache, "[cache]"),
    ];
    let (_, key) = said.into_iter().find(|(said, _)| *said)?;
    Some(format!(
        "{key} has no effect on a language model, whose answers share every step; leave it out, or see [generation]"
    ))
}

impl Format {
    /// Whether it is a language model that answers token by token.
    pub fn is_decoder(&self) -> bool {
        matches!(self, Format::HuggingFaceDecoder | Format::Gguf(_))
    }
}

/// Whether a `config.json` is that of a model that writes: transformers names the class that does.
fn is_decoder(config: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        architectures: Vec<String>,
    }
    let Ok(Config { architectures }) = serde_json::from_slice(config) else { return false };
    let writes = |class: &String| class.ends_with("ForCausalLM") || class.ends_with("ForConditionalGeneration");
    architectures.first().is_some_and(writes)
}

/// What is wrong with a folder of other things.
pub(crate) const NO_MODEL: &str =
    "no model found; expected config.json with model.safetensors, an .onnx file, or a .gguf file";

/// Decides the format from the file list, and whether `config.json` is that of a model that writes.
fn format_of(files: &[&str], graph: Option<String>, decoder: bool) -> Result<Format, String> {
    let has = |name: &str| files.contains(&name);
    if let Some(graph) = graph {
        return if has(&graph) {
            Ok(Format::Onnx(graph))
        } else {
            Err(format!("{MANIFEST} says `graph = \"{}\"`, but there is no such file", graph))
        };
    }
    if decoder && (has(WEIGHTS) || has(WEIGHTS_INDEX)) {
        return Ok(Format::HuggingFaceDecoder);
    }
    if !decoder && has(CONFIG) && has(WEIGHTS) {
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
    let gguf: Vec<&str> = files.iter().copied().filter(|file| file.ends_with(".gguf")).collect();
    match gguf.as_slice() {
        [only] => return Ok(Format::Gguf((*only).to_owned())),
        [] => {}
        several => {
            return Err(format!("several GGUF files ({}); keep the one that is to be loaded", several.join(", ")));
        }
    }
    if has(CONFIG) {
        return Err("config.json is there, but model.safetensors is missing".into());
    }
    Err(NO_MODEL.to_owned())
}

/// Whether there are formats that have a file of this name.
pub(crate) fn is_of_models(path: &str) -> bool {
    [MANIFEST, CONFIG].contains(&path) || path.ends_with(".onnx") || path.ends_with(folder::GGUF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accelerator;

    fn format(files: &[&str]) -> Result<Format, String> {
        format_of(files, None, false)
    }

    #[test]
    fn formats_are_found_by_looking() {
        assert_eq!(format(&["config.json", "model.safetensors", "vocab.txt"]), Ok(Format::HuggingFaceEncoder));
        assert_eq!(format(&["README.md", "net.onnx"]), Ok(Format::Onnx("net.onnx".into())));
        assert_eq!(format(&["a.onnx", "model.onnx"]), Ok(Format::Onnx("model.onnx".into())));
    }

    #[test]
    fn language_models_are_told_by_their_class_and_by_their_file() {
        assert_eq!(format(&["tiny.q4_0.gguf", "README.md"]), Ok(Format::Gguf("tiny.q4_0.gguf".into())));
        for weights in ["model.safetensors", "model.safetensors.index.json"] {
            assert_eq!(format_of(&["config.json", weights], None, true), Ok(Format::HuggingFaceDecoder));
        }
        for (config, decoder) in [
            (r#"{"architectures": ["LlamaForCausalLM"]}"#, true),
            (r#"{"architectures": ["Gemma3ForConditionalGeneration"]}"#, true),
            (r#"{"architectures": ["BertModel"]}"#, false),
            (r#"{"model_type": "bert"}"#, false),
            ("not json", false),
        ] {
            assert_eq!(is_decoder(config.as_bytes()), decoder, "{config}");
        }
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        let package = |config: &str, manifest: &str| {
            let file = |name: &str, text: &str| (name.to_owned(), bytes::Bytes::from(text.to_owned()));
            let files = [file("config.json", config), file("model.safetensors", ""), file(MANIFEST, manifest)];
            ModelPackage::of(ModelFiles::new("m", files)).map_err(|error| error.to_string())
        };
        let (writes, embeds) = (r#"{"architectures": ["LlamaForCausalLM"]}"#, r#"{"architectures": ["BertModel"]}"#);
        let own = package(writes, "[generation]\nmax_context = 512\nkv_cache = '64MiB'\nmax_streams = 4").unwrap();
        assert_eq!((own.generation.max_context, own.generation.kv_cache.unwrap().0), (Some(512), 64 << 20));
        for (config, manifest, expected) in [
            (writes, "instances = 2", "`instances` has no effect"),
            (writes, "[batching]", "[batching] has no effect"),
            (writes, "[generation]\nmax_streams = 0", "at least 1"),
            (embeds, "[generation]", "[generation] is for language models"),
        ] {
            let error = package(config, manifest).unwrap_err();
            assert!(error.contains(expected), "{manifest}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_decided_says_what_to_write() {
        for (files, expected) in [
            (&["a.onnx", "b.onnx"][..], "say which with `graph = "),
            (&["config.json"][..], "model.safetensors is missing"),
            (&["a.gguf", "b.gguf"][..], "several GGUF files"),
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
