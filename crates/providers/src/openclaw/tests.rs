//! What the fact sheet says, rule by rule (it has no table of edge cases), then what must hold of both
//! generations together, then the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rusqlite::Connection;
use serde_json::{Value, json};
use usage::{EventKey, Role, Skip, UsageEvent};

use super::*;
use crate::testing::{Stored, add_flags, add_tokens, put, skipped};
use crate::{Database, DatabaseError, Parsed, Progress, nowhere};

const ROOT: &str = "/home/ada/.openclaw";
const FILE: &str = "agents/main/sessions/S.jsonl";
const ARCHIVE: &str =
    "agents/main/session-sqlite-import-archive/main.S.jsonl.imported-1788256800000";
const DATABASE: &str = "agents/main/agent/openclaw-agent.sqlite";
const ROLLOUTS: &str = "agents/main/agent/codex-home/sessions/2026";

// ---- events

/// `value` with the fields of `change`; null takes one away. Those of the message are in `message`.
fn with(mut value: Value, change: &Value) -> Value {
    for (name, new) in change.as_object().unwrap() {
        match new {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            Value::Object(_) if value[name].is_object() => {
                value[name] = with(value[name].take(), new)
            }
            new => value[name] = new.clone(),
        }
    }
    value
}

fn header(change: &Value) -> Value {
    let header = json!({"type": "session", "version": 3, "id": "S", "timestamp": "1970-01-01T00:00:00Z",
        "cwd": "/home/ada/shop"});
    with(header, change)
}

/// A call of model `m` at 1000 ms: 3 in, 20 out, 900 read and 50 written for a tenth of a cent.
fn call(id: &str, change: &Value) -> Value {
    let usage = json!({"input": 3, "output": 20, "cacheRead": 900, "cacheWrite": 50,
        "totalTokens": 973, "cost": {"input": 0.0, "total": 0.001}});
    let message = json!({"role": "assistant", "api": "anthropic-messages", "provider": "anthropic",
        "model": "m", "usage": usage, "stopReason": "stop", "timestamp": 1000});
    let event = json!({"type": "message", "id": id, "parentId": null,
        "timestamp": "1970-01-01T00:00:01.500Z", "message": message});
    with(event, change)
}

fn counts(input: u64, output: u64) -> Value {
    let usage = json!({"input": input, "output": output, "cacheRead": 0, "cacheWrite": 0});
    json!({"message": {"usage": usage}})
}

fn prompt(id: &str, change: &Value) -> Value {
    let message = json!({"role": "user", "content": [{"type": "text", "text": "do it"}],
        "timestamp": 900});
    let event = json!({"type": "message", "id": id, "timestamp": "1970-01-01T00:00:00.900Z",
        "message": message});
    with(event, change)
}

/// What Codex has answered in a turn, as it is noted among the events.
fn note(id: &str) -> Value {
    call(id, &json!({"message": {"idempotencyKey": "codex-app-server:T:U:assistant"}}))
}

// ---- reading

/// What is on disk.
#[derive(Clone, Default)]
struct Home {
    folders: Vec<PathBuf>,
    /// The agent whose logs are read, too.
    other: Option<&'static str>,
}

impl Surroundings for Home {
    fn folders_in(&self, folder: &Path) -> Vec<PathBuf> {
        self.folders.iter().filter(|path| path.parent() == Some(folder)).cloned().collect()
    }

    fn reads(&self, provider: &str) -> bool {
        self.other == Some(provider)
    }
}

fn source(path: &str) -> Source {
    let id = i64::from(path == DATABASE);
    let path = Path::new(ROOT).join(path);
    Source { id, provider: ID, path, root: ROOT.into(), mtime_ms: 5_000 }
}

fn parse_in(path: &str, events: &[Value], home: &Home) -> Parsed {
    let around: Around = Arc::new(home.clone());
    let mut parser = OpenClaw.begin(&source(path), &around, "");
    let mut out = Parsed::default();
    events.iter().for_each(|event| parser.parse_line(event.to_string().as_bytes(), &mut out));
    out
}

fn parse(events: &[Value]) -> Parsed {
    parse_in(FILE, events, &Home::default())
}

fn open() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL,
        event_json TEXT, created_at INTEGER NOT NULL, PRIMARY KEY (session_id, seq)) STRICT",
    )
    .unwrap();
    db
}

fn insert(db: &Connection, session: &str, events: &[Value]) {
    for event in events {
        let next = "SELECT ifnull(max(seq), -1) + 1 FROM transcript_events WHERE session_id = ?1";
        let sql = format!("INSERT INTO transcript_events VALUES (?1, ({next}), ?2, 7000)");
        db.execute(&sql, [session, &event.to_string()]).unwrap();
    }
}

fn try_read(
    db: &Connection,
    home: &Home,
    state: &str,
) -> Result<(Parsed, Progress), DatabaseError> {
    let mut out = Parsed::default();
    let progress = Store.read(&source(DATABASE), db, home, state, &mut out)?;
    Ok((out, progress))
}

/// Reads all that is new.
fn read(db: &Connection, home: &Home, state: &mut String) -> Parsed {
    let mut all = Parsed::default();
    loop {
        let (mut out, progress) = try_read(db, home, state).unwrap();
        *state = progress.state;
        all.events.append(&mut out.events);
        all.retracted.append(&mut out.retracted);
        all.skips.merge(&out.skips);
        if !progress.more {
            return all;
        }
    }
}

/// What a database says of the events of session `S`.
fn stored(events: &[Value], home: &Home) -> Parsed {
    let db = open();
    insert(&db, "S", events);
    read(&db, home, &mut String::new())
}

/// What is kept of what was read. What was once taken back never comes again.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    events: Stored,
    retracted: BTreeSet<EventKey>,
}

impl Rows {
    fn of(parsed: Parsed) -> Self {
        let mut rows = Self::default();
        rows.take(parsed);
        rows
    }

    fn take(&mut self, parsed: Parsed) {
        self.retracted.extend(parsed.retracted);
        for event in parsed.events {
            put(&mut self.events, event);
        }
        self.events.retain(|key, _| !self.retracted.contains(key));
    }

    fn describe(&self) -> Vec<String> {
        self.events.values().map(describe).collect()
    }
}

fn describe(event: &UsageEvent) -> String {
    let UsageEvent { key, ts_ms, owner, usage, .. } = event;
    let mut line = format!("{key} {}", usage.model);
    add_tokens(&mut line, usage.tokens);
    if let Some(cost) = usage.logged_cost_nanousd {
        write!(line, " cost {cost}").unwrap();
    }
    add_flags(&mut line, usage.flags);
    write!(line, " | {} {} {ts_ms}", owner.session_id, owner.project).unwrap();
    line
}

/// What both generations say of the events of session `S`.
#[track_caller]
fn check(events: &[Value], expect: &[&str]) {
    let (lines, rows) = (parse(events), stored(events, &Home::default()));
    assert_eq!(lines.skips, rows.skips);
    let mut table = Rows::of(lines).describe();
    assert_eq!(Rows::of(rows).describe(), table);
    table.extend(skipped(&parse(events).skips));
    assert_eq!(table, expect);
}

const CALL: &str =
    "openclaw:a:1000:3:20 m in 3 out 20 read 900 write 50 cost 1000000 | S /home/ada/shop 1000";

// ---- the fact sheet

#[test]
fn a_calls_counts_share_no_token_and_its_cost_is_the_agents() {
    check(&[header(&json!({})), call("a", &json!({}))], &[CALL]);
}

#[test]
fn a_cost_of_zero_is_no_price() {
    let free = json!({"message": {"usage": {"cost": {"total": 0}}}});
    let row = CALL.replace(" cost 1000000", "");
    check(&[header(&json!({})), call("a", &free)], &[&row]);
}

#[test]
fn what_the_agent_says_without_a_model_is_no_call() {
    let local = [
        json!({"message": {"api": "openclaw-transcript", "model": "host-response"}}),
        json!({"message": {"model": "delivery-mirror"}}),
        json!({"message": {"model": "gateway-injected"}}),
    ];
    let events = local.map(|change| call("a", &change));
    check(&events, &["skipped: synthetic 3"]);
}

#[test]
fn a_failed_call_counts_if_it_was_billed() {
    let aborted = json!({"message": {"stopReason": "aborted"}});
    check(&[header(&json!({})), call("a", &aborted)], &[CALL]);
    let nothing =
        json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "cost": {"total": 0}});
    check(&[call("a", &json!({"message": {"usage": nothing}}))], &["skipped: no_usage 1"]);
}

#[test]
fn the_model_may_stand_in_an_event_before() {
    let nameless = call("a", &json!({"message": {"model": null, "provider": null}}));
    let change = json!({"type": "model_change", "id": "c", "provider": "openai", "modelId": "n"});
    let data = json!({"provider": "google", "modelId": "g", "timestamp": 1});
    let snapshot =
        json!({"type": "custom", "id": "d", "customType": "model-snapshot", "data": data});
    let other = json!({"type": "custom", "id": "e", "customType": "x", "data": {"modelId": "no"}});
    for (before, model, vendor) in [
        (vec![], "unknown", None),
        (vec![change.clone()], "n", Some("openai")),
        (vec![change.clone(), snapshot.clone(), other.clone()], "g", Some("google")),
        (vec![snapshot, change], "n", Some("openai")),
        (vec![other], "unknown", None),
    ] {
        let events = [before, vec![nameless.clone()]].concat();
        for parsed in [parse(&events), stored(&events, &Home::default())] {
            let usage = &parsed.events[0].usage;
            assert_eq!((&*usage.model, usage.vendor.as_deref()), (model, vendor));
        }
    }
}

/// Cross-cutting rule 4.
#[test]
fn what_codex_has_answered_counts_from_its_own_log_where_that_is_read() {
    let folders = vec![Path::new(ROOT).join(ROLLOUTS)];
    let its_own = Home { folders, other: None };
    let origin = json!({"message": {"__openclaw": {"mirrorOrigin": "codex-app-server"}}});
    for noted in [note("a"), call("a", &origin)] {
        let events = std::slice::from_ref(&noted);
        for parsed in [parse_in(FILE, events, &its_own), stored(events, &its_own)] {
            assert_eq!(parsed.skips.0, [(Skip::Replayed, 1)].into());
            assert!(parsed.events.is_empty());
            assert_eq!(parsed.retracted, [EventKey::new("openclaw:a:1000:3:20")]);
        }
        // Nobody else says it.
        assert_eq!(parse(std::slice::from_ref(&noted)).events.len(), 1);
        assert_eq!(stored(&[noted], &Home::default()).events.len(), 1);
    }
    // Others are its own.
    let other = json!({"message": {"idempotencyKey": "cron:1", "__openclaw": {"runId": "x"}}});
    assert_eq!(parse_in(FILE, &[call("a", &other)], &its_own).events.len(), 1);
}

/// Cross-cutting rule 4.
#[test]
fn what_an_agent_that_is_run_has_answered_counts_from_its_own_log_where_that_is_read() {
    for (vendor, other) in
        [("claude-cli", "claude-code"), ("codex-cli", "codex"), ("google-gemini-cli", "gemini-cli")]
    {
        let answer = call("a", &json!({"message": {"api": "cli", "provider": vendor}}));
        let events = std::slice::from_ref(&answer);
        let both = Home { other: Some(other), ..Home::default() };
        for parsed in [parse_in(FILE, events, &both), stored(events, &both)] {
            assert_eq!(parsed.skips.0, [(Skip::Replayed, 1)].into());
            assert_eq!(parsed.retracted, [EventKey::new("openclaw:a:1000:3:20")]);
        }
        assert_eq!(parse(events).events.len(), 1, "nobody else says it");
        // An API of the same name is no agent.
        let api = call("a", &json!({"message": {"provider": vendor}}));
        assert_eq!(parse_in(FILE, &[api], &both).events.len(), 1);
    }
}

/// Claude Code, Codex and others ask their models as often as it takes.
#[test]
fn what_another_agent_has_answered_may_be_several_calls() {
    let row = CALL.replace(" |", " sum |");
    let cli = json!({"message": {"api": "cli"}});
    check(&[header(&json!({})), call("a", &cli)], &[&row]);
    check(&[header(&json!({})), note("a")], &[&row]);
}

#[test]
fn codex_logs_are_read_as_those_of_codex() {
    let path = format!(
        "{ROLLOUTS}/10/04/rollout-2026-10-04T08-00-00-0197a000-0000-7000-8000-00000000000a.jsonl"
    );
    let path = Path::new(ROOT).join(path);
    assert!(OpenClaw.is_source(Path::new(ROOT), &path));
    let rollout = OpenClaw.storage(&path).appended().unwrap();
    assert_eq!(rollout.name(&path), Some("0197a000-0000-7000-8000-00000000000a"));
    let lines = [
        json!({"timestamp": "2026-10-04T08:00:00Z", "type": "session_meta", "payload": {"id": "0197a000-0000-7000-8000-00000000000a", "timestamp": "2026-10-04T08:00:00Z", "cwd": "/w"}}),
        json!({"timestamp": "2026-10-04T08:00:01Z", "type": "turn_context", "payload": {"cwd": "/w", "model": "gpt-5.5"}}),
        json!({"timestamp": "2026-10-04T08:00:02Z", "type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 2, "total_tokens": 12}, "last_token_usage": {"input_tokens": 10, "cached_input_tokens": 4, "output_tokens": 2, "total_tokens": 12}}}}),
    ];
    let source = Source { path, ..source(FILE) };
    let mut parser = rollout.begin(&source, &nowhere(), "");
    let mut out = Parsed::default();
    lines.iter().for_each(|line| parser.parse_line(line.to_string().as_bytes(), &mut out));
    assert_eq!(out.events.len(), 1);
    assert_eq!((&*out.events[0].provider, out.events[0].usage.tokens.total()), ("codex", 12));
}

// ---- both generations

/// A session while its events are written into a file, and then taken over into the database, where it
/// goes on. The file is put away.
struct World {
    files: BTreeMap<&'static str, Vec<Value>>,
    db: Connection,
    positions: BTreeMap<&'static str, (usize, String)>,
    state: String,
    rows: Rows,
    /// Read, and not yet stored.
    late: Vec<Parsed>,
}

impl World {
    fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            db: open(),
            positions: BTreeMap::new(),
            state: String::new(),
            rows: Rows::default(),
            late: Vec::new(),
        }
    }

    fn parse_files(&mut self) -> Vec<Parsed> {
        let parse = |(path, events): (&&'static str, &Vec<Value>)| {
            let (done, state) = self.positions.entry(path).or_default();
            let mut parser = OpenClaw.begin(&source(path), &nowhere(), state);
            let mut out = Parsed::default();
            for event in events.get(*done..).unwrap_or_default() {
                parser.parse_line(event.to_string().as_bytes(), &mut out);
            }
            (*done, *state) = (events.len(), parser.state());
            out
        };
        self.files.iter().map(parse).collect()
    }

    fn read(&mut self, what: char) {
        match what {
            'f' => {
                let parsed = self.parse_files();
                parsed.into_iter().for_each(|parsed| self.rows.take(parsed));
            }
            'd' => {
                let parsed = read(&self.db, &Home::default(), &mut self.state);
                self.rows.take(parsed);
            }
            // What is read now is stored only after the next step.
            _ => {
                let parsed = self.parse_files();
                self.late.extend(parsed);
            }
        }
    }

    fn commit(&mut self, late: Vec<Parsed>) {
        late.into_iter().for_each(|parsed| self.rows.take(parsed));
    }
}

/// The steps of a life: lines, the move into the database, and more events there; what is read after
/// each of them is chosen in every way.
fn worlds(check: impl Fn(World, &str)) {
    const READS: [&str; 5] = ["", "f", "d", "df", "F"];
    for n in 0..READS.len().pow(5) {
        let (mut world, mut history, mut choice) = (World::new(), String::new(), n);
        for step in 0..5 {
            let file = || world_file(&world.files);
            match step {
                0 => drop(
                    world.files.insert(FILE, vec![header(&json!({})), prompt("p", &json!({}))]),
                ),
                1 => world.files.get_mut(FILE).unwrap().push(call("a", &json!({}))),
                2 => world.files.get_mut(FILE).unwrap().push(call("b", &counts(70, 7))),
                3 => {
                    insert(&world.db, "S", &file());
                    let moved = world.files.remove(FILE).unwrap();
                    world.files.insert(ARCHIVE, moved);
                }
                _ => insert(&world.db, "S", &[call("c", &counts(80, 8))]),
            }
            let late = std::mem::take(&mut world.late);
            let reads = READS[choice % READS.len()];
            choice /= READS.len();
            reads.chars().for_each(|what| world.read(what));
            world.commit(late);
            history += &format!("{step}:{reads} ");
        }
        let late = std::mem::take(&mut world.late);
        world.commit(late);
        check(world, &history);
    }
}

fn world_file(files: &BTreeMap<&'static str, Vec<Value>>) -> Vec<Value> {
    files[FILE].clone()
}

#[test]
fn whichever_generation_is_read_first_each_call_counts_once() {
    worlds(|mut world, history| {
        world.read('d');
        world.read('f');
        assert_eq!(world.rows.events.len(), 4, "{history}");
        let tokens: u64 = world.rows.events.values().map(|row| row.usage.tokens.total()).sum();
        assert_eq!(tokens, 973 + 77 + 88, "{history}");
        let rows = world.rows.clone();
        // From the start once more, both, or one while the other has gone.
        for reads in ["df", "fd", "f", "d"] {
            world.positions.clear();
            world.state.clear();
            reads.chars().for_each(|what| world.read(what));
            assert_eq!(world.rows, rows, "{history}then {reads}");
        }
        // A file that was put back, because the agent was downgraded, and copies of it.
        for copy in [
            FILE,
            "agents/main/sessions/S.jsonl.reset.2026-10-04T08-00-00.000Z",
            "agents/main/sessions/S.jsonl.deleted.2026-10-04T08-00-00.000Z.zst",
            "agents/main/sessions/S.checkpoint.5e550000-0000-4000-8000-000000000001.jsonl",
        ] {
            world.files.insert(copy, world.files[ARCHIVE].clone());
        }
        world.read('f');
        assert_eq!(world.rows, rows, "{history}with copies");
    });
}

#[test]
fn a_fork_repeats_what_it_was_made_from() {
    let first = [header(&json!({})), prompt("p", &json!({})), call("a", &json!({}))];
    let forked = json!({"id": "A-fork", "timestamp": "1970-01-01T00:00:02Z", "cwd": "/home/ada/mill",
        "parentSession": "/home/ada/.openclaw/agents/main/sessions/S.jsonl"});
    let own = json!({"message": {"timestamp": 3000}});
    let second = [header(&forked), first[1].clone(), first[2].clone(), call("b", &own)];
    let expect = [
        CALL,
        "openclaw:b:3000:3:20 m in 3 out 20 read 900 write 50 cost 1000000 | A-fork /home/ada/mill 3000",
        "openclaw:prompt:p:900  | S /home/ada/shop 900",
    ];
    for order in [[&first[..], &second], [&second, &first]] {
        let mut rows = Rows::default();
        order.iter().for_each(|events| rows.take(parse(events)));
        assert_eq!(rows.describe(), expect);
    }
    let db = open();
    insert(&db, "A-fork", &second);
    insert(&db, "S", &first);
    assert_eq!(Rows::of(read(&db, &Home::default(), &mut String::new())).describe(), expect);
}

// ---- the database

#[test]
fn rows_that_are_deleted_and_inserted_anew_are_read() {
    let db = open();
    let events: Vec<_> = (0..40).map(|n| call(&n.to_string(), &counts(100 + n, 1))).collect();
    insert(&db, "S", &events);
    let (mut state, home) = (String::new(), Home::default());
    let mut rows = Rows::of(read(&db, &home, &mut state));
    assert_eq!(rows.events.len(), 40);
    // The end of the session is written anew: new events stand where others stood.
    db.execute("DELETE FROM transcript_events WHERE seq >= 38", []).unwrap();
    insert(
        &db,
        "S",
        &[call("x", &counts(1, 1)), call("y", &counts(2, 1)), call("z", &counts(3, 1))],
    );
    rows.take(read(&db, &home, &mut state));
    assert_eq!(rows.events.len(), 43, "what has gone stays");
    let (again, progress) = try_read(&db, &home, &state).unwrap();
    assert_eq!((again.events.len(), progress.rows), (0, 0));
    // Some go, and all others get new numbers.
    db.execute("DELETE FROM transcript_events WHERE seq < 10", []).unwrap();
    db.execute_batch("VACUUM").unwrap();
    insert(&db, "S", &[call("last", &counts(4, 1))]);
    rows.take(read(&db, &home, &mut state));
    assert_eq!(rows.events.len(), 44);
}

#[test]
fn a_turn_is_short() {
    let db = open();
    let events: Vec<_> = (0..1_200).map(|n| call(&n.to_string(), &json!({}))).collect();
    insert(&db, "S", &events);
    let (first, progress) = try_read(&db, &Home::default(), "").unwrap();
    assert_eq!((first.events.len(), progress.rows, progress.more), (500, 500, true));
    let (rest, progress) = try_read(&db, &Home::default(), &progress.state).unwrap();
    assert_eq!((rest.events.len(), progress.more), (500, true));
    assert!(progress.state.len() < 10_000);
    // Results of tools may be long.
    let long = "x".repeat(3 << 20);
    let result =
        json!({"type": "message", "id": "r", "message": {"role": "toolResult", "content": long}});
    let db = open();
    insert(&db, "S", &vec![result; 6]);
    let (_, progress) = try_read(&db, &Home::default(), "").unwrap();
    assert_eq!((progress.rows, progress.more), (3, true));
}

#[test]
fn rows_that_say_nothing_are_faults() {
    let db = open();
    let sql = "INSERT INTO transcript_events VALUES ('S', ?1, ?2, 7000)";
    let whole = call("a", &json!({})).to_string();
    let rows = ["", "{", "[]", "{} {}", &whole];
    for (seq, json) in (0_i64..).zip(rows) {
        db.execute(sql, rusqlite::params![seq, json]).unwrap();
    }
    // Compressed, as the newest versions do it.
    db.execute(sql, rusqlite::params![9, None::<String>]).unwrap();
    let parsed = read(&db, &Home::default(), &mut String::new());
    let expect = [(Skip::Malformed, 3), (Skip::NotAnObject, 1), (Skip::BadField, 1)];
    assert_eq!(parsed.skips.0, expect.into());
    assert_eq!(*parsed.events[0].owner.project, *"openclaw:main", "no header");
}

#[test]
fn a_database_of_another_form_is_named() {
    for sql in
        ["CREATE TABLE other (id)", "CREATE TABLE transcript_events (session_id, seq, created_at)"]
    {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(sql).unwrap();
        let read = try_read(&db, &Home::default(), "");
        assert!(matches!(read, Err(DatabaseError::UnsupportedSchema(_))), "{sql}");
    }
}

// ---- events

#[test]
fn what_a_person_typed_is_a_prompt() {
    let is_prompt = |change: &Value| {
        let parsed = parse(&[prompt("p", change)]);
        parsed.events.iter().any(|event| event.role == Role::User)
    };
    let text = |text: &str| json!({"message": {"content": text}});
    for typed in [
        json!({}),
        text("do it"),
        json!({"message": {"provenance": {"kind": "external_user"}}}),
        json!({"message": {"content": [{"type": "image"}, {"type": "text", "text": "what is it?"}]}}),
    ] {
        assert!(is_prompt(&typed), "{typed}");
    }
    for other in [
        json!({"message": {"provenance": {"kind": "inter_session"}}}),
        json!({"message": {"provenance": {"kind": "internal_system"}}}),
        json!({"message": {"role": "toolResult"}}),
        json!({"type": "custom_message"}),
        text(" \n"),
        text("[cron:5e55 daily] look at the mail"),
        text("Read HEARTBEAT.md if it exists."),
        text("System: [2026-10-04] Node connected"),
        json!({"message": {"content": null}}),
    ] {
        assert!(!is_prompt(&other), "{other}");
    }
}

#[test]
fn an_event_without_id_time_or_header() {
    let bare = json!({"id": null, "timestamp": null, "message": {"timestamp": null}});
    check(&[call("a", &bare)], &["skipped: bad_field 1"]);
    let no_id = call("a", &json!({"id": null}));
    let row =
        "openclaw::1000:3:20 m in 3 out 20 read 900 write 50 cost 1000000 | S openclaw:main 1000";
    check(&[no_id], &[row]);
    let as_text = json!({"message": {"timestamp": "1970-01-01T00:00:04Z"}});
    let row = CALL.replace("1000:3", "4000:3").replace("shop 1000", "shop 4000");
    check(&[header(&json!({})), call("a", &as_text)], &[&row]);
    let outer = json!({"message": {"timestamp": null}});
    let row = CALL.replace("1000:3", "1500:3").replace("shop 1000", "shop 1500");
    check(&[header(&json!({})), call("a", &outer)], &[&row]);
    let timeless = &[call("a", &json!({"timestamp": null, "message": {"timestamp": 1e30}}))];
    let guessed = |parsed: Parsed| parsed.events[0].clone();
    let (line, row) = (guessed(parse(timeless)), guessed(stored(timeless, &Home::default())));
    assert_eq!((line.ts_ms, row.ts_ms, line.key == row.key), (5_000, 7_000, true));
    assert!(line.usage.flags.contains(usage::Flags::TS_GUESSED));
}

#[test]
fn counts_that_cannot_be_are_flagged() {
    let negative =
        call("a", &json!({"message": {"usage": {"input": -3, "cacheRead": 5_000_000_000_u64}}}));
    let row = "openclaw:a:1000:0:20 m out 20 write 50 cost 1000000 clamped | S /home/ada/shop 1000";
    check(&[header(&json!({})), negative], &[row]);
    let bad = call("a", &json!({"message": {"usage": {"output": 1.5}}}));
    check(&[bad], &["skipped: bad_number 1"]);
}

#[test]
fn a_state_goes_on_where_the_last_read_ended() {
    let choice = json!({"type": "model_change", "provider": "openai", "modelId": "n"});
    let mut parser = OpenClaw.begin(&source(FILE), &nowhere(), "");
    let mut out = Parsed::default();
    for event in [header(&json!({})), choice] {
        parser.parse_line(event.to_string().as_bytes(), &mut out);
    }
    let state = parser.state();
    let expect = r#"{"session":"S","cwd":"/home/ada/shop","forked_ms":null,"chosen":["n","openai"],"ts_ms":0}"#;
    assert_eq!(state, expect);
    let mut parser = OpenClaw.begin(&source(FILE), &nowhere(), &state);
    let nameless = call("a", &json!({"message": {"model": null}}));
    parser.parse_line(nameless.to_string().as_bytes(), &mut out);
    assert_eq!(parser.state().replace("1500", "0"), state);
    assert_eq!(Rows::of(out).describe(), [CALL.replace(" m ", " n ")]);
}

// ---- places

#[test]
fn roots_are_all_names_that_the_agent_has_had() {
    let roots = |vars: &[(&str, &str)]| {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let roots = OpenClaw.roots(&Env { home: "/home/ada".into(), vars: vars.collect() });
        roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>()
    };
    let usual = HOMES.map(|name| format!("/home/ada/{name}"));
    assert_eq!(roots(&[]), usual);
    assert_eq!(
        roots(&[("OPENCLAW_STATE_DIR", "relative"), ("OPENCLAW_PROFILE", "default")]),
        usual
    );
    let moved = [
        ("OPENCLAW_PROFILE", "work"),
        ("OPENCLAW_HOME", "/srv/ada"),
        ("OPENCLAW_STATE_DIR", "/srv/claw/"),
    ];
    let more = ["/home/ada/.openclaw-work", "/srv/ada/.openclaw", "/srv/claw"];
    assert_eq!(roots(&moved), [&usual[..], &more.map(str::to_owned)].concat());
}

#[test]
fn sources_are_known_by_the_shape_of_their_path() {
    let is_source = |path: &str| {
        let path = Path::new(ROOT).join(path);
        let answers = [ROOT, "/home/ada"].map(|root| OpenClaw.is_source(Path::new(root), &path));
        assert_eq!(answers[0], answers[1], "{path:?}");
        assert!(!OpenClaw.is_source(Path::new("/home/bob"), &path));
        answers[0]
    };
    for path in [
        FILE,
        ARCHIVE,
        DATABASE,
        "agents/main/sessions/S-topic-7.jsonl",
        "agents/main/sessions/S.jsonl.deleted.2026-10-04T08-00-00.000Z",
        "agents/main/sessions/S.jsonl.reset.2026-10-04T08-00-00.000Z.zst",
        "agents/main/sessions/S.jsonl.full.bak",
        "agents/main/session-sqlite-import-archive/k.S.jsonl",
        "agents/main/agent/codex-home/archived_sessions/rollout-x.jsonl",
        "agents/main/agent/codex-home/sessions/2026/10/04/rollout-x.jsonl.zst",
    ] {
        assert!(is_source(path), "{path}");
    }
    for path in [
        "agents/main/sessions/sessions.json",
        "agents/main/sessions/S.jsonl.lock",
        "agents/main/sessions/S.jsonl.bak-4711",
        "agents/main/sessions/S.jsonl.tmp",
        "agents/main/sessions/S.trajectory.jsonl",
        "agents/main/sessions/.jsonl",
        "agents/main/sessions/x/S.jsonl",
        "agents/main/agent/incognito-openclaw-agent.sqlite",
        "agents/main/agent/openclaw-agent.sqlite-wal",
        "agents/main/agent/openclaw-agent.sqlite.bak",
        "agents/main/agent/codex-home/history.jsonl",
        "agents/main/agent/codex-home/log/rollout-x.jsonl",
        "workspace/agents/main/sessions/S.jsonl",
    ] {
        assert!(!is_source(path), "{path}");
    }
    for home in [".openclaw-work", ".clawdbot", ".moltbot", ".moldbot"] {
        let path = Path::new("/home/ada").join(home).join(FILE);
        assert!(OpenClaw.is_source(Path::new("/home/ada"), &path), "{home}");
    }
    assert!(!OpenClaw.is_source(Path::new("/home/ada"), &Path::new("/home/ada/shop").join(FILE)));
}

#[test]
fn only_folders_of_sources_are_looked_into() {
    for root in [ROOT, "/home/ada"] {
        let looks = |path: &str| OpenClaw.looks_into(Path::new(root), &Path::new(ROOT).join(path));
        for folder in [
            "",
            "agents",
            "agents/main",
            "agents/main/sessions",
            "agents/main/session-sqlite-import-archive",
            "agents/main/agent",
            "agents/main/agent/codex-home",
            "agents/main/agent/codex-home/sessions/2026/10",
        ] {
            assert!(looks(folder), "{root} {folder}");
        }
        for folder in [
            "workspace",
            "workspace/agents",
            "agents/main/qmd",
            "agents/main/sessions/x",
            "agents/main/agent/codex-home/log",
        ] {
            assert!(!looks(folder), "{root} {folder}");
        }
    }
}

#[test]
fn a_sessions_name_is_what_its_file_says() {
    for (file, session) in [
        ("S.jsonl", "S"),
        ("S-topic-7.jsonl.reset.x", "S-topic-7"),
        ("S.checkpoint.5e55.jsonl", "S"),
    ] {
        assert_eq!(session_in_name(file), Some(session));
    }
}

#[test]
fn events_that_are_kept_compressed_count_like_others() {
    let (db, home) = (open(), Home::default());
    let calls = [call("a", &json!({})), call("b", &json!({}))];
    insert(&db, "s", &calls);
    let plain = read(&db, &home, &mut String::new());
    db.execute_batch("ALTER TABLE transcript_events ADD COLUMN event_zstd BLOB").unwrap();
    let packed = zstd::encode_all(calls[1].to_string().as_bytes(), 3).unwrap();
    let pack = "UPDATE transcript_events SET event_json = NULL, event_zstd = ?1 WHERE seq = 1";
    db.execute(pack, [&packed]).unwrap();
    assert_eq!(read(&db, &home, &mut String::new()).events, plain.events);
    db.execute(pack, [&packed[..packed.len() - 1]]).unwrap();
    let cut = read(&db, &home, &mut String::new());
    assert_eq!((cut.events.len(), cut.skips.faults()), (1, 1), "{cut:?}");
}
