//! What every member of a fleet has: an identity, a store and a bus, a way to the other members, and a listener for them.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use headland_control_store::{Bus, ControlStore, NatsOptions, NatsStore};
use headland_identity::{Identity, Member};
use headland_remote::{Peers, PeersOptions};
use headland_server::{Limits, peer_plane, serve_peers};
use tokio::net::TcpListener;

use crate::args::FleetOptions;
use crate::up::{Parts, PeerServer, bind};

/// A member of a fleet, before it serves.
pub struct Joined {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// The fleet's records.
    pub store: Arc<NatsStore>,
    /// The fleet's messages.
    pub bus: Arc<dyn Bus>,
    /// Where other members reach it.
    pub address: String,
    listener: TcpListener,
}

impl Joined {
    /// Reads the identity, which must be `member`'s, binds the peer plane, and begins to connect to NATS. A NATS server that is
    /// away is no error: a PoP serves without one.
    pub async fn new(options: &FleetOptions, expected: Option<&Member>, replicas: u8) -> Result<Self> {
        let dir = options.identity.as_deref().context("say who this member is with --identity")?;
        let identity = Arc::new(Identity::load(dir)?);
        if let Some(expected) = expected.filter(|expected| *expected != identity.member()) {
            let dir = dir.display();
            bail!(
                "{dir} is the identity of {}, and not of {expected}; make one with `headland control issue`",
                identity.member()
            );
        }
        let listener = bind(options.peer_listen, "--peer-listen").await?;
        let mut nats =
            NatsOptions::new(options.nats.as_deref().context("name the fleet's NATS servers with --nats")?.parse()?);
        nats.credentials_file = options.nats_credentials.clone();
        nats.ca_file = options.nats_ca.clone();
        nats.namespace = options.nats_namespace.parse()?;
        nats.client_name = format!("headland {}", identity.member());
        nats.replicas = replicas;
        let store = Arc::new(NatsStore::connect(nats).await?);
        let bus: Arc<dyn Bus> = Arc::new(store.bus());
        let address = match &options.advertise {
            Some(address) => address.clone(),
            None => listener.local_addr().context("the peer plane's address")?.to_string(),
        };
        tracing::info!(member = %identity.member(), fleet = %identity.fleet(), "other members reach this one at {address}");
        Ok(Joined { identity, store, bus, address, listener })
    }

    /// The fleet's records, for whoever takes any store.
    pub fn control(&self) -> Arc<dyn ControlStore> {
        self.store.clone()
    }

    /// The way to the other members, from the gateway of `parts`.
    pub fn peers(&self, parts: &Parts, hedging: bool) -> Arc<Peers> {
        let table = parts.administration.gateway.models().clone();
        Peers::new(self.identity.clone(), table, PeersOptions { hedging })
    }

    /// What serves other members.
    pub fn serve(self, parts: &Parts) -> PeerServer {
        let administration = &parts.administration;
        let plane = peer_plane(administration.gateway.clone(), Some(administration.registry.clone()));
        let (limits, Joined { identity, listener, .. }) = (parts.limits, self);
        Box::new(move |until: BoxFuture<'static, ()>| {
            async move { serve(listener, &identity, plane, until, &limits).await }.boxed()
        })
    }
}

async fn serve(
    listener: TcpListener,
    identity: &Identity,
    plane: axum::Router,
    until: BoxFuture<'static, ()>,
    limits: &Limits,
) {
    if let Err(error) = serve_peers(listener, identity, plane, until, limits).await {
        tracing::error!("other members of the fleet are not served: {error}");
    }
}
