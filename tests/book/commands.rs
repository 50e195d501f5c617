//! Every command of the docs is run: a block of `sh` by the story below, or by one of its own; what
//! needs another machine, root or a program that is not ours is a block of `console`, and is listed.

use std::process::Command;

use super::{Page, blocks, pages, top, without_blocks};
use crate::export::of_these_days;
use crate::support::faults::works;
use crate::support::{Home, Service};

/// Pages whose commands are run by a story of their own, and where it stands.
const OWN_STORIES: [(&str, &str); 5] = [
    ("docs/api.md", "tests/api.rs: every_curl_in_the_guide_does_what_the_guide_says"),
    ("docs/operating.md", "tests/restore.rs: the_commands_of_the_documentation_work"),
    ("docs/reading.md", "tests/export.rs: every_command_of_the_docs_works"),
    ("docs/reports.md", "tests/report.rs: the_commands_of_the_documentation_work"),
    ("docs/service.md", "tests/install.rs: the_commands_of_the_documentation_work"),
];

/// Words that a line begins with if it is a command.
const PROGRAMS: [&str; 18] = [
    "$",
    "apt",
    "cargo",
    "curl",
    "datasette",
    "duckdb",
    "install",
    "journalctl",
    "just",
    "launchctl",
    "loginctl",
    "mdbook",
    "promtool",
    "rm",
    "sqlite3",
    "sudo",
    "systemctl",
    "tallyd",
];

fn documents() -> Vec<Page> {
    let mut documents = pages("docs");
    documents.extend(pages(".").into_iter().filter(|page| page.name == "README.md"));
    documents
}

fn is_command(line: &str) -> bool {
    line.split(' ').next().is_some_and(|word| PROGRAMS.contains(&word))
}

fn own_story(page: &Page) -> Option<&'static str> {
    OWN_STORIES.iter().find(|(name, _)| page.name == *name).map(|(_, story)| *story)
}

#[test]
fn every_command_is_run_or_listed_as_not_run() {
    let mut not_run = 0;
    for page in documents() {
        if let Some(story) = own_story(&page) {
            let (file, name) = story.split_once(": ").unwrap();
            let text = std::fs::read_to_string(top().join(file)).unwrap();
            assert!(text.contains(&format!("fn {name}()")), "{story} is not there");
        }
        for (language, block) in blocks(&page.text) {
            let commands = block.lines().filter(|line| is_command(line));
            match language {
                "sh" => {}
                "console" => {
                    for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
                        println!("not run: {}: {line}", page.name);
                        not_run += 1;
                    }
                }
                _ => assert_eq!(commands.count(), 0, "{}: ```{language} has commands", page.name),
            }
        }
        if own_story(&page).is_none() {
            let prose = without_blocks(&page.text);
            let indented = prose.lines().filter_map(|line| line.strip_prefix("    "));
            let unmarked: Vec<&str> = indented.filter(|line| is_command(line)).collect();
            assert!(unmarked.is_empty(), "{}: neither `sh` nor `console`: {unmarked:?}", page.name);
        }
    }
    println!("{not_run} commands of the docs are not run here");
}

#[test]
fn every_command_of_the_chapters_works() {
    if !works(&["curl", "--version"]) {
        return;
    }
    let mut run = 0;
    for page in documents().into_iter().filter(|page| own_story(page).is_none()) {
        let home = of_these_days();
        for (_, block) in blocks(&page.text).into_iter().filter(|(language, _)| *language == "sh") {
            run_block(&home, &page.name, block);
            run += 1;
        }
    }
    assert!(run >= 10, "{run} blocks");
}

/// Runs a block as it stands, beside a service if it asks one.
fn run_block(home: &Home, page: &str, block: &str) {
    let service = block.contains("127.0.0.1:8474").then(|| {
        let service = Service::start(home);
        service.wait_ready();
        service
    });
    let address = service.as_ref().map(Service::address).unwrap_or_default();
    // The service itself runs in the stories, and never ends.
    let lines = block.lines().filter(|line| *line != "tallyd run").collect::<Vec<_>>().join("\n");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_tallyd")).parent().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-ec", &lines.replace("127.0.0.1:8474", &address)]);
    shell.current_dir(home.path()).env_clear().env("HOME", home.path()).env("TZ", "UTC");
    shell.env("PATH", format!("{}:/usr/bin:/bin", binary.display()));
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page}: {block}{said}");
    if let Some(service) = service {
        assert_eq!(service.stop(), 0);
    }
}

#[test]
fn every_query_of_the_chapters_gives_rows() {
    let home = of_these_days();
    let db = home.database();
    let mut asked = 0;
    for page in documents().into_iter().filter(|page| page.name != "docs/reading.md") {
        for (_, block) in blocks(&page.text).into_iter().filter(|(language, _)| *language == "sql")
        {
            for sql in block.split(';').filter(|sql| !sql.trim().is_empty()) {
                let mut query = db.prepare(sql).unwrap_or_else(|e| panic!("{}: {e}", page.name));
                assert!(query.readonly(), "{}: {sql}", page.name);
                let mut rows = query.query([]).unwrap();
                let row = rows.next().unwrap().unwrap_or_else(|| panic!("no row: {sql}"));
                if row.as_ref().column_name(0).unwrap() == "is_same" {
                    assert_eq!(row.get::<_, i64>(0).unwrap(), 1, "{sql}");
                }
                asked += 1;
            }
        }
    }
    assert!(asked >= 8, "{asked} queries");
}
