//! What language models have done, read from their engines' counters.

use std::sync::Arc;

use headland_batcher::{Generator, Model};
use headland_generation::EngineStats;
use prometheus::proto::MetricFamily;

use super::models::{MODEL, histogram};
use super::{Counter, Gauge};
use crate::gateway::Gateway;

/// Name, help, and where to read it.
type Read = (&'static str, &'static str, fn(&EngineStats) -> u64);

const COUNTS: [Read; 2] = [
    ("headland_generation_steps_total", "Steps of the engine, each over all who are under way", |stats| stats.steps),
    (
        "headland_generation_preemptions_total",
        "Answers that gave their memory to others, and were computed again",
        |stats| stats.put_back,
    ),
];

pub(super) fn families(gateway: &Gateway) -> Vec<MetricFamily> {
    let models = gateway.models().all();
    let generating: Vec<(Arc<Model>, Arc<Generator>)> =
        models.into_iter().filter_map(|model| Some((model.clone(), model.generator()?.clone()))).collect();
    if generating.is_empty() {
        return Vec::new();
    }
    let labels = |model: &Model| [model.info().name.to_string(), model.info().version.to_string()];
    let mut families = Vec::new();
    let tokens = Counter::new(
        "headland_generation_tokens_total",
        "Tokens of language models, by kind",
        &["model", "version", "kind"],
    );
    for (model, generator) in &generating {
        let ([name, version], stats) = (labels(model), generator.engine().stats());
        for (kind, count) in
            [("prompt", stats.prompt_tokens), ("cached", stats.cached_tokens), ("answer", stats.answer_tokens)]
        {
            tokens.add(&[&name, &version, kind], count as f64);
        }
    }
    families.extend(tokens.families());
    for (name, help, read) in COUNTS {
        let counter = Counter::new(name, help, &MODEL);
        for (model, generator) in &generating {
            let count = read(&generator.engine().stats());
            counter.add(&labels(model).each_ref().map(String::as_str), count as f64);
        }
        families.extend(counter.families());
    }
    let mut gauge = |name, help, read: &dyn Fn(&Generator) -> f64| {
        let gauge = Gauge::new(name, help, &MODEL);
        for (model, generator) in &generating {
            gauge.set(&labels(model).each_ref().map(String::as_str), read(generator));
        }
        families.extend(gauge.families());
    };
    gauge("headland_generation_running_requests", "Answers under way", &|generator| {
        generator.engine().stats().running as f64
    });
    gauge("headland_generation_kv_cache_bytes", "Memory for keys and values", &|generator| {
        let shape = generator.engine().shape();
        shape.page_bytes as f64 * f64::from(shape.pages)
    });
    gauge("headland_generation_kv_cache_used_bytes", "Memory of keys and values of answers under way", &|generator| {
        generator.engine().shape().page_bytes as f64 * generator.engine().stats().pages_used as f64
    });
    let models: Vec<Arc<Model>> = generating.into_iter().map(|(model, _)| model).collect();
    let help = "Time from a request to the first token of its answer";
    families.push(histogram("headland_generation_first_token_seconds", help, &models, |stats| {
        (stats.first_tokens(), stats.first_token_us() as f64 / 1e6)
    }));
    families
}
