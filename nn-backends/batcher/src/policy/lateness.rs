//! Which requests are told that their time will not do, where many more wait than a run takes.
//!
//! When requests come faster than they are answered, those whose turn it is are those with the least time left. Running
//! them loses twice: a batch they are in is cut short to end in time, so that less gets done, and what ends a little later
//! than predicted was run for nobody. They go, as long as others that have the time fill the next run; so no mistake about
//! what a run takes can keep a model from running.

use std::time::Duration;

use super::{Pending, Policy, World};

/// Time that must be left, in runs: predictions err.
const MARGIN: f64 = 1.25;

/// Takes those out of `live` whose time will not do, and returns them.
pub(super) fn split_off(live: &mut Vec<usize>, queue: &[Pending], policy: &Policy, world: &World) -> Vec<usize> {
    let mut groups: Vec<Group> = Vec::new();
    for &position in live.iter() {
        let request = &queue[position];
        match groups.iter_mut().find(|group| group.has(request)) {
            Some(group) => group.all.add(request),
            None => groups.push(Group::of(request)),
        }
    }
    groups.retain(|group| group.all.fills_a_run(policy));
    let Some(cost) = world.cost.filter(|_| !groups.is_empty()) else { return Vec::new() };
    for group in &mut groups {
        group.due = cost.run(group.all.cells_of_a_run(policy)).mul_f64(MARGIN);
    }
    let late = |groups: &[Group], request: &Pending| {
        let group = groups.iter().position(|group| group.has(request))?;
        let left = request.deadline?.saturating_duration_since(world.now);
        (left < groups[group].due).then_some(group)
    };
    for &position in live.iter() {
        if let Some(group) = late(&groups, &queue[position]) {
            groups[group].all.remove(&queue[position]);
        }
    }
    groups.retain(|group| group.all.fills_a_run(policy));
    live.extract_if(.., |position| late(&groups, &queue[*position]).is_some()).collect()
}

/// The requests of one flow with one priority: only their own like may make them late.
struct Group {
    flow: usize,
    priority: u8,
    all: Sum,
    /// What a full run of them takes, and a margin.
    due: Duration,
}

impl Group {
    fn of(request: &Pending) -> Self {
        let mut all = Sum::default();
        all.add(request);
        Group { flow: request.flow, priority: request.priority, all, due: Duration::ZERO }
    }

    fn has(&self, request: &Pending) -> bool {
        (self.flow, self.priority) == (request.flow, request.priority)
    }
}

#[derive(Default)]
struct Sum {
    rows: usize,
    cells: usize,
}

impl Sum {
    fn add(&mut self, request: &Pending) {
        self.rows = self.rows.saturating_add(request.rows);
        self.cells = self.cells.saturating_add(request.cells);
    }

    fn remove(&mut self, request: &Pending) {
        self.rows = self.rows.saturating_sub(request.rows);
        self.cells = self.cells.saturating_sub(request.cells);
    }

    fn fills_a_run(&self, policy: &Policy) -> bool {
        self.rows >= policy.rows_max || self.cells >= policy.cells_max
    }

    fn cells_of_a_run(&self, policy: &Policy) -> usize {
        let share = policy.rows_max as f64 / self.rows.max(1) as f64;
        policy.cells_max.min((self.cells as f64 * share.min(1.0)) as usize)
    }
}
