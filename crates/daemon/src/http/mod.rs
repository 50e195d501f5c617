//! HTTP on loopback: what the daemon knows, for reading only.
//!
//! A request passes [`guard`], then the table in [`route`]; each resource has a file of its own.
//! Health and metrics are answered from [`Live`] alone, all that is stored by [`readers`]. Nothing
//! here changes anything.

mod assets;
mod body;
mod checks;
mod connection;
mod entity_tag;
mod error;
mod events;
mod exposition;
mod guard;
mod health;
mod hub;
mod marts;
mod metrics;
mod openapi;
mod plain;
mod probes;
mod providers;
mod query;
mod readers;
mod report;
mod rows;
mod stream;
mod summary;
#[cfg(test)]
mod testing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::live::Live;
use assets::Assets;
use body::Body;
pub(crate) use checks::{LARGE_WAL, SMALL_DISK};
use connection::{LIMITS, Limits};
use error::{Code, Problem};
use guard::Guard;
use hub::Hub;
use readers::Readers;

type Response = hyper::Response<Body>;

/// Every path that is answered, for those who ask for another.
const PATHS: [&str; 17] = [
    "/",
    "/plain",
    "/livez",
    "/readyz",
    "/health",
    "/metrics",
    "/api/v1/marts/daily",
    "/api/v1/marts/model_day",
    "/api/v1/marts/project",
    "/api/v1/marts/provider_day",
    "/api/v1/marts/session",
    "/api/v1/providers",
    "/api/v1/report",
    "/api/v1/summary",
    "/api/v1/events",
    "/api/v1/stream",
    "/api/v1/openapi.json",
];

/// Whether the port is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Listening {
    #[default]
    NotYet,
    At(SocketAddr),
    /// Another program has the port; it is tried again and again.
    Refused {
        address: SocketAddr,
        reason: String,
    },
}

impl Listening {
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::NotYet => "not listening yet".to_owned(),
            Self::At(address) => format!("listening on http://{address}"),
            Self::Refused { address, reason } => {
                format!("cannot listen on {address}, trying again every 30 s: {reason}")
            }
        }
    }
}

/// Serves until `stop` says so. A port that is taken is waited for; nothing else waits with it.
pub(crate) async fn serve(
    address: SocketAddr,
    live: Live,
    mut stop: watch::Receiver<bool>,
    listening: watch::Sender<Listening>,
) {
    if let Some((listener, bound)) = connection::bind(address, LIMITS, &mut stop, &listening).await
    {
        let app = Arc::new(App::new(bound, live, LIMITS, stop.clone()));
        serve_on(listener, LIMITS, app, stop).await;
    }
}

async fn serve_on(
    listener: TcpListener,
    limits: Limits,
    app: Arc<App>,
    stop: watch::Receiver<bool>,
) {
    let (readers, hub) = (Arc::clone(&app.readers), Arc::clone(&app.hub));
    let closed = readers.close_at(stop.clone(), limits.drain);
    let served = connection::serve(listener, limits, stop, move |request| {
        let app = Arc::clone(&app);
        // The guard lets no body through, so a request is its head.
        let (head, _) = request.into_parts();
        async move { answer(&app, &head, limits.answer).await }
    });
    tokio::join!(served, closed, hub.run());
}

/// What every resource may ask.
struct App {
    guard: Guard,
    assets: Assets,
    live: Live,
    readers: Arc<Readers>,
    hub: Arc<Hub>,
    /// How often a stream that has nothing to tell shows that it is there.
    heartbeat: Duration,
}

impl App {
    fn new(bound: SocketAddr, live: Live, limits: Limits, stop: watch::Receiver<bool>) -> Self {
        let readers = Arc::new(Readers::new(live.data_dir.clone()));
        let hub = Hub::new(live.clone(), Arc::clone(&readers), stop, limits.streams);
        let heartbeat = limits.heartbeat;
        let (guard, assets) = (Guard::new(bound), Assets::built());
        Self { guard, assets, live, readers, hub: Arc::new(hub), heartbeat }
    }
}

const SAFE_HEADERS: [(HeaderName, &str); 4] = [
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Any request, answered or refused: the only way out of here.
async fn answer(app: &App, request: &Parts, patience: Duration) -> Response {
    let answered = match app.guard.check(request) {
        Ok(()) => tokio::time::timeout(patience, route(app, request)).await.unwrap_or_else(|_| {
            Err(Problem::new(Code::Timeout, "the answer took too long to make"))
        }),
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(Response::from);
    let headers = response.headers_mut();
    // No CORS header, ever: pages of other origins must not read what is private.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
    for (name, value) in SAFE_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The routes. `PATHS` names them for people.
async fn route(app: &App, request: &Parts) -> Result<Response, Problem> {
    let (path, query) = (request.uri.path(), request.uri.query());
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match *segments {
        [""] if !app.assets.has(path) => plain::get(app).await,
        ["plain"] => {
            query::parse(query, &[])?;
            plain::get(app).await
        }
        ["livez"] => Ok(probes::livez(&app.live)),
        ["readyz"] => Ok(probes::readyz(&app.live)),
        ["health"] => Ok(health::get(&app.live)),
        ["metrics"] => Ok(metrics::get(&app.live)),
        ["api", "v1", "openapi.json"] => Ok(openapi::get()),
        ["api", ..] if app.live.store.get().is_none() => {
            Err(Problem::new(Code::Starting, "the database is being opened"))
        }
        ["api", "v1", "marts", mart] => marts::get(app, mart, query, &request.headers).await,
        ["api", "v1", "providers"] => providers::get(app, query).await,
        ["api", "v1", "report"] => report::get(app, query, &request.headers).await,
        ["api", "v1", "summary"] => summary::get(app, query).await,
        ["api", "v1", "events"] => events::get(app, query, &request.headers).await,
        ["api", "v1", "stream"] => stream::get(app, query, &request.headers).await,
        _ => app.assets.get(path, &request.headers).ok_or_else(|| {
            let detail = format!("there is nothing at {path}");
            Problem::new(Code::NotFound, detail).with_allowed(PATHS)
        }),
    }
}

/// A response with a JSON body.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = with_body(status, bytes);
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(e) => {
            tracing::error!("cannot write an answer as JSON: {e}");
            with_body(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new())
        }
    }
}

fn with_body(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::testing::{Reply, Server, daemon, exchange};
    use super::*;
    use crate::live::Phase;

    async fn start() -> (testing::Parts, Server) {
        let (parts, live) = daemon(std::path::Path::new("/nonexistent"));
        (parts, Server::start(live).await)
    }

    fn has_safe_headers(reply: &Reply) {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("private, no-cache"), "{reply:?}");
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"), "{reply:?}");
        let cors = reply.headers.iter().find(|(name, _)| name.starts_with("access-control"));
        assert_eq!(cors, None, "{reply:?}");
    }

    #[tokio::test]
    async fn every_path_that_is_named_is_answered() {
        let (_parts, server) = start().await;
        for path in PATHS {
            let reply = server.get(path).await;
            assert_ne!(reply.status, 404, "{path}");
            has_safe_headers(&reply);
        }
        for path in ["/livez/", "/api", "/api/v1/marts", "/api/v1/marts/daily/x", "//health"] {
            let reply = server.get(path).await;
            assert_eq!(reply.refusal(), (404, "not_found".to_owned()), "{path}");
            assert_eq!(reply.json()["allowed"], serde_json::json!(PATHS));
            has_safe_headers(&reply);
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn h56_h57_requests_are_judged_before_they_are_routed() {
        let (_parts, server) = start().await;
        let port = server.address.port();
        let raw = async |head: &str| {
            let head = head.replace("PORT", &port.to_string());
            let reply = exchange(server.address, &format!("{head}Connection: close\r\n\r\n")).await;
            has_safe_headers(&reply);
            if reply.status == 200 { (200, String::new()) } else { reply.refusal() }
        };
        let ours = "Host: localhost:PORT\r\n";
        for (head, status, code) in [
            (format!("GET /livez HTTP/1.1\r\n{ours}"), 200, ""),
            (format!("HEAD /livez HTTP/1.1\r\n{ours}"), 200, ""),
            (format!("GET http://localhost:PORT/livez HTTP/1.1\r\n{ours}"), 200, ""),
            ("GET /livez HTTP/1.1\r\nHost: [::1]:PORT\r\n".to_owned(), 200, ""),
            ("GET /none HTTP/1.1\r\n".to_owned(), 400, "bad_host"),
            ("GET /none HTTP/1.0\r\n".to_owned(), 400, "bad_host"),
            (format!("GET /none HTTP/1.1\r\n{ours}{ours}"), 400, "bad_host"),
            ("GET /none HTTP/1.1\r\nHost: evil.example\r\n".to_owned(), 421, "wrong_host"),
            ("GET /none HTTP/1.1\r\nHost: localhost.:PORT\r\n".to_owned(), 421, "wrong_host"),
            (format!("GET http://evil.example/none HTTP/1.1\r\n{ours}"), 421, "wrong_host"),
            (format!("GET /none HTTP/1.1\r\n{ours}Origin: null\r\n"), 403, "cross_site"),
            (
                format!("GET /none HTTP/1.1\r\n{ours}Sec-Fetch-Site: cross-site\r\n"),
                403,
                "cross_site",
            ),
            (format!("POST /none HTTP/1.1\r\n{ours}"), 405, "method_not_allowed"),
            (format!("OPTIONS * HTTP/1.1\r\n{ours}"), 405, "method_not_allowed"),
            (format!("CONNECT localhost:PORT HTTP/1.1\r\n{ours}"), 405, "method_not_allowed"),
            (format!("GET /none HTTP/1.1\r\n{ours}Content-Length: 3\r\n"), 413, "body_not_allowed"),
            (
                format!("GET /none HTTP/1.1\r\n{ours}Transfer-Encoding: chunked\r\n"),
                413,
                "body_not_allowed",
            ),
        ] {
            assert_eq!(raw(&head).await, (status, code.to_owned()), "{head}");
        }
        let reply = server.ask("DELETE", "/health", "").await;
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        server.stop().await;
    }

    #[tokio::test]
    async fn head_is_get_without_its_body() {
        let (_parts, server) = start().await;
        let get = server.get("/livez").await;
        let head = server.ask("HEAD", "/livez", "").await;
        assert_eq!(head.status, 200);
        assert_eq!(head.body, "");
        assert_eq!(head.header("content-length"), get.header("content-length"));
        server.stop().await;
    }

    #[tokio::test]
    async fn h55_a_body_is_not_taken_for_the_next_request() {
        let (_parts, server) = start().await;
        let host = server.address;
        let smuggled = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let length = smuggled.len();
        let request = format!(
            "GET /livez HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{smuggled}"
        );
        let reply = exchange(server.address, &request).await;
        assert_eq!(reply.refusal(), (413, "body_not_allowed".to_owned()));
        server.stop().await;
    }

    /// What the fuzzer begins with, sent to port 8474 or to ours.
    #[tokio::test]
    async fn seeds_of_the_fuzzer_are_answered_or_refused_and_leave_the_server_well() {
        let (_parts, server) = start().await;
        let port = server.address.port().to_string();
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/http");
        for seed in std::fs::read_dir(seeds).unwrap() {
            let seed = std::fs::read(seed.unwrap().path()).unwrap();
            for seed in [&seed[..], &with_port(&seed, &port)] {
                let mut stream = std::net::TcpStream::connect(server.address).unwrap();
                let sent = tokio::task::spawn_blocking({
                    let seed = seed.to_owned();
                    move || {
                        use std::io::{Read as _, Write as _};
                        // A server that has refused does not take the rest.
                        _ = stream.write_all(&seed);
                        _ = stream.shutdown(std::net::Shutdown::Write);
                        let mut answer = Vec::new();
                        _ = stream.read_to_end(&mut answer);
                        answer
                    }
                });
                let answer = testing::soon(sent).await.unwrap();
                let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.");
                assert!(is_http, "{}", answer.escape_ascii());
            }
            assert_eq!(server.get("/livez").await.status, 200);
        }
        server.stop().await;
    }

    fn with_port(seed: &[u8], port: &str) -> Vec<u8> {
        let mut parts = seed.split(|byte| *byte == b':');
        let mut ours = parts.next().unwrap_or_default().to_vec();
        for part in parts {
            ours.push(b':');
            let rest = part.strip_prefix(b"8474");
            ours.extend(rest.map_or(&b""[..], |_| port.as_bytes()));
            ours.extend(rest.unwrap_or(part));
        }
        ours
    }

    #[tokio::test]
    async fn the_api_asks_for_patience_while_the_database_is_opened() {
        let (parts, live) = daemon(std::path::Path::new("/nonexistent"));
        parts.phase.send_replace(Phase::Starting);
        let server = Server::start(Live { store: Arc::new(OnceLock::new()), ..live }).await;
        for path in ["/api/v1/marts/daily", "/api/v1/whatever"] {
            let reply = server.get(path).await;
            assert_eq!(reply.refusal(), (503, "starting".to_owned()));
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        assert_eq!(server.get("/livez").await.status, 200);
        assert_eq!(server.get("/health").await.status, 200);
        assert_eq!(server.get("/readyz").await.status, 503);
        server.stop().await;
    }

    #[tokio::test]
    async fn serving_begins_at_the_port_that_was_asked_for() {
        let (_parts, live) = daemon(std::path::Path::new("/nonexistent"));
        let (stop, stopped) = watch::channel(false);
        let (listening, mut seen) = watch::channel(Listening::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let served = tokio::spawn(serve(any, live, stopped, listening));
        let is_bound = |state: &Listening| matches!(state, Listening::At(_));
        let state = testing::soon(seen.wait_for(is_bound)).await.unwrap().clone();
        let Listening::At(address) = state else { panic!("{state:?}") };
        let head = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(address, &head).await.status, 200);
        stop.send_replace(true);
        testing::soon(served).await.unwrap();
    }
}
