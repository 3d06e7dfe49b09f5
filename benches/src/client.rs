//! A lean HTTP/1.1 client: one connection, one request at a time, as little work as a client can do, so that it takes
//! little of the two cores it shares with the server under test.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer is longer than this; none of the measured ones comes near.
const ANSWER_BYTES_MAX: usize = 8 << 20;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends the bytes of a whole request; returns the status and the raw answer, head and all.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            if complete(&self.buffer)? {
                let status = self.buffer.get(9..12).context("a status line")?;
                return Ok((std::str::from_utf8(status)?.parse()?, &self.buffer));
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                bail!("an answer of over {ANSWER_BYTES_MAX} bytes");
            }
        }
    }
}

fn complete(answer: &[u8]) -> Result<bool> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let (head, body) = (&answer[..head], &answer[head + 4..]);
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        return Ok(body.len() >= length.trim().parse::<usize>()?);
    }
    if head.contains("transfer-encoding: chunked") {
        return Ok(body.ends_with(b"0\r\n\r\n"));
    }
    bail!("an answer without a length: {head}")
}

/// A request as bytes.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// Closed-loop load: `connections` clients, each with one request in flight, for `window`. Returns requests per second.
/// Any answer but 200 fails the measurement.
pub async fn throughput(address: SocketAddr, request: &[u8], connections: usize, window: Duration) -> Result<f64> {
    let started = Instant::now();
    let until = started + window;
    let mut clients = Vec::new();
    for _ in 0..connections {
        let request = request.to_vec();
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await?;
            let mut answered = 0u64;
            while Instant::now() < until {
                let (status, answer) = client.ask(&request).await?;
                if status != 200 {
                    bail!("status {status}: {}", String::from_utf8_lossy(answer));
                }
                answered += 1;
            }
            Ok(answered)
        }));
    }
    let mut total = 0;
    for client in clients {
        total += client.await??;
    }
    Ok(total as f64 / started.elapsed().as_secs_f64())
}

/// Latencies of `count` requests, one after the other on one connection, in microseconds.
pub async fn latencies(address: SocketAddr, request: &[u8], count: usize) -> Result<Vec<f64>> {
    let mut client = Client::connect(address).await?;
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let (status, answer) = client.ask(request).await?;
        latencies.push(started.elapsed().as_secs_f64() * 1e6);
        if status != 200 {
            bail!("status {status}: {}", String::from_utf8_lossy(answer));
        }
    }
    Ok(latencies)
}
