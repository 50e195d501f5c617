//! Logs that were renamed out of sight, replaced or removed, while somebody still writes to them.
//!
//! Whoever rotates a log renames it; whoever writes to it may go on for a while. No path leads to
//! what is written then, so logs that were read a moment ago are kept open. While a log is where its
//! source is, nothing is done with it: its source is read as ever.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use usage::{Batch, Checkpoint, Skips, Source};

use crate::discover::Id;
use crate::fingerprint;
use crate::read::{Format, Limits, Next, ReadError, Reader};

/// How many logs are kept open; of more the one that was read longest ago is let go.
const MAX: usize = 64;
/// Of how many descriptors that the process may have one is taken for a log that is kept open.
const SHARE: u64 = 16;
/// How long a log that nobody writes to is kept open.
const KEPT: Duration = Duration::from_secs(60);
/// How long a log is read after it has gone from its place.
const READ: Duration = Duration::from_secs(10);

/// A log that is kept open.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(crate) id: Id,
    file: File,
    /// How far this file was read, wherever its source is by now.
    checkpoint: Checkpoint,
    /// When anything was read from it last or, if that is later, when it was noticed to have gone
    /// from its place.
    since: Instant,
    is_gone: bool,
}

impl Stray {
    /// A log that has been read to its end.
    pub(crate) fn new(id: Id, file: File, checkpoint: Checkpoint, now: Instant) -> Self {
        Self { id, file, checkpoint, since: now, is_gone: false }
    }

    /// Whether the log has gone from `path` and holds more than was read.
    fn is_due(&mut self, path: &Path, now: Instant) -> bool {
        if !self.is_gone {
            let place = fs::symlink_metadata(path).map(|metadata| fingerprint::of(&metadata));
            let read = &self.checkpoint.fingerprint;
            if place.is_ok_and(|place| fingerprint::same_file(&place, read)) {
                return false;
            }
            (self.is_gone, self.since) = (true, now);
        }
        self.file.metadata().is_ok_and(|metadata| metadata.len() > self.checkpoint.offset)
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > if self.is_gone { READ } else { KEPT }
    }

    /// Reads on to the end. `take` gets every batch and what was skipped in it, and says whether to
    /// go on.
    pub(crate) fn read(
        &mut self,
        source: &Source,
        format: Format,
        limits: Limits,
        mut take: impl FnMut(Batch, &Skips) -> bool,
    ) -> Result<(), ReadError> {
        let file = self.file.try_clone();
        let file = file.map_err(|e| ReadError::Open { path: source.path.clone(), source: e })?;
        let Some(mut reader) =
            Reader::go_on(file, source.clone(), format, self.checkpoint.clone(), limits)?
        else {
            return Ok(());
        };
        reader.take_skips();
        loop {
            let (batch, next) = reader.read(limits)?;
            if batch.checkpoint.offset > self.checkpoint.offset {
                self.since = Instant::now();
            }
            self.checkpoint = batch.checkpoint.clone();
            // A fork that asks for its parent has nothing of its own to say yet.
            if !take(batch, &reader.take_skips()) || next != Next::More {
                return Ok(());
            }
        }
    }
}

fn max() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current;
    let share = descriptors.and_then(|n| usize::try_from(n / SHARE).ok());
    share.map_or(MAX, |share| share.min(MAX))
}

/// The logs that are kept open, the one that was read longest ago first.
#[derive(Debug, Default)]
pub(crate) struct Strays(VecDeque<Stray>);

impl Strays {
    pub(crate) fn keep(&mut self, stray: Stray) {
        let print = &stray.checkpoint.fingerprint;
        self.0.retain(|known| !fingerprint::same_file(&known.checkpoint.fingerprint, print));
        self.0.push_back(stray);
        if self.0.len() > max() {
            self.0.pop_front();
        }
    }

    /// Takes out those that must be read now. `place` says where a source is, unless it is being
    /// read: then its logs wait.
    pub(crate) fn take_due<'a>(
        &mut self,
        now: Instant,
        place: impl Fn(Id) -> Option<&'a PathBuf>,
    ) -> Vec<Stray> {
        let mut due: Vec<Stray> = Vec::new();
        for mut stray in std::mem::take(&mut self.0) {
            let is_taken = due.iter().any(|other| other.id == stray.id);
            match place(stray.id) {
                Some(path) if !is_taken && stray.is_due(path, now) => due.push(stray),
                _ if stray.is_over(now) => {}
                _ => self.0.push_back(stray),
            }
        }
        due
    }

    /// Takes back one that was read.
    pub(crate) fn put_back(&mut self, stray: Stray, now: Instant) {
        if !stray.is_over(now) {
            self.0.push_back(stray);
        }
    }
}
