//! The backend on the real ONNX Runtime library; skipped with a reason where that is not there.

mod common;
mod digits;
mod encoders;
mod encoders_broken;
mod graphs;
mod minilm;
