//! Kimi Code and Kimi CLI append lines to a file for each agent, and copy them into forks.

use std::fs;
use std::path::PathBuf;

use super::{Followed, SHOP};
use crate::support::{Home, append, integer};

const CODE: &str = ".kimi-code/sessions/wd_shop_0123456789ab";
/// Named after the hash of the shop's directory.
const CLI: &str = ".kimi/sessions/d38bf5735f170ef41516b14f483f6863";

/// What Kimi Code writes of a turn: what was asked for, the request, what was said, what it took.
fn turn(n: i64) -> String {
    let ms = 1_788_256_800_000 + n * 1_000;
    let said = "x".repeat(9_000);
    format!(
        r#"{{"type":"turn.prompt","input":[{{"type":"text","text":"Go on."}}],"origin":{{"kind":"user"}},"time":{ms}}}
{{"type":"llm.request","kind":"loop","provider":"kimi","model":"kimi-k2.6","modelAlias":"mine","time":{ms}}}
{{"type":"context.append_loop_event","event":{{"type":"content.part","part":{{"type":"text","text":"{said}"}}}},"time":{ms}}}
{{"type":"usage.record","model":"mine","usage":{{"inputOther":100,"output":{n},"inputCacheRead":900,"inputCacheCreation":0}},"usageScope":"turn","time":{}}}
"#,
        ms + 500
    )
}

/// What Kimi CLI writes of one.
fn step(n: i64) -> String {
    let seconds = 1_788_256_800 + n;
    format!(
        r#"{{"timestamp": {seconds}.25, "message": {{"type": "TurnBegin", "payload": {{"user_input": "Go on."}}}}}}
{{"timestamp": {seconds}.5, "message": {{"type": "StatusUpdate", "payload": {{"token_usage": {{"input_other": 100, "output": {n}, "input_cache_read": 900, "input_cache_creation": 0}}, "message_id": "chatcmpl-{n:016}"}}}}}}
"#
    )
}

fn file(home: &Home, path: &str) -> PathBuf {
    let path = home.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

#[test]
fn kimi_is_followed_in_both_its_forms() {
    let home = Home::new();
    let project = format!(r#"{{"work_dirs":[{{"path":"{SHOP}","kaos":"local"}}]}}"#);
    home.write(".kimi/kimi.json", project);
    home.write(".kimi/config.toml", "default_model = \"m\"\n\n[models.m]\nmodel = \"kimi-k2.6\"\n");
    home.write(&format!("{CODE}/s/state.json"), format!(r#"{{"workDir":"{SHOP}"}}"#));
    home.write(&format!("{CLI}/keep"), "");
    let mut followed = Followed::start(home, "kimi");
    let main = file(&followed.home, &format!("{CODE}/s/agents/main/wire.jsonl"));
    for n in 1..=5 {
        append(&main, turn(n).as_bytes());
        followed.see(n);
    }
    append(
        &file(&followed.home, &format!("{CODE}/s/agents/agent-0/wire.jsonl")),
        turn(11).as_bytes(),
    );
    followed.see(6);
    // A fork, whose id comes first.
    let state = r#"{"cwd":"/home/ada/mill","createdAt":1788256830000,"forkedFrom":"s"}"#;
    followed.home.write(&format!("{CODE}/a/state.json"), state);
    let fork = file(&followed.home, &format!("{CODE}/a/agents/main/wire.jsonl"));
    fs::copy(&main, &fork).unwrap();
    append(&fork, turn(40).as_bytes());
    followed.see(7);
    // The form before, with a fork that nothing marks.
    let old = file(&followed.home, &format!("{CLI}/b/wire.jsonl"));
    for n in 51..=54 {
        append(&old, step(n).as_bytes());
        followed.see(n - 43);
    }
    fs::copy(&old, file(&followed.home, &format!("{CLI}/c/wire.jsonl"))).unwrap();
    append(&followed.home.path().join(CLI).join("c/wire.jsonl"), step(55).as_bytes());
    followed.see(12);
    assert_eq!(followed.tokens(), 12_000 + 15 + 11 + 40 + (51..=55).sum::<i64>());
    let count = |what: &str| {
        integer(&followed.db, &format!("SELECT count(*) FROM usage_events WHERE {what}"))
    };
    assert_eq!(count("role = 'user'"), 5 + 1 + 5);
    assert_eq!(count("role = 'assistant' AND session_id = 's'"), 6);
    assert_eq!(count("role = 'assistant' AND model = 'kimi-k2.6' AND cost_nanousd > 0"), 12);
    let of_shop = format!(
        "SELECT count(*) FROM usage_events e JOIN projects p ON p.id = e.project_id WHERE p.path = '{SHOP}'"
    );
    assert_eq!(integer(&followed.db, &of_shop), 23 - 2);
    let folder = followed.home.path().join(".kimi-code");
    followed.end(&folder, false);
}
