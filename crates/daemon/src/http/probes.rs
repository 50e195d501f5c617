//! `/livez` and `/readyz`: one question each, for whoever restarts or waits for the service.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::Response;
use super::health::{Verdict, health_json};
use crate::live::{Live, Phase};
use crate::supervisor::STILL_ALIVE;

/// Fails only where a restart is the cure: a loop that stands still.
pub(super) fn livez(live: &Live) -> Response {
    let pulses = [Pulse::of_ingest(live), Pulse::of_writer(live)];
    answer(pulses.iter().find_map(Pulse::stands_still))
}

/// Passes once everything that existed at the start is in the marts, until the service stops.
pub(super) fn readyz(live: &Live) -> Response {
    answer(describe(live))
}

/// What the service does before it is ready, and when it is no more.
pub(super) fn describe(live: &Live) -> Option<String> {
    match *live.phase.borrow() {
        Phase::Starting => Some("the database is being opened".to_owned()),
        Phase::Backfilling => {
            let progress = live.ingest.borrow().progress;
            Some(format!(
                "reading logs: {} done, {} in {} files left",
                crate::text::bytes(progress.bytes_done),
                crate::text::bytes(progress.bytes_left),
                crate::text::count(progress.files_left),
            ))
        }
        Phase::Ready => None,
        Phase::Stopping => Some("the service is stopping".to_owned()),
    }
}

/// How a loop of the daemon turns over.
pub(super) struct Pulse {
    part: &'static str,
    pub(super) seen_ms: i64,
    /// Since it last turned over; `None` for a loop that does not run yet, or no more.
    pub(super) age_ms: Option<i64>,
}

impl Pulse {
    pub(super) fn of_ingest(live: &Live) -> Self {
        Self::new("ingest", live.ingest.borrow().heartbeat_ms, live)
    }

    pub(super) fn of_writer(live: &Live) -> Self {
        let seen_ms = live.store.get().map_or(0, |store| store.status.borrow().heartbeat_ms);
        Self::new("the writer", seen_ms, live)
    }

    fn new(part: &'static str, seen_ms: i64, live: &Live) -> Self {
        let runs = seen_ms != 0 && *live.phase.borrow() != Phase::Stopping;
        // A clock that was set back makes no loop older.
        Self { part, seen_ms, age_ms: runs.then(|| ((live.now_ms)() - seen_ms).max(0)) }
    }

    pub(super) fn stands_still(&self) -> Option<String> {
        let age =
            self.age_ms.filter(|age| u128::from(age.unsigned_abs()) > STILL_ALIVE.as_millis())?;
        Some(format!("{} has stood still for {} s", self.part, age / 1_000))
    }
}

#[derive(Serialize)]
struct Document {
    status: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

fn answer(output: Option<String>) -> Response {
    if output.is_none() {
        return health_json(StatusCode::OK, &Document { status: Verdict::Pass, output });
    }
    let document = Document { status: Verdict::Fail, output };
    let mut response = health_json(StatusCode::SERVICE_UNAVAILABLE, &document);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{NOW_MS, daemon};
    use super::*;

    #[test]
    fn livez_fails_when_a_loop_stands_still() {
        let (parts, live) = daemon(Path::new(""));
        let status = || livez(&live).status().as_u16();
        assert_eq!(status(), 200);
        parts.ingest.send_modify(|ingest| ingest.heartbeat_ms = NOW_MS - 30_000);
        assert_eq!(status(), 200);
        parts.ingest.send_modify(|ingest| ingest.heartbeat_ms = NOW_MS - 30_001);
        assert_eq!(status(), 503);
        parts.ingest.send_modify(|ingest| ingest.heartbeat_ms = NOW_MS + 3_600_000);
        assert_eq!(status(), 200, "the clock was set back");
        parts.writer.send_modify(|writer| writer.heartbeat_ms = NOW_MS - 31_000);
        assert_eq!(status(), 503);
    }

    #[test]
    fn livez_passes_for_loops_that_do_not_run() {
        let (parts, live) = daemon(Path::new(""));
        parts.ingest.send_modify(|ingest| ingest.heartbeat_ms = 0);
        assert_eq!(livez(&live).status(), 200, "not begun");
        parts.writer.send_modify(|writer| writer.heartbeat_ms = NOW_MS - 60_000);
        parts.phase.send_replace(Phase::Stopping);
        assert_eq!(livez(&live).status(), 200, "ended");
    }

    #[test]
    fn readyz_passes_between_backfill_and_stop() {
        let (parts, live) = daemon(Path::new(""));
        for (phase, expect) in [
            (Phase::Starting, 503),
            (Phase::Backfilling, 503),
            (Phase::Ready, 200),
            (Phase::Stopping, 503),
        ] {
            parts.phase.send_replace(phase);
            assert_eq!(readyz(&live).status().as_u16(), expect, "{phase:?}");
        }
    }
}
