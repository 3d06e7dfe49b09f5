//! Certificate authorities to test with.

use headland_trust::certificate::Certificate;
use headland_trust::{Authority, SigningKey, Validity};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate with its key.
pub struct Identity {
    pub certificate: Certificate,
    pub key: KeyPair,
    pub params: CertificateParams,
}

impl Identity {
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_pem(self.key.serialize_pem().as_bytes()).unwrap()
    }

    pub fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// What is usual: valid for a century, and named.
pub fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2125, 1, 1);
    params
}

pub fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub fn signer_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// A certificate that signs itself.
pub fn root(params: CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    Identity { certificate, key, params }
}

/// A certificate issued by another.
pub fn issued(params: CertificateParams, issuer: &Identity) -> Identity {
    issued_for(params, KeyPair::generate().unwrap(), issuer)
}

pub fn issued_for(params: CertificateParams, key: KeyPair, issuer: &Identity) -> Identity {
    let certificate = Certificate::from_der(params.signed_by(&key, &issuer.issuer()).unwrap().der()).unwrap();
    Identity { certificate, key, params }
}

pub fn trusts(roots: &[&Identity]) -> Authority {
    let roots = roots.iter().map(|root| root.certificate.clone()).collect();
    Authority::Certificate { roots, subject: None, validity: Validity::Now }
}

pub fn code_signing(mut params: CertificateParams) -> CertificateParams {
    params.key_usages.clear();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

/// An extension with a text or bytes in it.
pub fn extension(oid: &[u64], content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(oid, content)
}
