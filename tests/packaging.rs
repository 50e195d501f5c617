//! What packages are made of: completions and manual pages name all that the command line knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::faults::works;
use crate::support::{Home, commands, files};

/// The flags that a help lists.
fn flags(help: &str) -> Vec<String> {
    let names = help.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("-h, ").trim_start_matches("-V, ");
        let name = line.split([' ', '=']).next()?;
        name.starts_with("--").then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn every_flag_of_every_command_is_looked_for() {
    let all: BTreeMap<String, Vec<String>> =
        commands(&Home::new()).into_iter().map(|(name, help)| (name, flags(&help))).collect();
    for (command, flag) in [
        ("tallyd", "--version"),
        ("tallyd run", "--log-format"),
        ("tallyd export marts", "--since"),
    ] {
        assert!(all[command].contains(&flag.to_owned()), "{command}: {:?}", all[command]);
    }
}

#[test]
fn completions_have_every_command_and_flag() {
    let home = Home::new();
    for shell in ["bash", "fish", "zsh"] {
        // Neither a home folder nor a configuration is needed.
        let made = home.command(&["completions", shell]).env_clear().output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let script = String::from_utf8(made.stdout).unwrap();
        for (command, help) in commands(&home) {
            let last = command.rsplit(' ').next().unwrap();
            assert!(script.contains(last), "{shell} does not know `{command}`");
            for flag in flags(&help) {
                // fish writes a flag as `-l json`.
                let name = flag.trim_start_matches('-');
                let is_there = script.contains(&flag) || script.contains(&format!("-l {name}"));
                assert!(is_there, "{shell} does not know {flag} of `{command}`");
            }
        }
    }
}

/// What bash offers for the last of some words.
fn completed(script: &str, words: &[&str]) -> Vec<String> {
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let press_tab = format!(
        "{script}\ncomplete -p tallyd >&2 && COMP_WORDS=({}) COMP_CWORD={}\n\
         _tallyd tallyd '{last}' '{before}' && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["--norc", "-c", &press_tab]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("-F _tallyd tallyd"), "{said}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    if !works(&["bash", "--version"]) {
        return;
    }
    let script = Home::new().tallyd(&["completions", "bash"]);
    let commands = completed(&script, &["tallyd", "re"]);
    assert!(commands.contains(&"report".to_owned()), "{commands:?}");
    assert!(commands.iter().all(|command| command.starts_with("re")), "{commands:?}");
    assert_eq!(completed(&script, &["tallyd", "report", "--si"]), ["--since"]);
    assert_eq!(completed(&script, &["tallyd", "run", "--log-format", "j"]), ["json"]);
}

#[test]
fn manual_pages_have_every_command_and_flag_and_render_without_a_warning() {
    let home = Home::new();
    let folder = home.path().join("share/man/man1");
    let made = home.command(&["man", folder.to_str().unwrap()]).env_clear().output().unwrap();
    assert!(made.status.success());
    let mut pages = files(&folder);
    let said = format!("{} manual pages written to {}\n", pages.len(), folder.display());
    assert_eq!(String::from_utf8(made.stdout).unwrap(), said);
    for (command, help) in commands(&home) {
        let path = folder.join(format!("{}.1", command.replace(' ', "-")));
        let page = std::fs::read_to_string(&path).unwrap().replace("\\-", "-");
        let usage = help.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap();
        assert!(page.contains(&format!(".SH SYNOPSIS\n{usage}\n")), "{}", path.display());
        for flag in flags(&help) {
            assert!(page.contains(&flag), "{} has no {flag}", path.display());
        }
        pages.retain(|page| *page != path);
    }
    assert!(pages.is_empty(), "pages of nothing: {pages:?}");
    if !works(&["man", "--version"]) {
        return;
    }
    for page in files(&folder) {
        let mut man = Command::new("man");
        let shown = man.args(["--warnings", "-l"]).arg(&page).env("MANPAGER", "cat");
        let shown = shown.env("LC_ALL", "C.UTF-8").output().unwrap();
        let said = String::from_utf8_lossy(&shown.stderr);
        assert!(shown.status.success() && said.is_empty(), "{}: {said}", page.display());
        assert!(shown.stdout.len() > 500, "{}", page.display());
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let output = Home::new().run(&["man", "/dev/null/man1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write to /dev/null/man1"), "{said}");
}

#[test]
fn every_file_of_the_debian_package_is_there_or_made() {
    if !works(&["python3", "--version"]) {
        return;
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("deb");
    let mut make = Command::new(top.join("packaging/files"));
    make.args(["x86_64-unknown-linux-gnu", env!("CARGO_BIN_EXE_tallyd")]).arg(&made);
    let output = make.arg("/usr/bin").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let manifest = std::fs::read_to_string(top.join("crates/daemon/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let deb = manifest["package"]["metadata"]["deb"].as_table().unwrap();
    let assets = deb["assets"].as_array().unwrap();
    let paths = assets.iter().map(|asset| asset[0].as_str().unwrap());
    for path in paths.filter(|path| *path != "target/release/tallyd") {
        let place = match path.strip_prefix("../../target/package/deb/") {
            // Compressed by packaging/deb.
            Some("changelog.gz") => top.join("CHANGELOG.md"),
            Some(path) => made.join(path.trim_end_matches("/*.1").trim_end_matches(".gz")),
            None => top.join("crates/daemon").join(path),
        };
        assert!(place.exists(), "{path}: no {}", place.display());
    }
    for unit in ["tallyd.service", "tallyd@.service"] {
        let unit = std::fs::read_to_string(made.join("systemd").join(unit)).unwrap();
        let start: Vec<&str> = unit.lines().filter(|line| line.starts_with("ExecStart=")).collect();
        assert_eq!(start, ["ExecStart=/usr/bin/tallyd run"]);
    }
    let licences = std::fs::read_to_string(made.join("third-party-licences.txt")).unwrap();
    for name in ["rusqlite", "hyper", "tokio"] {
        assert!(licences.contains(&format!("\n{name} ")), "{name} is in the program");
    }
}
