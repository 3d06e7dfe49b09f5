//! W3C Trace Context: a sound `traceparent` goes on under a span id of ours, a broken one does not go on at all.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::request_id::random_u64;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Replaces the parent's span id with one of this hop, so that what a guest sends on hangs below this request.
pub(super) fn continue_trace(headers: &mut HeaderMap) {
    let Some(given) = headers.get(TRACEPARENT) else { return };
    let several = headers.get_all(TRACEPARENT).iter().nth(1).is_some();
    match child(given.as_bytes()).filter(|_| !several) {
        Some(child) => {
            headers.insert(TRACEPARENT, child);
        }
        None => {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
        }
    }
}

/// The trace id of a request whose headers have passed [`continue_trace`].
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACEPARENT)?.to_str().ok()?.get(3..35)
}

/// `00-<trace id>-<our span id>-<flags>`. Later versions are read as version 0, as the specification asks.
fn child(parent: &[u8]) -> Option<HeaderValue> {
    let (version, rest) = (parent.get(..2)?, parent.get(2..)?);
    let (trace_id, span_id, flags) = (rest.get(1..33)?, rest.get(34..50)?, rest.get(51..53)?);
    let dashes = [0, 33, 50].iter().all(|&at| rest.get(at) == Some(&b'-'));
    let ends = if version == b"00" { rest.len() == 53 } else { rest.get(53).is_none_or(|&byte| byte == b'-') };
    let is_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |part: &[u8]| is_hex(part) && part.iter().any(|&b| b != b'0');
    if !dashes || !ends || !is_hex(version) || version == b"ff" || !is_id(trace_id) || !is_id(span_id) || !is_hex(flags)
    {
        return None;
    }
    let (trace_id, flags) = (std::str::from_utf8(trace_id).ok()?, std::str::from_utf8(flags).ok()?);
    HeaderValue::try_from(format!("00-{trace_id}-{:016x}-{flags}", random_u64().max(1))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn continued(parents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(TRACESTATE, HeaderValue::from_static("a=b"))]);
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        }
        continue_trace(&mut headers);
        headers
    }

    #[test]
    fn a_trace_goes_on_under_a_new_span() {
        let headers = continued(&[PARENT]);
        let child = headers[TRACEPARENT].to_str().unwrap();
        assert_eq!((&child[..36], &child[52..], child.len()), (&PARENT[..36], "-01", 55));
        assert_ne!(&child[36..52], &PARENT[36..52]);
        assert_eq!(trace_id(&headers), Some("0af7651916cd43dd8448eb211c80319c"));
        assert!(headers.contains_key(TRACESTATE));
    }

    #[test]
    fn later_versions_are_read_as_the_first() {
        let later = format!("cc{}-what-else", &PARENT[2..]);
        assert!(continued(&[&later])[TRACEPARENT].to_str().unwrap().starts_with("00-0af7"));
    }

    #[test]
    fn a_broken_trace_ends_here() {
        let zeros = PARENT.replace("b7ad6b7169203331", "0000000000000000");
        let (upper, long) = (PARENT.to_uppercase(), format!("{PARENT}-x"));
        for bad in ["", "00-1-2-3", &zeros, &upper, &long, &PARENT.replacen("00", "ff", 1)] {
            let headers = continued(&[bad]);
            assert!(!headers.contains_key(TRACEPARENT) && !headers.contains_key(TRACESTATE), "{bad}");
        }
        assert!(!continued(&[PARENT, PARENT]).contains_key(TRACEPARENT));
    }
}
