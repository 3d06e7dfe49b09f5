//! Who signed a model or component, and whether that counts here.
//!
//! Stands between the registry, which stores bytes, and the model manager, which loads them. Pure: bytes and rules in,
//! a verdict out; no network, no store, no runtime. A bundle is parsed ([`bundle`]), its signature checked against an
//! [`Authority`] ([`dsse`], [`certificate`], [`keyless`]), and what it signs is compared with what is there ([`oms`]).

pub mod authority;
pub mod bundle;
pub mod certificate;
pub mod contents;
pub mod dsse;
mod error;
pub mod keyless;
pub mod keys;
pub mod oms;

pub use authority::{Authority, IdentityRule, Matcher, Method, Signer};
pub use certificate::{Certificate, Validity};
pub use contents::{Contents, ContentsError, HashAlgorithm};
pub use error::VerifyError;
pub use keyless::TrustedRoot;
pub use keys::{KeyError, PublicKey, SigningKey};
