//! How much memory models may take on each device, where the operator does not say.

use std::collections::BTreeMap;
use std::sync::Arc;

use headland_lifecycle::models::budget::Budget;
use headland_nn_core::Device;

/// The part of the machine's memory that models may take unless the operator says otherwise, in percent: the rest is for
/// requests, guests, and what the backends need beside the weights.
const DEFAULT_PERCENT: u64 = 75;

/// A budget with the operator's limits, and one for the CPU in any case. Other devices have no limit unless they are given
/// one.
pub fn budget(configured: &BTreeMap<Device, u64>) -> Arc<Budget> {
    let mut limits = configured.clone();
    limits.entry(Device::Cpu).or_insert_with(|| available_bytes() / 100 * DEFAULT_PERCENT);
    Budget::new(limits)
}

/// A GPU of this machine.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// As configurations name it.
    pub device: Device,
    /// What it is.
    pub name: String,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
}

/// The GPUs there are, as NVIDIA's management library tells; none where that is not installed. It is loaded now, and no part of
/// the binary.
pub fn gpus() -> Vec<Gpu> {
    let nvml = match nvml_wrapper::Nvml::init() {
        Ok(nvml) => nvml,
        Err(error) => {
            tracing::debug!("no GPU is used, for NVML says: {error}");
            return Vec::new();
        }
    };
    let gpu = |ordinal: u32| {
        let device = nvml.device_by_index(ordinal)?;
        let (name, memory_bytes) = (device.name()?, device.memory_info()?.total);
        Ok::<_, nvml_wrapper::error::NvmlError>(Gpu { device: Device::Cuda(ordinal), name, memory_bytes })
    };
    let found = (0..nvml.device_count().unwrap_or(0)).filter_map(|ordinal| {
        gpu(ordinal).inspect_err(|error| tracing::warn!(ordinal, "a GPU cannot be used: {error}")).ok()
    });
    found.collect()
}

/// The machine's memory in bytes, or what the container may use of it.
fn available_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let machine = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|text| text.trim().parse().ok());
    container.map_or(machine, |container: u64| container.min(machine))
}
