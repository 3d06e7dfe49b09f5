//! What a candidate does next: pure. The clock is an argument, a time since any fixed instant of this process; what the store
//! answered comes in as an observation, and what is to be asked of it goes out as an action.
//!
//! The one rule that matters: a lease is believed from before it was asked for until a margin before it can end. The store
//! counts its time from when the question arrived, which is later, so the store's end comes after ours as long as the two clocks'
//! speeds differ by less than the margin allows for.

use std::time::Duration;

use crate::store::{Epoch, Lease};

/// When a candidate asks, renews, and stops believing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long the store keeps a lease.
    pub ttl: Duration,
    /// Between renewals.
    pub renew_every: Duration,
    /// Between attempts to get a lease that somebody has.
    pub campaign_every: Duration,
    /// Between attempts after the store failed.
    pub retry_every: Duration,
    /// How long before its end a lease is no longer believed.
    pub margin: Duration,
    /// How long a new leader waits before it acts.
    pub settle: Duration,
}

impl Timing {
    /// Renewals at a third of the time to live, a fifth of it as margin: enough for clocks of which one runs a tenth faster.
    pub fn of(ttl: Duration) -> Self {
        let between = |share: u32, least_ms, most_ms| {
            (ttl / share).clamp(Duration::from_millis(least_ms), Duration::from_millis(most_ms))
        };
        Self {
            ttl,
            renew_every: ttl / 3,
            campaign_every: between(10, 50, 500),
            retry_every: between(20, 50, 500),
            margin: ttl / 5,
            settle: between(20, 20, 500),
        }
    }

    fn believed(&self) -> Duration {
        self.ttl.saturating_sub(self.margin)
    }
}

/// What a candidate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    timing: Timing,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Standby { ask_at: Duration },
    Holding(Holding),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Holding {
    lease: Lease,
    /// Not to be believed from here on.
    until: Duration,
    /// Not to be acted on before.
    lead_at: Duration,
    renew_at: Duration,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Time passed.
    Tick,
    /// The lease is ours, by a question that was put at `asked`.
    Acquired {
        /// What the store gave.
        lease: Lease,
        /// When it was asked, by our clock.
        asked: Duration,
    },
    /// Somebody else has it.
    Taken,
    /// It was prolonged, by a question that was put at `asked`.
    Renewed {
        /// What the store gave.
        lease: Lease,
        /// When it was asked, by our clock.
        asked: Duration,
    },
    /// It is not ours any more.
    Lost,
    /// The store did not answer; or not in time.
    Failed,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the lease.
    Acquire,
    /// Prolong it; there is no use in an answer after `until`.
    Renew {
        /// What we hold.
        lease: Lease,
        /// When it is not believed any more.
        until: Duration,
    },
    /// Nothing until then.
    Wait(Duration),
}

impl Campaign {
    /// Begins as a standby that asks at once.
    pub fn new(timing: Timing, now: Duration) -> Self {
        Self { timing, state: State::Standby { ask_at: now } }
    }

    /// Takes in what happened, and says what to do now.
    pub fn step(&mut self, observation: Observation, now: Duration) -> Action {
        self.observe(observation, now);
        if let State::Holding(held) = &self.state
            && now >= held.until
        {
            self.state = State::Standby { ask_at: now };
        }
        match &self.state {
            State::Standby { ask_at } if now >= *ask_at => Action::Acquire,
            State::Standby { ask_at } => Action::Wait(*ask_at),
            State::Holding(held) if now >= held.renew_at => {
                Action::Renew { lease: held.lease.clone(), until: held.until }
            }
            State::Holding(held) if now < held.lead_at => Action::Wait(held.lead_at.min(held.renew_at).min(held.until)),
            State::Holding(held) => Action::Wait(held.renew_at.min(held.until)),
        }
    }

    /// Ends the campaign: what is to be given up, if anything.
    pub fn end(self) -> Option<Lease> {
        match self.state {
            State::Holding(held) => Some(held.lease),
            State::Standby { .. } => None,
        }
    }

    fn observe(&mut self, observation: Observation, now: Duration) {
        let timing = self.timing;
        let state = std::mem::replace(&mut self.state, State::Standby { ask_at: now });
        self.state = match (state, observation) {
            (State::Standby { .. }, Observation::Acquired { lease, asked }) => State::Holding(Holding {
                lease,
                until: asked + timing.believed(),
                lead_at: now + timing.settle,
                renew_at: asked + timing.renew_every,
            }),
            (State::Standby { .. }, Observation::Taken) => State::Standby { ask_at: now + timing.campaign_every },
            (State::Standby { .. }, Observation::Failed) => State::Standby { ask_at: now + timing.retry_every },
            (State::Holding(held), Observation::Renewed { lease, asked }) if lease.epoch == held.lease.epoch => {
                let (until, renew_at) = (asked + timing.believed(), asked + timing.renew_every);
                State::Holding(Holding { lease, until: until.max(held.until), renew_at, ..held })
            }
            (State::Holding(held), Observation::Failed) => {
                State::Holding(Holding { renew_at: now + timing.retry_every, ..held })
            }
            (State::Holding(_), Observation::Lost) => State::Standby { ask_at: now + timing.campaign_every },
            // An answer to a question of a former state.
            (state, _) => state,
        };
    }

    /// The epoch that we may act in at this instant, and when that ends at the latest.
    pub fn leads(&self, now: Duration) -> Option<(Epoch, Duration)> {
        match &self.state {
            State::Holding(held) if now >= held.lead_at && now < held.until => Some((held.lease.epoch, held.until)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
