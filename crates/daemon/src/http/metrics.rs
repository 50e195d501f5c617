//! `/metrics`: what the parts of the daemon have done, in the form that Prometheus reads.
//!
//! Answered as `/health` is, from snapshots in memory. Counters begin at the start of the process.
//! Labels take few values: providers, marts, reasons, checks, and the models that lack a price most.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use store::{Mart, MartStatus, QueueState, WriterStatus};

use super::checks;
use super::exposition::{Exposition, Kind};
use super::health::Verdict;
use super::probes::Pulse;
use super::{Response, with_body};
use crate::live::{Live, Phase};

pub(super) fn get(live: &Live) -> Response {
    let mut response = with_body(StatusCode::OK, write(live));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn write(live: &Live) -> String {
    let mut out = Exposition::default();
    process(live, &mut out);
    health(live, &mut out);
    budgets(live, &mut out);
    {
        let status = live.ingest.borrow();
        sources(&status, &mut out);
        read(&status, &mut out);
    }
    if let Some(store) = live.store.get() {
        let status = store.status.borrow();
        events(&status, &mut out);
        marts(&status, &mut out);
        writer(&status, &mut out);
    }
    out.into_text()
}

fn process(live: &Live, out: &mut Exposition) {
    let version = env!("CARGO_PKG_VERSION");
    out.begin("tallyd_build_info", Kind::Gauge, "The version that runs; always 1.");
    out.sample("tallyd_build_info", &[("version", version)], 1);
    let uptime = live.started.elapsed().as_secs_f64();
    out.gauge("tallyd_uptime_seconds", "Time since the start of the process.", uptime);
    let is_ready = u8::from(*live.phase.borrow() == Phase::Ready);
    out.gauge("tallyd_ready", "1 once the first backfill is in the marts, as /readyz.", is_ready);
}

fn health(live: &Live, out: &mut Exposition) {
    const STATUS: &str = "tallyd_health_status";
    out.begin(STATUS, Kind::Gauge, "Each check of /health: 0 pass, 1 warn, 2 fail.");
    for (check, members) in checks::all(live) {
        let worst = members.iter().map(|member| member.status).max().unwrap_or(Verdict::Pass);
        out.sample(STATUS, &[("check", check)], worst as u8);
    }
    const AGE: &str = "tallyd_heartbeat_age_seconds";
    out.begin(AGE, Kind::Gauge, "Time since a loop of the service last turned over.");
    for (part, pulse) in [("ingest", Pulse::of_ingest(live)), ("writer", Pulse::of_writer(live))] {
        if let Some(age) = pulse.age {
            out.sample(AGE, &[("loop", part)], age.as_secs_f64());
        }
    }
}

/// Nothing where none is configured.
fn budgets(live: &Live, out: &mut Exposition) {
    let standings = live.budgets.borrow();
    if standings.is_empty() {
        return;
    }
    const SHARE: &str = "tallyd_budget_used_ratio";
    out.begin(SHARE, Kind::Gauge, "How much of a budget is used; 1 is all of it.");
    for standing in standings.iter() {
        out.sample(SHARE, &[("budget", &standing.name)], standing.used_share);
    }
    const PROJECTED: &str = "tallyd_budget_projected_ratio";
    out.begin(PROJECTED, Kind::Gauge, "How much of it will be used at the rate so far.");
    for standing in standings.iter() {
        if let Some(share) = standing.projected_share() {
            out.sample(PROJECTED, &[("budget", &standing.name)], share);
        }
    }
}

fn sources(status: &ingest::Status, out: &mut Exposition) {
    let mut gauge = |name, help, of: fn(&ingest::ProviderStatus) -> u64| {
        out.begin(name, Kind::Gauge, help);
        for (provider, counted) in &status.providers {
            out.sample(name, &[("provider", provider)], of(counted));
        }
    };
    gauge("tallyd_sources", "Logs and databases that are known.", |p| p.sources);
    gauge("tallyd_sources_failing", "Those that cannot be read.", |p| p.failing);
    gauge(
        "tallyd_sources_degraded",
        "Those of whose latest lines more than a fifth cannot be read.",
        |p| p.degraded,
    );
    gauge("tallyd_sources_missing", "Those that their agent deleted.", |p| p.missing);
    gauge("tallyd_unread_bytes", "Bytes that are there and not read yet.", |p| p.unread_bytes);
    const NEWEST: &str = "tallyd_newest_event_timestamp_seconds";
    out.begin(NEWEST, Kind::Gauge, "When the newest call that was read was made.");
    for (provider, counted) in &status.providers {
        if let Some(newest_ms) = counted.newest_event_ms {
            out.sample(NEWEST, &[("provider", provider)], seconds(newest_ms));
        }
    }
    let waits = status.oldest_waiting.map_or(0.0, |marked| marked.elapsed().as_secs_f64());
    out.gauge(
        "tallyd_oldest_waiting_seconds",
        "How long a source has waited to be read; 0 when none waits.",
        waits,
    );
    out.gauge("tallyd_watched_folders", "Folders that are watched.", status.watched_folders);
    out.gauge("tallyd_denied_folders", "Folders that may not be listed.", status.denied.len());
}

fn read(status: &ingest::Status, out: &mut Exposition) {
    let mut counter = |name, help, of: fn(&ingest::Read) -> u64| {
        out.begin(name, Kind::Counter, help);
        for (provider, read) in &status.read {
            out.sample(name, &[("provider", provider)], of(read));
        }
    };
    counter("tallyd_read_bytes_total", "Bytes read of sources.", |read| read.bytes);
    counter("tallyd_read_lines_total", "Lines and rows read of sources.", |read| read.lines);
    const SKIPPED: &str = "tallyd_skipped_records_total";
    out.begin(SKIPPED, Kind::Counter, "Records read and not counted, by reason.");
    for (provider, read) in &status.read {
        for (reason, skipped) in &read.skips.0 {
            let labels = [("provider", *provider), ("reason", reason.as_str())];
            out.sample(SKIPPED, &labels, skipped);
        }
    }
}

fn events(status: &WriterStatus, out: &mut Exposition) {
    const EVENTS: &str = "tallyd_events_total";
    out.begin(EVENTS, Kind::Counter, "Changes to usage_events by what was read.");
    for (provider, tally) in &status.providers {
        for (change, n) in [
            ("appended", tally.appended),
            ("corrected", tally.corrected),
            ("retracted", tally.retracted),
        ] {
            out.sample(EVENTS, &[("provider", provider), ("change", change)], n);
        }
    }
    out.gauge("tallyd_log_position", "The newest position in usage_events.", status.seq);
    const UNPRICED: &str = "tallyd_unpriced_calls";
    out.begin(
        UNPRICED,
        Kind::Gauge,
        "Stored calls that no price is known for, of the 20 models that have most.",
    );
    for (model, calls) in status.unpriced.iter() {
        out.sample(UNPRICED, &[("model", model)], calls);
    }
}

fn marts(status: &WriterStatus, out: &mut Exposition) {
    let short =
        |mart: &MartStatus| store::marts::find(mart.name).map_or(mart.name, Mart::short_name);
    let mut each = |name, kind, help, of: fn(&MartStatus) -> Option<f64>| {
        out.begin(name, kind, help);
        for mart in &status.marts {
            if let Some(value) = of(mart) {
                out.sample(name, &[("mart", short(mart))], value);
            }
        }
    };
    each(
        "tallyd_mart_watermark",
        Kind::Gauge,
        "The position in usage_events up to which a mart is correct.",
        |mart| Some(mart.watermark as f64),
    );
    each(
        "tallyd_mart_last_refresh_timestamp_seconds",
        Kind::Gauge,
        "When a mart was last refreshed.",
        |mart| mart.last_refresh_ms.map(seconds),
    );
    each(
        "tallyd_mart_failing",
        Kind::Gauge,
        "1 while the last refresh of a mart failed.",
        |mart| Some(f64::from(u8::from(mart.error.is_some()))),
    );
    each(
        "tallyd_mart_refresh_failures_total",
        Kind::Counter,
        "Refreshes that failed for a mart.",
        |mart| Some(mart.failures as f64),
    );
    const REFRESH: &str = "tallyd_mart_refresh_seconds";
    out.begin(REFRESH, Kind::Summary, "What each mart took of the refreshes.");
    for mart in &status.marts {
        let labels = [("mart", short(mart))];
        let sum = mart.total_duration_us as f64 / 1e6;
        out.sample(&format!("{REFRESH}_sum"), &labels, sum);
        out.sample(&format!("{REFRESH}_count"), &labels, mart.refreshes);
    }
}

fn writer(status: &WriterStatus, out: &mut Exposition) {
    out.histogram(
        "tallyd_freshness_seconds",
        "From the first word of what was written to the commit that shows it in all marts. \
         What only a sweep found is not in it.",
        &status.freshness,
    );
    out.histogram(
        "tallyd_refresh_seconds",
        "Transactions that refresh the marts.",
        &status.refreshes,
    );
    out.histogram("tallyd_append_seconds", "Transactions that append events.", &status.appends);
    const FAILURES: &str = "tallyd_write_failures_total";
    out.begin(
        FAILURES,
        Kind::Counter,
        "Times that nothing could be stored and it was tried again.",
    );
    out.sample(FAILURES, &[], status.failures);
    let failing = match &status.queue {
        QueueState::Flowing => 0.0,
        QueueState::Retrying { since, .. } => since.elapsed().as_secs_f64(),
    };
    out.gauge(
        "tallyd_write_failing_seconds",
        "How long nothing could be stored by now; 0 while all is well.",
        failing,
    );
    out.gauge("tallyd_database_bytes", "Size of the database.", status.db_bytes);
    out.gauge("tallyd_wal_bytes", "Size of its write-ahead log.", status.wal_bytes);
    if let Some(free) = status.disk_free_bytes {
        out.gauge("tallyd_disk_free_bytes", "Room left on the disk of the database.", free);
    }
}

fn seconds(unix_ms: i64) -> f64 {
    unix_ms as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use store::Tally;

    use super::super::testing::{NOW_MS, Parts, ago, daemon};
    use super::*;

    /// The lines after a change to a healthy daemon.
    fn lines(change: impl FnOnce(&Parts)) -> Vec<String> {
        let (parts, live) = daemon(Path::new(""));
        change(&parts);
        write(&live).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(change: impl FnOnce(&Parts), expect: &[&str]) {
        let lines = lines(change);
        for expect in expect {
            assert!(lines.iter().any(|line| line == expect), "{expect} is not in {lines:#?}");
        }
    }

    #[test]
    fn what_was_read_is_told_by_provider() {
        let change = |parts: &Parts| {
            parts.ingest.send_modify(|ingest| {
                let mut read = ingest::Read { bytes: 900, lines: 7, ..Default::default() };
                [usage::Skip::Malformed; 2].into_iter().for_each(|skip| read.skips.add(skip));
                ingest.read.insert("codex", read);
                let counted = ingest::ProviderStatus {
                    sources: 3,
                    failing: 1,
                    unread_bytes: 55,
                    newest_event_ms: Some(NOW_MS),
                    ..Default::default()
                };
                ingest.providers.insert("codex", counted);
            });
        };
        check(
            change,
            &[
                "tallyd_read_bytes_total{provider=\"codex\"} 900",
                "tallyd_read_lines_total{provider=\"codex\"} 7",
                "tallyd_skipped_records_total{provider=\"codex\",reason=\"malformed\"} 2",
                "tallyd_sources{provider=\"codex\"} 3",
                "tallyd_sources_failing{provider=\"codex\"} 1",
                "tallyd_unread_bytes{provider=\"codex\"} 55",
                "tallyd_newest_event_timestamp_seconds{provider=\"codex\"} 1780000000",
                "tallyd_health_status{check=\"sources:failing\"} 1",
                "tallyd_health_status{check=\"writer:heartbeat\"} 0",
            ],
        );
    }

    #[test]
    fn what_was_written_is_told_by_provider_mart_and_model() {
        let change = |parts: &Parts| {
            parts.writer.send_modify(|writer| {
                let tally = Tally { appended: 5, corrected: 2, retracted: 1, unchanged: 9 };
                writer.providers.insert("codex".to_owned(), tally);
                writer.seq = 8;
                writer.marts = vec![MartStatus {
                    name: "provider_day_mart",
                    watermark: 6,
                    refreshes: 2,
                    total_duration_us: 1_500,
                    error: Some("no such column".to_owned()),
                    failures: 1,
                    ..Default::default()
                }];
                writer.freshness.observe(Duration::from_millis(4));
                writer.unpriced = [("gpt \"99\"".to_owned(), 5)].into();
                writer.disk_free_bytes = Some(70);
            });
        };
        check(
            change,
            &[
                "tallyd_events_total{provider=\"codex\",change=\"appended\"} 5",
                "tallyd_events_total{provider=\"codex\",change=\"corrected\"} 2",
                "tallyd_events_total{provider=\"codex\",change=\"retracted\"} 1",
                "tallyd_log_position 8",
                "tallyd_mart_watermark{mart=\"provider_day\"} 6",
                "tallyd_mart_failing{mart=\"provider_day\"} 1",
                "tallyd_mart_refresh_failures_total{mart=\"provider_day\"} 1",
                "tallyd_mart_refresh_seconds_sum{mart=\"provider_day\"} 0.0015",
                "tallyd_mart_refresh_seconds_count{mart=\"provider_day\"} 2",
                "tallyd_freshness_seconds_bucket{le=\"0.005\"} 1",
                "tallyd_freshness_seconds_bucket{le=\"0.003\"} 0",
                "tallyd_unpriced_calls{model=\"gpt \\\"99\\\"\"} 5",
                "tallyd_disk_free_bytes 70",
            ],
        );
    }

    #[test]
    fn what_the_service_is_at_is_told() {
        check(|_| {}, &["tallyd_ready 1", "tallyd_write_failing_seconds 0"]);
        check(|parts| _ = parts.phase.send_replace(Phase::Backfilling), &["tallyd_ready 0"]);
        let failing = lines(|parts| {
            let error = "disk full".to_owned();
            parts.writer.send_modify(|writer| {
                writer.queue = QueueState::Retrying { since: ago(5_000), attempts: 3, error };
                writer.failures = 3;
            });
        });
        assert!(failing.contains(&"tallyd_write_failures_total 3".to_owned()), "{failing:#?}");
        let seconds = failing.iter().find_map(|l| l.strip_prefix("tallyd_write_failing_seconds "));
        assert!(seconds.unwrap().parse::<f64>().unwrap() >= 5.0, "{failing:#?}");
    }

    #[test]
    fn it_is_answered_before_the_database_is_open() {
        let (_parts, live) = daemon(Path::new(""));
        let live = Live { store: std::sync::Arc::default(), ..live };
        assert_eq!(get(&live).status(), StatusCode::OK);
        assert!(write(&live).contains("tallyd_ready 1\n"));
    }
}
