//! What ingest is doing, for health checks, progress lines and `status`: a snapshot in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use providers::Quality;
use usage::Skips;

use crate::discover::Tracked;
use crate::turn::Turn;
use crate::walk::RootState;

/// How often what takes a look at every source is renewed.
const RENEWAL: Duration = Duration::from_secs(1);
/// Sources named as failing.
const FAILING_SHOWN: usize = 20;

/// A snapshot of the ingest loop.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// When the loop last turned over; `None` before it did.
    pub heartbeat: Option<Instant>,
    pub roots: Vec<RootStatus>,
    pub providers: BTreeMap<&'static str, ProviderStatus>,
    pub progress: Progress,
    /// What was read of each provider's sources since the start.
    pub read: BTreeMap<&'static str, Read>,
    /// The first pass over everything has been handed to the writer.
    pub caught_up: bool,
    pub watched_folders: usize,
    /// Why some folders are only swept, not watched.
    pub watch_refused: Option<String>,
    /// Folders that may not be listed.
    pub denied: Vec<PathBuf>,
    pub last_sweep_ms: i64,
    pub sweeps: u64,
    /// When the oldest source that waits to be read was marked; `None` when nothing waits.
    pub oldest_waiting: Option<Instant>,
    /// Sources that cannot be read, with the reason: the first few.
    pub failing: Vec<(PathBuf, String)>,
    /// Sources of whose latest lines more than a fifth could not be read: the first few.
    pub degraded: Vec<PathBuf>,
}

impl Status {
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        self.heartbeat.is_none_or(|at| now.saturating_duration_since(at) >= RENEWAL)
    }

    /// Counts sources anew, by provider.
    pub(crate) fn count(&mut self, sources: &[Tracked]) {
        self.providers.clear();
        self.failing.clear();
        self.degraded.clear();
        self.oldest_waiting = None;
        for tracked in sources.iter().filter(|t| !t.forgotten) {
            let checkpoint = &tracked.checkpoint;
            let provider = self.providers.entry(tracked.source.provider).or_default();
            provider.sources += 1;
            provider.qualities.insert(tracked.provider.quality(&tracked.source.path));
            if checkpoint.missing_since_ms.is_some() {
                provider.missing += 1;
            } else {
                provider.unread_bytes += tracked.bytes_left();
            }
            provider.skips.merge(&checkpoint.skips);
            provider.newest_event_ms = provider.newest_event_ms.max(checkpoint.last_event_ms);
            if let Some(error) = &checkpoint.last_error {
                provider.failing += 1;
                if self.failing.len() < FAILING_SHOWN {
                    self.failing.push((tracked.source.path.clone(), error.clone()));
                }
            }
            if tracked.recent.is_degraded() {
                provider.degraded += 1;
                if self.degraded.len() < FAILING_SHOWN {
                    self.degraded.push(tracked.source.path.clone());
                }
            }
            self.oldest_waiting = [self.oldest_waiting, tracked.marked].into_iter().flatten().min();
        }
    }
}

#[derive(Clone, Debug)]
pub struct RootStatus {
    pub provider: &'static str,
    pub path: PathBuf,
    /// The part of it that is looked into, as it is shown to people.
    pub place: PathBuf,
    /// A folder of many programs is awaited until something of this agent is found below it.
    pub state: RootState,
}

#[derive(Clone, Debug, Default)]
pub struct ProviderStatus {
    pub sources: u64,
    pub failing: u64,
    /// Sources of whose latest lines more than a fifth could not be read.
    pub degraded: u64,
    pub missing: u64,
    /// What the figures of its sources are.
    pub qualities: BTreeSet<Quality>,
    pub skips: Skips,
    pub newest_event_ms: Option<i64>,
    /// Bytes that are known to be there and were not read yet.
    pub unread_bytes: u64,
}

/// What turns have read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub bytes: u64,
    pub lines: u64,
    pub skips: Skips,
}

impl Read {
    pub(crate) fn add(&mut self, turn: &Turn) {
        self.bytes += turn.bytes;
        self.lines += turn.lines;
        self.skips.merge(&turn.skips);
    }
}

/// How much was read since the start, and how much is known to be left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub files_done: u64,
    pub files_left: u64,
    pub bytes_done: u64,
    pub bytes_left: u64,
    pub lines: u64,
    pub events: u64,
}
