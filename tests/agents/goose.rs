//! Goose adds a row to its ledger for each request, and to the counters of its session before there
//! was one.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, params};

use super::{Followed, SHOP};
use crate::support::{Home, integer};

/// Goose, and the database that it holds open.
struct Goose {
    db: Connection,
    time: i64,
}

impl Goose {
    #[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
    fn open(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let db = Connection::open(folder.join("sessions.db")).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = wal;
            CREATE TABLE sessions (id TEXT PRIMARY KEY, working_dir TEXT NOT NULL,
                created_at TIMESTAMP, updated_at TIMESTAMP, accumulated_input_tokens INTEGER,
                accumulated_output_tokens INTEGER, provider_name TEXT, model_config_json TEXT);
            CREATE INDEX idx_sessions_updated ON sessions (updated_at DESC);
            CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT,
                session_id TEXT, role TEXT, content_json TEXT, created_timestamp INTEGER)",
        )
        .unwrap();
        Self { db, time: 1_788_249_600 }
    }

    /// What an update of the agent does to its database.
    fn migrate(&self) {
        self.db
            .execute_batch(
                "BEGIN IMMEDIATE;
                CREATE TABLE usage_ledger (id INTEGER PRIMARY KEY AUTOINCREMENT,
                    session_id TEXT NOT NULL, created_timestamp INTEGER NOT NULL, model TEXT,
                    input_tokens INTEGER, output_tokens INTEGER, total_tokens INTEGER,
                    cache_read_tokens INTEGER, cache_write_tokens INTEGER, cost REAL,
                    cost_source TEXT, is_compaction INTEGER DEFAULT 0);
                CREATE INDEX idx_usage_ledger_session ON usage_ledger (session_id);
                ALTER TABLE sessions ADD COLUMN accumulated_cache_read_tokens INTEGER;
                ALTER TABLE sessions ADD COLUMN accumulated_cache_write_tokens INTEGER;
                COMMIT",
            )
            .unwrap();
    }

    fn begin(&self, session: &str) {
        let insert = "INSERT INTO sessions (id, working_dir, created_at, updated_at, provider_name,
                model_config_json)
            VALUES (?1, ?2, datetime(?3, 'unixepoch'), datetime(?3, 'unixepoch'), 'anthropic',
                '{\"model_name\":\"claude-sonnet-4-5\"}')";
        self.db.execute(insert, params![session, SHOP, self.time]).unwrap();
        let insert = "INSERT INTO messages (message_id, session_id, role, content_json,
                created_timestamp)
            VALUES ('msg_' || ?1, ?1, 'user', '[{\"type\":\"text\",\"text\":\"hello\"}]', ?2)";
        self.db.execute(insert, params![session, self.time]).unwrap();
    }

    /// A version without a ledger adds a request to the counters.
    fn add(&mut self, session: &str, input: i64, output: i64) {
        self.time += 1;
        let update = "UPDATE sessions SET updated_at = datetime(?4, 'unixepoch'),
                accumulated_input_tokens = ifnull(accumulated_input_tokens, 0) + ?2,
                accumulated_output_tokens = ifnull(accumulated_output_tokens, 0) + ?3
            WHERE id = ?1";
        self.db.execute(update, params![session, input, output, self.time]).unwrap();
    }

    /// A version with a ledger puts into it what the counters are ahead by, and then the request.
    fn record(&mut self, session: &str, input: i64, output: i64) {
        let carry = "INSERT INTO usage_ledger (session_id, created_timestamp, input_tokens,
                output_tokens, total_tokens, cost_source)
            SELECT id, ?2, accumulated_input_tokens - inputs, accumulated_output_tokens - outputs,
                0, 'carried_forward'
            FROM sessions, (SELECT ifnull(sum(input_tokens), 0) AS inputs,
                ifnull(sum(output_tokens), 0) AS outputs FROM usage_ledger WHERE session_id = ?1)
            WHERE id = ?1 AND accumulated_input_tokens > inputs";
        self.db.execute_batch("BEGIN IMMEDIATE").unwrap();
        self.db.execute(carry, params![session, self.time]).unwrap();
        self.add(session, input, output);
        let insert = "INSERT INTO usage_ledger (session_id, created_timestamp, model, input_tokens,
                output_tokens, total_tokens, cache_read_tokens, cache_write_tokens, cost,
                cost_source)
            VALUES (?1, ?4, 'claude-sonnet-4-5', ?2, ?3, ?2 + ?3, 0, 0, 0.25,
                'provider_reported')";
        self.db.execute(insert, params![session, input, output, self.time]).unwrap();
        self.db.execute_batch("COMMIT").unwrap();
    }
}

#[test]
fn goose_is_followed_in_its_ledger_and_before_that_in_its_counters() {
    let home = Home::new();
    let folder = home.path().join(".local/share/goose/sessions");
    let mut goose = Goose::open(&folder);
    goose.begin("20260901_1");
    goose.add("20260901_1", 1_000, 100);
    let mut followed = Followed::start(home, "goose");
    followed.see(1);
    for n in 2..=6 {
        goose.add("20260901_1", 100, n);
        followed.see(n);
    }
    goose.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM").unwrap();
    goose.migrate();
    goose.begin("20260901_2");
    for n in 7..=10 {
        goose.record("20260901_2", 200, n);
        followed.see(n);
    }
    // All that is carried forward was counted as it was added.
    goose.record("20260901_1", 10, 1);
    followed.see(11);
    let counted = 1_000 + 100 + 500 + (2 + 3 + 4 + 5 + 6) + 800 + (7 + 8 + 9 + 10) + 11;
    assert_eq!(followed.tokens(), counted);
    // A version without a ledger once more: what it adds is counted when it is carried forward.
    goose.add("20260901_1", 3_000, 30);
    goose.record("20260901_1", 10, 1);
    followed.see(13);
    assert_eq!(followed.tokens(), counted + 3_030 + 11);
    let cost = "SELECT sum(cost_nanousd) FROM usage_events WHERE cost_source = 'live'";
    assert_eq!(integer(&followed.db, cost), 6 * 250_000_000);
    let prompts = "SELECT sum(user_message_count) FROM provider_day_mart WHERE provider = 'goose'";
    assert_eq!(integer(&followed.db, prompts), 2);
    drop(goose);
    // Rows that were counted as they were added cannot be told apart any more.
    followed.end(&folder, true);
}

/// Counters that were counted are not counted again when nothing is remembered of them.
#[test]
fn goose_is_read_anew_and_nothing_counts_twice() {
    let mut home = Home::new();
    let folder = home.path().join(".local/share/goose/sessions");
    let mut goose = Goose::open(&folder);
    for n in 1..=3 {
        let session = format!("20260501_{n}");
        goose.begin(&session);
        goose.add(&session, 1_000 * n, 100);
    }
    home.tallyd(&["backfill"]);
    let tokens = "SELECT sum(input_tokens + output_tokens) FROM usage_events";
    let calls = "SELECT sum(message_count) FROM daily_mart";
    let sums = |home: &mut Home| {
        let db = home.database();
        (integer(&db, tokens), integer(&db, calls))
    };
    assert_eq!(sums(&mut home), (6_300, 3));
    home.tallyd(&["backfill", "--force"]);
    assert_eq!(sums(&mut home), (6_300, 3));
    goose.add("20260501_1", 50, 5);
    goose.migrate();
    goose.record("20260501_2", 10, 1);
    home.tallyd(&["backfill", "--force"]);
    // What was carried forward was all stored.
    assert_eq!(sums(&mut home), (6_300 + 55 + 11, 5));
    home.tallyd(&["backfill", "--force"]);
    assert_eq!(sums(&mut home), (6_300 + 55 + 11, 5));
    // The database is moved: it is a source of which nothing was read.
    drop(goose);
    let moved = home.path().join("old/goose/sessions");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    fs::rename(&folder, &moved).unwrap();
    let config = format!("[providers.goose]\nroots = [{:?}]\n", moved.parent().unwrap());
    home.write(".config/tallyd/config.toml", &config);
    home.tallyd(&["backfill"]);
    assert_eq!(sums(&mut home), (6_300 + 55 + 11, 5));
    home.tallyd(&["check"]);
}
