//! `headland policy ...`.

use std::path::PathBuf;

use clap::Subcommand;
use headland_package::ModelVersion;

use super::Target;

#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Check a trust policy, and say in plain words what it means
    #[command(after_help = "Examples:
  headland policy check policy.toml
  headland policy check policy.toml --json | jq '.rules[].name'")]
    Check {
        /// The policy
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether a policy would admit a model or an app, by which rule, and why
    Test(TestPolicy),
    /// Have a gateway read its policy again now, and hear what it unloaded or why the file cannot be used
    #[command(after_help = "Example:
  headland policy reload
      a gateway also notices by itself, within a second, when the file changes")]
    Reload(Target),
    /// Have a fleet plan by a policy: where the rules let models run. Each PoP judges by its own policy all the same
    #[command(after_help = "Example:
  headland policy set policy.toml --server http://CONTROL:8081
      what a rule keeps to some regions is not planned for elsewhere, where it would be refused

`headland up` plans by the policy that it was started with.")]
    Set {
        /// The policy
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Show the policy that a fleet plans by
    Show(Target),
}

/// Options of `headland policy test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headland policy test policy.toml ./digits
      the model in ./digits with its model.sig, under its own name and version, or the folder's name and 1
  headland policy test policy.toml ./digits --name acme-digits --version 2.1
  headland policy test policy.toml ./search/headland.app.toml --version 2
      an app with its headland.app.sig

Exit status: 0 when it is admitted, with or without a warning; 1 when it is refused; 2 when it cannot be judged.")]
pub struct TestPolicy {
    /// The policy
    pub policy: PathBuf,
    /// A model's folder, or an app's headland.app.toml
    #[arg(value_name = "DIR|MANIFEST")]
    pub package: PathBuf,
    /// Judge it under this name [default: its own, or the folder's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Judge it as this version [default: its own, or 1]
    #[arg(long, value_name = "V")]
    pub version: Option<ModelVersion>,
    /// Its signatures [default: DIR/model.sig or headland.app.sig, if it is there]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub signature: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
