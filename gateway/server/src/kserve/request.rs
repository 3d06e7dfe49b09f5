//! An infer request's bytes to tensors: pure, so that tests and the fuzzer can drive it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headland_nn_core::{DType, NamedTensor, Tensor};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::data::{Data, DataSeed};

/// An infer request, read but not yet held against a model.
#[derive(Debug)]
pub struct InferRequest {
    /// The client's own id, to be echoed.
    pub id: Option<String>,
    /// How long the client waits.
    pub timeout: Option<Duration>,
    /// Which of the waiting requests runs first: the lower the sooner, 0 by default.
    pub priority: u8,
    /// The input tensors, in the request's order.
    pub inputs: Vec<NamedTensor>,
    /// The outputs it asks for; all of them when there are none.
    pub outputs: Vec<RequestedOutput>,
    /// Whether outputs that do not say otherwise come as binary data.
    pub binary_outputs: bool,
}

/// One output a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Whether it comes as binary data; the request's default when absent.
    pub binary: Option<bool>,
}

/// Why a body is no infer request.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not the JSON it should be.
    #[error("line {line}, column {column}: {problem}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// JSON and binary parts do not go together.
    #[error("{0}")]
    Framing(String),
    /// A tensor that is not what it says it is.
    #[error("input `{input}`: {problem}")]
    Tensor {
        /// Name of the input.
        input: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads the body of an infer request.
///
/// With the binary-tensor extension, `json_bytes` (the `Inference-Header-Content-Length` header) says where the JSON
/// ends; the tensors behind it become views of `body`, without a copy.
///
/// # Errors
/// [`ParseError`], whose message is for the client.
pub fn parse_infer(json_bytes: Option<usize>, body: &Bytes) -> Result<InferRequest, ParseError> {
    let json_bytes = json_bytes.unwrap_or(body.len());
    if json_bytes > body.len() {
        return Err(ParseError::Framing(format!(
            "Inference-Header-Content-Length is {json_bytes}, but the body has {} bytes",
            body.len()
        )));
    }
    let (json, mut binary) = (body.slice(..json_bytes), body.slice(json_bytes..));
    let raw: RawRequest<'_> = serde_json::from_slice(&json).map_err(|error| ParseError::json(&error))?;
    let inputs = raw
        .inputs
        .into_iter()
        .map(|input| input.resolve(&json, &mut binary))
        .collect::<Result<Vec<_>, ParseError>>()?;
    if !binary.is_empty() {
        let message = format!("{} bytes are left over behind the last binary tensor", binary.len());
        return Err(ParseError::Framing(message));
    }
    let outputs = raw.outputs.into_iter().map(RawOutput::resolve).collect::<Result<_, _>>()?;
    Ok(InferRequest {
        id: raw.id,
        priority: u8::try_from(raw.parameters.priority).unwrap_or(u8::MAX),
        timeout: raw.parameters.timeout.filter(|&us| us > 0).map(Duration::from_micros),
        inputs,
        outputs,
        binary_outputs: raw.parameters.binary_data_output,
    })
}

impl ParseError {
    pub(crate) fn json(error: &serde_json::Error) -> Self {
        ParseError::json_at(error, (1, 0))
    }

    /// `start` is where the text that was parsed begins: its line, and the bytes before it on that line.
    fn json_at(error: &serde_json::Error, start: (usize, usize)) -> Self {
        let position = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let column = if error.line() <= 1 { start.1.saturating_add(error.column()) } else { error.column() };
        ParseError::Json {
            line: start.0.saturating_add(error.line().saturating_sub(1)),
            column,
            problem: message.strip_suffix(&position).unwrap_or(&message).to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct RawRequest<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: RequestParameters,
    #[serde(borrow)]
    inputs: Vec<RawInput<'a>>,
    #[serde(default)]
    outputs: Vec<RawOutput>,
}

#[derive(Default, Deserialize)]
struct RequestParameters {
    #[serde(default)]
    binary_data_output: bool,
    /// Microseconds.
    timeout: Option<u64>,
    #[serde(default)]
    priority: u64,
}

#[derive(Deserialize)]
struct RawOutput {
    name: String,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<u64>,
    shared_memory_region: Option<IgnoredAny>,
}

impl RawOutput {
    fn resolve(self) -> Result<RequestedOutput, ParseError> {
        let RawOutput { name, parameters } = self;
        let refuse = |what| Err(ParseError::Framing(format!("output `{name}`: {what}")));
        if parameters.classification.is_some_and(|classes| classes > 0) {
            return refuse(
                "the classification extension is not supported; leave `classification` out and rank the scores",
            );
        }
        if parameters.shared_memory_region.is_some() {
            return refuse(NO_SHARED_MEMORY);
        }
        Ok(RequestedOutput { name, binary: parameters.binary_data })
    }
}

const NO_SHARED_MEMORY: &str = "shared memory is not supported; use `data` or the binary-tensor extension";

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<usize>,
    shared_memory_region: Option<IgnoredAny>,
}

/// One input. Its `data` is read in place when its `datatype` stands before it, as every client writes it.
struct RawInput<'a> {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    parameters: InputParameters,
    data: Option<RawData<'a>>,
}

enum RawData<'a> {
    Read(Data),
    Later(&'a RawValue),
}

impl RawInput<'_> {
    fn resolve(self, json: &Bytes, binary: &mut Bytes) -> Result<NamedTensor, ParseError> {
        let RawInput { name, dtype, shape, parameters, data } = self;
        let refuse = |problem: String| ParseError::Tensor { input: name.clone(), problem };
        if parameters.shared_memory_region.is_some() {
            return Err(refuse(NO_SHARED_MEMORY.to_owned()));
        }
        let tensor = match (data, parameters.binary_data_size) {
            (Some(_), Some(_)) => return Err(refuse("both `data` and `binary_data_size` are given".to_owned())),
            (None, None) => {
                return Err(refuse(
                    "`data` is missing (or `binary_data_size`, with the data behind the JSON)".to_owned(),
                ));
            }
            (None, Some(size)) => {
                if size > binary.len() {
                    return Err(refuse(format!(
                        "`binary_data_size` is {size}, but {} bytes of binary data are left",
                        binary.len()
                    )));
                }
                Tensor::new(dtype, shape, binary.split_to(size)).map_err(|error| refuse(error.to_string()))?
            }
            (Some(data), None) => {
                let data = match data {
                    RawData::Read(data) => data,
                    RawData::Later(raw) => read_later(dtype, raw, json)?,
                };
                data.into_tensor(shape).map_err(|error| refuse(error.to_string()))?
            }
        };
        Ok(NamedTensor { name: Arc::from(name), tensor })
    }
}

/// Reads data whose `datatype` came after it. `raw` is a part of `json`.
fn read_later(dtype: DType, raw: &RawValue, json: &Bytes) -> Result<Data, ParseError> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    DataSeed(dtype).deserialize(&mut deserializer).map_err(|error| {
        let offset = (raw.get().as_ptr() as usize).saturating_sub(json.as_ptr() as usize);
        let before = json.get(..offset).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count().saturating_add(1);
        let on_line = before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        ParseError::json_at(&error, (line, on_line))
    })
}

impl<'de: 'a, 'a> Deserialize<'de> for RawInput<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InputVisitor)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Name,
    Shape,
    Datatype,
    Parameters,
    Data,
    #[serde(other)]
    Other,
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = RawInput<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an input tensor, such as {\"name\": ..., \"shape\": [...], \"datatype\": ..., \"data\": [...]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawInput<'de>, A::Error> {
        let (mut name, mut dtype, mut shape, mut parameters, mut data) = (None, None, None, None, None);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Name => once(&mut name, "name", map.next_value::<String>()?)?,
                Field::Shape => once(&mut shape, "shape", map.next_value::<Vec<usize>>()?)?,
                Field::Datatype => {
                    let text = map.next_value::<Cow<'de, str>>()?;
                    once(&mut dtype, "datatype", text.parse::<DType>().map_err(A::Error::custom)?)?;
                }
                Field::Parameters => once(&mut parameters, "parameters", map.next_value::<InputParameters>()?)?,
                Field::Data => {
                    let value = match dtype {
                        Some(dtype) => RawData::Read(map.next_value_seed(DataSeed(dtype))?),
                        None => RawData::Later(map.next_value()?),
                    };
                    once(&mut data, "data", value)?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(RawInput {
            name: name.ok_or_else(|| A::Error::missing_field("name"))?,
            dtype: dtype.ok_or_else(|| A::Error::missing_field("datatype"))?,
            shape: shape.ok_or_else(|| A::Error::missing_field("shape"))?,
            parameters: parameters.unwrap_or_default(),
            data,
        })
    }
}

fn once<T, E: Error>(slot: &mut Option<T>, field: &'static str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(field)),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
