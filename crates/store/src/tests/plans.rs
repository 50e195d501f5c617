//! The query plans of a refresh, and of pages of events and sessions: one full scan of cells or events,
//! and the cost would grow with history.

use rusqlite::Connection;

use super::{Memory, batch, event};
use crate::event_query::{self, EventQuery};
use crate::filter::{Filter, Resolved};
use crate::mart_query;
use crate::marts::{ALL, Mart};
use crate::news;
use crate::report;
use crate::zone::Zone;
use crate::{Dimension, MartQuery, Order, ReportQuery, SortBy};

const PLANS: &str = "
daily_mart
SEARCH usage_cells USING COVERING INDEX usage_cells_last_event_id (last_event_id>?)
-
SEARCH daily_mart USING PRIMARY KEY (day=? AND project_id=? AND provider=? AND model=? AND speed=?)
LIST SUBQUERY
SCAN temp.dirty_daily_mart
-
SCAN temp.dirty_daily_mart
SEARCH usage_cells USING INDEX usage_cells_project (project_id=? AND day=? AND provider=?)
USE TEMP B-TREE FOR count(DISTINCT)

model_day_mart
SEARCH usage_cells USING COVERING INDEX usage_cells_last_event_id (last_event_id>?)
-
SEARCH model_day_mart USING PRIMARY KEY (day=? AND model=? AND speed=?)
LIST SUBQUERY
SCAN temp.dirty_model_day_mart
-
SCAN temp.dirty_model_day_mart
SEARCH usage_cells USING PRIMARY KEY (day=?)
USE TEMP B-TREE FOR count(DISTINCT)

project_mart
SEARCH project_cells USING COVERING INDEX project_cells_last_event_id (last_event_id>?)
-
SEARCH project_mart USING PRIMARY KEY (project_id=?)
LIST SUBQUERY
SCAN temp.dirty_project_mart
-
SCAN temp.dirty_project_mart
SEARCH project_cells USING PRIMARY KEY (project_id=?)
SEARCH projects USING INTEGER PRIMARY KEY (rowid=?)
CORRELATED SCALAR SUBQUERY
SEARCH usage_cells USING INDEX usage_cells_project (project_id=? AND day=?)
CORRELATED SCALAR SUBQUERY
SEARCH usage_cells USING INDEX usage_cells_project (project_id=?)
CORRELATED SCALAR SUBQUERY
SEARCH usage_cells USING INDEX usage_cells_project (project_id=? AND day=?)
CORRELATED SCALAR SUBQUERY
SEARCH usage_cells USING INDEX usage_cells_project (project_id=?)

provider_day_mart
SEARCH usage_cells USING COVERING INDEX usage_cells_last_event_id (last_event_id>?)
-
SEARCH provider_day_mart USING PRIMARY KEY (day=? AND provider=?)
LIST SUBQUERY
SCAN temp.dirty_provider_day_mart
-
SCAN temp.dirty_provider_day_mart
SEARCH usage_cells USING PRIMARY KEY (day=? AND provider=?)
USE TEMP B-TREE FOR count(DISTINCT)
USE TEMP B-TREE FOR count(DISTINCT)

session_mart
SEARCH usage_cells USING COVERING INDEX usage_cells_last_event_id (last_event_id>?)
-
SEARCH session_mart USING PRIMARY KEY (provider=? AND session_id=?)
LIST SUBQUERY
SCAN temp.dirty_session_mart
-
CO-ROUTINE (subquery)
SCAN temp.dirty_session_mart
SEARCH usage_cells USING INDEX usage_cells_session (provider=? AND session_id=?)
CORRELATED SCALAR SUBQUERY
SEARCH usage_cells USING INDEX usage_cells_session (provider=? AND session_id=?)
SEARCH projects USING INTEGER PRIMARY KEY (rowid=?)
USE TEMP B-TREE FOR ORDER BY
CORRELATED SCALAR SUBQUERY
SEARCH usage_cells USING INDEX usage_cells_session (provider=? AND session_id=?)
USE TEMP B-TREE FOR GROUP BY
USE TEMP B-TREE FOR ORDER BY
SCAN (subquery)
SEARCH projects USING INTEGER PRIMARY KEY (rowid=?)
";

/// The steps of a plan, without the numbers that SQLite gives to subqueries.
pub(super) fn plan(db: &Connection, sql: &str) -> String {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
    let steps = steps.map(|step| {
        let step = step.unwrap();
        let (text, closing) = step.strip_suffix(')').map_or((&*step, ""), |text| (text, ")"));
        let plain =
            text.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', ' ']);
        if text.contains("SUBQUERY") || text.contains("subquery") {
            format!("{plain}{closing}")
        } else {
            step
        }
    });
    steps.collect::<Vec<_>>().join("\n")
}

fn plans(db: &Connection, mart: &Mart) -> String {
    let dirty = mart.dirty_table();
    let statements = [
        mart.collect_sql(),
        mart.over(&dirty, &mart.delete_sql()),
        mart.over(&dirty, &mart.insert_sql()),
    ];
    statements.map(|sql| plan(db, &sql)).join("\n-\n")
}

fn all_plans(db: &Connection) -> String {
    ALL.iter().map(|mart| format!("\n{}\n{}\n", mart.name, plans(db, mart))).collect()
}

#[test]
fn h47_no_refresh_reads_all_cells() {
    let Memory { db, .. } = Memory::new("UTC");
    assert_eq!(all_plans(&db), PLANS);
}

#[test]
fn h47_no_refresh_reads_all_cells_when_someone_ran_analyze() {
    // A small database: what is measured there misleads once it has grown.
    let Memory { mut db, mut ledger } = Memory::new("UTC");
    let events = (0..300).map(|n| {
        let mut event = event(&format!("k{n}"));
        event.owner.session_id = format!("s{}", n % 7).into();
        event.ts_ms += n * 3_600_000;
        event
    });
    ledger.append(&mut db, &mut [batch(events)]).unwrap();
    ledger.refresh(&mut db).unwrap();
    db.execute_batch("ANALYZE").unwrap();
    let plans = all_plans(&db);
    assert_ne!(plans, PLANS, "statistics are in use");
    for step in plans.lines().filter(|step| step.starts_with("SCAN ")) {
        let small = ["SCAN temp.dirty_", "SCAN projects", "SCAN (subquery)"];
        assert!(small.iter().any(|small| step.starts_with(small)), "{step}");
    }
}

/// Statements that readers wait for.
fn reading(db: &Connection) -> Vec<(&'static str, String)> {
    let zone = Zone::new("UTC").unwrap();
    let plain = EventQuery { limit: 10, ..EventQuery::default() };
    let day = "2026-05-28".parse().unwrap();
    let narrow = EventQuery {
        filter: Filter {
            providers: vec!["codex".into()],
            projects: vec!["/home/ada/7".into()],
            models: vec!["gpt-5.5".into()],
            ..Filter::day(day)
        },
        sessions: vec!["s1".into()],
        cursor: Some("1780000000000-1".into()),
        ..plain.clone()
    };
    let events = |query: &EventQuery| {
        let filter = query.filter.resolve(db).unwrap().unwrap();
        let span = (0, i64::MAX);
        event_query::Select::of(query, &filter, span, &zone).unwrap().sql(query.limit)
    };
    let sessions = |order: &str, filter: Filter, cursor: Option<&str>| {
        let mut query = MartQuery::new(&ALL[4], 10);
        query.order = Some(Order::parse(order));
        query.cursor = cursor.map(str::to_owned);
        let filter = filter.resolve(db).unwrap().unwrap();
        mart_query::Select::of(&query, &filter, &zone).unwrap().sql(&query)
    };
    let narrow_events = events(&narrow);
    let all = Filter::default;
    let after = Some(r#"["-last_ts",1,"codex","s1"]"#);
    let last = ReportQuery {
        by: vec![Dimension::Session],
        filter: Filter::default(),
        sort: SortBy::Last,
        descending: true,
        limit: Some(10),
    };
    let report = report::Plan::of(&last, &Resolved::default());
    let since = Filter { since: Some(day), ..Filter::default() };
    let of_days_query = ReportQuery { filter: since, ..last.clone() };
    let of_days =
        report::Plan::of(&of_days_query, &of_days_query.filter.resolve(db).unwrap().unwrap());
    vec![
        // Each sorts the rows of its page.
        ("sessions, the newest first", sessions("-last_ts", all(), None)),
        ("sessions, the next page", sessions("-last_ts", all(), after)),
        ("sessions, the oldest first, narrowed down", sessions("last_ts", narrow.filter, None)),
        ("sessions, the most expensive first", sessions("-cost_usd", all(), None)),
        ("a report of the newest sessions", report.rows_sql(&last)),
        ("how many sessions there are", report.groups_sql()),
        ("a report of the sessions of some days", of_days.rows_sql(&of_days_query)),
        ("events", events(&plain)),
        ("events, narrowed down", narrow_events),
        ("the span of a session", event_query::OF_SESSION.into()),
        ("the span of a project", event_query::OF_PROJECT.into()),
        ("dirty days", news::DIRTY_DAYS.into()),
    ]
}

const READING: &str = "
sessions, the newest first
SEARCH session_mart USING PRIMARY KEY (provider=? AND session_id=?)
LIST SUBQUERY
SCAN session_mart USING COVERING INDEX session_mart_last_ts
USE TEMP B-TREE FOR ORDER BY

sessions, the next page
SEARCH session_mart USING PRIMARY KEY (provider=? AND session_id=?)
LIST SUBQUERY
SEARCH session_mart USING COVERING INDEX session_mart_last_ts ((last_ts_ms,provider,session_id)<(?,?,?))
USE TEMP B-TREE FOR ORDER BY

sessions, the oldest first, narrowed down
SEARCH session_mart USING PRIMARY KEY (provider=? AND session_id=?)
LIST SUBQUERY
SEARCH session_mart USING COVERING INDEX session_mart_last_ts (last_ts_ms>?)
USE TEMP B-TREE FOR LAST TERM OF ORDER BY
USE TEMP B-TREE FOR ORDER BY

sessions, the most expensive first
SEARCH session_mart USING PRIMARY KEY (provider=? AND session_id=?)
LIST SUBQUERY
CO-ROUTINE (subquery)
SCAN session_mart
SCAN (subquery)
USE TEMP B-TREE FOR ORDER BY
USE TEMP B-TREE FOR ORDER BY

a report of the newest sessions
SEARCH session_mart USING PRIMARY KEY (provider=? AND session_id=?)
LIST SUBQUERY
SCAN session_mart USING COVERING INDEX session_mart_last_ts
USE TEMP B-TREE FOR ORDER BY

how many sessions there are
SCAN session_mart USING COVERING INDEX session_mart_last_ts

a report of the sessions of some days
CO-ROUTINE (subquery)
SEARCH usage_cells USING PRIMARY KEY (day>?)
USE TEMP B-TREE FOR GROUP BY
SCAN (subquery)
USE TEMP B-TREE FOR ORDER BY

events
SEARCH e USING INDEX usage_events_ts_ms (ts_ms>? AND ts_ms<?)
SEARCH p USING INTEGER PRIMARY KEY (rowid=?)

events, narrowed down
SEARCH e USING INDEX usage_events_ts_ms (ts_ms>? AND ts_ms<?)
SEARCH p USING INTEGER PRIMARY KEY (rowid=?)

the span of a session
CO-ROUTINE (subquery)
SCAN project_cells USING COVERING INDEX project_cells_last_event_id
USE TEMP B-TREE FOR DISTINCT
SCAN (subquery)
SEARCH usage_cells USING INDEX usage_cells_session (provider=? AND session_id=?)

the span of a project
SEARCH usage_cells USING INDEX usage_cells_project (project_id=?)

dirty days
SEARCH usage_cells USING COVERING INDEX usage_cells_last_event_id (last_event_id>?)
USE TEMP B-TREE FOR DISTINCT
";

#[test]
fn no_page_of_events_or_of_the_newest_sessions_sorts_or_reads_all_of_them() {
    let Memory { mut db, mut ledger } = Memory::new("UTC");
    let events = (0..300).map(|n| {
        let mut event = event(&format!("k{n}"));
        event.ts_ms += n * 3_600_000;
        event.owner.project = format!("/home/ada/{}", n % 40).into();
        event
    });
    ledger.append(&mut db, &mut [batch(events)]).unwrap();
    ledger.refresh(&mut db).unwrap();
    let plans = || -> String {
        let plans = reading(&db).into_iter();
        plans.map(|(name, sql)| format!("\n{name}\n{}\n", plan(&db, &sql))).collect()
    };
    assert_eq!(plans(), READING);
    db.execute_batch("ANALYZE").unwrap();
    assert_eq!(plans(), READING, "whatever statistics say");
}
