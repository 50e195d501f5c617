//! Agents that rewrite documents or keep databases, each simulated by a writer that does on disk
//! what the agent does, and followed live.

mod cline;
mod gemini_cli;
mod github_copilot;
mod goose;
mod opencode;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;

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
