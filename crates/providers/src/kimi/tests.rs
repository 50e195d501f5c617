//! What the fact sheet says, in its order, each as an edge case; then what the agents' own code says.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};
use usage::{Flags, Role, UsageEvent};

use super::*;
use crate::Parsed;
use crate::testing::{Files, add_counts, add_flags, add_tokens, merged, stored};

/// The MD5 digest of `/home/ada/shop`.
const SHOP: &str = "d38bf5735f170ef41516b14f483f6863";
/// 2026-09-01T10:00:00Z.
const T: i64 = 1_788_256_800_000;

/// What stands beside the sessions.
fn home() -> Files {
    Files::below("/home/ada")
}

fn cli(session: &str) -> String {
    format!("/home/ada/.kimi/sessions/{SHOP}/{session}/wire.jsonl")
}

fn code(session: &str, agent: &str) -> String {
    format!("/home/ada/.kimi-code/sessions/wd_shop_0a1b/{session}/agents/{agent}/wire.jsonl")
}

fn parse_in(files: &Files, path: &str, lines: &[Value]) -> Parsed {
    let source = Source {
        id: 7,
        provider: ID,
        path: path.into(),
        root: "/home/ada".into(),
        mtime_ms: 1_600_000_000_000,
    };
    let around: Around = Arc::new(files.clone());
    let mut out = Parsed::default();
    let mut parser = Kimi.begin(&source, &around, "");
    for line in lines {
        parser.parse_line(line.to_string().as_bytes(), &mut out);
        parser = Kimi.begin(&source, &around, &parser.state());
    }
    assert!(out.retracted.is_empty());
    out
}

fn parse(path: &str, lines: &[Value]) -> Parsed {
    parse_in(&home(), path, lines)
}

/// The rows of some files in order of their times, a line each, and the reasons of skips.
fn table<'a>(parsed: impl IntoIterator<Item = &'a Parsed>) -> Vec<String> {
    let (rows, skips) = stored(parsed);
    let mut rows: Vec<_> = rows.into_values().collect();
    rows.sort_by_key(|row| row.ts_ms);
    let skips = skips.0.into_iter().map(|(reason, n)| format!("{} {n}", reason.as_str()));
    rows.iter().map(describe).chain(skips).collect()
}

/// Session, time and model, then what is not as usual.
fn describe(event: &UsageEvent) -> String {
    let UsageEvent { ts_ms, owner, usage, copy_rank, role, .. } = event;
    assert_eq!((&usage.vendor, usage.logged_cost_nanousd), (&None, None));
    let what = if *role == Role::User { "prompt" } else { &usage.model };
    let mut line = format!("{}+{} {what}", owner.session_id, ts_ms - T);
    add_tokens(&mut line, usage.tokens);
    let counts = [("copy", u64::from(*copy_rank)), ("side", u64::from(owner.is_sidechain))];
    add_counts(&mut line, counts);
    if let Some(agent) = &owner.agent {
        write!(line, " agent {agent}").unwrap();
    }
    add_flags(&mut line, usage.flags);
    line
}

// ---- lines of both agents

/// A line of Kimi CLI, whose times are seconds.
fn told(at: &str, kind: &str, payload: &Value) -> Value {
    let line = json!({ "timestamp": 0, "message": { "type": kind, "payload": payload } });
    let seconds = format!("{}.{at}", T / 1_000);
    serde_json::from_str(
        &line.to_string().replace("\"timestamp\":0", &format!("\"timestamp\":{seconds}")),
    )
    .unwrap()
}

fn status(at: &str, id: Option<&str>, counts: [i64; 4]) -> Value {
    told(at, "StatusUpdate", &update(id, counts))
}

fn update(id: Option<&str>, [input, output, read, write]: [i64; 4]) -> Value {
    json!({ "context_usage": 0.1, "message_id": id, "plan_mode": false, "token_usage":
        { "input_other": input, "output": output, "input_cache_read": read, "input_cache_creation": write } })
}

fn event(at: &str, agent: Option<&str>, id: Option<&str>, counts: [i64; 4]) -> Value {
    let event = json!({ "type": "StatusUpdate", "payload": update(id, counts) });
    told(
        at,
        "SubagentEvent",
        &json!({ "parent_tool_call_id": "t", "agent_id": agent, "event": event }),
    )
}

fn record(at: i64, model: &str, [input, output, read, write]: [i64; 4]) -> Value {
    json!({ "type": "usage.record", "time": T + at, "model": model, "usageScope": "turn", "usage":
        { "inputOther": input, "output": output, "inputCacheRead": read, "inputCacheCreation": write } })
}

fn request(alias: Option<&str>, model: &str) -> Value {
    json!({ "type": "llm.request", "time": T, "kind": "loop", "provider": "kimi", "model": model,
        "modelAlias": alias })
}

fn prompt(at: i64, origin: &Value) -> Value {
    json!({ "type": "turn.prompt", "time": T + at, "input": [{ "type": "text", "text": "Why?" }],
        "origin": origin })
}

fn typed(at: i64) -> Value {
    prompt(at, &json!({ "kind": "user" }))
}

// ---- the sheet: Kimi CLI

const ID_1: &str = "chatcmpl-00000000001";
const ID_2: &str = "chatcmpl-00000000002";

#[test]
fn edge_01_a_status_update_is_a_call_and_repeating_it_is_none() {
    let lines = [
        json!({ "type": "metadata", "protocol_version": "1.10" }),
        status("1", Some(ID_1), [1, 2, 3, 4]),
        status("2", Some(ID_1), [1, 2, 3, 4]),
        status("3", Some(ID_2), [1, 2, 3, 4]),
        told("4", "StatusUpdate", &json!({ "token_usage": null, "plan_mode": true })),
        status("5", Some("chatcmpl-00000000003"), [0, 0, 0, 0]),
    ];
    let call = "in 1 out 2 read 3 write 4";
    let expect =
        [format!("s+100 unknown {call}"), format!("s+300 unknown {call}"), "no_usage 1".into()];
    assert_eq!(table([&parse(&cli("s"), &lines)]), expect);
}

#[test]
fn edge_02_without_an_id_time_and_counts_tell_calls_apart_in_forks_as_well() {
    let lines = [
        status("100001", None, [1, 2, 0, 0]),
        status("100002", None, [1, 2, 0, 0]),
        // Ids that are hardly the only ones of their kind.
        status("2", Some("1"), [5, 2, 0, 0]),
        status("3", Some("1"), [6, 2, 0, 0]),
    ];
    let rows = table([&parse(&cli("s"), &lines), &parse(&cli("t"), &lines)]);
    assert_eq!(
        rows,
        [
            "s+100 unknown in 1 out 2",
            "s+100 unknown in 1 out 2",
            "s+200 unknown in 5 out 2",
            "s+300 unknown in 6 out 2",
        ]
    );
}

#[test]
fn edge_03_the_model_is_the_one_that_is_set_and_rows_keep_the_one_they_had() {
    let files = |model: &str| {
        home().with(
            ".kimi/config.toml",
            &format!("default_model = \"m\"\n[models.m]\nmodel = \"{model}\"\n"),
        )
    };
    let first = parse_in(&files("kimi-a"), &cli("s"), &[status("1", Some(ID_1), [1, 2, 0, 0])]);
    let later = parse_in(&files("kimi-b"), &cli("s"), &[status("2", Some(ID_2), [1, 2, 0, 0])]);
    assert_eq!(table([&first, &later]), ["s+100 kimi-a in 1 out 2", "s+200 kimi-b in 1 out 2"]);
    // Read again, a row keeps its own.
    let events = first.events.iter().chain(&later.events);
    assert!(events.map(|event| event.usage.flags).all(|f| f.contains(Flags::MODEL_AS_SET)));
}

#[test]
fn edge_04_the_directory_is_the_one_whose_hash_the_folder_is_named_after() {
    let files = home().with(
        ".kimi/kimi.json",
        &json!({ "work_dirs": [{ "path": "/home/ada/shop", "kaos": "local" }, { "path": "/home/ada/mill" }] }),
    );
    let line = [status("1", Some(ID_1), [1, 2, 0, 0])];
    let project = |files: &Files, path: &str| {
        parse_in(files, path, &line).events[0].owner.project.to_string()
    };
    assert_eq!(project(&files, &cli("s")), "/home/ada/shop");
    assert_eq!(project(&files, &cli("s").replace(SHOP, &format!("far_{SHOP}"))), "/home/ada/shop");
    assert_eq!(project(&files, &cli("s").replace(SHOP, "0a1b")), "kimi:0a1b");
    assert_eq!(project(&home(), &cli("s")), format!("kimi:{SHOP}"));
    assert_eq!(project(&home().with(".kimi/kimi.json", &"{"), &cli("s")), format!("kimi:{SHOP}"));
}

#[test]
fn edge_05_a_subagents_call_counts_once_in_its_own_file_and_in_the_sessions() {
    let main = [
        event("1", Some("a1"), Some(ID_1), [1, 2, 0, 0]),
        event("2", Some("a1"), None, [3, 4, 0, 0]),
        // An older version, which keeps no file for it.
        event("3", None, None, [5, 6, 0, 0]),
        event("4", None, Some(ID_2), [7, 8, 0, 0]),
    ];
    let own = [
        told("0", "TurnBegin", &json!({ "user_input": "Look" })),
        status("1", Some(ID_1), [1, 2, 0, 0]),
        status("2", None, [3, 4, 0, 0]),
    ];
    let subagent = cli("s").replace("wire.jsonl", "subagents/a1/wire.jsonl");
    assert_eq!(
        table([&parse(&cli("s"), &main), &parse(&subagent, &own)]),
        [
            "s+100 unknown in 1 out 2 side 1 agent a1",
            "s+200 unknown in 3 out 4 side 1 agent a1",
            "s+300 unknown in 5 out 6 side 1",
            "s+400 unknown in 7 out 8 side 1",
            "replayed 1",
        ]
    );
}

// ---- the sheet: Kimi Code

#[test]
fn edge_06_the_model_of_a_call_is_that_of_the_request_before_it() {
    let lines = [
        record(1, "mine", [1, 0, 0, 0]),
        request(Some("mine"), "kimi-for-coding"),
        record(2, "mine", [2, 0, 0, 0]),
        record(3, "other", [3, 0, 0, 0]),
        request(None, "kimi-k3"),
        record(4, "mine", [4, 0, 0, 0]),
    ];
    assert_eq!(
        table([&parse(&code("s", "main"), &lines)]),
        ["s+1 mine in 1", "s+2 kimi-for-coding in 2", "s+3 other in 3", "s+4 kimi-k3 in 4"]
    );
}

#[test]
fn edge_07_a_fork_states_what_it_copied_once() {
    let files = home()
        .with(
            ".kimi-code/sessions/wd_shop_0a1b/s/state.json",
            &json!({ "workDir": "/home/ada/shop" }),
        )
        .with(
            ".kimi-code/sessions/wd_shop_0a1b/a/state.json",
            &json!({ "cwd": "/home/ada/mill", "createdAt": T + 10, "forkedFrom": "s" }),
        );
    let said = [typed(1), request(Some("mine"), "kimi-k3"), record(2, "mine", [1, 2, 3, 4])];
    let own =
        [json!({ "type": "forked", "time": T + 10 }), typed(11), record(12, "mine", [5, 6, 7, 8])];
    let original = parse_in(&files, &code("s", "main"), &said);
    let fork = parse_in(&files, &code("a", "main"), &[&said[..], &own[..]].concat());
    assert_eq!(
        table([&original, &fork]),
        [
            "s+1 prompt",
            "s+2 kimi-k3 in 1 out 2 read 3 write 4",
            "a+11 prompt",
            "a+12 kimi-k3 in 5 out 6 read 7 write 8",
        ]
    );
    let projects: Vec<_> = merged(&fork.events)
        .into_values()
        .map(|e| (e.copy_rank, e.owner.project.to_string()))
        .collect();
    assert_eq!(projects.iter().filter(|p| p.0 == 1).count(), 2);
    assert!(projects.iter().all(|p| p.1 == "/home/ada/mill"));
}

#[test]
fn edge_08_a_subagent_belongs_to_its_session_and_prompts_nothing() {
    let lines = [typed(1), record(2, "mine", [1, 2, 0, 0])];
    assert_eq!(
        table([&parse(&code("s", "agent-0"), &lines)]),
        ["s+2 mine in 1 out 2 side 1 agent agent-0"]
    );
}

#[test]
fn edge_09_both_scopes_count_and_a_step_says_the_same_once_more() {
    let mut of_session = record(2, "mine", [3, 4, 0, 0]);
    of_session["usageScope"] = "session".into();
    let step = json!({ "type": "context.append_loop_event", "time": T, "event": { "type": "step.end",
        "usage": { "inputOther": 1, "output": 2 } } });
    let lines =
        [step, record(1, "mine", [1, 2, 0, 0]), of_session, record(3, "mine", [0, 0, 0, 0])];
    assert_eq!(
        table([&parse(&code("s", "main"), &lines)]),
        ["s+1 mine in 1 out 2", "s+2 mine in 3 out 4", "no_usage 1"]
    );
}

// ---- beyond the sheet

#[test]
fn without_a_state_the_directory_is_the_one_a_line_names() {
    let update = |cwd: Value| json!({ "type": "config.update", "time": T, "cwd": cwd });
    let lines = [
        record(1, "m", [1, 0, 0, 0]),
        update("/home/ada/shop".into()),
        update(Value::Null),
        record(2, "m", [2, 0, 0, 0]),
    ];
    let parsed = parse(&code("s", "main"), &lines);
    let projects: Vec<_> = parsed.events.iter().map(|event| &*event.owner.project).collect();
    assert_eq!(projects, ["kimi:wd_shop_0a1b", "/home/ada/shop"]);
}

#[test]
fn counts_that_cannot_be_true_are_flagged_and_what_has_no_time_is_not_counted() {
    let mut untimed = record(1, "m", [1, 1, 1, 1]);
    untimed.as_object_mut().unwrap().remove("time");
    let mut part = record(1, "m", [1, 1, 1, 1]);
    part["usage"]["output"] = json!(1.5);
    let lines = [untimed, part, record(2, "m", [-1, 7, 5_000_000_000, 0])];
    assert_eq!(
        table([&parse(&code("s", "main"), &lines)]),
        ["s+2 m out 7 clamped", "bad_number 1", "bad_field 1"]
    );
}

#[test]
fn a_prompt_is_what_a_person_has_typed() {
    let of = |at, origin: Value| prompt(at, &origin);
    let mut steer = typed(2);
    steer["type"] = "turn.steer".into();
    let mut blank = typed(11);
    blank["input"] = json!([{ "type": "text", "text": " " }]);
    let mut picture = typed(3);
    picture["input"] = json!([{ "type": "image_url", "image_url": { "url": "x" } }]);
    let lines = [
        typed(1),
        steer,
        picture,
        of(4, json!({ "kind": "skill_activation", "trigger": "user-slash" })),
        of(5, json!({ "kind": "plugin_command", "trigger": "user-slash" })),
        blank,
        of(12, json!({ "kind": "skill_activation", "trigger": "model-tool" })),
        of(13, json!({ "kind": "cron_job" })),
        of(14, json!({ "kind": "background_task" })),
        of(15, json!({ "kind": "retry" })),
        of(16, Value::Null),
    ];
    let expect = [1, 2, 3, 4, 5].map(|at| format!("s+{at} prompt"));
    assert_eq!(table([&parse(&code("s", "main"), &lines)]), expect);
    let said = |at, kind, input: Value| told(at, kind, &json!({ "user_input": input }));
    let lines = [
        said("1", "TurnBegin", "Why?".into()),
        said("2", "SteerInput", json!([{ "type": "text", "text": "And?" }])),
        said("3", "TurnBegin", "[Imported context from notes]".into()),
        said("4", "TurnBegin", "".into()),
        said("5", "ToolResult", "Why?".into()),
    ];
    assert_eq!(table([&parse(&cli("s"), &lines)]), ["s+100 prompt", "s+200 prompt"]);
}

#[test]
fn long_lines_that_cannot_matter_are_stepped_over() {
    let long = "x".repeat(5_000);
    let result = json!({ "type": "context.append_message", "message": { "content": &long } });
    let about = json!({ "type": "note", "text": format!("{long} \"usage.record\" \"TurnBegin\"") });
    for line in [result, about] {
        assert!(!line::may_matter(line.to_string().as_bytes()));
    }
    let mut call = record(1, "m", [1, 2, 0, 0]);
    call["note"] = long.into();
    assert_eq!(table([&parse(&code("s", "main"), &[call])]), ["s+1 m in 1 out 2"]);
}

// ---- places

#[test]
fn roots_are_the_sessions_of_both_agents_and_of_the_desktop_app() {
    let mut env = Env { home: "/home/ada".into(), ..Env::default() };
    let roots = Kimi.roots(&env);
    for root in [".kimi/sessions", ".kimi-code/sessions"] {
        assert!(roots.contains(&Path::new("/home/ada").join(root)), "{root}");
    }
    let desktop = Path::new("kimi-desktop/daimon-share/daimon/runtime/kimi-code/home/sessions");
    assert!(roots.iter().any(|root| root.ends_with(desktop)));
    env.vars.insert("KIMI_CODE_HOME".into(), "/data/kimi-code/".into());
    env.vars.insert("KIMI_SHARE_DIR".into(), "/home/ada/.kimi".into());
    let more: Vec<_> = Kimi.roots(&env).into_iter().filter(|root| !roots.contains(root)).collect();
    assert_eq!(more, [PathBuf::from("/data/kimi-code/sessions")]);
}

#[test]
fn sources_are_the_files_of_agents_and_only_what_leads_to_them_is_looked_into() {
    let root = Path::new("/home/ada/.kimi-code/sessions");
    let check = |path: &str, is_source: bool| {
        assert_eq!(Kimi.is_source(root, &root.join(path)), is_source, "{path}");
        let above = Path::new("/home");
        assert_eq!(Kimi.is_source(above, &root.join(path)), is_source, "{path} from above");
    };
    check("wd_shop_0a1b/s/agents/main/wire.jsonl", true);
    check("wd_shop_0a1b/s/agents/agent-0/wire.jsonl", true);
    check("0a1b/s/wire.jsonl", true);
    check("0a1b/s/subagents/a1/wire.jsonl", true);
    for other in [
        "wire.jsonl",
        "s/wire.jsonl",
        "0a1b/s/context.jsonl",
        "0a1b/s/wire.jsonl.bak",
        "0a1b/s/old-wire.jsonl",
        "0a1b/s/uploads/a1/wire.jsonl",
        "0a1b/s/agents/wire.jsonl",
        "0a1b/s/agents/a1/tasks/wire.jsonl",
    ] {
        check(other, false);
    }
    assert!(!Kimi.is_source(root, Path::new("/tmp/sessions/a/b/wire.jsonl")));
    let looks = |root: &str, folder: &str, expect: bool| {
        let root = Path::new(root);
        assert_eq!(Kimi.looks_into(root, &root.join(folder)), expect, "{folder}");
    };
    for root in ["/home/ada/.kimi-code/sessions", "/home/ada/.kimi/sessions"] {
        looks(root, "0a1b", true);
        looks(root, "0a1b/s", true);
        looks(root, "0a1b/s/agents", true);
        looks(root, "0a1b/s/subagents/a1", true);
        looks(root, "0a1b/s/uploads", false);
        looks(root, "0a1b/s/agents/main/tasks", false);
    }
    looks("/home", "ada/.kimi-code", true);
    looks("/home", "ada/.kimi-code/bin", false);
    looks("/home", "ada/.kimi-code/sessions/0a1b/s", true);
}
