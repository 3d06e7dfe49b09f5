//! Manifests, blobs, referrers and tags: what can be asked of a repository.

use anyhow::{Context, anyhow};
use headland_package::Sha256Digest;
use headland_package::oci::{
    Descriptor, Document, MANIFEST_BYTES_MAX, MEDIA_TYPE_DOCKER_MANIFEST, MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST,
};
use serde_json::Value;
use ureq::Body;
use ureq::http::{Method, Response, StatusCode, header};

use super::{Failure, Registry};
use crate::client::refused;

/// What came of putting a manifest.
pub enum Put {
    /// It is there.
    Stored,
    /// It would be, if these blobs were there; which ones, where the registry says so.
    BlobsMissing(Option<Vec<Sha256Digest>>),
}

impl Registry {
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
