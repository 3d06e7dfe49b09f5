//! OpenAI's `/v1/chat/completions` and `/v1/completions`, without HTTP.
//!
//! Stands between the gateway's routes and the engine of a language model: `chat` and `text` make of a body what the engine
//! is to answer, `options` what both have in common, `format` and `tools` what form answers are to have. `ask` tokenises,
//! `calls` reads what a model calls, and `answer` writes what comes back, whole or chunk by chunk. Nothing is taken that is not
//! done: a parameter that is unknown, or has no effect here, is an error that names it.

mod answer;
mod ask;
mod calls;
mod chat;
mod format;
mod messages;
mod options;
mod text;
mod tools;

pub use answer::{Chunks, Kind, Whole};
pub use ask::{AskError, Asked, Completion};
pub use calls::CallReading;
pub use chat::{Chat, parse_chat};
pub use options::{BadRequest, CHOICES_MAX, Options};
pub use text::{Prompt, TextCompletion, parse_text};
