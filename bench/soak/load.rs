//! Logs as agents and their users write them, and an independent count of what is in them.
//!
//! What would be gone before it was read can be counted by nobody, so files are cut and deleted only
//! once all that was written is counted: each such moment compares the totals, too.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::support::wait;
use crate::{POLL, database, line};

/// Time between two steps: about fifty steps a second.
const PAUSE: Duration = Duration::from_millis(20);
/// Logs that are written to at the same time.
const OPEN_LOGS: usize = 40;

const CLAUDE: &str = "claude-opus-5";
const CODEX: &str = "gpt-5.5";

/// What is written of one call.
#[derive(Clone, Copy)]
struct Call {
    number: usize,
    day: usize,
    input: i64,
    output: i64,
}

enum Agent {
    Claude { session: usize, calls: Vec<Call> },
    Codex { session: usize, day: usize, input: i64, output: i64 },
}

struct Log {
    path: PathBuf,
    agent: Agent,
    /// The rest of a line that was written in part.
    rest: String,
}

/// Calls, input and output tokens.
type Sums = [i64; 3];

pub(crate) struct Load {
    home: PathBuf,
    db: Connection,
    random: u64,
    next: usize,
    logs: Vec<Log>,
    counted: BTreeMap<(String, &'static str), Sums>,
    done: BTreeMap<&'static str, usize>,
    longest_wait: Duration,
}

impl Load {
    pub(crate) fn new(home: &Path, seed: u64) -> Self {
        Self {
            home: home.to_owned(),
            db: database(home),
            random: 0x9e37_79b9_7f4a_7c15 ^ seed,
            next: 0,
            logs: Vec::new(),
            counted: BTreeMap::new(),
            done: BTreeMap::new(),
            longest_wait: Duration::ZERO,
        }
    }

    /// Calls of earlier days, in logs that nobody writes to any more.
    pub(crate) fn begin_with(&mut self, calls: usize) {
        for _ in 0..100 {
            self.begin();
            let text: String = (0..calls / 100).map(|_| self.call(0)).collect();
            self.write(0, &text);
            self.logs.clear();
        }
        self.wait_until_counted();
        self.longest_wait = Duration::ZERO;
    }

    /// Does one thing to one log, now and then something rarer.
    pub(crate) fn step(&mut self) {
        std::thread::park_timeout(PAUSE);
        self.note("steps");
        if self.logs.len() < OPEN_LOGS {
            return self.begin();
        }
        let at = self.below(OPEN_LOGS);
        if !self.logs[at].rest.is_empty() {
            let rest = std::mem::take(&mut self.logs[at].rest);
            return self.write(at, &rest);
        }
        match self.below(1000) {
            0..=9 => self.rename(at),
            10..=19 => self.fork(at),
            20..=23 => self.cut(at),
            24..=33 => self.end(at),
            34..=63 => self.garbage(at),
            64..=163 => self.correct(at),
            164..=213 => self.half(at),
            _ => {
                for _ in 0..=self.below(4) {
                    let text = self.call(at);
                    self.write(at, &text);
                }
            }
        }
    }

    fn note(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn below(&mut self, n: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % n as u64).unwrap()
    }

    /// A number of tokens.
    fn tokens(&mut self, most: usize) -> i64 {
        i64::try_from(self.below(most) + 1).unwrap()
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn write(&mut self, at: usize, text: &str) {
        append(&self.logs[at].path, text.as_bytes());
    }

    fn count(&mut self, day: usize, model: &'static str, sums: Sums) {
        let counted = self.counted.entry((date(day), model)).or_default();
        for (counted, sum) in counted.iter_mut().zip(sums) {
            *counted += sum;
        }
    }

    /// A new log, often in a new folder.
    fn begin(&mut self) {
        self.note("logs begun");
        let (session, day) = (self.number(), self.below(28) + 1);
        let (path, agent) = if self.below(3) == 0 {
            let agent = Agent::Codex { session, day, input: 0, output: 0 };
            (codex_path(session, day), agent)
        } else {
            let project = self.below(60);
            let path = format!(".claude/projects/-w-{project}/{}.jsonl", id(session));
            (path, Agent::Claude { session, calls: Vec::new() })
        };
        let head = match &agent {
            Agent::Codex { .. } => codex_head(session, None, day),
            Agent::Claude { .. } => String::new(),
        };
        self.logs.push(Log { path: self.home.join(path), agent, rest: String::new() });
        let at = self.logs.len() - 1;
        let text = head + &self.call(at);
        self.write(at, &text);
    }

    /// The line of a new call, which counts from now on.
    fn call(&mut self, at: usize) -> String {
        self.note("calls");
        let number = self.number();
        let (input, output) = (self.tokens(5_000), self.tokens(500));
        let some_day = self.below(28) + 1;
        let (day, model, text) = match &mut self.logs[at].agent {
            Agent::Claude { session, calls } => {
                let call = Call { number, day: some_day, input, output };
                calls.push(call);
                (some_day, CLAUDE, claude_line(*session, call))
            }
            Agent::Codex { day, input: all_input, output: all_output, .. } => {
                *all_input += input;
                *all_output += output;
                (*day, CODEX, codex_line(*day, *all_input, *all_output))
            }
        };
        self.count(day, model, [1, input, output]);
        text
    }

    /// A later line of the same call says more.
    fn correct(&mut self, at: usize) {
        let (choice, more) = (self.below(50), self.tokens(200));
        let Agent::Claude { session, calls } = &mut self.logs[at].agent else { return };
        let Some(last) = calls.len().checked_sub(1) else { return };
        let call = &mut calls[last - choice.min(last)];
        call.output += more;
        let (day, text) = (call.day, claude_line(*session, *call));
        self.note("corrections");
        self.count(day, CLAUDE, [0, 0, more]);
        self.write(at, &text);
    }

    fn half(&mut self, at: usize) {
        self.note("lines in two parts");
        let mut text = self.call(at);
        let cut = self.below(text.len() - 2) + 1;
        let rest = text.split_off(cut);
        self.write(at, &text);
        self.logs[at].rest = rest;
    }

    fn garbage(&mut self, at: usize) {
        self.note("lines of garbage");
        let garbage: &[u8] = match self.below(4) {
            0 => b"not a record at all\n",
            1 => b"{\"type\":\"assistant\",\"message\":{\"usage\":{\"input_tokens\":-1}}}\n",
            2 => b"\xff\xfe\x00{}\n",
            _ => b"\n\n[[[[[[[[\n",
        };
        append(&self.logs[at].path, garbage);
    }

    /// Another name in the same folder, or the archive.
    fn rename(&mut self, at: usize) {
        self.note("logs renamed");
        let session = self.number();
        let log = &self.logs[at];
        let to = match log.agent {
            Agent::Claude { .. } => log.path.with_file_name(format!("{}.jsonl", id(session))),
            Agent::Codex { .. } => {
                self.home.join(".codex/archived_sessions").join(log.path.file_name().unwrap())
            }
        };
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(&log.path, &to).unwrap();
        self.logs[at].path = to;
    }

    /// A session goes on from a copy of another one, in a log of its own. The copy counts nothing.
    fn fork(&mut self, at: usize) {
        self.note("logs forked");
        let session = self.number();
        let parent = fs::read_to_string(&self.logs[at].path);
        let (path, text, agent) = match &self.logs[at].agent {
            Agent::Claude { calls, .. } => {
                let text: String = calls.iter().map(|call| claude_line(session, *call)).collect();
                let path = self.logs[at].path.with_file_name(format!("{}.jsonl", id(session)));
                // What is copied is complete: no correction follows.
                (path, text, Agent::Claude { session, calls: Vec::new() })
            }
            Agent::Codex { session: forked, day, input, output } => {
                // Garbage may be no text.
                let Ok(parent) = parent else { return };
                let path = self.home.join(codex_path(session, *day));
                let head = codex_head(session, Some(*forked), *day);
                let text = format!("{}\n{parent}", head.lines().next().unwrap());
                let agent = Agent::Codex { session, day: *day, input: *input, output: *output };
                (path, text, agent)
            }
        };
        append(&path, text.as_bytes());
        self.logs[at] = Log { path, agent, rest: String::new() };
        let text = self.call(at);
        self.write(at, &text);
    }

    /// A log is cut to nothing, and grows again.
    fn cut(&mut self, at: usize) {
        if !matches!(self.logs[at].agent, Agent::Claude { .. }) {
            return;
        }
        self.wait_until_counted();
        self.note("logs cut");
        OpenOptions::new().write(true).open(&self.logs[at].path).unwrap().set_len(0).unwrap();
        if let Agent::Claude { calls, .. } = &mut self.logs[at].agent {
            calls.clear();
        }
        let text = self.call(at);
        self.write(at, &text);
    }

    /// Nobody writes to a log any more; most are deleted, as agents do after a while.
    fn end(&mut self, at: usize) {
        let deletes = self.below(10) < 7;
        if deletes {
            self.wait_until_counted();
            self.note("logs deleted");
        }
        let log = self.logs.swap_remove(at);
        if deletes {
            fs::remove_file(log.path).unwrap();
        }
    }

    /// Waits until the marts hold exactly what was written in whole lines.
    pub(crate) fn wait_until_counted(&mut self) {
        for at in 0..self.logs.len() {
            let rest = std::mem::take(&mut self.logs[at].rest);
            self.write(at, &rest);
        }
        let mut expect = [0; 3];
        for sums in self.counted.values() {
            (0..3).for_each(|i| expect[i] += sums[i]);
        }
        let mut found = Sums::default();
        let waited = wait("all to be counted", POLL, || {
            found = self
                .db
                .query_row(
                    "SELECT ifnull(sum(message_count), 0), ifnull(sum(input_tokens), 0), \
                     ifnull(sum(output_tokens), 0) FROM daily_mart",
                    [],
                    |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]),
                )
                .unwrap();
            found.iter().zip(expect).for_each(|(found, expect)| {
                assert!(*found <= expect, "counted too much: {found} instead of {expect}");
            });
            found == expect
        });
        self.longest_wait = self.longest_wait.max(waited);
    }

    pub(crate) fn assert_counted_by_day_and_model(&self) {
        let mut rows = self
            .db
            .prepare(
                "SELECT day, model, sum(message_count), sum(input_tokens), sum(output_tokens) \
                 FROM model_day_mart GROUP BY day, model ORDER BY day, model",
            )
            .unwrap();
        let found: Vec<(String, String, Sums)> = rows
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?]))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let expect: Vec<_> = self
            .counted
            .iter()
            .map(|((day, model), sums)| (day.clone(), (*model).to_owned(), *sums))
            .collect();
        assert_eq!(found, expect);
    }

    pub(crate) fn print(&self) {
        for (what, times) in &self.done {
            line(what, times);
        }
        line("longest wait, ms", self.longest_wait.as_millis());
    }
}

fn append(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

fn date(day: usize) -> String {
    format!("2026-09-{day:02}")
}

fn id(session: usize) -> String {
    format!("0199aaaa-0000-7000-8000-{session:012}")
}

fn claude_line(session: usize, call: Call) -> String {
    let Call { number, day, input, output } = call;
    let (session, project, date) = (id(session), session % 60, date(day));
    format!(
        r#"{{"type":"assistant","uuid":"u{number}-{output}","sessionId":"{session}","cwd":"/w/{project}","requestId":"req_{number}","timestamp":"{date}T10:00:00.000Z","message":{{"id":"msg_01AAAAAAAAAA{number:010}","model":"{CLAUDE}","usage":{{"input_tokens":{input},"output_tokens":{output}}}}}}}
"#
    )
}

fn codex_path(session: usize, day: usize) -> String {
    let date = date(day);
    format!(".codex/sessions/2026/09/{day:02}/rollout-{date}T10-00-00-{}.jsonl", id(session))
}

fn codex_head(session: usize, forked: Option<usize>, day: usize) -> String {
    let (date, project, session) = (date(day), session % 60, id(session));
    let forked =
        forked.map_or(String::new(), |parent| format!(r#","forked_from_id":"{}""#, id(parent)));
    format!(
        r#"{{"timestamp":"{date}T10:00:00.000Z","type":"session_meta","payload":{{"id":"{session}","timestamp":"{date}T10:00:00.000Z","cwd":"/w/{project}","source":"cli"{forked}}}}}
{{"timestamp":"{date}T10:00:01.000Z","type":"turn_context","payload":{{"cwd":"/w/{project}","model":"{CODEX}"}}}}
"#
    )
}

fn codex_line(day: usize, input: i64, output: i64) -> String {
    let (date, total) = (date(day), input + output);
    format!(
        r#"{{"timestamp":"{date}T10:00:02.000Z","type":"event_msg","payload":{{"type":"token_count","info":{{"total_token_usage":{{"input_tokens":{input},"cached_input_tokens":0,"output_tokens":{output},"reasoning_output_tokens":0,"total_tokens":{total}}},"last_token_usage":null}}}}}}
"#
    )
}
