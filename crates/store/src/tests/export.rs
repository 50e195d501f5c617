//! Every row, in constant memory, from one moment.

use std::io;
use std::time::Duration;

use jiff::civil::Date;
use rusqlite::types::Value;

use super::plans::plan;
use super::{HOUR_MS, Home, Memory, batch, event, options, prompt, rows};
use crate::export::{EVENT_COLUMNS, Select};
use crate::marts::{ALL, find};
use crate::zone::Zone;
use crate::{ExportError, ExportSink, Exported, Field, Filter, ReadError, Reader, Store};

/// Keeps all, as text.
#[derive(Default)]
struct Kept {
    tables: Vec<(String, Vec<String>)>,
    rows: Vec<Vec<String>>,
}

impl ExportSink for Kept {
    fn begin(&mut self, table: &str, columns: &[&str]) -> io::Result<()> {
        self.tables.push((table.into(), columns.iter().map(|&column| column.into()).collect()));
        Ok(())
    }

    fn row(&mut self, values: &[Field<'_>]) -> io::Result<()> {
        self.rows.push(values.iter().map(text).collect());
        Ok(())
    }
}

fn text(value: &Field<'_>) -> String {
    match value {
        Field::Null => "NULL".into(),
        Field::Integer(number) => number.to_string(),
        Field::Real(number) => number.to_string(),
        Field::Text(text) => text.to_string(),
    }
}

fn export(reader: &Reader, what: &Exported, filter: &Filter) -> Result<Kept, ExportError> {
    let mut kept = Kept::default();
    reader.export(what, filter, &mut kept)?;
    Ok(kept)
}

fn mart(name: &str) -> Exported {
    Exported::Marts(vec![find(name).unwrap()])
}

/// Five calls, one every seven hours, in sessions, projects, agents and models of their own; and a
/// prompt.
fn store_of(home: &Home, zone: &str) -> Store {
    let mut options = options();
    options.system_time_zone = zone.into();
    let mut store = home.open_with(options).unwrap();
    let calls = (0..5).map(|n| {
        let mut event = event(&format!("k{n}"));
        event.ts_ms += i64::from(n) * 7 * HOUR_MS;
        event.owner.session_id = format!("s{n}").into();
        event.owner.project = format!("/w/{n}").into();
        event.provider = if n < 2 { "codex" } else { "claude-code" }.into();
        event.usage.model = format!("model-{n}").into();
        event
    });
    let events: Vec<_> = calls.chain([prompt("p")]).collect();
    store.append(&mut [batch(events)]).unwrap();
    store.refresh().unwrap();
    store
}

fn day(text: &str) -> Option<Date> {
    Some(text.parse().unwrap())
}

#[test]
fn events_have_all_public_columns_and_the_path_of_their_project() {
    let Memory { db, .. } = Memory::new("UTC");
    let stored = rows(&db, "SELECT name FROM pragma_table_xinfo('usage_events') ORDER BY cid");
    let stored: Vec<_> = stored.into_iter().flatten().collect();
    // From here on, how a row is stored.
    let public = stored.iter().position(|name| *name == Value::Text("day_number".into())).unwrap();
    assert_eq!(stored[..public], EVENT_COLUMNS.map(|name| Value::Text(name.into())));

    let home = Home::new();
    let reader = store_of(&home, "UTC").reader().unwrap();
    let kept = export(&reader, &Exported::Events, &Filter::default()).unwrap();
    let (table, columns) = &kept.tables[0];
    assert_eq!((table.as_str(), kept.rows.len()), ("events", 6));
    let place = columns.iter().position(|column| column == "project_path").unwrap();
    assert_eq!(columns[place - 1], "project_id");
    assert_eq!(columns.len(), EVENT_COLUMNS.len() + 1);
    let paths: Vec<_> = kept.rows.iter().map(|row| row[place].as_str()).collect();
    let mut expect: Vec<_> = (0..5).map(|n| format!("/w/{n}")).collect();
    expect.insert(1, "/home/ada/engine".into());
    assert_eq!(paths, expect);
}

#[test]
fn marts_have_all_their_columns() {
    let home = Home::new();
    let store = store_of(&home, "UTC");
    let reader = store.reader().unwrap();
    let all = Exported::Marts(ALL.iter().collect());
    let kept = export(&reader, &all, &Filter::default()).unwrap();
    for (mart, (table, columns)) in ALL.iter().zip(&kept.tables) {
        assert_eq!(table, mart.short_name());
        let stored = format!("SELECT name FROM pragma_table_xinfo('{}') ORDER BY cid", mart.name);
        let stored = rows(&store.db, &stored).into_iter().flatten();
        let found = columns.iter().filter(|column| *column != "project_path");
        let found: Vec<_> = found.map(|column| Value::Text(column.clone())).collect();
        assert_eq!(found, stored.collect::<Vec<_>>(), "{table}");
        let tells_projects = ["daily", "session"].contains(&table.as_str());
        assert_eq!(columns.contains(&"project_path".to_owned()), tells_projects, "{table}");
    }
    assert_eq!(kept.rows.len(), 5 + 5 + 6 + 4 + 5);
}

#[test]
fn no_export_sorts_its_rows() {
    let home = Home::new();
    let store = store_of(&home, "UTC");
    let zone = Zone::new("UTC").unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let days = Filter { since: day("2026-05-01"), until: day("2026-05-31"), ..none() };
    let projects = names(&["/w/1", "/w/2"]);
    let by_provider =
        Filter { providers: names(&["codex", "claude-code"]), projects, ..days.clone() };
    let by_model = Filter { models: names(&["model-1", "model-2"]), ..none() };
    for analyzed in [false, true] {
        for filter in [none(), days.clone(), by_provider.clone(), by_model.clone()] {
            let filter = filter.resolve(&store.db).unwrap().unwrap();
            let marts = ALL.iter().filter_map(|mart| Select::of_mart(mart, &filter, &zone).ok());
            for sql in marts.chain([Select::of_events(&filter)]).map(|select| select.sql()) {
                let plan = plan(&store.db, &sql);
                assert!(!plan.is_empty() && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
            }
        }
        if !analyzed {
            store.db.execute_batch("ANALYZE").unwrap();
        }
    }
}

fn none() -> Filter {
    Filter::default()
}

#[test]
fn events_of_days_are_those_whose_day_it_is() {
    // Where clocks went back over midnight a day is no interval.
    for zone in ["UTC", "Pacific/Kiritimati", "America/St_Johns", "Pacific/Pago_Pago"] {
        let home = Home::new();
        let mut store = store_of(&home, zone);
        let odd = ["2006-10-29T02:30:30Z", "2006-10-29T02:31:30Z", "2006-10-29T03:30:00Z"];
        let odd = odd.iter().map(|time| {
            let mut event = event(time);
            event.ts_ms = time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            event
        });
        store.append(&mut [batch(odd)]).unwrap();
        let reader = store.reader().unwrap();
        for since in ["1969-12-31", "2006-10-28", "2006-10-29", "2026-05-28", "2026-05-30"] {
            for until in ["2006-10-28", "2006-10-29", "2026-05-29", "9999-12-31"] {
                let filter = Filter { since: day(since), until: day(until), ..none() };
                let kept = export(&reader, &Exported::Events, &filter).unwrap();
                let found: Vec<_> = kept.rows.iter().map(|row| row[1].clone()).collect();
                let expect = format!(
                    "SELECT event_key FROM usage_events WHERE day BETWEEN '{since}' AND '{until}'
                     ORDER BY ts_ms, id"
                );
                let expect = rows(&store.db, &expect).into_iter().flatten();
                let found: Vec<_> = found.into_iter().map(Value::Text).collect();
                assert_eq!(found, expect.collect::<Vec<_>>(), "{zone}: {since} to {until}");
            }
        }
    }
}

#[test]
fn rows_are_of_one_of_the_names_of_each_filter() {
    let home = Home::new();
    let reader = store_of(&home, "UTC").reader().unwrap();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let count =
        |what: &Exported, filter: Filter| export(&reader, what, &filter).unwrap().rows.len();
    let models = Filter { models: names(&["model-1", "model-4"]), ..none() };
    assert_eq!(count(&Exported::Events, models.clone()), 2);
    assert_eq!(count(&mart("session"), models.clone()), 2);
    let both = Filter { providers: names(&["codex"]), ..models };
    assert_eq!(count(&mart("daily"), both), 1);
    let projects = Filter { projects: names(&["/w/1", "3"]), ..none() };
    assert_eq!(count(&mart("project"), projects.clone()), 2);
    assert_eq!(count(&Exported::Events, projects), 2);
    let active = Filter { since: day("2026-05-29"), until: day("2026-05-29"), ..none() };
    // 03:26, 10:26 and 17:26 of that day.
    assert_eq!(count(&mart("session"), active.clone()), 3);
    assert_eq!(count(&mart("project"), active), 3);
}

#[test]
fn names_that_nothing_is_stored_of_and_filters_that_a_mart_lacks_are_refused() {
    let home = Home::new();
    let reader = store_of(&home, "UTC").reader().unwrap();
    let refused = |what: &Exported, filter: Filter| {
        let mut kept = Kept::default();
        let refused = reader.export(what, &filter, &mut kept);
        assert!(kept.tables.is_empty(), "nothing was written");
        let Err(ExportError::Read(error)) = refused else { panic!("{filter:?} is taken") };
        assert!(error.is_bad_question());
        error
    };
    let one = |name: &str| vec![name.to_owned()];
    let project = |path| Filter { projects: one(path), ..none() };
    for what in [Exported::Events, mart("daily")] {
        for filter in [
            Filter { providers: one("cursor"), ..none() },
            Filter { models: one("gpt"), ..none() },
            project("/elsewhere"),
        ] {
            let error = refused(&what, filter);
            assert!(matches!(error, ReadError::Unknown { .. }), "{error}");
        }
    }
    for (name, filter) in [
        ("model_day", Filter { providers: one("codex"), ..none() }),
        ("provider_day", project("/w/1")),
        ("project", Filter { models: one("model-1"), ..none() }),
    ] {
        let error = refused(&mart(name), filter);
        assert!(matches!(error, ReadError::NoSuchFilter { mart, .. } if mart == name), "{error}");
    }
}

/// Stores another call whenever it gets a row.
struct Disturbing {
    store: Store,
    rows: usize,
}

impl ExportSink for Disturbing {
    fn begin(&mut self, _: &str, _: &[&str]) -> io::Result<()> {
        Ok(())
    }

    fn row(&mut self, _: &[Field<'_>]) -> io::Result<()> {
        self.rows += 1;
        let mut more = event(&format!("more{}", self.rows));
        more.ts_ms += (1_000 + 24 * self.rows as i64) * HOUR_MS;
        self.store.append(&mut [batch([more])]).unwrap();
        self.store.refresh().unwrap();
        Ok(())
    }
}

#[test]
fn all_rows_are_of_one_moment() {
    let home = Home::new();
    let store = store_of(&home, "UTC");
    let reader = store.reader().unwrap();
    let mut sink = Disturbing { store, rows: 0 };
    for what in [Exported::Events, Exported::Marts(ALL.iter().collect())] {
        let before = export(&reader, &what, &none()).unwrap().rows.len();
        let stored = sink.rows;
        reader.export(&what, &none(), &mut sink).unwrap();
        assert_eq!(sink.rows - stored, before);
        assert!(export(&reader, &what, &none()).unwrap().rows.len() > before);
    }
}

#[test]
fn an_export_takes_as_long_as_it_takes() {
    let home = Home::new();
    let mut store = store_of(&home, "UTC");
    let events = (0..1_000).map(|n| event(&format!("more{n}")));
    store.append(&mut [batch(events)]).unwrap();
    let mut reader = store.reader().unwrap();
    reader.patience = Duration::from_millis(1);
    reader.seq().unwrap();
    let kept = export(&reader, &Exported::Events, &none()).unwrap();
    assert_eq!(kept.rows.len(), 1_006);
}
