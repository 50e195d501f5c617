//! Getting at the figures: everything as CSV or JSON lines, copies of the database, and what the
//! documentation says about reading it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rusqlite::Connection;
use serde_json::Value;

use crate::support::faults::{calls, run_by, works};
use crate::support::{Dump, Home, Service, integer, strings, wait};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const EVENTS: &str = "SELECT count(*) FROM usage_events";

/// A home whose calls are counted, with another project and model, and a prompt.
fn counted() -> Home {
    let home = Home::new();
    let odd = r#"{"type":"user","sessionId":"s9","cwd":"/w/a \"b\", c","timestamp":"2026-09-02T09:00:00.000Z","message":{"role":"user","content":"hello"}}
{"type":"assistant","sessionId":"s9","cwd":"/w/a \"b\", c","requestId":"r","timestamp":"2026-09-02T09:00:01.000Z","message":{"id":"msg_01BBBBBBBBBBBBBBBBBBBBBB","model":"=nobodys,model","usage":{"input_tokens":1,"output_tokens":2}}}
"#;
    home.write(LOG, calls(0..300));
    home.write(".claude/projects/-w-a--b---c/s9.jsonl", odd);
    home.tallyd(&["backfill"]);
    home
}

/// The columns, and each row by its columns.
fn csv(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect());
    (columns, rows.collect())
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A value as it stands in CSV.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.to_string(),
            None => number.as_f64().unwrap().to_string(),
        },
        other => panic!("{other}"),
    }
}

fn error_of(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(output.stdout.is_empty(), "an answer beside an error");
    error
}

#[test]
fn an_export_has_every_row_as_it_is_in_the_database_with_and_without_a_service() {
    let home = counted();
    let db = home.database();
    let alone = home.tallyd(&["export", "events"]);
    let service = Service::start(&home);
    service.wait_ready();
    assert_eq!(home.tallyd(&["export", "events"]), alone);
    let (columns, rows) = csv(&alone);
    let lines = json_lines(&home.tallyd(&["export", "events", "--format", "jsonl"]));
    assert_eq!(rows.len(), 302);
    let as_csv = |line: &Value| columns.iter().map(|name| plain(&line[name])).collect::<Vec<_>>();
    assert_eq!(rows, lines.iter().map(as_csv).collect::<Vec<_>>());

    // Against the database, with SQL's own words for the values.
    let quoted = |line: &Value| {
        let words = columns.iter().map(|name| match &line[name] {
            Value::Null => "NULL".to_owned(),
            Value::String(text) => format!("'{}'", text.replace('\'', "''")),
            number => number.to_string(),
        });
        words.collect::<Vec<_>>().join("|")
    };
    let column = |name: &String| match name.as_str() {
        "project_path" => "quote((SELECT path FROM projects p WHERE p.id = project_id))".to_owned(),
        "cost_usd" => "coalesce(cost_usd, 'NULL')".to_owned(),
        name => format!("quote({name})"),
    };
    let sql: Vec<_> = columns.iter().map(column).collect();
    let sql = format!("SELECT {} FROM usage_events ORDER BY ts_ms, id", sql.join("||'|'||"));
    let place = columns.iter().position(|name| name == "cost_usd").unwrap();
    let number_of = |row: &str| -> (Vec<String>, f64) {
        let mut words: Vec<_> = row.split('|').map(str::to_owned).collect();
        (words.clone(), words.swap_remove(place).parse().unwrap_or(-1.0))
    };
    for (stored, line) in strings(&db, &sql).iter().zip(&lines) {
        let (mut stored, usd) = number_of(stored);
        let (mut line, line_usd) = number_of(&quoted(line));
        assert!((usd - line_usd).abs() < 1e-12);
        stored.remove(place);
        line.remove(place);
        assert_eq!(stored, line);
    }
    assert_eq!(service.stop(), 0);
}

#[test]
fn marts_are_exported_one_as_csv_or_all_as_json_lines() {
    let home = counted();
    let db = home.database();
    let lines = json_lines(&home.tallyd(&["export", "marts", "--format", "jsonl"]));
    for mart in Dump::MARTS {
        let name = mart.trim_end_matches("_mart");
        let ours: Vec<_> = lines.iter().filter(|line| line["mart"] == name).collect();
        let sum = |name: &str| ours.iter().map(|line| line[name].as_i64().unwrap()).sum::<i64>();
        assert_eq!(ours.len() as i64, integer(&db, &format!("SELECT count(*) FROM {mart}")));
        for column in ["message_count", "input_tokens", "cost_nanousd", "unpriced_count"] {
            let expect = integer(&db, &format!("SELECT sum({column}) FROM {mart}"));
            assert_eq!(sum(column), expect, "{column} of {mart}");
        }
        let (columns, rows) = csv(&home.tallyd(&["export", "marts", mart]));
        let as_csv = |line: &&Value| columns.iter().map(|name| plain(&line[name])).collect();
        assert_eq!(rows, ours.iter().map(as_csv).collect::<Vec<Vec<_>>>(), "{mart}");
        assert!(!columns.contains(&"mart".to_owned()));
    }
    let two = home.tallyd(&["export", "marts", "project", "daily", "project", "--format", "jsonl"]);
    let two = json_lines(&two);
    let names: Vec<_> = two.iter().map(|line| line["mart"].as_str().unwrap()).collect();
    assert!(names.is_sorted_by(|a, b| a >= b), "in the order they were named: {names:?}");
    let project =
        two.iter().find(|line| line["mart"] == "daily" && line["model"] == "=nobodys,model");
    assert_eq!(project.unwrap()["project_path"], r#"/w/a "b", c"#);
    let several = home.run(&["export", "marts", "daily", "session"]);
    assert!(
        error_of(&several, 2)
            .contains("CSV holds the rows of one mart: name one of daily, session")
    );
    assert!(error_of(&home.run(&["export", "marts"]), 2).contains("--format jsonl"));
}

#[test]
fn what_is_exported_can_be_narrowed_down_and_bad_questions_are_one_sentence() {
    let home = counted();
    let db = home.database();
    let count = |args: &[&str]| {
        let args: Vec<_> =
            ["export"].iter().chain(args).chain(&["--format", "jsonl"]).copied().collect();
        json_lines(&home.tallyd(&args)).len() as i64
    };
    let days = ["events", "--since", "2026-09-03", "--until", "2026-09-05"];
    let of_days =
        "SELECT count(*) FROM usage_events WHERE day BETWEEN '2026-09-03' AND '2026-09-05'";
    assert_eq!(count(&days), integer(&db, of_days));
    assert_eq!(count(&["events", "--project", "/w", "--project", r#"/w/a "b", c"#]), 302);
    assert_eq!(count(&["events", "--project", "/w"]), 300);
    assert_eq!(count(&["events", "--model", "claude-opus-5", "--provider", "claude-code"]), 300);
    assert_eq!(count(&["marts", "model_day", "--model", "=nobodys,model"]), 1);
    assert_eq!(count(&["events", "--until", "2026-08-31"]), 0);
    for (args, words) in [
        (
            &["events", "--provider", "cursor"][..],
            &["provider \"cursor\"", "there is: claude-code"][..],
        ),
        (&["events", "--model", "gpt-9"], &["model \"gpt-9\"", "claude-opus-5"]),
        (&["events", "--project", "/nowhere"], &["project \"/nowhere\"", "hint:"]),
        (&["marts", "provider_day", "--project", "/w"], &["provider_day mart", "project"]),
        (&["marts", "project", "--model", "claude-opus-5"], &["project mart", "model"]),
        (&["marts", "weekly"], &["weekly", "daily, model_day"]),
        (&["events", "--since", "2026-13-01"], &["2026-13-01", "write it as 2026-05-31"]),
        (
            &["events", "--since", "2026-09-02", "--until", "2026-09-01"],
            &["--since", "after --until"],
        ),
        (&["events", "--format", "xml"], &["xml", "csv, jsonl"]),
        (&["cells"], &["cells"]),
    ] {
        let args: Vec<_> = ["export"].iter().chain(args).copied().collect();
        let error = error_of(&home.run(&args), 2);
        for word in words {
            assert!(error.contains(word), "{args:?}: {error}");
        }
    }
    let empty = Home::new();
    for args in [&["export", "events"][..], &["export", "marts", "daily"], &["backup", "copy.db"]] {
        let error = error_of(&empty.run(args), 1);
        assert!(error.contains("there is no database in"), "{error}");
    }
}

/// A database of so many events, more than there are calls for: its marts are not right.
fn of_events(home: &Home, events: usize) {
    home.write(LOG, calls(0..200));
    home.tallyd(&["backfill"]);
    #[expect(clippy::disallowed_methods, reason = "writes as no other program should")]
    let db = Connection::open(home.data_dir().join("tallyd.db")).unwrap();
    let columns = strings(
        &db,
        "SELECT group_concat(name) FROM pragma_table_xinfo('usage_events')
         WHERE hidden = 0 AND name NOT IN ('id', 'event_key', 'ts_ms')",
    )
    .remove(0);
    db.execute_batch(&format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {events} / 200 - 1)
         INSERT INTO usage_events (event_key, ts_ms, {columns})
         SELECT event_key || ':' || n, ts_ms + n, {columns} FROM n, usage_events"
    ))
    .unwrap();
    assert_eq!(integer(&db, EVENTS), events as i64);
}

/// The most memory an export had, in kB, looked at while it is read.
#[cfg(target_os = "linux")]
fn peak_kb(home: &Home, format: &str) -> (usize, u64) {
    let mut command = home.command(&["export", "events", "--format", format]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut rows, mut peak) = (0, 0);
    for line in lines {
        assert!(!line.unwrap().is_empty());
        rows += 1;
        if rows % 1_000 == 0 {
            let status = fs::read_to_string(&status).unwrap();
            let peak_now = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            // What has ended has no memory; it had as much a moment ago.
            if let Some(kb) = peak_now {
                peak = peak.max(kb.trim().trim_end_matches(" kB").parse().unwrap());
            }
        }
    }
    assert!(child.wait().unwrap().success());
    (rows, peak)
}

#[test]
#[cfg(target_os = "linux")]
fn the_memory_of_an_export_does_not_grow_with_its_rows() {
    let [few, many] = [Home::new(), Home::new()];
    of_events(&few, 20_000);
    of_events(&many, 200_000);
    for format in ["csv", "jsonl"] {
        let header = usize::from(format == "csv");
        let (rows, small) = peak_kb(&few, format);
        assert_eq!(rows, 20_000 + header);
        let (rows, large) = peak_kb(&many, format);
        assert_eq!(rows, 200_000 + header);
        println!("{format}: {small} kB for 20,000 rows, {large} kB for 200,000");
        assert!(small > 1_000 && large < small + 4_096, "{format}: {small} kB, then {large} kB");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let home = Home::new();
    of_events(&home, 20_000);
    for format in ["csv", "jsonl"] {
        let args = ["export", "events", "--format", format];
        let mut command = home.command(&args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("event_key"));
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");

        if Path::new("/dev/full").exists() {
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let output = home.command(&args).stdout(full).output().unwrap();
            let error = error_of(&output, 1);
            assert!(error.contains("cannot write to standard output: No space left"), "{error}");
        }
    }
}

#[test]
fn a_copy_made_beside_a_service_at_work_is_sound() {
    let home = Home::new();
    home.write(LOG, calls(0..2_000));
    let service = Service::start(&home);
    service.wait_ready();
    let db = home.database();
    let copies = home.path().join("copies");
    for round in 0..5 {
        let (from, folder) = (2_000 + round * 500, copies.join(round.to_string()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("tallyd.db");
        let before = integer(&db, EVENTS);
        // Lines come in while it is copied.
        let log = home.path().join(LOG);
        let agent = std::thread::spawn(move || {
            for n in from..from + 500 {
                crate::support::append(&log, calls(n..n + 1).as_bytes());
            }
        });
        let copied = home.json(&["backup", file.to_str().unwrap()]);
        agent.join().unwrap();
        let events = copied["events"].as_i64().unwrap();
        assert!(before <= events && events <= (from + 500) as i64, "{copied}");
        assert_eq!(copied["bytes"].as_u64(), Some(fs::metadata(&file).unwrap().len()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let checked = home.json(&["check", "--data-dir", folder.to_str().unwrap()]);
        assert_eq!(checked["sound"], true, "{checked}");
    }
    wait("all calls", || integer(&db, EVENTS) == 4_500);
    let file = copies.join("0/tallyd.db");
    let error = error_of(&home.run(&["backup", file.to_str().unwrap()]), 1);
    assert!(error.contains("is there already") && error.contains("--force"), "{error}");
    let said = home.tallyd(&["backup", "--force", file.to_str().unwrap()]);
    assert!(said.contains("events") && said.contains("4,500"), "{said}");
    // A service can start from a copy.
    let other = Home::new();
    fs::create_dir_all(other.data_dir()).unwrap();
    fs::copy(&file, other.data_dir().join("tallyd.db")).unwrap();
    other.tallyd(&["backfill"]);
    other.tallyd(&["check"]);
    assert_eq!(integer(&other.database(), EVENTS), 4_500);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_of_its_name_and_the_next_one_works() {
    let home = Home::new();
    of_events(&home, 100_000);
    let folder = home.path().join("copies");
    fs::create_dir(&folder).unwrap();
    let (file, partial) = (folder.join("copy.db"), folder.join("copy.db.partial"));
    let args = ["backup", file.to_str().unwrap()];
    for bytes in [0, 1, 8_000_000] {
        let mut child = home.command(&args).stdout(Stdio::null()).spawn().unwrap();
        wait("a part of the copy", || fs::metadata(&partial).is_ok_and(|m| m.len() >= bytes));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!file.exists() && partial.exists(), "killed after {bytes} bytes");
    }
    home.tallyd(&args);
    assert!(file.exists() && !partial.exists());
}

#[test]
fn a_disk_that_is_full_leaves_no_copy() {
    if !works(&["prlimit", "--version"]) {
        return;
    }
    let home = Home::new();
    of_events(&home, 20_000);
    let folder = home.path().join("copies");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("copy.db");
    let command = home.command(&["backup", file.to_str().unwrap()]);
    let limited = ["sh", "-c", "trap '' XFSZ; exec prlimit --fsize=1000000 \"$@\"", "sh"];
    let error = error_of(&run_by(&limited, &command).output().unwrap(), 1);
    assert!(error.contains("cannot write") && error.contains("copy.db"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// The blocks of a language in docs/reading.md.
fn blocks(language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reading.md");
    let text = fs::read_to_string(path).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    let blocks: Vec<_> = blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "no {language} in the docs");
    blocks
}

/// A home with calls of today and yesterday: just now, three hours ago, and so on.
pub(crate) fn of_these_days() -> Home {
    let home = Home::new();
    let now = jiff::Timestamp::now().as_millisecond();
    let line = |n: i64| {
        // Before and after midnight, whenever that is: also in the first minute of a day or a month.
        let time = jiff::Timestamp::from_millisecond(now - n * 3 * 3_600_000).unwrap();
        let model = ["claude-opus-5", "nobodys-model"][usize::from(n % 5 == 4)];
        format!(
            r#"{{"type":"assistant","sessionId":"s{}","cwd":"/w/{}","requestId":"r{n}","timestamp":"{time}","message":{{"id":"msg_01AAAAAAAAAAAA{n:08}","model":"{model}","usage":{{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":1000}}}}}}
"#,
            n / 2,
            n % 3
        )
    };
    home.write(LOG, (0..60).map(line).collect::<String>());
    home.tallyd(&["backfill"]);
    home
}

#[test]
fn every_query_of_the_docs_gives_rows_by_an_index_of_time() {
    let home = of_these_days();
    let db = home.database();
    for block in blocks("sql") {
        // What Grafana puts in the place of its words.
        let now = jiff::Timestamp::now().as_millisecond();
        let sql = block
            .replace("$__from", &(now - 86_400_000).to_string())
            .replace("$__to", &now.to_string())
            .replace("$__interval_ms", "60000");
        let mut rest = sql.as_str();
        let mut statements = 0;
        while !rest.trim().is_empty() {
            let (one, next) = rest.split_once(';').unwrap_or((rest, ""));
            rest = next;
            let mut statement = db.prepare(one).unwrap_or_else(|e| panic!("{e}: {one}"));
            assert!(statement.readonly(), "{one}");
            assert!(statement.query([]).unwrap().next().unwrap().is_some(), "no row: {one}");
            let plan = strings_of_plan(&db, one);
            assert!(
                !plan.iter().any(|step| step.starts_with("SCAN usage_events")),
                "{plan:?}: {one}"
            );
            statements += 1;
        }
        assert!(statements > 0);
    }
}

fn strings_of_plan(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let rows = statement.query_map([], |row| row.get(3)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn every_command_of_the_docs_works() {
    let home = of_these_days();
    let binary = Path::new(env!("CARGO_BIN_EXE_tallyd")).parent().unwrap();
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let mut ran = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        if line.starts_with("sqlite3 ") && !works(&["sqlite3", "--version"]) {
            continue;
        }
        let line = line.replace("/srv/tallyd", shared.to_str().unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-ec", &line]).current_dir(home.path()).env_clear().env("HOME", home.path());
        shell.env("PATH", format!("{}:/usr/bin:/bin", binary.display())).env("TZ", "UTC");
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{line}: {said}");
        ran += 1;
    }
    assert!(ran >= 5, "{ran}");
    let mut copies: Vec<PathBuf> = crate::support::files(&shared);
    copies.retain(|path| path.extension().is_some_and(|end| end == "db"));
    assert_eq!(copies.len(), 1, "{copies:?}");
    let mut header = [0; 16];
    fs::File::open(&copies[0]).unwrap().read_exact(&mut header).unwrap();
    assert_eq!(&header, b"SQLite format 3\0");
    assert_eq!(fs::metadata(&copies[0]).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn the_python_of_the_docs_gives_rows() {
    if !works(&["python3", "--version"]) {
        return;
    }
    let home = of_these_days();
    for block in blocks("python") {
        let mut python = Command::new("python3");
        let output = python.args(["-c", &block]).env("HOME", home.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8(output.stdout).unwrap().lines().count() >= 7);
    }
}
