//! The edge cases of OpenCode's fact sheet, which Kilo Code's refers to, by their numbers, and what
//! the latter says besides. What all databases and tasks of these forms do is tested with the agents
//! that had them first.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::{Value, json};
use usage::{EventKey, Role, Skip, Skips, Source, UsageEvent};

use super::*;
use crate::testing::{Files, Stored, put_anew, skipped};
use crate::{DatabaseError, Parsed, nowhere};

const DATA: &str = "/home/ada/.local/share/kilo";
const TASK: &str =
    "/home/ada/.config/Code/User/globalStorage/kilocode.kilo-code/tasks/7/ui_messages.json";

const SCHEMA: &str = "
    CREATE TABLE session (id text PRIMARY KEY, project_id text NOT NULL, parent_id text,
        directory text NOT NULL, time_created integer NOT NULL);
    CREATE INDEX session_project_idx ON session (project_id);
    CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL,
        time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
    CREATE INDEX message_session_time_created_id_idx ON message (session_id, time_created, id);
    CREATE TABLE part (id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL,
        time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
    CREATE INDEX part_message_id_id_idx ON part (message_id, id);
    INSERT INTO session VALUES ('ses_9', 'prj', NULL, '/home/ada/shop', 1);";

/// A database, and what the store would hold of it and of other sources.
struct World {
    db: Connection,
    state: String,
    around: Files,
    rows: Stored,
    skips: Skips,
}

impl World {
    fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(SCHEMA).unwrap();
        let around = Files { reads: &["claude-code", ID], ..Files::default() };
        Self { db, state: String::new(), around, rows: Stored::new(), skips: Skips::default() }
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

    fn read(&mut self) {
        let Storage::Database(reader) = KiloCode.storage(Path::new("kilo.db")) else {
            panic!("a database")
        };
        loop {
            let mut out = Parsed::default();
            let source = source(&format!("{DATA}/kilo.db"));
            let progress =
                reader.read(&source, &self.db, &self.around, &self.state, &mut out).unwrap();
            self.state = progress.state;
            self.take(out);
            if !progress.more {
                break;
            }
        }
    }

    fn read_document(&mut self, path: &str, document: &Value) {
        let out = parse(path, document, &self.around);
        self.take(out);
    }

    fn take(&mut self, out: Parsed) {
        for event in out.events {
            put_anew(&mut self.rows, event);
        }
        self.skips.merge(&out.skips);
    }

    /// Each row by time: a call's counts and cost, or a prompt, and its session.
    #[track_caller]
    fn check(&mut self, expect: &[&str]) {
        self.read();
        let mut lines: Vec<String> = self.rows.values().map(describe).collect();
        lines.sort();
        lines.extend(skipped(&self.skips));
        assert_eq!(lines, expect);
    }
}

fn source(path: &str) -> Source {
    let id = i64::try_from(path.len()).unwrap();
    Source { id, provider: ID, path: path.into(), root: DATA.into(), mtime_ms: 1 }
}

fn parse(path: &str, document: &Value, around: &Files) -> Parsed {
    let Storage::Document(reader) = KiloCode.storage(Path::new(path)) else { panic!("a document") };
    let mut out = Parsed::default();
    let bytes = document.to_string().into_bytes();
    reader.parse(&source(path), &bytes, around, "", &mut out).unwrap();
    out
}

fn describe(event: &UsageEvent) -> String {
    let UsageEvent { ts_ms, owner, usage, role, .. } = event;
    assert_eq!((&*event.provider, event.parser_version), (ID, VERSION));
    let at = format!("{ts_ms} {}", owner.session_id);
    if *role == Role::User {
        return format!("{at} prompt");
    }
    let tokens = usage.tokens;
    let cost = usage.logged_cost_nanousd;
    format!(
        "{at} {}/{} {}+{} r{} w{}{}",
        usage.vendor.as_deref().unwrap_or_default(),
        usage.model,
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_create,
        cost.map(|cost| format!(" nanousd {cost}")).unwrap_or_default(),
    )
}

fn tokens(input: u64, output: u64) -> Value {
    json!({"input": input, "output": output, "reasoning": 0, "cache": {"read": 0, "write": 0}})
}

fn call_of(provider: &str, created_ms: i64, input: u64, cost: f64) -> Value {
    json!({
        "role": "assistant",
        "providerID": provider,
        "modelID": "anthropic/m",
        "path": {"cwd": "/home/ada/shop", "root": "/home/ada/shop"},
        "cost": cost,
        "tokens": tokens(input, 2),
        "time": {"created": created_ms, "completed": created_ms + 5},
    })
}

fn call(created_ms: i64, input: u64, cost: f64) -> Value {
    call_of("kilo", created_ms, input, cost)
}

fn begun(created_ms: i64) -> Value {
    let mut message = call(created_ms, 0, 0.0);
    message["tokens"] = tokens(0, 0);
    message["time"] = json!({"created": created_ms});
    message
}

fn prompt_to(provider: &str, created_ms: i64) -> Value {
    let model = json!({"providerID": provider, "modelID": "m"});
    json!({"role": "user", "time": {"created": created_ms}, "agent": "code", "model": model})
}

fn step(input: u64, cost: f64) -> Value {
    json!({"type": "step-finish", "tokens": tokens(input, 2), "cost": cost})
}

#[test]
fn edge_01_a_message_with_no_tokens_that_is_not_completed_is_nothing_yet() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &begun(10));
    world.check(&[]);
}

#[test]
fn edge_02_the_same_row_later_with_tokens_is_one_event() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &begun(10));
    world.read();
    world.message("msg_1", "ses_9", &call(10, 7, 0.5));
    let expect = ["10 ses_9 kilo/anthropic/m 7+2 r0 w0 nanousd 500000000"];
    world.check(&expect);
    world.check(&expect);
    assert!(world.rows.keys().all(|key| key.as_str().starts_with("kilo:")));
}

#[test]
fn edge_03_a_message_of_three_steps_is_three_events_whose_costs_add_up() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &call(10, 3, 0.06));
    for n in 1..=3 {
        world.part(&format!("prt_{n}"), "msg_1", &step(n, 0.02));
    }
    world.check(&[
        "10 ses_9 kilo/anthropic/m 1+2 r0 w0 nanousd 20000000",
        "10 ses_9 kilo/anthropic/m 2+2 r0 w0 nanousd 20000000",
        "10 ses_9 kilo/anthropic/m 3+2 r0 w0 nanousd 20000000",
    ]);
}

#[test]
fn edge_04_a_session_forked_twice_is_counted_once_where_it_was_first() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &call(10, 7, 0.5));
    for (fork, created_ms) in [("ses_8", 100), ("ses_7", 200)] {
        let sql = "INSERT INTO session VALUES (?1, 'prj', NULL, '/home/ada/shop', ?2)";
        world.db.execute(sql, (fork, created_ms)).unwrap();
        world.message(&format!("msg_{fork}"), fork, &call(10, 7, 0.5));
        world.read();
    }
    world.check(&["10 ses_9 kilo/anthropic/m 7+2 r0 w0 nanousd 500000000", "skipped: replayed 2"]);
}

#[test]
fn edge_05_a_message_in_a_file_and_in_the_database_is_one_event() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &call(10, 7, 0.5));
    let file = format!("{DATA}/storage/message/ses_9/msg_1.json");
    assert!(KiloCode.is_source(DATA.as_ref(), file.as_ref()));
    world.read_document(&file, &call(10, 7, 0.5));
    world.check(&["10 ses_9 kilo/anthropic/m 7+2 r0 w0 nanousd 500000000"]);
}

#[test]
fn edge_06_a_cost_of_zero_is_no_price() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &call_of("openai", 10, 7, 0.0));
    world.check(&["10 ses_9 openai/anthropic/m 7+2 r0 w0"]);
}

#[test]
fn edge_07_a_database_that_is_busy_is_not_empty() {
    let open = || {
        let flags = rusqlite::OpenFlags::default();
        let name = "file:kilo_code_edge_07?mode=memory&cache=shared";
        Connection::open_with_flags(name, flags).unwrap()
    };
    let (owner, reader) = (open(), open());
    owner.execute_batch(SCHEMA).unwrap();
    owner.execute_batch("BEGIN EXCLUSIVE; DELETE FROM message").unwrap();
    let Storage::Database(database) = KiloCode.storage(Path::new("kilo.db")) else {
        panic!("a database")
    };
    let mut out = Parsed::default();
    let mut read = || database.read(&source("kilo.db"), &reader, &*nowhere(), "", &mut out);
    assert!(matches!(read(), Err(DatabaseError::Sqlite(_))));
    owner.execute_batch("COMMIT").unwrap();
    read().unwrap();
}

#[test]
fn what_claude_code_was_made_to_do_is_left_to_its_log_if_that_is_read() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &prompt_to("claude-code", 10));
    world.part("prt_1", "msg_1", &json!({"type": "text", "text": "x"}));
    world.message("msg_2", "ses_9", &call_of("claude-code", 20, 7, 0.0));
    world.message("msg_3", "ses_9", &call_of("anthropic", 30, 7, 0.0));
    let file = format!("{DATA}/storage/message/ses_9/msg_4.json");
    world.read_document(&file, &call_of("claude-code", 40, 7, 0.0));
    world.check(&["30 ses_9 anthropic/anthropic/m 7+2 r0 w0", "skipped: replayed 2"]);
    (world.around.reads, world.state) = (&[ID], String::new());
    (world.rows, world.skips) = (BTreeMap::new(), Skips::default());
    world.check(&[
        "10 ses_9 prompt",
        "20 ses_9 claude-code/anthropic/m 7+2 r0 w0",
        "30 ses_9 anthropic/anthropic/m 7+2 r0 w0",
    ]);
}

#[test]
fn what_was_taken_over_from_the_old_extension_is_left_to_its_tasks() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &prompt_to("legacy", 10));
    world.part("prt_1", "msg_1", &json!({"type": "text", "text": "x"}));
    let mut answer = call_of("legacy", 20, 0, 0.0);
    answer["tokens"] = tokens(0, 0);
    world.message("msg_2", "ses_9", &answer);
    world.read_document(TASK, &json!([{"ts": 10, "type": "say", "say": "text", "text": "x"}]));
    world.check(&["10 7 prompt", "skipped: replayed 1"]);
}

#[test]
fn a_row_that_is_no_json_holds_nothing_up() {
    let mut world = World::new();
    world.message("msg_1", "ses_9", &call(10, 7, 0.0));
    world.message("msg_2", "ses_9", &call(20, 8, 0.0));
    world.db.execute_batch("UPDATE message SET data = '{\"ro' WHERE id = 'msg_1'").unwrap();
    world.check(&["20 ses_9 kilo/anthropic/m 8+2 r0 w0", "skipped: malformed 1"]);
    assert_eq!(world.skips.0, [(Skip::Malformed, 1)].into());
}

/// As in Roo Code's tasks, whose tests go further.
#[test]
fn a_task_of_the_old_extension_is_read_as_one_of_roo_code() {
    let request = |ts: i64, text: &str| json!({"ts": ts, "type": "say", "say": "api_req_started", "text": text});
    let document = json!([
        request(
            1_750_000_000_000,
            r#"{"apiProtocol":"anthropic","tokensIn":500,"tokensOut":1,"cacheReads":9000,"cost":0.1}"#
        ),
        request(
            1_770_000_000_000,
            r#"{"apiProtocol":"anthropic","tokensIn":10000,"tokensOut":1,"cacheReads":9000,"cacheWrites":500}"#
        ),
    ]);
    let told = r"# Current Mode\n<slug>code</slug>\n<name>Code</name>\n<model>v/m</model>";
    let conversation = format!(r#"[{{"role":"user","content":"{told}","ts":1750000000001}}]"#);
    let beside = Path::new(TASK).with_file_name("api_conversation_history.json");
    let mut world = World::new();
    world.around.files = [(beside, conversation.into_bytes())].into();
    world.read_document(TASK, &document);
    world.check(&[
        "1750000000000 7 /v/m 500+1 r9000 w0 nanousd 100000000",
        "1770000000000 7 /v/m 500+1 r9000 w500",
    ]);
    let keys: Vec<_> = world.rows.keys().map(EventKey::as_str).collect();
    assert_eq!(keys, ["kilo-legacy:7:1750000000000", "kilo-legacy:7:1770000000000"]);
    assert!(world.rows.values().all(|row| &*row.owner.project == "kilo-code:unknown"));
}

fn roots(vars: &[(&str, &str)]) -> Vec<String> {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let env = Env { home: "/home/ada".into(), vars: vars.collect() };
    let roots = KiloCode.roots(&env);
    assert!(roots.iter().any(|root| root.ends_with(format!("globalStorage/{EXTENSION}"))));
    let is_data = |root: &&PathBuf| !root.to_string_lossy().contains(EXTENSION);
    roots.iter().filter(is_data).map(|root| root.display().to_string()).collect()
}

#[test]
fn roots_are_the_data_another_database_the_old_command_line_and_the_editors() {
    let old = "/home/ada/.kilocode/cli/global/tasks";
    let found = roots(&[]);
    assert_eq!(found[..2], [DATA, old]);
    assert_eq!(found.len(), 3, "and the application data");
    assert_eq!(roots(&[("XDG_DATA_HOME", "/data")])[0], "/data/kilo");
    assert_eq!(roots(&[("KILO_DB", "/w/my.sqlite")])[..3], [DATA, "/w/my.sqlite", old]);
    assert_eq!(roots(&[("KILO_DB", "my.db")])[1], format!("{DATA}/my.db"));
    for known in [":memory:", "kilo-dev.db"] {
        assert_eq!(roots(&[("KILO_DB", known)])[..2], [DATA, old]);
    }
    let shown = KiloCode.place("/home/ada/.config".as_ref());
    assert_eq!(shown, Path::new("/home/ada/.config/*/User/globalStorage/kilocode.kilo-code"));
    assert_eq!(KiloCode.place(DATA.as_ref()), Path::new(DATA));
}

#[test]
fn sources_are_databases_messages_and_tasks() {
    let check = |root: &str, below: &str, is_source: bool| {
        let path = Path::new(root).join(below);
        assert_eq!(KiloCode.is_source(root.as_ref(), &path), is_source, "{root} {below}");
    };
    for (root, above) in [(DATA, ""), ("/mnt/kept", ""), ("/home/ada", ".local/share/kilo/")] {
        check(root, &format!("{above}kilo.db"), true);
        check(root, &format!("{above}kilo-canary.db"), true);
        check(root, &format!("{above}opencode-local.db"), true);
        check(root, &format!("{above}kilo.db-wal"), false);
        check(root, &format!("{above}kilo.db.bak"), false);
        check(root, &format!("{above}kilo2.db"), false);
        check(root, &format!("{above}storage/message/ses_1/msg_1.json"), true);
        check(root, &format!("{above}storage/session/prj/ses_1.json"), false);
    }
    check("/home/ada", ".local/share/opencode/opencode-local.db", false);
    check("/home/ada/.kilocode/cli/global/tasks", "1/ui_messages.json", true);
    let storage = "Code/User/globalStorage";
    check("/home/ada/.config", &format!("{storage}/{EXTENSION}/tasks/1/ui_messages.json"), true);
    check("/home/ada/.config", &format!("{storage}/bob.other/tasks/1/ui_messages.json"), false);
    check("/home/ada", &format!(".config/{storage}/{EXTENSION}/tasks/1/ui_messages.json"), true);
}

#[test]
fn only_folders_that_may_hold_sources_are_looked_into() {
    let check = |root: &str, below: &str, looks_into: bool| {
        let folder = Path::new(root).join(below);
        assert_eq!(KiloCode.looks_into(root.as_ref(), &folder), looks_into, "{root} {below}");
    };
    for (below, looks_into) in [
        ("", true),
        ("storage", true),
        ("storage/message/ses_1", true),
        ("storage/part", false),
        ("snapshot", false),
        ("log", false),
    ] {
        check(DATA, below, looks_into);
        check("/home/ada", &format!(".local/share/kilo/{below}"), looks_into);
    }
    let config = "/home/ada/.config";
    let storage = format!("Code/User/globalStorage/{EXTENSION}");
    for (below, looks_into) in [
        ("Code", true),
        ("Code/Cache", false),
        ("Code/User/workspaceStorage", false),
        ("Code/User/globalStorage/bob.other", false),
        ("kilo/node_modules", false),
    ] {
        check(config, below, looks_into);
    }
    for (below, looks_into) in
        [("", true), ("tasks/1", true), ("tasks/1/checkpoints", false), ("settings", false)]
    {
        check(config, &format!("{storage}/{below}"), looks_into);
        check(&format!("{config}/{storage}"), below, looks_into);
        check("/home/ada", &format!(".config/{storage}/{below}"), looks_into);
    }
    check("/home/ada/.kilocode/cli/global/tasks", "1", true);
    check("/home/ada/.kilocode/cli/global/tasks", "1/checkpoints", false);
}
