//! Configuration: where values come from, and what a wrong one says.

use std::path::Path;

use crate::support::{Home, Service};

/// A bad configuration: its text, and words that the complaint must have.
fn check_bad(config: &str, words: &[&str]) {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", config);
    for command in [&["config"][..], &["backfill"], &["run"]] {
        let (code, error) = Service::launch(home.command(command)).ended();
        assert_eq!(code, 78, "{command:?} with {config:?}: {error}");
        assert!(error.contains("config.toml"), "names the file: {error}");
        for word in words {
            assert!(error.contains(word), "{config:?} says {word:?}: {error}");
        }
    }
    assert!(!home.data_dir().exists(), "nothing is written with a bad configuration");
}

#[test]
fn h35_a_bad_configuration_names_file_key_and_reason() {
    check_bad("debounce_msec = 5", &["debounce_msec", "did you mean `debounce_ms`"]);
    check_bad("debounce_ms = \"soon\"", &["debounce_ms", "whole number", "soon"]);
    check_bad("debounce_ms = -1", &["debounce_ms", "-1"]);
    check_bad("listen = \"0.0.0.0:80\"", &["listen", "loopback"]);
    check_bad("listen = \"here\"", &["listen", "here"]);
    check_bad("time_zone = \"Mars/Olympus\"", &["time_zone", "Mars/Olympus"]);
    check_bad("sweep_interval_s = 0", &["sweep_interval_s", "from 1"]);
    check_bad("[providers.claude]\nenabled = true", &["providers.claude", "claude-code"]);
    check_bad("[providers.codex]\nenabled = 1", &["providers.codex.enabled", "true or false"]);
    check_bad("[providers.codex]\nroots = 1", &["providers.codex.roots", "list"]);
    check_bad("[providers.codex]\nroot = []", &["providers.codex.root", "roots"]);
    check_bad("listen = ", &["line 1"]);
    check_bad("log = 3.5", &["log", "text"]);
    check_bad("log = \"loud\"", &["log", "loud", "debug"]);
    check_bad("debounce_ms = \"5\"", &["debounce_ms", "whole number"]);
    check_bad("data_dir = \"relative\"", &["data_dir", "absolute"]);
    check_bad("[providers.codex]\nroots = [\"relative\"]", &["providers.codex.roots", "absolute"]);
    check_bad(
        "[[prices.openai]]\nmodel = \"m\"\nin = \"1\"\nout = \"2\"\ncost = \"3\"",
        &["prices", "cost"],
    );
}

#[test]
fn a_home_that_is_no_folder_is_questioned() {
    let home = Home::new();
    for (name, words) in
        [("/nowhere/at/all", "no folder"), ("relative", "no folder"), ("", "not set")]
    {
        let output = home.command(&["run"]).env("HOME", name).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_needs_the_database_alone_needs_no_home() {
    let home = Home::new();
    home.tallyd(&["backfill"]);
    let data_dir = home.data_dir();
    let named = ["--data-dir", data_dir.to_str().unwrap()];
    for command in [&["report"][..], &["today"], &["check"], &["export", "events"]] {
        let mut tallyd = home.command(&[command, &named].concat());
        let output = tallyd.env_remove("HOME").output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        let unnamed = home.command(command).env_remove("HOME").output().unwrap();
        assert_eq!(unnamed.status.code(), Some(78), "where it is, is below the home folder");
    }
    let status = home.command(&[&["status"][..], &named].concat()).env("HOME", "").output();
    assert_eq!(status.unwrap().status.code(), Some(78), "it looks for logs");
}

#[test]
fn status_names_what_is_there_and_counts_what_is_not() {
    const LOG: &str = ".claude/projects/-w/s.jsonl";
    let home = Home::new();
    let nothing = home.tallyd(&["status"]);
    let agents =
        "no agent was found; 13 agents were looked for: `tallyd providers` lists all places";
    assert!(nothing.ends_with(&format!("\n\n{agents}\n")), "{nothing}");
    assert_eq!(nothing.lines().count(), 4, "{nothing}");
    let line = r#"{"type":"user","sessionId":"s","cwd":"/w","uuid":"u","message":{"content":"x"}}"#;
    let log = home.write(LOG, format!("{line}\n"));
    home.write(".codex/sessions", "no folder");
    for _ in 0..2 {
        let status = home.tallyd(&["status"]);
        assert!(status.contains(".claude/projects  found\n"), "{status}");
        assert!(status.contains(".codex/sessions   cannot be listed\n"), "{status}");
        assert!(status.contains("\n11 more agents were looked for and are not there"), "{status}");
        assert!(!status.contains("gone by now"), "{status}");
        home.tallyd(&["backfill"]);
    }
    std::fs::remove_file(log).unwrap();
    home.tallyd(&["backfill"]);
    let status = home.tallyd(&["status"]);
    assert!(status.contains("\n1 of these sources is gone by now; "), "{status}");
}

#[test]
fn a_fatal_error_is_a_line_of_the_log() {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "debounce = 5\n");
    let output = home.run(&["run", "--log-format", "json"]);
    assert_eq!(output.status.code(), Some(78));
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("unknown key `debounce`"), "{line}");
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let home = Home::new();
    let output = home.run(&["config", "--config", "/nowhere/tallyd.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/tallyd.toml"));
}

#[test]
fn a_flag_is_stronger_than_the_environment_and_that_than_the_file() {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "data_dir = \"/from/file\"\ndebounce_ms = 7\n");
    let shown = |output: std::process::Output| -> serde_json::Value {
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let find = |config: &serde_json::Value, key: &str| {
        let settings = config["settings"].as_array().unwrap();
        let entry = settings.iter().find(|s| s["key"] == key).unwrap();
        (entry["value"].as_str().unwrap().to_owned(), entry["origin"].as_str().unwrap().to_owned())
    };
    let file = shown(home.run(&["config", "--json"]));
    assert_eq!(find(&file, "data_dir"), ("/from/file".into(), "file".into()));
    assert_eq!(find(&file, "debounce_ms"), ("7".into(), "file".into()));
    assert_eq!(find(&file, "sweep_interval_s"), ("30".into(), "default".into()));
    let mut command = home.command(&["config", "--json"]);
    let env = shown(command.env("TALLYD_DATA_DIR", "/from/env").output().unwrap());
    assert_eq!(find(&env, "data_dir"), ("/from/env".into(), "environment".into()));
    let mut command = home.command(&["config", "--json", "--data-dir", "/from/flag"]);
    let flag = shown(command.env("TALLYD_DATA_DIR", "/from/env").output().unwrap());
    assert_eq!(find(&flag, "data_dir"), ("/from/flag".into(), "flag".into()));
}

#[test]
fn the_default_file_shows_every_setting_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/default.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let home = Home::new();
    home.write(".config/tallyd/config.toml", &text);
    let config = home.json(&["config"]);
    let plain = Home::new().json(&["config"]);
    for (with, without) in
        config["settings"].as_array().unwrap().iter().zip(plain["settings"].as_array().unwrap())
    {
        let key = with["key"].as_str().unwrap();
        if key == "data_dir" {
            assert!(text.contains("# data_dir = "), "data_dir depends on the user");
            continue;
        }
        assert_eq!(with["origin"], "file", "{key} stands in default.toml");
        assert_eq!(with["value"], without["value"], "{key}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = Home::new();
    assert_eq!(home.run(&["nonsense"]).status.code(), Some(2));
    assert_eq!(home.run(&["rebuild"]).status.code(), Some(2));
    assert_eq!(home.run(&["rebuild", "weekly"]).status.code(), Some(2));
}

#[test]
fn an_agent_that_is_switched_off_is_not_read() {
    let home = Home::new();
    home.write(".config/tallyd/config.toml", "[providers.claude-code]\nenabled = false\n");
    home.write(".claude/projects/-w/s.jsonl", "x\n");
    assert_eq!(home.json(&["backfill"])["files"], 0);
}

#[test]
fn of_a_folder_of_many_programs_the_part_that_is_looked_into_is_shown() {
    let home = Home::new();
    home.write(".config/Other/settings.json", "{}");
    let shown = home.json(&["providers"]);
    let cline = shown.as_array().unwrap().iter().find(|agent| agent["provider"] == "cline");
    let roots = cline.unwrap()["roots"].as_array().unwrap();
    let shared = roots.iter().find(|root| root["path"].as_str().unwrap().contains('*')).unwrap();
    let place = shared["path"].as_str().unwrap();
    assert!(place.ends_with("/*/User/globalStorage/saoudrizwan.claude-dev"), "{shown}");
    assert_eq!(shared["state"], "not there, awaited");
}
