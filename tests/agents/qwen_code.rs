//! Qwen Code appends to a transcript and to a ledger at once, and branches a session.

use std::fs;

use super::{Followed, SHOP};
use crate::support::{Home, append, integer};

fn record(session: &str, n: i64, more: &str) -> String {
    format!(
        r#"{{"uuid":"{n}{more_len}","parentUuid":null,"sessionId":"{session}","timestamp":"2026-08-03T10:00:{n:02}.000Z","cwd":"{SHOP}","version":"0.18.1",{more}}}"#,
        more_len = more.len()
    )
}

/// What the transcript notes of a call.
fn note(session: &str, n: i64) -> String {
    let event = format!(
        r#""type":"system","subtype":"ui_telemetry","systemPayload":{{"uiEvent":{{"event.name":"qwen-code.api_response","model":"qwen3-coder-plus","duration_ms":{n},"input_token_count":1000,"output_token_count":50,"cached_content_token_count":600,"thoughts_token_count":30,"total_token_count":1050,"prompt_id":"{session}########0","auth_type":"openai"}}}}"#
    );
    record(session, n, &event)
}

fn answer(session: &str, n: i64) -> String {
    let usage = r#""type":"assistant","model":"qwen3-coder-plus","usageMetadata":{"promptTokenCount":1000,"candidatesTokenCount":50,"cachedContentTokenCount":600,"thoughtsTokenCount":30,"totalTokenCount":1050}"#;
    record(session, n, usage)
}

/// What the ledger says of a call.
fn entry(session: &str, n: i64, feature: &str) -> String {
    format!(
        r#"{{"schemaVersion":1,"id":"{session}{n}","timestamp":"2026-08-03T10:00:{n:02}.000Z","sessionId":"{session}","model":"qwen3-coder-plus","authType":"openai","source":"{feature}","feature":"{feature}","usageStatus":"reported","inputTokens":1000,"outputTokens":50,"cachedTokens":600,"thoughtsTokens":30,"totalTokens":1050,"apiDurationMs":{n}}}"#
    )
}

#[test]
fn qwen_code_is_followed_in_transcripts_and_in_the_ledger() {
    const S: &str = "5e550000-0000-4000-8000-000000000001";
    const BRANCH: &str = "5e550000-0000-4000-8000-000000000002";
    let home = Home::new();
    let folder = home.path().join(".qwen");
    let chats = folder.join("projects/-home-ada-shop/chats");
    fs::create_dir_all(&chats).unwrap();
    fs::create_dir_all(folder.join("usage")).unwrap();
    let ledger = folder.join("usage/token-usage-2026-08.jsonl");
    let chat = |session: &str| chats.join(format!("{session}.jsonl"));
    let mut followed = Followed::start(home, "qwen-code");
    for n in 1..=6 {
        // Whichever comes first says it all.
        let in_transcript = format!("{}\n{}\n", note(S, n), answer(S, n));
        let in_ledger = format!("{}\n", entry(S, n, "main"));
        if n % 2 == 0 {
            append(&chat(S), in_transcript.as_bytes());
            followed.see(n);
            append(&ledger, in_ledger.as_bytes());
        } else {
            append(&ledger, in_ledger.as_bytes());
            followed.see(n);
            append(&chat(S), in_transcript.as_bytes());
        }
    }
    // A call on the side, then a session that is branched and goes on.
    append(&ledger, format!("{}\n", entry(S, 7, "side_query")).as_bytes());
    followed.see(7);
    let from = format!(r#"{{"sessionId":"{S}","messageUuid":"x"}}"#);
    let copied: Vec<String> = fs::read_to_string(chat(S))
        .unwrap()
        .lines()
        .map(|line| {
            let own = line.replacen(
                &format!(r#""sessionId":"{S}""#),
                &format!(r#""sessionId":"{BRANCH}""#),
                1,
            );
            format!("{},\"forkedFrom\":{from}}}\n", own.strip_suffix('}').unwrap())
        })
        .collect();
    let staged = chats.join(format!(".{BRANCH}.tmp"));
    fs::write(&staged, copied.concat()).unwrap();
    fs::hard_link(&staged, chat(BRANCH)).unwrap();
    fs::remove_file(&staged).unwrap();
    append(&chat(BRANCH), format!("{}\n", note(BRANCH, 8)).as_bytes());
    followed.see(8);
    append(&ledger, format!("{}\n", entry(BRANCH, 8, "main")).as_bytes());
    // A session of its own, of which there is no transcript.
    append(&ledger, format!("{}\n", entry(BRANCH, 9, "main")).as_bytes());
    followed.see(9);
    assert_eq!(followed.tokens(), 9 * 1_050);
    let projects = "SELECT count(DISTINCT project_id) FROM usage_events";
    assert_eq!(integer(&followed.db, projects), 1);
    followed.end(&folder, false);
}
