//! The queries behind commands and HTTP, on connections that cannot write.
//!
//! Each query sees one moment of the database and gives up after two seconds: a snapshot held longer
//! would keep the write-ahead log from being reused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::civil::Date;
use rusqlite::{Connection, ErrorCode, Transaction};
use usage::{Checkpoint, Skips};

use crate::check::{self, CheckReport};
use crate::connection::{Failure, awaiting_restore, open_reader, verdict};
use crate::data_dir::database_in;
use crate::event_query::{self, EventPage, EventQuery};
use crate::mart_query::{self, MartPage, MartQuery};
use crate::news::{self, Moment, News};
use crate::report::{self, Figures};
use crate::zone::Zone;
use crate::{Fault, StoreError, checkpoints, marts, meta, migrate};

const DEADLINE: Duration = Duration::from_secs(2);

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(
        "there is no database in {} yet\n\
         hint: start the service, or run `tallyd backfill` once",
        data_dir.display()
    )]
    Missing { data_dir: PathBuf },
    #[error(
        "{} was written by an older tallyd\n\
         hint: start the service once, it brings the database up to date",
        path.display()
    )]
    OldSchema { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read {}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error(
        "{} is damaged: {source}\n\
         hint: stop the service and put a backup in its place: `tallyd restore` lists them",
        path.display()
    )]
    Damaged { path: PathBuf, source: rusqlite::Error },
    #[error("the query took longer than {} s", DEADLINE.as_secs())]
    TooSlow,
    #[error("{value:?} is not a day\nhint: write it as 2026-05-31")]
    BadDay { value: String },
    #[error("{value:?} is not a cursor that an earlier page ended with")]
    BadCursor { value: String },
    #[error("there is no {kind} {value:?} in what was counted\nhint: {}", offer(known, *more))]
    Unknown {
        kind: &'static str,
        value: String,
        /// Names that there are, the likeliest.
        known: Vec<String>,
        /// How many others there are.
        more: usize,
    },
    #[error("the {mart} mart does not tell {filter}s apart")]
    NoSuchFilter { mart: &'static str, filter: &'static str },
    #[error("the {mart} mart has no column {column:?}")]
    NoSuchColumn { mart: &'static str, column: String, columns: Vec<&'static str> },
}

fn offer(known: &[String], more: usize) -> String {
    // A name from a log may hold anything; a line break would look like another hint.
    let names = known.join(", ").replace('\n', "\u{fffd}");
    match more {
        _ if known.is_empty() => "nothing was counted yet".to_owned(),
        0 => format!("there is: {names}"),
        more => format!("there is: {names} and {more} more"),
    }
}

impl ReadError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Fatal,
        }
    }

    /// Whether the question itself was at fault.
    pub fn is_bad_question(&self) -> bool {
        matches!(
            self,
            Self::BadDay { .. }
                | Self::BadCursor { .. }
                | Self::NoSuchFilter { .. }
                | Self::NoSuchColumn { .. }
                | Self::Unknown { .. }
        )
    }
}

/// What is counted of one provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderUsage {
    pub provider: String,
    pub figures: Figures,
    pub user_message_count: i64,
    /// Time of the newest event that does not lie in the future.
    pub newest_ts_ms: Option<i64>,
}

/// What the marts show of all providers.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvidersUsage {
    pub providers: Vec<ProviderUsage>,
    /// The position in the log of events that this is correct up to.
    pub watermark: i64,
    pub epoch: i64,
}

/// What is known of one provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderTotals {
    pub usage: ProviderUsage,
    /// Sources with a checkpoint.
    pub sources: u64,
    /// Sources whose last read failed.
    pub failing: u64,
    pub lines: u64,
    pub skips: Skips,
}

/// How far a mart is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    pub mart: String,
    pub last_event_id: i64,
    pub last_refresh_ts: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: i64,
    pub path: String,
    pub display_name: String,
}

/// A connection that can only read. Made for one thread at a time.
#[derive(Debug)]
pub struct Reader {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
    deadline: Deadline,
    pub(crate) patience: Duration,
}

impl Reader {
    /// Opens the database of a data directory, whether or not a service is running on it.
    pub fn open(data_dir: &Path) -> Result<Self, ReadError> {
        let path = database_in(data_dir);
        if !path.exists() {
            let io = |source| StoreError::Io { doing: "look beside", path: path.clone(), source };
            return Err(match awaiting_restore(&path).map_err(io)? {
                Some(aside) => {
                    StoreError::Damaged { aside, detail: "not restored yet".into() }.into()
                }
                None => ReadError::Missing { data_dir: data_dir.into() },
            });
        }
        let damaged = |error| match error {
            StoreError::Sqlite { source, .. } if Failure::of(&source) == Failure::Damaged => {
                ReadError::Damaged { path: path.clone(), source }
            }
            error => error.into(),
        };
        match migrate::schema_of(&path).map_err(damaged)? {
            // Made, but nothing is in it: a first start has not come further yet, or never will.
            0 => return Err(ReadError::Missing { data_dir: data_dir.into() }),
            schema if schema < migrate::known() => return Err(ReadError::OldSchema { path }),
            _ => {}
        }
        let sqlite = |source| ReadError::Sqlite { path: path.clone(), source };
        let db = open_reader(&path).map_err(sqlite)?;
        let deadline = Deadline::default();
        db.progress_handler(1000, Some(deadline.handler())).map_err(sqlite)?;
        Ok(Self { db, path, deadline, patience: DEADLINE })
    }

    pub fn mart(&self, query: &MartQuery) -> Result<MartPage, ReadError> {
        let zone = Zone::new(&self.time_zone()?)?;
        self.read(|db| mart_query::page(db, query, &zone))?
    }

    /// Single calls and prompts, the newest first.
    pub fn events(&self, query: &EventQuery) -> Result<EventPage, ReadError> {
        let zone = Zone::new(&self.time_zone()?)?;
        self.read(|db| event_query::page(db, query, &zone))?
    }

    /// The marts, and what changed in them since an earlier moment.
    pub fn news(&self, since: Option<Moment>, now_ms: i64) -> Result<News, ReadError> {
        let today = self.day(now_ms)?;
        self.read(|db| news::news(db, since, today))?
    }

    /// What is known of each provider. Times after `now_ms` by more than two days are not believed.
    pub fn providers(&self, now_ms: i64) -> Result<Vec<ProviderTotals>, ReadError> {
        let last_day = self.last_day(now_ms)?;
        self.read(|db| provider_totals(db, &last_day))
    }

    /// What is counted of each provider, without a look at its sources.
    pub fn usage_by_provider(&self, now_ms: i64) -> Result<ProvidersUsage, ReadError> {
        const WATERMARK: &str =
            "SELECT last_event_id FROM mart_watermark WHERE mart_name = 'provider_day_mart'";
        let last_day = self.last_day(now_ms)?;
        self.read(|db| {
            Ok(ProvidersUsage {
                providers: provider_usage(db, &last_day)?,
                watermark: db.query_row(WATERMARK, [], |row| row.get(0))?,
                epoch: meta::epoch(db)?,
            })
        })
    }

    /// The last one that is believed.
    fn last_day(&self, now_ms: i64) -> Result<Arc<str>, ReadError> {
        Ok(Zone::new(&self.time_zone()?)?.day(now_ms.saturating_add(2 * 86_400_000)))
    }

    /// How far each source was read.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, ReadError> {
        self.read(checkpoints::all)
    }

    /// Provider and path of each source that was read.
    pub fn sources(&self) -> Result<Vec<(String, PathBuf)>, ReadError> {
        self.read(checkpoints::sources)
    }

    pub fn watermarks(&self) -> Result<Vec<Watermark>, ReadError> {
        self.read(watermarks)
    }

    pub fn projects(&self) -> Result<Vec<Project>, ReadError> {
        const PROJECTS: &str = "SELECT id, path, display_name FROM projects ORDER BY id";
        self.read(|db| {
            let mut projects = db.prepare_cached(PROJECTS)?;
            let rows = projects.query_map([], |row| {
                Ok(Project { id: row.get(0)?, path: row.get(1)?, display_name: row.get(2)? })
            })?;
            rows.collect()
        })
    }

    /// Models of calls that no price is known for, and how many calls.
    pub fn unpriced_models(&self) -> Result<Vec<(String, i64)>, ReadError> {
        self.read(marts::unpriced_models)
    }

    /// Models of calls whose price is an estimate, and how many calls, the most first. Looks at every
    /// row: no table counts them.
    pub fn estimated_models(&self) -> Result<Vec<(String, i64)>, ReadError> {
        const ESTIMATED: &str = "SELECT model, count(*) FROM usage_events
            WHERE other_cost_source = 'estimated' GROUP BY model ORDER BY 2 DESC, 1";
        self.read(|db| {
            let mut models = db.prepare_cached(ESTIMATED)?;
            models.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// The newest position in the log of events.
    pub fn seq(&self) -> Result<i64, ReadError> {
        self.read(meta::seq)
    }

    /// Grows whenever rows change without new positions.
    pub fn epoch(&self) -> Result<i64, ReadError> {
        self.read(meta::epoch)
    }

    /// The name of the zone that days are counted in.
    pub fn time_zone(&self) -> Result<String, ReadError> {
        Ok(self.read(|db| meta::get(db, meta::TIME_ZONE))?.unwrap_or_else(|| "UTC".into()))
    }

    /// The day of a time, UTC milliseconds, in the zone that days are counted in.
    pub fn day(&self, ts_ms: i64) -> Result<Date, ReadError> {
        let day = Zone::new(&self.time_zone()?)?.day(ts_ms);
        day.parse().map_err(|_| ReadError::BadDay { value: day.to_string() })
    }

    /// Compares everything derived with what it is derived from, without a deadline. At most
    /// `max_findings` differences are described; all are counted.
    pub fn check(&self, max_findings: usize) -> Result<CheckReport, ReadError> {
        let mut zone = Zone::new(&self.time_zone()?)?;
        let moment = self.moment()?;
        check::check(&moment, &mut zone, max_findings).map_err(|source| self.error(source))
    }

    /// Whether the file's structure is sound: a look at every page, without a deadline.
    pub fn quick_check(&self) -> Result<(), ReadError> {
        let moment = self.moment()?;
        verdict(&moment, "quick_check(1)").map_err(|source| self.error(source))
    }

    /// The time of the newest event, UTC milliseconds, be it believed or not.
    pub fn newest_ts_ms(&self) -> Result<Option<i64>, ReadError> {
        self.read(|db| db.query_row("SELECT max(ts_ms) FROM usage_events", [], |row| row.get(0)))
    }

    /// One moment of the database, for as long as it is looked at.
    pub(crate) fn moment(&self) -> Result<Transaction<'_>, ReadError> {
        self.deadline.lift();
        self.db.unchecked_transaction().map_err(|source| self.error(source))
    }

    /// Runs a query that sees one moment of the database.
    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        self.deadline.set(self.patience);
        let read = || {
            let moment = self.db.unchecked_transaction()?;
            query(&moment)
        };
        read().map_err(|source| self.error(source))
    }

    pub(crate) fn error(&self, source: rusqlite::Error) -> ReadError {
        if source.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
            return ReadError::TooSlow;
        }
        if Failure::of(&source) == Failure::Damaged {
            return ReadError::Damaged { path: self.path.clone(), source };
        }
        ReadError::Sqlite { path: self.path.clone(), source }
    }
}

/// When the running query has to give up, in milliseconds since `start`; 0 is never.
#[derive(Clone, Debug)]
struct Deadline {
    start: Instant,
    at_ms: Arc<AtomicU64>,
}

impl Default for Deadline {
    fn default() -> Self {
        Self { start: Instant::now(), at_ms: Arc::default() }
    }
}

impl Deadline {
    fn set(&self, after: Duration) {
        self.at_ms.store(millis(self.start.elapsed() + after), Ordering::Relaxed);
    }

    fn lift(&self) {
        self.at_ms.store(0, Ordering::Relaxed);
    }

    /// Answers SQLite's question whether to stop.
    fn handler(&self) -> impl FnMut() -> bool + Send + 'static {
        let Self { start, at_ms } = self.clone();
        move || {
            let at_ms = at_ms.load(Ordering::Relaxed);
            at_ms > 0 && millis(start.elapsed()) > at_ms
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn watermarks(db: &Connection) -> rusqlite::Result<Vec<Watermark>> {
    const WATERMARKS: &str =
        "SELECT mart_name, last_event_id, last_refresh_ts FROM mart_watermark ORDER BY mart_name";
    let mut watermarks = db.prepare_cached(WATERMARKS)?;
    let rows = watermarks.query_map([], |row| {
        Ok(Watermark {
            mart: row.get(0)?,
            last_event_id: row.get(1)?,
            last_refresh_ts: row.get(2)?,
        })
    })?;
    rows.collect()
}

fn provider_usage(db: &Connection, last_day: &str) -> rusqlite::Result<Vec<ProviderUsage>> {
    const USAGE: &str = "
        WITH sums AS (
            SELECT provider, sum(message_count), sum(input_tokens), sum(output_tokens),
                sum(cache_read_tokens), sum(cache_create_tokens), sum(cost_nanousd),
                sum(unpriced_count), sum(user_message_count),
                max(day) FILTER (WHERE day <= ?1) AS newest_day
            FROM provider_day_mart GROUP BY provider)
        SELECT sums.*, (
            SELECT max(last_ts_ms) FROM usage_cells
            WHERE day = newest_day AND usage_cells.provider = sums.provider
                AND message_count + user_message_count > 0)
        FROM sums ORDER BY provider";
    let mut usage = db.prepare_cached(USAGE)?;
    let usage = usage.query_map([last_day], |row| {
        Ok(ProviderUsage {
            provider: row.get(0)?,
            figures: report::figures(row, 1)?,
            user_message_count: row.get(8)?,
            newest_ts_ms: row.get(10)?,
        })
    })?;
    usage.collect()
}

fn provider_totals(db: &Connection, last_day: &str) -> rusqlite::Result<Vec<ProviderTotals>> {
    let usage = provider_usage(db, last_day)?.into_iter();
    let mut totals: Vec<_> =
        usage.map(|usage| ProviderTotals { usage, ..ProviderTotals::default() }).collect();
    add_sources(db, &mut totals)?;
    Ok(totals)
}

/// A provider may have sources before it has any event.
fn add_sources(db: &Connection, totals: &mut Vec<ProviderTotals>) -> rusqlite::Result<()> {
    const SOURCES: &str = "SELECT provider, skips, lines, last_error IS NOT NULL
        FROM source_checkpoint ORDER BY provider";
    let mut sources = db.prepare_cached(SOURCES)?;
    let mut rows = sources.query([])?;
    while let Some(row) = rows.next()? {
        let provider = row.get_ref(0)?.as_str()?;
        let place = match totals.binary_search_by(|of| of.usage.provider.as_str().cmp(provider)) {
            Ok(place) => place,
            Err(place) => {
                let usage = ProviderUsage { provider: provider.into(), ..Default::default() };
                totals.insert(place, ProviderTotals { usage, ..Default::default() });
                place
            }
        };
        let known = &mut totals[place];
        known.sources += 1;
        known.failing += u64::from(row.get::<_, bool>(3)?);
        known.lines += row.get::<_, i64>(2)?.cast_unsigned();
        known.skips.merge(&checkpoints::skips_of_json(row.get_ref(1)?.as_str()?));
    }
    Ok(())
}
