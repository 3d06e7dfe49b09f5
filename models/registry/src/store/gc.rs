//! Garbage collection: what no manifest names, and nobody has touched for the grace period, goes.
//!
//! `README.md` argues why this can race neither an upload nor a manifest: in short, who adds and who sweeps hold the same
//! lock, and what is not yet named by a manifest is young.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use headland_package::Sha256Digest;

use super::error::At;
use super::layout::digests;
use super::names::Repository;
use super::{Changing, Store, StoreError, disk};

/// What a garbage collection took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs, those of deleted manifests included.
    pub blobs: usize,
    /// The bytes of these blobs.
    pub bytes: u64,
    /// Entries by which a repository could read a blob that it did not use.
    pub links: usize,
    /// Uploads that nobody had written to for too long.
    pub uploads: usize,
}

impl Store {
    /// Collects garbage. Uploads and reads go on meanwhile; what makes something visible waits while names are looked
    /// through, not while bytes are freed.
    ///
    /// # Errors
    /// A manifest is damaged, so that nobody knows what it needs: nothing is collected then. Or the disk refuses.
    pub fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        let (mut report, doomed) = self.sweep()?;
        for path in doomed {
            let size = disk::size_of(&path)?.unwrap_or(0);
            disk::discard(&path)?;
            self.0.ledger.release(size);
            report.blobs += 1;
            report.bytes += size;
        }
        Ok(report)
    }

    /// Moves garbage into the trash, where nothing finds it, under the locks.
    fn sweep(&self) -> Result<(GcReport, Vec<PathBuf>), StoreError> {
        let changing = self.changing();
        let _no_promises = self.0.sweep.write().unwrap_or_else(PoisonError::into_inner);
        let mut report = GcReport { uploads: self.expire_uploads(&changing)?, ..GcReport::default() };
        let mut kept = HashSet::new();
        let mut stale = Vec::new();
        for repository in self.layout().all_repositories()? {
            self.mark(&repository, &mut kept, &mut stale)?;
        }
        // Only now that every manifest was read is anything taken away. The links go first: a link to a blob that is gone
        // would show the blob again when another repository brings it back.
        report.links = stale.len();
        for link in stale {
            disk::remove(&link)?;
        }
        let doomed = self.move_to_trash(&changing, &kept)?;
        for repository in self.layout().all_repositories()? {
            self.sweep_referrers(&repository)?;
            self.layout().prune_repository(&repository)?;
        }
        Ok((report, doomed))
    }

    /// Notes which blobs a repository keeps, and which of its links it keeps no longer.
    fn mark(
        &self,
        repository: &Repository,
        kept: &mut HashSet<Sha256Digest>,
        stale: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        let mut named = HashSet::new();
        for info in self.all_manifests(repository)? {
            let info = info?;
            named.extend(info.parts().map(|part| part.digest));
            named.insert(info.digest);
        }
        for digest in digests(&self.layout().links(repository))? {
            let link = self.layout().link(repository, digest);
            if named.contains(&digest) || self.is_young(&link)? {
                kept.insert(digest);
            } else {
                stale.push(link);
            }
        }
        kept.extend(named);
        Ok(())
    }

    fn is_young(&self, path: &Path) -> Result<bool, StoreError> {
        let grace = self.0.options.grace;
        Ok(disk::metadata(path)?.is_some_and(|metadata| disk::is_younger(&metadata, grace)))
    }

    fn move_to_trash(&self, _: &Changing<'_>, kept: &HashSet<Sha256Digest>) -> Result<Vec<PathBuf>, StoreError> {
        let mut doomed = Vec::new();
        for digest in self.layout().all_blobs()? {
            let path = self.layout().blob(digest);
            if kept.contains(&digest) || self.is_young(&path)? {
                continue;
            }
            // Not made durable: a crash that undoes it leaves garbage, which is collected next time.
            let trash = self.layout().trashed()?;
            fs::rename(&path, &trash).at("put into the trash", &path)?;
            doomed.push(trash);
        }
        Ok(doomed)
    }

    /// Removes referrers' entries without a manifest: left by a crash, or by the deletion of a damaged one.
    fn sweep_referrers(&self, repository: &Repository) -> Result<(), StoreError> {
        for subject in self.layout().all_subjects(repository)? {
            for digest in digests(&self.layout().referrers(repository, subject))? {
                if disk::metadata(&self.layout().manifest(repository, digest))?.is_none() {
                    disk::remove(&self.layout().referrer(repository, subject, digest))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
