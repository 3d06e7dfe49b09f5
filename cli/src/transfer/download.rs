//! Fetching one file: continued where an earlier attempt ended, and checked against its digest before it counts.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use headland_package::Sha256Digest;
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::progress::FileProgress;
use super::{Failure, Retries, Stop};

const BUFFER_BYTES: usize = 256 << 10;

/// A file that is wanted.
pub struct Wanted<'a> {
    /// What to call it in errors.
    pub name: &'a str,
    /// Where it grows. What is there already is where it goes on.
    pub part: &'a Path,
    /// Its size, where the other side has said it.
    pub size: Option<u64>,
    /// Its digest, where the other side has said it.
    pub digest: Option<Sha256Digest>,
}

/// Fetches a file; `open` asks for it from a byte on. Returns how many bytes came over the network.
pub fn fetch(
    wanted: &Wanted<'_>,
    stop: &Stop,
    progress: &mut FileProgress<'_>,
    open: impl Fn(u64) -> Result<Response<Body>, Failure>,
) -> Result<u64> {
    let what = || format!("fetching {}", wanted.name);
    let mut part = Part::open(wanted).with_context(what)?;
    let mut may_be_stale = part.len > 0;
    loop {
        let mut retries = Retries::new(stop);
        progress.at(part.len);
        while wanted.size.is_none_or(|size| part.len < size) {
            let before = part.len;
            let attempt = part.extend(wanted, stop, progress, &open);
            if part.len > before {
                retries.progressed();
            }
            match attempt {
                Ok(()) => break,
                Err(failure) => retries.wait(failure).with_context(what)?,
            }
        }
        match wanted.digest {
            Some(expected) if part.digest() != expected => {
                let found = part.digest();
                part.clear().with_context(what)?;
                // What an earlier command left may be of another file, or damaged: once more from the beginning.
                if !std::mem::take(&mut may_be_stale) {
                    return Err(anyhow!("it has digest {found}, where {expected} was promised")).with_context(what);
                }
            }
            _ => return Ok(part.fetched),
        }
    }
}

/// A file that is growing, and the hash of what is in it.
struct Part {
    file: File,
    hash: Sha256,
    len: u64,
    /// Bytes that came over the network.
    fetched: u64,
}

impl Part {
    fn open(wanted: &Wanted<'_>) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(wanted.part)?;
        let mut part = Part { file, hash: Sha256::new(), len: 0, fetched: 0 };
        if wanted.size.is_some_and(|size| part.file.metadata().is_ok_and(|metadata| metadata.len() > size)) {
            part.clear()?;
        }
        part.len = io::copy(&mut part.file, &mut part.hash)?;
        Ok(part)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        self.len = 0;
        Ok(())
    }

    fn digest(&self) -> Sha256Digest {
        Sha256Digest::from_raw(self.hash.clone().finalize().into())
    }

    /// One request, as far as it goes.
    fn extend(
        &mut self,
        wanted: &Wanted<'_>,
        stop: &Stop,
        progress: &mut FileProgress<'_>,
        open: impl Fn(u64) -> Result<Response<Body>, Failure>,
    ) -> Result<(), Failure> {
        let answer = open(self.len)?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if begins_at(&answer) == Some(self.len) => {}
            // The other side knows no ranges, or had another file then.
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let from_the_beginning = answer.status() == StatusCode::OK;
                self.clear().map_err(disk)?;
                progress.at(0);
                if !from_the_beginning {
                    return Err(transient(anyhow!("the other side answered {} to a range", answer.status())));
                }
            }
            status => return Err(Failure::of_status(status, answer.headers(), anyhow!("the answer was {status}"))),
        }
        self.read(answer.into_body(), wanted, stop, progress)
    }

    fn read(
        &mut self,
        body: Body,
        wanted: &Wanted<'_>,
        stop: &Stop,
        progress: &mut FileProgress<'_>,
    ) -> Result<(), Failure> {
        let mut body = body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if stop.is_stopped() {
                return Err(Failure::Final(anyhow!("stopped, because another file failed")));
            }
            let read = body.read(&mut buffer).map_err(|error| transient(error.into()))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            let len = self.len.saturating_add(read as u64);
            match wanted.size {
                Some(size) if len > size => {
                    self.clear().map_err(disk)?;
                    return Err(Failure::Final(anyhow!("it is longer than the {size} bytes that were promised")));
                }
                Some(size) if read == 0 && len < size => return Err(transient(anyhow!("the connection broke off"))),
                _ if read == 0 => return Ok(()),
                _ => {}
            }
            self.file.write_all(bytes).map_err(disk)?;
            self.hash.update(bytes);
            self.len = len;
            self.fetched += read as u64;
            progress.add(read as u64);
        }
    }
}

fn transient(error: anyhow::Error) -> Failure {
    Failure::Transient { error, after: None }
}

fn disk(error: io::Error) -> Failure {
    Failure::Final(anyhow::Error::new(error).context("writing it to the disk"))
}

/// The first byte of a partial answer.
fn begins_at(answer: &Response<Body>) -> Option<u64> {
    let range = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::transfer::Progress;

    fn answer(status: u16, range: Option<u64>, body: &str) -> Response<Body> {
        let mut response = Response::builder().status(status);
        if let Some(first) = range {
            response = response.header("content-range", format!("bytes {first}-9/10"));
        }
        response.body(Body::builder().data(body)).unwrap()
    }

    /// Fetches `0123456789` into a file that begins with `there`, from a side that answers these.
    fn fetched(there: &str, answers: Vec<Response<Body>>) -> (Result<u64>, String, Vec<u64>) {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("part");
        std::fs::write(&part, there).unwrap();
        let (answers, asked) = (RefCell::new(answers.into_iter()), RefCell::new(Vec::new()));
        let digest = Some(Sha256Digest::of(b"0123456789"));
        let wanted = Wanted { name: "x", part: &part, size: Some(10), digest };
        let open = |from| {
            asked.borrow_mut().push(from);
            answers.borrow_mut().next().ok_or_else(|| Failure::Final(anyhow!("no more answers")))
        };
        let result = fetch(&wanted, &Stop::default(), &mut Progress::new("fetched", 10).file(), open);
        (result, std::fs::read_to_string(&part).unwrap(), asked.into_inner())
    }

    #[test]
    fn a_file_goes_on_where_it_was() {
        let (result, content, asked) = fetched("0123", vec![answer(206, Some(4), "456789")]);
        assert_eq!((result.unwrap(), content.as_str(), asked), (6, "0123456789", vec![4]));
        let (result, _, asked) = fetched("0123456789", vec![]);
        assert_eq!((result.unwrap(), asked), (0, vec![]));
    }

    #[test]
    fn a_side_without_ranges_sends_it_all_again() {
        let (result, content, _) = fetched("0123", vec![answer(200, None, "0123456789")]);
        assert_eq!((result.unwrap(), content.as_str()), (10, "0123456789"));
    }

    #[test]
    fn a_broken_connection_is_taken_up_again() {
        let (result, content, asked) = fetched("", vec![answer(200, None, "012"), answer(206, Some(3), "3456789")]);
        assert_eq!((result.unwrap(), content.as_str(), asked), (10, "0123456789", vec![0, 3]));
    }

    #[test]
    fn what_was_left_of_another_file_is_fetched_again_and_other_bytes_are_refused() {
        let (result, content, asked) =
            fetched("xxxx", vec![answer(206, Some(4), "456789"), answer(200, None, "0123456789")]);
        assert_eq!((result.is_ok(), content.as_str(), asked), (true, "0123456789", vec![4, 0]));
        let (result, content, _) = fetched("", vec![answer(200, None, "012345678x")]);
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains("fetching x: it has digest sha256:") && content.is_empty(), "{error}");
        let (result, content, _) = fetched("", vec![answer(200, None, "01234567890")]);
        let error = format!("{:#}", result.unwrap_err());
        assert!(error.contains("longer than the 10 bytes") && content.is_empty(), "{error}");
    }
}
