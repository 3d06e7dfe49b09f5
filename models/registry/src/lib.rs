//! Where pushed models and components are kept: blobs by digest, manifests and tags by name.
//!
//! [`store`] is the keeping: files on disk, no network. The OCI distribution API is served over it. What is kept here is
//! not yet trusted; it is verified before it is stored as loadable, and again at load over the mapped bytes.

pub mod store;
