//! Databases of other programs: one short question a turn, from where the last one ended.

use std::fs;

use providers::{Database, Parsed};
use usage::{Batch, Skips};

use crate::fingerprint;
use crate::foreign::{self, ForeignError};
use crate::read::{Next, ReadError};
use crate::whole::Whole;

impl Whole<'_> {
    /// Asks a database for what is new.
    pub(crate) fn database(&self, database: &dyn Database) -> Result<(Batch, Next), ReadError> {
        let path = &self.source.path;
        let failed = |error: ForeignError| ReadError::Database { path: path.clone(), error };
        let metadata = fs::symlink_metadata(path).map_err(|e| failed(e.into()))?;
        let now = fingerprint::of(&metadata);
        let mut checkpoint = self.read_checkpoint();
        let before = std::mem::replace(&mut checkpoint.fingerprint, now.clone());
        let is_other = before.ino != 0 && !fingerprint::same_file(&before, &now);
        if is_other || self.is_new() {
            checkpoint.state.clear();
            checkpoint.skips = Skips::default();
            checkpoint.lines = 0;
        }
        checkpoint.generation += u32::from(is_other);
        let mut out = Parsed::default();
        let progress = foreign::ask(path, self.around.scratch(), self.attempt, |db| {
            database.read(self.source, db, &**self.around, &checkpoint.state, &mut out)
        });
        let progress = progress.map_err(failed)?;
        checkpoint.state = progress.state;
        checkpoint.lines += progress.rows;
        checkpoint.skips.merge(&out.skips);
        let newest = out.events.iter().map(|event| event.ts_ms).max();
        checkpoint.last_event_ms = checkpoint.last_event_ms.max(newest);
        let unread = now.size.saturating_sub(checkpoint.offset);
        let bytes = if progress.more { 0 } else { unread };
        checkpoint.offset += bytes;
        let batch = Batch {
            events: out.events,
            retracted: out.retracted,
            checkpoint,
            bytes,
            lines: progress.rows,
            // Its owner deletes rows as it likes: that one is not stated again says nothing of it.
            complete: false,
            restates: false,
            amends: true,
        };
        Ok((batch, if progress.more { Next::More } else { Next::End }))
    }
}
