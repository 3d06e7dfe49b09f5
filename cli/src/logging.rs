//! Where log lines go: to standard error, for people or as JSON.

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Sets the process's log up. Standard output stays free for what a command prints.
pub fn init(format: LogFormat, filter: &str) -> Result<()> {
    let filter = EnvFilter::builder().parse(filter).with_context(|| format!("log filter `{filter}`"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
