//! System calls that fail, one by one and for a while.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::faults::{
    Injection, assert_nothing_lost, call, calls, run_by, undisturbed, wait_healthy, works,
};
use crate::support::{Dump, Home, Service, integer, wait};

const FOLDER: &str = ".claude/projects/-w";
const LOG: &str = ".claude/projects/-w/s.jsonl";
const CALLS: &str = "SELECT ifnull(sum(message_count), 0) FROM daily_mart";

/// Calls on the database's files, and errors that a disk gives.
const FAULTS: [(&str, &str); 14] = [
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("pread64", "EIO"),
    ("fsync", "EIO"),
    ("fsync", "ENOSPC"),
    ("fdatasync", "EIO"),
    ("ftruncate", "EIO"),
    ("ftruncate", "ENOSPC"),
    ("openat", "EIO"),
    ("openat", "EMFILE"),
    ("openat", "EACCES"),
    ("unlink", "EIO"),
    ("mmap", "ENOMEM"),
    ("newfstatat", "EIO"),
];

/// What is read while calls fail.
#[derive(Clone, Copy, Debug)]
enum Cycle {
    /// Everything, into a database that does not exist yet.
    First,
    /// What is new since the last run.
    Next,
}

fn files(home: &Home) -> [PathBuf; 4] {
    ["", "tallyd.db", "tallyd.db-wal", "tallyd.db-shm"].map(|name| home.data_dir().join(name))
}

/// A home in which this cycle is due.
fn home_before(cycle: Cycle) -> Home {
    let home = Home::new();
    home.write(LOG, calls(0..150));
    home.write(&format!("{FOLDER}/other.jsonl"), calls(150..200));
    if let Cycle::Next = cycle {
        home.tallyd(&["backfill"]);
    }
    home.append(LOG, calls(200..260));
    home.write(&format!("{FOLDER}/new.jsonl"), calls(260..300));
    home
}

/// How long a run may try again: a fault that meets each new connection, too, ends only then.
const PATIENCE: Duration = Duration::from_secs(3);

/// Lets the `nth` call of its kind fail, of each thread. False when there were fewer.
fn fail_nth(cycle: Cycle, (syscall, error): (&str, &str), nth: usize, expect: &Dump) -> bool {
    let context = format!("{cycle:?}: {syscall} number {nth} fails with {error}");
    let home = home_before(cycle);
    let (trace, stderr) = (home.path().join("trace"), home.path().join("stderr"));
    let inject = format!("inject={syscall}:error={error}:when={nth}");
    let mut strace = vec!["strace", "-f", "-o", trace.to_str().unwrap(), "-e", &inject];
    let files = files(&home);
    for file in &files {
        strace.extend(["-P", file.to_str().unwrap()]);
    }
    let mut run = run_by(&strace, &home.command(&["backfill"]));
    let mut run = run.stdout(Stdio::null()).stderr(File::create(&stderr).unwrap()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while run.try_wait().unwrap().is_none() && Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let ended = run.try_wait().unwrap();
    if ended.is_none() {
        // The command is let go, and runs on without faults.
        run.kill().unwrap();
    }
    run.wait().unwrap();
    let said = fs::read_to_string(&stderr).unwrap();
    let injected = fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
    match ended.map(|status| status.code()) {
        None | Some(Some(0)) => {}
        Some(Some(1)) if injected => assert!(said.contains("tallyd: "), "{context}: {said}"),
        other => panic!("{context}: ended with {other:?}: {said}"),
    }
    // As the service manager does; one that was let go must end first.
    let mut again = home.run(&["backfill"]);
    wait(&format!("the data directory: {context}"), || {
        if again.status.code() == Some(75) {
            again = home.run(&["backfill"]);
        }
        again.status.code() != Some(75)
    });
    let said = fs::read_to_string(&stderr).unwrap();
    assert!(!said.contains("panicked"), "{context}: {said}");
    let said_again = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{context}: {said}\nand then: {said_again}");
    home.tallyd(&["check"]);
    home.dump().assert_same(expect, &context);
    injected
}

/// A sample of all calls; `TALLYD_FAULTS=all` takes every one.
#[test]
#[expect(clippy::disallowed_methods, reason = "the long version is asked for by the environment")]
fn h38_h39_whichever_call_on_the_database_fails_nothing_is_lost_or_doubled() {
    if !works(&["strace", "-f", "-e", "inject=fsync:error=EIO", "true"]) {
        return;
    }
    let all = std::env::var("TALLYD_FAULTS").is_ok_and(|value| value == "all");
    let expect = undisturbed(&home_before(Cycle::First));
    let cases: Vec<_> =
        [Cycle::First, Cycle::Next].into_iter().flat_map(|c| FAULTS.map(|f| (c, f))).collect();
    let cases = Mutex::new(cases);
    let next = || cases.lock().unwrap().pop();
    // A run that met a fault waits a second before it tries again: many wait at once.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((cycle, fault)) = next() {
                    let (mut nth, mut step) = (1, 1);
                    let mut failed = 0;
                    while fail_nth(cycle, fault, nth, &expect) {
                        failed += 1;
                        nth += step;
                        step = if all { 1 } else { step + nth / 2 };
                    }
                    println!("{cycle:?}: {} with {}: {failed} runs", fault.0, fault.1);
                }
            });
        }
    });
}

#[test]
fn h38_h39_a_disk_that_fails_for_a_while_is_waited_out_while_health_warns() {
    if !works(&["strace", "-V"]) {
        return;
    }
    let home = Home::new();
    home.write(LOG, calls(0..20));
    let mut service = Service::start(&home);
    service.wait_ready();
    let files = files(&home);
    let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    for (written, fault, says) in [
        (20, "pwrite64:error=EIO", "I/O"),
        (21, "pwrite64:error=ENOSPC", "full"),
        (22, "pread64,openat:error=EIO", ""),
    ] {
        let mut faults = vec![fault];
        if says.is_empty() {
            // Nothing is read again from a connection that is not in doubt.
            faults.push("pwrite64:error=EIO:when=1");
        }
        let Some(injection) = Injection::into(&service, &faults, &files) else { return };
        home.append(LOG, call(written));
        service.wait_for_check("writer:errors", "warn", says);
        injection.end();
        wait("the call in the marts", || {
            integer(&home.database(), CALLS) == i64::try_from(written).unwrap() + 1
        });
        wait_healthy(&service);
        assert!(service.is_running(), "{fault}");
    }
    assert_eq!(service.stop(), 0);
    assert_nothing_lost(&home, "after a disk that failed");
}

#[test]
fn h39_a_write_ahead_log_that_cannot_be_synced_is_shown_until_it_can() {
    if !works(&["strace", "-V"]) {
        return;
    }
    let home = Home::new();
    home.write(LOG, calls(0..20));
    let mut service = Service::start(&home);
    service.wait_ready();
    let files = files(&home);
    let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    let fault = ["fsync:error=EIO"];
    let Some(injection) = Injection::into(&service, &fault, &files) else { return };
    // More than what is left in the log when idle.
    home.append(LOG, calls(20..40_000));
    service.wait_for_check("database:wal", "warn", "I/O");
    injection.end();
    // Whatever is written next starts another try.
    home.append(LOG, call(40_000));
    wait("the calls in the marts", || integer(&home.database(), CALLS) == 40_001);
    wait_healthy(&service);
    assert!(service.is_running());
    assert_eq!(service.stop(), 0);
    assert_nothing_lost(&home, "after failed syncs");
}
