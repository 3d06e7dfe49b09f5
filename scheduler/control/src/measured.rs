//! What models take and cost, as PoPs report it: the plan is made from measurements, and from a guess only until there are
//! some.

use std::collections::BTreeMap;

use headland_fleet::{DeviceReport, ModelKey, ModelRecord, ModelStanding};
use headland_placement::{DeviceClass, DeviceClassName, DeviceCost, DeviceKind, Memory};

use crate::view::FleetView;

/// What is made of a model's files takes, in percent of them, until it was loaded once: packed weights and working memory.
const GUESSED_MEMORY_PERCENT: u64 = 150;
/// Device time of a request until one was measured, in microseconds for each MiB of the model's files, on one processor: an
/// encoder of 90 MB was measured to take 4 ms for a short text, on two.
const GUESSED_CPU_US_PER_MIB: f64 = 80.0;
/// So many processors share the work; with more of them memory is what limits.
const SHARING_MAX: f64 = 8.0;
/// The same on a GPU: a small one reads 300 GB/s, and requests share what it reads.
const GUESSED_GPU_US_PER_MIB: f64 = 1.0;
/// No request costs less.
const COST_US_MIN: f64 = 20.0;

/// What is known of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The most memory that it was seen to take, in bytes, by kind of device.
    memory: BTreeMap<&'static str, u64>,
    /// Device time of a request in microseconds, by class: the mean of the PoPs that measured it.
    request_us: BTreeMap<String, Mean>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: u32,
}

/// What is known of every model that some PoP has loaded.
pub fn measured(view: &FleetView) -> BTreeMap<ModelKey, Measured> {
    let mut known: BTreeMap<ModelKey, Measured> = BTreeMap::new();
    for (_, pop) in view.pops() {
        for model in &pop.heartbeat.models {
            let ModelStanding::Ready { device, memory_bytes, cost } = &model.standing else { continue };
            let Some(on) = pop.heartbeat.devices.iter().find(|report| report.device == *device) else { continue };
            let entry = known.entry(model.key.clone()).or_default();
            let memory = entry.memory.entry(kind(on).name()).or_default();
            *memory = (*memory).max(*memory_bytes);
            if let Some(cost) = cost {
                let mean = entry.request_us.entry(on.class.clone()).or_default();
                *mean = Mean { sum: mean.sum + cost.request_us, count: mean.count.saturating_add(1) };
            }
        }
    }
    known
}

/// What kind of device it is.
pub fn kind(device: &DeviceReport) -> DeviceKind {
    if device.device.starts_with("cuda") { DeviceKind::Gpu } else { DeviceKind::Cpu }
}

/// Memory of a replica of `model`, by kind of device.
pub fn memory(model: &ModelRecord, measured: Option<&Measured>) -> Memory {
    let files = (model.bytes / 100).saturating_mul(GUESSED_MEMORY_PERCENT);
    let guess = model.needs.memory_bytes.unwrap_or(files.saturating_add(model.cache_bytes));
    let on = |kind: DeviceKind| measured.and_then(|known| known.memory.get(kind.name()).copied()).unwrap_or(guess);
    Memory { cpu_bytes: Some(on(DeviceKind::Cpu)), gpu_bytes: Some(on(DeviceKind::Gpu)) }
}

/// What requests of `model` cost on every class.
pub fn costs(model: &ModelRecord, measured: Option<&Measured>, classes: &[DeviceClass]) -> Vec<DeviceCost> {
    let known = |class: &DeviceClassName| {
        let mean = measured?.request_us.get(class.as_str())?;
        Some(mean.sum / f64::from(mean.count.max(1)))
    };
    let cost = |class: DeviceClassName, request_us: f64| DeviceCost {
        class,
        fixed_us: 0.0,
        per_request_us: request_us.max(COST_US_MIN),
        batch: 1,
    };
    let mut costs = Vec::new();
    for kind in [DeviceKind::Cpu, DeviceKind::Gpu] {
        let of_kind = || classes.iter().filter(|class| class.kind == kind);
        let measured: Vec<DeviceCost> =
            of_kind().filter_map(|class| Some(cost(class.name.clone(), known(&class.name)?))).collect();
        // Classes that were not measured are estimated by the solver from those that were, by their speeds; with none of a
        // kind measured, the slowest of them gets the guess.
        let guess_on = of_kind().min_by(|a, b| a.speed.total_cmp(&b.speed));
        match (measured.is_empty(), guess_on) {
            (true, Some(class)) => {
                let us_per_mib = match kind {
                    DeviceKind::Gpu => GUESSED_GPU_US_PER_MIB,
                    DeviceKind::Cpu => GUESSED_CPU_US_PER_MIB / class.speed.clamp(1.0, SHARING_MAX),
                };
                costs.push(cost(class.name.clone(), model.bytes as f64 / f64::from(1 << 20) * us_per_mib));
            }
            _ => costs.extend(measured),
        }
    }
    costs
}

#[cfg(test)]
mod tests {
    use headland_fleet::Needs;

    use super::*;
    use crate::testing::record;

    #[test]
    fn a_model_that_was_never_loaded_takes_what_its_package_says_or_its_files_and_cache() {
        let said = record("m", "1");
        assert_eq!(memory(&said, None).cpu_bytes, Some(1 << 30));
        let needs = Needs { memory_bytes: None, ..said.needs.clone() };
        let writes = ModelRecord { bytes: 200, cache_bytes: 80, needs, ..said };
        assert_eq!(memory(&writes, None).cpu_bytes, Some(380));
        let huge = ModelRecord { bytes: u64::MAX, cache_bytes: u64::MAX, ..writes };
        assert_eq!(memory(&huge, None).gpu_bytes, Some(u64::MAX));
    }
}
