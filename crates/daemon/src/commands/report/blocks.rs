//! `tallyd report blocks`: five-hour windows, and where the running one leads.

use jiff::ToSpan as _;
use jiff::tz::TimeZone;
use serde_json::Value;
use store::{Block, Figures, Filter, ReadError, Reader};

use super::layout::{self, Screen};
use super::{Arguments, Told, csv, figure_columns, object};
use crate::config::Config;
use crate::output::{self, WrongUsage};
use crate::table::Align;
use crate::text;

/// Whose subscription has such windows.
const AGENT: &str = "claude-code";
/// Days that are shown if none are named.
const DAYS: i64 = 3;

pub(super) fn run(
    config: &Config,
    reader: &Reader,
    arguments: &Arguments,
    told: &Told<'_>,
) -> anyhow::Result<()> {
    if !arguments.by.is_empty() || arguments.sort.is_some() {
        let text =
            "blocks go by time and are told apart by nothing else: leave out --by and --sort";
        return Err(WrongUsage(text.to_owned()).into());
    }
    let filter = filter(reader, told)?;
    let told = Told {
        filter: &filter,
        freshness: told.freshness.clone(),
        budgets: told.budgets.clone(),
        time_zone: told.time_zone.clone(),
        ..*told
    };
    let mut blocks = reader.blocks(&filter, told.now_ms)?;
    let (groups, total) = (blocks.len(), total(&blocks));
    if arguments.reverse {
        blocks.reverse();
    }
    let limit = arguments.limit.map_or(groups, |rows| usize::try_from(rows).unwrap_or(groups));
    let more = groups.saturating_sub(limit);
    if arguments.reverse {
        blocks.truncate(limit);
    } else {
        blocks.drain(..more);
    }
    if arguments.format.json {
        output::print_json(&as_json(&told, &blocks, groups, &total))?;
    } else if arguments.format.csv {
        let names = columns(&Block::default(), told.now_ms).into_iter().map(|(name, _)| name);
        let rows = blocks
            .iter()
            .map(|block| columns(block, told.now_ms).into_iter().map(|(_, value)| value));
        output::print_csv(&csv(names, rows)?)?;
    } else {
        output::print(&as_text(&told, &blocks, more, &total, &Screen::of(config)))?;
    }
    Ok(())
}

/// Of the agent whose windows these are and of the last days, if nothing else is asked for.
fn filter(reader: &Reader, told: &Told<'_>) -> Result<Filter, ReadError> {
    let mut filter = of_agent(told.filter);
    if filter.since.is_none() && filter.until.is_none() {
        let today = reader.day(told.now_ms)?;
        filter.since = Some(today.saturating_sub((DAYS - 1).days()));
    }
    Ok(filter)
}

/// The block of now, if there is one; of the agent whose windows these are if none is named.
pub(crate) fn running(
    reader: &Reader,
    filter: &Filter,
    now_ms: i64,
) -> Result<Option<Block>, ReadError> {
    reader.running_block(&of_agent(filter), now_ms)
}

/// An agent that was never used has no blocks; that is no mistake of whoever named none.
fn of_agent(filter: &Filter) -> Filter {
    let mut filter = filter.clone();
    if filter.providers.is_empty() {
        filter.providers.push(AGENT.to_owned());
        filter.known.push(AGENT.to_owned());
    }
    filter
}

fn total(blocks: &[Block]) -> Figures {
    blocks.iter().fold(Figures::default(), |mut total, block| {
        total += block.figures;
        total
    })
}

pub(crate) fn columns(block: &Block, now_ms: i64) -> Vec<(&'static str, Value)> {
    let burn = block.burn(now_ms);
    let models: Vec<&str> = block.models.iter().map(String::as_str).collect();
    let mut columns = vec![
        ("start_ts", layout::utc(block.start_ms).into()),
        ("end_ts", layout::utc(block.end_ms).into()),
        ("first_ts", layout::utc(block.first_ts_ms).into()),
        ("last_ts", layout::utc(block.last_ts_ms).into()),
        ("is_running", block.is_running.into()),
        ("models", models.join(" ").into()),
    ];
    columns.extend(figure_columns(&block.figures));
    columns.extend([
        ("tokens_per_minute", burn.map(|burn| burn.tokens_per_minute).into()),
        ("cost_usd_per_hour", burn.map(|burn| burn.cost_nanousd_per_hour / 1e9).into()),
        ("projected_tokens", burn.map(|burn| burn.projected_tokens).into()),
        ("projected_cost_nanousd", burn.map(|burn| burn.projected_cost_nanousd).into()),
    ]);
    columns
}

fn as_json(told: &Told<'_>, blocks: &[Block], groups: usize, total: &Figures) -> Value {
    let mut document = told.header();
    let rows = blocks.iter().map(|block| Value::from(object(columns(block, told.now_ms))));
    document.insert("rows".into(), rows.collect());
    document.insert("groups".into(), groups.into());
    document.insert("total".into(), object(figure_columns(total)).into());
    document.into()
}

fn as_text(
    told: &Told<'_>,
    blocks: &[Block],
    more: usize,
    total: &Figures,
    screen: &Screen,
) -> String {
    let agents = told.filter.providers.join(", ");
    if blocks.is_empty() {
        let text = layout::nothing(told);
        return format!("{}: {text}{}", agents, layout::notes(told, screen));
    }
    let zone = TimeZone::get(&told.time_zone).unwrap_or(TimeZone::UTC);
    let build = |detail: layout::Detail| {
        let mut columns =
            vec![("block from", Align::Whole), ("to", Align::Whole), ("models", Align::Left)];
        columns.extend(detail.columns());
        let row = |block: &Block| {
            let models: Vec<&str> = block.models.iter().map(String::as_str).collect();
            let time = |ts_ms, format| {
                layout::local(ts_ms, &zone)
                    .map_or_else(String::new, |time| time.strftime(format).to_string())
            };
            let end = if block.is_running { " (running)" } else { "" };
            let mut cells = vec![
                time(block.start_ms, "%Y-%m-%d %H:%M"),
                time(block.end_ms, "%H:%M") + end,
                text::plain(&models.join(", ")),
            ];
            cells.extend(detail.cells(&block.figures));
            cells
        };
        let mut rows: Vec<_> = blocks.iter().map(row).collect();
        let name = match more {
            0 => "total".to_owned(),
            _ => format!("total of {} blocks", text::count((blocks.len() + more) as u64)),
        };
        let mut last = vec![name, String::new(), String::new()];
        last.extend(detail.cells(total));
        rows.push(last);
        (columns, rows)
    };
    let mut text = layout::fitted(build, screen);
    let running = blocks.iter().find(|block| block.is_running);
    if let Some(block) = running {
        text += &format!("\n{}\n", describe(block, told.now_ms));
    }
    text + &layout::notes(told, screen)
}

/// `running block: 2 h 3 min left, 12,345 tokens per minute, $4.20 an hour; at this rate …`.
fn describe(block: &Block, now_ms: i64) -> String {
    let mut text = format!("running block: {} left", left(block, now_ms));
    if let Some(burn) = block.burn(now_ms) {
        text += &format!(
            ", {} tokens per minute, {} an hour; at this rate {} tokens and {} at its end",
            text::count(whole(burn.tokens_per_minute)),
            at_least(&block.figures, whole(burn.cost_nanousd_per_hour)),
            text::count(burn.projected_tokens),
            at_least(&block.figures, burn.projected_cost_nanousd),
        );
    }
    text
}

/// An amount that follows from these figures: it lacks what they lack.
pub(crate) fn at_least(of: &Figures, nanousd: i64) -> String {
    text::short_cost(nanousd, of.message_count, of.unpriced_count)
}

/// `2 h 3 min`.
pub(crate) fn left(block: &Block, now_ms: i64) -> String {
    let minutes = (block.end_ms - now_ms).max(0) / 60_000;
    match minutes / 60 {
        0 => format!("{minutes} min"),
        hours => format!("{hours} h {} min", minutes % 60),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an estimate, for people")]
pub(crate) fn whole(n: f64) -> i64 {
    n.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_without_all_prices_is_at_least_so_much() {
        let figures = Figures {
            message_count: 2,
            unpriced_count: 1,
            cost_nanousd: 1_000_000_000,
            ..Figures::default()
        };
        let end_ms = store::BLOCK_MS;
        let block = Block { end_ms, is_running: true, figures, ..Block::default() };
        let said = describe(&block, end_ms / 5);
        assert!(said.contains(", ≥ $1.00 an hour; at this rate 0 tokens and ≥ $5.00"), "{said}");
        let unpriced = Figures { message_count: 1, ..figures };
        let said = describe(&Block { figures: unpriced, ..block }, end_ms / 5);
        assert!(said.contains(", unpriced an hour"), "{said}");
    }
}
