//! The ingest loop: marks sources, gives them turns, takes the results.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use providers::Storage;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;

use crate::canary::Canary;
use crate::discover::{Id, Queue, Sources};
use crate::foreign;
use crate::queue::{Queues, SPACING};
use crate::read::{Limits, Next, ReadError};
use crate::status::{Progress, RootStatus, Status};
use crate::strays::{Stray, Strays};
use crate::surroundings::Disk;
use crate::turn::{Errand, Plan, RETRIES, Turn};
use crate::twin;
use crate::walk::{RootState, Walk, Walked};
use crate::watch::{WATCHES_WHOLE_ROOTS, Watch};
use crate::{Error, Mode, Options, Output, Sink};

/// Bytes one source may take per turn.
const QUANTUM: u64 = 1 << 20;
/// How often the loop turns over when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// A tick this late means that the machine slept: events may be missing. Only the wall clock tells,
/// others stand still meanwhile; that somebody set it costs a sweep.
const OVERSLEPT_MS: u64 = 5_000;
/// Sweeps asked for by lost events are at least this far apart, so that they cannot feed an
/// overflow.
const SWEEP_SPACING: Duration = Duration::from_secs(1);
/// How often folders that cannot be watched are swept.
const UNWATCHED_SWEEP: Duration = Duration::from_secs(2);
/// How often all is swept while a root is on another machine.
const REMOTE_SWEEP: Duration = Duration::from_secs(5);
/// How long a source that could not be read several times in a row, for a reason that may pass, is
/// left alone.
const RETRY_LATER: Duration = Duration::from_secs(2);
/// A document or a database is left alone for so many times as long as reading it took, within
/// bounds: one that is written all the time, as an answer is streamed, takes a fifth of a core at most
/// and mostly far less.
const REST: u32 = 4;
const MIN_REST: Duration = Duration::from_millis(25);
const MAX_REST: Duration = Duration::from_millis(400);
/// How long a source whose parser panicked is left alone.
const QUARANTINE: Duration = Duration::from_secs(600);
/// How long a source must have been missing before its checkpoint is dropped.
const FORGET_AFTER_MS: i64 = 7 * 86_400_000;

pub(crate) struct Schedule {
    options: Options,
    roots: Arc<[crate::Root]>,
    limits: Limits,
    sources: Sources,
    queues: Queues,
    strays: Strays,
    root_states: Vec<RootState>,
    denied: Vec<PathBuf>,
    /// A root on another machine.
    remote: Option<PathBuf>,
    watch: Option<Arc<Watch>>,
    canary: Option<Canary>,
    sink: Sink,
    status: signal::Sender<Status>,
    /// What was published last.
    shown: Status,
    progress: Progress,
    /// What is under way on worker threads: turns, `reading` of them, and perhaps a walk.
    work: JoinSet<Done>,
    reading: usize,
    walking: bool,
    swept: Option<Instant>,
    sweeps: u64,
    last_sweep_ms: i64,
    sweep_wanted: bool,
    /// What the first sweep found and was not read to its end yet; `None` before that sweep.
    first_pass: Option<HashSet<Id>>,
    /// The sources have moved since they were last described.
    changed: bool,
}

/// What a worker thread hands back.
enum Done {
    Turn(Id, Box<Turn>),
    Walk(Walked, Scope),
    Forgotten,
    Closed,
}

/// How much a walk covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every root: what was not found is missing.
    Sweep,
    /// Some place: only what was found counts.
    Part,
}

impl Schedule {
    pub(crate) fn new(mut options: Options, sink: Sink, status: signal::Sender<Status>) -> Self {
        let watch = match options.mode {
            Mode::Live => Some(Arc::new(Watch::new())),
            Mode::Once => None,
        };
        let mut sources = Sources::new(options.home.clone());
        for checkpoint in std::mem::take(&mut options.checkpoints) {
            sources.restore(checkpoint, &options.roots, options.force);
        }
        let canary = options.canary.take().map(|folder| Canary::new(folder, Instant::now()));
        let roots: Arc<[crate::Root]> = std::mem::take(&mut options.roots).into();
        // What was read is counted on where an earlier run of this process has ended.
        let shown = Status { read: status.borrow().read.clone(), ..Status::default() };
        Self {
            root_states: vec![RootState::Awaited; roots.len()],
            limits: Limits { quantum: QUANTUM, max_line: options.max_line },
            options,
            roots,
            sources,
            queues: Queues::default(),
            strays: Strays::default(),
            denied: Vec::new(),
            remote: None,
            watch,
            canary,
            sink,
            shown,
            status,
            progress: Progress::default(),
            work: JoinSet::new(),
            reading: 0,
            walking: false,
            swept: None,
            sweeps: 0,
            last_sweep_ms: 0,
            sweep_wanted: true,
            first_pass: None,
            changed: true,
        }
    }

    pub(crate) async fn run(mut self, mut stop: signal::Receiver<bool>) -> Result<(), Error> {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
        let mut ticks = tokio::time::interval(TICK);
        let mut last_tick_ms = (self.options.now_ms)();
        let mailbox = self.watch.as_ref().map(|watch| Arc::clone(&watch.mailbox));
        loop {
            self.sweep_if_due();
            while let Some(id) = self.queues.pop_echo(Instant::now()) {
                let tracked = &mut self.sources.all[id];
                tracked.echo = None;
                self.queues.mark(id, tracked, Queue::Live, Instant::now());
            }
            while self.reading < workers
                && let Some(id) = self.queues.pop(Instant::now())
            {
                let errand = self.errand(id);
                self.begin_turn(id, errand);
            }
            self.publish();
            if self.options.mode == Mode::Once && self.caught_up() && self.work.is_empty() {
                return Ok(());
            }
            let due = self.queues.next_due();
            tokio::select! {
                biased;
                changed = stop.changed() => if changed.is_err() || *stop.borrow() {
                    return self.drain().await;
                },
                Some(done) = self.work.join_next() => self.finish(done?)?,
                () = heard(mailbox.as_deref()) => self.look(),
                () = due_at(due) => {}
                _ = ticks.tick() => {
                    let now_ms = (self.options.now_ms)();
                    self.sweep_wanted |= now_ms.abs_diff(last_tick_ms) > OVERSLEPT_MS;
                    last_tick_ms = now_ms;
                    self.listen();
                    self.read_strays();
                }
            }
        }
    }

    /// Lets the turns under way end; nothing new is begun.
    async fn drain(mut self) -> Result<(), Error> {
        while self.reading > 0
            && let Some(done) = self.work.join_next().await
        {
            if let Done::Turn(..) | Done::Closed = done? {
                self.reading -= 1;
            }
        }
        Ok(())
    }

    // Finding sources.

    fn sweep_if_due(&mut self) {
        let interval = match &self.watch {
            Some(watch) if watch.refused().is_some() => UNWATCHED_SWEEP,
            _ if self.remote.is_some() => REMOTE_SWEEP.min(self.options.sweep_interval),
            _ => self.options.sweep_interval,
        };
        let due = self.swept.is_none_or(|at| {
            let since = at.elapsed();
            since >= interval || (self.sweep_wanted && since >= SWEEP_SPACING)
        });
        if !due || self.walking || (self.options.mode == Mode::Once && self.swept.is_some()) {
            return;
        }
        self.swept = Some(Instant::now());
        self.sweep_wanted = false;
        self.walking = true;
        if let Some(watch) = &self.watch {
            watch.begin_sweep();
        }
        let (roots, watch) = (Arc::clone(&self.roots), self.watch.clone());
        let is_remote = self.options.is_remote;
        self.work.spawn_blocking(move || {
            let mut walk = Walk::new(&roots, watch.as_deref());
            (0..roots.len()).for_each(|index| walk.root(index));
            let mut walked = walk.finish();
            walked.remote =
                roots.iter().map(|root| &root.path).find(|path| is_remote(path)).cloned();
            Done::Walk(walked, Scope::Sweep)
        });
    }

    /// Makes a watcher anew that has fallen silent.
    fn listen(&mut self) {
        let (Some(watch), Some(canary)) = (&self.watch, &mut self.canary) else { return };
        if canary.tick(watch, Instant::now()) {
            tracing::warn!("no file events are delivered any more; watching begins anew");
            watch.rebuild();
            self.sweep_wanted = true;
        }
    }

    /// Looks at every path that was heard of.
    fn look(&mut self) {
        let Some(watch) = self.watch.clone() else { return };
        let heard = watch.mailbox.take();
        self.sweep_wanted |= heard.rescan;
        let now = Instant::now();
        if let Some(canary) = &mut self.canary
            && heard.rescan
        {
            canary.rest(now);
        }
        for path in heard.paths {
            if self.canary.as_mut().is_some_and(|canary| canary.is_heard(&path, now)) {
                continue;
            }
            self.look_at(&path, &watch);
        }
    }

    fn look_at(&mut self, path: &Path, watch: &Watch) {
        // What is written beside a database is news of the database. Folders may be called so, too.
        let database = foreign::database_of(path).filter(|database| self.is_source(database));
        let path = database.as_deref().unwrap_or(path);
        let metadata = fs::symlink_metadata(path);
        let below = self.root_of(path);
        if !metadata.as_ref().is_ok_and(fs::Metadata::is_dir) {
            // It, or what took its place.
            if below.is_some()
                && let Some((path, metadata)) = twin::standing(path)
            {
                self.take_found(below, &path, &metadata);
                return;
            }
            if let Some(id) = self.sources.by_path(path) {
                self.hint(id);
                return;
            }
            if below.is_some() && metadata.is_ok() {
                return;
            }
        }
        // A folder below a root, or on the way to one, that came, went or moved.
        if metadata.is_err() || !WATCHES_WHOLE_ROOTS {
            watch.forget(path);
        }
        let mut walk = Walk::new(&self.roots, Some(watch));
        match (below, metadata) {
            (Some(index), Ok(metadata)) => walk.below(index, path, &metadata),
            (Some(index), Err(_)) if self.roots[index].path == path => walk.root(index),
            (Some(_), Err(_)) | (None, _) => {}
        }
        // It may be on the way to other roots, too, be it below another one or not.
        for (index, root) in self.roots.iter().enumerate() {
            if root.path != path && root.path.starts_with(path) {
                walk.root(index);
            }
        }
        let walked = walk.finish();
        self.absorb(walked, Scope::Part);
    }

    /// Whether a file at `path` is one that is read.
    fn is_source(&self, path: &Path) -> bool {
        self.roots
            .iter()
            .any(|root| path.starts_with(&root.path) && root.provider.is_source(&root.path, path))
    }

    fn root_of(&self, path: &Path) -> Option<usize> {
        self.roots.iter().position(|root| path.starts_with(&root.path))
    }

    fn take_found(&mut self, root: Option<usize>, path: &Path, metadata: &fs::Metadata) {
        let Some(root) = root else { return };
        let Some(root) = (root..self.roots.len()).find(|&index| {
            let root = &self.roots[index];
            path.starts_with(&root.path) && root.provider.is_source(&root.path, path)
        }) else {
            return;
        };
        let print = crate::fingerprint::of(metadata);
        let found = crate::walk::Found { root, path: path.to_owned(), print };
        let id = self.sources.found(found, &self.roots);
        self.hint(id);
    }

    fn absorb(&mut self, walked: Walked, scope: Scope) {
        for (index, state) in &walked.roots {
            self.root_states[*index] = *state;
        }
        self.changed = true;
        let queue = if scope == Scope::Sweep { Queue::Backlog } else { Queue::Live };
        let mut present = vec![false; self.sources.all.len()];
        for found in walked.found {
            let id = self.sources.found(found, &self.roots);
            if let Some(present) = present.get_mut(id) {
                *present = true;
            }
            if self.sources.all[id].is_dirty() {
                if self.first_pass.is_none() {
                    // What was written just before it was watched was not heard.
                    self.sources.all[id].echoes = 0;
                }
                match queue {
                    Queue::Live => self.hint(id),
                    Queue::Backlog => self.mark(id, queue),
                }
            }
        }
        if scope == Scope::Sweep {
            self.sweeps += 1;
            self.last_sweep_ms = (self.options.now_ms)();
            self.denied = walked.denied;
            self.remote = walked.remote;
            if let Some(watch) = &self.watch {
                watch.end_sweep();
            }
            let missing = present.iter().enumerate().filter(|(_, present)| !**present);
            let missing: Vec<Id> = missing.map(|(id, _)| id).collect();
            self.miss(&missing);
            // What is missing is part of it: that it is so has to be saved, too.
            if self.first_pass.is_none() {
                // The process may have ended before it came to them.
                self.sources.all_leaning().into_iter().for_each(|id| self.retie(id));
                self.first_pass = Some(self.queues.ids().collect());
            }
            self.recount();
        }
    }

    /// Sources that a sweep did not find. What may be hidden by a folder that cannot be listed is
    /// not missing.
    fn miss(&mut self, missing: &[Id]) {
        let long_ago = (self.options.now_ms)() - FORGET_AFTER_MS;
        let mut gone = Vec::new();
        for &id in missing {
            let tracked = &self.sources.all[id];
            let hidden = self.denied.iter().any(|d| tracked.source.path.starts_with(d));
            if hidden || tracked.forgotten || tracked.busy || tracked.queued.is_some() {
                continue;
            }
            match tracked.checkpoint.missing_since_ms {
                // Another has its place, and it is nowhere else.
                _ if self.sources.is_displaced(id) => gone.push(self.sources.forget(id)),
                None => self.mark(id, Queue::Backlog),
                Some(since) if since < long_ago => gone.push(self.sources.forget(id)),
                Some(_) => {}
            }
        }
        if gone.is_empty() {
            return;
        }
        let sink = Arc::clone(&self.sink);
        self.work.spawn_blocking(move || {
            if sink(Output::Forget(gone)) { Done::Forgotten } else { Done::Closed }
        });
    }

    /// Something was heard of a source.
    fn hint(&mut self, id: Id) {
        let tracked = &mut self.sources.all[id];
        tracked.echoes = 0;
        tracked.heard.get_or_insert_with(Instant::now);
        self.mark(id, Queue::Live);
    }

    fn mark(&mut self, id: Id, queue: Queue) {
        let now = Instant::now();
        let tracked = &mut self.sources.all[id];
        tracked.marked.get_or_insert(now);
        self.queues.mark(id, tracked, queue, now);
    }

    // Reading them.

    /// Reads what was written to logs that have gone from their places.
    fn read_strays(&mut self) {
        let all = &self.sources.all;
        let due = self.strays.take_due(Instant::now(), |id| {
            let is_idle = !all[id].busy && all[id].queued.is_none();
            is_idle.then_some(&all[id].source.path)
        });
        for stray in due {
            self.begin_turn(stray.id, Errand::Stray(Box::new(stray)));
        }
    }

    /// What the next turn of a source is for.
    fn errand(&mut self, id: Id) -> Errand {
        let tracked = &mut self.sources.all[id];
        // One that is read from its start anyway asks by itself.
        if !std::mem::take(&mut tracked.retie) || tracked.reread {
            return Errand::Read;
        }
        let parent = self.sources.parent_of(id);
        parent.map_or(Errand::Read, |(_, path)| Errand::Parent(Some(path)))
    }

    /// Has a fork looked at again if there is more of its parent than it knew of.
    fn retie(&mut self, id: Id) {
        let Some(counters) = self.sources.is_outgrown(id) else { return };
        let tracked = &mut self.sources.all[id];
        (tracked.retie, tracked.retied) = (true, counters);
        if !self.caught_up()
            && let Some(first) = &mut self.first_pass
        {
            first.insert(id);
        }
        self.mark(id, Queue::Backlog);
    }

    fn begin_turn(&mut self, id: Id, errand: Errand) {
        let tracked = &mut self.sources.all[id];
        tracked.queued = None;
        tracked.busy = true;
        self.reading += 1;
        let plan = Plan {
            source: tracked.source.clone(),
            provider: tracked.provider,
            checkpoint: tracked.checkpoint.clone(),
            reread: tracked.reread,
            reader: tracked.reader.take(),
            errand,
            around: Arc::new(Disk::new(
                Arc::clone(&self.roots),
                self.options.scratch.clone(),
                tracked.attempt,
            )),
            attempt: tracked.attempt,
            // What is written from now on may not be seen by this turn: it is heard of anew.
            heard: tracked.heard.take(),
            limits: self.limits,
            now_ms: self.options.now_ms,
        };
        let sink = Arc::clone(&self.sink);
        self.work.spawn_blocking(move || match plan.run(&sink) {
            Some(turn) => Done::Turn(id, Box::new(turn)),
            None => Done::Closed,
        });
    }

    fn finish(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Closed => return Err(Error::Closed),
            Done::Forgotten => {}
            Done::Walk(walked, scope) => {
                self.walking = false;
                self.absorb(walked, scope);
            }
            Done::Turn(id, turn) => {
                self.reading -= 1;
                self.changed = true;
                self.finish_turn(id, *turn);
            }
        }
        Ok(())
    }

    fn finish_turn(&mut self, id: Id, turn: Turn) {
        let now = Instant::now();
        self.count(id, &turn, now);
        if let Some(ties) = turn.ties {
            self.sources.tie(id, ties);
        }
        let tracked = &mut self.sources.all[id];
        tracked.busy = false;
        if !matches!(turn.outcome, Ok(Next::End)) {
            // There is more to read of what was heard of then.
            tracked.heard = turn.heard.or(tracked.heard);
        }
        match turn.outcome {
            Ok(Next::Parent(name)) => {
                tracked.checkpoint = turn.checkpoint;
                tracked.reread = false;
                tracked.reader = turn.reader;
                let parent = self.sources.named(self.sources.all[id].provider, &name);
                self.begin_turn(id, Errand::Parent(parent.map(|(_, path)| path)));
                return;
            }
            Ok(Next::More) => {
                tracked.reread = false;
                // Not what took its place while it was being read.
                let is_current = turn.checkpoint.path == tracked.source.path;
                tracked.reader = turn.reader.filter(|_| is_current);
                tracked.checkpoint = turn.checkpoint;
                tracked.again = false;
                // The rest waits behind what is written meanwhile, before older files.
                self.mark(id, Queue::Backlog);
                return;
            }
            Ok(Next::End) => {
                if let Some(stray) = turn.stray {
                    self.strays.put_back(*stray, now);
                } else if self.options.mode == Mode::Live
                    && let Some(file) = turn.reader.and_then(|reader| reader.into_file())
                {
                    self.strays.keep(Stray::new(id, file, turn.checkpoint.clone(), now));
                }
                tracked.checkpoint = turn.checkpoint;
                tracked.reread = false;
                tracked.attempt = 0;
                let rest = (turn.took * REST).clamp(MIN_REST, MAX_REST);
                let pause = match tracked.provider.storage(&tracked.source.path) {
                    Storage::Appended(_) => SPACING,
                    Storage::Document(_) => rest,
                    Storage::Database(_) => {
                        self.queues.echo(id, tracked, now);
                        rest
                    }
                };
                tracked.not_before = Some(now + pause);
                self.retie(id);
                self.sources.leaning_on(id).into_iter().for_each(|fork| self.retie(fork));
            }
            Err(error) if error.is_passing() => return self.retry(id, turn.checkpoint, &error),
            Err(error) => {
                tracked.retied = 0;
                if error.is_lack_of_descriptors() {
                    self.strays = Strays::default();
                }
                if turn.checkpoint.last_error != tracked.checkpoint.last_error {
                    tracing::warn!("{error}");
                }
                tracked.checkpoint = turn.checkpoint;
                let pause =
                    if matches!(error, ReadError::Panicked { .. }) { QUARANTINE } else { SPACING };
                tracked.not_before = Some(now + pause);
            }
        }
        self.end_turn(id);
    }

    /// Adds up what a turn has read.
    fn count(&mut self, id: Id, turn: &Turn, now: Instant) {
        self.progress.bytes_done += turn.bytes;
        self.progress.bytes_left = self.progress.bytes_left.saturating_sub(turn.bytes);
        self.progress.lines += turn.lines;
        self.progress.events += turn.events;
        let tracked = &mut self.sources.all[id];
        self.shown.read.entry(tracked.source.provider).or_default().add(turn);
        let faults = turn.skips.faults();
        tracked.recent.add(turn.lines, faults);
        if faults > 0 && tracked.recent.is_due(now) {
            let (path, faults) = (tracked.source.path.display(), turn.checkpoint.skips.faults());
            tracing::info!(
                "{path}: records that could not be read and were skipped so far: {faults}"
            );
        }
    }

    /// A source could not be read for a reason that may pass unheard: it is tried again.
    fn retry(&mut self, id: Id, checkpoint: usage::Checkpoint, error: &ReadError) {
        let tracked = &mut self.sources.all[id];
        let tried = usize::try_from(tracked.attempt).unwrap_or(usize::MAX);
        tracked.attempt = tracked.attempt.saturating_add(1);
        let pause = RETRIES.get(tried).copied();
        tracked.not_before = Some(Instant::now() + pause.unwrap_or(RETRY_LATER));
        if pause.is_none() {
            if checkpoint.last_error != tracked.checkpoint.last_error {
                tracing::warn!("{error}");
            }
            tracked.checkpoint = checkpoint;
            self.end_turn(id);
        }
        if pause.is_some() || self.options.mode == Mode::Live {
            self.mark(id, Queue::Live);
        }
    }

    /// A source has been read to its end, or cannot be read for now.
    fn end_turn(&mut self, id: Id) {
        let tracked = &mut self.sources.all[id];
        tracked.marked = None;
        self.progress.files_done += 1;
        self.progress.files_left = self.progress.files_left.saturating_sub(1);
        if let Some(first) = &mut self.first_pass {
            first.remove(&id);
        }
        if std::mem::take(&mut tracked.again) {
            self.mark(id, Queue::Live);
        }
    }

    /// Everything the first sweep found has been read to its end.
    fn caught_up(&self) -> bool {
        self.first_pass.as_ref().is_some_and(HashSet::is_empty)
    }

    // Telling about it.

    /// What is left is counted anew after each sweep: hints and reads only move it.
    fn recount(&mut self) {
        self.progress.files_left = self.queues.len() as u64;
        self.progress.bytes_left =
            self.queues.backlog().map(|id| self.sources.all[id].bytes_left()).sum();
    }

    /// The snapshot is made here and only swapped in there: nobody who asks waits for it.
    fn publish(&mut self) {
        let now = Instant::now();
        let caught_up = self.caught_up();
        let due = self.shown.is_old(now) || caught_up != self.shown.caught_up;
        if !due && self.shown.progress == self.progress {
            return;
        }
        self.shown.progress = self.progress;
        self.shown.caught_up = caught_up;
        if due {
            self.shown.heartbeat = Some(now);
            if std::mem::take(&mut self.changed) {
                self.describe();
            }
        }
        self.status.send_replace(self.shown.clone());
    }

    fn describe(&mut self) {
        let shown = &mut self.shown;
        shown.roots = self
            .roots
            .iter()
            .zip(&self.root_states)
            .map(|(root, state)| {
                let place = root.provider.place(&root.path);
                let is_of_many = place != root.path;
                let is_empty = is_of_many && !self.sources.are_below(root);
                RootStatus {
                    provider: root.provider.id(),
                    path: root.path.clone(),
                    place,
                    state: match state {
                        RootState::Present if is_empty => RootState::Awaited,
                        state => *state,
                    },
                }
            })
            .collect();
        shown.count(&self.sources.all);
        shown.denied.clone_from(&self.denied);
        shown.sweeps = self.sweeps;
        shown.last_sweep_ms = self.last_sweep_ms;
        if let Some(watch) = &self.watch {
            shown.watched_folders = watch.folders();
            let far = |root: &PathBuf| {
                format!("{} is on another machine: looked at every 5 s", root.display())
            };
            shown.watch_refused = watch.refused().or_else(|| self.remote.as_ref().map(far));
        }
    }
}

async fn heard(mailbox: Option<&crate::watch::Mailbox>) {
    match mailbox {
        Some(mailbox) => mailbox.wait().await,
        None => std::future::pending().await,
    }
}

async fn due_at(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

    use super::*;

    /// One empty root that no interval asks to be swept again; the clock stands still.
    fn schedule(home: &Path, is_remote: fn(&Path) -> bool) -> (Schedule, signal::Receiver<Status>) {
        let provider = *providers::ALL.first().unwrap();
        let options = Options {
            home: home.to_owned(),
            roots: vec![crate::Root { provider, path: home.to_owned() }],
            checkpoints: Vec::new(),
            force: false,
            mode: Mode::Live,
            sweep_interval: Duration::from_secs(3_600),
            max_line: 1 << 20,
            is_remote,
            canary: None,
            scratch: None,
            now_ms: || 0,
        };
        let (status, seen) = signal::channel(Status::default());
        (Schedule::new(options, Arc::new(|_| true), status), seen)
    }

    #[tokio::test]
    async fn h23_sweeps_that_lost_events_ask_for_are_a_second_apart() {
        static SWEEPS: AtomicU32 = AtomicU32::new(0);
        let home = tempfile::tempdir().unwrap();
        // It is asked once in a sweep.
        let (schedule, _seen) = schedule(home.path(), |_| {
            SWEEPS.fetch_add(1, Ordering::Relaxed);
            false
        });
        let mailbox = Arc::clone(&schedule.watch.as_ref().unwrap().mailbox);
        let (_stop, stopped) = signal::channel(false);
        let begun = Instant::now();
        tokio::spawn(schedule.run(stopped));
        while SWEEPS.load(Ordering::Relaxed) < 3 {
            assert!(begun.elapsed() < Duration::from_secs(60), "lost events are made good");
            mailbox.hear(Err(notify::Error::generic("it went wrong")));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn h30_a_machine_that_slept_is_swept() {
        static CLOCK: AtomicI64 = AtomicI64::new(0);
        let home = tempfile::tempdir().unwrap();
        let (mut schedule, mut seen) = schedule(home.path(), |_| false);
        // Nothing but this clock goes on while a machine sleeps.
        schedule.options.now_ms = || CLOCK.load(Ordering::Relaxed);
        let (_stop, stopped) = signal::channel(false);
        tokio::spawn(schedule.run(stopped));
        let swept = async |seen: &mut signal::Receiver<Status>, sweeps| {
            let swept = seen.wait_for(|status| status.sweeps == sweeps);
            tokio::time::timeout(Duration::from_secs(60), swept).await.unwrap().unwrap();
        };
        swept(&mut seen, 1).await;
        CLOCK.store(3_600_000, Ordering::Relaxed);
        swept(&mut seen, 2).await;
    }

    /// A hint comes as the owner's commit is written to the log; what is committed can be read a moment
    /// later.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the owner of the database")]
    async fn h51_what_can_be_read_only_after_the_hint_is_found() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("opencode.db");
        let owner = rusqlite::Connection::open(&path).unwrap();
        owner
            .execute_batch(
                "PRAGMA journal_mode = wal;
                CREATE TABLE session (id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT,
                    directory TEXT, time_created INTEGER);
                CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL,
                    time_created INTEGER, time_updated INTEGER, data TEXT NOT NULL);
                CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT NOT NULL,
                    session_id TEXT, time_created INTEGER, time_updated INTEGER, data TEXT);
                INSERT INTO session VALUES ('s', 'p', NULL, '/w', 0)",
            )
            .unwrap();
        let (mut schedule, mut seen) = schedule(home.path(), |_| false);
        let provider = providers::ALL.iter().find(|provider| provider.id() == "opencode");
        schedule.roots =
            [crate::Root { provider: *provider.unwrap(), ..schedule.roots[0].clone() }].into();
        let (events, mut counted) = tokio::sync::mpsc::unbounded_channel();
        schedule.sink = Arc::new(move |output| {
            let Output::Batch(batch) = output else { return true };
            batch.events.iter().for_each(|event| events.send(event.usage.tokens.input).unwrap());
            true
        });
        let watch = Arc::clone(schedule.watch.as_ref().unwrap());
        let (_stop, stopped) = signal::channel(false);
        tokio::spawn(schedule.run(stopped));
        seen.wait_for(|status| status.caught_up).await.unwrap();
        // What the watch would say is said by hand, too early.
        watch.deafen();
        for (n, late_ms) in [(1, 10), (2, 60), (3, 300)] {
            watch.mailbox.hear_of(&home.path().join("opencode.db-wal"));
            tokio::time::sleep(Duration::from_millis(late_ms)).await;
            let call = format!(
                r#"{{"role":"assistant","modelID":"m","providerID":"p","cost":0,"tokens":{{"input":{n},"output":1,"reasoning":0,"cache":{{"read":0,"write":0}}}},"time":{{"created":{n},"completed":{n}}}}}"#
            );
            owner
                .execute(
                    "INSERT INTO message VALUES (?1, 's', ?2, ?2, ?3)",
                    (format!("m{n}"), n.to_string(), call),
                )
                .unwrap();
            // The newest ones are told again.
            let found = async { while counted.recv().await != Some(n) {} };
            let found = tokio::time::timeout(Duration::from_secs(20), found).await;
            assert_eq!(found, Ok(()), "there was no other hint");
        }
    }

    #[tokio::test]
    async fn what_was_heard_of_says_when_and_what_a_sweep_found_does_not() {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("rollout-2026-01-01T00-00-00-a.jsonl");
        fs::write(&log, "{}\n").unwrap();
        let (mut schedule, mut seen) = schedule(home.path(), |_| false);
        let provider = *providers::ALL.iter().find(|provider| provider.id() == "codex").unwrap();
        schedule.roots = [crate::Root { provider, ..schedule.roots[0].clone() }].into();
        let (batches, mut read) = tokio::sync::mpsc::unbounded_channel();
        schedule.sink = Arc::new(move |output| {
            let Output::Batch(batch) = output else { return true };
            batches.send((batch.heard, batch.lines)).is_ok()
        });
        let status = schedule.status.clone();
        let (stop, stopped) = signal::channel(false);
        let ran = tokio::spawn(schedule.run(stopped));
        assert_eq!(read.recv().await.unwrap(), (None, 1), "nobody said so");
        seen.wait_for(|status| status.caught_up).await.unwrap();
        let before = Instant::now();
        // More than one turn takes.
        let line = format!("{{\"x\":\"{}\"}}\n", "x".repeat(4_096));
        let file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        std::io::Write::write_all(&mut &file, line.repeat(400).as_bytes()).unwrap();
        let (mut lines, mut turns) = (0, 0);
        while lines < 400 {
            let next = tokio::time::timeout(Duration::from_secs(60), read.recv()).await;
            let (heard, more) = next.unwrap().unwrap();
            assert!(heard.unwrap() >= before);
            (lines, turns) = (lines + more, turns + 1);
        }
        assert!(turns > 1);
        seen.wait_for(|status| status.read["codex"].lines == 401).await.unwrap();
        stop.send(true).unwrap();
        ran.await.unwrap().unwrap();
        // A configuration that is taken up begins another run.
        let (again, _seen) = self::schedule(home.path(), |_| false);
        let again = Schedule::new(again.options, again.sink, status);
        assert_eq!(again.shown.read["codex"].lines, 401);
    }

    #[tokio::test]
    async fn h29_a_clock_that_stands_still_freezes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (schedule, mut seen) = schedule(home.path(), |_| false);
        let (_stop, stopped) = signal::channel(false);
        tokio::spawn(schedule.run(stopped));
        let news = async {
            let first = seen.wait_for(|status| status.caught_up).await.unwrap().heartbeat;
            assert!(seen.wait_for(|status| status.heartbeat > first).await.is_ok());
        };
        tokio::time::timeout(Duration::from_secs(60), news).await.unwrap();
    }
}
