//! `tallyd doctor`: looks at everything that could be wrong, and says what to do.
//!
//! All facts are gathered once, in a [`Look`]; each check is a function over it. A new check is one
//! function, one line in [`CHECKS`] and a test. It only reads, with and without a service, a
//! database or a home folder.

mod database;
mod files;
mod look;
mod processes;
mod service;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::cli::Json;
use crate::config::Flags;
use crate::output;
use crate::text;
use look::Look;

/// Each thing that is looked at, in the order it is shown.
const CHECKS: [fn(&Look) -> Vec<Finding>; 26] = [
    files::configuration,
    files::home,
    files::data_dir,
    files::filesystem,
    files::disk,
    files::logs,
    files::permissions,
    files::links,
    files::logs_filesystem,
    files::watches,
    service::running,
    service::port,
    service::binary,
    service::environment,
    service::installations,
    service::health,
    database::file,
    database::write_ahead_log,
    database::marts,
    database::clock,
    database::time_zone,
    database::prices,
    database::budgets,
    database::reading,
    database::skipped,
    database::sqlite,
];

/// What to think of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Ok,
    /// Worth knowing; nothing needs to be done.
    Note,
    /// Something is less than it could be.
    Warning,
    /// Something is missing or wrong until it is mended.
    Problem,
}

impl Mark {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What was seen of one thing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    about: &'static str,
    mark: Mark,
    seen: String,
    remedy: Option<String>,
}

impl Finding {
    fn ok(about: &'static str, seen: impl Into<String>) -> Self {
        Self { about, mark: Mark::Ok, seen: seen.into(), remedy: None }
    }

    fn new(
        about: &'static str,
        mark: Mark,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self { about, mark, seen: seen.into(), remedy }
    }
}

pub(super) fn run(
    vars: BTreeMap<String, String>,
    flags: &Flags,
    json: Json,
) -> anyhow::Result<ExitCode> {
    let look = Look::gather(vars, flags)?;
    let findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&look)).collect();
    let problems = count(&findings, Mark::Problem);
    if json.json {
        output::print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "problems": problems,
            "warnings": count(&findings, Mark::Warning),
            "notes": count(&findings, Mark::Note),
            "findings": findings,
        }))?;
    } else {
        output::print(&as_text(&findings))?;
    }
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count(findings: &[Finding], mark: Mark) -> usize {
    findings.iter().filter(|finding| finding.mark == mark).count()
}

fn as_text(findings: &[Finding]) -> String {
    let widest = findings.iter().map(|finding| finding.about.len()).max().unwrap_or(0);
    let mut said = String::new();
    for Finding { about, mark, seen, remedy } in findings {
        // It may name what stands in a log.
        let seen: String = seen.chars().map(text::harmless).collect();
        said.push_str(&format!("{:7}  {about:widest$}  {seen}\n", mark.as_str()));
        for line in remedy.iter().flat_map(|remedy| remedy.lines()) {
            let line: String = line.chars().map(text::harmless).collect();
            said.push_str(&format!("{:7}  {:widest$}  > {line}\n", "", ""));
        }
    }
    let counted = [
        text::counted(count(findings, Mark::Problem) as u64, "problem"),
        text::counted(count(findings, Mark::Warning) as u64, "warning"),
        text::counted(count(findings, Mark::Note) as u64, "note"),
        format!("{} fine", count(findings, Mark::Ok)),
    ];
    said + &format!("\n{}\n", counted.join(", "))
}

/// An error in two parts: what is wrong, and the hint.
fn parts(error: &str) -> (&str, &str) {
    error.split_once("\nhint: ").unwrap_or((error, ""))
}

/// The first few of many.
fn list<T>(all: &[T], name: impl Fn(&T) -> String) -> String {
    const NAMED: usize = 5;
    let named: Vec<String> = all.iter().take(NAMED).map(name).collect();
    match all.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
