//! The tools people have: `skopeo`, and the Python `oras` package. On a machine without them the tests say so and pass;
//! with `REQUIRE_E2E` set they fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use headland_package::Sha256Digest;
use headland_package::oci::{Descriptor, MEDIA_TYPE_MANIFEST, Manifest};
use headland_registry::oci::OpenGate;
use serde_json::json;

use super::registry::{TestRegistry, model};

const FILES: &[(&str, &[u8])] = &[("1_Pooling/config.json", b"{}"), ("model.onnx", b"weights")];

/// Serves a registry on a port of its own, until the runtime ends.
pub async fn serve(registry: &TestRegistry) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = registry.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Whether a tool is there; if it must be and is not, the test fails.
fn available(tool: &str, probe: &mut Command) -> bool {
    let found = probe.output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("REQUIRE_E2E").is_none(), "REQUIRE_E2E is set and {tool} is not there");
    if !found {
        println!("skipped: {tool} is not there");
    }
    found
}

/// Runs a command beside the server; what it printed.
async fn run(mut command: Command) -> Result<String, String> {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

async fn skopeo(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("skopeo");
    command.arg("--insecure-policy").args(arguments);
    run(command).await
}

/// Writes an artifact as an OCI layout on disk, as `skopeo` reads it from `oci:DIR:TAG`.
fn write_layout(dir: &Path, tag: &str, manifest: &[u8], blobs: &[&[u8]]) {
    let blobs_dir = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs_dir).unwrap();
    for blob in blobs.iter().chain([&manifest]) {
        std::fs::write(blobs_dir.join(Sha256Digest::of(blob).hex()), blob).unwrap();
    }
    std::fs::write(dir.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string()).unwrap();
    let named = Descriptor::of(MEDIA_TYPE_MANIFEST, manifest).annotated("org.opencontainers.image.ref.name", tag);
    let index = json!({ "schemaVersion": 2, "manifests": [named] });
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// Every blob of a layout that `skopeo` wrote.
fn read_layout(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

/// An image with one layer that does not compress and is larger than one read.
fn image() -> (Vec<u8>, Vec<Vec<u8>>) {
    let layer: Vec<u8> = (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [Sha256Digest::of(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let mut manifest = Manifest::new(
        "",
        Descriptor::of("application/vnd.oci.image.config.v1+json", &config),
        vec![Descriptor::of("application/vnd.oci.image.layer.v1.tar", &layer)],
    );
    manifest.artifact_type = None;
    (manifest.to_bytes(), vec![config, layer])
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pushes_copies_lists_pulls_and_deletes_an_image() {
    if !available("skopeo", Command::new("skopeo").arg("--version")) {
        return;
    }
    let registry = TestRegistry::new();
    let at = serve(&registry).await;
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let (manifest, blobs) = image();
    write_layout(&source, "1", &manifest, &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let remote = |name: &str| format!("docker://{at}/library/{name}");
    let (from, to) = (format!("oci:{}:1", source.display()), format!("oci:{}:1", target.display()));

    skopeo(&["copy", "--preserve-digests", "--dest-tls-verify=false", &from, &remote("x:1")]).await.unwrap();
    let within = ["copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(&[&within[..], &[&remote("x:1"), &remote("y:2")]].concat()).await.unwrap();
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &remote("y:2")]).await.unwrap();
    assert_eq!(raw.as_bytes(), manifest);
    let tags = skopeo(&["list-tags", "--tls-verify=false", &remote("x")]).await.unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&tags).unwrap()["Tags"], json!(["1"]));
    skopeo(&["copy", "--preserve-digests", "--src-tls-verify=false", &remote("y:2"), &to]).await.unwrap();
    assert!(read_layout(&target) == read_layout(&source));

    skopeo(&["delete", "--tls-verify=false", &remote("x:1")]).await.unwrap();
    let gone = skopeo(&["inspect", "--raw", "--tls-verify=false", &remote("x:1")]).await.unwrap_err();
    assert!(gone.contains("manifest unknown") || gone.contains("there is no manifest"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_carries_a_model_in_and_out_and_is_told_that_versions_never_change() {
    if !available("skopeo", Command::new("skopeo").arg("--version")) {
        return;
    }
    let registry = TestRegistry::new();
    let at = serve(&registry).await;
    let dir = tempfile::tempdir().unwrap();
    let (source, target, other) = (dir.path().join("source"), dir.path().join("target"), dir.path().join("other"));
    let packed = model("m", "1", FILES);
    write_layout(&source, "1", &packed.manifest, &[&packed.config, b"{}", b"weights"]);
    let changed = model("m", "1", &[("model.onnx", b"weights")]);
    write_layout(&other, "1", &changed.manifest, &[&changed.config, b"weights"]);
    let remote = format!("docker://{at}/models/m:1");
    let layout = |dir: &PathBuf| format!("oci:{}:1", dir.display());

    skopeo(&["copy", "--preserve-digests", "--dest-tls-verify=false", &layout(&source), &remote]).await.unwrap();
    skopeo(&["copy", "--preserve-digests", "--src-tls-verify=false", &remote, &layout(&target)]).await.unwrap();
    assert_eq!(read_layout(&target), read_layout(&source));
    let refused = skopeo(&["copy", "--preserve-digests", "--dest-tls-verify=false", &layout(&other), &remote]).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("versions never change; choose another version"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_is_told_that_the_store_is_full() {
    if !available("skopeo", Command::new("skopeo").arg("--version")) {
        return;
    }
    let registry = TestRegistry::with(OpenGate, |_, options| options.quota_bytes = 1 << 20);
    let at = serve(&registry).await;
    let dir = tempfile::tempdir().unwrap();
    let (manifest, blobs) = image();
    write_layout(dir.path(), "1", &manifest, &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (from, to) = (format!("oci:{}:1", dir.path().display()), format!("docker://{at}/library/x:1"));
    let refused = skopeo(&["copy", "--preserve-digests", "--dest-tls-verify=false", &from, &to]).await.unwrap_err();
    assert!(refused.contains("the store is full"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_oras_pushes_whole_and_in_chunks_and_pulls_a_model() {
    let python = python();
    if !available("the Python package `oras`", Command::new(&python).args(["-c", "import oras"])) {
        return;
    }
    let registry = TestRegistry::new();
    registry.push_model("m", "1", FILES).await;
    let at = serve(&registry).await;
    let mut command = Command::new(python);
    command.arg("tests/oci/oras_client.py").arg(at.to_string());
    println!("{}", run(command).await.unwrap());
}

/// The interpreter the clients' tests have, or the system's.
fn python() -> PathBuf {
    let cache = std::env::var_os("HEADLAND_CACHE").map_or_else(|| PathBuf::from("../../.cache"), PathBuf::from);
    let ours = cache.join("venv/bin/python");
    if ours.exists() { ours } else { "python3".into() }
}
