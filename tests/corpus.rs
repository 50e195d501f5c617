//! Real logs, counted by the binary, by an independent script, and line by line while they grow.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::support::{
    Dump, Home, Random, Service, append, corpus_homes, files, integer, strings, wait,
};

const MEASURES: &str = "\
    sum(role = 'assistant'), sum(role = 'user'), sum(input_tokens), sum(output_tokens), \
    sum(cache_read_tokens), sum(cache_create_tokens), sum(cache_create_1h_tokens), \
    sum(reasoning_tokens), sum(web_search_requests), ifnull(sum(cost_nanousd), 0), \
    sum(cost_nanousd IS NULL), \
    sum(iif(cost_source = 'live', cost_nanousd, 0)), sum(cost_source = 'live')";
const NAMES: [&str; 13] = [
    "events",
    "prompts",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_create_tokens",
    "cache_create_1h_tokens",
    "reasoning_tokens",
    "web_search_requests",
    "cost_nanousd",
    "unpriced",
    "recorded_cost_nanousd",
    "recorded_costs",
];

/// What the script counts of each agent: it knows the prices of two.
const AGENTS: [(&str, &[&str]); 7] = [
    ("claude-code", &["recorded_cost_nanousd", "recorded_costs"]),
    ("codex", &["recorded_cost_nanousd", "recorded_costs"]),
    ("opencode", &["cost_nanousd", "unpriced"]),
    ("github-copilot", &["cost_nanousd", "unpriced"]),
    ("gemini-cli", &["cost_nanousd", "unpriced"]),
    ("cline", &["cost_nanousd", "unpriced"]),
    ("pi", &["cost_nanousd", "unpriced"]),
];

#[test]
fn every_home_adds_up_to_what_an_independent_script_counts() {
    for corpus in corpus_homes() {
        let home = Home::copy_of(&corpus);
        home.tallyd(&["backfill"]);
        assert_as_the_script_counts(&home, &corpus.display().to_string());
    }
}

#[test]
fn all_homes_in_one_add_up_to_the_sums_of_every_mart_and_to_what_the_script_counts() {
    let homes = corpus_homes();
    if homes.is_empty() {
        return;
    }
    let home = Home::merged(&homes);
    home.tallyd(&["backfill"]);
    home.tallyd(&["check"]);
    let db = home.database();
    for (mart, more) in MARTS {
        for (measure, of_events) in TOTALS.iter().chain(more) {
            let events = integer(&db, &format!("SELECT {of_events} FROM usage_events"));
            let sum = integer(&db, &format!("SELECT sum({measure}) FROM {mart}"));
            assert!(events > 0, "the logs say something of {measure}");
            assert_eq!(sum, events, "{mart}: {measure}");
        }
    }
    assert_as_the_script_counts(&home, "all homes in one");
}

#[test]
fn reports_of_all_homes_in_one_are_what_the_events_say() {
    let homes = corpus_homes();
    if homes.is_empty() {
        return;
    }
    let home = Home::merged(&homes);
    home.tallyd(&["backfill"]);
    let db = home.database();
    for (kind, keys, of_events) in REPORTS {
        let report = home.json(&["report", kind]);
        assert_eq!(totals(&report["total"]), sums(&db, "TRUE"), "{kind}");
        let rows = report["rows"].as_array().unwrap().iter();
        let rows: BTreeMap<String, Vec<i64>> = rows
            .map(|row| {
                let key: Vec<_> = keys.iter().map(|key| row[key].as_str().unwrap()).collect();
                (key.join(" "), totals(row))
            })
            .filter(|(_, totals)| totals.iter().any(|total| *total != 0))
            .collect();
        let groups = strings(
            &db,
            &format!(
                "SELECT DISTINCT {of_events} FROM usage_events e JOIN projects p ON p.id = \
                 e.project_id WHERE role = 'assistant' ORDER BY 1"
            ),
        );
        assert_eq!(rows.keys().cloned().collect::<Vec<_>>(), groups, "{kind}");
        for (group, totals) in rows {
            let group = group.replace('\'', "''");
            assert_eq!(totals, sums(&db, &format!("{of_events} = '{group}'")), "{kind} {group}");
        }
    }
    let blocks = home.json(&["report", "blocks", "--since", "2000-01-01"]);
    let claude = "provider = 'claude-code'";
    assert_eq!(totals(&blocks["total"]), sums(&db, claude), "blocks");
    for block in blocks["rows"].as_array().unwrap() {
        let (start, end) = (block["start_ts"].as_str().unwrap(), block["end_ts"].as_str().unwrap());
        let events = sums(&db, &format!("{claude} AND ts >= '{start}' AND ts < '{end}'"));
        assert_eq!(totals(block), events, "block of {start}");
    }
}

/// A report, what tells its rows apart, and the same of events.
const REPORTS: [(&str, &[&str], &str); 7] = [
    ("daily", &["day"], "day"),
    ("weekly", &["week"], "date(day, 'weekday 0', '-6 days')"),
    ("monthly", &["month"], "substr(day, 1, 7)"),
    ("session", &["provider", "session_id"], "provider || ' ' || session_id"),
    ("project", &["project"], "path"),
    ("provider", &["provider"], "provider"),
    ("model", &["model"], "model"),
];

/// The measures of a row of a report.
fn totals(row: &Value) -> Vec<i64> {
    TOTALS.iter().map(|(measure, _)| row[measure].as_i64().unwrap()).collect()
}

/// The same of the calls for which something holds.
fn sums(db: &rusqlite::Connection, condition: &str) -> Vec<i64> {
    let of = |(_, measure): &(&str, &str)| {
        let from = "usage_events e JOIN projects p ON p.id = e.project_id";
        integer(db, &format!("SELECT ifnull({measure}, 0) FROM {from} WHERE {condition}"))
    };
    TOTALS.iter().map(of).collect()
}

/// A measure of every mart, and the same of events.
const TOTALS: [(&str, &str); 7] = [
    ("message_count", "sum(role = 'assistant')"),
    ("input_tokens", "sum(input_tokens)"),
    ("output_tokens", "sum(output_tokens)"),
    ("cache_read_tokens", "sum(cache_read_tokens)"),
    ("cache_create_tokens", "sum(cache_create_tokens)"),
    ("cost_nanousd", "sum(cost_nanousd)"),
    ("unpriced_count", "sum(cost_nanousd IS NULL)"),
];
/// Of some marts only.
const PROMPTS: [(&str, &str); 1] = [("user_message_count", "sum(role = 'user')")];
const MARTS: [(&str, &[(&str, &str)]); 5] = [
    ("daily_mart", &[]),
    ("session_mart", &PROMPTS),
    ("project_mart", &PROMPTS),
    ("provider_day_mart", &PROMPTS),
    ("model_day_mart", &[]),
];

/// By agent, model, day and session, with the project of each session.
fn assert_as_the_script_counts(home: &Home, context: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle.py");
    let script = Command::new("python3").arg(script).arg(home.path()).arg("--json").output();
    let Ok(output) = script else {
        println!("skipped: no python3 to run the independent count with");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expect: Value = serde_json::from_slice(&output.stdout).unwrap();
    let db = home.database();
    for (provider, not_counted) in AGENTS {
        let context = format!("{context} {provider}");
        let filter = format!("provider = '{provider}'");
        let all = grouped(&db, &filter, "'all'");
        for name in NAMES.into_iter().filter(|name| !not_counted.contains(name)) {
            // No row at all is a sum of zero.
            let sum = all.get("all").map_or(json!(0), |sums| sums[name].clone());
            assert_eq!(sum, expect[provider][name], "{context}: {name}");
        }
        let assistants = format!("{filter} AND role = 'assistant'");
        let expected = |what: &str| (&expect[provider][what], not_counted);
        assert_same(&grouped(&db, &assistants, "model"), expected("models"), &context);
        assert_same(&grouped(&db, &filter, "day"), expected("days_utc"), &context);
        let sessions = grouped(&db, &filter, "session_id");
        assert_same(&sessions, expected("sessions"), &context);
        for session in sessions.keys() {
            let project: String = db
                .query_row(
                    "SELECT p.path FROM session_mart s JOIN projects p ON p.id = s.project_id \
                     WHERE s.provider = ?1 AND s.session_id = ?2",
                    [provider, session],
                    |row| row.get(0),
                )
                .unwrap();
            let expect = &expect[provider]["sessions"][session]["project"];
            assert_eq!(expect, &json!(project), "{context}: project of {session}");
        }
    }
}

/// Sums of events by one column, named as the script names them.
fn grouped(db: &rusqlite::Connection, filter: &str, by: &str) -> Map<String, Value> {
    let sql = format!("SELECT {by}, {MEASURES} FROM usage_events WHERE {filter} GROUP BY 1");
    let mut statement = db.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let sums =
            (0..NAMES.len()).map(|i| Ok((NAMES[i].into(), json!(row.get::<_, i64>(i + 1)?))));
        Ok((row.get(0)?, Value::Object(sums.collect::<rusqlite::Result<_>>()?)))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn assert_same(got: &Map<String, Value>, (expect, not_counted): (&Value, &[&str]), context: &str) {
    let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
    let expect = expect.as_object().unwrap();
    assert_eq!(names(got), names(expect), "{context}");
    for (group, sums) in got {
        let counted = sums.as_object().unwrap().iter();
        for (name, sum) in counted.filter(|(name, _)| !not_counted.contains(&name.as_str())) {
            assert_eq!(sum, &expect[group][name], "{context}: {name} of {group}");
        }
    }
}

#[test]
fn a_second_backfill_changes_nothing_and_a_rebuild_gives_the_same_marts() {
    for corpus in corpus_homes() {
        let home = Home::copy_of(&corpus);
        home.tallyd(&["backfill"]);
        let before = all_rows(&home);
        let again = home.json(&["backfill"]);
        assert_eq!(again["events"]["appended"], 0, "{again}");
        assert_eq!(again["events"]["corrected"], 0, "{again}");
        assert_eq!(all_rows(&home), before);
        let forced = home.json(&["backfill", "--force"]);
        assert_eq!(forced["events"]["appended"], 0, "{forced}");
        assert_eq!(all_rows(&home), before);
        home.tallyd(&["check"]);
        home.tallyd(&["rebuild", "--all"]);
        assert_eq!(all_rows(&home), before, "{}", corpus.display());
        home.tallyd(&["check"]);
    }
}

/// Events with their ids, and the marts.
fn all_rows(home: &Home) -> (i64, i64, Dump) {
    let db = home.database();
    let ids = integer(&db, "SELECT ifnull(sum(id * 31 + project_id), 0) FROM usage_events");
    let seq = integer(&db, "SELECT ifnull(max(seq), 0) FROM sqlite_sequence");
    (ids, seq, home.dump())
}

/// Every file is written again line by line, cut at random places, in random order, while the
/// service watches. It must end where one backfill of the whole ends.
#[test]
fn following_the_growing_logs_ends_where_one_backfill_ends() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for corpus in corpus_homes() {
        let whole = Home::copy_of(&corpus);
        whole.tallyd(&["backfill"]);
        let expect = whole.dump();

        let grown = Home::new();
        let service = Service::start(&grown);
        let mut sources = agent_files(&corpus);
        random.shuffle(&mut sources);
        // A message of OpenCode is complete once its parts are there.
        sources.sort_by_key(|file| file.components().any(|part| part.as_os_str() == "message"));
        for file in sources {
            let target = grown.path().join(file.strip_prefix(&corpus).unwrap());
            for piece in pieces(&fs::read(&file).unwrap(), &mut random) {
                append(&target, &piece);
            }
        }
        let context = corpus.display().to_string();
        let mut last = Dump::default();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        wait("the rows of one backfill", || {
            last = grown.dump();
            last == expect || std::time::Instant::now() > end
        });
        last.assert_same(&expect, &context);
        assert_eq!(service.stop(), 0);
        grown.dump().assert_same(&expect, &context);
        grown.tallyd(&["check"]);
    }
}

/// Files of the agents that are read, in a home of the corpus.
fn agent_files(home: &Path) -> Vec<std::path::PathBuf> {
    let folders = [
        ".claude",
        ".codex",
        ".copilot",
        ".gemini",
        ".cline",
        ".config",
        ".local/share/opencode",
        ".pi",
    ];
    folders.iter().flat_map(|dir| files(&home.join(dir))).collect()
}

/// Lines, some of them cut in two or three, some glued to the next one.
fn pieces(bytes: &[u8], random: &mut Random) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        match random.below(8) {
            0 | 1 => {
                let cut = random.below(line.len());
                pieces.push(line[..cut].to_vec());
                pieces.push(line[cut..].to_vec());
            }
            2 => match pieces.last_mut() {
                Some(last) => last.extend_from_slice(line),
                None => pieces.push(line.to_vec()),
            },
            _ => pieces.push(line.to_vec()),
        }
    }
    pieces
}
