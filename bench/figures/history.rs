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
const DAY_MS: i64 = 86_400_000;
/// 2021-01-01.
const FIRST_DAY_MS: i64 = 1_609_459_200_000;

/// A call that is as `seed` says, and the agent's id of it.
fn call(seed: u64) -> (String, Call) {
    // Agents' ids are in no order; a multiplication by an odd number has no collisions.
    let id = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let vary = |most: u64| i64::try_from((id >> 20) % most).unwrap();
    let call = Call {
        model: usize::try_from(seed % 4).unwrap(),
        input: vary(12) + 1,
        output: vary(700) + 3,
        read: vary(90_000) + 9_000,
        write: vary(900) + 150,
        write_1h: 0,
    };
    (format!("msg_01{id:022}"), call)
}

fn time(ts_ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ts_ms).unwrap())
}

fn line(seed: u64, ts_ms: i64, session: &str, cwd: &str, totals: &mut Totals) -> String {
    let (id, call) = call(seed);
    let ts = time(ts_ms);
    totals.count(&ts[..10], &call);
    let Call { model, input, output, read, write, .. } = call;
    let model = MODELS[model].name;
    format!(
        r#"{{"type":"assistant","sessionId":"{session}","cwd":"{cwd}","requestId":"req_{seed:020}","timestamp":"{ts}","message":{{"id":"{id}","model":"{model}","usage":{{"input_tokens":{input},"cache_creation_input_tokens":{write},"cache_read_input_tokens":{read},"output_tokens":{output}}}}}}}
"#
    )
}

/// A home with so many small logs, all of them counted.
pub(crate) fn small_logs(dir: &Path, sources: u64, table: &mut Table) -> Place {
    let place = Place::new(dir);
    let mut totals = Totals::default();
    for source in 0..sources {
        let (session, project) = (format!("small-{source:06}"), source % (PROJECTS * 5));
        let cwd = format!("/small/{project}");
        let text: String = (0..10)
            .map(|i| {
                let day = i64::try_from(source % 30).unwrap();
                line(source * 10 + i, FIRST_DAY_MS + day * DAY_MS, &session, &cwd, &mut totals)
            })
            .collect();
        place.append(&format!(".claude/projects/-small-{project}/{session}.jsonl"), &text);
    }
    place.backfill();
    if let Err(wrong) = totals.check(&place.database()) {
        table.wrong(format!("{sources} small logs: {wrong}"));
    }
    place
}

pub(crate) struct History {
    pub(crate) place: Place,
    pub(crate) totals: Totals,
    /// Calls of whole days.
    made: u64,
    /// Calls of probes.
    probed: u64,
    probes: u32,
}

impl History {
    pub(crate) fn new(dir: &Path) -> Self {
        let place = Place::new(dir);
        Self { place, totals: Totals::default(), made: 0, probed: 0, probes: 0 }
    }

    pub(crate) fn grow_to(&mut self, calls: u64, table: &mut Table) {
        if self.made >= calls {
            return;
        }
        let begun = Instant::now();
        while self.made < calls {
            let end = calls.min(self.made + PIECE);
            self.write(end);
            self.place.backfill();
            fs::remove_dir_all(self.place.home.join(".claude")).unwrap();
        }
        eprintln!("history of {calls} events after {:.1} s", begun.elapsed().as_secs_f64());
        self.check(table);
    }

    fn write(&mut self, end: u64) {
        let mut logs: Vec<String> = (0..PROJECTS).map(|_| String::new()).collect();
        for call in self.made..end {
            let (day, of_day) = (call / CALLS_A_DAY, call % CALLS_A_DAY);
            let session = of_day % SESSIONS_A_DAY;
            let project = session % PROJECTS;
            let ts_ms = Self::day_ms(day) + i64::try_from(of_day).unwrap() * 17_000;
            let (id, cwd) = (format!("s{day:05}-{session:03}"), format!("/w/{project}"));
            let line = line(call, ts_ms, &id, &cwd, &mut self.totals);
            logs[usize::try_from(project).unwrap()].push_str(&line);
        }
        for (project, text) in logs.iter().enumerate() {
            self.place.append(&format!(".claude/projects/-w-{project}/{end}.jsonl"), text);
        }
        self.made = end;
    }

    fn day_ms(day: u64) -> i64 {
        FIRST_DAY_MS + i64::try_from(day).unwrap() * DAY_MS
    }

    pub(crate) fn check(&self, table: &mut Table) {
        if let Err(wrong) = self.totals.check(&self.place.database()) {
            table.wrong(format!("history of {} events: {wrong}", self.made));
        }
    }

    /// The newest day there is.
    fn newest_ms(&self) -> i64 {
        Self::day_ms(self.made.div_ceil(CALLS_A_DAY).max(1) - 1)
    }

    pub(crate) fn newest_day(&self) -> String {
        time(self.newest_ms())[..10].to_owned()
    }

    /// A name for new logs that are written to beside a running service.
    pub(crate) fn probe(&mut self) -> String {
        self.probes += 1;
        format!("probe{}", self.probes)
    }

    /// A number that no call has had, for a new one at the end of the newest day.
    fn next(&mut self) -> (u64, i64) {
        self.probed += 1;
        (u64::MAX / 2 + self.probed, self.newest_ms() + DAY_MS - 1)
    }

    /// Lines of new calls, in a session and a project of their own.
    pub(crate) fn lines(&mut self, count: usize, session: &str) -> String {
        let cwd = format!("/p/{session}");
        let mut text = String::new();
        for _ in 0..count {
            let (seed, ts_ms) = self.next();
            text.push_str(&line(seed, ts_ms, session, &cwd, &mut self.totals));
        }
        text
    }

    /// The time, the id and the model of a new call that is stored without a log.
    pub(crate) fn call(&mut self) -> (i64, String, &'static str, Call) {
        let (seed, ts_ms) = self.next();
        let (id, call) = call(seed);
        self.totals.count(&time(ts_ms)[..10], &call);
        (ts_ms, id, MODELS[call.model].name, call)
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
