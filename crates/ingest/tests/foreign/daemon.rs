//! Ingest in a thread of its own, and the store it hands its batches to.
//!
//! The store does what the real one does as far as ingest can tell: a batch is applied as a whole or
//! not at all, and what was applied is there after the process was killed. What a source states takes
//! the place of what it stated itself; a key that was retracted stays away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ingest::{Mode, Options, Output, Root, Status};
use tokio::sync::{oneshot, watch};
use usage::{Checkpoint, EventKey, UsageEvent};

use crate::world::{Rows, call_of};

/// What one run of ingest after the other has left.
#[derive(Default)]
pub(crate) struct Store {
    applied: Mutex<Applied>,
    changed: Condvar,
}

#[derive(Clone, Default)]
pub(crate) struct Applied {
    /// What each source states.
    pub(crate) statements: BTreeMap<i64, BTreeMap<EventKey, UsageEvent>>,
    retracted: BTreeSet<EventKey>,
    pub(crate) checkpoints: BTreeMap<i64, Checkpoint>,
    /// Batches and the like that were taken from the present run.
    pub(crate) taken: u64,
    /// What the last of them was.
    pub(crate) last: String,
    /// The run that may write. `None` while the daemon is down or was killed.
    writer: Option<u64>,
    runs: u64,
    /// Batches until the daemon is killed.
    fuse: Option<u64>,
}

impl Applied {
    pub(crate) fn is_up(&self) -> bool {
        self.writer.is_some()
    }

    /// What is counted, by the place of its source.
    pub(crate) fn rows(&self) -> Result<BTreeMap<PathBuf, Rows>, String> {
        let mut rows: BTreeMap<PathBuf, Rows> = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for (source, statements) in &self.statements {
            let path = self.checkpoints.get(source).map(|checkpoint| checkpoint.path.clone());
            let path = path.ok_or_else(|| format!("{statements:?} without a checkpoint"))?;
            let rows = rows.entry(path).or_default();
            for event in statements.values() {
                let (call, version) = call_of(event);
                if keys.insert(call, &event.key).is_some_and(|key| *key != event.key) {
                    return Err(format!("call {call} is counted under two keys"));
                }
                if rows.insert(call, version).is_some() {
                    return Err(format!("two sources at one place state call {call}"));
                }
            }
        }
        Ok(rows)
    }

    fn take(&mut self, run: u64, output: Output) -> bool {
        if self.writer != Some(run) {
            return false;
        }
        if let Some(fuse) = &mut self.fuse {
            let Some(left) = fuse.checked_sub(1) else {
                self.writer = None;
                return false;
            };
            *fuse = left;
        }
        self.taken += 1;
        self.last = format!("{output:?}");
        match output {
            Output::Batch(batch) => {
                let source = batch.checkpoint.source_id;
                let stated = self.statements.entry(source).or_default();
                for event in batch.events {
                    assert_eq!(event.owner.source_id, source);
                    let known = stated.remove(&event.key).filter(|_| !batch.amends);
                    let event = match known {
                        Some(known) => usage::merge(known, event),
                        None => event,
                    };
                    if !self.retracted.contains(&event.key) {
                        stated.insert(event.key.clone(), event);
                    }
                }
                for key in batch.retracted {
                    self.statements.values_mut().for_each(|stated| _ = stated.remove(&key));
                    self.retracted.insert(key);
                }
                self.checkpoints.insert(batch.checkpoint.source_id, batch.checkpoint);
            }
            Output::Forget(sources) => {
                self.checkpoints.retain(|source, _| !sources.contains(source));
            }
        }
        true
    }
}

impl Store {
    pub(crate) fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap()
    }

    /// Waits until `decide` says something about the store, or for as long as `patience` lasts.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        mut decide: impl FnMut(&Applied) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut applied = self.applied();
        loop {
            if let Some(decision) = decide(&applied) {
                return Some(decision);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            applied = self.changed.wait_timeout(applied, left).unwrap().0;
        }
    }

    fn begin(&self) -> u64 {
        let mut applied = self.applied();
        applied.runs += 1;
        applied.writer = Some(applied.runs);
        (applied.taken, applied.fuse) = (0, None);
        applied.runs
    }
}

/// How the daemon is started.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) home: PathBuf,
    pub(crate) roots: Vec<Root>,
    /// For copies of databases.
    pub(crate) scratch: PathBuf,
    pub(crate) sweep: Duration,
}

/// One run of ingest.
pub(crate) struct Daemon {
    store: Arc<Store>,
    stop: watch::Sender<bool>,
    kill: oneshot::Sender<()>,
    /// Says nothing; ends with the run.
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Daemon {
    pub(crate) fn start(plan: &Plan, store: &Arc<Store>, mode: Mode) -> Self {
        let run = store.begin();
        let options = Options {
            home: plan.home.clone(),
            roots: plan.roots.clone(),
            checkpoints: store.applied().checkpoints.values().cloned().collect(),
            force: false,
            mode,
            sweep_interval: plan.sweep,
            max_line: 1 << 20,
            is_remote: |_| false,
            canary: None,
            scratch: Some(plan.scratch.clone()),
            now_ms: || 1_800_000_000_000,
        };
        let (stop, stopped) = watch::channel(false);
        let (kill, killed) = oneshot::channel();
        let (ending, ended) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let writer = Arc::clone(store);
        let thread = std::thread::spawn(move || {
            let sink = Arc::clone(&writer);
            let sink: ingest::Sink = Arc::new(move |output| {
                let is_taken = sink.applied().take(run, output);
                sink.changed.notify_all();
                is_taken
            });
            _ = runtime.block_on(async {
                let (status, _shown) = watch::channel(Status::default());
                tokio::select! {
                    result = ingest::run(options, sink, status, stopped) => result,
                    _ = killed => Err(ingest::Error::Closed),
                }
            });
            drop(runtime);
            writer.changed.notify_all();
            drop(ending);
        });
        Self { store: Arc::clone(store), stop, kill, ended, thread }
    }

    /// The stop signal: the batch under way is handed over.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        self.join();
    }

    /// Nothing more is applied from now on.
    pub(crate) fn kill(self) {
        self.store.applied().writer = None;
        // It may have ended by itself.
        _ = self.kill.send(());
        self.thread.join().unwrap();
    }

    /// It will be killed at the next batch but `batches`.
    pub(crate) fn kill_after(&self, batches: u64) {
        self.store.applied().fuse = Some(batches);
    }

    /// Waits for a run that ends by itself.
    pub(crate) fn finish(self, patience: Duration) -> Result<(), String> {
        match self.ended.recv_timeout(patience) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.kill();
                Err("a run over what is there does not end".to_owned())
            }
            _ => {
                self.join();
                Ok(())
            }
        }
    }

    fn join(self) {
        self.thread.join().unwrap();
        self.store.applied().writer = None;
    }

    /// Whether it was killed, or is going to be.
    pub(crate) fn is_doomed(&self) -> bool {
        let applied = self.store.applied();
        applied.fuse.is_some() || !applied.is_up()
    }
}
