//! The fields of a transcript's records: as many as tell what a call used and who asked for it.

use std::borrow::Cow;

use super::counts::{Stated, whole_ms};
use crate::parts::Said;
use crate::record::{Json, Read};

/// A string that says something: not missing, not empty, not endless.
type Text<'a> = Option<Cow<'a, str>>;

/// The note of a response among the agent's telemetry.
const RESPONSE: &str = "qwen-code.api_response";

#[derive(Default)]
pub(super) struct Line<'a> {
    pub(super) id: Text<'a>,
    pub(super) session: Text<'a>,
    pub(super) ts_ms: Option<i64>,
    pub(super) kind: Text<'a>,
    pub(super) subtype: Text<'a>,
    pub(super) cwd: Text<'a>,
    pub(super) client: Text<'a>,
    pub(super) model: Text<'a>,
    /// What an answer used.
    pub(super) counts: Option<Stated>,
    /// The session that it was copied from.
    pub(super) forked_from: Text<'a>,
    pub(super) is_fork: bool,
    is_of_subagent: bool,
    /// Something noted down by the program.
    event: Event<'a>,
    /// Where the parts of a message begin: they are read only if it may be a prompt.
    parts: Option<Json<'a>>,
}

/// A note of something that happened.
#[derive(Default)]
pub(super) struct Event<'a> {
    name: Text<'a>,
    pub(super) model: Text<'a>,
    pub(super) counts: Stated,
    pub(super) duration_ms: u64,
    pub(super) prompt_id: Text<'a>,
    pub(super) route: Text<'a>,
    pub(super) subagent_id: Text<'a>,
    pub(super) subagent: Text<'a>,
}

impl<'a> Line<'a> {
    /// Reads the next value of a line; `None` if it is no object.
    pub(super) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut line = Self::default();
        let is_object = json.object(|name, json| line.field(name, json))?;
        Ok(is_object.then_some(line))
    }

    fn field(&mut self, name: &str, json: &mut Json<'a>) -> Read<()> {
        match name {
            "uuid" => self.id = json.text()?,
            "sessionId" => self.session = json.text()?,
            "timestamp" => self.ts_ms = json.written_time()?,
            "type" => self.kind = json.text()?,
            "subtype" => self.subtype = json.text()?,
            "cwd" => self.cwd = json.text()?,
            "version" => self.client = json.text()?,
            "model" => self.model = json.text()?,
            "isSidechain" => self.is_of_subagent = json.is_true()?,
            "usageMetadata" => self.counts = read_counts(json)?,
            "forkedFrom" => {
                self.forked_from = None;
                self.is_fork = json.object(|name, json| {
                    if name == "sessionId" {
                        self.forked_from = json.text()?;
                    }
                    Ok(())
                })?;
            }
            "systemPayload" => {
                self.event = Event::default();
                json.object(|name, json| {
                    if name == "uiEvent" {
                        self.event = Event::read(json)?;
                    }
                    Ok(())
                })?;
            }
            "message" => {
                self.parts = None;
                json.object(|name, json| {
                    if name == "parts" {
                        self.parts = Some(*json);
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The note of a response, if the record is one.
    pub(super) fn response(&self) -> Option<&Event<'a>> {
        let is_note = self.kind.as_deref() == Some("system")
            && self.subtype.as_deref() == Some("ui_telemetry")
            && self.event.name.as_deref() == Some(RESPONSE);
        is_note.then_some(&self.event)
    }

    /// What the answer used, if the record is one.
    pub(super) fn answer(&self) -> Option<Stated> {
        self.counts.filter(|_| self.kind.as_deref() == Some("assistant"))
    }

    /// Whether a person typed it, perhaps while the model was at work. Timers, goals and notices of
    /// the program speak in the user's name as well, and say so.
    pub(super) fn is_prompt(&self) -> bool {
        const INJECTED: [&str; 4] = [
            "<session_context>",
            "<system-reminder>",
            "<hook_context>",
            "System: Please continue.",
        ];

        let is_from_user = self.kind.as_deref() == Some("user") && !self.is_of_subagent;
        if !is_from_user || !matches!(self.subtype.as_deref(), None | Some("mid_turn_user_message"))
        {
            return false;
        }
        let said = Said::of(self.parts);
        let is_typed =
            said.text.is_some_and(|text| !INJECTED.iter().any(|start| text.starts_with(start)));
        is_typed && !said.is_tool_result
    }
}

impl<'a> Event<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut event = Self::default();
        json.object(|name, json| {
            match name {
                "event.name" => event.name = json.text()?,
                "model" => event.model = json.text()?,
                "input_token_count" => event.counts.prompt = json.count()?,
                "output_token_count" => event.counts.candidates = json.count()?,
                "cached_content_token_count" => event.counts.cached = json.count()?,
                "thoughts_token_count" => event.counts.thoughts = json.count()?,
                "total_token_count" => event.counts.total = json.count()?,
                "duration_ms" => event.duration_ms = whole_ms(json.number()?),
                "prompt_id" => event.prompt_id = json.text()?,
                "auth_type" => event.route = json.text()?,
                "subagent_id" => event.subagent_id = json.text()?,
                "subagent_name" => event.subagent = json.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(event)
    }
}

fn read_counts(json: &mut Json<'_>) -> Read<Option<Stated>> {
    let mut counts = Stated::default();
    let is_object = json.object(|name, json| {
        let count = match name {
            "promptTokenCount" => &mut counts.prompt,
            "candidatesTokenCount" => &mut counts.candidates,
            "cachedContentTokenCount" => &mut counts.cached,
            "thoughtsTokenCount" => &mut counts.thoughts,
            "totalTokenCount" => &mut counts.total,
            _ => return Ok(()),
        };
        *count = json.count()?;
        Ok(())
    })?;
    Ok(is_object.then_some(counts))
}
