//! Which token goes to which server: the one in `HEADLAND_TOKEN`, or on the gateway's own machine the one it left there.

use anyhow::{Context, Result, bail};

use super::server::Server;
use crate::args::Target;
use crate::config::default_data_dir;

/// The variable with the token.
pub const TOKEN_VARIABLE: &str = "HEADLAND_TOKEN";

/// The token for the gateway that `target` names, if there is one.
pub fn of_target(server: &Server, target: &Target) -> Result<Option<String>> {
    let given = std::env::var(TOKEN_VARIABLE).ok();
    choose(given.as_deref(), server, target)
}

/// The token for `server`, which something else than `--server` named. What is in the environment is for the gateway that
/// `--server` names, and goes nowhere else.
pub fn of_source(server: &Server, target: &Target) -> Result<Option<String>> {
    match Server::parse(&target.server) {
        Ok(named) if named.authority() == server.authority() => of_target(server, target),
        _ => choose(None, server, target),
    }
}

fn choose(given: Option<&str>, server: &Server, target: &Target) -> Result<Option<String>> {
    let Some(token) = given.map(str::trim).filter(|token| !token.is_empty()) else {
        return if server.is_loopback() { local(target) } else { Ok(None) };
    };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{TOKEN_VARIABLE} holds no token: there are characters in it that no token has");
    }
    if !server.is_private() && !target.insecure_token_over_http {
        bail!(
            "the token would go to {} unencrypted, and whoever sees it has it; use https://, a tunnel to 127.0.0.1, or \
             --insecure-token-over-http on a network you trust",
            server.url()
        );
    }
    Ok(Some(token.to_owned()))
}

/// The token that a gateway on this machine left for its own user.
fn local(target: &Target) -> Result<Option<String>> {
    let dir = target.data_dir.clone().map_or_else(default_data_dir, Ok)?;
    let token = headland_access::read_local(&dir)
        .with_context(|| format!("the token for this machine is not to be had; set {TOKEN_VARIABLE} to another"))?;
    Ok(token.map(|token| token.reveal().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use headland_access::TokenStore;

    use super::*;

    fn target(server: &str, data_dir: &Path) -> Target {
        let (server, data_dir) = (server.to_owned(), Some(data_dir.to_owned()));
        Target { server, data_dir, insecure_token_over_http: false, json: false }
    }

    fn token(given: Option<&str>, server: &str, data_dir: &Path) -> Result<Option<String>> {
        choose(given, &Server::parse(server).unwrap(), &target(server, data_dir))
    }

    #[test]
    fn the_given_token_wins_over_the_local_one_which_stays_on_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(token(None, "http://127.0.0.1:1", dir.path()).unwrap(), None);
        TokenStore::open(dir.path()).unwrap().ensure_local().unwrap();
        let local = token(None, "http://127.0.0.1:1", dir.path()).unwrap().unwrap();
        assert!(local.starts_with("hl_"));
        assert_eq!(token(Some(" "), "http://localhost:1", dir.path()).unwrap(), Some(local));
        assert_eq!(token(Some("hl_x\n"), "http://127.0.0.1:1", dir.path()).unwrap().as_deref(), Some("hl_x"));
        for elsewhere in ["http://gateway.example", "https://gateway.example"] {
            assert_eq!(token(None, elsewhere, dir.path()).unwrap(), None);
        }
    }

    #[test]
    fn no_token_travels_unencrypted_unless_asked_to() {
        let dir = tempfile::tempdir().unwrap();
        let error = token(Some("hl_secret"), "http://gateway.example:8081", dir.path()).unwrap_err().to_string();
        assert!(error.contains("--insecure-token-over-http") && !error.contains("hl_secret"), "{error}");
        assert!(token(Some("hl_secret"), "https://gateway.example", dir.path()).unwrap().is_some());
        let mut trusted = target("http://gateway.example:8081", dir.path());
        trusted.insecure_token_over_http = true;
        assert!(of_source(&Server::parse("http://other.example").unwrap(), &trusted).unwrap().is_none());
        let server = Server::parse(&trusted.server).unwrap();
        assert!(choose(Some("hl_secret"), &server, &trusted).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_a_token_is_not_sent_and_not_shown() {
        let error = token(Some("hl_a\nb"), "http://127.0.0.1:1", Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("HEADLAND_TOKEN holds no token") && !error.contains("hl_a"), "{error}");
    }
}
