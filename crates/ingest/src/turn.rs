//! One turn of one source, on a worker thread: open it if need be, read one quantum, hand over what
//! was read. Or the same for a log of its that has gone from its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use providers::Provider;
use usage::{Batch, Checkpoint, Source};

use crate::read::{Limits, Next, ReadError, Reader};
use crate::strays::Stray;
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
    pub(crate) limits: Limits,
    pub(crate) now_ms: fn() -> i64,
}

/// What a turn is for.
pub(crate) enum Errand {
    Read,
    /// To read on after [`Next::Parent`]: here is the parent, if there is one.
    Parent(Option<PathBuf>),
    Stray(Box<Stray>),
}

/// How a turn ended.
pub(crate) struct Turn {
    pub(crate) reader: Option<Box<Reader>>,
    pub(crate) stray: Option<Box<Stray>>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) outcome: Result<Next, ReadError>,
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    pub(crate) faults: u64,
    pub(crate) events: u64,
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
        let (before, now_ms) = (self.checkpoint.clone(), self.now_ms);
        // A parser that panics takes down its source, not the service.
        let read = catch_unwind(AssertUnwindSafe(|| self.read()))
            .unwrap_or(Err(ReadError::Panicked { path }));
        let (reader, batch, outcome) = match read {
            Ok((reader, batch, next)) => (Some(reader), batch, Ok(next)),
            Err(e) => (None, blame(&before, &e, now_ms()), Err(e)),
        };
        let turn = Turn {
            reader,
            stray: None,
            checkpoint: batch.checkpoint.clone(),
            outcome,
            bytes: batch.bytes,
            lines: batch.lines,
            faults: batch.checkpoint.skips.faults().saturating_sub(before.skips.faults()),
            events: batch.events.len() as u64,
        };
        let taken = !says_something(&batch, &before) || sink(Output::Batch(Box::new(batch)));
        taken.then_some(turn)
    }

    /// What a stray holds is the source's; where the source is read on is not changed by it.
    fn run_stray(self, mut stray: Box<Stray>, sink: &Sink) -> Option<Turn> {
        let Self { source, provider, mut checkpoint, limits, .. } = self;
        let (mut bytes, mut lines, mut faults, mut events) = (0, 0, 0, 0);
        let mut is_taken = true;
        let read = catch_unwind(AssertUnwindSafe(|| {
            stray.read(&source, provider, limits, |mut batch, skips| {
                bytes += batch.bytes;
                lines += batch.lines;
                faults += skips.faults();
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
            outcome: Ok(Next::End),
            bytes,
            lines,
            faults,
            events,
        })
    }

    fn read(self) -> Result<(Box<Reader>, Batch, Next), ReadError> {
        let Self { source, provider, checkpoint, reread, reader, errand, limits, .. } = self;
        let mut reader = match reader {
            Some(reader) => reader,
            None => Box::new(Reader::open(source, provider, checkpoint, reread, limits)?),
        };
        if let Errand::Parent(parent) = errand {
            reader.set_parent(parent.as_deref(), limits);
        }
        let (batch, next) = reader.read(limits)?;
        Ok((reader, batch, next))
    }
}

/// What is saved about a source that could not be read. Absence is not deletion: its rows and its
/// offset stay.
fn blame(before: &Checkpoint, error: &ReadError, now_ms: i64) -> Batch {
    let mut checkpoint = before.clone();
    if error.is_missing() {
        checkpoint.missing_since_ms.get_or_insert(now_ms);
    } else {
        checkpoint.last_error = Some(error.to_string());
    }
    Batch {
        events: Vec::new(),
        retracted: Vec::new(),
        checkpoint,
        bytes: 0,
        lines: 0,
        complete: false,
        restates: false,
    }
}

/// A read that found nothing and learnt nothing is not worth a transaction.
fn says_something(batch: &Batch, before: &Checkpoint) -> bool {
    !batch.events.is_empty() || !batch.retracted.is_empty() || batch.checkpoint != *before
}
