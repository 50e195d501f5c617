//! Kilo Code holds its database open, as OpenCode does; its old extension saved tasks by rename.

use std::fs;

use super::opencode::OpenCode;
use super::{Followed, SHOP};
use crate::support::Home;

/// A task of the old extension with so many requests, the last of which has not ended yet.
fn task(requests: i64) -> String {
    let entry = |n: i64| {
        let figures = match n < requests {
            true => format!(
                r#",\"tokensIn\":1000,\"tokensOut\":{n},\"cacheWrites\":0,\"cacheReads\":900,\"cost\":0.01"#
            ),
            false => String::new(),
        };
        format!(
            r##"{{"ts":{},"type":"say","say":"api_req_started","text":"{{\"request\":\"{} # Current Workspace Directory ({SHOP}) Files\",\"apiProtocol\":\"anthropic\"{figures}}}"}}"##,
            1_770_000_000_000 + n,
            "y".repeat(6_000),
        )
    };
    let entries: Vec<String> = (1..=requests).map(entry).collect();
    format!("[{}]", entries.join(","))
}

#[test]
fn kilo_code_is_followed_in_its_database_and_in_its_old_tasks() {
    let home = Home::new();
    let data = home.path().join(".local/share/kilo");
    let extension = ".config/VSCodium/User/globalStorage/kilocode.kilo-code";
    let folder = home.path().join(extension).join("tasks/5e550000-0000-4000-8000-000000000001");
    let mut kilo = OpenCode::open_at(&data.join("kilo.db"));
    let mut followed = Followed::start(home, "kilo-code");
    for n in 1..=12 {
        kilo.call();
        followed.see(n);
        match n % 4 {
            1 => kilo.checkpoint(),
            2 => kilo.db.execute_batch("VACUUM").unwrap(),
            _ => {}
        }
    }
    assert_eq!(followed.tokens(), (1..=12).map(|n| 100 + n).sum::<i64>());
    fs::create_dir_all(&folder).unwrap();
    for n in 1..=6 {
        fs::write(folder.join("new.tmp"), task(n + 1)).unwrap();
        fs::rename(folder.join("new.tmp"), folder.join("ui_messages.json")).unwrap();
        followed.see(12 + n);
    }
    let of_tasks = (1..=6).map(|n| 1_000 + n).sum::<i64>();
    assert_eq!(followed.tokens(), (1..=12).map(|n| 100 + n).sum::<i64>() + of_tasks);
    drop(kilo);
    followed.end(&data, false);
}
