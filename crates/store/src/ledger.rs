//! The write transactions, and what they need beside the connection.
//!
//! Plain functions, without a task or a channel: the writer calls them one at a time.

use std::sync::Arc;

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use usage::Batch;
use usage::pricing::PriceBook;

use crate::events::{self, Appended, Caches, Log};
use crate::marts::{self, Mart, Refresh};
use crate::recompute::recompute;
use crate::reprice::{self, Repriced, Which};
use crate::zone::Zone;
use crate::{checkpoints, meta};

/// What the one who writes knows: zone, prices, clock, and caches over the tables.
#[derive(Debug)]
pub(crate) struct Ledger {
    caches: Caches,
    zone: Zone,
    prices: Arc<PriceBook>,
    now_ms: fn() -> i64,
}

impl Ledger {
    pub(crate) fn new(zone: Zone, prices: Arc<PriceBook>, now_ms: fn() -> i64) -> Self {
        Self { caches: Caches::default(), zone, prices, now_ms }
    }

    pub(crate) fn time_zone(&self) -> &str {
        self.zone.name()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.now_ms)()
    }

    /// The prices of events appended from now on.
    pub(crate) fn set_prices(&mut self, prices: Arc<PriceBook>) {
        self.prices = prices;
    }

    /// Forgets what is remembered of the tables: the transaction that taught it did not last, or
    /// the connection is a new one.
    pub(crate) fn clear_caches(&mut self) {
        self.caches.clear();
    }

    /// Stores batches in order, each with its checkpoint: all of them or none.
    pub(crate) fn append(
        &mut self,
        db: &mut Connection,
        batches: &mut [Batch],
    ) -> rusqlite::Result<Appended> {
        batches.iter_mut().for_each(events::condense);
        let Self { caches, zone, prices, .. } = self;
        let appended = immediate(db).and_then(|tx| {
            let appended = events::append(&tx, caches, zone, prices, batches)?;
            tx.commit()?;
            Ok(appended)
        });
        match &appended {
            Ok(_) => self.caches.committed(),
            Err(_) => self.clear_caches(),
        }
        appended
    }

    /// Prices the next calls anew; answers the position to go on after.
    pub(crate) fn reprice(
        &mut self,
        db: &mut Connection,
        which: &Which,
        range: (i64, i64),
        repriced: &mut Repriced,
    ) -> rusqlite::Result<i64> {
        let Self { caches, zone, prices, .. } = self;
        let reached = immediate(db).and_then(|tx| {
            let mut log = Log::begin(&tx, caches, zone, prices)?;
            let reached = reprice::reprice(&tx, &mut log, prices, which, range, repriced)?;
            log.finish()?;
            tx.commit()?;
            Ok(reached)
        });
        if reached.is_err() {
            self.clear_caches();
        }
        reached
    }

    /// Drops the checkpoints of sources that are gone for good. Their rows stay.
    pub(crate) fn forget(&self, db: &mut Connection, source_ids: &[i64]) -> rusqlite::Result<()> {
        let tx = immediate(db)?;
        for source_id in source_ids {
            checkpoints::forget(&tx, *source_id)?;
        }
        tx.commit()
    }

    pub(crate) fn refresh(&self, db: &mut Connection) -> rusqlite::Result<Refresh> {
        marts::refresh(db, &marts::ALL, self.now_ms())
    }

    pub(crate) fn rebuild(
        &self,
        db: &mut Connection,
        marts: &[&Mart],
    ) -> rusqlite::Result<Refresh> {
        let mut tx = immediate(db)?;
        let rebuilt = marts::rebuild_within(&mut tx, marts.iter().copied(), self.now_ms())?;
        tx.commit()?;
        Ok(rebuilt)
    }

    pub(crate) fn rebuild_all(&mut self, db: &mut Connection) -> rusqlite::Result<Refresh> {
        let mut tx = immediate(db)?;
        recompute(&tx, &mut self.zone)?;
        let rebuilt = marts::rebuild_within(&mut tx, &marts::ALL, self.now_ms())?;
        tx.commit()?;
        Ok(rebuilt)
    }
}

/// Counts all days anew in another zone: events, cells and marts change together.
pub(crate) fn change_zone(
    db: &mut Connection,
    mut zone: Zone,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let rules = zone.clone();
    db.create_scalar_function("local_day", 1, flags, move |call| {
        Ok(rules.clone().day(call.get(0)?).to_string())
    })?;
    let mut tx = immediate(db)?;
    tx.execute_batch(
        "UPDATE usage_events SET day_number = unixepoch(local_day(ts_ms)) / 86400
         WHERE day <> local_day(ts_ms)",
    )?;
    recompute(&tx, &mut zone)?;
    meta::set(&tx, meta::TIME_ZONE, zone.name())?;
    marts::rebuild_within(&mut tx, &marts::ALL, now_ms)?;
    tx.commit()
}

/// Every write transaction takes its lock at once: one that reads first and writes later can fail
/// without waiting.
fn immediate(db: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    db.transaction_with_behavior(TransactionBehavior::Immediate)
}
