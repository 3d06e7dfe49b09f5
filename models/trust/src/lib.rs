//! Who signed a model or component, and whether that counts here.
//!
//! Stands between the registry, which stores bytes, and the model manager, which loads them. Pure: bytes and rules in,
//! a verdict out; no network, no store, no runtime. A bundle is parsed ([`bundle`]), its signature checked against an
//! [`Authority`] ([`dsse`], [`certificate`], [`keyless`]), and what it signs is compared with what is there ([`oms`] for
//! models, [`component`] for apps). A [`Policy`] says whose signature counts for what; its yes is a [`Verified`] value.

pub mod authority;
pub mod bundle;
pub mod certificate;
pub mod component;
pub mod contents;
pub mod dsse;
mod error;
pub mod keyless;
pub mod keys;
pub mod oms;
mod plain;
pub mod policy;
mod verified;

pub use authority::{Authority, IdentityRule, Matcher, Method, Signer};
pub use certificate::{Certificate, Validity};
pub use contents::{Contents, ContentsError, HashAlgorithm};
pub use error::{VerifyError, chain};
pub use keyless::TrustedRoot;
pub use keys::{KeyError, PublicKey, SigningKey};
pub use policy::{Artifact, Decision, Denied, Judgement, Policy, PolicyError};
pub use verified::{Admission, Evidence, Verified};
