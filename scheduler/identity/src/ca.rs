//! The fleet's own certificate authority: a key and a certificate in a folder that its operator keeps.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::certificate::{self, Read};
use crate::files::{self, CA_CERTIFICATE_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, Readable};
use rustls::RootCertStore;

use crate::request::RequestedKey;
use crate::verifier::check_chain;
use crate::{FleetId, IdentityError, Member};

/// How long an authority is valid.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a member's certificate is valid, unless its operator says otherwise: short, for there are no revocation lists.
pub const MEMBER_VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far a member's clock may be behind the authority's, and still accept what was issued a moment ago.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3600);

/// The authority of one fleet.
pub struct FleetCa {
    fleet: FleetId,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    not_after: SystemTime,
}

impl FleetCa {
    /// Makes a fleet: draws its id and its key, and writes [`CA_CERTIFICATE_FILE`] and [`CA_KEY_FILE`] into `dir`.
    ///
    /// # Errors
    /// When there is an authority in `dir` already, or the folder cannot be written.
    pub fn create(dir: &Path, now: SystemTime) -> Result<Self, IdentityError> {
        let (certificate_file, key_file) = (dir.join(CA_CERTIFICATE_FILE), dir.join(CA_KEY_FILE));
        if certificate_file.exists() || key_file.exists() {
            return Err(IdentityError::AuthorityExists(dir.to_owned()));
        }
        files::make_dir(dir)?;
        let (fleet, key) = (FleetId::random()?, KeyPair::generate()?);
        let certificate = authority_params(&fleet, now)?.self_signed(&key)?.pem();
        files::create(&key_file, &key.serialize_pem(), Readable::Owner)?;
        files::create(&certificate_file, &certificate, Readable::Everybody)?;
        Self::open(dir)
    }

    /// Reads the authority in `dir`.
    ///
    /// # Errors
    /// When there is none, its key can be read by others, or the two files do not belong together.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let (certificate_file, key_file) = (dir.join(CA_CERTIFICATE_FILE), dir.join(CA_KEY_FILE));
        let key = KeyPair::from_pem(&files::read_key(&key_file)?);
        let key = key.map_err(|error| IdentityError::bad_file(&key_file, error))?;
        let certificate = files::read(&certificate_file)?;
        let bad = |problem: &dyn std::fmt::Display| IdentityError::bad_file(&certificate_file, problem);
        let all = certificate::all_from_pem(&certificate).map_err(|error| bad(&error))?;
        let read = Read::from_der(&all[0]).map_err(|error| bad(&error))?;
        let fleet = read.authority_of().map_err(|error| bad(&error))?;
        if read.key != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err(bad(&format_args!("{CA_KEY_FILE} is the key of another certificate")));
        }
        let issuer = Issuer::new(authority_params(&fleet, read.not_before)?, key);
        Ok(FleetCa { fleet, issuer, certificate, not_after: read.not_after })
    }

    /// Which fleet it is.
    pub fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    /// The authority's certificate, in PEM form: what every member trusts.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Answers a signing request (PEM, from [`crate::Identity::csr`]) with a certificate for `member`, in PEM form. The
    /// caller vouches for who asks: of the request only the key counts.
    ///
    /// # Errors
    /// When the request is none, or the authority itself ends before the certificate would.
    pub fn issue(
        &self,
        member: &Member,
        request: &str,
        validity: Duration,
        now: SystemTime,
    ) -> Result<String, IdentityError> {
        self.certify(member, &RequestedKey::from_pem(request)?, validity, now)
    }

    /// Who may have a new certificate for showing an old one: the member that `certificate` (PEM) names, if this authority
    /// issued it, it is still good, and `request` (PEM) was signed with the key it is for.
    ///
    /// # Errors
    /// When any of this is not so.
    pub fn renewable(&self, certificate: &str, request: &str, now: SystemTime) -> Result<Member, IdentityError> {
        let bad = |error: &dyn std::fmt::Display| IdentityError::BadCertificate(error.to_string());
        let chain = certificate::all_from_pem(certificate)?;
        let mut roots = RootCertStore::empty();
        for authority in certificate::all_from_pem(&self.certificate)? {
            roots.add(authority).map_err(|error| bad(&error))?;
        }
        let provider = rustls::crypto::ring::default_provider();
        let member = check_chain(&chain[0], &self.fleet, &roots, &provider, now).map_err(|error| bad(&error))?;
        let asked = RequestedKey::from_pem(request)?;
        match Read::from_der(&chain[0])?.key == rcgen::PublicKeyData::subject_public_key_info(&asked) {
            true => Ok(member),
            false => Err(IdentityError::BadRequest("its key is not that of the certificate".to_owned())),
        }
    }

    /// Makes a member's whole folder, as [`crate::Identity::load`] reads it: the authority's certificate, a new key, and a
    /// certificate for it.
    ///
    /// # Errors
    /// When there is a key in `dir` already, the folder cannot be written, or as with [`Self::issue`].
    pub fn enroll(
        &self,
        dir: &Path,
        member: &Member,
        validity: Duration,
        now: SystemTime,
    ) -> Result<(), IdentityError> {
        let key = KeyPair::generate()?;
        let certificate = self.certify(member, &key, validity, now)?;
        files::make_dir(dir)?;
        files::create(&dir.join(KEY_FILE), &key.serialize_pem(), Readable::Owner)?;
        files::replace(&dir.join(CA_CERTIFICATE_FILE), &self.certificate, Readable::Everybody)?;
        files::replace(&dir.join(CERTIFICATE_FILE), &certificate, Readable::Everybody)
    }

    fn certify(
        &self,
        member: &Member,
        key: &impl rcgen::PublicKeyData,
        validity: Duration,
        now: SystemTime,
    ) -> Result<String, IdentityError> {
        let not_after = now + validity;
        if not_after > self.not_after {
            return Err(IdentityError::OutlivesAuthority);
        }
        let mut params = named(&member.to_string(), &member.uri(&self.fleet))?;
        params.not_before = (now - CLOCK_SKEW_MAX).into();
        params.not_after = not_after.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Every member both connects and accepts.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }
}

fn authority_params(fleet: &FleetId, now: SystemTime) -> Result<CertificateParams, IdentityError> {
    let mut params = named(&format!("Headland fleet {fleet}"), &fleet.uri())?;
    params.not_before = (now - CLOCK_SKEW_MAX).into();
    params.not_after = (now + CA_VALIDITY).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// What is certified to a name, for people, and a URI, for us.
fn named(name: &str, uri: &str) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    Ok(params)
}

/// Says which fleet; the key stays inside.
impl std::fmt::Debug for FleetCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetCa").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_authority_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("ca");
        let made = FleetCa::create(&home, SystemTime::now()).unwrap();
        assert_eq!(FleetCa::open(&home).unwrap().fleet(), made.fleet());
        assert!(matches!(FleetCa::create(&home, SystemTime::now()), Err(IdentityError::AuthorityExists(_))));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&home), mode(&home.join(CA_KEY_FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        FleetCa::create(dir.path(), SystemTime::now()).unwrap();
        let key = dir.path().join(CA_KEY_FILE);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(FleetCa::open(dir.path()), Err(IdentityError::KeyIsOpen { mode: 0o640, .. })));
    }

    #[test]
    fn another_fleets_key_does_not_fit() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&ours, &theirs] {
            FleetCa::create(dir.path(), SystemTime::now()).unwrap();
        }
        std::fs::copy(theirs.path().join(CA_KEY_FILE), ours.path().join(CA_KEY_FILE)).unwrap();
        let error = FleetCa::open(ours.path()).unwrap_err().to_string();
        assert!(error.contains("the key of another certificate"), "{error}");
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let dir = tempfile::tempdir().unwrap();
        let (now, member) = (SystemTime::now(), Member::pop("fra2".parse().unwrap()));
        let ca = FleetCa::create(dir.path(), now).unwrap();
        let late = now + CA_VALIDITY - MEMBER_VALIDITY / 2;
        let refused = ca.enroll(&dir.path().join("fra2"), &member, MEMBER_VALIDITY, late);
        assert!(matches!(refused, Err(IdentityError::OutlivesAuthority)), "{refused:?}");
        assert!(!dir.path().join("fra2").exists());
    }
}
