//! What was written, counted as it was written, and whether a database says the same.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

/// Models, Claude's first, the last one Codex's, and their list prices in nano-dollars per token in
/// the order of [`Call::tokens`].
pub(crate) const MODELS: [(&str, [i64; 5]); 5] = [
    ("claude-opus-4-5-20251101", [5_000, 25_000, 500, 6_250, 10_000]),
    ("claude-sonnet-4-5-20250929", [3_000, 15_000, 300, 3_750, 6_000]),
    ("claude-haiku-4-5-20251001", [1_000, 5_000, 100, 1_250, 2_000]),
    ("claude-opus-4-1-20250805", [15_000, 75_000, 1_500, 18_750, 30_000]),
    ("gpt-5-codex", [1_250, 10_000, 125, 0, 0]),
];
pub(crate) const HAIKU: usize = 2;
pub(crate) const CODEX: usize = 4;

/// What a call used in the end.
pub(crate) struct Call {
    pub(crate) model: usize,
    /// Input, output, cache read, cache written for five minutes and for an hour.
    pub(crate) tokens: [i64; 5],
}

/// Calls, input, output, cache read, cache written, cost in nano-dollars.
type Sums = [i64; 6];
type ByDayAndModel = BTreeMap<(String, String), Sums>;

const SUMS: &str = "sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), \
    sum(cache_create_tokens), sum(cost_nanousd)";

pub(crate) enum Totals {
    Exact {
        calls: ByDayAndModel,
        prompts: i64,
    },
    /// Of all calls together, without their cost: what comes with a corpus of somebody else.
    Sums([i64; 5]),
    Unknown,
}

impl Totals {
    pub(crate) fn none_yet() -> Self {
        Self::Exact { calls: BTreeMap::new(), prompts: 0 }
    }

    /// A `truth.json` beside the home folder tells.
    pub(crate) fn beside(home: &Path) -> Self {
        let text = home.parent().and_then(|dir| fs::read_to_string(dir.join("truth.json")).ok());
        let Some(text) = text else { return Self::Unknown };
        let truth: Value = serde_json::from_str(&text).unwrap();
        let sum = |path: &str| truth.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let claude = |name: &str| sum(&format!("/claude/true_unique_message_final_usage/{name}"));
        Self::Sums([
            claude("events") + sum("/codex/turns"),
            claude("input") + sum("/codex/true/input_uncached"),
            claude("output") + sum("/codex/true/output_incl_reasoning"),
            claude("cache_read") + sum("/codex/true/cached"),
            claude("cache_create"),
        ])
    }

    pub(crate) fn count(&mut self, ts: &str, call: &Call) {
        let Self::Exact { calls, .. } = self else { return };
        let (name, prices) = MODELS[call.model];
        let sums = calls.entry((ts[..10].to_owned(), name.to_owned())).or_default();
        let cost = call.tokens.iter().zip(prices).map(|(tokens, price)| tokens * price).sum();
        let [input, output, read, write, write_1h] = call.tokens;
        add(sums, [1, input, output, read, write + write_1h, cost]);
    }

    pub(crate) fn prompt(&mut self) {
        if let Self::Exact { prompts, .. } = self {
            *prompts += 1;
        }
    }

    /// Whether events and all five marts say the same; if not, what one of them says instead.
    pub(crate) fn check(&self, db: &Connection) -> Result<(), String> {
        let (calls, prompts) = match self {
            Self::Unknown => return Ok(()),
            Self::Sums(expect) => {
                let [calls, input, output, read, create, _] = all_of(db, "daily_mart");
                return same("all calls", [calls, input, output, read, create], *expect);
            }
            Self::Exact { calls, prompts } => (calls, *prompts),
        };
        let events = "usage_events WHERE role = 'assistant'";
        let from = [(events, "count(*)"), ("model_day_mart", "sum(message_count)")];
        for (table, count) in from {
            let found = by_day_and_model(db, count, table);
            for key in calls.keys().chain(found.keys()) {
                same(&format!("{table}, {key:?}"), found.get(key), calls.get(key))?;
            }
        }
        let mut all = Sums::default();
        calls.values().for_each(|sums| add(&mut all, *sums));
        same("daily_mart", all_of(db, "daily_mart"), all)?;
        for name in ["session_mart", "project_mart", "provider_day_mart"] {
            same(name, all_of(db, name), all)?;
            let sum = format!("SELECT ifnull(sum(user_message_count), 0) FROM {name}");
            let found: i64 = db.query_row(&sum, [], |row| row.get(0)).unwrap();
            same(&format!("prompts in {name}"), found, prompts)?;
        }
        Ok(())
    }
}

fn add(sums: &mut Sums, more: Sums) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

fn same<T: Copy + PartialEq + Debug>(what: &str, found: T, expect: T) -> Result<(), String> {
    let is_same = found == expect;
    is_same.then_some(()).ok_or_else(|| format!("{what}: found {found:?}, expected {expect:?}"))
}

fn all_of(db: &Connection, mart: &str) -> Sums {
    let sums = format!("SELECT sum(message_count), {SUMS} FROM {mart}");
    db.query_row(&sums, [], |row| sums_at(row, 0)).unwrap()
}

fn by_day_and_model(db: &Connection, count: &str, from: &str) -> ByDayAndModel {
    let sums = format!("SELECT day, model, {count}, {SUMS} FROM {from} GROUP BY day, model");
    let mut sums = db.prepare(&sums).unwrap();
    let rows = sums.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), sums_at(row, 2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn sums_at(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Sums> {
    let mut sums = Sums::default();
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum = row.get::<_, Option<i64>>(first + i)?.unwrap_or(0);
    }
    Ok(sums)
}
