//! Which scope each request of the admin plane needs: a pure table, closed by default.

use http::Method;

use crate::scope::Scope;

/// What a request must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    Open,
    /// A token with this scope.
    Scope(Scope),
}

impl From<Scope> for Requirement {
    fn from(scope: Scope) -> Self {
        Requirement::Scope(scope)
    }
}

/// What `method` on `path` needs. Health is open, reading needs `read`, and a change nobody thought of needs `admin`.
pub fn required_scope(method: &Method, path: &str) -> Requirement {
    let path = path.strip_prefix('/').unwrap_or(path);
    let segments: Vec<&str> = path.splitn(SEGMENTS_MAX, '/').collect();
    match segments.as_slice() {
        // These two alone: a repository may be called `health`.
        ["v2", "health", "live" | "ready"] if method.is_safe() => Requirement::Open,
        ["v2", rest @ ..] => repository(method, rest).into(),
        ["admin", "v1", rest @ ..] => admin(method, rest).into(),
        _ if method.is_safe() => Scope::Read.into(),
        _ => Scope::Admin.into(),
    }
}

/// [`required_scope`] where the admin plane listens on loopback only: metrics are open there, so that a Prometheus on the
/// same machine needs no token.
pub fn required_on_loopback(method: &Method, path: &str) -> Requirement {
    if path == "/metrics" && method.is_safe() { Requirement::Open } else { required_scope(method, path) }
}

/// The table looks at no more of a path than this.
const SEGMENTS_MAX: usize = 8;

/// Below `/v2`: the OCI distribution API, and Triton's model repository API.
fn repository(method: &Method, path: &[&str]) -> Scope {
    match path {
        _ if method.is_safe() => Scope::Read,
        // Asks for a list, with a body.
        ["repository", "index"] => Scope::Read,
        ["repository", "models", _, "load" | "unload"] => Scope::Deploy,
        _ => Scope::Push,
    }
}

/// Below `/admin/v1`.
fn admin(method: &Method, path: &[&str]) -> Scope {
    match path {
        // Who holds which rights is not for every reader.
        ["tokens", ..] => Scope::Admin,
        _ if method.is_safe() => Scope::Read,
        // Asked before a push, by the one who pushes: would this be admitted?
        ["judge"] => Scope::Push,
        // Asks what would be, with a body.
        ["plan"] => Scope::Read,
        ["apps" | "models" | "aliases", ..] => Scope::Deploy,
        _ => Scope::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::Requirement::Open;
    use super::Scope::{Admin, Deploy, Push, Read};
    use super::*;

    #[test]
    fn every_planned_route_needs_what_the_table_says() {
        let blob = "/v2/models/a/blobs/sha256:00";
        for (method, path, needed) in [
            ("GET", "/v2/", Read),
            ("GET", "/v2", Read),
            ("GET", "/v2/_catalog", Read),
            ("HEAD", blob, Read),
            ("GET", "/v2/models/a/manifests/1", Read),
            ("GET", "/v2/models/a/tags/list", Read),
            ("GET", "/v2/models/a/referrers/sha256:00", Read),
            ("POST", "/v2/models/a/blobs/uploads/", Push),
            ("PATCH", "/v2/models/a/blobs/uploads/1", Push),
            ("PUT", "/v2/models/a/blobs/uploads/1", Push),
            ("GET", "/v2/models/a/blobs/uploads/1", Read),
            ("DELETE", "/v2/models/a/blobs/uploads/1", Push),
            ("PUT", "/v2/models/a/manifests/1", Push),
            ("DELETE", "/v2/models/a/manifests/1", Push),
            ("DELETE", blob, Push),
            ("POST", "/v2/repository/index", Read),
            ("GET", "/v2/repository/index", Read),
            ("POST", "/v2/repository/models/a/load", Deploy),
            ("POST", "/v2/repository/models/a/unload", Deploy),
            ("GET", "/admin/v1/models", Read),
            ("GET", "/admin/v1/models/a", Read),
            ("POST", "/admin/v1/models/a/load", Deploy),
            ("POST", "/admin/v1/models/a/unload", Deploy),
            ("DELETE", "/admin/v1/models/a", Deploy),
            ("GET", "/admin/v1/apps", Read),
            ("POST", "/admin/v1/apps", Deploy),
            ("PUT", "/admin/v1/apps/a", Deploy),
            ("POST", "/admin/v1/apps/a/rollback", Deploy),
            ("DELETE", "/admin/v1/apps/a", Deploy),
            ("PUT", "/admin/v1/aliases/a:stable", Deploy),
            ("GET", "/admin/v1/aliases", Read),
            ("POST", "/admin/v1/judge", Push),
            ("GET", "/admin/v1/policy", Read),
            ("PUT", "/admin/v1/policy", Admin),
            ("GET", "/admin/v1/tokens", Admin),
            ("POST", "/admin/v1/tokens", Admin),
            ("DELETE", "/admin/v1/tokens/0123456789ab", Admin),
            ("GET", "/metrics", Read),
            ("GET", "/", Read),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(required_scope(&method, path), needed.into(), "{method} {path}");
        }
    }

    #[test]
    fn only_health_is_open_and_on_loopback_metrics() {
        for path in ["/v2/health/live", "/v2/health/ready"] {
            assert_eq!(required_scope(&Method::GET, path), Open);
            assert_eq!(required_on_loopback(&Method::GET, path), Open);
        }
        assert_eq!(required_on_loopback(&Method::GET, "/metrics"), Open);
        assert_eq!(required_on_loopback(&Method::POST, "/metrics"), Admin.into());
        assert_eq!(required_on_loopback(&Method::GET, "/metrics/x"), Read.into());
        assert_eq!(required_on_loopback(&Method::PUT, "/v2/models/a/manifests/1"), Push.into());
    }

    #[test]
    fn what_nobody_thought_of_is_closed() {
        let strange: Method = "PURGE".parse().unwrap();
        for (method, path, needed) in [
            (&strange, "/admin/v1/models", Deploy),
            (&strange, "/v2/models/a/manifests/1", Push),
            (&strange, "/", Admin),
            (&Method::POST, "/admin/v1/nodes", Admin),
            (&Method::POST, "/admin/v1/judge/x", Admin),
            (&Method::POST, "/admin/v2/apps", Admin),
            (&Method::POST, "/admin/v1/appsx", Admin),
            (&Method::POST, "//v2/health/ready", Admin),
            (&Method::GET, "/v2/healthy", Read),
            (&Method::POST, "/v2/health/ready", Push),
            (&Method::PUT, "/v2/health/manifests/1", Push),
            (&Method::GET, "/v2/health/live/manifests/1", Read),
            (&Method::POST, "/v2/repository/models/a/b/load", Push),
            (&Method::POST, "", Admin),
        ] {
            assert_eq!(required_scope(method, path), needed.into(), "{method} {path}");
        }
    }
}
