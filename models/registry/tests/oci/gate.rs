//! The gatekeeper: what it is shown, when, and what becomes of its no.

use std::sync::{Arc, Mutex};

use headland_package::oci::{Descriptor, MEDIA_TYPE_MANIFEST};
use headland_registry::oci::{Content, Gatekeeper, ManifestPut, Refusal};
use headland_registry::store::{Reference, Repository};
use http::{Method, StatusCode};

use super::registry::{TestRegistry, model};

const FILES: &[(&str, &[u8])] = &[("config.json", b"{}"), ("model.onnx", b"weights")];

/// Keeps what it was shown, and refuses what says so.
struct Recorder {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn new() -> (Self, Arc<Mutex<Vec<String>>>) {
        let seen = Arc::default();
        (Recorder { seen: Arc::clone(&seen) }, seen)
    }
}

impl Gatekeeper for Recorder {
    fn judge(&self, put: &ManifestPut<'_>) -> Result<(), Refusal> {
        let content = match &put.content {
            Content::Model { files } => {
                format!("model {}", files.iter().map(|file| &file.path[..]).collect::<Vec<_>>().join(","))
            }
            Content::App(_) => "app".into(),
            Content::Signature { bundle, signed, .. } => {
                format!("signature {} of {:?} bytes", String::from_utf8_lossy(bundle), signed.as_ref().map(|s| s.len()))
            }
            Content::Other => "other".into(),
        };
        self.seen.lock().unwrap().push(format!("{}:{} {content}", put.repository, put.reference));
        match put.repository.as_str() {
            "models/denied" => Err(Refusal::Denied { message: "rule `none` trusts nobody for it".into() }),
            "models/broken" => Err(Refusal::Failed { source: "the policy is on fire".into() }),
            _ => Ok(()),
        }
    }

    fn judge_delete(&self, repository: &Repository, reference: &Reference) -> Result<(), Refusal> {
        Err(Refusal::Conflict { message: format!("{repository}:{reference} is loaded; unload it first") })
    }
}

#[tokio::test]
async fn a_model_is_judged_before_its_blobs_are_sent_and_a_no_leaves_nothing() {
    let (gate, seen) = Recorder::new();
    let registry = TestRegistry::with(gate, |_, _| {});
    let before = registry.snapshot();
    let answer = registry.put_manifest("models/denied", "1", &model("denied", "1", FILES).manifest).await;
    answer.assert_failure("403 DENIED", "rule `none` trusts nobody for it");
    assert_eq!(*seen.lock().unwrap(), ["models/denied:1 model config.json,model.onnx"]);
    assert_eq!(registry.snapshot(), before);
}

#[tokio::test]
async fn a_signature_is_shown_with_its_bundle_and_what_it_signs_if_that_is_there() {
    let (gate, seen) = Recorder::new();
    let registry = TestRegistry::with(gate, |_, _| {});
    let manifest = model("m", "1", FILES).manifest;
    let subject = Descriptor::of(MEDIA_TYPE_MANIFEST, &manifest);
    registry.push_signature("models/m", b"early", subject.clone()).await;
    registry.push_model("m", "1", FILES).await;
    registry.push_signature("models/m", b"late", subject).await;
    let seen = seen.lock().unwrap();
    assert!(seen[0].ends_with("signature early of None bytes"), "{seen:?}");
    assert!(seen[2].ends_with(&format!("signature late of Some({}) bytes", manifest.len())), "{seen:?}");
}

#[tokio::test]
async fn a_gate_that_fails_lets_nothing_in_and_tells_the_client_nothing_of_it() {
    let (gate, _) = Recorder::new();
    let registry = TestRegistry::with(gate, |_, _| {});
    let answer = registry.put_manifest("models/broken", "1", &model("broken", "1", FILES).manifest).await;
    answer.assert_failure("500 UNKNOWN", "its log says why");
    assert!(!answer.failure().contains("fire"));
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted() {
    let (gate, _) = Recorder::new();
    let registry = TestRegistry::with(gate, |_, _| {});
    registry.push_model("m", "1", FILES).await;
    let answer = registry.call(Method::DELETE, "/v2/models/m/manifests/1", "").await;
    answer.assert_failure("409 DENIED", "models/m:1 is loaded; unload it first");
    assert_eq!(registry.get("/v2/models/m/manifests/1").await.status, StatusCode::OK);
}
