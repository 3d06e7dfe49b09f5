//! The token that public registries give to anyone who asks where the challenge says
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, header};

/// The largest answer of a token service.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// A token for nobody in particular, if the challenge says where there is one.
pub fn anonymous_token(agent: &Agent, headers: &HeaderMap) -> Option<String> {
    let url = token_url(headers.get(header::WWW_AUTHENTICATE)?.to_str().ok()?)?;
    let mut answer = agent.get(url).call().ok().filter(|answer| answer.status().is_success())?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().ok()?;
    let json: Value = serde_json::from_slice(&body).ok()?;
    let token = json["token"].as_str().or(json["access_token"].as_str())?;
    token.bytes().all(|byte| byte.is_ascii_graphic()).then(|| token.to_owned())
}

/// `Bearer realm="https://...",service="...",scope="..."` as the address to ask.
fn token_url(challenge: &str) -> Option<String> {
    let (scheme, parameters) = challenge.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameter = |wanted: &str| {
        let (_, rest) = parameters.split_once(&format!("{wanted}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    let realm = parameter("realm").filter(|realm| realm.starts_with("https://"))?;
    let query: Vec<String> = ["service", "scope"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}={}", parameter(name)?.replace(['&', '#', ' '], ""))))
        .collect();
    Some(format!("{realm}?{}", query.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_where_to_ask() {
        let challenge = "Bearer realm=\"https://registry.example/token\",service=\"registry.example\",scope=\"repository:a/b:pull\"";
        let expected = "https://registry.example/token?service=registry.example&scope=repository:a/b:pull";
        assert_eq!(token_url(challenge).as_deref(), Some(expected));
        for other in ["Basic realm=\"x\"", "Bearer", "Bearer realm=\"http://plain.example\"", "Bearer realm=\"https"] {
            assert_eq!(token_url(other), None, "{other}");
        }
    }
}
