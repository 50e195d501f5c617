//! The write loop: one task that owns the only connection that writes.
//!
//! Batches reach it through a bounded channel and are committed in the order they came, as many in
//! one transaction as wait. What cannot be stored now is kept and tried again; what never can be
//! ends the loop. The SQL is the ledger's and the marts' business, when to run it is decided here.

mod attempt;
mod histogram;
mod queue;
mod schedule;
mod status;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use usage::Batch;
use usage::pricing::PriceBook;

use crate::connection::{checkpoint, truncate_wal};
use crate::ledger::Ledger;
use crate::{DataDir, Store, StoreError, marts};

use attempt::identity_of;
pub use histogram::Histogram;
pub use queue::JobSender;
use queue::{Jobs, queue};
use schedule::Debounce;
pub use status::{LastError, MartStatus, QueueState, Refreshed, WriterStatus};

/// Rows of one transaction while the writer keeps up, and once work piles up.
const LIVE_ROWS: usize = 500;
const BACKLOG_ROWS: usize = 10_000;

/// How long nothing must have come before the write-ahead log is copied into the database.
const IDLE: Duration = Duration::from_millis(250);
const IDLE_PAGES: i64 = 1000;
/// After how long all of it is copied, however little it is.
const REST: Duration = Duration::from_secs(30);
const MAX_WAL_BYTES: u64 = 64 << 20;

/// How often the writer looks after its files when nothing else wakes it.
const TICK: Duration = Duration::from_secs(5);

/// Something for the writer to do, in the order of sending.
#[derive(Debug)]
pub enum Job {
    /// Store what one read yielded, with its checkpoint.
    Batch(Box<Batch>),
    /// Answer once all jobs before this one are committed and shown by the marts.
    Flush(oneshot::Sender<()>),
    /// Price all events from now on with another book.
    Prices(Arc<PriceBook>),
    /// Drop the checkpoints of these sources. Their rows stay.
    Forget(Vec<i64>),
}

impl Job {
    /// Rows it writes, at most.
    fn rows(&self) -> usize {
        match self {
            Self::Batch(batch) => rows_of(batch),
            _ => 1,
        }
    }
}

/// Its events and its checkpoint.
fn rows_of(batch: &Batch) -> usize {
    batch.events.len() + 1
}

impl From<Batch> for Job {
    fn from(batch: Batch) -> Self {
        Self::Batch(Box::new(batch))
    }
}

/// The writer has ended; nothing is stored any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the writer has ended")]
pub struct Stopped;

/// Gives the writer work and tells its state. The writer ends when the last of its handles and
/// senders is dropped and all they sent is done.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    jobs: JobSender,
    status: watch::Receiver<WriterStatus>,
    refreshed: watch::Receiver<Refreshed>,
}

impl WriterHandle {
    /// Waits while the writer is behind.
    pub async fn send(&self, job: Job) -> Result<(), Stopped> {
        self.jobs.send(job).await
    }

    pub async fn append(&self, batch: Batch) -> Result<(), Stopped> {
        self.send(batch.into()).await
    }

    /// Waits until all that was sent before is committed and shown by the marts.
    pub async fn flush(&self) -> Result<(), Stopped> {
        let (done, flushed) = oneshot::channel();
        self.send(Job::Flush(done)).await?;
        flushed.await.map_err(|_| Stopped)
    }

    pub fn sender(&self) -> JobSender {
        self.jobs.clone()
    }

    pub fn status(&self) -> watch::Receiver<WriterStatus> {
        self.status.clone()
    }

    /// Changes with every refresh.
    pub fn refreshed(&self) -> watch::Receiver<Refreshed> {
        self.refreshed.clone()
    }
}

/// What can happen to the writer.
enum Event {
    Work(Group),
    RefreshDue,
    Idle,
    Rest,
    Tick,
    /// All senders are gone.
    Closed,
}

/// Jobs taken together: batches for one transaction, and at most one other job after them.
#[derive(Default)]
struct Group {
    batches: Vec<Batch>,
    then: Option<Job>,
}

/// The task that writes. Nothing happens before [`Writer::run`].
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    /// Device and inode of the file that was opened.
    file: (u64, u64),
    /// Those of its write-ahead log, when it was last looked at.
    log: Option<(u64, u64)>,
    /// `None` after an error that makes a connection untrustworthy, until the next call.
    db: Option<tokio_rusqlite::Connection>,
    /// `None` while a call has it.
    ledger: Option<Ledger>,
    now_ms: fn() -> i64,
    jobs: Jobs,
    status: watch::Sender<WriterStatus>,
    refreshed: watch::Sender<Refreshed>,
    debounce: Debounce,
    backlog: bool,
    /// When that was heard of which the marts do not show yet.
    unshown: Vec<std::time::Instant>,
    /// The refresh that the status was last brought up to date after.
    looked_at: u64,
    /// Whether it was said that the write-ahead log cannot be shortened.
    wal_is_long: bool,
    /// When to see to the write-ahead log if nothing comes until then.
    idle_at: Option<Instant>,
    /// When to copy the rest of it if nothing comes until then.
    rest_at: Option<Instant>,
    tick_at: Instant,
    pub(crate) tick: Duration,
    pub(crate) rest: Duration,
    _data_dir: DataDir,
}

impl Writer {
    pub(crate) fn new(store: Store) -> Result<(Self, WriterHandle), StoreError> {
        let path = store.path();
        let Store { db, ledger, options, data_dir } = store;
        let now_ms = options.now_ms;
        let io = |source| StoreError::Io { doing: "look at", path: path.clone(), source };
        let file = fs::metadata(&path).map_err(io)?;
        let status = WriterStatus::of(&db, &path)
            .map_err(|error| StoreError::sqlite("read the state", &path, error))?;
        let (jobs_sender, jobs) = queue(options.queue_rows);
        let (status, status_receiver) = watch::channel(status);
        let (refreshed, refreshed_receiver) = watch::channel(Refreshed::default());
        let writer = Self {
            file: identity_of(&file),
            log: None,
            path,
            db: Some(db.into()),
            ledger: Some(ledger),
            now_ms,
            jobs,
            status,
            refreshed,
            debounce: Debounce::new(options.debounce),
            backlog: false,
            unshown: Vec::new(),
            looked_at: 0,
            wal_is_long: false,
            idle_at: None,
            rest_at: None,
            tick_at: Instant::now(),
            tick: TICK,
            rest: REST,
            _data_dir: data_dir,
        };
        let handle = WriterHandle {
            jobs: jobs_sender,
            status: status_receiver,
            refreshed: refreshed_receiver,
        };
        Ok((writer, handle))
    }

    /// The connection, for tests to get in the writer's way.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> Option<tokio_rusqlite::Connection> {
        self.db.clone()
    }

    /// Writes until all senders are gone, then leaves the database tidy. An error means that nothing
    /// can be stored any more: the process should end and be started again.
    pub async fn run(mut self) -> Result<(), StoreError> {
        if self.status.borrow().is_behind() {
            self.debounce.request();
        }
        loop {
            match self.next_event().await {
                Event::Work(group) => self.work(group).await?,
                Event::RefreshDue => self.refresh().await?,
                Event::Idle => self.tidy_wal().await?,
                Event::Rest => self.rest().await?,
                Event::Tick => self.tick().await?,
                Event::Closed => break,
            }
        }
        self.finish().await
    }

    /// Chores that are due go before work, so that no storm puts them off.
    async fn next_event(&mut self) -> Event {
        loop {
            let now = Instant::now();
            let refresh_at = self.debounce.due(now);
            if refresh_at.is_some_and(|at| at <= now) {
                return Event::RefreshDue;
            }
            if self.tick_at <= now {
                return Event::Tick;
            }
            if self.jobs.is_empty() && self.idle_at.take_if(|at| *at <= now).is_some() {
                return Event::Idle;
            }
            if self.jobs.is_empty() && self.rest_at.take_if(|at| *at <= now).is_some() {
                return Event::Rest;
            }
            let others = [refresh_at, self.idle_at, self.rest_at];
            let wake_at = others.into_iter().flatten().fold(self.tick_at, Instant::min);
            tokio::select! {
                biased;
                job = self.jobs.recv() => return match job {
                    Some(job) => Event::Work(self.gather(job)),
                    None => Event::Closed,
                },
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Takes what waits behind a job. Work that piles up is taken in larger groups, which cost less
    /// for each row.
    fn gather(&mut self, first: Job) -> Group {
        let most = if self.backlog { BACKLOG_ROWS } else { LIVE_ROWS };
        let mut group = Group::default();
        let mut rows = 0;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Batch(batch) => {
                    rows += rows_of(&batch);
                    group.batches.push(*batch);
                }
                job => {
                    group.then = Some(job);
                    break;
                }
            }
            if rows >= most {
                break;
            }
            next = self.jobs.try_recv();
        }
        self.backlog = rows >= most && !self.jobs.is_empty();
        group
    }

    async fn work(&mut self, group: Group) -> Result<(), StoreError> {
        if !group.batches.is_empty() {
            self.append(group.batches).await?;
        }
        match group.then {
            Some(Job::Flush(done)) => {
                if self.debounce.is_pending() {
                    self.refresh().await?;
                }
                self.look_around().await?;
                // Whoever asked may have gone since.
                done.send(()).ok();
            }
            Some(Job::Prices(prices)) => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.set_prices(prices);
                }
            }
            Some(Job::Forget(sources)) => {
                let forget = |ledger: &mut Ledger, db: &mut Connection, sources: &mut Vec<i64>| {
                    ledger.forget(db, sources)
                };
                self.attempt("drop checkpoints", sources, forget).await?;
            }
            Some(Job::Batch(_)) | None => {}
        }
        Ok(())
    }

    async fn append(&mut self, batches: Vec<Batch>) -> Result<(), StoreError> {
        let started = Instant::now();
        let appended = self
            .attempt("append events", batches, |ledger, db, batches| ledger.append(db, batches));
        let appended = appended.await?;
        self.status.send_modify(|status| status.committed(&appended, started.elapsed()));
        if appended.tally.changed() {
            self.debounce.request();
        }
        self.unshown.extend(appended.heard);
        self.has_worked(Instant::now());
        Ok(())
    }

    async fn refresh(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        let refresh = self.attempt("refresh the marts", (), |ledger, db, ()| ledger.refresh(db));
        let refresh = refresh.await?;
        let now = Instant::now();
        self.debounce.refreshed(now, now - started);
        self.has_worked(now);
        for mart in &refresh.marts {
            if let Some(error) = &mart.error {
                tracing::error!(mart.name, %error, "a mart cannot be refreshed; trying again");
            }
        }
        let at_ms = (self.now_ms)();
        let heard = std::mem::take(&mut self.unshown);
        self.status.send_modify(|status| status.refreshed(&refresh, now - started, &heard, at_ms));
        let watermarks: Vec<_> =
            self.status.borrow().marts.iter().map(|mart| (mart.name, mart.watermark)).collect();
        self.refreshed.send_modify(|news| {
            *news = Refreshed {
                version: news.version + 1,
                at_ms,
                seq: refresh.seq,
                watermarks,
                dirty_days: refresh.dirty_days.into(),
            };
        });
        Ok(())
    }

    fn has_worked(&mut self, now: Instant) {
        self.idle_at = Some(now + IDLE);
        self.rest_at = Some(now + self.rest);
    }

    /// Copies the write-ahead log into the database while nothing else is to be done.
    async fn tidy_wal(&mut self) -> Result<(), StoreError> {
        self.see_to_wal("checkpoint", |db| {
            let pages = checkpoint(db, "NOOP")?;
            if pages.logged - pages.checkpointed > IDLE_PAGES {
                checkpoint(db, "PASSIVE")?;
            }
            Ok(())
        })
        .await
    }

    /// Nothing came for long: the database file itself holds all there is, for whoever copies it.
    async fn rest(&mut self) -> Result<(), StoreError> {
        self.see_to_wal("checkpoint", |db| checkpoint(db, "PASSIVE").map(|_| ())).await
    }

    async fn see_to_wal(
        &mut self,
        doing: &'static str,
        run: fn(&mut Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let error = self.chore(doing, run).await?.err();
        self.status.send_modify(|status| status.wal_error = error);
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), StoreError> {
        self.tick_at = Instant::now() + self.tick;
        self.require_same_file()?;
        if self.status.borrow().any_mart_failed() {
            self.debounce.request();
        }
        self.look_around().await?;
        self.limit_wal().await
    }

    /// A reader that never lets go keeps the log from being reused; all that helps is to say so.
    async fn limit_wal(&mut self) -> Result<(), StoreError> {
        if self.status.borrow().wal_bytes <= MAX_WAL_BYTES {
            self.wal_is_long = false;
            return Ok(());
        }
        self.see_to_wal("shorten the write-ahead log", |db| truncate_wal(db)).await?;
        self.look_around().await?;
        let bytes = self.status.borrow().wal_bytes;
        if bytes > MAX_WAL_BYTES && !self.wal_is_long {
            tracing::warn!(
                wal.bytes = bytes,
                "a reader keeps the write-ahead log from being reused"
            );
            self.wal_is_long = true;
        }
        Ok(())
    }

    /// Brings the slow-moving parts of the status up to date. Followers are not woken for them.
    async fn look_around(&mut self) -> Result<(), StoreError> {
        let refreshes = self.refreshed.borrow().version;
        let unpriced = if refreshes == self.looked_at {
            None
        } else {
            self.looked_at = refreshes;
            self.chore("read unpriced models", |db| marts::unpriced_models(db)).await?.ok()
        };
        self.status.send_if_modified(|status| {
            status.measure_files(&self.path);
            status.beat();
            if let Some(unpriced) = unpriced {
                status.unpriced = unpriced.into();
            }
            false
        });
        Ok(())
    }

    async fn finish(mut self) -> Result<(), StoreError> {
        if self.debounce.is_pending() {
            self.refresh().await?;
        }
        self.see_to_wal("empty the write-ahead log", |db| truncate_wal(db)).await?;
        self.disconnect().await;
        Ok(())
    }
}
