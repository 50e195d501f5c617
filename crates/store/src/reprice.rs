//! Prices stored calls anew, on request only: a new price book never changes history by itself.
//!
//! A row changes when its cost or the kind of its source does. A price that comes out the same is
//! left alone, whichever version of the book it was taken from, so that doing it again changes
//! nothing. What the agent logged itself is the price of its call and comes out the same, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use rusqlite::Connection;
use usage::pricing::PriceBook;

use crate::events::Log;
use crate::row;

/// Calls of one transaction: a kill between two of them leaves the rest for the next time.
pub(crate) const STEP: usize = 1_000;

/// The calls to price anew.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Only those that had no price.
    pub unpriced: bool,
    /// Only those from this day on.
    pub since: Option<Date>,
}

/// What pricing anew did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repriced {
    /// Calls looked at.
    pub calls: u64,
    /// Calls whose price changed.
    pub changed: u64,
    /// What the calls looked at cost before and after.
    pub before_nanousd: i64,
    pub after_nanousd: i64,
    /// Models of the calls looked at that have no price after it either.
    pub unpriced: BTreeMap<Arc<str>, u64>,
}

/// Looks at the next calls in the caller's transaction; answers the position to go on after.
pub(crate) fn reprice(
    db: &Connection,
    log: &mut Log<'_>,
    prices: &PriceBook,
    which: &Which,
    (after, end): (i64, i64),
    repriced: &mut Repriced,
) -> rusqlite::Result<i64> {
    let calls = row::calls(db, which, (after, end), STEP)?;
    let reached = if calls.len() < STEP { end } else { calls.last().map_or(end, |call| call.id) };
    for old in calls {
        let price = prices.price(&old.event);
        repriced.calls += 1;
        repriced.before_nanousd += old.cost_nanousd.unwrap_or(0);
        repriced.after_nanousd += price.cost_nanousd.unwrap_or(0);
        if price.cost_nanousd.is_none() {
            *repriced.unpriced.entry(Arc::clone(&old.event.usage.model)).or_default() += 1;
        }
        if (price.cost_nanousd, price.source) != (old.cost_nanousd, old.cost_source) {
            repriced.changed += 1;
            log.correct(&old, old.event.clone(), old.usage_source)?;
        }
    }
    Ok(reached)
}
