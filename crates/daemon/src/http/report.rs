//! `/api/v1/report`: sums by any of what usage is told apart by, and the total.

use hyper::HeaderMap;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use store::{Dimension, Order, Reader, ReportQuery, SortBy};

use super::entity_tag::{EntityTag, Known};
use super::error::{Code, Problem};
use super::query::{self, Parameters};
use super::rows::Rows;
use super::{App, Response};
use crate::commands::columns::{self, figure_columns, object};

const PARAMETERS: [&str; 8] =
    ["by", "since", "until", "provider", "project", "model", "order", "limit"];

pub(super) async fn get(
    app: &App,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let parameters = query::parse(query, &PARAMETERS)?;
    let (by, query) = (parameters.all("by"), read_query(&parameters)?);
    let known = Known::of(headers);
    app.readers.ask(move |reader| look_up(reader, &by, &query, &known)).await
}

fn read_query(parameters: &Parameters) -> Result<ReportQuery, Problem> {
    let by = dimensions(parameters)?;
    let (sort, descending) = match parameters.one("order") {
        Some(order) => read_order(&by, &Order::parse(order))?,
        None => (SortBy::Key, false),
    };
    let (filter, limit) = (parameters.filter()?, Some(parameters.limit()?));
    Ok(ReportQuery { by, filter, sort, descending, limit })
}

fn dimensions(parameters: &Parameters) -> Result<Vec<Dimension>, Problem> {
    let mut dimensions = Vec::new();
    for name in parameters.all("by") {
        let known = columns::dimensions().find(|(known, _)| *known == name);
        let (_, dimension) = known.ok_or_else(|| {
            let detail = format!("usage is not told apart by `{name}`");
            let names = columns::dimensions().map(|(name, _)| name);
            Problem::new(Code::BadParameter, detail).with_allowed(names)
        })?;
        if dimensions.contains(&dimension) {
            let detail = format!("`by={name}` is given more than once");
            return Err(Problem::new(Code::BadParameter, detail));
        }
        dimensions.push(dimension);
    }
    Ok(dimensions)
}

fn read_order(by: &[Dimension], order: &Order) -> Result<(SortBy, bool), Problem> {
    let sortable = if by.is_empty() { Vec::new() } else { columns::sortable(by) };
    let found = sortable.iter().find(|(column, _)| *column == order.column);
    let (_, sort) = found.ok_or_else(|| {
        let detail = match by {
            [] => "without `by` there are no rows to be in any `order`".to_owned(),
            _ => format!("rows cannot be in the `order` of `{}`", order.column),
        };
        let columns = sortable.iter().map(|(column, _)| column);
        Problem::new(Code::BadParameter, detail).with_allowed(columns)
    })?;
    Ok((*sort, order.descending))
}

fn look_up(
    reader: &Reader,
    by: &[String],
    query: &ReportQuery,
    known: &Known,
) -> Result<Response, Problem> {
    // Looked up first, as polls mostly find nothing changed. A tag may then be older than what it
    // is put on, which costs another answer; a newer one would hide a change.
    let tag = entity_tag(reader, query)?;
    if known.has(&tag) {
        return Ok(tag.not_modified());
    }
    let time_zone = reader.time_zone()?;
    let report = reader.report(query)?;
    if known.has_any() {
        return Ok(tag.not_modified());
    }
    let names: Vec<String> = columns::names(&query.by).map(str::to_owned).collect();
    let values =
        |row| columns::row_columns(&query.by, row).into_iter().map(|(_, value)| value).collect();
    let rows: Vec<Vec<Value>> = report.rows.iter().map(values).collect();
    let document = Document {
        by,
        since: query.filter.since.map(|day| day.to_string()),
        until: query.filter.until.map(|day| day.to_string()),
        time_zone,
        watermark: report.watermark,
        epoch: report.epoch,
        groups: report.groups,
        total: object(figure_columns(&report.total)),
        rows: Rows { columns: &names, rows: &rows },
    };
    Ok(tag.put_on(super::json(StatusCode::OK, &document)))
}

/// Of all marts: which of them a report is read from is decided anew each time.
fn entity_tag(reader: &Reader, query: &ReportQuery) -> Result<EntityTag, Problem> {
    let epoch = reader.epoch()?;
    let watermarks: Vec<i64> = reader.watermarks()?.iter().map(|of| of.last_event_id).collect();
    let oldest = watermarks.iter().min().copied().unwrap_or(0);
    Ok(EntityTag::of("report", epoch, oldest, &(query, watermarks)))
}

#[derive(Serialize)]
struct Document<'a> {
    by: &'a [String],
    since: Option<String>,
    until: Option<String>,
    time_zone: String,
    watermark: i64,
    epoch: i64,
    groups: u64,
    total: Map<String, Value>,
    rows: Rows<'a>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Database, Server, daemon};
    use super::*;

    async fn start(database: &Database) -> Server {
        let (_parts, live) = daemon(database.data_dir());
        Server::start(live).await
    }

    fn busy() -> Database {
        let mut database = Database::new();
        // Weeks begin on the 4th and the 11th.
        database.add(&[
            ("2026-05-09", "a"),
            ("2026-05-10", "a"),
            ("2026-05-10", "b"),
            ("2026-05-11", "b"),
            ("2026-05-11", "b"),
            ("2026-06-01", "a"),
        ]);
        database
    }

    #[tokio::test]
    async fn rows_are_told_apart_as_asked_and_add_up_to_the_total() {
        let database = busy();
        let server = start(&database).await;
        let rows = async |query: &str, columns: &[&str]| {
            let report = server.get(&format!("/api/v1/report?{query}")).await.json();
            let sum = |of: &Value| of["message_count"].as_i64().unwrap();
            let rows = report["rows"].as_array().unwrap();
            assert_eq!(rows.iter().map(sum).sum::<i64>(), sum(&report["total"]), "{report}");
            assert_eq!(report["groups"], rows.len());
            let row = |row: &Value| columns.iter().map(|column| row[*column].clone()).collect();
            Value::Array(rows.iter().map(row).collect())
        };
        assert_eq!(
            rows("by=week", &["week", "message_count", "total_tokens"]).await,
            json!([["2026-05-04", 3, 330], ["2026-05-11", 2, 220], ["2026-06-01", 1, 110]])
        );
        assert_eq!(
            rows("by=month&by=model&order=-message_count", &["month", "model"]).await,
            json!([["2026-05", "b"], ["2026-05", "a"], ["2026-06", "a"]])
        );
        assert_eq!(
            rows("by=model&by=month&since=2026-05-11", &["model", "month", "message_count"]).await,
            json!([["a", "2026-06", 1], ["b", "2026-05", 2]])
        );
        assert_eq!(
            rows("by=session&order=-last_ts", &["session_id", "provider", "project"]).await,
            json!([["s1", "codex", "/home/ada/engine"]])
        );
        assert_eq!(
            rows("by=project&model=b", &["project", "project_name", "message_count"]).await,
            json!([["/home/ada/engine", "engine", 3]])
        );
        assert_eq!(rows("by=day&since=2026-07-01", &["day"]).await, json!([]));
        server.stop().await;
    }

    #[tokio::test]
    async fn an_agent_without_any_usage_yet_has_no_rows() {
        let database = busy();
        let server = start(&database).await;
        let report = server.get("/api/v1/report?by=day&provider=goose").await.json();
        assert_eq!((&report["groups"], &report["total"]["message_count"]), (&json!(0), &json!(0)));
        assert_eq!(server.get("/api/v1/report?by=day&provider=gose").await.status, 400);
    }

    #[tokio::test]
    async fn rows_beyond_the_limit_are_counted_and_summed_up() {
        let database = busy();
        let server = start(&database).await;
        let report = server.get("/api/v1/report?by=day&order=-day&limit=2").await.json();
        let days: Vec<_> =
            report["rows"].as_array().unwrap().iter().map(|row| &row["day"]).collect();
        assert_eq!(days, ["2026-06-01", "2026-05-11"]);
        assert_eq!((&report["groups"], &report["total"]["message_count"]), (&json!(4), &json!(6)));
        server.stop().await;
    }

    #[tokio::test]
    async fn without_a_dimension_there_is_the_total_alone() {
        let database = busy();
        let server = start(&database).await;
        let mut report = server.get("/api/v1/report?until=2026-05-10").await.json();
        let total = report["total"].take();
        assert_eq!(total["message_count"], 3);
        assert_eq!(
            report,
            json!({
                "by": [], "since": null, "until": "2026-05-10", "time_zone": "UTC",
                "watermark": 6, "epoch": database.reader().epoch().unwrap(),
                "groups": 0, "total": null, "rows": [],
            })
        );
        server.stop().await;
    }

    #[tokio::test]
    async fn a_poll_is_a_304_until_a_mart_or_the_question_changes() {
        let mut database = busy();
        let server = start(&database).await;
        let path = "/api/v1/report?by=day&since=2026-05-10";
        let poll = async |path: &str, tag: &str| {
            let reply = server.ask("GET", path, &format!("If-None-Match: {tag}\r\n")).await;
            (reply.status, reply.header("etag").unwrap_or_default().to_owned())
        };
        let tag = server.get(path).await.header("etag").unwrap().to_owned();
        assert_eq!(poll(path, &tag).await, (304, tag.clone()));
        assert_eq!(poll(path, "*").await, (304, tag.clone()));
        for other in ["&by=model", "&order=-day", "&limit=1", "&model=a"] {
            assert_eq!(poll(&format!("{path}{other}"), &tag).await.0, 200, "{other}");
        }
        database.add(&[("2026-05-11", "a")]);
        let (status, changed) = poll(path, &tag).await;
        assert_eq!(status, 200);
        assert_eq!(poll(path, &changed).await.0, 304);
        server.stop().await;
    }

    #[tokio::test]
    async fn what_cannot_be_summed_up_is_refused_with_what_can() {
        let database = busy();
        let server = start(&database).await;
        let refusal = async |query: &str| {
            let reply = server.get(&format!("/api/v1/report?{query}")).await;
            let (status, code) = reply.refusal();
            assert_eq!(status, 400, "{query}");
            (code, reply.json()["allowed"].clone())
        };
        let bad = |allowed| ("bad_parameter".to_owned(), allowed);
        let all =
            json!(["day", "week", "month", "session", "project", "provider", "model", "speed"]);
        for unknown in ["by=hour", "by=", "by=session_id", "by=day&by=Model"] {
            assert_eq!(refusal(unknown).await, bad(all.clone()), "{unknown}");
        }
        assert_eq!(refusal("by=day&by=model&by=day").await, bad(Value::Null));
        let columns = |first: &str| {
            json!([
                first,
                "message_count",
                "input_tokens",
                "output_tokens",
                "cache_create_tokens",
                "cache_read_tokens",
                "total_tokens",
                "cost_nanousd",
                "cost_usd",
            ])
        };
        for (query, first) in [
            ("by=day&by=model&order=model", "day"),
            ("by=week&order=-last_ts", "week"),
            ("by=session&by=day&order=last_ts", "session_id"),
            ("by=project&order=unpriced_count", "project"),
            ("by=project&order=", "project"),
        ] {
            assert_eq!(refusal(query).await, bad(columns(first)), "{query}");
        }
        assert_eq!(refusal("order=-cost_usd").await, bad(Value::Null));
        assert_eq!(refusal("by=day&limit=5001").await, bad(json!(["1 to 5000"])));
        assert_eq!(
            refusal("by=day&cursor=x").await,
            ("unknown_parameter".into(), json!(PARAMETERS))
        );
        assert_eq!(refusal("by=day&model=c").await, ("unknown_value".into(), json!(["a", "b"])));
        server.stop().await;
    }

    #[tokio::test]
    async fn every_order_that_is_offered_is_in_that_order() {
        let database = busy();
        let server = start(&database).await;
        for (name, dimension) in columns::dimensions() {
            for (column, _) in columns::sortable(&[dimension]) {
                for sign in ["", "-"] {
                    let path = format!("/api/v1/report?by={name}&order={sign}{column}");
                    let report = server.get(&path).await.json();
                    let values: Vec<_> =
                        report["rows"].as_array().unwrap().iter().map(|row| &row[column]).collect();
                    let goes_up = |pair: &[&Value]| match pair {
                        [Value::String(a), Value::String(b)] => a <= b,
                        [a, b] => a.as_f64().unwrap() <= b.as_f64().unwrap(),
                        _ => false,
                    };
                    let mut values = values;
                    if sign == "-" {
                        values.reverse();
                    }
                    assert!(!values.is_empty() && values.windows(2).all(goes_up), "{path}");
                }
            }
        }
        server.stop().await;
    }
}
