//! What must be there after everything that was said, and how to look.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use headland_package::Sha256Digest;
use headland_registry::store::{Reference, Store, StoreOptions, Tag};

use crate::content::{content, repository, subject};

/// What the store must hold after everything that was said.
#[derive(Default)]
pub struct Expected {
    /// Bytes acknowledged of each unfinished upload, and the blob it was to become.
    parts: BTreeMap<String, (u64, u64)>,
    pub blobs: BTreeSet<u64>,
    /// Manifests, each with the seed of its child.
    pub manifests: BTreeMap<String, u64>,
    /// Deletions begun and not acknowledged.
    deleting: BTreeSet<String>,
    pub deleted: BTreeSet<String>,
    /// Each tag's digest, and the one it was about to move to.
    tags: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl Expected {
    /// Takes in a line of the child.
    pub fn heard(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open"] => {}
            ["part", id, number, len] => {
                self.parts.insert(id.into(), (number.parse().unwrap(), len.parse().unwrap()));
            }
            ["blob", number] => {
                let number = number.parse().unwrap();
                self.parts.retain(|_, (other, _)| *other != number);
                self.blobs.insert(number);
            }
            ["manifest", digest, seed] => {
                self.manifests.insert(digest.into(), seed.parse().unwrap());
            }
            ["tagging", tag, digest] => self.tags.entry(tag.into()).or_default().1 = Some(digest.into()),
            ["tagged", tag, digest] => {
                self.tags.insert(tag.into(), (Some(digest.into()), None));
            }
            ["deleting", digest] => {
                self.deleting.insert(digest.into());
            }
            ["deleted", digest] => {
                self.deleting.remove(digest);
                self.deleted.insert(digest.into());
            }
            _ => panic!("the child said {line:?}"),
        }
    }

    /// Looks at a store whose process was killed, and settles what was under way.
    pub fn check(&mut self, dir: &Path) {
        blobs_on_disk_are_whole(dir);
        let store = Store::open(dir, StoreOptions::default()).unwrap();
        self.check_tags(&store);
        self.check_manifests(&store);
        manifests_are_whole(&store, dir);
        self.check_blobs(&store);
        self.finish_uploads(&store, dir);
        let used = store.usage().unwrap().used_bytes;
        drop(store);
        let reopened = Store::open(dir, StoreOptions::default()).unwrap();
        assert_eq!(reopened.usage().unwrap().used_bytes, used, "counting along and counting anew agree");
    }

    fn is_or_may_be_deleted(&self, digest: Option<&String>) -> bool {
        digest.is_some_and(|digest| self.deleted.contains(digest) || self.deleting.contains(digest))
    }

    fn check_tags(&mut self, store: &Store) {
        let tags = std::mem::take(&mut self.tags);
        for (tag, (old, new)) in tags {
            let found =
                store.tag(&repository(), &tag.parse::<Tag>().unwrap()).unwrap().map(|digest| digest.to_string());
            let moved = new.is_some() && found == new;
            let gone =
                found.is_none() && (self.is_or_may_be_deleted(old.as_ref()) || self.is_or_may_be_deleted(new.as_ref()));
            assert!(found == old || moved || gone, "tag {tag} was {old:?}, perhaps {new:?}, and is {found:?}");
            self.tags.insert(tag, (found, None));
        }
    }

    fn check_manifests(&mut self, store: &Store) {
        let mut listed = BTreeMap::new();
        for (digest, seed) in &self.manifests {
            let listed: &BTreeSet<String> = listed.entry(*seed).or_insert_with(|| {
                let infos = store.referrers(&repository(), subject(*seed), None).unwrap();
                infos.iter().map(|info| info.digest.to_string()).collect()
            });
            let found = store.manifest(&repository(), &digest.parse::<Reference>().unwrap()).unwrap().is_some();
            assert!(!found || !self.deleted.contains(digest), "deleted manifest {digest} is back");
            assert!(found || self.is_or_may_be_deleted(Some(digest)), "acknowledged manifest {digest} is gone");
            assert_eq!(found, listed.contains(digest), "the referrers' list agrees about {digest}");
            if !found {
                self.deleted.insert(digest.clone());
            }
        }
        self.deleting.clear();
    }

    fn check_blobs(&self, store: &Store) {
        for number in &self.blobs {
            let bytes = content(*number);
            let blob = store.blob(&repository(), Sha256Digest::of(&bytes)).unwrap();
            let blob = blob.unwrap_or_else(|| panic!("acknowledged blob {number} is gone"));
            assert_eq!(&blob.map_verified().unwrap()[..], &bytes[..]);
        }
    }

    /// An unfinished upload has at least what was acknowledged, and can be finished.
    fn finish_uploads(&mut self, store: &Store, dir: &Path) {
        for (id, (number, acknowledged)) in std::mem::take(&mut self.parts) {
            let bytes = content(number);
            let digest = Sha256Digest::of(&bytes);
            let Ok(mut upload) = store.resume_upload(&repository(), &id.parse().unwrap()) else {
                // Then it was just finished: the session is over when the blob appears.
                let finished = dir.join("blobs/sha256").join(digest.hex()).exists();
                assert!(finished, "upload {id} of blob {number} is lost");
                continue;
            };
            assert!(upload.len() >= acknowledged, "upload {id} has {} of {acknowledged} bytes", upload.len());
            let from = usize::try_from(upload.len()).unwrap();
            upload.write(&bytes[from..]).unwrap();
            upload.finish(digest).unwrap();
            self.blobs.insert(number);
        }
    }
}

fn file_names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Whatever has a blob's name has its bytes and its mode, acknowledged or not.
fn blobs_on_disk_are_whole(dir: &Path) {
    let blobs = dir.join("blobs/sha256");
    for name in file_names(&blobs) {
        let path = blobs.join(&name);
        assert_eq!(Sha256Digest::of_file(&path).unwrap().hex(), name, "half a blob");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
    }
}

/// Whatever can be seen as a manifest has all its parts, acknowledged or not.
fn manifests_are_whole(store: &Store, dir: &Path) {
    for name in file_names(&dir.join("repositories/models+m/manifests")) {
        let reference = format!("sha256:{name}").parse().unwrap();
        let manifest = store.manifest(&repository(), &reference).unwrap().unwrap();
        let document: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        for part in [&document["config"], &document["layers"][0]] {
            let digest = part["digest"].as_str().unwrap().parse().unwrap();
            let blob = store.blob(&repository(), digest).unwrap().expect("a visible manifest has its parts");
            assert_eq!(Some(blob.size()), part["size"].as_u64());
        }
    }
}
