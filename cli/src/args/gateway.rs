//! Which gateway a command asks, as whom, and how it prints.

use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Target {
    /// Admin address of the gateway
    #[arg(long, value_name = "URL", env = "HEADLAND_SERVER", default_value = "http://127.0.0.1:8081")]
    pub server: String,
    /// Data directory of a gateway on this machine: its token is there. HEADLAND_TOKEN wins [default: ~/.local/share/headland]
    #[arg(long, value_name = "DIR", env = "HEADLAND_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Send the token over plain HTTP to another machine, where anyone on the way can read it
    #[arg(long)]
    pub insecure_token_over_http: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
