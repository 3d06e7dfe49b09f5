//! Commands that ask a running gateway: a thin client of the admin plane.
//!
//! [`Gateway`] is the JSON API; what is pushed and pulled goes through `transfer`. Both send the token that `token` chooses.

pub mod fleet;
pub mod models;
mod print;
mod server;
mod token;

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request, StatusCode};

use crate::args::Target;

pub use print::{items, outline, print, short_digest, size, table, text};
pub use server::Server;
pub use token::{of_source as token_of_source, of_target as token_of_target};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How long a command waits for its answer. Loading a model may take minutes.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How long to wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A gateway's admin plane.
pub struct Gateway {
    agent: Agent,
    server: Server,
    token: Option<String>,
}

impl Gateway {
    /// The gateway that `target` names. Asks nothing yet.
    pub fn open(target: &Target) -> Result<Self> {
        let server = Server::parse(&target.server)?;
        let token = token_of_target(&server, target)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TIMEOUT));
        Ok(Gateway { agent: config.build().into(), server, token })
    }

    /// What is at `path`.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None)
    }

    /// Sends a request, with a JSON body if there is one, and returns the answer; null when it is empty.
    pub fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.server.url());
        let mut request = Request::builder().method(method).uri(&url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(serde_json::to_vec(body)?)?)
            }
            None => self.agent.run(request.body(())?),
        };
        let mut answer = answer.with_context(|| nobody(&self.server))?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.context("reading the answer")?;
        let json: Option<Value> = if body.is_empty() { Some(Value::Null) } else { serde_json::from_str(&body).ok() };
        match json {
            Some(json) if status.is_success() => Ok(json),
            Some(json) => Err(refused(status, &json, self.token.is_some())),
            None => Err(anyhow!("{url} answered {status}, and not in JSON; is it the admin address?")),
        }
    }
}

/// What to say when there is no connection.
pub fn nobody(server: &Server) -> String {
    format!("no gateway answers at {}; is `headland up` running, and is --server right?", server.url())
}

/// A refusal in any of the admin plane's shapes, as an error for people.
pub fn refused(status: StatusCode, answer: &Value, sent_token: bool) -> anyhow::Error {
    let shapes = [&answer["detail"], &answer["error"], &answer["errors"][0]["message"]];
    let said = shapes.iter().find_map(|message| message.as_str()).unwrap_or(status.as_str());
    match status {
        StatusCode::UNAUTHORIZED if sent_token => {
            anyhow!("{said}; set HEADLAND_TOKEN to a good token, or --data-dir to the data directory of that gateway")
        }
        StatusCode::UNAUTHORIZED => anyhow!(
            "{said}; set HEADLAND_TOKEN, or on the gateway's own machine, as its user, --data-dir to its data directory"
        ),
        StatusCode::FORBIDDEN if answer["type"].as_str().is_some_and(|kind| kind.ends_with("/scope-missing")) => {
            anyhow!("{said}; an administrator makes one that has it with `headland token create --scope`")
        }
        _ => anyhow!("{said}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_shape_of_error_is_read_and_a_missing_token_says_what_to_do() {
        let said = |status: u16, answer: Value| {
            format!("{:#}", refused(StatusCode::from_u16(status).unwrap(), &answer, false))
        };
        assert_eq!(said(409, json!({"detail": "in use"})), "in use");
        assert_eq!(said(400, json!({"error": "no such model"})), "no such model");
        assert_eq!(said(403, json!({"errors": [{"code": "DENIED", "message": "not signed"}]})), "not signed");
        assert_eq!(said(500, Value::Null), "500");
        assert!(said(401, json!({"detail": "a token is needed"})).starts_with("a token is needed; set HEADLAND_TOKEN"));
        let scope = json!({"type": "/errors/scope-missing", "detail": "the token lacks `deploy`"});
        assert!(said(403, scope).contains("headland token create --scope"));
    }
}
