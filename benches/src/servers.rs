//! The servers under test, each a process of its own, ended when dropped.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};

use crate::Setup;
use crate::client::{Client, request};

const START_MAX: Duration = Duration::from_secs(60);

pub struct Server {
    pub address: SocketAddr,
    child: Child,
    _data: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plain axum on tokio: what any HTTP server of ours costs at least.
pub async fn serve_floor(port: u16) -> Result<()> {
    let router = Router::new()
        .route("/hello", get(|| async { "hello, world\n" }))
        .route("/echo", post(|body: Bytes| async move { body }));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = router.clone();
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(stream);
            let service = hyper_util::service::TowerToHyperService::new(service);
            // A client that hangs up ends its connection; that is all an error says here.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

pub async fn floor() -> Result<Server> {
    let port = free_port()?;
    let own = std::env::current_exe()?;
    start(Command::new(own).arg("--serve-floor").arg(port.to_string()), Stdio::null(), port, "/hello").await
}

/// `headland up` with the digits model, MiniLM if it was fetched, and the fixture apps.
pub async fn headland(setup: &Setup) -> Result<Server> {
    let (port, admin) = (free_port()?, free_port()?);
    let data = tempfile::tempdir()?;
    let mut command = Command::new(&setup.binary);
    command
        .args(["up", "--model", "digits=models/digits", "--app", "guest-examples/fixtures/headland.app.toml"])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
        .arg("--model")
        .arg(minilm_argument(setup))
        .arg("--data-dir")
        .arg(data.path())
        .env("ORT_DYLIB_PATH", library(setup));
    let mut server = start(&mut command, Stdio::null(), port, "/v2/health/ready").await?;
    server._data = data;
    Ok(server)
}

/// The same component under `wasmtime serve`; none when it is not installed.
pub async fn wasmtime_serve(component: &Path) -> Result<Option<Server>> {
    if Command::new("wasmtime").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let port = free_port()?;
    let mut command = Command::new("wasmtime");
    command.args(["serve", "-S", "cli", "--addr", &format!("127.0.0.1:{port}")]).arg(component);
    start(&mut command, Stdio::null(), port, "/").await.map(Some)
}

pub fn library(setup: &Setup) -> std::path::PathBuf {
    setup.cache.join("onnxruntime/libonnxruntime.so")
}

pub fn minilm(setup: &Setup) -> std::path::PathBuf {
    setup.cache.join("models/all-minilm-l6-v2")
}

fn minilm_argument(setup: &Setup) -> std::ffi::OsString {
    let mut argument = OsStr::new("all-minilm-l6-v2=").to_owned();
    argument.push(minilm(setup));
    argument
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Starts a process that writes its log to `log`, and waits until `path` answers 200.
pub async fn start(command: &mut Command, log: Stdio, port: u16, path: &str) -> Result<Server> {
    let child = command.stdout(Stdio::null()).stderr(log).spawn();
    let child = child.with_context(|| format!("starting {:?}", command.get_program()))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut server = Server { address, child, _data: tempfile::tempdir()? };
    let probe = request("GET", path, &[], b"");
    let deadline = Instant::now() + START_MAX;
    loop {
        if let Ok(mut client) = Client::connect(address).await
            && let Ok((200, _)) = client.ask(&probe).await
        {
            return Ok(server);
        }
        if let Some(status) = server.child.try_wait()? {
            bail!("{:?} ended with {status} instead of serving", command.get_program());
        }
        if Instant::now() > deadline {
            bail!("{:?} did not serve within {START_MAX:?}", command.get_program());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
