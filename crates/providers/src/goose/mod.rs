//! Goose: one SQLite database for all sessions.
//!
//! A ledger has a row for every request. Older versions only add up counters in the row of a session,
//! and the ledger of such a session begins with what they had come to by then. A session with a row
//! in the ledger is counted from the ledger and never from its counters. What both say of one session
//! is told apart where it is stored: counters seen for the first time, and what the ledger carried
//! forward, are stated as the session's usage so far.
//!
//! `ledger` and `counters` read the two, `prompts` what people typed, and `sessions` knows whose it
//! is. Left out are the plain counts of a session, which say how full its context is, and what
//! it cost by its counters: prices that knew of no cache made that, for a part of the calls.

mod counters;
mod ledger;
mod prompts;
mod sessions;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use usage::{Flags, Skip, Source, Tokens};

use self::sessions::Sessions;
use crate::record::{Count, MAX_TIME_MS};
use crate::{Database, DatabaseError, Env, Parsed, Progress, Provider, Storage, Surroundings};

const ID: &str = "goose";
const VERSION: u32 = 2;

/// The folder of the database, and the database.
const SESSIONS: &str = "sessions";
const DATABASE: &str = "sessions.db";
/// What is between the agent's folder and that, on Windows and where a variable names the folder.
const DATA: &str = "data";

/// Rows of one table in one turn.
const MAX_ROWS: u64 = 250;

pub(crate) struct Goose;

impl Provider for Goose {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let named = |name| env.var(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let share = named("XDG_DATA_HOME").unwrap_or_else(|| env.home.join(".local/share"));
        let support = env.home.join("Library/Application Support");
        let mut roots = vec![
            share.join(ID).join(SESSIONS),
            support.join(ID).join(SESSIONS),
            support.join("Block").join(ID).join(SESSIONS),
        ];
        roots.extend(
            named("APPDATA").map(|dir| dir.join("Block").join(ID).join(DATA).join(SESSIONS)),
        );
        roots.extend(named("GOOSE_PATH_ROOT").map(|dir| dir.join(DATA).join(SESSIONS)));
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        let Some(folder) = path.parent().filter(|folder| folder.starts_with(root)) else {
            return false;
        };
        let agent = folder.parent().filter(|_| folder.ends_with(SESSIONS));
        let is_agent = |agent: &Path| {
            agent.ends_with(ID)
                || agent.parent().is_some_and(|above| {
                    agent.ends_with(DATA) && (above == root || above.ends_with(ID))
                })
        };
        path.ends_with(DATABASE) && (folder == root || agent.is_some_and(is_agent))
    }

    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        let Ok(below) = folder.strip_prefix(root) else { return false };
        let names: Vec<_> = below.iter().collect();
        let agent = names.iter().rposition(|name| *name == ID);
        let is_known = agent.is_some() || root.ends_with(ID) || root.ends_with(SESSIONS);
        match names[agent.map_or(0, |at| at + 1)..] {
            [] => true,
            [name] if !root.ends_with(SESSIONS) => !is_known || name == SESSIONS || name == DATA,
            [data, name] if data == DATA => !is_known || name == SESSIONS,
            // Above the agent's folder its place is not known.
            _ => !is_known,
        }
    }

    fn storage(&self, _path: &Path) -> Storage {
        Storage::Database(&Self)
    }
}

/// How far the database was read.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    ledger: ledger::Cursor,
    counters: counters::Cursor,
    prompts: prompts::Cursor,
}

/// One reading of a database.
struct Turn<'a> {
    source: &'a Source,
    db: &'a Connection,
    sessions: Sessions<'a>,
    /// Rows looked at for the first time.
    rows: u64,
    /// There is more to read now.
    more: bool,
}

impl Database for Goose {
    fn read(
        &self,
        source: &Source,
        db: &Connection,
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<Progress, DatabaseError> {
        let mut state: State = serde_json::from_str(state).unwrap_or_default();
        let sessions = Sessions::new(source, db, around)?;
        let mut turn = Turn { source, db, sessions, rows: 0, more: false };
        let has_ledger = turn.read_ledger(&mut state.ledger, out)?;
        turn.read_counters(has_ledger, &mut state.counters, out)?;
        turn.read_prompts(&mut state.prompts, out)?;
        let Turn { rows, more, .. } = turn;
        // Writing numbers and lists to memory cannot fail.
        let state = serde_json::to_string(&state).unwrap_or_default();
        Ok(Progress { state, rows, more })
    }
}

impl Turn<'_> {
    /// The milliseconds of a time in seconds. Some versions wrote milliseconds.
    fn time_ms(&self, time: Count, flags: &mut Flags) -> i64 {
        const MOST_SECONDS: i64 = 10_000_000_000;
        match time {
            Count::Is(seconds @ 0..=MOST_SECONDS) => seconds * 1_000,
            Count::Is(ms @ 0..=MAX_TIME_MS) => ms,
            _ => {
                flags.insert(Flags::TS_GUESSED);
                self.source.mtime_ms
            }
        }
    }
}

/// Whether rows of a table that gives no number twice have gone, and others may stand under their
/// numbers: it was made anew.
fn is_made_anew(db: &Connection, table: &str, last: i64) -> rusqlite::Result<bool> {
    let newest = format!("SELECT coalesce(max(id), 0) FROM {table}");
    let newest: i64 = db.prepare_cached(&newest)?.query_row([], |row| row.get(0))?;
    Ok(newest < last)
}

/// Counts of one request as they are stated: input, output, cache reads and cache writes. Input
/// includes the last two, output includes reasoning.
#[derive(Clone, Copy, Debug)]
struct Stated([Count; 4]);

impl Stated {
    fn tokens(self, flags: &mut Flags) -> Result<Tokens, Skip> {
        let mut counts = [0; 4];
        for (count, stated) in counts.iter_mut().zip(self.0) {
            *count = stated.clamped(flags)?;
        }
        Ok(disjoint(counts, flags))
    }
}

fn disjoint([input, output, cache_read, cache_create]: [u64; 4], flags: &mut Flags) -> Tokens {
    let cached = cache_read + cache_create;
    if cached > input {
        flags.insert(Flags::CLAMPED);
    }
    Tokens {
        input: input.saturating_sub(cached),
        output,
        cache_read,
        cache_create,
        ..Tokens::default()
    }
}

/// A count that adds up many requests.
fn total(stated: Count, flags: &mut Flags) -> Result<u64, Skip> {
    /// The agent's own counters hold little more.
    const MAX: i64 = 2_000_000_000;
    match stated {
        Count::Is(n @ 0..=MAX) => Ok(n.unsigned_abs()),
        other => other.clamped(flags),
    }
}
