//! `headland app ...`. Signing is in `signing.rs`.

use std::path::PathBuf;

use clap::Subcommand;
use headland_package::{AppName, ModelVersion};

use super::{SignApp, Target};

#[derive(Subcommand)]
pub enum AppCommand {
    /// List the deployed apps and their routes
    #[command(after_help = "Example:
  headland app list --json | jq -r '.apps[].name'")]
    List(Target),
    /// Show one app: routes, version, what it may use, limits
    #[command(after_help = "Example:
  headland app show search")]
    Show {
        /// Name of the app
        name: AppName,
        #[command(flatten)]
        target: Target,
    },
    /// Check a manifest without deploying it
    #[command(after_help = "Example:
  headland app check ./search/headland.app.toml")]
    Check {
        /// The headland.app.toml
        manifest: PathBuf,
    },
    /// Sign an app
    Sign(SignApp),
    /// Push an app's manifest and components, and its signature, to a gateway
    Push(PushApp),
    /// Deploy a version that was pushed, or push a headland.app.toml and deploy it
    Deploy(DeployApp),
    /// Go back to the version that was deployed before
    #[command(after_help = "Example:
  headland app rollback search
      requests in flight finish on the version they began with")]
    Rollback {
        /// Name of the app
        name: AppName,
        #[command(flatten)]
        target: Target,
    },
    /// Take an app off its routes; its versions stay in the registry
    #[command(after_help = "Example:
  headland app rm search")]
    Rm {
        /// Name of the app
        name: AppName,
        #[command(flatten)]
        target: Target,
    },
}

/// Options of `headland app push`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headland app push ./search/headland.app.toml
      as the next version: 1, 2, 3...; the same version again if nothing changed
  headland app sign ./search/headland.app.toml --version 2 --key release.pem
  headland app push ./search/headland.app.toml --version 2
      with ./search/headland.app.sig")]
pub struct PushApp {
    /// The headland.app.toml
    pub manifest: PathBuf,
    /// Push it as this version; say it when it is signed, for a signature is of one version [default: the next]
    #[arg(long, value_name = "V")]
    pub version: Option<ModelVersion>,
    /// Its signature [default: headland.app.sig beside the manifest, if it is there]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `headland app deploy`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headland app deploy search:2
  headland app deploy ./search/headland.app.toml
      push, then deploy

The new version takes over at once; requests in flight finish on the one they began with.")]
pub struct DeployApp {
    /// NAME:VERSION of what was pushed, or a headland.app.toml
    #[arg(value_name = "NAME:VERSION|MANIFEST")]
    pub app: String,
    /// Push the manifest as this version [default: the next]
    #[arg(long, value_name = "V")]
    pub version: Option<ModelVersion>,
    /// The manifest's signature [default: headland.app.sig beside it, if it is there]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    #[command(flatten)]
    pub target: Target,
}
