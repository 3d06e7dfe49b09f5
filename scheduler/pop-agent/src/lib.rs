//! A PoP's part in its fleet: it says how it is, hears what is wanted of it, and does that.
//!
//! Stands beside the gateway of a PoP: `cli` makes it. What is wanted comes out of the control store ([`fence`] refuses what a
//! deposed leader wrote), [`reconcile`] says what is to be done, [`pull`] fetches files from other members, and the lifecycle
//! of the gateway verifies and loads them as it does with anything that was pushed. [`live_alone`] is the part of a PoP that is its
//! whole fleet, as under `headland up`: it holds what its own operators say, and tells of it.

mod agent;
mod alone;
pub mod fence;
mod fetch;
mod keep;
pub mod measure;
pub mod merge;
pub mod pull;
pub mod reconcile;
mod state;
mod tell;
mod throttle;

pub use agent::{Accuse, Agent, AgentError, AgentParts, AllAliases, MakePuller, PULLS_AT_ONCE_MAX, SetRoutes};
pub use alone::{AloneParts, NamedModels, live_alone};
pub use fetch::{Fetch, FetchError, Fetched};
pub use keep::{FindSources, KeeperParts, keep};
pub use state::{State, StateError};
pub use throttle::Throttle;
