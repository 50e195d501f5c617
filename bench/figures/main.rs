//! The figures that the program is held to, measured on the built binary as its users drive it.
//!
//!     cargo bench -p daemon --bench figures -- [--only NAME,..] [--quick|--full] [--corpus DIR]
//!         [--idle-minutes N] [--json FILE]
//!
//! One table, and the same as JSON. It ends with 1 if a total was wrong or a line was lost, not if
//! something was slow. `--quick` takes a twentieth of everything, `--full` a first backfill of 1.25 GB.
//! `--corpus` reads a home folder that is there; a `truth.json` beside it tells its totals. What is
//! written goes below `TMPDIR`, up to 6 GB of it, and is removed at the end. Linux only: memory and
//! time are from `/proc`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
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

use corpus::Corpus;
use history::History;
use table::{Table, Wanted};

const NAMES: [&str; 10] = [
    "backfill", "answers", "restart", "idle", "refresh", "fresh", "load", "rebuild", "reads", "cli",
];

struct Options {
    only: Vec<String>,
    quick: bool,
    full: bool,
    corpus: Option<PathBuf>,
    idle_minutes: f64,
    json: Option<PathBuf>,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            only: Vec::new(),
            quick: false,
            full: false,
            corpus: None,
            idle_minutes: 0.0,
            json: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match &*word {
                // Cargo says so to every benchmark.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--full" => options.full = true,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--corpus" => options.corpus = Some(value()?.into()),
                "--json" => options.json = Some(value()?.into()),
                "--idle-minutes" => {
                    let minutes = value()?.parse().ok().filter(|minutes| *minutes > 0.0);
                    options.idle_minutes = minutes.ok_or("--idle-minutes needs a number")?;
                }
                _ => return Err(format!("{word} is not known")),
            }
        }
        if options.idle_minutes == 0.0 {
            options.idle_minutes = if options.quick { 0.25 } else { 10.0 };
        }
        match options.only.iter().find(|name| !NAMES.contains(&&***name)) {
            Some(name) => Err(format!("there is no {name}, only {}", NAMES.join(", "))),
            None => Ok(options),
        }
    }

    fn asks_for(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// A twentieth of it if it is to be quick.
    fn of(&self, size: u64) -> u64 {
        if self.quick { size / 20 } else { size }
    }

    fn times(&self, quick: usize, else_: usize) -> usize {
        if self.quick { quick } else { else_ }
    }
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
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
    let unknown = if corpus.totals.is_known() { "" } else { "; nobody knows its totals" };
    table.notes.push(format!("corpus of {megabytes} MB in {files} files{unknown}"));
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
            service::idle(&place, table, sources, options.idle_minutes);
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
                refreshes.push(refresh::ten_events(&mut history, table, events, times));
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
