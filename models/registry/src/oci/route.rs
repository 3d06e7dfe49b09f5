//! A path below `/v2/` as what it asks for. Repository names contain `/`, so paths are read from their end.

use headland_package::Sha256Digest;

use super::failure::Failure;
use crate::store::{Repository, UploadId};

/// What a path asks for. A part that only one method would miss is kept with its failure.
#[derive(Debug)]
pub(super) enum Route {
    /// `_catalog`
    Catalog,
    /// `NAME/tags/list`
    Tags(Repository),
    /// `NAME/referrers/DIGEST`
    Referrers(Repository, Result<Sha256Digest, Failure>),
    /// `NAME/manifests/REFERENCE`
    Manifest(Repository, String),
    /// `NAME/blobs/DIGEST`
    Blob(Repository, Result<Sha256Digest, Failure>),
    /// `NAME/blobs/uploads/`
    Uploads(Repository),
    /// `NAME/blobs/uploads/ID`
    Upload(Repository, Result<UploadId, Failure>),
}

impl Route {
    /// The methods it has, for `Allow`.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Route::Catalog | Route::Tags(_) | Route::Referrers(..) => "GET",
            Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Route::Blob(..) => "GET, HEAD, DELETE",
            Route::Uploads(_) => "POST",
            Route::Upload(..) => "GET, PATCH, PUT, DELETE",
        }
    }
}

/// Reads a path, percent-decoded, without its `/v2/`.
pub(super) fn parse(path: &str) -> Result<Route, Failure> {
    if path == "_catalog" {
        return Ok(Route::Catalog);
    }
    let mut parts = path.rsplitn(4, '/');
    let (last, before, two_before, rest) = (parts.next(), parts.next(), parts.next(), parts.next());
    if let (Some(last), Some("uploads"), Some("blobs"), Some(name)) = (last, before, two_before, rest) {
        let repository = repository(name)?;
        return Ok(match last {
            "" => Route::Uploads(repository),
            id => Route::Upload(repository, id.parse().map_err(Failure::upload_id)),
        });
    }
    let mut parts = path.rsplitn(3, '/');
    let (Some(last), Some(before), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::no_route());
    };
    match (before, last) {
        ("blobs", "uploads") => Ok(Route::Uploads(repository(name)?)),
        ("blobs", digest) => Ok(Route::Blob(repository(name)?, parse_digest(digest))),
        ("manifests", reference) => Ok(Route::Manifest(repository(name)?, reference.to_owned())),
        ("referrers", digest) => Ok(Route::Referrers(repository(name)?, parse_digest(digest))),
        ("tags", "list") => Ok(Route::Tags(repository(name)?)),
        _ => Err(Failure::no_route()),
    }
}

fn repository(name: &str) -> Result<Repository, Failure> {
    name.parse().map_err(Failure::name)
}

/// A digest as clients write it, or why it is refused.
pub(super) fn parse_digest(text: &str) -> Result<Sha256Digest, Failure> {
    if text.starts_with("sha512:") {
        return Err(Failure::sha512());
    }
    text.parse().map_err(|_| Failure::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn shown(path: &str) -> String {
        match parse(path) {
            Ok(Route::Catalog) => "catalog".into(),
            Ok(Route::Tags(name)) => format!("tags of {name}"),
            Ok(Route::Referrers(name, digest)) => format!("referrers in {name}: {}", digest.is_ok()),
            Ok(Route::Manifest(name, reference)) => format!("manifest {reference} in {name}"),
            Ok(Route::Blob(name, digest)) => format!("blob in {name}: {}", digest.is_ok()),
            Ok(Route::Uploads(name)) => format!("uploads to {name}"),
            Ok(Route::Upload(name, id)) => format!("upload to {name}: {}", id.is_ok()),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn every_route_of_the_specification_is_read() {
        for (path, expected) in [
            ("_catalog".to_owned(), "catalog"),
            ("models/a/tags/list".to_owned(), "tags of models/a"),
            ("models/a/manifests/1.0".to_owned(), "manifest 1.0 in models/a"),
            (format!("models/a/manifests/sha256:{HEX}"), &format!("manifest sha256:{HEX} in models/a")),
            (format!("a/blobs/sha256:{HEX}"), "blob in a: true"),
            ("a/blobs/uploads/".to_owned(), "uploads to a"),
            ("a/blobs/uploads".to_owned(), "uploads to a"),
            (format!("a/b/c/blobs/uploads/{ID}"), "upload to a/b/c: true"),
            (format!("a/referrers/sha256:{HEX}"), "referrers in a: true"),
        ] {
            assert_eq!(shown(&path), expected, "{path}");
        }
    }

    #[test]
    fn names_that_look_like_routes_are_names() {
        assert_eq!(shown("a/blobs/uploads/manifests/x"), "manifest x in a/blobs/uploads");
        assert_eq!(shown("tags/tags/list"), "tags of tags");
        assert_eq!(shown("manifests/manifests/manifests"), "manifest manifests in manifests");
    }

    #[test]
    fn what_is_no_route_says_so() {
        for path in ["", "x", "tags/list", "a/b/c", "a/tags/x", "/manifests/x"] {
            assert!(parse(path).is_err(), "{path}");
        }
        for path in ["../x/manifests/1", "A/manifests/1", "a//b/manifests/1", "a\0/manifests/1"] {
            assert!(shown(path).contains("NAME_INVALID"), "{path}: {}", shown(path));
        }
    }

    #[test]
    fn digests_that_cannot_be_are_kept_as_failures() {
        for digest in ["sha256:12", "md5:12", "x", "sha512:ab", "sha256:../../x"] {
            assert!(parse_digest(digest).is_err(), "{digest}");
        }
        assert!(parse_digest(&format!("sha512:{HEX}{HEX}")).unwrap_err().to_string().contains("UNSUPPORTED"));
        assert_eq!(shown("a/blobs/uploads/xyz"), "upload to a: false");
        assert!(shown("a/blobs/uploads/../../x").starts_with("404"));
    }
}
