//! The edge-case table of the fact sheet row by row, then what must hold of ledger and transcript
//! together, then the rest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::{Value, json};
use usage::{Role, Skips, UsageEvent};

use super::*;
use crate::testing::{Stored, add_flags, add_tokens, put};
use crate::{Parsed, Surroundings, Torn, nowhere};

const ROOT: &str = "/home/ada/.qwen";
const S: &str = "5e550000-0000-4000-8000-000000000001";
const FORK: &str = "5e550000-0000-4000-8000-000000000002";
const FORK_OF_FORK: &str = "5e550000-0000-4000-8000-000000000003";
const LEDGER_FILE: &str = "usage/token-usage-2026-08.jsonl";

fn chat(session: &str) -> String {
    format!("projects/-home-ada-shop/chats/{session}.jsonl")
}

// ---- records

/// `value` with the fields of `change`; null takes one away.
fn with(mut value: Value, change: &Value) -> Value {
    for (name, new) in change.as_object().unwrap() {
        match new {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            new => value[name] = new.clone(),
        }
    }
    value
}

/// A record of session `S`.
fn record(id: &str, kind: &str, change: &Value) -> Value {
    let record = json!({
        "uuid": id,
        "parentUuid": null,
        "sessionId": S,
        "timestamp": "1970-01-01T00:00:01.000Z",
        "type": kind,
        "cwd": "/home/ada/shop",
        "version": "0.18.1",
    });
    with(record, change)
}

/// Prompt, candidates, cached, thoughts and total.
type Counts = [u64; 5];

const COUNTS: Counts = [600, 5, 50, 0, 605];

/// A response noted by the program, and the answer that was made of it.
fn note(id: &str, counts: Counts, change: &Value) -> Value {
    let [prompt, candidates, cached, thoughts, total] = counts;
    let event = json!({
        "event.name": "qwen-code.api_response",
        "event.timestamp": "1970-01-01T00:00:00.999Z",
        "response_id": "chatcmpl-1",
        "model": "m",
        "duration_ms": 700,
        "input_token_count": prompt,
        "output_token_count": candidates,
        "cached_content_token_count": cached,
        "thoughts_token_count": thoughts,
        "total_token_count": total,
        "prompt_id": format!("{S}########0"),
        "auth_type": "openai",
    });
    let payload = json!({"uiEvent": with(event, change)});
    record(id, "system", &json!({"subtype": "ui_telemetry", "systemPayload": payload}))
}

fn answer(id: &str, counts: Counts) -> Value {
    let [prompt, candidates, cached, thoughts, total] = counts;
    let usage = json!({
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "cachedContentTokenCount": cached,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": total,
    });
    let message = json!({"role": "model", "parts": [{"text": "done"}]});
    record(id, "assistant", &json!({"model": "m", "message": message, "usageMetadata": usage}))
}

fn prompt(id: &str, change: &Value) -> Value {
    let message = json!({"role": "user", "parts": [{"text": "do it"}]});
    with(record(id, "user", &json!({"message": message})), change)
}

/// The line of the ledger about the same response.
fn entry(id: &str, counts: Counts, change: &Value) -> Value {
    let [prompt, candidates, cached, thoughts, total] = counts;
    let entry = json!({
        "schemaVersion": 1,
        "id": id,
        "timestamp": "1970-01-01T00:00:00.998Z",
        "localDate": "1970-01-01",
        "localMonth": "1970-01",
        "sessionId": S,
        "model": "m",
        "authType": "openai",
        "source": "main",
        "feature": "main",
        "usageStatus": "reported",
        "inputTokens": prompt,
        "outputTokens": candidates,
        "cachedTokens": cached,
        "thoughtsTokens": thoughts,
        "totalTokens": total,
        "apiDurationMs": 700,
    });
    with(entry, change)
}

/// What branching makes of a record of a session.
fn branched(record: &Value, to: &str) -> Value {
    let from = json!({"sessionId": record["sessionId"], "messageUuid": record["uuid"]});
    let change = json!({"sessionId": to, "cwd": "/home/ada/mill", "forkedFrom": from});
    with(record.clone(), &change)
}

fn lines(records: &[Value]) -> Vec<String> {
    records.iter().map(Value::to_string).collect()
}

// ---- reading

/// The agent's folder.
#[derive(Default)]
struct Home {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Files that were asked for.
    asked: Mutex<Vec<PathBuf>>,
}

impl Home {
    fn with(path: &str, records: &[Value]) -> Self {
        let mut home = Self::default();
        home.write(path, records);
        home
    }

    fn write(&mut self, path: &str, records: &[Value]) {
        let file = self.files.entry(Path::new(ROOT).join(path)).or_default();
        lines(records).iter().for_each(|line| file.extend(format!("{line}\n").into_bytes()));
    }
}

impl Surroundings for Home {
    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        self.asked.lock().unwrap().push(path.to_owned());
        self.files.get(path).cloned()
    }

    fn folders_in(&self, folder: &Path) -> Vec<PathBuf> {
        let below = self.files.keys().filter_map(|path| path.strip_prefix(folder).ok());
        let mut folders: Vec<_> =
            below.filter_map(|path| Some(folder.join(path.iter().next()?))).collect();
        folders.dedup();
        folders
    }
}

fn source(path: &str) -> Source {
    let id = i64::from(path.contains(LEDGER));
    let path = Path::new(ROOT).join(path);
    Source { id, provider: ID, path, root: ROOT.into(), mtime_ms: 5_000 }
}

fn parse_lines(path: &str, lines: &[impl AsRef<[u8]>], around: &Around) -> Parsed {
    let mut parser = QwenCode.begin(&source(path), around, "");
    let mut out = Parsed::default();
    lines.iter().for_each(|line| parser.parse_line(line.as_ref(), &mut out));
    out
}

fn parse(path: &str, records: &[Value]) -> Parsed {
    parse_lines(path, &lines(records), &nowhere())
}

/// What the database holds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows(Stored);

impl Rows {
    fn take(&mut self, parsed: Parsed) {
        assert!(parsed.retracted.is_empty());
        for event in parsed.events {
            put(&mut self.0, event);
        }
    }

    /// What is said of each call, the largest last.
    fn calls(&self) -> Vec<String> {
        let calls = self.0.values().filter(|row| row.role == Role::Assistant);
        let mut calls: Vec<_> =
            calls.map(|row| (row.usage.tokens.total(), describe(row))).collect();
        calls.sort();
        calls.into_iter().map(|(_, call)| call).collect()
    }

    fn prompts(&self) -> usize {
        self.0.len() - self.calls().len()
    }
}

fn describe(event: &UsageEvent) -> String {
    let UsageEvent { ts_ms, owner, usage, .. } = event;
    assert_eq!((&owner.account, &usage.vendor, usage.logged_cost_nanousd), (&None, &None, None));
    assert_eq!(owner.is_sidechain, owner.agent.is_some());
    let mut line = usage.model.to_string();
    add_tokens(&mut line, usage.tokens);
    if let Some(agent) = &owner.agent {
        write!(line, " agent {agent}").unwrap();
    }
    add_flags(&mut line, usage.flags);
    let session = &owner.session_id[owner.session_id.len().saturating_sub(1)..];
    write!(line, " | {session} {} {ts_ms}", owner.project).unwrap();
    line
}

/// Parses each source and compares the calls that come of all of them, in whatever order.
#[track_caller]
fn check(sources: &[(&str, &[Value])], expect: &[&str]) {
    let read = |sources: &mut dyn Iterator<Item = &(&str, &[Value])>| {
        let mut rows = Rows::default();
        sources.for_each(|(path, records)| rows.take(parse(path, records)));
        rows
    };
    let rows = read(&mut sources.iter());
    assert_eq!(rows.calls(), expect);
    assert_eq!(rows, read(&mut sources.iter().rev()), "the order of files matters");
}

fn skips(path: &str, records: &[Value]) -> Vec<(&'static str, u64)> {
    let Skips(skips) = parse(path, records).skips;
    skips.into_iter().map(|(reason, n)| (reason.as_str(), n)).collect()
}

// ---- edge cases

#[test]
fn edge_01_a_call_noted_and_answered_is_one() {
    let records = [note("n", COUNTS, &json!({})), answer("a", COUNTS)];
    check(&[(&chat(S), &records)], &["m in 550 out 5 read 50 | 1 /home/ada/shop 1000"]);
    assert_eq!(skips(&chat(S), &records), [("replayed", 1)]);
    // Older versions note nothing, and one that was resumed by a newer one both.
    let older = answer("o", [100, 1, 0, 0, 101]);
    let rows = [
        "m in 100 out 1 | 1 /home/ada/shop 1000",
        "m in 550 out 5 read 50 | 1 /home/ada/shop 1000",
    ];
    check(&[(&chat(S), &[&[older], &records[..]].concat())], &rows);
}

#[test]
fn an_answer_before_its_note_is_the_same_call() {
    let transcript = chat(S);
    let records = [answer("a", COUNTS), note("n", COUNTS, &json!({}))];
    let lines = lines(&records);
    let (file, around) = (source(&transcript), nowhere());
    let (mut calls, mut retracted) = (Vec::new(), Vec::new());
    // They may be read one by one.
    let mut state = String::new();
    for line in &lines {
        let mut out = Parsed::default();
        let mut transcript = QwenCode.begin(&file, &around, &state);
        transcript.parse_line(line.as_bytes(), &mut out);
        state = transcript.state();
        calls.extend(out.events.into_iter().map(|event| event.key));
        retracted.append(&mut out.retracted);
    }
    assert_eq!((calls.len(), &calls[..1]), (2, &retracted[..]));
    // Answers to something else are calls of their own.
    let earlier = answer("b", [500, 4, 0, 0, 504]);
    let parsed = parse(&transcript, &[earlier, records[1].clone()]);
    assert_eq!((parsed.events.len(), parsed.retracted.len()), (2, 0));
}

#[test]
fn edge_02_the_prompt_includes_what_is_cached() {
    let row = ["m in 550 out 5 read 50 | 1 /home/ada/shop 1000"];
    check(&[(&chat(S), &[note("n", [600, 5, 50, 0, 605], &json!({}))])], &row);
    check(&[(&chat(S), &[answer("a", [600, 5, 50, 0, 605])])], &row);
}

#[test]
fn edge_03_thoughts_inside_the_candidates() {
    let row = ["m in 100 out 40 think 30 | 1 /home/ada/shop 1000"];
    let counts = [100, 40, 0, 30, 140];
    for route in ["openai", "gemini"] {
        let note = note("n", counts, &json!({"auth_type": route}));
        check(&[(&chat(S), &[note])], &row);
    }
    check(&[(&chat(S), &[answer("a", counts)])], &row);
}

#[test]
fn edge_04_thoughts_beside_the_candidates() {
    let row = ["m in 100 out 40 think 30 | 1 /home/ada/shop 1000"];
    let counts = [100, 10, 0, 30, 140];
    for route in ["openai", "gemini"] {
        let note = note("n", counts, &json!({"auth_type": route}));
        check(&[(&chat(S), &[note])], &row);
    }
    check(&[(&chat(S), &[answer("a", counts)])], &row);
}

#[test]
fn edge_05_a_branch_states_nothing_new_until_it_goes_on() {
    let first = [
        prompt("p", &json!({})),
        answer("old", [100, 1, 0, 0, 101]),
        note("n", COUNTS, &json!({})),
        answer("a", COUNTS),
    ];
    let rows = [
        "m in 100 out 1 | 1 /home/ada/shop 1000",
        "m in 550 out 5 read 50 | 1 /home/ada/shop 1000",
    ];
    let copy = |records: &[Value], to| records.iter().map(|r| branched(r, to)).collect::<Vec<_>>();
    let mut second = copy(&first, FORK);
    let third = copy(&second, FORK_OF_FORK);
    // Branched from a branch, it still says the session that it comes from, in what it notes.
    let chats = [chat(S), chat(FORK), chat(FORK_OF_FORK)];
    let [one, two, three] = chats.each_ref().map(String::as_str);
    check(&[(one, &first), (two, &second), (three, &third)], &rows);
    let mut all = Rows::default();
    for (path, records) in [(two, &second), (one, &first.to_vec()), (three, &third)] {
        all.take(parse(path, records));
    }
    assert_eq!(all.prompts(), 1);
    // The ledger goes before the copies.
    let ledger = [entry("l", COUNTS, &json!({}))];
    let beside = [
        "m in 100 out 1 | 2 /home/ada/mill 1000",
        "m in 550 out 5 read 50 | 1 qwen-code:unknown 998",
    ];
    check(&[(two, &second), (three, &third), (LEDGER_FILE, &ledger)], &beside);
    second.push(with(
        note("n2", [700, 6, 0, 0, 706], &json!({"prompt_id": format!("{FORK}########1")})),
        &json!({"sessionId": FORK}),
    ));
    let rows = [rows[0], rows[1], "m in 700 out 6 | 2 /home/ada/shop 1000"];
    let goes_on = entry("l2", [700, 6, 0, 0, 706], &json!({"sessionId": FORK}));
    let rows_with_ledger = [
        rows[0],
        "m in 550 out 5 read 50 | 1 /home/ada/shop 998",
        "m in 700 out 6 | 2 /home/ada/shop 998",
    ];
    check(&[(one, &first), (two, &second), (three, &third)], &rows);
    let ledger = [ledger[0].clone(), goes_on];
    check(&[(one, &first), (two, &second), (LEDGER_FILE, &ledger)], &rows_with_ledger);
}

#[test]
fn edge_06_a_ledger_line_without_usage_is_skipped() {
    let line = entry("l", [0; 5], &json!({"usageStatus": "unknown"}));
    assert_eq!(skips(LEDGER_FILE, &[line]), [("no_usage", 1)]);
}

// ---- ledger and transcript

/// How far a source was read.
#[derive(Clone, Default)]
struct Position {
    offset: usize,
    state: String,
}

/// The folder of the agent while it is written and read.
#[derive(Default)]
struct World {
    home: Home,
    positions: BTreeMap<String, Position>,
    rows: Rows,
    /// Read, and not yet stored.
    late: Vec<Parsed>,
}

impl World {
    fn parse(&mut self, path: &str) -> Parsed {
        let home = Arc::new(std::mem::take(&mut self.home));
        let bytes = home.files.get(&Path::new(ROOT).join(path)).cloned().unwrap_or_default();
        let position = self.positions.entry(path.to_owned()).or_default();
        let around: Around = Arc::<Home>::clone(&home);
        let mut parser = QwenCode.begin(&source(path), &around, &position.state);
        let mut out = Parsed::default();
        let new = bytes.get(position.offset..).unwrap_or_default();
        for line in new.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            parser.parse_line(line, &mut out);
        }
        *position = Position { offset: bytes.len(), state: parser.state() };
        drop((parser, around));
        self.home = Arc::into_inner(home).unwrap();
        out
    }

    fn read(&mut self, path: &str) {
        let parsed = self.parse(path);
        self.rows.take(parsed);
    }

    fn commit(&mut self, late: Vec<Parsed>) {
        late.into_iter().for_each(|parsed| self.rows.take(parsed));
    }
}

/// Two calls of session `S`, each noted in the transcript and in the ledger, are written in every
/// order, with one on the side, and after each record something is read, or read and stored later.
fn worlds(check: impl Fn(World, &str)) {
    const ORDERS: [&str; 6] = ["ttll", "tltl", "tllt", "lttl", "ltlt", "lltt"];
    const READS: [&str; 4] = ["", "t", "L", "lT"];
    let transcript = &chat(S);
    let counts = [COUNTS, [700, 6, 600, 4, 706]];
    for order in ORDERS {
        for n in 0..READS.len().pow(4) {
            let (mut world, mut history) = (World::default(), String::new());
            world.home.write(transcript, &[prompt("p", &json!({}))]);
            let side = json!({"feature": "side_query", "source": "side_query"});
            world.home.write(LEDGER_FILE, &[entry("side", [30, 2, 0, 0, 32], &side)]);
            let (mut noted, mut entered) = (counts.iter(), counts.iter());
            let mut choice = n;
            for written in order.chars() {
                if written == 't' {
                    let counts = *noted.next().unwrap();
                    let id = format!("{}", counts[0]);
                    let records =
                        [note(&format!("n{id}"), counts, &json!({})), answer(&id, counts)];
                    world.home.write(transcript, &records);
                } else {
                    let counts = *entered.next().unwrap();
                    world.home.write(LEDGER_FILE, &[entry("l", counts, &json!({}))]);
                }
                let late = std::mem::take(&mut world.late);
                let reads = READS[choice % READS.len()];
                choice /= READS.len();
                for read in reads.chars() {
                    let path =
                        if read.eq_ignore_ascii_case(&'t') { transcript } else { LEDGER_FILE };
                    let parsed = world.parse(path);
                    if read.is_ascii_lowercase() {
                        world.rows.take(parsed);
                    } else {
                        world.late.push(parsed);
                    }
                }
                world.commit(late);
                history += &format!("{written}:{reads} ");
            }
            let late = std::mem::take(&mut world.late);
            world.commit(late);
            check(world, &history);
        }
    }
}

#[test]
fn whichever_of_ledger_and_transcript_is_read_first_each_call_counts_once() {
    let transcript = &chat(S);
    let expect = [
        "m in 30 out 2 | 1 /home/ada/shop 998",
        "m in 550 out 5 read 50 | 1 /home/ada/shop 998",
        "m in 100 out 6 read 600 think 4 | 1 /home/ada/shop 998",
    ];
    worlds(|mut world, history| {
        world.read(LEDGER_FILE);
        world.read(transcript);
        let rows = world.rows.clone();
        assert_eq!((rows.calls(), rows.prompts()), (expect.map(str::to_owned).to_vec(), 1));
        // From the start once more, both, or one while the other has gone.
        for gone in [None, Some(transcript.as_str()), Some(LEDGER_FILE)] {
            let files = world.home.files.clone();
            world.home.files.retain(|path, _| gone.is_none_or(|gone| !path.ends_with(gone)));
            world.positions.clear();
            world.read(transcript);
            world.read(LEDGER_FILE);
            assert_eq!(world.rows, rows, "{history}without {gone:?}");
            world.home.files = files;
        }
        // And into an empty database, one alone.
        for path in [transcript, LEDGER_FILE] {
            world.positions.clear();
            world.rows = Rows::default();
            world.read(path);
            let calls = world.rows.calls().len();
            assert_eq!(calls, if path == LEDGER_FILE { 3 } else { 2 }, "{history}");
        }
        world.positions.clear();
        world.read(transcript);
        assert_eq!(world.rows, rows, "{history}then the other one");
    });
}

#[test]
fn what_the_ledger_puts_in_the_place_of_something_else_is_the_same_call() {
    let row = ["m in 100 out 40 read 50 think 30 | 1 /home/ada/shop 998"];
    let own = note("n", [150, 40, 50, 30, 0], &json!({}));
    // A total that the model did not report, and a name that is no plain word.
    let line = entry("l", [150, 40, 50, 30, 220], &json!({"model": "unknown"}));
    check(&[(&chat(S), &[own]), (LEDGER_FILE, &[line])], &row);
    // A prompt that it did not count.
    let own = note("n", [0, 40, 50, 0, 90], &json!({}));
    let line = entry("l", [50, 40, 50, 0, 90], &json!({}));
    let row = ["m out 40 read 50 | 1 /home/ada/shop 998"];
    check(&[(&chat(S), &[own]), (LEDGER_FILE, &[line])], &row);
    // Parts of a millisecond.
    let own = note("n", COUNTS, &json!({"duration_ms": 700.75}));
    let line = entry("l", COUNTS, &json!({}));
    let row = ["m in 550 out 5 read 50 | 1 /home/ada/shop 998"];
    check(&[(&chat(S), &[own]), (LEDGER_FILE, &[line])], &row);
}

#[test]
fn calls_that_only_look_alike_are_two() {
    let longer = json!({"duration_ms": 701});
    let records = [note("n", COUNTS, &json!({})), note("o", COUNTS, &longer)];
    assert_eq!(parse(&chat(S), &records).events.len(), 2);
    let row = "m in 550 out 5 read 50 | 1 /home/ada/shop 1000";
    check(&[(&chat(S), &records)], &[row, row]);
    // Scripts that ask the same once an hour have a session each.
    let other = entry("l", COUNTS, &json!({"sessionId": FORK}));
    let rows = [
        "m in 550 out 5 read 50 | 1 qwen-code:unknown 998",
        "m in 550 out 5 read 50 | 2 qwen-code:unknown 998",
    ];
    check(&[(LEDGER_FILE, &[entry("l", COUNTS, &json!({})), other])], &rows);
}

#[test]
fn calls_on_the_side_and_of_subagents_stand_in_the_ledger() {
    let subagent = json!({"feature": "subagent", "source": "reviewer"});
    let first_version =
        json!({"feature": null, "usageStatus": null, "source": "reviewer", "apiDurationMs": 1});
    let suggestion = json!({"feature": "prompt_suggestion", "source": "prompt_suggestion"});
    let lines = [
        entry("a", [10, 1, 0, 0, 11], &suggestion),
        entry("b", [20, 1, 0, 0, 21], &subagent),
        entry("c", [30, 1, 0, 0, 31], &first_version),
    ];
    let rows = [
        "m in 10 out 1 | 1 qwen-code:unknown 998",
        "m in 20 out 1 agent reviewer | 1 qwen-code:unknown 998",
        "m in 30 out 1 agent reviewer | 1 qwen-code:unknown 998",
    ];
    check(&[(LEDGER_FILE, &lines)], &rows);
    // The transcript knows which of several reviewers it was.
    let by = json!({"subagent_name": "reviewer", "subagent_id": "reviewer-7f3c"});
    let noted = note("n", [20, 1, 0, 0, 21], &by);
    let rows = [
        "m in 10 out 1 | 1 qwen-code:unknown 998",
        "m in 20 out 1 agent reviewer-7f3c | 1 /home/ada/shop 998",
        "m in 30 out 1 agent reviewer | 1 qwen-code:unknown 998",
    ];
    check(&[(LEDGER_FILE, &lines), (&chat(S), &[noted])], &rows);
}

#[test]
fn the_ledger_looks_for_a_sessions_folder_once() {
    let archived = format!("projects/-home-ada-shop/chats/archive/{S}.jsonl");
    for transcript in [chat(S), archived] {
        let title = record("t", "system", &json!({"cwd": null, "subtype": "custom_title"}));
        let mut home = Home::with(&transcript, &[title, prompt("p", &json!({}))]);
        home.write("projects/-home-ada-mill/chats/x", &[]);
        let home = Arc::new(home);
        let around: Around = Arc::<Home>::clone(&home);
        let lines = lines(&[entry("l", COUNTS, &json!({})), entry("l", COUNTS, &json!({}))]);
        let mut parser = QwenCode.begin(&source(LEDGER_FILE), &around, "");
        let mut out = Parsed::default();
        parser.parse_line(lines[0].as_bytes(), &mut out);
        let asked = home.asked.lock().unwrap().len();
        let mut parser = QwenCode.begin(&source(LEDGER_FILE), &around, &parser.state());
        parser.parse_line(lines[1].as_bytes(), &mut out);
        assert_eq!(home.asked.lock().unwrap().len(), asked);
        for event in out.events {
            assert_eq!(*event.owner.project, *"/home/ada/shop");
        }
    }
    // Of one that has none it is looked for again, and never outside.
    for session in ["../../../etc/passwd", "..", "5e55", S] {
        let home = Arc::new(Home::with(&chat(FORK), &[]));
        let around: Around = Arc::<Home>::clone(&home);
        let lines = lines(&[entry("l", COUNTS, &json!({"sessionId": session}))]);
        let parsed = parse_lines(LEDGER_FILE, &lines, &around);
        assert_eq!(*parsed.events[0].owner.project, *NO_FOLDER);
        assert_eq!(home.asked.lock().unwrap().is_empty(), session != S);
    }
}

#[test]
fn a_ledgers_state_stays_small() {
    let long = format!("/{}", "\u{1}".repeat(680));
    let mut home = Home::default();
    let session = |n: usize| format!("5e550000-0000-4000-8000-{n:012}");
    for n in 0..20 {
        let change = json!({"cwd": long, "sessionId": session(n)});
        home.write(&chat(&session(n)), &[prompt("p", &change)]);
    }
    let around: Around = Arc::new(home);
    let mut parser = QwenCode.begin(&source(LEDGER_FILE), &around, "");
    let mut out = Parsed::default();
    for n in 0..20 {
        let line = entry("l", COUNTS, &json!({"sessionId": session(n)})).to_string();
        parser.parse_line(line.as_bytes(), &mut out);
        assert_eq!(*out.events[n].owner.project, *long);
    }
    assert!(parser.state().len() < 50_000, "{}", parser.state().len());
}

// ---- transcripts

#[test]
fn what_a_person_typed_is_a_prompt() {
    let text = |text: &str| json!({"message": {"role": "user", "parts": [{"text": text}]}});
    let is_prompt = |change: &Value| {
        let parsed = parse(&chat(S), &[prompt("p", change)]);
        assert_eq!(parsed.skips, Skips::default());
        let said = parsed.events.iter().map(|event| (event.role, event.key.as_str().to_owned()));
        said.collect::<Vec<_>>()
    };
    let expect: Vec<_> = vec![(Role::User, "qwen:prompt:p".to_owned())];
    for typed in [
        json!({}),
        json!({"subtype": "mid_turn_user_message"}),
        json!({"provenance": "real_user"}),
        text("<b>look</b>"),
        json!({"message": {"parts": [{"inlineData": {}}, {"text": "what is this?"}]}}),
    ] {
        assert_eq!(is_prompt(&typed), expect, "{typed}");
    }
    for other in [
        json!({"subtype": "notification"}),
        json!({"subtype": "cron"}),
        json!({"subtype": "goal_runtime"}),
        json!({"isSidechain": true}),
        json!({"type": "tool_result"}),
        json!({"type": "system"}),
        json!({"message": null}),
        json!({"message": "text"}),
        text(" \n"),
        text("<system-reminder>x"),
        text("System: Please continue."),
        json!({"message": {"parts": [{"functionResponse": {}}, {"text": "and this"}]}}),
    ] {
        assert_eq!(is_prompt(&other), [], "{other}");
    }
}

#[test]
fn thoughts_are_told_by_the_route_where_the_total_does_not_tell() {
    let row = |counts: Counts, route: &str| {
        let note = note("n", counts, &json!({"auth_type": route}));
        let mut rows = Rows::default();
        rows.take(parse(&chat(S), &[note]));
        rows.calls()[0].split(" |").next().unwrap().to_owned()
    };
    for inside in ["openai", "qwen-oauth", "anthropic", "another"] {
        assert_eq!(row([100, 40, 0, 30, 0], inside), "m in 100 out 40 think 30");
        assert_eq!(row([100, 40, 0, 30, 999], inside), "m in 100 out 40 think 30");
    }
    for beside in ["gemini", "vertex-ai"] {
        assert_eq!(row([100, 40, 0, 30, 0], beside), "m in 100 out 70 think 30");
    }
    // More thoughts than candidates cannot be inside of them.
    assert_eq!(row([100, 10, 0, 30, 0], "another"), "m in 100 out 40 think 30");
    assert_eq!(row([100, 10, 0, 30, 0], "openai"), "m in 100 out 10 think 10 clamped");
}

#[test]
fn counts_that_cannot_be_are_flagged_and_never_negative() {
    let row = |change: Value| {
        let mut rows = Rows::default();
        rows.take(parse(&chat(S), &[note("n", COUNTS, &change)]));
        rows.calls().concat()
    };
    let behind = "| 1 /home/ada/shop 1000";
    for (change, counts) in [
        (json!({"input_token_count": 20}), "m out 5 read 50 clamped"),
        (json!({"input_token_count": -20, "cached_content_token_count": 0}), "m out 5 clamped"),
        (
            json!({"input_token_count": 5_000_000_000_u64, "cached_content_token_count": 0}),
            "m out 5 clamped",
        ),
        (json!({"output_token_count": null}), "m in 550 read 50"),
    ] {
        assert_eq!(row(change), format!("{counts} {behind}"));
    }
    let bad = note("n", COUNTS, &json!({"output_token_count": 1.5}));
    assert_eq!(skips(&chat(S), &[bad]), [("bad_number", 1)]);
    assert_eq!(skips(&chat(S), &[note("n", [0; 5], &json!({}))]), [("no_usage", 1)]);
}

#[test]
fn a_record_without_id_time_session_folder_or_model() {
    let nameless = [answer("a", COUNTS), prompt("p", &json!({}))];
    let nameless = nameless.map(|record| with(record, &json!({"uuid": null})));
    assert_eq!(skips(&chat(S), &nameless), [("bad_field", 2)]);
    let bare = json!({"sessionId": null, "timestamp": null, "cwd": null, "version": null});
    let noted = with(note("n", COUNTS, &json!({"model": null})), &bare);
    let row = "unknown in 550 out 5 read 50 ts_guessed | 1 qwen-code:-home-ada-shop 5000";
    check(&[(&chat(S), std::slice::from_ref(&noted))], &[row]);
    let archived = format!("projects/-home-ada-shop/chats/archive/{S}.jsonl");
    check(&[(&archived, std::slice::from_ref(&noted))], &[row]);
    let row = "unknown in 550 out 5 read 50 ts_guessed | 1 qwen-code:-home-ada-shop 1000";
    check(&[(&chat(S), &[prompt("p", &json!({})), noted])], &[row]);
    let line = entry("l", COUNTS, &json!({"timestamp": null, "model": null}));
    let row = "unknown in 550 out 5 read 50 ts_guessed | 1 qwen-code:unknown 5000";
    check(&[(LEDGER_FILE, &[line])], &[row]);
    let nobodys = entry("l", COUNTS, &json!({"sessionId": null}));
    assert_eq!(skips(LEDGER_FILE, &[nobodys]), [("bad_field", 1)]);
}

#[test]
fn damaged_lines_are_faults_and_glued_ones_are_split() {
    let noted = note("n", COUNTS, &json!({})).to_string();
    let asked = prompt("p", &json!({})).to_string();
    let lines = [
        format!("{asked}{noted}"),
        noted[..40].to_owned(),
        format!("\0\0{noted}"),
        "[]".to_owned(),
    ];
    let parsed = parse_lines(&chat(S), &lines, &nowhere());
    assert_eq!((parsed.events.len(), parsed.skips.faults()), (3, 3));
}

#[test]
fn a_state_goes_on_where_the_last_read_ended() {
    let records = lines(&[note("n", COUNTS, &json!({})), answer("a", COUNTS)]);
    let mut parser = QwenCode.begin(&source(&chat(S)), &nowhere(), "");
    let mut out = Parsed::default();
    parser.parse_line(records[0].as_bytes(), &mut out);
    assert_eq!(parser.state(), r#"{"ts_ms":1000,"has_notes":true}"#);
    let mut parser = QwenCode.begin(&source(&chat(S)), &nowhere(), &parser.state());
    parser.parse_line(records[1].as_bytes(), &mut out);
    assert_eq!(out.events.len(), 1);
    assert_eq!(out.events[0].owner.client.as_deref(), Some("0.18.1"));
}

// ---- the oldest sessions

const OLD: &str = "tmp/5f3c/chats/session-2025-10-01T10-00-5e550000.json";

fn old(messages: &[Value]) -> String {
    let start = "1970-01-01T00:00:02Z";
    json!({"sessionId": S, "startTime": start, "messages": messages}).to_string()
}

fn parse_old(document: &str) -> Result<Parsed, Torn> {
    let Storage::Document(sessions) = QwenCode.storage(Path::new(OLD)) else { unreachable!() };
    let mut out = Parsed::default();
    sessions.parse(&source(OLD), document.as_bytes(), &*nowhere(), "", &mut out)?;
    Ok(out)
}

#[test]
fn an_old_session_is_a_document() {
    let tokens = json!({"input": 600, "output": 40, "cached": 50, "thoughts": 30, "total": 640});
    let call = json!({"id": "a", "type": "qwen", "timestamp": "1970-01-01T00:00:03Z", "model": "m",
        "content": "done", "tokens": tokens});
    let typed = json!({"id": "p", "type": "user", "content": "do it"});
    let without_id = with(call.clone(), &json!({"id": null}));
    let parsed = parse_old(&old(&[typed, call.clone(), without_id])).unwrap();
    assert_eq!(parsed.skips.faults(), 1);
    let mut rows = Rows::default();
    rows.take(parsed);
    assert_eq!(rows.calls(), ["m in 550 out 40 read 50 think 30 | 1 qwen-code:5f3c 3000"]);
    assert_eq!(rows.prompts(), 1);
    let whole = old(&[call]);
    assert!(matches!(parse_old(&whole[..whole.len() - 1]), Err(Torn)));
    assert!(matches!(parse_old(&whole.repeat(2)), Err(Torn)));
    assert_eq!(parse_old("[]").unwrap().skips.faults(), 1);
}

// ---- places

#[test]
fn the_root_follows_the_agents_own_variables() {
    let roots = |name: &str, value: &str| {
        let vars = [(name.to_owned(), value.to_owned())].into();
        QwenCode.roots(&Env { home: "/home/ada".into(), vars })
    };
    for value in ["", "relative", "~/.qwen", "/home/ada/.qwen/"] {
        assert_eq!(roots("QWEN_RUNTIME_DIR", value), [Path::new(ROOT)], "{value}");
    }
    let both = |moved: &str| [ROOT.into(), PathBuf::from(moved)];
    assert_eq!(roots("QWEN_RUNTIME_DIR", "/srv/qwen"), both("/srv/qwen"));
    assert_eq!(roots("QWEN_RUNTIME_DIR", "~/run"), both("/home/ada/run"));
    assert_eq!(roots("QWEN_HOME", "/srv/qwen"), both("/srv/qwen"));
}

#[test]
fn sources_are_known_by_the_shape_of_their_path() {
    let place = |path: &str| {
        let path = Path::new(ROOT).join(path);
        let places =
            ["/home/ada/.qwen", "/home/ada", "/"].map(|root| Place::of(Path::new(root), &path));
        assert!(places.iter().all(|place| *place == places[0]), "{path:?}");
        assert!(!QwenCode.is_source(Path::new("/home/bob"), &path));
        places[0]
    };
    assert_eq!(place(LEDGER_FILE), Some(Place::Ledger));
    assert_eq!(place(&chat(S)), Some(Place::Transcript));
    assert_eq!(place(&format!("projects/p/chats/archive/{S}.jsonl")), Some(Place::Transcript));
    assert_eq!(place(OLD), Some(Place::OldSession));
    for other in [
        "usage/usage-events-2026-08.jsonl",
        "usage/token-usage-2026-08.jsonl.bak",
        "usage/token-usage-backup.jsonl",
        "usage_record.jsonl",
        "projects/p/chats/notes.jsonl",
        "tmp/5f3c/logs.json",
        "tmp/5f3c/chats/checkpoint.json",
        "tmp/5f3c/chats/session-.json",
        &format!("projects/p/chats/{S}.ledger.jsonl"),
        &format!("projects/p/chats/{S}.worktree.json"),
        &format!("projects/p/chats/.{S}.5e550000-0000.tmp"),
        &format!("projects/p/chats/{S}.jsonl.zst"),
        &format!("projects/p/{S}.jsonl"),
        &format!("projects/p/subagents/{S}/agent-{S}.jsonl"),
        &format!("projects/p/chats/deeper/{S}.jsonl"),
    ] {
        assert_eq!(place(other), None, "{other}");
    }
    // Gemini CLI's are none, though they look the same from a common root.
    let geminis = Path::new("/home/ada/.gemini").join(OLD);
    assert!(!QwenCode.is_source(Path::new("/home/ada"), &geminis));
}

#[test]
fn only_folders_of_sources_are_looked_into() {
    for root in [ROOT, "/home/ada"] {
        let looks = |path: &str| QwenCode.looks_into(Path::new(root), &Path::new(ROOT).join(path));
        for folder in [
            "",
            "usage",
            "projects",
            "projects/p",
            "projects/p/chats",
            "projects/p/chats/archive",
            "tmp",
            "tmp/5f3c",
            "tmp/5f3c/chats",
        ] {
            assert!(looks(folder), "{root} {folder}");
        }
        for folder in
            ["extensions", "debug", "projects/p/subagents", "projects/p/chats/x", "usage/x"]
        {
            assert!(!looks(folder), "{root} {folder}");
        }
    }
}
