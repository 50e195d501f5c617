//! `/api/v1/marts/{mart}`: rows of one mart, a page at a time.

use hyper::HeaderMap;
use hyper::StatusCode;
use serde::Serialize;
use store::{Mart, MartQuery, Order, Reader};

use super::entity_tag::{EntityTag, Known};
use super::error::{Code, Problem};
use super::query::{self, Parameters};
use super::rows::Rows;
use super::{App, Response};

pub(super) async fn get(
    app: &App,
    name: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let mart = find(name)?;
    let query = read_query(mart, &query::parse(query, &parameters_of(mart))?)?;
    let known = Known::of(headers);
    app.readers.ask(move |reader| look_up(reader, &query, &known)).await
}

fn find(name: &str) -> Result<&'static Mart, Problem> {
    store::marts::ALL.iter().find(|mart| mart.short_name() == name).ok_or_else(|| {
        let detail = format!("there is no mart `{name}`");
        let names = store::marts::ALL.iter().map(Mart::short_name);
        Problem::new(Code::UnknownMart, detail).with_allowed(names)
    })
}

/// Every mart has days, an order and pages; of the filters it has those it has a column for.
fn parameters_of(mart: &Mart) -> Vec<&'static str> {
    const FILTERS: [(&str, &[&str]); 3] = [
        ("provider", &["provider"]),
        ("project", &["project_id"]),
        ("model", &["model", "primary_model"]),
    ];
    let has = |column: &&str| mart.has_column(column);
    let filters = FILTERS.iter().filter(|(_, columns)| columns.iter().any(has));
    let mut names = vec!["since", "until"];
    names.extend(filters.map(|(name, _)| name));
    names.extend(["order", "limit", "cursor"]);
    names
}

fn read_query(mart: &'static Mart, parameters: &Parameters) -> Result<MartQuery, Problem> {
    Ok(MartQuery {
        mart,
        filter: parameters.filter()?,
        order: parameters.one("order").map(Order::parse),
        limit: parameters.limit()?,
        cursor: parameters.one("cursor").map(str::to_owned),
    })
}

fn look_up(reader: &Reader, query: &MartQuery, known: &Known) -> Result<Response, Problem> {
    // Asked first because it costs little: dashboards poll, and mostly nothing has changed.
    if !known.is_empty() {
        let watermarks = reader.watermarks()?;
        let watermark = watermarks.iter().find(|of| of.mart == query.mart.name);
        let watermark = watermark.map_or(0, |of| of.last_event_id);
        let tag = entity_tag(query, reader.epoch()?, watermark);
        if known.has(&tag) {
            return Ok(tag.not_modified());
        }
    }
    let page = reader.mart(query)?;
    let tag = entity_tag(query, page.epoch, page.watermark);
    if known.has_any() {
        return Ok(tag.not_modified());
    }
    let document = Document {
        mart: query.mart.short_name(),
        watermark: page.watermark,
        epoch: page.epoch,
        rows: Rows { columns: &page.columns, rows: &page.rows },
        next_cursor: page.next.as_deref(),
    };
    Ok(tag.put_on(super::json(StatusCode::OK, &document)))
}

fn entity_tag(query: &MartQuery, epoch: i64, watermark: i64) -> EntityTag {
    let MartQuery { mart, filter, order, limit, cursor } = query;
    let question = (filter, order, limit, cursor);
    EntityTag::of(mart.short_name(), epoch, watermark, &question)
}

#[derive(Serialize)]
struct Document<'a> {
    mart: &'static str,
    watermark: i64,
    epoch: i64,
    rows: Rows<'a>,
    next_cursor: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};
    use store::Filter;

    use super::super::testing::{Database, Reply, Server, daemon};
    use super::*;

    async fn start(database: &Database) -> Server {
        let (_parts, live) = daemon(database.data_dir());
        Server::start(live).await
    }

    #[tokio::test]
    async fn a_mart_is_rows_in_the_order_of_its_columns_with_its_watermark() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "gpt-5"), ("2026-05-02", "no-such-model")]);
        let server = start(&database).await;
        for mart in &store::marts::ALL {
            let reply = server.get(&format!("/api/v1/marts/{}", mart.short_name())).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.header("content-type"), Some("application/json"));
            let page = reply.json();
            assert_eq!(page["mart"], mart.short_name());
            assert_eq!(page["watermark"], 2);
            assert_eq!(page["epoch"], database.reader().epoch().unwrap());
            assert_eq!(page["next_cursor"], Value::Null);
            let rows = page["rows"].as_array().unwrap();
            let expect = database.reader().mart(&MartQuery::new(mart, 10)).unwrap();
            assert_eq!(rows.len(), expect.rows.len());
            for (row, values) in rows.iter().zip(expect.rows) {
                let expect: serde_json::Map<String, Value> =
                    expect.columns.iter().cloned().zip(values).collect();
                assert_eq!(row, &Value::Object(expect));
            }
            let first_column = format!("\"rows\":[{{\"{}\":", expect.columns[0]);
            assert!(reply.body.contains(&first_column), "{}", reply.body);
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn filters_narrow_a_mart_and_pages_add_up_to_it() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a"), ("2026-05-02", "b"), ("2026-05-03", "c")]);
        let server = start(&database).await;
        let models = async |query: &str| {
            let page = server.get(&format!("/api/v1/marts/model_day{query}")).await.json();
            let rows = page["rows"].as_array().unwrap().iter().map(|row| row["model"].clone());
            (rows.collect::<Value>(), page["next_cursor"].clone())
        };
        assert_eq!(models("?since=2026-05-02").await.0, json!(["b", "c"]));
        assert_eq!(models("?until=2026-05-02").await.0, json!(["a", "b"]));
        assert_eq!(models("?model=b").await.0, json!(["b"]));
        assert_eq!(models("?model=c&model=a").await.0, json!(["a", "c"]));
        let (first, next) = models("?limit=2").await;
        assert_eq!(first, json!(["a", "b"]));
        let next = next.as_str().unwrap().replace('"', "%22");
        assert_eq!(models(&format!("?limit=2&cursor={next}")).await, (json!(["c"]), Value::Null));
        let project = server.get("/api/v1/marts/project?project=%2Fhome%2Fada%2Fengine").await;
        assert_eq!(project.json()["rows"][0]["path"], "/home/ada/engine");
        server.stop().await;
    }

    #[tokio::test]
    async fn an_unchanged_poll_is_a_304_until_the_mart_or_the_question_changes() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let server = start(&database).await;
        let path = "/api/v1/marts/daily?since=2026-05-01";
        let poll = async |path: &str, tags: &str| -> Reply {
            server.ask("GET", path, &format!("If-None-Match: {tags}\r\n")).await
        };
        let first = server.get(path).await;
        let tag = first.header("etag").unwrap().to_owned();
        for tags in [&tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
            let again = poll(path, tags).await;
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{tags}");
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            assert_eq!(again.header("cache-control"), Some("private, no-cache"));
        }
        let head = server.ask("HEAD", path, "").await;
        assert_eq!(head.header("etag"), Some(tag.as_str()));

        assert_eq!(poll(path, "\"x\"").await.status, 200);
        assert_eq!(poll("/api/v1/marts/daily", &tag).await.status, 200, "another question");
        assert_eq!(poll("/api/v1/marts/session?since=2026-05-01", &tag).await.status, 200);
        database.add(&[("2026-05-02", "a")]);
        let changed = poll(path, &tag).await;
        assert_eq!(changed.status, 200);
        assert_eq!(changed.json()["watermark"], 2);
        assert_ne!(changed.header("etag"), Some(tag.as_str()));
        server.stop().await;
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_refused_with_what_can() {
        let database = Database::new();
        let server = start(&database).await;
        let refusal = async |path: &str| {
            let reply = server.get(&format!("/api/v1/marts/{path}")).await;
            let (status, code) = reply.refusal();
            (status, code, reply.json()["allowed"].clone())
        };
        let all = json!(["daily", "model_day", "project", "provider_day", "session"]);
        for unknown in ["hourly", "daily_mart", "Daily", ""] {
            assert_eq!(refusal(unknown).await, (400, "unknown_mart".into(), all.clone()));
        }
        let known = json!(["since", "until", "provider", "order", "limit", "cursor"]);
        for unknown in ["model=a", "project=a", "sort=a", "=a"] {
            let refused = refusal(&format!("provider_day?{unknown}")).await;
            assert_eq!(refused, (400, "unknown_parameter".into(), known.clone()), "{unknown}");
        }
        for wrong in ["yesterday", "2026-02-30", "2026-5-1", "20260501", "2026-05-01T00:00:00", ""]
        {
            let expect = (400, "bad_parameter".into(), json!(["YYYY-MM-DD"]));
            assert_eq!(refusal(&format!("daily?since={wrong}")).await, expect, "{wrong}");
            assert_eq!(refusal(&format!("session?until={wrong}")).await, expect, "{wrong}");
        }
        for wrong in ["0", "5001", "-1", "ten", "", "1.5"] {
            let expect = (400, "bad_parameter".into(), json!(["1 to 5000"]));
            assert_eq!(refusal(&format!("daily?limit={wrong}")).await, expect, "{wrong}");
        }
        for wrong in ["x", "", "[]", "[1]", "{}", "[null,1,1,1,1]"] {
            let (status, code, _) = refusal(&format!("daily?cursor={wrong}")).await;
            assert_eq!((status, code.as_str()), (400, "bad_cursor"), "{wrong}");
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn rows_come_in_the_order_asked_for_page_by_page() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a"), ("2026-05-02", "b"), ("2026-05-02", "b")]);
        let server = start(&database).await;
        let mut path = "/api/v1/marts/model_day?order=-message_count&limit=1".to_owned();
        let mut models = Vec::new();
        loop {
            let page = server.get(&path).await.json();
            models.push(page["rows"][0]["model"].clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            let next = next.replace('"', "%22");
            path = format!("/api/v1/marts/model_day?order=-message_count&limit=1&cursor={next}");
            // A cursor belongs to the order it came from.
            let other = path.replace("order=-", "order=");
            assert_eq!(server.get(&other).await.refusal(), (400, "bad_cursor".to_owned()));
        }
        assert_eq!(models, ["b", "a"]);
        let refused = server.get("/api/v1/marts/model_day?order=price").await;
        assert_eq!(refused.refusal(), (400, "bad_parameter".to_owned()));
        let columns = json!([
            "day",
            "model",
            "speed",
            "session_count",
            "message_count",
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cache_create_tokens",
            "cost_nanousd",
            "cost_usd",
            "unpriced_count",
        ]);
        assert_eq!(refused.json()["allowed"], columns);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_value_that_was_never_seen_is_refused_not_answered_with_no_rows() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let server = start(&database).await;
        for (query, allowed, says) in [
            ("daily?provider=codecs", json!(["codex"]), "codecs"),
            ("daily?provider=codex&provider=codecs", json!(["codex"]), "codecs"),
            ("daily?model=gpt", json!(["a"]), "/api/v1/marts/model_day"),
            ("model_day?model=", json!(["a"]), "model"),
            (
                "session?project=%2Fhome%2Fnobody",
                json!(["/home/ada/engine"]),
                "/api/v1/marts/project",
            ),
            ("session?project=7", json!(["/home/ada/engine"]), "/api/v1/marts/project"),
        ] {
            let path = format!("/api/v1/marts/{query}");
            let reply = server.ask("GET", &path, "If-None-Match: *\r\n").await;
            assert_eq!(reply.refusal(), (400, "unknown_value".to_owned()), "{query}");
            let problem = reply.json();
            assert_eq!(problem["allowed"], allowed, "{query}");
            assert!(problem["detail"].as_str().unwrap().contains(says), "{query}: {problem}");
        }
        let empty = server.get("/api/v1/marts/daily?provider=codex&since=2026-06-01").await;
        assert_eq!(empty.json()["rows"], json!([]), "what exists may have no rows");
        server.stop().await;
    }

    #[test]
    fn the_filters_named_are_those_the_store_applies() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let reader = database.reader();
        for mart in &store::marts::ALL {
            let named = parameters_of(mart);
            for filter in ["provider", "project", "model"] {
                let mut query = MartQuery::new(mart, 1);
                query.filter = match filter {
                    "provider" => Filter { providers: vec!["codex".into()], ..Filter::default() },
                    "project" => Filter { projects: vec!["1".into()], ..Filter::default() },
                    _ => Filter { models: vec!["a".into()], ..Filter::default() },
                };
                assert_eq!(reader.mart(&query).is_ok(), named.contains(&filter), "{mart:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_read_is_our_fault() {
        let (_parts, live) = daemon(Path::new("/nonexistent"));
        let server = Server::start(live).await;
        let reply = server.get("/api/v1/marts/daily").await;
        assert_eq!(reply.refusal(), (500, "internal".to_owned()));
        assert!(!reply.body.contains("nonexistent"), "inner detail stays inside: {}", reply.body);
        server.stop().await;
    }
}
