//! All PoPs that models are asked at from here, and the routes to them: what the table of models is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use headland_batcher::{Aliases, Described, Distant, ModelTable, Routed};
use headland_identity::{Identity, Member, Role};
use headland_package::{ModelName, ModelVersion, PopId, Sha256Digest};
use http::{Request, StatusCode};
use tokio::task::JoinHandle;

use crate::MODELS_PATH;
use crate::ask::Contender;
use crate::fetch::{PeerHttp, authority};
use crate::limits::{DESCRIBE_MAX, RECONNECT_MAX, RECONNECT_MIN};
use crate::link::Target;
use crate::peer::{Peer, PeerStats, RequestFailed, member, read};
use crate::random::Random;
use crate::remote::{Key, Remote};
use crate::wire::{Frames, HEAD_BYTES_MAX, decode_description};

/// How models at other PoPs are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeersOptions {
    /// Whether a second PoP is asked when the first takes longer than 95 of 100 of its answers took.
    pub hedging: bool,
}

/// A model that other PoPs have.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name.
    pub name: ModelName,
    /// Its version.
    pub version: ModelVersion,
    /// Digest of its package.
    pub digest: Sha256Digest,
    /// Whether a request that may have run may be sent to another PoP: so for whatever computes its answer from its inputs
    /// alone.
    pub repeatable: bool,
    /// Who has it, the best first.
    pub candidates: Vec<Candidate>,
}

/// A PoP that has a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which: its certificate must say so.
    pub pop: PopId,
    /// Where its peer plane listens, `HOST:PORT`.
    pub address: String,
    /// The part of the requests that is planned for it; 0 for one that only stands by.
    pub share: f64,
}

/// The other PoPs.
pub struct Peers {
    identity: Arc<Identity>,
    table: Arc<ModelTable>,
    options: PeersOptions,
    random: Arc<Random>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peers: HashMap<(PopId, String), Arc<Peer>>,
    models: BTreeMap<Key, Entry>,
    aliases: BTreeMap<ModelName, Aliases>,
}

struct Entry {
    remote: Arc<Remote>,
    /// As the table has it, once somebody has described it.
    routed: Option<Routed>,
    _describing: Task,
}

/// Ends with what it is for.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Peers {
    /// Nobody yet. Routed models go into `table`.
    pub fn new(identity: Arc<Identity>, table: Arc<ModelTable>, options: PeersOptions) -> Arc<Self> {
        let (random, state) = (Arc::new(Random::new()), Mutex::default());
        Arc::new(Peers { identity, table, options, random, state })
    }

    /// Says which models are where, and what the fleet's aliases stand for, all at once. What is known already of PoPs and
    /// models is kept; a model that is new is in the table as soon as one of its candidates has described it. Needs a
    /// runtime.
    pub fn set_routes(self: &Arc<Self>, routes: Vec<Route>, aliases: BTreeMap<ModelName, Aliases>) {
        let mut state = self.state();
        let (mut peers, mut models) = (HashMap::new(), BTreeMap::new());
        for route in routes {
            let key = Key { name: route.name, version: route.version, digest: route.digest };
            let known = state.models.remove(&key).filter(|entry| entry.remote.repeatable == route.repeatable);
            let entry = known.unwrap_or_else(|| self.entry(key.clone(), route.repeatable));
            let others = route.candidates.into_iter().filter(|candidate| !self.is_us(&candidate.pop));
            let before = entry.remote.candidates();
            let candidates = others.map(|candidate| {
                let at = (candidate.pop, candidate.address);
                let peer = peers.entry(at).or_insert_with_key(|at| match state.peers.get(at) {
                    Some(known) => known.clone(),
                    None => self.connect(at),
                });
                let known = before.iter().find(|contender| Arc::ptr_eq(&contender.peer, peer));
                let live = known.map(|contender| contender.live.clone()).unwrap_or_default();
                Contender { peer: peer.clone(), share: candidate.share, live }
            });
            entry.remote.set_candidates(candidates.collect());
            models.insert(key, entry);
        }
        *state = State { peers, models, aliases };
        self.publish(&state);
    }

    /// What each PoP was asked, and what came of it.
    pub fn stats(&self) -> Vec<PeerStats> {
        let mut all: Vec<PeerStats> = self.state().peers.values().map(|peer| peer.stats()).collect();
        all.sort_by(|a, b| (&a.pop, &a.address).cmp(&(&b.pop, &b.address)));
        all
    }

    /// How long a round trip to each PoP took that there is a connection to.
    pub fn round_trips(&self) -> Vec<(PopId, Duration)> {
        let state = self.state();
        let of = |peer: &Arc<Peer>| Some((peer.pop.clone(), peer.round_trip()?));
        let mut all: Vec<(PopId, Duration)> = state.peers.values().filter_map(of).collect();
        all.sort();
        all
    }

    /// A connection to a member of the fleet for what is large. Needs a runtime.
    pub fn http(&self, member: &Member, address: &str) -> PeerHttp {
        PeerHttp::new(member.id.clone(), self.target(member.clone(), address))
    }

    fn is_us(&self, pop: &PopId) -> bool {
        let us = self.identity.member();
        us.role == Role::Pop && us.id == *pop
    }

    fn connect(&self, (pop, address): &(PopId, String)) -> Arc<Peer> {
        Peer::new(pop.clone(), self.target(member(pop), address))
    }

    fn target(&self, member: Member, address: &str) -> Target {
        let (identity, random) = (self.identity.clone(), self.random.clone());
        Target { identity, member, address: address.to_owned(), random }
    }

    /// A model that nobody has described yet.
    fn entry(self: &Arc<Self>, key: Key, repeatable: bool) -> Entry {
        let remote = Arc::new(Remote::new(key, self.random.clone(), self.options.hedging, repeatable));
        let describing = tokio::spawn(describe(Arc::downgrade(self), remote.clone(), self.random.clone()));
        Entry { remote, routed: None, _describing: Task(describing) }
    }

    fn described(&self, remote: &Arc<Remote>, described: Described) {
        let mut state = self.state();
        let Some(entry) = state.models.get_mut(&remote.key) else { return };
        if !Arc::ptr_eq(&entry.remote, remote) {
            return;
        }
        let outputs = described.signature.outputs.iter().map(|output| output.name.clone()).collect();
        if remote.outputs.set(outputs).is_ok() {
            entry.routed = Some(Routed::new(described, remote.clone() as Arc<dyn Distant>));
            self.publish(&state);
        }
    }

    fn publish(&self, state: &State) {
        let routed = state.models.values().filter_map(|entry| entry.routed.clone());
        self.table.set_routed(routed, state.aliases.clone());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a model's candidates what it is, until one of them says.
async fn describe(peers: Weak<Peers>, remote: Arc<Remote>, random: Arc<Random>) {
    let mut pause = RECONNECT_MIN;
    loop {
        for candidate in remote.candidates().iter() {
            match tokio::time::timeout(DESCRIBE_MAX, description(&candidate.peer, &remote.key)).await {
                Ok(Ok(described)) => {
                    if let Some(peers) = peers.upgrade() {
                        peers.described(&remote, described);
                    }
                    return;
                }
                Ok(Err(why)) => {
                    tracing::debug!(model = %remote.key.name, pop = %candidate.peer.pop, %why, "no description");
                }
                Err(_) => {
                    tracing::debug!(model = %remote.key.name, pop = %candidate.peer.pop, "no description in time")
                }
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * random.draw())).await;
        pause = pause.saturating_mul(2).min(RECONNECT_MAX);
    }
}

async fn description(peer: &Peer, key: &Key) -> Result<Described, RequestFailed> {
    let failed = |why: String| RequestFailed::sent(why);
    let uri = format!("https://{}{MODELS_PATH}/{}/{}", authority(&peer.pop), key.name, key.version);
    let request = Request::get(uri).body(Frames::default()).map_err(|error| failed(error.to_string()))?;
    let (parts, body) = peer.send(request).await?.into_parts();
    let body = read(body, HEAD_BYTES_MAX).await?;
    if parts.status != StatusCode::OK {
        return Err(failed(format!("it answered {}", parts.status)));
    }
    let described = decode_description(&body).map_err(|error| failed(error.to_string()))?;
    let info = &described.info;
    match (&info.name, &info.version, info.digest) == (&key.name, &key.version, key.digest) {
        true => Ok(described),
        false => Err(failed(format!("it has {info} of other bytes: {}", info.digest))),
    }
}
