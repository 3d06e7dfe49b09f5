//! Files of models and apps from other members, over mutual TLS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use headland_fleet::Source;
use headland_identity::Member;
use headland_pop_agent::{Fetch, FetchError, Fetched};
use headland_remote::{PeerHttp, Peers, Span};

/// Connections to members that are kept open.
const CONNECTIONS_MAX: usize = 16;

/// Fetches over the peer planes.
pub struct PeerFiles {
    peers: Arc<Peers>,
    open: Mutex<BTreeMap<Source, Arc<PeerHttp>>>,
}

impl PeerFiles {
    /// With no connection yet.
    pub fn new(peers: Arc<Peers>) -> Self {
        PeerFiles { peers, open: Mutex::default() }
    }

    fn connection(&self, source: &Source) -> Arc<PeerHttp> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.get(source) {
            return known.clone();
        }
        if open.len() >= CONNECTIONS_MAX {
            // Whoever still fetches over one of these keeps it.
            open.clear();
        }
        let id = source.pop.clone();
        let member = if source.control { Member::control(id) } else { Member::pop(id) };
        let connection = Arc::new(self.peers.http(&member, &source.address));
        open.insert(source.clone(), connection.clone());
        connection
    }
}

impl Fetch for PeerFiles {
    fn get<'a>(&'a self, source: &'a Source, path: &'a str, from: u64) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        async move {
            let span = (from > 0).then_some(Span { start: from, end: None });
            let connection = self.connection(source);
            let failed = |error: &dyn std::fmt::Display| FetchError::Failed(error.to_string());
            let answer = connection.get(path, span).await.map_err(|error| failed(&error))?;
            match (answer.status.as_u16(), from) {
                (200, 0) | (206, _) => {}
                (404, _) => return Err(FetchError::NotThere),
                (status, _) => return Err(failed(&format_args!("it answered {status}"))),
            }
            let media_type =
                answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
            // The connection is held until the last byte: closing it would cut the body.
            let body = answer.into_stream().map(move |chunk| {
                let _held = &connection;
                chunk
            });
            Ok(Fetched { media_type, body: body.boxed() })
        }
        .boxed()
    }
}
