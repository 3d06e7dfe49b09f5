//! The loads: who is asked what, and how a round over all of them goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use headland_load::{Arrivals, Load, Outcome, Pace};

use crate::Setup;
use headland_report::Curve;

/// How long the answers that are still to come are waited for: a server that takes longer has them counted as unanswered.
const DRAIN: Duration = Duration::from_secs(20);
/// How long every contender is asked before anything is measured.
const WARM_UP: Duration = Duration::from_millis(400);

/// Writes the next request.
pub type Source = Box<dyn FnMut(&mut Vec<u8>)>;

/// One of those that are compared.
pub struct Contender {
    pub name: &'static str,
    pub address: SocketAddr,
    pub source: Source,
}

/// What a round has come to.
pub enum Turn<'a> {
    /// It begins: the time for what is no server.
    Round,
    /// A contender's load is over.
    Of(&'a str, &'a Outcome),
}

/// The same request again and again.
pub fn repeated(request: Vec<u8>) -> Source {
    Box::new(move |out| out.extend_from_slice(&request))
}

impl Contender {
    pub fn new(name: &'static str, address: SocketAddr, source: Source) -> Self {
        Contender { name, address, source }
    }

    /// So many connections, each with one request on its way. Any answer but 200 fails the measurement.
    pub fn closed(&mut self, connections: usize, window: Duration) -> Result<Outcome> {
        let outcome = self.run(connections, Pace::Closed, window)?;
        let ok = outcome.not_ok() == 0;
        ensure!(ok, "{}: {:?}, {} broken", self.name, outcome.statuses, outcome.broken);
        Ok(outcome)
    }

    /// Poisson arrivals at this rate. Refusals are part of what is measured.
    pub fn open(&mut self, connections: usize, rate: f64, seed: u64, window: Duration) -> Result<Outcome> {
        self.run(connections, Pace::Open(Arrivals::poisson(rate, seed)), window)
    }

    fn run(&mut self, connections: usize, pace: Pace, window: Duration) -> Result<Outcome> {
        let (address, write) = (self.address, &mut *self.source);
        let load = Load { address, connections, pace, window, drain: DRAIN, write };
        headland_load::run(load).with_context(|| format!("loading {}", self.name))
    }
}

/// All contenders in turn, each round anew, in a closed loop.
pub fn in_turn(
    setup: &Setup,
    contenders: &mut [Contender],
    connections: usize,
    mut on: impl FnMut(Turn<'_>) -> Result<()>,
) -> Result<()> {
    for contender in contenders.iter_mut() {
        contender.closed(connections, WARM_UP)?;
    }
    for _ in 0..setup.rounds {
        on(Turn::Round)?;
        for contender in contenders.iter_mut() {
            let outcome = contender.closed(connections, setup.window)?;
            on(Turn::Of(contender.name, &outcome))?;
        }
    }
    Ok(())
}

/// The latencies of all rounds together, by contender, in the order they first came.
#[derive(Default)]
pub struct Latencies {
    order: Vec<String>,
    outcomes: BTreeMap<String, Outcome>,
}

impl Latencies {
    pub fn add(&mut self, name: &str, outcome: &Outcome) -> Result<()> {
        match self.outcomes.get_mut(name) {
            Some(all) => all.accepted.add(&outcome.accepted)?,
            None => {
                self.order.push(name.to_owned());
                self.outcomes.insert(name.to_owned(), outcome.clone());
            }
        }
        Ok(())
    }

    /// Latency in milliseconds against the share at or below it, one curve each.
    pub fn curves(&self) -> Vec<Curve> {
        let curve = |name: &String| {
            let points =
                self.outcomes.get(name)?.distribution().into_iter().map(|(us, share)| (us / 1e3, share)).collect();
            Some(Curve { name: name.clone(), points })
        };
        self.order.iter().filter_map(curve).collect()
    }
}
