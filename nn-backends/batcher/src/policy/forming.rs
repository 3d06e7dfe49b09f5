//! A batch while it is put together: what it may still take.

use std::time::Instant;

use headland_nn_core::Padding;

use super::{PADDING_SHARE_MAX, Pending, Policy, World};

pub(super) struct Forming<'p> {
    policy: &'p Policy,
    world: &'p World,
    /// Rows at which it is full.
    rows_max: usize,
    members: Vec<usize>,
    kind: Option<u64>,
    rows: usize,
    /// Cells without padding.
    cells: usize,
    longest: usize,
    oldest: Option<Instant>,
    /// The first deadline of a member.
    deadline: Option<Instant>,
}

impl<'p> Forming<'p> {
    pub fn new(policy: &'p Policy, world: &'p World, rows_max: usize) -> Self {
        Forming {
            policy,
            world,
            rows_max,
            members: Vec::new(),
            kind: None,
            rows: 0,
            cells: 0,
            longest: 0,
            oldest: None,
            deadline: None,
        }
    }

    /// Whether `request` may join. The first one always may: whoever's turn it is runs, however large it is.
    pub fn takes(&self, request: &Pending) -> bool {
        if self.members.is_empty() {
            return true;
        }
        let (rows, cells) = (self.rows.saturating_add(request.rows), self.cells.saturating_add(request.cells));
        let run = self.cells_run(rows, cells, self.longest.max(request.length));
        let bounded = rows <= self.rows_max && run <= self.policy.cells_max;
        let dense = run as f64 <= cells as f64 * (1.0 + PADDING_SHARE_MAX);
        let deadline = self.deadline.into_iter().chain(request.deadline).min();
        let in_time = match (deadline, self.world.cost) {
            (Some(deadline), Some(cost)) => cost.run(run) <= deadline.saturating_duration_since(self.world.now),
            _ => true,
        };
        self.kind.is_some() && self.kind == request.kind && bounded && dense && in_time
    }

    /// Cells that a run of these goes through.
    fn cells_run(&self, rows: usize, cells: usize, longest: usize) -> usize {
        match self.policy.padding {
            Padding::Computed => rows.saturating_mul(longest),
            Padding::Skipped => cells,
        }
    }

    pub fn add(&mut self, position: usize, request: &Pending) {
        self.members.push(position);
        self.kind = request.kind;
        self.rows = self.rows.saturating_add(request.rows);
        self.cells = self.cells.saturating_add(request.cells);
        self.longest = self.longest.max(request.length);
        self.oldest = self.oldest.into_iter().chain([request.arrived]).min();
        self.deadline = self.deadline.into_iter().chain(request.deadline).min();
    }

    pub fn is_full(&self) -> bool {
        let run = self.cells_run(self.rows, self.cells, self.longest);
        !self.members.is_empty() && (self.kind.is_none() || self.rows >= self.rows_max || run >= self.policy.cells_max)
    }

    /// Leaves out the last members until the rows are a number that runs best, if there is such a number below. Whether the
    /// batch is one of those now, and so need not wait for more.
    pub fn trim_to_preferred(&mut self, queue: &[Pending]) -> bool {
        let Some(&best) = self.policy.preferred.iter().rev().find(|&&rows| rows <= self.rows) else { return false };
        while self.rows > best && self.members.len() > 1 {
            let Some(last) = self.members.pop() else { break };
            self.rows -= queue[last].rows;
            self.cells -= queue[last].cells;
        }
        true
    }

    pub fn members(&self) -> &[usize] {
        &self.members
    }

    pub fn into_members(self) -> Vec<usize> {
        self.members
    }

    pub fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// When it must start so that the first deadline is kept.
    pub fn latest_start(&self) -> Option<Instant> {
        let run = self.cells_run(self.rows, self.cells, self.longest);
        let run = self.world.cost.map(|cost| cost.run(run)).unwrap_or_default();
        self.deadline.map(|deadline| deadline.checked_sub(run).unwrap_or(self.world.now))
    }
}
