//! Counts, never content.

use std::fs;

use crate::support::faults::{run_by, works};
use crate::support::{Home, Service, corpus_homes, files, wait};

const CANARY: &str = "canary-7f3a9c1e";

#[test]
fn no_word_of_a_prompt_or_a_reply_is_in_the_data_directory() {
    let home = Home::new();
    home.write(
        ".claude/projects/-w/s.jsonl",
        format!(
            r#"{{"type":"user","uuid":"u1","sessionId":"s","cwd":"/w","timestamp":"2026-09-01T10:00:00.000Z","message":{{"role":"user","content":"prompt {CANARY}"}}}}
{{"type":"user","uuid":"u2","sessionId":"s","cwd":"/w","timestamp":"2026-09-01T10:00:01.000Z","message":{{"role":"user","content":[{{"type":"tool_result","content":"{CANARY}"}}]}},"toolUseResult":"{CANARY}"}}
{{"type":"assistant","uuid":"u3","sessionId":"s","cwd":"/w","timestamp":"2026-09-01T10:00:02.000Z","requestId":"r","message":{{"id":"msg_01AAAAAAAAAAAAAAAAAAAA","model":"claude-opus-5","content":[{{"type":"text","text":"reply {CANARY}"}}],"usage":{{"input_tokens":1,"output_tokens":2}}}}}}
{{"type":"assistant","broken {CANARY}
"#
        ),
    );
    home.write(
        ".codex/sessions/2026/09/20/rollout-2026-09-20T08-00-00-0199aaaa-0000-7000-8000-000000000001.jsonl",
        format!(
            r#"{{"timestamp":"2026-09-20T08:00:00.000Z","type":"session_meta","payload":{{"id":"T","cwd":"/w","instructions":"{CANARY}","base_instructions":{{"text":"{CANARY}"}}}}}}
{{"timestamp":"2026-09-20T08:00:01.000Z","type":"turn_context","payload":{{"cwd":"/w","model":"gpt-5.5"}}}}
{{"timestamp":"2026-09-20T08:00:01.000Z","type":"event_msg","payload":{{"type":"user_message","message":"{CANARY}"}}}}
{{"timestamp":"2026-09-20T08:00:02.000Z","type":"event_msg","payload":{{"type":"token_count","info":{{"total_token_usage":{{"input_tokens":5,"output_tokens":1}},"last_token_usage":null}}}}}}
{{"timestamp":"2026-09-20T08:00:02.000Z","type":"response_item","payload":{{"type":"message","content":"{CANARY}"}}}}
"#
        ),
    );
    let service = Service::start(&home);
    service.wait_ready();
    wait("both prompts", || {
        crate::support::integer(
            &home.database(),
            "SELECT count(*) FROM usage_events WHERE role = 'user'",
        ) == 2
    });
    assert_absent(&home, &[CANARY.to_owned()]);
    assert_eq!(service.stop(), 0);
    assert_absent(&home, &[CANARY.to_owned()]);
}

/// Whatever is called with an address, with that address.
fn addresses(trace: &str) -> Vec<&str> {
    trace.lines().filter(|line| line.contains("sa_family=AF_INET")).collect()
}

#[test]
fn nobody_is_talked_to_but_on_this_machine() {
    if !works(&["strace", "-f", "-D", "-o", "/dev/null", "true"]) {
        return;
    }
    let home = Home::new();
    home.write(".claude/projects/-w/s.jsonl", crate::support::faults::calls(0..9));
    let traced = |name: &str, args: &[&str]| {
        let trace = home.path().join(name);
        let strace = ["strace", "-f", "-D", "-e", "trace=network", "-o", trace.to_str().unwrap()];
        (run_by(&strace, &home.command(args)), trace)
    };
    let (run, of_the_service) = traced("run.trace", &["run", "--listen", "127.0.0.1:0"]);
    let service = Service::spawn(run);
    service.wait_ready();
    assert_eq!(service.get("/").0, 200);
    for command in [&["status"][..], &["report"], &["today"], &["providers"], &["check"]] {
        let (mut command, trace) = traced(&format!("{}.trace", command[0]), command);
        assert!(command.output().unwrap().status.success());
        for call in addresses(&fs::read_to_string(trace).unwrap()) {
            assert!(call.contains("inet_addr(\"127.0.0.1\")"), "{call}");
        }
    }
    assert_eq!(service.stop(), 0);
    let mut trace = String::new();
    wait("the end of the trace", || {
        trace = fs::read_to_string(&of_the_service).unwrap();
        trace.contains("+++ exited with 0 +++")
    });
    let calls = addresses(&trace);
    assert!(calls.iter().any(|call| call.contains("bind(")), "the trace shows how it listens");
    for call in calls {
        assert!(call.contains("inet_addr(\"127.0.0.1\")"), "{call}");
        assert!(!call.contains("connect("), "the service asks nobody: {call}");
    }
}

/// Words of real prompts and replies: long ones, so that a chance hit means nothing.
#[test]
fn no_sentence_of_the_corpus_is_in_the_data_directory() {
    for corpus in corpus_homes() {
        let home = Home::copy_of(&corpus);
        let mut sentences = Vec::new();
        for file in files(&corpus.join(".claude")) {
            for line in fs::read(file).unwrap().split(|b| *b == b'\n') {
                let Ok(record) = serde_json::from_slice::<serde_json::Value>(line) else {
                    continue;
                };
                collect(&record["message"]["content"], &mut sentences);
            }
        }
        for file in files(&corpus.join(".codex")) {
            for line in fs::read(file).unwrap().split(|b| *b == b'\n') {
                let Ok(record) = serde_json::from_slice::<serde_json::Value>(line) else {
                    continue;
                };
                collect(&record["payload"]["message"], &mut sentences);
                collect(&record["payload"]["content"], &mut sentences);
            }
        }
        home.tallyd(&["backfill"]);
        assert_absent(&home, &sentences);
    }
}

/// Takes up to forty bytes from the middle of each long text.
fn collect(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) if text.len() > 80 && text.contains(' ') => {
            let from = text.floor_char_boundary(text.len() / 2);
            let to = text.floor_char_boundary(from + 40);
            let piece = &text[from..to];
            // A path or a name alone may well be stored: it is the project's.
            if piece.matches(' ').count() >= 4 {
                into.push(piece.to_owned());
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        serde_json::Value::Object(map) => {
            for name in ["text", "thinking", "content"] {
                if let Some(value) = map.get(name) {
                    collect(value, into);
                }
            }
        }
        _ => {}
    }
}

fn assert_absent(home: &Home, sentences: &[String]) {
    let data = files(&home.data_dir());
    assert!(data.iter().any(|f| f.ends_with("tallyd.db")), "{data:?}");
    for file in data {
        let bytes = fs::read(&file).unwrap();
        // Every position that begins like one of the sentences, instead of one search for each.
        let mut heads: std::collections::HashMap<&[u8], Vec<&String>> = Default::default();
        for sentence in sentences {
            heads.entry(&sentence.as_bytes()[..8]).or_default().push(sentence);
        }
        for (at, window) in bytes.windows(8).enumerate() {
            for sentence in heads.get(window).into_iter().flatten() {
                assert!(
                    !bytes[at..].starts_with(sentence.as_bytes()),
                    "{} holds {sentence:?}",
                    file.display()
                );
            }
        }
    }
}
