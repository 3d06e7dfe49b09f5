//! The process itself, under the names every Prometheus client library uses. Linux's `/proc` has it all; elsewhere, and
//! where a line is missing, the metric is missing.

use std::fs;

use prometheus::proto::MetricFamily;

use super::{Counter, Gauge};

/// Kernel clock ticks in a second: fixed at 100 for user space on every Linux architecture that matters here.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn families() -> Vec<MetricFamily> {
    let build = Gauge::new("headland_build_info", "1, for the version that runs", &["version"]);
    build.set(&[env!("CARGO_PKG_VERSION")], 1.0);
    let mut families = build.families();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let gauge = |name, help, value: Option<f64>| {
        let gauge = Gauge::new(name, help, &[]);
        if let Some(value) = value {
            gauge.set(&[], value);
        }
        gauge.families()
    };
    let kibibytes = |key| field(&status, key).map(|value| value * 1024.0);
    families.extend(gauge("process_resident_memory_bytes", "Resident memory", kibibytes("VmRSS:")));
    families.extend(gauge("process_virtual_memory_bytes", "Virtual memory", kibibytes("VmSize:")));
    families.extend(gauge("process_threads", "Threads", field(&status, "Threads:")));
    families.extend(gauge("process_open_fds", "Open file descriptors", open_fds()));
    if let Some(seconds) = cpu_seconds() {
        let cpu = Counter::new("process_cpu_seconds_total", "User and system time spent", &[]);
        cpu.add(&[], seconds);
        families.extend(cpu.families());
    }
    families
}

fn field(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

/// Fields 14 and 15 of `/proc/self/stat`, counted behind the command name, which may hold spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_can_be_seen() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(field(&status, "VmRSS:").unwrap() > 100.0);
        assert!(open_fds().unwrap() >= 3.0);
        assert!(cpu_seconds().unwrap() >= 0.0);
    }
}
