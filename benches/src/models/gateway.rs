//! `headland up` with its registry, under a policy, and the least that a client of it needs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::scratch::Scratch;
use crate::Setup;
use crate::servers::{self, Server};

/// A running gateway, ended when dropped.
pub struct Gateway {
    pub server: Server,
    pub admin: SocketAddr,
    data: PathBuf,
    log: PathBuf,
}

/// The head of an answer.
pub struct Head(String);

impl Gateway {
    /// Starts one on the data directory `data` in the scratch folder, which may be new.
    pub fn start(setup: &Setup, scratch: &Scratch, data: &str) -> Result<Self> {
        let (port, admin) = (servers::free_port()?, servers::free_port()?);
        let (data, log) = (scratch.path(data), scratch.path("headland.log"));
        let mut command = Command::new(&setup.binary);
        command
            .args(["up", "--log-format", "json", "--log", "info", "--data-dir"])
            .arg(&data)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
            .arg("--policy")
            .arg(scratch.path("policy.toml"))
            .env("ORT_DYLIB_PATH", servers::library(setup));
        let stderr = Stdio::from(File::create(&log)?);
        let server = servers::start(&mut command, stderr, port, "/v2/health/ready")?;
        Ok(Gateway { server, admin: SocketAddr::from((Ipv4Addr::LOCALHOST, admin)), data, log })
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// `headland model push` to this gateway.
    pub fn push(&self, setup: &Setup, scratch: &Scratch, name: &str, model: &Path, signature: &Path) -> Command {
        let mut push = Command::new(&setup.binary);
        push.args(["model", "push", "--name", name, "--version", "1", "--server", &format!("http://{}", self.admin)])
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--signature")
            .arg(signature)
            .arg(model)
            .env("XDG_STATE_HOME", scratch.path("state"));
        push
    }

    /// One request to the admin plane, on a connection of its own. A file goes from the page cache to the socket inside the
    /// kernel, so that the client takes little of the cores it shares with the server.
    pub fn ask(&self, method: &str, path: &str, body: Option<&mut File>) -> Result<Head> {
        let token = fs::read_to_string(self.data.join("admin.token"))?;
        let length = body.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_nodelay(true)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n",
            token.trim()
        )?;
        let sent = body.map_or(Ok(0), |file| io::copy(file, &mut stream));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).with_context(|| format!("{method} {path}, after {sent:?}"))?;
        Ok(Head(answer))
    }
}

impl Head {
    /// The answer, if it has this status.
    pub fn expect(self, status: u16) -> Result<Self> {
        if !self.0.starts_with(&format!("HTTP/1.1 {status} ")) {
            bail!("not {status}: {}", self.0);
        }
        Ok(self)
    }

    /// Where it says to go on.
    pub fn location(&self) -> Result<&str> {
        let location = self.0.lines().find_map(|line| line.strip_prefix("location: "));
        location.with_context(|| format!("no location: {}", self.0))
    }
}
