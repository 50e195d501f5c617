//! What is asked of a database that is there: marts over HTTP, marts made anew, commands.

use std::time::Instant;

use crate::history::History;
use crate::program::{Client, millis};
use crate::table::{Table, Wanted};

const MARTS: [&str; 5] = ["daily", "session", "project", "provider_day", "model_day"];

/// What else a page of figures asks, and how long that may take in 99 of 100 cases.
const QUESTIONS: [(&str, f64); 10] = [
    ("marts/session?order=-last_ts", 3.0),
    ("marts/session?order=-cost_usd&limit=200", 20.0),
    ("report?by=day", 20.0),
    ("report?by=day&by=model", 20.0),
    ("report?by=day&by=model&project=/w/7", 20.0),
    ("report?by=model&project=/w/7", 20.0),
    ("report?by=project&since=2021-06-20", 20.0),
    ("report?by=session&since=2021-06-20&order=-cost_usd", 20.0),
    ("summary", 20.0),
    ("providers", 20.0),
];

/// The first page of each mart and other questions, over one connection.
pub(crate) fn over_http(history: &mut History, table: &mut Table, times: usize) {
    history.serve(table, |_, table, service| {
        let mut client = Client::of(&service.address).unwrap();
        let marts = MARTS.map(|mart| (format!("marts/{mart}"), 5.0));
        let others = QUESTIONS.map(|(question, most)| (question.to_owned(), most));
        for (question, most) in marts.into_iter().chain(others) {
            let path = format!("/api/v1/{question}");
            let ask = |_| {
                let begun = Instant::now();
                let status = client.get(&path).unwrap();
                assert_eq!(status, 200, "{path}");
                millis(begun.elapsed())
            };
            let samples = (0..times).map(ask).collect();
            table.add(format!("GET {path}"), "ms", &[Wanted::P99(most)], samples);
        }
    });
}

/// As the command itself reports it, without the start of the program.
pub(crate) fn rebuild(history: &History, table: &mut Table, times: usize) {
    let rebuild = |what: &str| {
        let ask = |_| {
            let report = history.place.json(&["rebuild", what, "--json"]);
            report["total_ms"].as_f64().unwrap()
        };
        (0..times).map(ask).collect()
    };
    for mart in MARTS {
        table.add(format!("rebuild {mart}"), "ms", &[], rebuild(mart));
    }
    table.add("rebuild --all", "ms", &[], rebuild("--all"));
    history.check(table);
}

/// From start to end of a command, without a service.
pub(crate) fn commands(history: &History, table: &mut Table, times: usize) {
    const COMMANDS: [&str; 9] = [
        "status",
        "providers",
        "today",
        "report daily",
        "report session",
        "report project",
        "report provider",
        "report model",
        "report blocks",
    ];
    for command in COMMANDS {
        let args: Vec<&str> = command.split(' ').collect();
        let (_, first) = history.place.time(&args);
        assert!(first.status.success(), "{command}: {first:?}");
        let samples = (0..times).map(|_| history.place.time(&args).0).collect();
        table.add(format!("tallyd {command}"), "ms", &[Wanted::P50(10.0)], samples);
    }
}
