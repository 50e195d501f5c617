//! `/livez` and `/readyz`: one question each, for whoever restarts or waits for the service.

use std::time::{Duration, Instant};

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
    /// When it last turned over; `None` for a loop that does not run yet.
    pub(super) seen: Option<Instant>,
    /// Since then; `None` for a loop that does not run yet, or no more.
    pub(super) age: Option<Duration>,
}

impl Pulse {
    pub(super) fn of_ingest(live: &Live) -> Self {
        Self::new("ingest", live.ingest.borrow().heartbeat, live)
    }

    pub(super) fn of_writer(live: &Live) -> Self {
        let seen = live.store.get().and_then(|store| store.status.borrow().heartbeat);
        Self::new("the writer", seen, live)
    }

    fn new(part: &'static str, seen: Option<Instant>, live: &Live) -> Self {
        let runs = *live.phase.borrow() != Phase::Stopping;
        Self { part, seen, age: seen.filter(|_| runs).map(|seen| seen.elapsed()) }
    }

    pub(super) fn stands_still(&self) -> Option<String> {
        let age = self.age.filter(|age| *age > STILL_ALIVE)?;
        Some(format!("{} has stood still for {} s", self.part, age.as_secs()))
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

    use super::super::testing::{ago, daemon};
    use super::*;

    #[test]
    fn livez_fails_when_a_loop_stands_still() {
        let (parts, live) = daemon(Path::new(""));
        let status = || livez(&live).status().as_u16();
        assert_eq!(status(), 200);
        parts.ingest.send_modify(|ingest| ingest.heartbeat = Some(ago(30_001)));
        assert_eq!(status(), 503);
        parts.ingest.send_modify(|ingest| ingest.heartbeat = Some(ago(0)));
        assert_eq!(status(), 200);
        parts.writer.send_modify(|writer| writer.heartbeat = Some(ago(30_001)));
        assert_eq!(status(), 503);
    }

    #[test]
    fn a_loop_stands_still_after_thirty_seconds() {
        let pulse = |ms| Pulse { part: "it", seen: None, age: Some(Duration::from_millis(ms)) };
        assert_eq!(pulse(30_000).stands_still(), None);
        assert_eq!(pulse(30_001).stands_still().unwrap(), "it has stood still for 30 s");
    }

    #[test]
    fn livez_passes_for_loops_that_do_not_run() {
        let (parts, live) = daemon(Path::new(""));
        parts.ingest.send_modify(|ingest| ingest.heartbeat = None);
        assert_eq!(livez(&live).status(), 200, "not begun");
        parts.writer.send_modify(|writer| writer.heartbeat = Some(ago(60_000)));
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
