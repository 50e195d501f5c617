//! Reports and the line for a prompt, as people and scripts meet them.

use std::process::Command;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::support::faults::works;
use crate::support::logs::{generate, write_all};
use crate::support::{Home, Random, Service, strings, wait};

const CONFIG: &str = ".config/tallyd/config.toml";
const LOG: &str = ".claude/projects/-w/s.jsonl";

/// A call of 100,000 tokens of output at 15 USD a million: it costs 1.5 USD.
fn call(id: usize, time: Timestamp) -> String {
    let time = time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ");
    format!(
        r#"{{"type":"assistant","sessionId":"s1","cwd":"/home/ada/engine","requestId":"r{id}","timestamp":"{time}","message":{{"id":"msg_01AAAAAAAAAAAAAAAAA{id:03}","model":"claude-sonnet-4-5","usage":{{"input_tokens":0,"output_tokens":100000}}}}}}
"#
    )
}

fn refused(home: &Home, args: &[&str]) -> String {
    let output = home.run(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    assert!(output.stdout.is_empty(), "{args:?} prints what looks like an answer");
    text
}

/// Two agents, several projects, models and days.
fn busy() -> Home {
    let home = Home::new();
    let logs = generate(&mut Random(11), 6, 60);
    write_all(&home, &logs);
    home.tallyd(&["backfill"]);
    home
}

const SUMS: &str = "json_object('message_count', count(*), 'input_tokens', sum(input_tokens),
    'output_tokens', sum(output_tokens), 'cache_read_tokens', sum(cache_read_tokens),
    'cache_create_tokens', sum(cache_create_tokens), 'total_tokens', sum(input_tokens
    + output_tokens + cache_read_tokens + cache_create_tokens),
    'cost_nanousd', ifnull(sum(cost_nanousd), 0), 'unpriced_count', sum(cost_nanousd IS NULL))";

/// Sums without the one that is made for people.
fn sums(mut of: Value) -> Value {
    let usd = of.as_object_mut().unwrap().remove("cost_usd").unwrap().as_f64().unwrap();
    let nanousd = of["cost_nanousd"].as_f64().unwrap();
    assert!((usd * 1e9 - nanousd).abs() < 1.0, "{of}");
    of
}

#[test]
fn every_report_adds_up_to_the_events() {
    let home = busy();
    let db = home.database();
    let all = |condition: &str| -> Value {
        let sql = format!("SELECT {SUMS} FROM usage_events WHERE role = 'assistant' {condition}");
        serde_json::from_str(&strings(&db, &sql)[0]).unwrap()
    };
    let days = strings(&db, "SELECT DISTINCT day FROM daily_mart ORDER BY day");
    let model = &strings(
        &db,
        "SELECT model FROM model_day_mart GROUP BY 1 ORDER BY sum(message_count) DESC",
    )[0];
    let (first, last) = (&days[1], &days[days.len() - 2]);
    let range = format!("AND day BETWEEN '{first}' AND '{last}'");
    for kind in ["daily", "weekly", "monthly", "session", "project", "provider", "model"] {
        for (more, condition) in [
            (&[][..], ""),
            (&["--since", first, "--until", last][..], range.as_str()),
            (&["--model", model][..], &format!("AND model = '{model}'")),
            (&["--provider", "codex", "--limit", "1"][..], "AND provider = 'codex'"),
            (&["--by", "speed", "--sort", "cost", "--reverse"][..], ""),
        ] {
            let args = [&["report", kind], more].concat();
            let report = home.json(&args);
            assert_eq!(sums(report["total"].clone()), all(condition), "{args:?}");
            let rows = report["rows"].as_array().unwrap();
            let is_cut = more.contains(&"--limit");
            assert_eq!(
                report["groups"] == rows.len(),
                !is_cut || rows.len() as u64 == report["groups"]
            );
            if !is_cut {
                for name in ["message_count", "total_tokens", "cost_nanousd", "unpriced_count"] {
                    let sum: i64 = rows.iter().map(|row| row[name].as_i64().unwrap()).sum();
                    assert_eq!(sum, report["total"][name], "{name} {args:?}");
                }
            }
            // The same rows in each form.
            let csv = home.tallyd(&[&["report", kind, "--csv"], more].concat());
            let mut lines = csv.lines();
            let names: Vec<&str> = lines.next().unwrap().split(',').collect();
            assert_eq!(lines.clone().count(), rows.len());
            let place = names.iter().position(|name| *name == "total_tokens").unwrap();
            for (line, row) in lines.zip(rows) {
                let cell = line.split(',').nth(place).unwrap();
                assert_eq!(cell, row["total_tokens"].to_string(), "{line}");
            }
            let text = home.tallyd(&[&["report", kind], more].concat());
            assert_eq!(text.lines().take_while(|line| !line.is_empty()).count(), rows.len() + 2);
        }
    }
}

#[test]
fn of_what_goes_by_time_a_limit_keeps_the_newest_and_shows_them_from_old_to_new() {
    let home = busy();
    let key = |args: &[&str], name: &str| -> Vec<String> {
        let report = home.json(&[&["report"], args].concat());
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| row[name].as_str().unwrap().to_owned()).collect()
    };
    let all = key(&["daily"], "day");
    assert!(all.len() > 3 && all.is_sorted());
    assert_eq!(key(&["daily", "--limit", "2"], "day"), all[all.len() - 2..]);
    assert_eq!(key(&["daily", "--limit", "2", "--sort", "name", "--reverse"], "day").len(), 2);
    let last = key(&["session"], "last_ts");
    assert!(last.is_sorted());
    assert_eq!(key(&["session", "--limit", "3"], "last_ts"), last[last.len() - 3..]);
    let by_model =
        |more: &[&str]| key(&[&["session", "--by", "model"][..], more].concat(), "session_id");
    let (all, newest) = (by_model(&[]), by_model(&["--limit", "3"]));
    assert_eq!(newest, all[all.len() - 3..]);
    assert_eq!(by_model(&["--sort", "last"]), all);
    assert_eq!(newest.last(), key(&["session", "--limit", "1"], "session_id").first());
    let table = home.tallyd(&["report", "session", "--by", "model"]);
    let heading: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading[..5], ["session", "last", "agent", "project", "model"]);
}

#[test]
fn what_cannot_be_meant_is_one_sentence_and_no_empty_table() {
    let home = busy();
    for (args, says) in [
        (&["report", "hourly"][..], "possible values: daily"),
        (&["report", "--colour"], "unexpected argument"),
        (&["report", "--since", "2026-02-30"], "write it as 2026-05-31, today or yesterday"),
        (&["report", "--last", "7"], "write it as 7d, 4w or 3m"),
        (&["report", "--last", "7d", "--since", "today"], "cannot be used with"),
        (&["report", "--since", "today", "--until", "yesterday"], "is after"),
        (&["report", "--provider", "Codex"], "there is no provider \"Codex\" in what was counted"),
        (
            &["report", "--model", "gpt"],
            "there is no model \"gpt\" in what was counted\nhint: there is: ",
        ),
        (&["report", "--project", "nowhere"], "there is no project \"nowhere\""),
        (&["report", "daily", "--by", "day"], "tells days apart already"),
        (&["report", "daily", "--by", "model", "--by", "model"], "tells models apart already"),
        (&["report", "daily", "--sort", "last"], "only the session report"),
        (&["report", "blocks", "--by", "model"], "leave out --by and --sort"),
        (&["report", "--limit", "0"], "0 is not in"),
        (&["report", "--json", "--csv"], "cannot be used with"),
        (
            &["today", "--format", "{price}"],
            "{price} is nothing that --format knows\nhint: it knows {cost}",
        ),
        (&["today", "--model", "gpt"], "there is no model"),
    ] {
        let text = refused(&home, args);
        assert!(text.contains(says), "{args:?}: {text}");
    }
    let new = home.path().join("new");
    std::fs::create_dir(&new).unwrap();
    for narrowed in [["--provider", "goose"], ["--project", new.to_str().unwrap()]] {
        let line = home.tallyd(&[&["today"][..], &narrowed].concat());
        assert!(line.starts_with("$0.00 today, 0 calls, 0 tokens"), "{line}");
        let report = home.json(&[&["report"][..], &narrowed].concat());
        assert_eq!((&report["rows"], &report["total"]["message_count"]), (&json!([]), &json!(0)));
    }
    let mut here = home.command(&["today", "--project", "."]);
    assert!(here.current_dir(&new).status().unwrap().success());
    let none = home.tallyd(&["report", "--since", "2001-01-01", "--until", "2001-01-31"]);
    assert!(none.starts_with("nothing was used from 2001-01-01 to 2001-01-31\n"), "{none}");
    let empty = Home::new();
    let output = empty.run(&["report"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("hint: start the service, or run `tallyd backfill` once"), "{text}");
}

#[test]
fn figures_that_may_be_old_say_so() {
    let home = busy();
    let text = home.tallyd(&["report"]);
    assert!(text.contains("the service is not running, last read just now"), "{text}");
    assert_eq!(home.json(&["report"])["running"], false);
    let service = Service::start(&home);
    service.wait_ready();
    let text = home.tallyd(&["report"]);
    assert!(!text.contains("service"), "{text}");
    assert_eq!(home.json(&["report"])["running"], true);
    assert_eq!(service.stop(), 0);
}

#[test]
fn the_running_block_has_a_rate_and_an_end() {
    let home = Home::new();
    let now = Timestamp::now();
    let at = |minutes: i64| now - minutes.minutes();
    // An older block, and one that began at most two hours ago.
    let calls = [at(20 * 60), at(60), at(59), at(1)];
    let log: String = calls.iter().enumerate().map(|(id, time)| call(id, *time)).collect();
    home.write(LOG, log);
    home.tallyd(&["backfill"]);
    let report = home.json(&["report", "blocks"]);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{report}");
    assert_eq!(rows[0]["is_running"], false);
    let running = &rows[1];
    assert_eq!((&running["is_running"], &running["message_count"]), (&json!(true), &json!(3)));
    assert_eq!(running["cost_nanousd"], 4_500_000_000_i64);
    // 300,000 tokens within an hour.
    let rate = running["tokens_per_minute"].as_f64().unwrap();
    assert!((4_900.0..=5_000.0).contains(&rate), "{running}");
    let rate = running["cost_usd_per_hour"].as_f64().unwrap();
    assert!((4.4..=4.5).contains(&rate), "{running}");
    let projected = running["projected_cost_nanousd"].as_i64().unwrap();
    assert!((4_500_000_000..27_000_000_000).contains(&projected), "{running}");
    let text = home.tallyd(&["report", "blocks"]);
    assert!(text.contains("(running)") && text.contains(" tokens per minute, $4."), "{text}");
    assert_eq!(
        home.tallyd(&["report", "blocks", "--limit", "1"]).matches("claude-sonnet").count(),
        1
    );

    let line = home.tallyd(&["today"]);
    assert!(line.contains("; block $4.50, "), "{line}");
    assert!(line.ends_with(" min left; as of just now\n"), "it may be old: {line}");
    let format = "{block_cost} {block_tokens} {budget} {{}} {age}";
    let line = home.tallyd(&["today", "--format", format]);
    assert_eq!(line, "$4.50 300k - {} as of just now\n");
    let other = home.tallyd(&["today", "--format", "{calls}", "--project", "engine"]);
    assert_eq!(other, home.tallyd(&["today", "--format", "{calls}"]), "there is no other project");
    let json = home.json(&["today"]);
    assert_eq!(json["last_7_days"]["cost_nanousd"], 6_000_000_000_i64);
    assert_eq!(json["block"]["message_count"], 3);
}

#[test]
fn budgets_are_shown_wherever_one_looks() {
    let budget = |usd: &str| format!("[[budgets]]\nperiod = \"day\"\nusd = {usd}\n");
    let home = Home::new();
    home.write(LOG, call(0, Timestamp::now()));
    home.write(CONFIG, budget("2"));
    let service = Service::start(&home);
    service.wait_ready();
    let text = home.tallyd(&["report"]);
    assert!(text.contains("budget (day): $1.50 of $2.00, 75 %"), "{text}");
    let line = home.tallyd(&["today"]);
    assert!(line.trim_end().ends_with("; day 75 % of $2.00"), "{line}");
    let health = service.wait_for_check("budgets:used", "pass", "$1.50 of $2.00, 75 %");
    assert_eq!(health["checks"]["budgets:used"][0]["observedValue"], 75.0);
    // What is used more is seen, and so is another budget.
    home.append(LOG, call(1, Timestamp::now()));
    service.wait_for_check("budgets:used", "warn", "$3.00 of $2.00, 150 %");
    home.write(CONFIG, budget("30") + "project = \"engin\"\n");
    service.signal("-HUP");
    service.wait_for_check("budgets:used", "warn", "nothing was counted under this name yet");
    home.write(CONFIG, "");
    service.signal("-HUP");
    wait("no budget", || service.health()["checks"]["budgets:used"].is_null());
    assert_eq!(service.stop(), 0);
}

/// Lines like `    tallyd report daily   what it does`.
#[test]
fn the_commands_of_the_documentation_work() {
    let docs = include_str!("../docs/reports.md");
    let home = Home::new();
    let folder = home.write("engine/README", "").parent().unwrap().to_owned();
    let now = Timestamp::now();
    let log = [now, now - 24.hours()].into_iter().enumerate().map(|(id, time)| call(id, time));
    let log = log.collect::<String>().replace("/home/ada/engine", folder.to_str().unwrap());
    home.write(LOG, log);
    home.tallyd(&["backfill"]);
    let plain = docs.lines().filter_map(|line| line.strip_prefix("    ")).filter_map(|line| {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        line.starts_with("tallyd ").then(|| line.split("   ").next().unwrap().to_owned())
    });
    let commands: Vec<String> = plain.collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for line in commands {
        let tallyd = home.command(&[]);
        let program = tallyd.get_program().to_str().unwrap();
        let data_dir = home.data_dir();
        let line =
            line.replacen("tallyd", &format!("{program} --data-dir {}", data_dir.display()), 1);
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(&folder);
        shell.env_clear().envs(tallyd.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(char::is_numeric), "{line}: {output:?}");
    }
}

#[test]
fn on_a_terminal_a_table_fits_and_has_colours_unless_they_are_unwanted() {
    if !works(&["script", "-qec", "true", "/dev/null"]) {
        println!("skipped: there is no `script` that gives a terminal");
        return;
    }
    let home = busy();
    let shown = |columns: &str, no_color: Option<&str>| {
        let mut tallyd = home.command(&["report", "session"]);
        let mut command = Command::new("script");
        let program = tallyd.get_program().to_str().unwrap().to_owned();
        let data_dir = home.data_dir();
        let line = format!("{program} --data-dir {} report session --limit 3", data_dir.display());
        command.args(["-qec", &line, "/dev/null"]).env_clear();
        command.envs(tallyd.env("COLUMNS", columns).get_envs().filter_map(|(k, v)| Some((k, v?))));
        command.env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        String::from_utf8(command.output().unwrap().stdout).unwrap().replace('\r', "")
    };
    let wide = shown("300", None);
    assert!(wide.contains("\u{1b}[1m") && wide.contains("cache write"), "{wide}");
    let plain = shown("300", Some("1"));
    assert!(!plain.contains('\u{1b}') && plain.contains("cache write"), "{plain}");
    for columns in ["160", "120", "100", "80"] {
        let narrow = shown(columns, Some("1"));
        let table = narrow.lines().take_while(|line| !line.is_empty());
        let widest = table.map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= columns.parse().unwrap(), "{columns}\n{narrow}");
    }
    let piped = home.tallyd(&["report"]);
    assert!(!piped.contains('\u{1b}'), "{piped}");
}
