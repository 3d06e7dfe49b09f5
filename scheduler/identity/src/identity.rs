//! A member's identity: its key and certificate, read from its folder, and replaced there before the certificate ends.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::certificate::{self, Read};
use crate::files::{self, CA_CERTIFICATE_FILE, CERTIFICATE_FILE, KEY_FILE, Readable};
use crate::verifier::check_chain;
use crate::{FleetId, IdentityError, Member, request};

/// A certificate is to be renewed when less than one part in so many of its time is left: ten days of thirty, so that a
/// control plane may be away for long.
const RENEW_AT_ONE_PART_IN: u32 = 3;

/// Who this process is in its fleet.
///
/// The key stays as it is for as long as the folder does; what is renewed is the certificate. Connections made after
/// [`Self::install`] show the new one.
pub struct Identity {
    dir: PathBuf,
    fleet: FleetId,
    member: Member,
    key: KeyPair,
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) current: Arc<Current>,
}

/// What is shown to peers now.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Shown>);

#[derive(Clone, Debug)]
struct Shown {
    certified: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Current {
    pub fn certified(&self) -> Arc<CertifiedKey> {
        self.get().certified
    }

    fn get(&self) -> Shown {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, shown: Shown) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

impl Identity {
    /// Reads the folder that [`crate::FleetCa::enroll`] made. An expired certificate is read too, so that a member that was
    /// away can say so ([`Self::not_after`]); no peer accepts it.
    ///
    /// # Errors
    /// When a file is missing or is not what it should be, the key can be read by others, or the certificate is not of the
    /// fleet whose authority lies beside it.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        // Both crypto libraries are in the binary, so the default would be nobody's; ring is the one that TLS uses elsewhere.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key_file = dir.join(KEY_FILE);
        let key = KeyPair::from_pem(&files::read_key(&key_file)?);
        let key = key.map_err(|error| IdentityError::bad_file(&key_file, error))?;
        let (fleet, roots) = authorities(&dir.join(CA_CERTIFICATE_FILE))?;
        let pem = files::read(&dir.join(CERTIFICATE_FILE))?;
        let (member, shown) = check(&pem, &key, &fleet, &roots, &provider)
            .map_err(|error| IdentityError::bad_file(&dir.join(CERTIFICATE_FILE), error))?;
        let current = Arc::new(Current(RwLock::new(shown)));
        Ok(Identity { dir: dir.to_owned(), fleet, member, key, roots: Arc::new(roots), provider, current })
    }

    /// Which fleet it belongs to.
    pub fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    /// Who it is.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Its certificate, in PEM form, as it lies in its folder.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub fn certificate(&self) -> Result<String, IdentityError> {
        files::read(&self.dir.join(CERTIFICATE_FILE))
    }

    /// When its certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.current.get().not_after
    }

    /// Whether it is time for a new certificate.
    pub fn renewal_due(&self, now: SystemTime) -> bool {
        let shown = self.current.get();
        let whole = shown.not_after.duration_since(shown.not_before).unwrap_or_default();
        shown.not_after.duration_since(now).unwrap_or_default() < whole / RENEW_AT_ONE_PART_IN
    }

    /// A signing request for its key, in PEM form, for [`crate::FleetCa::issue`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn csr(&self) -> Result<String, IdentityError> {
        request::write(&self.key)
    }

    /// Takes a new certificate (PEM) for the same member and key into use, on disk first: whoever reads the folder finds
    /// the old one or the new one.
    ///
    /// # Errors
    /// When it is not of this fleet, for another member or another key, or cannot be written. The old one stays in use.
    pub fn install(&self, certificate: &str) -> Result<(), IdentityError> {
        let shown = self.check(certificate)?;
        files::replace(&self.dir.join(CERTIFICATE_FILE), certificate, Readable::Everybody)?;
        self.current.set(shown);
        Ok(())
    }

    /// Takes the certificate that lies in the folder into use: somebody else may have put it there.
    ///
    /// # Errors
    /// As with [`Self::install`].
    pub fn reload(&self) -> Result<(), IdentityError> {
        let shown = self.check(&files::read(&self.dir.join(CERTIFICATE_FILE))?)?;
        self.current.set(shown);
        Ok(())
    }

    fn check(&self, certificate: &str) -> Result<Shown, IdentityError> {
        let (member, shown) = check(certificate, &self.key, &self.fleet, &self.roots, &self.provider)?;
        match member == self.member {
            true => Ok(shown),
            false => Err(IdentityError::OtherMember { expected: self.member.clone(), actual: member }),
        }
    }
}

/// The authorities of the fleet.
fn authorities(path: &Path) -> Result<(FleetId, RootCertStore), IdentityError> {
    let bad = |problem: String| IdentityError::bad_file(path, problem);
    let all = certificate::all_from_pem(&files::read(path)?).map_err(|error| bad(error.to_string()))?;
    let (mut fleets, mut roots) = (Vec::new(), RootCertStore::empty());
    for der in all {
        let fleet =
            Read::from_der(&der).and_then(|read| read.authority_of()).map_err(|error| bad(error.to_string()))?;
        if !fleets.contains(&fleet) {
            fleets.push(fleet);
        }
        roots.add(der).map_err(|error| bad(error.to_string()))?;
    }
    match <[FleetId; 1]>::try_from(fleets) {
        Ok([fleet]) => Ok((fleet, roots)),
        Err(_) => Err(bad("it holds the authorities of several fleets".to_owned())),
    }
}

/// Whom a certificate names, and how it is shown; if it is for `key` and of `fleet`.
fn check(
    pem: &str,
    key: &KeyPair,
    fleet: &FleetId,
    roots: &RootCertStore,
    provider: &CryptoProvider,
) -> Result<(Member, Shown), IdentityError> {
    let chain = certificate::all_from_pem(pem)?;
    let read = Read::from_der(&chain[0])?;
    // Whether it is valid now is for its peers to say, by their clocks: here only whose it is matters.
    let member = check_chain(&chain[0], fleet, roots, provider, read.not_before)
        .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certified = CertifiedKey::from_der(chain, key, provider);
    let certified = certified.map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
    Ok((member, Shown { certified: certified.into(), not_before: read.not_before, not_after: read.not_after }))
}

/// Says who; the key stays inside.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("fleet", &self.fleet).field("member", &self.member).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
