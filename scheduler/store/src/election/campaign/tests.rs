//! Candidates against a simulated store: clocks of different speeds, late and lost messages, processes that stand still.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;
use crate::entry::Revision;
use crate::key::Key;
use crate::store::Holder;

const TTL: Duration = Duration::from_secs(10);
const CANDIDATES: usize = 3;

/// What happens at a real time, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Wake(usize),
    Arrives { candidate: usize, call: u64, asked: Duration, renewing: Option<u64> },
    Answered { candidate: usize, call: u64, answer: Answer },
    Look,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Acquired { epoch: u64, asked: Duration },
    Taken,
    Renewed { epoch: u64, asked: Duration },
    Lost,
    Failed,
}

struct Candidate {
    campaign: Campaign,
    /// How fast its clock runs, and what it showed at the beginning.
    speed: f64,
    offset: f64,
    call: u64,
    is_dead: bool,
}

struct Rules {
    timing: Timing,
    /// Clocks run this much too fast or too slow.
    drift: f64,
    losses_percent: u64,
    latency_max: Duration,
    pause_max: Duration,
}

struct World {
    rules: Rules,
    random: u64,
    now: u64,
    happenings: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    count: u64,
    candidates: Vec<Candidate>,
    store_speed: f64,
    /// Epoch of the lease, and its end in real time.
    held: Option<(u64, u64)>,
    revision: u64,
    newest: u64,
    /// Who led when, and in which epoch.
    led: Vec<(u64, usize, u64)>,
}

impl World {
    fn new(rules: Rules, seed: u64) -> Self {
        let mut world = Self {
            rules,
            random: seed,
            now: 0,
            happenings: BinaryHeap::new(),
            count: 0,
            candidates: Vec::new(),
            store_speed: 1.0,
            held: None,
            revision: 0,
            newest: 0,
            led: Vec::new(),
        };
        world.store_speed = world.draw_speed();
        for at in 0..CANDIDATES {
            let (speed, offset) = (world.draw_speed(), world.draw(1_000_000_000) as f64);
            let campaign = Campaign::new(world.rules.timing, Duration::from_micros(offset as u64));
            world.candidates.push(Candidate { campaign, speed, offset, call: 0, is_dead: false });
            let begins = world.draw(1_000_000);
            world.later(begins, Happening::Wake(at));
        }
        world
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    fn draw_speed(&mut self) -> f64 {
        let drift = self.rules.drift;
        1.0 - drift + 2.0 * drift * (self.draw(1001) as f64 / 1000.0)
    }

    fn later(&mut self, micros: u64, happening: Happening) {
        self.count += 1;
        self.happenings.push(Reverse((self.now + micros, self.count, happening)));
    }

    fn clock(&self, candidate: usize) -> Duration {
        let Candidate { speed, offset, .. } = self.candidates[candidate];
        Duration::from_micros((offset + speed * self.now as f64) as u64)
    }

    /// Real microseconds until a candidate's clock shows `time`.
    fn until(&self, candidate: usize, time: Duration) -> u64 {
        let left = time.saturating_sub(self.clock(candidate)).as_micros() as f64;
        (left / self.candidates[candidate].speed).ceil() as u64
    }

    fn run(&mut self, span: Duration) -> Result<(), String> {
        let end = self.now + span.as_micros() as u64;
        for look in 0..span.as_millis() as u64 / 40 {
            self.later(look * 40_000, Happening::Look);
        }
        while let Some(Reverse((at, _, happening))) = self.happenings.pop() {
            if at > end {
                self.later(at - self.now, happening);
                break;
            }
            self.now = at;
            self.happen(happening);
            self.check()?;
        }
        self.now = end;
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        let leads = |at: usize| self.candidates[at].campaign.leads(self.clock(at)).map(|(epoch, _)| (at, epoch.0));
        let leaders: Vec<_> = (0..CANDIDATES).filter(|&at| !self.candidates[at].is_dead).filter_map(leads).collect();
        if leaders.len() > 1 {
            return Err(format!("at {} us {leaders:?} lead", self.now));
        }
        if let Some(&(at, epoch)) = leaders.first() {
            if epoch < self.newest {
                return Err(format!("at {} us {at} leads in epoch {epoch} after {}", self.now, self.newest));
            }
            self.newest = epoch;
            self.led.push((self.now, at, epoch));
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Look => {}
            Happening::Wake(at) => self.step(at, Observation::Tick),
            Happening::Arrives { candidate, call, asked, renewing } => {
                let answer = self.serve(asked, renewing);
                if let Some(late) = self.travel() {
                    self.later(late, Happening::Answered { candidate, call, answer });
                }
            }
            Happening::Answered { candidate, call, answer } => {
                // Answered already, or given up.
                if self.candidates[candidate].call == call {
                    let observation = self.observation(answer);
                    self.step(candidate, observation);
                }
            }
        }
    }

    /// What the store does: it counts by its own clock, from when it is asked.
    fn serve(&mut self, asked: Duration, renewing: Option<u64>) -> Answer {
        self.held = self.held.filter(|(_, end)| *end > self.now);
        let end = self.now + (TTL.as_micros() as f64 / self.store_speed) as u64;
        match (renewing, self.held) {
            (None, Some(_)) => Answer::Taken,
            (None, None) => {
                self.revision += 1;
                self.held = Some((self.revision, end));
                Answer::Acquired { epoch: self.revision, asked }
            }
            (Some(epoch), Some((held, _))) if epoch == held => {
                self.revision += 1;
                self.held = Some((epoch, end));
                Answer::Renewed { epoch, asked }
            }
            (Some(_), _) => Answer::Lost,
        }
    }

    /// How long a message is under way; none if it is lost.
    fn travel(&mut self) -> Option<u64> {
        let is_lost = self.draw(100) < self.rules.losses_percent;
        let quick = self.draw(4) > 0;
        let most = self.rules.latency_max.as_micros() as u64;
        let late = self.draw(if quick { most / 100 } else { most });
        (!is_lost).then_some(late)
    }

    fn observation(&self, answer: Answer) -> Observation {
        let lease = |epoch: u64| Lease {
            name: Key::new("lease", ["leader"]).unwrap(),
            holder: Holder::new("x").unwrap(),
            epoch: Epoch(epoch),
            revision: Revision(self.revision),
        };
        match answer {
            Answer::Acquired { epoch, asked } => Observation::Acquired { lease: lease(epoch), asked },
            Answer::Renewed { epoch, asked } => Observation::Renewed { lease: lease(epoch), asked },
            Answer::Taken => Observation::Taken,
            Answer::Lost => Observation::Lost,
            Answer::Failed => Observation::Failed,
        }
    }

    fn step(&mut self, at: usize, observation: Observation) {
        if self.candidates[at].is_dead {
            return;
        }
        let now = self.clock(at);
        self.candidates[at].call += 1;
        match self.candidates[at].campaign.step(observation, now) {
            Action::Wait(time) => {
                let pause = if self.draw(20) == 0 { self.draw(self.rules.pause_max.as_micros() as u64) } else { 0 };
                let wake = self.until(at, time) + pause;
                self.later(wake.max(1), Happening::Wake(at));
            }
            Action::Acquire => self.ask(at, None, now + TTL / 2),
            Action::Renew { lease, until } => self.ask(at, Some(lease.epoch.0), until),
        }
    }

    fn ask(&mut self, candidate: usize, renewing: Option<u64>, give_up: Duration) {
        let (call, asked) = (self.candidates[candidate].call, self.clock(candidate));
        if let Some(late) = self.travel() {
            self.later(late, Happening::Arrives { candidate, call, asked, renewing });
        }
        let give_up = self.until(candidate, give_up);
        self.later(give_up.max(1), Happening::Answered { candidate, call, answer: Answer::Failed });
    }
}

fn rough(timing: Timing) -> Rules {
    Rules { timing, drift: 0.1, losses_percent: 10, latency_max: TTL, pause_max: TTL * 2 }
}

fn calm() -> Rules {
    let (latency_max, pause_max) = (Duration::from_millis(20), Duration::ZERO);
    Rules { timing: Timing::of(TTL), drift: 0.001, losses_percent: 0, latency_max, pause_max }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn there_are_never_two_leaders_and_epochs_only_grow(seed: u64) {
        let mut world = World::new(rough(Timing::of(TTL)), seed);
        world.run(TTL * 60).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_dead_leader_is_replaced_within_the_lease_and_two_seconds(seed: u64) {
        let mut world = World::new(calm(), seed);
        world.run(TTL * 3).map_err(TestCaseError::fail)?;
        let leader = world.led.last().expect("somebody leads").1;
        world.candidates[leader].is_dead = true;
        let died = world.now;
        world.run(TTL + Duration::from_secs(2)).map_err(TestCaseError::fail)?;
        let last = world.led.last().unwrap();
        prop_assert!(last.0 > died && last.1 != leader, "{:?} after {died}", last);
    }

    #[test]
    fn a_leader_that_can_reach_the_store_stays_leader(seed: u64) {
        let mut world = World::new(calm(), seed);
        world.run(TTL * 20).map_err(TestCaseError::fail)?;
        let first = world.led[0].2;
        prop_assert!(world.led.iter().all(|(_, _, epoch)| *epoch == first));
        prop_assert!(world.led[0].0 < 3_000_000, "it began to lead at {} us", world.led[0].0);
    }
}

#[test]
fn without_a_margin_clocks_that_differ_would_make_two_leaders() {
    let careless = Timing { margin: Duration::ZERO, settle: Duration::ZERO, ..Timing::of(TTL) };
    let twice = (0..2000).any(|seed| World::new(rough(careless), seed).run(TTL * 60).is_err());
    assert!(twice, "the simulation finds what the margin is there against");
}

#[test]
fn a_lease_that_comes_too_late_to_be_believed_is_not_acted_on() {
    let timing = Timing::of(TTL);
    let mut campaign = Campaign::new(timing, Duration::ZERO);
    assert_eq!(campaign.step(Observation::Tick, Duration::ZERO), Action::Acquire);
    let lease = Lease {
        name: Key::new("lease", ["leader"]).unwrap(),
        holder: Holder::new("x").unwrap(),
        epoch: Epoch(1),
        revision: Revision(1),
    };
    let late = timing.ttl - timing.margin;
    let action = campaign.step(Observation::Acquired { lease, asked: Duration::ZERO }, late);
    assert_eq!((action, campaign.leads(late)), (Action::Acquire, None));
}

#[test]
fn renewals_leave_time_for_another_attempt_before_the_end() {
    for ttl in [1, 3, 10, 60].map(Duration::from_secs) {
        let timing = Timing::of(ttl);
        assert!(timing.renew_every + timing.retry_every * 2 < ttl - timing.margin, "{timing:?}");
        assert!(timing.settle + timing.campaign_every <= Duration::from_secs(1), "{timing:?}");
    }
}
