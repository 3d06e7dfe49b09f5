//! The smallest guest under load: plain axum, our hello guest, and the same component under `wasmtime serve`.

use anyhow::Result;
use headland_load::{Courtesy, request};

use crate::Setup;
use crate::loads::{Contender, Latencies, Turn, in_turn, repeated};
use crate::servers::{self, Server};
use headland_report::{Panel, Plot, Report, Section};

const CONNECTIONS: usize = 32;
pub const TITLE: &str = "hello, 32 connections";
pub const FLOOR: &str = "plain axum";
pub const FRESH: &str = "headland, fresh instance per request";
pub const REUSED: &str = "headland, instances reused";
const TUNED: [&str; 6] =
    ["-O", "pooling-allocator=y", "-O", "pooling-memory-keep-resident=2097152", "-O", "pooling-pagemap-scan=y"];

pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let floor = servers::floor()?;
    let ours = servers::headland(setup, &[])?;
    let wasmtime = wasmtime()?;
    let get = |path| {
        let mut out = Vec::new();
        request(&mut out, "GET", path, &[], b"");
        out
    };
    let mut contenders = vec![
        Contender::new(FLOOR, floor.address, repeated(get("/hello"))),
        Contender::new(FRESH, ours.server.address, repeated(get("/bench/hello"))),
    ];
    let reusing = servers::headland_with(setup, &["--app", "benches/app/reused.app.toml"], &[]);
    match &reusing {
        Ok(reusing) => contenders.push(Contender::new(REUSED, reusing.server.address, repeated(get("/bench/hello")))),
        Err(error) => report.miss(format!("{REUSED}: {error:#}")),
    }
    for (name, server) in &wasmtime {
        contenders.push(Contender::new(name, server.address, repeated(get("/hello"))));
    }
    if wasmtime.is_empty() {
        report.miss("wasmtime serve: wasmtime is not on PATH (make bench-compare installs it)".to_owned());
    }
    let mut rates = Section::new(TITLE, "requests/s, more is better");
    let mut p99 = Section::new("hello, 32 connections: p99", "microseconds, less is better");
    let mut client = Section::new("hello: the client's own processor time a request", "microseconds");
    let mut latencies = Latencies::default();
    // The servers are there already.
    let _courtesy = Courtesy::new()?;
    in_turn(setup, &mut contenders, CONNECTIONS, |turn| {
        let Turn::Of(name, outcome) = turn else { return Ok(()) };
        rates.add(name, outcome.rate());
        p99.add(name, outcome.latency_us(0.99));
        client.add(name, outcome.client_us());
        latencies.add(name, outcome)
    })?;
    report.push(rates);
    report.push(p99);
    report.push(client);
    report.plots.push(Plot {
        file: "hello-latency".to_owned(),
        panels: vec![Panel {
            title: "Hello, 32 connections".to_owned(),
            x: "latency, milliseconds".to_owned(),
            y: "share of requests at or below".to_owned(),
            x_log: true,
            curves: latencies.curves(),
            ..Panel::default()
        }],
    });
    Ok(())
}

/// Under `wasmtime serve` as it comes, tuned, and tuned with instances that serve many requests. None where it is not
/// installed.
fn wasmtime() -> Result<Vec<(&'static str, Server)>> {
    let reused = [&TUNED[..], &["--max-instance-reuse-count=128"]].concat();
    let variants: [(&str, &[&str]); 3] = [
        ("wasmtime serve, defaults", &[]),
        ("wasmtime serve, tuned", &TUNED),
        ("wasmtime serve, tuned, instances reused 128 times", &reused),
    ];
    let mut servers = Vec::new();
    for (name, options) in variants {
        servers.extend(servers::wasmtime_serve(options)?.map(|server| (name, server)));
    }
    Ok(servers)
}
