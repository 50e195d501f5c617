//! `tallyd providers`: which agents are supported, where their logs are looked for, what was found.

use std::io::ErrorKind;
use std::process::ExitCode;

use ingest::Root;
use serde_json::json;
use store::{ProviderTotals, ReadError, Reader};

use crate::cli::Json;
use crate::clock::now_ms;
use crate::config::Config;
use crate::output;
use crate::text::{self, Align, table};

pub(super) fn run(config: &Config, json: Json) -> anyhow::Result<ExitCode> {
    let totals = totals(config)?;
    if json.json {
        output::print_json(&as_json(config, &totals))?;
    } else {
        output::print(&as_text(config, &totals))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is stored of each provider; nothing where there is no database yet.
pub(super) fn totals(config: &Config) -> Result<Vec<ProviderTotals>, ReadError> {
    match Reader::open(&config.data_dir) {
        Ok(reader) => reader.providers(now_ms()),
        Err(ReadError::Missing { .. }) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// All tokens of a provider's calls.
pub(crate) fn tokens(totals: &ProviderTotals) -> i64 {
    totals.input_tokens
        + totals.output_tokens
        + totals.cache_read_tokens
        + totals.cache_create_tokens
}

/// Whether a root can be read now; one that cannot is tried again and again.
fn root_state(root: &Root) -> &'static str {
    match std::fs::read_dir(&root.path) {
        Ok(_) => "found",
        Err(e) if e.kind() == ErrorKind::NotFound => "not there, awaited",
        Err(_) => "cannot be listed",
    }
}

pub(super) fn root_json(root: &Root) -> serde_json::Value {
    json!({ "provider": root.provider.id(), "path": root.path, "state": root_state(root) })
}

/// Where logs are looked for, and what is there.
pub(super) fn root_table(config: &Config) -> String {
    let row = |root: &Root| {
        vec![
            root.provider.id().to_owned(),
            root.path.display().to_string(),
            root_state(root).to_owned(),
        ]
    };
    let mut rows: Vec<_> = config.roots().iter().map(row).collect();
    for id in providers::ALL.iter().map(|p| p.id()).filter(|id| !is_enabled(config, id)) {
        rows.push(vec![id.to_owned(), "-".to_owned(), "switched off in the configuration".into()]);
    }
    table(&[("agent", Align::Left), ("looked in", Align::Left), ("", Align::Left)], &rows)
}

fn is_enabled(config: &Config, id: &str) -> bool {
    config.providers.get(id).is_none_or(|p| p.enabled)
}

pub(super) fn totals_json(totals: &ProviderTotals) -> serde_json::Value {
    let skips: serde_json::Map<_, _> =
        totals.skips.0.iter().map(|(s, n)| (s.as_str().to_owned(), json!(n))).collect();
    json!({
        "provider": totals.provider,
        "sources": totals.sources,
        "failing": totals.failing,
        "lines": totals.lines,
        "message_count": totals.message_count,
        "user_message_count": totals.user_message_count,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cache_read_tokens": totals.cache_read_tokens,
        "cache_create_tokens": totals.cache_create_tokens,
        "cost_nanousd": totals.cost_nanousd,
        "unpriced_count": totals.unpriced_count,
        "newest_ts_ms": totals.newest_ts_ms,
        "skips": skips,
    })
}

fn as_json(config: &Config, totals: &[ProviderTotals]) -> serde_json::Value {
    let roots = config.roots();
    providers::ALL
        .iter()
        .map(|provider| {
            let stored = totals.iter().find(|t| t.provider == provider.id());
            let roots: Vec<_> = roots
                .iter()
                .filter(|root| root.provider.id() == provider.id())
                .map(root_json)
                .collect();
            json!({
                "provider": provider.id(),
                "enabled": is_enabled(config, provider.id()),
                "roots": roots,
                "stored": stored.map(totals_json),
            })
        })
        .collect()
}

fn as_text(config: &Config, totals: &[ProviderTotals]) -> String {
    let roots = config.roots();
    let now = now_ms();
    let mut rows = Vec::new();
    for provider in providers::ALL {
        let id = provider.id();
        let found = roots.iter().any(|root| root.provider.id() == id && root.path.is_dir());
        let state = match (is_enabled(config, id), found) {
            (false, _) => "switched off",
            (true, true) => "found",
            (true, false) => "not found",
        };
        let none = ProviderTotals::default();
        let stored = totals.iter().find(|t| t.provider == id).unwrap_or(&none);
        rows.push(vec![
            id.to_owned(),
            state.to_owned(),
            text::count(stored.sources),
            text::count(stored.message_count),
            text::count(stored.user_message_count),
            stored.newest_ts_ms.map_or_else(|| "-".to_owned(), |ts| text::ago(now, ts)),
        ]);
    }
    let mut out = table(
        &[
            ("agent", Align::Left),
            ("state", Align::Left),
            ("sources", Align::Right),
            ("calls", Align::Right),
            ("prompts", Align::Right),
            ("newest", Align::Right),
        ],
        &rows,
    );
    out.push('\n');
    out.push_str(&root_table(config));
    out
}
