//! A task: a list of what was said, where the entry of a request is filled in once it has ended.
//!
//! What the input of a request is has changed once, and no task says which version wrote it: its time
//! decides.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Skip, Source, Tokens};

use super::RooTasks;
use super::beside::{HistoryItem, Models};
use crate::record::{Json, NotJson, Read, nanousd};
use crate::tasks::{
    Author, Entry, Request, directory_in, directory_in_conversation, name_of, read_request,
};
use crate::{Document, Parsed, Surroundings, Torn};

/// 2025-10-31T00:00:00Z: what was read from the cache or written to it is part of the input since
/// then, whoever served the request.
const CACHE_IS_INPUT_SINCE_MS: i64 = 1_761_868_800_000;

/// What is known of a task that was read before.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The directory, once it is known: it does not change.
    directory: Option<Arc<str>>,
    models: Models,
}

impl Document for RooTasks {
    fn parse(
        &self,
        source: &Source,
        bytes: &[u8],
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<String, Torn> {
        let mut reader = Reader::new(self, source);
        let mut json = Json::new(bytes);
        let is_array = json.array(|json| reader.entry(json)).map_err(|NotJson| Torn)?;
        if json.peek().is_some() {
            return Err(Torn);
        }
        if !is_array {
            reader.stated.skips.add(Skip::NotAnObject);
        }
        Ok(reader.finish(around, serde_json::from_str(state).unwrap_or_default(), out))
    }
}

/// Reads the entries of a task, in order.
struct Reader<'r> {
    prefix: &'static str,
    source: &'r Source,
    folder: &'r Path,
    author: Author,
    entries: u64,
    /// The key of what the task is: a prompt, unless another task has asked for it.
    first_prompt: Option<EventKey>,
    calls: Vec<Call>,
    /// A directory that a request mentions: older versions keep requests in their entries.
    directory_in_request: Option<Arc<str>>,
    stated: Parsed,
}

/// A call among the events, whose model is not known yet.
struct Call {
    event: usize,
    /// When the next request began.
    until_ms: i64,
}

impl<'r> Reader<'r> {
    fn new(tasks: &RooTasks, source: &'r Source) -> Self {
        Self {
            prefix: tasks.prefix,
            source,
            folder: source.path.parent().unwrap_or(Path::new("")),
            author: Author::new(source, tasks.version),
            entries: 0,
            first_prompt: None,
            calls: Vec::new(),
            directory_in_request: None,
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
            Some("api_req_started") => {
                self.end_calls(entry.ts_ms);
                self.request(&entry)
            }
            // The oldest versions state in an entry of its own that a request has ended.
            Some("api_req_finished") => self.request(&entry),
            Some("condense_context") => self.condensation(&entry),
            Some("text") if is_first => self.prompt(&entry).map(|key| self.first_prompt = key),
            Some("user_feedback") => self.prompt(&entry).map(drop),
            _ => Ok(()),
        };
        if let Err(skip) = counted {
            self.stated.skips.add(skip);
        }
        Ok(())
    }

    /// A request begins: what comes after is told to the model of another one.
    fn end_calls(&mut self, ts_ms: Option<i64>) {
        let Some(ts_ms) = ts_ms else { return };
        let open = self.calls.iter_mut().rev().take_while(|call| call.until_ms == i64::MAX);
        open.for_each(|call| call.until_ms = ts_ms);
    }

    fn request(&mut self, entry: &Entry<'_>) -> Result<(), Skip> {
        let text = entry.nested();
        if text.is_empty() {
            return Ok(());
        }
        if self.directory_in_request.is_none() {
            self.directory_in_request = directory_in(text.as_bytes());
        }
        let request = read_request(&text)?;
        let mut flags = Flags::default();
        let mut tokens = request.figures.tokens(&mut flags)?;
        // Zero is what is written for a model whose price is not known, and for subscriptions.
        let cost = request.figures.cost.and_then(nanousd);
        if tokens.total() == 0 && cost.is_none() {
            // It is still running, or was ended before the model answered.
            return Ok(());
        }
        let ts_ms = entry.ts_ms.ok_or(Skip::BadField)?;
        if is_cache_input(&request, ts_ms) {
            let cached = tokens.cache_read + tokens.cache_create;
            match tokens.input.checked_sub(cached) {
                Some(rest) => tokens.input = rest,
                // Versions come to people later than their date.
                None => flags.insert(Flags::CLAMPED),
            }
        }
        self.call(ts_ms, (tokens, cost, flags));
        Ok(())
    }

    /// What was said before was put in short. What that cost is all that is told of it.
    fn condensation(&mut self, entry: &Entry<'_>) -> Result<(), Skip> {
        let Some(cost) = entry.condensed_cost.and_then(nanousd) else { return Ok(()) };
        let ts_ms = entry.ts_ms.ok_or(Skip::BadField)?;
        self.call(ts_ms, (Tokens::default(), Some(cost), Flags::default()));
        Ok(())
    }

    fn call(&mut self, ts_ms: i64, figures: (Tokens, Option<i64>, Flags)) {
        let key = format!("{}:{}:{ts_ms}", self.prefix, name_of(self.folder));
        self.calls.push(Call { event: self.stated.events.len(), until_ms: i64::MAX });
        self.stated.events.push(self.author.call(&key, ts_ms, None, figures));
    }

    /// The key of the prompt, if it is one.
    fn prompt(&mut self, entry: &Entry<'_>) -> Result<Option<EventKey>, Skip> {
        if !entry.is_prompt() {
            return Ok(None);
        }
        let ts_ms = entry.ts_ms.ok_or(Skip::BadField)?;
        let key = format!("{}:{}:{ts_ms}:prompt", self.prefix, name_of(self.folder));
        let prompt = self.author.prompt(&key, ts_ms, Flags::default());
        let key = prompt.key.clone();
        self.stated.events.push(prompt);
        Ok(Some(key))
    }

    /// Hands out what was read, and the state.
    fn finish(mut self, around: &dyn Surroundings, mut state: State, out: &mut Parsed) -> String {
        if !self.stated.events.is_empty() {
            let item = HistoryItem::read(self.folder, around);
            if state.directory.is_none() {
                let listed = item.workspace.or(self.directory_in_request.take());
                state.directory = listed.or_else(|| directory_in_conversation(self.folder, around));
            }
            self.name_models(around, &mut state.models);
            self.name_owner(state.directory.clone(), item.is_subtask);
        }
        out.events.append(&mut self.stated.events);
        out.retracted.append(&mut self.stated.retracted);
        out.skips.merge(&self.stated.skips);
        serde_json::to_string(&state).unwrap_or_default()
    }

    fn name_models(&mut self, around: &dyn Surroundings, models: &mut Models) {
        let events = &mut self.stated.events;
        let Some(newest_ms) = self.calls.iter().map(|call| events[call.event].ts_ms).max() else {
            return;
        };
        models.look_up(newest_ms, self.folder, around);
        for Call { event, until_ms } in &self.calls {
            if let Some(model) = models.told_before(*until_ms) {
                events[*event].usage.model = model;
            }
        }
    }

    fn name_owner(&mut self, directory: Option<Arc<str>>, is_subtask: bool) {
        if let Some(key) = self.first_prompt.take_if(|_| is_subtask) {
            self.stated.events.retain(|event| event.key != key);
            // It was taken for a prompt until the history of tasks knew better.
            self.stated.retracted.push(key);
        }
        let unknown = || format!("{}:unknown", self.source.provider).into();
        let owner = Owner {
            session_id: name_of(self.folder).into(),
            project: directory.unwrap_or_else(unknown),
            is_sidechain: is_subtask,
            account: None,
            agent: None,
            client: None,
            source_id: self.source.id,
        };
        self.stated.events.iter_mut().for_each(|event| event.owner = owner.clone());
    }
}

/// Whether the input as stated includes what was read from the cache or written to it.
fn is_cache_input(request: &Request<'_>, ts_ms: i64) -> bool {
    ts_ms >= CACHE_IS_INPUT_SINCE_MS || request.protocol.as_deref() == Some("openai")
}
