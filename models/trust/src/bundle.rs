//! Sigstore bundles: JSON that carries a signature together with what is needed to verify it.
//!
//! Read here by hand rather than by the sigstore crates, because bundles signed with a key or a certificate chain carry
//! no transparency log, which those crates insist on. Follows the sigstore bundle specification, version 0.3. Parsing
//! believes nothing: what it returns is claims.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headland_package::Sha256Digest;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::authority::Method;
use crate::error::VerifyError;

/// The media type of the bundles read and written.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The same, as some older tools spell it.
const MEDIA_TYPE_OLD_SPELLING: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// Size of the largest bundle read, in bytes: some 40,000 files.
pub const BUNDLE_BYTES_MAX: usize = 16 << 20;

/// Certificates read from one bundle, the signer's own among them.
pub const CHAIN_MAX: usize = 10;

/// A bundle, taken apart.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Who claims to have signed.
    pub material: Material,
    /// What is signed.
    pub content: Content,
    /// The bundle as it was read.
    pub(crate) json: String,
}

/// What a bundle offers for verifying its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A key that the verifier must have already.
    Key {
        /// Its name, see [`crate::PublicKey::hint`]; bundles from before version 1.1 of the reference tool have none.
        hint: Option<String>,
    },
    /// Certificates in DER form, the signer's first. Never empty.
    Certificate {
        /// The signer's certificate.
        leaf: Vec<u8>,
        /// The issuers, in no particular order.
        issuers: Vec<Vec<u8>>,
    },
    /// A short-lived certificate and log entries, read by [`crate::keyless`].
    Keyless,
}

impl Material {
    /// The method the bundle is signed with.
    pub fn method(&self) -> Method {
        match self {
            Material::Key { .. } => Method::Key,
            Material::Certificate { .. } => Method::Certificate,
            Material::Keyless => Method::Keyless,
        }
    }
}

/// What a bundle signs.
#[derive(Clone, Debug)]
pub enum Content {
    /// A statement inside the bundle.
    Envelope(Envelope),
    /// Bytes outside the bundle.
    Message(MessageSignature),
}

/// A DSSE envelope (DSSE 1.0) with its one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The media type of the payload.
    pub payload_type: String,
    /// What is signed, together with its type.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// A signature over bytes outside the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSignature {
    /// SHA-256 of those bytes, where the bundle says it.
    pub digest: Option<Sha256Digest>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Takes a bundle apart.
///
/// # Errors
/// When it is too large, not JSON, not a bundle of version 0.3, or not decodable.
pub fn parse(bundle: &[u8]) -> Result<Bundle, VerifyError> {
    if bundle.len() > BUNDLE_BYTES_MAX {
        return Err(VerifyError::TooLarge { bytes: bundle.len(), max: BUNDLE_BYTES_MAX });
    }
    let wire: wire::Bundle =
        serde_json::from_slice(bundle).map_err(|source| VerifyError::Json { part: "bundle", source })?;
    if wire.media_type != MEDIA_TYPE && wire.media_type != MEDIA_TYPE_OLD_SPELLING {
        return Err(VerifyError::MediaType(wire.media_type));
    }
    Ok(Bundle {
        material: wire.verification_material.take_apart()?,
        content: match (wire.dsse_envelope, wire.message_signature) {
            (Some(envelope), None) => Content::Envelope(envelope.decode()?),
            (None, Some(message)) => Content::Message(message.decode()?),
            _ => return Err(malformed("it needs either an envelope or a message signature")),
        },
        json: String::from_utf8_lossy(bundle).into_owned(),
    })
}

/// Writes a bundle for an envelope.
pub(crate) fn write(material: &Material, envelope: &Envelope) -> String {
    let certificate = |der: &Vec<u8>| json!({ "rawBytes": STANDARD.encode(der) });
    // Readers expect a list of log entries, empty as it is.
    let mut verification_material = json!({ "tlogEntries": [] });
    match material {
        Material::Key { hint } => verification_material["publicKey"] = json!({ "hint": hint }),
        Material::Certificate { leaf, issuers } => {
            let chain: Vec<Value> = std::iter::once(leaf).chain(issuers).map(certificate).collect();
            verification_material["x509CertificateChain"] = json!({ "certificates": chain });
        }
        Material::Keyless => {}
    }
    let bundle = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": verification_material,
        "dsseEnvelope": {
            "payload": STANDARD.encode(&envelope.payload),
            "payloadType": envelope.payload_type,
            "signatures": [{ "sig": STANDARD.encode(&envelope.signature), "keyid": "" }],
        },
    });
    bundle.to_string()
}

fn malformed(what: impl Into<String>) -> VerifyError {
    VerifyError::Malformed(what.into())
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, VerifyError> {
    STANDARD.decode(text).map_err(|error| malformed(format!("its {what} is not base64: {error}")))
}

/// The JSON itself.
mod wire {
    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Bundle {
        pub media_type: String,
        pub verification_material: Material,
        pub dsse_envelope: Option<Envelope>,
        pub message_signature: Option<MessageSignature>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Material {
        public_key: Option<PublicKey>,
        x509_certificate_chain: Option<Chain>,
        certificate: Option<Certificate>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PublicKey {
        hint: Option<String>,
    }

    #[derive(Deserialize)]
    struct Chain {
        certificates: Vec<Certificate>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Certificate {
        raw_bytes: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct Envelope {
        pub payload: String,
        pub payload_type: String,
        pub signatures: Vec<Signature>,
    }

    #[derive(Deserialize)]
    pub struct Signature {
        pub sig: String,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub struct MessageSignature {
        message_digest: Option<MessageDigest>,
        signature: String,
    }

    #[derive(Deserialize)]
    struct MessageDigest {
        algorithm: String,
        digest: String,
    }

    impl Material {
        pub fn take_apart(self) -> Result<super::Material, VerifyError> {
            match (self.public_key, self.x509_certificate_chain, self.certificate) {
                (Some(key), None, None) => Ok(super::Material::Key { hint: key.hint.filter(|hint| !hint.is_empty()) }),
                (None, Some(chain), None) => chain.take_apart(),
                (None, None, Some(_)) => Ok(super::Material::Keyless),
                _ => Err(malformed("it needs exactly one of a key, a certificate and a certificate chain")),
            }
        }
    }

    impl Chain {
        fn take_apart(self) -> Result<super::Material, VerifyError> {
            if self.certificates.len() > CHAIN_MAX {
                let found = self.certificates.len();
                return Err(malformed(format!("its chain has {found} certificates, at most {CHAIN_MAX} are read")));
            }
            let mut chain = self.certificates.iter().map(|certificate| decode("certificate", &certificate.raw_bytes));
            let leaf = chain.next().ok_or_else(|| malformed("its certificate chain is empty"))??;
            Ok(super::Material::Certificate { leaf, issuers: chain.collect::<Result<_, _>>()? })
        }
    }

    impl Envelope {
        pub fn decode(self) -> Result<super::Envelope, VerifyError> {
            // DSSE allows several signatures; a bundle vouches for one (sigstore bundle specification).
            let [signature] = self.signatures.as_slice() else {
                return Err(malformed(format!("its envelope has {} signatures, one is needed", self.signatures.len())));
            };
            Ok(super::Envelope {
                payload: decode("payload", &self.payload)?,
                signature: decode("signature", &signature.sig)?,
                payload_type: self.payload_type,
            })
        }
    }

    impl MessageSignature {
        pub fn decode(self) -> Result<super::MessageSignature, VerifyError> {
            let digest = match self.message_digest {
                None => None,
                Some(digest) if digest.algorithm == "SHA2_256" => {
                    let raw = decode("message digest", &digest.digest)?;
                    let raw = raw.try_into().map_err(|_| malformed("its message digest is not a SHA-256"))?;
                    Some(Sha256Digest::from_raw(raw))
                }
                Some(digest) => {
                    return Err(malformed(format!("its message digest is {}, not SHA2_256", digest.algorithm)));
                }
            };
            Ok(super::MessageSignature { digest, signature: decode("signature", &self.signature)? })
        }
    }
}
