//! Tags: names that move. Each is a file holding a digest, replaced by rename, so that a reader sees the old or the new.

use headland_package::Sha256Digest;

use super::names::{Reference, Repository, Tag};
use super::{Changing, Store, StoreError, TAGS_MAX, disk};

impl Store {
    /// The digest a tag points to, if there is such a tag.
    ///
    /// # Errors
    /// The tag's file is damaged, or the disk refuses.
    pub fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<Sha256Digest>, StoreError> {
        let path = self.layout().tag(repository, tag);
        let Some(text) = disk::read(&path)? else { return Ok(None) };
        match text.trim_end().parse() {
            Ok(digest) => Ok(Some(digest)),
            Err(_) => Err(StoreError::Damaged { path, problem: "it holds no digest".into() }),
        }
    }

    /// Tags of the repository in byte order: at most `limit`, and only those after `after`. `None` when there is no such
    /// repository.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn tags(
        &self,
        repository: &Repository,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<Tag>>, StoreError> {
        if !self.is_visible(repository)? {
            return Ok(None);
        }
        let after = |tag: &Tag| after.is_none_or(|after| tag.as_str() > after);
        Ok(Some(self.all_tags(repository)?.into_iter().filter(after).take(limit).collect()))
    }

    pub(super) fn all_tags(&self, repository: &Repository) -> Result<Vec<Tag>, StoreError> {
        let names = disk::names(&self.layout().tags(repository))?;
        let mut tags: Vec<Tag> = names.iter().filter_map(|name| name.parse().ok()).collect();
        tags.sort();
        Ok(tags)
    }

    /// Repositories that hold a manifest, in byte order: at most `limit`, and only those after `after`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Repository>, StoreError> {
        let mut found = Vec::new();
        for repository in self.layout().all_repositories()? {
            if found.len() == limit {
                break;
            }
            if after.is_none_or(|after| repository.as_str() > after) && self.is_visible(&repository)? {
                found.push(repository);
            }
        }
        Ok(found)
    }

    /// A repository into which something was only uploaded is not there yet.
    fn is_visible(&self, repository: &Repository) -> Result<bool, StoreError> {
        Ok(!disk::names(&self.layout().manifests(repository))?.is_empty())
    }

    /// Points a tag, new or not, to a manifest of the repository, in one step.
    ///
    /// # Errors
    /// [`StoreError::ManifestUnknown`], [`StoreError::TooMany`] tags, or the disk refuses.
    pub fn move_tag(&self, repository: &Repository, tag: &Tag, digest: Sha256Digest) -> Result<(), StoreError> {
        let changing = self.changing();
        if disk::metadata(&self.layout().manifest(repository, digest))?.is_none() {
            let (repository, reference) = (repository.clone(), Reference::Digest(digest));
            return Err(StoreError::ManifestUnknown { repository, reference });
        }
        self.check_room_for_tag(repository, tag)?;
        self.write_tag(&changing, repository, tag, digest)
    }

    /// Takes a tag away. The manifest stays.
    ///
    /// # Errors
    /// [`StoreError::TagUnknown`], or the disk refuses.
    pub fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), StoreError> {
        let changing = self.changing();
        if self.remove_tag(&changing, repository, tag)? {
            Ok(())
        } else {
            Err(StoreError::TagUnknown { repository: repository.clone(), tag: tag.clone() })
        }
    }

    pub(super) fn check_room_for_tag(&self, repository: &Repository, tag: &Tag) -> Result<(), StoreError> {
        if disk::metadata(&self.layout().tag(repository, tag))?.is_some() {
            return Ok(());
        }
        disk::check_room(&self.layout().tags(repository), TAGS_MAX, "tags in the repository", "delete some")
    }

    pub(super) fn write_tag(
        &self,
        _: &Changing<'_>,
        repository: &Repository,
        tag: &Tag,
        digest: Sha256Digest,
    ) -> Result<(), StoreError> {
        // A damaged tag is as good as none here: it is replaced.
        if matches!(self.tag(repository, tag), Ok(Some(now)) if now == digest) {
            return Ok(());
        }
        self.replace(&self.layout().tag(repository, tag), &format!("{digest}\n"))
    }

    pub(super) fn remove_tag(&self, _: &Changing<'_>, repository: &Repository, tag: &Tag) -> Result<bool, StoreError> {
        disk::remove(&self.layout().tag(repository, tag))
    }
}
