//! Compares a signed list of files with the files that are here: none missing, none too much, each the one signed.

use std::collections::BTreeMap;
use std::ops::Range;

use super::manifest::{Manifest, Resource, Serialization};
use super::{VerifyOptions, hashing, names};
use crate::contents::{Contents, ContentsError, REPOSITORY_FILES, SINGLE_FILE, hex};
use crate::error::VerifyError;

/// Which of the files that are here are signed.
pub(super) struct Compared {
    pub signed: Vec<String>,
    pub unsigned: Vec<String>,
}

/// The pieces of each signed file, by its path in the contents.
type Signed<'a> = BTreeMap<&'a str, Vec<&'a Resource>>;

/// Compares names first and content last, because content is what takes long.
pub(super) fn compare(
    manifest: &Manifest,
    contents: &dyn Contents,
    options: &VerifyOptions,
) -> Result<Compared, VerifyError> {
    let paths = contents.paths();
    let ignored = |path: &str| {
        let all = REPOSITORY_FILES.into_iter().chain(strs(&manifest.ignore_paths)).chain(strs(&options.ignore_paths));
        names::is_ignored(path, all)
    };
    let mut signed = Signed::new();
    for resource in &manifest.resources {
        signed.entry(&resource.path).or_default().push(resource);
    }
    pair_single_files(&mut signed, &paths, ignored);
    check_present(manifest, contents, &mut signed)?;
    let unsigned: Vec<&String> = paths.iter().filter(|path| !signed.contains_key(path.as_str())).collect();
    // A format without a word for empty files cannot tell which of them belong.
    let unsignable = |path: &str| manifest.serialization != Serialization::Files && contents.size(path) == Some(0);
    let overlooked = |path: &str| options.ignore_unsigned || ignored(path) || unsignable(path);
    if let Some(extra) = unsigned.iter().find(|path| !overlooked(path)) {
        return Err(VerifyError::Unsigned((*extra).clone()));
    }
    check_content(manifest, contents, &signed)?;
    let signed = signed.into_keys().map(str::to_owned).collect();
    Ok(Compared { signed, unsigned: unsigned.into_iter().cloned().collect() })
}

fn strs(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().map(String::as_str)
}

/// A model that is a single file has no name of its own in the signature, or none in the contents: if there is one file
/// on each side, those are meant.
fn pair_single_files<'a>(signed: &mut Signed<'a>, paths: &'a [String], ignored: impl Fn(&str) -> bool) {
    let mut candidates = paths.iter().filter(|path| !ignored(path));
    let (Some(here), None) = (candidates.next(), candidates.next()) else { return };
    if let ([name], true) = (signed.keys().copied().collect::<Vec<_>>().as_slice(), signed.len() == 1)
        && (*name == SINGLE_FILE || here == SINGLE_FILE)
        && let Some((_, pieces)) = signed.pop_first()
    {
        signed.insert(here, pieces);
    }
}

/// Checks that every signed file is there, no link unless links are allowed, and covered by its pieces.
fn check_present(manifest: &Manifest, contents: &dyn Contents, signed: &mut Signed<'_>) -> Result<(), VerifyError> {
    for (path, pieces) in signed {
        let size = contents.size(path).ok_or_else(|| VerifyError::Missing((*path).to_owned()))?;
        if contents.is_symlink(path) && !manifest.allow_symlinks {
            return Err(VerifyError::Symlink((*path).to_owned()));
        }
        if let Serialization::Shards { bytes } = manifest.serialization {
            pieces.sort_by_key(|piece| piece.range.as_ref().map(|range| range.start));
            let ranges = pieces.iter().filter_map(|piece| piece.range.clone());
            check_cover(ranges, bytes, size).map_err(|why| VerifyError::Shards { path: (*path).to_owned(), why })?;
        }
    }
    Ok(())
}

/// Checks that the pieces are those a file of this size is cut into.
fn check_cover(pieces: impl Iterator<Item = Range<u64>>, bytes: u64, size: u64) -> Result<(), String> {
    let mut covered = 0_u64;
    for piece in pieces {
        let end = covered.saturating_add(bytes).min(size);
        if piece != (covered..end) {
            return Err(format!("it has {size} bytes, and bytes {} to {} are signed", piece.start, piece.end));
        }
        covered = end;
    }
    if covered == size { Ok(()) } else { Err(format!("it has {size} bytes, and {covered} are signed")) }
}

/// Compares digests, on all cores.
fn check_content(manifest: &Manifest, contents: &dyn Contents, signed: &Signed<'_>) -> Result<(), VerifyError> {
    let pieces = signed.iter().flat_map(|(path, pieces)| pieces.iter().map(move |piece| (*path, *piece)));
    let pieces: Vec<(&str, &Resource)> = pieces.collect();
    hashing::for_each(&pieces, |(path, piece)| {
        let found = match contents.digest(path, manifest.hash, piece.range.clone()) {
            Err(ContentsError::NotThereYet(_)) if !contents.is_here() => return Ok(()),
            found => found?,
        };
        if found == piece.digest {
            return Ok(());
        }
        let name = Resource { path: (*path).to_owned(), ..(*piece).clone() }.name();
        Err(VerifyError::Digest {
            path: name,
            algorithm: manifest.hash,
            signed: hex(&piece.digest),
            found: hex(&found),
        })
    })
}
