//! The five marts: derived tables that dashboards read.
//!
//! A mart is a grain, a source and one SELECT over the cells of its dirty keys. A key is recomputed,
//! never added to, so refreshing twice does no harm; a rebuild is a refresh from watermark zero
//! and has no SQL of its own. Whether and when to refresh is the writer's business.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::connection::Failure;
use crate::meta;

/// A derived table.
#[derive(Debug)]
pub struct Mart {
    /// The table: `"daily_mart"`.
    pub name: &'static str,
    /// The cells it is computed from.
    pub source: &'static str,
    /// Its key, columns of the source.
    pub grain: &'static [&'static str],
    /// The statements that create the table and its indices, a column of the table on a line.
    pub table: &'static str,
    /// The rows of the keys in `dirty`: the mart's whole meaning.
    pub select: &'static str,
}

/// All marts, in alphabetical order.
pub static ALL: [Mart; 5] = [
    Mart {
        name: "daily_mart",
        source: "usage_cells",
        grain: &["day", "project_id", "provider", "model", "speed"],
        table: include_str!("daily_mart.table.sql"),
        select: include_str!("daily_mart.select.sql"),
    },
    Mart {
        name: "model_day_mart",
        source: "usage_cells",
        grain: &["day", "model", "speed"],
        table: include_str!("model_day_mart.table.sql"),
        select: include_str!("model_day_mart.select.sql"),
    },
    Mart {
        name: "project_mart",
        source: "project_cells",
        grain: &["project_id"],
        table: include_str!("project_mart.table.sql"),
        select: include_str!("project_mart.select.sql"),
    },
    Mart {
        name: "provider_day_mart",
        source: "usage_cells",
        grain: &["day", "provider"],
        table: include_str!("provider_day_mart.table.sql"),
        select: include_str!("provider_day_mart.select.sql"),
    },
    Mart {
        name: "session_mart",
        source: "usage_cells",
        grain: &["provider", "session_id"],
        table: include_str!("session_mart.table.sql"),
        select: include_str!("session_mart.select.sql"),
    },
];

/// The mart of a name, with or without its ending: `"daily"` or `"daily_mart"`.
pub fn find(name: &str) -> Option<&'static Mart> {
    ALL.iter().find(|mart| mart.name == name || mart.short_name() == name)
}

impl Mart {
    /// The name in addresses and commands: `"daily"`.
    pub fn short_name(&self) -> &'static str {
        self.name.trim_end_matches("_mart")
    }

    /// The columns of the table, in their order.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.typed_columns().map(|(name, _)| name)
    }

    /// Whether the table has a column of that name.
    pub fn has_column(&self, name: &str) -> bool {
        self.columns().any(|column| column == name)
    }

    pub(crate) fn is_text(&self, name: &str) -> bool {
        self.typed_columns().any(|column| column == (name, "TEXT"))
    }

    /// The index in the order of this column, then of the key.
    pub(crate) fn index_on(&self, column: &str) -> Option<&'static str> {
        let (_, index) = self.table.split_once("CREATE INDEX ")?;
        let (name, columns) = index.split_once(" ON ")?;
        let (_, columns) = columns.split_once('(')?;
        columns
            .trim_start()
            .starts_with(&format!("{column}, {},", self.grain_list()))
            .then_some(name)
    }

    /// That of the key.
    pub(crate) fn key_index(&self) -> String {
        format!("sqlite_autoindex_{}_1", self.name)
    }

    /// Columns with their types: the lines of the statement that begin with both.
    fn typed_columns(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.table.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, kind) = (words.next()?, words.next()?.trim_end_matches(','));
            matches!(kind, "INTEGER" | "REAL" | "TEXT").then_some((name, kind))
        })
    }

    fn grain_list(&self) -> String {
        self.grain.join(", ")
    }

    /// The temporary table that a refresh collects its dirty keys in.
    pub(crate) fn dirty_table(&self) -> String {
        format!("temp.dirty_{}", self.name)
    }

    pub(crate) fn collect_sql(&self) -> String {
        let Self { source, .. } = self;
        format!(
            "INSERT OR IGNORE INTO {} SELECT {} FROM {source} INDEXED BY {source}_last_event_id
             WHERE last_event_id > ?1",
            self.dirty_table(),
            self.grain_list()
        )
    }

    pub(crate) fn delete_sql(&self) -> String {
        let grain = self.grain_list();
        format!("DELETE FROM {} WHERE ({grain}) IN (SELECT {grain} FROM dirty)", self.name)
    }

    pub(crate) fn insert_sql(&self) -> String {
        format!("INSERT INTO {} {}", self.name, self.select)
    }

    /// Puts the name `dirty` in front of a statement.
    pub(crate) fn over(&self, keys: &str, sql: &str) -> String {
        format!("WITH dirty AS (SELECT {} FROM {keys}) {sql}", self.grain_list())
    }

    /// The rows the whole mart should have, in the order of its key.
    pub(crate) fn expected_sql(&self) -> String {
        let grain = self.grain_list();
        let keys = format!("(SELECT DISTINCT {grain} FROM {})", self.source);
        self.over(&keys, &format!("SELECT * FROM ({}) ORDER BY {grain}", self.select))
    }

    /// The stored columns of all rows, in the order of the key.
    pub(crate) fn stored_sql(&self, db: &Connection) -> rusqlite::Result<String> {
        const STORED: &str =
            "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid";
        let mut names = db.prepare(STORED)?;
        let names = names.query_map([self.name], |row| row.get(0))?;
        let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
        Ok(format!("SELECT {} FROM {} ORDER BY {}", names.join(", "), self.name, self.grain_list()))
    }

    /// The keys that are dirty under the watermark of the mart named by ?1.
    pub(crate) fn pending_sql(&self) -> String {
        let Self { source, .. } = self;
        format!(
            "SELECT DISTINCT {} FROM {source} INDEXED BY {source}_last_event_id
             WHERE last_event_id >
                (SELECT last_event_id FROM mart_watermark WHERE mart_name = ?1)",
            self.grain_list()
        )
    }

    /// Changes with everything that decides what the mart's rows are.
    fn definition_hash(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for part in [self.source, &self.grain_list(), self.table, self.select] {
            hash.update(part.as_bytes()).update(&[0]);
        }
        hash.finalize().to_hex()[..32].to_owned()
    }
}

/// How one mart fared in a refresh.
#[derive(Debug)]
pub struct MartRefresh {
    pub name: &'static str,
    pub duration: Duration,
    /// The mart was left as it was before.
    pub error: Option<rusqlite::Error>,
}

/// What a refresh did.
#[derive(Debug)]
pub struct Refresh {
    /// The position that the marts without an error are now correct up to.
    pub seq: i64,
    pub marts: Vec<MartRefresh>,
    /// The days on which anything changed.
    pub dirty_days: Vec<String>,
}

impl Refresh {
    pub fn duration(&self) -> Duration {
        self.marts.iter().map(|mart| mart.duration).sum()
    }

    /// The first mart's error, for work in which none may fail.
    pub(crate) fn strict(self) -> rusqlite::Result<Self> {
        let mut marts = Vec::with_capacity(self.marts.len());
        for mart in self.marts {
            match mart.error {
                Some(error) => return Err(error),
                None => marts.push(mart),
            }
        }
        Ok(Self { marts, ..self })
    }
}

/// Creates the tables that dirty keys are collected in; they belong to the connection.
pub(crate) fn create_dirty_tables(db: &Connection) -> rusqlite::Result<()> {
    for mart in &ALL {
        let (table, grain) = (mart.dirty_table(), mart.grain_list());
        db.execute_batch(&format!(
            "CREATE TABLE {table} ({grain}, PRIMARY KEY ({grain})) WITHOUT ROWID"
        ))?;
    }
    Ok(())
}

/// Brings the marts up to the newest event. A mart that fails is rolled back alone and reported; an
/// error of the database itself ends the refresh for all.
pub(crate) fn refresh(
    db: &mut Connection,
    marts: &[Mart],
    now_ms: i64,
) -> rusqlite::Result<Refresh> {
    let mut tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let refresh = refresh_within(&mut tx, marts, now_ms)?;
    tx.commit()?;
    Ok(refresh)
}

/// Empties the marts and refreshes them, in the caller's transaction. None may fail.
pub(crate) fn rebuild_within<'a>(
    tx: &mut Transaction<'_>,
    marts: impl IntoIterator<Item = &'a Mart>,
    now_ms: i64,
) -> rusqlite::Result<Refresh> {
    let marts: Vec<&Mart> = marts.into_iter().collect();
    for mart in &marts {
        tx.execute(&format!("DELETE FROM {}", mart.name), [])?;
        tx.execute(
            "UPDATE mart_watermark SET last_event_id = 0 WHERE mart_name = ?1",
            [mart.name],
        )?;
    }
    meta::next_epoch(tx)?;
    refresh_within(tx, marts, now_ms)?.strict()
}

/// In the caller's transaction: creates the marts that do not exist, starts those over whose definition changed or whose watermark
/// is beyond the log, and drops those that are no more.
pub(crate) fn keep_definitions(tx: &mut Transaction<'_>, now_ms: i64) -> rusqlite::Result<()> {
    meta::mend_seq(tx)?;
    let seq = meta::seq(tx)?;
    for name in names(tx)? {
        if ALL.iter().all(|mart| mart.name != name) {
            tx.execute_batch(&format!("DROP TABLE IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
            tx.execute("DELETE FROM mart_watermark WHERE mart_name = ?1", [name])?;
        }
    }
    let mut changed = Vec::new();
    for mart in &ALL {
        if is_current(tx, mart, seq)? {
            continue;
        }
        tx.execute_batch(&format!("DROP TABLE IF EXISTS {}; {}", mart.name, mart.table))?;
        tx.execute(
            "INSERT OR REPLACE INTO mart_watermark VALUES (?1, 0, '', ?2)",
            [mart.name, &mart.definition_hash()],
        )?;
        changed.push(mart);
    }
    if !changed.is_empty() {
        rebuild_within(tx, changed, now_ms)?;
    }
    Ok(())
}

fn names(db: &Connection) -> rusqlite::Result<Vec<String>> {
    db.prepare("SELECT mart_name FROM mart_watermark")?.query_map([], |row| row.get(0))?.collect()
}

fn is_current(db: &Connection, mart: &Mart, seq: i64) -> rusqlite::Result<bool> {
    const CURRENT: &str = "SELECT count(*) FROM mart_watermark
        WHERE mart_name = ?1 AND definition_hash = ?2 AND last_event_id <= ?3
          AND EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    let known = params![mart.name, mart.definition_hash(), seq];
    db.query_row(CURRENT, known, |row| row.get(0))
}

pub(crate) fn refresh_within<'a>(
    tx: &mut Transaction<'_>,
    marts: impl IntoIterator<Item = &'a Mart>,
    now_ms: i64,
) -> rusqlite::Result<Refresh> {
    let seq = meta::seq(tx)?;
    let dirty_days = dirty_days(tx)?;
    let mut reports = Vec::new();
    for mart in marts {
        let started = Instant::now();
        // Rolled back unless it is committed.
        let savepoint = tx.savepoint()?;
        let error = match refresh_mart(&savepoint, mart, seq, now_ms) {
            Ok(()) => {
                savepoint.commit()?;
                None
            }
            Err(error) if Failure::of(&error) == Failure::Wrong && !savepoint.is_autocommit() => {
                savepoint.finish()?;
                Some(error)
            }
            Err(error) => return Err(error),
        };
        reports.push(MartRefresh { name: mart.name, duration: started.elapsed(), error });
    }
    Ok(Refresh { seq, marts: reports, dirty_days })
}

fn refresh_mart(db: &Connection, mart: &Mart, seq: i64, now_ms: i64) -> rusqlite::Result<()> {
    const WATERMARK: &str = "SELECT last_event_id FROM mart_watermark WHERE mart_name = ?1";
    const MOVE_WATERMARK: &str = "UPDATE mart_watermark SET last_event_id = ?2, last_refresh_ts =
            strftime('%Y-%m-%dT%H:%M:%S', ?3 / 1000, 'unixepoch') || printf('.%03dZ', ?3 % 1000)
        WHERE mart_name = ?1";
    let watermark: i64 = db.prepare_cached(WATERMARK)?.query_row([mart.name], |row| row.get(0))?;
    let dirty = mart.dirty_table();
    let keys = db.prepare_cached(&mart.collect_sql())?.execute([watermark])?;
    if keys > 0 {
        db.prepare_cached(&mart.over(&dirty, &mart.delete_sql()))?.execute([])?;
        db.prepare_cached(&mart.over(&dirty, &mart.insert_sql()))?.execute([])?;
        db.prepare_cached(&format!("DELETE FROM {dirty}"))?.execute([])?;
    }
    db.prepare_cached(MOVE_WATERMARK)?.execute(params![mart.name, seq, now_ms])?;
    Ok(())
}

/// The days of all cells that some mart has not followed yet.
fn dirty_days(db: &Connection) -> rusqlite::Result<Vec<String>> {
    const DIRTY_DAYS: &str = "SELECT DISTINCT day
        FROM usage_cells INDEXED BY usage_cells_last_event_id
        WHERE last_event_id > (SELECT min(last_event_id) FROM mart_watermark)
        ORDER BY day";
    db.prepare_cached(DIRTY_DAYS)?.query_map([], |row| row.get(0))?.collect()
}

/// Models of calls that no price is known for, and how many calls: the most frequent first.
pub(crate) fn unpriced_models(db: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    const UNPRICED: &str = "SELECT model, sum(unpriced_count) FROM model_day_mart
        WHERE unpriced_count > 0 GROUP BY model ORDER BY 2 DESC, 1 LIMIT 20";
    let mut models = db.prepare_cached(UNPRICED)?;
    models.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
