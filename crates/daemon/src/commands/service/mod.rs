//! `tallyd service`: has the system's service manager keep `tallyd run` going.
//!
//! A systemd user unit on Linux, a launchd agent on a Mac. Both are filled in from the templates in
//! `systemd/`; what they record is in `facts.rs`.

mod facts;
mod files;
mod launchd;
mod manager;
mod plist;
mod program;
mod purge;
mod systemd;
mod unit;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Json;
use crate::config::{Config, Flags};
use crate::output;
use facts::Facts;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Start it now and at every login, and record the variables of this shell that it needs
    Install {
        /// A stricter sandbox as well: it then reads your home folder and writes its data
        /// directory, nothing else. Needs unprivileged user namespaces
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Stop it and remove what `install` wrote; what was counted stays
    Uninstall {
        /// Remove what was counted and the settings, too
        #[arg(long)]
        purge: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Is it installed, running, current and well; exit 1 if it does not run
    Status(Json),
    /// What it logged
    Logs(Logs),
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// Go on with new lines until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
    lines: u32,
    /// Only what was logged since then: `-1h`, `today`, `2026-05-31 12:00`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
}

/// Why something is not done, with what to do instead.
#[derive(Debug, thiserror::Error)]
#[error("{reason}\nhint: {hint}")]
struct Refused {
    reason: String,
    hint: String,
}

fn refused(reason: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Refused { reason: reason.into(), hint: hint.into() }.into()
}

/// What was done, step by step: told at once to people, at the end to programs.
struct Steps {
    json: bool,
    told: Vec<String>,
}

impl Steps {
    fn tell(&mut self, step: impl Into<String>) -> io::Result<()> {
        let step = step.into();
        if !self.json {
            output::print(&format!("{step}\n"))?;
        }
        self.told.push(step);
        Ok(())
    }

    fn end(self) -> anyhow::Result<ExitCode> {
        if self.json {
            output::print_json(&json!({ "steps": self.told }))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn run(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    action: &Action,
) -> anyhow::Result<ExitCode> {
    match action {
        Action::Install { strict, json } => {
            facts::refuse_others(&files::home(&vars)?)?;
            let facts = Facts::gather(Config::load(vars, flags)?, flags)?;
            let mut steps = Steps { json: json.json, told: Vec::new() };
            if cfg!(target_os = "macos") {
                if *strict {
                    let hint = "install without --strict";
                    return Err(refused("launchd has no such sandbox", hint));
                }
                launchd::Agent::of(&facts.config.env.home).install(&facts, &mut steps)?;
            } else {
                systemd::install(&facts, *strict, &mut steps)?;
            }
            steps.end()
        }
        Action::Uninstall { purge, json } => {
            let mut steps = Steps { json: json.json, told: Vec::new() };
            if cfg!(target_os = "macos") {
                launchd::uninstall(vars, flags, *purge, &mut steps)?;
            } else {
                systemd::uninstall(vars, flags, *purge, &mut steps)?;
            }
            steps.end()
        }
        Action::Status(json) if cfg!(target_os = "macos") => {
            launchd::status(vars, flags, json.json)
        }
        Action::Status(json) => systemd::status(vars, flags, json.json),
        Action::Logs(logs) if cfg!(target_os = "macos") => launchd::logs(&vars, logs),
        Action::Logs(logs) => systemd::logs(logs),
    }
}
