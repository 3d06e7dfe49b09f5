//! The HTTP client of transfers: no limit on the whole, one on every silence.

use std::time::Duration;

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;

use super::AT_ONCE;
use crate::client::CONNECT_TIMEOUT;

/// How long the other side may be silent. A registry may check and store gigabytes before it answers.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long the other side may take nothing of what is sent.
const STALL_MAX: Duration = Duration::from_secs(60);

/// An agent for transfers. Credentials stay with the host they are for.
pub fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(SILENCE_MAX))
        .timeout_per_write(Some(STALL_MAX))
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(concat!("headland/", env!("CARGO_PKG_VERSION")))
        // Files travel as they are: ranges and digests are of their bytes.
        .accept_encoding("identity")
        .max_idle_connections_per_host(AT_ONCE)
        .build()
        .into()
}
