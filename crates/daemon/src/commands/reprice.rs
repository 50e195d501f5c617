//! `tallyd reprice`: apply the price book of today to what is stored.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use store::{Repriced, Which};

use crate::cli::Json;
use crate::clock::now_ms;
use crate::config::Config;
use crate::engine;
use crate::output::{self, ProgressLine};
use crate::range::Day;
use crate::table::{Align, table};
use crate::text;

pub(super) fn run(
    config: &Config,
    unpriced: bool,
    since: Option<Day>,
    json: Json,
) -> anyhow::Result<ExitCode> {
    let mut store = engine::open_store(config, engine::lock(config, "reprice")?)?;
    let today = store.reader()?.day(now_ms())?;
    let which = Which { unpriced, since: since.map(|day| day.date(today)) };
    let started = Instant::now();
    let mut progress = ProgressLine::new();
    let repriced = store.reprice(&which, |so_far, share| {
        progress.show(&format!(
            "pricing anew: {:.0} %, {} calls, {} of them changed",
            share * 100.0,
            text::count(so_far.calls),
            text::count(so_far.changed),
        ));
    });
    progress.clear();
    let (repriced, elapsed) = (repriced?, started.elapsed());
    if json.json {
        output::print_json(&as_json(config, &repriced, elapsed))?;
    } else {
        output::print(&as_text(config, &repriced, elapsed))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(config: &Config, repriced: &Repriced, elapsed: Duration) -> serde_json::Value {
    json!({
        "price_version": config.prices.version(),
        "calls": repriced.calls,
        "repriced": repriced.changed,
        "cost_before_nanousd": repriced.before_nanousd,
        "cost_after_nanousd": repriced.after_nanousd,
        "unpriced": repriced.unpriced,
        "total_ms": elapsed.as_secs_f64() * 1e3,
    })
}

fn as_text(config: &Config, repriced: &Repriced, elapsed: Duration) -> String {
    let mut rows = vec![
        row("price book", config.prices.version().to_owned()),
        row("calls looked at", text::count(repriced.calls)),
        row("calls repriced", text::count(repriced.changed)),
        row("cost before", text::money(repriced.before_nanousd)),
        row("cost after", text::money(repriced.after_nanousd)),
    ];
    for (model, calls) in &repriced.unpriced {
        rows.push(row(&format!("still unpriced: {model}"), text::count(*calls)));
    }
    rows.push(row("in all", text::duration(elapsed)));
    table(&[("reprice", Align::Left), ("", Align::Right)], &rows)
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}
