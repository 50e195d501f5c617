//! What ten new events cost when there is much history.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use providers::{Parsed, nowhere};
use rusqlite::Connection;
use store::DataDir;
use usage::pricing::PriceBook;
use usage::{Batch, Checkpoint, Source, UsageEvent};

use crate::fresh;
use crate::history::History;
use crate::program::millis;
use crate::table::{Table, Wanted};

/// The service tells no times of its refreshes, so its own code is called for these, in this
/// process and over the same file; then the service itself is given ten lines at a time. Returns
/// the median of the former.
pub(crate) fn ten(history: &mut History, table: &mut Table, before: u64, times: usize) -> f64 {
    let refreshes = called(history, times);
    history.check(table);
    let wanted = [Wanted::P50(1.0), Wanted::P99(3.0)];
    let median =
        table.add(format!("refresh of 10 events, {before} before"), "ms", &wanted, refreshes);
    fresh::tens(history, table, times / 2, format!("10 lines written to shown, {before} before"));
    median
}

/// Two calls in each of five sessions and projects, then a refresh, which is timed.
fn called(history: &mut History, times: usize) -> Vec<f64> {
    let options = store::Options {
        now_ms: || jiff::Timestamp::now().as_millisecond(),
        time_zone: None,
        system_time_zone: "UTC".to_owned(),
        prices: Arc::new(PriceBook::builtin()),
        debounce: Duration::ZERO,
        queue_rows: 1,
    };
    let dir = DataDir::lock(&history.place.data).unwrap();
    let mut store = store::open(dir, options).unwrap();
    let probe = history.probe();
    let tidier = tidier(history);
    let refresh = |time: usize| {
        if time.is_multiple_of(10) {
            tidier.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
        }
        let sessions = (0..5).map(|i| format!("{probe}-{i:02}"));
        let lines: String = sessions.map(|session| history.lines(2, &session)).collect();
        let mut batch = [Batch {
            events: events(&lines),
            retracted: Vec::new(),
            withdrawn: Vec::new(),
            checkpoint: Checkpoint::at_start(1, "claude-code", "/gone.jsonl".into(), 1),
            bytes: 0,
            lines: 10,
            complete: false,
            restates: false,
            amends: false,
            heard: None,
        }];
        store.append(&mut batch).unwrap();
        let begun = Instant::now();
        store.refresh().unwrap();
        millis(begun.elapsed())
    };
    (0..times).map(refresh).collect()
}

/// A quiet service copies the write-ahead log into the database between two refreshes, so that none
/// of them has to.
#[expect(clippy::disallowed_methods, reason = "the store does this by itself only as a service")]
fn tidier(history: &History) -> Connection {
    Connection::open(history.place.data.join("tallyd.db")).unwrap()
}

fn events(lines: &str) -> Vec<UsageEvent> {
    let provider = providers::ALL.iter().find(|provider| provider.id() == "claude-code").unwrap();
    let (root, path): (PathBuf, PathBuf) = ("/p".into(), "/p/p/gone.jsonl".into());
    let provider = provider.storage(&path).appended().unwrap();
    let source = Source { id: 1, provider: "claude-code", path, root, mtime_ms: 0 };
    let (mut parser, mut parsed) = (provider.begin(&source, &nowhere(), ""), Parsed::default());
    lines.lines().for_each(|line| parser.parse_line(line.as_bytes(), &mut parsed));
    parsed.events
}
