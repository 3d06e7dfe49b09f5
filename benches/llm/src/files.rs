//! Models of random weights, made once, in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::peer::python;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Mixed, of four and six bits.
    #[value(name = "q4_k_m")]
    Q4KM,
    /// Of eight bits.
    #[value(name = "q8_0")]
    Q8_0,
    /// Of four bits, in small blocks.
    #[value(name = "q4_0")]
    Q4_0,
}

impl Format {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Q4KM => "Q4_K_M",
            Format::Q8_0 => "Q8_0",
            Format::Q4_0 => "Q4_0",
        }
    }
}

/// The file with the model in this format: benches/peers/llama_model.py.
pub fn made(cache: &Path, format: Format) -> Result<PathBuf> {
    let kind = format.name().to_lowercase();
    let folder = cache.join("bench/llm");
    let path = folder.join(format!("{kind}.gguf"));
    if !path.exists() {
        fs::create_dir_all(&folder)?;
        let half = path.with_extension("half");
        let status = Command::new(python(cache)).args(["benches/peers/llama_model.py", &kind]).arg(&half).status()?;
        ensure!(status.success(), "making {}: {status}", path.display());
        fs::rename(half, &path)?;
    }
    Ok(path)
}
