//! `tallyd doctor`: each finding, provoked.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::support::faults::{calls, run_by, works};
use crate::support::whole::database;
use crate::support::{Home, Service, files, wait};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const CONFIG: &str = ".config/tallyd/config.toml";

/// What the doctor said, and how it ended.
struct Report {
    said: Value,
    code: Option<i32>,
}

impl Report {
    fn of(mut command: Command) -> Self {
        let output = command.arg("--json").output().unwrap();
        let said = serde_json::from_slice(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        Self { said: said.unwrap_or_else(|e| panic!("{e}: {error}")), code: output.status.code() }
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.said["findings"].as_array().unwrap().iter()
    }

    /// A finding about something has this mark, and these words in what was seen or in the remedy.
    #[track_caller]
    fn has(&self, about: &str, mark: &str, words: &[&str]) -> &Self {
        let says = |finding: &&Value| {
            let text = format!("{}\n{}", finding["seen"], finding["remedy"]);
            finding["about"] == about
                && finding["mark"] == mark
                && words.iter().all(|word| text.contains(word))
        };
        assert!(self.findings().any(|f| says(&f)), "no {mark} {about} {words:?}: {:#}", self.said);
        let is_bad = mark == "problem";
        assert!(!is_bad || self.code == Some(1), "{:?}", self.code);
        self
    }

    /// Nothing but this is wrong.
    #[track_caller]
    fn alone(&self, about: &str) {
        let is_concern = |finding: &&Value| {
            matches!(finding["mark"].as_str(), Some("warning" | "problem"))
                && finding["about"] != about
        };
        assert_eq!(self.findings().find(is_concern), None, "{:#}", self.said);
    }
}

/// An address at which nobody listens, and no other story will: the system gives ports above these to
/// whoever asks for any.
fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let address = format!("127.0.0.1:{}", NEXT.fetch_add(1, Ordering::Relaxed));
        if TcpStream::connect(&address).is_err() {
            return address;
        }
    }
}

fn command(home: &Home, args: &[&str]) -> Command {
    let mut command = home.command(&[&["doctor"], args].concat());
    command.env("TALLYD_LISTEN", free_address());
    command
}

fn doctor(home: &Home) -> Report {
    Report::of(command(home, &[]))
}

/// A home with a log that was read.
fn read() -> Home {
    let home = Home::new();
    home.write(LOG, calls(0..100));
    home.tallyd(&["backfill"]);
    home
}

fn start(home: &Home) -> Service {
    let service = Service::start(home);
    service.wait_ready();
    service
}

#[expect(clippy::disallowed_methods, reason = "changes the database as another program would")]
fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn where_all_is_well_it_says_what_it_looked_at_and_changes_nothing() {
    let home = read();
    let contents = || -> Vec<(PathBuf, Vec<u8>)> {
        let all = files(home.path()).into_iter();
        // SQLite makes these for whoever reads.
        let all = all.filter(|path| {
            let path = path.to_str().unwrap();
            !path.ends_with("-wal") && !path.ends_with("-shm")
        });
        all.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = contents();
    let report = doctor(&home);
    assert_eq!(report.code, Some(0), "{:#}", report.said);
    report.alone("");
    for about in [
        "configuration",
        "data directory",
        "filesystem",
        "disk",
        "logs",
        "permissions",
        "port",
        "installations",
        "database",
        "write-ahead log",
        "marts",
        "clock",
        "time zone",
        "prices",
        "reading",
        "skipped records",
        "SQLite",
    ] {
        report.has(about, "ok", &[]);
    }
    report.has("service", "note", &["not running", "tallyd run"]);
    assert!(contents() == before);
    let text = command(&home, &[]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("ok       database") && text.ends_with(" fine\n"), "{text}");
    assert!(text.contains("\n0 problems, 0 warnings, "), "{text}");
}

#[test]
fn it_works_without_a_database_a_home_or_a_good_configuration() {
    let home = Home::new();
    let report = doctor(&home);
    report.has("database", "note", &["there is no database", "tallyd backfill"]);
    report.has("logs", "warning", &["no agent's logs found; looked in", "tallyd providers"]);
    assert!(!home.data_dir().exists(), "it makes nothing");

    home.write(CONFIG, "debounce = 5\n");
    let report = doctor(&home);
    let words = ["config.toml: unknown key `debounce`", "did you mean `debounce_ms`?"];
    report.has("configuration", "problem", &words);
    let mut wrong = command(&home, &[]);
    wrong.env("TALLYD_LISTEN", "everywhere");
    Report::of(wrong).has("configuration", "problem", &["config.toml"]);
    fs::remove_file(home.path().join(CONFIG)).unwrap();
    let mut wrong = command(&home, &[]);
    wrong.env("TALLYD_LISTEN", "everywhere");
    Report::of(wrong).has("configuration", "problem", &["$TALLYD_LISTEN", "everywhere"]);

    for (value, words) in [("/nowhere/at/all", "no folder"), ("", "not set")] {
        let mut wrong = command(&home, &["--data-dir", home.path().to_str().unwrap()]);
        wrong.env("HOME", value);
        Report::of(wrong).has("home", "problem", &[words, "export HOME="]);
    }
}

#[test]
fn a_home_and_a_data_directory_of_somebody_else_are_named() {
    let home = Home::of_a_mortal();
    let other = |args: &[&str]| {
        let mut command = command(&home, args);
        command.env("HOME", "/");
        Report::of(command)
    };
    other(&[]).has("home", "warning", &["/ belongs to user 0", "sudo"]);
    Report::of(command(&home, &["--data-dir", "/usr"])).has(
        "data directory",
        "problem",
        &["/usr belongs to user 0", "chown"],
    );
    Report::of(command(&home, &["--data-dir", "/usr/tallyd"])).has(
        "data directory",
        "problem",
        &["/usr/tallyd cannot be made", "--data-dir"],
    );
    home.tallyd(&["backfill"]);
    allow(&home.data_dir(), 0o755);
    doctor(&home).has("data directory", "warning", &["(mode 755)", "chmod 700 "]);
    allow(&home.data_dir(), 0o500);
    doctor(&home).has("data directory", "problem", &["cannot be written to", "chmod 700 "]);
    allow(&home.data_dir(), 0o700);
}

#[test]
fn what_may_not_be_read_is_named() {
    let home = Home::of_a_mortal();
    let log = home.write(LOG, calls(0..10));
    let other = home.write(".claude/projects/-other/o.jsonl", calls(10..20));
    allow(&log, 0o000);
    allow(other.parent().unwrap(), 0o000);
    let report = doctor(&home);
    report.has("permissions", "warning", &["may not be read", "s.jsonl", "chmod u+r "]);
    report.has("permissions", "warning", &["may not be listed", "-other", "chmod u+rx "]);
    home.write(".codex/sessions", "no folder");
    doctor(&home).has("permissions", "warning", &[".codex/sessions is a file", "`roots`"]);
    home.tallyd(&["backfill"]);
    doctor(&home).has("reading", "warning", &["could not be read", "s.jsonl"]);
    allow(&log, 0o600);
    allow(other.parent().unwrap(), 0o700);
    fs::remove_file(home.path().join(".codex/sessions")).unwrap();
    home.tallyd(&["backfill"]);
    let report = doctor(&home);
    report.has("permissions", "ok", &[]);
    report.has("reading", "ok", &[]);
}

#[test]
fn h22_a_limit_of_watches_is_named_with_the_command_that_raises_it() {
    let home = read();
    for (limit, setting) in [
        ("max_inotify_watches", "sudo sysctl fs.inotify.max_user_watches="),
        ("max_inotify_instances", "sudo sysctl fs.inotify.max_user_instances="),
    ] {
        let set = format!("echo 0 > /proc/sys/user/{limit}");
        if !works(&["unshare", "-Ur", "sh", "-c", &set]) {
            return;
        }
        let within = format!("{set}; exec \"$@\"");
        let by = ["unshare", "-Ur", "sh", "-c", &within, "sh"];
        let report = Report::of(run_by(&by, &command(&home, &[])));
        report.has("watches", "warning", &["folders to watch", setting, "/etc/sysctl.d/"]);
        // The running service knows better than any sum.
        let run = home.command(&["run", "--listen", "127.0.0.1:0"]);
        let service = Service::spawn(run_by(&by, &run));
        service.wait_ready();
        doctor(&home).has("watches", "warning", &["of the running service: no inotify", setting]);
        assert_eq!(service.stop(), 0);
    }
    doctor(&home).has("watches", "ok", &["in use"]);
}

#[test]
fn a_disk_that_is_nearly_full_is_named() {
    const MOUNT: &str = "mount -t tmpfs -o size=3m,mode=700 none \"$1\" && shift && exec \"$@\"";
    if !works(&["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]) {
        return;
    }
    let home = read();
    let disk = home.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let disk = disk.to_str().unwrap();
    let by = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", disk];
    let report = Report::of(run_by(&by, &command(&home, &["--data-dir", disk])));
    report.has("disk", "warning", &["3.1 MB left", "df -h"]);
}

#[test]
fn who_holds_the_data_directory_and_the_port_is_named() {
    let home = read();
    let mut service = start(&home);
    let ours = |address: &str| {
        let mut command = command(&home, &[]);
        command.env("TALLYD_LISTEN", address);
        Report::of(command)
    };
    let report = ours(&service.address());
    report.has("service", "ok", &["tallyd run (process", "health pass"]);
    report.has("port", "ok", &["is this service's"]);
    report.has("program", "ok", &["version"]);
    report.has("environment", "ok", &[]);
    report.has("health", "ok", &[]);
    report.alone("");

    let other = Home::new();
    other.write(LOG, calls(0..5));
    let mut elsewhere = command(&other, &[]);
    elsewhere.env("TALLYD_LISTEN", service.address());
    let words = [home.data_dir(), "tallyd run --listen 127.0.0.1:847".into()];
    let words = words.each_ref().map(|word| word.to_str().unwrap());
    Report::of(elsewhere).has("port", "problem", &words);

    // One that does not get its port says so, and counts all the same.
    let mut refused = other.command(&["run"]);
    refused.env("TALLYD_LISTEN", service.address());
    let refused = Service::launch(refused);
    refused.wait_for_log("cannot listen");
    let mut last = None;
    wait("the address to be refused", || {
        let mut again = other.command(&["doctor"]);
        again.env("TALLYD_LISTEN", service.address());
        let report = Report::of(again);
        let is_told = report.said.to_string().contains("is running, but cannot listen");
        last = Some(report);
        is_told
    });
    last.unwrap().has("service", "problem", &["cannot listen on 127.0.0.1"]);
    assert_eq!(refused.stop(), 0);

    // A program that speaks otherwise.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let me = format!("(process {})", std::process::id());
    ours(&address).has("port", "note", &["is taken by", &me]);
    service.signal("-STOP");
    // A busy machine lets it answer once more.
    let mut report = ours(&service.address());
    wait("the service to stand still", || {
        report = ours(&service.address());
        report.said.to_string().contains("does not answer")
    });
    report.has("service", "problem", &["does not answer", "systemctl --user restart tallyd"]);
    report.has("service", "problem", &[&format!("kill {}", service.pid())]);
    service.signal("-CONT");
    assert!(service.is_running());
    assert_eq!(service.stop(), 0);
    ours(&address).has("port", "problem", &["is taken by", &me]);

    let lock = OpenOptions::new().write(true).open(home.data_dir().join("tallyd.db.lock")).unwrap();
    lock.lock().unwrap();
    lock.set_len(0).unwrap();
    (&lock).write_all(b"tallyd reprice (process 1)").unwrap();
    doctor(&home).has("service", "note", &["not running; tallyd reprice (process 1) is"]);
}

#[test]
fn a_service_of_another_program_or_another_environment_is_named() {
    let home = read();
    let program = home.path().join("tallyd");
    // Another process makes the copy: a child that a story forks meanwhile would inherit the file.
    let paths = [Path::new(env!("CARGO_BIN_EXE_tallyd")), &program];
    assert!(Command::new("cp").args(paths).status().unwrap().success());
    let mut run = Command::new(&program);
    run.args(["run", "--listen", "127.0.0.1:0"]).env_clear();
    run.env("HOME", home.path()).env("TZ", "UTC").env("CODEX_HOME", "/elsewhere/codex");
    let service = Service::spawn(run);
    service.wait_ready();
    fs::remove_file(&program).unwrap();
    let mut here = command(&home, &[]);
    here.env("CLAUDE_CONFIG_DIR", "/elsewhere/claude").env("EDITOR", "ed");
    let report = Report::of(here);
    report.has("program", "warning", &["was replaced or removed", "systemctl --user restart"]);
    let claude = "CLAUDE_CONFIG_DIR is /elsewhere/claude here, and is not set in the running";
    report.has("environment", "warning", &[claude, "tallyd service install"]);
    let codex = "CODEX_HOME is not set here, and is /elsewhere/codex in the running service";
    report.has("environment", "warning", &[codex]);
    assert!(!report.said.to_string().contains("EDITOR"), "it decides nothing: {}", report.said);
    assert_eq!(service.stop(), 0);
}

#[test]
fn another_installation_on_the_path_is_named() {
    let home = read();
    let write = |folder: &str, text: &str| {
        let path = home.write(&format!("{folder}/tallyd"), text);
        allow(&path, 0o755);
    };
    write("old", "#!/bin/sh\necho tallyd 0.0.1\n");
    write("stuck", "#!/bin/sh\nexec tail -f /dev/null\n");
    write("same", concat!("#!/bin/sh\necho tallyd ", env!("CARGO_PKG_VERSION"), "\n"));
    let folders = ["old", "stuck", "same"].map(|name| home.path().join(name));
    let path = std::env::join_paths(folders.iter().map(PathBuf::as_path)).unwrap();
    let path = format!("{}:/usr/bin:/bin", path.to_str().unwrap());
    let mut command = command(&home, &[]);
    let report = Report::of({
        command.env("PATH", path);
        command
    });
    report.has("installations", "warning", &["old/tallyd is version 0.0.1", "rm "]);
    report.has("installations", "warning", &["stuck/tallyd is version unknown"]);
    report.has("installations", "note", &["same/tallyd is version"]);
}

#[test]
fn what_is_wrong_with_the_database_is_named_with_the_way_back() {
    let home = read();
    let path = database(&home);
    let whole = home.path().join("whole.db");
    home.tallyd(&["backup", whole.to_str().unwrap()]);
    let with = |change: &str| {
        fs::copy(&whole, &path).unwrap();
        open(&path).execute_batch(change).unwrap();
        doctor(&home)
    };
    with("UPDATE mart_watermark SET last_event_id = last_event_id - 7 WHERE mart_name LIKE 'd%'")
        .has("marts", "note", &["7 changes behind", "tallyd backfill"]);
    with("PRAGMA user_version = 2").has("database", "note", &["older tallyd", "makes a backup"]);
    with("PRAGMA user_version = 99").has("database", "problem", &["schema 99", "tallyd restore"]);
    with("PRAGMA application_id = 7").has("database", "problem", &["another program"]);
    fs::copy(&whole, &path).unwrap();
    let pages = fs::metadata(&path).unwrap().len() / 4096;
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start((pages - 1) * 4096)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
    let report = doctor(&home);
    report.has("database", "problem", &["damaged", "tallyd restore FILE"]);
    report.alone("database");
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
    doctor(&home).has("database", "problem", &["tallyd restore FILE"]);
    assert!(path.exists(), "it moves nothing");
    // A start has set it aside.
    assert_eq!(home.run(&["backfill"]).status.code(), Some(1));
    doctor(&home).has("database", "problem", &["was set aside", "tallyd restore FILE"]);
    home.tallyd(&["restore", whole.to_str().unwrap()]);
    doctor(&home).alone("");
}

#[test]
fn h40_who_holds_up_the_write_ahead_log_is_named() {
    let home = read();
    let reader = open(&database(&home));
    let blobs = "CREATE TABLE blobs (b); INSERT INTO blobs VALUES (zeroblob(70000000));";
    reader.execute_batch(&format!("PRAGMA wal_autocheckpoint = 0; {blobs}")).unwrap();
    let me = format!("(process {})", std::process::id());
    doctor(&home).has("write-ahead log", "warning", &["is held open by", &me]);
    reader.execute_batch("DROP TABLE blobs").unwrap();
    drop(reader);
    doctor(&home).has("write-ahead log", "ok", &[]);
}

#[test]
fn times_zones_prices_and_budgets_are_looked_at() {
    let home = Home::new();
    let ahead = calls(0..3).replace("2026-09", "2096-09").replace("claude-opus-5", "house-1");
    home.write(LOG, ahead);
    // A cloud asks a price of its own.
    let rerouted = calls(3..6).replace("claude-opus-5", "us.anthropic.claude-opus-4-6-v1:0");
    home.write(".claude/projects/-w/cloud.jsonl", rerouted);
    home.tallyd(&["backfill"]);
    let report = doctor(&home);
    report.has("clock", "warning", &["newest event is of 2096-09-0", "timedatectl"]);
    report.has("prices", "note", &["house-1 (3 calls)", "tallyd reprice --unpriced"]);
    report.has(
        "prices",
        "note",
        &["3 calls at a price", "us.anthropic.claude-opus-4-6-v1:0 (3 calls)"],
    );
    report.alone("clock");
    let mut elsewhere = command(&home, &[]);
    elsewhere.env("TZ", "Asia/Tokyo");
    let words = ["counted in UTC; the system is in Asia/Tokyo", "time_zone = \\\"Asia/Tokyo\\\""];
    Report::of(elsewhere).has("time zone", "note", &words);
    home.write(
        CONFIG,
        "time_zone = \"Europe/Berlin\"\n\
         [[budgets]]\nperiod = \"month\"\nusd = 5\nproject = \"/w/nowhere\"\n\
         [[budgets]]\nperiod = \"month\"\nusd = 7\n",
    );
    let report = doctor(&home);
    report.has("time zone", "note", &["configured is Europe/Berlin", "next start"]);
    report.has("budgets", "warning", &["/w/nowhere", "tallyd report project"]);
    report.has("budgets", "ok", &["of $7.00"]);
}

#[test]
fn logs_that_cannot_be_understood_and_what_the_service_warns_of_are_named() {
    let home = Home::new();
    home.write(LOG, calls(0..100) + &"{\"torn\n".repeat(99));
    let service = start(&home);
    let report = doctor(&home);
    report.has("skipped records", "note", &["claude-code: 99 ", "update tallyd"]);
    report.has("reading", "warning", &["more than a fifth", "s.jsonl"]);
    home.write(CONFIG, "debounce = 5\n");
    service.signal("-HUP");
    service.wait_for_check("configuration:reload", "warn", "debounce");
    let report = doctor(&home);
    report.has("health", "warning", &["configuration:reload: ", "journalctl --user -u tallyd"]);
    assert_eq!(service.stop(), 0);
}

#[test]
fn links_that_are_not_followed_are_named() {
    let (home, elsewhere) = (Home::new(), tempfile::tempdir().unwrap());
    home.write(LOG, calls(0..10));
    let link = home.path().join(".claude/projects/-linked");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    doctor(&home).has("links", "warning", &["not followed", "-linked", "`roots`"]);
}

#[test]
fn every_finding_stands_in_the_documentation() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = fs::read_to_string(top.join("docs/operating.md")).unwrap();
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| ")).skip(2);
    let mut told: Vec<&str> = rows.filter_map(|row| row.split(" | ").next()).collect();
    told.retain(|about| !about.is_empty() && !about.starts_with('|'));
    let sources = files(&top.join("crates/daemon/src/commands/doctor"));
    let sources: String = sources.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let known = sources.split("const ABOUT: &str = \"").skip(1);
    let mut known: Vec<&str> = known.filter_map(|text| text.split('"').next()).collect();
    told.sort_unstable();
    known.sort_unstable();
    assert_eq!(told, known);
    assert!(known.len() > 20);
}
