//! Sources that are no logs: documents that agents save whole, databases they keep, and a journal
//! that leans on one of them.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::{DEADLINE, Home, Random, append};

const START_MS: usize = 1_780_000_000_000;

/// A source and how it comes to be what it is.
pub(crate) struct Other {
    /// Below the home folder.
    path: String,
    kind: Kind,
    steps: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Each step is the whole of it, by a new file that is renamed.
    Renamed,
    /// The same in place.
    Rewritten,
    /// Each step is a transaction.
    Database,
    /// Each step is a line.
    Lines,
}

/// Makes them what they are in the end.
pub(crate) fn write_all(home: &Home, others: &[Other]) {
    for other in others {
        let path = home.path().join(&other.path);
        let from = match other.kind {
            Kind::Renamed | Kind::Rewritten => other.steps.len() - 1,
            Kind::Database | Kind::Lines => 0,
        };
        let mut db = None;
        other.steps[from..].iter().for_each(|step| take(&path, other.kind, step, &mut db));
    }
}

/// Takes a step here and there, until all are what they are in the end.
pub(crate) fn write_slowly(home: &Path, others: &[Other], random: &mut Random, pace: Duration) {
    let mut taken = vec![0; others.len()];
    let mut databases: Vec<Option<Connection>> = others.iter().map(|_| None).collect();
    loop {
        let open: Vec<usize> =
            (0..others.len()).filter(|&n| taken[n] < others[n].steps.len()).collect();
        let Some(&n) = open.get(random.below(open.len().max(1))) else { return };
        let other = &others[n];
        let path = home.join(&other.path);
        take(&path, other.kind, &other.steps[taken[n]], &mut databases[n]);
        // Closed now and then: the log goes with its owner.
        if random.below(16) == 0 {
            databases[n] = None;
        }
        taken[n] += 1;
        thread::park_timeout(pace);
    }
}

fn take(path: &Path, kind: Kind, step: &str, db: &mut Option<Connection>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match kind {
        Kind::Renamed => {
            let new = path.with_extension("tmp");
            fs::write(&new, step).unwrap();
            fs::rename(new, path).unwrap();
        }
        Kind::Rewritten => fs::write(path, step).unwrap(),
        Kind::Lines => append(path, step.as_bytes()),
        Kind::Database => {
            let db = db.get_or_insert_with(|| open(path));
            db.execute_batch(&format!("BEGIN IMMEDIATE; {step}; COMMIT")).unwrap();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(DEADLINE).unwrap();
    db.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = normal").unwrap();
    db
}

/// For each group a session of Cline and a task of it before version 4, two sessions of Gemini CLI,
/// one of OpenCode and three of Copilot, of which its store knows two. Each has about `calls` calls.
pub(crate) fn generate(random: &mut Random, groups: usize, calls: usize) -> Vec<Other> {
    let mut all = Vec::new();
    let (mut opencode, mut copilot) = (vec![OPENCODE.to_owned()], vec![COPILOT.to_owned()]);
    for group in 0..groups {
        all.extend(cline(random, group, calls));
        all.extend(gemini(random, group, calls));
        opencode_session(random, group, calls, &mut opencode);
        copilot_sessions(random, group, calls, &mut copilot, &mut all);
    }
    let database = |path: &str, steps| Other { path: path.into(), kind: Kind::Database, steps };
    all.push(database(".local/share/opencode/opencode.db", opencode));
    all.push(database(".copilot/session-store.db", copilot));
    all
}

fn at(group: usize, call: usize) -> usize {
    START_MS + group * 86_400_000 + call * 20_000
}

/// A document after each time that it was saved, when one of its parts after the other was added.
fn saves(random: &mut Random, parts: &[String], whole: impl Fn(String) -> String) -> Vec<String> {
    let mut steps = Vec::new();
    let mut end = 0;
    while end < parts.len() {
        end = (end + 1 + random.below(6)).min(parts.len());
        steps.push(whole(parts[..end].join(",")));
    }
    steps
}

fn cline(random: &mut Random, group: usize, calls: usize) -> [Other; 3] {
    let id = format!("{}_g{group}", at(group, 0));
    let folder = format!(".cline/data/sessions/{id}");
    let messages: Vec<String> = (0..calls)
        .map(|call| {
            let (at, output) = (at(group, call), 1 + random.below(900));
            format!(
                r#"{{"id":"msg_{group}_{call}","role":"assistant","content":[],"ts":{at},"modelInfo":{{"id":"anthropic/claude-opus-5","provider":"cline"}},"metrics":{{"inputTokens":1000,"outputTokens":{output},"cacheReadTokens":900,"cacheWriteTokens":0,"cost":0.01}}}}"#
            )
        })
        .collect();
    let entries: Vec<String> = (0..calls)
        .map(|call| {
            let (at, output) = (at(group, call) + 7, 1 + random.below(900));
            format!(
                r#"{{"ts":{at},"type":"say","say":"api_req_started","text":"{{\"request\":\"x\",\"tokensIn\":10,\"tokensOut\":{output},\"cacheWrites\":0,\"cacheReads\":5,\"cost\":0.02}}","modelInfo":{{"providerId":"anthropic","modelId":"claude-opus-5"}}}}"#
            )
        })
        .collect();
    let manifest = Other {
        path: format!("{folder}/{id}.json"),
        kind: Kind::Renamed,
        steps: vec![format!(r#"{{"session_id":"{id}","cwd":"/w/project-{group}"}}"#)],
    };
    let session = Other {
        path: format!("{folder}/{id}.messages.json"),
        kind: Kind::Renamed,
        steps: saves(random, &messages, |messages| {
            format!(r#"{{"version":1,"agent":"lead","sessionId":"{id}","messages":[{messages}]}}"#)
        }),
    };
    let task = Other {
        path: format!(".cline/data/tasks/{}/ui_messages.json", at(group, 1)),
        kind: Kind::Rewritten,
        steps: saves(random, &entries, |entries| format!("[{entries}]")),
    };
    [manifest, session, task]
}

fn gemini(random: &mut Random, group: usize, calls: usize) -> [Other; 2] {
    let chats = format!(".gemini/tmp/project-{group}/chats");
    let (minute, id) = (group % 60, format!("{group:08}"));
    let head = |kind: usize| {
        format!(
            r#""sessionId":"{id}-0000-4000-8000-{kind:012}","projectHash":"h","startTime":"2026-06-0{kind}T10:{minute:02}:00.000Z","lastUpdated":"2026-06-0{kind}T10:{minute:02}:00.000Z""#
        )
    };
    let mut message = |kind: usize, call: usize| {
        let output = 1 + random.below(900);
        let total = 1_030 + output;
        format!(
            r#"{{"id":"m{kind}-{group}-{call}","timestamp":"2026-06-0{kind}T10:{:02}:{:02}.000Z","type":"gemini","content":"","model":"gemini-3-flash-preview","tokens":{{"input":1000,"cached":600,"output":{output},"thoughts":30,"total":{total}}}}}"#,
            call / 60,
            call % 60,
        )
    };
    let lines = (0..calls).map(|call| format!("{}\n", message(1, call)));
    let lines = [format!("{{{},\"kind\":\"main\"}}\n", head(1))].into_iter().chain(lines).collect();
    let messages: Vec<String> = (0..calls).map(|call| message(2, call)).collect();
    let path = |kind: usize, end: &str| {
        format!("{chats}/session-2026-06-0{kind}T10-{minute:02}-{id}.{end}")
    };
    let document =
        saves(random, &messages, |messages| format!("{{{},\"messages\":[{messages}]}}", head(2)));
    [
        Other { path: path(1, "jsonl"), kind: Kind::Lines, steps: lines },
        Other { path: path(2, "json"), kind: Kind::Rewritten, steps: document },
    ]
}

const OPENCODE: &str = "CREATE TABLE session (id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT,
        directory TEXT, time_created INTEGER);
    CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL,
        time_created INTEGER, time_updated INTEGER, data TEXT NOT NULL);
    CREATE INDEX m ON message (session_id, time_created, id);
    CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT NOT NULL, session_id TEXT,
        time_created INTEGER, time_updated INTEGER, data TEXT);
    CREATE INDEX p ON part (message_id, id)";

/// Each message comes into being empty and is filled in by a later step.
fn opencode_session(random: &mut Random, group: usize, calls: usize, steps: &mut Vec<String>) {
    let created = at(group, 0);
    steps.push(format!(
        "INSERT INTO session VALUES ('ses_{group}', 'p', NULL, '/w/project-{group}', {created})"
    ));
    for call in 0..calls {
        let (at, output) = (at(group, call), 1 + random.below(900));
        let (id, later) = (format!("msg_{group:03}_{call:05}"), at + 500);
        let message = |tokens: &str, completed: &str| {
            format!(
                r#"{{"role":"assistant","modelID":"gpt-5.5","providerID":"openai","cost":0,"tokens":{tokens},"time":{{"created":{at}{completed}}}}}"#
            )
        };
        let nothing = r#"{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}}"#;
        let tokens = format!(
            r#"{{"input":100,"output":{output},"reasoning":0,"cache":{{"read":0,"write":0}}}}"#
        );
        let step =
            format!(r#"{{"type":"step-finish","reason":"stop","cost":0,"tokens":{tokens}}}"#);
        let (begun, done) =
            (message(nothing, ""), message(&tokens, &format!(r#","completed":{later}"#)));
        steps.push(format!(
            "INSERT INTO message VALUES ('{id}', 'ses_{group}', {at}, {at}, '{begun}')"
        ));
        steps.push(format!(
            "INSERT INTO part VALUES ('prt_{id}', '{id}', 'ses_{group}', {later}, {later}, '{step}');
            UPDATE message SET data = '{done}', time_updated = {later} WHERE id = '{id}'"
        ));
    }
}

const COPILOT: &str = "CREATE TABLE sessions (id TEXT PRIMARY KEY, cwd TEXT);
    CREATE TABLE assistant_usage_events (id INTEGER PRIMARY KEY AUTOINCREMENT,
        session_id TEXT NOT NULL, model TEXT, input_tokens INTEGER, output_tokens INTEGER,
        cache_read_tokens INTEGER, cache_write_tokens INTEGER, total_nano_aiu INTEGER,
        created_at TEXT)";

/// Of the first the store has all, of the second a row at the end, when the journal has long been
/// there, and of the third nothing.
fn copilot_sessions(
    random: &mut Random,
    group: usize,
    calls: usize,
    steps: &mut Vec<String>,
    all: &mut Vec<Other>,
) {
    for kind in 0..3 {
        let session = format!("c0ffee0{kind}-0000-4000-8000-{group:012}");
        steps.push(format!("INSERT INTO sessions VALUES ('{session}', '/w/project-{group}')"));
        let rows = [calls, 1, 0][kind];
        for call in 0..rows {
            let output = 1 + random.below(900);
            steps.push(format!(
                "INSERT INTO assistant_usage_events (session_id, model, input_tokens, output_tokens,
                    cache_read_tokens, cache_write_tokens, total_nano_aiu, created_at)
                VALUES ('{session}', 'gpt-5.4', 1000, {output}, 700, 200, 2500000000,
                    '2026-09-{:02}T08:{:02}:{:02}.000Z')",
                1 + group % 28,
                call / 60,
                call % 60,
            ));
        }
        let mut lines = vec![format!(
            r#"{{"type":"session.start","data":{{"sessionId":"{session}","copilotVersion":"1.0.80","context":{{"cwd":"/w/project-{group}"}}}},"id":"s{kind}-{group}","timestamp":"2026-09-20T08:00:00.000Z","parentId":null}}
"#
        )];
        for call in 1..=calls / 4 {
            let (input, output) = (1_000 * call, 50 * call);
            lines.push(format!(
                r#"{{"type":"session.shutdown","data":{{"modelMetrics":{{"gpt-5.4":{{"requests":{{"count":{call},"cost":1}},"usage":{{"inputTokens":{input},"outputTokens":{output},"cacheReadTokens":0,"cacheWriteTokens":0}}}}}}}},"id":"e{kind}-{group}-{call}","timestamp":"2026-09-20T09:{call:02}:00.000Z","parentId":null}}
"#
            ));
        }
        let path = format!(".copilot/session-state/{session}/events.jsonl");
        all.push(Other { path, kind: Kind::Lines, steps: lines });
    }
}
