//! What is tried again, how often, and how long apart.

use std::time::Duration;

use anyhow::{Error, Result};
use ureq::http::{HeaderMap, StatusCode, header};

use super::Stop;

/// How often in a row something may fail without getting any further.
const FAILURES_MAX: u32 = 6;
/// The first wait; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait, also when the other side asks for a longer one.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// A failed attempt.
#[derive(Debug)]
pub enum Failure {
    /// It may work the next time.
    Transient {
        /// What happened.
        error: Error,
        /// How long the other side asks to wait.
        after: Option<Duration>,
    },
    /// It would fail again.
    Final(Error),
}

impl Failure {
    /// A status as failure: what a busy or broken server says is tried again.
    pub fn of_status(status: StatusCode, headers: &HeaderMap, error: Error) -> Self {
        let transient = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if !transient {
            return Failure::Final(error);
        }
        let after = headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        Failure::Transient { error, after: after.map(Duration::from_secs) }
    }

    /// A broken connection is tried again; a request that makes no sense, or a server that is not who it says, is not.
    pub fn of_http(error: ureq::Error) -> Self {
        use ureq::Error as E;
        match error {
            E::Io(_) | E::Timeout(_) | E::ConnectionFailed | E::Protocol(_) | E::HostNotFound => {
                Failure::Transient { error: error.into(), after: None }
            }
            error => Failure::Final(error.into()),
        }
    }

    /// The same failure, with what was being done.
    pub fn context(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Failure::Transient { error, after } => Failure::Transient { error: error.context(what()), after },
            Failure::Final(error) => Failure::Final(error.context(what())),
        }
    }

    /// What happened.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Transient { error, .. } | Failure::Final(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// Counts the failures of one piece of work.
pub struct Retries<'a> {
    stop: &'a Stop,
    failures: u32,
}

impl<'a> Retries<'a> {
    /// None yet.
    pub fn new(stop: &'a Stop) -> Self {
        Retries { stop, failures: 0 }
    }

    /// Forgets the failures so far: the work got further.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt; gives the failure back when there should be none.
    pub fn wait(&mut self, failure: Failure) -> Result<()> {
        let Failure::Transient { error, after } = failure else { return Err(failure.into_error()) };
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            return Err(error.context(format!("given up after {FAILURES_MAX} attempts")));
        }
        let wait = after.unwrap_or(FIRST_WAIT * 2_u32.pow(self.failures - 1)).min(WAIT_MAX);
        if self.stop.wait(wait) { Err(error) } else { Ok(()) }
    }

    /// Tries until it works or should not be tried again.
    pub fn run<T>(mut self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T> {
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => self.wait(failure)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn transient() -> Failure {
        Failure::Transient { error: anyhow!("busy"), after: Some(Duration::ZERO) }
    }

    #[test]
    fn what_may_pass_is_tried_a_bounded_number_of_times() {
        let (stop, mut attempts) = (Stop::default(), 0);
        let error = Retries::new(&stop)
            .run(|| {
                attempts += 1;
                Err::<(), _>(transient())
            })
            .unwrap_err();
        assert_eq!((attempts, format!("{error:#}").as_str()), (6, "given up after 6 attempts: busy"));
        let mut answers = [Ok(7), Err(transient())].into_iter();
        assert_eq!(Retries::new(&stop).run(|| answers.next_back().unwrap()).unwrap(), 7);
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        let final_one = || Failure::of_status(StatusCode::FORBIDDEN, &HeaderMap::new(), anyhow!("no"));
        assert_eq!(Retries::new(&Stop::default()).wait(final_one()).unwrap_err().to_string(), "no");
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, "3".parse().unwrap())]);
        let busy = Failure::of_status(StatusCode::TOO_MANY_REQUESTS, &headers, anyhow!("busy"));
        assert!(matches!(busy, Failure::Transient { after: Some(after), .. } if after.as_secs() == 3));
    }
}
