//! The id a request goes by in logs, answers and guests.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use http::{HeaderMap, HeaderValue};

use super::REQUEST_ID;
use crate::limits::REQUEST_ID_BYTES_MAX;

/// Visible ASCII, so that it can stand in headers and log lines as it is.
#[derive(Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own, if it is sane; a new one otherwise.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(REQUEST_ID) {
            Some(given) if is_sane(given.as_bytes()) => RequestId(given.clone()),
            _ => RequestId::generate(),
        }
    }

    /// 128 random bits, as 32 hexadecimal digits.
    fn generate() -> Self {
        let digits = hex(random_u64(), random_u64());
        // Hexadecimal digits are always a valid header value.
        RequestId(HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("invalid")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_sane(given: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&given.len()) && given.iter().all(u8::is_ascii_graphic)
}

/// SipHash of nothing under the standard library's per-thread random keys, which differ in every call: unpredictable
/// enough for an id, without a lock, a system call or a dependency.
pub(super) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn hex(high: u64, low: u64) -> [u8; 32] {
    let mut digits = [0; 32];
    let bytes = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[u8]) -> String {
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(given).unwrap())]);
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_sane_id_is_kept_and_others_are_replaced() {
        assert_eq!(of(b"client-7/a"), "client-7/a");
        for bad in [&b""[..], b"a b", "\u{fc}".as_bytes(), &[b'x'; 129]] {
            let id = of(bad);
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
    }

    #[test]
    fn generated_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| RequestId::generate().as_str().to_owned()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
