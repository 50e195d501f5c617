//! The database: a row for each model call, in the order they were made, never changed.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Role, Skip, Source, Usage, UsageEvent, digest22};

use super::counts::{Stated, cost_nanousd};
use super::{ID, NO_DIRECTORY, VERSION, journal, journals, usage};
use crate::record::{Count, time_ms};
use crate::sqlite::{self, count, text};
use crate::{Database, DatabaseError, Parsed, Progress, Surroundings};

pub(super) struct Store;

const CALLS: &str = "assistant_usage_events";

/// Rows of one turn.
const MAX_ROWS: u64 = 500;

/// Sessions whose journals need no second look. Those of calls made at about the same time are few.
const MAX_SETTLED: usize = 64;

/// How far the database was read.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The newest row that was read.
    id: i64,
    /// The key of its call. Another one under this id: the database was made anew.
    key: String,
    /// Hashes of the sessions whose journals were made to count nothing, the latest last.
    settled: VecDeque<String>,
}

impl Database for Store {
    fn read(
        &self,
        source: &Source,
        db: &Connection,
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<Progress, DatabaseError> {
        let mut state: State = serde_json::from_str(state).unwrap_or_default();
        let query = query(db)?;
        if state.id != 0 && state.key != key_at(db, &query, state.id)? {
            state = State::default();
        }
        let mut statement =
            db.prepare(&format!("{query} AND id > ?1 ORDER BY id LIMIT {MAX_ROWS}"))?;
        let mut found = statement.query([state.id])?;
        let (mut rows, mut sessions) = (0, BTreeSet::new());
        let provider: Arc<str> = ID.into();
        while let Some(row) = found.next()? {
            rows += 1;
            let call = Call::read(row)?;
            state.id = call.id;
            state.key = call.key().as_str().to_owned();
            match call.event(source, &provider) {
                Ok(event) => out.events.push(event),
                Err(reason) => out.skips.add(reason),
            }
            sessions.extend(call.session);
        }
        for session in sessions {
            state.settle(source, &session, around, out);
        }
        // Writing numbers, strings and lists to memory cannot fail.
        let state = serde_json::to_string(&state).unwrap_or_default();
        Ok(Progress { state, rows, more: rows == MAX_ROWS })
    }
}

impl State {
    /// Takes back what the session's journal has counted before the database had a row of it. From
    /// now on the journal sees that there is one.
    fn settle(
        &mut self,
        source: &Source,
        session: &str,
        around: &dyn Surroundings,
        out: &mut Parsed,
    ) {
        let digest = digest22(session.as_bytes());
        if self.settled.contains(&digest) {
            return;
        }
        let home = source.path.parent().unwrap_or(&source.root);
        for path in journals(home, session) {
            if let Some(bytes) = around.file(&path) {
                out.retracted.extend(journal::keys(source, &path, &bytes, session));
            }
        }
        self.settled.push_back(digest);
        if self.settled.len() > MAX_SETTLED {
            self.settled.pop_front();
        }
    }
}

/// Whether the database at `path` has a call of the session. One that cannot be understood has none.
pub(super) fn has_session(around: &dyn Surroundings, path: &Path, session: &str) -> bool {
    let mut has_session = false;
    around.database(path, &mut |db| {
        let sql = match query(db) {
            Ok(_) => format!("SELECT EXISTS (SELECT 1 FROM {CALLS} WHERE session_id = ?1)"),
            Err(DatabaseError::UnsupportedSchema(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        has_session = db.query_row(&sql, [session], |row| row.get(0))?;
        Ok(())
    });
    has_session
}

/// Selects what is known of calls, in the order in which [`Call::read`] takes it; conditions may be
/// added. Columns came one by one with the versions of the agent: those that are missing are NULL.
fn query(db: &Connection) -> Result<String, DatabaseError> {
    const NEEDED: [&str; 5] = ["id", "session_id", "input_tokens", "output_tokens", "created_at"];

    let columns = sqlite::columns(db, CALLS)?;
    let is_missing = |name: &&str| !columns.contains(*name);
    if let Some(name) = NEEDED.iter().find(|name| is_missing(name)) {
        return Err(DatabaseError::UnsupportedSchema(format!("{CALLS}.{name}")));
    }
    let optional = |name: &'static str| if is_missing(&name) { "NULL" } else { name };
    let model = match ["model", "copilot_usage_model"].map(optional) {
        ["NULL", "NULL"] => {
            return Err(DatabaseError::UnsupportedSchema(format!("{CALLS}.model")));
        }
        [model, billed] => format!("coalesce({model}, {billed})"),
    };
    let sessions = sqlite::columns(db, "sessions")?;
    let cwd = if sessions.contains("id") && sessions.contains("cwd") {
        format!("(SELECT cwd FROM sessions WHERE sessions.id = {CALLS}.session_id LIMIT 1)")
    } else {
        "NULL".to_owned()
    };
    let [read, write, reasoning, aiu, agent] = [
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "total_nano_aiu",
        "agent_id",
    ]
    .map(optional);
    Ok(format!(
        "SELECT id, session_id, created_at, {model}, input_tokens, output_tokens, {read}, {write}, \
         {reasoning}, {aiu}, {agent}, {cwd} FROM {CALLS} WHERE typeof(id) = 'integer'"
    ))
}

/// The key of the call under this id; empty if there is none.
fn key_at(db: &Connection, query: &str, id: i64) -> Result<String, DatabaseError> {
    let mut statement = db.prepare(&format!("{query} AND id = ?1"))?;
    let call = statement.query_row([id], Call::read).optional()?;
    Ok(call.map(|call| call.key().as_str().to_owned()).unwrap_or_default())
}

/// A row.
struct Call {
    id: i64,
    session: Option<String>,
    created_at: Option<String>,
    model: Option<String>,
    counts: Stated,
    nano_aiu: Count,
    agent: Option<String>,
    cwd: Option<String>,
}

impl Call {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            session: text(row.get_ref(1)?),
            created_at: text(row.get_ref(2)?),
            model: text(row.get_ref(3)?),
            counts: Stated([
                count(row.get_ref(4)?),
                count(row.get_ref(5)?),
                count(row.get_ref(6)?),
                count(row.get_ref(7)?),
                count(row.get_ref(8)?),
            ]),
            nano_aiu: count(row.get_ref(9)?),
            agent: text(row.get_ref(10)?),
            cwd: text(row.get_ref(11)?),
        })
    }

    /// Ids begin again when the database is made anew: what the row says tells the two apart.
    fn key(&self) -> EventKey {
        let Self { id, session, created_at, model, counts, .. } = self;
        let said = digest22(format!("{created_at:?}{model:?}{counts:?}").as_bytes());
        let session = session.as_deref().unwrap_or_default();
        EventKey::new(&format!("copilot:store:{session}:{id}:{said}"))
    }

    fn event(&self, source: &Source, provider: &Arc<str>) -> Result<UsageEvent, Skip> {
        let session = self.session.as_deref().ok_or(Skip::BadField)?;
        let mut flags = Flags::default();
        let tokens = self.counts.call(&mut flags)?.tokens(&mut flags);
        let cost = match self.nano_aiu {
            Count::Is(n) => u64::try_from(n).ok().and_then(cost_nanousd),
            Count::Absent | Count::Bad => None,
        };
        if tokens.total() == 0 && cost.is_none() {
            return Err(Skip::NoUsage);
        }
        let ts_ms = self.created_at.as_deref().and_then(utc_ms).unwrap_or_else(|| {
            flags.insert(Flags::TS_GUESSED);
            source.mtime_ms
        });
        let model = self.model.as_deref().unwrap_or(Usage::UNKNOWN_MODEL);
        // The main conversation has this name among the agents, where it has one.
        let agent = self.agent.as_deref().filter(|agent| *agent != "main");
        Ok(UsageEvent {
            key: self.key(),
            provider: provider.clone(),
            role: Role::Assistant,
            ts_ms,
            copy_rank: 0,
            owner: Owner {
                session_id: session.into(),
                project: self.cwd.as_deref().unwrap_or(NO_DIRECTORY).into(),
                is_sidechain: agent.is_some(),
                account: None,
                agent: agent.map(Arc::from),
                client: None,
                source_id: source.id,
            },
            usage: usage(model.into(), tokens, cost, flags),
            parser_version: VERSION,
        })
    }
}

/// The agent writes RFC 3339 times; what it leaves to SQLite is UTC without saying so.
fn utc_ms(text: &str) -> Option<i64> {
    let unmarked = || {
        let time: DateTime = text.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
    };
    time_ms(text).or_else(|| unmarked().filter(|ms| *ms >= 0))
}
