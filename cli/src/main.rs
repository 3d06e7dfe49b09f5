//! The `headland` command: parses, builds, runs.

mod app_package;
mod apps;
mod args;
mod background;
mod client;
mod commands;
mod config;
mod files;
mod fleet;
mod hub;
mod log_writer;
mod logging;
mod memory;
mod models;
mod named_apps;
mod policy;
mod pull;
mod push;
mod run;
mod signals;
mod signing;
mod sim;
mod tokens;
mod transfer;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

/// A request makes some hundred small allocations, most on one thread and freed on another: what glibc's takes for them is a
/// twentieth of the processor time of a hello request. It asks for no huge pages: a gateway allocates little here and there, and would
/// take 2 MiB for each; weights have memory of their own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(Args::parse().command).unwrap_or_else(|error| {
        eprintln!("headland: {error:#}");
        ExitCode::FAILURE
    })
}
