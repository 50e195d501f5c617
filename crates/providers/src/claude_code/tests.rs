//! Each edge case of the fact sheet by its number, then what the sheet says elsewhere, then
//! properties of any log.

use std::fmt::Write as _;
use std::fs;
use std::slice::from_ref;

use proptest::prelude::*;
use serde_json::{Value, json};
use usage::{EventKey, Flags, Role, Skip, Speed, UsageEvent};

use super::*;
use crate::testing::{add_counts, add_flags, add_tokens, merged, skipped, stored};
use crate::{Parsed, nowhere};

const ROOT: &str = "/home/a/.claude/projects";
/// Transcripts of two sessions and of a subagent of the first.
const S: &str = "-w/S.jsonl";
const T: &str = "-w/T.jsonl";
const AGENT: &str = "-w/S/subagents/agent-a1.jsonl";
const SIDE: &str = "-w/S/subagents/agent-aside_question-b2.jsonl";

/// Ids as Anthropic gives them, and the keys they make.
const A: &str = "msg_01AAAAAAAAAAAAAAAAAAAAAA";
const B: &str = "msg_01BBBBBBBBBBBBBBBBBBBBBB";

fn source(path: &str) -> Source {
    Source {
        id: 7,
        provider: ClaudeCode.id(),
        path: Path::new(ROOT).join(path),
        root: ROOT.into(),
        mtime_ms: 1_600_000_000_000,
    }
}

fn parse(path: &str, lines: &[impl AsRef<[u8]>]) -> Parsed {
    let mut out = Parsed::default();
    let mut parser = ClaudeCode.begin(&source(path), &nowhere(), "");
    for line in lines {
        parser.parse_line(line.as_ref(), &mut out);
    }
    out
}

/// One line per row and one per reason of a skip. What is as usual is left out.
fn table<'a>(parsed: impl IntoIterator<Item = &'a Parsed>) -> String {
    let (rows, skips) = stored(parsed);
    rows.values().map(describe).chain(skipped(&skips)).map(|line| line + "\n").collect()
}

fn describe(event: &UsageEvent) -> String {
    let UsageEvent { key, role, ts_ms, copy_rank, owner, usage, .. } = event;
    let mut line = format!("{key} {}", usage.model);
    if *role == Role::User {
        assert_eq!(usage.tokens, usage::Tokens::default());
        line += "prompt";
    }
    add_tokens(&mut line, usage.tokens);
    let counts = [
        ("search", usage.web_search_requests),
        ("nanousd", usage.logged_cost_nanousd.unwrap_or_default().unsigned_abs()),
        ("rank", u64::from(*copy_rank)),
        ("side", u64::from(owner.is_sidechain)),
    ];
    add_counts(&mut line, counts);
    if usage.speed != Speed::Standard {
        write!(line, " {}", usage.speed.as_str()).unwrap();
    }
    for (name, text) in [
        ("tier", &usage.tier),
        ("geo", &usage.geo),
        ("agent", &owner.agent),
        ("client", &owner.client),
    ] {
        if let Some(text) = text {
            write!(line, " {name} {text}").unwrap();
        }
    }
    add_flags(&mut line, usage.flags);
    write!(line, " | {} {} {ts_ms}", owner.session_id, owner.project).unwrap();
    line
}

/// Parses each source and compares what comes of all of them.
#[track_caller]
fn check(sources: &[(&str, &[String])], expect: &[&str]) {
    let parsed: Vec<Parsed> = sources.iter().map(|(path, lines)| parse(path, lines)).collect();
    assert_eq!(table(&parsed).lines().collect::<Vec<_>>(), expect);
}

/// A response of model `m` with one token in and two out, at 1000 ms. `change` replaces fields;
/// null takes them away.
fn call(change: Value) -> String {
    let mut record = json!({
        "type": "assistant",
        "sessionId": "S",
        "cwd": "/w",
        "timestamp": "1970-01-01T00:00:01Z",
        "message": {"id": A, "model": "m", "usage": {"input_tokens": 1, "output_tokens": 2}},
    });
    patch(&mut record, change);
    record.to_string()
}

fn prompt(change: Value) -> String {
    let mut record = json!({
        "type": "user",
        "uuid": "u",
        "sessionId": "S",
        "cwd": "/w",
        "timestamp": "1970-01-01T00:00:01Z",
        "message": {"role": "user", "content": "do it"},
    });
    patch(&mut record, change);
    record.to_string()
}

fn patch(target: &mut Value, change: Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (name, value) in change {
                if value.is_null() {
                    target.remove(&name);
                } else {
                    patch(target.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (target, change) => *target = change,
    }
}

fn with_id(id: &str, change: Value) -> String {
    let mut with_id = json!({"message": {"id": id}});
    patch(&mut with_id, change);
    call(with_id)
}

fn with_usage(usage: Value) -> String {
    let mut record = json!({"message": {}});
    record["message"]["usage"] = usage;
    call(record)
}

fn at(second: u32) -> String {
    format!("1970-01-01T00:00:{second:02}Z")
}

#[test]
fn edge_01_the_lines_of_a_response_are_one_event() {
    let line = |second, output| {
        call(json!({
            "timestamp": at(second),
            "requestId": "r",
            "message": {"usage": {"output_tokens": output}},
        }))
    };
    let lines = [line(1, 9), line(2, 9), line(3, 159)];
    check(&[(S, &lines)], &[&format!("claude:{A} m in 1 out 159 | S /w 1000")]);
}

/// Here: a second read goes on from the state of the first and adds to the same row. That the row
/// and the marts move by the difference is the store's part.
#[test]
fn edge_02_a_later_read_completes_the_row() {
    let line = |output| with_usage(json!({"output_tokens": output}));
    let (mut first, mut second) = (Parsed::default(), Parsed::default());
    let mut parser = ClaudeCode.begin(&source(S), &nowhere(), "");
    parser.parse_line(line(9).as_bytes(), &mut first);
    let mut parser = ClaudeCode.begin(&source(S), &nowhere(), &parser.state());
    parser.parse_line(line(159).as_bytes(), &mut second);
    assert_eq!(table([&first]), format!("claude:{A} m in 1 out 9 | S /w 1000\n"));
    assert_eq!(table([&first, &second]), format!("claude:{A} m in 1 out 159 | S /w 1000\n"));
}

#[test]
fn edge_03_an_earlier_line_read_late_changes_nothing() {
    let lines = [159, 9].map(|output| with_usage(json!({"output_tokens": output})));
    check(&[(S, &lines)], &[&format!("claude:{A} m in 1 out 159 | S /w 1000")]);
}

#[test]
fn edge_04_text_made_locally_is_no_call() {
    let model = |model| call(json!({"message": {"model": model}}));
    let none = call(json!({"message": {"model": null}}));
    let lines = [model("<synthetic>"), model(""), none, model("<synthetic>")];
    check(&[(S, &lines)], &["skipped: synthetic 4"]);
}

#[test]
fn edge_05_a_failed_call_is_not_counted() {
    let lines = [call(json!({"isApiErrorMessage": true})), call(json!({"isVirtual": true}))];
    check(&[(S, &lines)], &["skipped: api_error 2"]);
    let counted = [call(json!({"isApiErrorMessage": false, "isVirtual": "true"}))];
    check(&[(S, &counted)], &[&format!("claude:{A} m in 1 out 2 | S /w 1000")]);
}

fn fork_of_s() -> [String; 2] {
    let from = json!({"sessionId": "S", "messageUuid": "u1"});
    [
        call(json!({"sessionId": "T", "forkedFrom": from})),
        with_id(B, json!({"sessionId": "T", "timestamp": at(5)})),
    ]
}

#[test]
fn edge_06_a_fork_adds_only_what_is_new() {
    let rows = [
        &*format!("claude:{A} m in 1 out 2 | S /w 1000"),
        &*format!("claude:{B} m in 1 out 2 | T /w 5000"),
    ];
    check(&[(S, &[call(json!({}))]), (T, &fork_of_s())], &rows);
}

#[test]
fn edge_07_a_fork_read_first_gives_the_call_back() {
    let original = call(json!({"cwd": "/w/src", "message": {"usage": {"output_tokens": 1}}}));
    let rows = [
        // The original, though the copy says more: a copy is never believed over it.
        &*format!("claude:{A} m in 1 out 1 | S /w 1000"),
        &*format!("claude:{B} m in 1 out 2 | T /w 5000"),
    ];
    check(&[(T, &fork_of_s()), (S, &[original])], &rows);
    // With the original gone, the copy still belongs to the session it came from.
    let rows = [&*format!("claude:{A} m in 1 out 2 rank 1 | S /w 1000"), rows[1]];
    check(&[(T, &fork_of_s())], &rows);
}

#[test]
fn edge_08_a_side_question_repeats_its_parents_calls() {
    let usage = |read| json!({"message": {"usage": {"cache_read_input_tokens": read}}});
    let mut copy = json!({"requestId": "r2", "isSidechain": true});
    patch(&mut copy, usage(50_000));
    let mut parent = json!({"requestId": "r1"});
    patch(&mut parent, usage(20));
    let parent = call(parent);
    let row = format!("claude:{A} m in 1 out 2 read 20 | S /w 1000");
    check(&[(SIDE, &[call(copy.clone())]), (S, from_ref(&parent))], &[&row]);
    // The record names the agent too, should the file be called otherwise.
    patch(&mut copy, json!({"agentId": "aside_question-b2"}));
    check(&[(AGENT, &[call(copy.clone())]), (S, from_ref(&parent))], &[&row]);
    // Or neither says so: a call of the main conversation is not a sidechain's.
    patch(&mut copy, json!({"agentId": "b2", "message": {"usage": {"output_tokens": 90}}}));
    check(&[(AGENT, &[call(copy)]), (S, &[parent])], &[&row]);
}

#[test]
fn edge_09_a_subagents_own_calls_are_counted() {
    let own = json!({"agentId": "a1", "isSidechain": true, "cwd": "/w/src"});
    let row = format!("claude:{A} m in 1 out 2 side 1 agent a1 | S /w 1000");
    check(&[(AGENT, &[call(own.clone())])], &[&row]);
    // A record that names no session belongs to the one whose folder the file is in.
    let mut nameless = own;
    patch(&mut nameless, json!({"sessionId": null}));
    check(&[(AGENT, &[call(nameless)])], &[&row]);
}

fn progress(change: Value) -> String {
    let mut record = json!({
        "type": "progress",
        "sessionId": "S",
        "cwd": "/w",
        "uuid": "u-progress",
        "timestamp": at(9),
        "data": {
            "type": "agent_progress",
            "agentId": "a1",
            "message": {
                "type": "assistant",
                "uuid": "u-agent",
                "requestId": "r",
                "timestamp": at(2),
                "message": {"id": A, "model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}},
            },
        },
    });
    patch(&mut record, change);
    record.to_string()
}

#[test]
fn edge_10_progress_and_the_agents_own_file_are_one_call() {
    let own = call(json!({"agentId": "a1", "isSidechain": true, "timestamp": at(3)}));
    let row = format!("claude:{A} m in 1 out 2 side 1 agent a1 | S /w 2000");
    check(&[(S, &[progress(json!({}))]), (AGENT, &[own])], &[&row]);
}

#[test]
fn edge_11_a_gateways_long_id_is_enough() {
    let lines = [1, 2].map(|output| {
        with_id(
            "chatcmpl-0123456789abcdef",
            json!({"message": {"usage": {"output_tokens": output}}}),
        )
    });
    check(&[(S, &lines)], &["claude:chatcmpl-0123456789abcdef m in 1 out 2 | S /w 1000"]);
}

#[test]
fn edge_12_a_constant_id_does_not_join_calls() {
    let line = |session, input, output| {
        let usage = json!({"input_tokens": input, "output_tokens": output});
        with_id("ocgo", json!({"sessionId": session, "message": {"usage": usage}}))
    };
    check(
        &[(S, &[line("S", 1, 1), line("S", 1, 5)]), (T, &[line("T", 2, 5)])],
        &[
            "claude:S:ocgo:1:0:0 m in 1 out 5 | S /w 1000",
            "claude:T:ocgo:2:0:0 m in 2 out 5 | T /w 1000",
        ],
    );
}

#[test]
fn edge_13_a_uuid_is_the_identity_of_last_resort_but_one() {
    let line = call(json!({"uuid": "u1", "message": {"id": null}}));
    let row = "claude:uuid:u1 m in 1 out 2 | S /w 1000";
    check(&[(S, from_ref(&line)), (T, from_ref(&line))], &[row]);
}

#[test]
fn edge_14_null_is_as_good_as_missing() {
    let line = format!(
        r#"{{"type":"assistant","sessionId":"S","cwd":"/w","timestamp":"{}","requestId":null,
        "agentId":null,"isSidechain":null,"forkedFrom":null,"costUSD":null,"data":null,
        "message":{{"id":"{A}","model":"m","content":null,"usage":{{"input_tokens":1,
        "output_tokens":2,"cache_creation":null,"cache_read_input_tokens":null,"iterations":null,
        "output_tokens_details":null,"server_tool_use":null,"speed":null,"service_tier":null,
        "inference_geo":null}}}}}}"#,
        at(1)
    );
    check(&[(S, &[line])], &[&format!("claude:{A} m in 1 out 2 | S /w 1000")]);
}

#[test]
fn edge_15_cache_writes_without_a_split_are_for_five_minutes() {
    let line = with_usage(json!({"cache_creation_input_tokens": 100}));
    check(&[(S, &[line])], &[&format!("claude:{A} m in 1 out 2 write 100 | S /w 1000")]);
}

#[test]
fn edge_16_cache_writes_for_an_hour() {
    let usage = |written, five_minutes, hour| {
        with_usage(json!({
            "cache_creation_input_tokens": written,
            "cache_creation": {
                "ephemeral_5m_input_tokens": five_minutes,
                "ephemeral_1h_input_tokens": hour,
            },
        }))
    };
    let row = |figures| format!("claude:{A} m in 1 out 2 {figures} | S /w 1000");
    check(&[(S, &[usage(300, 0, 300)])], &[&row("write 300 1h 300")]);
    // Where the total and its split disagree, the larger one was written.
    check(&[(S, &[usage(0, 10, 20)])], &[&row("write 30 1h 20")]);
    check(&[(S, &[usage(50, 10, 20)])], &[&row("write 50 1h 20")]);
}

#[test]
fn edge_17_an_advisor_is_a_call_of_its_own() {
    let advice =
        |model, output| json!({"type": "advisor_message", "model": model, "output_tokens": output});
    let line = with_id(
        "gen-1",
        json!({"message": {"usage": {"speed": "fast", "iterations": [
            {"type": "message", "input_tokens": 1, "output_tokens": 2},
            advice("B", 7),
            {"type": "compaction", "input_tokens": 5, "speed": "standard"},
            advice("C", 0),
            advice("D", 8),
            {"type": "advisor_message", "output_tokens": 9},
            advice("E", -1),
        ]}}}),
    );
    check(
        &[(S, &[line])],
        &[
            "claude:gen-1 m in 1 out 2 fast | S /w 1000",
            "claude:gen-1:advisor:0 B out 7 fast | S /w 1000",
            "claude:gen-1:advisor:2 D out 8 fast | S /w 1000",
            "claude:gen-1:compaction:0 m in 5 | S /w 1000",
            "skipped: synthetic 1",
        ],
    );
}

/// What is billed apart is billed even if the call itself used nothing.
#[test]
fn edge_17_an_advisor_beside_a_call_of_nothing() {
    let advice = json!({"type": "advisor_message", "model": "B", "output_tokens": 7});
    let usage = json!({"input_tokens": 0, "output_tokens": 0, "iterations": [advice]});
    let line = with_id("gen-1", json!({"message": {"usage": usage}}));
    check(&[(S, &[line])], &["claude:gen-1:advisor:0 B out 7 | S /w 1000"]);
    let nothing = json!({"type": "compaction", "output_tokens": 0});
    let usage = json!({"input_tokens": 0, "output_tokens": 0, "iterations": [nothing]});
    let line = with_id("gen-1", json!({"message": {"usage": usage}}));
    check(&[(S, &[line])], &["skipped: no_usage 1"]);
}

#[test]
fn edge_18_an_iteration_that_repeats_the_call_is_not_counted() {
    let iteration = json!({"type": "message", "input_tokens": 1, "output_tokens": 2});
    let line = with_usage(json!({"iterations": [iteration]}));
    check(&[(S, &[line])], &[&format!("claude:{A} m in 1 out 2 | S /w 1000")]);
}

#[test]
fn edge_19_a_tools_result_restates_what_its_agent_used() {
    let usage = json!({"input_tokens": 5, "output_tokens": 5});
    let line = prompt(json!({
        "toolUseResult": {"totalTokens": 10, "usage": usage},
        "message": {"content": [{"type": "tool_result", "content": "done"}]},
    }));
    check(&[(S, &[line])], &[]);
}

/// Here: a cut line is a fault that does no harm, and counts once it is whole. That it is not even
/// handed over before is ingest's part.
#[test]
fn edge_20_a_cut_line_counts_once_it_is_whole() {
    let line = call(json!({}));
    for cut in 1..line.len() {
        assert_eq!(table([&parse(S, &[&line[..cut]])]), "skipped: malformed 1\n", "{cut}");
    }
    check(&[(S, &[line])], &[&format!("claude:{A} m in 1 out 2 | S /w 1000")]);
}

/// Here: a `\r` that is left is white space. That it and the byte order mark are taken off is
/// ingest's part.
#[test]
fn edge_21_lines_may_end_in_cr_lf() {
    let line = call(json!({})) + "\r";
    check(&[(S, &[line])], &[&format!("claude:{A} m in 1 out 2 | S /w 1000")]);
}

/// Here: reading a file again from its start, with more in it, says the same of what was there.
#[test]
fn edge_22_a_file_read_again_adds_nothing() {
    let lines = [call(json!({})), prompt(json!({})), call(json!({"message": {"id": null}}))];
    let again = [&lines[..], &[with_id(B, json!({}))]].concat();
    let (first, second) = (parse(S, &lines), parse(S, &again));
    assert_eq!(merged(&first.events).len(), 3);
    assert_eq!(table([&first, &second]), table([&second]));
}

/// Here: nothing a parser says takes anything back. That rows outlive their file is the store's
/// part.
#[test]
fn edge_23_nothing_is_taken_back() {
    assert!(parse(S, &[call(json!({})), "garbage".into()]).retracted.is_empty());
}

/// Here: the prompt as a whole is what the long-context threshold is compared with.
#[test]
fn edge_24_a_long_prompt() {
    let line = call(json!({"message": {"model": "claude-sonnet-4-5-20250929", "usage": {
        "input_tokens": 16,
        "output_tokens": 2621,
        "cache_read_input_tokens": 226_784,
        "cache_creation_input_tokens": 48_454,
    }}}));
    let usage = &parse(S, &[line]).events[0].usage;
    assert_eq!((usage.tokens.prompt(), usage.tokens.output), (275_254, 2621));
    assert_eq!((usage.tokens.cache_create_1h, usage.speed), (0, Speed::Standard));
}

#[test]
fn edge_25_an_unknown_model_keeps_its_tokens() {
    let line = call(json!({"message": {"model": "claude-x-9"}}));
    check(&[(S, &[line])], &[&format!("claude:{A} claude-x-9 in 1 out 2 | S /w 1000")]);
}

#[test]
fn edge_26_priority_is_a_tier_and_not_a_speed() {
    let row = |figures| format!("claude:{A} m in 1 out 2 {figures} | S /w 1000");
    check(&[(S, &[with_usage(json!({"service_tier": "priority"}))])], &[&row("tier priority")]);
    check(&[(S, &[with_usage(json!({"service_tier": "batch"}))])], &[&row("batch")]);
    check(&[(S, &[with_usage(json!({"speed": "fast"}))])], &[&row("fast")]);
}

#[test]
fn edge_27_json_that_is_no_object_is_a_fault() {
    let lines = ["[1]", "12", "null", "\"assistant\""].map(String::from);
    check(&[(S, &lines)], &["skipped: not_an_object 4"]);
}

#[test]
fn edge_28_two_records_on_one_line_both_count() {
    let rows = [
        &*format!("claude:{A} m in 1 out 2 | S /w 1000"),
        &*format!("claude:{B} m in 1 out 2 | S /w 1000"),
    ];
    for between in ["", " ", "\r"] {
        let line = call(json!({})) + between + &with_id(B, json!({}));
        check(&[(S, &[line])], &rows);
    }
    // The whole ones before a broken rest as well.
    let line = call(json!({})) + &with_id(B, json!({})) + "{\"type\":\"assis";
    check(&[(S, &[line])], &[rows[0], rows[1], "skipped: malformed 1"]);
}

#[test]
fn edge_29_progress_counts_where_the_agents_file_is_missing() {
    let row = format!("claude:{A} m in 1 out 1 side 1 agent a1 | S /w 2000");
    check(&[(S, &[progress(json!({}))])], &[&row]);
    let row = "claude:req:r m in 1 out 1 side 1 agent a1 | S /w 9000";
    let line = progress(json!({"data": {"message": {"timestamp": "?", "message": {"id": null}}}}));
    check(&[(S, &[line])], &[row]);
    let other = progress(json!({"data": {"type": "hook_progress"}}));
    check(&[(S, &[other])], &[]);
}

#[test]
fn edge_30_a_response_without_usage_is_nothing() {
    let empty = call(json!({"message": {"usage": {"input_tokens": null, "output_tokens": null}}}));
    let zero =
        with_usage(json!({"input_tokens": 0, "output_tokens": 0, "service_tier": "standard"}));
    check(&[(S, &[empty, zero])], &["skipped: no_usage 2"]);
    // A record that does not speak of usage at all is one of many that are not about calls.
    check(&[(S, &[call(json!({"message": {"usage": null}}))])], &[]);
    // Searches alone are billed.
    let search = json!({"input_tokens": 0, "output_tokens": 0, "server_tool_use": {"web_search_requests": 3}});
    check(&[(S, &[with_usage(search)])], &[&format!("claude:{A} m search 3 | S /w 1000")]);
}

#[test]
fn keys_are_made_of_what_is_there() {
    let check = |change: Value, key: &str| {
        let parsed = parse(S, &[call(change)]);
        let digest = parsed.events[0].key.as_str().strip_prefix("claude:sha:");
        match key {
            "digest" => assert_eq!(digest.map(str::len), Some(22)),
            key => assert_eq!(parsed.events[0].key.as_str(), key),
        }
    };
    check(json!({"requestId": "r", "uuid": "u"}), "claude:msg_01AAAAAAAAAAAAAAAAAAAAAA");
    let id = |id: &str| json!({"uuid": "u", "message": {"id": id}});
    check(id("msg_bdrk_0123456789a"), "claude:msg_bdrk_0123456789a");
    check(id("msg_0123456789abcde"), "claude:S:msg_0123456789abcde:1:0:0");
    check(id("gen-1"), "claude:gen-1");
    check(id("resp_1"), "claude:resp_1");
    check(id("0123456789abcdef01234567"), "claude:0123456789abcdef01234567");
    check(id("0123456789abcdef0123456"), "claude:S:0123456789abcdef0123456:1:0:0");
    check(json!({"requestId": "r", "message": {"id": "ocgo"}}), "claude:ocgo:r");
    check(json!({"requestId": "r", "message": {"id": "gen-1"}}), "claude:gen-1:r");
    check(json!({"requestId": "r", "uuid": "u", "message": {"id": ""}}), "claude:req:r");
    check(json!({"uuid": "u", "message": {"id": null}}), "claude:uuid:u");
    check(json!({"message": {"id": null}}), "digest");
}

#[test]
fn records_without_any_id_are_told_apart_even_on_one_line() {
    let line = |output| call(json!({"message": {"id": null, "usage": {"output_tokens": output}}}));
    assert_eq!(merged(&parse(S, &[line(1) + &line(2) + &line(1)]).events).len(), 2);
    assert_eq!(parse(S, &[line(1) + "\r"]).events[0].key, parse(T, &[line(1)]).events[0].key);
}

#[test]
fn a_copy_with_a_weak_id_has_the_key_of_its_original() {
    let from = json!({"sessionId": "S"});
    let copy = with_id("ocgo", json!({"sessionId": "T", "forkedFrom": from}));
    let row = "claude:S:ocgo:1:0:0 m in 1 out 2 | S /w 1000";
    check(&[(S, &[with_id("ocgo", json!({}))]), (T, &[copy])], &[row]);
}

#[test]
fn a_prompt_is_what_a_person_typed() {
    let said = |content: Value| prompt(json!({"message": {"content": content}}));
    let block = |text: &str| json!({"type": "text", "text": text});
    let image = json!({"type": "image"});
    let row = format!("{} prompt | S /w 1000", EventKey::new("claude:prompt:u"));
    for typed in [
        prompt(json!({})),
        said(json!("<command-name>/clear</command-name>")),
        said(json!([image, block(" "), block("look")])),
        // What looks like a result of a tool is only text here.
        said(json!(format!("tool_result \"tool_result\" {}", "x".repeat(SHORT_LINE)))),
        said(json!([block("look"), block("<system-reminder>")])),
        prompt(json!({"isMeta": false, "isSidechain": false, "toolUseResult": 0}))
            .replace("\"toolUseResult\":0", "\"toolUseResult\": null"),
    ] {
        check(&[(S, &[typed])], &[&row]);
    }
    for not_typed in [
        prompt(json!({"isMeta": true})),
        prompt(json!({"isSidechain": true})),
        prompt(json!({"isCompactSummary": true})),
        prompt(json!({"toolUseResult": "Error: no"})),
        said(json!([{"type": "tool_result", "content": "x"}, block("and then")])),
        said(json!(" \n")),
        said(json!([image])),
        said(json!([])),
        said(json!("<local-command-stdout>1</local-command-stdout>")),
        said(json!("<task-notification>")),
        said(json!("\n<system-reminder>")),
        said(json!([block("[Request interrupted by user]")])),
        prompt(json!({"message": null})),
        prompt(json!({"type": "system"})),
    ] {
        check(&[(S, &[not_typed])], &[]);
    }
}

#[test]
fn a_copied_prompt_is_the_same_prompt() {
    let copy = prompt(json!({"sessionId": "T", "forkedFrom": {"sessionId": "S"}}));
    let key = EventKey::new("claude:prompt:u");
    check(&[(T, from_ref(&copy))], &[&format!("{key} prompt rank 1 | S /w 1000")]);
    check(
        &[(T, from_ref(&copy)), (S, &[prompt(json!({}))])],
        &[&format!("{key} prompt | S /w 1000")],
    );
    let nameless = parse(S, &[prompt(json!({"uuid": null}))]);
    assert!(nameless.events[0].key.as_str().starts_with("claude:prompt:sha:"));
}

#[test]
fn a_record_without_time_has_the_last_one_seen() {
    let event = |lines: &[String]| parse(S, lines).events.pop().unwrap();
    let timeless = call(json!({"timestamp": "soon"}));
    let seen = r#"{"type":"system","timestamp":"1970-01-01T00:00:05Z"}"#.to_owned();
    let guessed = event(&[seen.clone(), r#"{"timestamp":7}"#.into(), timeless.clone()]);
    assert_eq!((guessed.ts_ms, guessed.usage.flags.contains(Flags::TS_GUESSED)), (5000, true));
    let first = event(from_ref(&timeless));
    assert_eq!(
        (first.ts_ms, first.usage.flags.contains(Flags::TS_GUESSED)),
        (1_600_000_000_000, true)
    );
    let own = event(&[seen, call(json!({}))]);
    assert_eq!((own.ts_ms, own.usage.flags.contains(Flags::TS_GUESSED)), (1000, false));
}

#[test]
fn the_project_is_the_folder_the_session_was_started_in() {
    let project = |path: &str, lines: &[String]| {
        parse(path, lines).events.pop().unwrap().owner.project.to_string()
    };
    let cwd = |cwd: &str| call(json!({"cwd": cwd}));
    let none = call(json!({"cwd": null}));
    assert_eq!(project("-w-shop/S.jsonl", &[cwd("/w/shop/src/api")]), "/w/shop");
    assert_eq!(project("-w-shop/S.jsonl", &[cwd("/elsewhere")]), "/elsewhere");
    assert_eq!(project("C--w-shop/S.jsonl", &[cwd(r"C:\w\shop\src")]), r"C:\w\shop");
    assert_eq!(project("-w-shop/S/subagents/agent-a1.jsonl", &[cwd("/w/shop/src")]), "/w/shop");
    assert_eq!(project("-w-shop/S.jsonl", &[cwd("/w/shop/src"), none.clone()]), "/w/shop");
    let seen = r#"{"type":"system","cwd":"/x/y"}"#.to_owned();
    assert_eq!(project("-w-shop/S.jsonl", &[seen, none.clone()]), "/x/y");
    assert_eq!(project("-w-shop/S.jsonl", from_ref(&none)), "claude-code:-w-shop");
    assert_eq!(project("-w-shop/S.jsonl", &[cwd(&"/x".repeat(5000))]), "claude-code:-w-shop");
    // A record that changes the directory also changes it for those after it that name none.
    assert_eq!(project("-w-shop/S.jsonl", &[cwd("/a"), cwd("/b"), none]), "/b");
}

#[test]
fn the_session_is_named_by_the_record_or_else_by_the_path() {
    let session = |path: &str, change: Value| {
        parse(path, &[call(change)]).events.pop().unwrap().owner.session_id.to_string()
    };
    let none = || json!({"sessionId": null});
    assert_eq!(session("-w/T.jsonl", json!({})), "S");
    assert_eq!(session("-w/T.jsonl", none()), "T");
    assert_eq!(session("-w/T/subagents/agent-a1.jsonl", none()), "T");
    assert_eq!(session("-w/T/subagents/workflows/run/agent-a1.jsonl", none()), "T");
    assert_eq!(session("-w/agent-a1.jsonl", json!({"sessionId": ""})), "agent-a1");
}

#[test]
fn what_the_record_says_of_itself_is_kept() {
    let event = |change| parse(S, &[call(change)]).events.pop().unwrap();
    let known = event(json!({"agentId": "a1", "version": "2.1.260", "costUSD": 0.015_505}));
    assert_eq!(known.owner.agent.as_deref(), Some("a1"));
    assert_eq!(known.owner.client.as_deref(), Some("2.1.260"));
    assert_eq!(known.usage.logged_cost_nanousd, Some(15_505_000));
    assert_eq!(
        (known.owner.source_id, known.parser_version, &*known.provider),
        (7, 1, "claude-code")
    );
    assert_eq!(event(json!({"costUSD": 0})).usage.logged_cost_nanousd, None);
    let geo = |geo: &str| event(json!({"message": {"usage": {"inference_geo": geo}}})).usage.geo;
    assert_eq!(geo("us").as_deref(), Some("us"));
    for nowhere in ["", "global", "not_available"] {
        assert_eq!(geo(nowhere), None);
    }
    let thinking =
        |n| json!({"message": {"usage": {"output_tokens_details": {"thinking_tokens": n}}}});
    assert_eq!(event(thinking(1)).usage.tokens.reasoning, 1);
    let too_much = event(thinking(3)).usage;
    assert_eq!((too_much.tokens.reasoning, too_much.flags.contains(Flags::CLAMPED)), (2, true));
}

#[test]
fn absurd_counts_are_zero_and_impossible_ones_are_faults() {
    let usage = |input: &str| {
        call(json!({})).replace("\"input_tokens\":1", &format!("\"input_tokens\":{input}"))
    };
    let row = |figures: &str| format!("claude:{A} m {figures} | S /w 1000");
    for absurd in ["-1", "1000000001", "9223372036854775807", "-9223372036854775808"] {
        check(&[(S, &[usage(absurd)])], &[&row("out 2 clamped")]);
    }
    check(&[(S, &[usage("1000000000")])], &[&row("in 1000000000 out 2")]);
    check(&[(S, &[usage("12.0")])], &[&row("in 12 out 2")]);
    for impossible in ["18446744073709551615", "1e400", "-1e400", "1.5", "\"1\"", "true", "[]"] {
        check(&[(S, &[usage(impossible)])], &["skipped: bad_number 1"]);
    }
    check(&[(S, &[usage("NaN")])], &["skipped: malformed 1"]);
}

#[test]
fn wrong_types_are_as_good_as_missing() {
    let wrong = json!({
        "sessionId": 1, "cwd": ["/x"], "timestamp": {}, "uuid": 7, "requestId": false, "version": 2,
        "agentId": {"a": 1}, "isSidechain": "true", "forkedFrom": "S", "costUSD": "1", "data": [],
        "message": {"id": 5, "usage": {"speed": 1, "iterations": {"type": "advisor_message"},
            "cache_creation": 9, "server_tool_use": "x", "service_tier": []}},
    });
    let parsed = parse(S, &[call(wrong)]);
    assert_eq!(parsed.skips, usage::Skips::default());
    let row = describe(&parsed.events[0]);
    let (key, rest) = row.split_at("claude:sha:".len() + 22);
    assert!(key.starts_with("claude:sha:"), "{row}");
    assert_eq!(rest, " m in 1 out 2 ts_guessed | S claude-code:-w 1600000000000");
}

#[test]
fn no_strange_byte_costs_a_call() {
    let row = format!("claude:{A} m in 1 out 2 | S /w 1000");
    let line = |content: &[u8]| {
        let line = call(json!({"message": {"content": "@"}}));
        let (before, after) = line.split_once('@').unwrap();
        [before.as_bytes(), content, after.as_bytes()].concat()
    };
    for content in [&br"\ud83d"[..], br"\udc00\ud83d", b"\xff\xfe", b"\xc3", "\u{fffd}".as_bytes()]
    {
        assert_eq!(table([&parse(S, &[line(content)])]).trim_end(), row);
    }
    // A bare NUL is not JSON, but those of a hole before the record are not part of it.
    assert_eq!(parse(S, &[line(b"\0")]).skips.0[&Skip::Malformed], 1);
    let hole = [&[0; 9000][..], call(json!({})).as_bytes(), &[0; 3]].concat();
    assert_eq!(table([&parse(S, &[hole])]), format!("{row}\nskipped: malformed 2\n"));
}

#[test]
fn a_repeated_field_counts_as_it_is_last() {
    let advice = r#"{"iterations":[{"type":"advisor_message","model":"B","output_tokens":7}]}"#;
    let message = format!(r#"{{"id":"gen-1","usage":{{"speed":"fast"}},"usage":{advice}}}"#);
    let line = call(json!({}))
        .replace(r#""input_tokens":1"#, r#""input_tokens":9,"input_tokens":1"#)
        .replace(r#""usage":"#, &format!(r#""usage":{advice},"usage":"#))
        .replace(r#""cwd":"#, &format!(r#""message":{message},"cwd":"/x","cwd":"#));
    check(&[(S, &[line])], &[&format!("claude:{A} m in 1 out 2 | S /w 1000")]);
    let other = r#""message":{"requestId":"r2","isVirtual":true},"message":{"message":"#;
    let line = progress(json!({"data": {"message": {"requestId": null, "message": {"id": null}}}}));
    let line = line.replace(r#""message":{"message":"#, other);
    let row = "claude:uuid:u-agent m in 1 out 1 side 1 agent a1 | S /w 2000";
    check(&[(S, &[line])], &[row]);
}

#[test]
fn depth_is_no_danger() {
    let row = format!("claude:{A} m in 1 out 2 | S /w 1000");
    for (open, close) in [
        ("[", "]"),
        ("{\"data\":{\"message\":", "}}"),
        ("{\"message\":", "}"),
        ("{\"usage\":{\"iterations\":[", "]}}"),
    ] {
        let deep = format!("{}null{}", open.repeat(100_000), close.repeat(100_000));
        for field in ["data", "forkedFrom", "version"] {
            let line = call(json!({field: "@"})).replace("\"@\"", &deep);
            let parsed = parse(S, &[line]);
            assert_eq!(parsed.events[0].usage.tokens.output, 2);
        }
        let line = call(json!({"message": {"content": "@"}})).replace("\"@\"", &deep);
        check(&[(S, &[line])], &[&row]);
    }
}

/// Longer than a line must be to be searched before it is read.
const SHORT_LINE: usize = 5000;

#[test]
fn long_lines_are_only_read_if_they_may_count() {
    let long = "x".repeat(SHORT_LINE);
    let row = format!("claude:{A} m in 1 out 2 | S /w 1000");
    let key = EventKey::new("claude:prompt:u");
    let counted = call(json!({"message": {"content": long}}));
    check(&[(S, from_ref(&counted))], &[&row]);
    let typed = prompt(json!({"message": {"content": long}}));
    check(&[(S, from_ref(&typed))], &[&format!("{key} prompt | S /w 1000")]);
    let result =
        prompt(json!({"message": {"content": [{"type": "tool_result", "content": long}]}}));
    check(&[(S, from_ref(&result))], &[]);
    check(&[(S, &[result.clone() + &typed])], &[&format!("{key} prompt | S /w 1000")]);
    check(&[(S, &[result.clone() + &counted])], &[&row]);
    let spaced = typed.replace("\"user\"", " \"user\" ").replace("\":\"", "\" : \"");
    check(&[(S, &[spaced])], &[&format!("{key} prompt | S /w 1000")]);
    // Cut and binary lines are seen to be such.
    let cut = result[..result.len() - 1].to_owned();
    check(&[(S, &[cut, long, "\0".repeat(SHORT_LINE)])], &["skipped: malformed 3"]);
}

/// A later record may lack them.
#[test]
fn a_long_line_that_is_not_read_still_says_where_and_when() {
    let long = "x".repeat(SHORT_LINE);
    let unread = format!(
        r#"{{"type":"system","cwd":"/elsewhere","timestamp":"{}","message":{{"content":"{long}"}}}}"#,
        at(7)
    );
    let bare = call(json!({"cwd": null, "timestamp": null}));
    let row = format!("claude:{A} m in 1 out 2 ts_guessed | S /elsewhere 7000");
    check(&[(S, &[unread, bare])], &[&row]);
}

#[test]
fn an_odd_count_that_nothing_is_billed_by_does_not_hide_the_call() {
    let line = with_usage(json!({"output_tokens_details": {"thinking_tokens": 1.5}}));
    check(&[(S, &[line])], &[&format!("claude:{A} m in 1 out 2 clamped | S /w 1000")]);
    let line = with_usage(json!({"cache_read_input_tokens": 1.5}));
    check(&[(S, &[line])], &["skipped: bad_number 1"]);
}

#[test]
fn roots_follow_the_environment() {
    let roots = |vars: &[(&str, &str)]| {
        let vars = vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let roots = ClaudeCode.roots(&Env { home: "/home/a".into(), vars });
        roots.into_iter().map(|root| root.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let desktop = |config: &str| {
        let base = match cfg!(target_os = "macos") {
            true => "/home/a/Library/Application Support",
            false => config,
        };
        format!("{base}/Claude/local-agent-mode-sessions")
    };
    let config = "/home/a/.config/claude/projects";
    assert_eq!(roots(&[]), ["/home/a/.claude/projects", config, &desktop("/home/a/.config")]);
    assert_eq!(
        roots(&[("CLAUDE_CONFIG_DIR", "/x"), ("XDG_CONFIG_HOME", "/c")]),
        ["/x/projects", "/c/claude/projects", &desktop("/c")]
    );
    assert_eq!(
        roots(&[("CLAUDE_CONFIG_DIR", "/x, /y/projects/,/x/projects,,/home/a/.config/claude")]),
        ["/x/projects", "/y/projects", config, &desktop("/home/a/.config")]
    );
    // Relative folders depend on where the agent was started.
    assert_eq!(roots(&[("CLAUDE_CONFIG_DIR", "x"), ("XDG_CONFIG_HOME", "c")]), roots(&[]));
}

#[test]
fn sources_are_transcripts() {
    let is_source =
        |root: &str, path: &str| ClaudeCode.is_source(root.as_ref(), &Path::new(root).join(path));
    for path in [
        "-w/S.jsonl",
        "-w/agent-a1.jsonl",
        "-w/S/subagents/agent-a1.jsonl",
        "-w/S/subagents/workflows/run/agent-a1.jsonl",
        "-w/journal.jsonl",
    ] {
        assert!(is_source(ROOT, path), "{path}");
    }
    for path in [
        "history.jsonl",
        "-w/S.json",
        "-w/S/subagents/journal.jsonl",
        "-w/S/subagents/workflows/run/journal.jsonl",
        "-w/S/subagents/agent-a1.meta.json",
        "-w/S/tool-results/1.txt",
        "-w/.session-aliases",
        "",
    ] {
        assert!(!is_source(ROOT, path), "{path}");
    }
    assert!(!ClaudeCode.is_source(Path::new("/x"), Path::new("/y/S.jsonl")));

    let desktop = "/home/a/.config/Claude/local-agent-mode-sessions";
    assert!(is_source(desktop, "org/account/local_1/.claude/projects/-w/S.jsonl"));
    assert!(is_source(
        desktop,
        "org/account/local_1/.claude/projects/-w/S/subagents/agent-a1.jsonl"
    ));
    assert!(!is_source(desktop, "org/account/local_1/.claude/history.jsonl"));
    assert!(!is_source(desktop, "org/account/local_1/audit.jsonl"));
    let source = Source {
        path: Path::new(desktop).join("org/account/local_1/.claude/projects/-w/T.jsonl"),
        root: desktop.into(),
        ..source("")
    };
    let mut out = Parsed::default();
    let line = call(json!({"sessionId": null, "cwd": "/w/src"}));
    ClaudeCode.begin(&source, &nowhere(), "").parse_line(line.as_bytes(), &mut out);
    assert_eq!(table([&out]), format!("claude:{A} m in 1 out 2 | T /w 1000\n"));
}

/// The files of `testdata`, each as a path below its root and its lines as ingest hands them over.
fn fixtures() -> Vec<(String, Vec<Vec<u8>>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/claude-code/projects");
    let mut files = Vec::new();
    walk(&root, &mut files);
    let sources = files.into_iter().filter(|path| ClaudeCode.is_source(&root, path));
    sources
        .map(|path| {
            let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (below, lines(&fs::read(path).unwrap()))
        })
        .collect()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let lines = bytes.split(|&byte| byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_owned());
    lines.filter(|line| !line.trim_ascii().is_empty()).collect()
}

#[test]
fn fixtures_give_their_events() {
    let parsed: Vec<Parsed> = fixtures().iter().map(|(path, lines)| parse(path, lines)).collect();
    insta::with_settings!({
        snapshot_path => "../../testdata/claude-code",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("events", table(&parsed));
    });
}

proptest! {
    #[test]
    fn garbage_between_the_lines_changes_no_event(
        garbage in prop::collection::vec((any::<prop::sample::Index>(), garbage()), 1..6),
    ) {
        for (path, lines) in fixtures() {
            let mut mixed = lines.clone();
            for (at, line) in &garbage {
                mixed.insert(at.index(mixed.len() + 1), line.clone());
            }
            let (clean, mixed) = (parse(&path, &lines), parse(&path, &mixed));
            prop_assert_eq!(&mixed.events, &clean.events);
            let faults = garbage.iter().filter(|(_, line)| !line.starts_with(b"{}")).count();
            prop_assert!(mixed.skips.faults() >= clean.skips.faults() + faults as u64);
        }
    }

    /// Whatever becomes of a damaged line, the others count.
    #[test]
    fn a_damaged_line_harms_no_other(
        line in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for (path, lines) in fixtures() {
            let line = line.index(lines.len());
            let mut damaged = lines.clone();
            let at = at.index(damaged[line].len());
            damaged[line][at] = byte;
            let keys = |lines: &[Vec<u8>]| {
                parse(&path, lines).events.iter().map(|event| event.key.clone()).collect::<Vec<_>>()
            };
            let after = keys(&damaged);
            for key in [keys(&lines[..line]), keys(&lines[line + 1..])].concat() {
                prop_assert!(after.contains(&key), "{}", key);
            }
        }
    }
}

/// Lines that no agent writes.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>().prop_filter("newline", |byte| *byte != b'\n'), 1..40)
            .prop_filter("blank", |line| !line.trim_ascii().is_empty()),
        prop::sample::select(vec![
            b"{".to_vec(),
            b"{\"type\":\"assistant\",\"message\":{\"id\":\"gen-x\",\"usage\":{\"output_tokens\":"
                .to_vec(),
            b"[[[[".to_vec(),
            b"{} trailing".to_vec(),
            vec![0; 6000],
            br#"{"message":{"usage":{"output_tokens":NaN}}}"#.to_vec(),
        ]),
    ]
}

/// The real logs, where they are at hand. Totals are printed, to be compared with those of other
/// programs.
#[test]
fn the_corpus_is_read_without_faults() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let Ok(homes) = fs::read_dir(&corpus) else {
        println!("no corpus: not checked");
        return;
    };
    let mut homes: Vec<PathBuf> = homes.map(|entry| entry.unwrap().path()).collect();
    homes.sort();
    let mut read = 0;
    for home in homes {
        let mut events = Vec::new();
        let mut skips = usage::Skips::default();
        let env = Env { home, ..Env::default() };
        for root in ClaudeCode.roots(&env).into_iter().filter(|root| root.is_dir()) {
            let mut files = Vec::new();
            walk(&root, &mut files);
            for path in files.into_iter().filter(|path| ClaudeCode.is_source(&root, path)) {
                let bytes = fs::read(&path).unwrap();
                let mut lines = lines(&bytes);
                if !bytes.ends_with(b"\n") && lines.last().is_some_and(|line| !line.ends_with(b"}"))
                {
                    lines.pop();
                }
                read += lines.len();
                let source = Source { path, root: root.clone(), ..source("") };
                let mut parser = ClaudeCode.begin(&source, &nowhere(), "");
                let mut out = Parsed::default();
                for line in &lines {
                    parser.parse_line(line, &mut out);
                }
                assert_eq!(out.skips.faults(), 0, "{:?} {:?}", source.path, out.skips);
                events.append(&mut out.events);
                skips.merge(&out.skips);
            }
        }
        print_totals(&env.home, &events, &skips);
    }
    assert!(read > 10_000, "{read} lines");
}

fn print_totals(home: &Path, events: &[UsageEvent], skips: &usage::Skips) {
    let rows = merged(events);
    if rows.is_empty() {
        return;
    }
    let calls: Vec<&UsageEvent> =
        rows.values().filter(|event| event.role == Role::Assistant).collect();
    let sum = |count: fn(&usage::Tokens) -> u64| {
        calls.iter().map(|event| count(&event.usage.tokens)).sum::<u64>()
    };
    println!(
        "{}: {} calls, {} prompts, in {} out {} read {} write {} 1h {} think {}, skipped {:?}",
        home.file_name().unwrap().display(),
        calls.len(),
        rows.len() - calls.len(),
        sum(|tokens| tokens.input),
        sum(|tokens| tokens.output),
        sum(|tokens| tokens.cache_read),
        sum(|tokens| tokens.cache_create),
        sum(|tokens| tokens.cache_create_1h),
        sum(|tokens| tokens.reasoning),
        skips.0,
    );
}
