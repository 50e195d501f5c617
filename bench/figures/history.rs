//! Many calls in few bytes: days of 5,000 calls each, and small logs.
//!
//! A long history is made in pieces, whose logs are deleted once they are counted, as agents do.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::program::{Place, Service};
use crate::table::Table;
use crate::totals::{Call, MODELS, Totals};

const CALLS_A_DAY: u64 = 5_000;
const SESSIONS_A_DAY: u64 = 100;
const PROJECTS: u64 = 40;
/// Calls whose logs are on the disk at the same time.
const PIECE: u64 = 500_000;
const DAY_MS: u64 = 86_400_000;
/// 2021-01-01.
const FIRST_MS: u64 = 1_609_459_200_000;

/// The line of a call, which is as its number says.
fn line(number: u64, ts_ms: u64, session: &str, cwd: &str, totals: &mut Totals) -> String {
    // Agents' ids are in no order; a multiplication by an odd number has no collisions.
    let id = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let vary = |most: u64| (id >> 20) % most;
    let (input, output) = (vary(12) + 1, vary(700) + 3);
    let (read, write) = (vary(90_000) + 9_000, vary(900) + 150);
    let tokens = [input, output, read, write, 0].map(|tokens| tokens as i64);
    let call = Call { model: (number % 4) as usize, tokens };
    let ts = time(ts_ms);
    totals.count(&ts, &call);
    let model = MODELS[call.model].0;
    let usage = format!(
        r#"{{"input_tokens":{input},"cache_creation_input_tokens":{write},"cache_read_input_tokens":{read},"output_tokens":{output}}}"#
    );
    let message = format!(r#"{{"id":"msg_01{id:022}","model":"{model}","usage":{usage}}}"#);
    let place = format!(r#""sessionId":"{session}","cwd":"{cwd}""#);
    format!(r#"{{"type":"assistant",{place},"timestamp":"{ts}","message":{message}}}"#) + "\n"
}

fn time(ts_ms: u64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ts_ms as i64).unwrap())
}

/// A home with so many small logs, all of them counted.
pub(crate) fn small_logs(dir: &Path, sources: u64, table: &mut Table) -> Place {
    let place = Place::new(dir);
    let mut totals = Totals::none_yet();
    for source in 0..sources {
        let (session, project) = (format!("small-{source:06}"), source % (PROJECTS * 5));
        let (cwd, ts_ms) = (format!("/small/{project}"), FIRST_MS + source % 30 * DAY_MS);
        let calls = source * 10..source * 10 + 10;
        let text: String =
            calls.map(|number| line(number, ts_ms, &session, &cwd, &mut totals)).collect();
        place.append(&format!(".claude/projects/-small-{project}/{session}.jsonl"), &text);
    }
    place.backfill();
    table.check(&format!("{sources} small logs"), totals.check(&place.database()));
    place
}

pub(crate) struct History {
    pub(crate) place: Place,
    totals: Totals,
    /// Calls of whole days.
    made: u64,
    /// Calls after these, and the sets of logs they were written to.
    added: u64,
    probes: u64,
}

impl History {
    pub(crate) fn new(dir: &Path) -> Self {
        let (place, totals) = (Place::new(dir), Totals::none_yet());
        Self { place, totals, made: 0, added: 0, probes: 0 }
    }

    pub(crate) fn grow_to(&mut self, calls: u64, table: &mut Table) {
        if self.made >= calls {
            return;
        }
        let begun = Instant::now();
        while self.made < calls {
            self.write(calls.min(self.made + PIECE));
            self.place.backfill();
            fs::remove_dir_all(self.place.home.join(".claude")).unwrap();
        }
        eprintln!("history of {calls} events after {:.1} s", begun.elapsed().as_secs_f64());
        self.check(table);
    }

    fn write(&mut self, end: u64) {
        let mut logs = vec![String::new(); PROJECTS as usize];
        for number in self.made..end {
            let (day, of_day) = (number / CALLS_A_DAY, number % CALLS_A_DAY);
            let session = of_day % SESSIONS_A_DAY;
            let project = session % PROJECTS;
            let ts_ms = FIRST_MS + day * DAY_MS + of_day * 17_000;
            let (id, cwd) = (format!("s{day:05}-{session:03}"), format!("/w/{project}"));
            let line = line(number, ts_ms, &id, &cwd, &mut self.totals);
            logs[project as usize].push_str(&line);
        }
        for (project, text) in logs.iter().enumerate() {
            self.place.append(&format!(".claude/projects/-w-{project}/{end}.jsonl"), text);
        }
        self.made = end;
    }

    pub(crate) fn check(&self, table: &mut Table) {
        let what = format!("history of {} events", self.made);
        table.check(&what, self.totals.check(&self.place.database()));
    }

    fn newest_ms(&self) -> u64 {
        FIRST_MS + (self.made.div_ceil(CALLS_A_DAY) - 1) * DAY_MS
    }

    pub(crate) fn newest_day(&self) -> String {
        time(self.newest_ms())[..10].to_owned()
    }

    /// A name for a new set of logs.
    pub(crate) fn probe(&mut self) -> String {
        self.probes += 1;
        format!("probe{}", self.probes)
    }

    /// Lines of new calls at the end of the newest day, in a session and a project of their own.
    pub(crate) fn lines(&mut self, count: usize, session: &str) -> String {
        let (cwd, ts_ms) = (format!("/p/{session}"), self.newest_ms() + DAY_MS - 1);
        let first = (1 << 40) + self.added;
        self.added += count as u64;
        let numbers = first..first + count as u64;
        numbers.map(|number| line(number, ts_ms, session, &cwd, &mut self.totals)).collect()
    }

    pub(crate) fn log_of(session: &str) -> String {
        format!(".claude/projects/-p-{session}/{session}.jsonl")
    }

    /// Runs the service over it while something is measured, then checks that nothing was lost.
    pub(crate) fn serve(
        &mut self,
        table: &mut Table,
        measure: impl FnOnce(&mut Self, &mut Table, &Service),
    ) {
        let service = Service::start(&self.place);
        measure(self, table, &service);
        service.stop();
        _ = fs::remove_dir_all(self.place.home.join(".claude"));
        self.check(table);
    }
}
