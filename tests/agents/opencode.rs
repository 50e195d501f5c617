//! OpenCode holds its database open, in WAL mode, and fills messages in place.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{Followed, SHOP, SOON, listing, wait_closed};
use crate::support::{Home, Service, integer, wait};

/// OpenCode, or an agent that keeps its data as it does, and the database that it holds open.
pub(super) struct OpenCode {
    pub(super) db: Connection,
    calls: i64,
}

impl OpenCode {
    const START_MS: i64 = 1_780_000_000_000;

    fn open(home: &Home) -> Self {
        Self::open_at(&home.path().join(".local/share/opencode/opencode.db"))
    }

    #[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
    pub(super) fn open_at(path: &Path) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let is_new = !path.exists();
        let db = Connection::open(path).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.execute_batch("PRAGMA journal_mode = wal; PRAGMA synchronous = normal").unwrap();
        if is_new {
            db.execute_batch(
                "CREATE TABLE session (id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT,
                    directory TEXT, time_created INTEGER);
                CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL,
                    time_created INTEGER, time_updated INTEGER, data TEXT NOT NULL);
                CREATE INDEX m ON message (session_id, time_created, id);
                CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT NOT NULL,
                    session_id TEXT, time_created INTEGER, time_updated INTEGER, data TEXT);
                CREATE INDEX p ON part (message_id, id);",
            )
            .unwrap();
            let session = "INSERT INTO session VALUES ('ses_1', 'p', NULL, ?1, ?2)";
            db.execute(session, params![SHOP, Self::START_MS]).unwrap();
        }
        Self { db, calls: 0 }
    }

    /// A message comes into being empty and is filled in step by step.
    fn begin_call(&mut self) -> i64 {
        self.calls += 1;
        let n = self.calls;
        let at = Self::START_MS + n * 1_000;
        let insert = "INSERT INTO message VALUES (?1, 'ses_1', ?2, ?2, ?3)";
        let row = params![format!("msg_{n:05}"), at, Self::message(n, at, false)];
        self.db.execute(insert, row).unwrap();
        n
    }

    fn end_call(&self, n: i64) {
        let at = Self::START_MS + n * 1_000;
        let step = format!(
            r#"{{"type":"step-finish","reason":"stop","cost":0.01,"tokens":{{"total":{},"input":100,"output":{n},"reasoning":0,"cache":{{"read":0,"write":0}}}}}}"#,
            100 + n
        );
        let part = "INSERT INTO part VALUES (?1, ?2, 'ses_1', ?3, ?3, ?4)";
        let row = params![format!("prt_{n:05}"), format!("msg_{n:05}"), at + 400, step];
        self.db.execute(part, row).unwrap();
        let update = "UPDATE message SET data = ?2, time_updated = ?3 WHERE id = ?1";
        let row = params![format!("msg_{n:05}"), Self::message(n, at, true), at + 500];
        self.db.execute(update, row).unwrap();
    }

    fn message(n: i64, at: i64, is_complete: bool) -> String {
        let (completed, tokens) = match is_complete {
            true => (
                format!(r#","completed":{}"#, at + 500),
                format!(
                    r#"{{"total":{},"input":100,"output":{n},"reasoning":0,"cache":{{"read":0,"write":0}}}}"#,
                    100 + n
                ),
            ),
            // As many bytes, so that nothing but the content of pages changes.
            false => (
                ",\"x\":\"            \"".to_owned(),
                r#"{"input":0,"output":0,"reasoning":0,"cache":{"read":0,"write":0}}"#.to_owned(),
            ),
        };
        format!(
            r#"{{"role":"assistant","modelID":"gpt-5.5","providerID":"openai","path":{{"cwd":"{SHOP}","root":"{SHOP}"}},"cost":0,"tokens":{tokens},"time":{{"created":{at}{completed}}}}}"#
        )
    }

    pub(super) fn call(&mut self) {
        let n = self.begin_call();
        self.end_call(n);
    }

    /// Moves what is in the log into the database and empties the log, as its owner may do at any
    /// time. Nobody must be in its way.
    pub(super) fn checkpoint(&self) {
        let blocked: i64 =
            self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert_eq!(blocked, 0);
    }

    /// This does not wait for readers: whoever is in its way must be gone in a moment.
    fn set_mode(&self, mode: &str) {
        let begun = Instant::now();
        let sql = format!("PRAGMA journal_mode = {mode}");
        let set = || self.db.query_row(&sql, [], |row| row.get::<_, String>(0));
        while !set().is_ok_and(|set| set == mode) {
            assert!(begun.elapsed() < SOON, "the owner cannot change to {mode}");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

#[test]
fn h48_opencode_is_followed_and_never_hindered() {
    let home = Home::new();
    let mut opencode = OpenCode::open(&home);
    let mut followed = Followed::start(home, "opencode");
    for n in 1..=24 {
        opencode.call();
        followed.see(n);
        match n % 6 {
            1 => opencode.checkpoint(),
            2 => opencode.db.execute_batch("VACUUM").unwrap(),
            3 => {
                opencode.set_mode("delete");
                opencode.set_mode("wal");
            }
            _ => {}
        }
    }
    // A call that begins long before it ends, while others come and go.
    let long = opencode.begin_call();
    (26..30).for_each(|_| opencode.call());
    followed.see(28);
    opencode.end_call(long);
    followed.see(29);
    assert_eq!(followed.tokens(), (1..=29).map(|n| 100 + n).sum::<i64>());
    // Its last connection takes log and index away, as it does when nobody else has it open.
    drop(opencode);
    let folder = followed.home.path().join(".local/share/opencode");
    wait_closed(&folder.join("opencode.db"));
    let left = listing(&folder);
    assert_eq!(left.keys().collect::<Vec<_>>(), [&folder.join("opencode.db")]);
    followed.end(&folder, false);
}

/// Sweeps ask every database; nothing comes of it but an answer.
#[test]
fn h50_a_database_that_nobody_has_open_is_asked_and_left_as_it_was() {
    let home = Home::new();
    let mut opencode = OpenCode::open(&home);
    opencode.call();
    drop(opencode);
    let folder = home.path().join(".local/share/opencode");
    let before = listing(&folder);
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 1\n");
    let service = Service::start(&home);
    service.wait_ready();
    let db = home.database();
    wait("the call", || integer(&db, "SELECT count(*) FROM usage_events") == 1);
    let begun = Instant::now();
    wait("three sweeps", || begun.elapsed() > Duration::from_secs(3));
    assert_eq!(listing(&folder), before);
    assert_eq!(service.stop(), 0);
    assert_eq!(listing(&folder), before);
}

#[test]
fn h51_a_change_that_shows_neither_in_size_nor_in_time_is_found() {
    let home = Home::new();
    let mut opencode = OpenCode::open(&home);
    opencode.call();
    let open = opencode.begin_call();
    drop(opencode);
    home.tallyd(&["backfill"]);
    let path = home.path().join(".local/share/opencode/opencode.db");
    let before = fs::metadata(&path).unwrap();
    OpenCode::open(&home).end_call(open);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(after.len(), before.len(), "the story is about a database that did not grow");
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    home.tallyd(&["backfill"]);
    assert_eq!(integer(&home.database(), "SELECT count(*) FROM usage_events"), 2);
}

#[test]
fn h53_a_row_that_takes_the_place_of_one_that_was_deleted_counts_and_so_does_that_one() {
    let home = Home::new();
    let mut opencode = OpenCode::open(&home);
    let mut followed = Followed::start(home, "opencode");
    (1..=3).for_each(|_| opencode.call());
    followed.see(3);
    let rowid = |db: &Connection| integer(db, "SELECT max(rowid) FROM message");
    let before = rowid(&opencode.db);
    opencode.db.execute_batch("DELETE FROM message WHERE id = 'msg_00003'").unwrap();
    opencode.call();
    assert_eq!(rowid(&opencode.db), before);
    followed.see(4);
    // A revert of all, and a new beginning at the first rowid.
    opencode.db.execute_batch("DELETE FROM message").unwrap();
    opencode.call();
    followed.see(5);
    drop(opencode);
    let folder = followed.home.path().join(".local/share/opencode");
    followed.end(&folder, true);
}

#[test]
fn h52_a_database_of_another_form_is_named_and_nothing_of_it_is_guessed() {
    let home = Home::new();
    let mut opencode = OpenCode::open(&home);
    opencode.call();
    opencode.db.execute_batch("ALTER TABLE message RENAME COLUMN data TO content").unwrap();
    drop(opencode);
    home.tallyd(&["backfill"]);
    let status = home.json(&["status"]);
    let failing = status["failing"].to_string();
    assert!(failing.contains("it has no message.data"), "{status}");
    assert_eq!(integer(&home.database(), "SELECT count(*) FROM usage_events"), 0);
    // It is read as soon as it has a form that is known.
    OpenCode::open(&home)
        .db
        .execute_batch("ALTER TABLE message RENAME COLUMN content TO data")
        .unwrap();
    home.tallyd(&["backfill"]);
    assert_eq!(integer(&home.database(), "SELECT count(*) FROM usage_events"), 1);
    assert_eq!(home.json(&["status"])["failing"].as_array().map(Vec::len), Some(0));
}

#[test]
fn h52_a_row_too_large_to_be_read_holds_up_no_other_one() {
    let home = Home::new();
    let mut opencode = OpenCode::open(&home);
    (1..=3).for_each(|_| opencode.call());
    let update = "UPDATE message SET data = CAST(zeroblob(?1) AS TEXT) WHERE id = 'msg_00002'";
    opencode.db.execute(update, [65 << 20]).unwrap();
    drop(opencode);
    home.tallyd(&["backfill"]);
    let status = home.json(&["status"]);
    assert_eq!(status["failing"].as_array().map(Vec::len), Some(0), "{status}");
    assert_eq!(integer(&home.database(), "SELECT count(*) FROM usage_events"), 2);
}
