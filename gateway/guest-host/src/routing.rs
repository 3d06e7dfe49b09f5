//! Which route a request takes. Pure: the routes, the request and a random number come in, an index goes out.

/// What is matched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Host the route is for, lower case; any when absent.
    pub host: Option<String>,
    /// Path prefix without a trailing slash, or `/`.
    pub path: String,
    /// Share among routes of equal host and path.
    pub weight: u32,
}

impl Pattern {
    fn matches(&self, host: Option<&str>, path: &str) -> bool {
        let host_fits = match (&self.host, host) {
            (None, _) => true,
            (Some(own), Some(host)) => own.eq_ignore_ascii_case(without_port(host)),
            (Some(_), None) => false,
        };
        host_fits && prefix_fits(&self.path, path)
    }

    /// The better of two matches: one that names the host, then the longer path.
    fn rank(&self) -> (bool, usize) {
        (self.host.is_some(), self.path.len())
    }
}

/// A prefix ends where a segment ends: `/search` takes `/search/x`, not `/searching`.
fn prefix_fits(prefix: &str, path: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A number that looks random from a running one (the finaliser of SplitMix64), so that no pattern among the requests
/// lines up with the weights.
pub(crate) fn scatter(count: u64) -> u64 {
    let mut bits = count.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The route for a request; `dice` decides between routes of equal host and path by their weights.
pub(crate) fn choose<'a>(
    patterns: impl Iterator<Item = &'a Pattern> + Clone,
    host: Option<&str>,
    path: &str,
    dice: u64,
) -> Option<usize> {
    let matching = patterns.enumerate().filter(|(_, pattern)| pattern.matches(host, path));
    let best = matching.clone().map(|(_, pattern)| pattern.rank()).max()?;
    let tied = matching.filter(|(_, pattern)| pattern.rank() == best);
    let total: u64 = tied.clone().map(|(_, pattern)| u64::from(pattern.weight)).sum();
    let mut left = dice % total.max(1);
    for (index, pattern) in tied {
        match left.checked_sub(u64::from(pattern.weight)) {
            Some(rest) => left = rest,
            None => return Some(index),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(host: Option<&str>, path: &str) -> Pattern {
        Pattern { host: host.map(str::to_owned), path: path.to_owned(), weight: 100 }
    }

    #[test]
    fn the_named_host_wins_then_the_longest_path() {
        let patterns =
            [pattern(None, "/"), pattern(None, "/search"), pattern(None, "/search/deep"), pattern(Some("a.test"), "/")];
        for (host, path, expected) in [
            (None, "/", Some(0)),
            (None, "/searching", Some(0)),
            (None, "/search", Some(1)),
            (None, "/search/x", Some(1)),
            (Some("b.test"), "/search/deep/x", Some(2)),
            (Some("A.test:8080"), "/search", Some(3)),
        ] {
            assert_eq!(choose(patterns.iter(), host, path, 0), expected, "{host:?} {path}");
        }
        assert_eq!(choose(patterns[1..].iter(), None, "/other", 0), None);
    }

    #[test]
    fn weights_share_requests_exactly() {
        let patterns = [(90, "/"), (10, "/")].map(|(weight, path)| Pattern { weight, ..pattern(None, path) });
        let counts = (0..1000).fold([0; 2], |mut counts, dice| {
            counts[choose(patterns.iter(), None, "/x", dice).unwrap()] += 1;
            counts
        });
        assert_eq!(counts, [900, 100]);
    }

    #[test]
    fn a_canary_gets_its_share_of_every_second_request_too() {
        let patterns = [(1, "/"), (1, "/")].map(|(weight, path)| Pattern { weight, ..pattern(None, path) });
        let first =
            (0..2000).step_by(2).filter(|&n| choose(patterns.iter(), None, "/x", scatter(n)) == Some(0)).count();
        assert!((400..600).contains(&first), "{first}");
    }
}
