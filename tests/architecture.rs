//! The arrows between the crates: each keeps one thing out. And the list of hazards: it names all
//! tests.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::files;

/// Crates of this workspace that a crate depends on, and all others.
fn dependencies(name: &str) -> (Vec<String>, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let names = manifest["dependencies"].as_table().unwrap().keys().cloned();
    names.partition(|name| ["daemon", "ingest", "providers", "store", "usage"].contains(&&**name))
}

#[test]
fn crates_depend_on_each_other_in_one_direction_only() {
    let own = |name| dependencies(name).0;
    assert_eq!(own("usage"), [""; 0]);
    assert_eq!(own("providers"), ["usage"]);
    assert_eq!(own("ingest"), ["providers", "usage"]);
    assert_eq!(own("store"), ["usage"]);
    assert_eq!(own("daemon"), ["ingest", "providers", "store", "usage"]);
}

#[test]
fn a_crate_cannot_do_what_it_must_not() {
    let others = |name| dependencies(name).1;
    for io in ["tokio", "rustix", "notify", "hyper"] {
        assert!(!others("usage").contains(&io.to_owned()), "usage does no I/O");
        assert!(!others("providers").contains(&io.to_owned()), "providers do no I/O");
    }
    // Providers ask connections that are handed in; their clippy.toml forbids to open one.
    assert!(!others("usage").contains(&"rusqlite".to_owned()), "usage does no I/O");
    assert!(!others("ingest").contains(&"tokio-rusqlite".to_owned()), "ingest writes no database");
    for database in ["rusqlite", "tokio-rusqlite"] {
        assert!(!others("daemon").contains(&database.to_owned()), "daemon asks the store");
    }
}

/// The tests of a hazard that a line of docs/reliability.md names, each with its file.
fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).zip(line.split('`').skip(2)).filter_map(|(name, after)| {
        let (file, _) = after.strip_prefix(" (")?.split_once(')')?;
        is_of_a_hazard(name).then_some((name, file))
    })
}

/// Named as in `h01_what_it_shows`.
fn is_of_a_hazard(name: &str) -> bool {
    matches!(name.as_bytes(), [b'h', b'0'..=b'9', b'0'..=b'9', b'_', ..])
}

#[test]
fn every_test_of_a_hazard_stands_in_the_list_of_hazards_and_the_other_way_round() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = std::fs::read_to_string(top.join("docs/reliability.md")).unwrap();
    let mut listed = BTreeSet::new();
    for line in list.lines().filter(|line| line.starts_with("| H")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [_, _, tests, broken_by] = cells[..] else { continue };
        let tests: Vec<_> = named(tests).collect();
        let ways = broken_by.trim_end_matches(" |").split("<br>").count();
        assert!(tests.is_empty() || tests.len() == ways, "{line}");
        for (name, file) in tests {
            let path = [top.join(file), top.join("crates").join(file)];
            let path = path.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{file}"));
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.contains(&format!("fn {name}()")), "{name} is not in {file}");
            listed.insert(name.to_owned());
        }
    }
    let files = ["crates", "tests"].map(|folder| files(&top.join(folder)));
    let sources = files.iter().flatten().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    for path in sources {
        let text = std::fs::read_to_string(path).unwrap();
        for name in text.split("fn ").skip(1).filter(|text| is_of_a_hazard(text)) {
            let (name, _) = name.split_once('(').unwrap();
            assert!(listed.contains(name), "{name} in {} is not listed", path.display());
        }
    }
}

#[test]
fn every_agent_and_every_rule_of_counting_stands_in_the_docs_with_tests_that_there_are() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = std::fs::read_to_string(top.join("docs/agents.md")).unwrap();
    for provider in providers::ALL {
        let id = format!("`{}`", provider.id());
        assert!(docs.lines().any(|line| line.starts_with("| ") && line.contains(&id)), "{id}");
    }
    let (_, rules) = docs.split_once("## Rules").unwrap();
    let rules: Vec<&str> = rules.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert_eq!(rules.len(), 12);
    for rule in rules {
        let held_by = rule.split(" | ").nth(1).unwrap();
        let mut tests = 0;
        for (name, after) in held_by.split('`').skip(1).zip(held_by.split('`').skip(2)).step_by(2) {
            let place = after.strip_prefix(" (").and_then(|after| after.split_once(')'));
            let (place, _) = place.unwrap_or_else(|| panic!("{name} stands nowhere"));
            let place = [top.join(place), top.join("crates").join(place)];
            let place = place.iter().find(|path| path.exists()).unwrap();
            let files = if place.is_dir() { files(place) } else { vec![place.clone()] };
            let is_there = files.iter().any(|file| {
                let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
                text.contains(&format!("fn {name}()"))
            });
            assert!(is_there, "{name} is not in {}", place.display());
            tests += 1;
        }
        assert!(tests > 0, "{rule}");
    }
}
