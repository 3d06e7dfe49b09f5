//! The servers under test, each a process of its own, ended when dropped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use headland_load::{Client, request};

use crate::Setup;

/// How long a server may take until it serves: torch needs many seconds.
const START_MAX: Duration = Duration::from_secs(120);
const PROBE_EVERY: Duration = Duration::from_millis(20);

pub struct Server {
    pub address: SocketAddr,
    child: Child,
    /// Where it may write, removed with it.
    _data: tempfile::TempDir,
}

/// A running gateway.
pub struct Headland {
    pub server: Server,
    admin: SocketAddr,
}

/// What a process has in memory, in MB (10^6 bytes).
pub struct Resident {
    /// All of it.
    pub all: f64,
    /// What is its own alone: not files that are mapped and could be dropped.
    pub anonymous: f64,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn resident(&self) -> Result<Resident> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0 / 1e6)
        };
        let all = field("VmRSS:").context("no VmRSS")?;
        Ok(Resident { all, anonymous: field("RssAnon:").context("no RssAnon")? })
    }

    /// Ranges of addresses it has mapped.
    pub fn mappings(&self) -> Result<usize> {
        Ok(fs::read_to_string(format!("/proc/{}/maps", self.child.id()))?.lines().count())
    }
}

impl Headland {
    /// The sum of a metric over its labels, for one model.
    pub fn metric(&self, name: &str, model: &str) -> Result<f64> {
        let mut asked = Vec::new();
        request(&mut asked, "GET", "/metrics", &[], b"");
        let mut client = Client::connect(self.admin)?;
        let (status, body) = client.ask(&asked)?;
        anyhow::ensure!(status == 200, "/metrics answered {status}");
        let label = format!("model=\"{model}\"");
        let text = String::from_utf8_lossy(body);
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && line.contains(&label));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// `headland up` with these models and the bench's app.
pub fn headland(setup: &Setup, models: &[(&str, PathBuf)]) -> Result<Headland> {
    headland_with(setup, &["--app", "benches/app/headland.app.toml"], models)
}

/// `headland up` with these arguments and models. With models it is started twice: at its first start it finds out which executor is
/// quicker and compiles apps, and remembers both.
pub fn headland_with(setup: &Setup, arguments: &[&str], models: &[(&str, PathBuf)]) -> Result<Headland> {
    let (port, admin) = (free_port()?, free_port()?);
    let data = tempfile::tempdir()?;
    let mut command = Command::new(&setup.binary);
    command
        .args(["up", "--log", "warn"])
        .args(arguments)
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
        .arg("--data-dir")
        .arg(data.path())
        .env("ORT_DYLIB_PATH", library(setup));
    for (name, folder) in models {
        let mut argument = OsString::from(format!("{name}="));
        argument.push(folder);
        command.arg("--model").arg(argument);
    }
    let mut up = || start(&mut command, log_file(setup, "headland.log")?, port, "/v2/health/ready");
    if !models.is_empty() {
        drop(up()?);
    }
    let mut server = up()?;
    server._data = data;
    Ok(Headland { server, admin: SocketAddr::from((Ipv4Addr::LOCALHOST, admin)) })
}

/// The hello component under `wasmtime serve` with these further options; none when it is not installed.
pub fn wasmtime_serve(options: &[&str]) -> Result<Option<Server>> {
    if Command::new("wasmtime").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let port = free_port()?;
    let mut command = Command::new("wasmtime");
    command.args(["serve", "-S", "cli", "--addr", &format!("127.0.0.1:{port}")]).args(options);
    command.arg("guest-examples/dist/hello.wasm");
    start(&mut command, Stdio::null(), port, "/").map(Some)
}

/// Plain axum, this binary again.
pub fn floor() -> Result<Server> {
    floor_of(&[])
}

/// The same, with the digits model in a handler.
pub fn floor_with_model(setup: &Setup) -> Result<Server> {
    floor_of(&["--library".into(), library(setup).into_os_string()])
}

fn floor_of(arguments: &[OsString]) -> Result<Server> {
    let port = free_port()?;
    let own = std::env::current_exe()?;
    start(Command::new(own).arg("floor").arg(port.to_string()).args(arguments), Stdio::null(), port, "/hello")
}

pub fn library(setup: &Setup) -> PathBuf {
    setup.cache.join("onnxruntime/libonnxruntime.so")
}

pub fn minilm(setup: &Setup) -> PathBuf {
    setup.cache.join("models/all-minilm-l6-v2")
}

/// A copy of a model's folder that says this of itself. Large files are linked, not copied.
pub fn package(setup: &Setup, name: &str, from: &Path, manifest: &str) -> Result<PathBuf> {
    let folder = setup.out.join("models").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    link_all(from, &folder)?;
    fs::write(folder.join("headland.model.toml"), manifest)?;
    Ok(folder)
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        fs::create_dir_all(to)?;
        return link(from, &to.join("model.onnx"));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let (path, name) = (entry.as_ref().map(fs::DirEntry::path), entry.as_ref().map(fs::DirEntry::file_name));
        let (Ok(path), Ok(name)) = (path, name) else { bail!("reading {}", from.display()) };
        match path.is_dir() {
            true => link_all(&path, &to.join(name))?,
            false => link(&path, &to.join(name))?,
        }
    }
    Ok(())
}

fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A log of a server, beside the figures.
pub fn log_file(setup: &Setup, name: &str) -> Result<Stdio> {
    let path = setup.out.join(name);
    Ok(File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("writing {}", path.display()))?
        .into())
}

/// Starts a process that writes its log to `log`, and waits until `path` answers 200.
pub fn start(command: &mut Command, log: Stdio, port: u16, path: &str) -> Result<Server> {
    let child = command.stdout(Stdio::null()).stderr(log).spawn();
    let child = child.with_context(|| format!("starting {:?}", command.get_program()))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut server = Server { address, child, _data: tempfile::tempdir()? };
    let mut probe = Vec::new();
    request(&mut probe, "GET", path, &[], b"");
    let deadline = Instant::now() + START_MAX;
    loop {
        if let Ok(mut client) = Client::connect(address)
            && let Ok((200, _)) = client.ask(&probe)
        {
            return Ok(server);
        }
        if let Some(status) = server.child.try_wait()? {
            bail!("{:?} ended with {status} instead of serving", command.get_program());
        }
        if Instant::now() > deadline {
            bail!("{:?} did not serve within {START_MAX:?}", command.get_program());
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a foreign server tells nobody that it serves: it is asked until it does"
)]
fn pause() {
    std::thread::sleep(PROBE_EVERY);
}
