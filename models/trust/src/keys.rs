//! Elliptic-curve keys as people keep them (PEM files), checked and ready to verify or sign.
//!
//! The three curves of the Model Signing specification, each with its hash: P-256 with SHA-256, P-384 with SHA-384,
//! P-521 with SHA-512 (FIPS 186-5).

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _, UnparsedPublicKey,
};
use headland_package::Sha256Digest;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::oid::db::rfc5912::{ID_EC_PUBLIC_KEY, SECP_256_R_1, SECP_384_R_1, SECP_521_R_1};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Decode as _, EncodePem as _};
use x509_cert::spki::{AlgorithmIdentifier, SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block of the right kind.
    #[error("holds no {0} in PEM form")]
    NoKey(&'static str),
    /// A private key under a password.
    #[error("is encrypted; decrypt it first, for example with `openssl pkcs8 -in KEY -out PLAIN`")]
    Encrypted,
    /// Not DER inside, or of another kind.
    #[error("is not a key that can be read: {0}")]
    Malformed(String),
    /// RSA, Ed25519, secp256k1, ...
    #[error("is not an elliptic-curve key on P-256, P-384 or P-521")]
    Curve,
}

/// A curve, with the hash that goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    fn of(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.oid() == oid)
    }

    fn oid(self) -> ObjectIdentifier {
        match self {
            Curve::P256 => SECP_256_R_1,
            Curve::P384 => SECP_384_R_1,
            Curve::P521 => SECP_521_R_1,
        }
    }

    /// For signatures over a message.
    fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1,
            Curve::P521 => &ECDSA_P521_SHA512_ASN1,
        }
    }

    /// For signatures over a SHA-256 computed elsewhere.
    fn sha256_verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &ECDSA_P384_SHA256_ASN1,
            Curve::P521 => &ECDSA_P521_SHA256_ASN1,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
            Curve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    curve: Curve,
    point: Vec<u8>,
    pem: String,
    hint: String,
}

impl PublicKey {
    /// Reads the first `PUBLIC KEY` block of a PEM text.
    ///
    /// # Errors
    /// When there is none, or it is not a key on one of the three curves.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NoKey("public key"))?;
        Self::from_der(&der)
    }

    /// Reads a `SubjectPublicKeyInfo` (RFC 5280, section 4.1.2.7).
    ///
    /// # Errors
    /// When it is not a key on one of the three curves.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|error| KeyError::Malformed(error.to_string()))?;
        if spki.algorithm.oid != ID_EC_PUBLIC_KEY {
            return Err(KeyError::Curve);
        }
        let curve = spki.algorithm.parameters_oid().ok().and_then(Curve::of).ok_or(KeyError::Curve)?;
        let point = spki.subject_public_key.as_bytes().unwrap_or_default();
        Self::from_point(curve, point)
    }

    fn from_point(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        UnparsedPublicKey::new(curve.verification(), point)
            .parse()
            .map_err(|_| KeyError::Malformed("its point is not on the curve, or compressed".to_owned()))?;
        let pem = pem(curve, point).map_err(|error| KeyError::Malformed(error.to_string()))?;
        let hint = Sha256Digest::of(pem.as_bytes()).hex();
        Ok(PublicKey { curve, point: point.to_vec(), pem, hint })
    }

    /// What bundles call this key: SHA-256 of its PEM form, in hexadecimal.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The key as a PEM text, written the one way that [`PublicKey::hint`] is the hash of.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether `signature` (ASN.1) is this key's over `message`, with the curve's own hash.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.curve.verification(), &self.point).verify(message, signature).is_ok()
    }

    /// Whether `signature` (ASN.1) is this key's over the message with this SHA-256.
    pub fn verify_sha256(&self, message: &Sha256Digest, signature: &[u8]) -> bool {
        let Ok(message) = digest::Digest::import_less_safe(message.as_bytes(), &digest::SHA256) else { return false };
        UnparsedPublicKey::new(self.curve.sha256_verification(), &self.point).verify_digest(&message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.curve, self.hint)
    }
}

/// The one way a public key is written, so that its hash names it.
fn pem(curve: Curve, point: &[u8]) -> x509_cert::der::Result<String> {
    let algorithm = AlgorithmIdentifier { oid: ID_EC_PUBLIC_KEY, parameters: Some(curve.oid()) };
    SubjectPublicKeyInfo { algorithm, subject_public_key: BitString::from_bytes(point)? }.to_pem(LineEnding::LF)
}

/// A private key.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Reads the first private key of a PEM text, PKCS#8 or SEC1 (`EC PRIVATE KEY`).
    ///
    /// # Errors
    /// When there is none, it is encrypted, or it is not a key on one of the three curves.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let Ok(der) = PrivateKeyDer::from_pem_slice(pem) else {
            let encrypted = String::from_utf8_lossy(pem).contains("BEGIN ENCRYPTED PRIVATE KEY");
            return Err(if encrypted { KeyError::Encrypted } else { KeyError::NoKey("private key") });
        };
        for curve in Curve::ALL {
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve.signing(), der.secret_der()) {
                let public = PublicKey::from_point(curve, pair.public_key().as_ref())?;
                return Ok(SigningKey { pair, public });
            }
        }
        Err(KeyError::Curve)
    }

    /// The key others verify with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message` with the curve's own hash; the signature is ASN.1.
    ///
    /// # Errors
    /// When the library cannot sign, which no well-formed key brings about.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| KeyError::Malformed("it does not sign".to_owned()))?.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {:?})", self.public)
    }
}
