//! What the chat guard is without its host: personal data taken out of text, whole or while it comes.
//!
//! Stands beside `main.rs`, which speaks HTTP and `wasi:nn`; split so that its tests run natively.

mod redact;

pub use redact::{HELD_BYTES_MAX, Redactor, redact};
