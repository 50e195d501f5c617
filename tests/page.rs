//! The page as a browser fetches it: its files, how they come, and that its figures are the API's.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use crate::support::{DEADLINE, Home, Service, corpus_homes};

/// An answer whose body may be anything.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// `GET` with more headers, each ended by a line break.
fn get(service: &Service, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", service.port())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (host, end) = (service.address(), "Connection: close\r\n\r\n");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{end}").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..at].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: all[at + 4..].to_vec(),
        head,
    }
}

/// What is said in quotes after `name=`.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// Whether the binary has the full page; says so if it has not.
fn has_page(root: &Answer) -> bool {
    let has_page = !root.text().contains("This is the plain page");
    if !has_page {
        println!("skipped: built without Node.js, so without the full page");
    }
    has_page
}

#[test]
fn the_page_comes_with_all_its_files_in_every_form_and_names_no_other_host() {
    let home = Home::new();
    let service = Service::start(&home);
    let root = get(&service, "/?view=sessions&since=2026-09-01", "");
    assert_eq!((root.status, root.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = root.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    let html = root.text();
    assert!(!html.contains("://") && !html.contains("=\"//"), "{html}");
    let (scripts, links) = (attributes(html, "src"), attributes(html, "href"));
    let named: BTreeSet<&str> = scripts.iter().chain(&links).copied().collect();
    assert!(named.contains("/plain.css") || named.contains("/plain"), "{html}");

    let mut total = 0;
    for path in named.iter().copied().filter(|path| !["/plain", "/health"].contains(path)) {
        let plain = get(&service, path, "");
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{path}");
        let mut smallest = plain.body.len();
        for coding in ["gzip", "br"] {
            let packed = get(&service, path, &format!("Accept-Encoding: {coding}\r\n"));
            assert_eq!(packed.status, 200, "{path}");
            assert_eq!(packed.header("content-type"), plain.header("content-type"), "{path}");
            assert_eq!(packed.header("vary"), Some("accept-encoding"), "{path}");
            if path.starts_with("/assets/") {
                assert_eq!(packed.header("content-encoding"), Some(coding), "{path}");
                assert_ne!(packed.header("etag"), plain.header("etag"), "{path}");
            }
            match packed.header("content-encoding") {
                Some("gzip") => assert_is_gzip_of(&packed.body, &plain.body),
                Some("br") => assert_ne!(packed.body, plain.body),
                _ => assert_eq!(packed.body, plain.body),
            }
            let tag = packed.header("etag").unwrap();
            let again = format!("Accept-Encoding: {coding}\r\nIf-None-Match: {tag}\r\n");
            let again = get(&service, path, &again);
            assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
            smallest = smallest.min(packed.body.len());
        }
        total += smallest;
    }
    assert!(total < 300_000, "{total} bytes");
    if has_page(&root) {
        assert!(!scripts.is_empty() && scripts.iter().all(|path| path.starts_with("/assets/")));
        assert!(policy.contains("script-src 'self'"), "{policy}");
        assert_eq!(html.matches("<script").count(), scripts.len(), "no script stands in the page");
    }
    assert_eq!(service.stop(), 0);
}

/// The end of a gzip stream holds checksum and length of what went in.
#[track_caller]
fn assert_is_gzip_of(packed: &[u8], plain: &[u8]) {
    let crc = plain.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    });
    assert_eq!(packed[..2], [0x1f, 0x8b]);
    let (_, end) = packed.split_at(packed.len() - 8);
    assert_eq!(end[..4], (!crc).to_le_bytes());
    assert_eq!(end[4..], u32::try_from(plain.len()).unwrap().to_le_bytes());
}

#[test]
fn a_link_on_another_site_opens_the_page_but_no_frame_there_can_show_it() {
    let home = Home::new();
    let service = Service::start(&home);
    service.wait_ready();
    let link = |path, dest| {
        let site = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
        get(&service, path, &format!("{site}Sec-Fetch-Dest: {dest}\r\n")).status
    };
    for page in ["/", "/plain"] {
        assert_eq!((link(page, "document"), link(page, "iframe")), (200, 403), "{page}");
        let policy = get(&service, page, "");
        let policy = policy.header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    assert_eq!(link("/api/v1/summary", "document"), 403);
    assert_eq!(service.stop(), 0);
}

#[test]
fn the_plain_page_names_the_version_of_node_that_the_page_needs() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let package = std::fs::read_to_string(top.join("web/package.json")).unwrap();
    let package: Value = serde_json::from_str(&package).unwrap();
    let wanted = package["engines"]["node"].as_str().unwrap();
    let said = std::fs::read_to_string(top.join("crates/daemon/src/http/plain.rs")).unwrap();
    let (_, version) = said.split_once("Node.js 20").unwrap();
    let version = format!("20{}", version.split(' ').next().unwrap());
    assert!(wanted.starts_with(&format!("^{version}.")), "{version} is not {wanted}");
}

/// A call of Claude Code so many hours ago.
fn call(n: usize, hours_ago: i64, project: &str, model: &str) -> String {
    let time = Timestamp::now() - hours_ago.hours();
    let record = serde_json::json!({
        "type": "assistant", "uuid": format!("u{n}"), "sessionId": "s", "cwd": project,
        "requestId": format!("req_{n}"), "timestamp": time.to_string(),
        "message": {
            "id": format!("msg_01AAAAAAAAAAAA{n:08}"), "model": model,
            "usage": {"input_tokens": 100_000, "output_tokens": 1_000 * n}
        }
    });
    format!("{record}\n")
}

#[test]
fn the_plain_page_shows_the_totals_of_the_summary_and_names_as_they_are() {
    let home = Home::new();
    let evil = "/w/<script>alert(1)</script>&\u{202e}\"";
    let log: String = (0..12)
        .map(|n| {
            let days_ago = [0, 1, 6, 7, 29, 30][n % 6];
            let model = if n == 6 { "no-such-model" } else { "claude-opus-5" };
            call(n + 1, 24 * days_ago, if n % 2 == 0 { evil } else { "/w/shop" }, model)
        })
        .collect();
    home.write(".claude/projects/-x/s.jsonl", log);
    let service = Service::start(&home);
    service.wait_ready();
    let summary = assert_is_the_summary(&service);
    assert_eq!(summary["last_30_days"]["message_count"], 10);
    assert_eq!(summary["today"]["unpriced_count"], 1);
    let plain = get(&service, "/plain", "");
    let escaped = "<bdi>/w/&lt;script&gt;alert(1)&lt;/script&gt;&amp;\u{fffd}&quot;</bdi>";
    assert_eq!(row(plain.text(), escaped)[1], "6");
    assert_eq!(row(plain.text(), "<bdi>/w/shop</bdi>")[1], "4");
    assert!(!plain.text().contains("<script"), "{}", plain.text());
    assert!(plain.text().contains("no price is known for no-such-model"), "{}", plain.text());
    assert_eq!(service.stop(), 0);
}

#[test]
fn the_plain_page_of_real_logs_shows_the_totals_of_the_summary() {
    for corpus in corpus_homes() {
        let home = Home::copy_of(&corpus);
        let service = Service::start(&home);
        service.wait_ready();
        assert_is_the_summary(&service);
        assert_eq!(service.stop(), 0);
    }
}

/// Holds the plain page to the summary of the same day; the summary.
fn assert_is_the_summary(service: &Service) -> Value {
    let summary =
        || -> Value { serde_json::from_str(get(service, "/api/v1/summary", "").text()).unwrap() };
    let (before, plain, after) = (summary(), get(service, "/plain", ""), summary());
    if before["day"] != after["day"] {
        // It was midnight.
        return assert_is_the_summary(service);
    }
    assert_eq!(plain.status, 200);
    for (name, part) in [
        ("today", "today"),
        ("last 7 days", "last_7_days"),
        ("last 30 days", "last_30_days"),
        ("this month", "month"),
    ] {
        let of = |measure: &str| before[part][measure].as_i64().unwrap();
        let [cost, calls, tokens] = row(plain.text(), name);
        assert_eq!(digits(calls), of("message_count"), "{name}");
        assert_eq!(digits(tokens), of("total_tokens"), "{name}");
        let (priced, unpriced) = match cost.split_once(" + ") {
            Some((priced, unpriced)) => (priced, digits(unpriced)),
            None if cost == "unpriced" => ("$0.00", of("message_count")),
            None => (cost, 0),
        };
        assert_eq!(digits(priced), (of("cost_nanousd") + 5_000_000) / 10_000_000, "{name}");
        assert_eq!(unpriced, of("unpriced_count"), "{name}");
    }
    let has_block = plain.text().contains("The running five-hour block");
    assert_eq!(has_block, !before["block"].is_null());
    before
}

/// Cost, calls and tokens in a row of a table.
fn row<'a>(html: &'a str, name: &str) -> [&'a str; 3] {
    let start = format!("<th scope=\"row\">{name}");
    let (_, row) = html.split_once(&start).unwrap_or_else(|| panic!("no {name}: {html}"));
    let cells = row.split("<td>").skip(1).map(|cell| cell.split("</td>").next().unwrap());
    let cells: Vec<&str> = cells.take(3).collect();
    cells.try_into().unwrap()
}

fn digits(text: &str) -> i64 {
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}
