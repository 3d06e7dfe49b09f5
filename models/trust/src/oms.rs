//! OpenSSF Model Signing 1.0: whether a bundle signs the model that is here.

use std::time::SystemTime;

use crate::authority::Signer;

/// What a verification may overlook, and when it takes place.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Paths below the model that need not be signed, besides those the signature itself names; a folder stands for
    /// all that is in it.
    pub ignore_paths: Vec<String>,
    /// Whether files that are not signed may be there.
    pub ignore_unsigned: bool,
    /// When certificates must be valid.
    pub now: SystemTime,
}

impl Default for VerifyOptions {
    /// Nothing overlooked, judged now.
    fn default() -> Self {
        VerifyOptions { ignore_paths: Vec::new(), ignore_unsigned: false, now: SystemTime::now() }
    }
}

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who signed.
    pub signer: Signer,
    /// The files that are signed, sorted, by their paths in the contents. Only these may be used.
    pub signed: Vec<String>,
    /// The files that are there but not signed, sorted: overlooked by the signature or the options.
    pub unsigned: Vec<String>,
    /// Whether every signed file was compared with its digest. `false` only for a [`crate::contents::Listing`], whose
    /// content must be judged again when it is there.
    pub complete: bool,
}
