//! Orders of marts, single events, and what followers are told.

use proptest::prelude::*;
use rusqlite::types::Value;
use serde_json::{Value as Json, json};

use super::reading::{DAY_MS, on_day, store_of};
use super::{Home, NOW_MS, batch, event, prompt};
use crate::marts::{ALL, find};
use crate::{EventPage, EventQuery, Filter, MartQuery, Moment, Order, ReadError, Reader};

/// All rows, in pages of this length.
fn all_pages(reader: &Reader, mut query: MartQuery, limit: usize) -> Vec<Vec<Json>> {
    query.limit = limit;
    let mut rows = Vec::new();
    loop {
        let page = reader.mart(&query).unwrap();
        rows.extend(page.rows);
        query.cursor = page.next;
        if query.cursor.is_none() {
            return rows;
        }
    }
}

#[test]
fn rows_come_in_any_order_and_pages_join_without_gap_or_overlap() {
    let home = Home::new();
    let calls = (0..9).map(|n| {
        let mut call = on_day(n);
        // Equal values, and sessions without a call, whose model is null.
        call.usage.tokens.input = [700, 100, 700][usize::try_from(n % 3).unwrap()];
        call
    });
    let mut lonely = prompt("p");
    lonely.owner.session_id = "lonely".into();
    lonely.owner.project = "codex:elsewhere".into();
    let store = store_of(&home, calls.chain([lonely]));
    let reader = store.reader().unwrap();
    let mut orders = 0;
    for mart in &ALL {
        let whole = all_pages(&reader, MartQuery::new(mart, 100), 100);
        for (place, name) in mart.columns().enumerate() {
            for order in [name.to_owned(), format!("-{name}")] {
                let order = Some(Order::parse(&order));
                let query = MartQuery { order, ..MartQuery::new(mart, 100) };
                let rows = all_pages(&reader, query.clone(), 100);
                let mut sorted = whole.clone();
                // By that column, and by the key; the rows are in the order of the key already.
                sorted.sort_by(|a, b| compare(&a[place], &b[place]));
                if query.order.as_ref().unwrap().descending {
                    sorted = whole.iter().rev().cloned().collect();
                    sorted.sort_by(|a, b| compare(&b[place], &a[place]));
                }
                assert_eq!(rows, sorted, "{mart:?} {query:?}");
                for limit in 1..4 {
                    assert_eq!(all_pages(&reader, query.clone(), limit), rows, "{query:?}");
                }
                orders += 1;
            }
        }
    }
    assert_eq!(orders, 2 * (14 + 12 + 18 + 13 + 20));
}

/// As SQLite compares: numbers by value, texts by their bytes, null before both.
fn compare(a: &Json, b: &Json) -> std::cmp::Ordering {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64().unwrap().total_cmp(&b.as_f64().unwrap()),
        (a, b) => a.as_str().unwrap_or_default().cmp(b.as_str().unwrap_or_default()),
    }
}

#[test]
fn a_cursor_belongs_to_its_order_and_an_unknown_column_is_named_with_those_there_are() {
    let home = Home::new();
    let store = store_of(&home, [on_day(0), on_day(1)]);
    let reader = store.reader().unwrap();
    let ask = |order: Option<&str>, cursor: Option<String>| {
        let order = order.map(Order::parse);
        reader.mart(&MartQuery { order, cursor, ..MartQuery::new(find("daily").unwrap(), 1) })
    };
    let by_cost = ask(Some("-cost_nanousd"), None).unwrap().next;
    ask(Some("-cost_nanousd"), by_cost.clone()).unwrap();
    for other in [None, Some("cost_nanousd"), Some("-input_tokens")] {
        let error = ask(other, by_cost.clone()).unwrap_err();
        assert!(matches!(error, ReadError::BadCursor { .. }), "{other:?}: {error}");
    }
    let by_key = ask(None, None).unwrap().next;
    assert!(matches!(ask(Some("day"), by_key), Err(ReadError::BadCursor { .. })));
    for unknown in ["price", "", "--day", "day; DROP TABLE daily_mart", "DAY"] {
        let error = ask(Some(unknown), None).unwrap_err();
        let ReadError::NoSuchColumn { columns, .. } = error else { panic!("{error}") };
        assert_eq!(columns[..2], ["day", "project_id"]);
    }
}

fn ids(page: &EventPage) -> Vec<i64> {
    page.rows.iter().map(|row| row[0].as_i64().unwrap()).collect()
}

#[test]
fn events_are_the_columns_of_the_log_and_the_path_of_the_project() {
    let home = Home::new();
    let mut store = store_of(&home, [on_day(0), on_day(1)]);
    let page = store.reader().unwrap().events(&EventQuery { limit: 9, ..EventQuery::default() });
    let page = page.unwrap();
    const COLUMNS: &str = "SELECT name FROM pragma_table_xinfo('usage_events')
        WHERE cid < (SELECT cid FROM pragma_table_xinfo('usage_events') WHERE name = 'day_number')";
    let public = super::rows(&store.db, COLUMNS).into_iter().flatten();
    let others = page.columns.iter().filter(|name| *name != "project_path");
    let others = others.map(|name| Value::Text(name.clone()));
    assert_eq!(others.collect::<Vec<_>>(), public.collect::<Vec<_>>(), "all that are public");
    let value = |row: usize, name: &str| {
        let place = page.columns.iter().position(|column| column == name).unwrap();
        page.rows[row][place].clone()
    };
    assert_eq!(value(0, "ts"), json!("2026-05-29T20:26:40.000Z"));
    assert_eq!(value(1, "day"), json!("2026-05-28"));
    assert_eq!(value(0, "project_path"), json!("/w/1"));
    assert_eq!(value(0, "cost_usd"), json!(0.0008));
    assert_eq!((page.position, page.next), (2, None));
    // A correction moves the id and not the place.
    let mut corrected = on_day(0);
    corrected.usage.tokens.output = 99;
    store.append(&mut [batch([corrected])]).unwrap();
    let page = store.reader().unwrap().events(&EventQuery { limit: 9, ..EventQuery::default() });
    assert_eq!(ids(&page.unwrap()), [2, 3]);
}

#[test]
fn an_unknown_session_is_refused_with_the_latest_ones() {
    let home = Home::new();
    let store = store_of(&home, [on_day(0), on_day(1)]);
    let query = EventQuery { sessions: vec!["s9".into()], limit: 9, ..EventQuery::default() };
    let error = store.reader().unwrap().events(&query).unwrap_err();
    let ReadError::Unknown { kind: "session", value, known, .. } = error else { panic!("{error}") };
    assert_eq!((&*value, known), ("s9", vec!["s1".to_owned(), "s0".to_owned()]));
}

proptest! {
    #![proptest_config(super::cases())]

    /// Whatever is asked for, the pages are what a plain loop over all events gives.
    #[test]
    fn pages_of_events_join_without_gap_or_overlap(
        events in prop::collection::vec((0_i64..6, 0_i64..3, 0_u8..3, 0_u8..3, 0_u8..2), 1..30),
        limit in 1_usize..8,
        since in prop::option::of(0_i64..6),
        until in prop::option::of(0_i64..6),
        sessions in prop::collection::vec(0_usize..30, 0..3),
        projects in prop::collection::vec(0_usize..30, 0..3),
        model in prop::option::of(0_usize..30),
    ) {
        let home = Home::new();
        let calls = events.iter().enumerate().map(|(n, (day, ms, session, project, model))| {
            let mut call = event(&format!("k{n}"));
            call.ts_ms = NOW_MS + day * DAY_MS + ms;
            call.owner.session_id = format!("s{session}").into();
            call.owner.project = format!("/w/{project}").into();
            call.usage.model = format!("m{model}").into();
            call
        });
        let store = store_of(&home, calls);
        let reader = store.reader().unwrap();
        let sessions: Vec<u8> = sessions.iter().filter_map(|n| events.get(*n)).map(|of| of.2).collect();
        let projects: Vec<u8> = projects.iter().filter_map(|n| events.get(*n)).map(|of| of.3).collect();
        let model = model.and_then(|n| events.get(n)).map(|of| of.4);
        let day = |n: i64| {
            jiff::Timestamp::from_millisecond(NOW_MS + n * DAY_MS).unwrap().to_string()[..10]
                .parse().unwrap()
        };
        let mut query = EventQuery {
            filter: Filter {
                since: since.map(day),
                until: until.map(day),
                projects: projects.iter().map(|n| format!("/w/{n}")).collect(),
                models: model.iter().map(|n| format!("m{n}")).collect(),
                ..Filter::default()
            },
            sessions: sessions.iter().map(|n| format!("s{n}")).collect(),
            limit,
            cursor: None,
        };
        let mut expect: Vec<(i64, i64)> = events.iter().enumerate()
            .filter(|(_, of)| since.is_none_or(|since| of.0 >= since))
            .filter(|(_, of)| until.is_none_or(|until| of.0 <= until))
            .filter(|(_, of)| sessions.is_empty() || sessions.contains(&of.2))
            .filter(|(_, of)| projects.is_empty() || projects.contains(&of.3))
            .filter(|(_, of)| model.is_none_or(|model| of.4 == model))
            .map(|(n, of)| (of.0 * DAY_MS + of.1, i64::try_from(n).unwrap() + 1))
            .collect();
        expect.sort_unstable_by(|a, b| b.cmp(a));
        let expect: Vec<i64> = expect.into_iter().map(|(_, id)| id).collect();
        let mut found = Vec::new();
        loop {
            let page = reader.events(&query).unwrap();
            prop_assert!(page.rows.len() <= limit);
            found.extend(ids(&page));
            prop_assert!(found.len() <= expect.len(), "rows come twice");
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expect);
    }
}

#[test]
fn news_name_the_days_that_changed_since_a_moment() {
    let home = Home::new();
    let mut store = store_of(&home, [on_day(0), on_day(1)]);
    let reader = store.reader().unwrap();
    let news = |since| reader.news(since, NOW_MS).unwrap();
    let first = news(None);
    assert_eq!((first.is_new, first.now.position, &first.dirty_days), (true, 2, &None));
    assert_eq!(first.today.to_string(), "2026-05-28");
    assert_eq!((first.figures_today.message_count, first.figures_today.input_tokens), (1, 100));
    assert_eq!(first.watermarks.len(), 5);
    let seen = first.now;
    let nothing = news(Some(seen));
    assert_eq!((nothing.is_new, nothing.dirty_days), (false, Some(vec![])));

    store.append(&mut [batch([on_day(4), on_day(6)])]).unwrap();
    assert!(!news(Some(seen)).is_new, "the marts have not followed yet");
    store.refresh().unwrap();
    store.append(&mut [batch([on_day(2)])]).unwrap();
    store.refresh().unwrap();
    let days = |days: &[&str]| Some(days.iter().map(|day| (*day).to_owned()).collect::<Vec<_>>());
    let missed = news(Some(seen));
    assert_eq!((missed.is_new, missed.now.position), (true, 5));
    assert_eq!(missed.dirty_days, days(&["2026-05-30", "2026-06-01", "2026-06-03"]));
    let half = news(Some(Moment { position: 4, ..seen }));
    assert_eq!(half.dirty_days, days(&["2026-05-30"]));
    // Another epoch, and a position that is yet to come: another database.
    for other in [Moment { epoch: seen.epoch + 1, ..seen }, Moment { position: 6, ..seen }] {
        let news = news(Some(other));
        assert_eq!((news.is_new, news.dirty_days), (true, None), "{other:?}");
    }
}

#[test]
fn news_of_a_mart_that_stays_behind_are_told_until_it_has_caught_up() {
    let home = Home::new();
    let mut store = store_of(&home, [on_day(0)]);
    store.db.execute_batch("ALTER TABLE daily_mart RENAME TO away").unwrap();
    store.append(&mut [batch([on_day(1)])]).unwrap();
    assert!(store.refresh().unwrap().marts.iter().any(|mart| mart.error.is_some()));
    let reader = store.reader().unwrap();
    let since = Some(Moment { epoch: reader.epoch().unwrap(), position: 1 });
    let news = reader.news(since, NOW_MS).unwrap();
    assert_eq!((news.is_new, news.now.position), (true, 1));
    assert_eq!(news.dirty_days, Some(vec!["2026-05-29".to_owned()]));
    store.db.execute_batch("ALTER TABLE away RENAME TO daily_mart").unwrap();
    store.refresh().unwrap();
    assert_eq!(store.reader().unwrap().news(since, NOW_MS).unwrap().now.position, 2);
}
