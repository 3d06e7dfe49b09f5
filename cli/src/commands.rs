//! From a parsed command to the function that does it.

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{AppCommand, Args, Command, ModelCommand, PlacementCommand, PolicyCommand};
use crate::client::models;
use crate::{apps, client, config, fleet, policy, pull, push, run as run_model, signing, sim, tokens, up};

/// Does it. Some commands have an exit status of their own.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(options) => up::run(*options)?,
        Command::Run(options) => run_model::run(&options)?,
        Command::Model(command) => return model(command),
        Command::App(command) => app(command)?,
        Command::Policy(PolicyCommand::Check { file, json }) => policy::check(&file, json)?,
        Command::Policy(PolicyCommand::Test(options)) => return Ok(policy::test(&options)),
        Command::Policy(PolicyCommand::Reload(target)) => policy::reload(&target)?,
        Command::Policy(PolicyCommand::Set { file, target }) => policy::set(&file, &target)?,
        Command::Policy(PolicyCommand::Show(target)) => policy::show(&target)?,
        Command::Token(command) => tokens::run(command)?,
        Command::Control(args) => fleet::control(*args)?,
        Command::Pop(args) => fleet::pop(*args)?,
        Command::Placement(PlacementCommand::Show(target)) => client::fleet::placement(&target)?,
        Command::Plan(options) => client::fleet::plan(&options)?,
        Command::Rollout(command) => client::fleet::rollout(command)?,
        Command::Sim(command) => sim::run(command)?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "headland", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn model(command: ModelCommand) -> Result<ExitCode> {
    match command {
        ModelCommand::Sign(options) => signing::sign_model(&options),
        ModelCommand::Verify(options) => return Ok(signing::verify_model(&options)),
        ModelCommand::Push(options) => push::push_model(&options),
        ModelCommand::Pull(options) => pull::pull_model(&options),
        ModelCommand::List(target) => models::list(&target),
        ModelCommand::Show { model, target } => models::show(&model, &target),
        ModelCommand::Alias { model, alias, delete, target } => models::alias(&model, &alias, delete, &target),
        ModelCommand::Rm { model, force, target } => models::remove(&model, force, &target),
        ModelCommand::Load { model, target } => models::load(&model, &target),
        ModelCommand::Unload { model, target } => models::unload(&model, &target),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn app(command: AppCommand) -> Result<()> {
    match command {
        AppCommand::List(target) => apps::list(&target),
        AppCommand::Show { name, target } => apps::show(&name, &target),
        AppCommand::Check { manifest } => config::check_app(&manifest),
        AppCommand::Sign(options) => signing::sign_app(&options),
        AppCommand::Push(options) => apps::push(&options),
        AppCommand::Deploy(options) => apps::deploy(&options),
        AppCommand::Rollback { name, target } => apps::rollback(&name, &target),
        AppCommand::Rm { name, target } => apps::remove(&name, &target),
    }
}
