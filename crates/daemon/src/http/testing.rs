//! A server on a free port, a daemon made of senders, and clients that speak plain text.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::App;
use super::assets::Assets;
use super::connection::{LIMITS, Limits};
use crate::live::{Live, Phase, StoreView};

pub(super) const NOW_MS: i64 = 1_780_000_000_000;

/// What the parts of a daemon publish.
pub(super) struct Parts {
    pub(super) phase: watch::Sender<Phase>,
    pub(super) ingest: watch::Sender<ingest::Status>,
    pub(super) writer: watch::Sender<store::WriterStatus>,
    pub(super) refreshed: watch::Sender<store::Refreshed>,
    pub(super) config_error: watch::Sender<Option<String>>,
    pub(super) switched_off: watch::Sender<Vec<&'static str>>,
    pub(super) budgets: watch::Sender<Vec<crate::budgets::Standing>>,
}

/// So many milliseconds before now.
pub(super) fn ago(ms: u64) -> Instant {
    Instant::now().checked_sub(Duration::from_millis(ms)).unwrap()
}

/// A daemon that is up, healthy and has nothing to do.
pub(super) fn daemon(data_dir: &Path) -> (Parts, Live) {
    let ingest = ingest::Status { heartbeat: Some(ago(400)), ..Default::default() };
    let writer = store::WriterStatus { heartbeat: Some(ago(300)), ..Default::default() };
    let parts = Parts {
        phase: watch::Sender::new(Phase::Ready),
        ingest: watch::Sender::new(ingest),
        writer: watch::Sender::new(writer),
        refreshed: watch::Sender::new(store::Refreshed::default()),
        config_error: watch::Sender::new(None),
        switched_off: watch::Sender::new(Vec::new()),
        budgets: watch::Sender::new(Vec::new()),
    };
    let store = OnceLock::new();
    let (status, refreshed) = (parts.writer.subscribe(), parts.refreshed.subscribe());
    assert!(store.set(StoreView { status, refreshed }).is_ok());
    let live = Live {
        phase: parts.phase.subscribe(),
        ingest: parts.ingest.subscribe(),
        store: Arc::new(store),
        data_dir: data_dir.to_owned(),
        config_error: parts.config_error.subscribe(),
        switched_off: parts.switched_off.subscribe(),
        budgets: parts.budgets.subscribe(),
        now_ms: || NOW_MS,
        started: ago(90_000),
    };
    (parts, live)
}

/// A database with a writer that does what the test says.
pub(super) struct Database {
    store: store::Store,
    folder: tempfile::TempDir,
    added: u64,
}

impl Database {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = store::Options {
            now_ms: || NOW_MS,
            time_zone: Some("UTC".to_owned()),
            system_time_zone: "UTC".to_owned(),
            prices: Arc::new(usage::pricing::PriceBook::builtin()),
            debounce: Duration::ZERO,
            queue_rows: 1,
        };
        let store = store::open(store::DataDir::lock(folder.path()).unwrap(), options).unwrap();
        Self { store, folder, added: 0 }
    }

    pub(super) fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn reader(&self) -> store::Reader {
        self.store.reader().unwrap()
    }

    /// One call per day and model, shown by the marts.
    pub(super) fn add(&mut self, calls: &[(&str, &str)]) {
        let events = calls.iter().map(|(day, model)| {
            self.added += 1;
            call(&format!("call:{}", self.added), day, model)
        });
        let mut batch = usage::Batch {
            events: events.collect(),
            retracted: Vec::new(),
            withdrawn: Vec::new(),
            checkpoint: checkpoint(),
            bytes: 0,
            lines: 0,
            complete: false,
            restates: false,
            amends: false,
            heard: None,
        };
        self.store.append(std::slice::from_mut(&mut batch)).unwrap();
        self.store.refresh().unwrap();
    }

    /// Until the connection is dropped.
    #[expect(clippy::disallowed_methods, reason = "stands for another program at the database")]
    pub(super) fn hold_the_write_lock(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.store.path()).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        db
    }
}

fn call(key: &str, day: &str, model: &str) -> usage::UsageEvent {
    usage::UsageEvent {
        key: usage::EventKey::new(key),
        provider: "codex".into(),
        role: usage::Role::Assistant,
        ts_ms: format!("{day}T12:00:00Z").parse::<jiff::Timestamp>().unwrap().as_millisecond(),
        copy_rank: 0,
        owner: usage::Owner {
            session_id: "s1".into(),
            project: "/home/ada/engine".into(),
            is_sidechain: false,
            account: None,
            agent: None,
            client: None,
            source_id: 1,
        },
        usage: usage::Usage {
            model: model.into(),
            speed: usage::Speed::Standard,
            tokens: usage::Tokens { input: 100, output: 10, ..Default::default() },
            web_search_requests: 0,
            vendor: None,
            tier: None,
            geo: None,
            logged_cost_nanousd: None,
            flags: usage::Flags::default(),
        },
        parser_version: 1,
    }
}

fn checkpoint() -> usage::Checkpoint {
    usage::Checkpoint {
        source_id: 1,
        provider: "codex".to_owned(),
        path: "/logs/1.jsonl".into(),
        fingerprint: usage::Fingerprint::default(),
        generation: 0,
        offset: 0,
        skip_to_newline: false,
        state: String::new(),
        parser_version: 1,
        skips: usage::Skips::default(),
        lines: 0,
        last_event_ms: None,
        last_error: None,
        missing_since_ms: None,
    }
}

/// A server that stops when asked to, or with the test.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) app: Arc<App>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(live: Live) -> Self {
        Self::start_within(LIMITS, live).await
    }

    pub(super) async fn start_within(limits: Limits, live: Live) -> Self {
        Self::serve(limits, live, Assets::built()).await
    }

    /// As if the program had been built with these files.
    pub(super) async fn start_with(assets: Assets, live: Live) -> Self {
        Self::serve(LIMITS, live, assets).await
    }

    async fn serve(limits: Limits, live: Live, assets: Assets) -> Self {
        let (stop, stopped) = watch::channel(false);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = App { assets, ..App::new(address, live, limits, stopped.clone()) };
        let app = Arc::new(app);
        let task = tokio::spawn(super::serve_on(listener, limits, Arc::clone(&app), stopped));
        Self { address, app, stop, task }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    /// A request with more headers, each ended by a line break.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        let host = self.address;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}");
        exchange(self.address, &format!("{head}Connection: close\r\n\r\n")).await
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

/// Sends bytes, and reads until the server closes.
pub(super) async fn exchange(address: SocketAddr, request: &str) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses a long head closes before it has taken all of it.
    _ = write_all(&stream, request.as_bytes()).await;
    Reply::read(&stream).await
}

pub(super) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub(super) async fn read(stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(into) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Waits for what must happen soon.
pub(super) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Reply {
    /// All that comes until the server closes; status 0 when nothing comes.
    pub(super) async fn read(stream: &TcpStream) -> Self {
        let mut text = Vec::new();
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = soon(read(stream, &mut part)).await {
            text.extend_from_slice(&part[..n]);
        }
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        Self {
            status: status.map_or(0, |status| status.parse().unwrap()),
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Status and code of a refusal.
    pub(super) fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert!(document["title"].is_string() && document["detail"].is_string());
        (self.status, document["code"].as_str().unwrap().to_owned())
    }
}
