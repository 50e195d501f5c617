//! What is counted: what a source states takes the place of what it stated itself; a key that was
//! retracted stays away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ingest::Output;
use usage::{EventKey, UsageEvent};

use crate::support::daemon::{Applied, Keep};
use crate::world::{Rows, call_of};

#[derive(Default)]
pub(crate) struct Statements {
    by_source: BTreeMap<i64, BTreeMap<EventKey, UsageEvent>>,
    retracted: BTreeSet<EventKey>,
    /// What was taken last.
    pub(crate) last: String,
}

impl Keep for Statements {
    fn keep(&mut self, output: &Output) {
        self.last = format!("{output:?}");
        let Output::Batch(batch) = output else { return };
        let source = batch.checkpoint.source_id;
        let stated = self.by_source.entry(source).or_default();
        for event in batch.events.iter().cloned() {
            assert_eq!(event.owner.source_id, source);
            let known = stated.remove(&event.key).filter(|_| !batch.amends);
            let event = match known {
                Some(known) => usage::merge(known, event),
                None => event,
            };
            if !self.retracted.contains(&event.key) {
                stated.insert(event.key.clone(), event);
            }
        }
        for key in &batch.retracted {
            self.by_source.values_mut().for_each(|stated| _ = stated.remove(key));
            self.retracted.insert(key.clone());
        }
    }
}

impl Applied<Statements> {
    /// What is counted, by the place of its source.
    pub(crate) fn rows(&self) -> Result<BTreeMap<PathBuf, Rows>, String> {
        let mut rows: BTreeMap<PathBuf, Rows> = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for (source, statements) in &self.kept.by_source {
            let path = self.checkpoints.get(source).map(|checkpoint| checkpoint.path.clone());
            let path = path.ok_or_else(|| format!("{statements:?} without a checkpoint"))?;
            let rows = rows.entry(path).or_default();
            for event in statements.values() {
                let (call, version) = call_of(event);
                if keys.insert(call, &event.key).is_some_and(|key| *key != event.key) {
                    return Err(format!("call {call} is counted under two keys"));
                }
                if rows.insert(call, version).is_some() {
                    return Err(format!("two sources at one place state call {call}"));
                }
            }
        }
        Ok(rows)
    }
}
