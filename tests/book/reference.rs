//! The chapters that list all there is: commands, settings, variables, tables and columns.
//!
//! `docs/commands.md` and `docs/configuration.md` are made here. Where one is not what it should be,
//! `TALLYD_REWRITE_DOCS=1 cargo test -p daemon book::reference` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::top;
use crate::support::{Home, commands, files, strings};

#[expect(clippy::disallowed_methods, reason = "asks whoever runs the tests")]
fn is_to_be_rewritten() -> bool {
    std::env::var_os("TALLYD_REWRITE_DOCS").is_some()
}

fn assert_fresh(name: &str, wanted: &str) {
    let path = top().join("docs").join(name);
    if is_to_be_rewritten() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "docs/{name} is not fresh ({differs:?}): TALLYD_REWRITE_DOCS=1 cargo test -p daemon \
         book::reference writes it anew"
    );
}

#[test]
fn the_chapter_of_commands_is_what_their_help_says() {
    let mut page = "# Commands\n\nWhat `--help` says of each, made from the program. All that print \
                    figures take `--json`. Exit codes: 0 done, 1 failed (or something differs that was \
                    verified), 2 wrong usage, 75 another instance has the data directory, 78 the \
                    configuration is wrong or belongs to a newer version.\n"
        .to_owned();
    for (name, help) in commands(&Home::new()) {
        write!(page, "\n## {name}\n\n```text\n{}\n```\n", help.trim_end()).unwrap();
    }
    assert_fresh("commands.md", &page);
}

/// What config/default.toml says of a setting.
struct Setting {
    key: String,
    default: String,
    variable: Option<String>,
    meaning: String,
}

fn settings(file: &str) -> Vec<Setting> {
    let paragraphs = file.split("\n\n").skip(1);
    let settings = paragraphs.filter_map(|paragraph| {
        let (comment, line) = paragraph.trim_end().rsplit_once('\n')?;
        let (key, default) = line.trim_start_matches("# ").split_once(" = ")?;
        if comment.contains("\n# [") {
            return None;
        }
        let words = comment.lines().map(|line| line.trim_start_matches("# "));
        let words = words.collect::<Vec<_>>().join(" ");
        let (meaning, variable) = match words.split_once(" Variable: ") {
            Some((meaning, name)) => (meaning.to_owned(), Some(name.trim_end_matches('.').into())),
            None => (words, None),
        };
        Some(Setting { key: key.into(), default: default.into(), variable, meaning })
    });
    settings.collect()
}

/// What a reload says that it leaves to the next start.
fn waiting() -> BTreeSet<String> {
    let code = std::fs::read_to_string(top().join("crates/daemon/src/run.rs")).unwrap();
    let (_, list) = code.split_once("let fixed: Vec<_> = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let keys: BTreeSet<_> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(keys.len() > 1, "{list}");
    keys
}

#[test]
fn the_chapter_of_the_configuration_is_what_the_default_file_says() {
    let file = std::fs::read_to_string(top().join("config/default.toml")).unwrap();
    let settings = settings(&file);
    let home = Home::new();
    let shown = home.json(&["config"]);
    let keys = shown["settings"].as_array().unwrap().iter().map(|s| s["key"].as_str().unwrap());
    assert_eq!(settings.iter().map(|s| &*s.key).collect::<BTreeSet<_>>(), keys.collect());
    let waiting = waiting();
    assert!(waiting.iter().all(|key| settings.iter().any(|setting| setting.key == *key)));
    let mut page = PREFACE.to_owned();
    for Setting { key, default, variable, meaning } in &settings {
        // The program agrees about the variable, also where there is none.
        let name = format!("TALLYD_{}", key.to_uppercase());
        let mut command = home.command(&["config", "--json"]);
        let shown = command.env(&name, "/from/variable").output().unwrap();
        let is_read = !shown.status.success()
            || String::from_utf8(shown.stdout).unwrap().contains("/from/variable");
        assert_eq!(is_read.then_some(name), *variable, "{key}");
        let variable = variable.as_ref().map_or_else(String::new, |name| format!("`{name}`"));
        let from = if waiting.contains(&**key) { "from the next start on" } else { "on SIGHUP" };
        writeln!(page, "| `{key}` | `{default}` | {variable} | {from} | {meaning} |").unwrap();
    }
    write!(page, "{VARIABLES}\n## The whole file\n\n```toml\n{}\n```\n", file.trim_end()).unwrap();
    assert_fresh("configuration.md", &page);
}

const PREFACE: &str = "# Configuration

None is needed: without a file every agent that is installed is found and watched. What you want otherwise
goes to `~/.config/tallyd/config.toml` (macOS: `~/Library/Application Support/tallyd/config.toml`). A flag is
stronger than an environment variable, a variable is stronger than the file. `tallyd config` shows what is
in effect and where it came from. On SIGHUP (`systemctl --user reload tallyd`) a running service reads the
file again: agents, budgets and prices then hold at once, of the settings those that say so below. A key that is not known, or a value that cannot be, is an error that names
file, key and reason: nothing is guessed, and a running service goes on with what it had.

## Settings

Each is a key at the top of the file. `data_dir` and `listen` are flags, too: `--data-dir` of every command,
`--listen` of `tallyd run`.

| key | default | variable | a change holds | meaning |
| --- | --- | --- | --- | --- |
";

const VARIABLES: &str = "
Budgets, agents and prices are tables; the file below shows each. [Budgets](reports.md#budgets) and
[agents](agents.md) are explained on their own pages.

## Variables

| variable | meaning |
| --- | --- |
| `TALLYD_CONFIG` | the configuration file, as `--config`; it must then exist |
| `TALLYD_DATA_DIR`, `TALLYD_LISTEN`, `TALLYD_LOG` | settings, see above |
| `HOME` | agents' logs are looked for below it, and it must be a folder |
| `XDG_CONFIG_HOME`, `XDG_DATA_HOME` | in place of `~/.config` and `~/.local/share`, for tallyd and for agents that follow them |
| `NO_COLOR`, `COLUMNS`, `TERM` | reports on a terminal: without colours, and how wide |
| `JOURNAL_STREAM` | set by systemd: log lines then go without a time, as the journal has one |
| `CLAUDE_CONFIG_DIR`, `CLINE_DATA_DIR`, `CLINE_DIR`, `CLINE_SESSION_DATA_DIR`, `CODEX_HOME`, `COPILOT_HOME`, `GEMINI_CLI_HOME`, `GOOSE_PATH_ROOT`, `KILO_DB`, `KIMI_CODE_HOME`, `KIMI_SHARE_DIR`, `OPENCLAW_HOME`, `OPENCLAW_PROFILE`, `OPENCLAW_STATE_DIR`, `OPENCODE_DB`, `QWEN_HOME`, `QWEN_RUNTIME_DIR` | where agents keep their logs, if not in the usual place: followed as the agents do |
| `PI_CODING_AGENT_DIR`, `PI_CODING_AGENT_SESSION_DIR` | the same of Pi; of its forks with their names in front, as `OMP_CODING_AGENT_DIR` |

A service has the variables that `tallyd service install` wrote down, not those of your shell:
[as a service](service.md#variables-are-recorded).
";

/// What looks like a variable in the code and is none of the user's.
const OTHERS: [&str; 8] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_PKG_VERSION",
    "LC_ALL",
    "OUT_DIR",
    "PRIME_AGENT",
    "SYSTEMD_COLORS",
    "SYSTEMD_PAGER",
    "TALLYD_TEST",
];

#[test]
fn every_variable_that_the_code_names_stands_in_the_chapter_and_the_other_way_round() {
    let mut named = BTreeSet::new();
    for path in files(&top().join("crates")) {
        let path = path.to_str().unwrap();
        if !path.ends_with(".rs") || !path.contains("/src/") || path.contains("/test") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for word in text.split('"') {
            let is_name =
                word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            if is_name && (word.contains('_') || ["COLUMNS", "HOME", "TERM"].contains(&word)) {
                named.insert(word.to_owned());
            }
        }
    }
    named
        .retain(|name| !name.ends_with('_') && !OTHERS.iter().any(|other| name.starts_with(other)));
    let told = VARIABLES.split('`').skip(1).step_by(2);
    // Those of Pi and its forks are put together in the code.
    let is_name =
        |word: &&str| word.starts_with(char::is_uppercase) && !word.contains("_CODING_AGENT_");
    let told: BTreeSet<_> = told.filter(is_name).map(str::to_owned).collect();
    assert_eq!(named, told);
}

#[test]
fn every_column_of_the_database_stands_in_the_chapter_and_the_other_way_round() {
    let home = Home::new();
    home.tallyd(&["backfill"]);
    let db = home.database();
    let mut there = BTreeMap::new();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    for table in strings(&db, tables) {
        let columns = strings(&db, &format!("SELECT name FROM pragma_table_xinfo('{table}')"));
        there.insert(table, columns);
    }
    let page = std::fs::read_to_string(top().join("docs/schema.md")).unwrap();
    let mut told = BTreeMap::new();
    for section in page.split("\n## `").skip(1) {
        let (table, section) = section.split_once('`').unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let mut columns = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            assert!(
                cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()),
                "{table}: {row}"
            );
            columns.push(cells[0].trim_end_matches('`').to_owned());
        }
        told.insert(table.to_owned(), columns);
    }
    assert_eq!(told, there, "by table, in the order of the database");
}

/// A name that says less than the model behind it.
#[test]
fn every_name_whose_price_is_an_estimate_stands_in_the_chapter() {
    let book = std::fs::read_to_string(top().join("config/prices.toml")).unwrap();
    let page = std::fs::read_to_string(top().join("docs/accuracy.md")).unwrap();
    let estimates = page.split("## Which prices are estimates").nth(1).unwrap();
    let estimates = estimates.split("\n## ").next().unwrap();
    let rows = book.lines().filter(|line| line.contains("estimated = true"));
    let names: BTreeSet<_> = rows.map(|row| row.split('"').nth(1).unwrap()).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(estimates.contains(&format!("`{name}`")), "{name}");
    }
}
