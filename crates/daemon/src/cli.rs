//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{completions, parse_mart, report, service, today};
use crate::range::Day;

/// Counts what AI coding agents use: reads their logs, keeps the figures in a local SQLite file.
#[derive(Debug, Parser)]
#[command(name = "tallyd", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Common {
    /// Configuration file [default: ~/.config/tallyd/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the database is kept [default: ~/.local/share/tallyd]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service in the foreground: backfill, then follow every log as it is written
    Run {
        /// Address of the HTTP listener [default: 127.0.0.1:8474]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
        /// How log lines are written
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
    },
    /// Read all that is new, refresh the marts, print figures, exit
    Backfill {
        /// Read every existing source from its start again
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Make marts anew from what is stored
    #[command(override_usage = "tallyd rebuild <MART>...\n       tallyd rebuild --all")]
    Rebuild {
        /// Marts to rebuild: daily, model_day, project, provider_day, session
        #[arg(value_name = "MART", required_unless_present = "all", value_parser = parse_mart)]
        marts: Vec<&'static store::Mart>,
        /// All five, and first the cells they are made from
        #[arg(long, conflicts_with = "marts")]
        all: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Apply the price book of today to what is stored; costs that an agent logged itself stay
    Reprice {
        /// Only calls that had no price
        #[arg(long)]
        unpriced: bool,
        /// Only calls from this day on: 2026-05-31, today or yesterday
        #[arg(long, value_name = "DAY", value_parser = Day::parse)]
        since: Option<Day>,
        #[command(flatten)]
        json: Json,
    },
    /// What was used, by day, session, project, agent or model
    Report(report::Arguments),
    /// One line of today's figures, for a prompt or a status bar
    #[command(after_help = today::help())]
    Today(today::Arguments),
    /// Print every row, as CSV or as JSON lines, to be read by another program
    Export {
        #[command(subcommand)]
        what: Export,
    },
    /// Copy the database, also while the service runs, and verify the copy
    Backup {
        /// Where the copy goes
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Put a backup in the place of the database, which is set aside; without FILE: list the backups
    /// beside it
    Restore {
        /// A copy made by `tallyd backup`, or one that an upgrade has left
        file: Option<PathBuf>,
        #[command(flatten)]
        json: Json,
    },
    /// Verify the database: integrity, cells, marts; exit 1 if anything differs
    Check(Json),
    /// Is it running, how fresh is it, what was found
    Status(Json),
    /// Look at everything that could be wrong, and say what to do; exit 1 if anything is
    Doctor(Json),
    /// Which agents are supported, where their logs are looked for, what was found
    Providers(Json),
    /// Effective settings and where each came from
    Config(Json),
    /// Keep it running: a systemd user unit, or a launchd agent on a Mac
    Service {
        #[command(subcommand)]
        action: service::Action,
    },
    /// Print what lets a shell complete commands and flags
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: completions::Shell,
    },
    /// Write the manual pages
    Man {
        /// The folder they go to, such as ~/.local/share/man/man1
        folder: PathBuf,
    },
}

impl Command {
    /// Whether a program reads what is said on standard error.
    pub(crate) fn logs_json(&self) -> bool {
        matches!(self, Self::Run { log_format: LogFormat::Json, .. })
    }

    /// Whether no agent's logs are looked for.
    pub(crate) fn needs_only_database(&self) -> bool {
        matches!(
            self,
            Self::Rebuild { .. }
                | Self::Reprice { .. }
                | Self::Report(_)
                | Self::Today(_)
                | Self::Export { .. }
                | Self::Backup { .. }
                | Self::Restore { .. }
                | Self::Check(_)
        )
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Export {
    /// Every call and prompt, in the order of their times
    Events(ExportOptions),
    /// The rows of marts, in the order of their keys. A row of a session or a project is of all time: days
    /// only say which of them were active
    Marts {
        /// Which: daily, model_day, project, provider_day, session. CSV holds one; with jsonl the
        /// default is all
        #[arg(value_name = "MART", value_parser = parse_mart)]
        marts: Vec<&'static store::Mart>,
        #[command(flatten)]
        options: ExportOptions,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ExportOptions {
    /// CSV with a header line, or one JSON object per line
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub(crate) format: ExportFormat,
    #[command(flatten)]
    pub(crate) which: report::Which,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Csv,
    Jsonl,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people and the journal
    Text,
    /// One object per line
    Json,
}
