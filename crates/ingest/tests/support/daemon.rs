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
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use usage::Checkpoint;

/// What a model keeps of that which is applied, beside the checkpoints.
pub(crate) trait Keep: Default + Send + 'static {
    fn keep(&mut self, output: &Output);
}

/// What one run of ingest after the other has left.
#[derive(Default)]
pub(crate) struct Store<K> {
    applied: Mutex<Applied<K>>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct Applied<K> {
    pub(crate) kept: K,
    pub(crate) checkpoints: BTreeMap<i64, Checkpoint>,
    /// Batches and the like that were taken from the present run.
    pub(crate) taken: u64,
    /// The run that may write. `None` while the daemon is down or was killed.
    writer: Option<u64>,
    runs: u64,
    /// Batches until the daemon is killed.
    fuse: Option<u64>,
}

impl<K: Keep> Applied<K> {
    pub(crate) fn is_up(&self) -> bool {
        self.writer.is_some()
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
        self.kept.keep(&output);
        match output {
            Output::Batch(batch) => {
                self.checkpoints.insert(batch.checkpoint.source_id, batch.checkpoint);
            }
            Output::Forget(sources) => {
                self.checkpoints.retain(|source, _| !sources.contains(source));
            }
        }
        true
    }
}

impl<K: Keep> Store<K> {
    pub(crate) fn applied(&self) -> MutexGuard<'_, Applied<K>> {
        self.applied.lock().unwrap()
    }

    /// Waits until `decide` says something about the store, or for as long as `patience` lasts.
    pub(crate) fn wait<T>(
        &self,
        patience: Duration,
        mut decide: impl FnMut(&Applied<K>) -> Option<T>,
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
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) sweep: Duration,
    pub(crate) max_line: usize,
}

/// One run of ingest.
pub(crate) struct Daemon<K> {
    store: Arc<Store<K>>,
    stop: watch::Sender<bool>,
    kill: oneshot::Sender<()>,
    /// Says nothing; ends with the run.
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Each run has one of its own, so that its loop can be held up without holding up other cases.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl<K: Keep> Daemon<K> {
    pub(crate) fn start(plan: &Plan, store: &Arc<Store<K>>, mode: Mode) -> Self {
        Self::start_in(runtime(), plan, store, mode)
    }

    pub(crate) fn start_in(
        runtime: Runtime,
        plan: &Plan,
        store: &Arc<Store<K>>,
        mode: Mode,
    ) -> Self {
        let run = store.begin();
        let options = Options {
            home: plan.home.clone(),
            roots: plan.roots.clone(),
            checkpoints: store.applied().checkpoints.values().cloned().collect(),
            force: false,
            mode,
            sweep_interval: plan.sweep,
            max_line: plan.max_line,
            is_remote: |_| false,
            canary: None,
            scratch: plan.scratch.clone(),
            now_ms: || 1_800_000_000_000,
        };
        let (stop, stopped) = watch::channel(false);
        let (kill, killed) = oneshot::channel();
        let (ending, ended) = mpsc::channel();
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
