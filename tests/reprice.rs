//! Pricing what is stored anew.

use crate::support::{Home, integer};

/// A call of a million tokens of uncached input.
fn line(id: &str, day: &str, model: &str) -> String {
    format!(
        r#"{{"type":"assistant","sessionId":"s","cwd":"/w","requestId":"r{id}","timestamp":"{day}T10:00:00.000Z","message":{{"id":"msg_01AAAAAAAAAAAAAAAAAA{id}","model":"{model}","usage":{{"input_tokens":1000000,"output_tokens":0}}}}}}
"#
    )
}

fn prices(dollars: &str) -> String {
    format!("[[prices.local]]\nmodel = \"house-model\"\nin = \"{dollars}\"\nout = \"0\"\n")
}

fn mart_cost(home: &Home) -> i64 {
    integer(&home.database(), "SELECT sum(cost_nanousd) FROM daily_mart")
}

#[test]
fn a_price_of_ones_own_reaches_what_is_stored_on_request_only() {
    const DOLLAR: i64 = 1_000_000_000;
    let home = Home::new();
    let log = line("a", "2026-09-01", "house-model")
        + &line("b", "2026-09-02", "house-model")
        + &line("c", "2026-09-02", "nobodys-model");
    home.write(".claude/projects/-w/s.jsonl", log);
    home.tallyd(&["backfill"]);
    assert_eq!(mart_cost(&home), 0);

    home.write(".config/tallyd/config.toml", prices("2"));
    home.tallyd(&["backfill"]);
    assert_eq!(mart_cost(&home), 0, "history does not change by itself");
    home.tallyd(&["reprice", "--unpriced", "--since", "yesterday"]);
    let figures = home.json(&["reprice", "--unpriced", "--since", "2026-09-02"]);
    assert_eq!((figures["calls"].as_i64(), figures["repriced"].as_i64()), (Some(2), Some(1)));
    assert_eq!(figures["unpriced"], serde_json::json!({ "nobodys-model": 1 }));
    assert_eq!(mart_cost(&home), 2 * DOLLAR);

    let shown = home.tallyd(&["reprice"]);
    let shown: Vec<&str> = shown.lines().collect();
    for (line, words) in shown[1..].iter().zip([
        ["price book", "+user"],
        ["calls looked at", "  3"],
        ["calls repriced", "  1"],
        ["cost before", "  $2.00"],
        ["cost after", "  $4.00"],
        ["still unpriced: nobodys-model", "  1"],
        ["in all", "ms"],
    ]) {
        assert!(line.starts_with(words[0]) && line.ends_with(words[1]), "{shown:#?}");
    }
    assert_eq!(mart_cost(&home), 4 * DOLLAR);

    // What has a price is not asked for again, unless all is.
    home.write(".config/tallyd/config.toml", prices("3"));
    assert_eq!(home.json(&["reprice", "--unpriced"])["repriced"], 0);
    assert_eq!(home.json(&["reprice"])["repriced"], 2);
    assert_eq!(home.json(&["reprice"])["repriced"], 0);
    assert_eq!(mart_cost(&home), 6 * DOLLAR);
    home.tallyd(&["check"]);
}

#[test]
fn a_day_that_is_none_is_wrong_usage() {
    let home = Home::new();
    let output = home.run(&["reprice", "--since", "tomorrow"]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    let complaint = error.lines().next().unwrap();
    for word in ["tomorrow", "--since", "write it as 2026-05-31, today or yesterday"] {
        assert!(complaint.contains(word), "{error}");
    }
    assert!(!home.data_dir().exists(), "nothing is written");
}
