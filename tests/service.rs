//! The running service: the service manager, signals, locks.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::logs::{self, write_slowly};
use crate::support::whole::{Files, ROWS, Whole, look, progress, settle, state, stored, whole};
use crate::support::{DEADLINE, Home, Random, Service, corpus_homes, integer, wait};

#[test]
fn the_service_manager_hears_ready_watchdog_reloading_and_stopping() {
    let home = Home::new();
    let socket = home.path().join("notify.sock");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = home.command(&["run", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    // A watchdog of 0.3 s: fed every 0.1 s.
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000");
    let service = Service::spawn(command);
    let hear = |what: &str| {
        let mut buffer = [0; 4096];
        for _ in 0..1_000 {
            let n = manager.recv(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            if text.lines().any(|line| line.starts_with(what)) {
                return text;
            }
        }
        panic!("never heard {what}");
    };
    hear("READY=1");
    hear("STATUS=");
    hear("WATCHDOG=1");
    service.signal("-HUP");
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    hear("WATCHDOG=1");
    let pid = service.pid();
    service.signal("-TERM");
    hear("STOPPING=1");
    wait("the end of the process", || {
        !Path::new(&format!("/proc/{pid}/stat")).exists()
            || std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|s| s.contains(") Z "))
    });
}

#[test]
fn h34_a_second_instance_ends_at_once_with_75_and_has_written_nothing() {
    let home = Home::new();
    let service = Service::start(&home);
    service.wait_ready();
    let run = &["run", "--listen", "127.0.0.1:0"][..];
    for command in [run, &["backfill"], &["rebuild", "--all"], &["reprice"]] {
        let output = home.run(command);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(75), "{command:?}: {error}");
        assert!(error.contains("hint:"), "{error}");
    }
    home.tallyd(&["check"]);
    home.tallyd(&["status"]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn status_tells_a_silent_service_from_none() {
    let home = Home::new();
    home.tallyd(&["backfill"]);
    assert_eq!(home.json(&["status"])["running"], false);
    let service = Service::start(&home);
    service.wait_ready();
    wait("its address", || home.json(&["status"])["address"].is_string());
    assert!(home.tallyd(&["status"]).contains("running on http://127.0.0.1:"));
    service.signal("-STOP");
    // A process stops when it is next looked at, which takes a moment on a busy machine.
    wait("the service to be silent", || {
        home.tallyd(&["status"]).contains("running, but it does not answer")
    });
    service.signal("-CONT");
    service.kill();
    let status = home.tallyd(&["status"]);
    assert!(status.contains("not running"), "{status}");
}

#[test]
fn h33_a_reload_takes_up_roots_and_a_bad_file_keeps_the_old_settings() {
    let home = Home::new();
    let elsewhere = home.write("elsewhere/projects/-w/s.jsonl", log_line("m1"));
    let service = Service::start(&home);
    service.wait_ready();
    home.write(".config/tallyd/config.toml", "nonsense = 1\n");
    service.signal("-HUP");
    service.wait_for_log("not reloaded");
    let root = elsewhere.parent().unwrap().parent().unwrap();
    let config = format!("[providers.claude-code]\nroots = [{root:?}]\n");
    home.write(".config/tallyd/config.toml", config);
    service.signal("-HUP");
    wait("the log of the new root", || events(&home) == 1);
    home.write(".claude/projects/-w/t.jsonl", log_line("m2"));
    wait("the log of the old root", || events(&home) == 2);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_reload_tells_what_waits_for_the_next_start_and_goes_on_with_what_is_in_effect() {
    let home = Home::new();
    let service = Service::start(&home);
    service.wait_ready();
    let elsewhere = home.path().join("elsewhere");
    let config = format!("data_dir = {elsewhere:?}\ntime_zone = \"Asia/Tokyo\"\n");
    home.write(".config/tallyd/config.toml", config);
    service.signal("-HUP");
    let told = service.wait_for_log("changes at the next start only");
    assert!(told.contains("data_dir, time_zone"), "{told}");
    service.wait_for_log("configuration reloaded");
    home.write(".claude/projects/-w/s.jsonl", log_line("m1"));
    wait("the call in the old database", || events(&home) == 1);
    assert!(!elsewhere.exists());
    // What was never in effect is no change when it is taken back.
    home.write(".config/tallyd/config.toml", "debounce_ms = 50\n");
    service.signal("-HUP");
    let told = service.wait_for_log("changes at the next start only");
    assert!(told.contains("only: debounce_ms\""), "{told}");
    assert_eq!(service.stop(), 0);
}

#[test]
fn stopping_and_killing_in_the_middle_of_a_backfill_loses_and_doubles_nothing() {
    let Some(corpus) = corpus_homes().into_iter().find(|home| home.ends_with("home-p")) else {
        return;
    };
    let whole = Home::copy_of(&corpus);
    whole.tallyd(&["backfill"]);
    let expect = whole.dump();
    for (i, kill) in [false, true, true, false, true].into_iter().enumerate() {
        let home = Home::copy_of(&corpus);
        let service = Service::start(&home);
        let some = i64::try_from(i).unwrap() * 150;
        wait("a part of the events", || events(&home) >= some);
        if kill {
            service.kill();
        } else {
            assert_eq!(service.stop(), 0);
        }
        home.tallyd(&["backfill"]);
        home.dump().assert_same(&expect, "after an interrupted backfill");
        home.tallyd(&["check"]);
    }
}

#[test]
fn h32_a_stop_is_quick_even_when_nobody_reads_the_log() {
    for is_gone in [false, true] {
        let home = Home::new();
        let mut command = home.command(&["run", "--listen", "127.0.0.1:0"]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut service = Many(vec![command.spawn().unwrap()]);
        let service = &mut service.0[0];
        let address = home.data_dir().join("tallyd.address");
        wait("its address", || address.exists());
        let log = service.stderr.take().filter(|_| !is_gone);
        if log.is_some() {
            fill_pipe(&format!("/proc/{}/fd/2", service.id()));
        }
        let begun = Instant::now();
        let pid = service.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut ended = None;
        wait("the end of the service", || {
            ended = service.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0), "its reader is gone: {is_gone}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

/// Leaves no room in a pipe that nobody reads.
fn fill_pipe(path: &str) {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = fs::OpenOptions::new().write(true).custom_flags(flags).open(path).unwrap();
    for size in [4_096, 1] {
        while pipe.write(&vec![b'x'; size]).is_ok() {}
    }
}

#[test]
fn h31_a_data_directory_is_usable_at_once_after_a_kill() {
    let home = Home::new();
    home.write(".claude/projects/-w/s.jsonl", log_line("m1"));
    let service = Service::start(&home);
    service.wait_ready();
    let address = home.data_dir().join("tallyd.address");
    wait("its address", || address.exists());
    service.kill();
    // The address it left behind may be another program's by now.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    fs::write(&address, stranger.local_addr().unwrap().to_string()).unwrap();
    let status = home.json(&["status"]);
    assert_eq!(status["running"], false);
    assert!(status["address"].is_null(), "{status}");
    assert!(stranger.accept().is_err(), "the stranger was asked");
    home.tallyd(&["check"]);
    home.append(".claude/projects/-w/s.jsonl", log_line("m2"));
    home.tallyd(&["backfill"]);
    assert_eq!(events(&home), 2);
    let service = Service::start(&home);
    service.wait_ready();
    wait("its own address", || home.json(&["status"])["address"] == service.address());
    assert_eq!(service.stop(), 0);
    assert!(!address.exists());
}

#[test]
fn h32_a_stop_amid_a_backfill_is_clean_and_the_next_start_goes_on() {
    let mut random = Random(32);
    let Whole { home, expect, rows: count, .. } = whole(&mut random, 16, 40);
    let bytes_read = |service: &Service| {
        let told: serde_json::Value =
            serde_json::from_str(&service.wait_for_log("read all there was")).unwrap();
        told["bytes"].as_u64().unwrap()
    };
    fs::remove_dir_all(home.data_dir()).unwrap();
    let service = Service::start(&home);
    let all = bytes_read(&service);
    assert_eq!(service.stop(), 0);
    let mut amid = 0;
    for _ in 0..10 {
        fs::remove_dir_all(home.data_dir()).unwrap();
        let service = Service::start(&home);
        wait("some rows", progress(&home, ROWS, random.below(count)));
        let begun = Instant::now();
        assert_eq!(service.stop(), 0);
        // Five seconds are the rule, where the machine does nothing else.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        let begun = stored(&home);
        amid += usize::from(begun < count);
        let service = Service::start(&home);
        service.wait_ready();
        let read = bytes_read(&service);
        assert!(begun == 0 || read < all, "{read} bytes of {all} after {begun} rows of {count}");
        assert_eq!(service.stop(), 0);
        settle(&home, Files::Still, &expect, "after a stop");
    }
    assert!(amid > 0, "stops must fall into the middle");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "holds the lock as another program would")]
fn h32_a_second_stop_ends_the_process_at_once() {
    // Two signals within a moment are one stop.
    let moments = [None, Some(Duration::ZERO), Some(Duration::from_millis(700))];
    for (again, expect) in moments.into_iter().zip([0, 0, 1]) {
        let home = Home::new();
        let service = Service::start(&home);
        service.wait_ready();
        let address = home.data_dir().join("tallyd.address");
        wait("its address", || address.exists());
        // A stop ends with a write, which must wait for this one.
        let db = rusqlite::Connection::open(home.data_dir().join("tallyd.db")).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        service.signal("-TERM");
        if let Some(later) = again {
            thread::sleep(later);
            service.signal("-TERM");
        }
        wait("the stop to begin", || !address.exists());
        assert_eq!(service.wait(), expect, "stopped again after {again:?}");
        drop(db);
        home.tallyd(&["backfill"]);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "holds the lock as another program would")]
fn h32_a_stop_is_heard_while_a_reload_waits_for_the_database() {
    let home = Home::new();
    let socket = home.path().join("notify.sock");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = home.command(&["run", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.env("NOTIFY_SOCKET", &socket);
    let service = Service::spawn(command);
    service.wait_ready();
    let db = rusqlite::Connection::open(home.data_dir().join("tallyd.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    home.write(".claude/projects/-w/s.jsonl", log_line("m1"));
    service.signal("-HUP");
    let mut buffer = [0; 4096];
    let mut heard = String::new();
    while !heard.contains("RELOADING=1") {
        let n = manager.recv(&mut buffer).unwrap();
        heard = String::from_utf8_lossy(&buffer[..n]).into_owned();
    }
    assert_eq!(service.stop(), 0);
    drop(db);
    home.tallyd(&["backfill"]);
    assert_eq!(events(&home), 1);
}

#[test]
fn h33_a_hundred_reloads_under_load_lose_nothing() {
    let home = Home::new();
    let logs = logs::generate(&mut Random(33), 4, 20);
    let service = Service::start(&home);
    let elsewhere = home.path().join("elsewhere");
    let more = format!("[providers.claude-code]\nroots = [{elsewhere:?}]\n");
    let mut reloads = 0;
    let pace = Duration::from_millis(20);
    thread::scope(|scope| {
        let writing = scope.spawn(|| write_slowly(home.path(), &logs, &mut Random(34), pace));
        while reloads < 100 || !writing.is_finished() {
            let (config, answer) = match reloads % 3 {
                0 => (&*more, "configuration reloaded"),
                1 => ("nonsense = 1\n", "configuration not reloaded"),
                _ => ("", "configuration reloaded"),
            };
            home.write(".config/tallyd/config.toml", config);
            service.signal("-HUP");
            service.wait_for_log(answer);
            reloads += 1;
        }
    });
    println!("{reloads} reloads");
    // After a bad file it goes on as before it.
    home.write(".config/tallyd/config.toml", "nonsense = 1\n");
    service.signal("-HUP");
    service.wait_for_log("configuration not reloaded");
    home.write(".claude/projects/-w/last.jsonl", log_line("m1"));
    home.write(".config/tallyd/config.toml", "");
    let expected = home.path().join("uninterrupted");
    home.tallyd(&["backfill", "--data-dir", expected.to_str().unwrap()]);
    let expect = state(&look(&expected.join("tallyd.db")).unwrap(), Files::Changing);
    // Nothing but the service itself brings the rest.
    let live = home.database();
    wait("all rows in all marts", || state(&live, Files::Changing) == expect);
    assert_eq!(service.stop(), 0);
    settle(&home, Files::Changing, &expect, "after many reloads");
}

/// Processes of which none outlives its story.
struct Many(Vec<Child>);

impl Drop for Many {
    fn drop(&mut self) {
        for child in &mut self.0 {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn start_many(home: &Home, count: usize) -> Many {
    let start = |_| {
        let mut command = home.command(&["run", "--listen", "127.0.0.1:0"]);
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        silent.spawn().unwrap()
    };
    Many((0..count).map(start).collect())
}

/// Waits until all but `running` of the processes have ended; how the others ended.
fn wait_for_losers(Many(children): &mut Many, running: usize) -> Vec<Option<i32>> {
    let mut ended = Vec::new();
    wait("the losers to end", || {
        let all = children.iter_mut().filter_map(|child| child.try_wait().unwrap());
        ended = all.map(|status| status.code()).collect();
        ended.len() + running >= children.len()
    });
    ended
}

/// What a folder holds, to the last change of each file.
fn listing(folder: &Path) -> BTreeMap<std::ffi::OsString, (u64, u64, i64, i64)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut listing: BTreeMap<_, _> = entries
        .map(|entry| {
            let m = entry.metadata().unwrap();
            (entry.file_name(), (m.ino(), m.size(), m.ctime(), m.ctime_nsec()))
        })
        .collect();
    let m = folder.metadata().unwrap();
    listing.insert(".".into(), (m.ino(), 0, m.ctime(), m.ctime_nsec()));
    listing
}

#[test]
fn h34_of_twenty_started_at_once_exactly_one_runs() {
    let home = Home::new();
    home.write(".claude/projects/-w/s.jsonl", log_line("m1"));
    let mut children = start_many(&home, 20);
    assert_eq!(wait_for_losers(&mut children, 1), [Some(75); 19]);
    wait("the row", || events(&home) == 1);
    let running = |child: &mut Child| child.try_wait().unwrap().is_none();
    assert_eq!(children.0.iter_mut().filter_map(|child| running(child).then_some(())).count(), 1);
    drop(children);
    home.tallyd(&["check"]);
}

#[test]
fn h34_those_who_find_the_directory_taken_write_nothing() {
    let home = Home::new();
    let service = Service::start(&home);
    service.wait_ready();
    wait("its address", || home.json(&["status"])["address"].is_string());
    // It writes nothing either while it is stopped.
    service.signal("-STOP");
    let before = listing(&home.data_dir());
    let mut children = start_many(&home, 20);
    assert_eq!(wait_for_losers(&mut children, 0), [Some(75); 20]);
    assert_eq!(listing(&home.data_dir()), before);
    service.signal("-CONT");
    assert_eq!(service.stop(), 0);
}

fn events(home: &Home) -> i64 {
    integer(&home.database(), "SELECT count(*) FROM usage_events")
}

fn log_line(id: &str) -> String {
    format!(
        r#"{{"type":"assistant","sessionId":"s","cwd":"/w","requestId":"r{id}","timestamp":"2026-09-01T10:00:00.000Z","message":{{"id":"msg_01AAAAAAAAAAAAAAAAAA{id}","model":"claude-opus-5","usage":{{"input_tokens":10,"output_tokens":5}}}}}}
"#
    )
}

#[test]
#[expect(clippy::disallowed_methods, reason = "damages a database as another program would")]
fn positions_that_somebody_moved_are_found_by_check_and_mended_at_the_next_start() {
    let damages = [
        "UPDATE mart_watermark SET last_event_id = 999999",
        "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'usage_events'",
        "DELETE FROM sqlite_sequence WHERE name = 'usage_events'",
    ];
    for damage in damages {
        let home = Home::new();
        home.write(".claude/projects/-w/s.jsonl", log_line("m1") + &log_line("m2"));
        home.tallyd(&["backfill"]);
        let path = home.data_dir().join("tallyd.db");
        rusqlite::Connection::open(path).unwrap().execute(damage, []).unwrap();
        assert_eq!(home.run(&["check"]).status.code(), Some(1), "{damage}");
        home.append(".claude/projects/-w/s.jsonl", log_line("m3"));
        home.tallyd(&["backfill"]);
        home.tallyd(&["check"]);
        let calls = "SELECT sum(message_count) FROM daily_mart";
        assert_eq!(integer(&home.database(), calls), 3, "{damage}");
    }
}
