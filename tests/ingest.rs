//! What happens to logs on disk: growth, cuts, rewrites, moves, compression, deletion.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use providers::{Appended, Around, Env, ParseLine, Parsed, Provider, Storage};
use rusqlite::Connection;
use usage::Source;

use crate::support::{DEADLINE, Home, Service, integer, wait};

const CLAUDE: &str = ".claude/projects/-w/5f0d0000-0000-4000-8000-000000000001.jsonl";
const ROLLOUT: &str = "2026/09/20/rollout-2026-09-20T08-00-00-0199aaaa-0000-7000-8000-000000000001";

/// One line of a response.
fn line(id: u32, output: u32) -> String {
    format!(
        r#"{{"type":"assistant","uuid":"u{id}-{output}","sessionId":"s","cwd":"/w","requestId":"req_{id}","timestamp":"2026-09-01T10:00:0{}.000Z","message":{{"id":"msg_01AAAAAAAAAAAAAAAAAA{id:04}","model":"claude-opus-5","usage":{{"input_tokens":10,"output_tokens":{output}}}}}}}
"#,
        id % 10
    )
}

fn rollout(cumulative: &[u32]) -> String {
    let mut text = String::from(
        r#"{"timestamp":"2026-09-20T08:00:00.000Z","type":"session_meta","payload":{"id":"0199aaaa-0000-7000-8000-000000000001","timestamp":"2026-09-20T08:00:00.000Z","cwd":"/w","source":"cli"}}
{"timestamp":"2026-09-20T08:00:01.000Z","type":"turn_context","payload":{"cwd":"/w","model":"gpt-5.5"}}
"#,
    );
    for total in cumulative {
        text.push_str(&format!(
            r#"{{"timestamp":"2026-09-20T08:00:02.000Z","type":"event_msg","payload":{{"type":"token_count","info":{{"total_token_usage":{{"input_tokens":{total},"cached_input_tokens":0,"output_tokens":1,"reasoning_output_tokens":0,"total_tokens":{total}}},"last_token_usage":null}}}}}}
"#,
        ));
    }
    text
}

fn sum(home: &Home, column: &str) -> i64 {
    integer(&home.database(), &format!("SELECT ifnull(sum({column}), 0) FROM usage_events"))
}

fn mart_sum(home: &Home, column: &str) -> i64 {
    integer(&home.database(), &format!("SELECT ifnull(sum({column}), 0) FROM daily_mart"))
}

#[test]
fn claude_edge_02_a_growing_response_is_corrected_by_the_difference() {
    let home = Home::new();
    home.write(CLAUDE, line(1, 9));
    let service = Service::start(&home);
    service.wait_ready();
    assert_eq!(mart_sum(&home, "output_tokens"), 9);
    home.append(CLAUDE, line(1, 159));
    wait("the correction", || mart_sum(&home, "output_tokens") == 159);
    assert_eq!(mart_sum(&home, "message_count"), 1);
    assert_eq!(mart_sum(&home, "input_tokens"), 10);
    assert_eq!(service.stop(), 0);
    home.tallyd(&["check"]);
}

#[test]
fn claude_edge_20_a_line_cut_in_the_middle_is_counted_once_when_it_is_whole() {
    let home = Home::new();
    let text = line(1, 5);
    home.write(CLAUDE, &text[..text.len() / 2]);
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "output_tokens"), 0);
    home.append(CLAUDE, &text[text.len() / 2..]);
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "output_tokens"), 5);
    assert_eq!(home.json(&["backfill"])["events"]["appended"], 0);
}

#[test]
fn a_last_line_without_newline_is_counted_at_once_and_only_once() {
    let home = Home::new();
    home.write(CLAUDE, line(1, 5).trim_end());
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "output_tokens"), 5);
    home.append(CLAUDE, "\n");
    home.append(CLAUDE, line(2, 7));
    let figures = home.json(&["backfill"]);
    assert_eq!(figures["events"]["appended"], 1, "{figures}");
    assert_eq!(sum(&home, "output_tokens"), 12);
}

#[test]
fn claude_edge_22_a_truncated_and_regrown_file_adds_no_duplicates() {
    let home = Home::new();
    home.write(CLAUDE, line(1, 5) + &line(2, 6));
    home.tallyd(&["backfill"]);
    // While the service is down: shorter, then longer than before, with other content.
    home.write(CLAUDE, line(2, 6) + &line(3, 7) + &line(4, 8));
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "output_tokens"), 5 + 6 + 7 + 8);
    // While it is up.
    let service = Service::start(&home);
    service.wait_ready();
    home.write(CLAUDE, line(5, 9));
    wait("the new line", || sum(&home, "output_tokens") == 5 + 6 + 7 + 8 + 9);
    assert_eq!(service.stop(), 0);
    home.tallyd(&["check"]);
}

#[test]
fn claude_edge_23_deleted_logs_change_no_total() {
    let home = Home::new();
    home.write(CLAUDE, line(1, 5) + &line(2, 6));
    home.write(&format!(".codex/sessions/{ROLLOUT}.jsonl"), rollout(&[100, 250]));
    home.tallyd(&["backfill"]);
    let before = home.dump();
    assert_eq!(sum(&home, "input_tokens"), 10 + 10 + 250);
    fs::remove_file(home.path().join(CLAUDE)).unwrap();
    home.tallyd(&["backfill"]);
    home.dump().assert_same(&before, "a deleted file");
    let service = Service::start(&home);
    service.wait_ready();
    fs::remove_dir_all(home.path().join(".claude")).unwrap();
    fs::remove_dir_all(home.path().join(".codex")).unwrap();
    // A new line under the same path shows that the service has looked.
    home.write(CLAUDE, line(3, 7));
    wait("the recreated log", || sum(&home, "output_tokens") == 5 + 6 + 1 + 7);
    assert_eq!(service.stop(), 0);
    home.tallyd(&["backfill", "--force"]);
    assert_eq!(sum(&home, "input_tokens"), 10 + 10 + 10 + 250);
    home.tallyd(&["check"]);
}

#[test]
fn codex_edge_26_archiving_moves_a_file_and_adds_nothing() {
    let home = Home::new();
    let old = home.write(&format!(".codex/sessions/{ROLLOUT}.jsonl"), rollout(&[100, 250]));
    let service = Service::start(&home);
    service.wait_ready();
    let before = home.dump();
    let new =
        home.path().join(".codex/archived_sessions").join(ROLLOUT.rsplit('/').next().unwrap());
    fs::create_dir_all(new.parent().unwrap()).unwrap();
    let new = new.with_extension("jsonl");
    fs::rename(old, &new).unwrap();
    crate::support::append(&new, rollout(&[400]).lines().last().unwrap().as_bytes());
    wait("what was appended after the move", || sum(&home, "input_tokens") == 400);
    assert_eq!(integer(&home.database(), "SELECT count(*) FROM usage_events"), 3);
    assert_eq!(before.0["usage_events"].len(), 2);
    assert_eq!(service.stop(), 0);
}

/// A thread with three calls.
fn parent() -> String {
    rollout(&[100, 250, 450])
}

/// A fork of it, so slow to copy that without the parent each line looks like a call of its own.
fn fork() -> String {
    let id = "0199aaaa-0000-7000-8000-000000000001";
    let meta = r#"{"timestamp":"2026-09-20T09:00:00.000Z","type":"session_meta","payload":{"id":"0199aaaa-0000-7000-8000-000000000002","forked_from_id":"ID","timestamp":"2026-09-20T09:00:00.000Z","cwd":"/w","source":"cli"}}"#;
    let mut text = meta.replace("ID", id) + "\n";
    for (minute, line) in rollout(&[100, 250, 450, 500]).lines().enumerate() {
        text += &line.replace("T08:00:", &format!("T09:{minute:02}:"));
        text.push('\n');
    }
    text
}

const FORK: &str = "2026/09/20/rollout-2026-09-20T09-00-00-0199aaaa-0000-7000-8000-000000000002";

#[test]
fn h59_a_fork_counts_only_its_own_whatever_of_it_and_its_parent_comes_first() {
    let (parent_log, fork_log) =
        (format!(".codex/sessions/{ROLLOUT}.jsonl"), format!(".codex/sessions/{FORK}.jsonl"));
    let (parent, fork) = (parent(), fork());
    let lines = |text: &str, n| text.split_inclusive('\n').take(n).map(str::len).sum::<usize>();
    let (parent_cut, fork_cut) = (lines(&parent, 3), lines(&fork, 5));
    let whole = Home::new();
    whole.write(&parent_log, &parent);
    whole.write(&fork_log, &fork);
    whole.tallyd(&["backfill"]);
    let expect = whole.dump();
    assert_eq!((sum(&whole, "input_tokens"), sum(&whole, "1")), (500, 4));

    let live = Home::new();
    let service = Service::start(&live);
    service.wait_ready();
    live.write(&fork_log, &fork[..fork_cut]);
    let own = "session_id LIKE '%2'";
    wait("the fork", || sum(&live, own) == 1);
    live.write(&parent_log, &parent[..parent_cut]);
    wait("the parent", || sum(&live, "1") == 2);
    live.append(&fork_log, &fork[fork_cut..]);
    wait("the rest of the fork", || sum(&live, own) == 3);
    // The process ends before it comes to the fork again.
    service.kill();
    live.append(&parent_log, &parent[parent_cut..]);
    let service = Service::start(&live);
    wait("the rest of the parent", || (sum(&live, own), sum(&live, "1")) == (1, 4));
    service.wait_ready();
    assert_eq!(service.stop(), 0);
    live.dump().assert_same(&expect, "read as it came");
    live.tallyd(&["check"]);

    // Where the parent has gone, nothing that was copied comes back.
    fs::remove_file(live.path().join(&parent_log)).unwrap();
    live.tallyd(&["backfill"]);
    live.dump().assert_same(&expect, "without the parent");
}

/// Rows that an earlier version counted twice.
#[test]
#[expect(clippy::disallowed_methods, reason = "makes the database of an earlier version")]
fn h59_calls_that_an_earlier_version_counted_for_a_fork_go_with_the_next_reading() {
    let (parent_log, fork_log) =
        (format!(".codex/sessions/{ROLLOUT}.jsonl"), format!(".codex/sessions/{FORK}.jsonl"));
    for command in [&["backfill"][..], &["backfill", "--force"]] {
        let home = Home::new();
        home.write(&fork_log, fork());
        home.tallyd(&["backfill"]);
        assert_eq!(sum(&home, "input_tokens"), 400);
        home.write(&parent_log, parent());
        // It forgot on what its decision had rested, and was of an older version, or was not.
        let is_forced = command.len() > 1;
        let forget = if is_forced {
            "UPDATE source_checkpoint SET state = json_remove(state, '$.basis')"
        } else {
            "UPDATE source_checkpoint SET state = '', parser_version = 1, oldest_parser_version = 1;
             UPDATE usage_events SET parser_version = 1"
        };
        let db = Connection::open(home.data_dir().join("tallyd.db")).unwrap();
        db.execute_batch(forget).unwrap();
        drop(db);
        if is_forced {
            home.tallyd(&["backfill"]);
            assert_eq!(sum(&home, "input_tokens"), 850, "counted twice, and nothing says so");
        }
        home.tallyd(command);
        assert_eq!((sum(&home, "input_tokens"), sum(&home, "1")), (500, 4));
        home.tallyd(&["check"]);
    }
}

#[test]
fn codex_edges_27_and_28_a_compressed_log_is_the_same_source_and_adds_nothing_twice() {
    let plain = format!(".codex/sessions/{ROLLOUT}.jsonl");
    let packed = format!("{plain}.zst");
    let bytes = zstd::encode_all(rollout(&[100, 250]).as_bytes(), 3).unwrap();
    // Its checkpoint: the source, how often it was read anew, and where it stands.
    let source = |home: &Home| {
        let sql = "SELECT group_concat(source_id || ' ' || generation || ' ' || offset) FROM source_checkpoint";
        home.database().query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };

    let replaced = Home::new();
    let path = replaced.write(&plain, rollout(&[100, 250]));
    replaced.tallyd(&["backfill"]);
    let before = (source(&replaced), replaced.dump());
    replaced.write(&packed, &bytes);
    assert_eq!(replaced.json(&["backfill"])["events"]["appended"], 0);
    fs::remove_file(path).unwrap();
    assert_eq!(replaced.json(&["backfill"])["events"]["appended"], 0);
    assert_eq!(source(&replaced), before.0, "reading goes on where it stopped");
    replaced.dump().assert_same(&before.1, "a log that was compressed");

    let only = Home::new();
    only.write(&packed, &bytes);
    only.tallyd(&["backfill"]);
    assert_eq!(sum(&only, "input_tokens"), 250);
    assert_eq!(source(&only), before.0);
    // It is unpacked again to be appended to.
    fs::remove_file(only.path().join(&packed)).unwrap();
    only.write(&plain, rollout(&[100, 250, 300]));
    assert_eq!(only.json(&["backfill"])["events"]["appended"], 1);
    assert_eq!(sum(&only, "input_tokens"), 300);
    let id = before.0.split(' ').next().unwrap();
    assert!(source(&only).starts_with(&format!("{id} 0 ")), "not read anew");
    // Another log under the same name is.
    fs::remove_file(only.path().join(&plain)).unwrap();
    let other = rollout(&[700, 950]).replace("gpt-5.5", "gpt-5.4");
    only.write(&packed, zstd::encode_all(other.as_bytes(), 3).unwrap());
    only.tallyd(&["backfill"]);
    assert!(source(&only).starts_with(&format!("{id} 1 ")), "read anew");
}

#[test]
fn codex_edge_33_folders_that_do_not_exist_yet_are_awaited() {
    let home = Home::new();
    let mut command = home.command(&["run", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.env("CODEX_HOME", home.path().join("later/codex"));
    let service = Service::spawn(command);
    service.wait_ready();
    home.write(&format!("later/codex/sessions/{ROLLOUT}.jsonl"), rollout(&[100]));
    wait("the log in the new folder", || sum(&home, "input_tokens") == 100);
    home.write(".claude/projects/-w/s.jsonl", line(1, 5));
    wait("the other agent's log", || sum(&home, "input_tokens") == 110);
    assert_eq!(service.stop(), 0);
}

#[test]
fn codex_edge_34_a_first_line_that_is_cut_off_is_retried() {
    let home = Home::new();
    let text = rollout(&[100]);
    let plain = format!(".codex/sessions/{ROLLOUT}.jsonl");
    home.write(&plain, &text[..40]);
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "input_tokens"), 0);
    home.append(&plain, &text[40..]);
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "input_tokens"), 100);
}

#[test]
fn bad_lines_are_skipped_and_counted_by_reason() {
    let home = Home::new();
    let mut log = line(1, 5).into_bytes();
    log.extend(b"not json at all\n");
    log.extend(b"{\"type\":\"assistant\",\"message\":{\"usage\":\n");
    log.extend([0; 4096]);
    log.extend(b"\n\xff\xfe\x00binary\n[1,2,\"usage\"]\n");
    log.extend(line(2, 6).bytes());
    home.write(CLAUDE, log);
    let figures = home.json(&["backfill"]);
    assert_eq!(figures["events"]["appended"], 2, "{figures}");
    assert_eq!(figures["skips"]["claude-code"]["malformed"], 4, "{figures}");
    assert_eq!(figures["skips"]["claude-code"]["not_an_object"], 1, "{figures}");
    assert_eq!(sum(&home, "output_tokens"), 11);
    let status = home.json(&["status"]);
    assert_eq!(status["providers"][0]["skips"]["malformed"], 4, "{status}");
}

#[test]
fn a_line_over_the_limit_is_skipped_and_the_next_one_read() {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "max_line_mib = 1\n");
    let mut log = line(1, 5).into_bytes();
    log.extend(b"{\"type\":\"assistant\",\"x\":\"");
    log.extend(vec![b'x'; 3 << 20]);
    log.extend(b"\"}\n");
    log.extend(line(2, 6).bytes());
    home.write(CLAUDE, log);
    let figures = home.json(&["backfill"]);
    assert_eq!(figures["events"]["appended"], 2, "{figures}");
    assert_eq!(figures["skips"]["claude-code"]["oversize"], 1, "{figures}");
}

#[test]
fn h13_folders_made_while_the_service_runs_are_followed() {
    let home = Home::new();
    // Nothing but the watches tells.
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 3600\n");
    let service = Service::start(&home);
    service.wait_ready();
    let mut expect = 0;
    for i in 0..300 {
        // A deep tree in one go, with the file written at once.
        home.write(&format!(".claude/projects/-w{i}/a/b/c/subagents/agent-{i}.jsonl"), line(i, 3));
        expect += 3;
    }
    wait("every new file", || sum(&home, "output_tokens") == expect);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_file_that_may_not_be_read_is_shown_and_read_when_it_may() {
    let home = Home::of_a_mortal();
    let path = home.write(CLAUDE, line(1, 5));
    home.write(".claude/projects/-w/other.jsonl", line(2, 6));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "output_tokens"), 6);
    let status = home.json(&["status"]);
    assert_eq!(status["providers"][0]["failing"], 1, "{status}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "output_tokens"), 11);
}

#[test]
fn h17_a_folder_that_may_not_be_listed_hides_nothing_else_and_is_read_when_it_may() {
    let home = Home::of_a_mortal();
    home.write(CLAUDE, line(1, 5));
    let hidden = home.write(".claude/projects/-x/s.jsonl", line(2, 6));
    let folder = hidden.parent().unwrap();
    home.tallyd(&["backfill"]);
    fs::set_permissions(folder, fs::Permissions::from_mode(0o0)).unwrap();
    let config = "sweep_interval_s = 1\n";
    home.write(".config/tallyd/config.toml", config);
    let service = Service::start(&home);
    service.wait_ready();
    home.append(CLAUDE, line(3, 7));
    wait("the line beside it", || sum(&home, "output_tokens") == 5 + 6 + 7);
    let missing = "SELECT count(missing_since_ms) FROM source_checkpoint";
    assert_eq!(integer(&home.database(), missing), 0, "what cannot be seen is not missing");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    home.append(".claude/projects/-x/s.jsonl", line(4, 8));
    wait("the line in it", || sum(&home, "output_tokens") == 5 + 6 + 7 + 8);
    assert_eq!(service.stop(), 0);
}

/// What a service says that may have so many of one of the system's things for watching; `None`
/// where no such limit can be set.
fn watcher_under_limit(limit: &str, n: u32) -> Option<(Home, Service, serde_json::Value)> {
    let home = Home::new();
    home.write(CLAUDE, line(1, 5));
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 3600\n");
    let script = format!("echo {n} > /proc/sys/user/max_inotify_{limit} && exec \"$@\"");
    let inner = home.command(&["run", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let mut command = std::process::Command::new("unshare");
    command
        .args(["-Ur", "sh", "-c", &script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let probe = std::process::Command::new("unshare")
        .args(["-Ur", "sh", "-c", &script, "sh", "true"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: no user namespace with limits of its own");
        return None;
    }
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/bin:/bin");
    let service = Service::spawn(command);
    service.wait_ready();
    home.append(CLAUDE, line(2, 6));
    wait("the line that no watch tells of", || sum(&home, "output_tokens") == 5 + 6);
    home.write(".claude/projects/-x/y/s.jsonl", line(3, 7));
    wait("the log in a new folder", || sum(&home, "output_tokens") == 5 + 6 + 7);
    let (status, body) = service.get("/health");
    assert_eq!(status, 200);
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    Some((home, service, health["checks"]["watcher:folders"][0].clone()))
}

#[test]
fn h22_without_inotify_instances_all_is_swept_and_health_names_the_setting() {
    let Some((_home, service, check)) = watcher_under_limit("instances", 0) else { return };
    assert_eq!(check["status"], "warn", "{check}");
    let output = check["output"].as_str().unwrap();
    assert!(output.contains("fs.inotify.max_user_instances"), "{output}");
    assert_eq!(service.stop(), 0);
}

#[test]
fn h22_without_watches_left_all_is_swept_and_health_names_the_setting() {
    let Some((_home, service, check)) = watcher_under_limit("watches", 1) else { return };
    assert_eq!(check["status"], "warn", "{check}");
    let output = check["output"].as_str().unwrap();
    assert!(output.contains("fs.inotify.max_user_watches"), "{output}");
    assert_eq!(service.stop(), 0);
}

#[test]
fn h16_a_root_link_that_points_elsewhere_is_followed_there() {
    let home = Home::new();
    home.write("one/-w/a.jsonl", line(1, 5));
    home.write("two/-w/a.jsonl", line(2, 6));
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 1\n");
    fs::create_dir_all(home.path().join(".claude")).unwrap();
    let link = home.path().join(".claude/projects");
    std::os::unix::fs::symlink(home.path().join("one"), &link).unwrap();
    let service = Service::start(&home);
    service.wait_ready();
    assert_eq!(sum(&home, "output_tokens"), 5);
    let new = link.with_extension("new");
    std::os::unix::fs::symlink(home.path().join("two"), &new).unwrap();
    fs::rename(&new, &link).unwrap();
    wait("the log in the other folder", || sum(&home, "output_tokens") == 5 + 6);
    home.append("two/-w/a.jsonl", line(3, 7));
    wait("what is written there", || sum(&home, "output_tokens") == 5 + 6 + 7);
    assert_eq!(service.stop(), 0);
}

/// Puts something there that is no log and bears the name of one.
fn make_odd(path: &Path, kind: &str) {
    match kind {
        "fifo" => {
            let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        }
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "folder" => fs::create_dir(path).unwrap(),
        "link" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        _ => panic!("what is a {kind}?"),
    }
}

const ODD: [&str; 4] = ["fifo", "socket", "folder", "link"];

#[test]
fn h18_what_only_bears_the_name_of_a_log_is_passed_over() {
    let home = Home::new();
    let folder = home.write(CLAUDE, line(1, 5)).parent().unwrap().to_owned();
    let other = home.write(".claude/projects/-x/s.jsonl", line(2, 6));
    for kind in ODD {
        make_odd(&folder.join(format!("{kind}.jsonl")), kind);
    }
    std::os::unix::fs::symlink("/", folder.join("loop")).unwrap();
    std::os::unix::fs::symlink(other, folder.join("twin.jsonl")).unwrap();
    home.tallyd(&["backfill"]);
    assert_eq!(sum(&home, "output_tokens"), 11);
    assert_eq!(integer(&home.database(), "SELECT count(*) FROM source_checkpoint"), 2);
    assert_eq!(home.json(&["status"])["providers"][0]["failing"], 0);
}

#[test]
fn h18_a_log_that_becomes_something_else_blocks_no_reader() {
    let home = Home::new();
    home.write(CLAUDE, line(1, 5));
    let service = Service::start(&home);
    service.wait_ready();
    // New ones of each kind, and four of each in the place of known logs: as many as there may be
    // readers.
    let logs: Vec<PathBuf> = (0..16)
        .map(|n| home.write(&format!(".claude/projects/-w/{n}.jsonl"), line(10 + n, 1)))
        .collect();
    wait("the logs", || sum(&home, "output_tokens") == 5 + 16);
    for (n, kind) in ODD.into_iter().enumerate() {
        make_odd(&logs[0].with_file_name(format!("{kind}.jsonl")), kind);
        for log in &logs[4 * n..4 * n + 4] {
            fs::remove_file(log).unwrap();
            make_odd(log, kind);
        }
    }
    home.append(CLAUDE, line(2, 7));
    wait("the line beside them", || sum(&home, "output_tokens") == 5 + 16 + 7);
    // Only a few are named, whichever those are: a link and a socket cannot even be opened.
    let reasons = ["is not a regular file", "cannot open"];
    let is_known = |health: String| reasons.iter().any(|reason| health.contains(reason));
    wait("health to tell of them", || is_known(service.get("/health").1));
    home.append(CLAUDE, line(3, 8));
    wait("the line after them", || sum(&home, "output_tokens") == 5 + 16 + 7 + 8);
    // A log comes back.
    fs::remove_file(&logs[0]).unwrap();
    fs::write(&logs[0], line(40, 9)).unwrap();
    wait("the log that is one again", || sum(&home, "output_tokens") == 5 + 16 + 7 + 8 + 9);
    assert_eq!(service.stop(), 0);
    home.tallyd(&["check"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "sets the clock of a checkpoint back")]
fn a_checkpoint_is_dropped_when_its_file_was_missing_for_a_week_and_its_rows_stay() {
    let home = Home::new();
    home.write(CLAUDE, line(1, 5));
    home.write(".claude/projects/-w/other.jsonl", line(2, 6));
    home.tallyd(&["backfill"]);
    fs::remove_file(home.path().join(CLAUDE)).unwrap();
    home.tallyd(&["backfill"]);
    let checkpoints =
        |home: &Home| integer(&home.database(), "SELECT count(*) FROM source_checkpoint");
    assert_eq!(checkpoints(&home), 2);
    // A week later.
    rusqlite::Connection::open(home.data_dir().join("tallyd.db"))
        .unwrap()
        .execute(
            "UPDATE source_checkpoint SET missing_since_ms = missing_since_ms - 8 * 86400000",
            [],
        )
        .unwrap();
    home.tallyd(&["backfill"]);
    wait("the checkpoint to go", || checkpoints(&home) == 1);
    assert_eq!(sum(&home, "output_tokens"), 11);
}

/// Counts lines, and panics at a line of its dislike.
struct Fragile;

static PANICS: AtomicU32 = AtomicU32::new(0);

impl Provider for Fragile {
    fn id(&self) -> &'static str {
        "fragile"
    }

    fn version(&self) -> u32 {
        1
    }

    fn roots(&self, _env: &Env) -> Vec<PathBuf> {
        Vec::new()
    }

    fn is_source(&self, _root: &Path, _path: &Path) -> bool {
        true
    }

    fn storage(&self, _path: &Path) -> Storage {
        Storage::Appended(&Self)
    }
}

impl Appended for Fragile {
    fn begin(&self, _source: &Source, _around: &Around, _state: &str) -> Box<dyn ParseLine> {
        Box::new(Self)
    }
}

impl ParseLine for Fragile {
    fn parse_line(&mut self, line: &[u8], _out: &mut Parsed) {
        if line == b"boom" {
            PANICS.fetch_add(1, Ordering::Relaxed);
            panic!("as the test wants");
        }
    }

    fn state(&self) -> String {
        String::new()
    }
}

/// Reads what is in `logs` with it.
fn fragile(home: &Home) -> ingest::Options {
    let root = home.path().join("logs").canonicalize().unwrap();
    ingest::Options {
        home: home.path().to_owned(),
        roots: vec![ingest::Root { provider: &Fragile, path: root }],
        checkpoints: Vec::new(),
        force: false,
        mode: ingest::Mode::Live,
        sweep_interval: Duration::from_secs(3_600),
        max_line: 1 << 20,
        is_remote: |_| false,
        canary: None,
        scratch: None,
        now_ms: || 0,
    }
}

#[tokio::test]
async fn h36_a_parser_that_panics_takes_down_its_file_alone_and_for_a_while() {
    let home = Home::new();
    home.write("logs/bad", "boom\n");
    home.write("logs/good", "a\n");
    let options = fragile(&home);
    let (heard, mut read) = tokio::sync::mpsc::unbounded_channel();
    let sink: ingest::Sink = Arc::new(move |output| match output {
        ingest::Output::Batch(batch) => heard.send(batch.checkpoint).is_ok(),
        ingest::Output::Forget(_) => false,
    });
    let (status, _status) = tokio::sync::watch::channel(ingest::Status::default());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(ingest::run(options, sink, status, stopped));
    let (mut good, mut bad) = (0, None);
    while good == 0 || bad.is_none() {
        let next = tokio::time::timeout(DEADLINE, read.recv());
        let checkpoint = next.await.expect("both files are read").unwrap();
        match checkpoint.path.ends_with("good") {
            true => good = checkpoint.lines,
            false => bad = Some((checkpoint.offset, checkpoint.last_error)),
        }
    }
    let (offset, error) = bad.unwrap();
    assert_eq!(offset, 0);
    assert!(error.unwrap().contains("the parser gave up"));
    // It is heard of again, and so is the other; only that one is read.
    for line in 2..=20 {
        home.append("logs/bad", "more\n");
        home.append("logs/good", "a\n");
        while good < line {
            let next = tokio::time::timeout(DEADLINE, read.recv());
            let checkpoint = next.await.expect("the good file is read").unwrap();
            assert!(checkpoint.path.ends_with("good"), "read again: {checkpoint:?}");
            good = checkpoint.lines;
        }
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 1);
    stop.send_replace(true);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn h36_a_panic_outside_of_parsers_ends_ingest_with_an_error() {
    for broken in ["a turn", "the last turn", "a sweep", "forgetting"] {
        let home = Home::new();
        home.write("logs/good", "a\n");
        let mut options = fragile(&home);
        if broken == "a sweep" {
            options.is_remote = |_| panic!("as the test wants");
        }
        if broken == "forgetting" {
            let path = options.roots[0].path.join("gone");
            let mut gone = usage::Checkpoint::at_start(7, "fragile", path, 1);
            gone.missing_since_ms = Some(0);
            options.checkpoints.push(gone);
            options.now_ms = || 8 * 86_400_000;
        }
        let (begun, mut turn) = tokio::sync::mpsc::unbounded_channel();
        let (go_on, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let sink: ingest::Sink = Arc::new(move |output| {
            let is_due = match output {
                ingest::Output::Batch(_) => broken.ends_with("turn"),
                ingest::Output::Forget(_) => broken == "forgetting",
            };
            begun.send(()).unwrap();
            if broken == "the last turn" {
                gate.lock().unwrap().recv().unwrap();
            }
            assert!(!is_due, "as the test wants");
            true
        });
        let (status, _status) = tokio::sync::watch::channel(ingest::Status::default());
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let running = tokio::spawn(ingest::run(options, sink, status, stopped));
        if broken == "the last turn" {
            turn.recv().await.unwrap();
            stop.send_replace(true);
            go_on.send(()).unwrap();
        }
        let ended = tokio::time::timeout(DEADLINE, running).await;
        let error = ended.unwrap_or_else(|_| panic!("it goes on after {broken}"));
        let error = error.unwrap().unwrap_err();
        let ingest::Error::Panicked(how) = error else { panic!("{broken}: {error}") };
        assert!(how.to_string().contains("as the test wants"), "{broken}: {how}");
    }
}
