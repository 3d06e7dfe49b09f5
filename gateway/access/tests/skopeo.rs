//! A container tool logs in, unmodified, and what it keeps opens the registry for it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use axum::routing::get;
use axum::{Json, Router};
use headland_access::{Scope, TokenStore, protect, required_scope};
use serde_json::json;

/// Skopeo is an outside part: a bare machine skips, `REQUIRE_E2E` insists.
fn skopeo_is_there() -> bool {
    let found = Command::new("skopeo").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("REQUIRE_E2E").is_none(), "skopeo is missing and REQUIRE_E2E is set");
    if !found {
        println!("skipped: skopeo is missing");
    }
    found
}

/// Skopeo with its credentials in `auth_file`, given `input`.
fn skopeo(arguments: &[&str], auth_file: &Path, input: &str) -> Output {
    let mut child = Command::new("skopeo")
        .args(arguments)
        .args(["--tls-verify=false", "--authfile"])
        .arg(auth_file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn skopeo_logs_in_with_a_token_as_password_and_not_without() {
    if !skopeo_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tokens = TokenStore::open(dir.path()).unwrap();
    let created = tokens.create("ci", Scope::Push.into(), None).unwrap();
    let registry = Router::new()
        .route("/v2/", get(async || Json(json!({}))))
        .route("/v2/models/a/tags/list", get(async || Json(json!({ "name": "models/a", "tags": ["1", "2"] }))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(axum::serve(listener, protect(registry, tokens.clone(), required_scope)).into_future());

    let auth_file = dir.path().join("auth.json");
    let run = |arguments: Vec<String>, input: String| {
        let auth_file = auth_file.clone();
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            skopeo(&arguments, &auth_file, &input)
        })
    };
    let login = |password: &str| {
        run(["login", "-u", "token", "--password-stdin", &host].map(String::from).to_vec(), password.to_owned())
    };
    let list = || run(vec!["list-tags".into(), format!("docker://{host}/models/a")], String::new());

    let refused = login("not a token").await.unwrap();
    assert!(!refused.status.success());
    let refused = list().await.unwrap();
    assert!(!refused.status.success());

    let done = login(created.secret.reveal()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let tags = list().await.unwrap();
    let tags: serde_json::Value = serde_json::from_slice(&tags.stdout).unwrap();
    assert_eq!(tags["Tags"], json!(["1", "2"]));

    tokens.revoke(&created.info.id).unwrap();
    let refused = list().await.unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("unauthorized") || said.contains("authentication required"), "{said}");
    assert!(!said.contains(created.secret.reveal()));
    serving.abort();
}
