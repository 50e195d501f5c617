//! `tallyd`: arguments in, exit code out.

mod budgets;
mod cli;
mod clock;
mod commands;
mod config;
mod engine;
mod http;
mod live;
mod output;
mod range;
mod run;
mod signals;
mod supervisor;
mod table;
mod text;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let logs_json = cli.command.logs_json();
    let code = commands::execute(cli).unwrap_or_else(|error| {
        output::complain(&error, logs_json);
        ExitCode::from(output::exit_code(&error))
    });
    output::flush();
    code
}
