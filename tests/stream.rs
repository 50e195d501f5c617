//! The stream as its clients see it: the built binary, real logs, connections that break.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::faults::{call, calls};
use crate::support::{DEADLINE, Home, Service, integer, wait};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const SHOWN: &str = "SELECT min(last_event_id) FROM mart_watermark";

/// One client of the stream.
pub(crate) struct Listener {
    stream: BufReader<TcpStream>,
    /// What came and is no whole event yet.
    text: String,
}

pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Event {
    fn position(&self) -> i64 {
        self.data["position"].as_i64().unwrap()
    }
}

impl Listener {
    pub(crate) fn of(service: &Service, last_event_id: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(service.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let last = last_event_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let host = service.address();
        write!(stream, "GET /api/v1/stream HTTP/1.1\r\nHost: {host}\r\n{last}\r\n").unwrap();
        let mut listener = Self { stream: BufReader::new(stream), text: String::new() };
        assert_eq!(listener.line(), "HTTP/1.1 200 OK");
        while !listener.line().is_empty() {}
        assert_eq!(listener.block().as_deref(), Some("retry: 1000"));
        listener
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lines up to an empty one; `None` once the server has said that no more come.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let length = usize::from_str_radix(&self.line(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            self.stream.read_exact(&mut chunk).unwrap();
            if length == 0 {
                return None;
            }
            self.text += std::str::from_utf8(&chunk[..length]).unwrap();
        }
    }

    /// The next event; heartbeats are passed over.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let block = loop {
            let block = self.block()?;
            if !block.starts_with(':') {
                break block;
            }
        };
        let mut lines = block.lines();
        assert_eq!(lines.next(), Some("event: refresh"));
        let id = lines.next().unwrap().strip_prefix("id: ").unwrap().to_owned();
        let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
        Some(Event { id, data: serde_json::from_str(data).unwrap() })
    }

    fn cut(self) {
        self.stream.get_ref().shutdown(Shutdown::Both).unwrap();
    }
}

fn start() -> (Home, Service) {
    let home = Home::new();
    home.write(LOG, calls(0..20));
    let service = Service::start(&home);
    service.wait_ready();
    (home, service)
}

/// Appends a call and waits until the marts show it: a refresh of its own.
fn append(home: &Home, n: usize) {
    home.append(LOG, call(n));
    let shown = i64::try_from(n).unwrap() + 1;
    let db = home.database();
    wait("the call in the marts", || integer(&db, SHOWN) >= shown);
}

fn day_of(n: usize) -> Value {
    json!(format!("2026-09-{:02}", 1 + n % 28))
}

#[test]
fn a_client_sees_each_refresh_once_with_the_days_that_changed() {
    let (home, service) = start();
    let mut listener = Listener::of(&service, None);
    let first = listener.event().unwrap();
    assert_eq!((first.position(), &first.data["all_changed"]), (20, &json!(true)));
    let others = (0..3).map(|_| Listener::of(&service, Some(&first.id)));
    let mut listeners: Vec<Listener> = others.chain([listener]).collect();
    for n in 20..50 {
        append(&home, n);
        let position = i64::try_from(n).unwrap() + 1;
        // The next call waits for all of them: a client that is late is told two refreshes in one.
        for listener in &mut listeners {
            let event = listener.event().unwrap();
            assert_eq!(event.position(), position, "each once, in order, none left out");
            let marts = event.data["watermarks"].as_object().unwrap();
            assert_eq!(marts.len(), 5);
            assert!(marts.values().all(|watermark| *watermark == position), "{marts:?}");
            assert_eq!(event.data["dirty_days"], json!([day_of(n)]), "{position}");
        }
    }
    assert_eq!(service.stop(), 0);
    assert!(listeners.iter_mut().all(|of| of.event().is_none()), "nothing more came");
}

#[test]
fn a_client_that_lost_its_connection_gets_what_it_missed_in_one_event() {
    let (home, service) = start();
    let mut listener = Listener::of(&service, None);
    listener.event().unwrap();
    append(&home, 20);
    let last = listener.event().unwrap();
    listener.cut();
    for n in 21..25 {
        append(&home, n);
    }
    let mut listener = Listener::of(&service, Some(&last.id));
    let missed = listener.event().unwrap();
    assert_eq!(missed.position(), 25);
    assert_eq!(missed.data["all_changed"], false);
    assert_eq!(missed.data["dirty_days"], (21..25).map(day_of).collect::<Value>());
    listener.cut();
    // Nothing was missed this time: the next event is the next refresh.
    let mut listener = Listener::of(&service, Some(&missed.id));
    append(&home, 25);
    let next = listener.event().unwrap();
    assert_eq!((next.position(), &next.data["dirty_days"]), (26, &json!([day_of(25)])));
    // Nor does a new start lose anything: the id outlives the process.
    assert_eq!(service.stop(), 0);
    home.append(LOG, call(26));
    let service = Service::start(&home);
    service.wait_ready();
    let mut listener = Listener::of(&service, Some(&next.id));
    let missed = listener.event().unwrap();
    assert_eq!((missed.position(), &missed.data["dirty_days"]), (27, &json!([day_of(26)])));
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_storm_of_lines_reaches_every_client_whole_whatever_is_merged() {
    let (home, service) = start();
    let mut listener = Listener::of(&service, None);
    let mut before = listener.event().unwrap();
    for n in 20..400 {
        home.append(LOG, call(n));
    }
    let (mut days, mut events) = (std::collections::BTreeSet::new(), 0);
    while before.position() < 400 {
        let event = listener.event().unwrap();
        assert!(event.position() > before.position(), "no refresh comes twice");
        days.extend(event.data["dirty_days"].as_array().unwrap().iter().map(Value::to_string));
        events += 1;
        before = event;
    }
    assert_eq!(days.len(), 28);
    assert!(events < 380, "{events} events for 380 lines");
    assert_eq!(service.stop(), 0);
}

#[test]
fn open_streams_do_not_hold_up_the_end() {
    let (_home, service) = start();
    let mut listeners: Vec<Listener> = (0..16).map(|_| Listener::of(&service, None)).collect();
    let started = Instant::now();
    assert_eq!(service.stop(), 0);
    println!("stopped after {:?}", started.elapsed());
    for listener in &mut listeners {
        assert_eq!(listener.event().unwrap().position(), 20);
        assert!(listener.event().is_none(), "ended in order, not cut off");
    }
}
