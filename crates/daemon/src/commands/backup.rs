//! `tallyd backup`: a verified copy of the database, made beside the running service.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use store::{BackupStep, Reader};

use crate::cli::Json;
use crate::config::Config;
use crate::output::{self, ProgressLine};
use crate::table::{Align, table};
use crate::text;

pub(super) fn run(
    config: &Config,
    file: &Path,
    force: bool,
    json: Json,
) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(&config.data_dir)?;
    let started = Instant::now();
    let mut progress = ProgressLine::new();
    let backup = reader.backup(file, force, &mut |step| match step {
        BackupStep::Copying { share } => progress.show(&format!("copying: {:.0} %", share * 100.0)),
        BackupStep::Verifying => progress.show("verifying the copy"),
    });
    progress.clear();
    let (backup, elapsed) = (backup?, started.elapsed());
    if json.json {
        output::print_json(&json!({
            "file": file,
            "bytes": backup.bytes,
            "events": backup.events,
            "events_position": backup.seq,
            "total_ms": elapsed.as_secs_f64() * 1e3,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = [
        ("file", file.display().to_string()),
        ("size", text::bytes(backup.bytes)),
        ("events", text::count(backup.events)),
        ("copied and verified in", text::duration(elapsed)),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    output::print(&table(&[("backup", Align::Left), ("", Align::Left)], &rows))?;
    Ok(ExitCode::SUCCESS)
}
