//! Rows of the log of events, the newest first, filtered and in pages.
//!
//! Newest by time: its index gives the order, and the days, without sorting. A row that is
//! corrected keeps its time and so its place, though its id moves on.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use serde_json::Value as Json;

use crate::filter::{Filter, Known, Unseen, unseen};
use crate::mart_query::{end_of, one_of, parse_day, rows, start_of};
use crate::zone::Zone;
use crate::{ReadError, meta};

/// Events, narrowed down. Days are inclusive.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    pub since: Option<String>,
    pub until: Option<String>,
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
    pub(crate) fn of(query: &EventQuery, known: Known, zone: &Zone) -> Result<Self, ReadError> {
        let (conditions, values) = (Vec::new(), Vec::new());
        let mut select = Self { from_ms: i64::MIN, to_ms: i64::MAX, conditions, values };
        if let Some(since) = &query.since {
            select.from_ms = start_of(parse_day(since)?, zone);
        }
        if let Some(until) = &query.until {
            select.to_ms = end_of(parse_day(until)?, zone).saturating_sub(1);
        }
        if let Some(cursor) = &query.cursor {
            let (ts_ms, id) = parse_cursor(cursor)?;
            select.to_ms = select.to_ms.min(ts_ms);
            select.conditions.push("(+ts_ms, +e.id) < (?, ?)".into());
            select.values.extend([ts_ms, id].map(Value::Integer));
        }
        let sessions = query.sessions.iter().cloned().map(Value::Text).collect();
        for (column, values) in [
            ("provider", known.providers),
            ("project_id", known.projects),
            ("model", known.models),
            ("session_id", sessions),
        ] {
            if !values.is_empty() {
                select.conditions.push(one_of(column, values.len()));
                select.values.extend(values);
            }
        }
        Ok(select)
    }

    /// Sessions and projects are found among other events by when they were active.
    pub(crate) fn within(&mut self, (first_ms, last_ms): (i64, i64)) {
        self.from_ms = self.from_ms.max(first_ms);
        self.to_ms = self.to_ms.min(last_ms);
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

    pub(crate) fn page(&self, db: &Connection, limit: usize) -> rusqlite::Result<EventPage> {
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

/// From the first to the last event of these sessions, or else of these projects. Without it a
/// session of last year would be looked for among all events since.
pub(crate) fn span(
    db: &Connection,
    sessions: &[String],
    projects: &[Value],
) -> rusqlite::Result<Result<Option<(i64, i64)>, Unseen>> {
    const OF_SESSION: &str = "SELECT min(first_ts_ms), max(last_ts_ms)
        FROM (SELECT DISTINCT provider FROM project_cells)
        CROSS JOIN usage_cells INDEXED BY usage_cells_session USING (provider)
        WHERE session_id = ?1 AND message_count + user_message_count > 0";
    const OF_PROJECT: &str = "SELECT min(first_ts_ms), max(last_ts_ms)
        FROM usage_cells INDEXED BY usage_cells_project
        WHERE project_id = ?1 AND message_count + user_message_count > 0";
    let mut whole: Option<(i64, i64)> = None;
    let join = |whole: Option<(i64, i64)>, (first, last): (i64, i64)| {
        whole.map_or((first, last), |(from, to)| (from.min(first), to.max(last)))
    };
    let ask = |sql: &str, value: &Value| -> rusqlite::Result<Option<(i64, i64)>> {
        db.prepare_cached(sql)?.query_row(params_from_iter([value]), |row| {
            let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok(first.zip(last))
        })
    };
    for session in sessions {
        match ask(OF_SESSION, &Value::Text(session.clone()))? {
            Some(span) => whole = Some(join(whole, span)),
            None => return Ok(unseen("session", session)),
        }
    }
    if sessions.is_empty() {
        for project in projects {
            if let Some(span) = ask(OF_PROJECT, project)? {
                whole = Some(join(whole, span));
            }
        }
    }
    Ok(Ok(whole))
}
