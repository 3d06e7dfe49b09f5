//! A repository of a registry, as a client of the OCI distribution API 1.1 sees it.

mod challenge;
mod reference;
mod routes;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::anyhow;
use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use ureq::{Agent, AsSendBody, Body, SendBody};

use super::{Failure, agent};
use crate::client::{Server, nobody, refused};

pub use reference::parse_reference;
pub use routes::Put;

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
    /// Whether it has answered anything yet.
    has_answered: AtomicBool,
    sent: AtomicU64,
}

impl Registry {
    /// The repository `repository` on `server`. Asks nothing yet.
    pub fn new(server: Server, repository: String, token: Option<String>) -> Self {
        let has_token = token.is_some();
        let authorization = Mutex::new(token.map(|token| format!("Bearer {token}")));
        let (has_answered, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        Registry { agent: agent(), server, repository, authorization, has_token, has_answered, sent }
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
        let answer = self.agent.run(request).map_err(|error| self.unanswered(error))?;
        self.has_answered.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    /// Nobody is waited for who was never there; who was, may come back.
    fn unanswered(&self, error: ureq::Error) -> Failure {
        let failure = Failure::of_http(error).context(|| nobody(&self.server));
        if self.has_answered.load(Ordering::Relaxed) { failure } else { Failure::Final(failure.into_error()) }
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
