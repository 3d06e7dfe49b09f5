//! `fermyon:spin/llm@2.0.0`: the interface of Spin's language models, so that components written for it run as they are.
//!
//! The same models under the same grants as `wasi:nn`'s, asked by the same calls. Spin's penalty for repeated tokens looks
//! back so many tokens; here it looks back to the beginning.

use std::sync::Arc;

use headland_batcher::{Answer, Call, Model, Trace, Unavailable};
use headland_nn_core::{NamedTensor, NnError, Tensor};
use serde_json::{Value, json};
use wasmtime::component::{ComponentType, Lift, Linker, Lower};
use wasmtime::{Result, StoreContextMut};

use crate::{WasiNnCtxView, WasiNnView};

/// The output of a model that embeds.
const EMBEDDING: &str = "sentence_embedding";

/// `inferencing-params`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
struct InferencingParams {
    #[component(name = "max-tokens")]
    max_tokens: u32,
    #[component(name = "repeat-penalty")]
    repeat_penalty: f32,
    #[expect(dead_code, reason = "part of the interface, without effect")]
    #[component(name = "repeat-penalty-last-n-token-count")]
    repeat_penalty_last_n: u32,
    temperature: f32,
    #[component(name = "top-k")]
    top_k: u32,
    #[component(name = "top-p")]
    top_p: f32,
}

impl Default for InferencingParams {
    /// Spin's own.
    fn default() -> Self {
        InferencingParams {
            max_tokens: 100,
            repeat_penalty: 1.1,
            repeat_penalty_last_n: 64,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
        }
    }
}

/// `error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum LlmError {
    #[component(name = "model-not-supported")]
    ModelNotSupported,
    #[component(name = "runtime-error")]
    RuntimeError(String),
    #[component(name = "invalid-input")]
    InvalidInput(String),
}

/// `inferencing-usage`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct InferencingUsage {
    #[component(name = "prompt-token-count")]
    prompt: u32,
    #[component(name = "generated-token-count")]
    generated: u32,
}

/// `inferencing-result`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct InferencingResult {
    text: String,
    usage: InferencingUsage,
}

/// `embeddings-usage`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct EmbeddingsUsage {
    #[component(name = "prompt-token-count")]
    prompt: u32,
}

/// `embeddings-result`.
#[derive(ComponentType, Lower)]
#[component(record)]
struct EmbeddingsResult {
    embeddings: Vec<Vec<f32>>,
    usage: EmbeddingsUsage,
}

/// Adds the interface.
///
/// # Errors
/// When the linker has it already.
pub(crate) fn add_to_linker<T: WasiNnView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    type InferParams = (String, String, Option<InferencingParams>);
    let mut llm = linker.instance("fermyon:spin/llm@2.0.0")?;
    llm.func_wrap_async("infer", |mut store: StoreContextMut<'_, T>, (model, prompt, params): InferParams| {
        Box::new(async move {
            let mut nn = store.data_mut().nn();
            Ok((nn.infer_text(&model, &prompt, params.unwrap_or_default()).await,))
        })
    })?;
    llm.func_wrap_async("generate-embeddings", |mut store, (model, texts): (String, Vec<String>)| {
        Box::new(async move {
            let mut nn = store.data_mut().nn();
            Ok((nn.embed(&model, &texts).await,))
        })
    })
}

impl WasiNnCtxView<'_> {
    async fn infer_text(
        &mut self,
        name: &str,
        prompt: &str,
        params: InferencingParams,
    ) -> Result<InferencingResult, LlmError> {
        let model = self.model_of(name).await?;
        if !model.generates() {
            return Err(LlmError::InvalidInput(format!("model `{name}` is no language model")));
        }
        let InferencingParams { max_tokens, repeat_penalty, temperature, top_k, top_p, .. } = params;
        let parameters = json!({
            "prompt": prompt, "max_tokens": max_tokens, "repetition_penalty": repeat_penalty,
            "temperature": temperature, "top_k": top_k, "top_p": top_p,
        });
        let parameters = parameters.to_string();
        let (completion, _) = self.ask(&model, "parameters", &[&parameters], "completion").await?;
        let strange = || LlmError::RuntimeError("the model's answer cannot be read".to_owned());
        let bytes = completion.strings().ok().and_then(|texts| texts.first().copied().map(<[u8]>::to_vec));
        let object: Value = serde_json::from_slice(&bytes.ok_or_else(strange)?).map_err(|_| strange())?;
        let text = object["choices"][0]["text"].as_str().ok_or_else(strange)?.to_owned();
        let count = |key: &str| object["usage"][key].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let usage = InferencingUsage { prompt: count("prompt_tokens"), generated: count("completion_tokens") };
        Ok(InferencingResult { text, usage })
    }

    async fn embed(&mut self, name: &str, texts: &[String]) -> Result<EmbeddingsResult, LlmError> {
        let model = self.model_of(name).await?;
        if model.select([EMBEDDING]).is_err() {
            return Err(LlmError::InvalidInput(format!("model `{name}` does not embed text")));
        }
        if texts.is_empty() {
            return Ok(EmbeddingsResult { embeddings: Vec::new(), usage: EmbeddingsUsage { prompt: 0 } });
        }
        let (vectors, answer) = self.ask(&model, headland_text::TEXT_INPUT, texts, EMBEDDING).await?;
        let values = vectors.to_slice::<f32>().map_err(|error| LlmError::RuntimeError(error.to_string()))?;
        let width = vectors.shape().last().copied().unwrap_or(0).max(1);
        let tokens = answer.text.map_or(0, |usage| usage.tokens);
        Ok(EmbeddingsResult {
            embeddings: values.chunks(width).map(<[f32]>::to_vec).collect(),
            usage: EmbeddingsUsage { prompt: u32::try_from(tokens).unwrap_or(u32::MAX) },
        })
    }

    async fn model_of(&mut self, name: &str) -> Result<Arc<Model>, LlmError> {
        let asked = self.granted(name).map_err(|_| LlmError::ModelNotSupported)?;
        let models = self.ctx.models.clone();
        models.find(&asked).await.map_err(|error| match error {
            Unavailable::NotLoaded(_) | Unavailable::Denied(_) => LlmError::ModelNotSupported,
            Unavailable::Broken(_) | Unavailable::NoMemory(_) | Unavailable::Busy(_) => {
                LlmError::RuntimeError(error.to_string())
            }
        })
    }

    async fn ask<S: AsRef<[u8]>>(
        &mut self,
        model: &Model,
        input: &str,
        texts: &[S],
        output: &str,
    ) -> Result<(Tensor, Answer), LlmError> {
        let texts = Tensor::from_strings([texts.len()], texts).map_err(|error| self.told_of(model, error.into()))?;
        let inputs = vec![NamedTensor::new(input, texts)].into();
        let wanted = model.select([output]).map_err(|error| self.told_of(model, error))?;
        let call = Call { inputs, wanted, ..self.call() };
        let answer = model.infer(call).await.map_err(|error| self.told_of(model, error))?;
        let first = answer.outputs.first().map(|output| output.tensor.clone());
        let first = first.ok_or_else(|| LlmError::RuntimeError("the model gave no answer".to_owned()))?;
        Ok((first, answer))
    }

    fn told_of(&self, model: &Model, error: NnError) -> LlmError {
        match &error {
            NnError::InvalidInput(_) | NnError::TooLarge(_) => LlmError::InvalidInput(error.to_string()),
            _ => LlmError::RuntimeError(self.told(model, error).data),
        }
    }

    /// A call of this guest's, with nothing in it.
    pub(crate) fn call(&self) -> Call {
        Call {
            deadline: self.ctx.deadline,
            caller: self.ctx.grants.caller.clone(),
            trace: Trace { request_id: Some(self.ctx.request_id.clone()), parent: None },
            ..Call::default()
        }
    }
}
