//! `[[rule.authority]]`: whose signature a rule takes, read from the keys and certificates it names.
//!
//! Each becomes an [`Authority`] and a label: the words explanations use for it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::rule::NamedAuthority;
use crate::{Authority, Certificate, IdentityRule, Matcher, PublicKey, TrustedRoot, Validity};

/// The largest key, certificate or trusted root file, in bytes.
pub const MATERIAL_BYTES_MAX: u64 = 1 << 20;
/// The most identities of one keyless authority.
pub const IDENTITIES_MAX: usize = 100;
/// The most roots of one certificate authority.
pub const ROOTS_MAX: usize = 100;

/// What could not be used, in words, and why.
pub(super) type LoadError = (String, Box<dyn std::error::Error + Send + Sync>);

/// Exactly one of the three.
#[derive(Deserialize)]
#[serde(try_from = "RawKinds")]
pub(super) enum RawAuthority {
    Key(Material),
    Certificate(RawCertificate),
    Keyless(RawKeyless),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKinds {
    key: Option<Material>,
    certificate: Option<RawCertificate>,
    keyless: Option<RawKeyless>,
}

impl TryFrom<RawKinds> for RawAuthority {
    type Error = &'static str;

    fn try_from(raw: RawKinds) -> Result<Self, Self::Error> {
        match (raw.key, raw.certificate, raw.keyless) {
            (Some(key), None, None) => Ok(RawAuthority::Key(key)),
            (None, Some(certificate), None) => Ok(RawAuthority::Certificate(certificate)),
            (None, None, Some(keyless)) => Ok(RawAuthority::Keyless(keyless)),
            _ => Err(
                "an authority is exactly one of `key`, `certificate` and `keyless`; give each its own [[rule.authority]]",
            ),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCertificate {
    roots: Vec<Material>,
    subject: Option<String>,
    subject_regex: Option<Pattern>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeyless {
    identities: Vec<RawIdentity>,
    trusted_root: Option<Material>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    issuer: Option<String>,
    issuer_regex: Option<Pattern>,
    subject: Option<String>,
    subject_regex: Option<Pattern>,
}

/// A regular expression, compiled while it is read, so that an error has its line.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Pattern {
    text: String,
    matcher: Matcher,
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let matcher = Matcher::regex(&text).map_err(|error| format!("not a regular expression: {error}"))?;
        Ok(Pattern { text, matcher })
    }
}

/// A key or certificate: a path relative to the policy's folder, or the PEM text itself.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Material(String);

impl Material {
    fn is_inline(&self) -> bool {
        self.0.contains("-----BEGIN ")
    }

    fn label(&self) -> &str {
        if self.is_inline() { "the policy" } else { &self.0 }
    }

    fn text(&self, what: &str, folder: &Path) -> Result<String, LoadError> {
        if self.is_inline() {
            return Ok(self.0.clone());
        }
        let path = folder.join(&self.0);
        read(&path).map_err(|error| (format!("{what} {}", path.display()), error.into()))
    }

    /// The material's text, made into what it stands for.
    fn load<T, E>(&self, what: &str, folder: &Path, make: impl FnOnce(&str) -> Result<T, E>) -> Result<T, LoadError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let place = || {
            if self.is_inline() {
                format!("{what} in the policy")
            } else {
                format!("{what} {}", folder.join(&self.0).display())
            }
        };
        make(&self.text(what, folder)?).map_err(|error| (place(), error.into()))
    }
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    // A device or a pipe could keep the reader for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(MATERIAL_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MATERIAL_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB, the most a key or root may be"));
    }
    Ok(text)
}

/// Reads what the authority names.
pub(super) fn load(raw: RawAuthority, folder: &Path) -> Result<NamedAuthority, LoadError> {
    match raw {
        RawAuthority::Key(key) => load_key(&key, folder),
        RawAuthority::Certificate(certificate) => load_certificate(certificate, folder),
        RawAuthority::Keyless(keyless) => load_keyless(keyless, folder),
    }
}

fn load_key(material: &Material, folder: &Path) -> Result<NamedAuthority, LoadError> {
    let key = material.load("key", folder, |pem| PublicKey::from_pem(pem.as_bytes()))?;
    let hint: String = key.hint().chars().take(12).collect();
    let label = format!("the key in {} ({hint}…)", material.label());
    Ok(NamedAuthority { label, authority: Authority::Key(key) })
}

fn load_certificate(raw: RawCertificate, folder: &Path) -> Result<NamedAuthority, LoadError> {
    if raw.roots.is_empty() || raw.roots.len() > ROOTS_MAX {
        return Err(("certificate".to_owned(), format!("`roots` has 1 to {ROOTS_MAX} entries").into()));
    }
    let mut label = format!("a certificate under {}", join(raw.roots.iter().map(Material::label), " or "));
    let mut roots = Vec::new();
    for material in &raw.roots {
        roots.extend(material.load("certificate", folder, |pem| Certificate::all_from_pem(pem.as_bytes()))?);
    }
    let subject = match (&raw.subject, &raw.subject_regex) {
        (None, None) => None,
        _ => {
            let (words, matcher) = either("subject", raw.subject, raw.subject_regex)?;
            label += &format!(", held by {words}");
            Some(matcher)
        }
    };
    Ok(NamedAuthority { label, authority: Authority::Certificate { roots, subject, validity: Validity::default() } })
}

fn load_keyless(raw: RawKeyless, folder: &Path) -> Result<NamedAuthority, LoadError> {
    if raw.identities.is_empty() || raw.identities.len() > IDENTITIES_MAX {
        return Err(("keyless".to_owned(), format!("`identities` has 1 to {IDENTITIES_MAX} entries").into()));
    }
    let mut identities = Vec::with_capacity(raw.identities.len());
    let mut words = Vec::with_capacity(raw.identities.len());
    for identity in raw.identities {
        let (issuer_words, issuer) = either("issuer", identity.issuer, identity.issuer_regex)?;
        let (subject_words, subject) = either("subject", identity.subject, identity.subject_regex)?;
        words.push(format!("{subject_words} as known to {issuer_words}"));
        identities.push(IdentityRule { issuer, subject });
    }
    let (root_words, trusted_root) = match &raw.trusted_root {
        Some(root) => (
            format!("the sigstore instance in {}", root.label()),
            root.load("trusted root", folder, TrustedRoot::from_json)?,
        ),
        None => {
            let root = TrustedRoot::public_good().map_err(|error| ("the built-in root".to_owned(), error.into()))?;
            ("the public sigstore instance".to_owned(), root)
        }
    };
    let label = format!("{}, vouched for by {root_words}", join(words.iter(), ", or "));
    Ok(NamedAuthority { label, authority: Authority::Keyless { identities, trusted_root } })
}

/// Exactly one of `KEY` and `KEY_regex`, in words and to match with.
fn either(key: &str, exact: Option<String>, regex: Option<Pattern>) -> Result<(String, Matcher), LoadError> {
    match (exact, regex) {
        (Some(exact), None) => Ok((format!("`{exact}`"), Matcher::exact(exact))),
        (None, Some(regex)) => Ok((format!("whoever matches `{}`", regex.text), regex.matcher)),
        _ => Err((format!("`{key}`"), format!("give exactly one of `{key}` and `{key}_regex`").into())),
    }
}

fn join(parts: impl Iterator<Item = impl AsRef<str>>, between: &str) -> String {
    let mut joined = String::new();
    for part in parts {
        if !joined.is_empty() {
            joined += between;
        }
        joined += part.as_ref();
    }
    joined
}
