//! How long an appended line takes until all five marts show it to another connection.
//!
//! Drives the built binary over a scratch home: a line every half second is appended to a log, and
//! a read-only connection polls the marts until each of them has counted it. Prints p50, p99 and
//! the worst of 100 lines. `cargo bench --bench freshness -- 20` takes 20 instead.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program of its own that prints")]

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

/// Time between two lines: each meets an idle service.
const PAUSE: Duration = Duration::from_millis(500);

/// One number that grows with every line in every mart.
const SEEN: &str = "SELECT min(n) FROM ( \
    SELECT ifnull(sum(message_count), 0) AS n FROM daily_mart \
    UNION ALL SELECT ifnull(sum(message_count), 0) FROM session_mart \
    UNION ALL SELECT ifnull(sum(message_count), 0) FROM project_mart \
    UNION ALL SELECT ifnull(sum(message_count), 0) FROM provider_day_mart \
    UNION ALL SELECT ifnull(sum(message_count), 0) FROM model_day_mart)";

fn main() {
    let count = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(100);
    let home = tempfile::tempdir().expect("a scratch folder");
    let log = home.path().join(".claude/projects/-w/session.jsonl");
    std::fs::create_dir_all(log.parent().expect("a folder")).expect("a writable home");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args(["run", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("HOME", home.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary runs");
    let stderr = BufReader::new(child.stderr.take().expect("its log"));
    let ready =
        stderr.lines().map_while(Result::ok).any(|line| line.contains("read all there was"));
    assert!(ready, "the service ended before it was ready");

    let mut times = measure(home.path(), &log, count);
    child.kill().expect("the service still runs");
    child.wait().expect("it ends");
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "line written -> in all five marts, {count} lines, one every {} ms",
        PAUSE.as_millis()
    );
    println!("p50   {:8.2} ms", at(50).as_secs_f64() * 1e3);
    println!("p99   {:8.2} ms", at(99).as_secs_f64() * 1e3);
    println!("worst {:8.2} ms", at(100).as_secs_f64() * 1e3);
}

#[expect(clippy::disallowed_methods, reason = "reads as any other program would")]
fn measure(home: &Path, log: &Path, count: usize) -> Vec<Duration> {
    let database = home.join(".local/share/tallyd/tallyd.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = Connection::open_with_flags(database, flags).expect("the database of the service");
    let mut seen = db.prepare(SEEN).expect("the marts");
    let mut file = OpenOptions::new().create(true).append(true).open(log).expect("a log");
    (1..=count)
        .map(|i| {
            std::thread::park_timeout(PAUSE);
            let line = format!(
                r#"{{"type":"assistant","sessionId":"s","cwd":"/w","requestId":"r{i}","timestamp":"2026-09-01T10:00:00.000Z","message":{{"id":"msg_01AAAAAAAAAAAAAAAA{i:06}","model":"claude-opus-5","usage":{{"input_tokens":10,"output_tokens":5}}}}}}"#
            );
            let begun = Instant::now();
            file.write_all(format!("{line}\n").as_bytes()).expect("the line is written");
            let want = i64::try_from(i).expect("a small number");
            loop {
                let n: i64 = seen.query_row([], |row| row.get(0)).expect("a mart");
                if n >= want {
                    return begun.elapsed();
                }
                assert!(begun.elapsed() < Duration::from_secs(10), "line {i} never showed up");
                std::thread::park_timeout(Duration::from_micros(100));
            }
        })
        .collect()
}
