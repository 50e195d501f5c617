//! `/api/v1/stream`: server-sent events, one `refresh` for each refresh of the marts.
//!
//! An event's id is `<epoch>-<position>`. Whoever comes back with the last one it saw is told at
//! once, in one event, what it missed.

use std::time::Duration;

use futures_util::{Stream, stream};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use store::Moment;
use tokio::time::sleep;

use super::body::Body;
use super::connection::stopped;
use super::error::{Code, Problem};
use super::hub::{Place, Seen, Step};
use super::{App, Response, query};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells clients to come back a second after they lost the connection.
const RETRY: &str = "retry: 1000\n\n";
/// A comment: it keeps proxies from closing, and shows us clients that are gone.
const HEARTBEAT: &str = ": still here\n\n";

pub(super) async fn get(
    app: &App,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    query::parse(query, &[])?;
    let since = last_event_id(headers)?;
    // The place comes before the look at the marts: from then on no refresh passes unseen.
    let place = app.hub.place()?;
    let (now, is_new) = app.hub.catch_up(since).await?;
    let mut first = RETRY.as_bytes().to_vec();
    if is_new {
        first.extend_from_slice(&now.text);
    }
    let client =
        Client { place, seen: now.seen, first: Some(first.into()), heartbeat: app.heartbeat };
    let mut response = Response::new(Body::pieces(client.pieces()));
    *response.status_mut() = StatusCode::OK;
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Moment>, Problem> {
    let mut ids = headers.get_all(LAST_EVENT_ID).iter();
    let Some(id) = ids.next() else { return Ok(None) };
    let moment = id.to_str().ok().filter(|_| ids.next().is_none()).and_then(parse_id);
    moment.map(Some).ok_or_else(|| {
        let detail = "`Last-Event-ID` must be the id of an event of this stream, like 1-42";
        Problem::new(Code::BadParameter, detail).with_allowed(["<epoch>-<position>"])
    })
}

fn parse_id(id: &str) -> Option<Moment> {
    let number = |text: &str| -> Option<i64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    };
    let (epoch, position) = id.split_once('-')?;
    Some(Moment { epoch: number(epoch)?, position: number(position)? })
}

/// One client of the stream.
struct Client {
    place: Place,
    seen: Seen,
    first: Option<Bytes>,
    heartbeat: Duration,
}

impl Client {
    fn pieces(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, async |mut client| Some((client.next().await?, client)))
    }

    /// The next piece; `None` ends the stream, and the client comes back.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let mut stop = self.place.stop.clone();
        loop {
            let heartbeat = sleep(self.heartbeat);
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return None,
                changed = self.place.newest.changed() => changed.ok()?,
                () = heartbeat => return Some(Bytes::from_static(HEARTBEAT.as_bytes())),
            }
            let newest = self.place.newest.borrow_and_update().clone()?;
            let refresh = match self.seen.step(newest) {
                Step::Known => continue,
                Step::Next(refresh) => refresh,
                Step::Missed => tokio::select! {
                    () = stopped(&mut stop) => return None,
                    merged = self.place.hub.catch_up(Some(self.seen.moment())) => merged.ok()?.0,
                },
            };
            self.seen = refresh.seen;
            return Some(refresh.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};
    use tokio::net::TcpStream;

    use super::super::connection::{LIMITS, Limits};
    use super::super::testing::{Database, Parts, Reply, Server, daemon, read, soon, write_all};
    use super::*;

    /// A client that reads one event after another.
    struct Listener {
        stream: TcpStream,
        text: String,
    }

    impl Listener {
        async fn of(server: &Server, headers: &str) -> Self {
            let stream = TcpStream::connect(server.address).await.unwrap();
            let host = server.address;
            let head = format!("GET /api/v1/stream HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
            write_all(&stream, head.as_bytes()).await.unwrap();
            let mut listener = Self { stream, text: String::new() };
            let head = listener.until("\r\n\r\n").await.unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
            assert!(head.contains("cache-control: private, no-cache"), "{head}");
            assert_eq!(listener.block().await.unwrap(), "retry: 1000");
            listener
        }

        /// Text up to an end; `None` when the server closes before.
        async fn until(&mut self, end: &str) -> Option<String> {
            loop {
                if let Some((before, after)) = self.text.split_once(end) {
                    let (before, after) = (before.to_owned(), after.to_owned());
                    self.text = after;
                    return Some(before);
                }
                let mut part = [0; 4096];
                match soon(read(&self.stream, &mut part)).await {
                    Ok(n @ 1..) => self.text += std::str::from_utf8(&part[..n]).unwrap(),
                    _ => return None,
                }
            }
        }

        /// An event or comment, without the lines that tell the length of a chunk.
        async fn block(&mut self) -> Option<String> {
            let block = self.until("\n\n").await?;
            let is_length = |line: &&str| line.ends_with('\r') || line.is_empty();
            Some(block.split('\n').filter(|line| !is_length(line)).collect::<Vec<_>>().join("\n"))
        }

        /// The id and the data of the next event.
        async fn event(&mut self) -> Option<(String, Value)> {
            let block = self.block().await?;
            let [event, id, data] = block.split('\n').collect::<Vec<_>>()[..] else {
                panic!("{block:?}")
            };
            assert_eq!(event, "event: refresh");
            let data = data.strip_prefix("data: ").unwrap();
            Some((id.strip_prefix("id: ").unwrap().to_owned(), serde_json::from_str(data).unwrap()))
        }
    }

    /// What the writer tells after a refresh.
    fn announce(parts: &Parts) {
        parts.refreshed.send_modify(|news| news.version += 1);
    }

    async fn start(database: &Database) -> (Parts, Server) {
        start_within(LIMITS, database).await
    }

    async fn start_within(limits: Limits, database: &Database) -> (Parts, Server) {
        let (parts, live) = daemon(database.data_dir());
        (parts, Server::start_within(limits, live).await)
    }

    /// Waits until so many clients have a place.
    async fn clients(server: &Server, count: usize) {
        soon(server.app.hub.clients().wait_for(|clients| *clients == count)).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_gets_the_present_once_and_then_each_refresh_once() {
        let mut database = Database::new();
        database.add(&[("2026-05-28", "a"), ("2026-05-01", "a")]);
        let (parts, server) = start(&database).await;
        let epoch = database.reader().epoch().unwrap();
        let mut listener = Listener::of(&server, "").await;
        let (id, data) = listener.event().await.unwrap();
        assert_eq!(id, format!("{epoch}-2"));
        assert_eq!((&data["epoch"], &data["position"]), (&json!(epoch), &json!(2)));
        assert_eq!((&data["all_changed"], &data["dirty_days"]), (&json!(true), &json!([])));
        let all =
            json!({"daily": 2, "model_day": 2, "project": 2, "provider_day": 2, "session": 2});
        assert_eq!(data["watermarks"], all);
        let today = &data["today"];
        assert_eq!((&today["day"], &today["message_count"]), (&json!("2026-05-28"), &json!(1)));
        assert_eq!((&today["input_tokens"], &today["unpriced_count"]), (&json!(100), &json!(1)));
        for position in 3..6 {
            database.add(&[("2026-05-02", "a")]);
            announce(&parts);
            let (id, data) = listener.event().await.unwrap();
            assert_eq!(id, format!("{epoch}-{position}"));
            let told = (&data["all_changed"], &data["dirty_days"]);
            assert_eq!(told, (&json!(false), &json!(["2026-05-02"])));
        }
        // News of nothing new are none.
        announce(&parts);
        tokio::task::yield_now().await;
        database.add(&[("2026-05-03", "a")]);
        announce(&parts);
        assert_eq!(listener.event().await.unwrap().0, format!("{epoch}-6"));
        server.stop().await;
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_it_missed_in_one_event_and_nothing_if_it_missed_nothing() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let (parts, server) = start(&database).await;
        let epoch = database.reader().epoch().unwrap();
        database.add(&[("2026-05-02", "a")]);
        database.add(&[("2026-05-04", "a")]);
        let back = async |epoch: i64, position: i64| {
            Listener::of(&server, &format!("Last-Event-ID: {epoch}-{position}\r\n")).await
        };
        let (id, data) = back(epoch, 1).await.event().await.unwrap();
        assert_eq!(id, format!("{epoch}-3"));
        assert_eq!(data["dirty_days"], json!(["2026-05-02", "2026-05-04"]));
        for (epoch, position) in [(epoch + 1, 3), (epoch, 4)] {
            let (_, data) = back(epoch, position).await.event().await.unwrap();
            assert_eq!(data["all_changed"], true, "another database");
        }
        let mut up_to_date = back(epoch, 3).await;
        clients(&server, 1).await;
        database.add(&[("2026-05-05", "a")]);
        announce(&parts);
        let (id, data) = up_to_date.event().await.unwrap();
        assert_eq!((id, &data["dirty_days"]), (format!("{epoch}-4"), &json!(["2026-05-05"])));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_client_that_lags_is_told_all_it_missed_in_one_event() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let (parts, server) = start(&database).await;
        // Nobody takes its pieces meanwhile, as if its connection were full.
        let response = get(&server.app, None, &HeaderMap::new()).await.unwrap();
        let Body::Pieces(mut slow) = response.into_body() else { panic!("no stream") };
        let mut listener = Listener::of(&server, "").await;
        listener.event().await.unwrap();
        for day in ["2026-05-02", "2026-05-03", "2026-05-04", "2026-05-05"] {
            database.add(&[(day, "a")]);
            announce(&parts);
            // By then the news are out.
            listener.event().await.unwrap();
        }
        let mut next = async || {
            let piece =
                soon(std::future::poll_fn(|context| slow.as_mut().poll_next(context))).await;
            String::from_utf8(piece.unwrap().to_vec()).unwrap()
        };
        assert!(next().await.starts_with("retry: 1000\n\nevent: refresh\n"));
        let merged = next().await;
        let days = r#""dirty_days":["2026-05-02","2026-05-03","2026-05-04","2026-05-05"]"#;
        assert!(merged.contains(days), "{merged}");
        database.add(&[("2026-05-06", "a")]);
        announce(&parts);
        let last = next().await;
        assert!(last.contains(r#""dirty_days":["2026-05-06"]"#), "{last}");
        server.stop().await;
    }

    #[tokio::test]
    async fn the_database_is_asked_only_while_there_is_a_client() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let (parts, server) = start(&database).await;
        let hub = &server.app.hub;
        announce(&parts);
        let listener = Listener::of(&server, "").await;
        let mut newest = hub.place().unwrap().newest.clone();
        soon(newest.wait_for(Option::is_some)).await.unwrap();
        drop(listener);
        clients(&server, 0).await;
        newest.mark_unchanged();
        database.add(&[("2026-05-02", "a")]);
        for _ in 0..50 {
            announce(&parts);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!newest.has_changed().unwrap());
        // Who comes then misses nothing.
        let mut listener = Listener::of(&server, "Last-Event-ID: 1-0\r\n").await;
        listener.event().await.unwrap();
        database.add(&[("2026-05-03", "a")]);
        announce(&parts);
        let (_, data) = listener.event().await.unwrap();
        assert_eq!(data["dirty_days"], json!(["2026-05-03"]));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_stream_shows_that_it_is_there_and_ends_with_the_daemon() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let limits = Limits {
            heartbeat: Duration::from_millis(10),
            drain: Duration::from_secs(60),
            ..LIMITS
        };
        let (_parts, server) = start_within(limits, &database).await;
        let mut listener = Listener::of(&server, "").await;
        listener.event().await.unwrap();
        for _ in 0..3 {
            assert_eq!(listener.block().await.unwrap(), ": still here");
        }
        let started = Instant::now();
        soon(server.stop()).await;
        assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
        while let Some(block) = listener.block().await {
            assert_eq!(block, ": still here");
        }
        assert!(listener.text.ends_with("0\r\n\r\n"), "the end was told: {:?}", listener.text);
    }

    #[tokio::test]
    async fn more_streams_than_there_are_places_are_told_to_come_back() {
        let mut database = Database::new();
        database.add(&[("2026-05-01", "a")]);
        let (_parts, server) = start(&database).await;
        let mut listeners = Vec::new();
        for _ in 0..LIMITS.streams {
            listeners.push(Listener::of(&server, "").await);
        }
        // A stream would never end.
        let refused = soon(server.get("/api/v1/stream")).await;
        assert_eq!(refused.refusal(), (503, "too_many_streams".to_owned()));
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(server.get("/api/v1/events").await.status, 200, "others have places");
        listeners.pop();
        clients(&server, LIMITS.streams - 1).await;
        listeners.push(Listener::of(&server, "").await);
        server.stop().await;
    }

    #[tokio::test]
    async fn head_shows_the_headers_and_takes_no_place() {
        let database = Database::new();
        let (_parts, server) = start(&database).await;
        let reply: Reply = server.ask("HEAD", "/api/v1/stream", "").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""));
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        clients(&server, 0).await;
        server.stop().await;
    }

    #[tokio::test]
    async fn an_id_that_no_event_had_is_refused() {
        let database = Database::new();
        let (_parts, server) = start(&database).await;
        for wrong in ["", "7", "1-", "-1", "1-x", "1--2", "+1-2", "1-2-3", "99999999999999999999-1"]
        {
            let headers = format!("Last-Event-ID: {wrong}\r\n");
            let reply = server.ask("GET", "/api/v1/stream", &headers).await;
            assert_eq!(reply.refusal(), (400, "bad_parameter".to_owned()), "{wrong}");
        }
        let twice = "Last-Event-ID: 1-1\r\nLast-Event-ID: 1-2\r\n";
        assert_eq!(server.ask("GET", "/api/v1/stream", twice).await.status, 400);
        assert_eq!(server.get("/api/v1/stream?since=1-1").await.status, 400);
        clients(&server, 0).await;
        server.stop().await;
    }
}
