//! Cline rewrites documents: by rename, at once, or in steps.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use super::{Followed, SHOP};
use crate::support::{Home, integer, wait};

/// A session of Cline with so many answers.
fn cline_session(id: &str, answers: i64) -> String {
    let answer = |n: i64| {
        format!(
            r#"{{"id":"msg_{n}","role":"assistant","content":[{{"type":"text","text":"{}"}}],"ts":{},"modelInfo":{{"id":"anthropic/claude-opus-5","provider":"cline"}},"metrics":{{"inputTokens":1000,"outputTokens":{n},"cacheReadTokens":900,"cacheWriteTokens":0,"cost":0.01}}}}"#,
            "x".repeat(9_000),
            1_788_256_790_000 + n,
        )
    };
    let answers: Vec<String> = (1..=answers).map(answer).collect();
    format!(
        r#"{{"version":1,"agent":"lead","sessionId":"{id}","messages":[{}]}}"#,
        answers.join(",")
    )
}

#[test]
fn cline_is_followed_through_saves_by_rename() {
    const ID: &str = "1788256790000_shop1";
    let home = Home::new();
    let folder = home.path().join(".cline/data/sessions").join(ID);
    fs::create_dir_all(&folder).unwrap();
    let manifest = format!(r#"{{"session_id":"{ID}","cwd":"{SHOP}","workspace_root":"{SHOP}"}}"#);
    fs::write(folder.join(format!("{ID}.json")), manifest).unwrap();
    let mut followed = Followed::start(home, "cline");
    let path = folder.join(format!("{ID}.messages.json"));
    for n in 1..=10 {
        let new = folder.join("new.tmp");
        fs::write(&new, cline_session(ID, n)).unwrap();
        fs::rename(&new, &path).unwrap();
        followed.see(n);
    }
    assert_eq!(followed.tokens(), (1..=10).map(|n| 1_000 + n).sum::<i64>());
    let cost = "SELECT sum(cost_nanousd) FROM usage_events WHERE cost_source = 'live'";
    assert_eq!(integer(&followed.db, cost), 100_000_000);
    // An edit takes messages away; what they cost stays spent.
    fs::write(&path, cline_session(ID, 4)).unwrap();
    fs::write(&path, cline_session(ID, 11)).unwrap();
    followed.see(11);
    fs::write(&path, cline_session(ID, 3)).unwrap();
    followed.end(&folder, true);
}

#[test]
fn h05_a_task_rewritten_in_steps_counts_once_it_is_whole() {
    const ID: &str = "1770000000000";
    let home = Home::new();
    let task = |answers: i64| {
        let entry = |n: i64| {
            format!(
                r#"{{"ts":{},"type":"say","say":"api_req_started","text":"{{\"request\":\"{}\",\"tokensIn\":10,\"tokensOut\":{n},\"cacheWrites\":0,\"cacheReads\":5,\"cost\":0.02}}","modelInfo":{{"providerId":"anthropic","modelId":"claude-opus-5"}}}}"#,
                1_770_000_000_000 + n,
                "y".repeat(6_000),
            )
        };
        let entries: Vec<String> = (1..=answers).map(entry).collect();
        format!("[{}]", entries.join(","))
    };
    // An editor nobody has heard of.
    let extension = ".config/Code - Brandnew/User/globalStorage/saoudrizwan.claude-dev";
    let mut followed = Followed::start(home, "cline");
    let folder = followed.home.path().join(extension).join("tasks").join(ID);
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ui_messages.json");
    for n in 1..=5 {
        let mut file = File::create(&path).unwrap();
        for step in task(n).as_bytes().chunks(4 << 10) {
            file.write_all(step).unwrap();
            std::thread::park_timeout(Duration::from_millis(30));
        }
        followed.see(n);
    }
    assert_eq!(followed.tokens(), (1..=5).map(|n| 15 + n).sum::<i64>());
    let faults = "SELECT count(*) FROM source_checkpoint WHERE skips <> '{}' OR last_error <> ''";
    wait("the faults to be forgotten", || integer(&followed.db, faults) == 0);
    followed.end(&folder, false);
}
