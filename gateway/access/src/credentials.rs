//! The token in a request's `authorization` header, as the two schemes carry it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::secret::Secret;

/// Longer headers hold no token of ours, whatever the user name.
const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// What a request brings to show who sent it.
pub(crate) enum Credentials {
    /// Nothing.
    None,
    /// Something that is no token: another scheme, not base64, two headers, a slip.
    Unreadable,
    /// What looks like a token.
    Token(Secret),
}

impl Credentials {
    /// Takes them out of `headers`: nothing behind this point sees them, and so nothing can log or pass them on.
    pub fn take(headers: &mut HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let credentials = match (values.next(), values.next()) {
            (None, _) => Credentials::None,
            (Some(value), None) => parse(value.as_bytes()).map_or(Credentials::Unreadable, Credentials::Token),
            _ => Credentials::Unreadable,
        };
        headers.remove(AUTHORIZATION);
        credentials
    }
}

/// `Bearer TOKEN` (RFC 6750), or `Basic` with any user name and the token as password (RFC 7617), which is what container
/// tools send after `login`.
fn parse(value: &[u8]) -> Option<Secret> {
    if value.len() > AUTHORIZATION_BYTES_MAX {
        return None;
    }
    let (scheme, rest) = std::str::from_utf8(value).ok()?.trim().split_once(' ')?;
    let rest = rest.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") {
        rest.parse().ok()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (_user, password) = pair.split_once(':')?;
        password.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "hl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn token_in(value: &str) -> Option<String> {
        parse(value.as_bytes()).map(|secret| secret.reveal().to_owned())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn both_schemes_carry_a_token() {
        for value in [
            format!("Bearer {TOKEN}"),
            format!("bearer   {TOKEN} "),
            basic(&format!("anyone:{TOKEN}")),
            basic(&format!(":{TOKEN}")),
            basic(&format!("Zoë:{TOKEN}")).replace("Basic", "bASIC"),
        ] {
            assert_eq!(token_in(&value).as_deref(), Some(TOKEN), "{value}");
        }
    }

    #[test]
    fn what_holds_no_token_is_not_taken_for_one() {
        for value in [
            String::new(),
            "Bearer".into(),
            "Bearer ".into(),
            format!("Bearer{TOKEN}"),
            format!("Bearer {TOKEN} {TOKEN}"),
            format!("Bearer {TOKEN},"),
            format!("Digest {TOKEN}"),
            TOKEN.into(),
            "Basic".into(),
            "Basic !!!".into(),
            format!("Basic {TOKEN}"),
            basic(TOKEN),
            basic(&format!("{TOKEN}:")),
            basic(&format!("a:b:{TOKEN}")),
            basic(&format!("{}:{TOKEN}", "u".repeat(5000))),
            format!("Basic {}", STANDARD.encode([0xff, b':', 0xfe])),
        ] {
            assert_eq!(token_in(&value), None, "{value}");
        }
    }

    #[test]
    fn the_header_is_gone_afterwards_and_two_of_them_are_none() {
        let value = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
        let mut headers = HeaderMap::new();
        assert!(matches!(Credentials::take(&mut headers), Credentials::None));
        headers.append(AUTHORIZATION, value.clone());
        assert!(matches!(Credentials::take(&mut headers), Credentials::Token(_)));
        assert!(headers.is_empty());
        headers.append(AUTHORIZATION, value.clone());
        headers.append(AUTHORIZATION, value);
        assert!(matches!(Credentials::take(&mut headers), Credentials::Unreadable));
        assert!(headers.is_empty());
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..300), scheme in 0..4usize) {
            let start: &[u8] = [&b""[..], b"Bearer ", b"Basic ", b"Bearer hl_"][scheme];
            let _ = parse(&[start, &value[..]].concat());
            // As the second layer of `Basic` sees it.
            let _ = parse(format!("Basic {}", STANDARD.encode(&value)).as_bytes());
        }

        #[test]
        fn every_token_is_found_again(random: [u8; 32], user in "[^:]{0,40}") {
            let token = format!("hl_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random));
            prop_assert_eq!(token_in(&format!("Bearer {token}")), Some(token.clone()));
            prop_assert_eq!(token_in(&basic(&format!("{user}:{token}"))), Some(token));
        }
    }
}
