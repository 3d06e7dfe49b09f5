//! What Prometheus scrapes. `docs/metrics.md` explains every name, and Triton's name for the same thing.
//!
//! HTTP requests are counted as they end (`observe.rs`); models, guests and the process keep their own counters, which
//! are read at each scrape.

mod generation;
mod guests;
mod models;
mod peers;
mod process;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, TextEncoder};

use crate::gateway::Gateway;

/// Kinds of routes: a label that stays small whatever paths clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    KserveHealth,
    KserveInfer,
    KserveMetadata,
    OpenAiChat,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiModels,
    App,
    Admin,
    Peer,
}

impl RouteKind {
    /// The kind of a path on the data plane.
    pub(crate) fn of_path(path: &str) -> Self {
        let mut segments = path.split('/').skip(1);
        match (segments.next(), segments.next()) {
            (Some("v2"), Some("health")) => RouteKind::KserveHealth,
            (Some("v2"), Some("models")) if path.ends_with("/infer") => RouteKind::KserveInfer,
            (Some("v2"), _) => RouteKind::KserveMetadata,
            (Some("v1"), Some("chat")) => RouteKind::OpenAiChat,
            (Some("v1"), Some("completions")) => RouteKind::OpenAiCompletions,
            (Some("v1"), Some("embeddings")) => RouteKind::OpenAiEmbeddings,
            (Some("v1"), _) => RouteKind::OpenAiModels,
            _ => RouteKind::App,
        }
    }

    fn label(self) -> &'static str {
        match self {
            RouteKind::KserveHealth => "kserve_health",
            RouteKind::KserveInfer => "kserve_infer",
            RouteKind::KserveMetadata => "kserve_metadata",
            RouteKind::OpenAiChat => "openai_chat",
            RouteKind::OpenAiCompletions => "openai_completions",
            RouteKind::OpenAiEmbeddings => "openai_embeddings",
            RouteKind::OpenAiModels => "openai_models",
            RouteKind::App => "app",
            RouteKind::Admin => "admin",
            RouteKind::Peer => "peer",
        }
    }
}

/// From a guest's hello to a long inference, in seconds.
const DURATION_BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The counters that only the HTTP side can keep.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests =
            Opts::new("headland_http_requests_total", "HTTP requests that ended, by kind of route, app and status");
        let durations = HistogramOpts::new(
            "headland_http_request_duration_seconds",
            "Time from a request's head to the last byte of its answer, by kind of route",
        )
        .buckets(DURATION_BUCKETS.to_vec());
        Metrics {
            requests: IntCounterVec::new(requests, &["route", "app", "status"]).expect("constant names are valid"),
            durations: HistogramVec::new(durations, &["route"]).expect("constant names and buckets are valid"),
        }
    }

    /// Counts a request. Guests may answer any status: those without a name of their own share their class's.
    pub(crate) fn observe(&self, route: RouteKind, app: Option<&str>, status: u16, took: Duration) {
        let known = http::StatusCode::from_u16(status).ok().filter(|status| status.canonical_reason().is_some());
        let status = known.as_ref().map_or(
            match status / 100 {
                1 => "1xx",
                2 => "2xx",
                3 => "3xx",
                4 if status == 499 => "499",
                4 => "4xx",
                _ => "5xx",
            },
            |status| status.as_str(),
        );
        self.requests.with_label_values(&[route.label(), app.unwrap_or(""), status]).inc();
        self.durations.with_label_values(&[route.label()]).observe(took.as_secs_f64());
    }
}

/// Everything, in Prometheus's text format.
///
/// # Errors
/// When a family cannot be written, which would be a mistake in this module.
pub(crate) fn scrape(gateway: &Gateway) -> Result<String, prometheus::Error> {
    let metrics = gateway.metrics();
    let mut families = metrics.requests.collect();
    families.extend(metrics.durations.collect());
    families.extend(models::families(gateway));
    families.extend(generation::families(gateway));
    families.extend(guests::families(gateway));
    families.extend(peers::families(gateway));
    families.extend(process::families());
    // The encoder refuses a family without samples, as one without models or apps has none.
    families.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&families)
}

/// A counter family filled from counters kept elsewhere.
pub(super) struct Counter(CounterVec);

impl Counter {
    pub(super) fn new(name: &str, help: &str, labels: &[&str]) -> Self {
        Counter(CounterVec::new(Opts::new(name, help), labels).expect("constant names are valid"))
    }

    pub(super) fn add(&self, labels: &[&str], value: f64) {
        self.0.with_label_values(labels).inc_by(value);
    }

    pub(super) fn families(self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

/// A gauge family filled from values kept elsewhere.
pub(super) struct Gauge(GaugeVec);

impl Gauge {
    pub(super) fn new(name: &str, help: &str, labels: &[&str]) -> Self {
        Gauge(GaugeVec::new(Opts::new(name, help), labels).expect("constant names are valid"))
    }

    pub(super) fn set(&self, labels: &[&str], value: f64) {
        self.0.with_label_values(labels).set(value);
    }

    pub(super) fn families(self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fall_into_few_kinds() {
        for (path, kind) in [
            ("/v2/health/ready", RouteKind::KserveHealth),
            ("/v2/models/m/versions/1/infer", RouteKind::KserveInfer),
            ("/v2", RouteKind::KserveMetadata),
            ("/v2/nonsense", RouteKind::KserveMetadata),
            ("/v1/embeddings", RouteKind::OpenAiEmbeddings),
            ("/v1/models/x", RouteKind::OpenAiModels),
            ("/v20/x", RouteKind::App),
            ("*", RouteKind::App),
        ] {
            assert_eq!(RouteKind::of_path(path), kind, "{path}");
        }
    }

    #[test]
    fn odd_statuses_share_a_label() {
        let metrics = Metrics::new();
        for status in [200, 299, 298, 499, 599] {
            metrics.observe(RouteKind::App, Some("a"), status, Duration::ZERO);
        }
        let count = |status| metrics.requests.with_label_values(&["app", "a", status]).get();
        assert_eq!(["200", "2xx", "499", "5xx"].map(count), [1, 2, 1, 1]);
    }
}
