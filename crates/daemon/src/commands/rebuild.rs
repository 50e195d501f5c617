//! `tallyd rebuild`: make marts anew from the cells, or everything from the events.

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use store::{Mart, marts};

use crate::cli::Json;
use crate::config::Config;
use crate::table::{Align, table};
use crate::text;
use crate::{engine, output};

pub(super) fn run(
    config: &Config,
    marts: &[&'static Mart],
    all: bool,
    json: Json,
) -> anyhow::Result<ExitCode> {
    let mut store = engine::open_store(config, engine::lock(config, "rebuild")?)?;
    let started = Instant::now();
    let mut wanted: Vec<&'static Mart> = Vec::new();
    for mart in marts {
        if !wanted.iter().any(|known| known.name == mart.name) {
            wanted.push(mart);
        }
    }
    let refresh = if all { store.rebuild_all()? } else { store.rebuild(&wanted)? };
    let elapsed = started.elapsed();
    if json.json {
        let marts: serde_json::Map<_, _> = refresh
            .marts
            .iter()
            .map(|m| (m.name.to_owned(), json!({ "ms": m.duration.as_secs_f64() * 1e3 })))
            .collect();
        output::print_json(&json!({
            "watermark": refresh.seq,
            "marts": marts,
            "total_ms": elapsed.as_secs_f64() * 1e3,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = refresh
        .marts
        .iter()
        .map(|m| vec![m.name.to_owned(), text::duration(m.duration)])
        .chain([vec!["in all".to_owned(), text::duration(elapsed)]])
        .collect();
    output::print(&table(&[("rebuilt", Align::Left), ("", Align::Right)], &rows))?;
    Ok(ExitCode::SUCCESS)
}

/// A mart by its name, for the command line.
pub(crate) fn parse_mart(name: &str) -> Result<&'static Mart, String> {
    marts::find(name).ok_or_else(|| {
        let known: Vec<_> = marts::ALL.iter().map(Mart::short_name).collect();
        format!("there is no mart of that name, only {}", known.join(", "))
    })
}
