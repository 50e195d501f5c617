//! HTTP as clients meet it, well-behaved or not: over raw sockets, against the built binary.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::client::{Client, Reply};
use crate::support::faults::{call, calls, wait_healthy};
use crate::support::{Home, Service, integer, wait};

const LOG: &str = ".claude/projects/-w/s.jsonl";
const CALLS: &str = "SELECT ifnull(sum(message_count), 0) FROM daily_mart";

/// A running service that has counted twenty calls.
fn start() -> (Home, Service) {
    let home = Home::new();
    home.write(LOG, calls(0..20));
    let service = Service::start(&home);
    service.wait_ready();
    (home, service)
}

fn has_safe_headers(reply: &Reply) {
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("private, no-cache"), "{reply:?}");
    assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"), "{reply:?}");
    assert!(!reply.head.to_ascii_lowercase().contains("access-control"), "{reply:?}");
}

#[test]
fn h54_a_taken_port_holds_up_nothing_and_is_taken_over_once_it_is_free() {
    let occupant = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = occupant.local_addr().unwrap().to_string();
    let home = Home::new();
    home.write(LOG, calls(0..20));
    let mut service = Service::launch(home.command(&["run", "--listen", &address]));
    let warning = service.wait_for_log("cannot listen on");
    assert!(warning.contains(&address), "{warning}");
    home.append(LOG, call(20));
    wait("the calls in the marts", || integer(&home.database(), CALLS) == 21);
    let status = home.tallyd(&["status"]);
    assert!(status.contains(&format!("cannot listen on {address}")), "{status}");
    drop(occupant);
    service.wait_listening();
    wait_healthy(&service);
    assert_eq!(service.stop(), 0);
}

/// Requests up to the empty line; `PORT` stands for the service's. Refused ones name a path that
/// does not exist: they are judged before they are routed.
const HOSTS: [(&str, u16); 17] = [
    ("GET /livez HTTP/1.1\r\nHost: localhost:PORT\r\n", 200),
    ("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n", 200),
    ("GET /livez HTTP/1.1\r\nHost: [::1]:PORT\r\n", 200),
    ("GET http://localhost:PORT/livez HTTP/1.1\r\nHost: localhost:PORT\r\n", 200),
    ("GET /none HTTP/1.1\r\n", 400),
    ("GET /none HTTP/1.0\r\n", 400),
    ("GET /none HTTP/1.1\r\nHost: localhost:PORT\r\nHost: localhost:PORT\r\n", 400),
    ("GET /none HTTP/1.1\r\nHost: localhost:PORT\r\nHost: evil.example\r\n", 400),
    ("GET http://127.0.0.1:PORT/none HTTP/1.1\r\nHost: localhost:PORT\r\n", 400),
    ("GET /none HTTP/1.1\r\nHost: evil.example\r\n", 421),
    ("GET /none HTTP/1.1\r\nHost: evil.example:PORT\r\n", 421),
    ("GET /none HTTP/1.1\r\nHost: localhost\r\n", 421),
    ("GET /none HTTP/1.1\r\nHost: localhost.:PORT\r\n", 421),
    ("GET /none HTTP/1.1\r\nHost: localhost:PORT.\r\n", 421),
    ("GET /none HTTP/1.1\r\nHost: localhost:1\r\n", 421),
    ("GET http://evil.example:PORT/none HTTP/1.1\r\nHost: localhost:PORT\r\n", 421),
    ("GET http://localhost:PORT/none HTTP/1.1\r\nHost: evil.example\r\n", 421),
];

/// Headers beside a good `Host`.
const SITES: [(&str, u16); 15] = [
    ("", 200),
    ("Origin: http://localhost:PORT\r\n", 200),
    ("Origin: http://127.0.0.1:PORT\r\n", 200),
    ("Sec-Fetch-Site: same-origin\r\n", 200),
    ("Sec-Fetch-Site: same-site\r\n", 200),
    ("Sec-Fetch-Site: none\r\n", 200),
    ("Origin: http://localhost:PORT\r\nSec-Fetch-Site: same-origin\r\n", 200),
    ("Origin: null\r\n", 403),
    ("Origin: http://localhost:3000\r\n", 403),
    ("Origin: https://localhost:PORT\r\n", 403),
    ("Origin: https://evil.example\r\n", 403),
    ("Origin: http://localhost:PORT\r\nOrigin: https://evil.example\r\n", 403),
    ("Sec-Fetch-Site: cross-site\r\n", 403),
    ("Origin: http://localhost:PORT\r\nSec-Fetch-Site: cross-site\r\n", 403),
    ("Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n", 403),
];

#[test]
fn h56_h57_only_requests_of_this_machine_for_reading_are_answered() {
    let (_home, service) = start();
    let ask = |head: &str, expect: u16| {
        let mut client = Client::of(&service);
        client.send(&format!("{head}\r\n"));
        let reply = client.reply(!head.starts_with("HEAD")).unwrap();
        assert_eq!(reply.status, expect, "{head}: {reply:?}");
        has_safe_headers(&reply);
        reply
    };
    for (head, expect) in HOSTS {
        ask(head, expect);
    }
    for path in ["/livez", "/health", "/metrics", "/api/v1/marts/daily"] {
        for (headers, expect) in SITES {
            ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost:PORT\r\n{headers}"), expect);
        }
        let get = ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost:PORT\r\n"), 200);
        let head = ask(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost:PORT\r\n"), 200);
        assert_eq!(get.header("content-type"), head.header("content-type"));
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"] {
            let reply = ask(&format!("{method} {path} HTTP/1.1\r\nHost: localhost:PORT\r\n"), 405);
            assert_eq!(reply.header("allow"), Some("GET, HEAD"), "{method}");
        }
        // What a browser asks before it sends what is not plain reading.
        ask(
            &format!(
                "OPTIONS {path} HTTP/1.1\r\nHost: localhost:PORT\r\nOrigin: https://evil.example\r\n\
                 Access-Control-Request-Method: POST\r\n"
            ),
            403,
        );
    }
    wait_healthy(&service);
    assert_eq!(service.stop(), 0);
}

#[test]
fn h55_clients_that_send_too_much_are_refused() {
    let (_home, service) = start();
    let long = "x".repeat(40_000);
    let many: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
    for (head, expect) in [
        (format!("GET /livez HTTP/1.1\r\nHost: localhost:PORT\r\nX: {long}\r\n\r\n"), [431, 431]),
        (format!("GET /livez HTTP/1.1\r\nHost: localhost:PORT\r\n{many}\r\n"), [431, 431]),
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"), [414, 431]),
        (
            "GET /livez HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: 3\r\n\r\nabc".into(),
            [413, 413],
        ),
        (
            "GET /livez HTTP/1.1\r\nHost: localhost:PORT\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            [413, 413],
        ),
        ("not HTTP at all\r\n\r\n".into(), [400, 400]),
        ("\u{16}\u{3}\u{1}\r\n\r\n".into(), [400, 400]),
    ] {
        let mut client = Client::of(&service);
        client.send(&head);
        let start = &head[..head.len().min(60)];
        let reply = client.reply(true).unwrap();
        assert!(expect.contains(&reply.status), "{start}: {reply:?}");
        client.wait_closed();
    }
    wait_healthy(&service);
    assert_eq!(service.stop(), 0);
}

#[test]
fn h55_silent_dripping_and_idle_clients_are_sent_away_and_others_get_their_places() {
    let (home, mut service) = start();
    let mut idle = Client::of(&service);
    assert_eq!(idle.get("/livez").status, 200);
    let mut half = Client::of(&service);
    half.send("GET /livez HTTP/1.1\r\nHost: lo");
    let mut dripping = Client::of(&service);
    dripping.send("GET /livez HTTP/1.1\r\nX: ");
    let mut tap = dripping.stream.try_clone().unwrap();
    let tap = std::thread::spawn(move || {
        while tap.write_all(b"x").is_ok() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    });
    let mut silent: Vec<Client> = (3..32).map(|_| Client::of(&service)).collect();
    // One more than are served at once, then more than the places that get free.
    let mut late: Vec<Client> = (0..40).map(|_| Client::of(&service)).collect();
    for client in &mut late {
        client.send("GET /livez HTTP/1.1\r\nHost: localhost:PORT\r\nConnection: close\r\n\r\n");
    }
    // Logs do not wait for places.
    home.append(LOG, call(20));
    wait("the calls in the marts", || integer(&home.database(), CALLS) == 21);
    let first = late.remove(0).reply(true).unwrap();
    assert_eq!(first.status, 200);
    let gone = |client: &Client| client.is_closed();
    assert!(
        silent.iter().chain([&idle, &half]).any(gone) || tap.is_finished(),
        "it had to wait for a place"
    );
    for mut client in late {
        assert_eq!(client.reply(true).unwrap().status, 200);
    }
    for client in silent.iter_mut().chain([&mut idle, &mut half, &mut dripping]) {
        client.wait_closed();
    }
    tap.join().unwrap();
    wait_healthy(&service);
    assert!(service.is_running());
    // Nor does the end wait for anybody.
    let mut last = Client::of(&service);
    last.send("GET /livez HTTP/1.1\r\nHost: lo");
    assert_eq!(service.stop(), 0);
}
