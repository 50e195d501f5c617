//! Agents that rewrite documents or keep databases, each simulated by a writer that does on disk
//! what the agent does, and followed live.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, params};

use crate::support::{Home, Service, append, files, integer, wait};

/// How soon what an agent has written must be in the marts. Half of the time: the machine may be
/// busy with other stories.
const SOON: Duration = Duration::from_secs(1);
const SHOP: &str = "/home/ada/shop";

/// A service that follows an agent.
struct Followed {
    home: Home,
    service: Service,
    db: Connection,
    provider: &'static str,
    delays: Vec<Duration>,
}

impl Followed {
    fn start(home: Home, provider: &'static str) -> Self {
        home.write(".config/tallyd/config.toml", "sweep_interval_s = 3600\n");
        let service = Service::start(&home);
        service.wait_ready();
        let db = home.database();
        Self { home, service, db, provider, delays: Vec::new() }
    }

    /// Waits until just so many calls are in the marts.
    fn see(&mut self, calls: i64) {
        let begun = Instant::now();
        let sql = |mart: &str| {
            format!(
                "SELECT ifnull(sum(message_count), 0) FROM {mart} WHERE provider = '{}'",
                self.provider
            )
        };
        wait(&format!("call {calls} of {}", self.provider), || {
            integer(&self.db, &sql("daily_mart")) >= calls
                && integer(
                    &self.db,
                    &sql("session_mart").replace("message_count", "assistant_message_count"),
                ) >= calls
        });
        self.delays.push(begun.elapsed());
        assert_eq!(integer(&self.db, &sql("daily_mart")), calls);
    }

    fn tokens(&self) -> i64 {
        let sql =
            "SELECT sum(input_tokens + output_tokens + cache_read_tokens + cache_create_tokens)
            FROM usage_events WHERE provider = ";
        integer(&self.db, &format!("{sql}'{}'", self.provider))
    }

    /// Ends the service. A backfill of what is there now must say the same, if nothing has gone; and
    /// nothing of it changes what is in the agent's folder.
    fn end(mut self, folder: &Path, has_lost: bool) {
        let before = listing(folder);
        assert!(!before.is_empty());
        self.delays.sort_unstable();
        let median = self.delays[self.delays.len() / 2];
        println!("{}: half of the calls were seen within {median:?}", self.provider);
        assert!(median < SOON, "{:?}", self.delays);
        let rows = self.home.dump();
        assert_eq!(self.service.stop(), 0);
        self.home.tallyd(&["check"]);
        let again = self.home.json(&["backfill"]);
        assert_eq!(again["events"]["appended"], 0, "{again}");
        assert_eq!(again["events"]["corrected"], 0, "{again}");
        if !has_lost {
            fs::remove_dir_all(self.home.data_dir()).unwrap();
            self.home.tallyd(&["backfill"]);
            self.home.dump().assert_same(&rows, self.provider);
        }
        assert_eq!(listing(folder), before);
    }
}

/// All files of an agent with a hash of their content, and their time.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let look = |path: PathBuf| {
        let mut hasher = DefaultHasher::new();
        fs::read(&path).unwrap().hash(&mut hasher);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        (path, (hasher.finish(), modified))
    };
    files(folder).into_iter().map(look).collect()
}

/// OpenCode, and the database that it holds open.
struct OpenCode {
    db: Connection,
    calls: i64,
}

impl OpenCode {
    const START_MS: i64 = 1_780_000_000_000;

    #[expect(clippy::disallowed_methods, reason = "the owner of a foreign database")]
    fn open(home: &Home) -> Self {
        let path = home.path().join(".local/share/opencode/opencode.db");
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

    fn call(&mut self) {
        let n = self.begin_call();
        self.end_call(n);
    }

    /// Moves what is in the log into the database and empties the log, as its owner may do at any
    /// time. Nobody must be in its way.
    fn checkpoint(&self) {
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
    let start = |session: &str| {
        format!(
            r#"{{"type":"session.start","data":{{"sessionId":"{session}","copilotVersion":"1.0.80","context":{{"cwd":"{SHOP}"}}}},"id":"s{session}","timestamp":"2026-09-20T08:00:00.000Z","parentId":null}}"#
        )
    };
    let shutdown = |id: &str, input: u64, output: u64| {
        format!(
            r#"{{"type":"session.shutdown","data":{{"modelMetrics":{{"gpt-5.4":{{"requests":{{"count":1,"cost":1}},"usage":{{"inputTokens":{input},"outputTokens":{output},"cacheReadTokens":0,"cacheWriteTokens":0}}}}}}}},"id":"{id}","timestamp":"2026-09-20T08:02:00.000Z","parentId":null}}"#
        )
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
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM").unwrap();
    drop(store);
    assert!(!folder.join("session-store.db-wal").exists());
    followed.end(&folder, false);
}

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
