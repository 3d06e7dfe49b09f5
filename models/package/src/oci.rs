//! Models, apps and signatures as OCI artifacts: media types, manifests, and the limits they are read within.
//!
//! Stands between the registry and everything that asks what a pushed manifest means. Pure: bytes in, values out.
//! Manifests follow the [OCI image specification](https://github.com/opencontainers/image-spec) 1.1, models the CNCF
//! [ModelPack](https://github.com/modelpack/model-spec) specification, signatures the sigstore bundle over a referrer.

mod app;
mod descriptor;
mod json;
mod manifest;
mod model;
mod names;
mod paths;
mod signature;

pub use app::{AppFiles, app_files, pack_app};
pub use descriptor::Descriptor;
pub use json::JSON_DEPTH_MAX;
pub use manifest::{ArtifactKind, Document, Index, Manifest, ManifestError};
pub use model::{model_files, pack_model};
pub use names::{RepositoryKind, app_repository, model_repository, repository_kind};
pub use paths::{PATH_BYTES_MAX, PATH_DEPTH_MAX, PathProblem, check_path};
pub use signature::{SIGNATURE_BYTES_MAX, pack_signature, signature_layer};

use crate::Sha256Digest;

/// The largest manifest that is read.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// The most layers a manifest may list, and the most manifests an index may.
pub const LAYERS_MAX: usize = 2_000;
/// The most annotations on one manifest or one descriptor.
pub const ANNOTATIONS_MAX: usize = 64;

/// An image manifest: what every artifact here is written as.
pub const MEDIA_TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A list of manifests.
pub const MEDIA_TYPE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest, stored for the clients that still write it.
pub const MEDIA_TYPE_DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
pub const MEDIA_TYPE_DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The config of an artifact that has none: `{}`.
pub const MEDIA_TYPE_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The bytes of [`MEDIA_TYPE_EMPTY`].
pub const EMPTY_CONFIG: &[u8] = b"{}";

/// `artifactType` of a model.
pub const ARTIFACT_TYPE_MODEL: &str = "application/vnd.cncf.model.manifest.v1+json";
/// Config of a model.
pub const MEDIA_TYPE_MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// A file of weights, as it is.
pub const MEDIA_TYPE_WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
/// A file beside the weights: configuration, tokenizer, our own manifest.
pub const MEDIA_TYPE_WEIGHT_CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
/// A file for people to read.
pub const MEDIA_TYPE_DOC: &str = "application/vnd.cncf.model.doc.v1.raw";
/// Annotation of a model's layer: the file's path inside the model.
pub const ANNOTATION_FILEPATH: &str = "org.cncf.model.filepath";

/// `artifactType` of an app, and the media type of the layer that is its `headland.app.toml`.
pub const ARTIFACT_TYPE_APP: &str = "application/vnd.headland.app.v1+toml";
/// Config of anything made of WebAssembly.
pub const MEDIA_TYPE_WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A component.
pub const MEDIA_TYPE_WASM: &str = "application/wasm";
/// Annotation of a component's layer: its path, as `headland.app.toml` writes it.
pub const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";
/// Annotation of an artifact: its version.
pub const ANNOTATION_VERSION: &str = "org.opencontainers.image.version";

/// `artifactType` and layer of a signature: a sigstore bundle.
pub const ARTIFACT_TYPE_SIGNATURE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// One file of a model or an app: where it stands, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedFile {
    /// `/`-separated path inside the model or app; [`check_path`] accepts it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Digest of the bytes, which is also the layer's digest: layers are neither archived nor compressed.
    pub digest: Sha256Digest,
}

/// A manifest and its config, ready to be pushed. Equal input gives equal bytes, so that pushing twice is pushing once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The manifest, of media type [`MEDIA_TYPE_MANIFEST`].
    pub manifest: Vec<u8>,
    /// The config blob the manifest names.
    pub config: Vec<u8>,
}

/// A manifest that is valid, but no artifact of the kind asked for; or files that cannot be made into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// Another kind of artifact.
    #[error("artifact type is `{found}`, where {wanted} has `{expected}`")]
    Kind {
        /// What was asked for: `a model`.
        wanted: &'static str,
        /// Its type.
        expected: &'static str,
        /// The manifest's type.
        found: String,
    },
    /// The config is of another type.
    #[error("config has media type `{found}`, where {wanted} has `{expected}`")]
    Config {
        /// What was asked for: `a model`.
        wanted: &'static str,
        /// Its config's type.
        expected: &'static str,
        /// The config's type.
        found: String,
    },
    /// No files at all.
    #[error("{0} without files")]
    NoFiles(&'static str),
    /// More files than layers are allowed.
    #[error("{0} files; at most {LAYERS_MAX} are accepted")]
    TooManyFiles(usize),
    /// A layer of a type that does not belong there.
    #[error("layer {digest} has media type `{found}`; {problem}")]
    LayerType {
        /// The layer.
        digest: Sha256Digest,
        /// Its type.
        found: String,
        /// What is accepted, and what to do.
        problem: &'static str,
    },
    /// A layer that does not say which file it is.
    #[error("layer {digest} has no annotation `{annotation}`, and so no file name")]
    NoPath {
        /// The layer.
        digest: Sha256Digest,
        /// The annotation it should have.
        annotation: &'static str,
    },
    /// A path that could lead somewhere else.
    #[error("file path `{path}` {problem}")]
    Path {
        /// The path, shortened and escaped.
        path: String,
        /// What is wrong with it.
        problem: PathProblem,
    },
    /// Two layers for one path, or a file where another needs a folder.
    #[error("file path `{0}` is there twice, or is both file and folder")]
    DuplicatePath(String),
    /// An app needs exactly one manifest.
    #[error("{0} layers of type `{ARTIFACT_TYPE_APP}`; an app has exactly one, its headland.app.toml")]
    AppManifests(usize),
    /// A signature needs exactly one bundle.
    #[error("{0} layers; a signature has exactly one, its sigstore bundle")]
    SignatureLayers(usize),
    /// A signature of nothing.
    #[error("a signature without `subject`: it must name the manifest it signs")]
    NoSubject,
    /// A bundle beyond its limit.
    #[error("the signature's bundle has {0} bytes; at most {SIGNATURE_BYTES_MAX} are accepted")]
    SignatureSize(u64),
    /// A name that is fine elsewhere, but cannot be a repository.
    #[error("`{name}` cannot be pushed: {problem}")]
    Name {
        /// The model's or app's name.
        name: String,
        /// What to write instead.
        problem: &'static str,
    },
}
