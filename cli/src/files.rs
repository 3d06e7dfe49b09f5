//! Open files: each connection is one, and the usual limit of 1,024 is far below what the gateway can serve.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises this process's limit on open files to the most the system lets it have.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is; many connections may run into it");
    }
}
