//! Where requests go, and whether a token may go there too.

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use ureq::http::Uri;

/// The scheme, host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    scheme: &'static str,
    authority: String,
    is_loopback: bool,
}

impl Server {
    /// Reads `http://HOST:PORT` or `https://HOST:PORT`.
    pub fn parse(url: &str) -> Result<Self> {
        let problem = || format!("`{url}` is no server; write http://HOST:PORT or https://HOST:PORT");
        let uri: Uri = url.trim_end_matches('/').parse().with_context(problem)?;
        let scheme = match uri.scheme_str() {
            Some("http") => "http",
            Some("https") => "https",
            _ => bail!(problem()),
        };
        let authority = uri.authority().with_context(problem)?.as_str();
        if authority.contains('@') {
            bail!("`{url}`: leave name and password out; the token is taken from HEADLAND_TOKEN");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            bail!(problem());
        }
        Server::new(scheme, authority)
    }

    /// The server of an `oci://` source: plain HTTP on this machine or when asked for, else HTTPS.
    pub fn of_authority(authority: &str, plain_http: bool) -> Result<Self> {
        let server = Server::new("https", authority)?;
        Ok(if server.is_loopback || plain_http { Server { scheme: "http", ..server } } else { server })
    }

    fn new(scheme: &'static str, authority: &str) -> Result<Self> {
        let problem = || format!("`{authority}` is no HOST or HOST:PORT");
        let parsed: ureq::http::uri::Authority = authority.parse().with_context(problem)?;
        let host = parsed.host();
        if host.is_empty() || authority.contains('@') {
            bail!(problem());
        }
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_loopback = address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback());
        Ok(Server { scheme, authority: authority.to_ascii_lowercase(), is_loopback })
    }

    /// `scheme://host:port`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether nobody on the way can read what is sent.
    pub fn is_private(&self) -> bool {
        self.is_loopback || self.scheme == "https"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_scheme_host_and_port() {
        for (url, expected, private) in [
            ("http://127.0.0.1:8081/", "http://127.0.0.1:8081", true),
            ("http://[::1]:8081", "http://[::1]:8081", true),
            ("http://LOCALHOST:1", "http://localhost:1", true),
            ("https://gateway.example", "https://gateway.example", true),
            ("http://gateway.example:8081", "http://gateway.example:8081", false),
            ("http://127.0.0.1.example", "http://127.0.0.1.example", false),
            ("http://10.0.0.1:8081", "http://10.0.0.1:8081", false),
        ] {
            let server = Server::parse(url).unwrap();
            assert_eq!((server.url().as_str(), server.is_private()), (expected, private), "{url}");
        }
    }

    #[test]
    fn what_is_no_server_says_what_to_write() {
        for url in ["", "gateway:8081", "ftp://x", "http://", "http://x/admin", "http://x?y", "127.0.0.1:8081"] {
            let error = Server::parse(url).unwrap_err().to_string();
            assert!(error.contains("write http://HOST:PORT"), "{url}: {error}");
        }
        let error = Server::parse("http://user:secret@127.0.0.1:1").unwrap_err().to_string();
        assert!(error.contains("HEADLAND_TOKEN"), "{error}");
    }

    #[test]
    fn an_oci_source_is_plain_only_on_this_machine_or_when_asked_for() {
        let url = |authority, plain| Server::of_authority(authority, plain).unwrap().url();
        assert_eq!(url("127.0.0.1:5000", false), "http://127.0.0.1:5000");
        assert_eq!(url("registry.example", false), "https://registry.example");
        assert_eq!(url("registry.example", true), "http://registry.example");
        for authority in ["", "user@x", "a b"] {
            assert!(Server::of_authority(authority, false).is_err(), "{authority}");
        }
    }
}
