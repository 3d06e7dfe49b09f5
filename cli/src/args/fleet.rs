//! Commands of a fleet: control planes, PoPs, and asking about them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use headland_fleet::Location;
use headland_package::{ModelName, PopId};

use super::{Target, UpOptions};

/// `headland control`
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  headland control init --dir fleet --name control-a
      make a fleet: its certificate authority, and the identity of its first control plane
  headland control issue fra2 --authority fleet --out fra2
      make the identity of a PoP; carry the folder to its machine
  headland control --nats nats://127.0.0.1:4222 --identity fleet/control-a --advertise 10.0.0.1:8082
      decide for the fleet, or stand by while another one does

Push models and deploy apps at a control plane as at any gateway: --server http://CONTROL:8081.")]
pub struct ControlArgs {
    #[command(subcommand)]
    pub command: Option<ControlCommand>,
    #[command(flatten)]
    pub run: ControlOptions,
}

#[derive(Subcommand)]
pub enum ControlCommand {
    /// Make a fleet's certificate authority, and the identity of its first control plane
    Init {
        /// Where: the authority's key stays there, the control plane's identity is the folder NAME in it
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// What the control plane is called
        #[arg(long, default_value = "control")]
        name: PopId,
    },
    /// Make the identity of another member: a folder to carry to its machine
    Issue {
        /// What it is called
        name: PopId,
        /// It is a control plane, not a PoP
        #[arg(long)]
        control: bool,
        /// The folder that `control init` made
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// The folder to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// What it takes to run a control plane.
#[derive(Args)]
pub struct ControlOptions {
    #[command(flatten)]
    pub fleet: FleetOptions,
    /// Copies of each record: 1 on a single NATS server, 3 on a cluster
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub nats_replicas: u8,
    /// The fleet's certificate authority, for certificates to be renewed by this control plane
    #[arg(long, value_name = "DIR")]
    pub authority: Option<PathBuf>,
    #[command(flatten)]
    pub up: UpOptions,
}

/// `headland pop`
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  headland pop --nats nats://10.0.0.1:4222 --pop fra2 --region eu --location 50.1,8.7 --identity fra2 \\
               --advertise 10.0.1.2:8082 --policy trust.toml
      serve requests at this point of presence, and hold what the fleet wants of it
  headland pop list
  headland pop drain fra2
      have what it holds elsewhere, and then nothing on it")]
pub struct PopArgs {
    #[command(subcommand)]
    pub command: Option<PopCommand>,
    #[command(flatten)]
    pub run: PopOptions,
}

#[derive(Subcommand)]
pub enum PopCommand {
    /// List the fleet's PoPs
    List(Target),
    /// Show a PoP: its devices, its models, what fails
    Show {
        /// Which
        pop: PopId,
        #[command(flatten)]
        target: Target,
    },
    /// Have what it holds elsewhere, and then nothing on it
    Drain {
        /// Which
        pop: PopId,
        #[command(flatten)]
        target: Target,
    },
    /// Let it keep what it holds, and give it nothing new
    Cordon {
        /// Which
        pop: PopId,
        #[command(flatten)]
        target: Target,
    },
    /// Use it again after a drain or a cordon
    Uncordon {
        /// Which
        pop: PopId,
        #[command(flatten)]
        target: Target,
    },
}

/// What it takes to run a PoP.
#[derive(Args)]
pub struct PopOptions {
    #[command(flatten)]
    pub fleet: FleetOptions,
    /// What this PoP is called: its identity must say so
    // Required, and absent where a subcommand stands in its place: so are the two below.
    #[arg(long, value_name = "ID", env = "HEADLAND_POP", required = true)]
    pub pop: Option<PopId>,
    /// Where it stands, in degrees
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true)]
    pub location: Option<Location>,
    /// What fails together with it, such as a building; the PoP alone when absent
    #[arg(long, value_name = "NAME")]
    pub failure_domain: Option<String>,
    /// Ask a second PoP when the first takes longer than 95 of 100 of its answers took
    #[arg(long)]
    pub hedge: bool,
    /// Fetch models no faster than this, in MiB a second
    #[arg(long, value_name = "MIB")]
    pub pull_rate: Option<u64>,
    #[command(flatten)]
    pub up: UpOptions,
}

/// How a member joins its fleet.
#[derive(Args)]
pub struct FleetOptions {
    /// The fleet's NATS servers, several with commas between them
    #[arg(long, value_name = "URL", env = "HEADLAND_NATS", hide_env_values = true, required = true)]
    pub nats: Option<String>,
    /// A NATS credentials file
    #[arg(long, value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,
    /// The authority that signed the NATS servers' certificates
    #[arg(long, value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// What the fleet is called on its NATS servers
    #[arg(long, value_name = "NAME", default_value = "headland")]
    pub nats_namespace: String,
    /// This member's certificate and key, as `headland control issue` made them
    #[arg(long, value_name = "DIR", env = "HEADLAND_IDENTITY", required = true)]
    pub identity: Option<PathBuf>,
    /// Serve the fleet's other members here
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    pub peer_listen: SocketAddr,
    /// Where other members reach --peer-listen; that address itself when absent
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
}

#[derive(Subcommand)]
pub enum PlacementCommand {
    /// Show which PoP holds which model, and how good the plan is
    Show(Target),
}

/// `headland plan`
#[derive(Args)]
#[command(after_help = "Examples:
  headland plan
  headland plan --explain all-minilm-l6-v2:1
  headland plan --what-if 'lose pop fra2' --what-if 'scale digits:1 by 3'")]
pub struct PlanOptions {
    /// Say why this model is where it is
    #[arg(long, value_name = "NAME:VERSION")]
    pub explain: Option<String>,
    /// Plan as if this were so: `lose pop P`, `lose region R`, `lose domain D`, `cordon pop P`, `drain pop P`,
    /// `add pop P like Q`, `scale M by F`; may be repeated
    #[arg(long, value_name = "CHANGE")]
    pub what_if: Vec<String>,
    #[command(flatten)]
    pub target: Target,
}

#[derive(Subcommand)]
pub enum RolloutCommand {
    /// Show how new versions are going out
    Status(Target),
    /// Let a rollout stand where it is
    Pause {
        /// Which model's
        model: ModelName,
        #[command(flatten)]
        target: Target,
    },
    /// Let a rollout go on
    Resume {
        /// Which model's
        model: ModelName,
        #[command(flatten)]
        target: Target,
    },
    /// Take the new version back everywhere
    Abort {
        /// Which model's
        model: ModelName,
        #[command(flatten)]
        target: Target,
    },
}
