//! What people bring: model folders with their optional manifest, app manifests, and the names and digests they go by.
//!
//! Stands below the gateway and the backends, which both speak of models by these names. Reads files, decides formats,
//! refuses what it does not know; runs nothing.

mod app;
mod digest;
pub mod folder;
mod hashed;
mod ids;
pub mod mapped;
mod model;
pub mod oci;
mod placement;
pub mod serving;
pub mod strict_toml;
mod units;

pub use app::{AppManifest, AppManifestError, Limits, Route};
pub use digest::Sha256Digest;
pub use hashed::{FileBytes, Hashed};
pub use ids::{AppName, IdError, ModelName, ModelRef, ModelSelector, ModelVersion, PopId, RegionName};
pub use model::{Format, INSTANCES_MAX, MANIFEST, ModelPackage, PackageError, placement_of};
pub use placement::{Accelerator, PlacementManifest, REPLICAS_MAX};
pub use units::{ByteSize, ParseByteSizeError};
