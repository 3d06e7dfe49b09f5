//! Where each thing lies. Names come in as checked types only, so no path leaves the store's folder.

use std::path::{Path, PathBuf};

use headland_package::Sha256Digest;

use super::error::At;
use super::names::{Repository, Tag, UploadId};
use super::{StoreError, disk};

/// The folders of a repository.
const REPOSITORY_FOLDERS: [&str; 5] = ["tags", "manifests", "blobs", "uploads", "referrers"];

/// The paths of one store.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Layout { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    /// Files on their way to a name.
    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// A new name for a file on its way.
    pub(super) fn staged(&self) -> Result<PathBuf, StoreError> {
        new_name_in(self.staging())
    }

    /// Files on their way out.
    pub(super) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// A new name for a file on its way out.
    pub(super) fn trashed(&self) -> Result<PathBuf, StoreError> {
        new_name_in(self.trash())
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(super) fn blob(&self, digest: Sha256Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(super) fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    pub(super) fn repository(&self, repository: &Repository) -> PathBuf {
        self.repositories().join(repository.to_file_name())
    }

    pub(super) fn tags(&self, repository: &Repository) -> PathBuf {
        self.repository(repository).join("tags")
    }

    pub(super) fn tag(&self, repository: &Repository, tag: &Tag) -> PathBuf {
        self.tags(repository).join(tag.as_str())
    }

    /// Which manifests are in the repository: a file each, holding the media type.
    pub(super) fn manifests(&self, repository: &Repository) -> PathBuf {
        self.repository(repository).join("manifests")
    }

    pub(super) fn manifest(&self, repository: &Repository, digest: Sha256Digest) -> PathBuf {
        self.manifests(repository).join(digest.hex())
    }

    /// Which blobs can be read through the repository: an empty file each.
    pub(super) fn links(&self, repository: &Repository) -> PathBuf {
        self.repository(repository).join("blobs")
    }

    pub(super) fn link(&self, repository: &Repository, digest: Sha256Digest) -> PathBuf {
        self.links(repository).join(digest.hex())
    }

    pub(super) fn uploads(&self, repository: &Repository) -> PathBuf {
        self.repository(repository).join("uploads")
    }

    pub(super) fn upload(&self, repository: &Repository, id: &UploadId) -> PathBuf {
        self.uploads(repository).join(id.as_str())
    }

    /// Which manifests name `subject` as theirs: an empty file each.
    pub(super) fn referrers(&self, repository: &Repository, subject: Sha256Digest) -> PathBuf {
        self.repository(repository).join("referrers").join(subject.hex())
    }

    pub(super) fn referrer(&self, repository: &Repository, subject: Sha256Digest, digest: Sha256Digest) -> PathBuf {
        self.referrers(repository, subject).join(digest.hex())
    }

    /// Every manifest that others name as their subject.
    pub(super) fn all_subjects(&self, repository: &Repository) -> Result<Vec<Sha256Digest>, StoreError> {
        digests(&self.repository(repository).join("referrers"))
    }

    /// Makes the folders of the store itself.
    pub(super) fn make(&self) -> Result<(), StoreError> {
        for folder in [self.root.join("blobs"), self.blobs(), self.repositories(), self.staging(), self.trash()] {
            disk::make_dir(&folder)?;
        }
        Ok(())
    }

    /// Makes the folders of a repository.
    pub(super) fn make_repository(&self, repository: &Repository) -> Result<(), StoreError> {
        let folder = self.repository(repository);
        if disk::metadata(&folder)?.is_none() {
            disk::check_room(&self.repositories(), super::REPOSITORIES_MAX, "repositories", "remove some")?;
        }
        disk::make_dir(&folder)?;
        REPOSITORY_FOLDERS.iter().try_for_each(|inner| disk::make_dir(&folder.join(inner)))
    }

    /// Removes a repository's folders if nothing is in any of them. All of them or none: whoever has a file in one relies
    /// on the others.
    pub(super) fn prune_repository(&self, repository: &Repository) -> Result<(), StoreError> {
        let folder = self.repository(repository);
        for subject in self.all_subjects(repository)? {
            disk::prune_dir(&self.referrers(repository, subject))?;
        }
        for inner in REPOSITORY_FOLDERS {
            if !disk::names(&folder.join(inner))?.is_empty() {
                return Ok(());
            }
        }
        REPOSITORY_FOLDERS.iter().try_for_each(|inner| disk::prune_dir(&folder.join(inner)))?;
        disk::prune_dir(&folder)
    }

    /// Every repository folder there is, whether or not it holds a manifest yet.
    pub(super) fn all_repositories(&self) -> Result<Vec<Repository>, StoreError> {
        let mut found: Vec<_> =
            disk::names(&self.repositories())?.iter().filter_map(|name| Repository::from_file_name(name)).collect();
        found.sort();
        Ok(found)
    }

    /// Every blob there is.
    pub(super) fn all_blobs(&self) -> Result<Vec<Sha256Digest>, StoreError> {
        digests(&self.blobs())
    }

    pub(super) fn bytes_of_blobs(&self) -> Result<u64, StoreError> {
        self.all_blobs()?
            .into_iter()
            .try_fold(0, |sum: u64, digest| Ok(sum.saturating_add(disk::size_of(&self.blob(digest))?.unwrap_or(0))))
    }
}

fn new_name_in(dir: PathBuf) -> Result<PathBuf, StoreError> {
    let name = UploadId::random().at("name a file in", &dir)?;
    Ok(dir.join(name.as_str()))
}

/// The digests that name files of a folder, in order. Whatever else lies there is not ours.
pub(super) fn digests(dir: &Path) -> Result<Vec<Sha256Digest>, StoreError> {
    let mut found: Vec<_> = disk::names(dir)?.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect();
    found.sort();
    Ok(found)
}
