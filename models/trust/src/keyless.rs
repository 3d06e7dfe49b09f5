//! Keyless signatures: a short-lived certificate for an identity, and a transparency log that saw the signature while
//! the certificate was valid (sigstore client specification). All offline, against a trusted root.

use std::fmt;
use std::sync::Arc;

use headland_package::Sha256Digest;
use sigstore_types::Sha256Hash;
use sigstore_verify::{VerificationPolicy, Verifier};

use crate::authority::{IdentityRule, Signer};
use crate::bundle::{Bundle, Content};
use crate::error::VerifyError;

/// The keys and certificates of a sigstore instance, read and checked once.
#[derive(Clone)]
pub struct TrustedRoot {
    verifier: Arc<Verifier>,
    /// Whether the instance logs its certificates; then each must prove that it was logged.
    certificates_logged: bool,
    name: Arc<str>,
}

/// A trusted root that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("is not a usable sigstore trusted root: {0}")]
pub struct TrustedRootError(String);

impl TrustedRoot {
    /// The public-good instance of sigstore, as known when this program was built.
    ///
    /// # Errors
    /// Never with the root that is built in; a test says so.
    pub fn public_good() -> Result<Self, TrustedRootError> {
        Self::named("sigstore.dev", sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    /// Reads a `trusted_root.json`.
    ///
    /// # Errors
    /// When it is not one, or a key or certificate in it is malformed.
    pub fn from_json(json: &str) -> Result<Self, TrustedRootError> {
        Self::named("given", json)
    }

    fn named(name: &str, json: &str) -> Result<Self, TrustedRootError> {
        let root = sigstore_trust_root::TrustedRoot::from_json(json).map_err(|e| TrustedRootError(e.to_string()))?;
        let verifier = Verifier::new(&root).map_err(|e| TrustedRootError(e.to_string()))?;
        let certificates_logged = !root.ctlogs.is_empty();
        Ok(TrustedRoot { verifier: Arc::new(verifier), certificates_logged, name: name.into() })
    }

    /// Verifies a bundle over `artifact`: for a statement one of its subjects, for a message signature the message.
    ///
    /// # Errors
    /// When any part of the evidence does not hold, or no rule names the signer.
    pub(crate) fn verify(
        &self,
        bundle: &Bundle,
        artifact: &Sha256Digest,
        identities: &[IdentityRule],
    ) -> Result<Signer, VerifyError> {
        let parsed = sigstore_types::Bundle::from_json(&bundle.json).map_err(refused)?;
        same_content(bundle, &parsed)?;
        let mut policy = VerificationPolicy::any_identity();
        if !self.certificates_logged {
            policy = policy.skip_sct();
        }
        let artifact = Sha256Hash::new(*artifact.as_bytes());
        let verified = self.verifier.verify(artifact, &parsed, &policy).map_err(refused)?;
        // A pattern that matches everything must not match nothing.
        let (Some(subject), Some(issuer)) = (verified.identity(), verified.issuer()) else {
            return Err(VerifyError::Identity { signer: "a certificate without identity or issuer".to_owned() });
        };
        let (subject, issuer) = (subject.as_str().to_owned(), issuer.to_owned());
        if identities.iter().any(|rule| rule.matches(&issuer, &subject)) {
            Ok(Signer::Keyless { subject, issuer })
        } else {
            Err(VerifyError::Identity { signer: Signer::Keyless { subject, issuer }.to_string() })
        }
    }
}

/// The library's errors repeat what is inside them, so their outermost text is all of it.
fn refused(error: impl fmt::Display) -> VerifyError {
    VerifyError::Keyless(error.to_string())
}

/// Two parsers read the bundle; what one verifies must be what the other hands on.
fn same_content(ours: &Bundle, theirs: &sigstore_types::Bundle) -> Result<(), VerifyError> {
    let same = match (&ours.content, &theirs.content) {
        (Content::Envelope(ours), sigstore_types::SignatureContent::DsseEnvelope(theirs)) => {
            ours.payload_type == theirs.payload_type && ours.payload == theirs.payload.as_bytes()
        }
        (Content::Message(ours), sigstore_types::SignatureContent::MessageSignature(theirs)) => {
            ours.signature == theirs.signature.as_bytes()
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(VerifyError::Malformed("its content can be read in two ways".to_owned())) }
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedRoot({})", self.name)
    }
}
