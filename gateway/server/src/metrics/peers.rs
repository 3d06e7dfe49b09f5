//! What was asked of other PoPs, read from the counters of those who ask.

use headland_remote::PeerStats;
use prometheus::proto::MetricFamily;

use super::{Counter, Gauge};
use crate::gateway::Gateway;

const PEER: [&str; 2] = ["pop", "address"];

/// Name, help, and where to read it.
type Read = (&'static str, &'static str, fn(&PeerStats) -> f64);

const COUNTS: [Read; 7] = [
    ("headland_peer_requests_total", "Requests sent to a PoP, retries and hedges too", |peer| peer.requests as f64),
    ("headland_peer_answered_total", "Requests a PoP answered", |peer| peer.answered as f64),
    ("headland_peer_failed_total", "Requests that failed on the way to a PoP or there", |peer| peer.failed as f64),
    ("headland_peer_shed_total", "Requests a PoP had no room for", |peer| peer.shed as f64),
    ("headland_peer_retries_total", "Requests that another PoP was asked before", |peer| peer.retries as f64),
    ("headland_peer_hedges_total", "Requests that another PoP was being asked at the same time", |peer| {
        peer.hedges as f64
    }),
    ("headland_peer_answered_duration_seconds_total", "Time until a PoP's answers were here", |peer| {
        peer.answered_us as f64 / 1e6
    }),
];

const GAUGES: [Read; 2] = [
    ("headland_peer_outstanding_requests", "Requests under way to a PoP", |peer| peer.outstanding as f64),
    ("headland_peer_connected", "1 where there is a connection to a PoP", |peer| f64::from(u8::from(peer.connected))),
];

pub(super) fn families(gateway: &Gateway) -> Vec<MetricFamily> {
    let peers = gateway.peers().map(|peers| peers.stats()).unwrap_or_default();
    let counters = COUNTS.into_iter().flat_map(|(name, help, read)| {
        let counter = Counter::new(name, help, &PEER);
        for peer in &peers {
            counter.add(&[peer.pop.as_str(), &peer.address], read(peer));
        }
        counter.families()
    });
    let gauges = GAUGES.into_iter().flat_map(|(name, help, read)| {
        let gauge = Gauge::new(name, help, &PEER);
        for peer in &peers {
            gauge.set(&[peer.pop.as_str(), &peer.address], read(peer));
        }
        gauge.families()
    });
    counters.chain(gauges).collect()
}
