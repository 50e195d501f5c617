//! The counters of sessions that the ledger does not have.
//!
//! They only grow, and what is added to them counts at the time of the session's last change. Those
//! of the latest sessions are remembered; of any other session they are stated whole, as the
//! session so far.

use std::collections::VecDeque;

use rusqlite::Row;
use serde::{Deserialize, Serialize};
use usage::{Flags, Skip, Tokens, UsageEvent, digest22};

use super::sessions::TABLE;
use super::{ID, MAX_ROWS, Turn, disjoint, ledger, total};
use crate::record::Count;
use crate::sqlite::{columns, count, text};
use crate::{DatabaseError, Parsed};

/// Sessions whose counters are remembered. Few grow at about the same time.
const MAX_SEEN: usize = 64;

/// How far before the latest change another one may become visible only now: its time is that of
/// the moment when its writer began to wait for its turn.
const LATE_S: i64 = 60;

/// How far the sessions were looked at, in the order of their last change.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Cursor {
    /// Of the latest change that was looked at, in seconds.
    changed: i64,
    /// Where that leaves off in the midst of them.
    rowid: Option<i64>,
    /// The latest sessions that were looked at, the latest last.
    seen: VecDeque<Seen>,
}

/// A session's counters when it was looked at.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Counters {
    /// When the session began: after a session is deleted, another one gets its id.
    created: i64,
    /// Uncached input, output, cache reads and writes.
    tokens: [u64; 4],
}

#[derive(Serialize, Deserialize)]
struct Seen {
    /// A hash of its id.
    session: String,
    counters: Counters,
}

impl Turn<'_> {
    pub(super) fn read_counters(
        &mut self,
        has_ledger: bool,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> Result<(), DatabaseError> {
        let Some(query) = self.counters_query(has_ledger)? else { return Ok(()) };
        let db = self.db;
        let mut query = db.prepare_cached(&query)?;
        let (after_s, after_rowid) = match cursor.rowid {
            Some(rowid) => (cursor.changed, rowid),
            None => (cursor.changed.saturating_sub(LATE_S), i64::MIN),
        };
        let mut found = query.query([after_s, after_rowid])?;
        let mut rows = 0;
        let mut last = None;
        while let Some(row) = found.next()? {
            rows += 1;
            let (changed, rowid) = (row.get(0)?, row.get(1)?);
            last = Some(rowid);
            self.rows += u64::from(changed > cursor.changed);
            cursor.changed = cursor.changed.max(changed);
            self.look_at(&Found::read(row)?, changed, cursor, out)?;
        }
        let is_cut_short = rows == MAX_ROWS;
        cursor.rowid = last.filter(|_| is_cut_short);
        if !is_cut_short {
            // Where a clock was wrong, changes of today come before one that was seen.
            let now =
                db.prepare_cached("SELECT unixepoch('now')")?.query_row([], |row| row.get(0))?;
            cursor.changed = cursor.changed.min(now);
        }
        self.more |= is_cut_short;
        Ok(())
    }

    /// Sessions in the order of their last change; `None` where no counters are kept. Times stand in
    /// two forms beside each other, of which the days alone compare as texts: by those an index is
    /// searched.
    fn counters_query(&self, has_ledger: bool) -> Result<Option<String>, DatabaseError> {
        let columns = columns(self.db, TABLE)?;
        let needed =
            ["accumulated_input_tokens", "accumulated_output_tokens", "created_at", "updated_at"];
        if let Some(missing) = needed.iter().find(|name| !columns.contains(**name)) {
            let missing = format!("{TABLE}.{missing}");
            // Nothing is missed: the ledger says it.
            return if has_ledger {
                Ok(None)
            } else {
                Err(DatabaseError::UnsupportedSchema(missing))
            };
        }
        let [read, write] = ["accumulated_cache_read_tokens", "accumulated_cache_write_tokens"]
            .map(|name| if columns.contains(name) { name } else { "NULL" });
        let is_in_ledger = if has_ledger {
            let ledger = ledger::TABLE;
            format!("EXISTS (SELECT 1 FROM {ledger} WHERE {ledger}.session_id = {TABLE}.id)")
        } else {
            "0".to_owned()
        };
        Ok(Some(format!(
            "SELECT ifnull(unixepoch(updated_at), 0) AS changed, rowid, id, \
                ifnull(unixepoch(created_at), 0), accumulated_input_tokens, \
                accumulated_output_tokens, {read}, {write}, {is_in_ledger} \
             FROM {TABLE} \
             WHERE updated_at >= date(?1, 'unixepoch') AND (changed, rowid) > (?1, ?2) \
             ORDER BY changed, rowid LIMIT {MAX_ROWS}"
        )))
    }

    fn look_at(
        &mut self,
        found: &Found,
        changed: i64,
        cursor: &mut Cursor,
        out: &mut Parsed,
    ) -> rusqlite::Result<()> {
        let Some(id) = found.session.as_deref().filter(|_| !found.is_in_ledger) else {
            return Ok(());
        };
        if found.stated.iter().all(|count| matches!(count, Count::Absent | Count::Is(0))) {
            return Ok(());
        }
        let mut flags = Flags::default();
        let stated = found.counts(&mut flags);
        let tokens = disjoint(stated.unwrap_or_default(), &mut flags);
        let counters = Counters {
            created: found.created,
            tokens: [tokens.input, tokens.output, tokens.cache_read, tokens.cache_create],
        };
        let session = digest22(id.as_bytes());
        let at = cursor.seen.iter().position(|seen| seen.session == session);
        let before = at.map(|at| cursor.seen[at].counters);
        if before == Some(counters) {
            return Ok(());
        }
        at.map(|at| cursor.seen.remove(at));
        cursor.seen.push_back(Seen { session, counters });
        if cursor.seen.len() > MAX_SEEN {
            cursor.seen.pop_front();
        }
        let event = match stated {
            Ok(stated) => {
                let tokens = counters.since(before, &mut flags);
                self.grown((id, found.created), stated, changed, (tokens, flags))?
            }
            Err(reason) => Err(reason),
        };
        match event {
            Ok(event) => out.events.push(event),
            Err(reason) => out.skips.add(reason),
        }
        Ok(())
    }

    /// What was added to the counters of a session, which now stand at `stated`. After a session is
    /// deleted, another one gets its id: when it began goes with that.
    fn grown(
        &mut self,
        (id, created): (&str, i64),
        stated: [u64; 4],
        changed: i64,
        (tokens, mut flags): (Tokens, Flags),
    ) -> rusqlite::Result<Result<UsageEvent, Skip>> {
        let session = self.sessions.get(id)?;
        if session.is_told_elsewhere {
            return Ok(Err(Skip::Replayed));
        }
        if tokens.total() == 0 {
            return Ok(Err(Skip::NoUsage));
        }
        flags.insert(Flags::SUM);
        let time = if changed == 0 { Count::Absent } else { Count::Is(changed) };
        let ts_ms = self.time_ms(time, &mut flags);
        let [input, output, read, write] = stated;
        let key = format!("{ID}:acc:{id}:{created}:{input}:{output}:{read}:{write}");
        Ok(Ok(session.call(&key, ts_ms, None, (tokens, flags), None)))
    }
}

impl Counters {
    /// What was added since they were seen before. Counters that fell, and those of another session
    /// of the same id, began anew. Of counters that are not remembered nobody here knows what was
    /// counted.
    fn since(self, before: Option<Self>, flags: &mut Flags) -> Tokens {
        let [input, output, cache_read, cache_create] = self.tokens;
        let sum = |tokens: [u64; 4]| (tokens[0] + tokens[2] + tokens[3], tokens[1]);
        let whole = Tokens { input, output, cache_read, cache_create, ..Tokens::default() };
        let Some(before) = before else {
            flags.insert(Flags::SESSION_SO_FAR);
            return whole;
        };
        let ((input, output), (earlier_input, earlier_output)) =
            (sum(self.tokens), sum(before.tokens));
        let grew = input >= earlier_input && output >= earlier_output;
        if !grew || self.created != before.created {
            return whole;
        }
        let [input, output, cache_read, cache_create] =
            std::array::from_fn(|i| self.tokens[i].saturating_sub(before.tokens[i]));
        Tokens { input, output, cache_read, cache_create, ..whole }
    }
}

/// A session's row.
struct Found {
    session: Option<String>,
    created: i64,
    stated: [Count; 4],
    is_in_ledger: bool,
}

impl Found {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            session: text(row.get_ref(2)?),
            created: row.get(3)?,
            stated: [
                count(row.get_ref(4)?),
                count(row.get_ref(5)?),
                count(row.get_ref(6)?),
                count(row.get_ref(7)?),
            ],
            is_in_ledger: row.get(8)?,
        })
    }

    fn counts(&self, flags: &mut Flags) -> Result<[u64; 4], Skip> {
        let mut counts = [0; 4];
        for (count, stated) in counts.iter_mut().zip(self.stated) {
            *count = total(stated, flags)?;
        }
        Ok(counts)
    }
}
