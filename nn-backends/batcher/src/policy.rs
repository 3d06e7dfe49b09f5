//! Which waiting requests run next. Pure: the queue, the time and what was measured come in, a decision goes out.
//!
//! The wanted properties, and where they are decided:
//! - A lone caller never waits for others (`wait`), and nobody waits longer than `delay_max`.
//! - One app's flood does not starve another: flows take turns by how much they were served (`pick`).
//! - Within a flow the highest priority goes first, then whoever's time runs out first (`order`).
//! - A batch is bounded in rows and in cells, padding in it is bounded, and it does not grow past a member's deadline
//!   (`Forming::takes`). Where more wait than a run takes, whoever has not the time for one is told (`lateness`).

mod cost;
mod forming;
mod lateness;
mod traffic;

use std::time::{Duration, Instant};

pub use cost::{Cost, Estimate};
use forming::Forming;
use headland_nn_core::Padding;
pub use traffic::Traffic;

/// A request that names no deadline is ordered as if it had one this long after its arrival.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The most that padding may make up of a batch whose padding is computed: a quarter of the real cells.
pub const PADDING_SHARE_MAX: f64 = 0.25;

/// How a model's requests are put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The most rows in one run.
    pub rows_max: usize,
    /// The most cells in one run. A cell is one element along the batch and length axes: a token, or a row where there is
    /// no length.
    pub cells_max: usize,
    /// Numbers of rows that run best, ascending: the largest that can be had runs at once.
    pub preferred: Vec<usize>,
    /// The longest a request may wait for others to join it.
    pub delay_max: Duration,
    /// What padding costs.
    pub padding: Padding,
}

impl Policy {
    /// Every request runs alone, at once.
    pub fn single() -> Policy {
        Policy {
            rows_max: 1,
            cells_max: usize::MAX,
            preferred: Vec::new(),
            delay_max: Duration::ZERO,
            padding: Padding::Skipped,
        }
    }

    /// Whether two requests may ever share a run.
    pub fn shares(&self) -> bool {
        self.rows_max > 1
    }
}

/// What the policy needs to know of a waiting request.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// When it entered the queue.
    pub arrived: Instant,
    /// When its caller stops waiting.
    pub deadline: Option<Instant>,
    /// Whether its caller has gone away already.
    pub abandoned: bool,
    /// Its rows.
    pub rows: usize,
    /// Its extent along the length axis; 1 where there is none.
    pub length: usize,
    /// What running it takes, padding that costs nothing not counted.
    pub cells: usize,
    /// Requests of equal kind may share a run; `None` runs alone.
    pub kind: Option<u64>,
    /// Position of its flow.
    pub flow: usize,
    /// Lower runs first within a flow.
    pub priority: u8,
}

/// Whose requests they are: an app, or the native endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Cells it has been served, over its weight.
    pub served: f64,
    /// Its share where several flows want more than there is.
    pub weight: f64,
}

/// What is known besides the queue.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The time.
    pub now: Instant,
    /// Executors with nothing to do, the one that asks included.
    pub idle: usize,
    /// Usual time between two arrivals; `None` when nobody is expected.
    pub gap: Option<Duration>,
    /// The last arrival.
    pub last_arrival: Option<Instant>,
    /// What runs have cost.
    pub cost: Option<Estimate>,
}

/// What an idle executor does now. Positions are in queue order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decision {
    /// Requests nobody waits for any more: they leave the queue unanswered.
    pub abandoned: Vec<usize>,
    /// Requests whose deadline has passed: they leave the queue and are told.
    pub expired: Vec<usize>,
    /// Requests whose deadline would pass before they are answered: they leave the queue and are told.
    pub late: Vec<usize>,
    /// Requests to run together now, in this order. When it is empty, look again at `wake_at` or on the next arrival.
    pub run: Vec<usize>,
    /// When a batch that is still filling must run at the latest.
    pub wake_at: Option<Instant>,
}

/// Decides over `queue`, in order of arrival, whose [`Pending::flow`]s are positions of `flows`.
pub fn decide(queue: &[Pending], flows: &[Flow], policy: &Policy, world: &World) -> Decision {
    let mut decision = Decision::default();
    let mut live = Vec::with_capacity(queue.len());
    for (position, request) in queue.iter().enumerate() {
        if request.abandoned {
            decision.abandoned.push(position);
        } else if request.deadline.is_some_and(|deadline| deadline <= world.now) {
            decision.expired.push(position);
        } else {
            live.push(position);
        }
    }
    decision.late = lateness::split_off(&mut live, queue, policy, world);
    let Some(turns) = Turns::new(queue, flows, &live) else { return decision };
    let mut forming = Forming::new(policy, world, share(queue, &live, policy, world));
    let mut left_behind = false;
    for position in turns {
        if forming.takes(&queue[position]) {
            forming.add(position, &queue[position]);
        } else {
            left_behind = true;
        }
        if forming.is_full() {
            break;
        }
    }
    left_behind |= forming.trim_to_preferred(queue);
    if !left_behind && !forming.is_full() {
        decision.wake_at = wait(&forming, policy, world);
    }
    if decision.wake_at.is_none() {
        decision.run = forming.into_members();
    }
    decision
}

/// Rows that one of several idle executors leaves to the others: running side by side is faster wherever the cells are
/// most of the cost. `rows_max` otherwise.
fn share(queue: &[Pending], live: &[usize], policy: &Policy, world: &World) -> usize {
    let Some(cost) = world.cost.filter(|_| world.idle > 1) else { return policy.rows_max };
    let (rows, cells) = live.iter().fold((0usize, 0usize), |(rows, cells), &position| {
        (rows.saturating_add(queue[position].rows), cells.saturating_add(queue[position].cells))
    });
    let part = cells / world.idle;
    match cost.cells(part) >= cost.fixed {
        true => rows.div_ceil(world.idle).clamp(1, policy.rows_max),
        false => policy.rows_max,
    }
}

/// Until when it pays to wait for one more request, if it does.
///
/// One more request saves the fixed cost of a run of its own, and costs everybody who waits the time until it comes. A lone
/// caller sends its next request after this one is answered: the gap between arrivals is then longer than a run, and there
/// is nothing to wait for.
fn wait(forming: &Forming, policy: &Policy, world: &World) -> Option<Instant> {
    let (gap, last) = (world.gap?, world.last_arrival?);
    let saved = world.cost?.fixed;
    let waiting = u32::try_from(forming.members().len()).unwrap_or(u32::MAX).max(1);
    // Who has been silent for longer is not about to come.
    let expected = gap.max(world.now.saturating_duration_since(last));
    if expected.saturating_mul(waiting) >= saved {
        return None;
    }
    // Whoever does not come within several gaps does not come.
    const GAPS: u32 = 4;
    let patience = (saved / waiting).min(gap.saturating_mul(GAPS));
    let due = (forming.oldest()? + policy.delay_max).min(last + patience);
    let in_time = forming.latest_start().is_none_or(|latest| due < latest);
    (due > world.now && in_time).then_some(due)
}

/// The live requests in the order in which they get their turns.
struct Turns<'a> {
    queue: &'a [Pending],
    /// For each flow with live requests: how much it was served, its weight, and its requests, last first.
    flows: Vec<(f64, f64, Vec<usize>)>,
}

impl<'a> Turns<'a> {
    fn new(queue: &'a [Pending], flows: &[Flow], live: &[usize]) -> Option<Self> {
        let mut own: Vec<(f64, f64, Vec<usize>)> =
            flows.iter().map(|flow| (flow.served, flow.weight, Vec::new())).collect();
        for &position in live {
            if let Some((_, _, requests)) = own.get_mut(queue[position].flow) {
                requests.push(position);
            }
        }
        own.retain(|(_, _, requests)| !requests.is_empty());
        for (_, _, requests) in &mut own {
            requests.sort_by_key(|&position| std::cmp::Reverse(order(&queue[position], position)));
        }
        (!own.is_empty()).then_some(Turns { queue, flows: own })
    }
}

/// Within a flow: priority, then whose time runs out first, then arrival.
fn order(request: &Pending, position: usize) -> (u8, Instant, usize) {
    (request.priority, request.deadline.unwrap_or(request.arrived + PATIENCE), position)
}

impl Iterator for Turns<'_> {
    type Item = usize;

    /// The next request of the flow that was served least.
    fn next(&mut self) -> Option<usize> {
        let waiting = self.flows.iter_mut().filter(|(_, _, requests)| !requests.is_empty());
        let (served, weight, requests) = waiting.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let position = requests.pop()?;
        *served += self.queue[position].cells as f64 / *weight;
        Some(position)
    }
}

#[cfg(test)]
mod tests;
