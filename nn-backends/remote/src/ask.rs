//! One request to one candidate: sent, answered, and understood. What came of it is counted here, whatever becomes of the
//! whole. An answer that comes in pieces (`pieces.rs`) is under way until its last.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headland_batcher::{Answer, Trace};
use headland_nn_core::{Busy, NnError};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::INFER_PATH;
use crate::choose::View;
use crate::fetch::authority;
use crate::limits::{ANSWER_BYTES_MAX, STREAMS_MAX};
use crate::live::Live;
use crate::outcome::Outcome;
use crate::peer::{Counters, Peer, RequestFailed, read};
use crate::pieces::{Coming, FarPieces};
use crate::wire::{Frames, InferRequest, MEDIA_TYPE, PIECES_MEDIA_TYPE, Refused, WireError, decode_response};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Time that who has too much to do is left alone, when it does not say how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// A PoP that has a model, and how it has been with it.
#[derive(Clone)]
pub(crate) struct Contender {
    pub peer: Arc<Peer>,
    pub share: f64,
    pub live: Arc<Mutex<Live>>,
}

/// What is the same for everybody who is asked.
pub(crate) struct Asking<'c> {
    /// Name of the model.
    pub model: &'c Arc<str>,
    pub trace: &'c Trace,
    pub deadline: Instant,
}

/// Why a candidate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    First,
    Retry,
    Hedge,
}

impl Contender {
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it now.
    pub fn view(&self, now: Instant) -> View {
        let (live, link) = (self.live(), self.peer.standing());
        let standing = link.max(live.standing(now));
        View { share: self.share, standing, cost: live.cost() }
    }

    /// Asks it, and waits for the answer.
    pub async fn ask(self, request: InferRequest, asking: &Asking<'_>, why: Why) -> Outcome<Answer> {
        let mut under_way = UnderWay::begin(self, why);
        let contender = &under_way.contender;
        let outcome = match contender.send(request, asking).await {
            Ok(response) => contender.whole(response, asking).await,
            Err(failed) => contender.failed(&failed, asking.model),
        };
        under_way.end(&outcome);
        outcome
    }

    /// Asks it for an answer in pieces, and waits for the first.
    pub async fn ask_for_pieces(self, request: InferRequest, asking: &Asking<'_>, why: Why) -> Outcome<FarPieces> {
        let mut under_way = UnderWay::begin(self, why);
        let contender = &under_way.contender;
        let strange = || NnError::runtime(format!("{} answered whole what was to come in pieces", contender.peer.pop));
        let outcome = match contender.send(InferRequest { stream: true, ..request }, asking).await {
            Ok(response) if says(&response, PIECES_MEDIA_TYPE) => {
                Coming::begin(response.into_body(), contender, asking).await
            }
            Ok(response) => contender.whole(response, asking).await.and_then(|_| Outcome::Failed(strange())),
            Err(failed) => contender.failed(&failed, asking.model),
        };
        if !matches!(outcome, Outcome::Answered(_)) {
            under_way.end(&outcome);
        }
        outcome.and_then(|coming| Outcome::Answered(FarPieces::new(coming, under_way, asking)))
    }

    async fn send(&self, request: InferRequest, asking: &Asking<'_>) -> Result<Response<Incoming>, RequestFailed> {
        self.peer.send(http_request(&self.peer, request, asking.trace)?).await
    }

    /// There is no answer, or not all of it.
    pub fn failed<T>(&self, failed: &RequestFailed, model: &Arc<str>) -> Outcome<T> {
        let error = NnError::unreachable(model.clone(), format!("{}: {failed}", self.peer.pop));
        if failed.sent { Outcome::Failed(error) } else { Outcome::Unreached(error) }
    }

    /// What a PoP refused to do.
    pub fn refused<T>(&self, refused: Refused, model: &Arc<str>) -> Outcome<T> {
        match refused {
            Refused::Failed(error) => Outcome::of(error),
            Refused::NotHere(message) => {
                let message = format!("{}: {message}", self.peer.pop);
                Outcome::Gone(NnError::unreachable(model.clone(), message))
            }
        }
    }

    async fn whole(&self, response: Response<Incoming>, asking: &Asking<'_>) -> Outcome<Answer> {
        let is_ours = says(&response, MEDIA_TYPE);
        let (parts, body) = response.into_parts();
        let body = match read(body, ANSWER_BYTES_MAX).await {
            Ok(body) => body,
            Err(failed) => return self.failed(&failed, asking.model),
        };
        if !is_ours {
            return self.refused_by_gateway(parts.status, &parts.headers, &body, asking.model);
        }
        match decode_response(body) {
            Ok(Ok(answer)) => Outcome::Answered(answer),
            Ok(Err(refused)) => self.refused(refused, asking.model),
            Err(error) => Outcome::Failed(self.unreadable(&error)),
        }
    }

    /// What it sent is not what it should be.
    pub fn unreadable(&self, error: &WireError) -> NnError {
        NnError::runtime(format!("the answer of {} cannot be read: {error}", self.peer.pop))
    }

    /// An answer that is not the model's: the gateway there refused the request before it reached one.
    fn refused_by_gateway<T>(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        model: &Arc<str>,
    ) -> Outcome<T> {
        let said: String = String::from_utf8_lossy(body).chars().take(500).collect();
        let error = || NnError::runtime(format!("{} answered {status}: {said}", self.peer.pop));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                Outcome::Shed(NnError::Overloaded {
                    model: model.clone(),
                    reason: Busy::QueueFull { queue_max: STREAMS_MAX },
                    retry_after: seconds.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs),
                })
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                Outcome::Final(NnError::TooLarge("the request is larger than the PoP that runs the model takes".into()))
            }
            _ => Outcome::Failed(error()),
        }
    }
}

fn http_request(peer: &Peer, request: InferRequest, trace: &Trace) -> Result<Request<Frames>, RequestFailed> {
    let body = request.encode().map_err(|error| RequestFailed::unsent(error.to_string()))?;
    let mut http = Request::post(format!("https://{}{INFER_PATH}", authority(&peer.pop)))
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(CONTENT_LENGTH, body.len());
    for (name, value) in [(REQUEST_ID, &trace.request_id), (TRACEPARENT, &trace.parent)] {
        if let Some(value) = value {
            http = http.header(name, &**value);
        }
    }
    http.body(body).map_err(|error| RequestFailed::unsent(error.to_string()))
}

fn says(response: &Response<Incoming>, media_type: &str) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|given| given == media_type)
}

/// A request under way, until this is dropped.
pub(crate) struct UnderWay {
    pub contender: Contender,
    since: Instant,
    ended: bool,
}

impl UnderWay {
    fn begin(contender: Contender, why: Why) -> Self {
        let counters = &contender.peer.counters;
        Counters::add(&counters.requests);
        match why {
            Why::First => {}
            Why::Retry => Counters::add(&counters.retries),
            Why::Hedge => Counters::add(&counters.hedges),
        }
        contender.peer.outstanding.fetch_add(1, Relaxed);
        contender.live().began();
        UnderWay { contender, since: Instant::now(), ended: false }
    }

    /// Nothing more comes of it.
    pub fn end<T>(&mut self, outcome: &Outcome<T>) {
        self.ended = true;
        let (now, counters) = (Instant::now(), &self.contender.peer.counters);
        let mut live = self.contender.live();
        match outcome {
            Outcome::Answered(_) => {
                let took = now - self.since;
                live.answered(took, now);
                counters.took(took);
            }
            // It understood the request, and was right.
            Outcome::Final(_) => counters.took(now - self.since),
            Outcome::Shed(error) => {
                live.shed(error, now);
                Counters::add(&counters.shed);
            }
            Outcome::Gone(NnError::ShuttingDown { .. }) => {
                live.failed(now);
                Counters::add(&counters.shed);
            }
            Outcome::Unreached(_) => Counters::add(&counters.failed),
            Outcome::Gone(_) | Outcome::Failed(_) => {
                live.failed(now);
                Counters::add(&counters.failed);
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.contender.peer.outstanding.fetch_sub(1, Relaxed);
        let mut live = self.contender.live();
        live.ended();
        if !self.ended {
            let now = Instant::now();
            live.abandoned(now - self.since, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use headland_batcher::{Caller, Inputs};
    use headland_identity::{FleetCa, Identity, MEMBER_VALIDITY};
    use headland_package::Sha256Digest;

    use super::*;
    use crate::choose::Standing;
    use crate::link::Target;
    use crate::peer::member;
    use crate::random::Random;

    #[tokio::test]
    async fn who_cannot_be_reached_has_not_failed_and_has_nothing_under_way() {
        let (dir, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let ca = FleetCa::create(&dir.path().join("ca"), now).unwrap();
        let (pop, home) = ("fra2".parse().unwrap(), dir.path().join("us"));
        ca.enroll(&home, &member(&pop), MEMBER_VALIDITY, now).unwrap();
        let identity = Arc::new(Identity::load(&home).unwrap());
        // A port that was free a moment ago: nobody listens there.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let target = Target { identity, member: member(&pop), address, random: Arc::new(Random::new()) };
        let contender = Contender { peer: Peer::new(pop, target), share: 1.0, live: Arc::default() };
        let request = InferRequest {
            model: "m".parse().unwrap(),
            version: "1".parse().unwrap(),
            digest: Sha256Digest::of(b"m"),
            inputs: Inputs::default(),
            outputs: Vec::new(),
            caller: Caller::native(),
            priority: 0,
            deadline: None,
            attempt: 0,
            stream: false,
        };
        let asking = Asking { model: &"m".into(), trace: &Trace::default(), deadline: Instant::now() };
        for _ in 0..4 {
            let outcome = contender.clone().ask(request.clone(), &asking, Why::First).await;
            assert!(matches!(outcome, Outcome::Unreached(NnError::Unreachable { .. })));
        }
        assert_eq!(contender.live().standing(Instant::now()), Standing::Ready);
        assert_eq!((contender.peer.stats().outstanding, contender.peer.stats().failed), (0, 4));
        let idle = contender.live().cost();
        drop(UnderWay::begin(contender.clone(), Why::First));
        assert!(contender.live().cost() <= idle, "given up, it is under way no more");
    }
}
