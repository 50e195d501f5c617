//! `/api/v1/events`: single calls and prompts, the newest first, a page at a time.

use hyper::HeaderMap;
use hyper::StatusCode;
use serde::Serialize;
use store::{EventQuery, Reader};

use super::entity_tag::{EntityTag, Known};
use super::error::Problem;
use super::rows::Rows;
use super::{App, Response, query};

const PARAMETERS: [&str; 8] =
    ["since", "until", "provider", "project", "model", "session", "limit", "cursor"];

pub(super) async fn get(
    app: &App,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let parameters = query::parse(query, &PARAMETERS)?;
    let query = EventQuery {
        filter: parameters.filter()?,
        sessions: parameters.all("session"),
        limit: parameters.limit()?,
        cursor: parameters.one("cursor").map(str::to_owned),
    };
    let known = Known::of(headers);
    app.readers.ask(move |reader| look_up(reader, &query, &known)).await
}

fn look_up(reader: &Reader, query: &EventQuery, known: &Known) -> Result<Response, Problem> {
    if !known.is_empty() {
        let tag = EntityTag::of("events", reader.epoch()?, reader.seq()?, query);
        if known.has(&tag) {
            return Ok(tag.not_modified());
        }
    }
    let page = reader.events(query)?;
    let tag = EntityTag::of("events", page.epoch, page.position, query);
    if known.has_any() {
        return Ok(tag.not_modified());
    }
    let document = Document {
        position: page.position,
        epoch: page.epoch,
        rows: Rows { columns: &page.columns, rows: &page.rows },
        next_cursor: page.next.as_deref(),
    };
    Ok(tag.put_on(super::json(StatusCode::OK, &document)))
}

#[derive(Serialize)]
struct Document<'a> {
    position: i64,
    epoch: i64,
    rows: Rows<'a>,
    next_cursor: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Database, Server, daemon};

    async fn start(database: &Database) -> Server {
        let (_parts, live) = daemon(database.data_dir());
        Server::start(live).await
    }

    #[tokio::test]
    async fn events_are_rows_of_the_log_the_newest_first_and_pages_add_up() {
        let mut database = Database::new();
        database.add(&[("2026-05-02", "a"), ("2026-05-01", "b"), ("2026-05-03", "no-such-model")]);
        let server = start(&database).await;
        let reply = server.get("/api/v1/events").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let page = reply.json();
        assert_eq!((&page["position"], &page["next_cursor"]), (&json!(3), &Value::Null));
        let newest = &page["rows"][0];
        assert_eq!(newest["id"], 3);
        assert_eq!(newest["ts"], "2026-05-03T12:00:00.000Z");
        assert_eq!(newest["project_path"], "/home/ada/engine");
        assert_eq!(
            (&newest["cost_nanousd"], &newest["cost_source"]),
            (&Value::Null, &json!("unknown"))
        );

        let mut days = Vec::new();
        let mut path = "/api/v1/events?limit=1".to_owned();
        loop {
            let page = server.get(&path).await.json();
            days.push(page["rows"][0]["day"].clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            path = format!("/api/v1/events?limit=1&cursor={next}");
        }
        assert_eq!(days, ["2026-05-03", "2026-05-02", "2026-05-01"]);
        server.stop().await;
    }

    #[tokio::test]
    async fn filters_and_days_narrow_the_events() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a"), ("2026-05-02", "b"), ("2026-05-03", "c")]);
        let server = start(&database).await;
        for (query, expect) in [
            ("since=2026-05-02", json!(["c", "b"])),
            ("until=2026-05-02", json!(["b", "a"])),
            ("since=2026-05-02&until=2026-05-02", json!(["b"])),
            ("model=a&model=c", json!(["c", "a"])),
            ("provider=codex&model=b", json!(["b"])),
            ("session=s1&project=1", json!(["c", "b", "a"])),
            ("since=2026-06-01", json!([])),
        ] {
            let page = server.get(&format!("/api/v1/events?{query}")).await.json();
            let models = page["rows"].as_array().unwrap().iter().map(|row| row["model"].clone());
            assert_eq!(models.collect::<Value>(), expect, "{query}");
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn an_unchanged_poll_is_a_304_until_an_event_is_stored() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let server = start(&database).await;
        let path = "/api/v1/events?model=a";
        let tag = server.get(path).await.header("etag").unwrap().to_owned();
        let poll = async |path: &str, tag: &str| {
            server.ask("GET", path, &format!("If-None-Match: {tag}\r\n")).await.status
        };
        assert_eq!(poll(path, &tag).await, 304);
        assert_eq!(poll(path, "*").await, 304);
        assert_eq!(poll("/api/v1/events?model=x", "*").await, 400, "a bad question stays one");
        assert_eq!(poll("/api/v1/events?limit=7", &tag).await, 200, "another question");
        database.add(&[("2026-05-02", "b")]);
        assert_eq!(poll(path, &tag).await, 200);
        server.stop().await;
    }

    #[tokio::test]
    async fn what_cannot_be_answered_is_refused_with_what_can() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let server = start(&database).await;
        for (query, code, says) in [
            ("order=ts", "unknown_parameter", "order"),
            ("since=today", "bad_parameter", "today"),
            ("since=2026-05-02&until=2026-05-01", "bad_parameter", "after"),
            ("limit=0", "bad_parameter", "limit"),
            ("cursor=17", "bad_cursor", "17"),
            ("cursor=1-x", "bad_cursor", "1-x"),
            ("cursor=", "bad_cursor", "cursor"),
            ("session=s2", "unknown_value", "/api/v1/marts/session"),
            ("provider=codecs", "unknown_value", "codecs"),
            ("cursor=1-2&cursor=1-2", "bad_parameter", "more than once"),
        ] {
            let reply = server.get(&format!("/api/v1/events?{query}")).await;
            assert_eq!(reply.refusal(), (400, code.to_owned()), "{query}");
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(says), "{query}: {detail}");
        }
        server.stop().await;
    }
}
