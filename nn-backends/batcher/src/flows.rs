//! Whose requests wait: an app, or the native endpoints. Start-time fair queueing (Goyal et al., SIGCOMM 1996) over what
//! runs have served each, in cells.

use std::sync::Arc;

use crate::policy::Flow;

/// Who sends a request, and its share of a model that several want.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its name.
    pub name: Arc<str>,
    /// Its weight beside others'.
    pub weight: u32,
}

impl Caller {
    /// The native endpoints, all together.
    pub fn native() -> Self {
        // One allocation for the process: this is on every request's way.
        static NATIVE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "".into());
        Caller { name: NATIVE.clone(), weight: DEFAULT_WEIGHT }
    }
}

impl Default for Caller {
    fn default() -> Self {
        Caller::native()
    }
}

/// Weight of whoever states none.
pub const DEFAULT_WEIGHT: u32 = 100;

struct Entry {
    name: Arc<str>,
    waiting: Waiting,
}

/// What of a flow waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub requests: usize,
    pub rows: usize,
    pub cells: usize,
}

impl Waiting {
    pub fn add(&mut self, rows: usize, cells: usize) {
        self.requests += 1;
        self.rows = self.rows.saturating_add(rows);
        self.cells = self.cells.saturating_add(cells);
    }

    pub fn remove(&mut self, rows: usize, cells: usize) {
        self.requests = self.requests.saturating_sub(1);
        self.rows = self.rows.saturating_sub(rows);
        self.cells = self.cells.saturating_sub(cells);
    }
}

/// The flows of one queue. There are never more than have something waiting, and one.
#[derive(Default)]
pub(crate) struct Flows {
    entries: Vec<Entry>,
    states: Vec<Flow>,
    /// What the flow that ran last had been served when it did: where one that comes anew begins.
    now: f64,
}

impl Flows {
    /// The position of `caller`'s flow.
    pub fn enter(&mut self, caller: &Caller) -> usize {
        let weight = f64::from(caller.weight.max(1));
        let known = self.entries.iter().position(|entry| *entry.name == *caller.name);
        let idle = |entry: &Entry| entry.waiting.requests == 0;
        match known.or_else(|| self.entries.iter().position(idle)) {
            Some(at) => {
                let same = known.is_some();
                if !same {
                    self.entries[at].name = caller.name.clone();
                }
                // Who was away has saved nothing up, and owes what it owed.
                let served = if same { self.states[at].served } else { 0.0 };
                let served = if idle(&self.entries[at]) { served.max(self.now) } else { served };
                self.states[at] = Flow { served, weight };
                at
            }
            None => {
                self.entries.push(Entry { name: caller.name.clone(), waiting: Waiting::default() });
                self.states.push(Flow { served: self.now, weight });
                self.entries.len() - 1
            }
        }
    }

    pub fn states(&self) -> &[Flow] {
        &self.states
    }

    pub fn waiting(&mut self, at: usize) -> &mut Waiting {
        &mut self.entries[at].waiting
    }

    /// The share of the flow at `at` among all that want something, itself included.
    pub fn share(&self, at: usize) -> f64 {
        let wants = |(other, _): &(usize, &Entry)| *other == at || self.entries[*other].waiting.requests > 0;
        let all: f64 = self.entries.iter().enumerate().filter(wants).map(|(other, _)| self.states[other].weight).sum();
        self.states[at].weight / all.max(1.0)
    }

    /// The flow with most requests waiting for its share.
    pub fn greediest(&self) -> Option<usize> {
        let over = |at: usize| self.entries[at].waiting.requests as f64 / self.states[at].weight;
        (0..self.entries.len()).max_by(|&a, &b| over(a).total_cmp(&over(b)))
    }

    /// Counts `cells` as served.
    pub fn served(&mut self, at: usize, cells: usize) {
        let flow = &mut self.states[at];
        self.now = self.now.max(flow.served);
        flow.served += cells as f64 / flow.weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, weight: u32) -> Caller {
        Caller { name: name.into(), weight }
    }

    #[test]
    fn who_comes_late_begins_where_the_others_are() {
        let mut flows = Flows::default();
        let a = flows.enter(&caller("a", 1));
        flows.waiting(a).add(1, 1);
        flows.served(a, 100);
        flows.served(a, 100);
        let b = flows.enter(&caller("b", 1));
        assert_eq!((flows.states()[a].served, flows.states()[b].served), (200.0, 100.0));
    }

    #[test]
    fn places_of_those_who_left_are_taken_again() {
        let mut flows = Flows::default();
        for index in 0..1_000 {
            let at = flows.enter(&caller(&format!("app-{index}"), 1));
            flows.waiting(at).add(1, 1);
            flows.served(at, 1);
            flows.waiting(at).remove(1, 1);
        }
        assert_eq!(flows.states().len(), 1);
    }

    #[test]
    fn shares_follow_the_weights_of_those_who_want_something() {
        let mut flows = Flows::default();
        let (a, b) = (flows.enter(&caller("a", 300)), 1);
        flows.waiting(a).add(1, 1);
        assert_eq!(flows.enter(&caller("b", 100)), b);
        assert_eq!((flows.share(a), flows.share(b)), (1.0, 0.25));
        flows.waiting(b).add(1, 1);
        assert_eq!((flows.share(a), flows.share(b)), (0.75, 0.25));
        assert_eq!(flows.greediest(), Some(b));
    }
}
