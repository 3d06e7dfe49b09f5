//! Whole models: against transformers, against llama.cpp, and against themselves in other company.

mod broken;
mod common;
mod engine;
mod gguf;
mod tiny;
