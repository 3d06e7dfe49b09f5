//! Model signatures from end to end: ours and the reference tool's, good and bad.

mod bad_lists;
mod bundles;
mod certificate;
mod goldens;
mod key;
mod keyless;
mod mutation;
mod pki;
mod reference;
mod sigstore;
mod support;
