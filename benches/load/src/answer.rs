//! Where an HTTP/1.1 answer ends, and the little of its head that a load wants to know.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

/// No answer is longer than this; none of the measured ones comes near.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// No head is longer than this.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What has been read of an answer so far.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    head: Option<Head>,
}

/// A head that was read in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its status.
    pub status: u16,
    /// Whether it says when to come back.
    pub retry_after: bool,
    /// Where the body begins.
    body_at: usize,
    /// None for a body in chunks.
    length: Option<usize>,
}

impl Reader {
    /// Where to put the next bytes.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The head, once the whole answer is there.
    ///
    /// # Errors
    /// Bytes that are no HTTP/1.1 answer, or too many of them.
    pub fn complete(&mut self) -> Result<Option<Head>> {
        ensure!(self.bytes.len() <= ANSWER_BYTES_MAX, "an answer of over {ANSWER_BYTES_MAX} bytes");
        let head = match self.head {
            Some(head) => head,
            None => match parse(&self.bytes)? {
                Some(head) => *self.head.insert(head),
                None => return Ok(None),
            },
        };
        let body = &self.bytes[head.body_at..];
        let whole = match head.length {
            Some(length) => body.len() >= length,
            // The last chunk is empty; what was measured sends no trailers.
            None => body.ends_with(b"0\r\n\r\n") && (body.len() == 5 || body.ends_with(b"\r\n0\r\n\r\n")),
        };
        Ok(whole.then_some(head))
    }

    /// The body as it came, chunk sizes and all.
    pub fn body(&self) -> &[u8] {
        self.head.map_or(&[], |head| &self.bytes[head.body_at..])
    }

    /// Forgets the answer, for the next.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.head = None;
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = end_of_head(bytes) else {
        ensure!(bytes.len() <= HEAD_BYTES_MAX, "a head of over {HEAD_BYTES_MAX} bytes");
        return Ok(None);
    };
    let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let status = status.with_context(|| format!("no status line: {}", String::from_utf8_lossy(&bytes[..end])))?;
    let (mut length, mut chunked, mut retry_after) = (None, false, false);
    for line in bytes[..end].split(|&byte| byte == b'\n').skip(1) {
        match named(line, b"content-length").or_else(|| (status == 204).then_some(0..0)) {
            Some(value) => length = std::str::from_utf8(&line[value]).ok().and_then(|text| text.trim().parse().ok()),
            None if named(line, b"transfer-encoding").is_some() => chunked = true,
            None => retry_after |= named(line, b"retry-after").is_some(),
        }
    }
    if length.is_none() && !chunked {
        bail!("an answer without a length: {}", String::from_utf8_lossy(&bytes[..end]));
    }
    Ok(Some(Head { status, retry_after, body_at: end + 4, length }))
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n")
}

/// Where the value is, if the line is of this header.
fn named(line: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let same = line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name);
    same.then_some(name.len() + 1..line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status and whether it was whole, byte by byte as a network may bring it.
    fn fed(answer: &str) -> Vec<Option<u16>> {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for byte in answer.bytes() {
            reader.buffer().push(byte);
            seen.push(reader.complete().unwrap().map(|head| head.status));
        }
        seen
    }

    #[test]
    fn an_answer_is_whole_at_its_last_byte_and_not_before() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n0a\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            let seen = fed(answer);
            let (last, before) = seen.split_last().unwrap();
            assert!(last.is_some() && before.iter().all(Option::is_none), "{answer}: {seen:?}");
        }
    }

    #[test]
    fn retry_after_is_seen_and_nonsense_is_an_error() {
        let mut reader = Reader::default();
        reader.buffer().extend_from_slice(b"HTTP/1.1 429 x\r\nRetry-After: 1\r\ncontent-length: 0\r\n\r\n");
        assert!(matches!(reader.complete(), Ok(Some(Head { status: 429, retry_after: true, .. }))));
        for nonsense in ["no answer at all, ever\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            let mut reader = Reader::default();
            reader.buffer().extend_from_slice(nonsense.as_bytes());
            assert!(reader.complete().is_err(), "{nonsense}");
        }
    }
}
