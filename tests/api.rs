//! The description of the API, and the examples in its guide, held to what the built binary answers.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::stream::Listener;
use crate::support::client::{Client, Reply};
use crate::support::faults::{calls, works};
use crate::support::logs::{generate, write_all};
use crate::support::{Home, Random, Service, wait};

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

fn texts(values: &Value) -> BTreeSet<String> {
    values.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
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
const REQUESTS: [(&str, &str, &str); 71] = [
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
    ("/api/v1/providers", "/api/v1/providers", ""),
    ("/api/v1/providers", "/api/v1/providers?provider=codex", ""),
    ("/api/v1/report", "/api/v1/report", ""),
    ("/api/v1/report", "/api/v1/report?by=week&by=provider&order=-cost_usd&limit=2", ""),
    ("/api/v1/report", "/api/v1/report?by=month&since=2026-09-03&until=2026-09-04", ""),
    ("/api/v1/report", "/api/v1/report?by=session&order=-last_ts", ""),
    ("/api/v1/report", "/api/v1/report?by=project&by=session&by=day&by=model&by=speed", ""),
    ("/api/v1/report", "/api/v1/report?by=hour", ""),
    ("/api/v1/report", "/api/v1/report?by=day&order=last_ts", ""),
    ("/api/v1/report", "/api/v1/report?by=day&provider=codecs", ""),
    ("/api/v1/report", "/api/v1/report?by=day", "If-None-Match: *\r\n"),
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
    ("/api/v1/marts/provider_day", "/api/v1/marts/provider_day?provider=gose", ""),
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

/// Two agents, several projects, models and days.
fn start_busy() -> (Home, Service) {
    let home = Home::new();
    write_all(&home, &generate(&mut Random(11), 6, 60));
    let service = Service::start(&home);
    service.wait_ready();
    (home, service)
}

#[test]
fn a_report_over_http_is_that_of_the_command() {
    let (home, service) = start_busy();
    let report = |query: &str| {
        let query = query.replace('/', "%2F");
        Client::of(&service).get(&format!("/api/v1/report?{query}")).json()
    };
    let by_project = report("by=project");
    let project = by_project["rows"][0]["project"].as_str().unwrap();
    let mut pairs: Vec<(String, String)> = [
        ("daily", "by=day"),
        ("daily --by model --sort cost", "by=day&by=model&order=-cost_nanousd"),
        ("weekly --by project --reverse", "by=week&by=project&order=-week"),
        (
            "monthly --since 2026-09-02 --until 2026-09-20",
            "by=month&since=2026-09-02&until=2026-09-20",
        ),
        ("session", "by=session&order=last_ts"),
        ("session --by day --by speed --sort name", "by=session&by=day&by=speed&order=session_id"),
        ("provider --sort name --provider codex", "by=provider&provider=codex"),
        ("model --project PROJECT --limit 1", "by=model&project=PROJECT&order=-cost_usd&limit=1"),
    ]
    .map(|(args, query)| (args.replace("PROJECT", project), query.replace("PROJECT", project)))
    .into();
    for (word, column) in [
        ("calls", "message_count"),
        ("input", "input_tokens"),
        ("output", "output_tokens"),
        ("cache-write", "cache_create_tokens"),
        ("cache-read", "cache_read_tokens"),
        ("tokens", "total_tokens"),
        ("cost", "cost_usd"),
    ] {
        let args = format!("session --sort {word} --limit 5");
        pairs.push((args, format!("by=session&limit=5&order=-{column}")));
    }
    let mut orders = BTreeSet::new();
    for (args, query) in pairs {
        let command = home.json(&[&["report"][..], &args.split(' ').collect::<Vec<_>>()].concat());
        let answer = report(&query);
        assert!(!answer["rows"].as_array().unwrap().is_empty(), "{query}");
        for part in ["rows", "groups", "total", "since", "until", "time_zone", "watermark"] {
            assert_eq!(answer[part], command[part], "{part} of {query}");
        }
        orders.insert(answer["rows"].to_string());
    }
    assert!(orders.len() > 12, "no two orders are the same by chance: {}", orders.len());
    // And as the marts do.
    let mart = Client::of(&service).get("/api/v1/marts/provider_day").json();
    let report = report("by=day&by=provider&order=day");
    let (mart, report) = (mart["rows"].as_array().unwrap(), report["rows"].as_array().unwrap());
    assert_eq!(mart.len(), report.len());
    for row in report {
        let is_same = |of: &&Value| of["day"] == row["day"] && of["provider"] == row["provider"];
        let mart = mart.iter().find(is_same).unwrap();
        for name in ["message_count", "output_tokens", "cost_nanousd", "unpriced_count"] {
            assert_eq!(mart[name], row[name], "{row}");
        }
    }
    assert_eq!(service.stop(), 0);
}

#[test]
fn the_providers_over_http_are_those_of_the_command_and_add_up_to_the_marts() {
    let home = Home::new();
    write_all(&home, &generate(&mut Random(11), 6, 60));
    home.write(".claude/projects/-w/torn.jsonl", "{not a record}\n");
    home.write(
        ".config/Code/User/globalStorage/saoudrizwan.claude-dev/tasks/1/ui_messages.json",
        "[]",
    );
    let off = "[providers.pi]\nenabled = false\n";
    home.write(".config/tallyd/config.toml", off);
    let service = Service::start(&home);
    service.wait_ready();
    let compare = || {
        let answer = Client::of(&service).get("/api/v1/providers").json();
        let command = home.json(&["providers"]);
        let (rows, command) = (answer["rows"].as_array().unwrap(), command.as_array().unwrap());
        assert_eq!(rows.len(), command.len());
        for (row, told) in rows.iter().zip(command) {
            let id = &row["provider"];
            assert_eq!(*id, told["provider"]);
            let expect = match (&told["enabled"], &told["found"]) {
                (Value::Bool(false), _) => "switched off",
                (_, Value::Bool(true)) => "found",
                _ => "not found",
            };
            assert_eq!(row["state"], expect, "{row}");
            let quality = row["quality"].as_array().unwrap().iter().map(|of| of["id"].clone());
            assert_eq!(quality.collect::<Value>(), told["quality"], "{id}");
            let mut roots = told["roots"].clone();
            for root in roots.as_array_mut().unwrap() {
                root.as_object_mut().unwrap().remove("provider");
            }
            assert_eq!(row["roots"], roots, "{id}");
            let stored = told["stored"].as_object();
            for (name, value) in stored.into_iter().flatten() {
                match &**name {
                    "lines" => {}
                    "newest_ts_ms" => assert_eq!(ms(&row["newest_ts"]), value.as_i64(), "{id}"),
                    name => assert_eq!(row[name], *value, "{name} of {id}"),
                }
            }
            let query = format!("/api/v1/report?provider={}", id.as_str().unwrap());
            let sums = Client::of(&service).get(&query).json()["total"].clone();
            for (name, sum) in sums.as_object().into_iter().flatten() {
                assert_eq!(row[name], *sum, "{name} of {id}");
            }
            let mart = format!("/api/v1/marts/provider_day?provider={}", id.as_str().unwrap());
            let mart = Client::of(&service).get(&mart).json();
            let days = mart["rows"].as_array().into_iter().flatten();
            let prompts: i64 = days.map(|day| day["user_message_count"].as_i64().unwrap()).sum();
            assert_eq!(row["user_message_count"], prompts, "{id}");
        }
        answer
    };
    let of = |answer: &Value, id: &str| -> Value {
        let rows = answer["rows"].as_array().unwrap();
        rows.iter().find(|row| row["provider"] == id).unwrap().clone()
    };
    let answer = compare();
    assert_eq!(answer["reading"], Value::Null);
    let mart = Client::of(&service).get("/api/v1/marts/provider_day").json();
    assert_eq!((&answer["watermark"], &answer["epoch"]), (&mart["watermark"], &mart["epoch"]));
    let claude = of(&answer, "claude-code");
    assert_eq!((&claude["state"], &claude["skips"]["malformed"]), (&json!("found"), &json!(1)));
    assert_eq!(claude["quality"], json!([{"id": "per_call", "description": "per call"}]));
    assert!(claude["message_count"].as_i64() > Some(0));
    assert_eq!(of(&answer, "pi")["state"], "switched off");
    // Both look into the folder of the editors; only one has anything there.
    let in_editors = |id: &str| {
        let row = of(&answer, id);
        let is_of_editors = |root: &&Value| root["path"].as_str().unwrap().contains("/*/");
        row["roots"].as_array().unwrap().iter().find(is_of_editors).unwrap()["state"].clone()
    };
    assert_eq!(in_editors("cline"), "found");
    assert_eq!(in_editors("roo-code"), "not there, awaited");
    // What is counted of an agent stays when it is switched off.
    home.write(".config/tallyd/config.toml", "[providers.codex]\nenabled = false\n");
    service.signal("-HUP");
    service.wait_for_log("configuration reloaded");
    let providers = || Client::of(&service).get("/api/v1/providers").json();
    wait("codex to be forgotten", || of(&providers(), "codex")["sources"] == 0);
    let codex = of(&providers(), "codex");
    assert_eq!((&codex["state"], &codex["roots"]), (&json!("switched off"), &json!([])));
    assert!(codex["message_count"].as_i64() > Some(0));
    assert_eq!(of(&providers(), "pi")["state"], "not found");
    assert_eq!(service.stop(), 0);
}

/// A time in milliseconds.
fn ms(time: &Value) -> Option<i64> {
    Some(time.as_str()?.parse::<jiff::Timestamp>().unwrap().as_millisecond())
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
    let allowed = |path: &str| texts(&Client::of(&service).get(path).json()["allowed"]);
    let schema_of = |path: &str, parameter: &str| -> Value {
        let parameters = described["paths"][path]["get"]["parameters"].as_array().unwrap();
        parameters.iter().find(|of| of["name"] == parameter).unwrap()["schema"].clone()
    };
    // The columns that rows come in the order of, up or down.
    let orders = |path: &str| -> BTreeSet<String> {
        let orders = schema_of(path, "order")["enum"].clone();
        let orders = orders.as_array().unwrap().iter().map(|order| order.as_str().unwrap());
        let (columns, largest_first): (Vec<_>, Vec<_>) =
            orders.map(str::to_owned).partition(|order| !order.starts_with('-'));
        assert!(columns.iter().map(|column| format!("-{column}")).eq(largest_first));
        columns.into_iter().collect()
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
    assert_eq!(allowed("/api/v1/report?none=1"), in_query("/api/v1/report"));
    for mart in ["daily", "model_day", "project", "provider_day", "session"] {
        let path = format!("/api/v1/marts/{mart}");
        assert_eq!(allowed(&format!("{path}?none=1")), in_query(&path));
        assert_eq!(allowed(&format!("{path}?order=none")), orders(&path), "{mart}");
    }
    let dimensions = allowed("/api/v1/report?by=none");
    assert_eq!(texts(&schema_of("/api/v1/report", "by")["items"]["enum"]), dimensions);
    let sortable = dimensions.iter().flat_map(|by| {
        let path = format!("/api/v1/report?by={by}&order=none");
        allowed(&path)
    });
    assert_eq!(sortable.collect::<BTreeSet<_>>(), orders("/api/v1/report"));
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
