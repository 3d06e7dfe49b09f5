//! A sigstore instance on one page: an authority that certifies identities, a log of certificates, a log of signatures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use headland_package::Sha256Digest;
use headland_trust::{Authority, IdentityRule, Matcher, SigningKey, TrustedRoot};
use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, SanType, SerialNumber};
use serde_json::{Value, json};
use x509_cert::der::Encode as _;

use crate::pki::{self, Identity, extension};
use crate::support::{self, Model};

/// The identity provider that certificates name.
pub const ISSUER: &str = "https://accounts.acme.example";

/// A log's key; the log is known by its digest.
pub struct Log {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Log {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let spki = spki.as_ref().to_vec();
        Log { pair, spki }
    }

    fn id(&self) -> Sha256Digest {
        Sha256Digest::of(&self.spki)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    fn json(&self) -> Value {
        json!({
            "baseUrl": "https://log.local.example",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(&self.spki),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": { "start": "2025-01-01T00:00:00Z" },
            },
            "logId": { "keyId": STANDARD.encode(self.id().as_bytes()) },
        })
    }
}

/// A sigstore instance.
pub struct Instance {
    authority: Identity,
    certificate_log: Log,
    signature_log: Log,
}

/// What may be particular about one signature.
pub struct Ticket {
    pub subject: &'static str,
    /// When the certificate begins to be valid, in seconds before now. It lasts ten minutes.
    pub begun_ago: u64,
    /// When the log saw the signature, in seconds before now.
    pub logged_ago: u64,
    /// Whether the certificate proves that it was logged.
    pub certificate_logged: bool,
    /// Whether it is for signing code.
    pub code_signing: bool,
}

impl Default for Ticket {
    fn default() -> Self {
        Ticket {
            subject: "signer@acme.example",
            begun_ago: 60,
            logged_ago: 1,
            certificate_logged: true,
            code_signing: true,
        }
    }
}

impl Instance {
    pub fn new() -> Self {
        let authority = pki::root(pki::authority_params("Local authority"));
        Instance { authority, certificate_log: Log::new(), signature_log: Log::new() }
    }

    /// Its `trusted_root.json`.
    pub fn trusted_root(&self) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.signature_log.json()],
            "ctlogs": [self.certificate_log.json()],
            "certificateAuthorities": [{
                "subject": { "organization": "Local", "commonName": "Local authority" },
                "uri": "https://authority.local.example",
                "certChain": { "certificates": [{ "rawBytes": STANDARD.encode(self.authority.certificate.der()) }] },
                "validFor": { "start": "2025-01-01T00:00:00Z" },
            }],
            "timestampAuthorities": [],
        })
    }

    /// Trusts one identity of this instance.
    pub fn trusts(&self, subject: &str) -> Authority {
        self.trusts_whom(Matcher::exact(ISSUER), Matcher::exact(subject))
    }

    pub fn trusts_whom(&self, issuer: Matcher, subject: Matcher) -> Authority {
        let trusted_root = TrustedRoot::from_json(&self.trusted_root().to_string()).unwrap();
        Authority::Keyless { identities: vec![IdentityRule { issuer, subject }], trusted_root }
    }

    pub fn sign(&self, model: &Model) -> String {
        self.sign_as(model, &Ticket::default())
    }

    /// What `model_signing sign sigstore` does.
    pub fn sign_as(&self, model: &Model, ticket: &Ticket) -> String {
        self.vouch(ticket, |key| support::sign(model, key))
    }

    /// Certifies a key, has it sign, and logs that.
    pub fn vouch(&self, ticket: &Ticket, sign: impl FnOnce(&SigningKey) -> String) -> String {
        let signer = self.certify(ticket);
        support::altered(&sign(&signer.signing_key()), |bundle| {
            bundle["dsseEnvelope"]["signatures"][0]["keyid"] = "".into();
            let entry = self.log(&bundle["dsseEnvelope"], &signer, ticket);
            bundle["verificationMaterial"] = json!({
                "certificate": { "rawBytes": STANDARD.encode(signer.certificate.der()) },
                "tlogEntries": [entry],
            });
        })
    }

    /// A certificate for an identity, with the proof inside that it was logged (RFC 6962, section 3.2).
    fn certify(&self, ticket: &Ticket) -> Identity {
        let mut params = identity_params(ticket);
        let key = KeyPair::generate().unwrap();
        let before = pki::issued_for(params.clone(), key, &self.authority);
        if ticket.certificate_logged {
            let parsed: x509_cert::Certificate = x509_cert::der::Decode::from_der(before.certificate.der()).unwrap();
            let proof = self.log_certificate(&parsed.tbs_certificate.to_der().unwrap());
            params.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], proof));
        }
        pki::issued_for(params, before.key, &self.authority)
    }

    /// A list of one signed certificate timestamp, as an extension holds it.
    fn log_certificate(&self, tbs: &[u8]) -> Vec<u8> {
        let time = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let parsed: x509_cert::Certificate =
            x509_cert::der::Decode::from_der(self.authority.certificate.der()).unwrap();
        let issuer = Sha256Digest::of(&parsed.tbs_certificate.subject_public_key_info.to_der().unwrap());
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let mut signed = vec![0, 0];
        signed.extend(time.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(issuer.as_bytes());
        signed.extend(&length[1..]);
        signed.extend(tbs);
        signed.extend([0, 0]);
        let mut timestamp = vec![0];
        timestamp.extend(self.certificate_log.id().as_bytes());
        timestamp.extend(time.to_be_bytes());
        timestamp.extend([0, 0, 4, 3]);
        timestamp.extend(prefixed(&self.certificate_log.sign(&signed)));
        let list = prefixed(&prefixed(&timestamp));
        x509_cert::der::asn1::OctetString::new(list).unwrap().to_der().unwrap()
    }

    /// An entry of a log that holds nothing else, with promise and proof (Rekor, `dsse` 0.0.1).
    fn log(&self, envelope: &Value, signer: &Identity, ticket: &Ticket) -> Value {
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let verifier = support::pem("CERTIFICATE", signer.certificate.der());
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": { "algorithm": "sha256", "value": support::sha256(envelope.to_string().as_bytes()) },
                "payloadHash": { "algorithm": "sha256", "value": support::sha256(&payload) },
                "signatures": [{
                    "signature": envelope["signatures"][0]["sig"],
                    "verifier": STANDARD.encode(verifier),
                }],
            },
        });
        let body = body.to_string();
        let time = ago(ticket.logged_ago).duration_since(UNIX_EPOCH).unwrap().as_secs();
        let (encoded, id) = (STANDARD.encode(&body), self.signature_log.id());
        let promise = format!(r#"{{"body":"{encoded}","integratedTime":{time},"logID":"{}","logIndex":0}}"#, id.hex());
        let root = STANDARD.encode(Sha256Digest::of(&[b"\0", body.as_bytes()].concat()).as_bytes());
        let note = format!("log.local.example - 1\n1\n{root}\n");
        let signature = [&id.as_bytes()[..4], &self.signature_log.sign(note.as_bytes())].concat();
        let checkpoint = format!("{note}\n\u{2014} log.local.example {}\n", STANDARD.encode(signature));
        json!({
            "logIndex": "0",
            "logId": { "keyId": STANDARD.encode(id.as_bytes()) },
            "kindVersion": { "kind": "dsse", "version": "0.0.1" },
            "integratedTime": time.to_string(),
            "inclusionPromise": {
                "signedEntryTimestamp": STANDARD.encode(self.signature_log.sign(promise.as_bytes())),
            },
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": root,
                "treeSize": "1",
                "hashes": [],
                "checkpoint": { "envelope": checkpoint },
            },
            "canonicalizedBody": encoded,
        })
    }
}

fn identity_params(ticket: &Ticket) -> CertificateParams {
    let mut params = pki::params("");
    params.distinguished_name = rcgen::DistinguishedName::new();
    if ticket.code_signing {
        params = pki::code_signing(params);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The same number in the certificate that is logged and in the one that is used.
    params.serial_number = Some(SerialNumber::from(4711_u64));
    params.not_before = ago(ticket.begun_ago).into();
    params.not_after = (ago(ticket.begun_ago) + Duration::from_secs(600)).into();
    params.subject_alt_names = vec![SanType::Rfc822Name(ticket.subject.try_into().unwrap())];
    params.use_authority_key_identifier_extension = true;
    let issuer = x509_cert::der::asn1::Utf8StringRef::new(ISSUER).unwrap().to_der().unwrap();
    // The issuer as text, and as bytes without a type for readers from before 2023.
    params.custom_extensions = vec![
        extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], issuer),
        extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 1], ISSUER.into()),
    ];
    params
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

/// Bytes after their length in two bytes.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}
