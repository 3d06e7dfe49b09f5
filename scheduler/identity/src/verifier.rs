//! Who may be at the other end: members of this fleet, and to whoever connects the one member it means.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::certificate::Read;
use crate::{FleetId, IdentityError, Member};

/// Why a certificate of this fleet's authority was refused all the same.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Unreadable(#[from] IdentityError),
    #[error("its certificate is of fleet {actual}, and this is fleet {expected}")]
    OtherFleet { expected: FleetId, actual: FleetId },
    #[error("it is {actual}, and {expected} was to be there")]
    OtherMember { expected: Member, actual: Member },
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

/// The member that a certificate names, if it is of `fleet`.
fn member_of(certificate: &CertificateDer<'_>, fleet: &FleetId) -> Result<Member, Refused> {
    let (actual, member) = Read::from_der(certificate)?.member()?;
    match actual == *fleet {
        true => Ok(member),
        false => Err(Refused::OtherFleet { expected: fleet.clone(), actual }),
    }
}

/// Checks that a certificate was issued by one of `roots` and is valid at `time`; says whom it names.
pub(crate) fn check_chain(
    certificate: &CertificateDer<'_>,
    fleet: &FleetId,
    roots: &RootCertStore,
    provider: &CryptoProvider,
    time: SystemTime,
) -> Result<Member, Error> {
    let time = UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let parsed = ParsedCertificate::try_from(certificate)?;
    // The authority issues to members and to nobody in between.
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, &[], time, algorithms)?;
    Ok(member_of(certificate, fleet)?)
}

/// What a server asks of whoever connects: to be of the fleet.
#[derive(Debug)]
pub(crate) struct OfFleet {
    fleet: FleetId,
    inner: Arc<dyn ClientCertVerifier>,
}

impl OfFleet {
    pub fn new(
        fleet: FleetId,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let inner = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        Ok(OfFleet { fleet, inner: inner.map_err(|error| IdentityError::Tls(error.to_string()))? })
    }
}

impl ClientCertVerifier for OfFleet {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        member_of(end_entity, &self.fleet)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What a client asks of whom it connects to: to be this one member.
#[derive(Debug)]
pub(crate) struct OneMember {
    pub fleet: FleetId,
    pub expected: Member,
    pub roots: Arc<RootCertStore>,
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OneMember {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        // Members are known by their ids, not by where they can be reached.
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, &[], now, self.algorithms.all)?;
        let actual = member_of(end_entity, &self.fleet)?;
        match actual == self.expected {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Refused::OtherMember { expected: self.expected.clone(), actual }.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
