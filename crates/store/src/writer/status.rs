//! What the writer tells about itself, so that health and metrics never have to ask the database.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::connection::file_len;
use crate::data_dir::{beside, disk_free};
use crate::events::{Appended, Tally};
use crate::marts::{self, MartRefresh, Refresh};
use crate::meta;

use super::histogram::Histogram;

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
    /// The same by provider.
    pub providers: BTreeMap<String, Tally>,
    /// From the first word of what was written to the commit of the refresh that shows it in all
    /// marts. What only a sweep found has no such time.
    pub freshness: Histogram,
    /// How long the transactions took that append, and those that refresh all marts.
    pub appends: Histogram,
    pub refreshes: Histogram,
    /// When events were last committed; `None` before the first time since the start.
    pub last_commit: Option<Instant>,
    pub queue: QueueState,
    /// How often something could not be stored and was tried again, and why the last time.
    pub failures: u64,
    pub last_error: Option<LastError>,
    /// Why the last look after the write-ahead log failed. It grows until one succeeds.
    pub wal_error: Option<String>,
    pub db_bytes: u64,
    pub wal_bytes: u64,
    /// Room left for the database on its disk; `None` where the system does not say.
    pub disk_free_bytes: Option<u64>,
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
    /// How many refreshes did, and why the last of them.
    pub failures: u64,
    pub last_error: Option<LastError>,
}

/// Something that went wrong, be it over or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    pub error: String,
    pub at_ms: i64,
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
        self.disk_free_bytes = disk_free(path);
    }

    /// The writer turns over.
    pub(crate) fn beat(&mut self) {
        self.heartbeat = Some(Instant::now());
    }

    pub(crate) fn committed(&mut self, appended: &Appended, took: Duration) {
        self.tally.add(appended.tally);
        for (provider, tally) in &appended.providers {
            self.providers.entry(provider.clone()).or_default().add(*tally);
        }
        self.seq = appended.seq;
        self.appends.observe(took);
        self.beat();
        self.last_commit = self.heartbeat;
    }

    /// A refresh shows what was `heard` of at these times, unless some mart failed: then there is no
    /// saying when all of them will.
    pub(crate) fn refreshed(
        &mut self,
        refresh: &Refresh,
        took: Duration,
        heard: &[Instant],
        now_ms: i64,
    ) {
        for report in &refresh.marts {
            if let Some(mart) = self.marts.iter_mut().find(|mart| mart.name == report.name) {
                mart.refreshed(report, refresh.seq, now_ms);
            }
        }
        self.beat();
        self.refreshes.observe(took);
        if !self.any_mart_failed() {
            heard.iter().for_each(|heard| self.freshness.observe(heard.elapsed()));
        }
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
        if let Some(error) = &self.error {
            self.failures += 1;
            self.last_error = Some(LastError { error: error.clone(), at_ms: now_ms });
        } else {
            self.watermark = seq;
            self.last_refresh_ms = Some(now_ms);
        }
    }
}
