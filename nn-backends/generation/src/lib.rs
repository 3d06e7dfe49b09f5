//! Language models that answer token by token, many requests in each step.
//!
//! Stands between the gateway and the models that compute logits, as `batcher` does for models that answer at once. What is
//! decided here is decided purely: [`schedule::decide`] says what a step computes, [`pages`] count the memory that sequences
//! have and share, [`sampling`] chooses tokens, [`Detokenizer`] and [`StopWatch`] make text of them while they come.

mod detokenize;
mod flows;
pub mod pages;
pub mod sampling;
pub mod schedule;
mod stop;

pub use detokenize::{Decode, Detokenizer};
pub use flows::Flow;
pub use stop::{BadStop, STOP_BYTES_MAX, STOPS_MAX, StopWatch, Watched};
