//! The text of the systemd user unit and its stricter drop-in: the templates, filled in, and read
//! back.

use std::collections::BTreeMap;
use std::path::Path;

use super::facts::{Facts, not_text};
use super::files::OURS;
use super::refused;

const UNIT: &str = include_str!("../../../../../systemd/tallyd.service");
const STRICT: &str = include_str!("../../../../../systemd/tallyd-strict.conf");

const EXEC_START: &str = "ExecStart=";
const ENVIRONMENT: &str = "Environment=";
const READ_WRITE: &str = "ReadWritePaths=";

/// The unit that runs this binary with these variables.
pub(super) fn unit(facts: &Facts) -> anyhow::Result<String> {
    let mut lines = vec![format!("{EXEC_START}{} run", program(&facts.binary)?)];
    for (name, value) in &facts.variables {
        lines.push(format!("{ENVIRONMENT}{}", assignment(name, value)?));
    }
    Ok(fill(UNIT, EXEC_START, &lines.join("\n")))
}

/// The drop-in that lets the service write to this folder only.
pub(super) fn strict(data_dir: &Path) -> anyhow::Result<String> {
    let path = text_of(data_dir)?.replace('%', "%%");
    // A backslash stands for itself here, also between quotes.
    let path =
        if is_plain(&path) { path } else { format!("\"{}\"", path.replace('"', "\"'\"'\"")) };
    Ok(fill(STRICT, READ_WRITE, &format!("{READ_WRITE}{path}")))
}

/// A template under a line that says whose it is, with another text for the line that begins with
/// `name`.
fn fill(template: &str, name: &str, line: &str) -> String {
    let lines = template.lines().map(|old| if old.starts_with(name) { line } else { old });
    let lines: Vec<&str> = lines.collect();
    format!(
        "# {OURS}, which overwrites it; changes of your own belong into a drop-in.\n{}\n",
        lines.join("\n")
    )
}

/// The path of a program, as `ExecStart=` has it.
fn program(path: &Path) -> anyhow::Result<String> {
    let text = text_of(path)?;
    if text.contains(['"', '\'', '\\']) {
        return Err(refused(
            format!("systemd runs no program with quotes or backslashes in its path: {text}"),
            "put the binary where its path has none",
        ));
    }
    let text = quoted(text);
    // A dollar sign would ask for a variable.
    Ok(if text.contains('$') { format!(":{text}") } else { text })
}

fn assignment(name: &str, value: &str) -> anyhow::Result<String> {
    let text = format!("{name}={value}");
    if text.chars().any(char::is_control) {
        return Err(refused(
            format!("the value of {name} has control characters, which a unit cannot hold"),
            format!("set {name} to a folder without them, or `unset {name}`"),
        ));
    }
    Ok(quoted(&text))
}

/// Quotes where they are needed, with what means something between them told apart.
fn quoted(text: &str) -> String {
    let text = text.replace('%', "%%");
    if is_plain(&text) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || "/._-+=:,%@$".contains(c))
}

fn text_of(path: &Path) -> anyhow::Result<&str> {
    let text = path.to_str().ok_or_else(|| not_text(path))?;
    if text.chars().any(char::is_control) {
        return Err(refused(
            format!("{} has control characters, which a unit cannot hold", text.escape_debug()),
            "put it where its path has none",
        ));
    }
    Ok(text)
}

/// The variables that a unit of ours records.
pub(super) fn recorded(unit: &str) -> BTreeMap<String, String> {
    let values = unit.lines().filter_map(|line| line.strip_prefix(ENVIRONMENT));
    let pairs = values.filter_map(|value| {
        let text = unquoted(value);
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// The binary that a unit of ours runs.
pub(super) fn binary(unit: &str) -> Option<String> {
    let line = unit.lines().find_map(|line| line.strip_prefix(EXEC_START))?;
    let line = line.strip_prefix(':').unwrap_or(line);
    Some(unquoted(line.strip_suffix(" run")?))
}

fn unquoted(text: &str) -> String {
    let between = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let mut plain = String::new();
    let mut chars = between.unwrap_or(text).chars();
    while let Some(c) = chars.next() {
        // What was doubled or marked is the second of the two.
        let is_first = (c == '\\' && between.is_some()) || c == '%';
        plain.extend(if is_first { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_template_has_the_lines_that_are_filled_in_once() {
        for (template, name) in [(UNIT, EXEC_START), (STRICT, READ_WRITE)] {
            let lines = template.lines().filter(|line| line.starts_with(name));
            assert_eq!(lines.count(), 1, "{name}");
        }
        assert!(!UNIT.contains(ENVIRONMENT));
    }

    #[test]
    fn what_means_something_to_systemd_is_told_apart() {
        let check = |path: &str, expect: &str| {
            assert_eq!(program(Path::new(path)).unwrap(), expect);
            let unit = format!("{EXEC_START}{expect} run\n");
            assert_eq!(binary(&unit).unwrap(), path, "read back");
        };
        check("/usr/bin/tallyd", "/usr/bin/tallyd");
        check("/a b/tallyd", r#""/a b/tallyd""#);
        check("/100%/tallyd", "/100%%/tallyd");
        check("/$HOME/tallyd", ":/$HOME/tallyd");
        for sign in ["\"", "'", "\\"] {
            let error = program(Path::new(&format!("/a{sign}b"))).unwrap_err().to_string();
            assert!(error.contains("quotes or backslashes"), "{error}");
        }
        assert!(program(Path::new("/a\nb")).unwrap_err().to_string().contains("control"));
    }

    #[test]
    fn variables_are_read_back_as_they_were() {
        for value in ["/w", "", "/a b", "50%", "$X ${Y}", r#"a"b'c\d"#, "/a,/b", "ä;#"] {
            let line = format!("{ENVIRONMENT}{}\n", assignment("NAME", value).unwrap());
            assert_eq!(recorded(&line), BTreeMap::from([("NAME".into(), value.into())]), "{line}");
        }
        assert!(assignment("NAME", "a\nb").unwrap_err().to_string().contains("NAME"));
    }

    #[test]
    fn the_drop_in_names_the_data_directory_in_effect() {
        let line = |path: &str| {
            let text = strict(Path::new(path)).unwrap();
            text.lines().find(|line| line.starts_with(READ_WRITE)).unwrap().to_owned()
        };
        assert_eq!(line("/data/tallyd"), "ReadWritePaths=/data/tallyd");
        assert_eq!(line("/a b/%\\"), "ReadWritePaths=\"/a b/%%\\\"");
        assert_eq!(line("/a\"b"), r#"ReadWritePaths="/a"'"'"b""#);
    }
}
