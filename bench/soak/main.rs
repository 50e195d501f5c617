//! Hours of mixed load in minutes: memory, descriptors and the write-ahead log must stay flat, and
//! every figure exact.
//!
//! Drives the built binary over a scratch home. [`load`] writes logs as agents and their users do
//! and keeps its own count; [`watch`] polls HTTP, holds transactions and clients open, and takes
//! samples. `cargo bench --bench soak -- --minutes 10` is the long version, one minute the default.
//! Linux only: the samples are from `/proc`.

#![expect(clippy::unwrap_used, reason = "a load that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a program of its own that prints")]

mod load;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::fmt::Display;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use load::Load;
use support::{open, signal, tallyd, wait};
use watch::{Column, Watch};

const MARTS: [&str; 5] =
    ["daily_mart", "model_day_mart", "project_mart", "provider_day_mart", "session_mart"];

/// What there is before the load begins: more than all caches hold, so that filling them is not
/// taken for growth.
const HISTORY: usize = 200_000;
/// Resident memory may grow by this much from the second quarter of the time to the last. A machine
/// that stalls makes work pile up, and the first transaction of 10,000 rows takes 5 MiB to stay.
const MEMORY_GROWTH_KIB: i64 = 8 << 10;
/// Beyond 64 MiB the service shortens the log as soon as its readers let it; those here do.
const MAX_WAL_KIB: i64 = 66 << 10;
const POLL: Duration = Duration::from_millis(5);
const RELOAD_EVERY: Duration = Duration::from_secs(15);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let minutes = number("--minutes").unwrap_or(1);
    let seed = number("--seed").unwrap_or(1);
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let (mut service, address) = start(home);
    let mut load = Load::new(home, seed);
    load.begin_with(HISTORY);
    let watch = Watch::start(service.id(), home, &address);
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut reload_at = Instant::now() + RELOAD_EVERY;
    while Instant::now() < end {
        load.step();
        if Instant::now() > reload_at {
            signal(&service, "-HUP");
            reload_at += RELOAD_EVERY;
        }
    }
    load.wait_until_counted();
    let seen = watch.stop();
    signal(&service, "-TERM");
    let stopped = service.wait().unwrap();

    println!("mixed load for {minutes} min, seed {seed}\n");
    load.print();
    seen.print();
    assert!(stopped.success(), "the service ended with {stopped}");
    load.assert_counted_by_day_and_model();
    assert_sound(home);
    assert_eq!(seen.failures, Vec::<String>::new(), "answers that were none");
    assert!(seen.concerns.is_empty(), "health had no reason to warn");
    seen.memory_kib.assert_grows_less_than(MEMORY_GROWTH_KIB, "memory");
    seen.descriptors.assert_grows_less_than(3, "descriptors");
    assert!(seen.wal_kib.most() < MAX_WAL_KIB, "the write-ahead log was too long");
    println!("\nexact, sound and flat");
}

/// A service that is ready, and its address.
fn start(home: &Path) -> (Child, String) {
    let mut command = tallyd(home, &["run", "--listen", "127.0.0.1:0"]);
    let log = std::fs::File::create(home.join("log")).unwrap();
    command.env("TALLYD_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let service = command.spawn().unwrap();
    let file = home.join(".local/share/tallyd/tallyd.address");
    let mut address = String::new();
    wait("the service to be ready", POLL, || {
        address = std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
        watch::get(&address, "/readyz").is_ok_and(|(status, _)| status == 200)
    });
    (service, address)
}

/// The database checks itself, and marts made anew are the same.
fn assert_sound(home: &Path) {
    let run = |args: &[&str]| {
        let output = tallyd(home, args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    run(&["check"]);
    let before = marts(home);
    run(&["rebuild", "--all"]);
    assert!(before == marts(home), "the marts differ from a rebuild");
}

fn marts(home: &Path) -> Vec<String> {
    let db = database(home);
    let mut rows = Vec::new();
    for mart in MARTS {
        let columns: String = db
            .prepare(&format!("SELECT group_concat('quote(' || name || ')', '||') FROM pragma_table_info('{mart}')"))
            .unwrap()
            .query_row([], |row| row.get(0))
            .unwrap();
        let mut select = db.prepare(&format!("SELECT {columns} FROM {mart} ORDER BY 1")).unwrap();
        let found = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.extend(found.map(|row| format!("{mart} {}", row.unwrap())));
    }
    rows
}

fn database(home: &Path) -> Connection {
    open(&home.join(".local/share/tallyd/tallyd.db"))
}

fn line(name: &str, value: impl Display) {
    println!("{name:<24}{value:>14}");
}

fn row(name: &str, column: &Column) {
    println!(
        "{name:<24}{:>14}{:>14}{:>14}{:>14.1}",
        column.early(),
        column.late(),
        column.most(),
        column.slope_per_minute(),
    );
}
