//! `/api/v1/summary`: what a status bar or a small page shows, in one answer.

use hyper::StatusCode;
use jiff::ToSpan as _;
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use store::{Filter, ReadError, Reader};

use super::error::Problem;
use super::{App, Response, probes, query};
use crate::budgets::Standing;
use crate::commands::{blocks, figure_columns, object};

const PARAMETERS: [&str; 3] = ["provider", "project", "model"];

pub(super) async fn get(app: &App, query: Option<&str>) -> Result<Response, Problem> {
    let filter = query::parse(query, &PARAMETERS)?.filter()?;
    let now_ms = (app.live.now_ms)();
    let budgets = app.live.budgets.borrow().clone();
    let summary = app.readers.ask(move |reader| Ok(summary(reader, &filter, &budgets, now_ms)?));
    let mut summary = summary.await?;
    // Before the first backfill is in the marts the sums are not whole.
    summary["reading"] = probes::describe(&app.live).into();
    Ok(super::json(StatusCode::OK, &summary))
}

/// What is summed up: its name, and its first day. The last one is today.
pub(super) fn spans(today: Date) -> [(&'static str, Date); 4] {
    [
        ("today", today),
        ("last_7_days", today.saturating_sub(6.days())),
        ("last_30_days", today.saturating_sub(29.days())),
        ("month", today.first_of_month()),
    ]
}

fn summary(
    reader: &Reader,
    filter: &Filter,
    budgets: &[Standing],
    now_ms: i64,
) -> Result<Value, ReadError> {
    let today = reader.day(now_ms)?;
    let since = |since: Date| -> Result<Map<String, Value>, ReadError> {
        let filter = Filter { since: Some(since), until: Some(today), ..filter.clone() };
        let days = [("since", since.to_string().into()), ("until", today.to_string().into())];
        let figures = figure_columns(&reader.figures(&filter)?);
        Ok(object(days.into_iter().chain(figures)))
    };
    let block = blocks::running(reader, filter, now_ms)?;
    let mut summary = json!({
        "day": today.to_string(),
        "time_zone": reader.time_zone()?,
        "block": block.map(|block| object(blocks::columns(&block, now_ms))),
        "budgets": budgets,
    });
    for (name, first) in spans(today) {
        summary[name] = since(first)?.into();
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Database, Server, daemon};
    use crate::live::Phase;

    #[tokio::test]
    async fn a_summary_adds_up_the_last_days_and_the_month() {
        let mut database = Database::new();
        // It is 2026-05-28.
        for day in ["2026-05-28", "2026-05-22", "2026-05-21", "2026-05-01", "2026-04-30"] {
            database.add(&[(day, "a")]);
        }
        database.add(&[("2026-04-29", "b"), ("2026-04-28", "b")]);
        let (parts, live) = daemon(database.data_dir());
        let server = Server::start(live).await;
        let calls = |summary: &Value| {
            ["today", "last_7_days", "last_30_days", "month"]
                .map(|part| summary[part]["message_count"].as_i64().unwrap())
        };
        let summary = server.get("/api/v1/summary").await.json();
        assert_eq!(calls(&summary), [1, 2, 6, 4]);
        assert_eq!((&summary["day"], &summary["time_zone"]), (&json!("2026-05-28"), &json!("UTC")));
        assert_eq!(summary["last_7_days"]["since"], "2026-05-22");
        assert_eq!(summary["block"], Value::Null);
        assert_eq!(summary["reading"], Value::Null);
        let of_b = server.get("/api/v1/summary?model=b&provider=codex").await.json();
        assert_eq!(calls(&of_b), [0, 0, 1, 0]);
        parts.phase.send_replace(Phase::Backfilling);
        let reading = server.get("/api/v1/summary").await.json()["reading"].clone();
        assert!(reading.as_str().unwrap().starts_with("reading logs: "), "{reading}");
        let refused = server.get("/api/v1/summary?model=c").await;
        assert_eq!(refused.refusal(), (400, "unknown_value".to_owned()));
        server.stop().await;
    }
}
