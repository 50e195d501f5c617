//! `tallyd restore`: what was backed up stands in the place of the database again.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::{Connection, OpenFlags};

use crate::support::faults::{assert_nothing_lost, call, calls, works};
use crate::support::whole::{database, look};
use crate::support::{Home, Service, files, integer, strings};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const ROWS: &str = "SELECT count(*) FROM usage_events";

/// A home with a backup of its first `n` calls.
fn backed_up(n: usize) -> (Home, PathBuf) {
    let home = Home::new();
    home.write(LOG, calls(0..n));
    home.tallyd(&["backfill"]);
    let backup = home.path().join("backup.db");
    home.tallyd(&["backup", backup.to_str().unwrap()]);
    (home, backup)
}

fn epoch(home: &Home) -> i64 {
    integer(&home.database(), "SELECT value FROM meta WHERE key = 'epoch'")
}

/// Databases that were set aside.
fn beside(home: &Home, mark: &str) -> Vec<PathBuf> {
    let mut all = files(&home.data_dir());
    let is_part = |name: &str| name.ends_with("-wal") || name.ends_with("-shm");
    all.retain(|path| path.to_str().is_some_and(|name| name.contains(mark) && !is_part(name)));
    all
}

/// Fails, changing nothing; what it says.
#[track_caller]
fn refused(home: &Home, file: &Path, code: i32) -> String {
    let contents = || -> Vec<_> {
        let all = files(&home.data_dir()).into_iter();
        all.filter(|path| !path.ends_with("tallyd.db.lock"))
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect()
    };
    let before = contents();
    let output = home.run(&["restore", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(contents() == before, "{said}");
    said
}

#[test]
fn what_was_logged_since_a_backup_is_read_again_after_it_was_restored() {
    let (home, backup) = backed_up(100);
    home.append(LOG, calls(100..150));
    home.tallyd(&["backfill"]);
    home.tallyd(&["rebuild", "--all"]);
    let before = epoch(&home);
    let said = home.tallyd(&["restore", backup.to_str().unwrap()]);
    assert!(said.contains("what was logged since is read again at the next start"), "{said}");
    assert_eq!(integer(&home.database(), ROWS), 100);
    assert!(epoch(&home) > before, "whoever has seen the rows sees that they are others");
    let mode = fs::metadata(database(&home)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    home.tallyd(&["check"]);
    let aside = beside(&home, ".replaced-");
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(integer(&look(&aside[0]).unwrap(), ROWS), 150, "nothing is deleted");
    home.tallyd(&["backfill"]);
    assert_eq!(integer(&home.database(), ROWS), 150);
    assert_nothing_lost(&home, "after a restore");
    // And there again: what was set aside is as good as a backup.
    let figures = home.json(&["restore", aside[0].to_str().unwrap()]);
    assert_eq!(figures["events"], 150);
    assert_eq!(beside(&home, ".replaced-").len(), 2);
    assert_nothing_lost(&home, "after another one");
}

#[test]
fn h42_what_the_hint_says_brings_a_damaged_database_back() {
    let (home, backup) = backed_up(500);
    home.append(LOG, calls(500..600));
    let mut file = OpenOptions::new().write(true).open(database(&home)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
    // Restored before anybody has set it aside, and after it was.
    for is_found_first in [false, true] {
        if is_found_first {
            file = OpenOptions::new().write(true).open(database(&home)).unwrap();
            file.write_all(&[0x5a; 4096]).unwrap();
            let output = home.run(&["backfill"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("hint: put a backup in its place with `tallyd restore"),
                "{said}"
            );
            assert!(!database(&home).exists());
        }
        home.tallyd(&["restore", backup.to_str().unwrap()]);
        home.tallyd(&["check"]);
        home.tallyd(&["backfill"]);
        assert_nothing_lost(&home, "after a damaged database");
    }
    assert_eq!(beside(&home, ".replaced-").len(), 1);
    assert_eq!(beside(&home, ".corrupt-").len(), 1);
}

#[test]
fn a_log_of_the_database_before_is_not_taken_for_that_of_the_restored_one() {
    let (home, backup) = backed_up(200);
    let service = Service::start(&home);
    service.wait_ready();
    home.append(LOG, calls(200..260));
    crate::support::wait("the calls", || integer(&home.database(), ROWS) == 260);
    service.kill();
    let wal = home.data_dir().join("tallyd.db-wal");
    assert!(fs::metadata(&wal).unwrap().len() > 0, "what was written last is in the log alone");
    // The log stays while anybody has the database open.
    let idle = look(&database(&home)).unwrap();
    assert_eq!(integer(&idle, ROWS), 260);
    home.tallyd(&["restore", backup.to_str().unwrap()]);
    assert!(!wal.exists());
    assert_eq!(integer(&home.database(), ROWS), 200);
    home.tallyd(&["check"]);
    assert_eq!(integer(&idle, ROWS), 260, "it goes on with what it has");
    drop(idle);
    let aside = beside(&home, ".replaced-");
    assert_eq!(integer(&look(&aside[0]).unwrap(), ROWS), 260, "nothing of it is lost");
    home.tallyd(&["backfill"]);
    assert_nothing_lost(&home, "after a killed service");
}

#[test]
fn a_database_that_is_gone_is_restored_and_a_running_service_is_left_alone() {
    let (home, backup) = backed_up(50);
    fs::remove_dir_all(home.data_dir()).unwrap();
    home.tallyd(&["restore", backup.to_str().unwrap()]);
    assert_nothing_lost(&home, "after the folder was removed");
    let service = Service::start(&home);
    service.wait_ready();
    let output = home.run(&["restore", backup.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("tallyd run (process") && said.contains("hint:"), "{said}");
    assert_eq!(service.stop(), 0);
}

#[expect(clippy::disallowed_methods, reason = "makes what is no backup")]
fn open(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::default()).unwrap()
}

#[test]
fn what_is_no_whole_backup_of_ours_is_refused_and_nothing_is_touched() {
    let (home, backup) = backed_up(2_000);
    let other = home.path().join("other.db");
    let said = refused(&home, &other, 1);
    assert!(said.contains("other.db"), "{said}");
    fs::write(&other, "no database at all, but long enough to be looked at as one").unwrap();
    let said = refused(&home, &other, 1);
    assert!(said.contains("is no backup") && said.contains("hint: `tallyd restore`"), "{said}");
    fs::remove_file(&other).unwrap();
    open(&other).execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(refused(&home, &other, 1).contains("another program"));
    fs::copy(&backup, &other).unwrap();
    open(&other).pragma_update(None, "user_version", 99).unwrap();
    let said = refused(&home, &other, 78);
    assert!(said.contains("schema 99") && said.contains("hint:"), "{said}");
    fs::copy(&backup, &other).unwrap();
    let mut file = OpenOptions::new().write(true).open(&other).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    file.seek(SeekFrom::Start(pages / 2 * 4096)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
    assert!(refused(&home, &other, 1).contains("is no backup"));
    assert!(refused(&home, &database(&home), 1).contains("the database itself"));
    // A reader that stays would go on with half of it.
    let reader = look(&database(&home)).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM usage_events").unwrap();
    let service = Service::start(&home);
    service.wait_ready();
    home.append(LOG, call(5_000));
    crate::support::wait("the call", || integer(&home.database(), ROWS) == 2_001);
    service.kill();
    let output = home.run(&["restore", backup.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is being read by another program"), "{said}");
    assert_eq!(integer(&home.database(), ROWS), 2_001);
    drop(reader);
    home.tallyd(&["restore", backup.to_str().unwrap()]);
    home.tallyd(&["backfill"]);
    assert_nothing_lost(&home, "after all of that");
}

#[test]
fn without_a_file_the_backups_beside_the_database_are_listed_and_left_as_they_are() {
    let home = Home::new();
    assert!(home.tallyd(&["restore"]).contains("no backups in"));
    let (home, _) = backed_up(300);
    let inside = |name: &str| home.data_dir().join(name);
    home.tallyd(&["backup", inside("tallyd.db.monday").to_str().unwrap()]);
    home.tallyd(&["restore", inside("tallyd.db.monday").to_str().unwrap()]);
    fs::write(inside("tallyd.db.half"), "SQLite format 3\0 and no more").unwrap();
    fs::write(inside("notes.txt"), "of another kind").unwrap();
    let before = files(&home.data_dir());
    let list = home.json(&["restore"]);
    assert_eq!(files(&home.data_dir()), before, "it only looks");
    let by_name = |part: &str| {
        let all = list["backups"].as_array().unwrap();
        let is_it = |entry: &&serde_json::Value| entry["file"].as_str().unwrap().contains(part);
        all.iter().find(is_it).unwrap_or_else(|| panic!("{part}: {list}")).clone()
    };
    assert_eq!(list["backups"].as_array().unwrap().len(), 3, "{list}");
    let monday = by_name("monday");
    assert_eq!((&monday["good"], &monday["events"]), (&true.into(), &300.into()));
    assert_eq!(by_name("half")["good"], false);
    assert_eq!(by_name("replaced")["set_aside_by_restore"], true);
    assert_eq!(list["newest_good"], monday["file"]);
    let said = home.tallyd(&["restore"]);
    assert!(said.contains("tallyd.db.monday\n") && said.contains("the newest good one"), "{said}");
    assert_eq!(strings(&home.database(), "PRAGMA quick_check"), ["ok"]);
}

#[test]
fn a_second_name_that_a_killed_restore_has_left_is_no_backup_and_goes() {
    let (home, backup) = backed_up(40);
    let second = home.data_dir().join("tallyd.db.replaced-20260101T000000Z");
    fs::hard_link(database(&home), &second).unwrap();
    assert!(home.tallyd(&["restore"]).contains("no backups in"), "it is the database itself");
    home.tallyd(&["restore", backup.to_str().unwrap()]);
    let aside = beside(&home, ".replaced-");
    assert!(aside.len() == 1 && !second.exists(), "{aside:?}");
    assert_nothing_lost(&home, "after a second name");
}

#[test]
fn a_disk_that_is_full_keeps_the_database_that_is_there() {
    const STORY: &str = "
        set -e; mount -t tmpfs -o size=6m,mode=700 none $1
        $2 backfill --data-dir $1 >/dev/null; $2 backup $3 --data-dir $1 >/dev/null
        head -c 100000000 /dev/zero >$1/ballast 2>/dev/null || true
        if $2 restore $3 --data-dir $1; then exit 9; fi
        ls $1 | grep -v -e ballast -e wal -e shm -e lock
        $2 check --data-dir $1; rm $1/ballast
        $2 restore $3 --data-dir $1 >/dev/null; $2 check --data-dir $1";
    if !works(&["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]) {
        return;
    }
    let home = Home::new();
    home.write(LOG, calls(0..3_000));
    let (disk, backup) = (home.path().join("disk"), home.path().join("backup.db"));
    fs::create_dir(&disk).unwrap();
    let tallyd = home.command(&[]);
    let mut story = Command::new("unshare");
    story.args(["-Urm", "sh", "-c", STORY, "sh"]).arg(&disk).arg(tallyd.get_program()).arg(&backup);
    story.env_clear().env("HOME", home.path()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = story.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.starts_with("tallyd.db\nsound: "), "nothing else is left: {said}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("full"), "{output:?}");
}

/// Lines like `    tallyd restore   what it does`, in their order.
#[test]
fn the_commands_of_the_documentation_work() {
    let docs = include_str!("../docs/operating.md");
    let home = Home::new();
    home.write(LOG, calls(0..20));
    home.tallyd(&["backfill"]);
    let plain = docs.lines().filter_map(|line| line.strip_prefix("    tallyd "));
    let commands: Vec<&str> = plain.filter_map(|line| line.split("   ").next()).collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for line in commands {
        let mut command = home.command(&line.split(' ').collect::<Vec<_>>());
        // Another tallyd may have the port.
        let output = command.current_dir(home.path()).env("TALLYD_LISTEN", "127.0.0.1:0").output();
        let output = output.unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}: {output:?}");
    }
    assert_nothing_lost(&home, "after all of that");
}
