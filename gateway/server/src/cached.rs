//! Says in a header whether an answer was remembered, for models that remember answers.

use headland_batcher::Cached;
use http::{HeaderMap, HeaderName, HeaderValue};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Puts `x-cache: hit` or `x-cache: miss` on a response; nothing where nothing is remembered.
pub(crate) fn set(headers: &mut HeaderMap, cached: Option<Cached>) {
    let value = match cached {
        Some(Cached::Hit) => "hit",
        Some(Cached::Miss) => "miss",
        None => return,
    };
    headers.insert(X_CACHE, HeaderValue::from_static(value));
}
