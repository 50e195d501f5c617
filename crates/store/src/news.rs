//! What changed in the marts since somebody looked: what followers of the stream are told.

use rusqlite::{Connection, params};

use crate::meta;
use crate::reader::{Watermark, watermarks};

/// So many positions are followed day by day; whoever missed more is told that all may have changed.
const MOST_MISSED: i64 = 100_000;

/// A state of the marts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub epoch: i64,
    /// The position that all marts are correct up to.
    pub position: i64,
}

/// The marts now, and what changed in them.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    pub now: Moment,
    /// Whether any mart has moved since the moment that was asked about.
    pub is_new: bool,
    pub watermarks: Vec<Watermark>,
    pub today: Today,
    /// `None` where anything may have changed.
    pub dirty_days: Option<Vec<String>>,
}

/// What was used today, in the time zone that days are counted in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Today {
    pub day: String,
    pub message_count: i64,
    pub user_message_count: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_create_tokens: i64,
    pub cost_nanousd: i64,
    pub unpriced_count: i64,
}

pub(crate) fn news(
    db: &Connection,
    since: Option<Moment>,
    today: &str,
) -> rusqlite::Result<News> {
    let watermarks = watermarks(db)?;
    let positions = || watermarks.iter().map(|mart| mart.last_event_id);
    // A mart whose refresh failed stays behind; what it missed is named until it has caught up.
    let now = Moment { epoch: meta::epoch(db)?, position: positions().min().unwrap_or(0) };
    let newest = positions().max().unwrap_or(0);
    let is_new = since.is_none_or(|since| {
        since.epoch != now.epoch || since.position != now.position || newest > now.position
    });
    // A position yet to come was told by another database.
    let followed = since.filter(|since| {
        since.epoch == now.epoch && (newest - MOST_MISSED..=newest).contains(&since.position)
    });
    let dirty_days = followed.map(|since| dirty_days(db, since.position)).transpose()?;
    let today = totals_of(db, today)?;
    Ok(News { now, is_new, watermarks, today, dirty_days })
}

/// The days of all cells beyond a position. Some may be ahead of the marts: they are named again
/// once the marts have followed.
fn dirty_days(db: &Connection, position: i64) -> rusqlite::Result<Vec<String>> {
    const DIRTY_DAYS: &str = "SELECT DISTINCT day
        FROM usage_cells INDEXED BY usage_cells_last_event_id
        WHERE last_event_id > ?1 ORDER BY day";
    db.prepare_cached(DIRTY_DAYS)?.query_map([position], |row| row.get(0))?.collect()
}

fn totals_of(db: &Connection, day: &str) -> rusqlite::Result<Today> {
    const TODAY: &str = "SELECT ifnull(sum(message_count), 0), ifnull(sum(user_message_count), 0),
            ifnull(sum(input_tokens), 0), ifnull(sum(output_tokens), 0),
            ifnull(sum(cache_read_tokens), 0), ifnull(sum(cache_create_tokens), 0),
            ifnull(sum(cost_nanousd), 0), ifnull(sum(unpriced_count), 0)
        FROM provider_day_mart WHERE day = ?1";
    db.prepare_cached(TODAY)?.query_row(params![day], |row| {
        Ok(Today {
            day: day.to_owned(),
            message_count: row.get(0)?,
            user_message_count: row.get(1)?,
            input_tokens: row.get(2)?,
            output_tokens: row.get(3)?,
            cache_read_tokens: row.get(4)?,
            cache_create_tokens: row.get(5)?,
            cost_nanousd: row.get(6)?,
            unpriced_count: row.get(7)?,
        })
    })
}
