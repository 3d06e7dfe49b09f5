//! Whose turn it is: an app, or the native endpoints. Start-time fair queueing (Goyal et al., SIGCOMM 1996) over the tokens
//! that steps have computed for each.

use std::sync::Arc;

/// What an app has been served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Tokens computed for it, over its weight.
    pub served: f64,
    /// Its weight beside others'.
    pub weight: f64,
}

/// The apps that have something waiting or running.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    names: Vec<(Arc<str>, usize)>,
    states: Vec<Flow>,
    /// What whoever was served last had been served: where one that comes anew begins.
    now: f64,
}

impl Flows {
    /// Counts one more sequence of the app `name`; its flow's position, which stays while it has any.
    pub fn enter(&mut self, name: &Arc<str>, weight: u32) -> usize {
        let weight = f64::from(weight.max(1));
        let same = self.names.iter().position(|(known, _)| known == name);
        let unused = || self.names.iter().position(|(_, sequences)| *sequences == 0);
        let Some(at) = same.or_else(unused) else {
            self.names.push((name.clone(), 1));
            self.states.push(Flow { served: self.now, weight });
            return self.names.len() - 1;
        };
        // Who was away has saved nothing up, and owes what it owed.
        let owed = if same.is_some() { self.states[at].served } else { 0.0 };
        let served = if self.names[at].1 == 0 { owed.max(self.now) } else { owed };
        self.names[at] = (name.clone(), self.names[at].1 + 1);
        self.states[at] = Flow { served, weight };
        at
    }

    /// Counts one sequence less.
    pub fn leave(&mut self, at: usize) {
        self.names[at].1 = self.names[at].1.saturating_sub(1);
    }

    /// Counts `tokens` as served.
    pub fn serve(&mut self, at: usize, tokens: usize) {
        let flow = &mut self.states[at];
        self.now = self.now.max(flow.served);
        flow.served += tokens as f64 / flow.weight;
    }

    pub fn states(&self) -> &[Flow] {
        &self.states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_begins_where_the_others_are() {
        let (mut flows, [a, b]) = (Flows::default(), ["a", "b"].map(Arc::<str>::from));
        let first = flows.enter(&a, 1);
        flows.serve(first, 100);
        flows.serve(first, 100);
        let second = flows.enter(&b, 2);
        assert_eq!((flows.states()[first].served, flows.states()[second].served), (200.0, 100.0));
        flows.serve(second, 100);
        assert_eq!(flows.states()[second].served, 150.0);
    }

    #[test]
    fn places_of_those_who_left_are_taken_again() {
        let mut flows = Flows::default();
        for index in 0..1_000 {
            let at = flows.enter(&format!("app-{index}").into(), 1);
            flows.serve(at, 1);
            flows.leave(at);
        }
        assert_eq!(flows.states().len(), 1);
    }
}
