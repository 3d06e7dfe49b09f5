//! A blocking client for one request at a time, where nothing is counted: probes, warm-ups, checks.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::answer::Reader;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// One kept connection.
pub struct Client {
    stream: TcpStream,
    reader: Reader,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Client { stream, reader: Reader::default() })
    }

    /// Sends the bytes of a whole request; returns status and body.
    ///
    /// # Errors
    /// A connection that breaks, or an answer that is none.
    pub fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        use std::io::Read;
        self.stream.write_all(request)?;
        self.reader.clear();
        let mut piece = [0; 16 << 10];
        loop {
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                bail!("the server closed the connection");
            }
            self.reader.buffer().extend_from_slice(&piece[..count]);
            if let Some(head) = self.reader.complete()? {
                return Ok((head.status, self.reader.body()));
            }
        }
    }
}
