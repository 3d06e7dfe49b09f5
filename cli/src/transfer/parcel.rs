//! A model or an app on its way to a registry, with its signature.

use anyhow::{Context, Result, bail};
use headland_package::Sha256Digest;
use headland_package::oci::{Descriptor, MEDIA_TYPE_MANIFEST, Packed, pack_signature};

use super::registry::Put;
use super::upload::{LocalBlob, Uploader};
use super::{AT_ONCE, Progress, Registry, Retries, Stop, in_parallel};
use crate::client::size;

/// What is pushed: a manifest, the blobs it names, and a signature of it.
pub struct Parcel {
    /// What to call it: `digits:2`.
    pub label: String,
    /// The tag, which is the version.
    pub tag: String,
    /// Manifest and config.
    pub packed: Packed,
    /// The files. One may be there twice.
    pub blobs: Vec<LocalBlob>,
    /// A sigstore bundle.
    pub signature: Option<Vec<u8>>,
}

/// What a push came to.
pub struct Pushed {
    /// The manifest's digest.
    pub digest: Sha256Digest,
    /// Files that were sent.
    pub blobs_sent: usize,
}

impl Parcel {
    /// The manifest's digest.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(&self.packed.manifest)
    }

    /// Pushes what is not there yet. Signature and manifest go before the files, so that a registry that judges them can
    /// refuse while next to nothing was sent.
    pub fn push(mut self, registry: &Registry) -> Result<Pushed> {
        let digest = self.digest();
        let stop = Stop::default();
        let there = Retries::new(&stop).run(|| registry.manifest_digest(&self.tag))? == Some(digest);
        if let Some(bundle) = self.signature.take() {
            self.push_signature(registry, bundle, &stop)?;
        }
        if there {
            return Ok(Pushed { digest, blobs_sent: 0 });
        }
        let mut blobs_sent = 0;
        if let Put::BlobsMissing(missing) = self.put(registry, &stop)? {
            blobs_sent = self.send_blobs(registry, missing, &stop)?;
            if let Put::BlobsMissing(_) = self.put(registry, &stop)? {
                bail!("the registry took every file of {} and still misses some; push again", self.label);
            }
        }
        Ok(Pushed { digest, blobs_sent })
    }

    fn put(&self, registry: &Registry, stop: &Stop) -> Result<Put> {
        let put = Retries::new(stop).run(|| registry.put_manifest(&self.tag, &self.packed.manifest));
        put.with_context(|| format!("{} was refused", self.label))
    }

    /// Pushes the signature as a referrer of a manifest that may not be there yet.
    fn push_signature(&self, registry: &Registry, bundle: Vec<u8>, stop: &Stop) -> Result<()> {
        let subject = Descriptor::of(MEDIA_TYPE_MANIFEST, &self.packed.manifest);
        let packed = pack_signature(&bundle, subject);
        let reference = Sha256Digest::of(&packed.manifest).to_string();
        if Retries::new(stop).run(|| registry.manifest_digest(&reference))?.is_some() {
            return Ok(());
        }
        let uploader = Uploader::new(registry, stop);
        let progress = Progress::new("sent", 0);
        for blob in [LocalBlob::of("the signature", bundle), LocalBlob::of("the signature's config", packed.config)] {
            if !Retries::new(stop).run(|| registry.has_blob(blob.digest))? {
                uploader.send(&blob, &mut progress.file())?;
            }
        }
        let put = Retries::new(stop).run(|| registry.put_manifest(&reference, &packed.manifest));
        match put.with_context(|| format!("the signature of {} was refused", self.label))? {
            Put::Stored => Ok(()),
            Put::BlobsMissing(_) => bail!("the registry misses the signature it was just sent; push again"),
        }
    }

    /// Sends what is missing; asks for each file where the registry did not say.
    fn send_blobs(&mut self, registry: &Registry, missing: Option<Vec<Sha256Digest>>, stop: &Stop) -> Result<usize> {
        let mut blobs = std::mem::take(&mut self.blobs);
        blobs.push(LocalBlob::of("the config", self.packed.config.clone()));
        blobs.sort_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        let all = blobs.len();
        match missing {
            Some(missing) => blobs.retain(|blob| missing.contains(&blob.digest)),
            None => {
                let mut absent = Vec::new();
                for blob in blobs {
                    if !Retries::new(stop).run(|| registry.has_blob(blob.digest))? {
                        absent.push(blob);
                    }
                }
                blobs = absent;
            }
        }
        // The largest first: it decides when all is done.
        blobs.sort_by_key(|blob| std::cmp::Reverse(blob.bytes.len()));
        let bytes = blobs.iter().map(|blob| blob.bytes.len() as u64).sum();
        let progress = Progress::new("sent", bytes);
        progress.say(&format!("{}: sending {} of {all} blobs, {}", self.label, blobs.len(), size(bytes)));
        let uploader = Uploader::new(registry, stop);
        let sent = in_parallel(&blobs, AT_ONCE, stop, |blob| {
            uploader.send(blob, &mut progress.file())?;
            progress.say(&format!("  sent {}, {}", blob.name, size(blob.bytes.len() as u64)));
            Ok(())
        });
        progress.finish();
        sent.with_context(|| format!("{} is not pushed; the same command goes on where this one ended", self.label))?;
        Ok(blobs.len())
    }
}
