//! The service: starts ingest, writer and HTTP, keeps them going, stops them in order.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use store::{Figures, StoreError, WriterHandle};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::budgets;
use crate::clock::now_ms;
use crate::commands::{AWAITED, awaited_agents, root_state};
use crate::config::{Config, Flags};
use crate::engine::{self, Ingest, IngestPlan};
use crate::http::{self, Listening};
use crate::live::{Live, Phase, StoreView};
use crate::output::{ProgressLine, Stderr};
use crate::signals::{Asked, Incoming};
use crate::supervisor::{STILL_ALIVE, Supervisor};
use crate::text;

/// How often the loop looks after progress, watchdog and status.
const TICK: Duration = Duration::from_millis(200);
/// How long stopping may take before the process ends anyway: nothing is lost by it, the
/// checkpoints are in the database.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// Everything that can happen to the running service.
enum Event {
    Signal(Asked),
    WriterEnded(Result<Result<(), StoreError>, JoinError>),
    IngestEnded(Result<Result<(), ingest::Error>, JoinError>),
    HttpEnded(Result<(), JoinError>),
    Listening,
    Tick,
}

pub(crate) async fn run(config: Config, flags: Flags) -> anyhow::Result<()> {
    let mut signals = Incoming::register().context("cannot handle signals")?;
    let (mut service, tasks) = Service::start(config, flags).await?;
    let (ended, left) = service.watch_over(&mut signals, tasks).await;
    match tokio::time::timeout(STOP_GRACE, service.stop(left)).await {
        Ok(result) => ended.and(result),
        Err(_) => {
            tracing::warn!("stopping took too long; what was not stored yet is read again");
            ended
        }
    }
}

struct Service {
    config: Config,
    flags: Flags,
    phase: watch::Sender<Phase>,
    ingest_status: watch::Sender<ingest::Status>,
    ingest_seen: watch::Receiver<ingest::Status>,
    config_error: watch::Sender<Option<String>>,
    switched_off: watch::Sender<Vec<&'static str>>,
    listening: watch::Receiver<Listening>,
    handle: WriterHandle,
    http_stop: watch::Sender<bool>,
    supervisor: Supervisor,
    progress: ProgressLine,
    budgets: budgets::Keeper,
    /// The service manager has been told that the service is up.
    announced: bool,
    /// Everything was read once; the marts are asked to show it.
    caught_up: bool,
    /// The service manager has been told that all of that is in the marts.
    ready_told: bool,
    started: Instant,
}

/// What a service consists of; none of it ends before it is told to.
struct Tasks {
    ingest: Ingest,
    writer: JoinHandle<Result<(), StoreError>>,
    http: JoinHandle<()>,
}

/// What of it is still there to be stopped.
struct Left {
    ingest: Option<Ingest>,
    writer: Option<JoinHandle<Result<(), StoreError>>>,
    http: Option<JoinHandle<()>>,
}

impl Service {
    async fn start(config: Config, flags: Flags) -> anyhow::Result<(Self, Tasks)> {
        // The lock first: a second instance must end without having touched anything.
        let dir = engine::lock(&config, "run")?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            database = %config.data_dir.join("tallyd.db").display(),
            "tallyd starts"
        );
        if dir.is_open_to_others()? {
            let path = config.data_dir.display();
            tracing::warn!("other users can enter {path}; `chmod 700 {path}` keeps them out");
        }
        let (phase, phase_seen) = watch::channel(Phase::Starting);
        let (ingest_status, ingest_seen) = watch::channel(ingest::Status::default());
        let (config_error, config_error_seen) = watch::channel(None);
        let (switched_off, switched_off_seen) = watch::channel(config.switched_off());
        let (budgets, standings) = budgets::Keeper::new();
        let view = Arc::new(OnceLock::new());
        let live = Live {
            phase: phase_seen,
            ingest: ingest_seen.clone(),
            store: Arc::clone(&view),
            data_dir: config.data_dir.clone(),
            config_error: config_error_seen,
            switched_off: switched_off_seen,
            budgets: standings,
            now_ms,
            started: Instant::now(),
        };
        let (http_stop, http_stopped) = watch::channel(false);
        let (listening, listening_seen) = watch::channel(Listening::default());
        let http = tokio::spawn(http::serve(config.listen, live, http_stopped, listening));

        let opening = config.clone();
        let store = tokio::task::spawn_blocking(move || engine::open_store(&opening, dir))
            .await
            .context("opening the database panicked")??;
        let checkpoints = store.reader()?.checkpoints()?;
        greet(&config, &store);
        let (writer, handle) = store.into_writer()?;
        // Cannot be set already: this is the only place.
        _ = view.set(StoreView { status: handle.status(), refreshed: handle.refreshed() });
        let writer = tokio::spawn(writer.run());
        let plan = IngestPlan { checkpoints, mode: ingest::Mode::Live, force: false };
        let ingest = Ingest::start(&config, plan, handle.sender(), ingest_status.clone());
        phase.send_replace(Phase::Backfilling);

        let service = Self {
            config,
            flags,
            phase,
            ingest_status,
            ingest_seen,
            config_error,
            switched_off,
            listening: listening_seen,
            handle,
            http_stop,
            supervisor: Supervisor::new(),
            progress: ProgressLine::new(),
            budgets,
            announced: false,
            caught_up: false,
            ready_told: false,
            started: Instant::now(),
        };
        Ok((service, Tasks { ingest, writer, http }))
    }

    /// Waits for the things that can happen, until one of them ends the service.
    async fn watch_over(
        &mut self,
        signals: &mut Incoming,
        tasks: Tasks,
    ) -> (anyhow::Result<()>, Left) {
        let Tasks { mut ingest, mut writer, mut http } = tasks;
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let event = tokio::select! {
                asked = signals.next() => Event::Signal(asked),
                how = &mut writer => Event::WriterEnded(how),
                how = &mut ingest.task => Event::IngestEnded(how),
                how = &mut http => Event::HttpEnded(how),
                Ok(()) = self.listening.changed() => Event::Listening,
                Ok(()) = self.ingest_seen.changed(), if !self.caught_up => Event::Tick,
                _ = ticks.tick() => Event::Tick,
            };
            let (ingest, writer, http, ended) = match event {
                Event::Signal(Asked::Stop) => (Some(ingest), Some(writer), Some(http), Ok(())),
                Event::Signal(Asked::Reload) => {
                    // It waits for the writer, which may wait for a full disk.
                    let reloaded = tokio::select! {
                        reloaded = self.reload(ingest) => reloaded.map(Some),
                        () = signals.stop() => Ok(None),
                    };
                    match reloaded {
                        Ok(Some(again)) => {
                            ingest = again;
                            continue;
                        }
                        // Ingest ends by itself once nobody holds it.
                        Ok(None) => (None, Some(writer), Some(http), Ok(())),
                        Err(e) => (None, Some(writer), Some(http), Err(e)),
                    }
                }
                Event::WriterEnded(how) => {
                    (Some(ingest), None, Some(http), Err(ended("the writer", how)))
                }
                Event::IngestEnded(how) => {
                    (None, Some(writer), Some(http), Err(ended("ingest", how)))
                }
                Event::HttpEnded(how) => {
                    let how = how.map(Ok::<(), StoreError>);
                    (Some(ingest), Some(writer), None, Err(ended("HTTP", how)))
                }
                Event::Listening => {
                    self.tell_address();
                    continue;
                }
                Event::Tick => {
                    self.tick();
                    continue;
                }
            };
            return (ended, Left { ingest, writer, http });
        }
    }

    /// Leaves the address where `status` looks for it: the port may not be the configured one.
    fn tell_address(&mut self) {
        let listening = self.listening.borrow_and_update().clone();
        let left = match &listening {
            Listening::NotYet => return,
            Listening::At(address) => address.to_string(),
            Listening::Refused { .. } => listening.describe(),
        };
        if let Listening::At(_) = listening {
            tracing::info!("{} (the page: open it in a browser)", listening.describe());
        }
        let file = address_file(&self.config.data_dir);
        if let Err(e) = write_private(&file, &left) {
            tracing::warn!("cannot write {}: {e}", file.display());
        }
    }

    fn tick(&mut self) {
        let ingest = self.ingest_seen.borrow_and_update().clone();
        let phase = *self.phase.borrow();
        if !self.announced && ingest.sweeps > 0 {
            self.announced = true;
            self.supervisor.ready();
            self.supervisor.status(self.describe(&ingest), true);
        }
        if phase == Phase::Backfilling && !self.caught_up {
            if ingest.caught_up {
                self.caught_up = true;
                self.catch_up(&ingest);
            } else {
                self.progress.show(&describe_progress(&ingest.progress, self.started.elapsed()));
            }
        }
        if phase == Phase::Ready {
            let seq = self.handle.status().borrow().seq;
            self.budgets.tick(&self.config.budgets, &self.config.data_dir, seq);
        }
        self.supervisor.feed(self.is_alive(&ingest));
        let text = self.describe(&ingest);
        let is_news = phase == Phase::Ready && !self.ready_told;
        self.ready_told |= is_news;
        self.supervisor.status(text, is_news);
    }

    /// The first backfill is with the writer: once it is in the marts the service is ready.
    fn catch_up(&mut self, ingest: &ingest::Status) {
        self.progress.clear();
        let (progress, started) = (ingest.progress, self.started);
        let folders = text::count(ingest.watched_folders as u64);
        let (handle, phase) = (self.handle.clone(), self.phase.clone());
        let data_dir = self.config.data_dir.clone();
        tokio::spawn(async move {
            if handle.flush().await.is_ok() {
                tracing::info!(
                    files = progress.files_done,
                    bytes = progress.bytes_done,
                    lines = progress.lines,
                    duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "read all there was; folders watched: {folders}",
                );
                phase.send_if_modified(|phase| {
                    let changed = *phase == Phase::Backfilling;
                    if changed {
                        *phase = Phase::Ready;
                    }
                    changed
                });
                summarize(&data_dir).await;
            }
        });
    }

    fn is_alive(&self, ingest: &ingest::Status) -> bool {
        let writer = self.handle.status().borrow().heartbeat;
        [ingest.heartbeat, writer]
            .iter()
            .all(|heartbeat| heartbeat.is_some_and(|heartbeat| heartbeat.elapsed() <= STILL_ALIVE))
    }

    fn describe(&self, ingest: &ingest::Status) -> String {
        let sources: u64 = ingest.providers.values().map(|p| p.sources).sum();
        match *self.phase.borrow() {
            Phase::Ready => format!(
                "following {} sources, {} events stored since the start",
                text::count(sources),
                text::count(ingest.progress.events),
            ),
            _ => describe_progress(&ingest.progress, self.started.elapsed()),
        }
    }

    /// Takes up a changed configuration. A bad one changes nothing.
    async fn reload(&mut self, ingest: Ingest) -> anyhow::Result<Ingest> {
        self.supervisor.reloading();
        let loaded = Config::load(self.config.env.vars.clone(), &self.flags);
        let ingest = match loaded {
            Ok(mut config) => {
                let old = &self.config;
                let fixed: Vec<_> = [
                    ("data_dir", config.data_dir != old.data_dir),
                    ("debounce_ms", config.debounce != old.debounce),
                    ("listen", config.listen != old.listen),
                    ("log", config.log != old.log),
                    ("time_zone", config.time_zone != old.time_zone),
                ]
                .into_iter()
                .filter_map(|(name, has_changed)| has_changed.then_some(name))
                .collect();
                if !fixed.is_empty() {
                    tracing::warn!("changes at the next start only: {}", fixed.join(", "));
                }
                config.data_dir.clone_from(&old.data_dir);
                config.debounce = old.debounce;
                config.listen = old.listen;
                config.log.clone_from(&old.log);
                config.time_zone.clone_from(&old.time_zone);
                ingest.stop().await?;
                self.config = config;
                self.budgets.forget();
                let prices = Arc::new(self.config.prices.clone());
                self.handle.send(store::Job::Prices(prices)).await?;
                self.handle.flush().await?;
                let data_dir = self.config.data_dir.clone();
                let read = move || store::Reader::open(&data_dir)?.checkpoints();
                let checkpoints = tokio::task::spawn_blocking(read).await??;
                let plan = IngestPlan { checkpoints, mode: ingest::Mode::Live, force: false };
                let jobs = self.handle.sender();
                self.config_error.send_replace(None);
                self.switched_off.send_replace(self.config.switched_off());
                tracing::info!("configuration reloaded");
                Ingest::start(&self.config, plan, jobs, self.ingest_status.clone())
            }
            Err(e) => {
                tracing::error!("configuration not reloaded, the old one stays: {e}");
                self.config_error.send_replace(Some(e.to_string()));
                ingest
            }
        };
        self.supervisor.ready();
        Ok(ingest)
    }

    /// Stops in the order of the data: ingest, then the writer, which empties its queue.
    async fn stop(mut self, left: Left) -> anyhow::Result<()> {
        self.progress.clear();
        self.phase.send_replace(Phase::Stopping);
        self.supervisor.stopping();
        self.http_stop.send_replace(true);
        // It is only a hint: one that stays is found to be stale by asking.
        _ = std::fs::remove_file(address_file(&self.config.data_dir));
        if let Some(ingest) = left.ingest {
            ingest.stop().await?;
        }
        if let Some(http) = left.http {
            http.await.context("HTTP panicked")?;
        }
        let totals = self.handle.status().borrow().clone();
        drop(self);
        if let Some(writer) = left.writer {
            writer.await.context("the writer panicked")??;
        }
        tracing::info!(
            events.appended = totals.tally.appended,
            events.corrected = totals.tally.corrected,
            events.retracted = totals.tally.retracted,
            "stopped"
        );
        Ok(())
    }
}

/// Why a task that must not end did.
fn ended<E: std::error::Error + Send + Sync + 'static>(
    task: &str,
    how: Result<Result<(), E>, JoinError>,
) -> anyhow::Error {
    match how {
        Ok(Ok(())) => anyhow::anyhow!("{task} ended by itself"),
        Ok(Err(e)) => anyhow::Error::from(e).context(format!("{task} ended")),
        Err(e) => anyhow::Error::from(e).context(format!("{task} panicked")),
    }
}

/// Where a running service leaves the address it listens on.
pub(crate) fn address_file(data_dir: &Path) -> PathBuf {
    data_dir.join("tallyd.address")
}

/// Writes a file that only its owner may read, like all others in the data directory.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Says where everything is.
fn greet(config: &Config, store: &store::Store) {
    tracing::info!("days are those of {}", store.time_zone());
    if config.time_zone.is_none() && config.system_time_zone.is_none() {
        tracing::warn!(
            "the system's time zone has no name: set time_zone for days other than UTC's"
        );
    }
    if config.file_exists {
        tracing::info!("configuration from {}", config.file.display());
    }
    let roots = config.roots();
    for root in roots.iter().filter(|root| root_state(root) != AWAITED) {
        let (place, state) = (root.provider.place(&root.path), root_state(root));
        tracing::info!("{}: {} ({state})", root.provider.id(), place.display());
    }
    if let Some(awaited) = awaited_agents(config) {
        tracing::info!("{awaited}");
    }
}

/// What was found, once it is all in: the first true and useful thing a new user sees.
async fn summarize(data_dir: &Path) {
    let data_dir = data_dir.to_owned();
    let totals =
        tokio::task::spawn_blocking(move || store::Reader::open(&data_dir)?.providers(now_ms()));
    match totals.await {
        Ok(Ok(totals)) => {
            let usages = || totals.iter().map(|of| &of.usage);
            if usages().all(|of| of.figures.message_count == 0) {
                tracing::info!("no usage found yet; it is counted as soon as an agent writes it");
            }
            for of in usages().filter(|of| of.figures.message_count > 0) {
                let Figures { message_count, cost_nanousd, unpriced_count, .. } = of.figures;
                tracing::info!(
                    "{}: {}, {} tokens, cost {}",
                    of.provider,
                    text::counted(message_count, "call"),
                    text::count(of.figures.tokens()),
                    text::cost(cost_nanousd, message_count, unpriced_count),
                );
            }
        }
        Ok(Err(e)) => tracing::warn!("cannot read the totals: {e}"),
        Err(e) => tracing::warn!("cannot read the totals: {e}"),
    }
}

pub(crate) fn describe_progress(progress: &ingest::Progress, elapsed: Duration) -> String {
    let total = progress.bytes_done + progress.bytes_left;
    let percent = (progress.bytes_done * 100).checked_div(total).unwrap_or(0);
    format!(
        "reading logs: {percent} %, {} of {}, {} files left, {} records of usage, {}",
        text::bytes(progress.bytes_done),
        text::bytes(total),
        text::count(progress.files_left),
        text::count(progress.events),
        text::duration(elapsed),
    )
}

/// Log lines on standard error: without times under the journal, which adds its own.
pub(crate) fn init_logs(config: &Config, format: crate::cli::LogFormat) -> anyhow::Result<()> {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&config.log)?;
    let journal = config.env.var("JOURNAL_STREAM").is_some();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && config.env.var("NO_COLOR").is_none());
    match (format, journal) {
        (crate::cli::LogFormat::Json, _) => builder.json().flatten_event(true).init(),
        (crate::cli::LogFormat::Text, true) => builder.without_time().init(),
        (crate::cli::LogFormat::Text, false) => builder.init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    async fn panicking<T>() -> T {
        panic!("as the test wants");
    }

    /// A service in an empty home folder; the folder goes with the first value.
    async fn started() -> (tempfile::TempDir, Service, Tasks) {
        let home = tempfile::tempdir().unwrap();
        let vars = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        let flags = Flags { listen: Some("127.0.0.1:0".to_owned()), ..Flags::default() };
        let config = Config::load(vars, &flags).unwrap();
        let (service, tasks) = Service::start(config, flags).await.unwrap();
        (home, service, tasks)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn h36_a_panic_in_any_task_ends_the_service_with_an_error() {
        for (broken, expect) in [
            ("the writer", "the writer panicked"),
            ("ingest", "ingest panicked"),
            ("HTTP", "HTTP panicked"),
        ] {
            let (_home, mut service, mut tasks) = started().await;
            match broken {
                "the writer" => tasks.writer = tokio::spawn(panicking()),
                "ingest" => tasks.ingest.task = tokio::spawn(panicking()),
                _ => tasks.http = tokio::spawn(panicking()),
            }
            let mut signals = Incoming::register().unwrap();
            let watched = service.watch_over(&mut signals, tasks);
            let (ended, left) =
                tokio::time::timeout(Duration::from_secs(60), watched).await.unwrap();
            let error = ended.unwrap_err();
            assert_eq!(error.to_string(), expect);
            assert_ne!(crate::output::exit_code(&error), 0);
            // The other parts are stopped in order as ever.
            assert_eq!(left.ingest.is_some(), broken != "ingest");
            service.stop(left).await.unwrap();
        }
    }
}
