//! How far a table of messages was read: what is left behind between two turns.
//!
//! Rows are read in the order of their rowids. These are stable while the agent inserts, updates and
//! deletes, but the largest ones are given again after a deletion, and a table that is rebuilt has
//! all of them numbered anew, in the same order. So some rows are remembered with their places: as
//! long as the last of them stands where it stood, nothing before it has moved. Otherwise reading
//! goes on from one that does.

use serde::{Deserialize, Serialize};

/// How far a table was read.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Cursor {
    /// Rows once read and where they stood; ascending, the last one is how far was read.
    marks: Vec<(i64, String)>,
    /// The latest time of a change that was seen.
    pub(super) updated_ms: i64,
    /// Ids of messages that say too little yet: oldest first.
    waiting: Vec<String>,
}

impl Cursor {
    /// The rowid up to which rows were read.
    pub(crate) fn rowid(&self) -> i64 {
        self.marks.last().map_or(0, |(rowid, _)| *rowid)
    }

    /// Goes back to the last mark that still stands: `id_at` tells which row has a rowid now.
    pub(crate) fn rewind<E>(
        &mut self,
        mut id_at: impl FnMut(i64) -> Result<Option<String>, E>,
    ) -> Result<(), E> {
        while let Some((rowid, id)) = self.marks.last() {
            if id_at(*rowid)?.as_ref() == Some(id) {
                break;
            }
            self.marks.pop();
        }
        Ok(())
    }

    /// Remembers the row up to which was read now.
    pub(crate) fn advance(&mut self, rowid: i64, id: String) {
        self.marks.push((rowid, id));
        // The farther back, the sparser: the first and the last of those that are back by the same
        // power of two. A few dozen reach over any table.
        let power = |at: &(i64, String)| rowid.saturating_sub(at.0).unsigned_abs().leading_zeros();
        let powers: Vec<u32> = self.marks.iter().map(power).collect();
        let mut is_kept = (0..powers.len()).map(|at| {
            let is_first = at == 0 || powers[at - 1] != powers[at];
            is_first || powers.get(at + 1) != Some(&powers[at])
        });
        self.marks.retain(|_| is_kept.next().unwrap_or(true));
    }

    pub(super) fn take_waiting(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }

    /// Has a message looked at again by every turn, at most `limit` of them. One that the agent left
    /// behind incomplete would wait for ever: the newest ones stay.
    pub(super) fn wait_for(&mut self, id: String, limit: usize) {
        if !self.waiting.contains(&id) {
            self.waiting.push(id);
        }
        let excess = self.waiting.len().saturating_sub(limit);
        self.waiting.drain(..excess);
    }
}
