//! What is meant: a repository, and a tag or digest in it.

use anyhow::{Context, Result, bail};
use headland_package::Sha256Digest;

/// Splits `REPOSITORY`, `REPOSITORY:TAG` and `REPOSITORY@DIGEST`; the tag is `latest` where there is none.
pub fn parse_reference(text: &str) -> Result<(&str, &str)> {
    let (repository, reference) = match (text.split_once('@'), text.rsplit_once(':')) {
        (Some((repository, digest)), _) => {
            digest.parse::<Sha256Digest>().with_context(|| format!("`{digest}` is no digest"))?;
            (repository, digest)
        }
        (None, Some((repository, tag))) => (repository, tag),
        (None, None) => (text, "latest"),
    };
    let plain = |text: &str, more: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte))
    };
    if !repository.split('/').all(|part| plain(part, "._-") && !part.starts_with('.')) || !plain(reference, "._-:") {
        bail!("`{text}` is no REPOSITORY:TAG or REPOSITORY@sha256:...");
    }
    Ok((repository, reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_repository_and_tag_or_digest() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let by_digest = format!("a/b@{digest}");
        assert_eq!(parse_reference("models/digits:2.1").unwrap(), ("models/digits", "2.1"));
        assert_eq!(parse_reference("digits").unwrap(), ("digits", "latest"));
        assert_eq!(parse_reference(&by_digest).unwrap(), ("a/b", digest.as_str()));
        for bad in ["", "a//b", "../x:1", "a/..:1", "a:", ":1", "a?x:1", "a b:1", "a@sha256:12", "a/b:1/2", "a%2e:1"] {
            assert!(parse_reference(bad).is_err(), "{bad}");
        }
    }
}
