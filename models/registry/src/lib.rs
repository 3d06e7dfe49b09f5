//! Where pushed models and components are kept: blobs by digest, manifests and tags by name.
