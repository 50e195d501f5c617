//! Ingest in a thread of its own, and the store it hands its batches to.
//!
//! The store does what the real one does as far as ingest can tell: a batch is applied as a whole or
//! not at all, and what was applied is there after the process was killed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ingest::{Mode, Options, Output, Root, Status};
use tokio::sync::{oneshot, watch};
use usage::{Checkpoint, EventKey, UsageEvent};

use crate::record::{Agent, MAX_LINE, Rows, add};

/// What one run of ingest after the other has left.
#[derive(Default)]
pub(crate) struct Store {
    applied: Mutex<Applied>,
    changed: Condvar,
}

#[derive(Clone, Default)]
pub(crate) struct Applied {
    pub(crate) events: BTreeMap<EventKey, UsageEvent>,
    pub(crate) checkpoints: BTreeMap<i64, Checkpoint>,
    /// Batches and the like that were taken from the present run.
    pub(crate) taken: u64,
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

    /// What is counted, or an event that no record stands for.
    pub(crate) fn rows(&self, agent: Agent) -> Result<Rows, String> {
        let mut rows = Rows::new();
        for event in self.events.values() {
            let row = agent.row_of(event);
            let (call, version) = row.ok_or_else(|| format!("no record says {event:?}"))?;
            add(&mut rows, call, version);
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
        match output {
            Output::Batch(batch) => {
                for event in batch.events {
                    let known = self.events.remove(&event.key);
                    let merged = match known {
                        Some(known) => usage::merge(known, event),
                        None => event,
                    };
                    self.events.insert(merged.key.clone(), merged);
                }
                for key in batch.retracted {
                    self.events.remove(&key);
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
    pub(crate) agent: Agent,
    pub(crate) home: PathBuf,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) sweep: Duration,
}

/// One run of ingest.
pub(crate) struct Daemon {
    store: Arc<Store>,
    stop: watch::Sender<bool>,
    kill: oneshot::Sender<()>,
    runtime: tokio::runtime::Handle,
    /// Says nothing; ends with the run.
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Daemon {
    pub(crate) fn start(plan: &Plan, store: &Arc<Store>, mode: Mode) -> Self {
        let run = store.begin();
        let options = Options {
            home: plan.home.clone(),
            roots: plan
                .roots
                .iter()
                .map(|path| Root { provider: plan.agent.provider(), path: path.clone() })
                .collect(),
            checkpoints: store.applied().checkpoints.values().cloned().collect(),
            force: false,
            mode,
            sweep_interval: plan.sweep,
            max_line: MAX_LINE,
            is_remote: |_| false,
            canary: None,
            scratch: None,
            now_ms: || 1_800_000_000_000,
        };
        let (stop, stopped) = watch::channel(false);
        let (kill, killed) = oneshot::channel();
        let (ending, ended) = mpsc::channel();
        // A runtime of its own, so that the loop can be held up without holding up other cases.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
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
        Self { store: Arc::clone(store), stop, kill, runtime: handle, ended, thread }
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

    /// Holds up the loop while `busy` runs: what is heard meanwhile has to wait.
    pub(crate) fn held_up(&self, busy: impl FnOnce()) {
        let (release, released) = mpsc::channel::<()>();
        let (hold, held) = mpsc::channel();
        self.runtime.spawn(async move {
            _ = hold.send(());
            _ = released.recv();
        });
        // Says nothing if the loop has ended.
        _ = held.recv();
        busy();
        drop(release);
    }

    /// Whether it was killed, or is going to be.
    pub(crate) fn is_doomed(&self) -> bool {
        let applied = self.store.applied();
        applied.fuse.is_some() || !applied.is_up()
    }
}
