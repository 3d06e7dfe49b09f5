//! Many guests alive at once, each in the middle of a request: how many there can be, and what memory each takes, and the
//! connection it answers on.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Setup;
use crate::servers;
use headland_report::{Report, Section};

/// Guests that are to be alive.
const GUESTS: usize = 10_000;
/// Room for them, and for probes.
const CONFIG: &str = "[limits]\ninstances = 10100\nconnections = 10200\n";
/// The echo guest answers the first piece, and waits for the rest.
const REQUEST: &[u8] = b"POST /live HTTP/1.1\r\nhost: bench\r\ncontent-length: 2\r\n\r\nx";
/// What the gateway answers itself: brings a connection to where it has all that it needs.
const FIRST: &[u8] = b"GET /v2/health/live HTTP/1.1\r\nhost: bench\r\n\r\n";
const ANSWER_MAX: Duration = Duration::from_secs(10);
pub const TITLE: &str = "10,000 guests alive, each in the middle of a request";
pub const ALIVE: &str = "guests alive";
pub const EACH: &str = "memory of each guest, KiB";

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let config = setup.out.join("live.toml");
    fs::write(&config, CONFIG)?;
    let config = config.to_str().context("a path that is text")?;
    let ours = servers::headland_with(setup, &["--config", config, "--app", "benches/app/live.app.toml"], &[])?;
    let before = ours.server.resident()?.anonymous;
    let mut connections = Vec::with_capacity(GUESTS);
    for _ in 0..GUESTS {
        let mut connection = TcpStream::connect(ours.server.address)?;
        connection.set_read_timeout(Some(ANSWER_MAX))?;
        answered(&mut connection, FIRST)?;
        connections.push(connection);
    }
    let connected = ours.server.resident()?.anonymous;
    let mut alive = 0;
    for connection in &mut connections {
        if let Err(error) = answered(connection, REQUEST) {
            report.miss(format!("guest {} and further ones: {error:#}", alive + 1));
            break;
        }
        alive += 1;
    }
    let after = ours.server.resident()?.anonymous;
    let each = |from: f64, to: f64, count: usize| (to - from) * 1e6 / 1024.0 / count.max(1) as f64;
    let mut section = Section::new(TITLE, "see each line");
    section.add(ALIVE, alive as f64);
    section.add(EACH, each(connected, after, alive));
    section.add("memory of its connection, KiB", each(before, connected, GUESTS));
    section.add("mappings of the process (the kernel's default limit is 65,530)", ours.server.mappings()? as f64);
    report.push(section);
    Ok(())
}

/// Sends `request` and sees that an answer begins.
fn answered(connection: &mut TcpStream, request: &[u8]) -> Result<()> {
    connection.write_all(request)?;
    let mut head = [0; 1024];
    let count = connection.read(&mut head).context("waiting for its answer")?;
    let head = String::from_utf8_lossy(&head[..count]);
    match head.starts_with("HTTP/1.1 200") {
        true => Ok(()),
        false => bail!("it was answered {}", head.lines().next().unwrap_or("nothing")),
    }
}
