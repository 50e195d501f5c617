//! `/health`: a verdict on every part of the daemon, from snapshots in memory alone.
//!
//! The shape is that of draft-inadarei-api-health-check-06. The whole is as bad as its worst
//! check: `pass` and `warn` are 200, `fail` is 503.
//!
//! | check | warn | fail |
//! | --- | --- | --- |
//! | `budgets:used` | more is used than the budget, or its project is not known | |
//! | `configuration:reload` | a changed configuration was refused | |
//! | `database:disk` | under 64 MiB are left beside it | |
//! | `database:size` | | |
//! | `database:wal` | cannot be copied into the database, or over 64 MiB while nothing is backfilled: some reader holds it | |
//! | `marts:lag` | a refresh failed, or events wait for over a minute | |
//! | `prices:unpriced` | | |
//! | `process:uptime` | | |
//! | `sources:degraded` | of the latest lines of a source more than a fifth cannot be read | |
//! | `sources:denied` | folders may not be listed | |
//! | `sources:failing` | any | |
//! | `sources:found` | | |
//! | `sources:missing` | | |
//! | `sources:skipped` | | |
//! | `sources:unread` | | |
//! | `watcher:folders` | some folders are swept instead of watched | |
//! | `watcher:heartbeat` | | older than 30 s |
//! | `watcher:waiting` | a source waits for over a minute while nothing is backfilled | |
//! | `writer:errors` | writing fails and is tried again | for over 5 min |
//! | `writer:heartbeat` | | older than 30 s |
//!
//! What a person may want to know but need not act on stays `pass` and has an `output`: no agent
//! has written a log yet, a model has no price (the marts count it as unpriced), an agent deleted
//! its logs. The last error of the writer and of each mart stays to be seen, with its time, when it is
//! over. A loop that does not run yet, or no more, is no failure: `/readyz` tells.

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};
use store::LastError;

use super::checks;
use super::probes;
use super::{Response, json};
use crate::live::Live;

pub(super) fn get(live: &Live) -> Response {
    let report = Report::of(live);
    let status = match report.status {
        Verdict::Pass | Verdict::Warn => StatusCode::OK,
        Verdict::Fail => StatusCode::SERVICE_UNAVAILABLE,
    };
    health_json(status, &report)
}

pub(super) fn health_json(status: StatusCode, document: &impl Serialize) -> Response {
    let mut response = json(status, document);
    let kind = HeaderValue::from_static("application/health+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Pass,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) status: Verdict,
    version: &'static str,
    description: &'static str,
    /// The data directory: it tells this service from another one on the same machine.
    service_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    checks: Checks,
}

/// Checks by `part:measure`; a part with several members has several of one name.
pub(super) type Checks = BTreeMap<&'static str, Vec<Check>>;

impl Report {
    pub(super) fn of(live: &Live) -> Self {
        let checks = checks::all(live);
        let worst = checks.values().flatten().map(|check| check.status).max();
        Self {
            status: worst.unwrap_or(Verdict::Pass),
            version: env!("CARGO_PKG_VERSION"),
            description: "usage of AI coding agents, counted as it happens",
            service_id: live.data_dir.to_string_lossy().into_owned(),
            notes: probes::describe(live).into_iter().collect(),
            checks,
        }
    }

    /// What does not pass, in words.
    pub(super) fn concerns(&self) -> impl Iterator<Item = String> {
        let all =
            self.checks.iter().flat_map(|(name, checks)| checks.iter().map(move |c| (name, c)));
        all.filter(|(_, check)| check.status != Verdict::Pass).map(|(name, check)| {
            let of = check.component_id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
            format!("{name}{of}: {}", check.output.as_deref().unwrap_or_default())
        })
    }

    /// What a check that passes has to say all the same.
    pub(super) fn said_by(&self, name: &str) -> impl Iterator<Item = &str> {
        let checks = self.checks.get(name).into_iter().flatten();
        checks.filter(|c| c.status == Verdict::Pass).filter_map(|check| check.output.as_deref())
    }
}

/// One thing observed, and what to think of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    #[serde(skip_serializing_if = "Option::is_none")]
    component_id: Option<String>,
    component_type: &'static str,
    observed_value: Value,
    observed_unit: &'static str,
    pub(super) status: Verdict,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// Facts beyond the draft's.
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Check {
    /// A check that passes until said otherwise, observed at `seen_ms`.
    pub(super) fn new(seen_ms: i64, observed: impl Into<Value>, unit: &'static str) -> Self {
        Self {
            component_id: None,
            component_type: "component",
            observed_value: observed.into(),
            observed_unit: unit,
            status: Verdict::Pass,
            time: time(seen_ms),
            output: None,
            more: Map::new(),
        }
    }

    pub(super) fn of(mut self, id: impl Into<String>) -> Self {
        self.component_id = Some(id.into());
        self
    }

    pub(super) fn of_datastore(mut self) -> Self {
        self.component_type = "datastore";
        self
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// A fact, where it is known.
    pub(super) fn with_known(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The last thing that went wrong there, be it over or not.
    pub(super) fn with_last(self, last: Option<&LastError>) -> Self {
        self.with_known("lastError", last.map(|last| last.error.clone()))
            .with_known("lastErrorTime", last.map(|last| time(last.at_ms)))
    }

    /// Says more, if there is more to say, and how bad it is.
    pub(super) fn judge(mut self, verdict: Verdict, output: Option<String>) -> Self {
        if output.is_some() {
            self.status = verdict;
            self.output = output;
        }
        self
    }
}

pub(super) fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::json;
    use store::{MartStatus, QueueState};

    use super::super::testing::{NOW_MS, Parts, ago, daemon};
    use super::*;
    use crate::live::Phase;

    /// The report after a change to a healthy daemon.
    fn report(change: impl FnOnce(&Parts)) -> Value {
        let (parts, live) = daemon(Path::new("/home/ada/tallyd"));
        change(&parts);
        let verdict = Report::of(&live).status;
        assert_eq!(get(&live).status() == StatusCode::OK, verdict != Verdict::Fail);
        serde_json::to_value(Report::of(&live)).unwrap()
    }

    /// What a change does to a check and to the whole.
    fn check(name: &str, expect: &str, change: impl FnOnce(&Parts)) -> Value {
        let report = report(change);
        let check = report["checks"][name][0].clone();
        assert_eq!(check["status"], expect, "{name}: {check}");
        assert_eq!(report["status"], expect, "{report}");
        assert!(expect == "pass" || check["output"].is_string(), "{check}");
        check
    }

    /// A time that has passed, up to a few seconds more.
    fn assert_about(observed: &Value, least: i64) {
        let observed = observed.as_i64().unwrap();
        assert!((least..least + 9_000).contains(&observed), "{observed} instead of {least}");
    }

    fn ingest(change: impl FnOnce(&mut ingest::Status)) -> impl FnOnce(&Parts) {
        |parts| parts.ingest.send_modify(change)
    }

    fn writer(change: impl FnOnce(&mut store::WriterStatus)) -> impl FnOnce(&Parts) {
        |parts| parts.writer.send_modify(change)
    }

    #[test]
    fn a_healthy_daemon_passes_and_every_check_has_its_shape() {
        let report = report(|_| {});
        assert_eq!(report["status"], "pass");
        assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(report["serviceId"], "/home/ada/tallyd");
        assert_eq!(report.get("notes"), None);
        let checks = report["checks"].as_object().unwrap();
        for (name, members) in checks {
            for check in members.as_array().unwrap() {
                for key in ["componentType", "observedUnit", "status", "time"] {
                    assert!(check[key].is_string(), "{name}: {check}");
                }
                assert!(check.get("observedValue").is_some(), "{name}: {check}");
            }
        }
        for part in ["writer", "watcher", "marts", "sources", "database", "prices"] {
            let prefix = format!("{part}:");
            assert!(checks.keys().any(|name| name.starts_with(&prefix)), "{part}");
        }
        // A busy machine may add to what was 300 ms ago, and to the 90 s since the start.
        assert_about(&checks["writer:heartbeat"][0]["observedValue"], 300);
        let time = checks["writer:heartbeat"][0]["time"].as_str().unwrap();
        assert!(time.starts_with("2026-05-28T20:26:3"), "{time}");
        assert_about(&checks["process:uptime"][0]["observedValue"], 90);
    }

    #[test]
    fn a_budget_that_is_exceeded_warns_and_each_says_how_it_stands() {
        let standing = |used_nanousd| crate::budgets::Standing {
            name: "month".into(),
            period: crate::budgets::Period::Month,
            provider: None,
            project: None,
            budget_nanousd: 200_000_000_000,
            used_nanousd,
            unpriced_count: 0,
            used_share: used_nanousd as f64 / 200e9,
            is_unknown: false,
            projected_nanousd: Some(210_000_000_000),
        };
        let budgets =
            |used| move |parts: &Parts| _ = parts.budgets.send_replace(vec![standing(used)]);
        let used = check("budgets:used", "pass", budgets(124_000_000_000));
        assert_eq!((&used["observedValue"], &used["observedUnit"]), (&json!(62.0), &json!("%")));
        assert_eq!(used["projectedNanousd"], 210_000_000_000_i64);
        assert_eq!(
            used["output"],
            "budget (month): $124.00 of $200.00, 62 %; at this rate $210.00 at its end"
        );
        let used = check("budgets:used", "warn", budgets(200_000_000_001));
        assert!(used["output"].as_str().unwrap().ends_with("; exceeded"), "{used}");
    }

    #[test]
    fn i10_a_loop_that_stands_still_fails() {
        check("watcher:heartbeat", "fail", ingest(|i| i.heartbeat = Some(ago(30_001))));
        check("writer:heartbeat", "fail", writer(|w| w.heartbeat = Some(ago(30_001))));
        check("writer:heartbeat", "pass", writer(|w| w.heartbeat = Some(ago(20_000))));
    }

    #[test]
    fn h29_a_clock_that_was_set_makes_nothing_older() {
        const DAY_MS: i64 = 86_400_000;
        for now_ms in [|| NOW_MS + DAY_MS, || NOW_MS - DAY_MS] {
            let (parts, mut live) = daemon(Path::new("/home/ada/tallyd"));
            parts.ingest.send_modify(|ingest| ingest.oldest_waiting = Some(ago(20)));
            parts.writer.send_modify(|writer| {
                (writer.seq, writer.last_commit) = (1, Some(ago(20)));
                writer.marts = vec![MartStatus::default()];
            });
            live.now_ms = now_ms;
            let report = serde_json::to_value(Report::of(&live)).unwrap();
            assert_eq!(report["status"], "pass", "{report}");
            assert_eq!(probes::livez(&live).status(), StatusCode::OK);
            // Writing that began to fail just now is no failure yet.
            parts.writer.send_modify(|writer| {
                let error = "database or disk is full".to_owned();
                writer.queue = QueueState::Retrying { since: ago(20), attempts: 1, error };
            });
            assert_eq!(Report::of(&live).status, Verdict::Warn);
        }
    }

    #[test]
    fn h38_writing_that_fails_warns_and_after_five_minutes_fails() {
        let retrying = |for_ms| {
            writer(move |writer| {
                let error = "database or disk is full".to_owned();
                writer.queue = QueueState::Retrying { since: ago(for_ms), attempts: 3, error };
            })
        };
        let warned = check("writer:errors", "warn", retrying(290_000));
        assert_eq!(warned["output"], "database or disk is full");
        assert_about(&warned["observedValue"], 290_000);
        check("writer:errors", "fail", retrying(300_001));
    }

    #[test]
    fn h22_folders_that_cannot_be_watched_warn() {
        let refused = |i: &mut ingest::Status| i.watch_refused = Some("out of watches".to_owned());
        assert_eq!(check("watcher:folders", "warn", ingest(refused))["output"], "out of watches");
    }

    #[test]
    fn a_source_that_waits_warns_unless_all_are_read_for_the_first_time() {
        let waits = |i: &mut ingest::Status| i.oldest_waiting = Some(ago(60_001));
        let warned = check("watcher:waiting", "warn", ingest(waits));
        assert_about(&warned["observedValue"], 60_001);
        let passed = check("watcher:waiting", "pass", |parts| {
            parts.ingest.send_modify(waits);
            parts.phase.send_replace(Phase::Backfilling);
        });
        assert_about(&passed["observedValue"], 60_001);
    }

    #[test]
    fn sources_that_cannot_be_read_warn_and_are_named() {
        let counted = ingest::ProviderStatus { sources: 90, failing: 70, ..Default::default() };
        let named = check(
            "sources:failing",
            "warn",
            ingest(move |i| {
                i.providers.insert("codex", counted);
                let failing = (0..7).map(|n| (PathBuf::from(format!("/{n}")), "denied".to_owned()));
                i.failing = failing.collect();
            }),
        );
        assert_eq!(named["observedValue"], 70);
        let expect = "cannot be read: /0: denied, /1: denied, /2: denied, /3: denied, \
                      /4: denied and 65 more";
        assert_eq!(named["output"], expect);
        let degraded = check("sources:degraded", "warn", |parts| {
            let counted = ingest::ProviderStatus { degraded: 1, ..Default::default() };
            parts.ingest.send_modify(|i| {
                i.providers.insert("codex", counted);
                i.degraded = vec!["/a".into()];
            });
        });
        let expect = "more than a fifth of the latest lines cannot be read: /a";
        assert_eq!(degraded["output"], expect);
        let denied = check("sources:denied", "warn", |parts| {
            parts.ingest.send_modify(|i| i.denied = vec!["/a".into(), "/b".into()]);
        });
        assert_eq!(denied["observedValue"], 2);
    }

    #[test]
    fn a_machine_without_agents_is_healthy() {
        let root = ingest::RootStatus {
            provider: "codex",
            path: "/home/a/.codex".into(),
            place: "/home/a/.codex".into(),
            state: ingest::RootState::Awaited,
        };
        let found =
            check("sources:found", "pass", ingest(|i| (i.roots, i.sweeps) = (vec![root], 1)));
        assert_eq!(found["observedValue"], 0);
        assert_eq!(found["output"], "no agent logs found yet; looked in: /home/a/.codex");
    }

    #[test]
    fn what_was_skipped_is_counted_by_provider_and_reason() {
        let mut counted = ingest::ProviderStatus { sources: 3, missing: 1, ..Default::default() };
        for reason in [usage::Skip::Malformed, usage::Skip::Malformed, usage::Skip::Synthetic] {
            counted.skips.add(reason);
        }
        let skipped = check(
            "sources:skipped",
            "pass",
            ingest(move |i| _ = i.providers.insert("codex", counted)),
        );
        assert_eq!(skipped["componentId"], "codex");
        assert_eq!(skipped["observedValue"], 2, "synthetic text is no fault");
        assert_eq!(skipped["reasons"], json!({"malformed": 2, "synthetic": 1}));
    }

    #[test]
    fn what_is_found_and_what_of_it_is_unread_is_told_by_provider() {
        let counted = ingest::ProviderStatus {
            sources: 3,
            unread_bytes: 55,
            newest_event_ms: Some(NOW_MS),
            ..Default::default()
        };
        let report = report(ingest(move |i| {
            i.providers.insert("codex", counted);
            i.last_sweep_ms = NOW_MS;
        }));
        let found = &report["checks"]["sources:found"][0];
        assert_eq!((&found["componentId"], &found["observedValue"]), (&json!("codex"), &json!(3)));
        assert_eq!(found["newestEvent"], "2026-05-28T20:26:40Z");
        let unread = &report["checks"]["sources:unread"][0];
        assert_eq!(unread["componentId"], "codex");
        assert_eq!(
            (&unread["observedValue"], &unread["observedUnit"]),
            (&json!(55), &json!("bytes"))
        );
        assert_eq!(report["checks"]["watcher:folders"][0]["lastSweep"], "2026-05-28T20:26:40Z");
    }

    #[test]
    fn what_went_wrong_last_is_told_when_it_is_over() {
        let last = || Some(LastError { error: "disk I/O error".to_owned(), at_ms: NOW_MS - 1_000 });
        let report = report(writer(move |w| {
            (w.failures, w.last_error) = (4, last());
            let mart = MartStatus { name: "daily_mart", ..Default::default() };
            w.marts = vec![MartStatus {
                last_error: last(),
                last_refresh_ms: Some(NOW_MS),
                last_duration_us: 350,
                ..mart
            }];
        }));
        for check in ["writer:errors", "marts:lag"] {
            let check = &report["checks"][check][0];
            assert_eq!(check["status"], "pass", "it is over");
            assert_eq!(check["lastError"], "disk I/O error");
            assert_eq!(check["lastErrorTime"], "2026-05-28T20:26:39Z");
        }
        assert_eq!(report["checks"]["writer:errors"][0]["failures"], 4);
        assert_eq!(report["checks"]["marts:lag"][0]["lastRefresh"], "2026-05-28T20:26:40Z");
        assert_eq!(report["checks"]["marts:lag"][0]["lastRefreshUs"], 350);
    }

    #[test]
    fn a_disk_that_is_nearly_full_warns() {
        let left = |bytes: u64| writer(move |w| w.disk_free_bytes = Some(bytes));
        let warned = check("database:disk", "warn", left((64 << 20) - 1));
        assert_eq!(warned["output"], "only 67.1 MB are left on the disk of the database");
        assert_eq!(warned["observedUnit"], "bytes");
        check("database:disk", "pass", left(64 << 20));
    }

    #[test]
    fn marts_say_how_far_behind_they_are() {
        let mart = MartStatus { name: "daily_mart", watermark: 40, ..Default::default() };
        let behind = |ms: u64, error: Option<&str>| {
            let error = error.map(str::to_owned);
            let mart = MartStatus { error, ..mart.clone() };
            writer(move |writer| {
                writer.seq = 42;
                writer.last_commit = Some(ago(ms));
                writer.marts = vec![mart];
            })
        };
        let lag = check("marts:lag", "pass", behind(20, None));
        assert_eq!(lag["componentId"], "daily");
        assert_eq!(lag["observedValue"], 2);
        assert_about(&lag["lagMs"], 20);
        assert_eq!(lag["watermark"], 40);
        check("marts:lag", "warn", behind(60_001, None));
        let idle = check("marts:lag", "pass", |parts| {
            behind(3_600_000, None)(parts);
            parts.writer.send_modify(|writer| writer.marts[0].watermark = 42);
        });
        assert_eq!(idle["lagMs"], 0, "nothing new is not behind");
        let failed = check("marts:lag", "warn", behind(20, Some("no such column: x")));
        assert_eq!(failed["output"], "no such column: x");
    }

    #[test]
    fn h40_a_write_ahead_log_that_grows_warns_unless_all_is_read_for_the_first_time() {
        let large = |w: &mut store::WriterStatus| w.wal_bytes = (64 << 20) + 1;
        check("database:wal", "warn", writer(large));
        check("database:wal", "pass", |parts| {
            parts.writer.send_modify(large);
            parts.phase.send_replace(Phase::Backfilling);
        });
    }

    #[test]
    fn h39_a_write_ahead_log_that_cannot_be_copied_warns() {
        let error = "cannot checkpoint: disk I/O error";
        let failed = |w: &mut store::WriterStatus| w.wal_error = Some(error.to_owned());
        assert_eq!(check("database:wal", "warn", writer(failed))["output"], error);
    }

    #[test]
    fn models_without_a_price_are_named_and_no_concern() {
        let unpriced = check(
            "prices:unpriced",
            "pass",
            writer(|w| w.unpriced = [("gpt-99".to_owned(), 5)].into()),
        );
        assert_eq!((&unpriced["observedValue"], &unpriced["calls"]), (&json!(1), &json!(5)));
        assert_eq!(unpriced["output"], "no price is known for gpt-99 (5 calls)");
    }

    #[test]
    fn h33_a_refused_configuration_warns() {
        let refused = |parts: &Parts| {
            parts.config_error.send_replace(Some("unknown key `listn`".to_owned()));
        };
        check("configuration:reload", "warn", refused);
    }

    #[test]
    fn what_the_service_does_before_it_is_ready_is_a_note() {
        let notes = report(|parts| {
            parts.phase.send_replace(Phase::Backfilling);
            parts.ingest.send_modify(|i| i.progress.files_left = 3);
        });
        assert_eq!(notes["status"], "pass");
        assert_eq!(notes["notes"], json!(["reading logs: 0 B done, 0 B in 3 files left"]));
    }
}
