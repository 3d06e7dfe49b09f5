//! A language model as those see it who send tensors: guests, the Open Inference Protocol, other PoPs.
//!
//! A prompt is the tensor `text`, a conversation is `messages` in OpenAI's form, and everything else a client of OpenAI's API
//! may say stands in `parameters`, an object in JSON (which may hold prompt or messages as well). The answer is `text`, with
//! its `finish_reason` and `usage`; `completion` is the whole of it as OpenAI's API writes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use headland_completions::{AskError, Completion, Kind};
use headland_nn_core::{DType, Dim, NamedTensor, NnError, OutputSelection, Signature, Tensor, TensorError, TensorSpec};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::pieces::wants_chunks;
use super::{Chunked, Generator, Pieces};
use crate::call::{Answer, Call, Inputs};

/// The prompt, and the answer.
pub(super) const TEXT: &str = "text";
/// The conversation.
const MESSAGES: &str = "messages";
/// Everything else.
const PARAMETERS: &str = "parameters";
/// How each answer ended; empty while it has not.
pub(super) const FINISH_REASON: &str = "finish_reason";
/// What it took, as OpenAI's API writes it.
pub(super) const USAGE: &str = "usage";
/// The answer as OpenAI's API writes it.
pub(super) const COMPLETION: &str = "completion";
/// Which output that is.
pub(super) const COMPLETION_AT: usize = 3;

/// What every language model takes and gives.
pub(super) fn signature() -> Signature {
    let input = |name, dim| TensorSpec::new(name, DType::Bytes, vec![dim]).optional();
    let output = |name, dim| TensorSpec::new(name, DType::Bytes, vec![dim]);
    let answers = || Dim::named("answers");
    Signature {
        inputs: vec![
            input(TEXT, Dim::named("prompts")),
            input(MESSAGES, Dim::Fixed(1)),
            input(PARAMETERS, Dim::Fixed(1)),
        ],
        outputs: vec![
            output(TEXT, answers()),
            output(FINISH_REASON, answers()),
            output(USAGE, Dim::Fixed(1)),
            output(COMPLETION, Dim::Fixed(1)),
        ],
    }
}

/// Whether a model that takes and gives this is a language model.
pub(in crate::model) fn is_signature(other: &Signature) -> bool {
    let is = |spec: &TensorSpec, name| spec.name == name && spec.dtype == DType::Bytes;
    other.inputs.iter().any(|spec| is(spec, MESSAGES)) && other.outputs.iter().any(|spec| is(spec, COMPLETION))
}

/// What was asked by tensors.
struct Question {
    completion: Completion,
    bytes: usize,
    /// The caller has no type for texts: one text's bytes are a tensor of U8.
    plain: bool,
    stream: bool,
}

impl Generator {
    /// Answers the whole of it.
    pub(in crate::model) async fn infer(self: &Arc<Self>, call: Call) -> Result<Answer, NnError> {
        let Call { inputs, wanted, deadline, caller, .. } = call;
        let Question { completion, bytes, plain, .. } = self.question(inputs)?;
        let (kind, model) = (completion.kind(), completion.options().model.clone());
        let asked = self.ask(Arc::new(completion), bytes, &caller, deadline).await.map_err(error_of)?;
        let (id, created_unix_s) = id();
        let mut whole = asked.whole(kind, id, created_unix_s, model);
        let generation = self.begin_uncounted(asked.requests, &caller, deadline);
        let mut generation = generation.map_err(|refused| self.error_of(&refused))?;
        while let Some((index, delta)) = generation.next().await {
            if let Some(Err(error)) = &delta.end {
                return Err(error.clone());
            }
            whole.add(index, delta);
        }
        let outputs = outputs(&whole.finish(&|id| self.tokens.token(id)), plain)?;
        Ok(Answer { outputs: select(outputs, &wanted), text: None, timing: generation.timing(), cache: None })
    }

    /// Answers piece by piece, where `parameters` say `"stream": true`.
    pub(in crate::model) async fn stream(self: &Arc<Self>, call: &Call) -> Result<Option<Pieces>, NnError> {
        let Inputs::Tensors(_) = &call.inputs else { return Ok(None) };
        let Question { completion, bytes, plain, stream } = self.question(call.inputs.clone())?;
        if !stream {
            return Ok(None);
        }
        let (kind, model) = (completion.kind(), completion.options().model.clone());
        let include_usage = completion.options().include_usage();
        let asked = self.ask(Arc::new(completion), bytes, &call.caller, call.deadline).await.map_err(error_of)?;
        if asked.requests.len() != 1 && !wants_chunks(&call.wanted) {
            return Err(NnError::invalid("one answer at a time is told piece by piece; leave out `stream` or `n`"));
        }
        let (id, created_unix_s) = id();
        let chunks = asked.chunks(kind, id, created_unix_s, model, include_usage);
        let generation = self.begin(asked.requests, &call.caller, call.deadline);
        let generation = generation.map_err(|refused| self.error_of(&refused))?;
        Ok(Some(Pieces::here(Chunked::new(generation, chunks, &asked.echoes), plain, call.wanted.clone())))
    }

    fn question(&self, inputs: Inputs) -> Result<Question, NnError> {
        let Inputs::Tensors(tensors) = inputs else {
            return Err(NnError::invalid("a language model takes prompts, not lists of token ids"));
        };
        let plain = tensors.iter().any(|input| input.tensor.dtype() == DType::U8);
        if !plain {
            self.signature.check_inputs(&tensors)?;
        }
        let mut body: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
        let (mut prompts, mut messages) = (None, None);
        for input in &tensors {
            match &*input.name {
                TEXT => prompts = Some(texts(input)?),
                MESSAGES => messages = Some(one(input)?),
                PARAMETERS => {
                    body = serde_json::from_str(one(input)?)
                        .map_err(|error| NnError::invalid(format!("`{PARAMETERS}` is no object in JSON: {error}")))?;
                }
                other => {
                    return Err(NnError::invalid(format!(
                        "there is no input `{other}`; there are `{TEXT}`, `{MESSAGES}` and `{PARAMETERS}`"
                    )));
                }
            }
        }
        if let Some(prompts) = &prompts {
            body.insert("prompt".to_owned(), to_raw_value(prompts).map_err(NnError::runtime)?);
        }
        if let Some(messages) = messages {
            let not_json = |error| NnError::invalid(format!("`{MESSAGES}` is no JSON: {error}"));
            body.insert(MESSAGES.to_owned(), RawValue::from_string(messages.to_owned()).map_err(not_json)?);
        }
        let kind = match (body.contains_key("messages"), body.contains_key("prompt")) {
            (true, false) => Kind::Chat,
            (false, true) => Kind::Text,
            _ => return Err(NnError::invalid(format!("send a prompt as `{TEXT}` or a conversation as `{MESSAGES}`"))),
        };
        if !body.contains_key("model") {
            body.insert("model".to_owned(), to_raw_value(&*self.label).map_err(NnError::runtime)?);
        }
        let body = serde_json::to_vec(&body).map_err(NnError::runtime)?;
        let completion = Completion::parse(kind, &body).map_err(|bad| NnError::invalid(bad.message))?;
        let stream = completion.options().stream;
        Ok(Question { completion, bytes: body.len(), plain, stream })
    }
}

/// Whether a request for a language model says that its answer is to come piece by piece. What else it says is looked at where
/// the model is.
pub(in crate::model) fn asks_for_pieces(inputs: &Inputs) -> bool {
    #[derive(Deserialize)]
    struct Says {
        #[serde(default)]
        stream: Option<bool>,
    }
    let Inputs::Tensors(tensors) = inputs else { return false };
    let parameters = tensors.iter().find(|input| &*input.name == PARAMETERS);
    let says = parameters.and_then(|input| serde_json::from_str::<Says>(one(input).ok()?).ok());
    says.is_some_and(|says| says.stream == Some(true))
}

/// What tells one answer from another: an id, and when it was made, in seconds of Unix.
fn id() -> (String, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (format!("cmpl-{:x}", now.as_nanos()), now.as_secs())
}

/// The texts of a tensor: elements of BYTES, or the bytes of one as U8.
fn texts(input: &NamedTensor) -> Result<Vec<&str>, NnError> {
    let no_text = |_| NnError::invalid(format!("`{}` is no UTF-8", input.name));
    match input.tensor.dtype() {
        DType::Bytes => input.tensor.strings()?.into_iter().map(|text| str::from_utf8(text).map_err(no_text)).collect(),
        DType::U8 => Ok(vec![str::from_utf8(input.tensor.data()).map_err(no_text)?]),
        other => Err(NnError::invalid(format!("`{}` is {other}; it is text, in BYTES or U8", input.name))),
    }
}

fn one(input: &NamedTensor) -> Result<&str, NnError> {
    match texts(input)?[..] {
        [one] => Ok(one),
        ref several => Err(NnError::invalid(format!("`{}` has {} elements; it is one", input.name, several.len()))),
    }
}

pub(super) fn tensor(texts: &[&str], plain: bool) -> Result<Tensor, TensorError> {
    match (plain, texts) {
        (true, [one]) => Tensor::from_vec([one.len()], one.as_bytes().to_vec()),
        _ => Tensor::from_strings([texts.len()], texts),
    }
}

fn outputs(completion: &Value, plain: bool) -> Result<Vec<NamedTensor>, NnError> {
    let choices: &[Value] = completion["choices"].as_array().map_or(&[], Vec::as_slice);
    if plain && choices.len() != 1 {
        return Err(NnError::invalid("several answers do not fit into a tensor of U8; leave out `n`"));
    }
    let text = |choice: &'_ Value| match &choice["text"] {
        Value::String(text) => text.clone(),
        _ => choice["message"]["content"].as_str().unwrap_or_default().to_owned(),
    };
    let text: Vec<String> = choices.iter().map(text).collect();
    let reason: Vec<&str> = choices.iter().map(|choice| choice["finish_reason"].as_str().unwrap_or_default()).collect();
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    let (usage, completion) = (completion["usage"].to_string(), completion.to_string());
    Ok(vec![
        NamedTensor::new(TEXT, tensor(&text, plain)?),
        NamedTensor::new(FINISH_REASON, tensor(&reason, plain)?),
        NamedTensor::new(USAGE, tensor(&[&usage], plain)?),
        NamedTensor::new(COMPLETION, tensor(&[&completion], plain)?),
    ])
}

fn select(outputs: Vec<NamedTensor>, wanted: &OutputSelection) -> Vec<NamedTensor> {
    match wanted {
        OutputSelection::All => outputs,
        OutputSelection::Only(wanted) => wanted.iter().filter_map(|index| outputs.get(*index).cloned()).collect(),
    }
}

fn error_of(error: AskError) -> NnError {
    match error {
        AskError::Bad(bad) => NnError::invalid(bad.message),
        AskError::TooLong { .. } => NnError::invalid(error.to_string()),
        AskError::Failed(error) => error,
    }
}
