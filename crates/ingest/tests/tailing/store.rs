//! What is counted: an event is merged with what is known under its key.

use std::collections::BTreeMap;

use ingest::Output;
use usage::{EventKey, UsageEvent};

use crate::record::{Agent, Rows, add};
use crate::support::daemon::{Applied, Keep};

#[derive(Default)]
pub(crate) struct Events(BTreeMap<EventKey, UsageEvent>);

impl Keep for Events {
    fn keep(&mut self, output: &Output) {
        let Output::Batch(batch) = output else { return };
        for event in batch.events.iter().cloned() {
            let known = self.0.remove(&event.key);
            let merged = match known {
                Some(known) => usage::merge(known, event),
                None => event,
            };
            self.0.insert(merged.key.clone(), merged);
        }
        for key in &batch.retracted {
            self.0.remove(key);
        }
    }
}

impl Applied<Events> {
    /// What is counted, or an event that no record stands for.
    pub(crate) fn rows(&self, agent: Agent) -> Result<Rows, String> {
        let mut rows = Rows::new();
        for event in self.kept.0.values() {
            let row = agent.row_of(event);
            let (call, version) = row.ok_or_else(|| format!("no record says {event:?}"))?;
            add(&mut rows, call, version);
        }
        Ok(rows)
    }
}
