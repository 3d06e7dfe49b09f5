//! Where pushed models and components are kept: blobs by digest, manifests and tags by name.
//!
//! [`store`] is the keeping: files on disk, no network. [`oci`] serves the OCI distribution API over it. What is kept here is
//! not yet trusted; it is verified before it is stored as loadable, and again at load over the mapped bytes.

pub mod oci;
pub mod store;

pub use oci::{Registry, router};
