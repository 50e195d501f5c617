//! Agents that rewrite documents or keep databases, each simulated by a writer that does on disk
//! what the agent does, and followed live.

mod cline;
mod gemini_cli;
mod github_copilot;
mod goose;
mod kilo_code;
mod kimi;
mod openclaw;
mod opencode;
mod pi;
mod qwen_code;
mod roo_code;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;
use serde_json::json;

use crate::support::faults::call;
use crate::support::{Home, Service, files, integer, wait};

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
        // An owner that closes its database while it is read leaves an empty log; it goes at once.
        let is_empty_log = |path: &PathBuf| {
            path.extension().is_some_and(|end| end.to_string_lossy().ends_with("-wal"))
                && fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0)
        };
        wait("no empty log", || !files(folder).iter().any(is_empty_log));
        let before = listing(folder);
        assert!(!before.is_empty());
        self.delays.sort_unstable();
        let median = self.delays[self.delays.len() / 2];
        let slowest = self.delays.last().unwrap();
        println!(
            "{}: half of the calls were seen within {median:?}, all {slowest:?}",
            self.provider
        );
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

/// Waits until nothing but the database is left of one that its owner has closed. One that was just
/// being asked then keeps its log, until the next owner closes it.
#[expect(clippy::disallowed_methods, reason = "the next owner of a foreign database")]
fn wait_closed(database: &Path) {
    let beside = ["-wal", "-shm"].map(|suffix| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    });
    wait("the log to go with its owner", || {
        let is_left = beside.iter().any(|path| path.exists());
        if is_left {
            let next = Connection::open(database).unwrap();
            integer(&next, "SELECT count(*) FROM sqlite_schema");
        }
        !is_left
    });
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

/// Agents name folders after projects, and projects are called anything.
#[test]
fn a_folder_that_is_called_like_the_log_of_a_database_is_followed() {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 3600\n");
    let projects = home.path().join(".claude/projects");
    fs::create_dir_all(&projects).unwrap();
    let service = Service::start(&home);
    service.wait_ready();
    let db = home.database();
    for (n, name) in
        ["-home-ada-my-journal", "-home-ada-my-wal", "-home-ada-my-shm"].iter().enumerate()
    {
        let path = format!(".claude/projects/{name}/s.jsonl");
        home.write(&path, call(n));
        let calls = i64::try_from(n).unwrap() + 1;
        wait(name, || integer(&db, "SELECT count(*) FROM usage_events") == calls);
        fs::remove_dir_all(projects.join(name)).unwrap();
    }
    assert_eq!(service.stop(), 0);
}

/// The editors' folder of application data is a root, most of which is not looked into.
#[test]
fn a_root_inside_of_a_folder_that_another_agent_does_not_look_into_is_awaited() {
    let home = Home::new();
    let root = home.path().join(".config/some/where/deep/projects");
    let config = format!("sweep_interval_s = 3600\n[providers.claude-code]\nroots = [{root:?}]\n");
    home.write(".config/tallyd/config.toml", config);
    let service = Service::start(&home);
    service.wait_ready();
    let db = home.database();
    for folder in root.ancestors().take(4).collect::<Vec<_>>().into_iter().rev() {
        fs::create_dir(folder).unwrap();
        // It is watched by now, or what comes next could be found with it.
        std::thread::park_timeout(Duration::from_millis(200));
    }
    home.write(".config/some/where/deep/projects/-w/s.jsonl", call(1));
    wait("the call", || integer(&db, "SELECT count(*) FROM usage_events") == 1);
    assert_eq!(service.stop(), 0);
}

#[test]
fn an_agent_can_be_switched_off_and_shown_other_folders() {
    let home = Home::new();
    let session = r#"{"sessionId":"s1","messages":[{"id":"m1","role":"assistant","ts":1788256790000,"modelInfo":{"id":"m","provider":"p"},"metrics":{"inputTokens":10,"outputTokens":5}}]}"#;
    home.write(".cline/data/sessions/s1/s1.messages.json", session);
    let chat = r#"{"sessionId":"s2","messages":[{"id":"m1","timestamp":"2026-06-01T10:00:00.000Z","type":"gemini","content":"","model":"m","tokens":{"input":10,"output":5,"total":15}}]}"#;
    home.write("old laptop/tmp/shop/chats/session-2026-06-01T10-00-0b7f1d00.json", chat);
    let root = home.path().join("old laptop/tmp");
    let config =
        format!("[providers.cline]\nenabled = false\n[providers.gemini-cli]\nroots = [{root:?}]\n");
    home.write(".config/tallyd/config.toml", config);
    let agent = |home: &Home, id: &str| {
        let agents = home.json(&["providers"]);
        let agents = agents.as_array().unwrap();
        agents.iter().find(|agent| agent["provider"] == id).unwrap().clone()
    };
    home.tallyd(&["backfill"]);
    let (cline, gemini) = (agent(&home, "cline"), agent(&home, "gemini-cli"));
    assert_eq!((&cline["enabled"], &cline["stored"]), (&json!(false), &json!(null)), "{cline}");
    assert_eq!(gemini["stored"]["message_count"], 1, "{gemini}");
    assert_eq!((&gemini["found"], &gemini["quality"]), (&json!(true), &json!(["per_call"])));
    assert!(home.tallyd(&["providers"]).contains("switched off"));
    fs::remove_file(home.path().join(".config/tallyd/config.toml")).unwrap();
    home.tallyd(&["backfill"]);
    assert_eq!(agent(&home, "cline")["stored"]["message_count"], 1);
    assert_eq!(agent(&home, "gemini-cli")["stored"]["message_count"], 1, "what was counted stays");
}
