//! The two configurations of TLS between members.

use std::io;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, ServerConfig, SignatureScheme, version::TLS13};

use crate::identity::Current;
use crate::verifier::{OfFleet, OneMember};
use crate::{Identity, IdentityError, Member};

/// Members speak HTTP/2 to each other (RFC 9113, section 3.2).
pub const ALPN_HTTP2: &[u8] = b"h2";

impl Identity {
    /// For accepting: whoever connects must be a member of the fleet; [`crate::Peer::of`] says which.
    ///
    /// Sessions are not resumed, for a resumed one shows no certificate, and could outlive it.
    ///
    /// # Errors
    /// When the library refuses the authority's certificate.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let verifier = OfFleet::new(self.fleet().clone(), self.roots.clone(), self.provider.clone())?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| IdentityError::Tls(error.to_string()))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// For connecting to `expected`: nobody else will do. The server name that the connection is made with is not looked
    /// at and not sent.
    ///
    /// # Errors
    /// When the library refuses the configuration.
    pub fn client_config(&self, expected: &Member) -> Result<Arc<ClientConfig>, IdentityError> {
        let verifier = OneMember {
            fleet: self.fleet().clone(),
            expected: expected.clone(),
            roots: self.roots.clone(),
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| IdentityError::Tls(error.to_string()))?
            // The verifier asks for more than the usual one does: the fleet's authority, and the one member.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What an error of a connection between members says to an operator.
pub fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(rustls::CertificateError::Other(refused))) => {
            format!("the peer was refused: {refused}")
        }
        Some(Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            "the peer was refused: its certificate is not of this fleet's authority".to_owned()
        }
        Some(Error::InvalidCertificate(refused)) => format!("the peer was refused: {refused}"),
        Some(Error::AlertReceived(alert)) => format!("the peer refused this member: {alert:?}"),
        _ => error.to_string(),
    }
}
