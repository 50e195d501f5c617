//! `/metrics` and `/health` as those who watch the service read them, and the files in
//! `docs/monitoring` that they are given.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::exposition::{Family, Scrape};
use crate::support::faults::{call, calls, works};
use crate::support::logs::{generate, write_all};
use crate::support::whole::POSITION;
use crate::support::{Home, Random, Service, integer, strings, wait};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const CALLS: &str = "SELECT ifnull(sum(message_count), 0) FROM daily_mart";
/// All that the generated logs hold happened in this time.
const SEPTEMBER: (&str, &str) = ("1788220800000", "1790812800000");

/// Logs of two agents; calls of models that nobody knows the price of, one with an odd name; and lines
/// that cannot be read.
fn home() -> Home {
    let home = Home::new();
    write_all(&home, &generate(&mut Random(11), 3, 20));
    let odd = call(0).replace("claude-opus-5", r#"od\"d \\ na\nme"#);
    home.write(LOG, format!("{odd}{}{{\"type\":\"assistant\"\n[]\n", calls(1..20)));
    home
}

fn start(home: &Home) -> Service {
    let service = Service::start(home);
    service.wait_ready();
    service
}

fn scrape(service: &Service) -> (String, Scrape) {
    let (status, text) = service.get("/metrics");
    assert_eq!(status, 200, "{text}");
    let scrape = Scrape::parse(&text);
    (text, scrape)
}

/// Appends a call and waits until the marts show it and the writer says so.
fn add(home: &Home, service: &Service, n: usize) {
    let before = integer(&home.database(), CALLS);
    home.append(LOG, call(n));
    wait("the call in the marts", || integer(&home.database(), CALLS) == before + 1);
    // A moment after the commit.
    let position = integer(&home.database(), POSITION) as f64;
    let watermark = || scrape(service).1.sum("tallyd_mart_watermark", &[("mart", "session")]);
    wait("the writer to tell of it", || watermark() == position);
}

#[test]
fn metrics_are_well_formed_and_say_what_the_database_says() {
    let home = home();
    let service = start(&home);
    let (_, first) = scrape(&service);
    assert_eq!(first.sum("tallyd_freshness_seconds_count", &[]), 0.0, "a sweep found it all");
    for n in 20..30 {
        add(&home, &service, n);
    }
    let (text, after) = scrape(&service);
    after.assert_after(&first);
    let shown = after.sum("tallyd_freshness_seconds_count", &[]);
    assert!((1.0..=10.0).contains(&shown), "{shown}");
    let mean = after.sum("tallyd_freshness_seconds_sum", &[]) / shown;
    assert!(mean < 5.0, "{mean} s on average");

    let db = home.database();
    let same = |sample: &str, labels: &[(&str, &str)], sql: &str| {
        assert_eq!(after.sum(sample, labels), integer(&db, sql) as f64, "{sample} {labels:?}");
    };
    for provider in ["claude-code", "codex"] {
        let of = |change| after.sum("tallyd_events_total", &[("provider", provider), change]);
        let rows = of(("change", "appended")) - of(("change", "retracted"));
        let sql = format!("SELECT count(*) FROM usage_events WHERE provider = '{provider}'");
        assert_eq!(rows, integer(&db, &sql) as f64, "{provider}");
    }
    same("tallyd_log_position", &[], POSITION);
    same(
        "tallyd_mart_watermark",
        &[("mart", "session")],
        "SELECT last_event_id FROM mart_watermark WHERE mart_name = 'session_mart'",
    );
    same("tallyd_sources", &[], "SELECT count(*) FROM source_checkpoint");
    let [model] = &strings(&db, "SELECT model FROM usage_events WHERE model LIKE 'od%'")[..] else {
        panic!("one odd call")
    };
    assert_eq!(after.sum("tallyd_unpriced_calls", &[("model", model)]), 1.0, "{text}");
    let skipped = |reason| {
        let labels = [("provider", "claude-code"), ("reason", reason)];
        after.sum("tallyd_skipped_records_total", &labels)
    };
    assert_eq!((skipped("malformed"), skipped("not_an_object")), (1.0, 1.0), "{text}");
    // What takes a look at every source is renewed once a second.
    wait("nothing to be unread", || scrape(&service).1.sum("tallyd_unread_bytes", &[]) == 0.0);

    service.signal("-HUP");
    service.wait_for_log("configuration reloaded");
    add(&home, &service, 30);
    let (_, reloaded) = scrape(&service);
    reloaded.assert_after(&after);
    assert_eq!(service.stop(), 0);
}

/// The file of a name in `docs/monitoring`.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring").join(name)
}

#[test]
fn prometheus_itself_accepts_metrics_and_rules() {
    if !works(&["promtool", "--version"]) {
        return;
    }
    let promtool = |args: &[&str], input: &str| {
        let mut promtool = Command::new("promtool")
            .args(args)
            .current_dir(shipped(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    };
    let home = home();
    let service = start(&home);
    add(&home, &service, 20);
    promtool(&["check", "metrics"], &scrape(&service).0);
    assert_eq!(service.stop(), 0);
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts_test.yml"], "");
}

/// What a panel asks a data source.
fn targets(dashboard: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (panel["title"].as_str().unwrap(), target))
    })
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(shipped("grafana-dashboard.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_query_of_the_dashboard_finds_what_happened_in_its_time_and_nothing_else() {
    let home = home();
    home.tallyd(&["backfill"]);
    let db = home.database();
    let dashboard = dashboard();
    let mut asked = 0;
    for (panel, target) in targets(&dashboard) {
        let Some(query) = target["queryText"].as_str() else { continue };
        assert_eq!(target["rawQueryText"], query, "{panel}");
        let between = |from: &str, to: &str| {
            let sql = query.replace("$__from", from).replace("$__to", to);
            let sql = sql.replace("$__interval_ms", "60000");
            assert!(!sql.contains('$'), "{panel}: {sql}");
            sql
        };
        let (from, to) = SEPTEMBER;
        let sql = between(from, to);
        // Time is asked for as the number that has an index, days as the marts have them.
        if query.contains("usage_events") {
            let filter = "WHERE ts_ms BETWEEN $__from AND $__to";
            assert!(query.contains(filter), "{panel}: {query}");
            let plan = rows(&db, &format!("EXPLAIN QUERY PLAN {sql}"));
            let is_indexed = plan.iter().flatten().any(|value| {
                matches!(value, Sql::Text(text)
                if text.contains("INDEX usage_events_ts_ms (ts_ms>? AND ts_ms<?)"))
            });
            assert!(is_indexed, "{panel}: {plan:?}");
        } else {
            assert!(query.contains("WHERE day BETWEEN date($__from / 1000, "), "{panel}: {query}");
        }
        assert!(!query.contains("extras"), "{panel}: {query}");
        let found = rows(&db, &sql);
        assert!(found.iter().any(|row| has_figures(row)), "{panel} finds nothing: {sql}");
        let nothing = rows(&db, &between("631152000000", "633830400000"));
        assert!(!nothing.iter().any(|row| has_figures(row)), "{panel}: {nothing:?}");
        asked += 1;
    }
    assert!(asked >= 8, "{asked} queries");
}

fn rows(db: &Connection, sql: &str) -> Vec<Vec<Sql>> {
    let mut statement = db.prepare(sql).unwrap_or_else(|e| panic!("{e}: {sql}"));
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|n| row.get(n)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}

fn has_figures(row: &[Sql]) -> bool {
    row.iter().any(|value| match value {
        Sql::Integer(n) => *n != 0,
        Sql::Real(n) => *n != 0.0,
        Sql::Null | Sql::Text(_) | Sql::Blob(_) => false,
    })
}

/// The figures that an expression names.
fn named<'a>(scrape: &'a Scrape, expression: &str) -> Vec<&'a Family> {
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = expression.split(|c| !is_of_a_name(c)).filter(|word| word.starts_with("tallyd_"));
    let families = words.map(|word| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|s| word.strip_suffix(s));
        let family = scrape.0.get(word).or_else(|| scrape.0.get(of_histogram?));
        let family = family.unwrap_or_else(|| panic!("nothing is called {word}"));
        let has_parts = ["histogram", "summary"].contains(&&*family.kind);
        assert_eq!(of_histogram.is_some(), has_parts, "{word}");
        family
    });
    families.collect()
}

#[test]
fn rules_panels_and_docs_name_figures_labels_and_checks_that_there_are() {
    let home = home();
    // What is told of budgets is told where there is one.
    home.write(".config/tallyd/config.toml", "[[budgets]]\nperiod = \"month\"\nusd = 9\n");
    let service = start(&home);
    let health = service.wait_for_check("budgets:used", "pass", "budget (month): ");
    let (_, scrape) = scrape(&service);
    assert_eq!(service.stop(), 0);
    let checks: BTreeSet<&str> =
        health["checks"].as_object().unwrap().keys().map(String::as_str).collect();

    let rules = std::fs::read_to_string(shipped("alerts.yml")).unwrap();
    assert!(named(&scrape, &rules).len() > 12);
    let (_, selected) = rules.split_once("check=~\"").unwrap();
    for check in selected.split_once('"').unwrap().0.split('|') {
        assert!(checks.contains(check), "{check}");
    }
    let dashboard = dashboard();
    let mut asked = 0;
    for (panel, target) in targets(&dashboard) {
        let Some(expression) = target["expr"].as_str() else { continue };
        let families = named(&scrape, expression);
        assert!(!families.is_empty(), "{panel}: {expression}");
        let labels = target["legendFormat"].as_str().unwrap().split("{{").skip(1);
        for label in labels.map(|after| after.split_once("}}").unwrap().0) {
            let has = |family: &&Family| {
                family.samples.iter().any(|((_, labels), _)| labels.contains_key(label))
            };
            let is_of_prometheus = label == "instance";
            assert!(is_of_prometheus || families.iter().any(has), "{panel}: {label}");
        }
        asked += 1;
    }
    assert!(asked >= 15, "{asked} expressions");

    let docs = std::fs::read_to_string(shipped("../monitoring.md")).unwrap();
    let told: BTreeSet<&str> = docs.split('`').filter(|word| word.starts_with("tallyd_")).collect();
    assert_eq!(told, scrape.0.keys().map(String::as_str).collect());
    let table = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let told: BTreeSet<&str> = table.map(|(name, _)| name).filter(|n| n.contains(':')).collect();
    assert_eq!(told, checks);
}

/// In a debug build: a bound that a query behind the writer would not keep. The figure itself is
/// measured on the built program, see BENCHMARKS.md.
const SLOWEST_OF_99_IN_100: Duration =
    if cfg!(debug_assertions) { Duration::from_millis(100) } else { Duration::from_millis(5) };

#[test]
fn health_is_answered_at_once_a_thousand_times_while_all_is_read_for_the_first_time() {
    let home = Home::new();
    write_all(&home, &generate(&mut Random(7), 60, 60));
    // What the machine takes, beside other tests, shows in answers that nothing is looked up for.
    let (mut times, mut plain) = (Vec::new(), Vec::new());
    let mut first_reads = 0;
    while times.len() < 1_000 {
        first_reads += 1;
        let data = home.path().join(format!("data{first_reads}"));
        let data = data.to_str().unwrap();
        let run = ["run", "--listen", "127.0.0.1:0", "--data-dir", data];
        let service = Service::spawn(home.command(&run));
        let mut stays = Client::of(&service);
        while stays.get("/readyz").status == 503 {
            for (path, status, times) in [("/health", 200, &mut times), ("/none", 404, &mut plain)]
            {
                let begun = Instant::now();
                let by_one_that_stays = stays.get(path);
                times.push(begun.elapsed());
                let begun = Instant::now();
                let by_a_new_one = Client::of(&service).get(path);
                times.push(begun.elapsed());
                assert_eq!((by_one_that_stays.status, by_a_new_one.status), (status, status));
            }
        }
        assert_eq!(service.stop(), 0);
    }
    times.sort();
    plain.sort();
    let at = |times: &[Duration], percent: usize| times[times.len() * percent / 100];
    println!(
        "{} answers in {first_reads} first backfills: p50 {:?}, p99 {:?}, slowest {:?}; \
         p99 of those that say nothing {:?}",
        times.len(),
        at(&times, 50),
        at(&times, 99),
        times.last().unwrap(),
        at(&plain, 99),
    );
    let bound = SLOWEST_OF_99_IN_100 + at(&plain, 99);
    assert!(at(&times, 99) < bound, "{:?}, bound {bound:?}", at(&times, 99));
}
