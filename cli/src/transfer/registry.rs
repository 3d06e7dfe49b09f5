//! A repository of a registry, as a client of the OCI distribution API 1.1 sees it.

mod challenge;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, anyhow, bail};
use headland_package::Sha256Digest;
use headland_package::oci::{
    Descriptor, Document, MANIFEST_BYTES_MAX, MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST,
};
use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::{Failure, agent};
use crate::client::{Server, nobody, refused};

/// The largest error message that is read.
const REFUSAL_BYTES_MAX: u64 = 1 << 20;
/// Bodies above this ask first whether they are wanted, so that a refusal comes before them.
const ASK_ABOVE_BYTES: u64 = 64 << 10;

/// One repository.
pub struct Registry {
    agent: Agent,
    server: Server,
    repository: String,
    authorization: Mutex<Option<String>>,
    /// The caller's own token goes along, and so none is asked for.
    has_token: bool,
    sent: AtomicU64,
}

/// What came of putting a manifest.
pub enum Put {
    /// It is there.
    Stored,
    /// It would be, if these blobs were there; which ones, where the registry says so.
    BlobsMissing(Option<Vec<Sha256Digest>>),
}

impl Registry {
    /// The repository `repository` on `server`. Asks nothing yet.
    pub fn new(server: Server, repository: String, token: Option<String>) -> Self {
        let has_token = token.is_some();
        let authorization = Mutex::new(token.map(|token| format!("Bearer {token}")));
        Registry { agent: agent(), server, repository, authorization, has_token, sent: AtomicU64::new(0) }
    }

    /// The server it is on.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Its name.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Bytes of blobs and manifests sent so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Where `below` is in this repository, such as `blobs/uploads/`.
    pub fn url(&self, below: &str) -> String {
        format!("{}/v2/{}/{below}", self.server.url(), self.repository)
    }

    /// A location that the registry named, which may leave the server out.
    pub fn resolve(&self, headers: &HeaderMap) -> Result<String, Failure> {
        let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default();
        if location.starts_with('/') {
            return Ok(format!("{}{location}", self.server.url()));
        }
        if location.starts_with("https://") || self.is_ours(location) {
            return Ok(location.to_owned());
        }
        Err(Failure::Final(anyhow!("{} answered without a usable `Location`", self.server.url())))
    }

    fn is_ours(&self, url: &str) -> bool {
        url.strip_prefix(&self.server.url()).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Sends a request without a body.
    pub fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<Response<Body>, Failure> {
        let response = self.send(method.clone(), url, headers, ())?;
        if response.status() != StatusCode::UNAUTHORIZED || self.has_token {
            return Ok(response);
        }
        // Public registries want a token even from those who need none, and give it to anyone.
        let Some(token) = challenge::anonymous_token(&self.agent, response.headers()) else { return Ok(response) };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("Bearer {token}"));
        self.send(method, url, headers, ())
    }

    /// Sends a request with `length` bytes of `body`. Counts them.
    pub fn send_body(
        &self,
        method: Method,
        url: &str,
        headers: &[(header::HeaderName, &str)],
        length: u64,
        body: &mut dyn std::io::Read,
    ) -> Result<Response<Body>, Failure> {
        let length_text = length.to_string();
        let mut headers = headers.to_vec();
        headers.push((header::CONTENT_LENGTH, &length_text));
        if length > ASK_ABOVE_BYTES {
            headers.push((header::EXPECT, "100-continue"));
        }
        let mut counted = Counted { body, sent: &self.sent };
        self.send(method, url, &headers, SendBody::from_reader(&mut counted))
    }

    fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(header::HeaderName, &str)],
        body: impl AsSendBody,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(authorization) = authorization.filter(|_| self.is_ours(url)) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(body).map_err(|error| Failure::Final(error.into()))?;
        self.agent.run(request).map_err(|error| Failure::of_http(error).context(|| nobody(&self.server)))
    }

    /// An answer that is no success, as a failure.
    pub fn failed(&self, mut answer: Response<Body>) -> Failure {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let json = self.refusal(&mut answer);
        Failure::of_status(status, &headers, refused(status, &json, self.has_token))
    }

    fn refusal(&self, answer: &mut Response<Body>) -> Value {
        let body = answer.body_mut().with_config().limit(REFUSAL_BYTES_MAX).read_to_vec();
        body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default()
    }

    /// The digest of the manifest under this reference, if there is one.
    pub fn manifest_digest(&self, reference: &str) -> Result<Option<Sha256Digest>, Failure> {
        let accept = (header::ACCEPT, MEDIA_TYPE_MANIFEST);
        let answer = self.ask(Method::HEAD, &self.url(&format!("manifests/{reference}")), &[accept])?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let digest = answer.headers().get("docker-content-digest").and_then(|digest| digest.to_str().ok());
                Ok(digest.and_then(|digest| digest.parse().ok()))
            }
            // The answer to HEAD says nothing; that to GET says why.
            _ => match self.manifest(reference) {
                Ok(found) => Ok(found.map(|(_, bytes)| Sha256Digest::of(&bytes))),
                Err(failure) => Err(failure),
            },
        }
    }

    /// The manifest or index under this reference, with its bytes, if there is one.
    pub fn manifest(&self, reference: &str) -> Result<Option<(Document, Vec<u8>)>, Failure> {
        let accept = [MEDIA_TYPE_MANIFEST, MEDIA_TYPE_INDEX, MEDIA_TYPE_DOCKER_MANIFEST].join(", ");
        let url = self.url(&format!("manifests/{reference}"));
        let mut answer = self.ask(Method::GET, &url, &[(header::ACCEPT, &accept)])?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if !status.is_success() => return Err(self.failed(answer)),
            _ => {}
        }
        let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            media_type.unwrap_or(MEDIA_TYPE_MANIFEST).split(';').next().unwrap_or_default().trim().to_owned();
        let body = answer.body_mut().with_config().limit(MANIFEST_BYTES_MAX as u64).read_to_vec();
        let bytes = body.map_err(Failure::of_http)?;
        let document = Document::parse(&media_type, &bytes).with_context(|| format!("{url} is not usable"))?;
        match reference.parse::<Sha256Digest>() {
            Ok(expected) if expected != Sha256Digest::of(&bytes) => Err(Failure::Final(anyhow!(
                "{url} has digest {}: not the manifest that was asked for",
                Sha256Digest::of(&bytes)
            ))),
            _ => Ok(Some((document, bytes))),
        }
    }

    /// Puts a manifest.
    pub fn put_manifest(&self, reference: &str, manifest: &[u8]) -> Result<Put, Failure> {
        let url = self.url(&format!("manifests/{reference}"));
        let content_type = (header::CONTENT_TYPE, MEDIA_TYPE_MANIFEST);
        let mut answer =
            self.send_body(Method::PUT, &url, &[content_type], manifest.len() as u64, &mut { manifest })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        if status.is_success() {
            return Ok(Put::Stored);
        }
        let json = self.refusal(&mut answer);
        let error = &json["errors"][0];
        match error["code"].as_str() {
            Some("MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN") => {
                let missing = error["detail"]["missing"].as_array();
                let parse = |digest: &Value| digest.as_str()?.parse().ok();
                Ok(Put::BlobsMissing(missing.and_then(|missing| missing.iter().map(parse).collect())))
            }
            _ => Err(Failure::of_status(status, &headers, refused(status, &json, self.has_token))),
        }
    }

    /// Whether this blob is there.
    pub fn has_blob(&self, digest: Sha256Digest) -> Result<bool, Failure> {
        let answer = self.ask(Method::HEAD, &self.url(&format!("blobs/{digest}")), &[])?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.failed(answer)),
        }
    }

    /// A blob from byte `offset` on.
    pub fn blob(&self, digest: Sha256Digest, offset: u64) -> Result<Response<Body>, Failure> {
        let range = format!("bytes={offset}-");
        let headers: &[_] = if offset > 0 { &[(header::RANGE, range.as_str())] } else { &[] };
        self.ask(Method::GET, &self.url(&format!("blobs/{digest}")), headers)
    }

    /// What refers to this manifest and is of this type: by the API, or where there is none by the tag in its place.
    pub fn referrers(&self, digest: Sha256Digest, artifact_type: &str) -> Result<Vec<Descriptor>, Failure> {
        let url = self.url(&format!("referrers/{digest}?artifactType={artifact_type}"));
        let url = url.replace('+', "%2B");
        let mut answer = self.ask(Method::GET, &url, &[])?;
        let index = if answer.status().is_success() {
            let body = answer.body_mut().with_config().limit(MANIFEST_BYTES_MAX as u64).read_to_vec();
            let bytes = body.map_err(Failure::of_http)?;
            Document::parse(MEDIA_TYPE_INDEX, &bytes).with_context(|| format!("{url} is not usable"))?
        } else {
            match self.manifest(&digest.to_string().replace(':', "-"))? {
                Some((document, _)) => document,
                None => return Ok(Vec::new()),
            }
        };
        let Document::Index(index) = index else { return Ok(Vec::new()) };
        let wanted = |referrer: &Descriptor| referrer.artifact_type.as_deref() == Some(artifact_type);
        Ok(index.manifests.into_iter().filter(wanted).collect())
    }

    /// The tags there are, up to the first thousand.
    pub fn tags(&self) -> Result<Vec<String>, Failure> {
        let mut answer = self.ask(Method::GET, &self.url("tags/list?n=1000"), &[])?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(Vec::new()),
            status if !status.is_success() => return Err(self.failed(answer)),
            _ => {}
        }
        let json = self.refusal(&mut answer);
        let tags = json["tags"].as_array().into_iter().flatten();
        Ok(tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect())
    }
}

/// Splits `REPOSITORY`, `REPOSITORY:TAG` and `REPOSITORY@DIGEST`; the tag is `latest` where there is none.
pub fn parse_reference(text: &str) -> anyhow::Result<(&str, &str)> {
    let (repository, reference) = match (text.split_once('@'), text.rsplit_once(':')) {
        (Some((repository, digest)), _) => {
            digest.parse::<Sha256Digest>().with_context(|| format!("`{digest}` is no digest"))?;
            (repository, digest)
        }
        (None, Some((repository, tag))) => (repository, tag),
        (None, None) => (text, "latest"),
    };
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte))
    };
    if !repository.split('/').all(|part| plain(part, "._-") && !part.starts_with('.')) || !plain(reference, "._-:") {
        bail!("`{text}` is no REPOSITORY:TAG or REPOSITORY@sha256:...");
    }
    Ok((repository, reference))
}

/// Counts what is read to be sent.
struct Counted<'a> {
    body: &'a mut dyn std::io::Read,
    sent: &'a AtomicU64,
}

impl std::io::Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.sent.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_repository_and_tag_or_digest() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let by_digest = format!("a/b@{digest}");
        assert_eq!(parse_reference("models/digits:2.1").unwrap(), ("models/digits", "2.1"));
        assert_eq!(parse_reference("digits").unwrap(), ("digits", "latest"));
        assert_eq!(parse_reference(&by_digest).unwrap(), ("a/b", digest.as_str()));
        for bad in ["", "a//b", "../x:1", "a/..:1", "a:", ":1", "a?x:1", "a b:1", "a@sha256:12", "a/b:1/2", "a%2e:1"] {
            assert!(parse_reference(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_for_its_own_server_only() {
        let server = Server::parse("http://127.0.0.1:80").unwrap();
        let registry = Registry::new(server, "models/x".to_owned(), Some("hl_x".to_owned()));
        assert!(registry.is_ours("http://127.0.0.1:80/v2/"));
        assert!(!registry.is_ours("http://127.0.0.1:8080/v2/"));
        assert!(!registry.is_ours("http://127.0.0.1:80.example/v2/"));
        let at = |location: &str| {
            let headers = HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())]);
            registry.resolve(&headers).ok()
        };
        assert_eq!(at("/v2/x").as_deref(), Some("http://127.0.0.1:80/v2/x"));
        assert_eq!(at("https://cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        for bad in ["", "x", "http://other.example/x", "file:///etc/passwd"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
