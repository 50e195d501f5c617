//! The ledger: a row for each request, added when it was answered and never changed.

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use usage::{Flags, Skip, UsageEvent};

use super::sessions::Session;
use super::{ID, MAX_ROWS, Stated, Turn, disjoint, is_made_anew, total};
use crate::record::{Count, nanousd};
use crate::sqlite::{columns, count, text};
use crate::{DatabaseError, Parsed};

pub(super) const TABLE: &str = "usage_ledger";

/// The newest row that was read.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Cursor(i64);

impl Turn<'_> {
    /// Says whether there is a ledger.
    pub(super) fn read_ledger(
        &mut self,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> Result<bool, DatabaseError> {
        let db = self.db;
        let columns = columns(db, TABLE)?;
        if columns.is_empty() {
            *cursor = Cursor::default();
            return Ok(false);
        }
        let named = [
            "id",
            "session_id",
            "created_timestamp",
            "model",
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "cost",
            "cost_source",
        ];
        if let Some(missing) = named.iter().find(|name| !columns.contains(**name)) {
            return Err(DatabaseError::UnsupportedSchema(format!("{TABLE}.{missing}")));
        }
        if is_made_anew(db, TABLE, cursor.0)? {
            *cursor = Cursor::default();
        }
        let query = format!(
            "SELECT {} FROM {TABLE} WHERE id > ?1 ORDER BY id LIMIT {MAX_ROWS}",
            named.join(", ")
        );
        let mut query = db.prepare_cached(&query)?;
        let mut found = query.query([cursor.0])?;
        let mut rows = 0;
        while let Some(row) = found.next()? {
            rows += 1;
            let request = Request::read(row)?;
            cursor.0 = request.id;
            match self.call(&request)? {
                Ok(call) => out.events.push(call),
                Err(reason) => out.skips.add(reason),
            }
        }
        self.rows += rows;
        self.more |= rows == MAX_ROWS;
        Ok(true)
    }

    fn call(&mut self, request: &Request) -> rusqlite::Result<Result<UsageEvent, Skip>> {
        let Some(id) = &request.session else { return Ok(Err(Skip::BadField)) };
        let session = self.sessions.get(id)?;
        if session.is_told_elsewhere {
            return Ok(Err(Skip::Replayed));
        }
        if request.is_carried_forward() {
            return self.carried_forward(id, &session, request);
        }
        let mut flags = Flags::default();
        let ts_ms = self.time_ms(request.created, &mut flags);
        Ok(request.counts.tokens(&mut flags).and_then(|tokens| {
            if tokens.total() == 0 && request.cost_nanousd.is_none_or(|cost| cost == 0) {
                return Err(Skip::NoUsage);
            }
            let model = request.model.as_deref();
            let usage = (tokens, flags);
            Ok(session.call(&request.key(id), ts_ms, model, usage, request.cost_nanousd))
        }))
    }

    /// What a session's counters had come to and the ledger did not have: with what it had by then,
    /// the session so far.
    fn carried_forward(
        &self,
        id: &str,
        session: &Session,
        request: &Request,
    ) -> rusqlite::Result<Result<UsageEvent, Skip>> {
        // Sums of floats: those of integers fail where they overflow.
        const SO_FAR: &str = "SELECT
                total(max(ifnull(input_tokens, 0), ifnull(cache_read_tokens, 0)
                    + ifnull(cache_write_tokens, 0))),
                total(output_tokens), total(cache_read_tokens), total(cache_write_tokens)
            FROM usage_ledger WHERE session_id = ?1 AND id <= ?2";
        let stated = self.db.prepare_cached(SO_FAR)?.query_row((id, request.id), |row| {
            let mut stated = [Count::Absent; 4];
            for (column, stated) in stated.iter_mut().enumerate() {
                *stated = count(row.get_ref(column)?);
            }
            Ok(stated)
        })?;
        let mut flags = Flags::default();
        let ts_ms = self.time_ms(request.created, &mut flags);
        let mut counts = [0; 4];
        for (count, stated) in counts.iter_mut().zip(stated) {
            match total(stated, &mut flags) {
                Ok(n) => *count = n,
                Err(reason) => return Ok(Err(reason)),
            }
        }
        let tokens = disjoint(counts, &mut flags);
        if tokens.total() == 0 {
            return Ok(Err(Skip::NoUsage));
        }
        flags.insert(Flags::SESSION_SO_FAR);
        flags.insert(Flags::SUM);
        let model = request.model.as_deref();
        Ok(Ok(session.call(&request.key(id), ts_ms, model, (tokens, flags), None)))
    }
}

/// A row.
struct Request {
    id: i64,
    session: Option<String>,
    created: Count,
    model: Option<String>,
    counts: Stated,
    cost_nanousd: Option<i64>,
    cost_source: Option<String>,
}

impl Request {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let cost_source = text(row.get_ref(9)?);
        Ok(Self {
            id: row.get(0)?,
            session: text(row.get_ref(1)?),
            created: count(row.get_ref(2)?),
            model: text(row.get_ref(3)?),
            counts: Stated([
                count(row.get_ref(4)?),
                count(row.get_ref(5)?),
                count(row.get_ref(6)?),
                count(row.get_ref(7)?),
            ]),
            cost_nanousd: cost_nanousd(row.get_ref(8)?, cost_source.as_deref()),
            cost_source,
        })
    }

    /// Not a request, but the counters of a session from before there was a ledger, or what a version
    /// without one has added to them since.
    fn is_carried_forward(&self) -> bool {
        self.cost_source.as_deref() == Some("carried_forward")
    }

    fn key(&self, session: &str) -> String {
        let said = |count: Count| match count {
            Count::Is(n) => n.to_string(),
            Count::Absent | Count::Bad => String::new(),
        };
        let [input, output, ..] = self.counts.0;
        let (id, created) = (self.id, said(self.created));
        format!("{ID}:{session}:{id}:{created}:{}:{}", said(input), said(output))
    }
}

/// The agent estimates what a vendor does not report; for a model without a price it may say zero.
fn cost_nanousd(cost: ValueRef<'_>, source: Option<&str>) -> Option<i64> {
    let dollars = match cost {
        #[expect(clippy::cast_precision_loss, reason = "no cost is that high")]
        ValueRef::Integer(n) => n as f64,
        ValueRef::Real(x) => x,
        ValueRef::Null | ValueRef::Text(_) | ValueRef::Blob(_) => return None,
    };
    match source {
        Some("provider_reported") if dollars == 0.0 => Some(0),
        Some("provider_reported" | "estimated") => nanousd(&dollars.to_string()),
        _ => None,
    }
}
