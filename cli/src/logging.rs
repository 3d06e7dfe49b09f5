//! Where log lines go: to standard error, for people or as JSON.

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;
use crate::log_writer::{Flush, Gathered};

/// Sets the process's log up. Standard output stays free for what a command prints. What is returned is dropped last.
pub fn init(format: LogFormat, filter: &str) -> Result<Flush> {
    let filter = EnvFilter::builder().parse(filter).with_context(|| format!("log filter `{filter}`"))?;
    let (gathered, flush) = Gathered::start().context("starting the log's thread")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(gathered);
    match format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(flush)
}
