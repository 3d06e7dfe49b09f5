//! From a signed manifest to the bytes it names: the step that brings a component's own bytes under its signature.

use headland_package::Sha256Digest;
use headland_package::oci::{Manifest, ManifestError};

/// A blob that a signed manifest does not vouch for.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// What should be the manifest is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest has no such blob.
    #[error("the signed manifest lists no blob {0}")]
    NotListed(Sha256Digest),
    /// The bytes have another length.
    #[error("blob {digest} has {found} bytes; the signed manifest lists {listed}")]
    Size {
        /// The blob.
        digest: Sha256Digest,
        /// What the manifest says.
        listed: u64,
        /// What is there.
        found: usize,
    },
    /// The bytes are not what they are called.
    #[error("blob {listed} is not what the signed manifest lists: its bytes hash to {found}")]
    Digest {
        /// What the manifest says.
        listed: Sha256Digest,
        /// What the bytes hash to.
        found: Sha256Digest,
    },
}

/// Whether `manifest` lists `digest`, as a layer or as its config, and `blob` is what it lists.
pub(crate) fn check(manifest: &[u8], digest: Sha256Digest, blob: &[u8]) -> Result<(), BlobError> {
    let manifest = Manifest::parse(manifest)?;
    let listed = manifest.layers.iter().chain([&manifest.config]).find(|listed| listed.digest == digest);
    let Some(listed) = listed else { return Err(BlobError::NotListed(digest)) };
    if listed.size != blob.len() as u64 {
        return Err(BlobError::Size { digest, listed: listed.size, found: blob.len() });
    }
    match Sha256Digest::of(blob) {
        found if found == digest => Ok(()),
        found => Err(BlobError::Digest { listed: digest, found }),
    }
}
