//! Whose signature counts, and who was found to have signed.
//!
//! An [`Authority`] is what an operator trusts: a key, the roots of a certificate chain, or identities vouched for by a
//! sigstore instance. A verification ends with the [`Signer`] that one authority vouched for.

use regex::{Regex, RegexBuilder};
use serde::Serialize;
use std::fmt;

use crate::certificate::{Certificate, Validity};
use crate::keyless::TrustedRoot;
use crate::keys::PublicKey;
use crate::plain::Plain;

/// How a signature is vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A key known beforehand.
    Key,
    /// A certificate that chains to a known root.
    Certificate,
    /// A short-lived certificate for an identity, and a transparency log.
    Keyless,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Key => "a key",
            Method::Certificate => "a certificate chain",
            Method::Keyless => "a keyless identity",
        })
    }
}

/// Whose signature counts.
#[derive(Clone, Debug)]
pub enum Authority {
    /// The holder of a key.
    Key(PublicKey),
    /// Whoever holds a certificate under one of the roots.
    Certificate {
        /// Certificates that are trusted as such.
        roots: Vec<Certificate>,
        /// Which of their holders count: compared with the subject (RFC 4514) and with each alternative name. `None`
        /// means everyone under the roots.
        subject: Option<Matcher>,
        /// When the chain must be valid.
        validity: Validity,
    },
    /// Whoever a sigstore instance knows by one of the identities.
    Keyless {
        /// At least one must match.
        identities: Vec<IdentityRule>,
        /// The sigstore instance.
        trusted_root: TrustedRoot,
    },
}

impl Authority {
    /// Which kind of signature this authority vouches for.
    pub fn method(&self) -> Method {
        match self {
            Authority::Key(_) => Method::Key,
            Authority::Certificate { .. } => Method::Certificate,
            Authority::Keyless { .. } => Method::Keyless,
        }
    }
}

/// A keyless identity that counts: who, as known to which identity provider.
#[derive(Clone, Debug)]
pub struct IdentityRule {
    /// The identity provider's URL.
    pub issuer: Matcher,
    /// The e-mail address or URI in the certificate.
    pub subject: Matcher,
}

impl IdentityRule {
    /// Whether the rule names this signer.
    pub fn matches(&self, issuer: &str, subject: &str) -> bool {
        self.issuer.matches(issuer) && self.subject.matches(subject)
    }
}

/// A text to match whole: literally, or by a regular expression anchored at both ends.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// This text and no other.
    Exact(String),
    /// Whatever this expression matches from beginning to end.
    Regex(Regex),
}

/// Compiled size of a regular expression: generous for names, too small to hurt.
const REGEX_BYTES_MAX: usize = 256 << 10;

impl Matcher {
    /// Matches `text` literally.
    pub fn exact(text: impl Into<String>) -> Self {
        Matcher::Exact(text.into())
    }

    /// Matches what `pattern` matches from beginning to end, anchors written or not.
    ///
    /// # Errors
    /// When the pattern is not a regular expression, or compiles to something huge.
    pub fn regex(pattern: &str) -> Result<Self, regex::Error> {
        // The pattern must stand on its own: `a)|(b` would escape the anchors put around it.
        RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build()?;
        let anchored = format!(r"\A(?:{pattern})\z");
        RegexBuilder::new(&anchored).size_limit(REGEX_BYTES_MAX).build().map(Matcher::Regex)
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Matcher::Exact(exact) => exact == text,
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }
}

/// Who signed, as far as the trusted authority vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "method", rename_all = "lowercase")]
pub enum Signer {
    /// The holder of a key.
    Key {
        /// SHA-256 of the public key's PEM form, in hexadecimal, as bundles name it.
        hint: String,
    },
    /// The holder of a certificate.
    Certificate {
        /// The certificate's subject (RFC 4514).
        subject: String,
        /// Who issued it.
        issuer: String,
    },
    /// An identity.
    Keyless {
        /// An e-mail address or a URI.
        subject: String,
        /// The identity provider that vouches for it.
        issuer: String,
    },
}

impl Signer {
    /// How the signature is vouched for.
    pub fn method(&self) -> Method {
        match self {
            Signer::Key { .. } => Method::Key,
            Signer::Certificate { .. } => Method::Certificate,
            Signer::Keyless { .. } => Method::Keyless,
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signer::Key { hint } => write!(f, "key {hint}"),
            Signer::Certificate { subject, issuer } => write!(f, "{} (certified by {})", Plain(subject), Plain(issuer)),
            Signer::Keyless { subject, issuer } => write!(f, "{} (as known to {})", Plain(subject), Plain(issuer)),
        }
    }
}
