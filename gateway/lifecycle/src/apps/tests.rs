//! Deploying for real: a store on disk, signatures, components that run. The components are built by
//! `guest-examples/build.sh`; without them the tests skip, unless `REQUIRE_GUESTS` is set.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use headland_batcher::ModelTable;
use headland_guest_host::{AppSource, GuestEngine, PoolOptions};
use headland_package::oci::{ARTIFACT_TYPE_APP, Descriptor, MEDIA_TYPE_MANIFEST, PackedFile, pack_app, pack_signature};
use headland_registry::store::{Reference, Repository, StoreOptions};
use headland_trust::{Policy, SigningKey, Verified, component};
use tokio::sync::watch;

use super::*;

struct Gateway {
    dir: tempfile::TempDir,
    store: Store,
    key: SigningKey,
    policy: watch::Sender<Option<Arc<Policy>>>,
    apps: Arc<Apps>,
    control: AppControl,
    hello: Bytes,
}

/// A gateway with a policy that trusts its key, or `None` without guests.
fn gateway() -> Option<Gateway> {
    let path = PathBuf::from("../../guest-examples/dist/hello.wasm");
    let Ok(hello) = std::fs::read(&path) else {
        assert!(std::env::var_os("REQUIRE_GUESTS").is_none(), "REQUIRE_GUESTS is set, and {path:?} is not there");
        println!("skipped: {} is not built; run guest-examples/build.sh", path.display());
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("registry"), StoreOptions::default()).unwrap();
    let key = key();
    let policy = watch::channel(Some(trusting(&key, ""))).0;
    let apps = host(dir.path());
    let control = control(dir.path(), &store, &policy, &apps);
    Some(Gateway { dir, store, key, policy, apps, control, hello: hello.into() })
}

fn key() -> SigningKey {
    SigningKey::from_pem(rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes()).unwrap()
}

fn trusting(key: &SigningKey, more: &str) -> Arc<Policy> {
    let key = key.public().pem();
    let text = format!(
        "version = 1\n[[rule]]\nname = 'ours'\nartifact = 'apps/*'\n{more}\n[[rule.authority]]\nkey = '''\n{key}'''\n"
    );
    Arc::new(Policy::parse(&text, Path::new("policy.toml")).unwrap())
}

fn host(dir: &Path) -> Arc<Apps> {
    let engine = GuestEngine::new(PoolOptions { instances_max: 4 }).unwrap();
    Arc::new(Apps::new(&engine, &Arc::new(ModelTable::default()), &dir.join("components")).unwrap())
}

fn control(dir: &Path, store: &Store, policy: &watch::Sender<Option<Arc<Policy>>>, apps: &Arc<Apps>) -> AppControl {
    AppControl::open(AppParts {
        store: store.clone(),
        policy: policy.subscribe(),
        apps: apps.clone(),
        record: dir.join("state/apps.json"),
        region: Some("eu".to_owned()),
    })
    .unwrap()
}

/// The smallest app: one route, to the component `app.wasm`.
fn toml(name: &str, path: &str) -> String {
    format!("name = '{name}'\n[[route]]\npath = '{path}'\ncomponent = 'app.wasm'\n")
}

fn name() -> AppName {
    "x".parse().unwrap()
}

fn version(version: &str) -> ModelVersion {
    version.parse().unwrap()
}

fn repository() -> Repository {
    "apps/x".parse().unwrap()
}

impl Gateway {
    fn upload(&self, bytes: &[u8]) {
        let mut upload = self.store.begin_upload(&repository()).unwrap();
        upload.write(bytes).unwrap();
        upload.finish(Sha256Digest::of(bytes)).unwrap();
    }

    fn put(&self, reference: Reference, packed: &headland_package::oci::Packed) -> Sha256Digest {
        self.upload(&packed.config);
        self.store.put_manifest(&repository(), &reference, MEDIA_TYPE_MANIFEST, &packed.manifest).unwrap().digest
    }

    /// Pushes an app without a signature.
    fn push(&self, version: &str, toml: &str, wasm: &[u8]) -> Descriptor {
        self.upload(toml.as_bytes());
        self.upload(wasm);
        let component =
            PackedFile { path: "app.wasm".to_owned(), size: wasm.len() as u64, digest: Sha256Digest::of(wasm) };
        let manifest = Descriptor::of(ARTIFACT_TYPE_APP, toml.as_bytes());
        let packed = pack_app(&version.parse().unwrap(), &manifest, &[component]).unwrap();
        self.put(Reference::Tag(version.parse().unwrap()), &packed);
        Descriptor::of(MEDIA_TYPE_MANIFEST, &packed.manifest)
    }

    fn sign(&self, manifest: Descriptor, key: &SigningKey) {
        let bundle = component::sign_with_key(&manifest.digest, key).unwrap();
        self.upload(bundle.as_bytes());
        let packed = pack_signature(bundle.as_bytes(), manifest);
        self.put(Reference::Digest(Sha256Digest::of(&packed.manifest)), &packed);
    }

    /// Pushes a version that answers at `/VERSION`, and signs it.
    fn release(&self, version: &str) {
        self.sign(self.push(version, &toml("x", &format!("/{version}")), &self.hello), &self.key);
    }

    async fn deploy(&self, number: &str) -> Result<AppSummary, LifecycleError> {
        self.control.deploy(&name(), &version(number)).await
    }

    /// The versions that answer, of those from 1 to 3.
    fn serving(&self) -> Vec<usize> {
        (1..=3).filter(|version| self.apps.route(None, &format!("/{version}")).is_some()).collect()
    }

    /// The same data directory, after a restart.
    fn restarted(self) -> Self {
        let apps = host(self.dir.path());
        let control = control(self.dir.path(), &self.store, &self.policy, &apps);
        Gateway { apps, control, ..self }
    }

    async fn entry(&self) -> AppEntry {
        self.control.index().await.unwrap().into_iter().find(|entry| entry.name == name()).unwrap()
    }

    /// The file in which the store keeps these bytes.
    fn blob(&self, bytes: &[u8]) -> PathBuf {
        let mut folders = vec![self.dir.path().join("registry")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(&path).unwrap() == bytes {
                    return path;
                }
            }
        }
        panic!("the store does not have these bytes");
    }
}

#[tokio::test]
async fn versions_follow_each_other_and_rollback_goes_back_one_by_one() {
    let Some(gateway) = gateway() else { return };
    for number in ["1", "2", "3"] {
        gateway.release(number);
        let summary = gateway.deploy(number).await.unwrap();
        assert_eq!(summary.version, Some(version(number)));
        let admitted = "admitted by rule `ours` of policy.toml; signed by ";
        assert!(summary.admitted.starts_with(admitted), "{}", summary.admitted);
    }
    assert_eq!(gateway.serving(), [3]);
    let versions = gateway.control.versions(&name()).await.unwrap();
    let marks: Vec<(&str, bool, bool)> =
        versions.iter().map(|it| (it.version.as_str(), it.deployed, it.previous)).collect();
    assert_eq!(marks, [("1", false, false), ("2", false, true), ("3", true, false)]);
    for expected in [2, 1] {
        gateway.control.rollback(&name()).await.unwrap();
        assert_eq!(gateway.serving(), [expected]);
    }
    let error = gateway.control.rollback(&name()).await.unwrap_err();
    assert!(matches!(error, LifecycleError::Conflict(_)) && error.to_string().contains("`x:1`"), "{error}");
    assert_eq!(gateway.serving(), [1]);
}

#[tokio::test]
async fn a_restart_deploys_the_very_manifest_that_was_deployed() {
    let Some(gateway) = gateway() else { return };
    gateway.release("1");
    gateway.deploy("1").await.unwrap();
    // The tag moves; what was deployed stays.
    gateway.sign(gateway.push("1", &toml("x", "/2"), &gateway.hello), &gateway.key);
    let gateway = gateway.restarted();
    assert!(gateway.serving().is_empty());
    assert!(gateway.control.restore().await.is_empty());
    assert_eq!(gateway.serving(), [1]);
    let versions = gateway.control.versions(&name()).await.unwrap();
    assert_eq!(versions.iter().map(|it| it.deployed).filter(|deployed| *deployed).count(), 1);
    assert_eq!(versions.len(), 2);
    gateway.deploy("1").await.unwrap();
    assert_eq!(gateway.serving(), [2]);
}

#[tokio::test]
async fn what_is_not_signed_by_whom_the_policy_names_is_refused_and_changes_nothing() {
    let Some(gateway) = gateway() else { return };
    gateway.release("1");
    gateway.deploy("1").await.unwrap();
    let unsigned = gateway.push("2", &toml("x", "/2"), &gateway.hello);
    let error = gateway.deploy("2").await.unwrap_err();
    assert!(matches!(error, LifecycleError::Denied(_)));
    assert!(error.to_string().contains("rule `ours`") && error.to_string().contains("no signature"), "{error}");
    gateway.sign(unsigned, &key());
    let error = gateway.deploy("2").await.unwrap_err().to_string();
    assert!(error.contains("does not count under"), "{error}");
    let error = gateway.deploy("3").await.unwrap_err();
    assert!(matches!(error, LifecycleError::NotFound(_)), "{error}");
    assert_eq!(gateway.serving(), [1]);
    assert_eq!(gateway.entry().await.version, Some(version("1")));
    let gateway = gateway.restarted();
    assert!(gateway.control.restore().await.is_empty());
    assert_eq!(gateway.serving(), [1]);
}

#[tokio::test]
async fn a_component_that_was_tampered_with_is_refused_naming_the_file() {
    let Some(gateway) = gateway() else { return };
    gateway.release("1");
    gateway.deploy("1").await.unwrap();
    gateway.release("2");
    let file = gateway.blob(&gateway.hello);
    let mut tampered = gateway.hello.to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, tampered).unwrap();
    let error = gateway.deploy("2").await.unwrap_err();
    assert!(matches!(error, LifecycleError::Store(_)));
    assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
    assert_eq!(gateway.serving(), [1]);
    // Not even what was deployed before comes back from it.
    let gateway = gateway.restarted();
    assert_eq!(gateway.control.restore().await.len(), 1);
    assert!(gateway.serving().is_empty());
    let entry = gateway.entry().await;
    assert_eq!((entry.state, entry.version), (AppState::Unavailable, Some(version("1"))));
    assert!(entry.reason.is_some_and(|reason| reason.contains("should have digest")));
}

#[tokio::test]
async fn an_app_that_a_new_policy_refuses_stops_with_the_reason_and_comes_back_with_the_old_one() {
    let Some(gateway) = gateway() else { return };
    gateway.release("1");
    gateway.deploy("1").await.unwrap();
    let trusted = gateway.policy.borrow().clone();
    for (policy, expected) in [
        (Some(trusting(&key(), "")), "does not count under"),
        (Some(trusting(&gateway.key, "minimum_version = '2'")), "version 1 is older than 2"),
        (Some(trusting(&gateway.key, "regions = ['us']")), "does not let it run in region `eu`"),
        (None, "no trust policy is set"),
    ] {
        gateway.policy.send_replace(policy);
        let stopped = gateway.control.apply_policy().await;
        let [(app, reason)] = &stopped[..] else { panic!("{stopped:?}") };
        assert!(app == "x:1" && reason.to_string().contains(expected), "{reason}");
        assert!(gateway.serving().is_empty());
        let entry = gateway.entry().await;
        assert_eq!(entry.state, AppState::Unavailable);
        assert!(entry.reason.is_some_and(|reason| reason.contains(expected)));
        gateway.policy.send_replace(trusted.clone());
        assert!(gateway.control.apply_policy().await.is_empty());
        assert_eq!(gateway.serving(), [1]);
    }
}

#[tokio::test]
async fn what_a_restart_finds_no_longer_admitted_stays_out_with_the_reason() {
    let Some(gateway) = gateway() else { return };
    gateway.release("1");
    gateway.deploy("1").await.unwrap();
    gateway.policy.send_replace(Some(trusting(&key(), "")));
    let gateway = gateway.restarted();
    let failures = gateway.control.restore().await;
    assert!(failures.len() == 1 && failures[0].0 == "x:1");
    assert!(gateway.serving().is_empty());
    assert!(gateway.entry().await.reason.is_some_and(|reason| reason.contains("does not count under")));
    // It can still be taken out of the record.
    gateway.control.remove(&name()).await.unwrap();
    assert!(gateway.restarted().control.restore().await.is_empty());
}

#[tokio::test]
async fn a_conflict_with_another_app_changes_nothing() {
    let Some(gateway) = gateway() else { return };
    gateway.release("1");
    gateway.deploy("1").await.unwrap();
    gateway.release("2");
    let named = |name: &str, path: &str| {
        let manifest = headland_package::AppManifest::parse(&toml(name, path), Path::new("app.toml")).unwrap();
        let components = [("app.wasm".to_owned(), gateway.hello.clone())].into();
        let source = Verified::named_by_operator(AppSource { manifest, components, version: None }, "--app x");
        gateway.apps.put(gateway.apps.prepare(source).unwrap()).unwrap();
    };
    named("other", "/2");
    let error = gateway.deploy("2").await.unwrap_err();
    assert!(matches!(error, LifecycleError::Conflict(_)), "{error}");
    assert_eq!(error.to_string(), "apps `other` and `x` both claim path `/2` of host `any`");
    assert!(gateway.control.is_deployed(&name(), catalog::versions(&gateway.store, &name()).unwrap()[&version("1")]));
    assert_eq!(gateway.serving(), [1, 2]);
    // An app the operator named is not replaced, and not taken out.
    gateway.control.remove(&name()).await.unwrap();
    named("x", "/3");
    for error in [gateway.deploy("1").await.map(drop), gateway.control.remove(&name()).await] {
        assert!(error.unwrap_err().to_string().contains("was named when the gateway started"));
    }
    assert_eq!(gateway.serving(), [2, 3]);
}

#[tokio::test]
async fn an_artifact_that_is_signed_and_makes_no_app_says_why() {
    let Some(gateway) = gateway() else { return };
    for (number, text, wasm, expected) in [
        ("1", toml("y", "/"), &gateway.hello[..], "says it is app `y`"),
        ("2", toml("x", "/").replace("app.wasm", "gone.wasm"), &gateway.hello, "which was not pushed with it"),
        ("3", toml("x", "/"), b"hello", "is not a component this host can run"),
        ("4", "name = 'x'\nrout = 1".to_owned(), &gateway.hello, "apps/x:4/headland.app.toml:2:1: unknown key `rout`"),
    ] {
        gateway.sign(gateway.push(number, &text, wasm), &gateway.key);
        let error = gateway.deploy(number).await.unwrap_err();
        assert!(matches!(error, LifecycleError::Broken(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(gateway.apps.list().is_empty());
    assert!(!gateway.dir.path().join("state/apps.json").exists());
}

#[tokio::test]
async fn many_deployments_at_once_take_turns_and_too_many_are_told_so() {
    let Some(gateway) = gateway() else { return };
    gateway.release("1");
    gateway.release("2");
    let deploys = (0..CHANGES_MAX + 4).map(|n| gateway.deploy(if n % 2 == 0 { "1" } else { "2" }));
    let outcomes = futures_util::future::join_all(deploys).await;
    let busy = outcomes.iter().filter(|outcome| matches!(outcome, Err(LifecycleError::Busy(CHANGES_MAX)))).count();
    assert_eq!((busy, outcomes.iter().filter(|outcome| outcome.is_ok()).count()), (4, CHANGES_MAX));
    let deployed = gateway.entry().await.version.unwrap();
    assert_eq!(gateway.serving(), [deployed.as_str().parse::<usize>().unwrap()]);
}
