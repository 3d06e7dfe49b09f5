//! What signatures are held against: keys, certificates, and the trusted root of a sigstore instance.

#![no_main]

use headland_fuzz::show;
use headland_trust::{Certificate, PublicKey, SigningKey, TrustedRoot};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match PublicKey::from_pem(input) {
        // The one way a key is written is the one way it is read.
        Ok(key) => assert_eq!(PublicKey::from_pem(key.pem().as_bytes()), Ok(key)),
        Err(error) => show(&error),
    }
    _ = PublicKey::from_der(input);
    if let Err(error) = SigningKey::from_pem(input) {
        show(&error);
    }
    match Certificate::all_from_pem(input) {
        Ok(certificates) => certificates.iter().for_each(|one| drop((one.subject(), one.issuer(), one.key()))),
        Err(error) => show(&error),
    }
    if let Ok(text) = std::str::from_utf8(input) {
        _ = TrustedRoot::from_json(text);
    }
});
