//! Who is who in a fleet.
//!
//! A fleet has a certificate authority of its own ([`FleetCa`], made once by its operator). Every member, a PoP or a
//! control plane, has a short-lived certificate of it that says which fleet, which role and which id it has ([`Identity`]).
//! Members speak to each other over TLS 1.3 and HTTP/2 alone, and each side shows its certificate: who connects says whom it
//! expects and refuses anybody else; who accepts learns whom it talks to ([`Peer`]). Nothing else makes a member, so a
//! network in which foreigners listen or speak up harms nobody.
//!
//! Stands beneath everything that crosses from one PoP to another, and knows nothing of what is said there.

mod ca;
mod certificate;
mod error;
mod files;
mod identity;
mod member;
mod request;
mod tls;
mod verifier;

pub use ca::{CA_VALIDITY, CLOCK_SKEW_MAX, FleetCa, MEMBER_VALIDITY};
pub use certificate::Peer;
pub use error::IdentityError;
pub use files::{CA_CERTIFICATE_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE};
pub use identity::Identity;
pub use member::{FleetId, Member, Role};
pub use tls::{ALPN_HTTP2, explain};
