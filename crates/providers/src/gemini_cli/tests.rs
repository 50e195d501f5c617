//! Each edge case of the fact sheet by its number, then what the sheet says elsewhere, then a real
//! log.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use usage::{Skip, Skips, UsageEvent};

use super::*;
use crate::nowhere;
use crate::testing::{Files, add_counts, add_flags, add_tokens, merged, skipped, stored};

const ROOT: &str = "/home/ada/.gemini/tmp";
/// A session in the folder that its project's name has given it, and in the older one.
const S: &str = "shop/chats/session-2026-06-01T10-00-0b7f1d00.jsonl";
const S_OLD: &str = "shop/chats/session-2026-06-01T10-00-0b7f1d00.json";
const S_HASH: &str = "5f3c/chats/session-2026-06-01T10-00-0b7f1d00.json";
const AGENT: &str = "shop/chats/S/A.jsonl";
const REGISTRY: &str = "/home/ada/.gemini/projects.json";

/// Files beside the sessions.
fn files() -> Files {
    Files::below(ROOT)
}

/// The folder `shop` says whose it is.
fn of_shop() -> Files {
    files().with("shop/.project_root", "/home/ada/shop")
}

fn source_at(path: &Path) -> Source {
    Source {
        id: 7,
        provider: ID,
        path: path.to_owned(),
        root: ROOT.into(),
        mtime_ms: 1_600_000_000_000,
    }
}

/// Reads the lines of a session, or the document that they are one line of.
fn parse_at(path: &Path, lines: &[impl AsRef<[u8]>], around: &Around) -> Parsed {
    let mut out = Parsed::default();
    match GeminiCli.storage(path) {
        Storage::Document(document) => {
            for line in lines {
                document.parse(&source_at(path), line.as_ref(), &**around, "", &mut out).unwrap();
            }
        }
        storage => {
            let mut parser = storage.appended().unwrap().begin(&source_at(path), around, "");
            for line in lines {
                parser.parse_line(line.as_ref(), &mut out);
            }
        }
    }
    out
}

fn parse(path: &str, lines: &[impl AsRef<[u8]>]) -> Parsed {
    let around: Around = Arc::new(of_shop());
    parse_at(&Path::new(ROOT).join(path), lines, &around)
}

/// One line per row and one per reason of a skip. What is as usual is left out.
fn table<'a>(parsed: impl IntoIterator<Item = &'a Parsed>) -> String {
    let (rows, skips) = stored(parsed);
    rows.values().map(describe).chain(skipped(&skips)).map(|line| line + "\n").collect()
}

fn describe(event: &UsageEvent) -> String {
    let UsageEvent { key, ts_ms, owner, usage, .. } = event;
    assert_eq!((event.copy_rank, &owner.account, &owner.client), (0, &None, &None));
    assert_eq!((&usage.vendor, usage.logged_cost_nanousd), (&None, None));
    let mut line = format!("{key}");
    if !usage.model.is_empty() {
        write!(line, " {}", usage.model).unwrap();
    }
    add_tokens(&mut line, usage.tokens);
    let counts = [("side", u64::from(owner.is_sidechain))];
    add_counts(&mut line, counts);
    if let Some(agent) = &owner.agent {
        write!(line, " agent {agent}").unwrap();
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

/// The first line of session `S`.
fn about() -> String {
    json!({"sessionId": "S", "projectHash": "5f3c", "kind": "main"}).to_string()
}

/// A whole session as older versions kept it.
fn document(messages: &[Value]) -> String {
    json!({"sessionId": "S", "projectHash": "5f3c", "messages": messages}).to_string()
}

/// A call of model `m` with one token in and two out, at 1000 ms. `change` replaces fields; null takes
/// them away.
fn call(id: &str, change: Value) -> Value {
    let mut message = json!({
        "id": id,
        "timestamp": "1970-01-01T00:00:01Z",
        "type": "gemini",
        "content": "done",
        "tokens": {"input": 1, "output": 2, "cached": 0, "total": 3},
        "model": "m",
    });
    patch(&mut message, change);
    message
}

fn prompt(id: &str, content: &Value) -> Value {
    json!({"id": id, "timestamp": "1970-01-01T00:00:01Z", "type": "user", "content": content})
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

/// A session of these records.
fn lines(records: &[Value]) -> Vec<String> {
    let records = records.iter().map(ToString::to_string);
    std::iter::once(about()).chain(records).collect()
}

fn row(id: &str) -> String {
    format!("gemini:S:{id} m in 1 out 2 | S /home/ada/shop 1000")
}

#[test]
fn edge_01_cached_input_is_taken_out_and_thoughts_are_output() {
    let tokens = json!({"input": 1000, "cached": 600, "output": 50, "thoughts": 30, "total": 1080});
    let lines = lines(&[call("a", json!({"tokens": tokens}))]);
    check(
        &[(S, &lines)],
        &["gemini:S:a m in 400 out 80 read 600 think 30 | S /home/ada/shop 1000"],
    );
}

#[test]
fn edge_02_a_message_stated_three_times_is_one_event() {
    let with_tool = call("a", json!({"toolCalls": [{"id": "t", "name": "read_file"}]}));
    let records = [call("a", json!({"tokens": null})), call("a", json!({})), with_tool];
    check(&[(S, &lines(&records))], &[&row("a")]);
    assert_eq!(parse(S, &lines(&records[..1])).events, [], "it states no call yet");
    let mut null = call("a", json!({}));
    null["tokens"] = Value::Null;
    check(&[(S, &lines(&[null]))], &[]);
}

#[test]
fn edge_03_what_was_rewound_was_billed() {
    let records = [
        call("a", json!({})),
        call("b", json!({})),
        json!({"$rewindTo": "a"}),
        call("c", json!({})),
    ];
    check(&[(S, &lines(&records))], &[&row("a"), &row("b"), &row("c")]);
}

#[test]
fn edge_04_a_document_and_its_lines_are_one_session() {
    let messages = [prompt("p", &json!("do it")), call("a", json!({}))];
    let mut records = messages.to_vec();
    records.push(json!({"$set": {"sessionId": "S"}}));
    records.push(call("b", json!({})));
    let rows = [row("a"), row("b"), "gemini:prompt:S:p | S /home/ada/shop 1000".to_owned()];
    let rows = rows.each_ref().map(String::as_str);
    check(&[(S_OLD, &[document(&messages)]), (S, &lines(&records))], &rows);
}

#[test]
fn edge_05_a_session_copied_into_a_new_folder_is_of_its_project() {
    let copy = [document(&[call("a", json!({})), prompt("p", &json!("do it"))])];
    let alone = [
        "gemini:S:a m in 1 out 2 | S gemini-cli:5f3c 1000",
        "gemini:prompt:S:p | S gemini-cli:5f3c 1000",
    ];
    check(&[(S_HASH, &copy)], &alone);
    let rows = [&row("a"), "gemini:prompt:S:p | S /home/ada/shop 1000"];
    check(&[(S_HASH, &copy), (S_OLD, &copy)], &rows);
    check(&[(S_OLD, &copy), (S_HASH, &copy)], &rows);
}

#[test]
fn edge_06_a_list_of_all_messages_may_hold_one_that_was_not_seen() {
    let messages =
        json!([call("a", json!({})), call("b", json!({})), call("c", json!({"tokens": null}))]);
    let records = [call("a", json!({})), json!({"$set": {"messages": messages}})];
    check(&[(S, &lines(&records))], &[&row("a"), &row("b")]);
}

/// A summary or a description of the project is put among the messages that the model is shown.
#[test]
fn a_list_of_all_messages_holds_no_new_prompts() {
    let messages = json!([prompt("p", &json!("do it")), prompt("q", &json!("In short: ..."))]);
    let records = [prompt("p", &json!("do it")), json!({"$set": {"messages": messages}})];
    check(&[(S, &lines(&records))], &["gemini:prompt:S:p | S /home/ada/shop 1000"]);
}

#[test]
fn what_a_person_typed_is_a_prompt_and_nothing_else_is() {
    let is_prompt = |message: Value| {
        let parsed = parse(S, &lines(&[message]));
        assert_eq!(parsed.skips, Skips::default());
        parsed.events.len() == 1
    };
    let text = |text: &str| json!([{"text": text}]);
    for typed in [
        json!("do it"),
        json!(["do it"]),
        json!({"text": "do it"}),
        text("\n do it"),
        // A path, not a command: commands that ask no model leave no message.
        text("/home/ada/shop/main.rs is wrong"),
        text("Please continue."),
        json!([{"text": "what is @this"}, {"text": "\n--- Content ---"}, {"inlineData": {}}]),
        json!([{"text": " "}, {"text": "do it"}, {"text": "<hook_context>x</hook_context>"}]),
        json!([{"text": "do it", "functionResponse": null}]),
    ] {
        assert!(is_prompt(prompt("p", &typed)), "{typed}");
    }
    let result = json!({"functionResponse": {"id": "t", "name": "read_file", "response": {}}});
    for injected in [
        json!(null),
        json!(7),
        json!(""),
        json!([]),
        text(" \n"),
        json!([result]),
        json!([{"text": "a hint"}, result]),
        json!([{"inlineData": {"mimeType": "image/png"}}]),
        text("<session_context>\nThis is the Gemini CLI."),
        text("<hook_context>x</hook_context>"),
        text("<state_snapshot>\n<overall_goal>"),
        text("System: Please continue."),
        text("System: Potential loop detected. Details: x"),
        text("Here is the user's editor context as a JSON object."),
        text("I ran the following shell command:\n```sh\nls\n```"),
    ] {
        assert!(!is_prompt(prompt("p", &injected)), "{injected}");
    }
    // A command that expands to a prompt is shown as it was typed.
    let mut expanded = prompt("p", &text("You are to look at the project."));
    expanded["displayContent"] = text("/init");
    assert!(is_prompt(expanded.clone()));
    // Going on with what was typed is no typing.
    expanded["content"] = text("Please continue.");
    assert!(!is_prompt(expanded.clone()));
    expanded["content"] = text("Go on.");
    expanded["displayContent"] = json!([result]);
    assert!(!is_prompt(expanded));
    for kind in ["info", "error", "warning", "gemini"] {
        let mut said = prompt("p", &text("do it"));
        said["type"] = json!(kind);
        assert!(!is_prompt(said), "{kind}");
    }
}

#[test]
fn a_subagents_file_belongs_to_the_session_that_asked_it() {
    let about = json!({"sessionId": "A", "kind": "subagent"}).to_string();
    let task = prompt("p", &json!("look for it")).to_string();
    let own = call("a", json!({})).to_string();
    let row = "gemini:A:a m in 1 out 2 side 1 agent A | S /home/ada/shop 1000";
    check(&[(AGENT, &[about.clone(), task.clone(), own.clone()])], &[row]);
    // The place says it, too, and names the session.
    check(&[(AGENT, &[task.clone(), own.clone()])], &[row]);
    // For some weeks they were documents, at first beside those of the sessions.
    let document = json!({
        "sessionId": "A",
        "kind": "subagent",
        "messages": [prompt("p", &json!("look for it")), call("a", json!({}))],
    });
    check(&[("shop/chats/S/A.json", &[document.to_string()])], &[row]);
    let row = "gemini:A:a m in 1 out 2 side 1 | A /home/ada/shop 1000";
    check(&[(S_OLD, &[document.to_string()])], &[row]);
}

#[test]
fn the_session_of_a_file_that_does_not_name_it_is_what_its_name_says() {
    let (a, b) = (call("a", json!({})).to_string(), call("b", json!({})).to_string());
    let row = |id| format!("gemini:0b7f1d00:{id} m in 1 out 2 | 0b7f1d00 /home/ada/shop 1000");
    let rows = [row("a"), row("b")];
    let rows = rows.each_ref().map(String::as_str);
    check(&[(S, &[a.clone(), b.clone()])], &rows);
    // Once it was part of a key it stays.
    check(&[(S, &[a.clone(), about(), a.clone(), b.clone()])], &rows);
    check(&[(S, &[a, json!({"$set": {"sessionId": "S"}}).to_string(), b])], &rows);
}

#[test]
fn a_session_keeps_its_first_id() {
    let renamed = json!({"$set": {"sessionId": "T"}});
    let records = [call("a", json!({})), renamed, call("a", json!({})), call("b", json!({}))];
    check(&[(S, &lines(&records))], &[&row("a"), &row("b")]);
}

#[test]
fn a_whole_session_may_stand_on_one_line() {
    let whole = document(&[prompt("p", &json!("do it")), call("a", json!({}))]);
    let rows = [&row("a"), "gemini:prompt:S:p | S /home/ada/shop 1000"];
    check(&[(S, &[whole])], &rows);
}

#[test]
fn tokens_of_tools_are_input() {
    let tokens = json!({"input": 100, "cached": 60, "tool": 7, "total": 109});
    let lines = lines(&[call("a", json!({"tokens": tokens}))]);
    check(&[(S, &lines)], &["gemini:S:a m in 47 out 2 read 60 | S /home/ada/shop 1000"]);
}

#[test]
fn counts_that_cannot_be_are_flagged_and_never_negative() {
    let with = |tokens| lines(&[call("a", json!({"tokens": tokens}))]);
    let row = |counts| format!("gemini:S:a m {counts} | S /home/ada/shop 1000");
    for (tokens, counts) in [
        (json!({"input": 10, "cached": 60, "total": 0}), "out 2 read 60 clamped"),
        (json!({"input": -10, "total": 2}), "out 2 clamped"),
        (json!({"input": 5_000_000_000_u64, "total": null}), "out 2 clamped"),
        // Parts that are more than the whole. Where they are less, something is not told.
        (json!({"input": 10, "total": 11}), "in 10 out 2 clamped"),
        (json!({"input": 10, "total": 50}), "in 10 out 2"),
        (json!({"input": 10, "total": 0}), "in 10 out 2"),
        (json!({"input": 10, "total": "12"}), "in 10 out 2"),
    ] {
        check(&[(S, &with(tokens))], &[&row(counts)]);
    }
    check(&[(S, &with(json!({"output": 1.5})))], &["skipped: bad_number 1"]);
    let nothing = json!({"input": 0, "output": 0, "total": 0});
    check(&[(S, &with(nothing))], &["skipped: no_usage 1"]);
}

#[test]
fn a_call_without_id_time_or_model() {
    let nameless = [call("a", json!({"id": null})), call("a", json!({"id": 7}))];
    check(&[(S, &lines(&nameless))], &["skipped: bad_field 2"]);
    let records = [
        call("a", json!({"model": null, "timestamp": null})),
        call("b", json!({"timestamp": "1970-01-01T00:00:05Z"})),
        call("c", json!({"timestamp": "soon"})),
    ];
    let rows = [
        "gemini:S:a unknown in 1 out 2 ts_guessed | S /home/ada/shop 1600000000000",
        "gemini:S:b m in 1 out 2 | S /home/ada/shop 5000",
        "gemini:S:c m in 1 out 2 ts_guessed | S /home/ada/shop 5000",
    ];
    check(&[(S, &lines(&records))], &rows);
    let about = json!({"sessionId": "S", "startTime": "1970-01-01T00:00:02Z"}).to_string();
    let rows = ["gemini:S:a m in 1 out 2 ts_guessed | S /home/ada/shop 2000"];
    check(&[(S, &[about, call("a", json!({"timestamp": null})).to_string()])], &rows);
}

#[test]
fn the_project_is_in_the_folder_or_in_the_registry() {
    let project = |files: Files| {
        let around: Around = Arc::new(files);
        let lines = lines(&[call("a", json!({}))]);
        let parsed = parse_at(&Path::new(ROOT).join(S), &lines, &around);
        parsed.events[0].owner.project.to_string()
    };
    let registry = json!({"projects": {"/home/ada/mill": "mill", "/home/ada/shop": "shop"}});
    let registry = registry.to_string();
    let registered = files().with(REGISTRY, &registry);
    assert_eq!(project(of_shop()), "/home/ada/shop");
    assert_eq!(project(files().with("shop/.project_root", "/w\n")), "/w");
    assert_eq!(project(registered.clone()), "/home/ada/shop");
    assert_eq!(project(registered.clone().with("shop/.project_root", "/w")), "/w");
    assert_eq!(project(registered.with("shop/.project_root", " \n")), "/home/ada/shop");
    assert_eq!(project(files()), "gemini-cli:shop");
    for junk in ["", "{", "null", r#"{"projects":[]}"#, r#"{"projects":{"/w":7}}"#] {
        let files = files().with(REGISTRY, junk);
        assert_eq!(project(files), "gemini-cli:shop", "{junk}");
    }
    let long = format!("/{}", "x".repeat(5000));
    assert_eq!(project(files().with("shop/.project_root", &long)), "gemini-cli:shop");
}

/// What was found out once is not asked for again, whatever has become of it.
#[test]
fn a_state_goes_on_where_the_last_read_ended() {
    let around: Around = Arc::new(of_shop());
    let records = lines(&[call("a", json!({})), call("b", json!({"timestamp": null}))]);
    let mut out = Parsed::default();
    let mut parser = GeminiCli.begin(&source_at(&Path::new(ROOT).join(S)), &around, "");
    parser.parse_line(records[0].as_bytes(), &mut out);
    parser.parse_line(records[1].as_bytes(), &mut out);
    let state = parser.state();
    let expect =
        r#"{"session_id":"S","is_subagent":false,"project":"/home/ada/shop","ts_ms":1000}"#;
    assert_eq!(state, expect);
    let mut parser = GeminiCli.begin(&source_at(&Path::new(ROOT).join(S)), &nowhere(), &state);
    parser.parse_line(records[2].as_bytes(), &mut out);
    assert_eq!(parser.state(), state);
    let guessed = "gemini:S:b m in 1 out 2 ts_guessed | S /home/ada/shop 1000";
    assert_eq!(table([&out]).lines().collect::<Vec<_>>(), [&row("a"), guessed]);
}

#[test]
fn a_line_states_at_most_a_thousand_calls() {
    let messages: Vec<Value> = (0..1_500).map(|n| call(&n.to_string(), json!({}))).collect();
    let parsed = parse(S, &lines(&[json!({"$set": {"messages": messages}})]));
    assert_eq!(parsed.events.len(), 1_000);
    let newest = parsed.events.last().map(|event| event.key.as_str());
    assert_eq!(newest, Some("gemini:S:1499"), "the oldest were stated before");
    assert_eq!(parsed.skips.0, [(Skip::Oversize, 1)].into());
    // A document is as long as its session.
    let parsed = parse(S_OLD, &[document(&messages)]);
    assert_eq!((parsed.events.len(), parsed.skips.faults()), (1_500, 0));
}

#[test]
fn damaged_lines_are_faults() {
    let glued = format!("{}{}", call("a", json!({})), call("b", json!({})));
    let cut = format!("{}{}", call("c", json!({})), &call("d", json!({})).to_string()[..20]);
    let lines = [about(), glued, cut, "\0\0{}".to_owned(), "[]".to_owned(), "7".to_owned()];
    let rows = [row("a"), row("b"), row("c")];
    let mut expect: Vec<&str> = rows.iter().map(String::as_str).collect();
    expect.extend(["skipped: malformed 2", "skipped: not_an_object 2"]);
    check(&[(S, &lines)], &expect);
}

#[test]
fn a_document_that_is_not_whole_is_torn() {
    let whole = document(&[call("a", json!({}))]);
    let source = source_at(&Path::new(ROOT).join(S_OLD));
    let parse = |bytes: &[u8]| {
        let mut out = Parsed::default();
        let parsed = GeminiCli.parse(&source, bytes, &of_shop(), "", &mut out);
        (parsed, out.events.len(), out.skips.faults())
    };
    assert_eq!(parse(whole.as_bytes()), (Ok(String::new()), 1, 0));
    assert_eq!(parse(format!("{whole}\n ").as_bytes()), (Ok(String::new()), 1, 0));
    for torn in ["", " ", &whole[..whole.len() - 1], &format!("{whole}}}"), &whole.repeat(2)] {
        assert_eq!(parse(torn.as_bytes()), (Err(Torn), 0, 0), "{torn}");
    }
    for other in ["null", "[]", "7"] {
        assert_eq!(parse(other.as_bytes()), (Ok(String::new()), 0, 1), "{other}");
    }
}

#[test]
fn the_root_follows_the_agents_own_variable() {
    let roots = |home: Option<&str>| {
        let vars = home.map(|home| ("GEMINI_CLI_HOME".to_owned(), home.to_owned()));
        GeminiCli.roots(&Env { home: "/home/ada".into(), vars: vars.into_iter().collect() })
    };
    assert_eq!(roots(None), [Path::new(ROOT)]);
    assert_eq!(roots(Some("")), [Path::new(ROOT)]);
    assert_eq!(roots(Some("relative")), [Path::new(ROOT)]);
    assert_eq!(roots(Some("/srv/ada")), [Path::new("/srv/ada/.gemini/tmp")]);
}

#[test]
fn sessions_are_known_by_the_shape_of_their_path() {
    let is_source = |path: &str| {
        let roots = [ROOT, "/home/ada", "/home/ada/.gemini", "/"];
        let path = Path::new(ROOT).join(path);
        let answers = roots.map(|root| GeminiCli.is_source(Path::new(root), &path));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{path:?}");
        assert!(!GeminiCli.is_source(Path::new("/home/bob"), &path));
        answers[0]
    };
    for path in [S, S_OLD, S_HASH, AGENT, "shop/chats/S/A.json"] {
        assert!(is_source(path), "{path}");
    }
    for path in [
        "shop/logs.json",
        "shop/checkpoint-tag.json",
        "shop/shell_history",
        "shop/.project_root",
        "shop/session-2026-06-01T10-00-0b7f1d00.jsonl",
        "shop/chats/logs.json",
        "shop/chats/session-.json",
        "shop/chats/session-2026-06-01T10-00-.json",
        "shop/chats/.jsonl",
        &format!("{S}.unreadable-1780000000000"),
        &format!("{S}.tmp-4711"),
        &format!("{S}~"),
        "shop/chats/S/A.jsonl.unreadable-1780000000000",
        "shop/chats/S/notes.txt",
        "shop/chats/S/deeper/A.jsonl",
        "shop/tool-outputs/session-S/read_file_1.json",
        "projects.json",
    ] {
        assert!(!is_source(path), "{path}");
    }
}

#[test]
fn only_folders_of_sessions_are_looked_into() {
    for root in [ROOT, "/home/ada", "/home"] {
        let looks = |path: &str| GeminiCli.looks_into(Path::new(root), &Path::new(ROOT).join(path));
        for path in ["", "shop", "5f3c", "shop/chats", "shop/chats/S"] {
            assert!(looks(path), "{root} {path}");
        }
        for path in ["shop/logs", "shop/tool-outputs", "shop/S/plans", "shop/chats/S/x"] {
            assert!(!looks(path), "{root} {path}");
        }
    }
    // A folder that somebody has copied or named.
    assert!(GeminiCli.looks_into(Path::new("/copy"), Path::new("/copy/ada/tmp/shop/chats")));
    assert!(!GeminiCli.looks_into(Path::new(ROOT), Path::new("/home/bob")));
}

#[test]
fn every_kind_of_file_is_read_as_it_is_written() {
    let is_document =
        |path: &str| matches!(GeminiCli.storage(Path::new(path)), Storage::Document(_));
    assert!(is_document(S_OLD));
    assert!(!is_document(S));
    assert!(!is_document(AGENT));
}

/// Sums worked out from the file by another program: of each message the first `tokens`.
#[test]
fn a_real_session_adds_up() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/home-i");
    let project = "9da8b3dfb8655182ac1f0e66601c367e34f8d18447a29759eeba4d7e45dc60ea";
    let path = home
        .join(".gemini/tmp")
        .join(project)
        .join("chats/session-2026-04-23T12-52-0ab84937.jsonl");
    let Ok(content) = fs::read_to_string(&path) else {
        println!("no corpus here");
        return;
    };
    assert!(GeminiCli.is_source(&home, &path));
    let lines: Vec<&str> = content.lines().collect();
    let parsed = parse_at(&path, &lines, &nowhere());
    assert_eq!(parsed.skips, Skips::default());
    let rows = merged(&parsed.events);
    let calls: Vec<_> = rows.values().filter(|row| !row.usage.model.is_empty()).collect();
    let sum = |count: fn(&usage::Tokens) -> u64| {
        calls.iter().map(|row| count(&row.usage.tokens)).sum::<u64>()
    };
    assert_eq!((calls.len(), rows.len() - calls.len()), (6, 2));
    assert_eq!(sum(|tokens| tokens.input), 153_635);
    assert_eq!(sum(|tokens| tokens.output), 4_293);
    assert_eq!(sum(|tokens| tokens.cache_read), 48_951);
    assert_eq!(sum(|tokens| tokens.reasoning), 2_141);
    assert_eq!(sum(usage::Tokens::total), 206_879);
    let models = |model: &str| calls.iter().filter(|row| *row.usage.model == *model).count();
    assert_eq!((models("gemini-3-flash-preview"), models("gemini-3.1-pro-preview")), (5, 1));
    for row in rows.values() {
        assert_eq!(*row.owner.session_id, *"0ab84937-9fe7-4284-986a-33c832af0b6a");
        assert_eq!(*row.owner.project, *format!("gemini-cli:{project}"));
        assert!(row.usage.flags.is_empty());
    }
}
