//! The five-hour windows that subscriptions are limited by, as far as a log tells of them.
//!
//! A window begins with the full hour before a call that is in no other one, and lasts five hours.

use std::collections::BTreeSet;

use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};

use crate::filter::{Filter, Resolved};
use crate::report::Figures;
use crate::zone::Zone;
use crate::{ReadError, Reader};

pub const BLOCK_MS: i64 = 5 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;
/// Before any call; there is room for sums.
const LONG_AGO_MS: i64 = i64::MIN / 4;

/// What was used within five hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// A full hour, UTC milliseconds.
    pub start_ms: i64,
    /// Five hours later.
    pub end_ms: i64,
    pub first_ts_ms: i64,
    pub last_ts_ms: i64,
    pub figures: Figures,
    pub models: BTreeSet<String>,
    /// It has not ended yet.
    pub is_running: bool,
}

/// How fast a running block is used, and where that leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    pub tokens_per_minute: f64,
    pub cost_nanousd_per_hour: f64,
    /// At the end of the block, at this rate.
    pub projected_tokens: i64,
    pub projected_cost_nanousd: i64,
}

impl Block {
    /// The rate from the first call of the block until now. `None` in the first minute.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "an estimate, for people"
    )]
    pub fn burn(&self, now_ms: i64) -> Option<Burn> {
        let minutes = (now_ms - self.first_ts_ms) as f64 / 60_000.0;
        if !self.is_running || minutes < 1.0 {
            return None;
        }
        let left = (self.end_ms - now_ms).max(0) as f64 / 60_000.0;
        let rate = |used: i64| used as f64 / minutes;
        let projected = |used: i64| used + (rate(used) * left).round() as i64;
        Some(Burn {
            tokens_per_minute: rate(self.figures.tokens()),
            cost_nanousd_per_hour: rate(self.figures.cost_nanousd) * 60.0,
            projected_tokens: projected(self.figures.tokens()),
            projected_cost_nanousd: projected(self.figures.cost_nanousd),
        })
    }
}

impl Reader {
    /// The blocks that have a call within the days, whole, oldest first. Agents have blocks; a project or
    /// model of the filter says which of the calls in them are summed up.
    pub fn blocks(&self, filter: &Filter, now_ms: i64) -> Result<Vec<Block>, ReadError> {
        let zone = Zone::new(&self.time_zone()?)?;
        let start = |day: Date| zone.start_ms(day);
        let since = filter.since.and_then(start).unwrap_or(LONG_AGO_MS);
        let next = filter.until.and_then(|day| day.tomorrow().ok()).and_then(start);
        let until = next.unwrap_or(i64::MAX);
        let mut blocks = self.blocks_between(filter, since, until, now_ms)?;
        blocks.retain(|block| block.last_ts_ms >= since && block.first_ts_ms < until);
        blocks.retain(|block| block.figures.message_count > 0);
        Ok(blocks)
    }

    /// The block of now, if there is one, also if nothing in it passes the filter.
    pub fn running_block(&self, filter: &Filter, now_ms: i64) -> Result<Option<Block>, ReadError> {
        let blocks = self.blocks_between(filter, now_ms, now_ms.saturating_add(1), now_ms)?;
        Ok(blocks.into_iter().find(|block| block.is_running))
    }

    fn blocks_between(
        &self,
        filter: &Filter,
        since: i64,
        until: i64,
        now_ms: i64,
    ) -> Result<Vec<Block>, ReadError> {
        self.read(|db| {
            Ok(match filter.resolve(db)? {
                Ok(filter) => {
                    let from = beginning(db, &filter, since)?;
                    Ok(blocks_from(db, &filter, from, until, now_ms)?)
                }
                Err(unknown) => Err(unknown),
            })
        })?
    }
}

/// The first call of the block that `since` lies in or comes before. Each step of five hours, back to a
/// pause and forth again, takes a look or two at the index and not at every call.
fn beginning(db: &Connection, filter: &Resolved, since: i64) -> rusqlite::Result<i64> {
    let (before, values) = calls(filter, "ts_ms", "ts_ms < ?", "ts_ms DESC LIMIT 1");
    let (after, _) = calls(filter, "ts_ms", "ts_ms >= ?", "ts_ms LIMIT 1");
    let look = |sql: &str, ms: i64| -> rusqlite::Result<Option<i64>> {
        let values = values.iter().cloned().chain([ms.into()]);
        db.prepare_cached(sql)?.query_row(params_from_iter(values), |row| row.get(0)).optional()
    };
    let mut first = since;
    while let Some(last) = look(&before, first)? {
        let begin = last - BLOCK_MS;
        if first - BLOCK_MS >= last {
            break;
        }
        // Between calls within five hours there is no pause of five hours.
        first = look(&after, begin + 1)?.unwrap_or(last);
    }
    loop {
        let end = Block::at(first).end_ms;
        match look(&after, end)?.filter(|next| end <= since && *next <= since) {
            Some(next) => first = next,
            None => return Ok(first),
        }
    }
}

fn blocks_from(
    db: &Connection,
    filter: &Resolved,
    from: i64,
    until: i64,
    now_ms: i64,
) -> rusqlite::Result<Vec<Block>> {
    let (conditions, mut values) = filter.but_providers().conditions_but_days();
    let is_meant = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
    let columns = format!(
        "ts_ms, input_tokens, output_tokens, cache_read_tokens, cache_create_tokens, cost_nanousd,
        model, {is_meant}"
    );
    let (sql, of_whom) = calls(filter, &columns, "ts_ms >= ? AND ts_ms < ?", "ts_ms");
    values.extend(of_whom);
    values.extend([from.into(), until.into()]);
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut blocks: Vec<Block> = Vec::new();
    while let Some(row) = rows.next()? {
        let ts_ms = row.get(0)?;
        match blocks.last_mut().filter(|block| ts_ms < block.end_ms) {
            Some(block) => block.add(row, ts_ms)?,
            None => {
                let mut block = Block::at(ts_ms);
                block.add(row, ts_ms)?;
                blocks.push(block);
            }
        }
    }
    if let Some(last) = blocks.last_mut() {
        last.is_running = (last.start_ms..last.end_ms).contains(&now_ms);
    }
    Ok(blocks)
}

impl Block {
    fn at(ts_ms: i64) -> Self {
        let start_ms = ts_ms - ts_ms.rem_euclid(HOUR_MS);
        Self {
            start_ms,
            end_ms: start_ms + BLOCK_MS,
            first_ts_ms: ts_ms,
            last_ts_ms: ts_ms,
            ..Self::default()
        }
    }

    fn add(&mut self, row: &Row<'_>, ts_ms: i64) -> rusqlite::Result<()> {
        self.last_ts_ms = ts_ms;
        if !row.get::<_, bool>(7)? {
            return Ok(());
        }
        let cost: Option<i64> = row.get(5)?;
        self.figures += Figures {
            message_count: 1,
            input_tokens: row.get(1)?,
            output_tokens: row.get(2)?,
            cache_read_tokens: row.get(3)?,
            cache_create_tokens: row.get(4)?,
            cost_nanousd: cost.unwrap_or(0),
            unpriced_count: i64::from(cost.is_none()),
        };
        let model = row.get_ref(6)?.as_str()?;
        if !self.models.contains(model) {
            self.models.insert(model.to_owned());
        }
        Ok(())
    }
}

/// A question about calls of the agents that are meant, in the order of time, and its first values.
fn calls(
    filter: &Resolved,
    columns: &str,
    times: &str,
    order: &str,
) -> (String, Vec<rusqlite::types::Value>) {
    let (mut conditions, values) = filter.only_providers().conditions_but_days();
    conditions.push("role = 'assistant'".to_owned());
    conditions.push(times.to_owned());
    let sql = format!(
        "SELECT {columns} FROM usage_events INDEXED BY usage_events_ts_ms
         WHERE {} ORDER BY {order}",
        conditions.join(" AND ")
    );
    (sql, values)
}
