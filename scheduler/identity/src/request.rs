//! What a member sends to get a certificate: its public key, and proof that it has the other half (PKCS #10, RFC 2986).
//!
//! A request says nothing of who it is from: the authority is told that by whoever vouches for the member, and takes the
//! key alone out of the request.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{DecodePem as _, Encode as _};
use x509_cert::request::CertReq;

use crate::IdentityError;

/// id-ecPublicKey (RFC 5480, section 2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1 (RFC 5480, section 2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// ecdsa-with-SHA256 (RFC 5758, section 3.2).
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// No request is nearly as long.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// Writes the request for `key`.
pub(crate) fn write(key: &KeyPair) -> Result<String, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    Ok(params.serialize_request(key)?.pem()?)
}

/// The public key of a request that was signed with its other half.
#[derive(Debug)]
pub(crate) struct RequestedKey {
    point: Vec<u8>,
}

impl RequestedKey {
    /// Reads a request in PEM form.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let bad = |problem: &str| IdentityError::BadRequest(problem.to_owned());
        if pem.len() > REQUEST_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let request = CertReq::from_pem(pem).map_err(|error| bad(&error.to_string()))?;
        let key = &request.info.public_key;
        let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
        if key.algorithm.oid != EC_PUBLIC_KEY || curve != Some(P256) || request.algorithm.oid != ECDSA_WITH_SHA256 {
            return Err(bad("its key must be one for ECDSA on P-256 with SHA-256"));
        }
        let signed = request.info.to_der().map_err(|error| bad(&error.to_string()))?;
        let point = key.subject_public_key.raw_bytes().to_vec();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point)
            .verify(&signed, request.signature.raw_bytes())
            .map_err(|_| bad("it is not signed with the key it is for"))?;
        Ok(RequestedKey { point })
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gives_its_key_and_only_with_proof_of_the_other_half() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pem = write(&key).unwrap();
        assert_eq!(RequestedKey::from_pem(&pem).unwrap().point, key.public_key_raw());

        // The other key's signature under this key's request.
        let mut forged = CertReq::from_pem(&pem).unwrap();
        forged.signature = CertReq::from_pem(write(&other).unwrap()).unwrap().signature;
        let forged = x509_cert::der::EncodePem::to_pem(&forged, Default::default()).unwrap();
        let error = RequestedKey::from_pem(&forged).unwrap_err().to_string();
        assert!(error.contains("not signed with the key it is for"), "{error}");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let long = "x".repeat(REQUEST_BYTES_MAX + 1);
        for bad in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", &long] {
            assert!(matches!(RequestedKey::from_pem(bad), Err(IdentityError::BadRequest(_))), "{bad:.40}");
        }
        let error = RequestedKey::from_pem(&write(&p384).unwrap()).unwrap_err().to_string();
        assert!(error.contains("P-256"), "{error}");
    }
}
