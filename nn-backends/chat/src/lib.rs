//! Text and conversations to a language model's tokens, and its tokens to text.
//!
//! Stands between the gateway and the engine of `headland-generation`, as `headland-text` does for models that embed: a
//! prompt becomes tokens by the model's own tokenizer, a conversation becomes a prompt by the template that the model ships
//! ([`ChatTemplate`]), and the engine asks [`Tokens`] what its answers say. [`Grammars`] holds answers to a form in its tokens.

mod convention;
mod grammar;
mod head;
mod json;
mod settings;
mod template;
mod tokens;
mod vocabulary;

pub use convention::{
    ARGUMENTS_KEYS, CallConvention, FUNCTION_BEGIN, FUNCTION_END, LIST_BEGIN, NAMED_ARGUMENTS, NAMED_ID,
    PARAMETER_BEGIN, PARAMETER_END, TAG_BEGIN, TAG_END,
};
pub use grammar::{BadForm, CALLS_MAX, Calls, Form, Grammars, Instead, Parameter, SCHEMA_BYTES_MAX, Tool, WAYS_MAX};
pub use head::Head;
pub use template::{ChatTemplate, Conversation, TemplateError};
pub use tokens::Tokens;
