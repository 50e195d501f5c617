//! The figures that the program is held to, measured on the built binary as its users drive it.
//!
//!     cargo bench -p daemon --bench figures -- [--only NAME,..] [--quick|--full] [--corpus DIR]
//!         [--idle-minutes N] [--json FILE]
//!
//! One table, and the same as JSON. It ends with 1 if a total was wrong or a line was lost, not if
//! something was slow. What is written goes below `TMPDIR`, up to 6 GB of it, and is removed at the
//! end. Linux only: memory and time are from `/proc`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own that prints")]

mod backfill;
mod corpus;
mod fresh;
mod history;
mod program;
mod reads;
mod refresh;
mod scratch;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod totals;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

use corpus::Corpus;
use history::History;
use table::{Table, Wanted};
use totals::Totals;

const NAMES: [&str; 10] = [
    "backfill", "answers", "restart", "idle", "refresh", "fresh", "load", "rebuild", "reads", "cli",
];

#[derive(clap::Parser)]
struct Options {
    /// Only some of the figures
    #[arg(long, value_delimiter = ',', value_parser = NAMES)]
    only: Vec<String>,
    /// A twentieth of everything
    #[arg(long)]
    quick: bool,
    /// A first backfill of 1.25 GB
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// A home folder to read at first instead; a `truth.json` beside it tells its totals
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// How long to watch a service that has nothing to do [default: 10, or 0.25 if quick]
    #[arg(long)]
    idle_minutes: Option<f64>,
    /// Where to write the table as JSON, too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cargo says so to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn asks_for(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// A twentieth of it if it is to be quick.
    fn of(&self, size: u64) -> u64 {
        if self.quick { size / 20 } else { size }
    }

    fn times(&self, quick: usize, thorough: usize) -> usize {
        if self.quick { quick } else { thorough }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let folder = scratch::folder();
    let mut table = Table::default();
    table.notes.push(machine());
    first(&options, &folder.path().join("corpus"), &mut table);
    many_sources(&options, &folder.path().join("sources"), &mut table);
    much_history(&options, &folder.path().join("history"), &mut table);
    table.notes.push(format!("load average at the end: {}", load_average()));
    table.print();
    if let Some(path) = &options.json {
        fs::write(path, format!("{:#}\n", table.json())).unwrap();
    }
    if table.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores; load average at the beginning: {}", load_average())
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn first(options: &Options, dir: &Path, table: &mut Table) {
    if !options.asks_for("backfill") && !options.asks_for("answers") {
        return;
    }
    let size = if options.full { 1_250_000_000 } else { options.of(200_000_000) };
    let corpus = match &options.corpus {
        Some(dir) => Corpus::found(dir),
        None => Corpus::write(&dir.join("home"), size),
    };
    let (megabytes, files) = (corpus.bytes / 1_000_000, corpus.files);
    table.notes.push(format!("corpus of {megabytes} MB in {files} files"));
    if matches!(corpus.totals, Totals::Unknown) {
        table.notes.push("nothing is known of its totals: not checked".to_owned());
    }
    if options.asks_for("backfill") {
        backfill::first(&corpus, &dir.join("data"), table, options.times(3, 5));
    }
    if options.asks_for("answers") {
        backfill::answers(&corpus, &dir.join("data"), table, options.times(2, 5));
    }
    _ = fs::remove_dir_all(dir);
}

fn many_sources(options: &Options, dir: &Path, table: &mut Table) {
    for (name, sources) in [("restart", 10_000), ("idle", 2_000)] {
        if !options.asks_for(name) {
            continue;
        }
        let sources = options.of(sources);
        let place = history::small_logs(dir, sources, table);
        if name == "restart" {
            service::restart(&place, table, sources, options.times(5, 20));
        } else {
            let minutes = options.idle_minutes.unwrap_or(if options.quick { 0.25 } else { 10.0 });
            service::idle(&place, table, sources, minutes);
        }
        fs::remove_dir_all(dir).unwrap();
    }
}

/// In the order of how much history each needs.
fn much_history(options: &Options, dir: &Path, table: &mut Table) {
    const STEPS: [(u64, &str); 8] = [
        (100_000, "refresh"),
        (150_000, "fresh"),
        (150_000, "load"),
        (1_000_000, "refresh"),
        (1_000_000, "rebuild"),
        (1_000_000, "reads"),
        (1_000_000, "cli"),
        (10_000_000, "refresh"),
    ];
    let mut history = History::new(dir);
    let mut refreshes = Vec::new();
    for (events, name) in STEPS {
        if !options.asks_for(name) {
            continue;
        }
        let events = options.of(events);
        history.grow_to(events, table);
        match name {
            "refresh" => {
                let times = options.times(60, 300);
                refreshes.push(refresh::ten(&mut history, table, events, times));
            }
            "fresh" => fresh::alone(&mut history, table, options.times(20, 100)),
            "load" => fresh::under_load(&mut history, table, if options.quick { 5 } else { 30 }),
            "rebuild" => reads::rebuild(&history, table, options.times(3, 10)),
            "reads" => reads::over_http(&mut history, table, options.times(100, 1_000)),
            _ => reads::commands(&history, table, options.times(20, 100)),
        }
    }
    if let [least, .., most] = refreshes[..] {
        let figure = "the median of refreshes, most history over least";
        table.add(figure, "", &[Wanted::Most(1.5)], vec![most / least]);
    }
}
