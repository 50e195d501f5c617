//! The edge-case table of the fact sheet row by row, then what must hold for any document.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use usage::{EventKey, Flags, Owner, Role, Skip, Source, Tokens, UsageEvent};

use super::*;
use crate::testing::{Files, Stored, put_anew};
use crate::{Parsed, Surroundings};

/// 2026-09-01T10:00:00Z
const START_MS: i64 = 1_788_256_800_000;

// ---- reading

/// What the store holds: rows, and keys that may never come back.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    events: Stored,
    retracted: Vec<EventKey>,
    skips: usage::Skips,
}

impl Rows {
    /// A reading of one source, after others of the same one.
    fn apply(&mut self, parsed: Parsed) {
        self.retracted.extend(parsed.retracted);
        for event in parsed.events {
            put_anew(&mut self.events, event);
        }
        self.events.retain(|_, event| !self.retracted.contains(&event.key));
        self.skips = parsed.skips;
    }

    /// Each call as its counts: `1580+164 r34332 w0`.
    fn calls(&self) -> Vec<String> {
        let calls = self.in_order(Role::Assistant);
        calls
            .map(|call| {
                let Tokens { input, output, cache_read, cache_create, .. } = call.usage.tokens;
                format!("{input}+{output} r{cache_read} w{cache_create}")
            })
            .collect()
    }

    /// Whether each call may be several.
    fn sums(&self) -> Vec<bool> {
        self.in_order(Role::Assistant).map(|call| call.usage.flags.contains(Flags::SUM)).collect()
    }

    fn only(&self, role: Role) -> &UsageEvent {
        let events: Vec<_> = self.in_order(role).collect();
        assert_eq!(events.len(), 1, "{self:?}");
        events[0]
    }

    fn count(&self, role: Role) -> usize {
        self.in_order(role).count()
    }

    fn in_order(&self, role: Role) -> impl Iterator<Item = &UsageEvent> {
        let mut events: Vec<_> = self.events.values().filter(|event| event.role == role).collect();
        events.sort_by_key(|event| (event.ts_ms, event.key.clone()));
        events.into_iter()
    }
}

fn source(path: &str) -> Source {
    let id = i64::try_from(path.len()).unwrap();
    let root = "/home/ada/.cline/data".into();
    Source { id, provider: ID, path: path.into(), root, mtime_ms: START_MS }
}

fn parse(path: &str, document: &str, around: &dyn Surroundings, state: &str) -> (Parsed, String) {
    let Storage::Document(reader) = Cline.storage(Path::new(path)) else { unreachable!() };
    let mut out = Parsed::default();
    let state = reader.parse(&source(path), document.as_bytes(), around, state, &mut out).unwrap();
    assert!(state.len() < 100_000);
    (out, state)
}

/// The rows of a document that is read once.
fn read(path: &str, document: &str, around: &Files) -> Rows {
    let mut rows = Rows::default();
    rows.apply(parse(path, document, around, "").0);
    rows
}

/// The rows of a document that is read at each of its saves.
fn read_saves(path: &str, saves: &[&str]) -> Rows {
    let (mut rows, mut state) = (Rows::default(), String::new());
    for save in saves {
        let (parsed, next) = parse(path, save, &Files::default(), &state);
        rows.apply(parsed);
        state = next;
    }
    rows
}

// ---- sessions

const SESSION: &str = "/home/ada/.cline/data/sessions/s1/s1.messages.json";
const MANIFEST: &str = "/home/ada/.cline/data/sessions/s1/s1.json";
const FORK: &str = "/home/ada/.cline/data/sessions/s02/s02.messages.json";

fn session(messages: &[String]) -> String {
    format!(r#"{{"version":1,"agent":"lead","messages":[{}]}}"#, messages.join(","))
}

fn answer(id: &str, ms: i64, metrics: &str) -> String {
    answer_of("cline", id, ms, metrics)
}

fn answer_of(provider: &str, id: &str, ms: i64, metrics: &str) -> String {
    let ts = START_MS + ms;
    format!(
        r#"{{"id":"{id}","role":"assistant","content":[{{"type":"text","text":"Done."}}],"ts":{ts},"modelInfo":{{"id":"v/m","provider":"{provider}"}},"metrics":{{{metrics}}}}}"#
    )
}

fn metrics(input: u64, output: u64, cache_read: u64, cache_write: u64) -> String {
    format!(
        r#""inputTokens":{input},"outputTokens":{output},"cacheReadTokens":{cache_read},"cacheWriteTokens":{cache_write}"#
    )
}

fn said(id: &str, ms: i64, content: &str, more: &str) -> String {
    let ts = START_MS + ms;
    format!(r#"{{"id":"{id}","role":"user","content":{content},"ts":{ts}{more}}}"#)
}

fn typed(id: &str, ms: i64, text: &str) -> String {
    said(id, ms, &format!(r#"[{{"type":"text","text":"{text}"}}]"#), "")
}

// ---- tasks

const TASK: &str = "/home/ada/.cline/data/tasks/1770000000000/ui_messages.json";

fn task(entries: &[String]) -> String {
    format!("[{}]", entries.join(","))
}

fn entry(ms: i64, say: &str, text: &str, more: &str) -> String {
    let (ts, text) = (START_MS + ms, serde_json::to_string(text).unwrap());
    format!(r#"{{"ts":{ts},"type":"say","say":"{say}","text":{text}{more}}}"#)
}

fn used(input: u64, output: u64) -> String {
    format!(r#"{{"request":"do it","tokensIn":{input},"tokensOut":{output},"cost":0.5}}"#)
}

fn request(ms: i64, input: u64) -> String {
    entry(ms, "api_req_started", &used(input, 1), "")
}

fn deleted(ms: i64, input: u64) -> String {
    entry(ms, "deleted_api_reqs", &used(input, 1), "")
}

// ---- the edge-case table

#[test]
fn edge_01_what_was_cached_is_part_of_the_input_of_a_session_and_not_of_a_task() {
    let rows = read(
        SESSION,
        &session(&[answer("a", 0, &metrics(35_912, 164, 34_332, 0))]),
        &Files::default(),
    );
    assert_eq!(rows.calls(), ["1580+164 r34332 w0"]);
    let text = r#"{"tokensIn":1580,"tokensOut":164,"cacheReads":34332,"cacheWrites":5}"#;
    let rows = read(TASK, &task(&[entry(0, "api_req_started", text, "")]), &Files::default());
    assert_eq!(rows.calls(), ["1580+164 r34332 w5"]);
}

#[test]
fn edge_02_a_message_of_the_original_and_its_fork_is_one_call_of_the_original() {
    let copied = [typed("p", 0, "hello"), answer("a", 5, &metrics(10, 1, 0, 0))];
    let own = [typed("q", 500, "again"), answer("b", 505, &metrics(20, 2, 0, 0))];
    let fork = r#"{"metadata":{"fork":{"forkedFromSessionId":"s1","forkedAt":"2026-09-01T10:00:00.400Z"}}}"#;
    let around = Files::default().with("/home/ada/.cline/data/sessions/s02/s02.json", fork);
    let original = parse(SESSION, &session(&copied), &around, "").0;
    let fork = parse(FORK, &session(&[copied, own].concat()), &around, "").0;
    assert_eq!(fork.events.iter().map(|event| event.copy_rank).collect::<Vec<_>>(), [1, 1, 0, 0]);
    for order in [[&original, &fork], [&fork, &original]] {
        let mut rows = Rows::default();
        order.into_iter().for_each(|parsed| rows.apply(parsed.clone()));
        assert_eq!(rows.calls(), ["10+1 r0 w0", "20+2 r0 w0"]);
        let sessions = rows.events.values().map(|event| (event.role, &*event.owner.session_id));
        let mut sessions: Vec<_> = sessions.collect();
        sessions.sort_unstable();
        let (call, prompt) = (Role::Assistant, Role::User);
        assert_eq!(sessions, [(call, "s02"), (call, "s1"), (prompt, "s02"), (prompt, "s1")]);
    }
}

#[test]
fn edge_03_a_replaced_document_says_only_what_is_new_in_it() {
    let [first, second] = [1, 2].map(|n| answer(&format!("a{n}"), n, &metrics(10, 1, 0, 0)));
    let before = session(std::slice::from_ref(&first));
    let after = session(&[second, first]);
    assert_eq!(read_saves(SESSION, &[&before, &before]), read_saves(SESSION, &[&before]));
    let rows = read_saves(SESSION, &[&before, &after]);
    assert_eq!(rows.calls().len(), 2, "wherever in it they are");
    assert_eq!(rows, read_saves(SESSION, &[&before, &after, &before, &after]));
}

#[test]
fn edge_04_a_request_counts_once_its_figures_are_filled_in() {
    let running = task(&[entry(0, "api_req_started", r#"{"request":"do it"}"#, "")]);
    let zero = task(&[entry(0, "api_req_started", r#"{"tokensIn":0,"tokensOut":0,"cost":0}"#, "")]);
    let ended = task(&[request(0, 100)]);
    let rows = read_saves(TASK, &[&running, &zero]);
    assert_eq!((rows.calls().len(), rows.skips.0.len()), (0, 0), "and is no fault before");
    let rows = read_saves(TASK, &[&running, &ended, &ended]);
    assert_eq!(rows.calls(), ["100+1 r0 w0"]);
    assert_eq!(rows.only(Role::Assistant).usage.logged_cost_nanousd, Some(500_000_000));
}

#[test]
fn figures_stand_behind_a_request_of_any_length() {
    let request = "\"\n\\".repeat(100_000);
    let text = serde_json::json!({ "request": request, "tokensIn": 3, "tokensOut": 1 });
    let document = task(&[entry(0, "api_req_started", &text.to_string(), "")]);
    assert_eq!(read(TASK, &document, &Files::default()).calls(), ["3+1 r0 w0"]);
}

#[test]
fn edge_05_rows_stay_when_a_person_edits_an_earlier_message() {
    let before = task(&[request(0, 100), request(10, 200), request(20, 300)]);
    let edited = task(&[request(0, 100), deleted(30, 500), request(40, 400)]);
    let rows = read_saves(TASK, &[&before, &edited]);
    assert_eq!(rows.calls(), ["100+1 r0 w0", "200+1 r0 w0", "300+1 r0 w0", "400+1 r0 w0"]);
    assert_eq!(rows.retracted.len(), 1);
}

// ---- deleted requests

#[test]
fn deleted_requests_count_for_a_reader_that_has_not_counted_them() {
    let edited = task(&[request(0, 100), deleted(30, 500)]);
    assert_eq!(read(TASK, &edited, &Files::default()).calls(), ["100+1 r0 w0", "500+1 r0 w0"]);
    // It goes on to be counted, and what is deleted later is not.
    let again = task(&[request(0, 100), deleted(30, 500), request(40, 400), deleted(50, 400)]);
    let cleared = task(&[deleted(60, 1_000)]);
    let rows = read_saves(TASK, &[&edited, &again, &cleared]);
    assert_eq!(rows.calls(), ["100+1 r0 w0", "500+1 r0 w0", "400+1 r0 w0"]);
    assert_eq!(rows.sums(), [false, true, false]);
}

#[test]
fn deleted_requests_that_were_counted_stay_out_though_the_state_is_lost() {
    let before = task(&[request(0, 100), request(10, 200)]);
    let edited = task(&[request(0, 100), deleted(30, 200)]);
    let mut rows = read_saves(TASK, &[&before, &edited]);
    rows.apply(parse(TASK, &edited, &Files::default(), "").0);
    assert_eq!(rows.calls(), ["100+1 r0 w0", "200+1 r0 w0"]);
}

#[test]
fn what_subagents_used_and_what_the_oldest_versions_end_with_is_counted() {
    let rows = read(
        TASK,
        &task(&[
            entry(0, "subagent_usage", &used(7, 1), ""),
            entry(5, "api_req_finished", &used(8, 1), ""),
            entry(6, "text", &used(9, 1), ""),
            entry(7, "api_req_started", &used(1, 1), r#","type":"ask""#),
        ]),
        &Files::default(),
    );
    assert_eq!(rows.calls(), ["7+1 r0 w0", "8+1 r0 w0"]);
    assert_eq!(rows.sums(), [true, false], "a subagent makes many requests");
}

// ---- figures

#[test]
fn a_cost_of_zero_is_one_in_a_session_and_none_in_a_task() {
    let costs = |document: Rows| document.only(Role::Assistant).usage.logged_cost_nanousd;
    let check = |cost: &str, in_session, in_task| {
        let metrics = metrics(5, 5, 0, 0) + cost;
        let rows = read(SESSION, &session(&[answer("a", 0, &metrics)]), &Files::default());
        assert_eq!(costs(rows), in_session, "{cost}");
        let text = format!(r#"{{"tokensIn":5,"tokensOut":5{cost}}}"#);
        let document = task(&[entry(0, "api_req_started", &text, "")]);
        assert_eq!(costs(read(TASK, &document, &Files::default())), in_task, "{cost}");
    };
    check("", None, None);
    check(r#","cost":null"#, None, None);
    check(r#","cost":-1"#, None, None);
    check(r#","cost":0"#, Some(0), None);
    check(r#","cost":0.0"#, Some(0), None);
    check(r#","cost":4e-10"#, Some(0), None);
    check(r#","cost":0.48953100000000005"#, Some(489_531_000), Some(489_531_000));
}

#[test]
fn no_count_is_ever_negative() {
    let rows = read(
        SESSION,
        &session(&[
            answer("a", 0, &metrics(10, 1, 8, 7)),
            answer("b", 1, r#""inputTokens":-5,"outputTokens":3"#),
            answer("c", 2, r#""inputTokens":1.5,"outputTokens":3"#),
            answer("d", 3, &metrics(0, 0, 0, 0)),
            r#"{"role":"assistant","metrics":{"inputTokens":1}}"#.to_owned(),
        ]),
        &Files::default(),
    );
    assert_eq!(rows.calls(), ["0+1 r8 w7", "0+3 r0 w0"]);
    assert!(rows.in_order(Role::Assistant).all(|call| call.usage.flags.contains(Flags::CLAMPED)));
    let skips: Vec<_> = rows.skips.0.into_iter().collect();
    assert_eq!(skips, [(Skip::BadNumber, 1), (Skip::BadField, 1), (Skip::NoUsage, 1)]);
}

#[test]
fn parts_of_a_message_are_one_call() {
    let parts = ["a", "a_part_1", "a_part_2"].map(|id| answer(id, 0, &metrics(10, 1, 0, 0)));
    let rows = read(SESSION, &session(&parts), &Files::default());
    assert_eq!(rows.only(Role::Assistant).key.as_str(), format!("cline:a:{START_MS}"));
    let other = ["_part_1", "a_part_", "a_part_x"].map(|id| answer(id, 0, &metrics(10, 1, 0, 0)));
    assert_eq!(read(SESSION, &session(&other), &Files::default()).calls().len(), 3);
}

#[test]
fn what_another_agent_has_logged_is_left_to_it_if_it_is_read() {
    let providers = ["claude-code", "openai-codex-cli", "opencode", "openai-codex", "anthropic"];
    let messages = providers.map(|name| answer_of(name, name, 0, &metrics(1, 1, 0, 0)));
    let requests = providers.map(|name| {
        let at = i64::try_from(name.len()).unwrap();
        let model = format!(r#","modelInfo":{{"providerId":"{name}","modelId":"m"}}"#);
        entry(at, "api_req_started", &used(1, 1), &model)
    });
    let check = |reads, calls, replayed| {
        let around = Files { reads, ..Files::default() };
        for rows in
            [read(SESSION, &session(&messages), &around), read(TASK, &task(&requests), &around)]
        {
            assert_eq!(rows.calls().len(), calls, "{reads:?}");
            assert_eq!(rows.skips.0.get(&Skip::Replayed).copied(), replayed, "{reads:?}");
        }
    };
    check(&[], 5, None);
    check(&["claude-code"], 4, Some(1));
    check(&["codex", "opencode"], 3, Some(2));
    check(&["claude-code", "codex", "opencode"], 2, Some(3));
}

// ---- whose it is

#[test]
fn a_session_is_of_its_workspace_and_a_message_of_its_own_model() {
    let check = |manifest: &str, project: &str, models: [&str; 2]| {
        let unnamed = answer("b", 1, &metrics(1, 1, 0, 0)).replace(r#""id":"v/m","#, "");
        let document = session(&[answer("a", 0, &metrics(1, 1, 0, 0)), unnamed]);
        let rows = read(SESSION, &document, &Files::default().with(MANIFEST, manifest));
        let calls: Vec<_> = rows.in_order(Role::Assistant).collect();
        assert_eq!(calls.iter().map(|call| &*call.usage.model).collect::<Vec<_>>(), models);
        for call in calls {
            assert_eq!((&*call.owner.session_id, &*call.owner.project), ("s1", project));
        }
    };
    check("", NO_DIRECTORY, ["v/m", "unknown"]);
    check(r#"{"cwd":"/w","#, NO_DIRECTORY, ["v/m", "unknown"]);
    check(r#"{"cwd":"/w/x"}"#, "/w/x", ["v/m", "unknown"]);
    check(r#"{"cwd":"/w/x","workspace_root":"/w","model":"n"}"#, "/w", ["v/m", "n"]);
}

#[test]
fn subagents_are_of_the_session_whose_folder_holds_them_and_are_not_prompted() {
    let path = "/home/ada/.cline/data/sessions/s1/helper.messages.json";
    let around = Files::default().with(MANIFEST, r#"{"cwd":"/w"}"#);
    let messages = [typed("p", 0, "look"), answer("a", 1, &metrics(1, 1, 0, 0))].join(",");
    let origin = r#""origin":{"parentThreadId":"s1","subagent":"helper","version":"4.1.0"}"#;
    let heads = [
        format!(r#""agent":"subagent","sessionId":"s1__helper",{origin}"#),
        r#""agent":"teammate","sessionId":"s1__helper""#.to_owned(),
        r#""sessionId":"s1__helper""#.to_owned(),
    ];
    for head in heads {
        let rows = read(path, &format!(r#"{{"messages":[{messages}],{head}}}"#), &around);
        let call = rows.only(Role::Assistant);
        let Owner { session_id, project, agent, is_sidechain, .. } = &call.owner;
        assert_eq!((&**session_id, &**project, *is_sidechain), ("s1", "/w", true), "{head}");
        assert_eq!(agent.as_deref(), Some("helper"), "{head}");
        assert_eq!(rows.count(Role::User), 0, "{head}");
        assert_eq!(call.owner.client.is_some(), head.contains("version"), "{head}");
    }
}

#[test]
fn a_session_that_goes_on_with_a_task_does_not_count_it_again() {
    let sum = answer_of("unknown", "a", 1, &(metrics(900, 90, 0, 0) + r#","cost":9"#));
    let unnamed = sum.replace(r#""modelInfo":{"id":"v/m","provider":"unknown"},"#, "");
    let warning = said("w", 2, r#""Warning: this is a legacy conversation.""#, "");
    let own = [typed("q", 3, "go on"), answer("b", 4, &metrics(1, 1, 0, 0))];
    let resumed = Files::default().with(MANIFEST, r#"{"metadata":{"legacyTask":true}}"#);
    for sum in [sum, unnamed] {
        let taken_over = [typed("p", 0, "hello"), sum.clone(), warning.clone()];
        let document = session(&[&taken_over[..], &own[..]].concat());
        for around in [&Files::default(), &resumed] {
            let rows = read(SESSION, &document, around);
            assert_eq!((rows.calls(), rows.count(Role::User)), (vec!["1+1 r0 w0".to_owned()], 1));
        }
        // The manifest tells it of a sum, should the warning once be worded in another way.
        let document = session(&[&taken_over[..2], &own[..]].concat());
        assert_eq!(read(SESSION, &document, &resumed).calls(), ["1+1 r0 w0"]);
    }
}

#[test]
fn a_task_is_of_the_directory_it_was_started_in() {
    let history = r#"[{"id":"1","cwdOnTaskInitialization":"/other"},{"id":"1770000000000","cwdOnTaskInitialization":"/listed"}]"#;
    let conversation = r##"[{"role":"user","content":[{"type":"text","text":"hello"},{"type":"text","text":"\n# Current Working Directory (/told) Files\na"}]},{"role":"user","content":"# Current Working Directory (/later) Files"}]"##;
    let (history_path, conversation_path) = (
        "/home/ada/.cline/data/state/taskHistory.json",
        "/home/ada/.cline/data/tasks/1770000000000/api_conversation_history.json",
    );
    let asking = |line: &str| {
        let text = serde_json::json!({ "request": line, "tokensIn": 1, "tokensOut": 1 });
        task(&[entry(0, "api_req_started", &text.to_string(), "")])
    };
    let check = |document: &str, around: &Files, project: &str| {
        let rows = read(TASK, document, around);
        assert_eq!(&*rows.only(Role::Assistant).owner.project, project);
    };
    let quoted = "# Current Working Directory (/quoted) Files\n\n\n";
    let windows = format!("{quoted}# Current Working Directory (c:/w \"1\" (old)) Files\na");
    let all = Files::default().with(history_path, history).with(conversation_path, conversation);
    check(&asking(&windows), &all, "/listed");
    check(&asking(&windows), &Files::default(), "c:/w \"1\" (old)");
    let told = Files::default().with(conversation_path, conversation);
    check(&asking(&windows), &told, "c:/w \"1\" (old)");
    check(&asking("no line"), &told, "/told");
    check(&asking("# Current Working Directory (Primary: é) Files"), &told, "/told");
    check(&asking("# Current Working Directory (/cut"), &Files::default(), NO_DIRECTORY);
    let text = Files::default()
        .with(conversation_path, r##"[{"content":"# Current Working Directory (/text) Files"}]"##);
    check(&asking(""), &text, "/text");
}

#[test]
fn an_entry_without_a_model_has_the_one_in_use_at_its_time() {
    let metadata = r#"{"model_usage":[{"ts":1788256800100,"model_id":"one","model_provider_id":"claude-code"},{"ts":1788256800200,"model_id":"two"}]}"#;
    let history = r#"[{"id":"1770000000000","modelId":"listed"}]"#;
    let metadata_path = "/home/ada/.cline/data/tasks/1770000000000/task_metadata.json";
    let history_path = "/home/ada/.cline/data/state/taskHistory.json";
    let named = entry(300, "api_req_started", &used(1, 1), r#","modelInfo":{"modelId":"own"}"#);
    let document = task(&[request(0, 1), request(150, 1), request(250, 1), named]);
    let models = |around: &Files| {
        let rows = read(TASK, &document, around);
        let models = rows.in_order(Role::Assistant).map(|call| call.usage.model.to_string());
        models.collect::<Vec<_>>()
    };
    let listed = Files::default().with(history_path, history);
    assert_eq!(models(&Files::default()), ["unknown", "unknown", "unknown", "own"]);
    assert_eq!(models(&listed), ["listed", "listed", "listed", "own"]);
    let mut both = listed.with(metadata_path, metadata);
    assert_eq!(models(&both), ["one", "one", "two", "own"]);
    both.reads = &["claude-code"];
    assert_eq!(models(&both), ["two", "own"]);
}

#[test]
fn what_is_known_of_a_task_is_not_looked_up_again() {
    let model = r#","modelInfo":{"modelId":"m"}"#;
    let document = task(&[entry(0, "api_req_started", &used(1, 1), model)]);
    let history = r#"[{"id":"1770000000000","cwdOnTaskInitialization":"/listed"}]"#;
    let path = "/home/ada/.cline/data/state/taskHistory.json";
    let around = Files::default().with(path, history);
    let (first, state) = parse(TASK, &document, &around, "");
    assert_eq!(around.take_asked(), ["taskHistory.json"]);
    let (second, next) = parse(TASK, &document, &around, &state);
    assert!(around.take_asked().is_empty());
    assert_eq!((first.events, state), (second.events, next));
}

// ---- prompts

#[test]
fn a_prompt_is_what_a_person_typed() {
    let check = |content: &str, more: &str, prompts: usize| {
        let rows = read(SESSION, &session(&[said("p", 0, content, more)]), &Files::default());
        assert_eq!(rows.count(Role::User), prompts, "{content} {more}");
        assert_eq!(rows.skips.faults(), 0, "{content} {more}");
    };
    let hello = r#"[{"type":"text","text":"hello"}]"#;
    check(r#""hello""#, "", 1);
    check(hello, "", 1);
    check(r#"[{"type":"text","text":"<user_input mode=\"act\">hello</user_input>"}]"#, "", 1);
    check(r#"[{"type":"text","text":"<user_input mode=\"act\"> </user_input>"}]"#, "", 0);
    check(r#"[{"type":"text","text":" \n"},{"type":"file","path":"a","content":"x"}]"#, "", 1);
    check(r#"[{"type":"image","data":"x"}]"#, "", 1);
    check(r#"" ""#, "", 0);
    check("[]", "", 0);
    check("null", "", 0);
    check(r#"[{"type":"tool_result","content":"hello"}]"#, "", 0);
    check(r#"[{"type":"text","text":"hello"},{"type":"tool_result","content":""}]"#, "", 0);
    check(r#""[TASK RESUMPTION] Go on.""#, "", 0);
    check(hello, r#","metadata":{"mode":"act","userRunSpan":1}"#, 1);
    check(hello, r#","metadata":{"userRunSpan":0}"#, 0);
    check(hello, r#","metadata":{"kind":"compaction_summary"}"#, 0);
    check(hello, r#","metadata":{"displayRole":"status"}"#, 0);
}

#[test]
fn a_schedule_is_no_person() {
    let document = session(&[typed("p", 0, "tidy up"), typed("q", 1, "and this")]);
    let document = document.replacen("{", r#"{"origin":{"mode":"user","trigger":"nightly"},"#, 1);
    let rows = read(SESSION, &document, &Files::default());
    assert_eq!(rows.only(Role::User).ts_ms, START_MS + 1);
}

#[test]
fn a_prompt_without_a_time_has_that_of_the_message_before_it() {
    let timeless = |id: &str| format!(r#"{{"id":"{id}","role":"user","content":"hello"}}"#);
    let rows = read(SESSION, &session(&[typed("p", 9, "hello"), timeless("q")]), &Files::default());
    let prompts: Vec<_> = rows.in_order(Role::User).map(|prompt| prompt.ts_ms).collect();
    assert_eq!(prompts, [START_MS + 9, START_MS + 9]);
    let rows = read(SESSION, &session(&[timeless("q")]), &Files::default());
    let prompt = rows.only(Role::User);
    assert_eq!((prompt.ts_ms, prompt.usage.flags), (START_MS, Flags::TS_GUESSED));
}

#[test]
fn prompts_of_a_task_are_the_task_and_what_a_person_answers() {
    let check = |entries: &[String], prompts: usize| {
        let rows = read(TASK, &task(entries), &Files::default());
        assert_eq!(rows.count(Role::User), prompts, "{entries:?}");
    };
    let [asked, told] = ["task", "user_feedback"].map(|say| entry(0, say, "do it", ""));
    let text = |ms| entry(ms, "text", "do it", "");
    check(&[asked.clone(), text(1), told.clone(), entry(2, "user_feedback_diff", "-a", "")], 2);
    check(&[text(0), text(1)], 1);
    check(&[told, asked], 2);
    check(&[entry(0, "user_feedback", " ", "")], 0);
    check(&[entry(0, "user_feedback", "", r#","images":[],"files":["a"]"#)], 1);
    check(&[entry(0, "task", "do it", r#","type":"ask""#)], 0);
}

#[test]
fn nothing_that_was_said_is_kept() {
    const SECRET: &str = "correct horse";
    let used = format!(r#"{{"request":"{SECRET}","tokensIn":1}}"#);
    let documents = [
        (SESSION, session(&[typed("p", 0, SECRET), answer("a", 1, &metrics(1, 1, 0, 0))])),
        (TASK, task(&[entry(0, "task", SECRET, ""), entry(1, "api_req_started", &used, "")])),
    ];
    let around = Files::default().with(MANIFEST, &format!(r#"{{"prompt":"{SECRET}"}}"#));
    for (path, document) in documents {
        let (parsed, state) = parse(path, &document, &around, "");
        assert_eq!(parsed.events.len(), 2);
        assert!(!format!("{parsed:?}{state}").contains(SECRET));
    }
}

// ---- places

#[test]
fn roots_are_where_the_agent_keeps_its_data() {
    let first_two = |vars: &[(&str, &str)]| {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env = Env { home: "/home/ada".into(), vars: vars.collect() };
        let roots = Cline.roots(&env);
        let is_storage = |root: &PathBuf| root.ends_with(format!("globalStorage/{EXTENSION}"));
        assert!(roots[3..].iter().all(is_storage), "{roots:?}");
        roots[..2].iter().map(|root| root.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let home = ["/home/ada/.cline/data/sessions", "/home/ada/.cline/data/tasks"];
    assert_eq!(first_two(&[]), home);
    assert_eq!(first_two(&[("CLINE_DIR", "c")]), home, "relative to wherever it was started");
    let dir = ("CLINE_DIR", " /c ");
    assert_eq!(first_two(&[dir]), ["/c/data/sessions", "/c/data/tasks"]);
    let data = ("CLINE_DATA_DIR", "/d");
    assert_eq!(first_two(&[dir, data]), ["/d/sessions", "/d/tasks"]);
    let sessions = ("CLINE_SESSION_DATA_DIR", "/s");
    assert_eq!(first_two(&[dir, data, sessions]), ["/s", "/d/tasks"]);
}

#[test]
fn sources_are_known_by_their_place() {
    let storage = format!("/home/ada/.config/Code/User/globalStorage/{EXTENSION}");
    let check = |root: &str, below: &str, is_source: bool| {
        let path = Path::new(root).join(below);
        assert_eq!(Cline.is_source(root.as_ref(), &path), is_source, "{root} {below}");
    };
    for (root, above) in [("/x", ""), ("/home/ada", ".cline/data/"), ("/y/sessions", "")] {
        check(root, &format!("{above}sessions/s1/s1.messages.json"), true);
        check(root, &format!("{above}sessions/s1/helper.messages.json"), true);
        check(root, &format!("{above}sessions/s1/s1.json"), false);
        check(root, &format!("{above}sessions/s1/s1.compaction.json"), false);
        check(root, &format!("{above}sessions/s1/s1.messages.json.bak"), false);
        check(root, &format!("{above}sessions/s1/.messages.json"), false);
        check(root, &format!("{above}tasks/1/ui_messages.json"), true);
        check(root, &format!("{above}tasks/1/claude_messages.json"), true);
        check(root, &format!("{above}tasks/1/ui_messages.json.tmp"), false);
        check(root, &format!("{above}tasks/1/api_conversation_history.json"), false);
        check(root, &format!("{above}tasks/ui_messages.json"), false);
    }
    check("/any", "s1/s1.messages.json", true);
    check("/any", "s1/helper.messages.json", true);
    check("/any", "backup/s1/s1.messages.json", true);
    check("/any", "backup/s1/helper.messages.json", false);
    check(&storage, "tasks/1/ui_messages.json", true);
    let product = "Cursor/User/globalStorage";
    check("/home/ada/.config", &format!("{product}/{EXTENSION}/tasks/1/ui_messages.json"), true);
    check("/home/ada/.config", &format!("{product}/bob.other/tasks/1/ui_messages.json"), false);
}

#[test]
fn only_folders_that_may_hold_sources_are_looked_into() {
    let storage = format!("/home/ada/.config/Code/User/globalStorage/{EXTENSION}");
    let check = |root: &str, below: &str, looks_into: bool| {
        let folder = Path::new(root).join(below);
        assert_eq!(Cline.looks_into(root.as_ref(), &folder), looks_into, "{root} {below}");
    };
    let config = "/home/ada/.config";
    for below in ["Code", "Code/User", "Code/User/globalStorage"] {
        check(config, below, true);
    }
    for below in ["Code/Cache", "Code/User/workspaceStorage", "Code/User/globalStorage/bob.other"] {
        check(config, below, false);
    }
    for (below, looks_into) in [
        ("", true),
        ("tasks", true),
        ("tasks/1", true),
        ("tasks/1/checkpoints", false),
        ("state", false),
        ("sessions/1", false),
        ("checkpoints/1/.git", false),
    ] {
        check(&storage, below, looks_into);
        check(config, &format!("Code/User/globalStorage/{EXTENSION}/{below}"), looks_into);
    }
    check("/home/ada/.cline/data/sessions", "s1", true);
    check("/home/ada/.cline/data/sessions", "s1/blobs", false);
    check("/home/ada/.cline/data/tasks", "1", true);
    check("/home/ada/.cline/data", "sessions/s1", true);
    check("/home/ada/.cline/data", "cache/s1", false);
}

// ---- any document

#[test]
fn a_document_that_is_not_whole_says_nothing() {
    for (path, whole) in [
        (SESSION, session(&[answer("a", 0, &metrics(1, 1, 0, 0))])),
        (TASK, task(&[request(0, 1), request(1, 1)])),
    ] {
        let Storage::Document(reader) = Cline.storage(Path::new(path)) else { unreachable!() };
        let longer = format!("{whole}]");
        let cut = (0..whole.len()).map(|at| &whole.as_bytes()[..at]);
        for bytes in cut.chain([longer.as_bytes()]) {
            let mut out = Parsed::default();
            let parsed = reader.parse(&source(path), bytes, &Files::default(), "", &mut out);
            assert_eq!(parsed, Err(crate::Torn));
            assert!(out.events.is_empty() && out.skips.0.is_empty());
        }
    }
}

proptest! {
    /// Whenever a task was first read, no reading counts a request twice: not itself, and not as one
    /// of those that were deleted.
    #[test]
    fn a_request_is_counted_once_at_most(
        steps in prop::collection::vec(prop_oneof![3 => Just(None), 1 => (0..6_usize).prop_map(Some)], 1..20),
        reads in prop::collection::vec(any::<bool>(), 20),
    ) {
        let (mut entries, mut spent) = (Vec::<(String, u64)>::new(), 0);
        let (mut rows, mut state) = (Rows::default(), String::new());
        for (n, step) in steps.iter().enumerate() {
            let ms = i64::try_from(n).unwrap() * 10;
            match step {
                None => {
                    spent += 1 << n;
                    entries.push((request(ms, 1 << n), 1 << n));
                }
                Some(keep) => {
                    let gone = entries.split_off((*keep).min(entries.len()));
                    let sum = gone.iter().map(|(_, input)| input).sum();
                    entries.push((deleted(ms, sum), sum));
                }
            }
            if reads[n] {
                let document = task(&entries.iter().map(|(entry, _)| entry.clone()).collect::<Vec<_>>());
                let (parsed, next) = parse(TASK, &document, &Files::default(), &state);
                rows.apply(parsed);
                state = next;
            }
        }
        // Each request used another power of two, so that a sum says of which requests it is.
        let mut counted = 0;
        for call in rows.in_order(Role::Assistant) {
            prop_assert_eq!(counted & call.usage.tokens.input, 0, "{:?}", rows.calls());
            counted |= call.usage.tokens.input;
        }
        if reads.iter().take(steps.len()).all(|read| *read) {
            prop_assert_eq!(counted, spent);
        }
    }
}

// ---- real logs

/// Summed from the file apart from this program.
#[test]
fn a_real_task_adds_up() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let root = corpus.join("home-g/.config");
    let below = format!("Code/User/globalStorage/{EXTENSION}/tasks/1770577372307/ui_messages.json");
    let path = root.join(below);
    let Ok(document) = fs::read_to_string(&path) else {
        println!("no corpus here");
        return;
    };
    assert!(Cline.is_source(&root, &path));
    let rows = read(path.to_str().unwrap(), &document, &Files::default());
    let calls: Vec<_> = rows.in_order(Role::Assistant).collect();
    let sum = |count: fn(&Tokens) -> u64| calls.iter().map(|call| count(&call.usage.tokens)).sum();
    let sums: [u64; 4] = [
        sum(|tokens| tokens.input),
        sum(|tokens| tokens.output),
        sum(|tokens| tokens.cache_read),
        sum(|tokens| tokens.cache_create),
    ];
    assert_eq!((calls.len(), sums), (53, [530, 51_905, 5_349_183, 1_346_804]));
    let cost: i64 = calls.iter().filter_map(|call| call.usage.logged_cost_nanousd).sum();
    assert_eq!(cost, 12_392_391_500);
    assert_eq!((rows.count(Role::User), rows.skips.faults()), (7, 0));
    let project = "c:/Users/alex_/mygems/Jira-Xray-Gem";
    assert!(calls.iter().all(|call| &*call.owner.project == project));
    assert!(calls.iter().all(|call| &*call.usage.model == "claude-opus-4-6"));
}
