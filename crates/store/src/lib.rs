//! The SQLite file: events appended once each, cells and marts kept exact beside them.
//!
//! [`open`] gives a [`Store`]; it becomes the one [`Writer`], everyone else holds a [`Reader`].
//! Nothing here knows a provider, watches a file or looks up the time or the environment: the lock,
//! the clock, the time zone and the prices are handed in.

mod backup;
mod blocks;
mod cells;
mod check;
mod checkpoints;
mod connection;
mod data_dir;
mod error;
mod event_query;
mod events;
mod export;
mod extras;
mod filter;
mod ledger;
mod mart_query;
pub mod marts;
mod meta;
mod migrate;
mod news;
mod projects;
mod reader;
mod recompute;
mod report;
mod reprice;
mod restore;
mod row;
mod so_far;
mod writer;
mod zone;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use usage::Batch;
use usage::pricing::PriceBook;

pub use backup::{Backup, BackupError, BackupStep};
pub use blocks::{BLOCK_MS, Block, Burn};
pub use check::{CheckReport, Finding};
pub use data_dir::{DataDir, Filesystem, disk_free, filesystem, is_remote};
pub use error::{Fault, LockError, StoreError};
pub use event_query::{EventPage, EventQuery};
pub use events::{Appended, Tally};
pub use export::{ExportError, ExportSink, Exported, Field};
pub use filter::Filter;
pub use mart_query::{MartPage, MartQuery, Order};
pub use marts::{Mart, MartRefresh, Refresh};
pub use news::{Moment, News};
pub use reader::{
    Project, ProviderTotals, ProviderUsage, ProvidersUsage, ReadError, Reader, Watermark,
};
pub use report::{Dimension, Figures, Report, ReportQuery, ReportRow, SessionFacts, SortBy};
pub use reprice::{Repriced, Which};
pub use restore::{Candidate, Contents, RestoreError, Restored, backups, restore};
pub use writer::{
    Histogram, Job, JobSender, LastError, MartStatus, QueueState, Refreshed, Stopped, Writer,
    WriterHandle, WriterStatus,
};

use connection::Failure;
use data_dir::beside;
use ledger::Ledger;
use zone::Zone;

/// What the store is told instead of looking it up.
#[derive(Clone, Debug)]
pub struct Options {
    /// UTC milliseconds.
    pub now_ms: fn() -> i64,
    /// The configured time zone; it replaces the one the database was made with.
    pub time_zone: Option<String>,
    /// Taken when the database is made and none is configured.
    pub system_time_zone: String,
    pub prices: Arc<PriceBook>,
    /// After a refresh, the next one waits this long.
    pub debounce: Duration,
    /// Rows that wait for the writer before senders do.
    pub queue_rows: u32,
}

/// An open database and the right to write to it.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    ledger: Ledger,
    options: Options,
    data_dir: DataDir,
}

/// The version of SQLite that is built in, unless it has a fault that can lose rows.
pub fn sqlite_version() -> Result<&'static str, StoreError> {
    connection::check_version(rusqlite::version_number())?;
    Ok(rusqlite::version())
}

/// Opens the database of a data directory: creates or migrates it, and brings mart definitions and
/// time zone up to date.
pub fn open(data_dir: DataDir, options: Options) -> Result<Store, StoreError> {
    let database = data_dir.database();
    match prepare(&database, &options) {
        Ok((db, zone)) => {
            let ledger = Ledger::new(zone, Arc::clone(&options.prices), options.now_ms);
            Ok(Store { db, ledger, options, data_dir })
        }
        Err(StoreError::Sqlite { source, .. })
            if Failure::of(&source) == Failure::Damaged && connection::is_damaged(&database) =>
        {
            let aside = connection::set_aside(&database, (options.now_ms)())?;
            Err(StoreError::Damaged { aside, detail: source.to_string() })
        }
        Err(error) => Err(error),
    }
}

fn prepare(database: &Path, options: &Options) -> Result<(Connection, Zone), StoreError> {
    let sqlite = |doing| move |error| StoreError::sqlite(doing, database, error);
    let now_ms = (options.now_ms)();
    connection::check_version(rusqlite::version_number())?;
    connection::create_private(database)?;
    let schema = migrate::schema_of(database)?;
    let unclean = connection::file_len(&beside(database, "-wal")) > 0;
    let mut db = connection::open_writer(database).map_err(sqlite("open the database"))?;
    if unclean {
        connection::require_sound(&db).map_err(sqlite("check the database"))?;
    }
    migrate::migrate(&mut db, database, schema, now_ms)?;
    let zone = adopt_zone(&mut db, database, options)?;
    // Another connection for the work to come: the memory that building took goes with the first.
    drop(db);
    let db = connection::open_writer(database).map_err(sqlite("open the database"))?;
    Ok((db, zone))
}

/// The time zone that days are counted in: the configured one, else the one the database has.
fn adopt_zone(db: &mut Connection, database: &Path, options: &Options) -> Result<Zone, StoreError> {
    let sqlite = |doing| move |error| StoreError::sqlite(doing, database, error);
    let stored: Option<String> =
        meta::get(db, meta::TIME_ZONE).map_err(sqlite("read the time zone"))?;
    let configured = options.time_zone.as_ref();
    let name = configured.or(stored.as_ref()).unwrap_or(&options.system_time_zone);
    let zone = Zone::new(name)?;
    match stored {
        None => meta::set(db, meta::TIME_ZONE, name).map_err(sqlite("store the time zone"))?,
        Some(stored) if stored != *name => {
            ledger::change_zone(db, zone.clone(), (options.now_ms)())
                .map_err(sqlite("change the time zone"))?;
        }
        Some(_) => {}
    }
    Ok(zone)
}

impl Store {
    pub fn path(&self) -> PathBuf {
        self.data_dir.database()
    }

    /// The name of the zone that days are counted in.
    pub fn time_zone(&self) -> &str {
        self.ledger.time_zone()
    }

    pub fn reader(&self) -> Result<Reader, ReadError> {
        Reader::open(self.data_dir.path())
    }

    /// Stores batches, each with its checkpoint, in one transaction.
    pub fn append(&mut self, batches: &mut [Batch]) -> Result<Appended, StoreError> {
        let appended = self.ledger.append(&mut self.db, batches);
        appended.map_err(|error| self.error("append events", error))
    }

    /// Brings all marts up to the newest event.
    pub fn refresh(&mut self) -> Result<Refresh, StoreError> {
        let refreshed = self.ledger.refresh(&mut self.db);
        refreshed.map_err(|error| self.error("refresh the marts", error))
    }

    /// Starts the given marts over.
    pub fn rebuild(&mut self, marts: &[&Mart]) -> Result<Refresh, StoreError> {
        let rebuilt = self.ledger.rebuild(&mut self.db, marts);
        rebuilt.map_err(|error| self.error("rebuild the marts", error))
    }

    /// Starts all marts over, and the cells before them.
    pub fn rebuild_all(&mut self) -> Result<Refresh, StoreError> {
        let rebuilt = self.ledger.rebuild_all(&mut self.db);
        rebuilt.map_err(|error| self.error("rebuild cells and marts", error))
    }

    /// Applies the price book to stored calls, then brings the marts up to that. Whatever ends it
    /// early, the database is sound and the same work done again finishes it. `tell` hears of each
    /// step, with the share of the log that was looked at.
    pub fn reprice(
        &mut self,
        which: &Which,
        mut tell: impl FnMut(&Repriced, f64),
    ) -> Result<Repriced, StoreError> {
        let mut repriced = Repriced::default();
        let end = meta::seq(&self.db).map_err(|error| self.error("read the position", error))?;
        let mut reached = 0;
        while reached < end {
            let step = self.ledger.reprice(&mut self.db, which, (reached, end), &mut repriced);
            reached = step.map_err(|error| self.error("price events anew", error))?;
            tell(&repriced, reached as f64 / end as f64);
        }
        let refreshed = self.ledger.refresh(&mut self.db).and_then(Refresh::strict);
        refreshed.map_err(|error| self.error("refresh the marts", error))?;
        Ok(repriced)
    }

    /// The writer, to be run as a task, and the handle through which it is given work.
    pub fn into_writer(self) -> Result<(Writer, WriterHandle), StoreError> {
        Writer::new(self)
    }

    fn error(&self, doing: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::sqlite(doing, &self.path(), error)
    }
}
