//! What changed in the marts since somebody looked: what followers of the stream are told.

use jiff::civil::Date;
use rusqlite::Connection;

use crate::filter::Filter;
use crate::reader::{Watermark, watermarks};
use crate::report::{Figures, figures_of};
use crate::{ReadError, meta};

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
    /// In the zone that days are counted in.
    pub today: Date,
    pub figures_today: Figures,
    /// `None` where anything may have changed.
    pub dirty_days: Option<Vec<String>>,
}

pub(crate) fn news(
    db: &Connection,
    since: Option<Moment>,
    today: Date,
) -> rusqlite::Result<Result<News, ReadError>> {
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
    let figures = figures_of(db, &Filter::day(today))?;
    Ok(figures.map(|figures_today| News {
        now,
        is_new,
        watermarks,
        today,
        figures_today,
        dirty_days,
    }))
}

pub(crate) const DIRTY_DAYS: &str = "SELECT DISTINCT day
    FROM usage_cells INDEXED BY usage_cells_last_event_id
    WHERE last_event_id > ?1 ORDER BY day";

/// The days of all cells beyond a position. Some may be ahead of the marts: they are named again
/// once the marts have followed.
fn dirty_days(db: &Connection, position: i64) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(DIRTY_DAYS)?.query_map([position], |row| row.get(0))?.collect()
}
