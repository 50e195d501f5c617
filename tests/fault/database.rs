//! What happens to the database file: full disk, foreign locks, readers that stay, removal, damage.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::support::faults::{
    assert_nothing_lost, call, calls, check_of, fill, run_by, wait_healthy, works,
};
use crate::support::{Home, Service, integer, wait, wait_for_count};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const CALLS: &str = "SELECT ifnull(sum(message_count), 0) FROM daily_mart";

#[expect(clippy::disallowed_methods, reason = "opens the database as any other program would")]
fn open(path: &Path, flags: OpenFlags) -> Connection {
    Connection::open_with_flags(path, flags).unwrap()
}

fn database(home: &Home) -> PathBuf {
    home.data_dir().join("tallyd.db")
}

fn wait_for_calls(home: &Home, count: usize) {
    let count = i64::try_from(count).unwrap();
    wait_for_count("the calls in the marts", count, || integer(&home.database(), CALLS));
    assert_eq!(integer(&home.database(), CALLS), count);
}

#[test]
fn h38_a_full_disk_is_waited_out_while_health_warns_and_readers_go_on() {
    const MOUNT: &str = "mount -t tmpfs -o size=3m,mode=700 none \"$1\" && shift && exec \"$@\"";
    if !works(&["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]) {
        return;
    }
    let home = Home::new();
    home.write(LOG, calls(0..20));
    let disk = home.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    let run = home.command(&["run", "--listen", "127.0.0.1:0", "--data-dir", disk]);
    let by = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", disk];
    let mut service = Service::spawn(run_by(&by, &run));
    service.wait_ready();
    // The disk is mounted for the service alone; this is the way to it.
    let disk = PathBuf::from(format!("/proc/{}/root{disk}", service.pid()));
    let ballast = disk.join("ballast");
    fill(&ballast);
    // More than what is left of pages that the database has already.
    home.append(LOG, calls(20..4_000));
    service.wait_for_check("writer:errors", "warn", "full");
    assert_eq!(served_calls(&service), 20, "readers go on");
    home.append(LOG, calls(4_000..4_100));
    assert!(service.is_running());
    fs::remove_file(ballast).unwrap();
    wait("all calls in the marts", || served_calls(&service) == 4_100);
    // Three megabytes are a small disk still.
    service.wait_for_check("database:disk", "warn", "left on the disk");
    let written = service.wait_for_check("writer:errors", "pass", "");
    let last = written["checks"]["writer:errors"][0]["lastError"].as_str().unwrap();
    assert!(last.contains("full"), "{last}");
    // SQLite does not go that way; while nothing is written a copy does as well.
    fs::create_dir_all(home.data_dir()).unwrap();
    for name in ["tallyd.db", "tallyd.db-wal"] {
        fs::copy(disk.join(name), home.data_dir().join(name)).unwrap();
    }
    assert_nothing_lost(&home, "after a full disk");
    assert_eq!(service.stop(), 0);
}

#[test]
fn h38_a_backfill_gives_a_full_disk_up_and_goes_on_where_it_was_later() {
    const MOUNT: &str = "mount -t tmpfs -o size=1m,mode=700 none \"$1\" && shift && \
                         { \"$@\"; code=$?; mount -o remount,size=64m none \"$0\"; \"$@\" && exit $code; }";
    if !works(&["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]) {
        return;
    }
    let home = Home::new();
    home.write(LOG, calls(0..8_000));
    let disk = home.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    let backfill = home.command(&["backfill", "--data-dir", disk]);
    let by = ["unshare", "-Urm", "sh", "-c", MOUNT, disk, disk];
    let output = run_by(&by, &backfill).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("full"), "{said}");
    assert!(said.contains(&format!("hint: see to the disk of {disk}")), "{said}");
    let later = String::from_utf8(output.stdout).unwrap();
    let appended: u64 = later
        .lines()
        .find_map(|line| line.strip_prefix("events appended"))
        .map(|count| count.trim().replace(',', "").parse().unwrap())
        .unwrap();
    assert!((1..8_000).contains(&appended), "some were stored before: {later}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process that was halted finds that time has passed"
)]
fn a_backfill_whose_database_goes_says_so_though_there_is_more_to_read() {
    let home = Home::new();
    home.write(LOG, calls(0..20));
    home.tallyd(&["backfill"]);
    // More than waits for the writer.
    home.append(LOG, calls(20..60_000));
    let mut backfill = home.command(&["backfill"]);
    let backfill = backfill.stderr(Stdio::piped()).spawn().unwrap();
    let signal = |name: &str| {
        let id = backfill.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    wait("some of it", || integer(&home.database(), "SELECT count(*) FROM usage_events") > 20);
    // The file is looked after every five seconds.
    signal("-STOP");
    fs::remove_file(database(&home)).unwrap();
    thread::sleep(Duration::from_millis(5_500));
    signal("-CONT");
    let output = backfill.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("was removed or replaced while it was in use"), "{said}");
}

/// Calls that the service answers with.
fn served_calls(service: &Service) -> i64 {
    let (status, body) = service.get("/api/v1/marts/model_day?limit=1000");
    assert_eq!(status, 200, "{body}");
    let page: serde_json::Value = serde_json::from_str(&body).unwrap();
    page["rows"].as_array().unwrap().iter().map(|row| row["message_count"].as_i64().unwrap()).sum()
}

#[test]
fn h41_h58_a_foreign_lock_is_waited_out_and_health_answers_all_the_while() {
    let home = Home::new();
    home.write(LOG, calls(0..20));
    let mut service = Service::start(&home);
    service.wait_ready();
    let foreign = open(&database(&home), OpenFlags::SQLITE_OPEN_READ_WRITE);
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    home.append(LOG, calls(20..40));
    let warned = service.wait_for_check("writer:errors", "warn", "locked");
    assert_eq!(warned["status"], "warn");
    for _ in 0..200 {
        assert_eq!(check_of(&service.health(), "writer:errors").0, "warn");
        assert_eq!(service.get("/livez").0, 200);
        assert_eq!(service.get("/readyz").0, 200);
    }
    assert_eq!(service.get("/api/v1/marts/daily").0, 200, "readers go on");
    assert_eq!(integer(&home.database(), CALLS), 20);
    foreign.execute_batch("ROLLBACK").unwrap();
    wait_for_calls(&home, 40);
    wait_healthy(&service);
    assert!(service.is_running());
    assert_eq!(service.stop(), 0);
    assert_nothing_lost(&home, "after a foreign lock");
}

#[test]
fn h40_a_reader_that_stays_is_named_by_health_and_the_log_shrinks_once_it_goes() {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "debounce_ms = 0\n");
    home.write(LOG, calls(0..20));
    let service = Service::start(&home);
    service.wait_ready();
    let reader = open(&database(&home), OpenFlags::SQLITE_OPEN_READ_ONLY);
    reader.execute_batch("BEGIN; SELECT count(*) FROM usage_events").unwrap();
    let wal = home.data_dir().join("tallyd.db-wal");
    let mut written = 20;
    // Nothing waits for it.
    while fs::metadata(&wal).unwrap().len() <= 65 << 20 {
        assert!(written < 1_000_000, "the log does not grow");
        home.append(LOG, calls(written..written + 500));
        written += 500;
        wait_for_calls(&home, written);
    }
    service.wait_for_check("database:wal", "warn", "reads the database");
    assert_eq!(integer(&reader, "SELECT count(*) FROM usage_events"), 20, "its own moment");
    drop(reader);
    wait("the log to shrink", || fs::metadata(&wal).unwrap().len() < 64 << 20);
    wait_healthy(&service);
    assert_eq!(service.stop(), 0);
    assert_nothing_lost(&home, "after a reader that stayed");
}

/// A running service to whose database something is done: how it ends, and the home it leaves.
fn ended_by(harm: impl FnOnce(&Path)) -> (Home, i32, String) {
    let home = Home::new();
    home.write(LOG, calls(0..3_000));
    let service = Service::start(&home);
    service.wait_ready();
    harm(&database(&home));
    home.append(LOG, calls(3_000..3_020));
    let (code, log) = service.ended();
    (home, code, log)
}

#[test]
fn h45_a_database_removed_while_open_ends_the_service_and_the_next_start_reads_all_again() {
    let (home, code, log) = ended_by(|database| fs::remove_file(database).unwrap());
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("removed or replaced") && log.contains("hint:"), "{log}");
    home.tallyd(&["backfill"]);
    assert_nothing_lost(&home, "after the database was removed");
}

#[test]
fn h45_a_database_replaced_while_open_ends_the_service_and_the_next_start_uses_it() {
    let other = Home::new();
    other.write(".claude/projects/-other/o.jsonl", calls(9_000..9_050));
    other.tallyd(&["backfill"]);
    let (home, code, log) = ended_by(|database| {
        let new = database.with_extension("new");
        fs::copy(other.data_dir().join("tallyd.db"), &new).unwrap();
        fs::rename(new, database).unwrap();
    });
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("removed or replaced"), "{log}");
    home.tallyd(&["backfill"]);
    home.tallyd(&["check"]);
    assert_eq!(integer(&home.database(), CALLS), 3_020 + 50);
}

#[test]
fn h45_a_database_cut_to_nothing_while_open_ends_the_service() {
    let (home, code, log) = ended_by(|database| {
        OpenOptions::new().write(true).truncate(true).open(database).unwrap();
    });
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("hint:"), "{log}");
    let output = home.run(&["backfill"]);
    if !output.status.success() {
        // Before the cut was noticed, pages of the log were copied into what is left: that is no
        // empty database but a damaged one. What the hint says helps.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("damaged") && said.contains("hint:"), "{said}");
        set_aside(&home).iter().for_each(|path| fs::remove_file(path).unwrap());
        home.tallyd(&["backfill"]);
    }
    assert_nothing_lost(&home, "after the database was cut to nothing");
}

#[test]
fn h42_a_database_overwritten_in_place_is_found_at_the_next_start_and_never_replaced() {
    let home = Home::new();
    home.write(LOG, calls(0..3_000));
    let service = Service::start(&home);
    service.wait_ready();
    let length = usize::try_from(fs::metadata(database(&home)).unwrap().len()).unwrap();
    let mut file = OpenOptions::new().write(true).open(database(&home)).unwrap();
    file.write_all(&vec![0x5a; length]).unwrap();
    drop(file);
    service.kill();
    // The second start finds no database, and must not make one.
    for command in [&["backfill"][..], &["backfill"], &["run"], &["check"], &["status"]] {
        let output = home.run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("hint:"), "{command:?}: {said}");
    }
    assert!(!database(&home).exists(), "history that is missing is not hidden");
    // What the hint says.
    for path in set_aside(&home) {
        fs::remove_file(path).unwrap();
    }
    home.tallyd(&["backfill"]);
    assert_nothing_lost(&home, "after starting over");
}

fn set_aside(home: &Home) -> Vec<PathBuf> {
    let mut all = crate::support::files(&home.data_dir());
    all.retain(|path| path.to_str().unwrap().contains(".corrupt-"));
    all
}

/// A home whose database was closed, and then changed.
fn changed(change: impl FnOnce(&Path)) -> Home {
    let home = Home::new();
    home.write(LOG, calls(0..3_000));
    home.tallyd(&["backfill"]);
    change(&database(&home));
    home
}

const DAMAGE: [u8; 4096] = [0x5a; 4096];

fn scribble(database: &Path, at: u64) {
    let mut file = OpenOptions::new().write(true).open(database).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&DAMAGE).unwrap();
}

/// The pages at the lower end of a table or an index.
fn leaves(database: &Path, name: &str) -> Vec<u32> {
    let db = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let sql = "SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf'";
    let mut pages = db.prepare(sql).unwrap();
    let pages = pages.query_map([name], |row| row.get(0)).unwrap();
    pages.map(Result::unwrap).collect()
}

#[test]
fn h42_a_damaged_header_is_fatal_and_kept() {
    let home = changed(|database| scribble(database, 0));
    let damaged = fs::read(database(&home)).unwrap();
    let (code, said) = Service::launch(home.command(&["run", "--listen", "127.0.0.1:0"])).ended();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("damaged") && said.contains("hint:"), "{said}");
    assert!(!database(&home).exists());
    let aside = set_aside(&home);
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs::read(&aside[0]).unwrap(), damaged, "what may be rescued is kept");
}

#[test]
fn h42_a_damaged_page_is_found_by_the_running_service() {
    // The start looks at none of these.
    let home = changed(|database| {
        for page in leaves(database, "sqlite_autoindex_usage_events_1") {
            scribble(database, u64::from(page - 1) * 4096);
        }
    });
    let service = Service::start(&home);
    service.wait_ready();
    home.append(LOG, call(5_000));
    let (code, said) = service.ended();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("damaged") && said.contains("hint:"), "{said}");
    assert!(!database(&home).exists());
    let is_kept = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.starts_with(b"SQLite format 3") && bytes.windows(4096).any(|page| page == DAMAGE)
    };
    assert!(set_aside(&home).iter().any(is_kept), "what may be rescued is kept");
}

#[test]
fn h43_a_database_that_is_not_ours_or_newer_is_refused_with_78_and_not_touched() {
    for (change, words) in [
        ("PRAGMA user_version = 99", "schema 99"),
        ("PRAGMA application_id = 7", "another program"),
    ] {
        let home = changed(|database| {
            let db = open(database, OpenFlags::SQLITE_OPEN_READ_WRITE);
            db.execute_batch(change).unwrap();
            db.close().unwrap();
        });
        let before = fs::read(database(&home)).unwrap();
        for command in
            [&["backfill"][..], &["rebuild", "--all"], &["run", "--listen", "127.0.0.1:0"]]
        {
            let (code, said) = Service::launch(home.command(command)).ended();
            assert_eq!(code, 78, "{command:?}: {said}");
            assert!(said.contains(words) && said.contains("hint:"), "{command:?}: {said}");
            assert_eq!(fs::read(database(&home)).unwrap(), before, "{command:?}");
        }
    }
}
