//! Each edge case of the fact sheet by its number, then what the sheet says elsewhere.

mod corpus;
mod histories;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::sync::Mutex;

use rusqlite::Connection;
use serde_json::{Value, json};
use usage::{EventKey, Role, Skip, Skips, Source, UsageEvent};

use super::cursor::Cursor;
use super::database::{LIMITS, Limits, read};
use super::*;
use crate::testing::{add_counts, add_flags, add_tokens, merged, skipped};
use crate::{Database, DatabaseError, Document, Parsed, Surroundings, Torn, nowhere};

const DATA: &str = "/home/ada/.local/share/opencode";

fn source(path: &str) -> Source {
    Source {
        id: 7,
        provider: OpenCode::AGENT.id,
        path: Path::new(DATA).join(path),
        root: DATA.into(),
        mtime_ms: 1_000,
    }
}

/// Tables as the agent makes them, with the columns that matter.
const SCHEMA: &str = "
    CREATE TABLE session (id text PRIMARY KEY, project_id text NOT NULL, parent_id text,
        directory text NOT NULL, path text, time_created integer NOT NULL);
    CREATE INDEX session_project_idx ON session (project_id);
    CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL,
        time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
    CREATE INDEX message_session_time_created_id_idx ON message (session_id, time_created, id);
    CREATE TABLE part (id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL,
        time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
    CREATE INDEX part_message_id_id_idx ON part (message_id, id);";

/// The table of messages, as it is made anew.
const SCHEMA_OF_MESSAGE: &str = "
    CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL,
        time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
    CREATE INDEX message_session_time_created_id_idx ON message (session_id, time_created, id);";

const NEXT_SCHEMA: &str = "
    CREATE TABLE session_message (id text PRIMARY KEY, session_id text NOT NULL, type text NOT NULL,
        seq integer NOT NULL, time_created integer NOT NULL, time_updated integer NOT NULL,
        data text NOT NULL);
    CREATE INDEX session_message_session_time_created_id_idx
        ON session_message (session_id, time_created, id);";

/// A database, and what the store would hold of it.
struct World {
    db: Connection,
    state: String,
    rows: BTreeMap<EventKey, UsageEvent>,
    skips: Skips,
}

impl World {
    fn new() -> Self {
        let world = Self::empty();
        world.run(SCHEMA);
        world.run(NEXT_SCHEMA);
        world
    }

    fn empty() -> Self {
        let db = Connection::open_in_memory().unwrap();
        Self { db, state: String::new(), rows: BTreeMap::new(), skips: Skips::default() }
    }

    fn run(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
    }

    fn session(&self, id: &str, parent: Option<&str>, created_ms: i64) {
        let sql = "INSERT INTO session VALUES (?1, 'prj', ?2, '/home/ada/shop/api', 'api', ?3)";
        self.db.execute(sql, (id, parent, created_ms)).unwrap();
    }

    /// Inserts or updates a message, as the agent does.
    fn message(&self, id: &str, session: &str, data: &Value) {
        let sql = "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (id) DO UPDATE SET data = excluded.data, time_updated = excluded.time_updated";
        let created_ms = data["time"]["created"].as_i64();
        let updated_ms = data["time"]["completed"].as_i64().or(created_ms);
        self.db.execute(sql, (id, session, created_ms, updated_ms, data.to_string())).unwrap();
    }

    fn part(&self, id: &str, message: &str, data: &Value) {
        let sql = "INSERT INTO part SELECT ?1, id, session_id, 9, 9, ?3 FROM message WHERE id = ?2";
        assert_eq!(self.db.execute(sql, (id, message, data.to_string())).unwrap(), 1);
    }

    fn session_message(&self, id: &str, session: &str, kind: &str, data: &Value) {
        let sql = "INSERT INTO session_message VALUES (?1, ?2, ?3, 1, ?4, ?4, ?5)";
        let created_ms = data["time"]["created"].as_i64();
        self.db.execute(sql, (id, session, kind, created_ms, data.to_string())).unwrap();
    }

    /// Copies a session's messages and parts as forking does.
    fn fork(&self, session: &str, fork: &str, created_ms: i64) {
        self.session(fork, None, created_ms);
        for sql in [
            "INSERT INTO message SELECT id || ?2, ?2, time_created, 99, data FROM message
                WHERE session_id = ?1 ORDER BY rowid",
            "INSERT INTO part SELECT id || ?2, message_id || ?2, ?2, 99, 99, data FROM part
                WHERE session_id = ?1 ORDER BY rowid",
            "INSERT INTO session_message SELECT id || ?2, ?2, type, seq, time_created, 99, data
                FROM session_message WHERE session_id = ?1 ORDER BY rowid",
        ] {
            self.db.execute(sql, (session, fork)).unwrap();
        }
    }

    fn read(&mut self) {
        self.read_within(&Limits {
            new: 500,
            again: 200,
            waiting: 250,
            events: 4000,
            searches: 32,
        });
    }

    fn read_within(&mut self, limits: &Limits) {
        while self.turn(limits) {}
    }

    /// Reads once. Says whether there is more.
    fn turn(&mut self, limits: &Limits) -> bool {
        let mut out = Parsed::default();
        let source = source("opencode.db");
        let (agent, around) = (OpenCode::AGENT, nowhere());
        let progress =
            read(agent, &source, &self.db, &*around, limits, &self.state, &mut out).unwrap();
        assert!(!progress.more || progress.state != self.state, "nothing was read");
        self.state = progress.state;
        self.take(&out);
        progress.more
    }

    /// What a database says now takes the place of what it said before.
    fn take(&mut self, out: &Parsed) {
        let stated = merged(&out.events);
        self.rows.extend(stated);
        for key in &out.retracted {
            self.rows.remove(key);
        }
        self.skips.merge(&out.skips);
    }

    #[track_caller]
    fn check(&mut self, expect: &[&str]) {
        self.read();
        assert_eq!(table(&self.rows, &self.skips), expect);
    }
}

/// One line per row, by time, and one per reason of a skip. Keys and what is as usual are left out.
fn table(rows: &BTreeMap<EventKey, UsageEvent>, skips: &Skips) -> Vec<String> {
    let mut lines: Vec<String> = rows.values().map(describe).collect();
    lines.sort();
    lines.extend(skipped(skips));
    lines
}

fn describe(event: &UsageEvent) -> String {
    let UsageEvent { role, ts_ms, copy_rank, owner, usage, .. } = event;
    let mut line = format!("{ts_ms} {}", owner.session_id);
    if *role == Role::User {
        assert_eq!((usage.tokens, &*usage.model), (usage::Tokens::default(), ""));
        line += " prompt";
    } else {
        write!(line, " {}/{}", usage.vendor.as_deref().unwrap_or_default(), usage.model).unwrap();
    }
    add_tokens(&mut line, usage.tokens);
    let counts = [
        ("nanousd", usage.logged_cost_nanousd.unwrap_or_default().unsigned_abs()),
        ("rank", u64::from(*copy_rank)),
        ("side", u64::from(owner.is_sidechain)),
    ];
    add_counts(&mut line, counts);
    if &*owner.project != "/home/ada/shop" {
        write!(line, " in {}", owner.project).unwrap();
    }
    add_flags(&mut line, usage.flags);
    line
}

fn tokens(input: u64, output: u64) -> Value {
    json!({"input": input, "output": output, "reasoning": 0, "cache": {"read": 0, "write": 0}})
}

/// A model's message as it begins.
fn begun(created_ms: i64) -> Value {
    json!({
        "role": "assistant",
        "providerID": "anthropic",
        "modelID": "m",
        "path": {"cwd": "/home/ada/shop/api", "root": "/home/ada/shop"},
        "cost": 0,
        "tokens": tokens(0, 0),
        "time": {"created": created_ms},
    })
}

/// A model's message that was completed after 500 ms. `change` replaces fields.
fn call(created_ms: i64, input: u64, change: Value) -> Value {
    let mut message = begun(created_ms);
    message["tokens"] = tokens(input, 2);
    message["time"]["completed"] = json!(created_ms + 500);
    patch(&mut message, change);
    message
}

fn patch(value: &mut Value, change: Value) {
    match change {
        Value::Object(change) => {
            for (name, change) in change {
                patch(&mut value[name], change);
            }
        }
        change => *value = change,
    }
}

fn prompt(created_ms: i64) -> Value {
    let model = json!({"providerID": "anthropic", "modelID": "m"});
    json!({"role": "user", "time": {"created": created_ms}, "agent": "build", "model": model})
}

fn text(change: Value) -> Value {
    let mut part = json!({"type": "text", "text": "a \"type\":\"step-finish\" in a text"});
    patch(&mut part, change);
    part
}

fn step(input: u64, output: u64, cost: f64) -> Value {
    json!({"reason": "stop", "type": "step-finish", "tokens": tokens(input, output), "cost": cost})
}

#[test]
fn edge_01_a_message_with_no_tokens_that_is_not_completed_is_nothing_yet() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &begun(10));
    world.check(&[]);
    let mut halfway = begun(10);
    halfway["tokens"] = tokens(5, 5);
    world.message("msg_1", "ses_1", &halfway);
    world.part("prt_1", "msg_1", &step(5, 5, 0.5));
    world.check(&[]);
}

#[test]
fn edge_02_the_same_row_later_with_tokens_is_one_event() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &begun(10));
    world.read();
    // Hundreds of others come in between: a message may wait for subagents.
    for n in 0..300 {
        world.message(&format!("msg_2{n}"), "ses_1", &begun(20 + n));
        world.message(
            &format!("msg_2{n}"),
            "ses_1",
            &call(20 + n, 1, json!({"tokens": {"output": 0, "input": 0}})),
        );
    }
    world.read();
    world.message("msg_1", "ses_1", &call(10, 7, json!({})));
    let expect = ["10 ses_1 anthropic/m in 7 out 2", "skipped: no_usage 300"];
    world.check(&expect);
    world.check(&expect);
}

#[test]
fn edge_03_a_message_of_three_steps_is_three_events_whose_costs_add_up() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &call(10, 3, json!({"cost": 0.06})));
    for (id, part) in [
        ("prt_1", json!({"type": "step-start"})),
        ("prt_2", step(1, 2, 0.02)),
        ("prt_3", text(json!({}))),
        ("prt_4", step(0, 0, 0.0)),
        ("prt_5", step(1, 2, 0.02)),
        ("prt_6", step(3, 2, 0.02)),
        ("prt_7", json!({"type": "tool", "state": {"output": "x".repeat(100_000)}})),
    ] {
        world.part(id, "msg_1", &part);
    }
    world.check(&[
        "10 ses_1 anthropic/m in 1 out 2 nanousd 20000000",
        "10 ses_1 anthropic/m in 1 out 2 nanousd 20000000",
        "10 ses_1 anthropic/m in 3 out 2 nanousd 20000000",
    ]);
}

#[test]
fn edge_04_a_session_forked_twice_is_counted_once_where_it_was_first() {
    let original = || {
        let world = World::new();
        world.session("ses_9", None, 1);
        world.message("msg_1", "ses_9", &prompt(5));
        world.part("prt_1", "msg_1", &text(json!({})));
        world.message("msg_2", "ses_9", &call(10, 3, json!({"cost": 0.03})));
        world.part("prt_2", "msg_2", &step(1, 2, 0.01));
        world.part("prt_3", "msg_2", &step(3, 2, 0.02));
        world.session_message("msg_3", "ses_9", "assistant", &next(900, 9));
        world
    };
    let expect = [
        "10 ses_9 anthropic/m in 1 out 2 nanousd 10000000",
        "10 ses_9 anthropic/m in 3 out 2 nanousd 20000000",
        "5 ses_9 prompt",
        "900 ses_9 openai/n in 9 out 5 think 3",
        "skipped: replayed 4",
    ];
    let mut world = original();
    world.fork("ses_9", "ses_8", 1_000);
    world.fork("ses_8", "ses_7", 2_000);
    world.check(&expect);
    // A copy that is read later than its original does not take its place.
    let mut world = original();
    world.read();
    world.fork("ses_9", "ses_8", 1_000);
    world.read();
    world.fork("ses_8", "ses_7", 2_000);
    world.check(&expect);
}

#[test]
fn a_copy_counts_where_its_original_is_gone() {
    let mut world = World::new();
    world.session("ses_9", None, 1);
    world.message("msg_1", "ses_9", &call(10, 3, json!({})));
    world.fork("ses_9", "ses_8", 1_000);
    world.run("DELETE FROM message WHERE session_id = 'ses_9'");
    world.run("DELETE FROM session WHERE id = 'ses_9'");
    world.fork("ses_8", "ses_7", 2_000);
    world.check(&["10 ses_8 anthropic/m in 3 out 2 rank 1", "skipped: replayed 1"]);
}

/// A migration inserts newer sessions first.
#[test]
fn a_copy_that_comes_first_counts_until_its_original_does() {
    let world = || {
        let mut world = World::new();
        world.session("ses_9", None, 1);
        world.message("msg_1", "ses_9", &call(10, 3, json!({})));
        world.session("ses_8", None, 1_000);
        world.message("msg_2", "ses_8", &call(10, 3, json!({})));
        world.message("msg_3", "ses_8", &call(20, 4, json!({})));
        world.message("msg_4", "ses_9", &call(20, 4, json!({})));
        assert!(world.turn(&Limits { new: 3, ..LIMITS }));
        world
    };
    let first = ["10 ses_9 anthropic/m in 3 out 2", "20 ses_8 anthropic/m in 4 out 2 rank 1"];
    let skipped = "skipped: replayed 1";
    let mut both = world();
    assert_eq!(table(&both.rows, &both.skips), [first[0], first[1], skipped]);
    both.check(&[first[0], "20 ses_9 anthropic/m in 4 out 2", skipped]);
    let mut gone = world();
    gone.run("DELETE FROM message WHERE id = 'msg_4'");
    gone.check(&[first[0], first[1], skipped]);
}

#[test]
fn a_message_that_is_completed_again_is_looked_at_again() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &call(10, 0, json!({"tokens": {"output": 0}})));
    world.check(&["skipped: no_usage 1"]);
    // In the same millisecond.
    world.message("msg_1", "ses_1", &call(10, 3, json!({})));
    world.check(&["10 ses_1 anthropic/m in 3 out 2", "skipped: no_usage 1"]);
}

/// A message of the newest tables, with reasoning apart from output as they have it.
fn next(created_ms: i64, input: u64) -> Value {
    json!({
        "time": {"created": created_ms, "completed": created_ms + 500},
        "agent": "build",
        "model": {"id": "n", "providerID": "openai", "variant": "high"},
        "content": [{"type": "text", "text": "hi"}],
        "cost": 0,
        "tokens": {"input": input, "output": 2, "reasoning": 3, "cache": {"read": 0, "write": 0}},
    })
}

/// Files of a data folder, in memory.
struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    fn new(files: &[(&str, &Value)]) -> Self {
        let files = files.iter().map(|(path, json)| {
            (Path::new(DATA).join("storage").join(path), json.to_string().into_bytes())
        });
        Self(files.collect())
    }

    fn parse(&self, path: &str) -> Parsed {
        let mut out = Parsed::default();
        let source = source(&format!("storage/{path}"));
        assert!(OpenCode.is_source(&source.root, &source.path), "{path}");
        let bytes = &self.0[&source.path];
        OpenCode.parse(&source, bytes, self, "", &mut out).unwrap();
        out
    }

    #[track_caller]
    fn check(&self, path: &str, expect: &[&str]) {
        let out = self.parse(path);
        assert_eq!(table(&merged(&out.events), &out.skips), expect);
    }
}

impl Surroundings for Files {
    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }

    fn files_in(&self, folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            self.0.keys().filter(|path| path.parent() == Some(folder)).cloned().collect();
        files.reverse();
        files
    }

    fn folders_in(&self, folder: &Path) -> Vec<PathBuf> {
        let below = self.0.keys().filter_map(|path| path.strip_prefix(folder).ok());
        let folders = below.filter(|path| path.iter().count() > 1);
        let folders = folders.map(|path| folder.join(path.iter().next().unwrap()));
        folders.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn reads(&self, _provider: &str) -> bool {
        true
    }
}

#[test]
fn edge_05_a_message_in_the_tree_and_in_the_database_is_one_event() {
    let message = call(10, 3, json!({"cost": 0.03}));
    let (first, second) = (step(1, 2, 0.01), step(3, 2, 0.02));
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &message);
    world.part("prt_1", "msg_1", &first);
    world.part("prt_2", "msg_1", &second);
    world.message("msg_2", "ses_1", &prompt(5));
    world.part("prt_3", "msg_2", &text(json!({})));
    world.read();
    let typed = text(json!({}));
    let files = Files::new(&[
        ("message/ses_1/msg_1.json", &message),
        ("message/ses_1/msg_2.json", &prompt(5)),
        ("part/msg_1/prt_1.json", &first),
        ("part/msg_1/prt_2.json", &second),
        ("part/msg_2/prt_3.json", &typed),
    ]);
    let tree = [files.parse("message/ses_1/msg_1.json"), files.parse("message/ses_1/msg_2.json")];
    let events = world.rows.values().chain(tree.iter().flat_map(|parsed| &parsed.events));
    let expect = [
        "10 ses_1 anthropic/m in 1 out 2 nanousd 10000000",
        "10 ses_1 anthropic/m in 3 out 2 nanousd 20000000",
        "5 ses_1 prompt",
    ];
    assert_eq!(table(&merged(events), &Skips::default()), expect);
}

#[test]
fn edge_06_a_call_that_the_agent_could_not_price_keeps_its_tokens_only() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &call(10, 3, json!({"cost": 0})));
    world.message("msg_2", "ses_1", &call(20, 3, json!({"cost": 0.25})));
    world.read();
    let costs: Vec<_> = world.rows.values().map(|row| row.usage.logged_cost_nanousd).collect();
    assert!(costs.contains(&None) && costs.contains(&Some(250_000_000)), "{costs:?}");
}

#[test]
fn edge_07_a_database_that_is_locked_is_an_error_and_never_empty() {
    let open = || {
        let flags = rusqlite::OpenFlags::default();
        let name = "file:opencode_edge_07?mode=memory&cache=shared";
        Connection::open_with_flags(name, flags).unwrap()
    };
    let (owner, reader) = (open(), open());
    owner.execute_batch(SCHEMA).unwrap();
    owner.execute_batch("BEGIN EXCLUSIVE; DELETE FROM message").unwrap();
    let read =
        |out: &mut Parsed| OpenCode.read(&source("opencode.db"), &reader, &*nowhere(), "", out);
    let mut out = Parsed::default();
    assert!(matches!(read(&mut out), Err(DatabaseError::Sqlite(_))));
    owner.execute_batch("COMMIT").unwrap();
    read(&mut out).unwrap();
}

#[test]
fn reasoning_is_part_of_output_where_the_total_says_so() {
    let check = |total: Value, output: u64, reasoning: u64, expect: &str| {
        let mut world = World::new();
        world.session("ses_1", None, 1);
        let cache = json!({"read": 30, "write": 4});
        let tokens = json!({"total": total, "input": 3, "output": output, "reasoning": reasoning, "cache": cache});
        let mut message = call(10, 0, json!({}));
        message["tokens"] = tokens;
        world.message("msg_1", "ses_1", &message);
        world.check(&[&format!("10 ses_1 anthropic/m in 3 {expect}")]);
    };
    check(json!(3 + 20 + 5 + 34), 20, 5, "out 25 read 30 write 4 think 5");
    check(json!(3 + 20 + 34), 20, 5, "out 20 read 30 write 4 think 5");
    check(json!(null), 20, 5, "out 25 read 30 write 4 think 5");
    check(json!(1), 20, 5, "out 25 read 30 write 4 think 5");
    check(json!(3 + 4 + 34), 4, 5, "out 4 read 30 write 4 think 4 clamped");
}

#[test]
fn counts_that_cannot_be_true_are_no_counts() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &call(10, 0, json!({"tokens": {"input": -5}})));
    world.message("msg_2", "ses_1", &call(20, 0, json!({"tokens": {"input": 1.5}})));
    world.message("msg_3", "ses_1", &call(30, 1, json!({})));
    world.run(
        "UPDATE message SET data = json_set(data, '$.time.created', 'now') WHERE id = 'msg_3'",
    );
    world.message(
        "msg_4",
        "ses_1",
        &call(40, 0, json!({"tokens": {"output": 0}, "error": {"name": "MessageAbortedError"}})),
    );
    world.message("msg_5", "ses_1", &call(50, 1, json!({})));
    world.run("UPDATE message SET data = '{' WHERE id = 'msg_5'");
    world.message("msg_6", "ses_1", &call(60, 1, json!({})));
    world.run("UPDATE message SET data = '[1]' WHERE id = 'msg_6'");
    world.check(&[
        "10 ses_1 anthropic/m out 2 clamped",
        "skipped: malformed 1",
        "skipped: not_an_object 1",
        "skipped: bad_number 1",
        "skipped: bad_field 1",
        "skipped: api_error 1",
    ]);
}

#[test]
fn a_prompt_is_what_a_person_made() {
    let check = |parts: &[Value], is_prompt: bool| {
        let mut world = World::new();
        world.session("ses_1", None, 1);
        world.message("msg_1", "ses_1", &prompt(10));
        for (n, part) in parts.iter().enumerate() {
            world.part(&format!("prt_{n}"), "msg_1", part);
        }
        world.read();
        assert_eq!(world.rows.len(), usize::from(is_prompt), "{parts:?}");
        let files: Vec<(String, &Value)> = parts
            .iter()
            .enumerate()
            .map(|(n, part)| (format!("part/msg_1/prt_{n}.json"), part))
            .collect();
        let prompt = prompt(10);
        let mut all = vec![("message/ses_1/msg_1.json", &prompt)];
        all.extend(files.iter().map(|(path, part)| (path.as_str(), *part)));
        let tree = Files::new(&all).parse("message/ses_1/msg_1.json");
        assert_eq!(tree.events.len(), usize::from(is_prompt), "{parts:?}");
    };
    let synthetic = || text(json!({"synthetic": true}));
    check(&[text(json!({}))], true);
    check(&[text(json!({"synthetic": false, "ignored": false}))], true);
    check(&[synthetic(), synthetic(), json!({"type": "file", "url": "file:///w"})], true);
    check(&[synthetic(), json!({"type": "file", "url": "data:", "synthetic": true})], false);
    check(&[text(json!({"ignored": true}))], false);
    check(&[json!({"type": "compaction", "auto": true})], false);
    check(&[json!({"type": "subtask", "command": "review"})], true);
    check(&[], false);
}

#[test]
fn a_prompt_counts_once_its_parts_are_there() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &prompt(10));
    world.check(&[]);
    world.part("prt_1", "msg_1", &text(json!({"synthetic": true})));
    world.check(&[]);
    world.part("prt_2", "msg_1", &text(json!({})));
    world.check(&["10 ses_1 prompt"]);
}

#[test]
fn a_subagent_is_a_sidechain_and_is_not_prompted_by_a_person() {
    let mut world = World::new();
    world.session("ses_2", Some("ses_1"), 1);
    world.message("msg_1", "ses_2", &prompt(10));
    world.part("prt_1", "msg_1", &text(json!({})));
    world.message("msg_2", "ses_2", &call(20, 3, json!({})));
    world.check(&["20 ses_2 anthropic/m in 3 out 2 side 1"]);

    let session = json!({"parentID": "ses_1", "directory": "/w", "time": {"created": 15}});
    let files = Files::new(&[
        ("project/prj.json", &json!({})),
        ("session/prj/ses_2.json", &session),
        ("message/ses_2/msg_1.json", &prompt(10)),
        ("part/msg_1/prt_1.json", &text(json!({}))),
        ("message/ses_2/msg_2.json", &call(10, 3, json!({}))),
    ]);
    files.check("message/ses_2/msg_1.json", &[]);
    files.check("message/ses_2/msg_2.json", &["10 ses_2 anthropic/m in 3 out 2 rank 1 side 1"]);
}

#[test]
fn a_project_is_the_root_of_the_working_directory() {
    let mut files = Files::new(&[
        ("message/ses_1/msg_1.json", &call(10, 3, json!({"path": {"root": "/", "cwd": "/w/x"}}))),
        ("message/ses_1/msg_2.json", &prompt(10)),
        ("part/msg_2/prt_1.json", &text(json!({}))),
    ]);
    files.check("message/ses_1/msg_1.json", &["10 ses_1 anthropic/m in 3 out 2 in /w/x"]);
    files.check("message/ses_1/msg_2.json", &["10 ses_1 prompt in opencode:unknown"]);
    let mut check = |directory: &str, path: &str, expect: &str| {
        let session = json!({"directory": directory, "path": path, "time": {"created": 1}});
        let at = Path::new(DATA).join("storage/session/global/ses_1.json");
        files.0.insert(at, session.to_string().into_bytes());
        files.check("message/ses_1/msg_2.json", &[expect]);
        let expect = expect.replace("prompt", "anthropic/m in 3 out 2");
        files.check("message/ses_1/msg_1.json", &[&expect]);
    };
    check("/home/ada/shop", "", "10 ses_1 prompt");
    check("/home/ada/shop/web/app", "web/app", "10 ses_1 prompt");
    check("/home/ada/shop", "hop", "10 ses_1 prompt");
    check("/home/ada/shop", "/home/ada/shop", "10 ses_1 prompt");
    check("/web", "web", "10 ses_1 prompt in /web");
}

#[test]
fn a_torn_file_is_read_again() {
    let message = call(10, 3, json!({})).to_string();
    let parse = |bytes: &[u8], out: &mut Parsed| {
        let source = source("storage/message/ses_1/msg_1.json");
        OpenCode.parse(&source, bytes, &*nowhere(), "", out)
    };
    let mut out = Parsed::default();
    for end in 0..message.len() {
        assert_eq!(parse(&message.as_bytes()[..end], &mut out), Err(Torn));
    }
    assert_eq!(parse(format!("{message}x").as_bytes(), &mut out), Err(Torn));
    assert!(out.events.is_empty());
    parse(message.as_bytes(), &mut out).unwrap();
    assert_eq!(out.events.len(), 1);
}

#[test]
fn steps_that_come_after_their_message_take_its_place() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &call(10, 3, json!({"cost": 0.03})));
    world.check(&["10 ses_1 anthropic/m in 3 out 2 nanousd 30000000"]);
    world.part("prt_1", "msg_1", &step(1, 2, 0.01));
    world.part("prt_2", "msg_1", &step(3, 2, 0.02));
    let expect = [
        "10 ses_1 anthropic/m in 1 out 2 nanousd 10000000",
        "10 ses_1 anthropic/m in 3 out 2 nanousd 20000000",
    ];
    world.check(&expect);
    world.check(&expect);
}

/// The last message of a fork might be still on the way.
#[test]
fn what_a_message_does_not_say_is_counted_once() {
    let mut world = World::new();
    world.session("ses_1", None, 1_000);
    world.message("msg_1", "ses_1", &call(10, 3, json!({})));
    world.part("prt_1", "msg_1", &step(3, 2, 0.0));
    world.part("prt_2", "msg_1", &step(5, 2, 0.0));
    world.run("UPDATE part SET data = data || '}' WHERE id = 'prt_2'");
    world.check(&["10 ses_1 anthropic/m in 3 out 2 rank 1"]);
    world.message("msg_2", "ses_1", &begun(20));
    for _ in 0..2 {
        world.check(&["10 ses_1 anthropic/m in 3 out 2 rank 1", "skipped: malformed 1"]);
    }
}

#[test]
fn few_places_are_remembered_however_far_was_read() {
    let mut cursor = Cursor::default();
    for n in 1..100_000 {
        cursor.advance(n, format!("msg_{n}"));
    }
    assert_eq!(cursor.rowid(), 99_999);
    let state = serde_json::to_string(&cursor).unwrap();
    assert!(state.len() < 1_000, "{state}");
    // The newest rows went and others took their rowids.
    let id_at = |n: i64| Some(if n < 90_000 { format!("msg_{n}") } else { "new".to_owned() });
    cursor.rewind(|n| Ok::<_, ()>(id_at(n))).unwrap();
    assert!((50_000..90_000).contains(&cursor.rowid()), "{cursor:?}");
    cursor.rewind(|_| Ok::<_, ()>(None)).unwrap();
    assert_eq!(cursor.rowid(), 0);
}

#[test]
fn the_newest_tables_are_read_alone_and_beside_the_older_ones() {
    let mut alone = World::empty();
    alone
        .run("CREATE TABLE session_v2 (id text PRIMARY KEY, directory text, time_created integer)");
    alone.run("INSERT INTO session_v2 VALUES ('ses_1', '/home/ada/shop', 1)");
    alone.run(NEXT_SCHEMA);
    let mut both = World::new();
    both.session("ses_1", None, 1);
    for world in [&mut alone, &mut both] {
        world.session_message(
            "msg_1",
            "ses_1",
            "user",
            &json!({"time": {"created": 5}, "text": "x"}),
        );
        world.session_message("msg_2", "ses_1", "assistant", &next(10, 4));
        let mut begun = next(20, 6);
        begun["time"]["completed"] = json!(null);
        world.session_message("msg_3", "ses_1", "assistant", &begun);
        world.session_message("msg_4", "ses_1", "compaction", &json!({"time": {"created": 30}}));
        let expect = ["10 ses_1 openai/n in 4 out 5 think 3", "5 ses_1 prompt"];
        world.check(&expect);
        let done = next(20, 6).to_string();
        world
            .db
            .execute("UPDATE session_message SET data = ?1 WHERE id = 'msg_3'", [done])
            .unwrap();
        world.check(&[expect[0], "20 ses_1 openai/n in 6 out 5 think 3", expect[1]]);
    }
}

#[test]
fn what_both_tables_hold_is_told_by_the_older_one() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    world.message("msg_1", "ses_1", &prompt(5));
    world.part("prt_1", "msg_1", &text(json!({})));
    world.message("msg_2", "ses_1", &call(10, 3, json!({"cost": 0.03})));
    world.part("prt_2", "msg_2", &step(1, 2, 0.01));
    world.part("prt_3", "msg_2", &step(3, 2, 0.02));
    // Filled from the older table, and written besides it a moment later.
    world.session_message("evt_1", "ses_1", "user", &json!({"time": {"created": 5}, "text": "x"}));
    world.session_message("evt_2", "ses_1", "assistant", &next(10, 3));
    world.session_message("evt_3", "ses_1", "assistant", &next(14, 3));
    // The session goes on in the newer table.
    world.session_message(
        "evt_4",
        "ses_1",
        "user",
        &json!({"time": {"created": 600}, "text": "x"}),
    );
    world.session_message("evt_5", "ses_1", "assistant", &next(610, 8));
    // Nothing of the newer table is looked at before all of the older one has been.
    assert!(world.turn(&Limits { new: 1, ..LIMITS }));
    assert_eq!(table(&world.rows, &world.skips), ["5 ses_1 prompt"]);
    world.check(&[
        "10 ses_1 anthropic/m in 1 out 2 nanousd 10000000",
        "10 ses_1 anthropic/m in 3 out 2 nanousd 20000000",
        "5 ses_1 prompt",
        "600 ses_1 prompt",
        "610 ses_1 openai/n in 8 out 5 think 3",
        "skipped: replayed 2",
    ]);
}

#[test]
fn a_schema_that_lacks_something_is_named() {
    let check = |schema: &str, expect: &str| {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(schema).unwrap();
        let mut out = Parsed::default();
        let read = OpenCode.read(&source("opencode.db"), &db, &*nowhere(), "", &mut out);
        match read {
            Err(DatabaseError::UnsupportedSchema(missing)) => assert_eq!(missing, expect),
            other => panic!("{other:?}"),
        }
    };
    check("", "message");
    check("CREATE TABLE messages (id text)", "message");
    check(&SCHEMA.replace("data text", "body text"), "message.data");
    check(&SCHEMA.replace("message_id", "message_no"), "part.message_id");
    check(
        &SCHEMA.replace("TABLE session ", "TABLE sessions ").replace("ON session ", "ON sessions "),
        "session",
    );
    check(&NEXT_SCHEMA.replace("type text", "kind text"), "session_message.type");
}

#[test]
fn rows_that_are_junk_hold_nothing_up() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    for n in 0..20 {
        world.message(&format!("msg_{n}"), "ses_1", &call(10 + n, 3, json!({})));
    }
    world.run("UPDATE message SET id = zeroblob(3) WHERE id = 'msg_19'");
    world.run("UPDATE message SET session_id = zeroblob(2) WHERE id = 'msg_18'");
    world.run("UPDATE message SET id = hex(zeroblob(100)) WHERE id = 'msg_17'");
    world.run("UPDATE message SET id = char(1, 34) WHERE id = 'msg_15'");
    world.run("UPDATE message SET data = zeroblob(0) WHERE id = 'msg_16'");
    let few = Limits { new: 3, again: 2, ..LIMITS };
    for _ in 0..2 {
        world.read_within(&few);
        assert_eq!(world.rows.len(), 15);
        assert_eq!(world.skips.0, [(Skip::Malformed, 1), (Skip::BadField, 4)].into());
    }
}

#[test]
fn what_waits_for_ever_makes_room() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    for n in 0..2_000 {
        world.message(&format!("msg_{}{n:04}", "x".repeat(90)), "ses_1", &begun(n));
        world.session_message(
            &format!("msg_{}{n:04}", "x".repeat(90)),
            "ses_1",
            "assistant",
            &begun(n),
        );
    }
    world.check(&[]);
    assert!(world.state.len() < 90_000, "{}", world.state.len());
    world.message(&format!("msg_{}1999", "x".repeat(90)), "ses_1", &call(1999, 3, json!({})));
    world.check(&["1999 ses_1 anthropic/m in 3 out 2"]);
}

#[test]
fn a_turn_is_short() {
    let mut world = World::new();
    world.session("ses_1", None, 1);
    for n in 0..120 {
        world.message(&format!("msg_{n:03}"), "ses_1", &call(n, 3, json!({})));
        for k in 0..100 {
            world.part(&format!("prt_{n:03}_{k}"), &format!("msg_{n:03}"), &step(k, 1, 0.0));
        }
    }
    let mut out = Parsed::default();
    let progress =
        OpenCode.read(&source("opencode.db"), &world.db, &*nowhere(), "", &mut out).unwrap();
    assert!(progress.more && out.events.len() < 5_000, "{}", out.events.len());
    world.read();
    assert_eq!(world.rows.len(), 12_000);
}

/// Statements that went through a whole table.
static SCANS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn no_statement_goes_through_a_whole_table() {
    use rusqlite::StatementStatus;
    use rusqlite::trace::{TraceEvent, TraceEventCodes};

    let mut world = World::new();
    world.session("ses_9", None, 1);
    world.message("msg_1", "ses_9", &prompt(5));
    world.message("msg_2", "ses_9", &call(10, 3, json!({})));
    world.part("prt_1", "msg_2", &step(3, 2, 0.0));
    world.message("msg_3", "ses_9", &begun(20));
    world.session_message("evt_1", "ses_9", "assistant", &next(900, 3));
    world.read();
    world.fork("ses_9", "ses_8", 1_000);
    world.fork("ses_9", "ses_7", 2_000);
    world.db.trace_v2(
        TraceEventCodes::SQLITE_TRACE_PROFILE,
        Some(|event| {
            if let TraceEvent::Profile(statement, _) = event
                && statement.get_status(StatementStatus::FullscanStep) > 0
            {
                SCANS.lock().unwrap().push(statement.sql().into_owned());
            }
        }),
    );
    world.db.query_row("SELECT count(data) FROM message", [], |_| Ok(())).unwrap();
    world.read();
    let mut scans = SCANS.lock().unwrap().clone();
    scans.retain(|sql| !sql.contains("pragma_table_info"));
    assert_eq!(
        scans,
        ["SELECT count(data) FROM message"],
        "the first one shows that it is noticed"
    );
}

fn roots(vars: &[(&str, &str)]) -> Vec<String> {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let env = Env { home: "/home/ada".into(), vars: vars.collect() };
    OpenCode.roots(&env).iter().map(|root| root.display().to_string()).collect()
}

#[test]
fn roots_are_the_data_folder_and_a_database_of_another_name() {
    assert_eq!(roots(&[]), [DATA]);
    assert_eq!(roots(&[("XDG_DATA_HOME", "/data")]), ["/data/opencode"]);
    assert_eq!(roots(&[("XDG_DATA_HOME", "data")]), [DATA]);
    assert_eq!(roots(&[("OPENCODE_DB", "/w/my.sqlite")]), [DATA, "/w/my.sqlite"]);
    assert_eq!(roots(&[("OPENCODE_DB", "my.db")]), [DATA.to_owned(), format!("{DATA}/my.db")]);
    for known in ["", ":memory:", "opencode.db", "opencode-dev.db"] {
        assert_eq!(roots(&[("OPENCODE_DB", known)]), [DATA], "{known}");
    }
    let other = Path::new("/w/my.sqlite");
    assert!(OpenCode.is_source(other, other));
    assert!(matches!(OpenCode.storage(other), Storage::Database(_)));
}

#[test]
fn sources_are_databases_of_a_data_folder_and_files_of_messages() {
    let check = |root: &str, path: &str, expect: bool| {
        let path = Path::new(root).join(path);
        assert_eq!(OpenCode.is_source(Path::new(root), &path), expect, "{}", path.display());
    };
    for root in [DATA, "/mnt/data"] {
        for (path, expect) in [
            ("opencode.db", true),
            ("opencode-dev.db", true),
            ("opencode-my_branch-1.2.db", true),
            ("opencode-.db", false),
            ("opencode-a b.db", false),
            ("opencode2.db", false),
            ("opencode.db-wal", false),
            ("opencode.db-shm", false),
            ("opencode.db.bak", false),
            ("opencode-dev.db.old", false),
            ("other.db", false),
            ("sub/opencode.db", false),
            ("storage/message/ses_1/msg_1.json", true),
            ("storage/message/ses_1/msg_1.json.tmp", false),
            ("storage/message/ses_1/other.json", false),
            ("storage/message/ses_1/deep/msg_1.json", false),
            ("storage/session/ses_1/msg_1.json", false),
            ("storage/part/msg_1/prt_1.json", false),
            ("storage/session/prj/ses_1.json", false),
            ("old/storage/message/ses_1/msg_1.json", false),
        ] {
            check(root, path, expect);
        }
    }
    // Below a folder that holds more than the agent's data.
    check("/home/ada", ".local/share/opencode/opencode.db", true);
    check("/home/ada", ".local/share/opencode/storage/message/ses_1/msg_1.json", true);
    check("/home/ada", ".local/share/kilo/storage/message/ses_1/msg_1.json", false);
    check("/home/ada", "shop/.opencode/opencode.db", false);
    let outside = Path::new("/w/opencode/opencode.db");
    assert!(!OpenCode.is_source(Path::new("/home/ada"), outside));
}

#[test]
fn only_folders_that_lead_to_sources_are_looked_into() {
    let check = |root: &str, folder: &str, expect: bool| {
        let (root, folder) = (Path::new(root), Path::new(root).join(folder));
        assert_eq!(OpenCode.looks_into(root, &folder), expect, "{}", folder.display());
    };
    for (root, data) in [(DATA, ""), ("/home/ada", ".local/share/opencode/")] {
        for (folder, expect) in [
            ("", true),
            ("storage", true),
            ("storage/message", true),
            ("storage/message/ses_1", true),
            ("storage/message/ses_1/deep", false),
            ("storage/part", false),
            ("storage/part/msg_1", false),
            ("storage/session", false),
            ("snapshot", false),
            ("log", false),
            ("bin", false),
            ("project/w/storage/message", false),
        ] {
            check(root, &format!("{data}{folder}"), expect);
        }
    }
    check("/home/ada", ".local/share", true);
    check("/mnt/data", "storage/message/ses_1", true);
    check("/mnt/data", "storage/part", false);
    assert!(!OpenCode.looks_into(Path::new(DATA), Path::new("/home/ada/shop")));
}
