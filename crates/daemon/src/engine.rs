//! Joins the two halves that never meet: ingest, which reads logs, and the store's writer.
//!
//! `run` and `backfill` differ only in when ingest ends.

use std::sync::Arc;

use anyhow::Context as _;
use ingest::Output;
use store::{DataDir, Job, JobSender, Options, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use usage::Checkpoint;

use crate::clock::now_ms;
use crate::config::Config;

/// Rows waiting for the writer: a fraction of a second of its time, so that what was written just
/// now does not stand behind a long backfill, and a few megabytes.
const QUEUE_ROWS: u32 = 6_144;

/// The folders that ingest has in the data directory: for a file that proves that events arrive, and for
/// copies of databases.
pub(crate) const CANARY: &str = "canary";
pub(crate) const SCRATCH: &str = "scratch";

/// Opens the database in a locked data directory.
pub(crate) fn open_store(config: &Config, dir: DataDir) -> anyhow::Result<Store> {
    let options = Options {
        now_ms,
        time_zone: config.time_zone.clone(),
        system_time_zone: config.system_time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
        prices: Arc::new(config.prices.clone()),
        debounce: config.debounce,
        queue_rows: QUEUE_ROWS,
    };
    store::open(dir, options)
        .with_context(|| format!("cannot open the database in {}", config.data_dir.display()))
}

/// Takes the lock of the data directory, which it creates if need be, in the name of a command.
pub(crate) fn lock(config: &Config, command: &str) -> anyhow::Result<DataDir> {
    let dir = DataDir::lock(&config.data_dir)?;
    let holder = format!("tallyd {command} (process {})", std::process::id());
    dir.sign(&holder).with_context(|| format!("cannot use {}", config.data_dir.display()))?;
    Ok(dir)
}

/// Ingest on its own task.
pub(crate) struct Ingest {
    stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<Result<(), ingest::Error>>,
}

/// What an ingest run is made of besides the configuration.
pub(crate) struct IngestPlan {
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) mode: ingest::Mode,
    pub(crate) force: bool,
}

impl Ingest {
    pub(crate) fn start(
        config: &Config,
        plan: IngestPlan,
        jobs: JobSender,
        status: watch::Sender<ingest::Status>,
    ) -> Self {
        let options = ingest::Options {
            home: config.env.home.clone(),
            roots: config.roots(),
            checkpoints: plan.checkpoints,
            force: plan.force,
            mode: plan.mode,
            sweep_interval: config.sweep_interval,
            max_line: config.max_line,
            // One that cannot be asked is not there, and is waited for.
            is_remote: |path| store::is_remote(path).unwrap_or(false),
            canary: Some(config.data_dir.join(CANARY)),
            scratch: Some(config.data_dir.join(SCRATCH)),
            now_ms,
        };
        let runtime = tokio::runtime::Handle::current();
        let sink: ingest::Sink = Arc::new(move |output| {
            let job = match output {
                Output::Batch(batch) => Job::Batch(batch),
                Output::Forget(source_ids) => Job::Forget(source_ids),
            };
            runtime.block_on(jobs.send(job)).is_ok()
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(ingest::run(options, sink, status, stopped));
        Self { stop, task }
    }

    /// Lets the batch under way end and be handed over.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.task.await.context("ingest panicked")??;
        Ok(())
    }
}
