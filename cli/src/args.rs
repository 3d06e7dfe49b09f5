//! The command line. Larger groups of commands have a file each.

mod app;
mod fleet;
mod gateway;
mod model;
mod policy;
mod run;
mod signing;
mod sim;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use app::{AppCommand, DeployApp, PushApp};
pub use fleet::{
    ControlArgs, ControlCommand, ControlOptions, FleetOptions, PlacementCommand, PlanOptions, PopArgs, PopCommand,
    PopOptions, RolloutCommand,
};
pub use gateway::Target;
pub use model::{ModelCommand, PullModel, PushModel};
pub use policy::{PolicyCommand, TestPolicy};
pub use run::RunModel;
pub use signing::{HashName, MethodName, SignApp, SignModel, VerifyModel};
pub use sim::{RunSim, SimCommand};
pub use token::{TokenCommand, TokenPlace};

/// An edge AI inference gateway: Wasm apps over native inference.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
#[command(after_help = "Examples:
  headland up --model digits=models/digits --app guest-examples/rust/digits/headland.app.toml
  headland up --config headland.toml
  headland run ./tinyllama \"Why is the sky blue?\"
  headland model push ./digits
  headland model list
  headland control init --dir fleet
  headland completions bash > /etc/bash_completion.d/headland")]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Load models, deploy apps, and serve them
    Up(Box<UpOptions>),
    /// Ask a language model one thing, without a gateway
    Run(RunModel),
    /// Sign, verify, push and pull models, and manage those of a running gateway
    #[command(subcommand)]
    Model(ModelCommand),
    /// Check, sign, push and deploy apps, and manage those of a running gateway
    #[command(subcommand)]
    App(AppCommand),
    /// Check and try out the trust policy: whose signature counts for what
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make, list and revoke tokens for the admin plane
    #[command(subcommand)]
    Token(TokenCommand),
    /// Run a fleet's control plane, or make a fleet
    Control(Box<ControlArgs>),
    /// Run a point of presence of a fleet, and see to those there are
    Pop(Box<PopArgs>),
    /// Which PoP holds which model
    #[command(subcommand)]
    Placement(PlacementCommand),
    /// What the fleet's plan would be now, or if something happened
    Plan(PlanOptions),
    /// How new versions go out
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Let the control plane run a fleet in simulated time
    #[command(subcommand)]
    Sim(SimCommand),
    /// Print a shell completion script
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

/// Options of `headland up`. What is given here wins over the configuration file.
#[derive(clap::Args, Default)]
#[command(after_help = "Examples:
  headland up --model all-minilm-l6-v2=./all-minilm-l6-v2
      serve a sentence-transformers folder: POST /v1/embeddings, /v2/models/all-minilm-l6-v2/infer
  headland up --model ./digits --app ./digits-app/headland.app.toml --listen 0.0.0.0:8080
      serve an ONNX model and an app that uses it
  headland up --config headland.toml
      serve what the file lists

SIGTERM or Ctrl-C drains: /v2/health/ready answers 503, requests in flight finish. A second one ends at once.")]
pub struct UpOptions {
    /// Read models, apps and limits from this file
    #[arg(long, value_name = "FILE", env = "HEADLAND_CONFIG")]
    pub config: Option<PathBuf>,
    /// Serve inference and apps here [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", env = "HEADLAND_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Serve metrics and administration here [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", env = "HEADLAND_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// Keep caches and state here [default: ~/.local/share/headland]
    #[arg(long, value_name = "DIR", env = "HEADLAND_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Admit only what this trust policy admits: models and apps that are pushed, and those named here too
    #[arg(long, value_name = "FILE", env = "HEADLAND_POLICY")]
    pub policy: Option<PathBuf>,
    /// Where this gateway stands, for policies that name regions
    #[arg(long, value_name = "REGION", env = "HEADLAND_REGION")]
    pub region: Option<String>,
    /// Load the model in DIR, or of a GGUF file, under NAME or else its own or the folder's name; may be repeated
    #[arg(long = "model", value_name = "[NAME=]DIR")]
    pub models: Vec<String>,
    /// Deploy the app of this manifest; may be repeated
    #[arg(long = "app", value_name = "MANIFEST")]
    pub apps: Vec<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, env = "HEADLAND_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Which log lines appear: error, warn, info, debug, trace, or per target, such as `info,access=off,guest=debug`
    #[arg(long, value_name = "FILTER", default_value = "info", env = "HEADLAND_LOG")]
    pub log: String,
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}
