//! nats-server processes on loopback, each with its own folder, ended with the value that stands for them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Whether there is one to run. Under `REQUIRE_NATS` there has to be.
pub fn is_installed() -> bool {
    let there = Command::new("nats-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        assert!(std::env::var_os("REQUIRE_NATS").is_none(), "nats-server is missing and REQUIRE_NATS is set");
        eprintln!("skipped: nats-server is missing (Debian: apt-get install nats-server)");
    }
    there
}

/// One server. It keeps its port and its folder when it is killed and started again.
pub struct NatsServer {
    folder: TempDir,
    arguments: Vec<String>,
    port: u16,
    monitoring_port: u16,
    child: Option<Child>,
}

impl NatsServer {
    /// A single one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A single one with more arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::new(&free_ports(2), arguments.iter().map(ToString::to_string).collect())
    }

    fn new(ports: &[u16], arguments: Vec<String>) -> Self {
        let (folder, port, monitoring_port) = (tempfile::tempdir().unwrap(), ports[0], ports[1]);
        let mut server = Self { folder, arguments, port, monitoring_port, child: None };
        server.restart();
        server
    }

    /// Three that know each other.
    pub fn start_cluster() -> Vec<Self> {
        let ports = free_ports(9);
        let routes: Vec<_> = ports[6..].iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let start = |at: usize| {
            let arguments = [
                ("--cluster_name", "headland".to_owned()),
                ("--cluster", routes[at].clone()),
                ("--routes", routes.join(",")),
                ("--server_name", format!("node{at}")),
            ];
            Self::new(
                &ports[2 * at..],
                arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect(),
            )
        };
        (0..3).map(start).collect()
    }

    /// Starts it on what it stored before.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--http_port", &self.monitoring_port.to_string(), "--jetstream", "--store_dir"])
            .arg(self.folder.path().join("data"))
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Ends it with SIGKILL, by its id.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Takes away all that it stored.
    pub fn wipe(&self) {
        assert!(self.child.is_none(), "it still runs");
        fs::remove_dir_all(self.folder.path().join("data")).unwrap();
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Whether it has all that its cluster has: what an operator waits for before the next node is stopped.
    pub fn is_healthy(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect(("127.0.0.1", self.monitoring_port))?;
            connection.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    pub fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.url(), self.log());
        }
    }
}

/// Ports that nothing listens on: all held until the last is found, so that they differ.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
