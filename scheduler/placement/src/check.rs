//! Holds a plan against its input, independently of the solver: the control plane publishes nothing that fails here.
//!
//! It reads ids and numbers anew and shares no table with the phases, so that a mistake there is found here.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::ids::{DeviceIndex, ModelKey, PlaceId, PopId};
use crate::input::{Accelerator, DeviceCost, Input, ModelSpec, Pop, PopDevice, PopState};
use crate::plan::{ModelPlan, Plan};

/// Rounding that shares and sums of them may have.
const TOLERANCE: f64 = 1e-6;

/// What a plan does that it must not.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// The plan and the input speak of different models.
    #[error("the plan has {0} where the input has another model, or lacks one")]
    Models(String),
    /// A replica is on a device that is not there.
    #[error("{model} is to be on device {} of {pop}, which is not there", .device.0)]
    NoDevice {
        /// The model.
        model: ModelKey,
        /// The PoP.
        pop: PopId,
        /// The device.
        device: DeviceIndex,
    },
    /// A replica is where it must not be.
    #[error("{model} must not be on {pop}: {why}")]
    Forbidden {
        /// The model.
        model: ModelKey,
        /// The PoP.
        pop: PopId,
        /// Why.
        why: &'static str,
    },
    /// A device holds more than its memory.
    #[error("device {} of {pop} is to hold {bytes} bytes and has {memory_bytes}", .device.0)]
    Memory {
        /// The PoP.
        pop: PopId,
        /// The device.
        device: DeviceIndex,
        /// What it is to hold.
        bytes: u64,
        /// What it has.
        memory_bytes: u64,
    },
    /// A device is planned to be busier than allowed.
    #[error("device {} of {pop} is to be busy {share:.4} of its time", .device.0)]
    Busy {
        /// The PoP.
        pop: PopId,
        /// The device.
        device: DeviceIndex,
        /// The share of its time.
        share: f64,
    },
    /// A model has too few or too many replicas, or is in too few failure domains, and the plan does not say so.
    #[error("{model} has {replicas} replicas in {domains} failure domains, which its rule does not allow")]
    Replicas {
        /// The model.
        model: ModelKey,
        /// How many there are.
        replicas: usize,
        /// In how many failure domains.
        domains: usize,
    },
    /// Routes do not fit the demand or the replicas.
    #[error("the routes of {model} from {place}: {why}")]
    Route {
        /// The model.
        model: ModelKey,
        /// The place.
        place: PlaceId,
        /// What is wrong.
        why: &'static str,
    },
    /// More is to be loaded than the budget allows.
    #[error("{loads} replicas with {bytes} bytes are to be loaded, more than the budget allows")]
    Churn {
        /// How many.
        loads: u64,
        /// How much.
        bytes: u64,
    },
}

/// Whether a plan keeps every constraint of an input. What counts as loaded is what the input says and the plan before.
///
/// # Errors
/// The first constraint that it breaks.
pub fn check(input: &Input, previous: Option<&Plan>, plan: &Plan) -> Result<(), Violation> {
    let mut specs: Vec<_> = input.models.iter().collect();
    specs.sort_by(|a, b| a.key.cmp(&b.key));
    let same = specs.len() == plan.models.len() && specs.iter().zip(&plan.models).all(|(a, b)| a.key == b.model);
    if !same {
        let odd = specs.iter().zip(&plan.models).find(|(a, b)| a.key != b.model);
        return Err(Violation::Models(odd.map_or("a different number".to_owned(), |(_, b)| b.model.to_string())));
    }
    let mut checker = Checker::new(input);
    for (spec, model) in specs.into_iter().zip(&plan.models) {
        checker.model(spec, model)?;
    }
    checker.devices()?;
    churn(input, previous, plan, &checker.pops)
}

type Slot<'a> = (&'a PopId, DeviceIndex);

struct Checker<'a> {
    input: &'a Input,
    pops: HashMap<&'a PopId, &'a Pop>,
    rates: HashMap<&'a ModelKey, HashMap<&'a PlaceId, f64>>,
    excluded: HashSet<(&'a ModelKey, &'a PopId)>,
    bytes: HashMap<Slot<'a>, u64>,
    busy_us: HashMap<Slot<'a>, f64>,
}

impl<'a> Checker<'a> {
    fn new(input: &'a Input) -> Self {
        let rates = input.demand.iter().map(|demand| {
            let positive = demand.rates.iter().filter(|rate| rate.requests_per_s > 0.0);
            (&demand.model, positive.map(|rate| (&rate.place, rate.requests_per_s)).collect())
        });
        Self {
            input,
            pops: input.pops.iter().map(|pop| (&pop.id, pop)).collect(),
            rates: rates.collect(),
            excluded: input.excluded.iter().map(|pair| (&pair.model, &pair.pop)).collect(),
            bytes: HashMap::new(),
            busy_us: HashMap::new(),
        }
    }

    fn model(&mut self, spec: &'a ModelSpec, plan: &'a ModelPlan) -> Result<(), Violation> {
        let mut slots: Vec<(Slot<'a>, f64)> = Vec::with_capacity(plan.replicas.len());
        let (mut seen, mut domains) = (HashSet::new(), BTreeSet::new());
        for replica in &plan.replicas {
            let (pop, device) = self.device(spec, &replica.pop, replica.device)?;
            let forbidden = |why| Violation::Forbidden { model: spec.key.clone(), pop: pop.id.clone(), why };
            let (bytes, busy_us) = admitted(self.input, spec, pop, device).map_err(forbidden)?;
            if self.excluded.contains(&(&spec.key, &pop.id)) {
                return Err(forbidden("it is excluded there"));
            }
            let slot = (&replica.pop, replica.device);
            if !seen.insert(slot) {
                return Err(forbidden("it is there already"));
            }
            domains.insert(&pop.failure_domain);
            *self.bytes.entry(slot).or_default() += bytes;
            slots.push((slot, busy_us));
        }
        self.counts(spec, plan, domains.len())?;
        self.routes(spec, plan, &slots)
    }

    fn device(&self, spec: &ModelSpec, id: &PopId, index: DeviceIndex) -> Result<(&'a Pop, &'a PopDevice), Violation> {
        let found = self.pops.get(id).and_then(|pop| Some((*pop, pop.devices.get(usize::from(index.0))?)));
        found.ok_or_else(|| Violation::NoDevice { model: spec.key.clone(), pop: id.clone(), device: index })
    }

    fn counts(&self, spec: &ModelSpec, plan: &ModelPlan, domains: usize) -> Result<(), Violation> {
        let replicas = plan.replicas.len();
        let rule = &spec.replicas;
        let max = rule.max.unwrap_or(u32::MAX);
        let idle = rule.scale_to_zero && self.rates.get(&spec.key).is_none_or(HashMap::is_empty);
        let at_least = |count: u32| if idle { 0 } else { count.min(max) };
        let lacks_replicas = at_least(rule.min.max(rule.domains_min)).saturating_sub(replicas as u32);
        let lacks_domains = at_least(rule.domains_min).saturating_sub(domains as u32);
        let told = (plan.shortfall.replicas, plan.shortfall.domains) == (lacks_replicas, lacks_domains);
        if told && replicas <= max as usize {
            return Ok(());
        }
        Err(Violation::Replicas { model: spec.key.clone(), replicas, domains })
    }

    fn routes(&mut self, spec: &'a ModelSpec, plan: &'a ModelPlan, slots: &[(Slot<'a>, f64)]) -> Result<(), Violation> {
        let none = HashMap::new();
        let rates = self.rates.get(&spec.key).unwrap_or(&none);
        let mut routed = HashSet::new();
        for route in &plan.routes {
            let wrong = |why| Violation::Route { model: spec.key.clone(), place: route.place.clone(), why };
            let Some(&rate) = rates.get(&route.place) else {
                return Err(wrong("there is no demand"));
            };
            if (rate - route.requests_per_s).abs() > TOLERANCE * rate {
                return Err(wrong("the demand is another"));
            }
            if !routed.insert(&route.place) {
                return Err(wrong("they are listed twice"));
            }
            let (mut total, mut used) = (0.0, HashSet::new());
            for share in &route.to {
                let Some((slot, busy_us)) = slots.get(share.replica as usize) else {
                    return Err(wrong("they name a replica that is not there"));
                };
                if !(0.0..=1.0).contains(&share.share) || !used.insert(share.replica) {
                    return Err(wrong("a share is out of range or given twice"));
                }
                total += share.share;
                *self.busy_us.entry(*slot).or_default() += share.share * rate * busy_us;
            }
            if total > 1.0 + TOLERANCE {
                return Err(wrong("the shares are more than all"));
            }
        }
        match rates.keys().find(|place| !routed.contains(**place)) {
            None => Ok(()),
            Some(&place) => {
                let why = "there is demand, and no route";
                Err(Violation::Route { model: spec.key.clone(), place: place.clone(), why })
            }
        }
    }

    fn devices(&self) -> Result<(), Violation> {
        for (&(pop, device), &bytes) in &self.bytes {
            let memory_bytes = self.pops[pop].devices[usize::from(device.0)].memory_bytes;
            if bytes > memory_bytes {
                return Err(Violation::Memory { pop: pop.clone(), device, bytes, memory_bytes });
            }
        }
        for (&(pop, device), &busy_us) in &self.busy_us {
            let share = busy_us / 1e6;
            if share > self.input.options.utilisation_max + TOLERANCE {
                return Err(Violation::Busy { pop: pop.clone(), device, share });
            }
        }
        Ok(())
    }
}

/// What a model takes on a device, or why it must not be there.
fn admitted(input: &Input, spec: &ModelSpec, pop: &Pop, device: &PopDevice) -> Result<(u64, f64), &'static str> {
    if pop.state == PopState::Draining {
        return Err("the PoP is draining");
    }
    if spec.residency.as_ref().is_some_and(|regions| !regions.contains(&pop.region)) {
        return Err("its residency excludes the region");
    }
    if spec.policy_regions.as_ref().is_some_and(|regions| !regions.contains(&pop.region)) {
        return Err("the policy excludes the region");
    }
    if spec.policy_classes.as_ref().is_some_and(|classes| !classes.contains(&device.class)) {
        return Err("the policy excludes the device class");
    }
    let class = input.device_classes.iter().find(|class| class.name == device.class).ok_or("its class is unknown")?;
    if spec.accelerator == Accelerator::Required && class.kind != crate::DeviceKind::Gpu {
        return Err("it needs an accelerator");
    }
    let bytes = spec.memory.bytes_on(class.kind).ok_or("it cannot run on this kind of device")?;
    if let Some(cost) = spec.costs.iter().find(|cost| cost.class == class.name) {
        return Ok((bytes, cost.busy_us()));
    }
    let estimates = spec.costs.iter().filter_map(|cost| {
        let other = input.device_classes.iter().find(|other| other.name == cost.class)?;
        (other.kind == class.kind).then(|| (cost, other.speed / class.speed))
    });
    let nearest = estimates.min_by(|(_, a): &(&DeviceCost, f64), (_, b)| a.ln().abs().total_cmp(&b.ln().abs()));
    nearest.map(|(cost, factor)| (bytes, cost.busy_us() * factor)).ok_or("nothing like it was measured")
}

fn churn(input: &Input, previous: Option<&Plan>, plan: &Plan, pops: &HashMap<&PopId, &Pop>) -> Result<(), Violation> {
    let budget = input.churn;
    if budget.load_bytes_max.is_none() && budget.loads_max.is_none() {
        return Ok(());
    }
    let mut had: HashSet<_> = input.current.iter().cloned().collect();
    had.extend(previous.into_iter().flat_map(Plan::replicas));
    let specs: HashMap<_, _> = input.models.iter().map(|spec| (&spec.key, spec)).collect();
    let (mut loads, mut bytes) = (0, 0);
    for new in plan.replicas().filter(|replica| !had.contains(replica)) {
        let (pop, spec) = (pops[&new.pop], specs[&new.model]);
        loads += 1;
        bytes += admitted(input, spec, pop, &pop.devices[usize::from(new.device.0)]).map_or(0, |(bytes, _)| bytes);
    }
    let over = budget.loads_max.is_some_and(|max| loads > max) || budget.load_bytes_max.is_some_and(|max| bytes > max);
    if over { Err(Violation::Churn { loads, bytes }) } else { Ok(()) }
}
