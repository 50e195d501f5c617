//! Copilot inserts into its store, and appends to its journals.

use std::fs;

use rusqlite::{Connection, params};

use super::{Followed, SHOP, wait_closed};
use crate::support::{Home, append, integer, wait};

fn start(session: &str) -> String {
    format!(
        r#"{{"type":"session.start","data":{{"sessionId":"{session}","copilotVersion":"1.0.80","context":{{"cwd":"{SHOP}"}}}},"id":"s{session}","timestamp":"2026-09-20T08:00:00.000Z","parentId":null}}"#
    )
}

fn shutdown(id: &str, input: u64, output: u64) -> String {
    format!(
        r#"{{"type":"session.shutdown","data":{{"modelMetrics":{{"gpt-5.4":{{"requests":{{"count":1,"cost":1}},"usage":{{"inputTokens":{input},"outputTokens":{output},"cacheReadTokens":0,"cacheWriteTokens":0}}}}}}}},"id":"{id}","timestamp":"2026-09-20T08:02:00.000Z","parentId":null}}"#
    )
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
fn copilot_is_followed_in_its_store_and_where_there_is_none_in_its_journals() {
    const STORED: &str = "c0ffee00-0000-4000-8000-000000000001";
    const OLD: &str = "c0ffee00-0000-4000-8000-000000000002";
    let home = Home::new();
    let folder = home.path().join(".copilot");
    fs::create_dir_all(&folder).unwrap();
    let store = Connection::open(folder.join("session-store.db")).unwrap();
    store
        .execute_batch(
            "PRAGMA journal_mode = wal;
            CREATE TABLE sessions (id TEXT PRIMARY KEY, cwd TEXT);
            CREATE TABLE assistant_usage_events (id INTEGER PRIMARY KEY AUTOINCREMENT,
                session_id TEXT NOT NULL, model TEXT, input_tokens INTEGER, output_tokens INTEGER,
                cache_read_tokens INTEGER, cache_write_tokens INTEGER, total_nano_aiu INTEGER,
                created_at TEXT)",
        )
        .unwrap();
    store.execute("INSERT INTO sessions VALUES (?1, ?2)", [STORED, SHOP]).unwrap();
    let mut followed = Followed::start(home, "github-copilot");
    for n in 1..=10 {
        store
            .execute(
                "INSERT INTO assistant_usage_events (session_id, model, input_tokens, output_tokens,
                    cache_read_tokens, cache_write_tokens, total_nano_aiu, created_at)
                VALUES (?1, 'gpt-5.4', 1000, ?2, 700, 200, 2500000000, ?3)",
                params![STORED, n, format!("2026-09-20T08:00:{n:02}.000Z")],
            )
            .unwrap();
        followed.see(n);
    }
    let journal = |session: &str, records: &[String]| {
        let path = folder.join("session-state").join(session).join("events.jsonl");
        records.iter().for_each(|record| append(&path, format!("{record}\n").as_bytes()));
    };
    // The store has these calls already.
    journal(STORED, &[start(STORED), shutdown("e1", 10_000, 55)]);
    journal(OLD, &[start(OLD), shutdown("e2", 100, 50)]);
    followed.see(11);
    journal(OLD, &[shutdown("e3", 180, 70)]);
    followed.see(12);
    assert_eq!(followed.tokens(), 10 * 1_000 + 55 + 180 + 70);
    let cost = "SELECT sum(cost_nanousd) FROM usage_events WHERE cost_source = 'live'";
    assert_eq!(integer(&followed.db, cost), 250_000_000);
    // A session's million tokens are no request of a million.
    journal(OLD, &[shutdown("e4", 180 + 1_000_000, 70 + 10_000)]);
    followed.see(13);
    let cost = "SELECT sum(cost_nanousd) FROM usage_events WHERE cost_source = 'estimated'";
    assert_eq!(integer(&followed.db, cost), 2_650_000_000);
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM").unwrap();
    drop(store);
    wait_closed(&folder.join("session-store.db"));
    followed.end(&folder, false);
}

/// Whether the store has a session's calls cannot be told while nobody may ask it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
fn a_journal_waits_while_its_store_cannot_be_asked() {
    const SESSION: &str = "c0ffee00-0000-4000-8000-000000000003";
    let home = Home::new();
    let folder = home.path().join(".copilot");
    fs::create_dir_all(&folder).unwrap();
    let store = Connection::open(folder.join("session-store.db")).unwrap();
    store.execute_batch("CREATE TABLE sessions (id TEXT); BEGIN EXCLUSIVE").unwrap();
    let journal = folder.join("session-state").join(SESSION).join("events.jsonl");
    let mut followed = Followed::start(home, "github-copilot");
    append(&journal, format!("{}\n{}\n", start(SESSION), shutdown("e1", 100, 50)).as_bytes());
    let error = "SELECT count(*) FROM source_checkpoint WHERE path LIKE '%events.jsonl'
        AND last_error LIKE '%what stands beside it cannot be read%session-store.db%'";
    wait("the reason to be told", || integer(&followed.db, error) == 1);
    assert_eq!(integer(&followed.db, "SELECT count(*) FROM usage_events"), 0);
    store.execute_batch("ROLLBACK").unwrap();
    drop(store);
    followed.see(1);
    wait("the reason to be forgotten", || integer(&followed.db, error) == 0);
    assert_eq!(followed.tokens(), 150);
}
