//! `tallyd providers`: which agents are supported, where their logs are looked for, what was found.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ingest::Root;
use providers::{Provider, Quality};
use serde_json::{Map, Value, json};
use store::{ProviderTotals, ProviderUsage, ReadError, Reader};
use usage::Skips;

use crate::cli::Json;
use crate::clock::now_ms;
use crate::config::Config;
use crate::output;
use crate::table::{Align, table};
use crate::text;

pub(super) fn run(config: &Config, json: Json) -> anyhow::Result<ExitCode> {
    let (totals, sources) = (totals(config)?, sources(config)?);
    if json.json {
        output::print_json(&as_json(config, &totals, &sources))?;
    } else {
        output::print(&as_text(config, &totals, &sources))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Provider and path of what was read, and of what is there to be read.
fn sources(config: &Config) -> Result<BTreeSet<(String, PathBuf)>, ReadError> {
    let mut sources: BTreeSet<_> = match Reader::open(&config.data_dir) {
        Ok(reader) => reader.sources()?.into_iter().collect(),
        Err(ReadError::Missing { .. }) => BTreeSet::new(),
        Err(e) => return Err(e),
    };
    let there = ingest::survey(&config.roots()).sources.into_iter();
    sources.extend(there.map(|(provider, path)| (provider.to_owned(), path)));
    Ok(sources)
}

/// What the figures of a provider's sources are, the most exact first.
fn qualities(provider: &dyn Provider, sources: &BTreeSet<(String, PathBuf)>) -> BTreeSet<Quality> {
    let own = sources.iter().filter(|(id, _)| id == provider.id());
    own.map(|(_, path)| provider.quality(path)).collect()
}

/// What is stored of each provider; nothing where there is no database yet.
pub(super) fn totals(config: &Config) -> Result<Vec<ProviderTotals>, ReadError> {
    match Reader::open(&config.data_dir) {
        Ok(reader) => reader.providers(now_ms()),
        Err(ReadError::Missing { .. }) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// `x/{a,b}` is `x/a` or `x/b`.
fn alternatives(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_prefix('{').and_then(|names| names.strip_suffix('}')) {
        Some(names) => names.split(',').map(|name| path.with_file_name(name)).collect(),
        None => vec![path.to_owned()],
    }
}

/// Whether a root can be read now; one that cannot is tried again and again.
pub(crate) fn root_state(root: &Root) -> &'static str {
    // Of a folder of many programs only what is the agent's own counts.
    if let Ok(own) = root.provider.place(&root.path).strip_prefix(root.path.join("*")) {
        let mut programs = std::fs::read_dir(&root.path).into_iter().flatten().flatten();
        let own = alternatives(own);
        let is_found =
            programs.any(|program| own.iter().any(|own| program.path().join(own).is_dir()));
        return if is_found { FOUND } else { AWAITED };
    }
    let is_there = std::fs::metadata(&root.path).and_then(|metadata| match metadata.is_dir() {
        true => std::fs::read_dir(&root.path).map(drop),
        false if root.provider.is_source(&root.path, &root.path) => Ok(()),
        false => Err(ErrorKind::NotADirectory.into()),
    });
    match is_there {
        Ok(()) => FOUND,
        Err(e) if e.kind() == ErrorKind::NotFound => AWAITED,
        Err(_) => DENIED,
    }
}

pub(super) fn root_json(root: &Root) -> Value {
    let path = root.provider.place(&root.path);
    json!({ "provider": root.provider.id(), "path": path, "state": root_state(root) })
}

/// Of a root, or of an agent that has any source.
pub(crate) const FOUND: &str = "found";
/// Of a root that is not there yet.
pub(crate) const AWAITED: &str = "not there, awaited";
/// Of a root that may not be listed.
pub(crate) const DENIED: &str = "cannot be listed";

/// Whether an agent is there.
pub(crate) fn state(is_switched_off: bool, is_found: bool) -> &'static str {
    match (is_switched_off, is_found) {
        (true, _) => "switched off",
        (false, true) => FOUND,
        (false, false) => "not found",
    }
}

/// Where logs were found, and how many agents were not.
pub(super) fn found_table(config: &Config) -> String {
    let rows = root_rows(config);
    let is_awaited = |row: &Vec<String>| row.iter().any(|cell| cell == AWAITED);
    let found: Vec<_> = rows.into_iter().filter(|row| !is_awaited(row)).collect();
    let mut text = if found.is_empty() { String::new() } else { as_table(&found) };
    if let Some(awaited) = awaited_agents(config) {
        text += &format!("{awaited}\n");
    }
    text
}

/// How many agents are nowhere, if any: there are many places, and most people have few agents.
pub(crate) fn awaited_agents(config: &Config) -> Option<String> {
    let roots = config.roots();
    let (awaited, found): (Vec<_>, Vec<_>) =
        roots.iter().partition(|root| root_state(root) == AWAITED);
    let ids = |roots: &[&Root]| roots.iter().map(|root| root.provider.id()).collect();
    let (awaited, found): (BTreeSet<&str>, BTreeSet<&str>) = (ids(&awaited), ids(&found));
    let nowhere = awaited.difference(&found).count() as u64;
    let agents = match (nowhere, found.is_empty()) {
        (0, _) => return None,
        (1, false) => "1 more agent was looked for and is not there".to_owned(),
        (n, false) => format!("{n} more agents were looked for and are not there"),
        (n, true) => {
            let agents = text::counted(n, "agent");
            format!("no agent was found; {agents} were looked for")
        }
    };
    Some(format!("{agents}: `tallyd providers` lists all places"))
}

fn root_table(config: &Config) -> String {
    as_table(&root_rows(config))
}

fn as_table(rows: &[Vec<String>]) -> String {
    table(&[("agent", Align::Left), ("looked in", Align::Left), ("", Align::Left)], rows)
}

fn root_rows(config: &Config) -> Vec<Vec<String>> {
    let row = |root: &Root| {
        vec![
            root.provider.id().to_owned(),
            root.provider.place(&root.path).display().to_string(),
            root_state(root).to_owned(),
        ]
    };
    let mut rows: Vec<_> = config.roots().iter().map(row).collect();
    for id in config.switched_off() {
        rows.push(vec![id.to_owned(), "-".to_owned(), "switched off in the configuration".into()]);
    }
    rows
}

pub(super) fn totals_json(totals: &ProviderTotals) -> Value {
    let ProviderUsage { provider, figures, user_message_count, newest_ts_ms } = &totals.usage;
    json!({
        "provider": provider,
        "sources": totals.sources,
        "failing": totals.failing,
        "lines": totals.lines,
        "message_count": figures.message_count,
        "user_message_count": user_message_count,
        "input_tokens": figures.input_tokens,
        "output_tokens": figures.output_tokens,
        "cache_read_tokens": figures.cache_read_tokens,
        "cache_create_tokens": figures.cache_create_tokens,
        "cost_nanousd": figures.cost_nanousd,
        "unpriced_count": figures.unpriced_count,
        "newest_ts_ms": newest_ts_ms,
        "skips": skips_json(&totals.skips),
    })
}

/// How many records were not counted, by their reasons.
pub(crate) fn skips_json(skips: &Skips) -> Map<String, Value> {
    skips.0.iter().map(|(skip, n)| (skip.as_str().to_owned(), json!(n))).collect()
}

fn as_json(
    config: &Config,
    totals: &[ProviderTotals],
    sources: &BTreeSet<(String, PathBuf)>,
) -> Value {
    let roots = config.roots();
    providers::ALL
        .iter()
        .map(|provider| {
            let stored = totals.iter().find(|t| t.usage.provider == provider.id());
            let roots: Vec<_> = roots
                .iter()
                .filter(|root| root.provider.id() == provider.id())
                .map(root_json)
                .collect();
            json!({
                "provider": provider.id(),
                "enabled": !config.is_switched_off(provider.id()),
                "found": sources.iter().any(|(id, _)| id == provider.id()),
                "quality": qualities(*provider, sources).iter().map(|q| q.as_str()).collect::<Vec<_>>(),
                "roots": roots,
                "stored": stored.map(totals_json),
            })
        })
        .collect()
}

fn as_text(
    config: &Config,
    totals: &[ProviderTotals],
    sources: &BTreeSet<(String, PathBuf)>,
) -> String {
    let now = now_ms();
    let mut rows = Vec::new();
    for provider in providers::ALL {
        let id = provider.id();
        let qualities = qualities(*provider, sources);
        let state = state(config.is_switched_off(id), !qualities.is_empty());
        let none = ProviderTotals::default();
        let stored = totals.iter().find(|t| t.usage.provider == id).unwrap_or(&none);
        let figures: Vec<_> = qualities.iter().map(|quality| quality.describe()).collect();
        rows.push(vec![
            id.to_owned(),
            state.to_owned(),
            text::count(sources.iter().filter(|(provider, _)| provider == id).count() as u64),
            text::count(stored.usage.figures.message_count),
            text::count(stored.usage.user_message_count),
            stored.usage.newest_ts_ms.map_or_else(|| "-".to_owned(), |ts| text::ago(now, ts)),
            if figures.is_empty() { "-".to_owned() } else { figures.join(", ") },
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
            ("figures", Align::Left),
        ],
        &rows,
    );
    out.push('\n');
    out.push_str(&root_table(config));
    out
}
