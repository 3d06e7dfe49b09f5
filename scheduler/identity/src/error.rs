//! What can go wrong with authorities and certificates.

use std::io;
use std::path::{Path, PathBuf};

use crate::Member;

/// An authority or an identity that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk said no.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it did not work.
        #[source]
        source: io::Error,
    },
    /// Making it again would orphan every member of the fleet.
    #[error("{} holds the authority of a fleet already; it is never replaced", .0.display())]
    AuthorityExists(PathBuf),
    /// A key that others can read is nobody's secret.
    #[error("{} can be read by others (mode {mode:o}); `chmod 600` it, or enroll anew where others had it", path.display())]
    KeyIsOpen {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file that is not what its name says.
    #[error("{} cannot be used: {problem}", path.display())]
    BadFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate that cannot be used.
    #[error("the certificate cannot be used: {0}")]
    BadCertificate(String),
    /// A signing request that cannot be used.
    #[error("the signing request cannot be used: {0}")]
    BadRequest(String),
    /// A certificate for somebody else was to be installed.
    #[error("the certificate is for {actual}, and this is {expected}")]
    OtherMember {
        /// Who this is.
        expected: Member,
        /// Whom the certificate names.
        actual: Member,
    },
    /// A certificate would be valid for longer than its authority.
    #[error("the fleet's authority ends before the certificate would; make it valid for less, or renew the authority")]
    OutlivesAuthority,
    /// The system has no random numbers.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// A certificate could not be written.
    #[error("cannot make the certificate: {0}")]
    Making(#[from] rcgen::Error),
    /// The TLS library refuses what it was given.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl IdentityError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| IdentityError::Io { doing, path: path.to_owned(), source }
    }

    pub(crate) fn bad_file(path: &Path, problem: impl std::fmt::Display) -> Self {
        IdentityError::BadFile { path: path.to_owned(), problem: problem.to_string() }
    }
}
