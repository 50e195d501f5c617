//! One file per command.

mod backfill;
mod backup;
mod check;
pub(crate) mod completions;
mod config;
mod doctor;
mod export;
mod man;
mod providers;
mod rebuild;
pub(crate) mod report;
mod reprice;
mod restore;
pub(crate) mod service;
mod status;
pub(crate) mod today;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::{Cli, Command};
use crate::config::{Config, Flags, environment};
use crate::run;

pub(crate) use providers::{AWAITED, DENIED, FOUND, awaited_agents, root_state, skips_json, state};
pub(crate) use rebuild::parse_mart;
pub(crate) use report::{blocks, columns, figure_columns, object, utc};

pub(crate) fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    // What is made from the command line alone is made wherever a package is built, without a home.
    match &cli.command {
        Command::Completions { shell } => return completions::run(*shell),
        Command::Man { folder } => return man::run(folder),
        _ => {}
    }
    let mut flags = Flags {
        config: cli.common.config,
        data_dir: cli.common.data_dir,
        listen: None,
        only_database: cli.command.needs_only_database(),
    };
    if let Command::Run { listen, .. } = &cli.command {
        flags.listen.clone_from(listen);
    }
    if let Command::Service { action } = &cli.command {
        // It can be removed with a configuration that is wrong.
        return service::run(environment(), &flags, action);
    }
    let config = match (&cli.command, Config::load(environment(), &flags)) {
        // What is wrong with the configuration is one of its findings.
        (Command::Doctor(json), Err(_)) => return doctor::run(environment(), &flags, *json),
        (_, config) => config?,
    };
    match cli.command {
        Command::Doctor(json) => doctor::run(config.env.vars, &flags, json),
        Command::Run { log_format, .. } => {
            run::init_logs(&config, log_format)?;
            let runtime = runtime()?;
            let result = runtime.block_on(run::run(config, flags));
            // A worker thread that still waits for something must not hold up the end.
            runtime.shutdown_background();
            result.map(|()| ExitCode::SUCCESS)
        }
        Command::Backfill { force, json } => {
            runtime()?.block_on(backfill::run(&config, force, json))
        }
        Command::Rebuild { marts, all, json } => rebuild::run(&config, &marts, all, json),
        Command::Reprice { unpriced, since, json } => reprice::run(&config, unpriced, since, json),
        Command::Report(arguments) => report::run(&config, &arguments),
        Command::Today(arguments) => today::run(&config, &arguments),
        Command::Export { what } => export::run(&config, what),
        Command::Backup { file, force, json } => backup::run(&config, &file, force, json),
        Command::Restore { file, json } => restore::run(&config, file.as_deref(), json),
        Command::Check(json) => check::run(&config, json),
        Command::Status(json) => status::run(&config, json),
        Command::Providers(json) => providers::run(&config, json),
        Command::Config(json) => config::run(&config, json),
        Command::Service { action } => service::run(config.env.vars, &flags, &action),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { folder } => man::run(&folder),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
