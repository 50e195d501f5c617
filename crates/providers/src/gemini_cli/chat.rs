//! The fields of a session's records: as many as tell what a call used and who asked for it.
//!
//! A line and a whole document are of one form: some records describe the session, some are a
//! message, and some hold a list of messages.

use std::borrow::Cow;

use usage::{Flags, Skip, Tokens};

use crate::parts::Said;
use crate::record::{Count, Json, Read};

/// A string that says something: not missing, not empty, not endless.
type Text<'a> = Option<Cow<'a, str>>;

#[derive(Default)]
pub(crate) struct Record<'a> {
    pub(crate) session: About<'a>,
    /// What changes: the session, or all messages at once that the model is shown from here on.
    pub(crate) set: About<'a>,
    /// The message that the record itself is.
    pub(crate) message: Message<'a>,
}

/// What describes a session.
#[derive(Default)]
pub(crate) struct About<'a> {
    pub(crate) session_id: Text<'a>,
    /// `main` or `subagent`.
    pub(crate) kind: Text<'a>,
    pub(crate) start_time: Text<'a>,
    /// Those messages that may be calls or prompts.
    pub(crate) messages: Vec<Message<'a>>,
}

#[derive(Default)]
pub(crate) struct Message<'a> {
    pub(crate) id: Text<'a>,
    pub(crate) kind: Text<'a>,
    pub(crate) timestamp: Text<'a>,
    pub(crate) model: Text<'a>,
    pub(crate) figures: Option<Figures>,
    /// Where the content begins: it is read only if it may be a prompt.
    content: Option<Json<'a>>,
    /// Where that begins which was shown in its place.
    shown: Option<Json<'a>>,
}

/// Counts as the model's interface reports them.
#[derive(Default)]
pub(crate) struct Figures {
    /// With what came from the cache.
    pub(crate) input: Count,
    pub(crate) cached: Count,
    /// Input that is not part of `input`.
    tool: Count,
    /// Without the thoughts.
    pub(crate) output: Count,
    pub(crate) thoughts: Count,
    pub(crate) total: Count,
}

impl<'a> Record<'a> {
    /// Reads the next value of a line or a document; `None` if it is no object.
    pub(crate) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut record = Self::default();
        let is_object = json.object(|name, json| match name {
            "$set" => {
                record.set = About::default();
                json.object(|name, json| record.set.field(name, json)).map(drop)
            }
            "sessionId" | "kind" | "startTime" | "messages" => record.session.field(name, json),
            _ => record.message.field(name, json),
        })?;
        Ok(is_object.then_some(record))
    }
}

impl<'a> About<'a> {
    fn field(&mut self, name: &str, json: &mut Json<'a>) -> Read<()> {
        match name {
            "sessionId" => self.session_id = json.text()?,
            "kind" => self.kind = json.text()?,
            "startTime" => self.start_time = json.text()?,
            "messages" => {
                self.messages = Vec::new();
                json.array(|json| {
                    let mut message = Message::default();
                    json.object(|name, json| message.field(name, json))?;
                    if message.figures.is_some() || message.is_from_user() {
                        self.messages.push(message);
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> {
    fn field(&mut self, name: &str, json: &mut Json<'a>) -> Read<()> {
        match name {
            "id" => self.id = json.text()?,
            "type" => self.kind = json.text()?,
            "timestamp" => self.timestamp = json.text()?,
            "model" => self.model = json.text()?,
            "tokens" => self.figures = Figures::read(json)?,
            "content" => self.content = Some(*json),
            "displayContent" => self.shown = Some(*json),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn is_from_model(&self) -> bool {
        self.kind.as_deref() == Some("gemini")
    }

    pub(crate) fn is_from_user(&self) -> bool {
        self.kind.as_deref() == Some("user")
    }

    /// Whether a person typed it. The program tells the model many things in the user's name: results
    /// of tools, what the project and the editor look like, summaries, and to go on.
    pub(crate) fn is_typed(&self) -> bool {
        const INJECTED: [&str; 7] = [
            "<session_context>",
            "<hook_context>",
            "<state_snapshot>",
            "System: Please continue.",
            "System: Potential loop detected.",
            "Here is the user's editor context",
            "I ran the following shell command:",
        ];
        // Anyone may type this. What was typed is shown as it is, though.
        const GO_ON: &str = "Please continue.";

        let said = Said::of(self.content);
        let shown = Said::of(self.shown);
        let Some(text) = said.text else { return false };
        let is_injected = INJECTED.iter().any(|start| text.starts_with(start))
            || (text.trim_end() == GO_ON && self.shown.is_some());
        !is_injected && !said.is_tool_result && !shown.is_tool_result
    }
}

impl Figures {
    fn read(json: &mut Json<'_>) -> Read<Option<Self>> {
        let mut figures = Self::default();
        let is_object = json.object(|name, json| {
            let count = match name {
                "input" => &mut figures.input,
                "cached" => &mut figures.cached,
                "tool" => &mut figures.tool,
                "output" => &mut figures.output,
                "thoughts" => &mut figures.thoughts,
                "total" => &mut figures.total,
                _ => return Ok(()),
            };
            *count = json.count()?;
            Ok(())
        })?;
        Ok(is_object.then_some(figures))
    }

    pub(crate) fn tokens(&self, flags: &mut Flags) -> Result<Tokens, Skip> {
        let input = self.input.clamped(flags)? + self.tool.clamped(flags)?;
        let cache_read = self.cached.clamped(flags)?;
        let reasoning = self.thoughts.clamped(flags)?;
        if cache_read > input {
            flags.insert(Flags::CLAMPED);
        }
        let tokens = Tokens {
            input: input.saturating_sub(cache_read),
            output: self.output.clamped(flags)? + reasoning,
            cache_read,
            cache_create: 0,
            cache_create_1h: 0,
            reasoning,
        };
        // Where the parts are more than the whole, one of them is not what it is taken for.
        if let Count::Is(total @ 1..) = self.total
            && tokens.total() > total.unsigned_abs()
        {
            flags.insert(Flags::CLAMPED);
        }
        Ok(tokens)
    }
}
