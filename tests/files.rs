//! Hazards of files: copies, replacements, halves, bytes that are no text, things that only look
//! like logs, and very many or very large ones. What is found here is found by watches: the sweep
//! comes only once an hour.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::support::faults::{assert_nothing_lost, call, calls};
use crate::support::{Home, Service, files, integer, wait, wait_for_count};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const CALLS: &str = "SELECT count(*) FROM usage_events";
/// The position of the last row: it moves whenever a row is appended or corrected.
const POSITION: &str =
    "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'usage_events'";

/// A home whose service learns from watches what is new.
fn watched_home() -> Home {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "sweep_interval_s = 3600\n");
    home
}

fn start(home: &Home) -> Service {
    let service = Service::start(home);
    service.wait_ready();
    service
}

fn wait_for_calls(db: &Connection, count: i64) {
    wait_for_count(&format!("{count} calls"), count, || integer(db, CALLS));
    assert_eq!(integer(db, CALLS), count);
}

/// Stops the service; what it warned of.
fn stop(service: Service) -> Vec<String> {
    service.signal("-TERM");
    let (code, log) = service.ended();
    assert_eq!(code, 0, "{log}");
    let is_bad = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
    log.lines().filter(is_bad).map(str::to_owned).collect()
}

#[test]
fn h03_a_log_copied_and_truncated_under_a_stale_writer_counts_every_call_once() {
    let home = watched_home();
    let path = home.write(LOG, "");
    let service = start(&home);
    let db = home.database();
    // It does not append: it goes on where it was, whatever became of the file.
    let mut stale = File::options().write(true).open(&path).unwrap();
    stale.write_all(calls(0..20).as_bytes()).unwrap();
    wait_for_calls(&db, 20);
    let copied = fs::copy(&path, path.with_file_name("s.1.jsonl")).unwrap();
    let read = format!("SELECT count(*) FROM source_checkpoint WHERE offset = {copied}");
    wait("the copy to be read", || integer(&db, &read) == 2);
    assert_eq!(integer(&db, POSITION), 20, "a copy says nothing new");

    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    stale.write_all(call(20).as_bytes()).unwrap();
    wait_for_calls(&db, 21);
    stale.write_all(call(21).as_bytes()).unwrap();
    wait_for_calls(&db, 22);
    assert_eq!(stop(service), [""; 0]);
    let malformed = || home.json(&["status"])["providers"][0]["skips"]["malformed"].clone();
    assert_eq!(malformed(), 1, "a hole is one bad line");

    // Once more while nobody looks.
    fs::copy(&path, path.with_file_name("s.2.jsonl")).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    stale.write_all(calls(22..24).as_bytes()).unwrap();
    let service = start(&home);
    wait_for_calls(&db, 24);
    assert_eq!(integer(&db, POSITION), 24);
    assert_eq!(stop(service), [""; 0]);
    assert_eq!(malformed(), 2, "one hole in the log, one in its copy");
    home.tallyd(&["check"]);
}

#[test]
fn h02_what_is_written_to_a_log_after_it_was_renamed_out_of_sight_counts_once() {
    let home = watched_home();
    let path = home.write(LOG, "");
    let elsewhere = home.path().join("archive");
    fs::create_dir(&elsewhere).unwrap();
    let service = start(&home);
    let db = home.database();
    let open = || File::options().append(true).open(&path).unwrap();
    let mut old = open();
    old.write_all(call(0).as_bytes()).unwrap();
    wait_for_calls(&db, 1);
    // Under a name that no log has, with another log in its place.
    fs::rename(&path, path.with_extension("jsonl.1")).unwrap();
    home.write(LOG, call(1));
    old.write_all(format!("{}no record\n", call(2)).as_bytes()).unwrap();
    wait_for_calls(&db, 3);
    assert_eq!(home.json(&["status"])["providers"][0]["skips"]["malformed"], 1);
    // Out of what is watched, with nothing in its place; and all that once more.
    let mut new = open();
    fs::rename(&path, elsewhere.join("s.jsonl")).unwrap();
    new.write_all(call(3).as_bytes()).unwrap();
    wait_for_calls(&db, 4);
    old.write_all(call(4).as_bytes()).unwrap();
    new.write_all(call(5).as_bytes()).unwrap();
    wait_for_calls(&db, 6);
    // Removed, and as quickly as anybody can.
    for n in 6..11 {
        home.write(LOG, call(n));
        wait_for_calls(&db, n as i64 + 1);
        let mut writer = open();
        fs::remove_file(&path).unwrap();
        writer.write_all(call(20 + n).as_bytes()).unwrap();
        writer.write_all(call(n).as_bytes()).unwrap();
    }
    wait_for_calls(&db, 16);
    assert_eq!(stop(service), [""; 0]);
    assert_eq!(integer(&db, POSITION), 16, "nothing was said twice");
    home.tallyd(&["check"]);
}

/// The same five calls at some stage of their growth, in equally many bytes at each.
fn version(n: usize) -> String {
    let stage = format!("\"output_tokens\":{}", 100 + n);
    (0..5).map(|id| call(id).replace(&format!("\"output_tokens\":{}", 1 + id), &stage)).collect()
}

#[test]
fn h04_a_log_replaced_two_hundred_times_holds_the_rows_of_its_last_version() {
    let home = watched_home();
    let path = home.write(LOG, version(0));
    let service = start(&home);
    let db = home.database();
    wait_for_calls(&db, 5);
    let new = path.with_extension("tmp");
    for n in 1..=200 {
        fs::write(&new, version(n)).unwrap();
        fs::rename(&new, &path).unwrap();
    }
    let sum = "SELECT sum(output_tokens) FROM daily_mart";
    wait("the last version", || integer(&db, sum) == 5 * 300);
    assert_eq!(integer(&db, CALLS), 5);
    assert_eq!(stop(service), [""; 0]);
    assert_nothing_lost(&home, "after 200 replacements");
}

#[test]
fn h07_a_line_written_byte_by_byte_counts_as_soon_as_it_is_whole_and_once() {
    let home = watched_home();
    home.write(LOG, "");
    let service = start(&home);
    let db = home.database();
    let text = call(0);
    let (last, most) = text.trim_end().as_bytes().split_last().unwrap();
    for byte in most {
        home.append(LOG, [*byte]);
        assert_eq!(integer(&db, CALLS), 0, "half a line says nothing");
    }
    home.append(LOG, [*last]);
    wait_for_calls(&db, 1);
    home.append(LOG, "\n");
    home.append(LOG, call(1));
    wait_for_calls(&db, 2);
    assert_eq!(integer(&db, POSITION), 2, "its newline says nothing new");
    assert_eq!(stop(service), [""; 0]);
    assert_nothing_lost(&home, "after a line in single bytes");
}

#[test]
fn h07_a_line_cut_by_a_kill_or_left_without_newline_counts_once() {
    let home = watched_home();
    home.write(LOG, "");
    let mut service = start(&home);
    let db = home.database();
    let mut n = 0;
    for is_written_while_down in [true, false] {
        let half = call(n + 1);
        let (begin, rest) = half.split_at(half.len() / 2);
        home.append(LOG, call(n) + begin);
        n += 2;
        wait_for_calls(&db, i64::try_from(n).unwrap() - 1);
        service.kill();
        if is_written_while_down {
            home.append(LOG, rest);
        }
        service = start(&home);
        if !is_written_while_down {
            home.append(LOG, rest);
        }
        wait_for_calls(&db, i64::try_from(n).unwrap());
    }
    // Nobody may ever write the last newline.
    home.append(LOG, call(4).trim_end());
    wait_for_calls(&db, 5);
    assert_eq!(stop(service), [""; 0]);
    let service = start(&home);
    home.append(LOG, "\n");
    home.append(LOG, call(5));
    wait_for_calls(&db, 6);
    assert_eq!(integer(&db, POSITION), 6, "no line says anything twice");
    assert_eq!(stop(service), [""; 0]);
    assert_nothing_lost(&home, "after halves of lines");
}

#[test]
fn h09_bytes_that_are_no_text_cost_at_most_their_own_line() {
    let home = watched_home();
    let mut log = b"\xef\xbb\xbf".to_vec();
    log.extend(call(0).replace('\n', "\r\n").bytes());
    // No UTF-8: in what is not kept, and in what is.
    let mut broken = call(1).into_bytes();
    broken.splice(1..1, *b"\"text\":\"\xff\xc3\xed\xa0\x80\",");
    log.extend(&broken);
    let mut broken = call(2).into_bytes();
    let model = broken.windows(4).position(|bytes| bytes == b"opus").unwrap();
    broken.insert(model, 0xff);
    log.extend(&broken);
    log.extend(b"\xff\xfe\r\n");
    log.extend([0; 100_000]);
    log.push(b'\n');
    log.extend([0; 4_096]);
    log.extend(call(3).bytes());
    home.write(LOG, log);
    let service = start(&home);
    let db = home.database();
    wait_for_calls(&db, 4);
    // A run that grows before its line ends.
    home.append(LOG, [0; 4_096]);
    home.append(LOG, [0; 4_096]);
    home.append(LOG, "\n");
    home.append(LOG, call(4));
    wait_for_calls(&db, 5);
    assert_eq!(integer(&db, POSITION), 5);
    assert_eq!(stop(service), [""; 0]);
    let skips = home.json(&["status"])["providers"][0]["skips"].clone();
    assert_eq!(skips["malformed"], 4, "garbage, and three runs of NULs: {skips}");
    let odd = "SELECT count(*) FROM usage_events WHERE model = 'claude-\u{fffd}opus-5'";
    assert_eq!(integer(&db, odd), 1, "what is not UTF-8 is shown as such");
    assert_nothing_lost(&home, "after bytes that are no text");
}

/// A log of about `mib` MiB whose calls are numbered from `first`; how many there are.
fn write_large(home: &Home, path: &str, first: usize, mib: usize) -> usize {
    let path = home.write(path, "");
    let mut file = std::io::BufWriter::new(File::create(path).unwrap());
    let padding = format!("{{\"text\":\"{}\",", "lorem ipsum ".repeat(340));
    let count = mib << 8;
    for n in first..first + count {
        file.write_all(call(n).replacen('{', &padding, 1).as_bytes()).unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    count
}

#[test]
fn h12_a_log_removed_while_it_is_read_is_read_to_its_end() {
    let home = watched_home();
    let count = i64::try_from(write_large(&home, LOG, 0, 40)).unwrap();
    let service = Service::start(&home);
    let db = home.database();
    wait("the reading to begin", || integer(&db, CALLS) > 0);
    fs::remove_file(home.path().join(LOG)).unwrap();
    let read = integer(&db, CALLS);
    assert!(read < count, "the log was read before it could be removed");
    wait_for_calls(&db, count);
    // What comes after it is heard of.
    home.append(".claude/projects/-w/next.jsonl", call(1_000_000));
    wait_for_calls(&db, count + 1);
    assert_eq!(service.health()["status"], "pass");
    assert_eq!(stop(service), [""; 0]);
    home.tallyd(&["check"]);
}

#[test]
fn h13_a_log_in_a_tree_made_at_once_is_found_by_watches_alone() {
    let home = watched_home();
    home.write(LOG, call(0));
    let service = start(&home);
    let db = home.database();
    wait_for_calls(&db, 1);
    for n in 1..=300 {
        let folder = format!(".claude/projects/-w{n}/s/subagents/workflows/w");
        home.write(&format!("{folder}/agent-{n}.jsonl"), call(n));
        wait_for_calls(&db, i64::try_from(n).unwrap() + 1);
    }
    assert_eq!(stop(service), [""; 0]);
    assert_nothing_lost(&home, "after 300 new trees");
}

/// What the kernel says of a process, in KiB.
fn memory_kib(service: &Service, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How many logs a process has open.
fn open_logs(service: &Service) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap();
    let targets = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).count()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the environment says how large the tree is")]
fn h19_a_tree_of_very_many_logs_takes_little_memory_and_few_descriptors() {
    let count: usize = std::env::var("TALLYD_FILES").map_or(20_000, |count| count.parse().unwrap());
    if !Path::new("/proc/self/fd").exists() {
        println!("skipped: no /proc here");
        return;
    }
    let home = watched_home();
    for n in 0..count {
        home.write(&format!(".claude/projects/-w{}/s{n}.jsonl", n / 100), call(n));
    }
    let service = Service::start(&home);
    let db = home.database();
    let mut most_open = 0;
    let all = i64::try_from(count).unwrap();
    wait_for_count(&format!("{count} logs"), all, || {
        most_open = most_open.max(open_logs(&service));
        integer(&db, CALLS)
    });
    let cold = memory_kib(&service, "VmHWM:");
    assert_eq!(stop(service), [""; 0]);

    let begin = Instant::now();
    let service = start(&home);
    let ready = begin.elapsed();
    home.append(".claude/projects/-w0/s0.jsonl", call(count));
    wait_for_calls(&db, all + 1);
    most_open = most_open.max(open_logs(&service));
    let (warm, resident) = (memory_kib(&service, "VmHWM:"), memory_kib(&service, "VmRSS:"));
    assert_eq!(stop(service), [""; 0]);
    println!(
        "{count} logs: ready {} ms after a warm start; most memory {} MiB while all were new, \
         {} MiB after (resident {} MiB); at most {most_open} logs open",
        ready.as_millis(),
        cold >> 10,
        warm >> 10,
        resident >> 10,
    );
    assert!(cold.max(warm) < 150 << 10, "{cold} KiB, {warm} KiB");
    assert!(most_open <= 256, "{most_open} logs open");
}

#[test]
fn h20_large_backfills_do_not_hold_up_what_is_written_now() {
    let home = watched_home();
    // One for each reader there may be.
    let readers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
    let mut next = 0;
    let mut smallest = u64::MAX;
    for n in 0..readers {
        let path = format!(".claude/projects/-w/large{n}.jsonl");
        next += write_large(&home, &path, next, 60);
        smallest = smallest.min(fs::metadata(home.path().join(path)).unwrap().len());
    }
    let service = Service::start(&home);
    let db = home.database();
    wait("the backfill to begin", || integer(&db, CALLS) > 0);
    for n in 0..10 {
        let line = call(next + n).replace("2026-09-", "2026-11-");
        home.append(&format!(".claude/projects/-w/live{n}.jsonl"), line);
    }
    // One look at both: what the marts say of now, and how many large logs were read to their end.
    let look = format!(
        "SELECT ifnull(sum(message_count), 0), (SELECT count(*) FROM source_checkpoint
             WHERE path LIKE '%/large%' AND offset >= {smallest})
         FROM daily_mart WHERE day >= '2026-11-01'"
    );
    let mut order = (0, 0);
    wait("the live lines", || {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        order = db.query_row(&look, [], row).unwrap();
        order.0 == 10
    });
    assert_eq!(order.1, 0, "no large log is at its end yet");
    assert_eq!(service.stop(), 0);
}

#[test]
fn h21_no_log_is_mapped_into_memory() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut looked_at = 0;
    for path in files(&crates) {
        let below = path.strip_prefix(&crates).unwrap();
        let is_source = below.components().nth(1).is_some_and(|part| part.as_os_str() == "src");
        if !is_source && path.file_name().unwrap() != "Cargo.toml" {
            continue;
        }
        looked_at += 1;
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).to_lowercase();
        for line in text.lines().filter(|line| line.contains("mmap")) {
            assert_eq!(line.trim(), "pragma mmap_size = 0;", "{}", path.display());
        }
    }
    assert!(looked_at > 50, "{looked_at} files");
    let lock = fs::read_to_string(crates.join("../Cargo.lock")).unwrap();
    assert!(!lock.contains("mmap"), "no dependency maps files");
}
