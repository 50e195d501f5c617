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
        drop(found);
        drop(statement);
        let sessions = state.unsettled(db, sessions)?;
        // Journals may be long, and the owner may want to empty its log meanwhile.
        if !db.is_autocommit() {
            db.execute_batch("END")?;
        }
        for (session, first_ms) in sessions {
            state.settle(source, &session, first_ms, around, out);
        }
        // Writing numbers, strings and lists to memory cannot fail.
        let state = serde_json::to_string(&state).unwrap_or_default();
        Ok(Progress { state, rows, more: rows == MAX_ROWS })
    }
}

impl State {
    /// Of these sessions those whose journals were not looked at yet, and since when the database has
    /// calls of them.
    fn unsettled(
        &self,
        db: &Connection,
        sessions: BTreeSet<String>,
    ) -> rusqlite::Result<Vec<(String, i64)>> {
        let is_new = |session: &String| !self.settled.contains(&digest22(session.as_bytes()));
        let sessions = sessions.into_iter().filter(is_new);
        let dated = sessions.map(|session| {
            let first_ms = first_in(db, &session)?.unwrap_or(i64::MIN);
            Ok((session, first_ms))
        });
        dated.collect()
    }

    /// Takes back what the session's journal has counted of calls that the database has. From now on
    /// the journal sees that it has them.
    fn settle(
        &mut self,
        source: &Source,
        session: &str,
        first_ms: i64,
        around: &dyn Surroundings,
        out: &mut Parsed,
    ) {
        let digest = digest22(session.as_bytes());
        let home = source.path.parent().unwrap_or(&source.root);
        for path in journals(home, session) {
            out.retracted.extend(journal::keys(source, &path, around, session, first_ms));
        }
        self.settled.push_back(digest);
        if self.settled.len() > MAX_SETTLED {
            self.settled.pop_front();
        }
    }
}

/// When the first call of the session was made that the database at `path` has; what a journal tells
/// of earlier ones it does not have. One that cannot be understood has none.
pub(super) fn first_call_ms(around: &dyn Surroundings, path: &Path, session: &str) -> Option<i64> {
    let mut first_ms = None;
    around.database(path, &mut |db| {
        match query(db) {
            Ok(_) => first_ms = first_in(db, session)?,
            Err(DatabaseError::UnsupportedSchema(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    });
    first_ms
}

/// The same of a database that is open. A row without a usable time stands for all times.
fn first_in(db: &Connection, session: &str) -> rusqlite::Result<Option<i64>> {
    let sql = format!("SELECT created_at FROM {CALLS} WHERE session_id = ?1 ORDER BY id LIMIT 1");
    let created_at = db.query_row(&sql, [session], |row| Ok(text(row.get_ref(0)?))).optional()?;
    Ok(created_at.map(|at| at.as_deref().and_then(utc_ms).unwrap_or(i64::MIN)))
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

    /// Ids begin again when the database is made anew: what the row says tells the two apart. It says
    /// the same when a newer version of the agent adds a column to it, which may be full of zeros.
    fn key(&self) -> EventKey {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (id, session) = (self.id, text(&self.session));
        let said = [text(&self.created_at), text(&self.model), self.counts.to_string()].join("|");
        let said = digest22(said.as_bytes());
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
