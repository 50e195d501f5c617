//! What a test cannot have for real: other filesystems, other times, other versions.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;
use store::Filesystem;

use super::look::Look;
use super::processes::Process;
use super::*;

/// A look at an empty home, changed.
fn looked(change: impl FnOnce(&mut Look)) -> Vec<Finding> {
    let home = tempfile::tempdir().unwrap();
    let vars = BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
    let mut look = Look::gather(vars, &Flags::default()).unwrap();
    change(&mut look);
    CHECKS.iter().flat_map(|check| check(&look)).collect()
}

#[track_caller]
fn assert_has(findings: &[Finding], about: &str, mark: Mark, words: &[&str]) {
    let is_it = |finding: &&Finding| {
        let text = format!("{}\n{}", finding.seen, finding.remedy.as_deref().unwrap_or_default());
        finding.about == about
            && finding.mark == mark
            && words.iter().all(|word| text.contains(word))
    };
    assert!(findings.iter().any(|finding| is_it(&finding)), "{words:?}: {findings:#?}");
}

#[test]
fn h27_filesystems_of_other_machines_are_named() {
    let found = looked(|look| look.data_dir.filesystem = Filesystem::Remote("NFS"));
    assert_has(&found, "filesystem", Mark::Problem, &["network filesystem (NFS)", "--data-dir"]);
    let found = looked(|look| look.data_dir.filesystem = Filesystem::Fuse);
    assert_has(&found, "filesystem", Mark::Note, &["FUSE", "encrypted"]);
    let roots = [("/mnt/a", Filesystem::Remote("9p")), ("/mnt/b", Filesystem::Fuse)];
    let found = looked(|look| {
        look.remote_roots = roots.map(|(path, kind)| (PathBuf::from(path), kind)).into();
    });
    let swept = "every 30 s: `sweep_interval_s`";
    assert_has(&found, "filesystem of logs", Mark::Note, &["/mnt/a (9p)", "not heard of", swept]);
    assert_has(&found, "filesystem of logs", Mark::Note, &["/mnt/b (FUSE)", "may not be heard of"]);
}

#[test]
fn h29_a_clock_that_is_years_off_is_named() {
    let at = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let found = looked(|look| look.now_ms = at("2019-05-05T00:00:00Z"));
    assert_has(&found, "clock", Mark::Problem, &["it says 2019-05-05", "timedatectl set-ntp true"]);
    let found = looked(|look| look.now_ms = at("2049-05-05T00:00:00Z"));
    assert_has(&found, "clock", Mark::Warning, &["it says 2049-05-05", "a newer tallyd"]);
    assert_has(&looked(|_| {}), "clock", Mark::Ok, &["it says 20"]);
}

#[test]
fn a_filesystem_that_is_read_only_is_named() {
    let found = looked(|look| {
        look.data_dir.is_writable = false;
        look.data_dir.is_read_only = true;
    });
    assert_has(&found, "data directory", Mark::Problem, &["read-only filesystem", "--data-dir"]);
    assert!(!found.iter().any(|finding| finding.remedy.iter().any(|text| text.contains("chmod"))));
}

#[test]
fn a_home_that_is_not_the_one_on_record_is_a_note() {
    let found = looked(|look| look.home.on_record = Some(PathBuf::from("/home/ada")));
    let words = ["on record is /home/ada", "export HOME=/home/ada"];
    assert_has(&found, "home", Mark::Note, &words);
}

#[test]
fn a_sqlite_with_a_fault_is_a_problem() {
    let found = looked(|look| look.sqlite = Err("SQLite 3.50.0 can lose rows".to_owned()));
    assert_has(&found, "SQLite", Mark::Problem, &["can lose rows", "update tallyd"]);
    assert_has(&looked(|_| {}), "SQLite", Mark::Ok, &["3."]);
}

/// A service that answers with this.
fn answers(look: &mut Look, health: serde_json::Value) {
    let address: SocketAddr = "127.0.0.1:8474".parse().unwrap();
    look.service.holder = Some("tallyd run (process 1)".to_owned());
    look.service.process = Some(Process::of(std::process::id()));
    look.service.health = Some((address, health));
}

#[test]
fn a_service_of_another_version_is_named() {
    let found = looked(|look| answers(look, json!({"status": "pass", "version": "0.0.1"})));
    let words = ["is version 0.0.1, this program is", "systemctl --user restart tallyd"];
    assert_has(&found, "program", Mark::Warning, &words);
}

#[test]
fn what_fails_in_a_service_is_a_problem_and_what_warns_a_warning() {
    let failed = json!({"status": "fail", "version": env!("CARGO_PKG_VERSION"), "checks": {
        "writer:heartbeat": [{"status": "fail", "output": "it stands still"}],
        "marts:lag": [{"status": "pass"}, {"status": "warn", "output": "no such column"}],
        "database:disk": [{"status": "warn", "output": "told of elsewhere"}],
    }});
    let found = looked(|look| answers(look, failed));
    assert_has(&found, "health", Mark::Problem, &["writer:heartbeat: it stands still"]);
    assert_has(&found, "health", Mark::Warning, &["marts:lag: no such column", "journalctl"]);
    assert!(!found.iter().any(|finding| finding.seen.contains("elsewhere")), "{found:#?}");
    assert_has(&found, "service", Mark::Ok, &["health fail"]);
}

#[test]
fn what_stands_in_a_finding_cannot_steer_a_terminal() {
    let finding = Finding::new("logs", Mark::Note, "a\u{1b}[2Jb\nc", "x\u{202e}y");
    let said = as_text(&[finding, Finding::ok("disk", "fine")]);
    assert_eq!(
        said,
        "note     logs  a\u{fffd}[2Jb\u{fffd}c\n               > x\u{fffd}y\n\
         ok       disk  fine\n\n0 problems, 0 warnings, 1 note, 1 fine\n"
    );
}

#[test]
fn paths_are_written_as_a_shell_takes_them() {
    let quoted = |path: &str| files::quoted(path.as_ref());
    assert_eq!(quoted("/home/ada/.local"), "/home/ada/.local");
    assert_eq!(quoted("/home/a b/it's"), "'/home/a b/it'\\''s'");
}
