//! The checks of `/health`: what is observed of each part, and when that is a concern.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ingest::RootState;
use serde_json::{Map, Value};
use store::{Mart, MartStatus, QueueState, WriterStatus};

use super::health::{Check, Checks, Verdict, time};
use super::probes::Pulse;
use crate::budgets::Standing;
use crate::live::{Live, Phase};
use crate::text;

/// Writing that fails for this long does not mend itself.
const FAILING: Duration = Duration::from_secs(5 * 60);
/// What should take milliseconds and takes this long is stuck.
const STUCK: Duration = Duration::from_secs(60);
pub(crate) const LARGE_WAL: u64 = 64 << 20;
/// What a day of heavy use may take, many times over.
pub(crate) const SMALL_DISK: u64 = 64 << 20;
/// Things named in one output; the rest is counted.
const NAMED: usize = 5;

pub(super) fn all(live: &Live) -> Checks {
    let moment = Moment { now_ms: (live.now_ms)(), is_ready: *live.phase.borrow() == Phase::Ready };
    let mut checks = Checks::new();
    checks.insert("process:uptime", vec![uptime(live, moment)]);
    checks.insert("configuration:reload", vec![configuration(live, moment)]);
    budgets(live, moment, &mut checks);
    watcher(live, moment, &mut checks);
    sources(live, moment, &mut checks);
    writer(live, moment, &mut checks);
    checks
}

/// When the checks are made, and whether the service is past its backfill.
#[derive(Clone, Copy)]
struct Moment {
    now_ms: i64,
    is_ready: bool,
}

impl Moment {
    /// When a snapshot was made, by the clock of now; one that nobody has made yet is empty as of
    /// now.
    fn seen(self, heartbeat: Option<Instant>) -> i64 {
        self.now_ms - heartbeat.map_or(0, |at| millis(at.elapsed()))
    }
}

fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

fn uptime(live: &Live, moment: Moment) -> Check {
    Check::new(moment.now_ms, live.started.elapsed().as_secs(), "s")
}

fn configuration(live: &Live, moment: Moment) -> Check {
    let error = live.config_error.borrow().clone();
    Check::new(moment.now_ms, error.is_none(), "accepted").judge(Verdict::Warn, error)
}

/// One each; none where none is configured.
fn budgets(live: &Live, moment: Moment, checks: &mut Checks) {
    let standings = live.budgets.borrow();
    let check = |standing: &Standing| {
        let percent = (standing.used_share * 1_000.0).round() / 10.0;
        let check = Check::new(moment.now_ms, percent, "%")
            .of(standing.name.as_str())
            .with("budgetNanousd", standing.budget_nanousd)
            .with("usedNanousd", standing.used_nanousd)
            .with("projectedNanousd", standing.projected_nanousd);
        let has_no_project = standing.is_unknown && standing.project.is_some();
        let is_concern = standing.is_exceeded() || has_no_project;
        let verdict = if is_concern { Verdict::Warn } else { Verdict::Pass };
        check.judge(verdict, Some(standing.describe()))
    };
    if !standings.is_empty() {
        checks.insert("budgets:used", standings.iter().map(check).collect());
    }
}

fn heartbeat(pulse: &Pulse, moment: Moment) -> Check {
    Check::new(moment.seen(pulse.seen), pulse.age.map(millis), "ms")
        .judge(Verdict::Fail, pulse.stands_still())
}

fn watcher(live: &Live, moment: Moment, checks: &mut Checks) {
    checks.insert("watcher:heartbeat", vec![heartbeat(&Pulse::of_ingest(live), moment)]);
    let status = live.ingest.borrow();
    let seen_ms = moment.seen(status.heartbeat);
    let refused = status.watch_refused.clone();
    let last_sweep = (status.last_sweep_ms > 0).then(|| time(status.last_sweep_ms));
    checks.insert(
        "watcher:folders",
        vec![
            Check::new(seen_ms, status.watched_folders, "folders")
                .with_known("lastSweep", last_sweep)
                .judge(Verdict::Warn, refused),
        ],
    );
    // Zero when nothing waits: "nothing new" must not look like "not reading".
    let waits = status.oldest_waiting.map_or(Duration::ZERO, |marked| marked.elapsed());
    let stuck = (moment.is_ready && waits > STUCK)
        .then(|| format!("a source has waited for {} s to be read", waits.as_secs()));
    checks.insert(
        "watcher:waiting",
        vec![Check::new(seen_ms, millis(waits), "ms").judge(Verdict::Warn, stuck)],
    );
}

fn sources(live: &Live, moment: Moment, checks: &mut Checks) {
    let status = live.ingest.borrow();
    let seen_ms = moment.seen(status.heartbeat);
    let count =
        |of: fn(&ingest::ProviderStatus) -> u64| -> u64 { status.providers.values().map(of).sum() };
    let check = |observed: u64| Check::new(seen_ms, observed, "sources");

    let mut found: Vec<Check> = status
        .providers
        .iter()
        .map(|(provider, counted)| {
            let newest = counted.newest_event_ms.map(time);
            check(counted.sources).of(*provider).with_known("newestEvent", newest)
        })
        .collect();
    if found.is_empty() {
        let roots: Vec<&Path> = status.roots.iter().map(|root| root.path.as_path()).collect();
        let output = (status.sweeps > 0)
            .then(|| format!("no agent logs found yet; looked in: {}", list(&roots, shown)));
        found.push(check(0).judge(Verdict::Pass, output));
    }
    checks.insert("sources:found", found);

    let unread = status.providers.iter().map(|(provider, counted)| {
        Check::new(seen_ms, counted.unread_bytes, "bytes").of(*provider)
    });
    checks.insert("sources:unread", unread.collect());

    let failing = count(|counted| counted.failing);
    let named =
        list_of(failing, &status.failing, |(path, error)| format!("{}: {error}", path.display()));
    let output = (failing > 0).then(|| format!("cannot be read: {named}"));
    checks.insert("sources:failing", vec![check(failing).judge(Verdict::Warn, output)]);

    let degraded = count(|counted| counted.degraded);
    let named = list_of(degraded, &status.degraded, |path| path.display().to_string());
    let output = (degraded > 0)
        .then(|| format!("more than a fifth of the latest lines cannot be read: {named}"));
    checks.insert("sources:degraded", vec![check(degraded).judge(Verdict::Warn, output)]);

    let missing = count(|counted| counted.missing);
    let output = (missing > 0).then(|| "deleted by their agent; what was counted stays".to_owned());
    checks.insert("sources:missing", vec![check(missing).judge(Verdict::Pass, output)]);

    let roots = status.roots.iter().filter(|root| root.state == RootState::Denied);
    let denied: BTreeSet<&Path> =
        roots.map(|root| &root.path).chain(&status.denied).map(|path| path.as_path()).collect();
    let denied: Vec<&Path> = denied.into_iter().collect();
    let output =
        (!denied.is_empty()).then(|| format!("may not be listed: {}", list(&denied, shown)));
    let check = Check::new(seen_ms, denied.len(), "folders");
    checks.insert("sources:denied", vec![check.judge(Verdict::Warn, output)]);

    let skipped = status.providers.iter().map(|(provider, counted)| {
        let reasons = counted.skips.0.iter();
        let reasons: Map<String, Value> =
            reasons.map(|(reason, n)| (reason.as_str().to_owned(), Value::from(*n))).collect();
        Check::new(seen_ms, counted.skips.faults(), "records")
            .of(*provider)
            .with("reasons", reasons)
    });
    checks.insert("sources:skipped", skipped.collect());
}

fn writer(live: &Live, moment: Moment, checks: &mut Checks) {
    checks.insert("writer:heartbeat", vec![heartbeat(&Pulse::of_writer(live), moment)]);
    let Some(store) = live.store.get() else { return };
    let status = store.status.borrow();
    let seen_ms = moment.seen(status.heartbeat);

    let (failing, error) = match &status.queue {
        QueueState::Flowing => (Duration::ZERO, None),
        QueueState::Retrying { since, error, .. } => (since.elapsed(), Some(error.clone())),
    };
    let verdict = if failing > FAILING { Verdict::Fail } else { Verdict::Warn };
    let check = Check::new(seen_ms, millis(failing), "ms")
        .with("failures", status.failures)
        .with_last(status.last_error.as_ref())
        .judge(verdict, error);
    checks.insert("writer:errors", vec![check]);
    checks.insert("marts:lag", status.marts.iter().map(|one| mart(&status, one, moment)).collect());
    database(&status, moment, checks);

    let count = status.unpriced.len();
    let models = list(&status.unpriced, |(model, calls)| {
        format!("{model} ({})", text::counted(*calls, "call"))
    });
    let output = (count > 0).then(|| format!("no price is known for {models}"));
    let calls: i64 = status.unpriced.iter().map(|(_, calls)| calls).sum();
    let check = Check::new(seen_ms, count, "models").with("calls", calls);
    let check = check.judge(Verdict::Pass, output);
    checks.insert("prices:unpriced", vec![check]);
}

fn mart(status: &WriterStatus, mart: &MartStatus, moment: Moment) -> Check {
    let lag = (status.seq - mart.watermark).max(0);
    // At least this long: the oldest event it lacks came before the last commit or with it.
    let since = status.last_commit.filter(|_| lag > 0);
    let waits = since.map_or(Duration::ZERO, |since| since.elapsed());
    let stuck = (moment.is_ready && waits > STUCK)
        .then(|| format!("events have waited for {} s to be shown", waits.as_secs()));
    Check::new(moment.seen(status.heartbeat), lag, "events")
        .of(store::marts::find(mart.name).map_or(mart.name, Mart::short_name))
        .with("lagMs", millis(waits))
        .with("watermark", mart.watermark)
        .with_known("lastRefresh", mart.last_refresh_ms.map(time))
        .with("lastRefreshUs", mart.last_duration_us)
        .with_last(mart.last_error.as_ref())
        .judge(Verdict::Warn, mart.error.clone().or(stuck))
}

fn database(status: &WriterStatus, moment: Moment, checks: &mut Checks) {
    let seen_ms = moment.seen(status.heartbeat);
    let bytes = |n: u64| Check::new(seen_ms, n, "bytes").of_datastore();
    checks.insert("database:size", vec![bytes(status.db_bytes)]);
    if let Some(free) = status.disk_free_bytes {
        let small = (free < SMALL_DISK)
            .then(|| format!("only {} are left on the disk of the database", text::bytes(free)));
        checks.insert("database:disk", vec![bytes(free).judge(Verdict::Warn, small)]);
    }
    let large = (moment.is_ready && status.wal_bytes > LARGE_WAL).then(|| {
        let size = text::bytes(status.wal_bytes);
        format!("{size} of write-ahead log: a program that reads the database keeps it")
    });
    let concern = status.wal_error.clone().or(large);
    checks.insert("database:wal", vec![bytes(status.wal_bytes).judge(Verdict::Warn, concern)]);
}

fn shown(path: &&Path) -> String {
    path.display().to_string()
}

/// The first few of many.
fn list<T>(all: &[T], name: impl Fn(&T) -> String) -> String {
    list_of(all.len() as u64, all, name)
}

/// The first few of `total`, of which some are at hand.
fn list_of<T>(total: u64, some: &[T], name: impl Fn(&T) -> String) -> String {
    let named: Vec<String> = some.iter().take(NAMED).map(name).collect();
    match total.saturating_sub(named.len() as u64) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
