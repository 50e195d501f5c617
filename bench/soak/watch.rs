//! What goes on beside the load: requests, a reader and clients that stay, and samples.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{database, line, row};

const PATHS: [&str; 6] = [
    "/health",
    "/livez",
    "/readyz",
    "/api/v1/marts/daily",
    "/api/v1/marts/session?limit=50",
    "/api/v1/marts/model_day?limit=1000",
];

const POLL: Duration = Duration::from_millis(50);
const SAMPLE: Duration = Duration::from_secs(1);

/// How long the slow reader holds a transaction, and how long it then rests.
const HOLD: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(5);

/// Numbers taken in equal intervals.
#[derive(Default)]
pub(crate) struct Column(Vec<i64>);

impl Column {
    /// Median of the second quarter of the time: what comes before is warming up.
    pub(crate) fn early(&self) -> i64 {
        self.median(self.0.len() / 4, self.0.len() / 2)
    }

    /// Median of the last quarter.
    pub(crate) fn late(&self) -> i64 {
        self.median(self.0.len() * 3 / 4, self.0.len())
    }

    fn median(&self, from: usize, to: usize) -> i64 {
        let mut part = self.0[from..to].to_vec();
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or(0)
    }

    pub(crate) fn most(&self) -> i64 {
        self.0.iter().copied().max().unwrap_or(0)
    }

    /// From the middle of the one quarter to that of the other.
    pub(crate) fn slope_per_minute(&self) -> f64 {
        let minutes = self.0.len() as f64 * SAMPLE.as_secs_f64() / 60.0 / 2.0;
        (self.late() - self.early()) as f64 / minutes
    }

    pub(crate) fn assert_grows_less_than(&self, growth: i64, what: &str) {
        let grown = self.late() - self.early();
        assert!(grown < growth, "{what} grew by {grown}");
    }
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) memory_kib: Column,
    pub(crate) descriptors: Column,
    pub(crate) wal_kib: Column,
    database_kib: Column,
    requests: u64,
    slowest: Duration,
    verdicts: [u64; 2],
    /// Checks of health that did not pass.
    pub(crate) concerns: BTreeSet<String>,
    held: u32,
    pub(crate) failures: Vec<String>,
}

impl Seen {
    pub(crate) fn print(&self) {
        let [passed, warned] = self.verdicts;
        line("requests", self.requests);
        line("slowest answer, ms", self.slowest.as_millis());
        line("health: pass", passed);
        line("health: warn", warned);
        for concern in &self.concerns {
            println!("    {concern}");
        }
        line("transactions held", self.held);
        println!(
            "\n{:<24}{:>14}{:>14}{:>14}{:>14}",
            "median of a quarter", "second", "last", "most ever", "per minute"
        );
        row("memory, KiB", &self.memory_kib);
        row("descriptors", &self.descriptors);
        row("write-ahead log, KiB", &self.wal_kib);
        row("database, KiB", &self.database_kib);
    }
}

/// Threads that disturb and observe until they are told to stop.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    poller: JoinHandle<Seen>,
    reader: JoinHandle<u32>,
}

impl Watch {
    pub(crate) fn start(pid: u32, home: &Path, address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let poller = {
            let (stop, address) = (Arc::clone(&stop), address.to_owned());
            let data_dir = home.join(".local/share/tallyd");
            std::thread::spawn(move || poll(pid, &data_dir, &address, &stop))
        };
        let reader = {
            let (stop, home) = (Arc::clone(&stop), home.to_owned());
            std::thread::spawn(move || hold(&home, &stop))
        };
        Self { stop, poller, reader }
    }

    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = self.poller.join().unwrap();
        seen.held = self.reader.join().unwrap();
        seen
    }
}

fn poll(pid: u32, data_dir: &Path, address: &str, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut sample_at = Instant::now();
    let mut slow = None;
    for path in PATHS.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return seen;
        }
        seen.ask(address, path);
        if Instant::now() >= sample_at {
            // One that never ends its request, until the service or the next one ends it.
            slow.replace(TcpStream::connect(address).and_then(|mut client| {
                client.write_all(b"GET /health HTTP/1.1\r\nHost: lo")?;
                Ok(client)
            }));
            seen.sample(&process, data_dir);
            sample_at += SAMPLE;
        }
        std::thread::park_timeout(POLL);
    }
    seen
}

impl Seen {
    fn ask(&mut self, address: &str, path: &str) {
        let begun = Instant::now();
        let answer = get(address, path);
        self.requests += 1;
        self.slowest = self.slowest.max(begun.elapsed());
        let Ok((200, body)) = answer else {
            self.failures.push(format!("{path}: {answer:?}"));
            return;
        };
        if path == "/health" {
            let health: serde_json::Value = serde_json::from_str(&body).unwrap();
            self.verdicts[usize::from(health["status"] != "pass")] += 1;
            for (name, results) in health["checks"].as_object().unwrap() {
                for result in results.as_array().unwrap() {
                    if result["status"] != "pass" {
                        self.concerns.insert(format!("{name}: {}", result["output"]));
                    }
                }
            }
        }
    }

    fn sample(&mut self, process: &Path, data_dir: &Path) {
        let status = fs::read_to_string(process.join("status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        self.memory_kib.0.push(memory.trim().trim_end_matches(" kB").parse().unwrap());
        let open = fs::read_dir(process.join("fd")).unwrap().count();
        self.descriptors.0.push(i64::try_from(open).unwrap());
        let kib = |name: &str| {
            let bytes = fs::metadata(data_dir.join(name)).map_or(0, |file| file.len());
            i64::try_from(bytes / 1024).unwrap()
        };
        self.wal_kib.0.push(kib("tallyd.db-wal"));
        self.database_kib.0.push(kib("tallyd.db"));
    }
}

/// A program that takes its time over what it reads; how often it did.
fn hold(home: &Path, stop: &AtomicBool) -> u32 {
    let mut held = 0;
    let rest = |time: Duration| {
        let end = Instant::now() + time;
        while Instant::now() < end && !stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(POLL);
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let db = database(home);
        db.execute_batch("BEGIN; SELECT count(*) FROM usage_events").unwrap();
        held += 1;
        rest(HOLD);
        drop(db);
        rest(REST);
    }
    held
}

pub(crate) fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    Ok((status, body))
}
