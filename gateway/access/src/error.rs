//! What goes wrong with the files tokens are kept in.

use std::path::{Path, PathBuf};

/// Why tokens cannot be read, made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read or written.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The token file is there and cannot be used.
    #[error(
        "{path} is not a token file this version can use: {problem}; restore it from a copy, or remove it and make new tokens"
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and column where there is one.
        problem: String,
    },
    /// Others may write to the token file, and so make tokens.
    #[error("{path} may be written by other users (mode {mode:o}); check what is in it, then run `chmod 600` on it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file for commands on the gateway's own machine is there and holds no token.
    #[error("{path} holds no token; start the gateway again to have it made anew")]
    NoLocalToken {
        /// The file.
        path: PathBuf,
    },
    /// The token file is full.
    #[error("there are {max} tokens, the most there may be; revoke those that are no longer used")]
    Full {
        /// The limit.
        max: usize,
    },
    /// No token has this id.
    #[error("there is no token with the id `{0}`; `headland token list` shows those there are")]
    NoSuchToken(String),
    /// Not a name for a token.
    #[error("a token's name is 1 to {chars_max} printable characters, without spaces at the ends")]
    Name {
        /// The longest name.
        chars_max: usize,
    },
    /// A name that the gateway keeps for itself.
    #[error("`{0}` is the name of the token that the gateway makes for its own machine; choose another name")]
    ReservedName(&'static str),
    /// A token that would never be accepted.
    #[error("the token would expire before it is made; give it an expiry in the future")]
    ExpiresInThePast,
    /// The system gave no random bytes.
    #[error("the system gave no randomness for a token: {0}")]
    Randomness(String),
}

impl AccessError {
    /// For `map_err` at a file operation.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> AccessError {
        let path = path.to_owned();
        move |source| AccessError::Io { action, path, source }
    }
}
