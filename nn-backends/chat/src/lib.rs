//! Text and conversations to a language model's tokens, and its tokens to text.
//!
//! Stands between the gateway and the engine of `headland-generation`, as `headland-text` does for models that embed: a
//! prompt becomes tokens by the model's own tokenizer, a conversation becomes a prompt by the template that the model ships
//! ([`ChatTemplate`]), and the engine asks [`Tokens`] what its answers say. [`Grammars`] holds answers to a form in its tokens.

mod convention;
mod grammar;
mod json;
mod settings;
mod template;
mod tokens;
mod vocabulary;

pub use convention::{CallConvention, LIST_BEGIN, TAG_BEGIN, TAG_END};
pub use grammar::{BadForm, CALLS_MAX, Calls, Form, Grammars, SCHEMA_BYTES_MAX, Tool};
pub use template::{ChatTemplate, Conversation, TemplateError};
pub use tokens::Tokens;
