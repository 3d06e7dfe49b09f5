//! The `headland` command: parses, builds, runs.

mod allocator;
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

fn main() -> ExitCode {
    allocator::configure();
    commands::run(Args::parse().command).unwrap_or_else(|error| {
        eprintln!("headland: {error:#}");
        ExitCode::FAILURE
    })
}
