//! Certificates: reading them, and finding a chain from a signer's certificate to a trusted root.
//!
//! **Validity.** A bundle signed with a certificate carries no proof of *when* it was signed. The specification wants
//! the certificate valid; the reference tool (1.1.1) judges the chain at the very moment the signer's certificate
//! begins to be valid, and so accepts it for ever. Here a chain must be valid when it is verified, root included,
//! unless [`Validity::AtIssue`] asks for the reference tool's reading.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::der::{Decode as _, Encode as _, oid::AssociatedOid};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};
use x509_cert::name::Name;

use crate::authority::{Matcher, Signer};
use crate::keys::{KeyError, PublicKey};
use crate::plain::Plain;

/// When the certificates of a chain must be valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validity {
    /// When the signature is verified: an expired certificate does not count.
    #[default]
    Now,
    /// When the signer's certificate began to be valid, as the reference tool judges: a signature outlives its
    /// certificate.
    AtIssue,
}

/// Why a certificate, or a chain of them, does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM or not DER.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// Past its end.
    #[error("{} expired on {end}", Plain(subject))]
    Expired {
        /// Whose certificate.
        subject: String,
        /// When.
        end: String,
    },
    /// Before its beginning.
    #[error("{} is not valid before {begin}", Plain(subject))]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// From when.
        begin: String,
    },
    /// No chain to a root.
    #[error("{}, issued by {}, does not chain to a trusted root: {why}", Plain(subject), Plain(issuer))]
    Chain {
        /// Whose certificate.
        subject: String,
        /// Who issued it.
        issuer: String,
        /// What the path search says.
        why: String,
    },
    /// A certificate for other purposes.
    #[error(
        "{} is not for signing: it has neither the key usage digitalSignature nor the extended usage codeSigning",
        Plain(.0)
    )]
    Usage(String),
    /// Its key is of a kind that signs no models.
    #[error("the key of {} cannot be used", Plain(subject))]
    Key {
        /// Whose certificate.
        subject: String,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// Under a trusted root, but somebody else's.
    #[error("{} is not the subject that is trusted here", Plain(.0))]
    Subject(String),
}

/// A certificate, read.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl Certificate {
    /// Reads all certificates of a PEM text.
    ///
    /// # Errors
    /// When there is none, or one of them is malformed.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let all: Vec<Self> = CertificateDer::pem_slice_iter(pem)
            .map(|der| Self::from_der(&der.map_err(|error| CertificateError::Malformed(error.to_string()))?))
            .collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err(CertificateError::Malformed("there is no certificate in PEM form".to_owned()));
        }
        Ok(all)
    }

    /// Reads one certificate.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = |error: String| CertificateError::Malformed(error);
        let parsed = x509_cert::Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
        Ok(Certificate { der: der.to_vec(), parsed })
    }

    /// The certificate in DER form.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whose certificate it is (RFC 4514).
    pub fn subject(&self) -> String {
        written(&self.parsed.tbs_certificate.subject)
    }

    /// Who issued it (RFC 4514).
    pub fn issuer(&self) -> String {
        written(&self.parsed.tbs_certificate.issuer)
    }

    /// The key it certifies.
    ///
    /// # Errors
    /// When it is not a key that signs models.
    pub fn key(&self) -> Result<PublicKey, CertificateError> {
        let key = |source| CertificateError::Key { subject: self.subject(), source };
        let der = self.parsed.tbs_certificate.subject_public_key_info.to_der();
        let der = der.map_err(|error| key(KeyError::Malformed(error.to_string())))?;
        PublicKey::from_der(&der).map_err(key)
    }

    fn begin(&self) -> SystemTime {
        self.parsed.tbs_certificate.validity.not_before.to_system_time()
    }

    fn check_validity(&self, time: SystemTime) -> Result<(), CertificateError> {
        let validity = &self.parsed.tbs_certificate.validity;
        if time < validity.not_before.to_system_time() {
            let begin = validity.not_before.to_string();
            return Err(CertificateError::NotYetValid { subject: self.subject(), begin });
        }
        if time > validity.not_after.to_system_time() {
            return Err(CertificateError::Expired { subject: self.subject(), end: validity.not_after.to_string() });
        }
        Ok(())
    }

    /// The reference tool's rule: the usage digitalSignature, or the extended usage codeSigning.
    pub(crate) fn check_usage(&self) -> Result<(), CertificateError> {
        let signs = self.extension::<x509_cert::ext::pkix::KeyUsage>()?.is_some_and(|usage| usage.digital_signature());
        let code = self.extension::<ExtendedKeyUsage>()?.is_some_and(|usage| usage.0.contains(&CODE_SIGNING));
        if signs || code { Ok(()) } else { Err(CertificateError::Usage(self.subject())) }
    }

    fn check_subject(&self, wanted: Option<&Matcher>) -> Result<(), CertificateError> {
        let Some(wanted) = wanted else { return Ok(()) };
        let alternatives = self.extension::<SubjectAltName>()?.map(|names| names.0).unwrap_or_default();
        let named = alternatives.iter().any(|name| match name {
            GeneralName::Rfc822Name(name) => wanted.matches(name.as_str()),
            GeneralName::DnsName(name) => wanted.matches(name.as_str()),
            GeneralName::UniformResourceIdentifier(name) => wanted.matches(name.as_str()),
            _ => false,
        });
        if named || wanted.matches(&self.subject()) { Ok(()) } else { Err(CertificateError::Subject(self.subject())) }
    }

    fn extension<'a, T: x509_cert::der::Decode<'a> + AssociatedOid>(&'a self) -> Result<Option<T>, CertificateError> {
        let found = self.parsed.tbs_certificate.get::<T>();
        Ok(found.map_err(|error| CertificateError::Malformed(error.to_string()))?.map(|(_critical, value)| value))
    }
}

/// A name as text (RFC 4514). Written step by step, because a name in a foreign certificate may refuse to be written.
fn written(name: &Name) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    match write!(text, "{name}") {
        Ok(()) => text,
        Err(_) => "(a name that cannot be written)".to_owned(),
    }
}

/// id-kp-codeSigning (RFC 5280, section 4.2.1.12).
const CODE_SIGNING: x509_cert::der::oid::ObjectIdentifier = x509_cert::der::oid::db::rfc5280::ID_KP_CODE_SIGNING;

/// Whoever holds a certificate that was found to count.
#[derive(Debug)]
pub(crate) struct Holder {
    pub key: PublicKey,
    pub signer: Signer,
}

/// Checks a signer's certificate: for signing, valid, under one of the roots, and of whom is trusted.
pub(crate) fn verify_chain(
    leaf: &[u8],
    issuers: &[Vec<u8>],
    roots: &[Certificate],
    subject: Option<&Matcher>,
    validity: Validity,
    now: SystemTime,
) -> Result<Holder, CertificateError> {
    let leaf = Certificate::from_der(leaf)?;
    let time = match validity {
        Validity::Now => now,
        Validity::AtIssue => leaf.begin(),
    };
    leaf.check_validity(time)?;
    leaf.check_usage()?;
    find_path(&leaf, issuers, roots, time)?;
    leaf.check_subject(subject)?;
    Ok(Holder { key: leaf.key()?, signer: Signer::Certificate { subject: leaf.subject(), issuer: leaf.issuer() } })
}

/// Builds a path (RFC 5280, section 6) from the leaf to a root that is itself valid at `time`.
fn find_path(
    leaf: &Certificate,
    issuers: &[Vec<u8>],
    roots: &[Certificate],
    time: SystemTime,
) -> Result<(), CertificateError> {
    let refused = |why: String| CertificateError::Chain { subject: leaf.subject(), issuer: leaf.issuer(), why };
    let roots_der: Vec<CertificateDer<'_>> = roots
        .iter()
        .filter(|root| root.check_validity(time).is_ok())
        .map(|root| CertificateDer::from(root.der()))
        .collect();
    if let (true, Some(root)) = (roots_der.is_empty(), roots.first()) {
        root.check_validity(time)?;
    }
    let anchors: Vec<_> = roots_der.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
    let issuers: Vec<_> = issuers.iter().map(|issuer| CertificateDer::from(issuer.as_slice())).collect();
    let leaf_der = CertificateDer::from(leaf.der());
    let end = EndEntityCert::try_from(&leaf_der).map_err(|error| refused(error.to_string()))?;
    let time = UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
    let usage = KeyUsage::required_if_present(CODE_SIGNING.as_bytes());
    end.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &issuers, time, usage, None, None).map_err(
        |error| match error {
            webpki::Error::UnknownIssuer => refused("no trusted root issued it".to_owned()),
            error => refused(error.to_string()),
        },
    )?;
    Ok(())
}
