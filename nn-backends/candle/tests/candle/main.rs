//! The backend from outside, as the model table uses it: real weights, small models of every family, and what is refused.

mod broken;
mod common;
mod minilm;
mod tiny;
