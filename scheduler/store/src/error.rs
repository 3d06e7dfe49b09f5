//! What goes wrong, where, and what to do.

use std::path::PathBuf;
use std::sync::Arc;

use crate::entry::{Revision, VALUE_BYTES_MAX};
use crate::key::{Key, KeyError};

/// A cause, as other libraries give it.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why an operation of a store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// `create` of what is there.
    #[error("the record {key} is there already, at revision {current}")]
    Exists {
        /// The record.
        key: Key,
        /// Its revision.
        current: Revision,
    },
    /// Somebody else wrote in between: read again, decide again.
    #[error("the record {key} is not at revision {expected} any more; read it again")]
    Conflict {
        /// The record.
        key: Key,
        /// What the caller had seen.
        expected: Revision,
        /// What is there; none if it was deleted.
        current: Option<Revision>,
    },
    /// The write may have happened or not: read again to know.
    #[error("whether {key} was written is not known, because {server} did not answer in time; read it again")]
    Unknown {
        /// The record.
        key: Key,
        /// Who did not answer.
        server: String,
    },
    /// A value beyond the limit.
    #[error(
        "the value of {key} has {bytes} bytes, and at most {VALUE_BYTES_MAX} are allowed; store less in one record"
    )]
    TooLarge {
        /// The record.
        key: Key,
        /// What was given.
        bytes: usize,
    },
    /// The server cannot be reached, or cannot serve now.
    #[error("{server} cannot {doing} now; check that it runs and can be reached, it will be tried again")]
    Unavailable {
        /// Which one.
        server: String,
        /// What was asked of it.
        doing: String,
        /// What it said.
        #[source]
        source: Option<Cause>,
    },
    /// The store is there, but not as it has to be.
    #[error("{what}; {remedy}")]
    Misconfigured {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Another process has the file open.
    #[error("{} is in use by another process; stop that one, or give this one another data directory", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or is no store of ours.
    #[error("{} is damaged or no control store of Headland ({why}); restore it from a backup, or move it away to begin anew", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file cannot be read or written.
    #[error("cannot {doing} {}; check its permissions and the free space", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// A name that is none.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a message was not sent or not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BusError {
    /// Nobody listens on the subject.
    #[error("nobody answers on {subject}; check that a control runs")]
    NobodyListens {
        /// The subject.
        subject: Key,
    },
    /// No answer in time.
    #[error("no answer on {subject} within {timeout_ms} ms")]
    NoAnswer {
        /// The subject.
        subject: Key,
        /// How long was waited.
        timeout_ms: u128,
    },
    /// A payload beyond the limit.
    #[error("a message of {bytes} bytes for {subject} is too large; at most {VALUE_BYTES_MAX} are allowed")]
    TooLarge {
        /// The subject.
        subject: Key,
        /// What was given.
        bytes: usize,
    },
    /// The message to be answered asks for no answer.
    #[error("the message on {subject} asks for no answer")]
    NoReplyWanted {
        /// The subject.
        subject: Key,
    },
    /// The server cannot be reached.
    #[error("{server} cannot {doing} now; check that it runs and can be reached")]
    Unavailable {
        /// Which one.
        server: String,
        /// What was asked of it.
        doing: String,
        /// What it said.
        #[source]
        source: Option<Cause>,
    },
}
