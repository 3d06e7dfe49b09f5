//! Models through their lives, with a real store, real signatures, a real policy, and a backend that only counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use headland_batcher::Call;
use headland_guest_host::{Apps, GuestEngine, PoolOptions};
use headland_nn_core::{
    Backend, Batching, DType, Device, Dim, Executor, LoadOptions, ModelFiles, NamedTensor, NnError, OutputSelection,
    Signature, Tensor, TensorSpec,
};
use headland_package::Format;
use headland_package::oci::{self, Descriptor, MEDIA_TYPE_MANIFEST, PackedFile};
use headland_package::serving::BackendChoice;
use headland_registry::oci::{Content, Gatekeeper, ManifestPut, Refusal};
use headland_registry::store::{Reference, Repository, StoreOptions};
use headland_trust::SigningKey;
use headland_trust::contents::Files;
use headland_trust::oms::{self, SignOptions};

use super::*;
use crate::models::contest::Results;
use crate::{AppControl, AppParts, PolicyFile, PolicyGate};

static OURS: LazyLock<String> = LazyLock::new(private_key);
static THEIRS: LazyLock<String> = LazyLock::new(private_key);
const DEADLINE: Duration = Duration::from_secs(20);

/// Makes every model one that answers with its input, and counts how often it did.
#[derive(Default)]
struct Counting {
    loads: AtomicUsize,
    broken: AtomicBool,
}

struct Echo {
    signature: Signature,
    bytes: u64,
}

impl Executor for Echo {
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn device(&self) -> Device {
        Device::Cpu
    }
    fn memory_bytes(&self) -> u64 {
        self.bytes
    }
    fn batching(&self) -> Batching {
        Batching::Single { why: "the test runs one at a time".into() }
    }
    fn run(&mut self, inputs: &[NamedTensor], _: &OutputSelection) -> Result<Vec<NamedTensor>, NnError> {
        Ok(vec![NamedTensor::new("y", inputs[0].tensor.clone())])
    }
}

impl Backend for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }
    fn load(&self, model: &ModelFiles, _: &LoadOptions) -> Result<Vec<Box<dyn Executor>>, NnError> {
        self.loads.fetch_add(1, SeqCst);
        if self.broken.load(SeqCst) {
            return Err(NnError::bad_model(format!("{}: of no use", model.describe("model.onnx"))));
        }
        let spec = |name| TensorSpec::new(name, DType::F32, vec![Dim::Dynamic(None)]);
        let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        Ok(vec![Box::new(Echo { signature, bytes: model.require("model.onnx")?.len() as u64 })])
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    policy: PolicyFile,
    control: ModelControl,
    table: Arc<ModelTable>,
    backend: Arc<Counting>,
    gate: PolicyGate,
}

struct OneBackend(Arc<Counting>, Results);

impl Backends for OneBackend {
    fn candidates(&self, _: &Format, _: BackendChoice) -> Result<Vec<Arc<dyn Backend>>, NnError> {
        Ok(vec![self.0.clone()])
    }

    fn candidate(&self, _: &Format, _: BackendChoice, name: &str) -> Option<Arc<dyn Backend>> {
        (name == self.0.name()).then(|| self.0.clone() as Arc<dyn Backend>)
    }

    fn results(&self) -> &Results {
        &self.1
    }
}

/// A key of its own, in PEM form.
fn private_key() -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let der = BASE64_STANDARD.encode(pair.to_pkcs8v1().unwrap());
    format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
}

/// A rule for every model that trusts the key of `pem`.
fn rule(pem: &str) -> String {
    let key = SigningKey::from_pem(pem.as_bytes()).unwrap().public().pem().to_owned();
    format!("version = 1\n[[rule]]\nname = 'all'\nartifact = 'models/*'\n[[rule.authority]]\nkey = '''{key}'''\n")
}

impl Fixture {
    fn new(policy: Option<&str>, memory: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("registry"), StoreOptions::default()).unwrap();
        let file = dir.path().join("policy.toml");
        if let Some(policy) = policy {
            std::fs::write(&file, policy).unwrap();
        }
        let policy = PolicyFile::open(policy.map(|_| file)).unwrap();
        let (table, backend) = (Arc::new(ModelTable::default()), Arc::new(Counting::default()));
        let control = ModelControl::new(ModelParts {
            store: store.clone(),
            policy: policy.watch(),
            table: table.clone(),
            backends: Arc::new(OneBackend(backend.clone(), Results::open(None))),
            budget: Budget::new([(Device::Cpu, memory)]),
            region: None,
        });
        table.load_on_demand(Arc::new(control.clone()));
        let engine = GuestEngine::new(PoolOptions { instances_max: 1 }).unwrap();
        let apps = AppControl::open(AppParts {
            store: store.clone(),
            policy: policy.watch(),
            apps: Arc::new(Apps::new(&engine, &table, &dir.path().join("components")).unwrap()),
            record: dir.path().join("apps.json"),
            region: None,
        });
        let gate = PolicyGate::new(store.clone(), policy.watch(), control.clone(), apps.unwrap());
        Fixture { dir, store, policy, control, table, backend, gate }
    }

    fn trusting() -> Self {
        Fixture::new(Some(&rule(&OURS)), 1 << 20)
    }

    fn repository(name: &str) -> Repository {
        format!("models/{name}").parse().unwrap()
    }

    fn blob(&self, repository: &Repository, bytes: &[u8]) -> Sha256Digest {
        let mut upload = self.store.begin_upload(repository).unwrap();
        upload.write(bytes).unwrap();
        upload.finish(Sha256Digest::of(bytes)).unwrap().digest
    }

    /// Pushes a version whose graph is `graph`, signed by the key of `signer`.
    fn push(&self, name: &str, version: &str, graph: &[u8], signer: Option<&str>) -> Sha256Digest {
        let repository = Self::repository(name);
        let files =
            [PackedFile { path: "model.onnx".into(), size: graph.len() as u64, digest: self.blob(&repository, graph) }];
        let packed = oci::pack_model(&name.parse().unwrap(), &version.parse().unwrap(), &files).unwrap();
        self.blob(&repository, &packed.config);
        let put = |reference: Reference, manifest: &[u8]| {
            self.store.put_manifest(&repository, &reference, MEDIA_TYPE_MANIFEST, manifest).unwrap().digest
        };
        let digest = put(Reference::Tag(version.parse().unwrap()), &packed.manifest);
        if let Some(signer) = signer {
            let bundle = sign(graph, signer);
            self.blob(&repository, &bundle);
            let subject = Descriptor::of(MEDIA_TYPE_MANIFEST, &packed.manifest);
            let signature = oci::pack_signature(&bundle, subject);
            self.blob(&repository, &signature.config);
            put(Reference::Digest(Sha256Digest::of(&signature.manifest)), &signature.manifest);
        }
        digest
    }

    async fn find(&self, asked: &str) -> Result<Arc<Model>, Unavailable> {
        self.table.find(&asked.parse().unwrap()).await
    }

    fn loaded(&self) -> Vec<String> {
        self.table.all().iter().map(|model| model.info().to_string()).collect()
    }

    async fn reason(&self, name: &str) -> String {
        let index = self.control.index().await.unwrap();
        index.into_iter().find(|entry| entry.name.as_str() == name).and_then(|entry| entry.reason).unwrap_or_default()
    }

    fn apply(&self, policy: &str) -> Result<(), headland_trust::PolicyError> {
        std::fs::write(self.dir.path().join("policy.toml"), policy).unwrap();
        self.policy.reload()
    }
}

fn sign(graph: &[u8], signer: &str) -> Vec<u8> {
    let files = BTreeMap::from([("model.onnx".to_owned(), Bytes::copy_from_slice(graph))]);
    let key = SigningKey::from_pem(signer.as_bytes()).unwrap();
    oms::sign_with_key(&Files(&files), "m", &key, &SignOptions::default()).unwrap().into_bytes()
}

async fn answers(model: &Model) -> bool {
    let tensor = Tensor::from_vec([1], vec![1.0f32]).unwrap();
    model.infer(Call { inputs: vec![NamedTensor::new("x", tensor)].into(), ..Call::default() }).await.is_ok()
}

#[tokio::test]
async fn a_signed_model_is_loaded_once_for_all_who_ask_for_it() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"graph", Some(&OURS));
    let found = futures_util::future::join_all((0..20).map(|_| fixture.find("m"))).await;
    assert!(answers(found[0].as_ref().unwrap()).await);
    assert!(found.iter().all(|model| model.is_ok()));
    assert_eq!(fixture.backend.loads.load(SeqCst), 1);
    let entry = &fixture.control.index().await.unwrap()[0];
    assert_eq!((entry.state, entry.in_registry, entry.bytes), (ModelState::Ready, true, 5));
    let admitted = entry.admitted.as_deref().unwrap();
    assert!(admitted.starts_with("admitted by rule `all`") && admitted.contains("signed by"), "{admitted}");
    assert!(matches!(fixture.find("other").await, Err(Unavailable::NotLoaded(_))));
}

#[tokio::test]
async fn what_the_policy_does_not_admit_is_never_loaded_and_says_why() {
    let fixture = Fixture::trusting();
    fixture.push("unsigned", "1", b"graph", None);
    fixture.push("foreign", "1", b"graph", Some(&THEIRS));
    for (name, why) in [("unsigned", "it carries no signature"), ("foreign", "does not count")] {
        assert_eq!(fixture.find(name).await.unwrap_err(), Unavailable::Denied(name.parse().unwrap()));
        let reason = fixture.reason(name).await;
        assert!(reason.contains(why), "{reason}");
    }
    assert_eq!(fixture.backend.loads.load(SeqCst), 0);
    let nobody = Fixture::new(None, 1 << 20);
    nobody.push("m", "1", b"graph", Some(&OURS));
    assert_eq!(nobody.find("m").await.unwrap_err(), Unavailable::Denied("m".parse().unwrap()));
    assert!(nobody.reason("m").await.contains("--policy"));
}

#[tokio::test]
async fn a_file_that_was_changed_in_the_store_is_named_and_not_loaded() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"graph", Some(&OURS));
    let digest = Sha256Digest::of(b"graph").hex();
    let mut folders = vec![fixture.dir.path().to_owned()];
    let mut blob: Option<PathBuf> = None;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let named = entry.to_string_lossy().contains(&digest) && entry.is_file();
            if named && std::fs::read(&entry).unwrap() == b"graph" {
                blob = Some(entry);
            } else if entry.is_dir() {
                folders.push(entry);
            }
        }
    }
    let blob = blob.expect("the blob's file");
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, b"gr4ph").unwrap();
    assert_eq!(fixture.find("m").await.unwrap_err(), Unavailable::Broken("m".parse().unwrap()));
    let reason = fixture.reason("m").await;
    assert!(reason.contains(&digest) && reason.contains(&Sha256Digest::of(b"gr4ph").hex()), "{reason}");
    assert_eq!(fixture.backend.loads.load(SeqCst), 0);
}

#[tokio::test]
async fn a_load_that_failed_is_not_tried_for_everyone_who_asks() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"graph", Some(&OURS));
    fixture.backend.broken.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(fixture.find("m").await.unwrap_err(), Unavailable::Broken("m".parse().unwrap()));
    }
    assert_eq!(fixture.backend.loads.load(SeqCst), 1);
    assert!(fixture.reason("m").await.contains("m:1/model.onnx: of no use"));
    // Who loads it explicitly has a reason to.
    fixture.backend.broken.store(false, SeqCst);
    assert!(fixture.control.load(&"m".parse().unwrap()).await.is_ok());
    assert_eq!(fixture.reason("m").await, "");
}

#[tokio::test]
async fn what_was_loaded_once_is_described_without_being_loaded_again_as_long_as_it_is_the_same_and_admitted() {
    let fixture = Fixture::trusting();
    let (name, version) = ("m".parse().unwrap(), "1".parse().unwrap());
    let describe = || fixture.table.describe_here(&name, &version);
    let gone = || fixture.control.unload(&"m".parse().unwrap()).unwrap();
    assert!(matches!(describe().await, Err(Unavailable::NotLoaded(_))));
    fixture.push("m", "1", b"graph", Some(&OURS));
    let first = describe().await.unwrap();
    assert_eq!(fixture.backend.loads.load(SeqCst), 1, "what it takes and gives, only loading tells");
    gone();
    let again = describe().await.unwrap();
    assert_eq!((again.info.digest, again.signature), (first.info.digest, first.signature));
    assert_eq!((fixture.backend.loads.load(SeqCst), fixture.loaded()), (1, vec![]));
    fixture.push("m", "1", b"other graph", Some(&OURS));
    assert_ne!(describe().await.unwrap().info.digest, first.info.digest);
    assert_eq!(fixture.backend.loads.load(SeqCst), 2);
    gone();
    fixture.apply(&rule(&THEIRS)).unwrap();
    assert!(matches!(describe().await, Err(Unavailable::Denied(_))));
}

#[tokio::test]
async fn the_first_run_to_warm_up_counts_as_no_request() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"graph", Some(&OURS));
    let model = fixture.find("m").await.unwrap();
    assert_eq!((model.stats().success(), model.stats().executions()), (0, 1));
    assert!(answers(&model).await);
    assert_eq!(model.stats().success(), 1);
}

#[tokio::test]
async fn an_idle_model_makes_room_and_a_busy_one_does_not() {
    let fixture = Fixture::new(Some(&rule(&OURS)), 100);
    for name in ["a", "b"] {
        fixture.push(name, "1", &name.repeat(60).into_bytes(), Some(&OURS));
    }
    fixture.push("huge", "1", &[0; 101], Some(&OURS));
    let held = fixture.find("a").await.unwrap();
    assert_eq!(fixture.find("b").await.unwrap_err(), Unavailable::NoMemory("b".parse().unwrap()));
    assert!(answers(&held).await, "a model that somebody holds stays");
    drop(held);
    // It makes room once nobody has asked for it for a while.
    let deadline = Instant::now() + DEADLINE;
    while fixture.control.load(&"b".parse().unwrap()).await.is_err() {
        assert!(Instant::now() < deadline, "{}", fixture.reason("b").await);
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.loaded(), ["b:1"]);
    assert_eq!(fixture.find("huge").await.unwrap_err(), Unavailable::NoMemory("huge".parse().unwrap()));
    assert_eq!(fixture.loaded(), ["b:1"], "nothing goes for what can never fit");
}

#[tokio::test]
async fn several_idle_models_make_room_for_a_large_one() {
    let fixture = Fixture::new(Some(&rule(&OURS)), 100);
    for name in ["a", "b"] {
        fixture.push(name, "1", &name.repeat(50).into_bytes(), Some(&OURS));
        fixture.find(name).await.unwrap();
    }
    fixture.push("large", "1", &[0; 100], Some(&OURS));
    let deadline = Instant::now() + DEADLINE;
    while fixture.control.load(&"large".parse().unwrap()).await.is_err() {
        assert!(Instant::now() < deadline, "{}", fixture.reason("large").await);
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.loaded(), ["large:1"]);
}

#[tokio::test]
async fn a_stricter_policy_judges_what_a_model_states_of_itself() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"graph", Some(&OURS));
    fixture.find("m").await.unwrap();
    let stricter = rule(&OURS).replace("name = 'all'", "name = 'all'\nminimum_version = '1'");
    fixture.apply(&stricter).unwrap();
    let denied = fixture.control.apply_policy().await;
    assert!(denied[0].1.to_string().contains("which version"), "{}", denied[0].1);
    assert!(fixture.loaded().is_empty() && fixture.find("m").await.is_err());
}

#[tokio::test]
async fn the_registry_does_not_replace_what_the_operator_named() {
    let fixture = Fixture::trusting();
    let named = Fixture::trusting();
    named.push("m", "1", b"folder", Some(&OURS));
    let folder = named.find("m").await.unwrap();
    fixture.table.insert(headland_trust::Verified::named_by_operator(folder.clone(), "--model m"));
    fixture.push("m", "1", b"registry", Some(&OURS));
    let error = fixture.control.load(&"m:1".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("was named when the gateway started"), "{error}");
    assert!(Arc::ptr_eq(&fixture.find("m").await.unwrap(), &folder));
}

#[tokio::test]
async fn a_policy_that_changes_unloads_what_it_does_not_admit_any_more() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"graph", Some(&OURS));
    let held = fixture.find("m").await.unwrap();
    assert!(fixture.apply("version = 1\n[[rulez]]").is_err());
    assert!(fixture.control.apply_policy().await.is_empty(), "one that cannot be used changes nothing");
    fixture.apply(&rule(&THEIRS)).unwrap();
    let denied = fixture.control.apply_policy().await;
    assert_eq!((denied.len(), &*denied[0].0), (1, "m:1"));
    assert!(fixture.loaded().is_empty());
    assert!(answers(&held).await, "who had it is answered");
    assert!(fixture.find("m").await.is_err());
    fixture.apply(&rule(&OURS)).unwrap();
    fixture.control.apply_policy().await;
    assert!(fixture.find("m").await.is_ok(), "and what is admitted again is loaded again at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_because_of_a_version_change() {
    let fixture = Arc::new(Fixture::trusting());
    fixture.push("m", "1", b"one", Some(&OURS));
    fixture.find("m").await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let (fixture, done) = (fixture.clone(), done.clone());
        async move {
            let mut asked = 0;
            while !done.load(SeqCst) {
                let model = fixture.find("m").await.unwrap();
                assert!(answers(&model).await);
                asked += 1;
            }
            asked
        }
    });
    for version in 2..6 {
        fixture.push("m", &version.to_string(), version.to_string().as_bytes(), Some(&OURS));
        let model = fixture.control.load(&"m".parse().unwrap()).await.unwrap();
        assert_eq!(model.info().version.to_string(), version.to_string());
        assert_eq!(fixture.loaded(), [format!("m:{version}")], "the one before has gone");
    }
    done.store(true, SeqCst);
    assert!(asking.await.unwrap() > 0);
}

#[tokio::test]
async fn an_alias_moves_when_what_it_moves_to_is_loaded() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"one", Some(&OURS));
    fixture.push("m", "2", b"two", Some(&OURS));
    fixture.push("m", "3", b"three", Some(&THEIRS));
    let (name, stable, version) = ("m".parse().unwrap(), "stable".parse().unwrap(), |v: &str| v.parse().unwrap());
    let seen = async || fixture.find("m:stable").await.unwrap().info().version.to_string();
    fixture.control.set_alias(&name, &stable, &version("1")).await.unwrap();
    assert_eq!(seen().await, "1");
    fixture.control.set_alias(&name, &stable, &version("2")).await.unwrap();
    assert_eq!(fixture.loaded(), ["m:1", "m:2"], "loaded before anybody asks for it");
    assert_eq!(seen().await, "2");
    assert!(fixture.control.set_alias(&name, &stable, &version("3")).await.is_err(), "not admitted");
    assert!(fixture.control.set_alias(&name, &stable, &version("9")).await.is_err(), "not there");
    assert!(fixture.control.set_alias(&name, &version("1"), &version("2")).await.is_err(), "a version is no alias");
    assert_eq!(seen().await, "2");
}

#[tokio::test]
async fn what_is_in_use_is_removed_only_by_force() {
    let fixture = Fixture::trusting();
    fixture.push("m", "1", b"one", Some(&OURS));
    let (name, one) = ("m".parse().unwrap(), "1".parse().unwrap());
    fixture.control.set_alias(&name, &"stable".parse().unwrap(), &one).await.unwrap();
    fixture.find("m").await.unwrap();
    let error = fixture.control.remove_version(&name, &one, false).await.unwrap_err().to_string();
    assert!(error.contains("alias `stable` stands for it, it is loaded"), "{error}");
    assert_eq!(fixture.loaded(), ["m:1"]);
    fixture.control.remove_version(&name, &one, true).await.unwrap();
    assert!(fixture.loaded().is_empty() && fixture.control.index().await.unwrap().is_empty());
    assert!(fixture.control.remove_version(&name, &one, true).await.is_err());
    assert!(fixture.find("m:stable").await.is_err());
}

/// Puts a manifest to the gate as the registry does, before its blobs are there.
fn judged(
    fixture: &Fixture,
    name: &str,
    version: &str,
    manifest: &[u8],
    files: Vec<PackedFile>,
) -> Result<(), Refusal> {
    fixture.gate.judge(&ManifestPut {
        repository: &Fixture::repository(name),
        reference: &Reference::Tag(version.parse().unwrap()),
        media_type: MEDIA_TYPE_MANIFEST,
        digest: Sha256Digest::of(manifest),
        bytes: &Bytes::copy_from_slice(manifest),
        content: Content::Model { files },
    })
}

#[tokio::test]
async fn a_bad_signature_and_a_replayed_version_are_refused_before_the_files_are_sent() {
    let fixture = Fixture::trusting();
    for (signer, expected) in [(&*OURS, true), (&*THEIRS, false)] {
        let name = if expected { "ours" } else { "theirs" };
        let files = vec![PackedFile { path: "model.onnx".into(), size: 5, digest: Sha256Digest::of(b"graph") }];
        let packed = oci::pack_model(&name.parse().unwrap(), &"1".parse().unwrap(), &files).unwrap();
        let repository = Fixture::repository(name);
        let bundle = sign(b"graph", signer);
        fixture.blob(&repository, &bundle);
        let signature = oci::pack_signature(&bundle, Descriptor::of(MEDIA_TYPE_MANIFEST, &packed.manifest));
        fixture.blob(&repository, &signature.config);
        let reference = Reference::Digest(Sha256Digest::of(&signature.manifest));
        fixture.store.put_manifest(&repository, &reference, MEDIA_TYPE_MANIFEST, &signature.manifest).unwrap();
        match judged(&fixture, name, "1", &packed.manifest, files) {
            Ok(()) => assert!(expected),
            Err(refusal) => {
                assert!(!expected && refusal.to_string().contains("rule `all`"), "{refusal}");
            }
        }
    }
    fixture.push("m", "1", b"old", Some(&OURS));
    let files = vec![PackedFile { path: "model.onnx".into(), size: 3, digest: Sha256Digest::of(b"old") }];
    let packed = oci::pack_model(&"m".parse().unwrap(), &"2".parse().unwrap(), &files).unwrap();
    let refusal = judged(&fixture, "m", "2", &packed.manifest, files).unwrap_err();
    assert!(matches!(&refusal, Refusal::Conflict { message } if message.contains("those of `m:1`")), "{refusal}");
}
