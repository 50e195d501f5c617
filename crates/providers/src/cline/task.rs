//! Tasks: a list of what was said, where the entry of a request is filled in once it has ended.
//!
//! What a request used is JSON inside of the entry's text, behind the whole request. When a person
//! goes back in a task, the entries behind that point are deleted, and one entry says what they used in
//! all. Who has counted them must not count that entry, and who has not must: it counts if
//! it was there when the task was read for the first time.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Skip, Source};

use super::beside::Beside;
use super::{NO_DIRECTORY, VERSION, inner_agent, vendor};
use crate::record::{Json, NotJson, Read, nanousd};
use crate::tasks::{Author, Entry, Request, directory_in, name_of, read_request};
use crate::{Document, Parsed, Surroundings, Torn};

pub(super) struct Task;

/// The entry that says what deleted ones used.
const DELETED: &str = "deleted_api_reqs";
/// The entry that says what a subagent has used for what it was told to do.
const SUBAGENT: &str = "subagent_usage";

/// What is known of a task that was read before.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Time of the last entry about deleted ones that was there at the first reading. All of those
    /// are counted, and none that came later.
    deleted_until_ms: i64,
    /// The directory, once it is known: it does not change.
    directory: Option<Arc<str>>,
}

impl Document for Task {
    fn parse(
        &self,
        source: &Source,
        bytes: &[u8],
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<String, Torn> {
        let mut reader = Reader::new(source, around, state);
        let mut json = Json::new(bytes);
        let is_array = json.array(|json| reader.entry(json)).map_err(|NotJson| Torn)?;
        if json.peek().is_some() {
            return Err(Torn);
        }
        if !is_array {
            reader.stated.skips.add(Skip::NotAnObject);
        }
        Ok(reader.finish(out))
    }
}

/// Reads the entries of a task, in order.
struct Reader<'r> {
    author: Author,
    around: &'r dyn Surroundings,
    beside: Beside<'r>,
    task_id: &'r str,
    source_id: i64,
    is_first_reading: bool,
    state: State,
    /// The directory that a request mentions.
    directory_in_request: Option<Arc<str>>,
    entries: u64,
    stated: Parsed,
}

impl<'r> Reader<'r> {
    fn new(source: &'r Source, around: &'r dyn Surroundings, state: &str) -> Self {
        let folder = source.path.parent().unwrap_or(Path::new(""));
        Self {
            author: Author::new(source, VERSION),
            around,
            beside: Beside::new(folder, around),
            task_id: name_of(folder),
            source_id: source.id,
            is_first_reading: state.is_empty(),
            state: serde_json::from_str(state).unwrap_or_default(),
            directory_in_request: None,
            entries: 0,
            stated: Parsed::default(),
        }
    }

    fn entry(&mut self, json: &mut Json<'_>) -> Read<()> {
        let is_first = self.entries == 0;
        self.entries += 1;
        let Some(entry) = Entry::read(json)? else {
            self.stated.skips.add(Skip::NotAnObject);
            return Ok(());
        };
        let counted = match entry.said() {
            // The oldest versions state in an entry of its own that a request has ended.
            Some("api_req_started" | "api_req_finished" | SUBAGENT | DELETED) => self.call(&entry),
            Some("task" | "user_feedback") => self.prompt(&entry),
            // What the task is, as the oldest versions say it.
            Some("text") if is_first => self.prompt(&entry),
            _ => Ok(()),
        };
        if let Err(skip) = counted {
            self.stated.skips.add(skip);
        }
        Ok(())
    }

    fn call(&mut self, entry: &Entry<'_>) -> Result<(), Skip> {
        let text = entry.nested();
        if text.is_empty() {
            return Ok(());
        }
        if self.state.directory.is_none() && self.directory_in_request.is_none() {
            self.directory_in_request = directory_in(text.as_bytes());
        }
        let Request { figures, .. } = read_request(&text)?;
        let mut flags = Flags::default();
        let tokens = figures.tokens(&mut flags)?;
        if matches!(entry.say.as_deref(), Some(SUBAGENT | DELETED)) {
            flags.insert(Flags::SUM);
        }
        // Zero is what the agent writes for a model whose price it does not know.
        let cost = figures.cost.and_then(nanousd);
        if tokens.total() == 0 && cost.is_none() {
            // It is still running, or was ended before the model answered.
            return Ok(());
        }
        let ts_ms = entry.ts_ms.ok_or(Skip::BadField)?;
        let key = self.key(entry, ts_ms);
        if entry.say.as_deref() == Some(DELETED) && self.is_counted_apart(ts_ms) {
            self.stated.retracted.push(EventKey::new(&key));
            return Err(Skip::Replayed);
        }
        let used;
        let (model, provider) = if entry.model.is_some() {
            (entry.model.as_deref(), entry.provider.as_deref())
        } else {
            used = self.beside.model_at(ts_ms);
            (used.model.as_deref(), used.provider.as_deref())
        };
        if provider.and_then(inner_agent).is_some_and(|agent| self.around.reads(agent)) {
            return Err(Skip::Replayed);
        }
        let vendor = vendor(provider);
        let mut call = self.author.call(&key, ts_ms, model, (tokens, cost, flags));
        call.usage.vendor = vendor;
        self.stated.events.push(call);
        Ok(())
    }

    /// Whether the entries that one about deleted ones stands for have been counted themselves.
    fn is_counted_apart(&mut self, ts_ms: i64) -> bool {
        if self.is_first_reading {
            self.state.deleted_until_ms = self.state.deleted_until_ms.max(ts_ms);
        }
        ts_ms > self.state.deleted_until_ms
    }

    fn prompt(&mut self, entry: &Entry<'_>) -> Result<(), Skip> {
        if !entry.is_prompt() {
            return Ok(());
        }
        let ts_ms = entry.ts_ms.ok_or(Skip::BadField)?;
        let key = self.key(entry, ts_ms);
        self.stated.events.push(self.author.prompt(&key, ts_ms, Flags::default()));
        Ok(())
    }

    fn key(&self, entry: &Entry<'_>, ts_ms: i64) -> String {
        let say = entry.say.as_deref().unwrap_or_default();
        format!("cline-legacy:{}:{ts_ms}:{say}", self.task_id)
    }

    /// Hands out what was read, and the state.
    fn finish(mut self, out: &mut Parsed) -> String {
        if self.state.directory.is_none() && !self.stated.events.is_empty() {
            let listed = self.beside.directory().or(self.directory_in_request);
            self.state.directory = listed.or_else(|| self.beside.directory_in_conversation());
        }
        let owner = Owner {
            session_id: self.task_id.into(),
            project: self.state.directory.clone().unwrap_or_else(|| NO_DIRECTORY.into()),
            is_sidechain: false,
            account: None,
            agent: None,
            client: None,
            source_id: self.source_id,
        };
        self.stated.events.iter_mut().for_each(|event| event.owner = owner.clone());
        out.events.append(&mut self.stated.events);
        out.retracted.append(&mut self.stated.retracted);
        out.skips.merge(&self.stated.skips);
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}
