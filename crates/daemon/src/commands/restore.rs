//! `tallyd restore`: a backup in the place of the database, or a list of the backups there are.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};
use store::{BackupStep, Candidate, Restored};

use crate::cli::Json;
use crate::clock::now_ms;
use crate::config::Config;
use crate::engine;
use crate::output::{self, ProgressLine};
use crate::table::{Align, table};
use crate::text;

pub(super) fn run(config: &Config, file: Option<&Path>, json: Json) -> anyhow::Result<ExitCode> {
    match file {
        Some(file) => restore(config, file, json)?,
        None => list(config, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn restore(config: &Config, file: &Path, json: Json) -> anyhow::Result<()> {
    let dir = engine::lock(config, "restore")?;
    let started = Instant::now();
    let mut progress = ProgressLine::new();
    let restored = store::restore(&dir, file, now_ms(), &mut |step| match step {
        BackupStep::Copying { share } => progress.show(&format!("copying: {:.0} %", share * 100.0)),
        BackupStep::Verifying => progress.show("verifying the copy"),
    });
    progress.clear();
    let (Restored { bytes, contents, aside }, elapsed) = (restored?, started.elapsed());
    if json.json {
        return output::print_json(&json!({
            "file": file,
            "bytes": bytes,
            "schema": contents.schema,
            "events": contents.events,
            "newest_ts_ms": contents.newest_ts_ms,
            "set_aside": aside,
            "total_ms": elapsed.as_secs_f64() * 1e3,
        }));
    }
    let newest = contents.newest_ts_ms.map_or_else(|| "-".to_owned(), time);
    let aside = aside.map_or_else(|| "there was none".into(), |path| path.display().to_string());
    let rows = [
        ("file", file.display().to_string()),
        ("size", text::bytes(bytes)),
        ("events", text::count(contents.events)),
        ("newest event", newest),
        ("database before it", aside),
        ("verified and put in place in", text::duration(elapsed)),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    let mut said = table(&[("restored", Align::Left), ("", Align::Left)], &rows);
    said.push_str("what was logged since is read again at the next start\n");
    Ok(output::print(&said)?)
}

fn time(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The one to take, if nobody knows better.
fn newest_good(found: &[Candidate]) -> Option<&Candidate> {
    found.iter().find(|candidate| candidate.contents.is_ok() && !candidate.is_replaced)
}

fn list(config: &Config, json: Json) -> anyhow::Result<()> {
    let found = store::backups(&config.data_dir)?;
    if json.json {
        return output::print_json(&json!({
            "backups": found.iter().map(as_json).collect::<Vec<_>>(),
            "newest_good": newest_good(&found).map(|candidate| &candidate.path),
        }));
    }
    if found.is_empty() {
        return Ok(output::print(&format!(
            "no backups in {}\n`tallyd restore FILE` takes one from anywhere\n",
            config.data_dir.display()
        ))?);
    }
    let columns = [
        ("written", Align::Whole),
        ("size", Align::Right),
        ("schema", Align::Right),
        ("events", Align::Right),
        ("newest event", Align::Whole),
        ("file", Align::Left),
    ];
    let mut said = table(&columns, &found.iter().map(row).collect::<Vec<_>>());
    said.push_str(&match newest_good(&found) {
        Some(good) => format!("\nthe newest good one: tallyd restore {}\n", good.path.display()),
        None if found.iter().any(|candidate| candidate.contents.is_ok()) => {
            "\nno backups; what a restore has set aside is taken back by its name\n".to_owned()
        }
        None => "\nnone of them can be restored\n".to_owned(),
    });
    Ok(output::print(&said)?)
}

fn row(candidate: &Candidate) -> Vec<String> {
    let path = candidate.path.display();
    let (schema, events, newest, file) = match &candidate.contents {
        Ok(contents) => (
            contents.schema.to_string(),
            text::count(contents.events),
            contents.newest_ts_ms.map_or_else(|| "-".to_owned(), time),
            path.to_string(),
        ),
        Err(why) => ("-".into(), "-".into(), "-".into(), format!("{path} ({})", text::plain(why))),
    };
    let size = text::bytes(candidate.bytes);
    vec![time(candidate.modified_ms), size, schema, events, newest, file]
}

fn as_json(candidate: &Candidate) -> Value {
    let contents = candidate.contents.as_ref();
    json!({
        "file": candidate.path,
        "bytes": candidate.bytes,
        "modified_ms": candidate.modified_ms,
        "set_aside_by_restore": candidate.is_replaced,
        "good": contents.is_ok(),
        "why_not": contents.err(),
        "schema": contents.ok().map(|contents| contents.schema),
        "events": contents.ok().map(|contents| contents.events),
        "newest_ts_ms": contents.ok().map(|contents| contents.newest_ts_ms),
    })
}
