//! Query strings: only the parameters a route knows, each at most once.

use axum::extract::Query;
use http::Uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::limits::PAGE_ENTRIES_MAX;

/// Of a request that begins an upload: `digest` with the whole blob in the body, or `mount` and `from`.
#[derive(Deserialize)]
pub(super) struct Begin {
    pub(super) digest: Option<String>,
    pub(super) mount: Option<String>,
    pub(super) from: Option<String>,
}

/// Of a request that ends an upload.
#[derive(Deserialize)]
pub(super) struct Finish {
    pub(super) digest: Option<String>,
}

/// Of a listing that comes in pages.
#[derive(Deserialize)]
pub(super) struct Page {
    n: Option<String>,
    pub(super) last: Option<String>,
}

/// Of a list of referrers.
#[derive(Deserialize)]
pub(super) struct Referrers {
    #[serde(rename = "artifactType")]
    pub(super) artifact_type: Option<String>,
    pub(super) last: Option<String>,
}

/// Reads the query of `uri`.
pub(super) fn read<T: DeserializeOwned>(uri: &Uri) -> Result<T, Failure> {
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|error| Failure::query(&error))
}

impl Page {
    /// How many entries to list.
    pub(super) fn entries(&self) -> Result<usize, Failure> {
        match &self.n {
            None => Ok(PAGE_ENTRIES_MAX),
            Some(n) => match n.parse::<usize>() {
                Ok(n) => Ok(n.min(PAGE_ENTRIES_MAX)),
                Err(_) => Err(Failure::query(&"`n` is a number of entries")),
            },
        }
    }
}
