//! What the models have done, read from their own counters.

use headland_batcher::{Failure, Model, ModelStats};
use prometheus::proto::MetricFamily;

use super::{Counter, Gauge};
use crate::gateway::Gateway;

const MODEL: [&str; 2] = ["model", "version"];

/// Counters in microseconds, exported in seconds as Prometheus wants them.
type Duration = (&'static str, &'static str, fn(&ModelStats) -> u64);
const DURATIONS: [Duration; 5] = [
    (
        "headland_inference_request_duration_seconds_total",
        "Time from arrival at the model to its answer, over successful requests",
        ModelStats::request_us,
    ),
    (
        "headland_inference_queue_duration_seconds_total",
        "Time in the model's queue, over successful requests",
        ModelStats::queue_us,
    ),
    (
        "headland_inference_compute_input_duration_seconds_total",
        "Time making input tensors (tokenising), over successful requests",
        ModelStats::input_us,
    ),
    (
        "headland_inference_compute_infer_duration_seconds_total",
        "Time in the executor, over successful requests",
        ModelStats::infer_us,
    ),
    (
        "headland_inference_executor_busy_seconds_total",
        "Time the model's executors were busy, failed batches included",
        ModelStats::busy_us,
    ),
];

pub(super) fn families(gateway: &Gateway) -> Vec<MetricFamily> {
    let models = gateway.models().all();
    let labels = |model: &Model| [model.info().name.to_string(), model.info().version.to_string()];
    let counter = |name, help, read: &dyn Fn(&Model) -> f64| {
        let counter = Counter::new(name, help, &MODEL);
        for model in &models {
            counter.add(&labels(model).each_ref().map(String::as_str), read(model));
        }
        counter.families()
    };
    let gauge = |name, help, read: &dyn Fn(&Model) -> f64| {
        let gauge = Gauge::new(name, help, &MODEL);
        for model in &models {
            gauge.set(&labels(model).each_ref().map(String::as_str), read(model));
        }
        gauge.families()
    };
    let mut families = counter("headland_inference_request_success_total", "Requests the model answered", &|model| {
        model.stats().success() as f64
    });
    families.extend(failures(&models));
    families.extend(counter("headland_inference_exec_total", "Batches the model's executors have run", &|model| {
        model.stats().executions() as f64
    }));
    for (name, help, read_us) in DURATIONS {
        families.extend(counter(name, help, &|model| read_us(model.stats()) as f64 / 1e6));
    }
    families.extend(gauge("headland_inference_pending_requests", "Requests waiting for the model", &|model| {
        model.pending() as f64
    }));
    families.extend(gauge("headland_model_memory_bytes", "Device memory the idle model takes", &|model| {
        model.memory_bytes() as f64
    }));
    families.extend(info(&models));
    families
}

fn failures(models: &[std::sync::Arc<Model>]) -> Vec<MetricFamily> {
    let help = "Requests that failed at the model, by Triton's reasons";
    let counter = Counter::new("headland_inference_request_failure_total", help, &["model", "version", "reason"]);
    for model in models {
        for reason in Failure::ALL {
            let labels = [model.info().name.as_str(), model.info().version.as_str(), reason.label()];
            counter.add(&labels, model.stats().failure(reason) as f64);
        }
    }
    counter.families()
}

fn info(models: &[std::sync::Arc<Model>]) -> Vec<MetricFamily> {
    let labels = ["model", "version", "digest", "backend", "device"];
    let gauge = Gauge::new("headland_model_info", "1 for each loaded model: which bytes, run by what, where", &labels);
    for model in models {
        let info = model.info();
        let (digest, device) = (info.digest.to_string(), model.device().to_string());
        gauge.set(&[info.name.as_str(), info.version.as_str(), &digest, info.backend, &device], 1.0);
    }
    gauge.families()
}
