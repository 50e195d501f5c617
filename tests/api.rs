//! The description of the API, and the examples in its guide, held to what the built binary answers.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::stream::Listener;
use crate::support::client::{Client, Reply};
use crate::support::faults::{calls, works};
use crate::support::{Home, Service};

fn docs(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A running service with calls of two projects.
fn start() -> (Home, Service) {
    let home = Home::new();
    let engine = calls(0..40).replace("/w/0", "/home/ada/engine");
    let log = home.write(".claude/projects/-w/s.jsonl", engine.replace("/w/1", "/home/ada/shop"));
    assert!(log.exists());
    let service = Service::start(&home);
    service.wait_ready();
    (home, service)
}

/// `docs/openapi.json`.
struct Description(Value);

impl Description {
    fn load() -> Self {
        Self(serde_json::from_str(&docs("openapi.json")).unwrap())
    }

    /// What a `$ref` leads to, or the thing itself.
    fn resolve<'a>(&'a self, part: &'a Value) -> &'a Value {
        match part["$ref"].as_str() {
            Some(place) => self.0.pointer(place.trim_start_matches('#')).unwrap(),
            None => part,
        }
    }

    fn check(&self, what: &str, schema: &Value, value: &Value) {
        let mut root = schema.clone();
        root["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&root).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .take(3)
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:#?}");
    }

    /// Holds an answer to what is said of its path and status.
    fn hold(&self, path: &str, request: &str, reply: &Reply) {
        let status = reply.status.to_string();
        let what = format!("{request} -> {status}");
        let response = self.0["paths"][path]["get"]["responses"].get(&status);
        let response = response.unwrap_or_else(|| panic!("{what}: no such status for {path}"));
        let response = self.resolve(response);
        for (name, header) in response["headers"].as_object().unwrap() {
            let header = self.resolve(header);
            let found = reply.header(name).unwrap_or_else(|| panic!("{what}: no {name}"));
            self.check(&format!("{what}, {name}"), &header["schema"], &json!(found));
        }
        let Some(content) = response["content"].as_object() else {
            assert_eq!((reply.header("content-type"), &*reply.body), (None, ""), "{what}");
            return;
        };
        let kind = reply.header("content-type").unwrap();
        let content =
            content.get(kind).unwrap_or_else(|| panic!("{what}: {kind} is not described"));
        if kind.ends_with("json") {
            self.check(&what, &content["schema"], &reply.json());
        }
    }
}

/// Paths as they are described, and requests for them.
const REQUESTS: [(&str, &str, &str); 60] = [
    ("/", "/?since=2026-09-01&view=what", ""),
    ("/plain", "/plain", ""),
    ("/plain", "/plain?since=2026-09-01", ""),
    ("/livez", "/livez", ""),
    ("/readyz", "/readyz", ""),
    ("/health", "/health", ""),
    ("/metrics", "/metrics", ""),
    ("/health", "/health", "Origin: https://evil.example\r\n"),
    ("/health", "/health", "Content-Length: 3\r\n"),
    ("/api/v1/openapi.json", "/api/v1/openapi.json", ""),
    ("/api/v1/summary", "/api/v1/summary", ""),
    ("/api/v1/summary", "/api/v1/summary?model=claude-opus-5&provider=claude-code", ""),
    ("/api/v1/summary", "/api/v1/summary?model=none", ""),
    ("/api/v1/summary", "/api/v1/summary?since=2026-09-01", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily", ""),
    ("/api/v1/marts/model_day", "/api/v1/marts/model_day", ""),
    ("/api/v1/marts/project", "/api/v1/marts/project", ""),
    ("/api/v1/marts/provider_day", "/api/v1/marts/provider_day", ""),
    ("/api/v1/marts/session", "/api/v1/marts/session", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?limit=1", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?limit=1&order=-cost_usd", ""),
    ("/api/v1/marts/session", "/api/v1/marts/session?order=cwd&limit=3", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?order=nothing", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?since=2026-09-03&until=2026-09-04", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?since=2026-09-04&until=2026-09-03", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?since=2030-01-01", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?since=today", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?provider=claude-code&provider=codex", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?project=/home/ada/shop&project=2", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?model=claude-opus-5", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?model=", ""),
    ("/api/v1/marts/model_day", "/api/v1/marts/model_day?project=1", ""),
    ("/api/v1/marts/model_day", "/api/v1/marts/model_day?model=claude-opus-5&limit=2", ""),
    ("/api/v1/marts/model_day", "/api/v1/marts/model_day", "If-None-Match: *\r\n"),
    ("/api/v1/marts/project", "/api/v1/marts/project?order=-cost_nanousd&limit=2", ""),
    ("/api/v1/marts/project", "/api/v1/marts/project?provider=claude-code", ""),
    ("/api/v1/marts/project", "/api/v1/marts/project", "If-None-Match: *\r\n"),
    ("/api/v1/marts/provider_day", "/api/v1/marts/provider_day?provider=codex", ""),
    ("/api/v1/marts/provider_day", "/api/v1/marts/provider_day", "If-None-Match: *\r\n"),
    ("/api/v1/marts/session", "/api/v1/marts/session?since=2026-09-03&until=2026-09-04", ""),
    ("/api/v1/marts/session", "/api/v1/marts/session?limit=5001", ""),
    ("/api/v1/marts/session", "/api/v1/marts/session", "If-None-Match: *\r\n"),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?limit=0", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?cursor=x", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?nothing=1", ""),
    ("/api/v1/marts/daily", "/api/v1/marts/daily", "If-None-Match: *\r\n"),
    ("/api/v1/marts/daily", "/api/v1/marts/daily", "If-None-Match: \"x\"\r\n"),
    ("/api/v1/marts/daily", "/api/v1/marts/daily?since=%ff", ""),
    ("/api/v1/events", "/api/v1/events", ""),
    ("/api/v1/events", "/api/v1/events?limit=2", ""),
    ("/api/v1/events", "/api/v1/events?session=s1&session=s2", ""),
    ("/api/v1/events", "/api/v1/events?session=none", ""),
    ("/api/v1/events", "/api/v1/events?since=2026-09-03&until=2026-09-03", ""),
    ("/api/v1/events", "/api/v1/events?cursor=none", ""),
    ("/api/v1/events", "/api/v1/events?order=ts", ""),
    ("/api/v1/events", "/api/v1/events", "If-None-Match: *\r\n"),
    ("/api/v1/stream", "/api/v1/stream", "Last-Event-ID: none\r\n"),
    ("/api/v1/stream", "/api/v1/stream?since=1-1", ""),
    ("/api/v1/stream", "/api/v1/stream", "Sec-Fetch-Site: cross-site\r\n"),
    ("/api/v1/stream", "/api/v1/stream", "Last-Event-ID: 1-1\r\n"),
];

#[test]
fn every_path_is_described_and_every_answer_is_as_described() {
    let (_home, service) = start();
    let description = Description::load();
    let nothing = Client::of(&service).get("/none");
    assert_eq!(nothing.status, 404);
    let texts = |values: &Value| -> BTreeSet<String> {
        values.as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect()
    };
    let described: BTreeSet<String> =
        description.0["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(texts(&nothing.json()["allowed"]), described);
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    description.check("a problem", &problem, &nothing.json());

    let (mut seen, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for (path, request, headers) in REQUESTS {
        let mut client = Client::of(&service);
        client.send(&format!("GET {request} HTTP/1.1\r\nHost: localhost:PORT\r\n{headers}\r\n"));
        let reply = client.reply(true).unwrap();
        description.hold(path, &format!("{request} {headers}"), &reply);
        seen.insert((path, reply.status));
        asked.insert(path.to_owned());
    }
    assert_eq!(asked, described, "every path is asked for");
    for path in
        described.iter().filter(|path| path.starts_with("/api/v1/") && !path.ends_with("json"))
    {
        assert!(seen.contains(&(path, 200)) && seen.contains(&(path, 400)), "{path}: {seen:?}");
    }
    for path in &described {
        let mut client = Client::of(&service);
        client.send(&format!("POST {path} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n"));
        description.hold(path, &format!("POST {path}"), &client.reply(true).unwrap());
        let mut client = Client::of(&service);
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
        description.hold(path, &format!("{path} of another host"), &client.reply(true).unwrap());
    }
    let event = Listener::of(&service, None).event().unwrap();
    let refresh = json!({"$ref": "#/components/schemas/Refresh"});
    description.check("a refresh", &refresh, &event.data);
    assert_eq!(service.stop(), 0);
}

#[test]
fn the_description_is_served_as_it_is() {
    let (_home, service) = start();
    let reply = Client::of(&service).get("/api/v1/openapi.json");
    assert_eq!(reply.body, docs("openapi.json"));
    assert_eq!(service.stop(), 0);
}

/// Parameters, columns and codes that the description names are those that refusals name.
#[test]
fn what_is_allowed_is_what_is_described() {
    let (_home, service) = start();
    let Description(described) = Description::load();
    let allowed = |path: &str| -> BTreeSet<String> {
        let allowed = Client::of(&service).get(path).json()["allowed"].clone();
        allowed.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let in_query = |path: &str| -> BTreeSet<String> {
        let parameters = described["paths"][path]["get"]["parameters"].as_array().unwrap();
        let parameters = parameters.iter().map(|of| match of["$ref"].as_str() {
            Some(place) => described.pointer(&place[1..]).unwrap(),
            None => of,
        });
        let names =
            parameters.filter(|of| of["in"] == "query").map(|of| of["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    assert_eq!(allowed("/api/v1/events?none=1"), in_query("/api/v1/events"));
    assert_eq!(allowed("/api/v1/summary?none=1"), in_query("/api/v1/summary"));
    for mart in ["daily", "model_day", "project", "provider_day", "session"] {
        let path = format!("/api/v1/marts/{mart}");
        assert_eq!(allowed(&format!("{path}?none=1")), in_query(&path));
        let parameters = &described["paths"][&path]["get"]["parameters"];
        let order = parameters.as_array().unwrap().iter().find(|of| of["name"] == "order").unwrap();
        let orders = order["schema"]["enum"].as_array().unwrap().iter().map(Value::to_string);
        let (columns, largest_first): (Vec<_>, Vec<_>) =
            orders.map(|order| order.replace('"', "")).partition(|order| !order.starts_with('-'));
        assert!(columns.iter().map(|column| format!("-{column}")).eq(largest_first));
        let columns: BTreeSet<String> = columns.into_iter().collect();
        assert_eq!(allowed(&format!("{path}?order=none")), columns, "{mart}");
    }
    assert_eq!(service.stop(), 0);
}

/// An example of a guide: commands, and what they print.
struct Example {
    commands: String,
    /// `json` or `text`, and the output.
    prints: Option<(String, String)>,
}

/// The fenced blocks of a guide: each of `sh` with the one after it, if that is output.
fn examples(guide: &str) -> Vec<Example> {
    let mut blocks = guide.split("\n```").skip(1).step_by(2).map(|block| {
        let (kind, text) = block.split_once('\n').unwrap();
        (kind.trim().to_owned(), text.to_owned())
    });
    let mut examples: Vec<Example> = Vec::new();
    for (kind, text) in &mut blocks {
        match (&*kind, examples.last_mut()) {
            ("sh", _) => examples.push(Example { commands: text, prints: None }),
            ("json" | "text", Some(example)) if example.prints.is_none() => {
                example.prints = Some((kind, text));
            }
            _ => {}
        }
    }
    examples
}

/// Everything that the example shows is there, and of the same kind.
fn assert_shape(what: &str, shown: &Value, found: &Value) {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            for (name, shown) in shown {
                let found = found.get(name).unwrap_or_else(|| panic!("{what}: no {name}"));
                assert_shape(&format!("{what}.{name}"), shown, found);
            }
        }
        (Value::Array(shown), Value::Array(found)) => {
            assert!(shown.is_empty() || !found.is_empty(), "{what} is empty");
            for (shown, found) in shown.iter().zip(found) {
                assert_shape(&format!("{what}[]"), shown, found);
            }
        }
        (shown, found) => {
            let kind = |value: &Value| std::mem::discriminant(value);
            assert!(kind(shown) == kind(found), "{what}: {shown} is shown, {found} is found");
        }
    }
}

#[test]
fn every_curl_in_the_guide_does_what_the_guide_says() {
    if !works(&["curl", "--version"]) {
        return;
    }
    let (_home, service) = start();
    let guide = docs("api.md");
    let examples = examples(&guide);
    let curls = |text: &str| text.matches("curl ").count();
    let run: usize = examples.iter().map(|example| curls(&example.commands)).sum();
    let lines = guide.lines().filter(|line| line.starts_with("curl ") || line.contains("$(curl "));
    assert_eq!(run, lines.count(), "a curl outside of the examples is not run");
    let described = Description::load();
    let mut paths: BTreeSet<&String> = described.0["paths"].as_object().unwrap().keys().collect();
    for Example { commands, prints } in &examples {
        // One that follows a stream never ends by itself.
        let is_endless = commands.contains("curl -N ");
        let here = commands
            .replace("127.0.0.1:8474", &service.address())
            .replace("curl -N ", "curl -N -s --max-time 2 ");
        let output = Command::new("sh").args(["-ec", &here]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let expect = if is_endless { 28 } else { 0 };
        assert_eq!(output.status.code(), Some(expect), "{commands}\n{said}");
        paths.retain(|path| !commands.contains(&**path));
        let Some((kind, shown)) = prints else {
            assert!(!said.contains("about:blank"), "{commands}: {said}");
            continue;
        };
        if kind == "json" {
            let [shown, found] = [shown, &said].map(|text| {
                serde_json::from_str(text).unwrap_or_else(|e| panic!("{commands}: {e}: {text}"))
            });
            assert_shape(commands, &shown, &found);
            assert_eq!(shown["status"], found["status"], "{commands}");
        } else if is_endless {
            for (shown, found) in shown.lines().zip(said.lines()) {
                let (shown_name, shown) = shown.split_once(": ").unwrap_or((shown, ""));
                let (name, found) = found.split_once(": ").unwrap_or((found, ""));
                assert_eq!(shown_name, name, "{said}");
                if name == "data" {
                    let [shown, found] = [shown, found].map(|t| serde_json::from_str(t).unwrap());
                    assert_shape(commands, &shown, &found);
                }
            }
            assert!(said.lines().count() >= shown.lines().count(), "{said}");
        } else {
            assert_eq!(said.trim(), shown.trim(), "{commands}");
        }
    }
    assert!(paths.is_empty(), "the guide has no example of {paths:?}");
    assert_eq!(service.stop(), 0);
}
