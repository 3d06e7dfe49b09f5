//! Time passes: events in their order, requests drawn in each step.

use std::collections::HashMap;

use headland_control::input::Settings;
use headland_control::view::LOST_AFTER_MS;
use headland_control::wanted::Term;
use headland_control::{Controller, LISTEN_FIRST_MS, Wanted};
use headland_control_store::{Entry, Event as StoreEvent, Key, Revision};
use headland_fleet::{Demand, Document, HEARTBEAT_EVERY_MS, Heartbeat, Place, RoutedModel, kind};
use headland_placement::{Options, Rng};

use crate::demand::{diurnal, gamma};
use crate::faults::{self, Fault, FaultKind};
use crate::fleet::{Answer, Fleet};
use crate::outcome::{Hour, Outcome, Recovery, quantile};
use crate::scenario::{ScenarioError, SimScenario};
use crate::world::{NameError, World};

/// How long a PoP waits for a connection before it tries the next candidate.
const CONNECT_TIMEOUT_MS: f64 = 250.0;
/// Beyond this share of its time a device's queue is taken to stand still.
const BUSY_MAX: f64 = 0.98;
const HOUR_MS: u64 = 3_600_000;
/// After a decision that has PoPs load, they are heard again after so long, and then after a multiple of it each time: in a real
/// fleet it is every two seconds, and most of that tells nothing new.
const SETTLE_FIRST_MS: u64 = 2 * HEARTBEAT_EVERY_MS;
const SETTLE_GROWTH: u64 = 4;
/// And at least so often, as long as anything loads.
const SETTLE_MAX_MS: u64 = 900_000;
/// The fleet is open to requests after so many looks at the latest: what moves then is not to make it whole but better.
const FILLING_LOOKS_MAX: usize = 16;
/// The first leader's term.
const TERM: Term = Term { era: 1, epoch: 1 };

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The scenario makes no run.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The fleet that was made has a name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

enum Event<'a> {
    Begins(&'a Fault),
    Ends(&'a Fault),
    /// The control plane notices that a fault has begun or ended.
    Noticed(Option<&'a Fault>),
    /// It hears how demand has moved.
    Demand,
    Step,
    HourEnds,
}

/// Lets a scenario happen, and tells how far it is, in hours.
///
/// # Errors
/// If the scenario makes no run.
pub fn simulate(scenario: &SimScenario, mut progress: impl FnMut(u32)) -> Result<Outcome, SimError> {
    scenario.check()?;
    let rng = &mut Rng::new(scenario.seed);
    let world = World::new(&scenario.fleet().input())?;
    let faults = faults::draw(&scenario.faults, &world, scenario.hours, rng);
    let mut run = Run::new(scenario, &world, Rng::new(rng.bits()))?;
    run.fill();
    for (at_ms, event) in events(scenario, &faults) {
        let now_ms = run.opened_ms + at_ms;
        while let Some(settle_ms) = run.settle_ms.filter(|settle_ms| *settle_ms <= now_ms) {
            run.hear_and_decide(settle_ms);
        }
        if matches!(event, Event::HourEnds) {
            progress((at_ms / HOUR_MS) as u32);
        }
        run.happen(now_ms, event);
    }
    Ok(run.finish(faults))
}

/// Everything that will happen, in the order of time.
fn events<'a>(scenario: &SimScenario, faults: &'a [Fault]) -> Vec<(u64, Event<'a>)> {
    let end_ms = u64::from(scenario.hours) * HOUR_MS;
    let every = |step_ms: u64| (1..=end_ms / step_ms).map(move |count| count * step_ms);
    let mut events = Vec::new();
    for fault in faults {
        let noticed_ms = fault.from_ms + LOST_AFTER_MS;
        events.push((fault.from_ms, Event::Begins(fault)));
        events.push((fault.until_ms, Event::Ends(fault)));
        if fault.until_ms > noticed_ms && !matches!(fault.kind, FaultKind::SlowDisk(_)) {
            events.push((noticed_ms, Event::Noticed(Some(fault))));
        }
        events.push((fault.until_ms + HEARTBEAT_EVERY_MS, Event::Noticed(None)));
    }
    events.extend(every(u64::from(scenario.step_s) * 1_000).map(|at_ms| (at_ms, Event::Step)));
    events.extend(every(u64::from(scenario.demand_s) * 1_000).map(|at_ms| (at_ms, Event::Demand)));
    events.extend(every(HOUR_MS).map(|at_ms| (at_ms, Event::HourEnds)));
    events.retain(|(at_ms, _)| *at_ms <= end_ms);
    // Stable: what happens at one time keeps the order it was listed in.
    events.sort_by_key(|(at_ms, _)| *at_ms);
    events
}

struct Run<'a> {
    scenario: &'a SimScenario,
    world: &'a World,
    fleet: Fleet,
    controller: Controller,
    wanted: Wanted,
    /// Heartbeats of the control plane itself, and revisions of its records.
    sequence: u64,
    /// By model and place: where its requests go.
    routes: HashMap<(usize, usize), Vec<(usize, f64)>>,
    /// By PoP and device: the share of its time that the plan uses.
    busy: HashMap<(usize, usize), f64>,
    /// Who tells of the demand of each place, and the time of the day it was told for.
    tells: Vec<Option<usize>>,
    demand_ms: u64,
    /// Mean rates, summed up.
    sums: Vec<f64>,
    /// By place, its own first: the others from near to far.
    nearest: Vec<Vec<usize>>,
    control_down: u32,
    /// When PoPs that load are heard again, and how long after the time before.
    settle_ms: Option<u64>,
    settle_step_ms: u64,
    opened_ms: u64,
    rng: Rng,
    hour_ms: Vec<f64>,
    hour_requests: u64,
    hour_moved_bytes: u64,
    all_ms: Vec<f64>,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a SimScenario, world: &'a World, rng: Rng) -> Result<Self, SimError> {
        let options = Options { seed: scenario.seed, ..Options::default() };
        let mut controller = Controller::new(Settings { options, ..Settings::default() });
        for (kind, event) in world.records()? {
            controller.read(kind, event);
        }
        let sums = world.rates.iter().scan(0.0, |sum, (.., rate)| {
            *sum += rate;
            Some(*sum)
        });
        let nearest = |from: usize| {
            let mut order: Vec<usize> = (0..world.places.len()).collect();
            order.sort_by(|&a, &b| world.network_ms(from, a).total_cmp(&world.network_ms(from, b)).then(a.cmp(&b)));
            order
        };
        Ok(Self {
            scenario,
            world,
            fleet: Fleet::new(world, scenario),
            controller,
            wanted: Wanted::default(),
            sequence: 0,
            routes: HashMap::new(),
            busy: HashMap::new(),
            tells: vec![None; world.places.len()],
            demand_ms: 0,
            sums: sums.collect(),
            nearest: (0..world.places.len()).map(nearest).collect(),
            control_down: 0,
            settle_ms: None,
            settle_step_ms: SETTLE_FIRST_MS,
            opened_ms: 0,
            rng,
            hour_ms: Vec::new(),
            hour_requests: 0,
            hour_moved_bytes: 0,
            all_ms: Vec::new(),
            outcome: Outcome::default(),
        })
    }

    /// Fills the fleet before it is opened to requests.
    fn fill(&mut self) {
        let mut now_ms = LISTEN_FIRST_MS + HEARTBEAT_EVERY_MS;
        self.hear_and_decide(now_ms);
        for _ in 0..FILLING_LOOKS_MAX {
            let Some(settle_ms) = self.settle_ms else { break };
            now_ms = settle_ms;
            self.hear_and_decide(now_ms);
        }
        self.opened_ms = now_ms;
        self.outcome.filled_bytes = self.fleet.moved_bytes;
    }

    fn happen(&mut self, now_ms: u64, event: Event<'_>) {
        match event {
            Event::Begins(fault) => {
                self.fleet.strike(self.world, &fault.kind, true, now_ms);
                self.control_down += u32::from(fault.kind == FaultKind::Control);
            }
            Event::Ends(fault) => {
                self.fleet.strike(self.world, &fault.kind, false, now_ms);
                self.control_down -= u32::from(fault.kind == FaultKind::Control);
            }
            Event::Noticed(fault) => {
                self.settle_step_ms = SETTLE_FIRST_MS;
                self.hear_and_decide(now_ms);
                if let Some(Fault { from_ms, kind: FaultKind::Pop(_) | FaultKind::Region(_), .. }) = fault
                    && self.control_down == 0
                {
                    let whole_ms = self.fleet.loading_until_ms(now_ms).unwrap_or(now_ms) - self.opened_ms;
                    let (from_s, took_s) = (*from_ms as f64 / 1e3, (whole_ms - from_ms) as f64 / 1e3);
                    self.outcome.recoveries.push(Recovery { from_s, took_s });
                }
            }
            Event::Demand => {
                self.demand_ms = now_ms - self.opened_ms;
                self.tells.fill(None);
                self.settle_step_ms = SETTLE_FIRST_MS;
                self.hear_and_decide(now_ms);
            }
            Event::Step => (0..self.scenario.samples_per_step).for_each(|_| self.request(now_ms)),
            Event::HourEnds => self.end_hour(),
        }
    }

    /// Lets everybody speak whom the control plane hears, and has it decide; not if it is down.
    fn hear_and_decide(&mut self, now_ms: u64) {
        self.settle_ms = None;
        if self.control_down > 0 {
            return;
        }
        // Heartbeats come all the time; only those are told that a decision is made of. The control planes' own tell that there
        // was no silence before.
        for back_ms in [LISTEN_FIRST_MS + HEARTBEAT_EVERY_MS, HEARTBEAT_EVERY_MS, 0] {
            self.sequence += 1;
            let own = own_heartbeat(self.world, self.sequence);
            self.controller.hear(own, now_ms - back_ms);
        }
        let demand = self.demand_told();
        for (at, told) in demand.into_iter().enumerate() {
            if self.fleet.is_heard(at) {
                let heartbeat = self.fleet.heartbeat(self.world, at, told, now_ms);
                self.controller.hear(heartbeat, now_ms);
            }
        }
        self.roll_out(now_ms);
        let Some(wanted) = self.controller.decide(TERM, &self.wanted, now_ms) else { return };
        self.outcome.decisions += 1;
        self.wanted = wanted;
        self.fleet.follow(self.world, &self.wanted, now_ms);
        self.index();
        if let Some(until_ms) = self.fleet.loading_until_ms(now_ms) {
            self.settle_ms = Some((now_ms + self.settle_step_ms).min(until_ms + HEARTBEAT_EVERY_MS));
            self.settle_step_ms = (self.settle_step_ms * SETTLE_GROWTH).min(SETTLE_MAX_MS);
        }
    }

    /// Rollouts begin and go on by records that the control plane writes.
    fn roll_out(&mut self, now_ms: u64) {
        for rollout in self.controller.rollouts(now_ms) {
            let Ok(key) = Key::new(kind::ROLLOUT, [rollout.name.as_str()]) else { continue };
            self.sequence += 1;
            let entry = Entry { key, value: rollout.encode().into(), revision: Revision(self.sequence) };
            self.controller.read(kind::ROLLOUT, StoreEvent::Put(entry));
        }
    }

    /// What each PoP says was asked of it, and for how long: one PoP tells of a place, as long as it is heard.
    fn demand_told(&mut self) -> Vec<(Vec<Demand>, u64)> {
        let window_ms = u64::from(self.scenario.demand_s) * 1_000;
        let mut told = vec![(Vec::new(), 0); self.world.pops.len()];
        let mut shares = vec![None; self.world.places.len()];
        for (place, tells) in self.tells.iter_mut().enumerate() {
            let pops = &self.world.places[place].pops;
            let now = tells.filter(|&pop| self.fleet.is_heard(pop));
            let now = now.or_else(|| pops.iter().copied().find(|&pop| self.fleet.is_heard(pop)));
            if now != *tells {
                // Whoever told before tells of nothing from now on.
                pops.iter().for_each(|&pop| told[pop].1 = window_ms);
                let longitude = self.world.places[place].location.map_or(0.0, |at| at.longitude_deg);
                shares[place] = now.map(|pop| (pop, diurnal(self.scenario, longitude, self.demand_ms as f64 / 1e3)));
                *tells = now;
            }
        }
        for &(model, place, rate) in &self.world.rates {
            if let Some((pop, share)) = shares[place] {
                let requests = (rate * share * window_ms as f64 / 1e3).round() as u64;
                let key = self.world.models[model].record.key.clone();
                told[pop].0.push(Demand { key, requests, failures: 0, shed: 0, latency_us: 0.0 });
            }
        }
        told
    }

    /// Tables that requests are answered with.
    fn index(&mut self) {
        self.busy.clear();
        self.routes.clear();
        for routes in self.wanted.routes.values() {
            let Some(place) = self.world.place(&routes.region) else { continue };
            for RoutedModel { key, candidates, .. } in &routes.models {
                let Some(model) = self.world.model(key) else { continue };
                let candidates = candidates.iter();
                let to = candidates.filter_map(|it| Some((self.world.pop(&it.source.pop)?, it.share))).collect();
                self.routes.insert((model, place), to);
            }
        }
        let planned = self.controller.planned().into_iter().flat_map(|planned| &planned.plan.models);
        for model in planned {
            let Some(at) = self.world.planned(&model.model) else { continue };
            for replica in &model.replicas {
                let pop = replica.pop.as_str().parse().ok().and_then(|pop| self.world.pop(&pop));
                let Some((pop, device)) = pop.map(|pop| (pop, usize::from(replica.device.0))) else { continue };
                let cost = self.world.models[at].cost_on(&self.world.pops[pop].devices[device]);
                *self.busy.entry((pop, device)).or_default() += cost.busy_us * replica.requests_per_s / 1e6;
            }
        }
    }

    /// Draws a request and has it answered.
    fn request(&mut self, now_ms: u64) {
        let total = self.sums.last().copied().unwrap_or(0.0);
        let point = self.rng.unit() * total;
        let at = self.sums.partition_point(|sum| *sum <= point).min(self.sums.len().saturating_sub(1));
        let Some(&(model, place, _)) = self.world.rates.get(at) else { return };
        let longitude = self.world.places[place].location.map_or(0.0, |at| at.longitude_deg);
        let share = diurnal(self.scenario, longitude, (now_ms - self.opened_ms) as f64 / 1e3);
        if self.rng.unit() * (1.0 + self.scenario.diurnal_swing) > share {
            return;
        }
        self.outcome.requests += 1;
        self.hour_requests += 1;
        if let Some((ms, first)) = self.answer(model, place, now_ms) {
            self.outcome.answered += 1;
            self.outcome.first += u64::from(first);
            self.hour_ms.push(ms);
        }
    }

    /// How long a request takes, and whether who was asked first answered it; `None` if nobody did.
    fn answer(&mut self, model: usize, place: usize, now_ms: u64) -> Option<(f64, bool)> {
        // It arrives at the nearest PoP that is up, at any of those of one place.
        let up = |place: &usize| self.world.places[*place].pops.iter().any(|&pop| self.fleet.is_up(pop));
        let arrives = self.nearest[place].iter().copied().find(up)?;
        let pops: Vec<usize> =
            self.world.places[arrives].pops.iter().copied().filter(|&pop| self.fleet.is_up(pop)).collect();
        let entry = pops[self.rng.below(pops.len())];
        let mut ms = self.world.network_ms(place, arrives);
        if let Answer::After(device, wait_ms) = self.fleet.answer(self.world, entry, model, now_ms) {
            return Some((ms + wait_ms as f64 + self.run_ms(model, entry, device), true));
        }
        let to = self.routes.get(&(model, arrives))?.clone();
        let mut order: Vec<usize> = (0..to.len()).collect();
        let mut point = self.rng.unit();
        let chosen = to.iter().position(|(_, share)| {
            point -= share;
            point < 0.0
        });
        if let Some(chosen) = chosen {
            order[..=chosen].rotate_right(1);
        }
        for (tried, candidate) in order.into_iter().enumerate() {
            let pop = to[candidate].0;
            if !self.fleet.is_up(pop) {
                ms += CONNECT_TIMEOUT_MS;
                continue;
            }
            ms += self.world.network_ms(arrives, self.world.pops[pop].place);
            if let Answer::After(device, wait_ms) = self.fleet.answer(self.world, pop, model, now_ms) {
                return Some((ms + wait_ms as f64 + self.run_ms(model, pop, device), tried == 0));
            }
        }
        None
    }

    /// How long a run takes with the queue before it, when so much more or less than planned is asked for.
    fn run_ms(&mut self, model: usize, pop: usize, device: usize) -> f64 {
        let burst = gamma(self.scenario.burstiness, &mut self.rng);
        let cost = self.world.models[model].cost_on(&self.world.pops[pop].devices[device]);
        let planned = self.busy.get(&(pop, device)).copied().unwrap_or(0.0);
        let busy = (planned * burst).min(BUSY_MAX);
        cost.alone_us / 1e3 * (1.0 + busy / (2.0 * (1.0 - busy)))
    }

    fn end_hour(&mut self) {
        let answered = self.hour_ms.len() as f64;
        self.outcome.hours.push(Hour {
            p50_ms: quantile(&mut self.hour_ms, 0.5),
            p99_ms: quantile(&mut self.hour_ms, 0.99),
            hit_rate: if self.hour_requests == 0 { 1.0 } else { answered / self.hour_requests as f64 },
            moved_bytes: self.fleet.moved_bytes - self.hour_moved_bytes - self.outcome.filled_bytes,
            live_pops: self.fleet.live(),
        });
        self.hour_moved_bytes = self.fleet.moved_bytes - self.outcome.filled_bytes;
        self.hour_requests = 0;
        self.all_ms.append(&mut self.hour_ms);
    }

    fn finish(mut self, faults: Vec<Fault>) -> Outcome {
        Outcome {
            p50_ms: quantile(&mut self.all_ms, 0.5),
            p99_ms: quantile(&mut self.all_ms, 0.99),
            moved_bytes: self.fleet.moved_bytes,
            faults,
            ..self.outcome
        }
    }
}

/// What a control plane says of itself.
fn own_heartbeat(world: &World, sequence: u64) -> Heartbeat {
    let place = Place { region: world.places[0].region.clone(), location: None, failure_domain: None };
    Heartbeat { sequence, ..Heartbeat::of_storage(world.control.clone(), 1, place, String::new(), String::new()) }
}

#[cfg(test)]
mod tests;
