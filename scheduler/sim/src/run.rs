//! Time passes: events in their order, requests drawn in each step.

use std::collections::{BTreeMap, HashMap};

use headland_placement::{DeviceIndex, Input, InputError, ModelKey, PlaceId, Plan, PopId, Rng};

use crate::control::Controller;
use crate::demand;
use crate::faults::{self, Fault, FaultKind};
use crate::fleet::Fleet;
use crate::outcome::{Hour, Outcome, Recovery, quantile};
use crate::scenario::SimScenario;

/// How long a caller waits before it tries the next candidate, if a PoP does not answer.
const CONNECT_TIMEOUT_MS: f64 = 250.0;
/// Beyond this share of its time a device's queue is taken to stand still.
const BUSY_MAX: f64 = 0.98;
const HOUR_S: f64 = 3_600.0;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The scenario's numbers make no run.
    #[error("a run needs at least one PoP, model, place and hour, and steps and replanning of at least one second")]
    Empty,
    /// The fleet that was made contradicts itself.
    #[error("the fleet cannot be planned for")]
    Input(#[from] InputError),
}

enum Event<'a> {
    Begins(&'a Fault),
    Ends(&'a Fault),
    /// The control plane notices that a fault has begun or ended.
    Noticed(Option<&'a Fault>),
    Replan,
    Step,
    HourEnds,
}

/// Lets a scenario happen.
///
/// # Errors
/// If the scenario is empty, or what it makes contradicts itself.
pub fn simulate(scenario: &SimScenario, controller: &mut dyn Controller) -> Result<Outcome, SimError> {
    let sizes = [scenario.pops, scenario.models, scenario.places];
    let times = [scenario.hours, scenario.step_s, scenario.replan_s];
    if sizes.contains(&0) || times.contains(&0) {
        return Err(SimError::Empty);
    }
    let rng = &mut Rng::new(scenario.seed);
    let means = scenario.fleet().input();
    let faults = faults::draw(&scenario.faults, &means, scenario.hours, rng);
    let mut run = Run::new(scenario, means, Rng::new(rng.bits()));
    run.replan(controller, 0.0, true)?;
    // The fleet is filled before it is opened to requests.
    run.opened_s = run.loaded_s;
    run.outcome.filled_bytes = run.fleet.moved_bytes;
    for (at_s, event) in events(scenario, &faults) {
        run.happen(controller, at_s, event)?;
    }
    Ok(run.finish(faults))
}

/// Everything that will happen, in the order of time.
fn events<'a>(scenario: &SimScenario, faults: &'a [Fault]) -> Vec<(f64, Event<'a>)> {
    let end_s = f64::from(scenario.hours) * HOUR_S;
    let every = |step_s: f64| (1..=(end_s / step_s) as u32).map(move |count| f64::from(count) * step_s);
    let mut events = Vec::new();
    for fault in faults {
        let noticed_s = fault.from_s + f64::from(scenario.heartbeat_timeout_s);
        events.push((fault.from_s, Event::Begins(fault)));
        events.push((fault.until_s, Event::Ends(fault)));
        if fault.until_s > noticed_s && !matches!(fault.kind, FaultKind::SlowDisk(_)) {
            events.push((noticed_s, Event::Noticed(Some(fault))));
        }
        events.push((fault.until_s, Event::Noticed(None)));
    }
    events.extend(every(f64::from(scenario.step_s)).map(|at_s| (at_s, Event::Step)));
    events.extend(every(f64::from(scenario.replan_s)).map(|at_s| (at_s, Event::Replan)));
    events.extend(every(HOUR_S).map(|at_s| (at_s, Event::HourEnds)));
    events.retain(|(at_s, _)| *at_s <= end_s);
    // Stable: what happens at one time keeps the order it was listed in.
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    events
}

struct Run<'a> {
    scenario: &'a SimScenario,
    fleet: Fleet,
    seen: Input,
    plan: Plan,
    /// By device: the share of its time that the plan uses.
    busy: HashMap<(PopId, DeviceIndex), f64>,
    routes: HashMap<(ModelKey, PlaceId), (usize, usize)>,
    /// Mean rates, summed up, with who asks for what.
    sums: Vec<f64>,
    askers: Vec<(ModelKey, PlaceId)>,
    costs: HashMap<ModelKey, BTreeMap<headland_placement::DeviceClassName, (f64, f64)>>,
    control_down: u32,
    pending: bool,
    loaded_s: f64,
    opened_s: f64,
    rng: Rng,
    hour_ms: Vec<f64>,
    hour_requests: u64,
    hour_moved_bytes: u64,
    all_ms: Vec<f64>,
    outcome: Outcome,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a SimScenario, means: Input, rng: Rng) -> Self {
        let (mut sums, mut askers, mut total) = (Vec::new(), Vec::new(), 0.0);
        for demand in &means.demand {
            for rate in &demand.rates {
                total += rate.requests_per_s;
                sums.push(total);
                askers.push((demand.model.clone(), rate.place.clone()));
            }
        }
        let costs = means.models.iter().map(|model| {
            let costs = model.costs.iter().map(|cost| (cost.class.clone(), (cost.alone_us(), cost.busy_us())));
            (model.key.clone(), costs.collect())
        });
        Self {
            scenario,
            costs: costs.collect(),
            seen: means.clone(),
            fleet: Fleet::new(means, scenario.pull_bytes_per_s),
            plan: Plan::default(),
            busy: HashMap::new(),
            routes: HashMap::new(),
            sums,
            askers,
            control_down: 0,
            pending: false,
            loaded_s: 0.0,
            opened_s: 0.0,
            rng,
            hour_ms: Vec::new(),
            hour_requests: 0,
            hour_moved_bytes: 0,
            all_ms: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    fn happen(&mut self, controller: &mut dyn Controller, at_s: f64, event: Event<'_>) -> Result<(), SimError> {
        let now_s = self.opened_s + at_s;
        match event {
            Event::Begins(fault) => {
                self.fleet.strike(&fault.kind, true);
                self.control_down += u32::from(fault.kind == FaultKind::Control);
            }
            Event::Ends(fault) => {
                self.fleet.strike(&fault.kind, false);
                self.control_down -= u32::from(fault.kind == FaultKind::Control);
            }
            Event::Noticed(fault) => {
                self.replan(controller, now_s, false)?;
                if let Some(Fault { from_s, kind: FaultKind::Pop(_) | FaultKind::Region(_), .. }) = fault
                    && self.control_down == 0
                {
                    let took_s = self.loaded_s - self.opened_s - from_s;
                    self.outcome.recoveries.push(Recovery { from_s: *from_s, took_s });
                }
            }
            Event::Replan => self.replan(controller, now_s, true)?,
            Event::Step => (0..self.scenario.samples_per_step).for_each(|_| self.request(now_s)),
            Event::HourEnds => self.end_hour(),
        }
        Ok(())
    }

    /// Has the control plane plan for what it sees, if it is up; if not, as soon as it is.
    fn replan(&mut self, controller: &mut dyn Controller, now_s: f64, demand: bool) -> Result<(), SimError> {
        self.pending |= demand;
        if self.control_down > 0 {
            return Ok(());
        }
        if std::mem::take(&mut self.pending) {
            demand::set(&mut self.seen, &self.fleet.all, self.scenario, now_s - self.opened_s);
        }
        self.seen.pops = self.fleet.heard();
        let previous = (!self.plan.models.is_empty()).then_some(&self.plan);
        self.plan = controller.plan(&self.seen, previous)?;
        self.outcome.plans += 1;
        self.loaded_s = self.fleet.follow(&self.plan, now_s);
        self.index();
        Ok(())
    }

    /// Tables that requests are answered with.
    fn index(&mut self) {
        self.busy.clear();
        self.routes.clear();
        let classes: HashMap<&PopId, _> = self.fleet.all.pops.iter().map(|pop| (&pop.id, &pop.devices)).collect();
        for (at, model) in self.plan.models.iter().enumerate() {
            for replica in &model.replicas {
                let device = classes.get(&replica.pop).and_then(|devices| devices.get(usize::from(replica.device.0)));
                let cost = device.and_then(|device| self.costs.get(&model.model)?.get(&device.class));
                let share = cost.map_or(0.0, |(_, busy_us)| busy_us * replica.requests_per_s / 1e6);
                *self.busy.entry((replica.pop.clone(), replica.device)).or_default() += share;
            }
            for (route, entry) in model.routes.iter().enumerate() {
                self.routes.insert((model.model.clone(), entry.place.clone()), (at, route));
            }
        }
    }

    /// Draws a request and has it answered.
    fn request(&mut self, now_s: f64) {
        let total = self.sums.last().copied().unwrap_or(0.0);
        let point = self.rng.unit() * total;
        let at = self.sums.partition_point(|sum| *sum <= point).min(self.sums.len().saturating_sub(1));
        let Some((model, place)) = self.askers.get(at).cloned() else { return };
        let longitude = self.fleet.all.places.iter().find(|entry| entry.id == place).and_then(|entry| entry.location);
        let share = demand::diurnal(self.scenario, longitude.map_or(0.0, |at| at.longitude_deg), now_s - self.opened_s);
        if self.rng.unit() * (1.0 + self.scenario.diurnal_swing) > share {
            return;
        }
        self.outcome.requests += 1;
        self.hour_requests += 1;
        if let Some((ms, first)) = self.answer(&model, &place, now_s) {
            self.outcome.answered += 1;
            self.outcome.first += u64::from(first);
            self.hour_ms.push(ms);
        }
    }

    /// How long a request takes, and whether its first candidate answered it; `None` if nobody did.
    fn answer(&mut self, model: &ModelKey, place: &PlaceId, now_s: f64) -> Option<(f64, bool)> {
        let &(at, route) = self.routes.get(&(model.clone(), place.clone()))?;
        let plan = self.plan.models[at].clone();
        let to = &plan.routes[route].to;
        let mut order: Vec<usize> = (0..to.len()).collect();
        let mut point = self.rng.unit();
        let chosen = to.iter().position(|share| {
            point -= share.share;
            point < 0.0
        });
        if let Some(chosen) = chosen {
            order[..=chosen].rotate_right(1);
        }
        let mut ms = 0.0;
        for (tried, &candidate) in order.iter().enumerate() {
            let replica = &plan.replicas[to[candidate].replica as usize];
            if !self.fleet.is_up(&replica.pop) {
                ms += CONNECT_TIMEOUT_MS;
                continue;
            }
            let network_ms = self.network_ms(place, &replica.pop);
            ms += network_ms;
            if self.fleet.serves(model, &replica.pop, replica.device, now_s) {
                let burst = demand::gamma(self.scenario.burstiness, &mut self.rng);
                return Some((ms + self.run_ms(model, replica, burst), tried == 0));
            }
        }
        None
    }

    fn network_ms(&self, from: &PlaceId, pop: &PopId) -> f64 {
        let all = &self.fleet.all;
        let to = all.pops.iter().find(|entry| &entry.id == pop).map(|entry| &entry.place);
        if to == Some(from) {
            return all.latency.local_ms;
        }
        let at = |id: &PlaceId| all.places.iter().find(|place| &place.id == id).and_then(|place| place.location);
        all.latency.estimate_ms(at(from), to.and_then(at))
    }

    /// How long a run takes with the queue before it, when so much more or less than planned is asked for.
    fn run_ms(&self, model: &ModelKey, replica: &headland_placement::Replica, burst: f64) -> f64 {
        let pop = self.fleet.all.pops.iter().find(|entry| entry.id == replica.pop);
        let class = pop.and_then(|pop| pop.devices.get(usize::from(replica.device.0))).map(|device| &device.class);
        let alone_us = class.and_then(|class| self.costs.get(model)?.get(class)).map_or(0.0, |cost| cost.0);
        let planned = self.busy.get(&(replica.pop.clone(), replica.device)).copied().unwrap_or(0.0);
        let busy = (planned * burst).min(BUSY_MAX);
        alone_us / 1e3 * (1.0 + busy / (2.0 * (1.0 - busy)))
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

#[cfg(test)]
mod tests;
