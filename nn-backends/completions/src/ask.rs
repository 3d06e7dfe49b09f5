//! From a parsed body to what the engine is asked: prompts by the model's template and tokenizer, a request for each answer.

use headland_chat::Tokens;
use headland_generation::{Decode, Request};
use headland_nn_core::NnError;

use crate::answer::{Chunks, Kind, Whole};
use crate::calls::CallReading;
use crate::options::{BadRequest, Options};
use crate::{Chat, Prompt, TextCompletion, parse_chat, parse_text};

/// A request of either kind.
#[derive(Clone, Debug)]
pub enum Completion {
    /// To go on with a conversation.
    Chat(Chat),
    /// To go on with texts.
    Text(TextCompletion),
}

/// What the engine is asked, in the order of the answers: all to the first prompt, then all to the second.
#[derive(Clone, Debug)]
pub struct Asked {
    /// One for each answer.
    pub requests: Vec<Request>,
    /// Answers to each prompt.
    pub each: usize,
    /// What goes before each answer, where the client asked for that.
    pub echoes: Vec<Option<String>>,
    /// How calls are read in the answers, where the model may call anything.
    pub calls: Option<CallReading>,
}

/// A body that nothing can be asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// The client's fault.
    #[error(transparent)]
    Bad(#[from] BadRequest),
    /// A prompt that is longer than the model's context, as its beginning tells.
    #[error("the model takes {context_max} tokens at most, and the prompt has more than {tokens}; shorten it")]
    TooLong {
        /// Tokens that it has at least.
        tokens: usize,
        /// Tokens of prompt and answer together.
        context_max: usize,
        /// The parameter that it came in.
        param: &'static str,
    },
    /// The tokenizer's.
    #[error(transparent)]
    Failed(#[from] NnError),
}

impl Completion {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(kind: Kind, body: &[u8]) -> Result<Self, BadRequest> {
        match kind {
            Kind::Chat => parse_chat(body).map(Completion::Chat),
            Kind::Text => parse_text(body).map(Completion::Text),
        }
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Completion::Chat(_) => Kind::Chat,
            Completion::Text(_) => Kind::Text,
        }
    }

    /// What both kinds have.
    pub fn options(&self) -> &Options {
        match self {
            Completion::Chat(chat) => &chat.options,
            Completion::Text(text) => &text.options,
        }
    }

    /// Whether its answers have a form that is prescribed: asking takes milliseconds then, and a model's first time longer.
    pub fn is_held_to_a_form(&self) -> bool {
        matches!(self, Completion::Chat(chat) if chat.is_held_to_a_form())
    }

    /// Tokenises, and makes the engine's requests, for a model of so large a context. Takes as long as the prompts are, and the
    /// forms of answers; a prompt that is far too long is known by its beginning.
    ///
    /// # Errors
    /// Every [`AskError`].
    pub fn ask(&self, tokens: &Tokens, context_max: usize) -> Result<Asked, AskError> {
        match self {
            Completion::Chat(chat) => {
                let template = tokens.template().map_err(|error| BadRequest::of("messages", error.to_string()))?;
                let prompt = template.render(&chat.conversation);
                let prompt = prompt.map_err(|error| BadRequest::of("messages", error.to_string()))?;
                let prompt = encode(tokens, &prompt, false, context_max, "messages")?;
                let each = chat.options.choices(1)?;
                let constraint = chat.constraint(tokens)?;
                let request = |choice| {
                    let request = chat.request(prompt.clone(), choice);
                    Ok(Request { constraint: constraint.clone(), ..request })
                };
                let requests = (0..each).map(request).collect::<Result<_, BadRequest>>()?;
                Ok(Asked { requests, each, echoes: vec![None; each], calls: chat.calls(tokens) })
            }
            Completion::Text(text) => {
                let each = text.options.choices(text.prompts.len())?;
                let (mut requests, mut echoes) = (Vec::new(), Vec::new());
                for prompt in &text.prompts {
                    let (ids, echo) = match prompt {
                        Prompt::Text(prompt) => {
                            (encode(tokens, prompt, true, context_max, "prompt")?, text.echo.then(|| prompt.clone()))
                        }
                        Prompt::Tokens(ids) => (ids.clone(), text.echo.then(|| tokens.decode(ids))),
                    };
                    for choice in 0..each {
                        requests.push(text.request(ids.clone(), choice));
                        echoes.push(echo.clone());
                    }
                }
                Ok(Asked { requests, each, echoes, calls: None })
            }
        }
    }
}

/// Bytes that a token of a prompt has on average, at the most: of so many times the context the beginning is tokenised first.
const TOKEN_BYTES_MEAN_MAX: usize = 8;

/// Tokenises `text`. One that is far too long is known by its beginning.
fn encode(
    tokens: &Tokens,
    text: &str,
    special: bool,
    context_max: usize,
    param: &'static str,
) -> Result<Vec<u32>, AskError> {
    let end = text.floor_char_boundary(context_max.saturating_mul(TOKEN_BYTES_MEAN_MAX));
    if end < text.len() {
        // The last token may be another one where the text goes on.
        let beginning = tokens.encode(&text[..end], special)?.len().saturating_sub(1);
        if beginning >= context_max {
            return Err(AskError::TooLong { tokens: beginning, context_max, param });
        }
    }
    Ok(tokens.encode(text, special)?)
}

impl Asked {
    /// The object that the answers will make, with what goes before them in it.
    pub fn whole(&self, kind: Kind, id: String, created_unix_s: u64, model: String) -> Whole {
        let whole = Whole::new(kind, id, created_unix_s, model, self.each, self.requests.len());
        let mut whole = whole.with_calls(self.calls.clone());
        for (index, echo) in self.echoes.iter().enumerate() {
            if let Some(echo) = echo {
                whole.echo(index, echo);
            }
        }
        whole
    }

    /// What makes the chunks that the answers will come in.
    pub fn chunks(&self, kind: Kind, id: String, created_unix_s: u64, model: String, include_usage: bool) -> Chunks {
        let chunks = Chunks::new(kind, id, created_unix_s, model, self.each, include_usage);
        chunks.with_calls(self.calls.clone())
    }
}
