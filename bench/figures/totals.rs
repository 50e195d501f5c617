//! What was written, counted as it was written, and whether a database says the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

/// A model and its list prices in nano-dollars per token.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    input: i64,
    output: i64,
    read: i64,
    write: i64,
    write_1h: i64,
}

const fn model(name: &'static str, [input, output, read, write, write_1h]: [i64; 5]) -> Model {
    Model { name, input, output, read, write, write_1h }
}

/// Claude's models, the most used first, then Codex's.
pub(crate) static MODELS: [Model; 5] = [
    model("claude-opus-4-5-20251101", [5_000, 25_000, 500, 6_250, 10_000]),
    model("claude-sonnet-4-5-20250929", [3_000, 15_000, 300, 3_750, 6_000]),
    model("claude-haiku-4-5-20251001", [1_000, 5_000, 100, 1_250, 2_000]),
    model("claude-opus-4-1-20250805", [15_000, 75_000, 1_500, 18_750, 30_000]),
    model("gpt-5-codex", [1_250, 10_000, 125, 0, 0]),
];
pub(crate) const HAIKU: usize = 2;
pub(crate) const CODEX: usize = 4;

/// What a call used in the end.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) model: usize,
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) read: i64,
    /// Written into the cache for five minutes, and for an hour.
    pub(crate) write: i64,
    pub(crate) write_1h: i64,
}

impl Call {
    fn sums(&self) -> Sums {
        let Self { model, input, output, read, write, write_1h } = *self;
        let price = &MODELS[model];
        let cost = input * price.input
            + output * price.output
            + read * price.read
            + write * price.write
            + write_1h * price.write_1h;
        [1, input, output, read, write + write_1h, cost]
    }
}

/// Calls, the four disjoint token counts, and the cost in nano-dollars.
type Sums = [i64; 6];

const COLUMNS: &str = "sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), \
    sum(cache_create_tokens), sum(cost_nanousd)";

pub(crate) enum Totals {
    /// Of every day and model, and how many prompts there were.
    Exact {
        calls: BTreeMap<(String, String), Sums>,
        prompts: i64,
    },
    /// Of all calls together, without their cost: what comes with a corpus of somebody else.
    Sums([i64; 5]),
    Unknown,
}

impl Default for Totals {
    fn default() -> Self {
        Self::Exact { calls: BTreeMap::new(), prompts: 0 }
    }
}

impl Totals {
    /// A `truth.json` beside the home folder tells.
    pub(crate) fn beside(home: &Path) -> Self {
        let text = home.parent().and_then(|dir| fs::read_to_string(dir.join("truth.json")).ok());
        let Some(text) = text else { return Self::Unknown };
        let truth: Value = serde_json::from_str(&text).unwrap();
        let claude = &truth["claude"]["true_unique_message_final_usage"];
        let claude = ["events", "input", "output", "cache_read", "cache_create"]
            .map(|name| claude[name].as_i64().unwrap_or(0));
        let codex = &truth["codex"];
        let codex = [
            &codex["turns"],
            &codex["true"]["input_uncached"],
            &codex["true"]["output_incl_reasoning"],
            &codex["true"]["cached"],
            &Value::Null,
        ]
        .map(|sum| sum.as_i64().unwrap_or(0));
        Self::Sums(std::array::from_fn(|i| claude[i] + codex[i]))
    }

    pub(crate) fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    pub(crate) fn count(&mut self, day: &str, call: &Call) {
        let Self::Exact { calls, .. } = self else { return };
        let sums = calls.entry((day.to_owned(), MODELS[call.model].name.to_owned())).or_default();
        sums.iter_mut().zip(call.sums()).for_each(|(sum, more)| *sum += more);
    }

    pub(crate) fn prompt(&mut self) {
        if let Self::Exact { prompts, .. } = self {
            *prompts += 1;
        }
    }

    /// Whether events and all five marts say the same; what they say instead.
    pub(crate) fn check(&self, db: &Connection) -> Result<(), String> {
        match self {
            Self::Unknown => Ok(()),
            Self::Sums(expect) => {
                let [calls, input, output, read, create, _] = mart(db, "daily_mart");
                same("all calls", [calls, input, output, read, create], *expect)
            }
            Self::Exact { calls, prompts } => {
                let events = "usage_events WHERE role = 'assistant'";
                same("usage_events", by_day_and_model(db, "count(*)", events), calls.clone())?;
                let found = by_day_and_model(db, "sum(message_count)", "model_day_mart");
                same("model_day_mart", found, calls.clone())?;
                let mut all = Sums::default();
                for sums in calls.values() {
                    all.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
                }
                for name in ["daily_mart", "session_mart", "project_mart", "provider_day_mart"] {
                    same(name, mart(db, name), all)?;
                }
                for name in ["session_mart", "project_mart", "provider_day_mart"] {
                    let sum = format!("SELECT ifnull(sum(user_message_count), 0) FROM {name}");
                    let found: i64 = db.query_row(&sum, [], |row| row.get(0)).unwrap();
                    same(&format!("prompts in {name}"), found, *prompts)?;
                }
                Ok(())
            }
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expect: T) -> Result<(), String> {
    if found == expect {
        return Ok(());
    }
    let shown = |value: T| format!("{value:?}").chars().take(400).collect::<String>();
    Err(format!("{what}: found {}, expected {}", shown(found), shown(expect)))
}

fn mart(db: &Connection, name: &str) -> Sums {
    let sums = format!("SELECT sum(message_count), {COLUMNS} FROM {name}");
    db.query_row(&sums, [], |row| sums_at(row, 0)).unwrap()
}

fn by_day_and_model(db: &Connection, count: &str, from: &str) -> BTreeMap<(String, String), Sums> {
    let sums = format!("SELECT day, model, {count}, {COLUMNS} FROM {from} GROUP BY day, model");
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
