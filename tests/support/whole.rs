//! What an uninterrupted run leaves, and whether a database is that.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::{DEADLINE, Dump, Home, Random, integer, logs, others, strings};

/// What may differ between two runs over the same files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Nothing was written meanwhile.
    Still,
    /// Files grew and were moved. One that was first seen before it was moved keeps the source id
    /// of its old place. One that was looked at amid an append, when its time had changed and its
    /// size had not, was taken for rewritten and read again: its generation counts that.
    Changing,
}

/// All that must be equal: rows, live cells, marts and checkpoints. Positions and times of refreshes
/// are not among it.
pub(crate) fn state(db: &Connection, files: Files) -> Dump {
    let (of_event, of_source): (&[&str], &[&str]) = match files {
        Files::Still => (&["id"], &["state", "skips", "marker_hash"]),
        Files::Changing => (
            &["id", "source_id"],
            &["state", "skips", "marker_hash", "last_event_ms", "source_id", "generation"],
        ),
    };
    let mut state = Dump::of(db);
    state.0.insert("usage_events", Dump::rows(db, "usage_events", of_event));
    state.0.insert("source_checkpoint", Dump::rows(db, "source_checkpoint", of_source));
    // Of a database it is kept where its turns ended; what a journal has counted and skipped depends
    // on when its session came into the database.
    let left = "SELECT path || quote(state) || quote(skips) || marker_hash || quote(last_event_ms)
        FROM source_checkpoint
        WHERE path NOT LIKE '%.db' AND provider <> 'github-copilot' ORDER BY 1";
    state.0.insert("what was left behind", strings(db, left));
    let retracted = "SELECT event_key FROM retracted_keys ORDER BY 1";
    if files == Files::Still {
        state.0.insert("retracted_keys", strings(db, retracted));
    }
    for cells in ["usage_cells", "project_cells"] {
        let mut rows = Dump::rows(db, cells, &["last_event_id"]);
        // An empty cell stays until `rebuild --all`: its counts, the first and the last time are 0.
        rows.retain(|row| !row.contains("|0|0|0|0|0|0|0|0|0|0|0|0"));
        state.0.insert(cells, rows);
    }
    let behind = "SELECT mart_name FROM mart_watermark
        WHERE last_event_id <> (SELECT seq FROM sqlite_sequence WHERE name = 'usage_events')";
    state.0.insert("marts behind", strings(db, behind));
    state
}

/// The end of a series: the database is that of an uninterrupted run, `check` says so too, and
/// refreshing gave what rebuilding gives.
#[track_caller]
pub(crate) fn settle(home: &Home, files: Files, expect: &Dump, context: &str) {
    state(&home.database(), files).assert_same(expect, context);
    home.tallyd(&["check"]);
    home.tallyd(&["rebuild", "--all"]);
    state(&home.database(), files).assert_same(expect, &format!("{context}, rebuilt"));
}

/// A home with logs, and how a database made of them without interruption looks.
pub(crate) struct Whole {
    pub(crate) home: Home,
    pub(crate) expect: Dump,
    /// Time that the backfill took.
    pub(crate) span: Duration,
    pub(crate) rows: usize,
}

pub(crate) fn whole(random: &mut Random, groups: usize, calls: usize) -> Whole {
    let home = Home::new();
    logs::write_all(&home, &logs::generate(random, groups, calls));
    others::write_all(&home, &others::generate(random, groups, calls / 2));
    let begun = Instant::now();
    home.tallyd(&["backfill"]);
    let span = begun.elapsed();
    let db = home.database();
    let rows = usize::try_from(integer(&db, "SELECT count(*) FROM usage_events")).unwrap();
    let expect = state(&db, Files::Still);
    Whole { home, expect, span, rows }
}

/// A database as any other program reads it; `None` while it cannot be read yet.
#[expect(clippy::disallowed_methods, reason = "reads as any other program would")]
pub(crate) fn look(path: &Path) -> Option<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    db.busy_timeout(DEADLINE).ok()?;
    Some(db)
}

pub(crate) fn database(home: &Home) -> PathBuf {
    home.data_dir().join("tallyd.db")
}

/// How many rows a database has, as far as there is one.
pub(crate) fn stored(home: &Home) -> usize {
    let db = database(home).exists().then(|| look(&database(home))).flatten();
    db.and_then(|db| number(&db, ROWS)).unwrap_or(0)
}

pub(crate) const ROWS: &str = "SELECT count(*) FROM usage_events";
/// Grows with every row that is appended, in the place of another one or not.
pub(crate) const POSITION: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'usage_events'";

/// `None` while the database is being made.
fn number(db: &Connection, sql: &str) -> Option<usize> {
    let number: i64 = db.query_row(sql, [], |row| row.get(0)).ok()?;
    usize::try_from(number).ok()
}

/// Due once [`ROWS`] or [`POSITION`] has come so far.
pub(crate) fn progress(
    home: &Home,
    sql: &'static str,
    target: usize,
) -> impl FnMut() -> bool + use<> {
    let path = database(home);
    let mut open = None;
    move || {
        if open.is_none() && path.exists() {
            open = look(&path);
        }
        open.as_ref().and_then(|db| number(db, sql)).is_some_and(|seen| seen >= target)
    }
}
