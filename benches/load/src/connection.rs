//! One kept connection with at most one request on its way.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::answer::{Head, Reader};

/// Bytes asked for in one `read`: most answers fit.
const READ_BYTES: usize = 16 << 10;

/// A connection.
pub struct Connection {
    /// The socket, which does not block.
    pub stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    reader: Reader,
    /// When the request on its way was meant to be sent.
    pub intended: Option<Instant>,
}

impl Connection {
    /// Opens one.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, request: Vec::new(), sent: 0, reader: Reader::default(), intended: None })
    }

    /// Begins with the request that `write` writes. True when all of it is on its way.
    pub fn send(&mut self, intended: Instant, write: &mut dyn FnMut(&mut Vec<u8>)) -> Result<bool> {
        self.request.clear();
        self.reader.clear();
        self.sent = 0;
        self.intended = Some(intended);
        write(&mut self.request);
        self.flush()
    }

    /// Writes on. True when all of it is on its way.
    pub fn flush(&mut self) -> Result<bool> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(0) => bail!("the server takes no more bytes"),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Whether some of the request is still to be written.
    pub fn unsent(&self) -> bool {
        self.sent < self.request.len()
    }

    /// Reads what is there; the answer's head once all of it has come.
    pub fn receive(&mut self) -> Result<Option<Head>> {
        let buffer = self.reader.buffer();
        let filled = buffer.len();
        buffer.resize(filled + READ_BYTES, 0);
        let read = self.stream.read(&mut buffer[filled..]);
        buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => bail!("the server closed the connection"),
            Ok(_) => self.reader.complete(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
