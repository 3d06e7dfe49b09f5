//! How a NATS server is reached, and what is to be made there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use async_nats::ServerAddr;

use crate::error::StoreError;

/// The most servers named in one URL list.
const SERVERS_MAX: usize = 32;
/// The shortest lease: renewals, clocks and the server's own timers have to fit into it.
const LEASE_TTL_MIN: Duration = Duration::from_secs(1);
/// The longest lease: nobody leads for so long after a crash.
const LEASE_TTL_MAX: Duration = Duration::from_secs(300);
/// What a NATS server keeps for a key at most.
const HISTORY_MAX: u8 = 64;

/// What it takes to use a NATS server as control store and bus.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Where, and with which name and password or token where they are in the URL.
    pub servers: NatsServers,
    /// What connections are called in the server's monitoring.
    pub client_name: String,
    /// A `.creds` file with JWT and seed, as `nsc` writes it.
    pub credentials_file: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate; the system's authorities otherwise. TLS is used where
    /// a URL begins with `tls://` or the server asks for it.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our own certificate and its key, where the server asks for one.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Beginning of all names on the server (buckets, subjects): two fleets on one server have different ones.
    pub namespace: Namespace,
    /// Copies of each record: 1 on a single server, 3 on a cluster, or 5.
    pub replicas: u8,
    /// Values kept of each record, 1 to 64, for people to look at; the store itself reads the last one.
    pub history: u8,
    /// How long a lease lasts. Once the bucket is made, it is the bucket's.
    pub lease_ttl: Duration,
    /// How long an operation may take, its repetitions included.
    pub call_timeout: Duration,
    /// How long a watch goes without reading everything again.
    pub refresh_every: Duration,
    /// The longest wait between two attempts to connect.
    pub reconnect_delay_max: Duration,
}

impl NatsOptions {
    /// The defaults: one replica, three values kept, leases of ten seconds, five seconds a call, a full reading every five minutes.
    pub fn new(servers: NatsServers) -> Self {
        Self {
            servers,
            client_name: "headland".into(),
            credentials_file: None,
            ca_file: None,
            client_certificate: None,
            namespace: Namespace("headland".into()),
            replicas: 1,
            history: 3,
            lease_ttl: Duration::from_secs(10),
            call_timeout: Duration::from_secs(5),
            refresh_every: Duration::from_secs(300),
            reconnect_delay_max: Duration::from_secs(8),
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refuse = |what: String, remedy: &str| Err(StoreError::Misconfigured { what, remedy: remedy.into() });
        if ![1, 3, 5].contains(&self.replicas) {
            return refuse(format!("{} replicas are not possible", self.replicas), "ask for 1, 3 or 5");
        }
        if !(1..=HISTORY_MAX).contains(&self.history) {
            return refuse(format!("a history of {} is not possible", self.history), "keep 1 to 64 values");
        }
        if !(LEASE_TTL_MIN..=LEASE_TTL_MAX).contains(&self.lease_ttl) {
            return refuse(format!("a lease of {:?} is not possible", self.lease_ttl), "let it last 1 to 300 seconds");
        }
        Ok(())
    }
}

/// Addresses of the servers of one NATS system, apart from the secrets that may stand in them.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsServers {
    pub(super) addresses: Vec<ServerAddr>,
    pub(super) login: Option<Login>,
}

/// What a URL may carry before its `@`.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    Password { user: String, password: String },
    Token(String),
}

impl FromStr for NatsServers {
    type Err = StoreError;

    /// `nats://[user:password@|token@]host[:4222]` or `tls://...`, several with commas between them. The secrets of the first
    /// are used for all.
    fn from_str(list: &str) -> Result<Self, StoreError> {
        // What was given is not repeated in the error: it may hold a password.
        let refuse = |why: String| StoreError::Misconfigured {
            what: format!("the NATS address cannot be used: {why}"),
            remedy: "write it as nats://host:4222 or tls://host:4222, several with commas between them".into(),
        };
        let (mut addresses, mut login) = (Vec::new(), None);
        for one in list.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let address: ServerAddr = one.parse().map_err(|error: std::io::Error| refuse(error.to_string()))?;
            if !["nats", "tls"].contains(&address.scheme()) || address.host().is_empty() {
                return Err(refuse("it names no host, or another protocol".into()));
            }
            login = login.or_else(|| login_of(&address));
            let bare = format!("{}://{}:{}", address.scheme(), bracketed(address.host()), address.port());
            addresses.push(bare.parse().map_err(|error: std::io::Error| refuse(error.to_string()))?);
        }
        if addresses.is_empty() || addresses.len() > SERVERS_MAX {
            return Err(refuse(format!("it names {} servers, and 1 to {SERVERS_MAX} are possible", addresses.len())));
        }
        Ok(Self { addresses, login })
    }
}

fn login_of(address: &ServerAddr) -> Option<Login> {
    let user = address.username().map(str::to_owned).filter(|user| !user.is_empty())?;
    Some(match address.password() {
        Some(password) => Login::Password { user, password: password.to_owned() },
        None => Login::Token(user),
    })
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

impl fmt::Display for NatsServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NATS at ")?;
        for (at, address) in self.addresses.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}://{}:{}", address.scheme(), bracketed(address.host()), address.port())?;
        }
        Ok(())
    }
}

impl fmt::Debug for NatsServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The beginning of a fleet's names on a server: 1 to 32 of `A-Z a-z 0-9 _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(Box<str>);

impl Namespace {
    /// As it stands in names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = StoreError;

    fn from_str(name: &str) -> Result<Self, StoreError> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if !plain || name.is_empty() || name.len() > 32 {
            return Err(StoreError::Misconfigured {
                what: format!("{name:?} cannot be a fleet's name on a NATS server"),
                remedy: "use 1 to 32 letters, digits, `-` and `_`".into(),
            });
        }
        Ok(Self(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_urls_and_never_shown() {
        let servers: NatsServers = "nats://ann:s3cret@one, tls://two:4333,[::1]:5".parse().unwrap();
        assert_eq!(servers.to_string(), "NATS at nats://one:4222, tls://two:4333, nats://[::1]:5");
        let shown = format!("{:?}", NatsOptions::new(servers.clone()));
        assert!(!shown.contains("s3cret") && !shown.contains("ann"), "{shown}");
        assert!(
            matches!(servers.login, Some(Login::Password { user, password }) if user == "ann" && password == "s3cret")
        );
        let token: NatsServers = "nats://t0ken@one".parse().unwrap();
        assert!(matches!(token.login, Some(Login::Token(token)) if token == "t0ken"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in ["", " , ", "http://u:s3cret@one", "nats://u:s3cret@:99999", "nats://", "nats://u:s3cret@a:99999"] {
            let refused = bad.parse::<NatsServers>().expect_err(bad).to_string();
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }

    #[test]
    fn options_that_no_server_takes_are_refused() {
        let good = NatsOptions::new("one".parse().unwrap());
        good.check().unwrap();
        NatsOptions { replicas: 2, ..good.clone() }.check().unwrap_err();
        NatsOptions { history: 0, ..good.clone() }.check().unwrap_err();
        NatsOptions { lease_ttl: Duration::from_millis(10), ..good }.check().unwrap_err();
        "a b".parse::<Namespace>().unwrap_err();
        "".parse::<Namespace>().unwrap_err();
    }
}
