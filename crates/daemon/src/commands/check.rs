//! `tallyd check`: integrity, each cell, each mart; exit 1 and the differences if anything is wrong.

use std::process::ExitCode;

use serde_json::json;
use store::{CheckReport, Reader};

use crate::cli::Json;
use crate::config::Config;
use crate::output;
use crate::table::{Align, table};
use crate::text;

/// Differences that are described; the others are only counted.
const SHOWN: usize = 20;

pub(super) fn run(config: &Config, json: Json) -> anyhow::Result<ExitCode> {
    let report = Reader::open(&config.data_dir)?.check(SHOWN)?;
    if json.json {
        output::print_json(&as_json(&report))?;
    } else {
        output::print(&as_text(&report))?;
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(report: &CheckReport) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|f| {
            json!({
                "table": f.table,
                "key": f.key,
                "column": f.column,
                "expected": f.expected,
                "found": f.found,
            })
        })
        .collect();
    json!({
        "sound": report.is_sound(),
        "integrity": report.integrity,
        "differences": report.differences,
        "findings": findings,
        "pending": report.pending,
    })
}

fn as_text(report: &CheckReport) -> String {
    let mut text = String::new();
    for problem in &report.integrity {
        text.push_str(&format!("integrity: {problem}\n"));
    }
    if !report.findings.is_empty() {
        let columns = ["table", "key", "column", "expected", "found"].map(|c| (c, Align::Left));
        let rows: Vec<_> = report
            .findings
            .iter()
            .map(|f| {
                [&f.table, &f.key, &f.column, &f.expected, &f.found].map(Clone::clone).to_vec()
            })
            .collect();
        text.push_str(&table(&columns, &rows));
    }
    if report.differences > report.findings.len() as u64 {
        let more = report.differences - report.findings.len() as u64;
        text.push_str(&format!("and {} more differences\n", text::count(more)));
    }
    for (mart, keys) in &report.pending {
        let keys = i128::try_from(*keys).unwrap_or_default();
        text.push_str(&format!("{mart}: {} keys wait for the next refresh\n", text::count(keys)));
    }
    if report.is_sound() {
        text.push_str("sound: file, cells and all five marts agree with usage_events\n");
    } else {
        text.push_str(
            "not sound\nhint: `tallyd rebuild --all` makes cells and marts anew from the events\n",
        );
    }
    text
}
