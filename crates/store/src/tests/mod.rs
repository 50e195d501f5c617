//! Tests of the whole store, and what they share.

mod append;
mod asking;
mod backup;
mod damage;
mod export;
mod histories;
mod open;
mod oracle;
mod plans;
mod reading;
mod reports;
mod reprice;
mod work;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::ProptestConfig;
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;
use usage::pricing::PriceBook;
use usage::{Batch, Checkpoint, EventKey, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};

use crate::ledger::Ledger;
use crate::zone::Zone;
use crate::{DataDir, Options, Store, connection, meta, migrate};

/// 2026-05-28T20:26:40Z.
const NOW_MS: i64 = 1_780_000_000_000;

const HOUR_MS: i64 = 3_600_000;

/// How many cases: `PROPTEST_CASES` says otherwise. A failure prints its case; no file is left.
fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn options() -> Options {
    Options {
        now_ms: || NOW_MS,
        time_zone: None,
        system_time_zone: "UTC".into(),
        prices: Arc::new(PriceBook::builtin()),
        debounce: Duration::from_millis(100),
        queue_rows: 64,
    }
}

/// A data directory of its own, and its store.
struct Home {
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn database(&self) -> PathBuf {
        self.data_dir().join("tallyd.db")
    }

    fn open(&self) -> Store {
        self.open_with(options()).unwrap()
    }

    fn open_with(&self, options: Options) -> Result<Store, crate::StoreError> {
        crate::open(DataDir::lock(&self.data_dir()).unwrap(), options)
    }
}

/// A database in memory, with all that the writer has.
pub(crate) struct Memory {
    pub(crate) db: Connection,
    pub(crate) ledger: Ledger,
}

impl Memory {
    pub(crate) fn new(zone: &str) -> Self {
        let mut db = Connection::open_in_memory().unwrap();
        connection::configure_writer(&db).unwrap();
        migrate::migrate(&mut db, Path::new(":memory:"), 0, NOW_MS).unwrap();
        meta::set(&db, meta::TIME_ZONE, zone).unwrap();
        let prices = Arc::new(PriceBook::builtin());
        let ledger = Ledger::new(Zone::new(zone).unwrap(), prices, || NOW_MS);
        Self { db, ledger }
    }
}

/// A call with nothing special about it.
pub(crate) fn event(key: &str) -> UsageEvent {
    UsageEvent {
        key: EventKey::new(key),
        provider: "codex".into(),
        role: Role::Assistant,
        ts_ms: NOW_MS,
        copy_rank: 0,
        owner: Owner {
            session_id: "s1".into(),
            project: "/home/ada/engine".into(),
            is_sidechain: false,
            account: None,
            agent: None,
            client: None,
            source_id: 1,
        },
        usage: Usage {
            model: "gpt-5.5".into(),
            speed: Speed::Standard,
            tokens: Tokens { input: 100, output: 10, ..Tokens::default() },
            web_search_requests: 0,
            vendor: None,
            tier: None,
            geo: None,
            logged_cost_nanousd: None,
            flags: Flags::default(),
        },
        parser_version: 1,
    }
}

fn prompt(key: &str) -> UsageEvent {
    let mut event = event(key);
    event.role = Role::User;
    event.usage.model = "".into();
    event.usage.tokens = Tokens::default();
    event
}

fn checkpoint(source_id: i64) -> Checkpoint {
    let path = format!("/logs/{source_id}.jsonl");
    Checkpoint::at_start(source_id, "codex", path.into(), 1)
}

pub(crate) fn batch(events: impl IntoIterator<Item = UsageEvent>) -> Batch {
    Batch {
        events: events.into_iter().collect(),
        retracted: Vec::new(),
        withdrawn: Vec::new(),
        checkpoint: checkpoint(1),
        bytes: 0,
        lines: 0,
        complete: false,
        restates: false,
        amends: false,
        heard: None,
    }
}

/// A read that moved a checkpoint and nothing else.
fn batch_with(checkpoint: Checkpoint) -> Batch {
    Batch { checkpoint, ..batch([]) }
}

/// All rows of a query, each value as SQLite gives it.
fn rows(db: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = db.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// One value of a query.
fn value<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> T {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}
