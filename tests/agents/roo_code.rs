//! Roo Code saves a task whole under another name, and then puts it in its place.

use std::fs;
use std::path::Path;

use super::{Followed, SHOP};
use crate::support::{Home, integer};

/// A task with so many requests that have ended, and one that has not.
fn task(requests: i64) -> String {
    let entry = |n: i64| {
        let figures = match n <= requests {
            true => format!(
                r#",\"tokensIn\":1000,\"tokensOut\":{n},\"cacheWrites\":0,\"cacheReads\":900,\"cost\":0.01"#
            ),
            false => String::new(),
        };
        format!(
            r#"{{"ts":{},"type":"say","say":"api_req_started","text":"{{\"request\":\"{}\",\"apiProtocol\":\"anthropic\"{figures}}}"}}"#,
            1_770_000_000_000 + n,
            "y".repeat(6_000),
        )
    };
    let entries: Vec<String> = (1..=requests + 1).map(entry).collect();
    format!("[{}]", entries.join(","))
}

/// Saves a task with so many requests as the agent does.
pub(super) fn save(folder: &Path, requests: i64) {
    fs::create_dir_all(folder).unwrap();
    let item = format!(r#"{{"id":"t","workspace":"{SHOP}"}}"#);
    fs::write(folder.join("history_item.json"), item).unwrap();
    let new = folder.join(".ui_messages.json.new_1.tmp");
    fs::write(&new, task(requests)).unwrap();
    fs::rename(new, folder.join("ui_messages.json")).unwrap();
}

#[test]
fn roo_code_is_followed_through_saves_by_rename() {
    let home = Home::new();
    // An editor nobody has heard of.
    let extension = ".config/Code - Brandnew/User/globalStorage/zoocodeorganization.zoo-code";
    let mut followed = Followed::start(home, "roo-code");
    let folder = followed.home.path().join(extension).join("tasks/t");
    for n in 1..=10 {
        save(&folder, n);
        followed.see(n);
    }
    // The cache is part of the input: 900 of 1000 are told once.
    assert_eq!(followed.tokens(), (1..=10).map(|n| 1_000 + n).sum::<i64>());
    let cost = "SELECT sum(cost_nanousd) FROM usage_events WHERE cost_source = 'live'";
    assert_eq!(integer(&followed.db, cost), 100_000_000);
    // A rewind takes requests away; what they cost stays spent.
    save(&folder, 4);
    save(&folder, 11);
    followed.see(11);
    followed.end(&folder, false);
}
