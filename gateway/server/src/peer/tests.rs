//! Peer planes over real sockets and mutual TLS, and gateways that ask them for models they do not have.

mod answers;
mod blobs;
mod failures;
mod limits;
mod streams;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use headland_batcher::{Answer, Call, Model, ModelTable};
use headland_identity::{FleetCa, Identity, MEMBER_VALIDITY, Member};
use headland_nn_core::{DType, Dim, NamedTensor, NnError, Signature, Tensor, TensorSpec};
use headland_remote::{Candidate, PeerStats, Peers, PeersOptions, Route};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::serve::Drained;
use crate::test_support::{Script, gateway};
use crate::{Limits, test_support};

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(20);

/// A fleet's authority, and its members' folders.
struct Fleet {
    dir: TempDir,
    ca: FleetCa,
}

impl Fleet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = FleetCa::create(&dir.path().join("ca"), SystemTime::now()).unwrap();
        Fleet { dir, ca }
    }

    fn identity(&self, pop: &str) -> Arc<Identity> {
        let home = self.dir.path().join(pop);
        if !home.exists() {
            let member = Member::pop(pop.parse().unwrap());
            self.ca.enroll(&home, &member, MEMBER_VALIDITY, SystemTime::now()).unwrap();
        }
        Arc::new(Identity::load(&home).unwrap())
    }

    /// A PoP with these models.
    async fn pop(&self, id: &str, models: impl IntoIterator<Item = Arc<Model>>) -> Pop {
        self.pop_with(id, gateway(models, Limits::default()), None, "127.0.0.1:0").await
    }

    async fn pop_with(&self, id: &str, gateway: Arc<Gateway>, registry: Option<Registry>, at: &str) -> Pop {
        let limits = *gateway.limits();
        self.pop_of(id, peer_plane(gateway, registry), limits, at).await
    }

    /// A PoP whose plane is given.
    async fn pop_of(&self, id: &str, plane: Router, limits: Limits, at: &str) -> Pop {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let identity = self.identity(id);
        let server = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or_default() };
            serve_peers(listener, &identity, plane, shutdown, &limits).await.unwrap()
        });
        Pop { id: id.to_owned(), address, stop, server }
    }

    /// A gateway elsewhere, which has no model of its own.
    fn origin(&self) -> Origin {
        self.origin_with(PeersOptions::default())
    }

    fn origin_with(&self, options: PeersOptions) -> Origin {
        let gateway = gateway([], Limits::default());
        let table = gateway.models().clone();
        let peers = Peers::new(self.identity("origin"), table.clone(), options);
        Origin { gateway, table, peers }
    }
}

/// A PoP that serves its peers.
struct Pop {
    id: String,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Drained>,
}

impl Pop {
    /// This one as a route's candidate.
    fn share(&self, share: f64) -> Candidate {
        Candidate { pop: self.id.parse().unwrap(), address: self.address.to_string(), share }
    }

    /// Cuts its connections where they are.
    async fn kill(self) {
        self.server.abort();
        assert!(self.server.await.unwrap_err().is_cancelled());
    }

    async fn drain(self) -> Drained {
        self.stop.send(()).unwrap();
        self.server.await.unwrap()
    }
}

struct Origin {
    gateway: Arc<Gateway>,
    table: Arc<ModelTable>,
    peers: Arc<Peers>,
}

impl Origin {
    /// Routes `model` to these PoPs, and has it once one of them has described it.
    async fn routed(&self, model: &Model, candidates: Vec<Candidate>) -> Arc<Model> {
        self.route(model, candidates);
        self.found(model).await
    }

    fn route(&self, model: &Model, candidates: Vec<Candidate>) {
        let info = model.info().clone();
        let (name, version, digest) = (info.name, info.version, info.digest);
        self.peers.set_routes(vec![Route { name, version, digest, repeatable: true, candidates }], BTreeMap::new());
    }

    async fn found(&self, model: &Model) -> Arc<Model> {
        let asked = model.info().to_string().parse().unwrap();
        until("the model is described", || self.table.get(&asked).is_ok()).await;
        self.table.get(&asked).unwrap()
    }

    fn stats(&self, pop: &str) -> PeerStats {
        self.peers.stats().into_iter().find(|stats| stats.pop.as_str() == pop).unwrap()
    }
}

fn fra2() -> Member {
    Member::pop("fra2".parse().unwrap())
}

/// Asks again and again, and fails when it never comes true.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A model `name:1` of floats, which does what `script` says.
fn scripted(name: &str, queue_max: usize, script: Script) -> Arc<Model> {
    let spec = |name| vec![TensorSpec::new(name, DType::F32, vec![Dim::Dynamic(None)])];
    let signature = Signature { inputs: spec("x"), outputs: spec("y") };
    test_support::model(&format!("{name}:1"), signature, None, queue_max, script)
}

fn call(value: f32) -> Call {
    let tensor = Tensor::from_vec([1], vec![value]).unwrap();
    Call { inputs: vec![NamedTensor::new("x", tensor)].into(), ..Call::default() }
}

fn value(answer: &Answer) -> f32 {
    answer.outputs[0].tensor.to_slice::<f32>().unwrap()[0]
}

/// Answers with what it is given plus `more`: tells PoPs apart.
fn adding(more: f32) -> Script {
    Box::new(move |inputs, _| {
        let value = inputs[0].tensor.to_slice::<f32>()?[0] + more;
        Ok(vec![NamedTensor::new("y", Tensor::from_vec([1], vec![value])?)])
    })
}

fn spawn(model: &Arc<Model>, call: Call) -> JoinHandle<Result<Answer, NnError>> {
    let model = model.clone();
    tokio::spawn(async move { model.infer(call).await })
}
