//! (a) The smallest guest under load: plain axum, our hello guest with a fresh instance per request, and the same
//! component under `wasmtime serve`.

use std::path::Path;

use anyhow::Result;

use crate::Setup;
use crate::client::{request, throughput};
use crate::report::{Report, Section};
use crate::servers;

const CONNECTIONS: usize = 32;

pub async fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let floor = servers::floor().await?;
    let ours = servers::headland(setup).await?;
    let wasmtime = servers::wasmtime_serve(Path::new("guest-examples/dist/hello.wasm")).await?;
    let hello = request("GET", "/hello", &[], b"");
    let fixture = request("GET", "/fixtures/hello", &[], b"");
    let mut section = Section::new("(a) hello, 32 connections", "requests/s, more is better");
    for _ in 0..setup.rounds {
        section.add("plain axum", throughput(floor.address, &hello, CONNECTIONS, setup.window).await?);
        section.add(
            "headland, fresh instance per request",
            throughput(ours.address, &fixture, CONNECTIONS, setup.window).await?,
        );
        if let Some(wasmtime) = &wasmtime {
            section.add(
                "wasmtime serve, defaults",
                throughput(wasmtime.address, &hello, CONNECTIONS, setup.window).await?,
            );
        }
    }
    if wasmtime.is_none() {
        eprintln!("wasmtime is not on PATH, so `wasmtime serve` is not measured (cargo install wasmtime-cli)");
    }
    report.push(section);
    Ok(())
}
