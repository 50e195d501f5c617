//! Sessions: a document of messages, where that of a call states what it used.
//!
//! A fork copies messages with their ids and times, so the same key is stated by both sessions. A
//! session that goes on with a task of the old extension begins with the task's messages, as if they
//! had been said in it, and the last of them states what the whole task used; all that is
//! stated by the task itself.

use std::path::Path;

use usage::{Flags, Owner, Role, Skip, Source, UsageEvent};

use super::{MESSAGES, NO_DIRECTORY, VERSION, inner_agent, vendor};
use crate::record::{Json, NotJson, Read, nanousd};
use crate::tasks::{Author, Figures, Text, name_of};
use crate::{Document, Parsed, Surroundings, Torn};

pub(super) struct Session;

impl Document for Session {
    fn parse(
        &self,
        source: &Source,
        bytes: &[u8],
        around: &dyn Surroundings,
        _state: &str,
        out: &mut Parsed,
    ) -> Result<String, Torn> {
        let folder = source.path.parent().unwrap_or(&source.path);
        let manifest = around.file(&folder.join(format!("{}.json", name_of(folder))));
        let manifest = manifest.as_deref().map(Manifest::read).unwrap_or_default();
        let mut json = Json::new(bytes);
        let (mut head, mut stated) = (Head::default(), Parsed::default());
        let is_object = json
            .object(|name, json| {
                match name {
                    "agent" => head.agent = json.text()?,
                    "sessionId" => head.session_id = json.text()?,
                    "origin" => head.origin = Origin::read(json)?,
                    "messages" => {
                        let mut reader = Reader::new(source, around, &manifest);
                        json.array(|json| reader.message(json))?;
                        stated = reader.stated;
                    }
                    _ => {}
                }
                Ok(())
            })
            .map_err(|NotJson| Torn)?;
        if json.peek().is_some() {
            return Err(Torn);
        }
        if !is_object {
            stated.skips.add(Skip::NotAnObject);
        }
        let is_subagent = head.is_subagent(&source.path);
        if is_subagent {
            stated.events.retain(|event| event.role != Role::User);
        } else if head.origin.trigger.is_some() {
            remove_first_prompt(&mut stated.events);
        }
        let owner = head.owner(source, &manifest, is_subagent);
        stated.events.iter_mut().for_each(|event| event.owner = owner.clone());
        out.events.append(&mut stated.events);
        out.skips.merge(&stated.skips);
        Ok(String::new())
    }
}

/// A schedule has started the session and asked for something. What follows is a person's.
fn remove_first_prompt(events: &mut Vec<UsageEvent>) {
    if let Some(first) = events.iter().position(|event| event.role == Role::User) {
        events.remove(first);
    }
}

/// What a document says of itself.
#[derive(Default)]
struct Head<'a> {
    /// `lead`, or what kind of agent works for the one that is.
    agent: Text<'a>,
    session_id: Text<'a>,
    origin: Origin<'a>,
}

#[derive(Default)]
struct Origin<'a> {
    /// The session that the agent works for.
    parent: Text<'a>,
    subagent: Text<'a>,
    version: Text<'a>,
    /// What has started the session, if no person did.
    trigger: Text<'a>,
}

impl<'a> Origin<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut origin = Self::default();
        json.object(|name, json| {
            match name {
                "parentThreadId" => origin.parent = json.text()?,
                "subagent" => origin.subagent = json.text()?,
                "version" => origin.version = json.text()?,
                "trigger" => origin.trigger = json.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(origin)
    }
}

impl Head<'_> {
    fn is_subagent(&self, path: &Path) -> bool {
        let is_led = self.agent.as_deref().is_some_and(|agent| agent != "lead");
        let folder = path.parent().map(name_of).unwrap_or_default();
        is_led || self.origin.parent.is_some() || Some(folder) != stem(path)
    }

    /// Agents that work for a session are of that session: its folder holds their documents, too.
    fn owner(&self, source: &Source, manifest: &Manifest<'_>, is_subagent: bool) -> Owner {
        let folder = source.path.parent().map(name_of).unwrap_or_default();
        let own = self.session_id.as_deref();
        let (session_id, agent) = if is_subagent {
            (self.origin.parent.as_deref(), self.origin.subagent.as_deref().or(stem(&source.path)))
        } else {
            (own, None)
        };
        let project = manifest.workspace_root.as_deref().or(manifest.cwd.as_deref());
        Owner {
            session_id: session_id.unwrap_or(folder).into(),
            project: project.unwrap_or(NO_DIRECTORY).into(),
            is_sidechain: is_subagent,
            account: None,
            agent: agent.map(Into::into),
            client: self.origin.version.as_deref().map(Into::into),
            source_id: source.id,
        }
    }
}

fn stem(path: &Path) -> Option<&str> {
    name_of(path).strip_suffix(MESSAGES)
}

/// What the manifest of a session says of it.
#[derive(Default)]
struct Manifest<'a> {
    cwd: Text<'a>,
    workspace_root: Text<'a>,
    model: Text<'a>,
    started_ms: Option<i64>,
    metadata: Metadata,
}

#[derive(Default)]
struct Metadata {
    is_fork: bool,
    forked_ms: Option<i64>,
    /// The session goes on with a task of the old extension.
    is_resumed_task: bool,
}

impl<'a> Manifest<'a> {
    /// One that is no JSON says nothing: it may just be written.
    fn read(bytes: &'a [u8]) -> Self {
        let mut manifest = Self::default();
        let read = Json::new(bytes).object(|name, json| {
            match name {
                "cwd" => manifest.cwd = json.text()?,
                "workspace_root" => manifest.workspace_root = json.text()?,
                "model" => manifest.model = json.text()?,
                "started_at" => manifest.started_ms = json.written_time()?,
                "metadata" => manifest.metadata = Metadata::read(json)?,
                _ => {}
            }
            Ok(())
        });
        if read.is_ok() { manifest } else { Self::default() }
    }

    /// The time before which messages were said in another session.
    fn copied_before_ms(&self) -> i64 {
        let Metadata { is_fork, forked_ms, .. } = self.metadata;
        if is_fork { forked_ms.or(self.started_ms).unwrap_or(i64::MAX) } else { 0 }
    }
}

impl Metadata {
    fn read(json: &mut Json<'_>) -> Read<Self> {
        let mut metadata = Self::default();
        json.object(|name, json| {
            match name {
                "fork" => {
                    metadata.forked_ms = None;
                    metadata.is_fork = json.object(|name, json| {
                        if name == "forkedAt" {
                            metadata.forked_ms = json.written_time()?;
                        }
                        Ok(())
                    })?;
                }
                "legacyTask" | "migratedFromLegacyTask" => {
                    metadata.is_resumed_task |= json.is_true()?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(metadata)
    }
}

/// Reads the messages of a document, in order.
struct Reader<'r> {
    author: Author,
    around: &'r dyn Surroundings,
    manifest: &'r Manifest<'r>,
    copied_before_ms: i64,
    /// Time of the last message: that of a prompt that has none.
    last_ms: Option<i64>,
    mtime_ms: i64,
    stated: Parsed,
}

impl<'r> Reader<'r> {
    fn new(source: &Source, around: &'r dyn Surroundings, manifest: &'r Manifest<'_>) -> Self {
        Self {
            author: Author::new(source, VERSION),
            around,
            manifest,
            copied_before_ms: manifest.copied_before_ms(),
            last_ms: None,
            mtime_ms: source.mtime_ms,
            stated: Parsed::default(),
        }
    }

    fn message(&mut self, json: &mut Json<'_>) -> Read<()> {
        let Some(message) = Message::read(json)? else {
            self.stated.skips.add(Skip::NotAnObject);
            return Ok(());
        };
        self.last_ms = message.ts_ms.or(self.last_ms);
        if let Some(figures) = &message.figures {
            match self.call(&message, figures) {
                Ok(call) => self.stated.events.push(call),
                Err(skip) => self.stated.skips.add(skip),
            }
        } else if message.is_user && !message.is_injected {
            match message.said {
                Some(Said::ResumedTask) => self.forget_task(),
                Some(Said::Prompt) => self.prompt(&message),
                Some(Said::Injected) | None => {}
            }
        }
        Ok(())
    }

    fn call(&mut self, message: &Message<'_>, figures: &Figures<'_>) -> Result<UsageEvent, Skip> {
        let provider = message.provider.as_deref();
        if provider.and_then(inner_agent).is_some_and(|agent| self.around.reads(agent)) {
            return Err(Skip::Replayed);
        }
        let is_of_task = provider.is_none_or(|provider| provider == "unknown");
        if self.manifest.metadata.is_resumed_task && is_of_task {
            return Err(Skip::Replayed);
        }
        let mut flags = Flags::default();
        let mut tokens = figures.tokens(&mut flags)?;
        let cached = tokens.cache_read + tokens.cache_create;
        if cached > tokens.input {
            flags.insert(Flags::CLAMPED);
        }
        tokens.input = tokens.input.saturating_sub(cached);
        let cost = figures.cost.and_then(exact_cost);
        if tokens.total() == 0 && cost.unwrap_or_default() == 0 {
            return Err(Skip::NoUsage);
        }
        let (Some(id), Some(ts_ms)) = (message.id(), message.ts_ms) else {
            return Err(Skip::BadField);
        };
        let model = message.model.as_deref().or(self.manifest.model.as_deref());
        let key = format!("cline:{id}:{ts_ms}");
        let mut call = self.author.call(&key, ts_ms, model, (tokens, cost, flags));
        call.copy_rank = self.copy_rank(ts_ms);
        call.usage.vendor = vendor(message.provider.as_deref());
        Ok(call)
    }

    fn prompt(&mut self, message: &Message<'_>) {
        let Some(id) = message.id() else { return };
        let mut flags = Flags::default();
        let (key, ts_ms) = if let Some(ts_ms) = message.ts_ms {
            (format!("cline:prompt:{id}:{ts_ms}"), ts_ms)
        } else {
            flags.insert(Flags::TS_GUESSED);
            (format!("cline:prompt:{id}"), self.last_ms.unwrap_or(self.mtime_ms))
        };
        let mut prompt = self.author.prompt(&key, ts_ms, flags);
        prompt.copy_rank = self.copy_rank(ts_ms);
        self.stated.events.push(prompt);
    }

    fn copy_rank(&self, ts_ms: i64) -> u8 {
        u8::from(ts_ms < self.copied_before_ms)
    }

    /// All messages so far are copies of a task's.
    fn forget_task(&mut self) {
        for _ in self.stated.events.drain(..) {
            self.stated.skips.add(Skip::Replayed);
        }
    }
}

/// The agent prices a call as it was billed: a cost of zero is one. A call that it cannot price has no
/// cost.
fn exact_cost(number: &str) -> Option<i64> {
    /// What rounds to nothing.
    const NOTHING: std::ops::Range<f64> = 0.0..5e-10;
    let is_free = number.parse().is_ok_and(|dollars| NOTHING.contains(&dollars));
    if is_free { Some(0) } else { nanousd(number) }
}

/// One message. Everything in it may be missing.
#[derive(Default)]
struct Message<'a> {
    id: Text<'a>,
    ts_ms: Option<i64>,
    is_user: bool,
    /// The program says it in the user's name.
    is_injected: bool,
    model: Text<'a>,
    provider: Text<'a>,
    figures: Option<Figures<'a>>,
    said: Option<Said>,
}

impl<'a> Message<'a> {
    /// Reads the next value; `None` if it is no object.
    fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut message = Self::default();
        let mut is_answer = false;
        let is_object = json.object(|name, json| {
            match name {
                "id" => message.id = json.text()?,
                "ts" => message.ts_ms = json.count()?.time_ms(),
                "role" => {
                    let role = json.text()?;
                    message.is_user = role.as_deref() == Some("user");
                    is_answer = role.as_deref() == Some("assistant");
                }
                "modelInfo" => message.read_model(json)?,
                "metrics" => message.figures = read_metrics(json)?,
                "metadata" => message.is_injected = is_injected(json)?,
                // Answers are long, and nothing in them matters.
                "content" if !is_answer => message.said = Said::read(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(message))
    }

    fn read_model(&mut self, json: &mut Json<'a>) -> Read<()> {
        (self.model, self.provider) = (None, None);
        json.object(|name, json| {
            match name {
                "id" => self.model = json.text()?,
                "provider" => self.provider = json.text()?,
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    }

    /// The id without what a message gets when it is cut into parts: each states the whole call.
    fn id(&self) -> Option<&str> {
        let id = self.id.as_deref()?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match id.rsplit_once("_part_") {
            Some((whole, part)) if !whole.is_empty() && is_number(part) => Some(whole),
            _ => Some(id),
        }
    }
}

fn read_metrics<'a>(json: &mut Json<'a>) -> Read<Option<Figures<'a>>> {
    let mut figures = Figures::default();
    let is_object = json.object(|name, json| {
        match name {
            "inputTokens" => figures.input = json.count()?,
            "outputTokens" => figures.output = json.count()?,
            "cacheReadTokens" => figures.cache_read = json.count()?,
            "cacheWriteTokens" => figures.cache_create = json.count()?,
            "cost" => figures.cost = json.number()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(is_object.then_some(figures))
}

/// Whether the metadata of a message says that no person typed it: it has a kind (a summary, a
/// reminder, a notice), it is to be shown as another one's, or it is said to be no prompt.
fn is_injected(json: &mut Json<'_>) -> Read<bool> {
    let (mut kind, mut shown_as, mut prompts) = (None, None, None);
    json.object(|name, json| {
        match name {
            "kind" => kind = json.text()?,
            "displayRole" => shown_as = json.text()?,
            "userRunSpan" => prompts = json.number()?,
            _ => {}
        }
        Ok(())
    })?;
    let is_other = shown_as.is_some_and(|role| ["system", "status", "error"].contains(&&*role));
    Ok(kind.is_some() || is_other || prompts == Some("0"))
}

/// What the content of a message is that is in the user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// What a person typed, or attached without a word.
    Prompt,
    /// What the program says in the user's name, and what tools answer.
    Injected,
    /// The end of the messages that were taken over from a task of the old extension.
    ResumedTask,
}

impl Said {
    /// Reads the content of a message. `None` if it says nothing.
    fn read(json: &mut Json<'_>) -> Read<Option<Self>> {
        if json.peek() == Some(b'"') {
            return Ok(json.opening()?.as_deref().and_then(Self::of));
        }
        let (mut said, mut has_attachment, mut is_result) = (None, false, false);
        json.array(|json| {
            let (mut kind, mut text) = (None, None);
            json.object(|name, json| {
                match name {
                    "type" => kind = json.text()?,
                    "text" if said.is_none() => text = json.opening()?,
                    _ => {}
                }
                Ok(())
            })?;
            match kind.as_deref() {
                Some("text") => said = said.or(text.as_deref().and_then(Self::of)),
                Some("tool_result" | "tool-result") => is_result = true,
                Some("file" | "image" | "media") => has_attachment = true,
                _ => {}
            }
            Ok(())
        })?;
        let attached = has_attachment.then_some(Self::Prompt);
        Ok(if is_result { Some(Self::Injected) } else { said.or(attached) })
    }

    /// `None` for a text that says nothing.
    fn of(text: &str) -> Option<Self> {
        const INJECTED: [&str; 2] =
            ["[TASK RESUMPTION]", "The user approved switching to act mode"];
        const RESUMED_TASK: &str = "Warning: this is a legacy conversation";

        let text = text.trim_start();
        let text = match text.strip_prefix("<user_input").and_then(|rest| rest.split_once('>')) {
            Some((_, typed)) => typed.trim_start(),
            None => text,
        };
        match text {
            "" | "</user_input>" => None,
            _ if text.starts_with(RESUMED_TASK) => Some(Self::ResumedTask),
            _ if INJECTED.iter().any(|start| text.starts_with(start)) => Some(Self::Injected),
            _ => Some(Self::Prompt),
        }
    }
}
