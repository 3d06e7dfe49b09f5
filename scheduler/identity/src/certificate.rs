//! Reads what a certificate of a fleet says. Whether it may say so is for `verifier.rs`.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::{FleetId, IdentityError, Member};

/// A member of the fleet at the other end of a connection, as its verified certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub member: Member,
    /// When its certificate ends. A connection should not outlive it.
    pub not_after: SystemTime,
}

impl Peer {
    /// The peer of a connection whose handshake is over, by the certificates it showed.
    ///
    /// # Errors
    /// When it showed none, or it names no member; a handshake with an [`crate::Identity`]'s configuration lets neither
    /// through.
    pub fn of(certificates: Option<&[CertificateDer<'_>]>) -> Result<Self, IdentityError> {
        let none = || IdentityError::BadCertificate("the peer showed none".to_owned());
        let read = Read::from_der(certificates.and_then(<[_]>::first).ok_or_else(none)?)?;
        let (_, member) = read.member()?;
        Ok(Peer { member, not_after: read.not_after })
    }
}

/// What there is to know of a certificate.
pub(crate) struct Read {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Its key, as in the certificate: a DER SubjectPublicKeyInfo.
    pub key: Vec<u8>,
    uris: Vec<String>,
}

impl Read {
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let bad = |error: x509_cert::der::Error| IdentityError::BadCertificate(error.to_string());
        let parsed = Certificate::from_der(der).map_err(bad)?;
        let body = &parsed.tbs_certificate;
        let names = body.get::<SubjectAltName>().map_err(bad)?.map(|(_critical, names)| names.0).unwrap_or_default();
        let uri = |name: GeneralName| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
            _ => None,
        };
        Ok(Read {
            not_before: body.validity.not_before.to_system_time(),
            not_after: body.validity.not_after.to_system_time(),
            key: body.subject_public_key_info.to_der().map_err(bad)?,
            uris: names.into_iter().filter_map(uri).collect(),
        })
    }

    /// The member it names. It has this one name: one with several would be who it likes.
    pub fn member(&self) -> Result<(FleetId, Member), IdentityError> {
        let nobody = || IdentityError::BadCertificate("it names no member of a fleet".to_owned());
        let [uri] = self.uris.as_slice() else { return Err(nobody()) };
        Member::of_uri(uri).ok_or_else(nobody)
    }

    /// The fleet whose authority it is.
    pub fn authority_of(&self) -> Result<FleetId, IdentityError> {
        let nobody = || IdentityError::BadCertificate("it is of no fleet's authority".to_owned());
        let [uri] = self.uris.as_slice() else { return Err(nobody()) };
        FleetId::of_uri(uri).ok_or_else(nobody)
    }
}

/// All certificates of a PEM text: at least one.
pub(crate) fn all_from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bad = |problem: String| IdentityError::BadCertificate(problem);
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
    match all.is_empty() {
        true => Err(bad("there is no certificate in PEM form".to_owned())),
        false => Ok(all),
    }
}
