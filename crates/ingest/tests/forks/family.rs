//! A thread, its fork and the fork's fork, as versions of Codex without ordinals write them.

use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;

use crate::support::script::verbs;

pub(crate) const THREADS: usize = 3;

/// The input tokens of each thread's calls, ascending.
pub(crate) type Calls = BTreeMap<String, Vec<u64>>;

#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// How many calls the eldest makes.
    pub(crate) calls: usize,
    pub(crate) forks: [Fork; THREADS - 1],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fork {
    told: Told,
    times: Times,
    totals: Totals,
    /// After so many hundredths of the parent's turns.
    at: usize,
    calls: usize,
}

verbs! {
    /// What says that a thread is a fork.
    Told {
        Named = "named",
        /// A subagent's.
        Spawned = "spawned",
        /// Nothing but its parent's first line.
        Replayed = "replayed",
    }
}

verbs! {
    /// What becomes of the times of lines that are copied.
    Times {
        Burst = "burst",
        /// So slowly that the lines look like calls of their own.
        Slow = "slow",
        Kept = "kept",
    }
}

verbs! {
    Totals {
        GoOn = "go_on",
        Anew = "anew",
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { told, times, totals, at, calls } = self;
        write!(f, "{} {} {} {at} {calls}", told.word(), times.word(), totals.word())
    }
}

impl Fork {
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let [told, times, totals, at, calls] = words else { return None };
        Some(Self {
            told: Told::parse(told)?,
            times: Times::parse(times)?,
            totals: Totals::parse(totals)?,
            at: at.parse().ok()?,
            calls: calls.parse().ok()?,
        })
    }
}

pub(crate) fn families() -> impl Strategy<Value = Family> {
    let fork = || {
        let (told, times, totals) = (Told::ALL.to_vec(), Times::ALL.to_vec(), Totals::ALL.to_vec());
        (select(told), select(times), select(totals), 0..=100_usize, 0..4_usize).prop_map(
            |((told, _), (times, _), (totals, _), at, calls)| Fork {
                told,
                times,
                totals,
                at,
                calls,
            },
        )
    };
    (1..12_usize, fork(), fork()).prop_map(|(calls, a, b)| Family { calls, forks: [a, b] })
}

/// A line: its time since midnight in milliseconds, and what stands in it beside that.
#[derive(Clone)]
struct Line {
    ms: u64,
    rest: String,
    /// The running total, of a counter.
    total: Option<u64>,
}

struct Thread {
    id: String,
    lines: Vec<Line>,
    calls: Vec<u64>,
}

const MINUTE: u64 = 60_000;

impl Thread {
    fn new(number: usize, ms: u64, more: &str) -> Self {
        let id = format!("0197a000-0000-7000-8000-00000000000{number}");
        let mut thread = Self { id, lines: Vec::new(), calls: Vec::new() };
        let meta = format!(r#"{{"id":"{}","timestamp":"{}"{more}}}"#, thread.id, time(ms));
        thread.push(ms, "session_meta", &meta);
        thread
    }

    fn push(&mut self, ms: u64, kind: &str, payload: &str) {
        let rest = format!(r#""type":"{kind}","payload":{payload}}}"#);
        self.lines.push(Line { ms, rest, total: None });
    }

    /// A turn with one call.
    fn turn(&mut self, ms: u64, total: u64, input: u64) {
        self.push(ms, "turn_context", r#"{"cwd":"/w","model":"gpt-5.5"}"#);
        self.push(ms + 5, "event_msg", r#"{"type":"user_message"}"#);
        let usage = |n: u64| format!(r#"{{"input_tokens":{n},"output_tokens":0}}"#);
        let payload = format!(
            r#"{{"type":"token_count","info":{{"total_token_usage":{},"last_token_usage":{}}}}}"#,
            usage(total),
            usage(input)
        );
        self.push(ms + 20_000, "event_msg", &payload);
        self.lines.last_mut().unwrap().total = Some(total);
        self.calls.push(input);
    }

    fn text(&self) -> String {
        let line = |line: &Line| format!("{{\"timestamp\":\"{}\",{}\n", time(line.ms), line.rest);
        self.lines.iter().map(line).collect()
    }
}

fn time(ms: u64) -> String {
    let (hours, minutes, seconds) = (ms / (60 * MINUTE), ms / MINUTE % 60, ms / 1000 % 60);
    format!("2026-01-31T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

impl Family {
    fn threads(&self) -> Vec<Thread> {
        let mut eldest = Thread::new(0, 0, "");
        for n in 1..=self.calls as u64 {
            eldest.turn(n * MINUTE, n * 1000, 1000);
        }
        let mut threads = vec![eldest];
        for (number, fork) in self.forks.iter().enumerate() {
            threads.push(fork.thread(number + 1, &threads[number]));
        }
        threads
    }

    /// Name and content of each file.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let file = |thread: &Thread| {
            (format!("rollout-2026-01-31T00-00-00-{}.jsonl", thread.id), thread.text())
        };
        self.threads().iter().map(file).collect()
    }

    pub(crate) fn calls(&self) -> Calls {
        let threads = self.threads().into_iter().filter(|thread| !thread.calls.is_empty());
        threads.map(|thread| (thread.id, thread.calls)).collect()
    }
}

impl Fork {
    fn thread(self, number: usize, parent: &Thread) -> Thread {
        // A turn has three lines.
        let turns = (parent.lines.len() - 1) / 3 * self.at / 100;
        let copied = &parent.lines[..1 + turns * 3];
        let begin_ms = copied.last().unwrap().ms + 10_000;
        let more = match self.told {
            Told::Named => format!(r#","forked_from_id":"{}""#, parent.id),
            Told::Spawned => format!(
                r#","source":{{"subagent":{{"thread_spawn":{{"parent_thread_id":"{}"}}}}}}"#,
                parent.id
            ),
            Told::Replayed => String::new(),
        };
        let mut thread = Thread::new(number, begin_ms, &more);
        let mut ms = begin_ms;
        for line in copied {
            ms += if self.times == Times::Slow { 3_000 } else { 1 };
            let ms = if self.times == Times::Kept { line.ms } else { ms };
            thread.lines.push(Line { ms, ..line.clone() });
        }
        // Such steps that no two threads ever have the same total.
        let step = [0, 17, 5][number];
        let total = copied.iter().rev().find_map(|line| line.total).unwrap_or_default();
        let base = if self.totals == Totals::GoOn { total } else { 0 };
        for n in 1..=self.calls as u64 {
            thread.turn(ms + n * MINUTE, base + n * step, step);
        }
        thread
    }
}
