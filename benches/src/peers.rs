//! What ours is compared with where models are concerned: raw `session.run`, and servers that other people would take.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::Setup;
use crate::servers::{self, Server};

/// The Python that has the bench's packages; scripts/bench.sh makes it.
pub fn python(setup: &Setup) -> PathBuf {
    setup.cache.join("bench/venv/bin/python")
}

/// MiniLM as ONNX, made once.
pub fn minilm_onnx(setup: &Setup) -> Result<PathBuf> {
    made(setup, "minilm.onnx", &["benches/peers/minilm.py".as_ref(), &servers::minilm(setup)])
}

/// The 25 MB model, made once.
pub fn mlp_onnx(setup: &Setup) -> Result<PathBuf> {
    made(setup, "mlp.onnx", &["benches/peers/mlp.py".as_ref()])
}

fn made(setup: &Setup, name: &str, arguments: &[&Path]) -> Result<PathBuf> {
    let path = setup.cache.join("bench").join(name);
    if !path.exists() {
        let half = path.with_extension("half");
        let status = Command::new(python(setup)).args(arguments).arg(&half).status()?;
        ensure!(status.success(), "making {name}: {status}");
        std::fs::rename(half, &path)?;
    }
    Ok(path)
}

/// FastAPI and ONNX Runtime: benches/peers/server.py.
pub fn fastapi(setup: &Setup) -> Result<Server> {
    let port = servers::free_port()?;
    let mut command = Command::new(python(setup));
    command
        .args(["-m", "uvicorn", "--app-dir", "benches/peers", "server:app", "--log-level", "warning"])
        .args(["--no-access-log", "--port", &port.to_string()])
        .env("MODEL", servers::minilm(setup))
        .env("ONNX", minilm_onnx(setup)?);
    servers::start(&mut command, servers::log_file(setup, "fastapi.log")?, port, "/health")
}

/// infinity on torch, its default engine; none when `make bench-infinity` has not installed it.
pub fn infinity(setup: &Setup) -> Result<Option<Server>> {
    let binary = setup.cache.join("bench/infinity/bin/infinity_emb");
    if !binary.exists() {
        return Ok(None);
    }
    let port = servers::free_port()?;
    let mut command = Command::new(binary);
    command
        .args(["v2", "--device", "cpu", "--engine", "torch", "--dtype", "float32", "--no-bettertransformer"])
        .args(["--log-level", "warning", "--url-prefix", "/v1"])
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--served-model-name", MODEL, "--model-id"])
        .arg(servers::minilm(setup))
        .env("HF_HUB_OFFLINE", "1")
        .env("DO_NOT_TRACK", "1")
        .env("INFINITY_ANONYMOUS_USAGE_STATS", "0");
    servers::start(&mut command, servers::log_file(setup, "infinity.log")?, port, "/health").map(Some)
}

/// text-embeddings-inference; none when its binary is not on PATH.
pub fn tei(setup: &Setup) -> Result<Option<Server>> {
    const BINARY: &str = "text-embeddings-router";
    if Command::new(BINARY).arg("--version").stdout(Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let port = servers::free_port()?;
    let mut command = Command::new(BINARY);
    command
        .args(["--hostname", "127.0.0.1", "--port", &port.to_string(), "--auto-truncate", "--model-id"])
        .arg(servers::minilm(setup))
        .env("HF_HUB_OFFLINE", "1");
    servers::start(&mut command, servers::log_file(setup, "tei.log")?, port, "/health").map(Some)
}

/// The name every server knows MiniLM by.
pub const MODEL: &str = "all-minilm-l6-v2";

/// A process that runs a graph and does nothing else: benches/peers/raw.py.
pub struct Raw {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What it saw.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct RawFigures {
    /// Runs a second.
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

impl Raw {
    /// One session as the library makes it, or several of so many threads side by side.
    pub fn start(setup: &Setup, graph: &Path, sessions: Option<(usize, usize)>) -> Result<Self> {
        let mut command = Command::new(python(setup));
        command.arg("benches/peers/raw.py").arg(graph);
        if let Some((sessions, threads)) = sessions {
            command.arg(sessions.to_string()).arg(threads.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting raw.py")?;
        let orders = child.stdin.take().context("its stdin")?;
        let answers = BufReader::new(child.stdout.take().context("its stdout")?);
        let mut raw = Raw { child, orders, answers };
        raw.line()?;
        Ok(raw)
    }

    /// Runs it for one window with inputs of this shape.
    pub fn run(&mut self, setup: &Setup, rows: usize, tokens: usize) -> Result<RawFigures> {
        let order = json!({"seconds": setup.window.as_secs_f64(), "rows": rows, "tokens": tokens});
        writeln!(self.orders, "{order}")?;
        self.orders.flush()?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "raw.py ended");
        Ok(line)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
