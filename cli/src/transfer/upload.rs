//! Sending one blob: small ones in a request, large ones in pieces that the next attempt, or the next command, continues.

use std::io::Read;

use anyhow::anyhow;
use headland_package::Sha256Digest;
use ureq::http::{HeaderMap, Method, StatusCode, header};

use super::progress::FileProgress;
use super::sessions::Sessions;
use super::{Failure, Registry, Retries, Stop};

/// Blobs up to this size are sent in one request, and from the beginning if it fails.
const WHOLE_BYTES_MAX: u64 = 4 << 20;
/// The largest piece. Some registries keep only whole pieces of what breaks off; ours keeps every byte.
const PIECE_BYTES_MAX: u64 = 64 << 20;

/// A blob on this side.
pub struct LocalBlob {
    /// What to call it in errors.
    pub name: String,
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its content, mapped or in memory.
    pub bytes: bytes::Bytes,
}

impl LocalBlob {
    /// A blob that was made here.
    pub fn of(name: &str, bytes: Vec<u8>) -> Self {
        LocalBlob { name: name.to_owned(), digest: Sha256Digest::of(&bytes), bytes: bytes.into() }
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Sends blobs to one repository.
pub struct Uploader<'a> {
    registry: &'a Registry,
    sessions: Sessions,
    stop: &'a Stop,
}

/// An upload that the registry has begun: where it is, and how far.
struct Session {
    location: String,
    arrived: u64,
}

/// What came of one step.
enum Step {
    /// There is more to send.
    Further(Session),
    /// The blob is there.
    Done,
}

impl<'a> Uploader<'a> {
    /// Sends to `registry` until somebody stops it.
    pub fn new(registry: &'a Registry, stop: &'a Stop) -> Self {
        Uploader { registry, sessions: Sessions::of_user(), stop }
    }

    /// Sends a blob that is not there yet.
    pub fn send(&self, blob: &LocalBlob, progress: &mut FileProgress<'_>) -> anyhow::Result<()> {
        let sent = if blob.len() <= WHOLE_BYTES_MAX {
            Retries::new(self.stop).run(|| {
                progress.at(0);
                self.send_whole(blob, progress)
            })
        } else {
            self.send_in_pieces(blob, progress)
        };
        sent.map_err(|error| error.context(format!("sending {}", blob.name)))
    }

    fn send_whole(&self, blob: &LocalBlob, progress: &mut FileProgress<'_>) -> Result<(), Failure> {
        let url = self.registry.url(&format!("blobs/uploads/?digest={}", blob.digest));
        let mut body = Watched { bytes: &blob.bytes, progress };
        let octets = (header::CONTENT_TYPE, "application/octet-stream");
        let answer = self.registry.send_body(Method::POST, &url, &[octets], blob.len(), &mut body)?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            // A registry that does not take blobs in one request has opened a session instead.
            StatusCode::ACCEPTED => {
                progress.at(0);
                let location = self.registry.resolve(answer.headers())?;
                self.finish(blob, &location, blob.len(), &mut Watched { bytes: &blob.bytes, progress })
            }
            _ => Err(self.failed(answer)),
        }
    }

    fn send_in_pieces(&self, blob: &LocalBlob, progress: &mut FileProgress<'_>) -> anyhow::Result<()> {
        let mut retries = Retries::new(self.stop);
        let (mut session, mut furthest, mut failed) = (None, 0, false);
        loop {
            let step = match session.take() {
                Some(session) => self.send_piece(blob, session, progress),
                None => self.find_or_begin(blob, failed),
            };
            match step {
                Ok(Step::Done) => {
                    self.sessions.remove(&self.key(), blob.digest);
                    progress.at(blob.len());
                    return Ok(());
                }
                Ok(Step::Further(further)) => {
                    progress.at(further.arrived);
                    if further.arrived > furthest {
                        furthest = further.arrived;
                        retries.progressed();
                    }
                    session = Some(further);
                }
                Err(failure) => {
                    failed = true;
                    retries.wait(failure)?;
                }
            }
        }
    }

    /// The upload that an earlier attempt began, if the registry still has it, or else a new one.
    fn find_or_begin(&self, blob: &LocalBlob, failed: bool) -> Result<Step, Failure> {
        if let Some(location) = self.sessions.get(&self.key(), blob.digest) {
            let answer = self.registry.ask(Method::GET, &location, &[])?;
            match answer.status() {
                StatusCode::NO_CONTENT | StatusCode::OK => {
                    let location = self.registry.resolve(answer.headers()).unwrap_or(location);
                    let arrived = arrived(answer.headers()).unwrap_or(0);
                    if arrived <= blob.len() {
                        return Ok(Step::Further(Session { location, arrived }));
                    }
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.failed(answer)),
                status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {}
                _ => return Err(self.failed(answer)),
            }
            self.sessions.remove(&self.key(), blob.digest);
        }
        // The answer to the last piece may be what was lost.
        if failed && self.registry.has_blob(blob.digest)? {
            return Ok(Step::Done);
        }
        let empty = &mut std::io::empty();
        let answer = self.registry.send_body(Method::POST, &self.registry.url("blobs/uploads/"), &[], 0, empty)?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(self.failed(answer));
        }
        let location = self.registry.resolve(answer.headers())?;
        self.sessions.set(&self.key(), blob.digest, &location);
        Ok(Step::Further(Session { location, arrived: 0 }))
    }

    fn send_piece(&self, blob: &LocalBlob, session: Session, progress: &mut FileProgress<'_>) -> Result<Step, Failure> {
        let Session { location, arrived: from } = session;
        let to = from.saturating_add(PIECE_BYTES_MAX).min(blob.len());
        if from == to {
            self.finish(blob, &location, 0, &mut std::io::empty())?;
            return Ok(Step::Done);
        }
        let range = format!("{from}-{}", to - 1);
        let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_RANGE, range.as_str())];
        // In bounds: both are at most the length, which is one in memory.
        let mut body = Watched { bytes: &blob.bytes[from as usize..to as usize], progress };
        let answer = self.registry.send_body(Method::PATCH, &location, &headers, to - from, &mut body)?;
        match answer.status() {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::CREATED => {
                let next = self.registry.resolve(answer.headers()).unwrap_or_else(|_| location.clone());
                if next != location {
                    self.sessions.set(&self.key(), blob.digest, &next);
                }
                Ok(Step::Further(Session { location: next, arrived: to }))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => match arrived(answer.headers()) {
                Some(arrived) if arrived != from && arrived <= blob.len() => {
                    Ok(Step::Further(Session { location, arrived }))
                }
                _ => {
                    self.sessions.remove(&self.key(), blob.digest);
                    Err(transient(anyhow!("the registry lost the upload")))
                }
            },
            StatusCode::NOT_FOUND => {
                self.sessions.remove(&self.key(), blob.digest);
                Err(transient(self.failed(answer).into_error()))
            }
            // An attempt that broke off is not over yet on the other side.
            StatusCode::CONFLICT => Err(transient(self.failed(answer).into_error())),
            _ => Err(self.failed(answer)),
        }
    }

    /// Ends an upload with the last `length` bytes, which may be none.
    fn finish(&self, blob: &LocalBlob, location: &str, length: u64, rest: &mut dyn Read) -> Result<(), Failure> {
        let separator = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{separator}digest={}", blob.digest);
        let octets = (header::CONTENT_TYPE, "application/octet-stream");
        let answer = self.registry.send_body(Method::PUT, &url, &[octets], length, rest)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => Err(transient(self.failed(answer).into_error())),
            _ => {
                let failure = self.failed(answer);
                if matches!(failure, Failure::Final(_)) {
                    self.sessions.remove(&self.key(), blob.digest);
                }
                Err(failure)
            }
        }
    }

    fn failed(&self, answer: ureq::http::Response<ureq::Body>) -> Failure {
        let bad_digest = answer.status() == StatusCode::BAD_REQUEST;
        match self.registry.failed(answer) {
            Failure::Final(error) if bad_digest && error.to_string().contains("digest") => {
                Failure::Final(error.context("it changed while it was sent, or was damaged on the way; push again"))
            }
            failure => failure,
        }
    }

    fn key(&self) -> String {
        self.registry.url("blobs/")
    }
}

fn transient(error: anyhow::Error) -> Failure {
    Failure::Transient { error, after: None }
}

/// How many bytes the registry says it has: `0-99` are a hundred. It writes none at all as `0-0` too.
fn arrived(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    let last: u64 = range.trim_start_matches("bytes=").strip_prefix("0-")?.parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

/// Bytes on their way, counted as they go.
struct Watched<'a, 'p, 'b> {
    bytes: &'a [u8],
    progress: &'p mut FileProgress<'b>,
}

impl Read for Watched<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.progress.add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_is_one_more_than_the_last_byte() {
        let says = |range: &str| arrived(&HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]));
        assert_eq!((says("0-99"), says("bytes=0-99"), says("0-0")), (Some(100), Some(100), Some(0)));
        for odd in ["", "99", "1-99", "0-", "0--1", "0-99999999999999999999999", "0-18446744073709551615"] {
            assert_eq!(says(odd), None, "{odd}");
        }
        assert_eq!(arrived(&HeaderMap::new()), None);
    }
}
