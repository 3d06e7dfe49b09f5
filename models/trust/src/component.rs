//! Signatures of components and apps: a sigstore bundle about an OCI manifest, by its digest, as `cosign sign` makes it.
//!
//! Stands beside [`oms`](crate::oms), which judges models: there every file is named in the signature, here the signature
//! names the manifest, and the manifest names every blob by digest ([`Verified::admit_blob`](crate::Verified)).
//!
//! Two forms are read, both of bundle version 0.3: a DSSE envelope around an in-toto statement of type
//! [`PREDICATE_TYPE`] (cosign 2.6 and later), and a message signature over the manifest's bytes with SHA-256 (`cosign
//! sign-blob`). A transparency log is asked for where the signer is keyless, and not looked at where a key is trusted.

mod blobs;

use std::time::SystemTime;

use headland_package::Sha256Digest;
use serde::Serialize;

pub use blobs::BlobError;
pub(crate) use blobs::check as check_blob;

use crate::bundle::{self, Content, Material};
use crate::dsse::{self, STATEMENT_TYPE, Statement, Subject};
use crate::keys::{KeyError, SigningKey};
use crate::{Authority, Signer, VerifyError};

/// What `cosign sign` states: that somebody signed, and nothing else. Other statements about a manifest (where it was
/// built, what is in it, that a scan found it unsafe) are attestations, and no signature.
pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Subjects that an error names; the rest are counted.
const SUBJECTS_NAMED_MAX: usize = 3;

/// Who signed the OCI manifest with this digest, if `authority` vouches for it. `now` is what certificates are held
/// against where the authority asks for that.
///
/// # Errors
/// When the bundle cannot be read, is about another manifest, or its signature is not by whom `authority` names.
pub fn verify(
    bundle: &[u8],
    manifest: &Sha256Digest,
    authority: &Authority,
    now: SystemTime,
) -> Result<Signer, VerifyError> {
    let mut bundle = bundle::parse(bundle)?;
    forget_foreign_hint(&mut bundle.material);
    if let Content::Message(_) = bundle.content {
        return dsse::verify_message(&bundle, manifest, authority, now);
    }
    let signer = dsse::verify_statement(&bundle, authority, now)?;
    check_statement(&Statement::parse(&dsse::envelope(&bundle)?.payload)?, manifest)?;
    Ok(signer)
}

/// Signs the OCI manifest with this digest: a bundle that `cosign verify --key` accepts. Equal input gives equal
/// statements; the signature differs each time.
///
/// # Errors
/// When the key does not sign.
pub fn sign_with_key(manifest: &Sha256Digest, key: &SigningKey) -> Result<String, KeyError> {
    let envelope = dsse::sign_statement(statement(manifest), key)?;
    Ok(bundle::write(&Material::Key { hint: Some(key.public().hint().to_owned()) }, &envelope))
}

/// A hint helps to find a key and proves nothing. Ours is 64 hexadecimal digits; cosign's is base64 of another hash, and
/// must not be mistaken for the name of another key.
fn forget_foreign_hint(material: &mut Material) {
    if let Material::Key { hint } = material {
        *hint = hint.take().filter(|hint| hint.len() == 64 && hint.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}

/// Whether the statement says what a signature says, about this manifest.
fn check_statement(statement: &Statement, manifest: &Sha256Digest) -> Result<(), VerifyError> {
    if statement.predicate_type != PREDICATE_TYPE {
        let found = statement.predicate_type.chars().take(128).collect();
        return Err(VerifyError::StatementType { expected: PREDICATE_TYPE, found });
    }
    if statement.subject.iter().any(|subject| subject.sha256() == Some(*manifest)) {
        return Ok(());
    }
    Err(VerifyError::OtherArtifact { signed: subjects(&statement.subject), expected: manifest.to_string() })
}

/// What a statement is about, for people.
fn subjects(subjects: &[Subject]) -> String {
    let name = |subject: &Subject| subject.sha256().map_or("something without a sha256".to_owned(), |d| d.to_string());
    let named: Vec<String> = subjects.iter().take(SUBJECTS_NAMED_MAX).map(name).collect();
    match (named.is_empty(), subjects.len().saturating_sub(SUBJECTS_NAMED_MAX)) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => named.join(", "),
        (false, left) => format!("{} and {left} more", named.join(", ")),
    }
}

/// The statement as cosign writes it, with its empty annotations and predicate.
fn statement(manifest: &Sha256Digest) -> Vec<u8> {
    #[derive(Serialize)]
    struct Empty {}
    #[derive(Serialize)]
    struct Digest {
        sha256: String,
    }
    #[derive(Serialize)]
    struct Subject {
        digest: Digest,
        annotations: Empty,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement {
        #[serde(rename = "_type")]
        statement_type: &'static str,
        subject: [Subject; 1],
        predicate_type: &'static str,
        predicate: Empty,
    }
    let statement = Statement {
        statement_type: STATEMENT_TYPE,
        subject: [Subject { digest: Digest { sha256: manifest.hex() }, annotations: Empty {} }],
        predicate_type: PREDICATE_TYPE,
        predicate: Empty {},
    };
    serde_json::to_vec(&statement).expect("structs of strings are JSON")
}
