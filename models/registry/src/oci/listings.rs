//! What there is: repositories, tags, referrers; in pages, with a `Link` to the next.

use axum::Json;
use axum::response::{IntoResponse, Response};
use headland_package::Sha256Digest;
use headland_package::oci::MEDIA_TYPE_INDEX;
use http::{HeaderValue, Uri, header};
use serde_json::{Value, json};

use super::failure::{Failure, Why};
use super::limits::REFERRERS_PAGE_MAX;
use super::{FILTERS_HEADER, Shared, header_value, query, stored};
use crate::store::{ManifestInfo, Repository};

/// `GET /v2/_catalog`
pub(super) async fn catalog(shared: &Shared, uri: &Uri) -> Result<Response, Failure> {
    let page: query::Page = query::read(uri)?;
    let entries = page.entries()?;
    let found =
        stored(&shared.registry.store, move |store| store.repositories(page.last.as_deref(), entries + 1)).await?;
    let found = found.iter().map(Repository::as_str).collect();
    Ok(paged("/v2/_catalog", entries, found, |names| json!({ "repositories": names })))
}

/// `GET .../tags/list`
pub(super) async fn tags(shared: &Shared, repository: Repository, uri: &Uri) -> Result<Response, Failure> {
    let page: query::Page = query::read(uri)?;
    let entries = page.entries()?;
    let name = repository.clone();
    let found =
        stored(&shared.registry.store, move |store| store.tags(&name, page.last.as_deref(), entries + 1)).await?;
    let Some(found) = found else {
        return Err(Failure::new(Why::NameUnknown, format_args!("there is no repository {repository}")));
    };
    let tags = found.iter().map(|tag| tag.as_str()).collect();
    let path = format!("/v2/{repository}/tags/list");
    Ok(paged(&path, entries, tags, |tags| json!({ "name": repository.as_str(), "tags": tags })))
}

/// A page of at most `entries`, where one more was asked for to see whether there is one. Names and tags need no escaping in
/// a query.
fn paged(path: &str, entries: usize, mut found: Vec<&str>, body: impl FnOnce(&[&str]) -> Value) -> Response {
    let more = found.len() > entries;
    found.truncate(entries);
    let mut response = Json(body(&found)).into_response();
    if let (true, Some(last)) = (more, found.last()) {
        let next = format!("<{path}?n={entries}&last={last}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, header_value(next));
    }
    response
}

/// `GET .../referrers/DIGEST`: an index of the manifests whose subject it is, known or not.
pub(super) async fn referrers(
    shared: &Shared,
    repository: Repository,
    subject: Sha256Digest,
    uri: &Uri,
) -> Result<Response, Failure> {
    let query: query::Referrers = query::read(uri)?;
    let last = query.last.as_deref().map(str::parse::<Sha256Digest>).transpose();
    let last = last.map_err(|_| Failure::query(&"`last` is a digest, as the `Link` had it"))?;
    let (name, artifact_type) = (repository.clone(), query.artifact_type.clone());
    let mut found =
        stored(&shared.registry.store, move |store| store.referrers(&name, subject, artifact_type.as_deref())).await?;
    found.retain(|info| last.is_none_or(|last| info.digest > last));
    let more = found.len() > REFERRERS_PAGE_MAX;
    found.truncate(REFERRERS_PAGE_MAX);

    let manifests: Vec<Value> = found.iter().map(descriptor).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": MEDIA_TYPE_INDEX, "manifests": manifests });
    let mut response = Json(index).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE_INDEX));
    if query.artifact_type.is_some() {
        headers.insert(FILTERS_HEADER, HeaderValue::from_static("artifactType"));
    }
    if let (true, Some(info)) = (more, found.last()) {
        let filter =
            query.artifact_type.map(|wanted| format!("&artifactType={}", escaped(&wanted))).unwrap_or_default();
        let next = format!("</v2/{repository}/referrers/{subject}?last={}{filter}>; rel=\"next\"", info.digest);
        headers.insert(header::LINK, header_value(next));
    }
    Ok(response)
}

fn descriptor(info: &ManifestInfo) -> Value {
    let mut descriptor = json!({ "mediaType": info.media_type, "digest": info.digest, "size": info.size });
    if let Some(artifact_type) = &info.artifact_type {
        descriptor["artifactType"] = json!(artifact_type);
    }
    if !info.annotations.is_empty() {
        descriptor["annotations"] = json!(info.annotations);
    }
    descriptor
}

/// A client's own text, back in a query.
fn escaped(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/');
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
