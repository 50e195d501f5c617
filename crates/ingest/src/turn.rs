//! One turn of one source, on a worker thread: open it if need be, read one quantum, hand over what
//! was read. Or the same for a log of its that has gone from its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use providers::{Appended, Provider, Storage, Ties};
use usage::{Batch, Checkpoint, Skips, Source};

use crate::read::{Format, Limits, Next, ReadError, Reader};
use crate::strays::Stray;
use crate::surroundings::Disk;
use crate::whole::Whole;
use crate::{Output, Sink};

/// What a turn needs.
pub(crate) struct Plan {
    pub(crate) source: Source,
    pub(crate) provider: &'static dyn Provider,
    /// Where the last turn ended.
    pub(crate) checkpoint: Checkpoint,
    pub(crate) reread: bool,
    /// Still open from the last turn.
    pub(crate) reader: Option<Box<Reader>>,
    pub(crate) errand: Errand,
    pub(crate) around: Arc<Disk>,
    /// How many turns before this one have failed in a way that may pass.
    pub(crate) attempt: u32,
    /// When it was first heard that there is something to read.
    pub(crate) heard: Option<Instant>,
    pub(crate) limits: Limits,
    pub(crate) now_ms: fn() -> i64,
}

/// What a turn is for.
pub(crate) enum Errand {
    Read,
    /// To read on after [`Next::Parent`], or because there is more of it now: here is the parent, if
    /// there is one.
    Parent(Option<PathBuf>),
    Stray(Box<Stray>),
}

/// What a turn that failed in a way that may pass waits for the next one; after the last of these it
/// is a failure that is shown.
pub(crate) const RETRIES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(320)];

/// How a turn ended.
pub(crate) struct Turn {
    pub(crate) reader: Option<Box<Reader>>,
    pub(crate) stray: Option<Box<Stray>>,
    pub(crate) checkpoint: Checkpoint,
    /// Of the source, where they were looked at.
    pub(crate) ties: Option<Ties>,
    pub(crate) outcome: Result<Next, ReadError>,
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    /// What was skipped in it.
    pub(crate) skips: Skips,
    pub(crate) events: u64,
    pub(crate) heard: Option<Instant>,
    pub(crate) took: Duration,
}

impl Plan {
    /// `None` when nothing more is taken.
    pub(crate) fn run(self, sink: &Sink) -> Option<Turn> {
        match self.errand {
            Errand::Stray(stray) => Self { errand: Errand::Read, ..self }.run_stray(stray, sink),
            Errand::Read | Errand::Parent(_) => self.run_source(sink),
        }
    }

    fn run_source(self, sink: &Sink) -> Option<Turn> {
        let path = self.source.path.clone();
        let (before, now_ms, heard) = (self.checkpoint.clone(), self.now_ms, self.heard);
        let appended = self.provider.storage(&path).appended();
        let (begun, may_pass) = (Instant::now(), self.attempt() < RETRIES.len());
        // A parser that panics takes down its source, not the service.
        let read = catch_unwind(AssertUnwindSafe(|| self.read()))
            .unwrap_or(Err(ReadError::Panicked { path }));
        let (reader, mut batch, outcome) = match read {
            Ok((reader, batch, next)) => (reader, batch, Ok(next)),
            Err(e) if e.is_passing() && may_pass => (None, nothing_of(&before), Err(e)),
            Err(e) => (None, blame(&before, &e, now_ms()), Err(e)),
        };
        let turn = Turn {
            reader,
            stray: None,
            ties: appended.map(|appended| appended.ties(&batch.checkpoint.state)),
            checkpoint: batch.checkpoint.clone(),
            outcome,
            bytes: batch.bytes,
            lines: batch.lines,
            skips: batch.checkpoint.skips.since(&before.skips),
            events: batch.events.len() as u64,
            heard,
            took: begun.elapsed(),
        };
        batch.heard = heard;
        let taken = !says_something(&batch, &before) || sink(Output::Batch(Box::new(batch)));
        taken.then_some(turn)
    }

    /// What a stray holds is the source's; where the source is read on is not changed by it.
    fn run_stray(self, mut stray: Box<Stray>, sink: &Sink) -> Option<Turn> {
        let appended = self.provider.storage(&self.source.path).appended();
        let format = appended.map(|appended| self.format(appended));
        let Self { source, mut checkpoint, limits, .. } = self;
        let begun = Instant::now();
        let (mut bytes, mut lines, mut events, mut skipped) = (0, 0, 0, Skips::default());
        let mut is_taken = true;
        let read = catch_unwind(AssertUnwindSafe(|| {
            // Nothing but appended lines is kept open.
            let Some(format) = format else { return Ok(()) };
            stray.read(&source, format, limits, |mut batch, skips| {
                bytes += batch.bytes;
                lines += batch.lines;
                skipped.merge(skips);
                events += batch.events.len() as u64;
                let newest = batch.checkpoint.last_event_ms;
                checkpoint.last_event_ms = checkpoint.last_event_ms.max(newest);
                checkpoint.skips.merge(skips);
                batch.checkpoint = checkpoint.clone();
                (batch.complete, batch.restates) = (false, false);
                let says_something = batch.lines > 0 || !batch.events.is_empty();
                is_taken = !says_something || sink(Output::Batch(Box::new(batch)));
                is_taken
            })
        }));
        let read = read.unwrap_or(Err(ReadError::Panicked { path: source.path }));
        if let Err(e) = &read {
            tracing::warn!("a log that has gone from its place is let go: {e}");
        }
        is_taken.then_some(Turn {
            reader: None,
            stray: read.is_ok().then_some(stray),
            checkpoint,
            ties: None,
            outcome: Ok(Next::End),
            bytes,
            lines,
            skips: skipped,
            events,
            heard: None,
            took: begun.elapsed(),
        })
    }

    fn attempt(&self) -> usize {
        usize::try_from(self.attempt).unwrap_or(usize::MAX)
    }

    fn format(&self, appended: &'static dyn Appended) -> Format {
        Format { provider: self.provider, appended, around: Arc::clone(&self.around) }
    }

    fn read(self) -> Result<(Option<Box<Reader>>, Batch, Next), ReadError> {
        match self.provider.storage(&self.source.path) {
            Storage::Appended(appended) => self.read_lines(appended),
            Storage::Document(document) => {
                let batch = self.whole().document(document);
                Ok((None, self.checked(batch)?, Next::End))
            }
            Storage::Database(database) => {
                let read = self.whole().database(database);
                let (batch, next) = self.checked(read)?;
                Ok((None, batch, next))
            }
        }
    }

    fn read_lines(
        self,
        appended: &'static dyn Appended,
    ) -> Result<(Option<Box<Reader>>, Batch, Next), ReadError> {
        let format = self.format(appended);
        let Self { source, checkpoint, reread, reader, errand, limits, .. } = self;
        let mut reader = match reader {
            Some(reader) => reader,
            None => Box::new(Reader::open(source, format, checkpoint, reread, limits)?),
        };
        if let Errand::Parent(parent) = errand {
            reader.set_parent(parent.as_deref(), limits)?;
        }
        let (batch, next) = reader.read(limits)?;
        Ok((Some(reader), batch, next))
    }

    fn whole(&self) -> Whole<'_> {
        Whole {
            source: &self.source,
            provider: self.provider,
            checkpoint: &self.checkpoint,
            reread: self.reread,
            around: &self.around,
            attempt: self.attempt,
        }
    }

    /// What was read, unless something beside the source could not be read.
    fn checked<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        match self.around.take_failure() {
            Some(why) => Err(ReadError::Surroundings { path: self.source.path.clone(), why }),
            None => read,
        }
    }
}

/// What is saved about a source that could not be read. Absence is not deletion: its rows and its
/// offset stay.
fn blame(before: &Checkpoint, error: &ReadError, now_ms: i64) -> Batch {
    let mut checkpoint = before.clone();
    if error.is_missing() {
        checkpoint.missing_since_ms.get_or_insert(now_ms);
        // What was wrong with it is not wrong with it any more.
        checkpoint.last_error = None;
    } else {
        checkpoint.last_error = Some(error.to_string());
    }
    nothing_of(&checkpoint)
}

fn nothing_of(checkpoint: &Checkpoint) -> Batch {
    Batch {
        events: Vec::new(),
        retracted: Vec::new(),
        withdrawn: Vec::new(),
        checkpoint: checkpoint.clone(),
        bytes: 0,
        lines: 0,
        complete: false,
        restates: false,
        amends: false,
        heard: None,
    }
}

/// A read that found nothing and learnt nothing is not worth a transaction. Nor is that a source has
/// gone before it was read: it may have moved, and nothing is kept that the next run could know it by.
fn says_something(batch: &Batch, before: &Checkpoint) -> bool {
    let is_unknown = before.fingerprint.ino == 0 && before.last_error.is_none();
    let is_of_nothing = is_unknown && batch.checkpoint.missing_since_ms.is_some();
    let has_learnt = batch.checkpoint != *before && !is_of_nothing;
    let is_silent =
        batch.events.is_empty() && batch.retracted.is_empty() && batch.withdrawn.is_empty();
    has_learnt || !is_silent
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_source_that_has_gone_is_missing_and_no_longer_failing() {
        let path = PathBuf::from("/home/ada/opencode.db");
        let fails = |kind| ReadError::Open { path: path.clone(), source: Error::from(kind) };
        let before = Checkpoint::at_start(1, "opencode", path.clone(), 1);
        let failing = blame(&before, &fails(ErrorKind::PermissionDenied), 5).checkpoint;
        assert!(failing.last_error.is_some());
        assert_eq!(failing.missing_since_ms, None);
        let gone = blame(&failing, &fails(ErrorKind::NotFound), 6).checkpoint;
        assert_eq!((gone.last_error, gone.missing_since_ms), (None, Some(6)));
    }

    /// What a turn of a source that is not there hands over to be saved.
    fn saved_of(before: &Checkpoint) -> Vec<Checkpoint> {
        let provider = *providers::ALL.iter().find(|provider| provider.id() == "codex").unwrap();
        let root = PathBuf::from("/nowhere/.codex/sessions");
        let plan = Plan {
            source: Source {
                id: 1,
                provider: provider.id(),
                path: before.path.clone(),
                root,
                mtime_ms: 0,
            },
            provider,
            checkpoint: before.clone(),
            reread: false,
            reader: None,
            errand: Errand::Read,
            around: Arc::new(Disk::new(Arc::new([]), None, 0)),
            attempt: 0,
            heard: None,
            limits: Limits { quantum: 1, max_line: 1 },
            now_ms: || 5,
        };
        let (saved, seen) = std::sync::mpsc::channel();
        let sink: Sink = Arc::new(move |output| {
            let Output::Batch(batch) = output else { return true };
            saved.send(batch.checkpoint).is_ok()
        });
        let turn = plan.run(&sink).unwrap();
        assert!(turn.outcome.unwrap_err().is_missing());
        assert_eq!(turn.checkpoint.missing_since_ms, Some(5));
        drop(sink);
        seen.iter().collect()
    }

    /// It was found, has moved before it was read, and then the process was killed: the next one finds
    /// it where it is, and cannot know that it was the same.
    #[test]
    fn h15_of_a_log_that_went_before_it_was_read_nothing_is_saved() {
        let path = PathBuf::from("/nowhere/.codex/sessions/rollout-2026-01-01T00-00-00-a.jsonl");
        let unread = Checkpoint::at_start(1, "codex", path, 1);
        assert_eq!(saved_of(&unread), []);
        let failing = Checkpoint { last_error: Some("denied".into()), ..unread.clone() };
        assert_eq!(
            saved_of(&failing),
            [Checkpoint { missing_since_ms: Some(5), ..unread.clone() }]
        );
        let fingerprint = usage::Fingerprint { ino: 7, ..unread.fingerprint.clone() };
        let read = Checkpoint { fingerprint, offset: 9, ..unread };
        assert_eq!(saved_of(&read), [Checkpoint { missing_since_ms: Some(5), ..read.clone() }]);
    }
}
