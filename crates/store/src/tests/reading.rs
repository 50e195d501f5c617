//! What readers see.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use usage::{Checkpoint, Fingerprint, Skip, Skips, UsageEvent};

use super::{HOUR_MS, Home, NOW_MS, batch, batch_with, checkpoint, event, prompt};
use crate::marts::find;
use crate::{Filter, MartPage, MartQuery, ReadError, Store};

pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

pub(super) fn store_of(home: &Home, events: impl IntoIterator<Item = UsageEvent>) -> Store {
    let mut store = home.open();
    store.append(&mut [batch(events)]).unwrap();
    store.refresh().unwrap();
    store
}

/// A call `day` days after the first, in a session of that day.
pub(super) fn on_day(day: i64) -> UsageEvent {
    let mut event = event(&format!("k{day}"));
    event.ts_ms += day * DAY_MS;
    event.owner.session_id = format!("s{day}").into();
    event.owner.project = format!("/w/{}", day % 2).into();
    event
}

fn column(page: &MartPage, name: &str) -> Vec<Json> {
    let place = page.columns.iter().position(|column| column == name).unwrap();
    page.rows.iter().map(|row| row[place].clone()).collect()
}

fn query(mart: &str, change: impl FnOnce(&mut MartQuery)) -> MartQuery {
    let mut query = MartQuery::new(find(mart).unwrap(), 100);
    change(&mut query);
    query
}

#[test]
fn a_mart_is_read_in_the_order_of_its_key() {
    let home = Home::new();
    let store = store_of(&home, [on_day(2), on_day(0)]);
    let page = store.reader().unwrap().mart(&query("daily", |_| {})).unwrap();
    assert_eq!(column(&page, "day"), [json!("2026-05-28"), json!("2026-05-30")]);
    assert_eq!(column(&page, "input_tokens"), [json!(100), json!(100)]);
    assert_eq!(column(&page, "cost_usd"), [json!(0.0008), json!(0.0008)]);
    assert_eq!((page.watermark, page.next), (2, None));
}

#[test]
fn days_are_inclusive_and_sessions_are_found_by_when_they_were_active() {
    let home = Home::new();
    let mut long = on_day(1);
    long.key = usage::EventKey::new("long");
    long.ts_ms += 3 * DAY_MS;
    let store = store_of(&home, [on_day(0), on_day(1), on_day(2), on_day(3), long]);
    let reader = store.reader().unwrap();
    let range = |query: &mut MartQuery| {
        query.filter = Filter::day("2026-05-30".parse().unwrap());
    };
    let page = reader.mart(&query("provider_day", range)).unwrap();
    assert_eq!(column(&page, "day"), [json!("2026-05-30")]);
    let page = reader.mart(&query("session", range)).unwrap();
    assert_eq!(column(&page, "session_id"), [json!("s1"), json!("s2")]);
}

#[test]
fn rows_are_filtered_by_provider_project_and_model() {
    let home = Home::new();
    let mut other = on_day(1);
    other.usage.model = "mystery".into();
    let store = store_of(&home, [on_day(0), other]);
    let reader = store.reader().unwrap();
    let rows = |mart: &str, change: &dyn Fn(&mut MartQuery)| {
        reader.mart(&query(mart, |query| change(query))).unwrap().rows.len()
    };
    assert_eq!(rows("daily", &|query| query.filter.models = vec!["mystery".into()]), 1);
    assert_eq!(rows("session", &|query| query.filter.models = vec!["mystery".into()]), 1);
    assert_eq!(rows("daily", &|query| query.filter.providers = vec!["codex".into()]), 2);
    assert_eq!(rows("project", &|query| query.filter.projects = vec!["/w/1".into()]), 1);
    assert_eq!(rows("project", &|query| query.filter.projects = vec!["2".into()]), 1);
    let either = || vec!["mystery".into(), "gpt-5.5".into()];
    assert_eq!(rows("daily", &|query| query.filter.models = either()), 2);
    let both = |query: &mut MartQuery| {
        query.filter.models = vec!["mystery".into()];
        query.filter.projects = vec!["/w/0".into()];
    };
    assert_eq!(rows("daily", &both), 0, "both are known, and no row has both");
}

#[test]
fn a_value_that_was_never_seen_is_refused() {
    let home = Home::new();
    let store = store_of(&home, [on_day(0)]);
    let reader = store.reader().unwrap();
    let refused = |change: &dyn Fn(&mut Filter)| {
        let error = reader.mart(&query("daily", |query| change(&mut query.filter))).unwrap_err();
        assert!(error.is_bad_question(), "{error}");
        let ReadError::Unknown { kind, value, known, .. } = error else { panic!("{error}") };
        (kind, value, known)
    };
    let expect = |kind, value: &str, known: &str| (kind, value.to_owned(), vec![known.to_owned()]);
    let provider = refused(&|filter| filter.providers = vec!["codex".into(), "cursor".into()]);
    assert_eq!(provider, expect("provider", "cursor", "codex"));
    let model = refused(&|filter| filter.models = vec!["".into()]);
    assert_eq!(model, expect("model", "", "gpt-5.5"));
    let project = refused(&|filter| filter.projects = vec!["/elsewhere".into()]);
    assert_eq!(project, expect("project", "/elsewhere", "/w/0"));
}

#[test]
fn a_filter_that_a_mart_cannot_apply_is_refused_not_ignored() {
    let home = Home::new();
    let reader = store_of(&home, [on_day(0)]).reader().unwrap();
    let refused = |mart: &str, change: &dyn Fn(&mut MartQuery)| {
        let error = reader.mart(&query(mart, |query| change(query))).unwrap_err();
        assert!(error.is_bad_question(), "{error}");
        error
    };
    let error = refused("model_day", &|query| query.filter.providers = vec!["codex".into()]);
    assert!(matches!(error, ReadError::NoSuchFilter { mart: "model_day", filter: "provider" }));
    refused("provider_day", &|query| query.filter.projects = vec!["1".into()]);
    refused("project", &|query| query.filter.models = vec!["gpt-5.5".into()]);
    let mixed = r#"[1,"day","codex","gpt-5.5","standard"]"#;
    for cursor in ["", "[]", "[1]", "[null,1,2,3,4]", "{}", mixed] {
        refused("daily", &|query| query.cursor = Some(cursor.into()));
    }
}

#[test]
fn pages_join_without_gap_or_overlap() {
    let home = Home::new();
    let store = store_of(&home, (0..7).map(on_day));
    let reader = store.reader().unwrap();
    for mart in ["daily", "session", "project", "provider_day", "model_day"] {
        let whole = reader.mart(&query(mart, |_| {})).unwrap().rows;
        for limit in 1..9 {
            let mut pages = Vec::new();
            let mut cursor = None;
            loop {
                let page = reader.mart(&query(mart, |query| {
                    query.limit = limit;
                    query.cursor = cursor;
                }));
                let page = page.unwrap();
                pages.extend(page.rows);
                assert!(pages.len() <= whole.len(), "{mart} by {limit}");
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(pages, whole, "{mart} by {limit}");
        }
    }
}

#[test]
fn checkpoints_come_back_as_they_were_saved() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let full = Checkpoint {
        source_id: -7,
        provider: "codex".into(),
        path: PathBuf::from(OsString::from_vec(b"/logs/\xff.jsonl".to_vec())),
        fingerprint: Fingerprint {
            dev: u64::MAX,
            ino: u64::MAX - 1,
            btime_ns: i64::MIN,
            size: u64::MAX - 2,
            mtime_ns: -1,
            marker_len: u16::MAX,
            marker_hash: u64::MAX - 3,
        },
        generation: u32::MAX,
        offset: u64::MAX - 4,
        skip_to_newline: true,
        state: "{\"model\":\"ü\"}".into(),
        parser_version: u32::MAX,
        skips: Skips([(Skip::Malformed, 3), (Skip::Replayed, u64::MAX)].into()),
        lines: u64::MAX - 5,
        last_event_ms: Some(-1),
        last_error: Some("permission denied".into()),
        missing_since_ms: Some(NOW_MS),
    };
    let home = Home::new();
    let mut store = home.open();
    let saved = [full.clone(), checkpoint(1)];
    let batches = saved.clone().map(batch_with);
    store.append(&mut batches.to_vec()).unwrap();
    assert_eq!(store.reader().unwrap().checkpoints().unwrap(), saved);
}

#[test]
fn h29_what_is_known_of_a_provider_believes_no_time_in_the_future() {
    let home = Home::new();
    let mut store = store_of(&home, [on_day(0), on_day(1), on_day(400), prompt("p")]);
    let mut silent = checkpoint(2);
    silent.provider = "amp".into();
    silent.last_error = Some("permission denied".into());
    silent.skips = Skips([(Skip::Malformed, 3)].into());
    silent.lines = 8;
    store.append(&mut [batch_with(silent)]).unwrap();
    let known = store.reader().unwrap().providers(NOW_MS + DAY_MS).unwrap();
    let [amp, codex] = &known[..] else { panic!("{known:?}") };
    assert_eq!((amp.sources, amp.failing, amp.lines, amp.skips.faults()), (1, 1, 8, 3));
    assert_eq!((codex.usage.figures.message_count, codex.usage.user_message_count), (3, 1));
    assert_eq!((codex.usage.figures.input_tokens, codex.usage.figures.output_tokens), (300, 30));
    assert_eq!(codex.usage.newest_ts_ms, Some(NOW_MS + DAY_MS));
    assert_eq!((codex.sources, codex.failing), (1, 0));
}

#[test]
fn h40_a_query_that_takes_too_long_gives_up() {
    let home = Home::new();
    let reader = home.open().reader().unwrap();
    let count_to = |most: i64| {
        let count = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
            SELECT max(n) FROM n";
        reader.read(|db| db.query_row(count, [most], |row| row.get(0)))
    };
    let begun = Instant::now();
    let stopped: Result<i64, _> = count_to(300_000_000);
    assert!(matches!(stopped, Err(ReadError::TooSlow)), "{stopped:?}");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    // Long enough to be asked whether it took too long.
    assert_eq!(count_to(10_000).unwrap(), 10_000, "the next query has its own time");
}

#[test]
fn h40_a_check_takes_as_long_as_it_takes() {
    let home = Home::new();
    let store = store_of(&home, (0..1_000).map(on_day));
    let mut reader = store.reader().unwrap();
    reader.patience = Duration::from_millis(1);
    assert!(reader.check(3).unwrap().is_sound());
}

#[test]
fn a_reader_cannot_write() {
    let home = Home::new();
    let reader = home.open().reader().unwrap();
    reader.db.execute_batch("DELETE FROM meta").unwrap_err();
}

fn check_after(damage: &str) -> crate::CheckReport {
    let home = Home::new();
    let store = store_of(&home, [on_day(0), on_day(1), prompt("p")]);
    store.db.execute_batch(damage).unwrap();
    store.reader().unwrap().check(3).unwrap()
}

#[test]
fn check_finds_nothing_in_a_sound_database() {
    let report = check_after("");
    assert!(report.is_sound() && report.pending.is_empty(), "{report:?}");
}

#[test]
fn check_finds_what_differs_and_says_where() {
    for (damage, table, column) in [
        (
            "UPDATE usage_cells SET input_tokens = 7 WHERE message_count = 1",
            "usage_cells",
            "input_tokens",
        ),
        ("UPDATE usage_cells SET first_ts_ms = 1", "usage_cells", "first_ts_ms"),
        ("UPDATE usage_cells SET last_event_id = 0", "usage_cells", "last_event_id"),
        ("DELETE FROM usage_cells WHERE message_count = 1", "usage_cells", "row"),
        ("UPDATE usage_events SET day_number = 18262 WHERE role = 'user'", "usage_cells", "row"),
        ("UPDATE project_cells SET session_count = 9", "project_cells", "session_count"),
        ("UPDATE daily_mart SET cost_nanousd = cost_nanousd + 1", "daily_mart", "cost_nanousd"),
        ("DELETE FROM session_mart", "session_mart", "row"),
        ("UPDATE model_day_mart SET model = 'other'", "model_day_mart", "row"),
    ] {
        let report = check_after(damage);
        let finding = report.findings.first().unwrap_or_else(|| panic!("{damage}"));
        assert_eq!((&*finding.table, &*finding.column), (table, column), "{damage}");
        assert!(!report.is_sound());
        assert!(report.findings.len() <= 3);
    }
}

#[test]
fn check_finds_rows_without_their_project() {
    let report = check_after("PRAGMA foreign_keys = OFF; DELETE FROM projects WHERE id = 1");
    assert!(!report.integrity.is_empty() && !report.is_sound(), "{report:?}");
}

#[test]
fn check_reports_what_waits_for_a_refresh_as_pending() {
    let home = Home::new();
    let mut store = store_of(&home, [on_day(0), on_day(1)]);
    store.append(&mut [batch([on_day(2)])]).unwrap();
    let reader = store.reader().unwrap();
    let report = reader.check(3).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.pending["daily_mart"], 1);
    // A fault elsewhere is still a fault.
    store.db.execute_batch("UPDATE daily_mart SET message_count = 5").unwrap();
    assert!(!reader.check(3).unwrap().is_sound());
}
