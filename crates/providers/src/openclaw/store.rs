//! The database of an agent: the events of all its sessions, a row for each.
//!
//! Rows are read in the order in which they were inserted. Of a session that is rewound or compacted
//! the agent deletes some and inserts others, which may then stand where the deleted ones stood.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read as _;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use usage::{Skip, Source, digest22};

use super::event::{Context, Event, Header};
use super::{ID, project_of_agent};
use crate::opencode::cursor::Cursor;
use crate::record::{Json, is_kept};
use crate::sqlite::columns;
use crate::{Database, DatabaseError, Parsed, Progress, Surroundings};

pub(super) struct Store;

/// Rows of one turn, and bytes after which no further one is looked at: what tools returned stands in
/// them, too.
const MAX_ROWS: u64 = 500;
const MAX_BYTES: usize = 8 << 20;

/// Longest event that is decoded.
const MAX_EVENT: u64 = 64 << 20;

const EVENTS: &str = "transcript_events";

impl Database for Store {
    fn read(
        &self,
        source: &Source,
        db: &Connection,
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<Progress, DatabaseError> {
        let events = events(db)?;
        let mut cursor: Cursor = serde_json::from_str(state).unwrap_or_default();
        cursor.rewind(|rowid| mark_at(db, rowid))?;
        let mut turn = Turn {
            db,
            provider: ID.into(),
            source,
            agent: project_of_agent(&source.path),
            around,
            headers: HashMap::new(),
        };
        let mut statement =
            db.prepare_cached(&format!("{events} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2"))?;
        let mut found = statement.query([cursor.rowid(), i64::try_from(MAX_ROWS).unwrap_or(1)])?;
        let (mut rows, mut bytes, mut last) = (0, 0, None);
        while bytes < MAX_BYTES
            && let Some(row) = found.next()?
        {
            rows += 1;
            bytes += turn.row(row, out)?;
            last = Some((row.get(0)?, mark(row)?));
        }
        if let Some((rowid, mark)) = last {
            cursor.advance(rowid, mark);
        }
        // Writing numbers, strings and lists to memory cannot fail.
        let state = serde_json::to_string(&cursor).unwrap_or_default();
        Ok(Progress { state, rows, more: rows == MAX_ROWS || bytes >= MAX_BYTES })
    }
}

/// Selects events, if the table has all columns that are needed.
fn events(db: &Connection) -> Result<String, DatabaseError> {
    let columns = columns(db, EVENTS)?;
    let needed = ["session_id", "seq", "event_json", "created_at"];
    match needed.iter().find(|name| !columns.contains(**name)) {
        Some(name) => Err(DatabaseError::UnsupportedSchema(format!("{EVENTS}.{name}"))),
        None => Ok(select(db)?),
    }
}

fn select(db: &Connection) -> rusqlite::Result<String> {
    let has_packed = columns(db, EVENTS)?.contains("event_zstd");
    let packed = if has_packed { "event_zstd" } else { "NULL" };
    Ok(format!("SELECT rowid, session_id, seq, event_json, created_at, {packed} FROM {EVENTS}"))
}

/// An event as JSON. The newest versions keep long ones compressed.
fn content<'r>(row: &'r Row<'_>) -> rusqlite::Result<Option<Cow<'r, [u8]>>> {
    if let Some(json) = bytes(row.get_ref(3)?) {
        return Ok(Some(Cow::Borrowed(json)));
    }
    let ValueRef::Blob(packed) = row.get_ref(5)? else { return Ok(None) };
    let mut json = Vec::new();
    let decoded = zstd::Decoder::new(packed)
        .and_then(|decoder| decoder.take(MAX_EVENT + 1).read_to_end(&mut json));
    let is_whole = decoded.is_ok_and(|len| len as u64 <= MAX_EVENT);
    Ok(is_whole.then_some(Cow::Owned(json)))
}

/// What tells whether the row that has a rowid now is the one that had it before.
fn mark_at(db: &Connection, rowid: i64) -> rusqlite::Result<Option<String>> {
    let mut statement = db.prepare_cached(&format!("{} WHERE rowid = ?1", select(db)?))?;
    statement.query_row([rowid], mark).optional()
}

fn mark(row: &Row<'_>) -> rusqlite::Result<String> {
    let mut said = format!("{:?}:{:?}:", text(row.get_ref(1)?), row.get_ref(2)?).into_bytes();
    said.extend_from_slice(&content(row)?.unwrap_or_default());
    Ok(digest22(&said))
}

/// One turn.
struct Turn<'a> {
    db: &'a Connection,
    provider: Arc<str>,
    source: &'a Source,
    /// The project of sessions that name no directory.
    agent: Arc<str>,
    around: &'a dyn Surroundings,
    /// What the sessions seen so far say of themselves.
    headers: HashMap<String, Header>,
}

impl Turn<'_> {
    /// Reads a row and says how long it is.
    fn row(&mut self, row: &Row<'_>, out: &mut Parsed) -> rusqlite::Result<usize> {
        let Some(json) = content(row)? else {
            out.skips.add(Skip::BadField);
            return Ok(0);
        };
        let mut reader = Json::new(&json);
        let event = Event::read(&mut reader);
        match (event, text(row.get_ref(1)?)) {
            (Ok(Some(_)), _) if reader.peek().is_some() => out.skips.add(Skip::Malformed),
            (Ok(Some(event)), Some(session)) => self.event(row, &event, &session, out)?,
            (Ok(Some(_)), None) => out.skips.add(Skip::BadField),
            (Ok(None), _) => out.skips.add(Skip::NotAnObject),
            (Err(_), _) => out.skips.add(Skip::Malformed),
        }
        Ok(json.len())
    }

    fn event(
        &mut self,
        row: &Row<'_>,
        event: &Event<'_>,
        session: &str,
        out: &mut Parsed,
    ) -> rusqlite::Result<()> {
        let db = self.db;
        let seq = row.get_ref(2)?.as_i64().unwrap_or_default();
        let created_ms = row.get_ref(4)?.as_i64().ok().filter(|ms| *ms > 0);
        let header = match self.headers.entry(session.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(header_of(db, session)?),
        };
        let context = Context {
            provider: &self.provider,
            source_id: self.source.id,
            session: session.into(),
            project: header.cwd.as_deref().map_or_else(|| self.agent.clone(), Arc::from),
            forked_ms: header.forked_ms,
            ts_ms: created_ms.unwrap_or(self.source.mtime_ms),
            // A call without a model is a rare thing, and one of an unknown model no loss.
            chosen: &|| chosen_before(db, session, seq).unwrap_or_default(),
            path: &self.source.path,
            around: self.around,
        };
        event.state(&context, out);
        Ok(())
    }
}

/// What a session says of itself in its first event.
fn header_of(db: &Connection, session: &str) -> rusqlite::Result<Header> {
    let mut statement =
        db.prepare_cached(&format!("{} WHERE session_id = ?1 ORDER BY seq LIMIT 1", select(db)?))?;
    let header = |row: &Row<'_>| {
        let json = content(row)?.unwrap_or_default();
        Ok(Event::read(&mut Json::new(&json)).ok().flatten().and_then(|event| event.header()))
    };
    Ok(statement.query_row([session], header).optional()?.flatten().unwrap_or_default())
}

/// The model that was chosen last before an event, and who serves it.
fn chosen_before(
    db: &Connection,
    session: &str,
    seq: i64,
) -> rusqlite::Result<Option<(String, Option<String>)>> {
    let mut statement = db.prepare_cached(&format!(
        "{} WHERE session_id = ?1 AND seq < ?2 AND (event_json LIKE '%\"model_change\"%'
        OR event_json LIKE '%\"model-snapshot\"%') ORDER BY seq DESC LIMIT 16",
        select(db)?
    ))?;
    let mut rows = statement.query(rusqlite::params![session, seq])?;
    while let Some(row) = rows.next()? {
        let json = content(row)?.unwrap_or_default();
        let event = Event::read(&mut Json::new(&json)).ok().flatten();
        let choice = event.as_ref().and_then(Event::choice);
        if let Some((model, vendor)) = choice {
            return Ok(Some((model.to_owned(), vendor.map(str::to_owned))));
        }
    }
    Ok(None)
}

fn text(value: ValueRef<'_>) -> Option<String> {
    let ValueRef::Text(bytes) = value else { return None };
    Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| is_kept(text))
}

fn bytes(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(bytes) => Some(bytes),
        _ => None,
    }
}
