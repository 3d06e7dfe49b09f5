//! Signed statements: the envelope around them (DSSE 1.0) and their head (in-toto Statement 1), shared by models and
//! components.
//!
//! [`verify_statement`] and [`verify_message`] are where a bundle meets an [`Authority`]; everything before is parsing,
//! everything after compares what is signed with what is there.

use std::collections::BTreeMap;
use std::time::SystemTime;

use headland_package::Sha256Digest;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::authority::{Authority, Signer};
use crate::bundle::{Bundle, Content, Envelope, Material, MessageSignature};
use crate::certificate;
use crate::error::VerifyError;
use crate::keys::{KeyError, PublicKey, SigningKey};

/// The payload type of in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The type of an in-toto statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The head of an in-toto statement; its predicate is left to whoever knows the predicate's type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement<'a> {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What the statement is about.
    pub subject: Vec<Subject>,
    /// What kind of statement it is.
    pub predicate_type: String,
    /// The statement itself.
    #[serde(borrow)]
    pub predicate: Option<&'a RawValue>,
}

/// What a statement is about.
#[derive(Debug, Deserialize)]
pub struct Subject {
    /// Its name, which nobody relies on.
    #[serde(default)]
    pub name: String,
    /// Its digests in hexadecimal, by algorithm.
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// The subject's SHA-256.
    pub fn sha256(&self) -> Option<Sha256Digest> {
        format!("sha256:{}", self.digest.get("sha256")?).parse().ok()
    }
}

impl<'a> Statement<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// When it is not an in-toto statement of version 1.
    pub fn parse(payload: &'a [u8]) -> Result<Self, VerifyError> {
        let statement: Statement =
            serde_json::from_slice(payload).map_err(|source| VerifyError::Json { part: "statement", source })?;
        if statement.statement_type != STATEMENT_TYPE {
            return Err(VerifyError::StatementType { expected: STATEMENT_TYPE, found: statement.statement_type });
        }
        Ok(statement)
    }

    /// The one subject's SHA-256.
    ///
    /// # Errors
    /// When there is not exactly one subject, or it has no SHA-256.
    pub fn only_subject(&self) -> Result<Sha256Digest, VerifyError> {
        let [subject] = self.subject.as_slice() else {
            let found = self.subject.len();
            return Err(VerifyError::Malformed(format!("its statement has {found} subjects, one is needed")));
        };
        subject.sha256().ok_or_else(|| VerifyError::Malformed("its subject has no sha256".to_owned()))
    }
}

/// The envelope of a bundle.
///
/// # Errors
/// When the bundle signs something outside itself, or its envelope holds no in-toto statement.
pub fn envelope(bundle: &Bundle) -> Result<&Envelope, VerifyError> {
    match &bundle.content {
        Content::Envelope(envelope) if envelope.payload_type == PAYLOAD_TYPE => Ok(envelope),
        Content::Envelope(envelope) => Err(VerifyError::PayloadType(envelope.payload_type.clone())),
        Content::Message(_) => Err(VerifyError::Malformed("it carries no statement".to_owned())),
    }
}

/// Checks that `authority` vouches for the statement in the bundle, and says who signed it.
///
/// That the statement is *about* what is judged stays with the caller, who knows where in it to look.
///
/// # Errors
/// When the signature does not hold, or is not by whom the authority vouches for.
pub fn verify_statement(bundle: &Bundle, authority: &Authority, now: SystemTime) -> Result<Signer, VerifyError> {
    let envelope = envelope(bundle)?;
    match (authority, &bundle.material) {
        (Authority::Key(key), Material::Key { hint }) => {
            check_hint(hint.as_deref(), key)?;
            verify_envelope(envelope, key)?;
            Ok(key_signer(key))
        }
        (Authority::Certificate { roots, subject, validity }, Material::Certificate { leaf, issuers }) => {
            let holder = certificate::verify_chain(leaf, issuers, roots, subject.as_ref(), *validity, now)?;
            verify_envelope(envelope, &holder.key)?;
            Ok(holder.signer)
        }
        (Authority::Keyless { identities, trusted_root }, Material::Keyless) => {
            // The library wants to know one of the subjects; which one, is for the caller to judge.
            let statement = Statement::parse(&envelope.payload)?;
            let subject = statement.subject.iter().find_map(Subject::sha256);
            let subject = subject.ok_or_else(|| VerifyError::Malformed("its subject has no sha256".to_owned()))?;
            trusted_root.verify(bundle, &subject, identities)
        }
        _ => Err(VerifyError::Method { expected: authority.method(), found: bundle.material.method() }),
    }
}

/// Checks that `authority` vouches for a signature over the bytes with the digest `artifact`, and says who signed.
///
/// # Errors
/// When the signature is over something else, does not hold, or is not by whom the authority vouches for.
pub fn verify_message(
    bundle: &Bundle,
    artifact: &Sha256Digest,
    authority: &Authority,
    now: SystemTime,
) -> Result<Signer, VerifyError> {
    let Content::Message(message) = &bundle.content else {
        return Err(VerifyError::Malformed("it carries a statement, not a message signature".to_owned()));
    };
    if let Some(signed) = message.digest.filter(|signed| signed != artifact) {
        return Err(VerifyError::OtherArtifact { signed: signed.to_string(), expected: artifact.to_string() });
    }
    match (authority, &bundle.material) {
        (Authority::Key(key), Material::Key { hint }) => {
            check_hint(hint.as_deref(), key)?;
            verify_digest(message, artifact, key)?;
            Ok(key_signer(key))
        }
        (Authority::Certificate { roots, subject, validity }, Material::Certificate { leaf, issuers }) => {
            let holder = certificate::verify_chain(leaf, issuers, roots, subject.as_ref(), *validity, now)?;
            verify_digest(message, artifact, &holder.key)?;
            Ok(holder.signer)
        }
        (Authority::Keyless { identities, trusted_root }, Material::Keyless) => {
            trusted_root.verify(bundle, artifact, identities)
        }
        _ => Err(VerifyError::Method { expected: authority.method(), found: bundle.material.method() }),
    }
}

/// Checks the envelope's signature with a key.
///
/// # Errors
/// When the signature is not this key's, or over something else.
pub fn verify_envelope(envelope: &Envelope, key: &PublicKey) -> Result<(), VerifyError> {
    if key.verify(&pae(&envelope.payload_type, &envelope.payload), &envelope.signature) {
        Ok(())
    } else {
        Err(VerifyError::Signature(format!("checked with key {}", key.hint())))
    }
}

/// Puts a statement into an envelope and signs it.
///
/// # Errors
/// When the key does not sign.
pub fn sign_statement(payload: Vec<u8>, key: &SigningKey) -> Result<Envelope, KeyError> {
    let signature = key.sign(&pae(PAYLOAD_TYPE, &payload))?;
    Ok(Envelope { payload_type: PAYLOAD_TYPE.to_owned(), payload, signature })
}

/// What is actually signed: the payload with its type, so that neither can be taken for another (DSSE 1.0, "PAE").
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

fn verify_digest(message: &MessageSignature, artifact: &Sha256Digest, key: &PublicKey) -> Result<(), VerifyError> {
    if key.verify_sha256(artifact, &message.signature) {
        Ok(())
    } else {
        Err(VerifyError::Signature(format!("checked with key {}", key.hint())))
    }
}

/// A hint that names another key tells more than a signature that does not fit.
fn check_hint(hint: Option<&str>, key: &PublicKey) -> Result<(), VerifyError> {
    match hint {
        Some(hint) if hint != key.hint() => {
            Err(VerifyError::OtherKey { found: hint.to_owned(), trusted: key.hint().to_owned() })
        }
        _ => Ok(()),
    }
}

fn key_signer(key: &PublicKey) -> Signer {
    Signer::Key { hint: key.hint().to_owned() }
}
