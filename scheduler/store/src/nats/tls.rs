//! TLS towards a NATS server.
//!
//! The configuration is made here rather than by the client library, which would pick whatever crypto library the process has
//! and fail where it has two.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::options::NatsOptions;
use crate::error::StoreError;

/// Reads the files that the options name. Blocks.
pub(super) fn client_config(options: &NatsOptions) -> Result<ClientConfig, StoreError> {
    let roots = match &options.ca_file {
        Some(path) => authorities(path)?,
        None => system_authorities(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| misconfigured(format!("TLS cannot be set up: {error}"), "report this as a bug"))?
        .with_root_certificates(roots);
    match &options.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(certificates(certificate)?, key_der).map_err(|error| {
                let what = format!("{} does not go with {}: {error}", key.display(), certificate.display());
                misconfigured(what, "give the key that the certificate was made for")
            })
        }
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unreadable(path, &error))?;
    }
    Ok(roots)
}

/// What the system trusts; nothing where it says nothing, which a connection by TLS will then complain about.
fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(misconfigured(format!("{} holds no certificate", path.display()), "give a PEM file with one"));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    misconfigured(format!("{} cannot be read: {error}", path.display()), "give a PEM file that can be")
}

fn misconfigured(what: String, remedy: &str) -> StoreError {
    StoreError::Misconfigured { what, remedy: remedy.into() }
}
