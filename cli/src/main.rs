//! The `headland` command: parses, builds, runs.

mod args;
mod client;
mod config;
mod files;
mod logging;
mod models;
mod signals;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{AppCommand, Args, Command, ModelCommand};

fn main() -> ExitCode {
    // SAFETY: the process has one thread so far.
    unsafe { headland_candle::run_each_model_on_one_thread() };
    let args = Args::parse();
    let result = match args.command {
        Command::Up(options) => up::run(*options),
        Command::Model(ModelCommand::List(target)) => client::list_models(&target),
        Command::Model(ModelCommand::Show { name, target }) => client::show_model(&name, &target),
        Command::App(AppCommand::List(target)) => client::list_apps(&target),
        Command::App(AppCommand::Show { name, target }) => client::show_app(&name, &target),
        Command::App(AppCommand::Check { manifest }) => config::check_app(&manifest),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "headland", &mut std::io::stdout());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headland: {error:#}");
            ExitCode::FAILURE
        }
    }
}
