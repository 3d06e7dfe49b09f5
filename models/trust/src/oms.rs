//! OpenSSF Model Signing 1.0: whether a bundle signs the model that is here, and making such bundles.
//!
//! In this order: the envelope's signature counts ([`crate::dsse`]), its statement is a sound list of files
//! (`manifest`), and the files that are here are those (`compare`). The first thing that is wrong ends it.

mod compare;
mod hashing;
mod manifest;
mod names;
mod sign;

use std::time::SystemTime;

pub use manifest::{Manifest, RESOURCES_MAX, Resource, Serialization};
pub use sign::{SHARD_BYTES_DEFAULT, SignError, SignOptions, sign_with_certificate, sign_with_key};

use crate::authority::{Authority, Signer};
use crate::bundle::{self, Bundle};
use crate::contents::Contents;
use crate::dsse::{self, Statement};
use crate::error::VerifyError;

/// The predicate type of a model signature.
pub const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// What the reference tool wrote before version 1.0: no serialization, and signed over other bytes than DSSE says.
const PREDICATE_TYPE_OLD: &str = "https://model_signing/Digests/v0.1";

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

/// Checks that `bundle` signs these contents, in the name of somebody `authority` vouches for.
///
/// # Errors
/// With the first thing that is wrong: the bundle, the signature, a file that is missing, too much, or not the one
/// that was signed.
pub fn verify(
    bundle: &[u8],
    contents: &dyn Contents,
    authority: &Authority,
    options: &VerifyOptions,
) -> Result<Verdict, VerifyError> {
    let bundle = bundle::parse(bundle)?;
    refuse_old(&bundle)?;
    let signer = dsse::verify_statement(&bundle, authority, options.now)?;
    let manifest = Manifest::read(&dsse::envelope(&bundle)?.payload)?;
    let compared = compare::compare(&manifest, contents, options)?;
    Ok(Verdict { signer, signed: compared.signed, unsigned: compared.unsigned, complete: contents.is_here() })
}

/// Reads what a bundle claims to sign. Nothing is verified: for display, and for fuzzing.
///
/// # Errors
/// When it is no bundle, or its statement is no sound list of files.
pub fn parse(bundle: &[u8]) -> Result<(Bundle, Manifest), VerifyError> {
    let bundle = bundle::parse(bundle)?;
    refuse_old(&bundle)?;
    let manifest = Manifest::read(&dsse::envelope(&bundle)?.payload)?;
    Ok((bundle, manifest))
}

/// Old signatures would fail as if they were forged; say what they are instead.
fn refuse_old(bundle: &Bundle) -> Result<(), VerifyError> {
    let statement = Statement::parse(&dsse::envelope(bundle)?.payload)?;
    if statement.predicate_type == PREDICATE_TYPE_OLD {
        return Err(VerifyError::OldFormat(statement.predicate_type));
    }
    Ok(())
}
