//! Rows of the log of events, the newest first, filtered and in pages.
//!
//! Newest by time: its index gives the order, and the days, without sorting. A row that is
//! corrected keeps its time and so its place, though its id moves on.

use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::Value as Json;

use crate::filter::{Filter, Resolved, end_of, one_of, start_of};
use crate::mart_query::rows;
use crate::zone::Zone;
use crate::{ReadError, meta};

/// Events, narrowed down.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    pub filter: Filter,
    pub sessions: Vec<String>,
    pub limit: usize,
    /// [`EventPage::next`] of the page before.
    pub cursor: Option<String>,
}

/// Events, the newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Json>>,
    /// The newest position in the log.
    pub position: i64,
    pub epoch: i64,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

pub(crate) fn page(
    db: &Connection,
    query: &EventQuery,
    zone: &Zone,
) -> rusqlite::Result<Result<EventPage, ReadError>> {
    let filter = match query.filter.resolve(db)? {
        Ok(filter) => filter,
        Err(unknown) => return Ok(Err(unknown)),
    };
    let span = match span(db, &query.sessions, &filter.project_ids)? {
        Ok(span) => span,
        Err(unknown) => return Ok(Err(unknown)),
    };
    Ok(match Select::of(query, &filter, span, zone) {
        Ok(select) => Ok(select.page(db, query.limit)?),
        Err(error) => Err(error),
    })
}

/// An [`EventQuery`] in SQL.
#[derive(Debug)]
pub(crate) struct Select {
    /// The first and the last millisecond: one bound each way, as the index takes no more.
    from_ms: i64,
    to_ms: i64,
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Select {
    pub(crate) fn of(
        query: &EventQuery,
        filter: &Resolved,
        (first_ms, last_ms): (i64, i64),
        zone: &Zone,
    ) -> Result<Self, ReadError> {
        let since = filter.since.map_or(i64::MIN, |day| start_of(day, zone));
        let until = filter.until.map_or(i64::MAX, |day| end_of(day, zone).saturating_sub(1));
        let (conditions, values) = filter.conditions_but_days();
        let (from_ms, to_ms) = (first_ms.max(since), last_ms.min(until));
        let mut select = Self { from_ms, to_ms, conditions, values };
        if !query.sessions.is_empty() {
            select.conditions.push(one_of("session_id", query.sessions.len()));
            select.values.extend(query.sessions.iter().cloned().map(Value::Text));
        }
        if let Some(cursor) = &query.cursor {
            let (ts_ms, id) = parse_cursor(cursor)?;
            select.to_ms = select.to_ms.min(ts_ms);
            select.conditions.push("(+ts_ms, +e.id) < (?, ?)".into());
            select.values.extend([ts_ms, id].map(Value::Integer));
        }
        Ok(select)
    }

    pub(crate) fn sql(&self, limit: usize) -> String {
        let conditions: String =
            self.conditions.iter().map(|condition| format!(" AND {condition}")).collect();
        // One row more than asked for tells whether there is a next page.
        format!(
            "SELECT e.id, event_key, provider, account, project_id, path AS project_path,
                session_id, ts_ms, ts, day, role, model, speed, input_tokens, output_tokens,
                cache_read_tokens, cache_create_tokens, cache_create_1h_tokens, reasoning_tokens,
                web_search_requests, cost_nanousd, cost_usd, cost_source, is_sidechain, copy_rank,
                source_id, parser_version, raw_extras
             FROM usage_events AS e INDEXED BY usage_events_ts_ms
             CROSS JOIN projects AS p ON p.id = e.project_id
             WHERE ts_ms BETWEEN ? AND ?{conditions}
             ORDER BY ts_ms DESC, e.id DESC LIMIT {}",
            limit.saturating_add(1)
        )
    }

    fn page(&self, db: &Connection, limit: usize) -> rusqlite::Result<EventPage> {
        let bounds = [self.from_ms, self.to_ms].map(Value::Integer);
        let values: Vec<Value> = bounds.into_iter().chain(self.values.clone()).collect();
        let (columns, mut rows) = rows(db, &self.sql(limit), &values)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let value = |row: &[Json], name: &str| {
            let place = columns.iter().position(|column| column == name);
            place.and_then(|place| row[place].as_i64()).unwrap_or_default()
        };
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| format!("{}-{}", value(row, "ts_ms"), value(row, "id")));
        Ok(EventPage { columns, rows, position: meta::seq(db)?, epoch: meta::epoch(db)?, next })
    }
}

/// The time and the id of the last row, as `1780000000000-42`.
fn parse_cursor(cursor: &str) -> Result<(i64, i64), ReadError> {
    let parts = cursor.rsplit_once('-').map(|(ts_ms, id)| (ts_ms.parse(), id.parse()));
    match parts {
        Some((Ok(ts_ms), Ok(id))) => Ok((ts_ms, id)),
        _ => Err(ReadError::BadCursor { value: cursor.into() }),
    }
}

pub(crate) const OF_SESSION: &str = "SELECT min(first_ts_ms), max(last_ts_ms)
    FROM (SELECT DISTINCT provider FROM project_cells)
    CROSS JOIN usage_cells INDEXED BY usage_cells_session USING (provider)
    WHERE session_id = ?1 AND message_count + user_message_count > 0";
pub(crate) const OF_PROJECT: &str = "SELECT min(first_ts_ms), max(last_ts_ms)
    FROM usage_cells INDEXED BY usage_cells_project
    WHERE project_id = ?1 AND message_count + user_message_count > 0";

/// From the first to the last event of these sessions, or else of these projects: without it, those
/// of last year would be looked for among all events since.
fn span(
    db: &Connection,
    sessions: &[String],
    project_ids: &[i64],
) -> rusqlite::Result<Result<(i64, i64), ReadError>> {
    let mut spans = Vec::new();
    for session in sessions {
        let Some(span) = span_of(db, OF_SESSION, Value::Text(session.clone()))? else {
            return Ok(Err(unknown_session(db, session)?));
        };
        spans.push(span);
    }
    if sessions.is_empty() {
        for id in project_ids {
            // One that lost all its events has none to be found.
            spans.push(
                span_of(db, OF_PROJECT, Value::Integer(*id))?.unwrap_or((i64::MAX, i64::MIN)),
            );
        }
    }
    let join = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
    Ok(Ok(spans.into_iter().reduce(join).unwrap_or((i64::MIN, i64::MAX))))
}

fn span_of(db: &Connection, sql: &str, of: Value) -> rusqlite::Result<Option<(i64, i64)>> {
    db.prepare_cached(sql)?.query_row([of], |row| {
        let (first_ms, last_ms): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok(first_ms.zip(last_ms))
    })
}

/// Offers the latest sessions instead.
fn unknown_session(db: &Connection, session: &str) -> rusqlite::Result<ReadError> {
    const LATEST: &str = "SELECT session_id FROM session_mart ORDER BY last_ts_ms DESC LIMIT 8";
    let mut latest = db.prepare_cached(LATEST)?;
    let known = latest.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(ReadError::Unknown { kind: "session", value: session.to_owned(), known, more: 0 })
}
