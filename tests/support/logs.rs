//! Logs as the agents write them, of any size: responses in pieces that grow, forks, subagents,
//! prompts, totals and records.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Home, Random, append};

/// A log, line by line.
pub(crate) struct Log {
    /// Where it is begun, below the home folder.
    pub(crate) path: String,
    /// Where it is moved to before its second half is written.
    pub(crate) moved: Option<String>,
    /// The log that must be whole before this one is begun: it is copied from there.
    pub(crate) after: Option<usize>,
    pub(crate) lines: Vec<String>,
}

impl Log {
    pub(crate) fn last_path(&self) -> &str {
        self.moved.as_deref().unwrap_or(&self.path)
    }
}

/// Writes whole logs, where they end up.
pub(crate) fn write_all(home: &Home, logs: &[Log]) {
    for log in logs {
        home.write(log.last_path(), log.lines.concat());
    }
}

/// Writes logs as the agents would: a few lines at a time, here and there, a log that was moved at
/// its new place from then on.
pub(crate) fn write_slowly(home: &Path, logs: &[Log], random: &mut Random, pace: Duration) {
    let mut written = vec![0; logs.len()];
    loop {
        let whole = |n: usize, written: &[usize]| written[n] == logs[n].lines.len();
        let open: Vec<usize> = (0..logs.len())
            .filter(|&n| !whole(n, &written))
            .filter(|&n| logs[n].after.is_none_or(|parent| whole(parent, &written)))
            .collect();
        let Some(&n) = open.get(random.below(open.len().max(1))) else { return };
        let (log, from) = (&logs[n], written[n]);
        let to = (from + 1 + random.below(8)).min(log.lines.len());
        let half = log.lines.len() / 2;
        let mut path = home.join(&log.path);
        if from >= half
            && let Some(moved) = &log.moved
        {
            let moved = home.join(moved);
            if !moved.exists() {
                fs::create_dir_all(moved.parent().unwrap()).unwrap();
                fs::rename(&path, &moved).unwrap();
            }
            path = moved;
        }
        // What goes to the new place is written after the move.
        let to = if from < half { to.min(half) } else { to };
        let bytes = log.lines[from..to].concat().into_bytes();
        // Half a line first, now and then.
        let cut = if random.below(4) == 0 { random.below(bytes.len()) } else { 0 };
        append(&path, &bytes[..cut]);
        append(&path, &bytes[cut..]);
        written[n] = to;
        thread::park_timeout(pace);
    }
}

/// Groups of six logs: a Claude session, its subagent and its fork; a Codex thread, its fork and a
/// thread that writes records. Each has about `calls` calls.
pub(crate) fn generate(random: &mut Random, groups: usize, calls: usize) -> Vec<Log> {
    let mut logs = Vec::new();
    for group in 0..groups {
        let first = logs.len();
        logs.push(claude_session(random, group, calls));
        logs.push(claude_subagent(random, group, calls));
        let fork = claude_fork(random, group, &logs[first], calls / 2);
        logs.push(Log { after: Some(first), ..fork });
        logs.push(codex_thread(random, group, calls));
        let fork = codex_fork(random, group, &logs[first + 3], calls / 2);
        logs.push(Log { after: Some(first + 3), ..fork });
        logs.push(codex_records(random, group, calls));
    }
    logs
}

/// Text that only takes room.
fn padding(random: &mut Random) -> String {
    "lorem ipsum ".repeat(20 + random.below(60))
}

fn time(group: usize, second: usize) -> String {
    let (day, minute) = (1 + group % 28, second / 60);
    format!(
        "2026-09-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        minute / 60 % 24,
        minute % 60,
        second % 60,
        group
    )
}

// ---- Claude Code

const CLAUDE_MODELS: [&str; 4] =
    ["claude-opus-5", "claude-haiku-4-5", "claude-sonnet-4", "house-model"];

struct Claude<'a> {
    session: &'a str,
    cwd: String,
    /// More fields of each record.
    more: String,
}

impl Claude<'_> {
    fn prompt(&self, random: &mut Random, id: &str, at: &str) -> String {
        let Self { session, cwd, more } = self;
        let text = padding(random);
        format!(
            r#"{{"type":"user","uuid":"p-{id}","sessionId":"{session}","cwd":"{cwd}","version":"2.1.260","timestamp":"{at}"{more},"message":{{"role":"user","content":"{text}"}}}}
"#
        )
    }

    /// A response as it is logged: one to three records, of which the last may say more.
    fn response(&self, random: &mut Random, id: &str, at: &str) -> Vec<String> {
        let Self { session, cwd, more } = self;
        let model = CLAUDE_MODELS[random.below(CLAUDE_MODELS.len())];
        let (input, read, write) = (random.below(90), random.below(90_000), random.below(9_000));
        let mut output = 1 + random.below(40);
        let mut records = Vec::new();
        for piece in 0..1 + random.below(3) {
            output += random.below(2) * random.below(900);
            let text = padding(random);
            records.push(format!(
                r#"{{"type":"assistant","uuid":"u-{id}-{piece}","sessionId":"{session}","cwd":"{cwd}","version":"2.1.260","requestId":"req_{id}","timestamp":"{at}"{more},"message":{{"id":"msg_01{id:A>22}","role":"assistant","model":"{model}","content":[{{"type":"text","text":"{text}"}}],"usage":{{"input_tokens":{input},"cache_creation_input_tokens":{write},"cache_read_input_tokens":{read},"cache_creation":{{"ephemeral_5m_input_tokens":{write},"ephemeral_1h_input_tokens":0}},"output_tokens":{output}}}}}}}
"#
            ));
        }
        records
    }

    fn talk(&self, random: &mut Random, name: &str, group: usize, calls: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for call in 0..calls {
            let (id, at) = (format!("{name}{group}x{call}"), time(group, call * 20));
            if call % 5 == 0 {
                lines.push(self.prompt(random, &id, &at));
            }
            lines.extend(self.response(random, &id, &at));
        }
        lines
    }
}

fn claude_log(path: String, lines: Vec<String>) -> Log {
    Log { path, moved: None, after: None, lines }
}

fn session_id(kind: usize, group: usize) -> String {
    format!("5e55{kind:04}-0000-4000-8000-{group:012}")
}

fn cwd(group: usize) -> String {
    format!("/w/project-{}", group % 5)
}

fn claude_session(random: &mut Random, group: usize, calls: usize) -> Log {
    let session = session_id(0, group);
    let claude = Claude { session: &session, cwd: cwd(group), more: String::new() };
    let lines = claude.talk(random, "S", group, calls);
    let log = claude_log(format!(".claude/projects/-w-{}/{session}.jsonl", group % 5), lines);
    // Every other one is moved to another project's folder.
    let moved = format!(".claude/projects/-w-moved/{session}.jsonl");
    Log { moved: (group % 2 == 1).then_some(moved), ..log }
}

fn claude_subagent(random: &mut Random, group: usize, calls: usize) -> Log {
    let session = session_id(0, group);
    let more = format!(r#","isSidechain":true,"agentId":"a{group}""#);
    let claude = Claude { session: &session, cwd: cwd(group), more };
    let lines = claude.talk(random, "A", group, calls);
    let folder = format!(".claude/projects/-w-{}/{session}/subagents", group % 5);
    claude_log(format!("{folder}/agent-a{group}.jsonl"), lines)
}

/// Opens with a copy of its parent's first half, under its own session.
fn claude_fork(random: &mut Random, group: usize, parent: &Log, calls: usize) -> Log {
    let (old, session) = (session_id(0, group), session_id(1, group));
    let copied = parent.lines.iter().take(parent.lines.len() / 2).map(|line| {
        let own = format!(r#""sessionId":"{session}","forkedFrom":{{"sessionId":"{old}"}}"#);
        line.replace(&format!(r#""sessionId":"{old}""#), &own)
    });
    let mut lines: Vec<String> = copied.collect();
    let claude = Claude { session: &session, cwd: cwd(group), more: String::new() };
    lines.extend(claude.talk(random, "F", group, calls));
    claude_log(format!(".claude/projects/-w-{}/{session}.jsonl", group % 5), lines)
}

// ---- Codex

const CODEX_MODELS: [&str; 3] = ["gpt-5.5", "gpt-5.4", "house-codex"];

fn thread_id(kind: usize, group: usize) -> String {
    format!("0197a{kind:03}-0000-7000-8000-{group:012}")
}

fn rollout_path(folder: &str, group: usize, id: &str) -> String {
    let name = format!("rollout-2026-09-{:02}T08-00-00-{id}.jsonl", 1 + group % 28);
    format!(".codex/{folder}/{name}")
}

/// A thread as it goes on: totals so far, and lines.
struct Codex {
    group: usize,
    second: usize,
    total: [usize; 3],
    lines: Vec<String>,
}

impl Codex {
    fn new(group: usize) -> Self {
        Self { group, second: 0, total: [0; 3], lines: Vec::new() }
    }

    fn push(&mut self, kind: &str, payload: &str) {
        let at = time(self.group, self.second);
        self.lines.push(format!(
            "{{\"timestamp\":\"{at}\",\"type\":\"{kind}\",\"payload\":{payload}}}\n"
        ));
    }

    fn meta(&mut self, id: &str, more: &str) {
        let (at, cwd) = (time(self.group, self.second), cwd(self.group));
        self.push(
            "session_meta",
            &format!(
                r#"{{"id":"{id}","timestamp":"{at}","cwd":"{cwd}","cli_version":"0.98.0","source":"cli","model_provider":"openai"{more}}}"#
            ),
        );
    }

    fn turn(&mut self, random: &mut Random) {
        let (cwd, model) = (cwd(self.group), CODEX_MODELS[random.below(CODEX_MODELS.len())]);
        self.push("turn_context", &format!(r#"{{"cwd":"{cwd}","model":"{model}"}}"#));
        let text = padding(random);
        self.push("event_msg", &format!(r#"{{"type":"user_message","message":"{text}"}}"#));
    }

    /// A call: its totals, now and then repeated, and its record where the thread writes those,
    /// before or after them.
    fn call(&mut self, random: &mut Random, record: Option<&str>) {
        self.second += 20;
        let last = [1_000 + random.below(9_000), random.below(900), 1 + random.below(500)];
        for (total, last) in self.total.iter_mut().zip(last) {
            *total += last;
        }
        let count = format!(
            r#"{{"type":"token_count","info":{{"total_token_usage":{},"last_token_usage":{}}}}}"#,
            usage(self.total),
            usage(last)
        );
        let text = padding(random);
        self.push("response_item", &format!(r#"{{"type":"message","content":"{text}"}}"#));
        let record_first = random.below(2) == 0;
        if !record_first {
            self.push("event_msg", &count);
        }
        if let Some(thread) = record {
            let response = format!("resp_{thread}_{}", self.second);
            let usage = usage(last);
            self.push(
                "token_usage_record",
                &format!(
                    r#"{{"thread_id":"{thread}","response_id":"{response}","usage":{usage}}}"#
                ),
            );
        }
        if record_first {
            self.push("event_msg", &count);
        }
        if random.below(4) == 0 {
            self.push("event_msg", &count);
        }
    }

    fn talk(&mut self, random: &mut Random, calls: usize, record: Option<&str>) {
        for call in 0..calls {
            if call % 5 == 0 {
                self.turn(random);
            }
            self.call(random, record);
        }
    }
}

fn usage([input, cached, output]: [usize; 3]) -> String {
    format!(
        r#"{{"input_tokens":{input},"cached_input_tokens":{cached},"output_tokens":{output},"reasoning_output_tokens":0,"total_tokens":{}}}"#,
        input + output
    )
}

fn codex_thread(random: &mut Random, group: usize, calls: usize) -> Log {
    let id = thread_id(0, group);
    let mut codex = Codex::new(group);
    codex.meta(&id, "");
    codex.talk(random, calls, None);
    let path = rollout_path("sessions/2026/09/01", group, &id);
    // Every other one is archived.
    let moved = group.is_multiple_of(2).then(|| rollout_path("archived_sessions", group, &id));
    Log { path, moved, after: None, lines: codex.lines }
}

/// Opens with a copy of its parent's history, as older versions write it: only the parent's own
/// totals tell where the copy ends.
fn codex_fork(random: &mut Random, group: usize, parent: &Log, calls: usize) -> Log {
    let (old, id) = (thread_id(0, group), thread_id(1, group));
    let mut codex = Codex::new(group);
    codex.second = 80_000;
    codex.meta(&id, &format!(r#","forked_from_id":"{old}""#));
    let half = parent.lines.len() / 2;
    codex.lines.extend(parent.lines[..half].iter().cloned());
    for line in &parent.lines[..half] {
        let Some(totals) = line.split_once(r#""total_token_usage":{"#) else { continue };
        let mut counts = totals.1.split([':', ',']).skip(1).step_by(2);
        codex.total = std::array::from_fn(|_| counts.next().unwrap().parse().unwrap());
    }
    codex.talk(random, calls, None);
    let path = rollout_path("sessions/2026/09/02", group, &id);
    Log { path, moved: None, after: None, lines: codex.lines }
}

fn codex_records(random: &mut Random, group: usize, calls: usize) -> Log {
    let id = thread_id(2, group);
    let mut codex = Codex::new(group);
    codex.meta(&id, "");
    codex.talk(random, calls, Some(&id));
    let path = rollout_path("sessions/2026/09/03", group, &id);
    Log { path, moved: None, after: None, lines: codex.lines }
}
