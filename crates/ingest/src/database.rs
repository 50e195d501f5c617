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
        // The newest rows are asked for again and again: they may have changed within the time that
        // their owner's clock tells apart.
        if progress.rows == 0 {
            let said = format!("{:?}{:?}", out.events, out.retracted);
            fingerprint::set_content(&mut checkpoint.fingerprint, said.as_bytes());
            let is_said = checkpoint.fingerprint.marker_hash == before.marker_hash;
            if is_said && !is_other && !self.is_new() {
                out.events.clear();
                out.retracted.clear();
            }
        }
        let newest = out.events.iter().map(|event| event.ts_ms).max();
        checkpoint.last_event_ms = checkpoint.last_event_ms.max(newest);
        let unread = now.size.saturating_sub(checkpoint.offset);
        let bytes = if progress.more { 0 } else { unread };
        checkpoint.offset += bytes;
        let batch = Batch {
            events: out.events,
            retracted: out.retracted,
            withdrawn: Vec::new(),
            checkpoint,
            bytes,
            lines: progress.rows,
            // Its owner deletes rows as it likes: that one is not stated again says nothing of it.
            complete: false,
            restates: false,
            amends: true,
            heard: None,
        };
        Ok((batch, if progress.more { Next::More } else { Next::End }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use providers::{DatabaseError, Env, Progress, Provider, Storage, Surroundings};
    use rusqlite::Connection;
    use usage::{Checkpoint, EventKey, Source};

    use super::*;
    use crate::document::tests::call;
    use crate::surroundings::Disk;

    /// Each row of `t` is a call; the last one is stated in every turn.
    struct Letters;

    impl Provider for Letters {
        fn id(&self) -> &'static str {
            "letters"
        }

        fn version(&self) -> u32 {
            1
        }

        fn roots(&self, _env: &Env) -> Vec<PathBuf> {
            Vec::new()
        }

        fn is_source(&self, _root: &Path, _path: &Path) -> bool {
            true
        }

        fn storage(&self, _path: &Path) -> Storage {
            Storage::Database(&Self)
        }
    }

    impl Database for Letters {
        fn read(
            &self,
            source: &Source,
            db: &Connection,
            _around: &dyn Surroundings,
            state: &str,
            out: &mut Parsed,
        ) -> Result<Progress, DatabaseError> {
            let before: i64 = state.parse().unwrap_or_default();
            let mut query =
                db.prepare("SELECT rowid, n FROM t WHERE rowid >= ?1 ORDER BY rowid")?;
            let mut rows = query.query([before])?;
            let mut last = before;
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                out.events.push(call(&row.get::<_, String>(1)?, source));
            }
            let rows = u64::try_from(last - before).unwrap();
            Ok(Progress { state: last.to_string(), rows, more: false })
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the owner of the database")]
    fn what_a_database_has_said_is_not_handed_over_again_and_what_it_says_anew_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let owner = Connection::open(&path).unwrap();
        owner.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES ('a'), ('b')").unwrap();
        let source = Source {
            id: 1,
            provider: "letters",
            path: path.clone(),
            root: dir.path().to_owned(),
            mtime_ms: 0,
        };
        let mut checkpoint = Checkpoint::at_start(1, "letters", path, 1);
        let mut turn = |reread| {
            let whole = Whole {
                source: &source,
                provider: &Letters,
                checkpoint: &checkpoint,
                reread,
                around: &Arc::new(Disk::new(Arc::new([]), None, 0)),
                attempt: 0,
            };
            let (batch, _) = whole.database(&Letters).unwrap();
            let is_news = batch.checkpoint != checkpoint;
            checkpoint = batch.checkpoint;
            let keys = batch.events.into_iter().map(|event| event.key);
            (keys.collect::<Vec<EventKey>>(), is_news)
        };
        let keys = |keys: &[&str]| keys.iter().map(|key| EventKey::new(key)).collect::<Vec<_>>();
        assert_eq!(turn(false), (keys(&["a", "b"]), true));
        assert_eq!(turn(false), (keys(&["b"]), true));
        assert_eq!(turn(false), (keys(&[]), false));
        owner.execute_batch("UPDATE t SET n = 'c' WHERE n = 'b'").unwrap();
        assert_eq!(turn(false), (keys(&["c"]), true));
        assert_eq!(turn(false), (keys(&[]), false));
        assert_eq!(turn(true).0, keys(&["a", "c"]), "somebody asked for it");
    }
}
