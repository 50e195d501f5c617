//! `tallyd check`: is everything derived what it is derived from?
//!
//! Events are the truth: cells are compared with what the events add up to, project cells with the
//! cells, each mart with its SELECT over all keys, and the sums of each mart with those of the
//! events. Both sides are read in the order of their key, side by side, so nothing is held in memory
//! but one row of each.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Value;
use rusqlite::{Connection, Rows, Statement};

use crate::marts::{self, Mart};
use crate::meta;
use crate::recompute::{CELLS, PROJECT_CELLS, RUN_EVENTS, runs};
use crate::zone::Zone;

/// One value that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub table: String,
    /// The row's key, its parts divided by ` / `.
    pub key: String,
    /// The column, or `row` where a row is missing or should not be.
    pub column: String,
    pub expected: String,
    pub found: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What SQLite says about the file's structure; empty when it is sound.
    pub integrity: Vec<String>,
    /// The first differences.
    pub findings: Vec<Finding>,
    /// How many differences there are.
    pub differences: u64,
    /// Keys that wait for the next refresh, by mart. They are no faults.
    pub pending: BTreeMap<&'static str, usize>,
}

impl CheckReport {
    pub fn is_sound(&self) -> bool {
        self.integrity.is_empty() && self.differences == 0
    }
}

pub(crate) fn check(
    db: &Connection,
    zone: &mut Zone,
    max_findings: usize,
) -> rusqlite::Result<CheckReport> {
    let mut check = Check { db, max_findings, report: CheckReport::default() };
    check.structure()?;
    check.positions()?;
    check.cells(zone)?;
    check.project_cells()?;
    for mart in &marts::ALL {
        check.mart(mart)?;
    }
    Ok(check.report)
}

struct Check<'a> {
    db: &'a Connection,
    max_findings: usize,
    report: CheckReport,
}

impl Check<'_> {
    fn structure(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.db.prepare("PRAGMA integrity_check")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
        let lines: Vec<String> = lines.collect::<rusqlite::Result<_>>()?;
        self.report.integrity = lines.into_iter().filter(|line| line != "ok").collect();
        let mut statement = self.db.prepare("PRAGMA foreign_key_check")?;
        let mut orphans = statement.query([])?;
        while let Some(row) = orphans.next()? {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            self.report.integrity.push(format!("{table} has a row without its row in {parent}"));
        }
        Ok(())
    }

    /// The newest position is behind no row and no mart: what comes next would not be seen.
    fn positions(&mut self) -> rusqlite::Result<()> {
        let seq = meta::seq(self.db)?;
        let newest: i64 =
            self.db
                .query_row("SELECT coalesce(max(id), 0) FROM usage_events", [], |row| row.get(0))?;
        let mut ahead = vec![("usage_events".to_owned(), newest)];
        let mut marts = self.db.prepare("SELECT mart_name, last_event_id FROM mart_watermark")?;
        let marts = marts.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        ahead.extend(marts.collect::<rusqlite::Result<Vec<_>>>()?);
        for (table, position) in ahead.into_iter().filter(|(_, position)| *position > seq) {
            self.report.integrity.push(format!(
                "{table} is at position {position}, beyond the log's newest, which is {seq}"
            ));
        }
        Ok(())
    }

    fn cells(&mut self, zone: &mut Zone) -> rusqlite::Result<()> {
        const KEY: &str = "day, provider, session_id, project_id, model, speed";
        let db = self.db;
        let mut expected = db.prepare(CELLS)?;
        let mut found = db.prepare(&format!(
            "SELECT {KEY}, {MEASURES}, first_ts_ms, last_ts_ms, last_event_id FROM usage_cells
             WHERE day > ?1 AND day <= ?2 AND ({MEASURES}) <> {NOTHING} ORDER BY {KEY}"
        ))?;
        let table = Table::new("usage_cells", 6, &found);
        for run in &runs(db, zone, RUN_EVENTS)? {
            let expected = expected.query(run.params())?;
            self.compare(&table, expected, found.query(run.days())?)?;
        }
        Ok(())
    }

    fn project_cells(&mut self) -> rusqlite::Result<()> {
        let db = self.db;
        let mut expected = db.prepare(PROJECT_CELLS)?;
        let mut found = db.prepare(&format!(
            "SELECT project_id, provider, {MEASURES}, session_count, last_event_id
             FROM project_cells
             WHERE ({MEASURES}) <> {NOTHING} OR session_count <> 0
             ORDER BY project_id, provider"
        ))?;
        let table = Table::new("project_cells", 2, &found);
        self.compare(&table, expected.query([])?, found.query([])?)
    }

    fn mart(&mut self, mart: &'static Mart) -> rusqlite::Result<()> {
        let db = self.db;
        let mut expected = db.prepare(&mart.expected_sql())?;
        let mut found = db.prepare(&mart.stored_sql(db)?)?;
        let mut table = Table::new(mart.name, mart.grain.len(), &found);
        table.pending = pending_keys(db, mart)?;
        self.compare(&table, expected.query([])?, found.query([])?)?;
        if table.pending.is_empty() {
            return self.sums(mart);
        }
        self.report.pending.insert(mart.name, table.pending.len());
        Ok(())
    }

    /// The sums of a mart without pending keys are those of the events.
    fn sums(&mut self, mart: &Mart) -> rusqlite::Result<()> {
        const EXPECTED: &str = "SELECT 'sum of all rows', coalesce(sum(role = 'assistant'), 0),
                coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
                coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_create_tokens), 0),
                coalesce(sum(cost_nanousd), 0),
                coalesce(sum(cost_nanousd IS NULL AND role = 'assistant'), 0)
            FROM usage_events";
        let db = self.db;
        let mut expected = db.prepare(EXPECTED)?;
        let mut found = db.prepare(&format!(
            "SELECT 'sum of all rows' AS key, coalesce(sum(message_count), 0) AS message_count,
                coalesce(sum(input_tokens), 0) AS input_tokens,
                coalesce(sum(output_tokens), 0) AS output_tokens,
                coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens,
                coalesce(sum(cache_create_tokens), 0) AS cache_create_tokens,
                coalesce(sum(cost_nanousd), 0) AS cost_nanousd,
                coalesce(sum(unpriced_count), 0) AS unpriced_count
             FROM {}",
            mart.name
        ))?;
        let table = Table::new(mart.name, 1, &found);
        self.compare(&table, expected.query([])?, found.query([])?)
    }

    /// Walks two results side by side, both in the order of the table's key.
    fn compare(
        &mut self,
        table: &Table,
        mut expected: Rows<'_>,
        mut found: Rows<'_>,
    ) -> rusqlite::Result<()> {
        let mut next_expected = table.next(&mut expected)?;
        let mut next_found = table.next(&mut found)?;
        loop {
            let order = match (&next_expected, &next_found) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(expected), Some(found)) => table.order(expected, found),
            };
            match (order, &next_expected, &next_found) {
                (Ordering::Less, Some(row), _) => self.note(table, row, "row", "a row", "none"),
                (Ordering::Greater, _, Some(row)) => self.note(table, row, "row", "none", "a row"),
                (_, Some(expected), Some(found)) => self.compare_rows(table, expected, found),
                _ => {}
            }
            if order != Ordering::Greater {
                next_expected = table.next(&mut expected)?;
            }
            if order != Ordering::Less {
                next_found = table.next(&mut found)?;
            }
        }
    }

    fn compare_rows(&mut self, table: &Table, expected_row: &[Value], found_row: &[Value]) {
        let values = expected_row.iter().zip(found_row).zip(&table.columns).skip(table.key);
        for ((expected, found), column) in values {
            let agrees = match (column.as_str(), expected, found) {
                // A cell is marked by what left it, too.
                ("last_event_id", Value::Integer(least), Value::Integer(found)) => found >= least,
                _ => expected == found,
            };
            if !agrees {
                self.note(table, found_row, column, &text(expected), &text(found));
            }
        }
    }

    fn note(&mut self, table: &Table, row: &[Value], column: &str, expected: &str, found: &str) {
        let key = table.key_text(row);
        if table.pending.contains(&key) {
            return;
        }
        self.report.differences += 1;
        if self.report.findings.len() < self.max_findings {
            self.report.findings.push(Finding {
                table: table.name.into(),
                key,
                column: column.into(),
                expected: expected.into(),
                found: found.into(),
            });
        }
    }
}

/// What is summed up in both kinds of cells.
const MEASURES: &str = "message_count, user_message_count, input_tokens, output_tokens, \
    cache_read_tokens, cache_create_tokens, cache_create_1h_tokens, reasoning_tokens, \
    web_search_requests, cost_nanousd, unpriced_count";

/// The measures of an empty cell, which may stand or not.
const NOTHING: &str = "(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)";

/// A table under comparison.
struct Table {
    name: &'static str,
    /// How many of the first columns are its key.
    key: usize,
    columns: Vec<String>,
    /// Keys whose differences are none: the next refresh will see to them.
    pending: BTreeSet<String>,
}

impl Table {
    fn new(name: &'static str, key: usize, rows: &Statement<'_>) -> Self {
        let columns = rows.column_names().into_iter().map(str::to_owned).collect();
        Self { name, key, columns, pending: BTreeSet::new() }
    }

    fn next(&self, rows: &mut Rows<'_>) -> rusqlite::Result<Option<Vec<Value>>> {
        let Some(row) = rows.next()? else { return Ok(None) };
        (0..self.columns.len())
            .map(|column| row.get(column))
            .collect::<rusqlite::Result<_>>()
            .map(Some)
    }

    /// The order SQLite sorts keys in; a key column holds one type.
    fn order(&self, a: &[Value], b: &[Value]) -> Ordering {
        let parts = a.iter().zip(b).take(self.key);
        parts.map(|(a, b)| order(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn key_text(&self, row: &[Value]) -> String {
        let parts: Vec<String> = row.iter().take(self.key).map(text).collect();
        parts.join(" / ")
    }
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => Ordering::Equal,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value.clone(),
        Value::Blob(value) => format!("{} bytes", value.len()),
    }
}

/// The keys of a mart whose cells moved after its last refresh.
fn pending_keys(db: &Connection, mart: &Mart) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = db.prepare(&mart.pending_sql())?;
    let table = Table::new(mart.name, mart.grain.len(), &statement);
    let mut rows = statement.query([mart.name])?;
    let mut pending = BTreeSet::new();
    while let Some(row) = table.next(&mut rows)? {
        pending.insert(table.key_text(&row));
    }
    Ok(pending)
}
