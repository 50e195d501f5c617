//! What the writer tells about itself, so that health and metrics never have to ask the database.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;

use crate::connection::file_len;
use crate::data_dir::beside;
use crate::events::Tally;
use crate::marts::{self, MartRefresh, Refresh};
use crate::meta;

/// The writer at one moment.
#[derive(Clone, Debug, Default)]
pub struct WriterStatus {
    /// The newest position in the log of events.
    pub seq: i64,
    pub epoch: i64,
    /// In alphabetical order.
    pub marts: Vec<MartStatus>,
    /// What was done to events since the start.
    pub tally: Tally,
    /// When events were last committed; `None` before the first time since the start.
    pub last_commit: Option<Instant>,
    pub queue: QueueState,
    /// Why the last look after the write-ahead log failed. It grows until one succeeds.
    pub wal_error: Option<String>,
    pub db_bytes: u64,
    pub wal_bytes: u64,
    /// Models of calls that no price is known for, and how many calls: the most frequent first.
    pub unpriced: Arc<[(String, i64)]>,
    /// When the writer last turned over.
    pub heartbeat: Option<Instant>,
}

/// One mart as the writer sees it.
#[derive(Clone, Debug, Default)]
pub struct MartStatus {
    pub name: &'static str,
    /// The position that the mart is correct up to.
    pub watermark: i64,
    /// When it was last refreshed; `None` before the first time since the start.
    pub last_refresh_ms: Option<i64>,
    pub last_duration_us: u64,
    /// How often, and how long in all, since the start.
    pub refreshes: u64,
    pub total_duration_us: u64,
    /// Why the last refresh left it as it was.
    pub error: Option<String>,
}

/// Whether what arrives can be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueueState {
    #[default]
    Flowing,
    /// The same work is tried again until it succeeds; nothing is lost meanwhile.
    Retrying { since: Instant, attempts: u64, error: String },
}

/// The news of a refresh.
#[derive(Clone, Debug, Default)]
pub struct Refreshed {
    /// How many refreshes there were since the start.
    pub version: u64,
    pub at_ms: i64,
    pub seq: i64,
    /// Mart and watermark, in alphabetical order.
    pub watermarks: Vec<(&'static str, i64)>,
    /// The days on which anything changed.
    pub dirty_days: Arc<[String]>,
}

impl WriterStatus {
    /// The state of a database just opened.
    pub(crate) fn of(db: &Connection, path: &Path) -> rusqlite::Result<Self> {
        const WATERMARK: &str = "SELECT last_event_id FROM mart_watermark WHERE mart_name = ?1";
        let mut watermark = db.prepare(WATERMARK)?;
        let marts = marts::ALL.iter().map(|mart| {
            let watermark = watermark.query_row([mart.name], |row| row.get(0))?;
            Ok(MartStatus { name: mart.name, watermark, ..MartStatus::default() })
        });
        let mut status = Self {
            seq: meta::seq(db)?,
            epoch: meta::epoch(db)?,
            marts: marts.collect::<rusqlite::Result<_>>()?,
            unpriced: marts::unpriced_models(db)?.into(),
            ..Self::default()
        };
        status.measure_files(path);
        status.beat();
        Ok(status)
    }

    pub(crate) fn measure_files(&mut self, path: &Path) {
        self.db_bytes = file_len(path);
        self.wal_bytes = file_len(&beside(path, "-wal"));
    }

    /// The writer turns over.
    pub(crate) fn beat(&mut self) {
        self.heartbeat = Some(Instant::now());
    }

    pub(crate) fn committed(&mut self, tally: Tally, seq: i64) {
        self.tally.add(tally);
        self.seq = seq;
        self.beat();
        self.last_commit = self.heartbeat;
    }

    pub(crate) fn refreshed(&mut self, refresh: &Refresh, now_ms: i64) {
        for report in &refresh.marts {
            if let Some(mart) = self.marts.iter_mut().find(|mart| mart.name == report.name) {
                mart.refreshed(report, refresh.seq, now_ms);
            }
        }
        self.beat();
    }

    /// Whether the database was closed before its last events were in the marts.
    pub(crate) fn is_behind(&self) -> bool {
        self.marts.iter().any(|mart| mart.watermark < self.seq)
    }

    /// Whether a mart waits for another attempt.
    pub(crate) fn any_mart_failed(&self) -> bool {
        self.marts.iter().any(|mart| mart.error.is_some())
    }
}

impl MartStatus {
    fn refreshed(&mut self, report: &MartRefresh, seq: i64, now_ms: i64) {
        self.last_duration_us = u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX);
        self.total_duration_us += self.last_duration_us;
        self.refreshes += 1;
        self.error = report.error.as_ref().map(ToString::to_string);
        if self.error.is_none() {
            self.watermark = seq;
            self.last_refresh_ms = Some(now_ms);
        }
    }
}
