//! OpenClaw appends to files, takes them over into a database, and goes on there.

use std::fs;

use rusqlite::{Connection, params};

use super::{Followed, SHOP};
use crate::support::{Home, append, integer};

#[test]
#[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
fn openclaw_is_followed_from_its_files_into_its_database() {
    const S: &str = "c1a50000-0000-4000-8000-000000000001";
    let home = Home::new();
    let folder = home.path().join(".openclaw");
    let agent = folder.join("agents/main");
    for name in ["sessions", "session-sqlite-import-archive", "agent"] {
        fs::create_dir_all(agent.join(name)).unwrap();
    }
    let mut followed = Followed::start(home, "openclaw");
    let header = format!(
        r#"{{"type":"session","version":3,"id":"{S}","timestamp":"2026-08-01T10:00:00.000Z","cwd":"{SHOP}"}}"#
    );
    let call = |n: i64| {
        format!(
            r#"{{"type":"message","id":"{n:08}","parentId":null,"timestamp":"2026-08-01T10:00:{n:02}.000Z","message":{{"role":"assistant","api":"anthropic-messages","provider":"anthropic","model":"claude-opus-4-5","usage":{{"input":100,"output":{n},"cacheRead":600,"cacheWrite":300,"totalTokens":1000,"cost":{{"total":0.002}}}},"stopReason":"stop","timestamp":{ms}}}}}"#,
            ms = 1_785_578_400_000 + n * 1000
        )
    };
    let file = agent.join("sessions").join(format!("{S}.jsonl"));
    append(&file, format!("{header}\n").as_bytes());
    for n in 1..=5 {
        append(&file, format!("{}\n", call(n)).as_bytes());
        followed.see(n);
    }
    // It is upgraded: the file is taken over, and put away.
    let store = Connection::open(agent.join("agent/openclaw-agent.sqlite")).unwrap();
    store
        .execute_batch(
            "PRAGMA journal_mode = wal;
            CREATE TABLE transcript_events (session_id TEXT NOT NULL, seq INTEGER NOT NULL,
                event_json TEXT NOT NULL, created_at INTEGER NOT NULL,
                PRIMARY KEY (session_id, seq)) STRICT",
        )
        .unwrap();
    let insert = |seq: i64, event: &str| {
        let row = params![S, seq, event, 1_785_578_400_000_i64];
        store.execute("INSERT INTO transcript_events VALUES (?1, ?2, ?3, ?4)", row).unwrap();
    };
    insert(0, &header);
    (1..=5).for_each(|n| insert(n, &call(n)));
    let archive = agent.join("session-sqlite-import-archive");
    fs::rename(&file, archive.join(format!("main.{S}.jsonl.imported-1788256800000"))).unwrap();
    for n in 6..=10 {
        insert(n, &call(n));
        followed.see(n);
    }
    // The end of the session is written anew.
    store.execute("DELETE FROM transcript_events WHERE seq > 8", []).unwrap();
    insert(9, &call(9));
    insert(10, &call(11));
    followed.see(11);
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM").unwrap();
    insert(11, &call(12));
    followed.see(12);
    assert_eq!(followed.tokens(), 12 * 1_000 + (1..=12).sum::<i64>());
    let cost = "SELECT sum(cost_nanousd) FROM usage_events WHERE cost_source = 'live'";
    assert_eq!(integer(&followed.db, cost), 12 * 2_000_000);
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(store);
    // The tenth call is nowhere any more.
    followed.end(&folder, true);
}
