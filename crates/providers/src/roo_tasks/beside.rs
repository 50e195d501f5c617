//! What stands beside a task: its item in the history of tasks, and its conversation with the model,
//! which tells the model what it is called.

use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::Surroundings;
use crate::record::{Json, Read};
use crate::tasks::CONVERSATION;

/// What the history says of a task. Older versions keep it where it cannot be read.
#[derive(Default)]
pub(super) struct HistoryItem {
    pub(super) workspace: Option<Arc<str>>,
    /// Another task has asked for this one.
    pub(super) is_subtask: bool,
}

impl HistoryItem {
    pub(super) fn read(folder: &Path, around: &dyn Surroundings) -> Self {
        let mut item = Self::default();
        let Some(bytes) = around.file(&folder.join("history_item.json")) else { return item };
        let read = Json::new(&bytes).object(|name, json| {
            match name {
                "workspace" => item.workspace = json.text()?.map(Into::into),
                "parentTaskId" => item.is_subtask = json.text()?.is_some(),
                _ => {}
            }
            Ok(())
        });
        // What could be read of a damaged one is as true as the whole.
        _ = read;
        item
    }
}

/// The models that a task's conversation names, and how far it was read.
///
/// It may be megabytes, and a task is saved many times for each request. So it is read once for each
/// request, and what it has said is remembered.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Models {
    /// Each time another one was named; the last one is the latest.
    named: Vec<(i64, Arc<str>)>,
    /// Time of the newest call that was looked up.
    asked_ms: i64,
}

/// Most changes of the model that are remembered. Real tasks have a handful.
const MAX_MODELS: usize = 64;

/// Longer names are junk.
const MAX_NAME: usize = 200;

impl Models {
    /// Sees to it that what was told the model up to the newest call is known.
    pub(super) fn look_up(&mut self, newest_ms: i64, folder: &Path, around: &dyn Surroundings) {
        if newest_ms <= self.asked_ms {
            return;
        }
        self.asked_ms = newest_ms;
        let Some(bytes) = around.file(&folder.join(CONVERSATION)) else { return };
        let mut found = Vec::new();
        let read = Json::new(&bytes).array(|json| read_message(json, &mut found));
        // What could be read of a damaged one is as true as the whole.
        _ = read;
        // Conversations are put in short: what was said first may be gone from them.
        if let Some((first_ms, _)) = found.first() {
            self.named.retain(|(ms, _)| ms < first_ms);
            self.named.append(&mut found);
        }
        self.named.dedup_by(|later, earlier| later.1 == earlier.1);
        let excess = self.named.len().saturating_sub(MAX_MODELS);
        self.named.drain(..excess);
    }

    /// The model that was named last before a time. That of a request is named once the request has
    /// begun, and before the next one does.
    pub(super) fn told_before(&self, until_ms: i64) -> Option<Arc<str>> {
        let earlier = self.named.iter().rev().find(|(ms, _)| *ms < until_ms);
        earlier.or(self.named.first()).map(|(_, model)| model.clone())
    }
}

/// Reads a message of a conversation, and the model that it names.
fn read_message(json: &mut Json<'_>, found: &mut Vec<(i64, Arc<str>)>) -> Read<()> {
    let (mut is_answer, mut ts_ms, mut model) = (false, None, None);
    json.object(|name, json| {
        match name {
            "role" => is_answer = json.text()?.as_deref() == Some("assistant"),
            "ts" => ts_ms = json.count()?.time_ms(),
            "content" => {
                let bytes = json.rest();
                let start = json.offset();
                json.skip()?;
                model = model_in(&bytes[..json.offset() - start]);
            }
            _ => {}
        }
        Ok(())
    })?;
    let last_ms = found.last().map_or(0, |(ms, _)| *ms);
    if let Some(model) = model.filter(|_| !is_answer)
        && found.last().is_none_or(|(_, last)| *last != model)
    {
        found.push((ts_ms.unwrap_or(last_ms).max(last_ms), model));
    }
    Ok(())
}

/// The model in what a model is told of its surroundings. `json` is JSON in which that stands
/// somewhere, at the end and behind all that may look like it.
fn model_in(json: &[u8]) -> Option<Arc<str>> {
    const BEFORE: &[u8] = br"# Current Mode\n";
    const OPEN: &[u8] = b"<model>";

    let mode = &json[memmem::rfind(json, BEFORE)?..];
    let name = &mode[memmem::find(mode, OPEN)? + OPEN.len()..];
    let name = &name[..memmem::find(name, b"</model>")?];
    let quoted = [b"\"", name, b"\""].concat();
    let name = Json::new(&quoted).text().ok()??;
    (name.len() <= MAX_NAME).then(|| name.as_ref().into())
}
