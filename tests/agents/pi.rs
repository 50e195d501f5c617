//! Pi appends entries to a file for each session, copies them into forks, and writes a file of an older
//! version anew. OMP, made from it, also writes over the first line of a file that it appends to.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{Followed, SHOP};
use crate::support::{Home, append, integer};

const PI: &str = ".pi/agent/sessions/--home-ada-shop--";
const OMP: &str = ".omp/agent/sessions/-shop";

fn header(id: &str, more: &str) -> String {
    format!(
        r#"{{"type":"session","version":3,"id":"{id}","timestamp":"2026-09-01T10:00:00.000Z","cwd":"{SHOP}"{more}}}"#
    ) + "\n"
}

/// What a person asks, what the agent answers, and what a tool says, at second `n`.
fn turn(n: i64) -> String {
    let ms = 1_788_256_800_000 + n * 1_000;
    let entry = |part: i64, message: &str| {
        let id = n * 10 + part;
        format!(
            r#"{{"type":"message","id":"{id:08x}","parentId":"{:08x}","timestamp":"2026-09-01T10:00:{n:02}.100Z","message":{{{message},"timestamp":{}}}}}"#,
            id - 1,
            ms + part,
        ) + "\n"
    };
    let prompt = entry(1, r#""role":"user","content":[{"type":"text","text":"Go on."}]"#);
    let usage = format!(
        r#"{{"input":100,"output":{n},"cacheRead":900,"cacheWrite":0,"totalTokens":{},"cost":{{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"total":0.01}}}}"#,
        1_000 + n
    );
    let call = entry(
        2,
        &format!(
            r#""role":"assistant","content":[{{"type":"text","text":"{}"}}],"api":"anthropic-messages","provider":"anthropic","model":"claude-opus-5","usage":{usage},"stopReason":"toolUse""#,
            "x".repeat(9_000)
        ),
    );
    let result = entry(3, r#""role":"toolResult","toolCallId":"t","content":[],"isError":false"#);
    prompt + &call + &result
}

fn session(home: &Home, folder: &str, id: &str) -> PathBuf {
    let folder = home.path().join(folder);
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("2026-09-01T10-00-00-000Z_{id}.jsonl"))
}

fn write(path: &Path, lines: &[String]) {
    lines.iter().for_each(|line| append(path, line.as_bytes()));
}

fn owner_of_call(followed: &Followed, output: i64) -> String {
    let sql = "SELECT session_id FROM usage_events WHERE output_tokens = ?1";
    followed.db.query_row(sql, [output], |row| row.get(0)).unwrap()
}

#[test]
fn pi_is_followed_through_forks_and_a_migration() {
    let home = Home::new();
    fs::create_dir_all(home.path().join(PI)).unwrap();
    let mut followed = Followed::start(home, "pi");
    // Nothing is written before the first answer is there.
    let original = session(&followed.home, PI, "bbbb");
    write(&original, &[header("bbbb", ""), turn(1)]);
    followed.see(1);
    for n in 2..=6 {
        append(&original, turn(n).as_bytes());
        followed.see(n);
    }
    // Its id comes first: that alone must not make it the owner of what it copies.
    let fork = session(&followed.home, PI, "aaaa");
    let from = format!(r#","parentSession":"{}""#, original.display());
    let head = header("aaaa", &from).replace("10:00:00", "10:00:30");
    write(&fork, &[head, turn(1), turn(2), turn(3), turn(31)]);
    followed.see(7);
    assert_eq!(owner_of_call(&followed, 3), "bbbb");
    assert_eq!(owner_of_call(&followed, 31), "aaaa");
    // An older file, whose entries have no ids, is given some when it is opened.
    let old = session(&followed.home, PI, "cccc");
    let without_ids = |turn: String| {
        let lines = turn.lines().map(|line| {
            let (head, tail) = line.split_once(r#","id""#).unwrap();
            format!("{head},{}\n", tail.split_once(r#","#).unwrap().1.split_once(',').unwrap().1)
        });
        lines.collect::<String>()
    };
    let head = header("cccc", "").replace(r#""version":3,"#, "");
    write(&old, &[head, without_ids(turn(41)), without_ids(turn(42))]);
    followed.see(9);
    fs::write(&old, header("cccc", "") + &turn(41) + &turn(42) + &turn(43)).unwrap();
    followed.see(10);
    let prompts = "SELECT count(*) FROM usage_events WHERE role = 'user'";
    assert_eq!(integer(&followed.db, prompts), 10);
    assert_eq!(followed.tokens(), 10 * 1_000 + (1..=6).sum::<i64>() + 31 + 41 + 42 + 43);
    let folder = followed.home.path().join(".pi");
    followed.end(&folder, false);
}

#[test]
fn omp_is_followed_though_it_writes_over_its_titles() {
    let home = Home::new();
    fs::create_dir_all(home.path().join(OMP)).unwrap();
    let mut followed = Followed::start(home, "pi");
    let title = |title: &str| {
        let text = format!(r#"{{"type":"title","v":1,"title":"{title}","pad":""#);
        format!("{text:_<253}\"}}\n")
    };
    let path = session(&followed.home, OMP, "dddd");
    write(&path, &[title("New"), header("dddd", ""), turn(1)]);
    followed.see(1);
    let file = fs::File::options().write(true).open(&path).unwrap();
    for n in 2..=5 {
        file.write_all_at(title(&format!("Bills {n}")).as_bytes(), 0).unwrap();
        append(&path, turn(n).as_bytes());
        followed.see(n);
    }
    // What a subagent is asked is no prompt, and what it does belongs to the session.
    let folder = path.with_extension("");
    fs::create_dir(&folder).unwrap();
    write(&folder.join("Scout.jsonl"), &[title("Look"), header("eeee", ""), turn(51), turn(52)]);
    followed.see(7);
    assert_eq!(owner_of_call(&followed, 52), "dddd");
    let prompts = "SELECT count(*) FROM usage_events WHERE role = 'user'";
    assert_eq!(integer(&followed.db, prompts), 5);
    let folder = followed.home.path().join(".omp");
    followed.end(&folder, false);
}
