//! `/api/v1/marts/{mart}`: rows of one mart, a page at a time.

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use jiff::civil::Date;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;
use store::{Mart, MartPage, MartQuery, Reader};

use super::error::{Code, Problem};
use super::query::{self, Parameters};
use super::{App, Response, with_body};

/// A page that is read and sent in a few milliseconds.
const DEFAULT_LIMIT: u32 = 500;
/// A page of this many rows is a few megabytes.
const MAX_LIMIT: u32 = 5_000;

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

/// Every mart has days and pages; of the filters it has those it has a column for.
fn parameters_of(mart: &Mart) -> Vec<&'static str> {
    const FILTERS: [(&str, &[&str]); 3] = [
        ("provider", &["provider"]),
        ("project", &["project_id"]),
        ("model", &["model", "primary_model"]),
    ];
    let has = |column: &&str| mart.table.split_whitespace().any(|word| word == *column);
    let filters = FILTERS.iter().filter(|(_, columns)| columns.iter().any(has));
    let mut names = vec!["since", "until"];
    names.extend(filters.map(|(name, _)| name));
    names.extend(["limit", "cursor"]);
    names
}

fn read_query(mart: &'static Mart, parameters: &Parameters) -> Result<MartQuery, Problem> {
    let text = |name| parameters.get(name).cloned();
    let day = |name| match parameters.get(name) {
        Some(day) if !is_day(day) => {
            let detail = format!("`{name}` must be a day like 2026-05-31, not `{day}`");
            Err(Problem::new(Code::BadParameter, detail).with_allowed(["YYYY-MM-DD"]))
        }
        day => Ok(day.cloned()),
    };
    Ok(MartQuery {
        mart,
        since: day("since")?,
        until: day("until")?,
        provider: text("provider"),
        project: text("project"),
        model: text("model"),
        limit: read_limit(parameters)? as usize,
        cursor: text("cursor"),
    })
}

/// Days are compared as text, so only the one way to write them will do.
fn is_day(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok_and(|day| day.to_string() == text)
}

fn read_limit(parameters: &Parameters) -> Result<u32, Problem> {
    let Some(text) = parameters.get("limit") else { return Ok(DEFAULT_LIMIT) };
    text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        let detail = format!("`limit` must be a whole number from 1 to {MAX_LIMIT}, not `{text}`");
        Problem::new(Code::BadParameter, detail).with_allowed([format!("1 to {MAX_LIMIT}")])
    })
}

fn look_up(reader: &Reader, query: &MartQuery, known: &Known) -> Result<Response, Problem> {
    let asked = asked(query);
    // Asked first because it costs little: dashboards poll, and mostly nothing has changed.
    if !known.is_empty() {
        let watermarks = reader.watermarks()?;
        let watermark = watermarks.iter().find(|of| of.mart == query.mart.name);
        let watermark = watermark.map_or(0, |of| of.last_event_id);
        let tag = entity_tag(query.mart, reader.epoch()?, watermark, &asked);
        if known.has(&tag) {
            return Ok(tagged(with_body(StatusCode::NOT_MODIFIED, Bytes::new()), &tag));
        }
    }
    let page = reader.mart(query)?;
    let tag = entity_tag(query.mart, page.epoch, page.watermark, &asked);
    let document = Document {
        mart: query.mart.short_name(),
        watermark: page.watermark,
        epoch: page.epoch,
        rows: Rows(&page),
        next_cursor: page.next.as_deref(),
    };
    Ok(tagged(super::json(StatusCode::OK, &document), &tag))
}

/// Stands for the question in an entity tag, and for the program, whose next version may answer
/// it in another shape.
fn asked(query: &MartQuery) -> String {
    let MartQuery { mart: _, since, until, provider, project, model, limit, cursor } = query;
    let question = (since, until, provider, project, model, limit, cursor);
    usage::digest22(format!("{}{question:?}", env!("CARGO_PKG_VERSION")).as_bytes())
}

fn entity_tag(mart: &Mart, epoch: i64, watermark: i64, asked: &str) -> String {
    format!("\"{}-{epoch}-{watermark}-{asked}\"", mart.short_name())
}

fn tagged(mut response: Response, tag: &str) -> Response {
    // A tag is ASCII, so it always is a header's value.
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// The entity tags of answers that the client still has.
struct Known(Vec<String>);

impl Known {
    fn of(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
        let tags = lists.flat_map(|list| list.split(',')).map(|tag| {
            // Proxies that compress weaken a tag; for a GET that makes no difference.
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag).to_owned()
        });
        Self(tags.collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, tag: &str) -> bool {
        self.0.iter().any(|known| known == tag || known == "*")
    }
}

#[derive(serde::Serialize)]
struct Document<'a> {
    mart: &'static str,
    watermark: i64,
    epoch: i64,
    rows: Rows<'a>,
    next_cursor: Option<&'a str>,
}

/// Rows as objects, their columns in the order of the table.
struct Rows<'a>(&'a MartPage);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let MartPage { columns, rows, .. } = self.0;
        let mut list = serializer.serialize_seq(Some(rows.len()))?;
        for values in rows {
            list.serialize_element(&Row { columns, values })?;
        }
        list.end()
    }
}

struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, value) in self.columns.iter().zip(self.values) {
            object.serialize_entry(column, value)?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

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
        assert_eq!(models("?model=").await.0, json!([]));
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
        let known = json!(["since", "until", "provider", "limit", "cursor"]);
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

    #[test]
    fn the_filters_named_are_those_the_store_applies() {
        let database = Database::new();
        let reader = database.reader();
        for mart in &store::marts::ALL {
            let named = parameters_of(mart);
            for filter in ["provider", "project", "model"] {
                let mut query = MartQuery::new(mart, 1);
                let value = Some("x".to_owned());
                match filter {
                    "provider" => query.provider = value,
                    "project" => query.project = value,
                    _ => query.model = value,
                }
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
