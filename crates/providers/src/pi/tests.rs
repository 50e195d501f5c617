//! Each edge case of the fact sheet by its number, then what the agents' own code says, then real
//! logs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};
use usage::{EventKey, Flags, Role, UsageEvent};

use super::*;
use crate::testing::{add_counts, add_flags, merged, stored};
use crate::{Parsed, nowhere};

const ROOT: &str = "/home/ada/.pi/agent/sessions";
const A: &str = "--home-ada-shop--/2026-09-01T10-00-00-000Z_aaaa.jsonl";
const B: &str = "--home-ada-mill--/2026-09-01T11-00-00-000Z_bbbb.jsonl";
const KID: &str = "--home-ada-shop--/2026-09-01T10-00-00-000Z_aaaa/Scout.jsonl";
/// 2026-09-01T10:00:00Z.
const T: i64 = 1_788_256_800_000;

fn parse(path: &str, lines: &[Value]) -> Parsed {
    let lines: Vec<_> = lines.iter().map(|line| line.to_string().into_bytes()).collect();
    parse_bytes(&Path::new(ROOT).join(path), &lines, lines.len())
}

/// Reads lines, with a restart after `cut` of them.
fn parse_bytes(path: &Path, lines: &[impl AsRef<[u8]>], cut: usize) -> Parsed {
    let source = Source {
        id: 7,
        provider: ID,
        path: path.to_owned(),
        root: ROOT.into(),
        mtime_ms: 1_600_000_000_000,
    };
    let mut out = Parsed::default();
    let mut parser = Pi.begin(&source, &nowhere(), "");
    for (n, line) in lines.iter().enumerate() {
        if n == cut {
            parser = Pi.begin(&source, &nowhere(), &parser.state());
        }
        parser.parse_line(line.as_ref(), &mut out);
    }
    assert!(out.retracted.is_empty());
    out
}

/// The rows of some files in order of their times, a line each, and the reasons of skips.
fn table<'a>(parsed: impl IntoIterator<Item = &'a Parsed>) -> Vec<String> {
    let (rows, skips) = stored(parsed);
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| row.ts_ms);
    let skips = skips.0.into_iter().map(|(reason, n)| format!("{} {n}", reason.as_str()));
    rows.iter().map(describe).chain(skips).collect()
}

/// Session and time, then what is not as usual.
fn describe(event: &UsageEvent) -> String {
    let UsageEvent { ts_ms, owner, usage, copy_rank, .. } = event;
    let mut line = format!("{}+{}", owner.session_id, ts_ms - T);
    if event.role == Role::User {
        line += " prompt";
    }
    let tokens = usage.tokens;
    add_counts(
        &mut line,
        [
            ("in", tokens.input),
            ("out", tokens.output),
            ("read", tokens.cache_read),
            ("write", tokens.cache_create),
            ("write_1h", tokens.cache_create_1h),
            ("think", tokens.reasoning),
            ("search", usage.web_search_requests),
            ("copy", u64::from(*copy_rank)),
            ("side", u64::from(owner.is_sidechain)),
        ],
    );
    if let Some(cost) = usage.logged_cost_nanousd {
        write!(line, " cost {cost}").unwrap();
    }
    if let Some(agent) = &owner.agent {
        write!(line, " agent {agent}").unwrap();
    }
    add_flags(&mut line, usage.flags);
    line
}

fn iso(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn header(id: &str, at: i64, cwd: &str) -> Value {
    json!({ "type": "session", "version": 3, "id": id, "timestamp": iso(T + at), "cwd": cwd })
}

fn fork(id: &str, at: i64, cwd: &str, from: &str) -> Value {
    with(header(id, at, cwd), json!({ "parentSession": format!("{ROOT}/{from}") }))
}

/// An entry whose message was begun four milliseconds before it was written down.
fn message(at: i64, message: Value) -> Value {
    let message = with(message, json!({ "timestamp": T + at }));
    json!({ "type": "message", "id": "a1b2c3d4", "parentId": null, "timestamp": iso(T + at + 4),
        "message": message })
}

fn call(at: i64, usage: &Value) -> Value {
    message(at, assistant(usage))
}

fn assistant(usage: &Value) -> Value {
    json!({ "role": "assistant", "content": [], "api": "anthropic-messages",
        "provider": "anthropic", "model": "claude-opus-5", "usage": usage, "stopReason": "stop" })
}

fn counts(input: i64, output: i64, read: i64, write: i64) -> Value {
    json!({ "input": input, "output": output, "cacheRead": read, "cacheWrite": write,
        "cost": { "total": 0.01 } })
}

fn prompt(at: i64) -> Value {
    message(at, json!({ "role": "user", "content": [{ "type": "text", "text": "Why?" }] }))
}

fn with(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more}") };
    object.as_object_mut().unwrap().extend(more);
    object
}

// ---- the sheet

#[test]
fn edge_01_a_file_and_its_fork_state_each_call_once() {
    let said = [prompt(1), call(2, &counts(3, 200, 9000, 500)), call(3, &counts(10, 100, 9500, 0))];
    let own = [prompt(7_200_000), call(7_200_001, &counts(30, 70, 100, 0))];
    let lines = |head: Value, parts: &[&[Value]]| -> Vec<Value> {
        [head].into_iter().chain(parts.iter().copied().flatten().cloned()).collect()
    };
    let original = parse(A, &lines(header("aaaa", 0, "/home/ada/shop"), &[&said]));
    let forked =
        parse(B, &lines(fork("bbbb", 3_600_000, "/home/ada/mill", A), &[&said[..2], &own]));
    // A fork of the fork copies what is the fork's own.
    let again = "--home-ada-mill--/2026-09-01T13-00-00-000Z_0000.jsonl";
    let again =
        parse(again, &lines(fork("0000", 10_800_000, "/home/ada/mill", B), &[&said[..2], &own]));
    let rows = table([&original, &forked, &again]);
    assert_eq!(
        rows,
        [
            "aaaa+1 prompt",
            "aaaa+2 in 3 out 200 read 9000 write 500 cost 10000000",
            "aaaa+3 in 10 out 100 read 9500 cost 10000000",
            "bbbb+7200000 prompt",
            "bbbb+7200001 in 30 out 70 read 100 cost 10000000",
        ]
    );
    for event in merged(original.events.iter().chain(&again.events)).values() {
        let project = if event.ts_ms < T + 7_200_000 { "/home/ada/shop" } else { "/home/ada/mill" };
        assert_eq!(&*event.owner.project, project);
    }
}

#[test]
fn edge_02_a_message_without_any_usage_is_nothing_and_one_with_some_was_billed() {
    let stopped = |at, usage, reason: &str| {
        message(at, with(assistant(&usage), json!({ "stopReason": reason })))
    };
    let zero = || {
        json!({ "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0,
        "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0 } })
    };
    let lines = [
        header("aaaa", 0, "/home/ada/shop"),
        stopped(1, zero(), "aborted"),
        stopped(2, zero(), "error"),
        stopped(3, counts(7, 1, 0, 0), "aborted"),
        stopped(4, counts(8, 0, 0, 0), "error"),
    ];
    assert_eq!(
        table([&parse(A, &lines)]),
        ["aaaa+3 in 7 out 1 cost 10000000", "aaaa+4 in 8 cost 10000000", "no_usage 2"]
    );
}

#[test]
fn edge_03_the_header_is_found_behind_a_title() {
    let title =
        json!({ "type": "title", "v": 1, "title": "Bills", "updatedAt": iso(T), "pad": " " });
    let lines = [title, header("cccc", 0, "/home/ada/shop"), call(1, &counts(1, 2, 0, 0))];
    let parsed = parse(A, &lines);
    assert_eq!(table([&parsed]), ["cccc+1 in 1 out 2 cost 10000000"]);
    assert_eq!(&*parsed.events[0].owner.project, "/home/ada/shop");
}

#[test]
fn edge_04_without_a_header_the_file_name_says_the_session() {
    let parsed = parse(A, &[call(1, &counts(1, 2, 0, 0))]);
    assert_eq!(table([&parsed]), ["aaaa+1 in 1 out 2 cost 10000000"]);
    assert_eq!(&*parsed.events[0].owner.project, "pi:unknown");
    let odd = parse("--home-ada-shop--/saved.jsonl", &[call(1, &counts(1, 2, 0, 0))]);
    assert_eq!(table([&odd]), ["saved+1 in 1 out 2 cost 10000000"]);
    // A copy of a file with its header is known to be of the same calls.
    let whole = parse(B, &[header("0aaa", 0, "/home/ada/shop"), call(1, &counts(1, 2, 0, 0))]);
    assert_eq!(table([&parsed, &odd, &whole]), ["0aaa+1 in 1 out 2 cost 10000000"]);
}

#[test]
fn a_migration_that_gives_entries_ids_changes_no_key() {
    let old = [
        json!({ "type": "session", "id": "aaaa", "timestamp": iso(T), "cwd": "/home/ada/shop",
            "provider": "anthropic", "modelId": "claude-opus-4-5" }),
        prompt(1),
        call(2, &counts(3, 200, 9000, 500)),
    ];
    let migrated = old.clone().map(|mut line| {
        line["id"] = "0badcafe".into();
        line
    });
    let migrated = [with(migrated[0].clone(), json!({ "version": 3, "id": "aaaa" }))]
        .into_iter()
        .chain(migrated[1..].iter().cloned())
        .collect::<Vec<_>>();
    let (old, migrated) = (parse(A, &old), parse(A, &migrated));
    assert_eq!(old.events, migrated.events);
}

#[test]
fn the_time_is_the_messages_own_or_its_entrys_and_without_one_nothing_is_counted() {
    let untimed = |line: Value| {
        let mut line = line;
        line["message"].as_object_mut().unwrap().remove("timestamp");
        line
    };
    let mut nowhen = untimed(call(3, &counts(9, 9, 0, 0)));
    nowhen.as_object_mut().unwrap().remove("timestamp");
    let lines = [call(1, &counts(1, 2, 0, 0)), untimed(call(2, &counts(3, 4, 0, 0))), nowhen];
    assert_eq!(
        table([&parse(A, &lines)]),
        ["aaaa+1 in 1 out 2 cost 10000000", "aaaa+6 in 3 out 4 cost 10000000", "bad_field 1",]
    );
}

#[test]
fn a_cost_is_taken_as_recorded_unless_it_is_zero() {
    let cost = |cost: Value| with(counts(1, 1, 0, 0), json!({ "cost": cost }));
    let lines = [
        call(1, &cost(json!({ "input": 1, "total": 0.155_050_1 }))),
        call(2, &cost(json!({ "total": 0 }))),
        call(3, &cost(json!({ "total": -1 }))),
        call(4, &cost(Value::Null)),
    ];
    let costs: Vec<_> =
        parse(A, &lines).events.iter().map(|event| event.usage.logged_cost_nanousd).collect();
    assert_eq!(costs, [Some(155_050_100), None, None, None]);
}

#[test]
fn vendor_and_model_are_those_of_the_message() {
    let other = json!({ "provider": "openrouter", "model": "z-ai/glm-5", "role": "assistant",
        "usage": counts(1, 1, 0, 0) });
    let bare = json!({ "role": "assistant", "usage": counts(1, 1, 0, 0) });
    let lines = [call(1, &counts(1, 1, 0, 0)), message(2, other), message(3, bare)];
    let parsed = parse(A, &lines);
    let named: Vec<_> =
        parsed.events.iter().map(|e| (&*e.usage.model, e.usage.vendor.as_deref())).collect();
    assert_eq!(
        named,
        [
            ("claude-opus-5", Some("anthropic")),
            ("z-ai/glm-5", Some("openrouter")),
            ("unknown", None)
        ]
    );
}

#[test]
fn parts_of_counts_are_told_in_both_spellings_and_never_larger_than_the_whole() {
    let more = |more: Value| with(counts(1, 50, 0, 40), more);
    let lines = [
        call(1, &more(json!({ "reasoning": 30, "cacheWrite1h": 10 }))),
        call(
            2,
            &more(
                json!({ "reasoningTokens": 30, "cttl": { "ephemeral5m": 30, "ephemeral1h": 10 } }),
            ),
        ),
        call(3, &more(json!({ "reasoning": 51, "cacheWrite1h": 41 }))),
        call(4, &more(json!({ "reasoning": 1.5, "server": { "webSearch": 2, "webFetch": 1 } }))),
        call(5, &more(json!({ "orchestration": { "input": 5, "output": 6, "cacheRead": 7 } }))),
        call(6, &with(counts(-1, 50, 0, 40), json!({ "cost": null }))),
    ];
    assert_eq!(
        table([&parse(A, &lines)]),
        [
            "aaaa+1 in 1 out 50 write 40 write_1h 10 think 30 cost 10000000",
            "aaaa+2 in 1 out 50 write 40 write_1h 10 think 30 cost 10000000",
            "aaaa+3 in 1 out 50 write 40 write_1h 40 think 50 cost 10000000 clamped",
            "aaaa+4 in 1 out 50 write 40 search 2 cost 10000000 clamped",
            "aaaa+5 in 6 out 56 read 7 write 40 cost 10000000 sum",
            "aaaa+6 out 50 write 40 clamped",
        ]
    );
}

#[test]
fn calls_beside_the_conversation_are_counted_where_they_are_recorded() {
    let summary = |kind: &str, at: i64, usage: Value| {
        json!({ "type": kind, "id": "e1", "parentId": "e0", "timestamp": iso(T + at),
            "summary": "A shop.", "usage": usage })
    };
    let title = json!({ "type": "model_usage", "timestamp": iso(T + 5), "purpose": "title",
        "provider": "openai", "model": "gpt-5-nano", "usage": counts(50, 5, 0, 0) });
    let change = json!({ "type": "model_change", "timestamp": iso(T + 2), "provider": "openai",
        "modelId": "gpt-6-sol" });
    let lines = [
        call(1, &counts(1, 1, 0, 0)),
        change,
        summary("compaction", 3, counts(9_000, 300, 0, 0)),
        summary("branch_summary", 4, counts(8_000, 200, 0, 0)),
        title,
        summary("compaction", 6, Value::Null),
    ];
    let parsed = parse(A, &lines);
    let models: Vec<_> = parsed.events.iter().map(|event| &*event.usage.model).collect();
    assert_eq!(models, ["claude-opus-5", "gpt-6-sol", "gpt-6-sol", "gpt-5-nano"]);
    // In a copy another model may have been asked before.
    let copy = parse(B, &[fork("bbbb", 9, "/", A), lines[2].clone()]);
    assert_eq!(copy.events[0].key, parsed.events[1].key);
    assert_eq!(merged(parsed.events.iter().chain(&copy.events)).len(), 4);
}

#[test]
fn a_prompt_is_what_a_person_has_sent() {
    let said =
        |at, role: &str, content: Value| message(at, json!({ "role": role, "content": content }));
    let text = |text: &str| json!([{ "type": "text", "text": text }]);
    let lines = [
        said(1, "user", "Why?".into()),
        said(2, "user", text("/skill:review")),
        said(3, "user", json!([{ "type": "image", "data": "eA==", "mimeType": "image/png" }])),
        said(11, "user", text(" \n")),
        said(12, "user", json!([])),
        said(13, "developer", text("Be brief.")),
        said(14, "toolResult", text("a file")),
        said(15, "custom", text("from an extension")),
        json!({ "type": "custom_message", "timestamp": iso(T + 16), "content": "x" }),
        message(17, json!({ "role": "bashExecution", "command": "ls", "output": "" })),
        message(18, json!({ "role": "user", "content": "Go on.", "synthetic": true })),
        message(19, json!({ "role": "user", "content": "Go on.", "attribution": "agent" })),
        message(4, json!({ "role": "user", "content": "Go on.", "attribution": "user" })),
    ];
    let expect = [1, 2, 3, 4].map(|at| format!("aaaa+{at} prompt"));
    assert_eq!(table([&parse(A, &lines)]), expect);
}

#[test]
fn a_subagent_belongs_to_the_session_that_it_works_for() {
    let lines = [
        header("kkkk", 5, "/home/ada/shop"),
        json!({ "type": "session_init", "timestamp": iso(T + 5), "task": "Look" }),
        prompt(6),
        call(7, &counts(1, 2, 0, 0)),
    ];
    let expect = ["aaaa+7 in 1 out 2 side 1 cost 10000000 agent kkkk"];
    assert_eq!(table([&parse(KID, &lines)]), expect);
    assert_eq!(table([&parse(KID, &[&lines[..1], &lines[2..]].concat())]), expect);
    // Kept in a folder of its own choice, it says itself what it is.
    assert_eq!(table([&parse(A, &lines)]), ["kkkk+7 in 1 out 2 side 1 cost 10000000"]);
}

#[test]
fn a_subagent_that_is_not_kept_is_counted_from_the_result_of_its_tool() {
    let kid =
        |at: i64, n: i64| with(assistant(&counts(n, 1, 0, 0)), json!({ "timestamp": T + at }));
    let result = |at, kids: Value| {
        let details = json!({ "mode": "parallel", "results": [{ "agent": "scout",
            "usage": { "input": 99, "output": 99, "cost": 1.5 }, "messages": kids }] });
        message(at, json!({ "role": "toolResult", "toolName": "subagent", "details": details }))
    };
    let asked = json!({ "role": "user", "content": "Look", "timestamp": T });
    let lines = [call(1, &counts(5, 5, 0, 0)), result(9, json!([asked, kid(3, 7), kid(4, 8)]))];
    let parsed = parse(A, &lines);
    assert_eq!(
        table([&parsed]),
        [
            "aaaa+1 in 5 out 5 cost 10000000",
            "aaaa+3 in 7 out 1 side 1 cost 10000000",
            "aaaa+4 in 8 out 1 side 1 cost 10000000",
        ]
    );
    // One that is kept as well is the same.
    let kept = parse(KID, &[header("kkkk", 2, "/home/ada/shop"), call(3, &counts(7, 1, 0, 0))]);
    assert_eq!(merged(parsed.events.iter().chain(&kept.events)).len(), 3);
}

#[test]
fn what_a_line_states_is_bounded() {
    let kid = with(assistant(&counts(1, 1, 0, 0)), json!({ "timestamp": T }));
    let kids = vec![kid; 3 * session::MAX_STATED];
    let details = json!({ "results": [{ "messages": kids }] });
    let parsed = parse(A, &[message(1, json!({ "role": "toolResult", "details": details }))]);
    assert_eq!(parsed.events.len(), session::MAX_STATED);
    assert_eq!(parsed.skips.faults(), 1);
}

#[test]
fn long_lines_that_cannot_matter_are_stepped_over_and_others_are_not() {
    let long = "x".repeat(5_000);
    let said = |role: &str| {
        message(1, json!({ "role": role, "content": [{ "type": "text", "text": &long }] }))
    };
    let mut answer = call(2, &counts(1, 2, 0, 0));
    answer["message"]["content"] = json!([{ "type": "text", "text": &long }]);
    // Text about usage is no usage.
    let about = json!({ "type": "custom", "data": format!("{long} \"usage\" \"user\"") });
    let lines = [
        said("toolResult").to_string(),
        about.to_string(),
        said("user").to_string(),
        answer.to_string(),
        format!("{{\"type\":\"message\",\"x\":\"{long}"),
    ];
    assert!(!entry::may_matter(lines[0].as_bytes()) && !entry::may_matter(lines[1].as_bytes()));
    let parsed = parse_bytes(&Path::new(ROOT).join(A), &lines, 0);
    let expect = ["aaaa+1 prompt", "aaaa+2 in 1 out 2 cost 10000000", "malformed 1"];
    assert_eq!(table([&parsed]), expect);
}

// ---- places

#[test]
fn roots_are_the_sessions_of_each_agent_and_where_variables_move_them() {
    let mut env = Env { home: "/home/ada".into(), ..Env::default() };
    let roots = Pi.roots(&env);
    for root in
        [".pi/agent/sessions", ".omp/agent/sessions", ".omp/profiles", ".prime/agent/sessions"]
    {
        assert!(roots.contains(&Path::new("/home/ada").join(root)), "{root}");
    }
    for (name, value) in [
        ("PI_CODING_AGENT_DIR", "~/pi/"),
        ("OMP_CODING_AGENT_DIR", "/data/omp"),
        ("PI_CODING_AGENT_SESSION_DIR", "/data/said"),
        ("SENPI_CODING_AGENT_DIR", "senpi"),
        ("XDG_DATA_HOME", "/data/xdg"),
        ("GJC_CODING_AGENT_DIR", "/home/ada/.gjc/agent"),
    ] {
        env.vars.insert(name.into(), value.into());
    }
    let mut more = Pi.roots(&env);
    more.retain(|root| !roots.contains(root));
    more.sort();
    let expect = [
        "/data/omp/sessions",
        "/data/said",
        "/data/xdg/omp/profiles",
        "/data/xdg/omp/sessions",
        "/home/ada/pi/sessions",
    ];
    assert_eq!(more, expect.map(PathBuf::from));
}

#[test]
fn sources_are_told_by_the_shape_of_their_path() {
    let check = |root: &str, path: &str, expect: Option<(&str, Option<&str>)>| {
        let root = Path::new(root);
        let place = Place::of(root, &root.join(path));
        let place = place.as_ref().map(|p| (&*p.session_id, p.parent.as_deref()));
        assert_eq!(place, expect, "{path}");
    };
    let session = "2026-09-01T10-00-00-000Z_aaaa";
    let pi = "/home/ada/.pi/agent/sessions";
    let own = Some(("aaaa", None));
    check(pi, &format!("--p--/{session}.jsonl"), own);
    check(pi, &format!("{session}.jsonl"), own);
    check(pi, "telegram-1.jsonl", Some(("telegram-1", None)));
    check(pi, &format!("--p--/{session}/Scout.jsonl"), Some(("Scout", Some("aaaa"))));
    check(pi, &format!("--p--/{session}/run/run-0/session.jsonl"), Some(("session", Some("aaaa"))));
    check(
        pi,
        &format!("--p--/{session}/Scout/2026-09-01T10-00-05-000Z_k.jsonl"),
        Some(("k", Some("aaaa"))),
    );
    for none in [
        "--p--/subagent-artifacts/5f31_worker.jsonl",
        "--p--/.omp-backups/2026-09-01T10-00-00-000Z_aaaa.jsonl",
        "--p--/2026-09-01T10-00-00-000Z_aaaa.jsonl.bak",
        "--p--/2026-09-01T10-00-00-000Z_aaaa.json",
        "--p--/2026-09-01T10-00-00-000Z_aaaa/0.bash.log",
        "--p--/2026-09-01T10-00-00-000Z_aaaa/a/b/c/d.jsonl",
        "--p--/.2026-09-01T10-00-00-000Z_aaaa.jsonl",
        "--p--/q/2026-09-01T10-00-00-000Z/x.jsonl",
        "--p--/.jsonl",
    ] {
        check(pi, none, None);
    }
    // A folder of somebody's own choice, and one far above.
    check("/data/said", &format!("{session}.jsonl"), own);
    check("/data/said", &format!("{session}/Scout.jsonl"), Some(("Scout", Some("aaaa"))));
    check("/data/said", "notes.jsonl", None);
    check("/home/ada/.omp/profiles", &format!("work/agent/sessions/-p/{session}.jsonl"), own);
    check("/data/xdg/omp/profiles", &format!("work/sessions/-p/{session}.jsonl"), own);
    check("/mnt/old", &format!("home/ada/.pi/agent/sessions/--p--/{session}.jsonl"), own);
    check("/mnt/old", "home/ada/.pi/agent/sessions/--p--/saved.jsonl", Some(("saved", None)));
    for none in [
        "home/ada/.claude/projects/-p/0a1b.jsonl",
        "home/ada/.openclaw/agents/main/sessions/0a1b.jsonl",
        "home/ada/.codex/sessions/2026/09/01/rollout-2026-09-01T10-00-00-0a1b.jsonl",
        "home/ada/.kimi/sessions/0a1b/0a1b/wire.jsonl",
    ] {
        check("/mnt/old", none, None);
    }
    assert!(Place::of(Path::new(pi), Path::new("/elsewhere/agent/sessions/a.jsonl")).is_none());
}

#[test]
fn only_folders_that_may_hold_sessions_are_looked_into() {
    let check = |root: &str, folder: &str, expect: bool| {
        let root = Path::new(root);
        assert_eq!(Pi.looks_into(root, &root.join(folder)), expect, "{folder}");
    };
    let pi = "/home/ada/.pi/agent/sessions";
    check(pi, "--p--", true);
    check(pi, "--p--/2026-09-01T10-00-00-000Z_aaaa", true);
    check(pi, "--p--/2026-09-01T10-00-00-000Z_aaaa/run/run-0", true);
    check(pi, "--p--/2026-09-01T10-00-00-000Z_aaaa/run/run-0/x", false);
    check(pi, "--p--/2026-09-01T10-00-00-000Z_aaaa/.git", false);
    check(pi, "--p--/subagent-artifacts", false);
    check(pi, "--p--/q/2026-09-01T10-00-00-000Z_aaaa", false);
    check(pi, ".trash", false);
    let profiles = "/home/ada/.omp/profiles";
    check(profiles, "work", true);
    check(profiles, "work/agent", true);
    check(profiles, "work/agent/sessions", true);
    check(profiles, "work/agent/sessions/-p", true);
    check(profiles, "work/agent/blobs", false);
    check(profiles, "work/cache", false);
    check("/mnt/old", "home/ada/.pi/agent", true);
    check("/mnt/old", "home/ada/.pi/agent/sessions/--p--", true);
    check("/mnt/old", "home/ada/.pi/agent/git", false);
    check("/home/ada/.pi/agent", "npm/node_modules", false);
    check("/home/ada/.pi/agent", "sessions", true);
}

// ---- real logs

fn sum(rows: &BTreeMap<EventKey, UsageEvent>) -> [i64; 6] {
    let mut sum = [0; 6];
    for row in rows.values().filter(|row| row.role == Role::Assistant) {
        let tokens = row.usage.tokens;
        let counts = [tokens.input, tokens.output, tokens.cache_read, tokens.cache_create];
        let counts = counts.map(|n| i64::try_from(n).unwrap());
        let cost = row.usage.logged_cost_nanousd.unwrap();
        for (sum, n) in sum.iter_mut().zip([1].into_iter().chain(counts).chain([cost])) {
            *sum += n;
        }
        assert_eq!(row.usage.flags, Flags::default());
    }
    sum
}

/// The sums are those of the fact sheet, and of another program over the same files.
#[test]
fn real_files_add_up_to_an_independent_count() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/home-l");
    let folder = home.join(".pi/agent/sessions/--Users-badlogic-workspaces-pi-mono--");
    if !folder.is_dir() {
        println!("no corpus here");
        return;
    }
    let files = [
        (
            "2025-11-20T23-33-50-805Z_d703a1a9-1b7b-4fb1-b512-c9738b1fe617.jsonl",
            [439, 1_049, 83_156, 43_229_469, 4_296_232, 30_330_197_700],
            (14, 88, 0),
        ),
        (
            "2025-12-09T00-53-29-825Z_ffae836b-9420-4060-ac13-7745215f90ff.jsonl",
            [471, 3_689, 187_895, 54_693_675, 1_685_320, 42_595_907_500],
            (13, 55, 1),
        ),
    ];
    for (name, expect, (zeros, prompts, copies)) in files {
        let path = folder.join(name);
        let content = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = content.lines().collect();
        let parsed = parse_bytes(&path, &lines, 0);
        let rows = merged(&parsed.events);
        assert_eq!(sum(&rows), expect, "{name}");
        assert_eq!(rows.len(), usize::try_from(expect[0]).unwrap() + prompts, "{name}");
        let skips = parsed.skips.0.clone().into_iter().collect::<Vec<_>>();
        assert_eq!(skips, [(usage::Skip::NoUsage, zeros)], "{name}");
        assert_eq!(rows.values().any(|row| row.copy_rank == 1), copies == 1, "{name}");
        for row in rows.values() {
            assert_eq!(&*row.owner.project, "/Users/badlogic/workspaces/pi-mono");
            assert!(name.contains(&*row.owner.session_id));
        }
        for cut in [1, lines.len() / 2, lines.len() - 1] {
            assert_eq!(
                parse_bytes(&path, &lines, cut).events,
                parsed.events,
                "{name} cut at {cut}"
            );
        }
    }
}
