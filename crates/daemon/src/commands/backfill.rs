//! `tallyd backfill`: read all that is new, refresh, print figures.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use store::{MartStatus, QueueState, Stopped, WriterStatus};
use tokio::sync::watch;

use super::providers::found_table;
use crate::cli::Json;
use crate::config::Config;
use crate::engine::{self, Ingest, IngestPlan};
use crate::output::{self, ProgressLine};
use crate::run::describe_progress;
use crate::table::{Align, table};
use crate::text;

/// How long a full disk or a locked database is waited for. The service waits for ever.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(config: &Config, force: bool, json: Json) -> anyhow::Result<ExitCode> {
    let dir = engine::lock(config, "backfill")?;
    let store = engine::open_store(config, dir)?;
    let checkpoints = store.reader()?.checkpoints()?;
    let (writer, handle) = store.into_writer()?;
    let mut writer = tokio::spawn(writer.run());

    let started = Instant::now();
    let (sender, status) = watch::channel(ingest::Status::default());
    let plan = IngestPlan { checkpoints, mode: ingest::Mode::Once, force };
    let ingest = Ingest::start(config, plan, handle.sender(), sender);
    let mut progress = ProgressLine::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut ingested = Box::pin(async {
        match ingest.task.await.context("ingest panicked")? {
            Err(ingest::Error::Closed) => return Ok(Err(Stopped)),
            ended => ended?,
        }
        let read = started.elapsed();
        anyhow::Ok(handle.flush().await.map(|()| read))
    });
    let read = loop {
        tokio::select! {
            read = &mut ingested => {
                if let Ok(read) = read? {
                    break read;
                }
                progress.clear();
                (&mut writer).await.context("the writer panicked")??;
                anyhow::bail!("the writer ended by itself");
            }
            _ = ticks.tick() => {
                if let Some(error) = given_up(&handle.status().borrow()) {
                    progress.clear();
                    let dir = config.data_dir.display();
                    anyhow::bail!(
                        "{error}\nhint: see to the disk of {dir}, and whether other programs use \
                         the database there; then run it again: it goes on where it was"
                    );
                }
                progress.show(&describe_progress(&status.borrow().progress, started.elapsed()));
            }
        }
    };
    let stored = started.elapsed();
    progress.clear();
    drop(ingested);
    let (ingest, writer_status) = (status.borrow().clone(), handle.status().borrow().clone());
    drop(handle);
    writer.await.context("the writer panicked")??;
    if json.json {
        output::print_json(&as_json(&ingest, &writer_status, read, stored))?;
    } else {
        output::print(&as_text(config, &ingest, &writer_status, read, stored))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Why nothing was stored for so long that whoever waits for this command should know.
fn given_up(status: &WriterStatus) -> Option<&str> {
    match &status.queue {
        QueueState::Retrying { since, error, .. } if since.elapsed() > PATIENCE => Some(error),
        _ => None,
    }
}

fn as_json(
    ingest: &ingest::Status,
    writer: &WriterStatus,
    read: Duration,
    stored: Duration,
) -> serde_json::Value {
    let marts: serde_json::Map<_, _> = writer
        .marts
        .iter()
        .map(|m| (m.name.to_owned(), json!({ "refresh_ms": millis(m) })))
        .collect();
    json!({
        "files": ingest.progress.files_done,
        "bytes": ingest.progress.bytes_done,
        "lines": ingest.progress.lines,
        "events": {
            "appended": writer.tally.appended,
            "corrected": writer.tally.corrected,
            "retracted": writer.tally.retracted,
            "unchanged": writer.tally.unchanged,
        },
        "skips": skips(ingest),
        "failing": ingest
            .failing
            .iter()
            .map(|(path, error)| json!({ "path": path, "error": error }))
            .collect::<Vec<_>>(),
        "denied": ingest.denied,
        "read_ms": read.as_secs_f64() * 1e3,
        "total_ms": stored.as_secs_f64() * 1e3,
        "marts": marts,
    })
}

/// Skipped records by provider and reason.
fn skips(ingest: &ingest::Status) -> serde_json::Value {
    ingest
        .providers
        .iter()
        .map(|(id, p)| {
            let reasons: serde_json::Map<_, _> =
                p.skips.0.iter().map(|(s, n)| (s.as_str().to_owned(), json!(n))).collect();
            ((*id).to_owned(), serde_json::Value::Object(reasons))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn as_text(
    config: &Config,
    ingest: &ingest::Status,
    writer: &WriterStatus,
    read: Duration,
    stored: Duration,
) -> String {
    let progress = &ingest.progress;
    let mut text = String::new();
    let found: u64 = ingest.providers.values().map(|p| p.sources).sum();
    if found == 0 {
        text.push_str("no agent logs found\n\n");
        text.push_str(&found_table(config));
        return text;
    }
    let mut rows = vec![
        row("files read", text::count(progress.files_done)),
        row("bytes", text::bytes(progress.bytes_done)),
        row("lines", text::count(progress.lines)),
        row("events appended", text::count(writer.tally.appended)),
        row("events corrected", text::count(writer.tally.corrected)),
        row("events retracted", text::count(writer.tally.retracted)),
        row("events unchanged", text::count(writer.tally.unchanged)),
    ];
    for (id, provider) in &ingest.providers {
        for (reason, n) in &provider.skips.0 {
            let name = format!("{id}, skipped: {}", reason.describe());
            rows.push(row(&name, text::count(*n)));
        }
    }
    rows.push(row("reading", text::duration(read)));
    for mart in &writer.marts {
        rows.push(row(&format!("refresh of {}", mart.name), text::duration(refresh_time(mart))));
    }
    rows.push(row("in all", text::duration(stored)));
    if progress.bytes_done > 0 {
        let micros = stored.as_micros().max(1);
        let rate = u128::from(progress.bytes_done) * 1_000_000 / micros;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        rows.push(row("rate", format!("{}/s", text::bytes(rate))));
    }
    text.push_str(&table(&[("backfill", Align::Left), ("", Align::Right)], &rows));
    for (_, error) in &ingest.failing {
        text.push_str(&format!("{}\n", text::plain(error)));
    }
    for folder in &ingest.denied {
        text.push_str(&format!("cannot list {}: permission denied\n", folder.display()));
    }
    text.push_str(&format!("database: {}\n", config.data_dir.join("tallyd.db").display()));
    text
}

fn refresh_time(mart: &MartStatus) -> Duration {
    Duration::from_micros(mart.total_duration_us)
}

fn millis(mart: &MartStatus) -> f64 {
    refresh_time(mart).as_secs_f64() * 1e3
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}
