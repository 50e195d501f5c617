//! The databases: messages and their parts in tables of their own, or in the newest versions one
//! table of messages that hold everything. Both may be there.
//!
//! A turn looks at the messages that said too little so far, at the newest ones that have changed
//! since, and then at those that are new: by rowid, by primary key or by an index, so that its cost
//! does not depend on how much the database holds.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use usage::{Skip, Source};

use super::agent::{Agent, Relative};
use super::copies::Copies;
use super::cursor::Cursor;
use super::message::{Message, Part, may_be_step, steps};
use super::sessions::Sessions;
use super::statement::{MAX_STEPS, Statement};
use crate::record::NotJson;
use crate::{Database, DatabaseError, Parsed, Progress, Surroundings};

/// How much a turn does.
pub(super) struct Limits {
    /// New messages.
    pub(super) new: usize,
    /// The newest messages read before, of which those are looked at that have changed.
    pub(super) again: u32,
    /// Messages of each table that say too little yet.
    pub(super) waiting: usize,
    /// Events after which no further message is looked at; of those from changes a quarter.
    pub(super) events: usize,
    /// Searches for the original of a copied message through all sessions of its project.
    pub(super) searches: usize,
}

pub(super) const LIMITS: Limits =
    Limits { new: 500, again: 200, waiting: 250, events: 2000, searches: 32 };

/// Longest id that is taken for one. The agent's have 30 characters, in copies a few more.
const MAX_ID: usize = 100;

/// Longer parts are no ends of steps: what tools returned may be megabytes, and is not even loaded.
const MAX_STEP_BYTES: u32 = 64 << 10;

/// Longer messages are none that the agent wrote, and SQLite would refuse to hand them out: one of them
/// must not hold up those that follow.
const MAX_MESSAGE_BYTES: u32 = 32 << 20;

/// Most parts of a person's message that are looked at for something the person made.
const MAX_PARTS: u32 = 64;

/// What is left behind between two turns.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    message: Cursor,
    session_message: Cursor,
}

impl<A: Relative> Database for A {
    fn read(
        &self,
        source: &Source,
        db: &Connection,
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<Progress, DatabaseError> {
        read(A::AGENT, source, db, around, &LIMITS, state, out)
    }
}

pub(super) fn read(
    agent: &Agent,
    source: &Source,
    db: &Connection,
    around: &dyn Surroundings,
    limits: &Limits,
    state: &str,
    out: &mut Parsed,
) -> Result<Progress, DatabaseError> {
    let mut state: State = serde_json::from_str(state).unwrap_or_default();
    let (has_messages, has_session_messages) = tables(db)?;
    let sessions = Sessions::new(db)?;
    let mut turn = Turn {
        agent,
        source,
        db,
        around,
        limits,
        sessions,
        copies: Copies::new(db, has_messages, limits.searches),
        rows: 0,
        is_cut_short: false,
        has_moved: false,
    };
    if has_messages {
        // First: of what both tables hold, the other one is not counted.
        turn.read_table(Table::Messages, &mut state.message, out)?;
    }
    if has_session_messages {
        turn.read_table(Table::SessionMessages, &mut state.session_message, out)?;
    }
    let Turn { rows, is_cut_short, has_moved, .. } = turn;
    let state = serde_json::to_string(&state).unwrap_or_default();
    Ok(Progress {
        state,
        rows: u64::try_from(rows).unwrap_or_default(),
        more: is_cut_short && has_moved,
    })
}

/// Which of the two tables of messages there are, with all columns that are needed.
fn tables(db: &Connection) -> Result<(bool, bool), DatabaseError> {
    const COMMON: [&str; 5] = ["id", "session_id", "time_created", "time_updated", "data"];
    let messages = columns(db, "message")?;
    let session_messages = columns(db, "session_message")?;
    if messages.is_empty() && session_messages.is_empty() {
        return Err(DatabaseError::UnsupportedSchema("message".to_owned()));
    }
    if !messages.is_empty() {
        need("message", &messages, &COMMON)?;
        need("part", &columns(db, "part")?, &["id", "message_id", "data"])?;
    }
    if !session_messages.is_empty() {
        need("session_message", &session_messages, &COMMON)?;
        need("session_message", &session_messages, &["type"])?;
    }
    Ok((!messages.is_empty(), !session_messages.is_empty()))
}

/// The columns of a table; none if there is no such table.
pub(super) fn columns(db: &Connection, table: &str) -> rusqlite::Result<BTreeSet<String>> {
    let mut query = db.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    query.query_map([table], |row| row.get(0))?.collect()
}

pub(super) fn need(
    table: &str,
    columns: &BTreeSet<String>,
    needed: &[&str],
) -> Result<(), DatabaseError> {
    match needed.iter().find(|column| !columns.contains(**column)) {
        Some(column) => Err(DatabaseError::UnsupportedSchema(format!("{table}.{column}"))),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Table {
    /// Messages whose content is in `part`.
    Messages,
    /// Messages that hold their content, of several types.
    SessionMessages,
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Messages => "message",
            Self::SessionMessages => "session_message",
        }
    }

    /// What is read of its rows.
    fn select(self) -> String {
        let (author, is_wanted) = match self {
            Self::Messages => ("NULL", "1"),
            // Other types may be long and say nothing.
            Self::SessionMessages => ("type", "type IN ('user', 'assistant')"),
        };
        let nothing = match self {
            Self::Messages => "''",
            Self::SessionMessages => "'{}'",
        };
        let data = format!(
            "CASE WHEN {is_wanted} AND octet_length(data) <= {MAX_MESSAGE_BYTES}
                THEN data ELSE {nothing} END"
        );
        let name = self.name();
        format!(
            "SELECT rowid, id, session_id, time_created, time_updated, {author}, {data} FROM {name}"
        )
    }
}

/// A row of a table of messages.
pub(super) struct Row<'r> {
    pub(super) rowid: i64,
    id: &'r str,
    pub(super) session_id: &'r str,
    pub(super) created_ms: i64,
    updated_ms: i64,
    author: Option<&'r str>,
    data: &'r [u8],
}

impl<'r> Row<'r> {
    /// `None` if an id is of another type.
    fn of(row: &'r rusqlite::Row<'_>) -> rusqlite::Result<Option<Self>> {
        let (Some(row_id), Some(session_id)) = (id(row.get_ref(1)?), id(row.get_ref(2)?)) else {
            return Ok(None);
        };
        Ok(Some(Self {
            rowid: row.get(0)?,
            id: row_id,
            session_id,
            created_ms: row.get_ref(3)?.as_i64().unwrap_or_default(),
            updated_ms: row.get_ref(4)?.as_i64().unwrap_or_default(),
            author: row.get_ref(5)?.as_str().ok(),
            data: bytes(row.get_ref(6)?),
        }))
    }
}

/// An id as the agent makes them: hundreds of them are kept between two turns.
fn id(value: ValueRef<'_>) -> Option<&str> {
    let is_plain =
        |id: &&str| id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    value.as_str().ok().filter(|id| (1..=MAX_ID).contains(&id.len())).filter(is_plain)
}

/// What a row is recognised by.
pub(super) fn mark(value: ValueRef<'_>) -> rusqlite::Result<String> {
    Ok(id(value).unwrap_or_default().to_owned())
}

pub(super) fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => b"",
    }
}

/// One reading of a database.
struct Turn<'a> {
    agent: &'a Agent,
    source: &'a Source,
    db: &'a Connection,
    around: &'a dyn Surroundings,
    limits: &'a Limits,
    sessions: Sessions<'a>,
    /// Rows looked at for the first time.
    rows: usize,
    /// Something was left for another turn.
    is_cut_short: bool,
    /// Another turn will not do the same again.
    has_moved: bool,
    copies: Copies<'a>,
}

impl<'a> Turn<'a> {
    fn read_table(
        &mut self,
        table: Table,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> Result<(), DatabaseError> {
        let db = self.db;
        let mut id_at =
            db.prepare_cached(&format!("SELECT id FROM {} WHERE rowid = ?1", table.name()))?;
        cursor.rewind(|rowid| id_at.query_row([rowid], |row| mark(row.get_ref(0)?)).optional())?;
        self.read_waiting(table, cursor, out)?;
        self.read_changed(table, cursor, out)?;
        self.read_new(table, cursor, out)
    }

    /// Messages that said too little so far. They are few, and known by their ids.
    fn read_waiting(
        &mut self,
        table: Table,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> Result<(), DatabaseError> {
        let db = self.db;
        let mut query = db.prepare_cached(&format!("{} WHERE id = ?1", table.select()))?;
        for id in cursor.take_waiting() {
            let mut rows = query.query([&id])?;
            let Some(row) = rows.next()? else { continue };
            let Some(row) = Row::of(row)? else { continue };
            let is_left_out = self.is_full(out);
            self.is_cut_short |= is_left_out;
            if is_left_out || self.look_at(table, &row, out)? {
                cursor.wait_for(id, self.limits.waiting);
            } else {
                self.has_moved = true;
            }
        }
        Ok(())
    }

    /// Of the newest messages read before those that have changed since.
    fn read_changed(
        &mut self,
        table: Table,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> Result<(), DatabaseError> {
        let db = self.db;
        let mut query = db.prepare_cached(&format!(
            "{} WHERE time_updated >= ?3 AND rowid IN
                (SELECT rowid FROM {} WHERE rowid <= ?1 ORDER BY rowid DESC LIMIT ?2)",
            table.select(),
            table.name(),
        ))?;
        let mut rows =
            query.query(params![cursor.rowid(), self.limits.again, cursor.updated_ms])?;
        let end = out.events.len() + self.limits.events / 4;
        // They were counted when they were read first.
        let skips = out.skips.clone();
        while let Some(row) = rows.next()? {
            let Some(row) = Row::of(row)? else { continue };
            if out.events.len() >= end {
                break;
            }
            cursor.updated_ms = cursor.updated_ms.max(row.updated_ms);
            if self.look_at(table, &row, out)? {
                cursor.wait_for(row.id.to_owned(), self.limits.waiting);
            }
        }
        out.skips = skips;
        Ok(())
    }

    fn read_new(
        &mut self,
        table: Table,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> Result<(), DatabaseError> {
        let db = self.db;
        let query = format!("{} WHERE rowid > ?1 ORDER BY rowid", table.select());
        let mut query = db.prepare_cached(&query)?;
        let mut rows = query.query([cursor.rowid()])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            // At least one in any case: so there is an end.
            if self.rows >= self.limits.new || (self.rows > 0 && self.is_full(out)) {
                self.is_cut_short = true;
                break;
            }
            self.rows += 1;
            self.has_moved = true;
            last = Some((row.get(0)?, mark(row.get_ref(1)?)?));
            let Some(row) = Row::of(row)? else {
                out.skips.add(Skip::BadField);
                continue;
            };
            cursor.updated_ms = cursor.updated_ms.max(row.updated_ms);
            if self.look_at(table, &row, out)? {
                cursor.wait_for(row.id.to_owned(), self.limits.waiting);
            }
        }
        if let Some((rowid, id)) = last {
            cursor.advance(rowid, id);
        }
        Ok(())
    }

    fn is_full(&self, out: &Parsed) -> bool {
        out.events.len() >= self.limits.events
    }

    /// Adds what a message says, and tells whether it may say more later without being new. What it
    /// does not say is counted once it says no more.
    fn look_at(
        &mut self,
        table: Table,
        row: &Row<'_>,
        out: &mut Parsed,
    ) -> Result<bool, DatabaseError> {
        let skips = out.skips.clone();
        let waits = self.add(table, row, out)?;
        if waits {
            out.skips = skips;
        }
        Ok(waits)
    }

    fn add(
        &mut self,
        table: Table,
        row: &Row<'_>,
        out: &mut Parsed,
    ) -> Result<bool, DatabaseError> {
        let mut message = match Message::read(row.data) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(skip(Skip::NotAnObject, out)),
            Err(NotJson) => return Ok(skip(Skip::Malformed, out)),
        };
        if table == Table::SessionMessages {
            message.author = row.author.map(Into::into);
        }
        let is_call = match message.author.as_deref() {
            Some("assistant") => true,
            Some("user") => false,
            _ => return Ok(false),
        };
        if self.agent.is_logged_elsewhere(message.provider.as_deref(), self.around) {
            if is_call {
                out.skips.add(Skip::Replayed);
            }
            return Ok(false);
        }
        let Some(created_ms) = message.created_ms() else {
            return Ok(skip(Skip::BadField, out));
        };
        let completed_ms = message.completed_ms();
        if is_call && completed_ms.is_none() {
            return Ok(true);
        }
        let session = self.sessions.get(row.session_id)?;
        if !is_call && session.is_child {
            return Ok(false);
        }
        let statement = Statement {
            agent: self.agent,
            source: self.source,
            session: &session,
            message: &message,
            created_ms,
        };
        if self.copies.is_stated(table, row, &statement, self.sessions.by_project())? {
            if is_call {
                out.skips.add(Skip::Replayed);
            }
            return Ok(false);
        }
        match (table, completed_ms) {
            (Table::Messages, Some(completed_ms)) if is_call => {
                self.calls(row, &statement, completed_ms, out)
            }
            (Table::Messages, _) => self.prompt(row, &statement, out),
            (Table::SessionMessages, Some(completed_ms)) if is_call => {
                statement.calls(completed_ms, &[], out);
                Ok(false)
            }
            (Table::SessionMessages, _) => {
                out.events.push(statement.prompt());
                Ok(false)
            }
        }
    }

    fn calls(
        &self,
        row: &Row<'_>,
        statement: &Statement<'_, '_>,
        completed_ms: i64,
        out: &mut Parsed,
    ) -> Result<bool, DatabaseError> {
        let db = self.db;
        let query = "SELECT CASE WHEN octet_length(data) <= ?2 THEN data END
            FROM part WHERE message_id = ?1 ORDER BY id";
        let mut query = db.prepare_cached(query)?;
        let mut rows = query.query(params![row.id, MAX_STEP_BYTES])?;
        let mut has_parts = false;
        let mut parts = Vec::new();
        while let Some(part) = rows.next()? {
            has_parts = true;
            let part = bytes(part.get_ref(0)?);
            if may_be_step(part) && parts.len() < MAX_STEPS {
                parts.push(part.to_vec());
            }
        }
        let steps = steps(parts.iter().map(Vec::as_slice), &mut out.skips);
        let is_whole = statement.calls(completed_ms, &steps, out);
        // A copied message is there before its parts are.
        let may_grow = (is_whole && !has_parts) || statement.is_copy();
        Ok(may_grow && !self.is_settled(row)?)
    }

    fn prompt(
        &self,
        row: &Row<'_>,
        statement: &Statement<'_, '_>,
        out: &mut Parsed,
    ) -> Result<bool, DatabaseError> {
        let db = self.db;
        let query = "SELECT CASE WHEN octet_length(data) <= ?3 THEN data END
            FROM part WHERE message_id = ?1 ORDER BY id LIMIT ?2";
        let mut query = db.prepare_cached(query)?;
        let mut rows = query.query(params![row.id, MAX_PARTS, MAX_MESSAGE_BYTES])?;
        while let Some(part) = rows.next()? {
            if let Ok(Some(Part::Typed)) = Part::read(bytes(part.get_ref(0)?)) {
                out.events.push(statement.prompt());
                return Ok(false);
            }
        }
        Ok(!self.is_settled(row)?)
    }

    /// Whether all parts of a message are there: the agent writes one message after the other.
    fn is_settled(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let query = "SELECT 1 FROM message
            WHERE session_id = ?1 AND (time_created, id) > (?2, ?3) LIMIT 1";
        self.db.prepare_cached(query)?.exists(params![row.session_id, row.created_ms, row.id])
    }
}

/// Counts what says nothing, now or later.
fn skip(reason: Skip, out: &mut Parsed) -> bool {
    out.skips.add(reason);
    false
}
