//! What the cells must be, computed from `usage_events` alone.
//!
//! Plain SQL, on purpose not the code that moves the cells with each event: `tallyd check` compares
//! the two. The events are taken in runs of whole days, so that memory does not grow with history.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, ToSql};

use crate::zone::Zone;

/// The cells of one [`Run`], whose values are the parameters.
pub(crate) const CELLS: &str = "SELECT day, provider, session_id, project_id, model, speed,
        sum(role = 'assistant'), sum(role = 'user'), sum(input_tokens), sum(output_tokens),
        sum(cache_read_tokens), sum(cache_create_tokens), sum(cache_create_1h_tokens),
        sum(reasoning_tokens), sum(web_search_requests), sum(coalesce(cost_nanousd, 0)),
        sum(cost_nanousd IS NULL AND role = 'assistant'), min(ts_ms), max(ts_ms), max(id)
    FROM usage_events INDEXED BY usage_events_ts_ms
    WHERE ts_ms BETWEEN ?1 AND ?2 AND day > ?3 AND day <= ?4
    GROUP BY day, provider, session_id, project_id, model, speed
    ORDER BY day, provider, session_id, project_id, model, speed";

pub(crate) const PROJECT_CELLS: &str = "SELECT project_id, provider,
        sum(message_count), sum(user_message_count), sum(input_tokens), sum(output_tokens),
        sum(cache_read_tokens), sum(cache_create_tokens), sum(cache_create_1h_tokens),
        sum(reasoning_tokens), sum(web_search_requests), sum(cost_nanousd), sum(unpriced_count),
        count(DISTINCT session_id), max(last_event_id)
    FROM usage_cells
    WHERE message_count + user_message_count > 0
    GROUP BY project_id, provider
    ORDER BY project_id, provider";

/// Replaces all cells by what the events add up to. Empty cells are gone after this, so every mart
/// must be rebuilt in the same transaction.
pub(crate) fn recompute(db: &Connection, zone: &mut Zone) -> rusqlite::Result<()> {
    db.execute_batch("DELETE FROM usage_cells; DELETE FROM project_cells;")?;
    for run in runs(db, zone, RUN_EVENTS)? {
        db.prepare_cached(&format!("INSERT INTO usage_cells {CELLS}"))?.execute(run.params())?;
    }
    db.execute(&format!("INSERT INTO project_cells {PROJECT_CELLS}"), [])?;
    Ok(())
}

/// How many events a run should hold; a single day is never divided.
pub(crate) const RUN_EVENTS: i64 = 100_000;

/// Successive days, and a range of time that holds all their events.
#[derive(Debug)]
pub(crate) struct Run {
    from_ms: i64,
    to_ms: i64,
    after_day: Arc<str>,
    last_day: Arc<str>,
}

impl Run {
    pub(crate) fn params(&self) -> [&dyn ToSql; 4] {
        [&self.from_ms, &self.to_ms, &self.after_day, &self.last_day]
    }

    pub(crate) fn days(&self) -> [&str; 2] {
        [&self.after_day, &self.last_day]
    }
}

/// Divides all days there can be into runs of about `events` events.
pub(crate) fn runs(db: &Connection, zone: &mut Zone, events: i64) -> rusqlite::Result<Vec<Run>> {
    const BOUNDARY: &str = "SELECT ts_ms FROM usage_events INDEXED BY usage_events_ts_ms
        WHERE ts_ms > ?1 ORDER BY ts_ms LIMIT 1 OFFSET ?2";
    // Wider than any day is long, and than any step of the clock.
    const MARGIN_MS: i64 = 2 * 86_400_000;
    let mut runs = Vec::new();
    let mut run = Run {
        from_ms: i64::MIN,
        to_ms: i64::MAX,
        after_day: "".into(),
        last_day: "9999-12-31".into(),
    };
    let mut reached = i64::MIN;
    let mut boundary = db.prepare_cached(BOUNDARY)?;
    while let Some(ts_ms) = boundary.query_row([reached, events], |row| row.get(0)).optional()? {
        reached = ts_ms;
        let day = zone.day(ts_ms);
        if *day <= *run.after_day || *day >= *run.last_day {
            continue;
        }
        let rest = Run {
            from_ms: ts_ms - MARGIN_MS,
            to_ms: i64::MAX,
            after_day: Arc::clone(&day),
            last_day: Arc::clone(&run.last_day),
        };
        runs.push(Run { to_ms: ts_ms + MARGIN_MS, last_day: day, ..run });
        run = rest;
    }
    runs.push(run);
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::*;
    use crate::tests::{Memory, batch, event};

    fn cells(db: &Connection, zone: &mut Zone, events: i64) -> (usize, Vec<Vec<Value>>) {
        let runs = runs(db, zone, events).unwrap();
        let mut select = db.prepare(CELLS).unwrap();
        let mut cells = Vec::new();
        for run in &runs {
            let rows = select.query_map(run.params(), |row| (0..20).map(|n| row.get(n)).collect());
            cells.extend(rows.unwrap().map(Result::unwrap));
        }
        (runs.len(), cells)
    }

    #[test]
    fn h29_runs_hold_each_event_once_where_a_day_comes_twice_too() {
        // Around the night when clocks went from 00:01 back to 23:01 of the day before.
        const NIGHT_MS: i64 = 1_162_089_060_000;
        let name = "America/St_Johns";
        let Memory { mut db, mut ledger } = Memory::new(name);
        let events = (-300..300).map(|n| {
            let mut event = event(&format!("k{n}"));
            event.ts_ms = NIGHT_MS + n * 900_000;
            event
        });
        ledger.append(&mut db, &mut [batch(events)]).unwrap();
        let mut zone = Zone::new(name).unwrap();
        let (_, whole) = cells(&db, &mut zone, RUN_EVENTS);
        for events in [1, 7, 50, 100, 299] {
            let (runs, divided) = cells(&db, &mut zone, events);
            assert!(runs > 1);
            assert_eq!(divided, whole, "runs of {events}");
        }
    }
}
