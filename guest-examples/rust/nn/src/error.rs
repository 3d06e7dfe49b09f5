//! An error of `wasi:nn`, taken out of its resource.

use std::fmt;

use crate::bindings::wasi::nn::errors::Error as Resource;
pub use crate::bindings::wasi::nn::errors::ErrorCode;

/// What went wrong: the interface's code and the host's message.
#[derive(Clone, Debug)]
pub struct Error {
    /// The code.
    pub code: ErrorCode,
    /// The message, made for people.
    pub message: String,
}

impl Error {
    /// An answer of the model's that is not what the guest was written for.
    pub(crate) fn unexpected(message: String) -> Self {
        Error { code: ErrorCode::InvalidArgument, message }
    }

    /// The code as the WIT writes it, such as `not-found`.
    pub fn code_name(&self) -> &'static str {
        match self.code {
            ErrorCode::InvalidArgument => "invalid-argument",
            ErrorCode::InvalidEncoding => "invalid-encoding",
            ErrorCode::Timeout => "timeout",
            ErrorCode::RuntimeError => "runtime-error",
            ErrorCode::UnsupportedOperation => "unsupported-operation",
            ErrorCode::TooLarge => "too-large",
            ErrorCode::NotFound => "not-found",
            ErrorCode::Security => "security",
            ErrorCode::Unknown => "unknown",
        }
    }
}

impl From<Resource> for Error {
    fn from(resource: Resource) -> Self {
        Error { code: resource.code(), message: resource.data() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code_name())
    }
}

impl std::error::Error for Error {}
