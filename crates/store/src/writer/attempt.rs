//! Running one piece of work on the connection, and what to do when it fails.
//!
//! Work is handed to the connection's thread and handed back with the outcome, so that the very same
//! work can be tried again. A panic there ends the writer: what it left half done in memory is not
//! to be trusted.

use std::any::Any;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::time::sleep;

use super::schedule::Backoff;
use super::{LastError, QueueState, Writer};
use crate::StoreError;
use crate::connection::{self, Failure};
use crate::data_dir::beside;
use crate::ledger::Ledger;

/// Waits are cut into slices, each of which shows that the writer is alive.
const SLICE: Duration = Duration::from_secs(1);

/// A piece of work: it changes all it is meant to, or nothing.
type Run<W, T> = fn(&mut Ledger, &mut Connection, &mut W) -> rusqlite::Result<T>;

impl Writer {
    /// Does work until it succeeds, however long the disk is full or the file locked.
    pub(crate) async fn attempt<W: Send + 'static, T: Send + 'static>(
        &mut self,
        doing: &'static str,
        mut work: W,
        run: Run<W, T>,
    ) -> Result<T, StoreError> {
        let mut backoff = Backoff::default();
        loop {
            let (returned, outcome) = self.call(work, run).await?;
            work = returned;
            let error = match outcome {
                Ok(done) => {
                    self.recovered(doing);
                    return Ok(done);
                }
                Err(error) => error,
            };
            let error = self.react(error).await?;
            // Stopping does not wait: what was not stored is read again after the next start.
            if Failure::of(&error) == Failure::Wrong || self.jobs.is_closed() {
                return Err(StoreError::sqlite(doing, &self.path, error));
            }
            self.waiting(doing, &error);
            self.pause(backoff.next_wait()).await?;
        }
    }

    /// Does work once that nothing depends on; why not, if it could not be done now.
    pub(super) async fn chore<T: Send + 'static>(
        &mut self,
        doing: &'static str,
        run: fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<Result<T, String>, StoreError> {
        let (_, outcome) = self.call(run, |_, db, run| run(db)).await?;
        match outcome {
            Ok(done) => Ok(Ok(done)),
            Err(error) => {
                let error = self.react(error).await?;
                tracing::warn!(%error, "cannot {doing} now");
                Ok(Err(format!("cannot {doing}: {error}")))
            }
        }
    }

    /// Runs work on the connection's thread, over a new connection where the last one was given up.
    async fn call<W: Send + 'static, T: Send + 'static>(
        &mut self,
        mut work: W,
        run: Run<W, T>,
    ) -> Result<(W, rusqlite::Result<T>), StoreError> {
        let Some(mut ledger) = self.ledger.take() else {
            return Err(StoreError::Panicked { message: "the last call never returned".into() });
        };
        let db = match self.connected().await {
            Ok(db) => db,
            Err(error) => {
                self.ledger = Some(ledger);
                return Ok((work, Err(error)));
            }
        };
        let called = db.call_raw(move |db| {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut ledger, db, &mut work)));
            (ledger, work, outcome)
        });
        let (ledger, work, outcome) =
            called.await.map_err(|error| StoreError::Panicked { message: error.to_string() })?;
        self.ledger = Some(ledger);
        match outcome {
            Ok(outcome) => Ok((work, outcome)),
            Err(panic) => Err(StoreError::Panicked { message: message_of(&*panic) }),
        }
    }

    async fn connected(&mut self) -> rusqlite::Result<tokio_rusqlite::Connection> {
        if let Some(db) = &self.db {
            return Ok(db.clone());
        }
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let db = connection::open_writer(&path)?;
            connection::require_sound(&db)?;
            Ok(db)
        });
        // The task neither panics nor is it cancelled.
        let db = opened.await.unwrap_or(Err(rusqlite::Error::InvalidQuery))?;
        Ok(self.db.insert(db.into()).clone())
    }

    /// Does what an error asks to be done with the connection or the file, and gives it back if the
    /// writer can go on.
    async fn react(&mut self, error: rusqlite::Error) -> Result<rusqlite::Error, StoreError> {
        match Failure::of(&error) {
            Failure::Wait | Failure::Wrong => Ok(error),
            Failure::Reopen => {
                self.disconnect().await;
                Ok(error)
            }
            Failure::Damaged => {
                self.disconnect().await;
                let path = self.path.clone();
                let looked = tokio::task::spawn_blocking(move || connection::is_damaged(&path));
                // The task neither panics nor is it cancelled.
                if !looked.await.unwrap_or(false) {
                    return Ok(error);
                }
                let aside = connection::set_aside(&self.path, (self.now_ms)())?;
                Err(StoreError::Damaged { aside, detail: error.to_string() })
            }
        }
    }

    pub(super) async fn disconnect(&mut self) {
        if let Some(db) = self.db.take()
            && let Err(error) = db.close().await
        {
            tracing::warn!(%error, "the connection could not be closed");
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.clear_caches();
        }
    }

    fn waiting(&self, doing: &'static str, error: &rusqlite::Error) {
        self.status.send_modify(|status| {
            let (since, attempts) = match &status.queue {
                QueueState::Retrying { since, attempts, .. } => (*since, attempts + 1),
                QueueState::Flowing => {
                    tracing::warn!(%error, "cannot {doing}; trying again until it succeeds");
                    (Instant::now(), 1)
                }
            };
            let error = format!("cannot {doing}: {error}");
            status.failures += 1;
            status.last_error = Some(LastError { error: error.clone(), at_ms: (self.now_ms)() });
            status.queue = QueueState::Retrying { since, attempts, error };
        });
    }

    fn recovered(&self, doing: &'static str) {
        self.status.send_if_modified(|status| {
            let was_waiting = status.queue != QueueState::Flowing;
            if was_waiting {
                tracing::info!("can {doing} again");
                status.queue = QueueState::Flowing;
            }
            was_waiting
        });
    }

    async fn pause(&mut self, wait: Duration) -> Result<(), StoreError> {
        let mut left = wait;
        while left > Duration::ZERO && !self.jobs.is_closed() {
            sleep(left.min(SLICE)).await;
            left = left.saturating_sub(SLICE);
            self.require_same_file()?;
            self.status.send_if_modified(|status| {
                status.beat();
                false
            });
        }
        Ok(())
    }

    /// A file removed or replaced under an open connection takes writes that no one will ever see.
    /// It is looked up by path: it must not be opened. A look that fails for other reasons, such as
    /// a folder that may not be entered for a while, says nothing about the file.
    pub(super) fn require_same_file(&mut self) -> Result<(), StoreError> {
        let same = match fs::metadata(&self.path) {
            Ok(file) => identity_of(&file) == self.file && file.len() > 0,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        let log = fs::metadata(beside(&self.path, "-wal")).ok().map(|log| identity_of(&log));
        if same {
            self.log = log;
            return Ok(());
        }
        // SQLite would take our log for that of the file which is there at the next start.
        if log.is_some() && log == self.log {
            connection::set_log_aside(&self.path, (self.now_ms)())?;
        }
        Err(StoreError::Replaced { path: self.path.clone() })
    }
}

/// Device and inode.
pub(super) fn identity_of(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_else(|| "no message".into())
}
