//! Says in a header that texts were cut: silence would look like a worse model.

use headland_batcher::TextUsage;
use headland_nn_core::{DType, Tensor};
use http::{HeaderMap, HeaderName, HeaderValue};

const TRUNCATED: HeaderName = HeaderName::from_static("x-headland-truncated");

/// How many texts a `text` tensor holds: a U8 tensor of one axis is one text, everything else has one per row.
pub(crate) fn texts_in(tensor: &Tensor) -> usize {
    match (tensor.dtype(), &tensor.shape()[..]) {
        (DType::U8, [_]) => 1,
        (DType::U8, [texts, _]) => *texts,
        _ => tensor.shape().elements().unwrap_or(0),
    }
}

/// `2 of 5 texts cut to 256 tokens`, if any was.
pub(crate) fn header(usage: &TextUsage, texts: usize) -> Option<HeaderValue> {
    describe(usage.truncated.len(), texts, usage.max_sequence_length)
}

/// [`header`] from its three numbers.
pub(crate) fn describe(truncated: usize, texts: usize, tokens_max: usize) -> Option<HeaderValue> {
    let value = || format!("{truncated} of {texts} texts cut to {tokens_max} tokens");
    (truncated > 0).then(value).and_then(|value| HeaderValue::try_from(value).ok())
}

/// Puts the header on a response.
pub(crate) fn set(headers: &mut HeaderMap, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(TRUNCATED, value);
    }
}
