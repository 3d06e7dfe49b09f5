//! A registry to test: in this process, over a folder of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use headland_package::Sha256Digest;
use headland_package::oci::{Descriptor, MEDIA_TYPE_MANIFEST, Packed, PackedFile, pack_model, pack_signature};
use headland_registry::oci::{Gatekeeper, Limits, OpenGate};
use headland_registry::store::{Store, StoreOptions};
use headland_registry::{Registry, router};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tower::ServiceExt;

pub struct TestRegistry {
    pub store: Store,
    pub router: Router,
    dir: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl TestRegistry {
    pub fn new() -> Self {
        TestRegistry::with(OpenGate, |_, _| {})
    }

    /// With a gatekeeper, and limits and options changed.
    pub fn with(gatekeeper: impl Gatekeeper, change: impl FnOnce(&mut Limits, &mut StoreOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut limits = Limits { upload_idle_max: Duration::from_secs(20), ..Limits::default() };
        let mut options = StoreOptions::default();
        change(&mut limits, &mut options);
        TestRegistry::open(dir, Arc::new(gatekeeper), limits, options)
    }

    fn open(dir: TempDir, gatekeeper: Arc<dyn Gatekeeper>, limits: Limits, options: StoreOptions) -> Self {
        let store = Store::open(dir.path(), options).unwrap();
        let router = router(Registry { store: store.clone(), gatekeeper, limits });
        TestRegistry { store, router, dir }
    }

    /// Closed and opened again over the same folder, without limits and gatekeeper it may have had.
    pub fn restarted(self) -> Self {
        let TestRegistry { store, router, dir } = self;
        drop((store, router));
        TestRegistry::open(dir, Arc::new(OpenGate), Limits::default(), StoreOptions::default())
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request(method, path, &[], body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Body::empty()).await
    }

    /// Uploads a blob whole.
    pub async fn push_blob(&self, repository: &str, bytes: &[u8]) -> Sha256Digest {
        let digest = Sha256Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.call(Method::POST, &path, bytes.to_vec()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        digest
    }

    pub async fn put_manifest(&self, repository: &str, reference: &str, manifest: &[u8]) -> Answer {
        self.put_as(repository, reference, MEDIA_TYPE_MANIFEST, manifest).await
    }

    pub async fn put_as(&self, repository: &str, reference: &str, media_type: &str, manifest: &[u8]) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send(request(Method::PUT, &path, &[(header::CONTENT_TYPE, media_type)], manifest.to_vec())).await
    }

    /// Uploads a model's blobs and its manifest; the manifest's descriptor.
    pub async fn push_model(&self, name: &str, version: &str, files: &[(&str, &[u8])]) -> Descriptor {
        let repository = format!("models/{name}");
        let packed = model(name, version, files);
        self.push_blob(&repository, &packed.config).await;
        for (_, content) in files {
            self.push_blob(&repository, content).await;
        }
        let answer = self.put_manifest(&repository, version, &packed.manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        Descriptor::of(MEDIA_TYPE_MANIFEST, &packed.manifest)
    }

    /// Uploads a signature's blobs, and answers what its manifest got.
    pub async fn push_signature(&self, repository: &str, bundle: &[u8], subject: Descriptor) -> Answer {
        let packed = pack_signature(bundle, subject);
        self.push_blob(repository, &packed.config).await;
        self.push_blob(repository, bundle).await;
        self.put_manifest(repository, &Sha256Digest::of(&packed.manifest).to_string(), &packed.manifest).await
    }

    /// Everything on disk: path and content. Equal before and after means that nothing has changed.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.dir.path(), &mut files);
        files
    }
}

fn collect(dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    /// Status, code and message of a failure, in the specification's shape.
    pub fn failure(&self) -> String {
        let json = self.json();
        let error = &json["errors"][0];
        let (code, message) = (error["code"].as_str().unwrap(), error["message"].as_str().unwrap());
        format!("{} {code}: {message}", self.status.as_u16())
    }

    #[track_caller]
    pub fn assert_failure(&self, status_and_code: &str, message: &str) {
        let failure = self.failure();
        assert!(failure.starts_with(status_and_code) && failure.contains(message), "{failure}");
    }
}

pub fn request(
    method: Method,
    path: &str,
    headers: &[(header::HeaderName, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A model of these files.
pub fn model(name: &str, version: &str, files: &[(&str, &[u8])]) -> Packed {
    let files: Vec<PackedFile> = files
        .iter()
        .map(|(path, content)| PackedFile {
            path: (*path).to_owned(),
            size: content.len() as u64,
            digest: Sha256Digest::of(content),
        })
        .collect();
    pack_model(&name.parse().unwrap(), &version.parse().unwrap(), &files).unwrap()
}
