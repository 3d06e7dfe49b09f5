//! Those who were turned away take the place of those who lose less by leaving.

use super::FULL_US;
use crate::draft::{Draft, Flow, RATE_EPSILON};

/// Rounds over all who were turned away. Each one who moves may let others move.
const ROUNDS: usize = 3;
/// Devices that one flow tries, the cheapest first.
const TRIES: usize = 12;
/// An exchange has to gain this share of what it costs.
const GAIN_MIN: f64 = 1e-6;
/// Devices that are looked at in one call, over all flows. Where far more is asked for than can be served, nearly everybody
/// wishes to be elsewhere, and to look at all of it would take minutes; those who would gain most come first.
const LOOKS_MAX: usize = 10_000_000;

/// A flow that would rather be elsewhere.
struct Wish {
    /// What it would gain at best, by the requests.
    worth: f64,
    model: u32,
    point: u32,
    device: u32,
}

/// What is known of devices while flows are exchanged.
struct Residents {
    /// By device: whose requests it serves; looked up when a device is first asked for.
    flows: Vec<Option<Vec<Resident>>>,
    /// By device: what the first to leave loses for each microsecond, and the number of moves at which that was found.
    least: Vec<(f64, u64)>,
    /// Moves so far. Each may change what anyone would lose.
    moves: u64,
}

/// A flow that a device serves.
#[derive(Clone, Copy)]
struct Resident {
    model: u32,
    point: u32,
    /// Where it was among the model's flows when it was last looked at.
    at: usize,
}

impl Residents {
    fn new(devices: usize) -> Self {
        Self { flows: vec![None; devices], least: vec![(0.0, 0); devices], moves: 1 }
    }

    /// Whether nobody leaves a device for less, as it was seen after the last move.
    fn stays(&self, device: u32, worth: f64) -> bool {
        let (loss, moves) = self.least[device as usize];
        moves == self.moves && loss >= worth
    }

    fn of(&mut self, draft: &Draft<'_>, device: u32) -> &mut [Resident] {
        self.flows[device as usize].get_or_insert_with(|| {
            let here = |model: &u32| draft.holds(*model as usize, device);
            let residents = |model: u32| {
                let flows = draft.models[model as usize].flows.iter().enumerate();
                let here = flows.filter(move |(_, flow)| flow.device == device);
                here.map(move |(at, flow)| Resident { model, point: flow.point, at })
            };
            (0..draft.models.len() as u32).filter(here).flat_map(residents).collect()
        })
    }

    /// Notes a flow that has come. Where nobody has looked yet, it will be found.
    fn push(&mut self, device: u32, model: u32, point: u32) {
        self.moves += 1;
        if let Some(known) = &mut self.flows[device as usize] {
            known.push(Resident { model, point, at: 0 });
        }
    }
}

/// Lets flows of these models and points take the place of any others, as long as that gains.
pub(super) fn exchange(draft: &mut Draft<'_>, mut refused: Vec<(u32, u32)>) {
    let mut looks = 0;
    for _ in 0..ROUNDS {
        let wishes = wishes(draft, &refused);
        if wishes.is_empty() {
            return;
        }
        let mut residents = Residents::new(draft.problem.devices.len());
        let before = refused.len();
        for wish in &wishes {
            if looks > LOOKS_MAX {
                return;
            }
            looks += grant(draft, wish, &mut residents, &mut refused);
        }
        if refused.len() == before {
            return;
        }
        refused.sort_unstable();
        refused.dedup();
    }
}

/// Lets flows of these models and points go where they are served better, as far as there is time left. Nobody leaves for them.
pub(super) fn settle(draft: &mut Draft<'_>, refused: &[(u32, u32)]) {
    for wish in wishes(draft, refused) {
        let Some(at) = draft.flow_at(wish.model as usize, wish.point, wish.device) else { continue };
        let mut flow = draft.models[wish.model as usize].flows[at];
        for (cost, device) in better(draft, wish.model, flow) {
            let Some(busy_us) = draft.busy_us(wish.model as usize, device) else { continue };
            if draft.free_us[device as usize] > FULL_US {
                flow.requests_per_s -= draft.redirect(wish.model as usize, flow, (device, cost), busy_us);
            }
            if flow.requests_per_s <= RATE_EPSILON {
                break;
            }
        }
    }
}

/// Where a flow would be served better, the cheapest first.
fn better(draft: &Draft<'_>, model: u32, flow: Flow) -> Vec<(f64, u32)> {
    let gains = |&(cost, _): &(f64, u32)| cost < flow.cost * (1.0 - GAIN_MIN);
    let mut options: Vec<(f64, u32)> = draft.options(model as usize, flow.point).filter(gains).collect();
    options.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    options
}

/// All flows that are not where they would be served best.
fn wishes(draft: &Draft<'_>, refused: &[(u32, u32)]) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for &(model, point) in refused {
        let best = draft.options(model as usize, point).map(|(cost, _)| cost).fold(f64::INFINITY, f64::min);
        for flow in draft.models[model as usize].flows.iter().filter(|flow| flow.point == point) {
            if best < flow.cost * (1.0 - GAIN_MIN) {
                let worth = (flow.cost - best) * flow.requests_per_s;
                wishes.push(Wish { worth, model, point, device: flow.device });
            }
        }
    }
    wishes.sort_unstable_by(|a, b| {
        let ids = |wish: &Wish| (wish.model, wish.point, wish.device);
        b.worth.total_cmp(&a.worth).then_with(|| ids(a).cmp(&ids(b)))
    });
    wishes
}

/// Moves as much of a flow as gains by it. Who had to make room is among the refused then. How many devices were looked at.
fn grant(draft: &mut Draft<'_>, wish: &Wish, residents: &mut Residents, refused: &mut Vec<(u32, u32)>) -> usize {
    let model = wish.model as usize;
    let mut looks = 0;
    let Some(at) = draft.flow_at(model, wish.point, wish.device) else { return looks };
    let mut flow = draft.models[model].flows[at];
    for (cost, device) in better(draft, wish.model, flow).into_iter().take(TRIES) {
        let Some(busy_us) = draft.busy_us(model, device) else { continue };
        let wanted_us = flow.requests_per_s * busy_us;
        if draft.free_us[device as usize] < wanted_us {
            looks += make_room(draft, device, wanted_us, (flow.cost - cost) / busy_us, residents, refused);
        }
        if draft.free_us[device as usize] <= FULL_US {
            continue;
        }
        let moved = draft.redirect(model, flow, (device, cost), busy_us);
        residents.push(device, wish.model, wish.point);
        flow.requests_per_s -= moved;
        if flow.requests_per_s <= RATE_EPSILON {
            break;
        }
    }
    looks
}

/// Sends away from a device those who lose less than `worth` for each microsecond, until so much is free. How many devices were
/// looked at.
fn make_room(
    draft: &mut Draft<'_>,
    device: u32,
    wanted_us: f64,
    worth: f64,
    residents: &mut Residents,
    refused: &mut Vec<(u32, u32)>,
) -> usize {
    let mut looks = 0;
    let limit = worth * (1.0 - GAIN_MIN);
    if residents.stays(device, limit) {
        return 1;
    }
    let mut leaving: Vec<(f64, u32, u32, u32)> = Vec::new();
    let mut least = f64::INFINITY;
    for resident in residents.of(draft, device) {
        let Resident { model, point, at } = *resident;
        let flows = &draft.models[model as usize].flows;
        let stayed = flows.get(at).is_some_and(|flow| (flow.point, flow.device) == (point, device));
        let at = if stayed { Some(at) } else { draft.flow_at(model as usize, point, device) };
        let Some(at) = at else { continue };
        resident.at = at;
        let flow = flows[at];
        let Some(busy_us) = draft.busy_us(model as usize, device) else { continue };
        looks += draft.models[model as usize].devices.len();
        let open = |other: u32| other != device && draft.free_us[other as usize] > FULL_US;
        let mut next = (f64::INFINITY, u32::MAX);
        for option in draft.options(model as usize, point) {
            if option < next && open(option.1) {
                next = option;
            }
        }
        let (cost, other) = next;
        if other == u32::MAX {
            continue;
        }
        let loss = (cost - flow.cost) / busy_us;
        least = least.min(loss);
        if loss < limit {
            leaving.push((loss, model, point, other));
        }
    }
    residents.least[device as usize] = (least, residents.moves);
    leaving.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    for (_, model, point, other) in leaving {
        let lacking_us = wanted_us - draft.free_us[device as usize];
        if lacking_us <= FULL_US {
            break;
        }
        let (model, Some(at)) = (model as usize, draft.flow_at(model as usize, point, device)) else { continue };
        let flow = draft.models[model].flows[at];
        let (Some(here_us), Some(there_us)) = (draft.busy_us(model, device), draft.busy_us(model, other)) else {
            continue;
        };
        let Some((cost, _)) = draft.options(model, point).find(|&(_, option)| option == other) else { continue };
        if draft.free_us[other as usize] <= FULL_US {
            continue;
        }
        let requests_per_s = flow.requests_per_s.min(lacking_us / here_us);
        draft.redirect(model, Flow { requests_per_s, ..flow }, (other, cost), there_us);
        residents.push(other, model as u32, point);
        refused.push((model as u32, point));
    }
    looks
}
