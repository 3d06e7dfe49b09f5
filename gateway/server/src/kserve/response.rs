//! Output tensors to an infer response: JSON, and behind it the binary tensors as they are.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use headland_batcher::Model;
use headland_nn_core::{DType, Element, NamedTensor, Tensor};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::{Frame, SizeHint};
use serde::ser::Error;
use serde::{Serialize, Serializer};

use super::{JSON_LENGTH, RequestedOutput};
use crate::errors::{ApiError, Reason};

/// For each output that will come, in order, whether it is to be binary.
///
/// # Errors
/// When an output is asked for twice.
pub(super) fn binary_flags(model: &Model, asked: &[RequestedOutput], default: bool) -> Result<Vec<bool>, ApiError> {
    if asked.is_empty() {
        return Ok(vec![default; model.signature().outputs.len()]);
    }
    for (index, output) in asked.iter().enumerate() {
        // Unknown names are refused at their first occurrence, so this ends after as many rounds as there are outputs.
        model.signature().output_index(&output.name)?;
        if asked.iter().take(index).any(|earlier| earlier.name == output.name) {
            return Err(ApiError::new(Reason::InvalidInput, format!("output `{}` is asked for twice", output.name)));
        }
    }
    Ok(asked.iter().map(|output| output.binary.unwrap_or(default)).collect())
}

/// About how many bytes the JSON part will have.
pub(super) fn json_bytes_estimate(outputs: &[NamedTensor], binary: &[bool]) -> usize {
    const HEAD_BYTES: usize = 256;
    const ELEMENT_BYTES: usize = 12;
    let in_json = outputs.iter().zip(binary).filter(|(_, binary)| !**binary);
    in_json
        .map(|(output, _)| output.tensor.shape().elements().unwrap_or(0).saturating_mul(ELEMENT_BYTES))
        .fold(HEAD_BYTES, usize::saturating_add)
}

#[derive(Serialize)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Elements<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// Writes the response; `binary` goes with `outputs`.
pub(super) fn write(
    model: &Model,
    id: Option<&str>,
    outputs: &[NamedTensor],
    binary: &[bool],
) -> Result<Response, ApiError> {
    let written = outputs.iter().zip(binary).map(|(NamedTensor { name, tensor }, &binary)| Output {
        name,
        datatype: tensor.dtype().name(),
        shape: tensor.shape(),
        parameters: binary.then(|| BinarySize { binary_data_size: tensor.data().len() }),
        data: (!binary).then_some(Elements(tensor)),
    });
    let response = InferResponse {
        model_name: model.info().name.as_str(),
        model_version: model.info().version.as_str(),
        id,
        outputs: written.collect(),
    };
    let mut json = Vec::with_capacity(json_bytes_estimate(outputs, binary));
    serde_json::to_writer(&mut json, &response)
        .map_err(|error| ApiError::new(Reason::InvalidInput, error.to_string()))?;
    let behind =
        outputs.iter().zip(binary).filter(|(_, binary)| **binary).map(|(output, _)| output.tensor.data().clone());
    Ok(assemble(json, behind))
}

fn assemble(json: Vec<u8>, behind: impl Iterator<Item = Bytes>) -> Response {
    let json_bytes = json.len();
    let mut segments = VecDeque::from([Bytes::from(json)]);
    segments.extend(behind);
    let is_binary = segments.len() > 1;
    let mut response = Response::new(Body::new(Segments(segments)));
    let headers = response.headers_mut();
    if is_binary {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(JSON_LENGTH, HeaderValue::from(json_bytes));
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

/// A body of several buffers, sent as they are: output tensors are not copied together.
struct Segments(VecDeque<Bytes>);

impl http_body::Body for Segments {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|segment| Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|segment| segment.len() as u64).sum())
    }
}

/// A tensor's elements as a flat JSON array. Numbers that JSON does not have (NaN, infinities) become `null`.
struct Elements<'a>(&'a Tensor);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tensor = self.0;
        match tensor.dtype() {
            DType::Bool => serializer.collect_seq(tensor.data().iter().map(|byte| *byte != 0)),
            DType::U8 => numbers::<u8, _>(tensor, serializer),
            DType::U16 => numbers::<u16, _>(tensor, serializer),
            DType::U32 => numbers::<u32, _>(tensor, serializer),
            DType::U64 => numbers::<u64, _>(tensor, serializer),
            DType::I8 => numbers::<i8, _>(tensor, serializer),
            DType::I16 => numbers::<i16, _>(tensor, serializer),
            DType::I32 => numbers::<i32, _>(tensor, serializer),
            DType::I64 => numbers::<i64, _>(tensor, serializer),
            DType::F32 => numbers::<f32, _>(tensor, serializer),
            DType::F64 => numbers::<f64, _>(tensor, serializer),
            DType::F16 => {
                let values = tensor.to_slice::<half::f16>().map_err(S::Error::custom)?;
                serializer.collect_seq(values.iter().map(|value| value.to_f32()))
            }
            DType::BF16 => {
                let values = tensor.to_slice::<half::bf16>().map_err(S::Error::custom)?;
                serializer.collect_seq(values.iter().map(|value| value.to_f32()))
            }
            DType::Bytes => {
                let items = tensor.strings().map_err(S::Error::custom)?;
                let texts: Result<Vec<&str>, _> = items.into_iter().map(std::str::from_utf8).collect();
                let not_text = "an output holds bytes that are not UTF-8; ask for it with `binary_data`";
                serializer.collect_seq(texts.map_err(|_| S::Error::custom(not_text))?)
            }
        }
    }
}

fn numbers<T: Element + Serialize, S: Serializer>(tensor: &Tensor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tensor.to_slice::<T>().map_err(S::Error::custom)?.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(tensor: &Tensor) -> Result<String, String> {
        serde_json::to_string(&Elements(tensor)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_type_is_written_exactly() {
        let half = Tensor::from_vec([2], vec![half::f16::from_f32(0.5), half::f16::NAN]).unwrap();
        for (tensor, expected) in [
            (Tensor::from_vec([2], vec![u64::MAX, 0]).unwrap(), "[18446744073709551615,0]"),
            (Tensor::from_vec([1], vec![i64::MIN]).unwrap(), "[-9223372036854775808]"),
            (Tensor::from_vec([3], vec![0.1f32, f32::NAN, f32::INFINITY]).unwrap(), "[0.1,null,null]"),
            (Tensor::from_vec([1], vec![0.1f64]).unwrap(), "[0.1]"),
            (half, "[0.5,null]"),
            (Tensor::new(DType::Bool, [2], Bytes::from_static(&[1, 0])).unwrap(), "[true,false]"),
            (Tensor::from_strings([2], &["a\"", "ü"]).unwrap(), r#"["a\"","ü"]"#),
        ] {
            assert_eq!(json(&tensor).unwrap(), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_say_how_to_get_them() {
        let error = json(&Tensor::from_strings([1], &[[255u8]]).unwrap()).unwrap_err();
        assert!(error.contains("ask for it with `binary_data`"), "{error}");
    }
}
