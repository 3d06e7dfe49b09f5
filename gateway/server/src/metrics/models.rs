//! What the models have done, read from their own counters.

use headland_batcher::{Failure, Histogram, Model, ModelStats};
use prometheus::proto::{self, MetricFamily};

use super::{Counter, Gauge};
use crate::gateway::Gateway;

pub(super) const MODEL: [&str; 2] = ["model", "version"];

/// Name, help, and where to read it.
type Read = (&'static str, &'static str, fn(&ModelStats) -> u64);

/// Counters in microseconds, exported in seconds as Prometheus wants them.
const DURATIONS: [Read; 4] = [
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
];

/// Plain counts.
const COUNTS: [Read; 5] = [
    ("headland_inference_rows_total", "Rows of all batches", ModelStats::rows),
    (
        "headland_inference_batch_cells_total",
        "Cells (tokens, or rows without a length) of batches of several requests, padding not counted",
        ModelStats::cells,
    ),
    (
        "headland_inference_batch_padding_cells_total",
        "Cells that filled shorter requests up to the longest of their batch",
        ModelStats::padding,
    ),
    ("headland_inference_cache_hits_total", "Requests answered from the response cache", ModelStats::cache_hits),
    (
        "headland_inference_cache_misses_total",
        "Requests the response cache had no answer for",
        ModelStats::cache_misses,
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
    for (name, help, read) in COUNTS {
        families.extend(counter(name, help, &|model| read(model.stats()) as f64));
    }
    families.push(histogram("headland_inference_batch_requests", "Requests in each batch", &models, |stats| {
        (stats.batch_requests(), stats.batched_requests() as f64)
    }));
    families.push(histogram(
        "headland_inference_queue_delay_seconds",
        "Time in the model's queue, of each successful request",
        &models,
        |stats| (stats.queue_delay(), stats.queue_us() as f64 / 1e6),
    ));
    for (name, help, read_us) in DURATIONS {
        families.extend(counter(name, help, &|model| read_us(model.stats()) as f64 / 1e6));
    }
    let busy = "Time the model's executors were busy, failed batches included; of a language model, its engine";
    families
        .extend(counter("headland_inference_executor_busy_seconds_total", busy, &|model| model.busy_us() as f64 / 1e6));
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

/// A histogram that a model's counters keep; `read` gives it and the sum of its values.
pub(super) fn histogram(
    name: &str,
    help: &str,
    models: &[std::sync::Arc<Model>],
    read: fn(&ModelStats) -> (&Histogram, f64),
) -> MetricFamily {
    let metric = |model: &std::sync::Arc<Model>| {
        let (values, sum) = read(model.stats());
        let mut histogram = proto::Histogram::default();
        let bucket = |(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        histogram.set_bucket(values.cumulative().map(bucket).collect());
        histogram.set_sample_count(values.count());
        histogram.set_sample_sum(sum);
        let label = |name: &str, value: &str| {
            let mut label = proto::LabelPair::default();
            label.set_name(name.to_owned());
            label.set_value(value.to_owned());
            label
        };
        let mut metric = proto::Metric::default();
        let info = model.info();
        metric.set_label(vec![label("model", info.name.as_str()), label("version", info.version.as_str())]);
        metric.set_histogram(histogram);
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(proto::MetricType::HISTOGRAM);
    family.set_metric(models.iter().map(metric).collect());
    family
}

fn info(models: &[std::sync::Arc<Model>]) -> Vec<MetricFamily> {
    let labels = ["model", "version", "digest", "backend", "device"];
    let gauge = Gauge::new("headland_model_info", "1 for each loaded model: which bytes, run by what, where", &labels);
    for model in models {
        let info = model.info();
        let (digest, device) = (info.digest.to_string(), model.device().to_string());
        gauge.set(&[info.name.as_str(), info.version.as_str(), &digest, &info.backend, &device], 1.0);
    }
    gauge.families()
}
