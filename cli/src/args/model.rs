//! `headland model ...`. Signing and verifying are in `signing.rs`.

use std::path::PathBuf;

use clap::Subcommand;
use headland_package::{ModelName, ModelRef, ModelVersion};

use super::{SignModel, Target, VerifyModel};

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Sign a model
    Sign(Box<SignModel>),
    /// Verify who signed a model, and that it is what was signed
    Verify(Box<VerifyModel>),
    /// Push a model, and its signature, to a gateway
    Push(Box<PushModel>),
    /// Fetch a model from a gateway, another registry, or the Hugging Face hub into a folder
    Pull(Box<PullModel>),
    /// List the models of a gateway: loaded, and in its registry
    #[command(after_help = "Examples:
  headland model list
  headland model list --json | jq -r '.models[] | select(.state == \"READY\") | .name'")]
    List(Target),
    /// Show one model: files, sizes, signer, the rule that admitted it, where it is loaded
    #[command(after_help = "Examples:
  headland model show digits
      the highest version that is loaded, else the highest there is
  headland model show digits:stable")]
    Show {
        /// The model, as NAME, NAME:VERSION or NAME:ALIAS
        #[arg(value_name = "NAME[:VERSION]")]
        model: ModelRef,
        #[command(flatten)]
        target: Target,
    },
    /// Give a version another name, such as `stable`; an alias that is there moves at once
    #[command(after_help = "Examples:
  headland model alias digits:2.1 stable
      from now on `digits:stable` is 2.1
  headland model alias digits:2.1 stable --delete")]
    Alias {
        /// The version, as NAME:VERSION
        #[arg(value_name = "NAME:VERSION")]
        model: ModelRef,
        /// The other name
        alias: ModelVersion,
        /// Take the alias away
        #[arg(long)]
        delete: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Remove a version from the registry; refused while it is loaded
    #[command(after_help = "Examples:
  headland model rm digits:1
  headland model rm digits:1 --force
      unloads it first; requests in flight finish")]
    Rm {
        /// The version, as NAME:VERSION
        #[arg(value_name = "NAME:VERSION")]
        model: ModelRef,
        /// Even if it is loaded
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Load a model: it is verified again, and answers when this returns
    #[command(after_help = "Examples:
  headland model load digits
      the highest version in the registry
  headland model load digits:2.1")]
    Load {
        /// The model, as NAME or NAME:VERSION
        #[arg(value_name = "NAME[:VERSION]")]
        model: ModelRef,
        #[command(flatten)]
        target: Target,
    },
    /// Unload a model; it stays in the registry
    #[command(after_help = "Examples:
  headland model unload digits:1")]
    Unload {
        /// The model, as NAME or NAME:VERSION
        #[arg(value_name = "NAME[:VERSION]")]
        model: ModelRef,
        #[command(flatten)]
        target: Target,
    },
}

/// Options of `headland model push`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headland model push ./digits
      name and version from headland.model.toml, or else the folder's name and 1; signature from ./digits/model.sig
  headland model push ./digits --name acme-digits --version 2.1 --signature release.sig
  HEADLAND_SERVER=https://gateway.example HEADLAND_TOKEN=hl_... headland model push ./digits --json

Signature and manifest go first: what the gateway's policy refuses costs a few kilobytes. Only files that the gateway lacks
are sent. After an interruption, run the same command again: it goes on where it was.")]
pub struct PushModel {
    /// The model's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Push it under this name [default: its own, or the folder's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<ModelName>,
    /// Push it as this version [default: its own, or 1]
    #[arg(long, value_name = "V")]
    pub version: Option<ModelVersion>,
    /// Its signature [default: DIR/model.sig, if it is there]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    #[command(flatten)]
    pub target: Target,
}

/// Options of `headland model pull`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  headland model pull hf://sentence-transformers/all-MiniLM-L6-v2
  headland model pull hf://acme/private@v1.2 --output ./private
      HF_TOKEN, or what `hf auth login` left, is sent along; HF_ENDPOINT asks another hub
  headland model pull oci://127.0.0.1:8081/models/digits:1
      from a gateway; its signature becomes ./digits/model.sig
  headland model pull oci://registry.example/acme/models/digits@sha256:...

Every file is checked against its digest. The folder appears when it is whole. After an interruption, run the same command
again: it goes on where it was.")]
pub struct PullModel {
    // No doc comment: rustdoc takes the brackets for links.
    #[arg(help = "oci://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST] or hf://OWNER/NAME[@REVISION]")]
    pub source: String,
    /// Put it here [default: ./NAME]
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// From the hub: these files instead of one format's weights and the small files beside them; `*` stands for anything
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub include: Vec<String>,
    /// Speak plain HTTP to a registry on another machine
    #[arg(long)]
    pub plain_http: bool,
    #[command(flatten)]
    pub target: Target,
}
