//! The query plans of a refresh: one full scan of the cells, and its cost would grow with history.

use rusqlite::Connection;

use super::{Memory, batch, event};
use crate::marts::{ALL, Mart};

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
