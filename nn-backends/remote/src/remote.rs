//! A model at other PoPs: its candidates are asked, one after the other as need be, until one answers or the time is over.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use headland_batcher::{Answer, Call, Distant, DistantPieces, Pending};
use headland_nn_core::{Busy, NnError, OutputSelection};
use headland_package::{ModelName, ModelVersion, Sha256Digest};

use crate::ask::{Asking, Contender, Why};
use crate::budget::RetryBudget;
use crate::choose::{Standing, View, choose};
use crate::limits::{INFER_MAX, STREAMS_MAX};
use crate::outcome::Outcome;
use crate::random::Random;
use crate::wire::InferRequest;

/// Which model: a version that was replaced by other bytes is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub name: ModelName,
    pub version: ModelVersion,
    pub digest: Sha256Digest,
}

/// The way to a model.
pub(crate) struct Remote {
    pub key: Key,
    label: Arc<str>,
    /// Names of its outputs, once it is described.
    pub outputs: OnceLock<Vec<String>>,
    candidates: RwLock<Arc<[Contender]>>,
    budget: Mutex<RetryBudget>,
    random: Arc<Random>,
    /// Whether a second PoP is asked when the first takes longer than usual.
    hedging: bool,
    /// Whether a request that may have run is sent again.
    pub repeatable: bool,
}

impl Remote {
    pub fn new(key: Key, random: Arc<Random>, hedging: bool, repeatable: bool) -> Self {
        let label = key.name.to_arc();
        let budget = Mutex::new(RetryBudget::new(Instant::now()));
        let (outputs, candidates) = (OnceLock::new(), RwLock::new(Arc::from([])));
        Remote { key, label, outputs, candidates, budget, random, hedging, repeatable }
    }

    pub fn candidates(&self) -> Arc<[Contender]> {
        self.candidates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_candidates(&self, candidates: Vec<Contender>) {
        *self.candidates.write().unwrap_or_else(PoisonError::into_inner) = candidates.into();
    }

    fn affords_retry(&self) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).withdraw()
    }

    /// The request for it, but for what changes from attempt to attempt.
    fn request(&self, call: &Call) -> Result<InferRequest, NnError> {
        let known = self.outputs.get().map_or(&[][..], Vec::as_slice);
        let name = |&at: &usize| {
            known.get(at).cloned().ok_or_else(|| NnError::invalid(format!("model `{}` has no output {at}", self.label)))
        };
        let outputs = match &call.wanted {
            OutputSelection::All => Vec::new(),
            OutputSelection::Only(wanted) => wanted.iter().map(name).collect::<Result<_, _>>()?,
        };
        Ok(InferRequest {
            model: self.key.name.clone(),
            version: self.key.version.clone(),
            digest: self.key.digest,
            inputs: call.inputs.clone(),
            outputs,
            caller: call.caller.clone(),
            priority: call.priority,
            deadline: None,
            attempt: 0,
            stream: false,
        })
    }

    /// Has one after the other asked, as need be, by `ask`.
    async fn attempts<T, F: Future<Output = Outcome<T>>>(
        &self,
        call: &Call,
        deadline: Instant,
        hedging: bool,
        ask: impl Fn(Contender, InferRequest, Why) -> F,
    ) -> Result<T, NnError> {
        let request = self.request(call)?;
        let candidates = self.candidates();
        let mut attempts = Attempts { tried: vec![false; candidates.len()], asked: 0, verdict: None };
        let mut under_way = FuturesUnordered::new();
        let start = |at: usize, attempt: u32, why: Why| {
            let left = Some(deadline.saturating_duration_since(Instant::now()));
            let request = InferRequest { deadline: left, attempt, ..request.clone() };
            ask(candidates[at].clone(), request, why)
        };
        let first = attempts.next(&candidates, &self.random).ok_or_else(|| self.nobody(&candidates))?;
        under_way.push(start(first, 0, Why::First));
        let hedge_at = hedging.then(|| candidates[first].live().p95()).flatten().map(|p95| Instant::now() + p95);
        let mut hedge = std::pin::pin!(tokio::time::sleep_until(hedge_at.unwrap_or(deadline).into()));
        let mut hedges = hedge_at.is_some();
        loop {
            let why = tokio::select! {
                biased;
                Some(outcome) = under_way.next() => match attempts.note(outcome, self.repeatable) {
                    Noted::Answer(answer) => return Ok(answer),
                    Noted::Verdict(error) => return Err(error),
                    Noted::Open { .. } if !under_way.is_empty() => continue,
                    Noted::Open { free } if free || self.affords_retry() => Why::Retry,
                    Noted::Open { .. } => return Err(attempts.verdict()),
                },
                () = &mut hedge, if hedges => {
                    hedges = false;
                    if !self.affords_retry() {
                        continue;
                    }
                    Why::Hedge
                }
            };
            match attempts.next(&candidates, &self.random) {
                Some(at) => under_way.push(start(at, attempts.asked - 1, why)),
                None if under_way.is_empty() => return Err(attempts.verdict()),
                None => {}
            }
        }
    }

    /// A request came.
    fn asking<'c>(&'c self, call: &'c Call, arrived: Instant) -> Asking<'c> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).deposit(arrived);
        let deadline = call.deadline.unwrap_or(arrived + INFER_MAX);
        Asking { model: &self.label, trace: &call.trace, deadline }
    }

    fn late(&self) -> NnError {
        NnError::DeadlineExceeded { model: self.label.clone() }
    }

    /// Nobody can be asked.
    fn nobody(&self, candidates: &[Contender]) -> NnError {
        if candidates.iter().any(|candidate| candidate.peer.standing() == Standing::Full) {
            let reason = Busy::QueueFull { queue_max: STREAMS_MAX };
            return NnError::Overloaded { model: self.label.clone(), reason, retry_after: Duration::ZERO };
        }
        NnError::unreachable(self.label.clone(), "no PoP is known to have it")
    }
}

impl Distant for Remote {
    fn infer(&self, call: Call) -> Pending<'_, Answer> {
        Box::pin(async move {
            let arrived = Instant::now();
            let asking = self.asking(&call, arrived);
            let ask = |contender: Contender, request, why| contender.ask(request, &asking, why);
            let attempts = self.attempts(&call, asking.deadline, self.hedging, ask);
            let mut answer =
                tokio::time::timeout_at(asking.deadline.into(), attempts).await.map_err(|_| self.late())??;
            // As whoever asked here has seen it.
            answer.timing.total = arrived.elapsed();
            Ok(answer)
        })
    }

    /// An answer in pieces is not hedged: what is usual of whole ones says nothing about the first piece of one.
    fn stream(&self, call: Call) -> Pending<'_, Box<dyn DistantPieces>> {
        Box::pin(async move {
            let asking = self.asking(&call, Instant::now());
            let ask = |contender: Contender, request, why| contender.ask_for_pieces(request, &asking, why);
            let attempts = self.attempts(&call, asking.deadline, false, ask);
            let pieces = tokio::time::timeout_at(asking.deadline.into(), attempts).await.map_err(|_| self.late())??;
            Ok(Box::new(pieces) as Box<dyn DistantPieces>)
        })
    }
}

/// Who was asked, and the best that is known so far.
struct Attempts {
    tried: Vec<bool>,
    asked: u32,
    verdict: Option<(Rank, NnError)>,
}

/// What the caller is told when nobody answers: that there is no room, before what failed, before who could not be reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Gone,
    Failed,
    Shed,
}

enum Noted<T> {
    Answer(T),
    Verdict(NnError),
    /// Somebody else may be asked; `free`, if nobody's time was taken yet.
    Open {
        free: bool,
    },
}

impl Attempts {
    fn next(&mut self, candidates: &[Contender], random: &Random) -> Option<usize> {
        let now = Instant::now();
        let views: Vec<View> = candidates.iter().map(|candidate| candidate.view(now)).collect();
        let at = choose(&views, &self.tried, [random.draw(), random.draw()])?;
        *self.tried.get_mut(at)? = true;
        self.asked = self.asked.saturating_add(1);
        Some(at)
    }

    fn note<T>(&mut self, outcome: Outcome<T>, repeatable: bool) -> Noted<T> {
        let (rank, error) = match outcome {
            Outcome::Answered(answer) => return Noted::Answer(answer),
            Outcome::Final(error) => return Noted::Verdict(error),
            Outcome::Failed(error) if !repeatable => return Noted::Verdict(error),
            Outcome::Failed(error) => (Rank::Failed, error),
            Outcome::Shed(error) => (Rank::Shed, error),
            Outcome::Gone(error) | Outcome::Unreached(error) => (Rank::Gone, error),
        };
        if self.verdict.as_ref().is_none_or(|(known, _)| *known <= rank) {
            self.verdict = Some((rank, error));
        }
        Noted::Open { free: rank == Rank::Gone }
    }

    fn verdict(&mut self) -> NnError {
        let nothing = || NnError::runtime("nobody was asked");
        self.verdict.take().map_or_else(nothing, |(_, error)| error)
    }
}
