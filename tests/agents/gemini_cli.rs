//! Gemini CLI appends lines, older versions rewrite a document.

use std::fs;

use super::{Followed, SHOP};
use crate::support::{Home, append};

#[test]
fn gemini_cli_is_followed_in_lines_and_in_documents() {
    let home = Home::new();
    home.write(".gemini/tmp/shop/.project_root", SHOP);
    let chats = home.path().join(".gemini/tmp/shop/chats");
    fs::create_dir_all(&chats).unwrap();
    let mut followed = Followed::start(home, "gemini-cli");
    let message = |n: i64, tokens: bool| {
        let tokens = match tokens {
            true => {
                r#","tokens":{"input":1000,"cached":600,"output":50,"thoughts":30,"total":1080}"#
            }
            false => "",
        };
        format!(
            r#"{{"id":"m{n}","timestamp":"2026-06-01T10:00:{n:02}.000Z","type":"gemini","content":"","model":"gemini-3-flash-preview"{tokens}}}"#
        )
    };
    let lines = chats.join("session-2026-06-01T10-00-0b7f1d00.jsonl");
    let head = r#"{"sessionId":"0b7f1d00-0000-4000-8000-000000000001","projectHash":"h","startTime":"2026-06-01T10:00:00.000Z","lastUpdated":"2026-06-01T10:00:00.000Z","kind":"main"}"#;
    append(&lines, format!("{head}\n").as_bytes());
    for n in 1..=6 {
        // It is written again whenever it changes.
        for has_tokens in [false, true, true] {
            append(&lines, format!("{}\n", message(n, has_tokens)).as_bytes());
        }
        followed.see(n);
    }
    let document = chats.join("session-2026-06-02T10-00-0b7f1d01.json");
    for n in 1..=6 {
        let messages: Vec<String> = (1..=n).map(|n| message(n, true)).collect();
        let text = format!(
            r#"{{"sessionId":"0b7f1d01-0000-4000-8000-000000000001","projectHash":"h","startTime":"2026-06-02T10:00:00.000Z","lastUpdated":"2026-06-02T10:00:00.000Z","messages":[{}]}}"#,
            messages.join(",")
        );
        fs::write(&document, text).unwrap();
        followed.see(6 + n);
    }
    assert_eq!(followed.tokens(), 12 * 1_080);
    followed.end(&chats, false);
}
