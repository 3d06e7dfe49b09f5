//! Many guests alive at once, each in the middle of a request: how many there can be, and what memory each takes, its
//! connection included.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Setup;
use crate::report::{Report, Section};
use crate::servers;

/// Guests that are to be alive.
const GUESTS: usize = 10_000;
/// Room for them, and for probes.
const CONFIG: &str = "[limits]\ninstances = 10100\nconnections = 10200\n";
/// The echo guest answers the first piece, and waits for the rest.
const REQUEST: &[u8] = b"POST /live HTTP/1.1\r\nhost: bench\r\ncontent-length: 2\r\n\r\nx";
const ANSWER_MAX: Duration = Duration::from_secs(10);
pub const TITLE: &str = "10,000 guests alive, each in the middle of a request";
pub const ALIVE: &str = "guests alive";
pub const EACH: &str = "memory of each, its connection included, KiB";

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let config = setup.out.join("live.toml");
    fs::write(&config, CONFIG)?;
    let config = config.to_str().context("a path that is text")?;
    let ours = servers::headland_with(setup, &["--config", config, "--app", "benches/app/live.app.toml"], &[])?;
    let before = ours.server.resident()?.anonymous;
    let mut held = Vec::with_capacity(GUESTS);
    for _ in 0..GUESTS {
        match hold(ours.server.address) {
            Ok(stream) => held.push(stream),
            Err(error) => {
                report.miss(format!("guest {} and further ones: {error:#}", held.len() + 1));
                break;
            }
        }
    }
    let after = ours.server.resident()?.anonymous;
    let mut section = Section::new(TITLE, "see each line");
    section.add(ALIVE, held.len() as f64);
    section.add(EACH, (after - before) * 1e6 / 1024.0 / held.len().max(1) as f64);
    section.add("mappings of the process (the kernel's default limit is 65,530)", ours.server.mappings()? as f64);
    report.push(section);
    Ok(())
}

/// A connection whose guest has answered and waits.
fn hold(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(REQUEST)?;
    let mut head = [0; 512];
    let count = stream.read(&mut head).context("waiting for its answer")?;
    let head = String::from_utf8_lossy(&head[..count]);
    match head.starts_with("HTTP/1.1 200") {
        true => Ok(stream),
        false => bail!("it was answered {}", head.lines().next().unwrap_or("nothing")),
    }
}
