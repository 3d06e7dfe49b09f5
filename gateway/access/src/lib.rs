//! Who may do what on the admin plane.
//!
//! Stands around every admin route: a request comes in, [`protect`] looks up which scope it needs ([`required_scope`], a
//! pure table), finds the token it carries in the [`TokenStore`], and lets it pass with a [`Grant`] or answers in the
//! shape its client understands. `headland token` and `headland up` make the tokens; at rest there are only hashes.

mod audit;
mod credentials;
mod error;
mod guard;
mod local;
mod private_file;
mod refusal;
mod routes;
mod scope;
mod secret;
mod store;
mod token;
mod token_file;

pub use error::AccessError;
pub use guard::{Grant, protect};
pub use local::{LOCAL_FILE, LOCAL_NAME, read_local};
pub use routes::{Requirement, required_on_loopback, required_scope};
pub use scope::{ParseScopeError, Scope, Scopes};
pub use secret::{ParseSecretError, Secret};
pub use store::{CREATED_MAX, Created, Rejected, TOKENS_FILE, TokenStore};
pub use token::{TokenInfo, UnixTime};
