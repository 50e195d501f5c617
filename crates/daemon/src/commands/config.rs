//! `tallyd config`: effective settings and where each came from.

use std::process::ExitCode;

use super::providers::found_table;
use crate::cli::Json;
use crate::config::Config;
use crate::output;
use crate::table::{Align, table};

pub(super) fn run(config: &Config, json: Json) -> anyhow::Result<ExitCode> {
    if json.json {
        output::print_json(&serde_json::json!({
            "file": config.file,
            "file_exists": config.file_exists,
            "settings": config.shown,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = config
        .shown
        .iter()
        .map(|s| vec![s.key.clone(), s.value.clone(), s.origin.to_string()])
        .collect();
    let note = if config.file_exists { "" } else { " (does not exist: defaults)" };
    output::print(&format!("file: {}{note}\n\n", config.file.display()))?;
    output::print(&table(
        &[("setting", Align::Left), ("value", Align::Left), ("from", Align::Left)],
        &rows,
    ))?;
    output::print(&format!("\n{}", found_table(config)))?;
    Ok(ExitCode::SUCCESS)
}
