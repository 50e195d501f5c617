//! The fields of a transcript's records: as many as tell what a call used and whose it was.
//!
//! The format is undocumented, so every field is optional and none is trusted. What the fields
//! mean is left to the parser above.

use std::borrow::Cow;

use usage::{Flags, Skip, Tokens};

use crate::record::{Count, Json, MAX_REPEATS, NotJson, Read};

/// A string that says something: not missing, not empty, not endless.
pub(super) type Text<'a> = Option<Cow<'a, str>>;

/// One record of any type.
#[derive(Default)]
pub(super) struct Record<'a> {
    pub(super) kind: Text<'a>,
    pub(super) session_id: Text<'a>,
    pub(super) agent_id: Text<'a>,
    pub(super) cwd: Text<'a>,
    pub(super) version: Text<'a>,
    pub(super) is_sidechain: bool,
    pub(super) is_meta: bool,
    pub(super) is_compact_summary: bool,
    pub(super) is_tool_result: bool,
    /// Present in a record copied from another session.
    pub(super) forked_from: Option<ForkedFrom<'a>>,
    /// As written, so that not a digit is lost.
    pub(super) cost_usd: Option<&'a str>,
    pub(super) call: Call<'a>,
    pub(super) progress: Progress<'a>,
}

#[derive(Default)]
pub(super) struct ForkedFrom<'a> {
    pub(super) session_id: Text<'a>,
}

/// `data` of a progress record. Older builds report a subagent's calls this way too.
#[derive(Default)]
pub(super) struct Progress<'a> {
    pub(super) kind: Text<'a>,
    pub(super) agent_id: Text<'a>,
    pub(super) call: Call<'a>,
}

/// What states a call: the record itself, or the one inside a progress record.
#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) uuid: Text<'a>,
    pub(super) request_id: Text<'a>,
    pub(super) timestamp: Text<'a>,
    /// Nothing was billed.
    pub(super) is_failed: bool,
    pub(super) message: Message<'a>,
}

#[derive(Default)]
pub(super) struct Message<'a> {
    pub(super) id: Text<'a>,
    pub(super) model: Text<'a>,
    /// Where the content begins: it is read only if the record may be a prompt.
    content: Option<Json<'a>>,
    pub(super) usage: Option<Figures<'a>>,
    /// Of `usage.iterations` those that are billed besides `usage`, in their order.
    pub(super) billed_apart: Vec<Iteration<'a>>,
}

/// One of the model runs behind a response.
pub(super) struct Iteration<'a> {
    pub(super) kind: IterationKind,
    pub(super) model: Text<'a>,
    pub(super) figures: Figures<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum IterationKind {
    /// A second model, asked for advice.
    Advisor,
    /// The same model, asked to shorten its context.
    Compaction,
}

/// What `usage` and each of its iterations state.
#[derive(Default)]
pub(super) struct Figures<'a> {
    input: Count,
    output: Count,
    cache_read: Count,
    cache_create: Count,
    cache_create_5m: Count,
    cache_create_1h: Count,
    thinking: Count,
    web_search_requests: Count,
    pub(super) speed: Text<'a>,
    pub(super) service_tier: Text<'a>,
    pub(super) inference_geo: Text<'a>,
}

impl<'a> Record<'a> {
    /// Reads the next value of a line; `None` if it is no object.
    pub(super) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut record = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "type" => record.kind = json.text()?,
                "sessionId" => record.session_id = json.text()?,
                "agentId" => record.agent_id = json.text()?,
                "cwd" => record.cwd = json.text()?,
                "version" => record.version = json.text()?,
                "isSidechain" => record.is_sidechain = json.is_true()?,
                "isMeta" => record.is_meta = json.is_true()?,
                "isCompactSummary" => record.is_compact_summary = json.is_true()?,
                "toolUseResult" => record.is_tool_result = json.peek() != Some(b'n'),
                "forkedFrom" => record.forked_from = ForkedFrom::read(json)?,
                "costUSD" => record.cost_usd = json.number()?,
                "data" => record.progress = Progress::read(json)?,
                _ => record.call.field(name, json)?,
            }
            Ok(())
        })?;
        Ok(is_object.then_some(record))
    }

    /// Reads the fields before those that may be long: where the agent worked, and often when.
    pub(super) fn read_beginning(line: &'a [u8]) -> Self {
        let mut record = Self::default();
        let read = Json::new(line).object(|name, json| {
            match name {
                "cwd" => record.cwd = json.text()?,
                "timestamp" => record.call.timestamp = json.text()?,
                "message" | "toolUseResult" | "data" | "snapshot" | "attachment" => {
                    return Err(NotJson);
                }
                _ => {}
            }
            Ok(())
        });
        // It has not been read to its end, on purpose: nothing depends on whether it could be.
        _ = read;
        record
    }
}

impl<'a> ForkedFrom<'a> {
    fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut forked_from = Self::default();
        let is_object = json.object(|name, json| {
            if name == "sessionId" {
                forked_from.session_id = json.text()?;
            }
            Ok(())
        })?;
        Ok(is_object.then_some(forked_from))
    }
}

impl<'a> Progress<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut progress = Self::default();
        json.object(|name, json| {
            match name {
                "type" => progress.kind = json.text()?,
                "agentId" => progress.agent_id = json.text()?,
                "message" => {
                    progress.call = Call::default();
                    json.object(|name, json| progress.call.field(name, json)).map(drop)?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(progress)
    }
}

impl<'a> Call<'a> {
    fn field(&mut self, name: &str, json: &mut Json<'a>) -> Read<()> {
        match name {
            "uuid" => self.uuid = json.text()?,
            "requestId" => self.request_id = json.text()?,
            "timestamp" => self.timestamp = json.text()?,
            "isApiErrorMessage" | "isVirtual" => self.is_failed |= json.is_true()?,
            "message" => self.message = Message::read(json)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut message = Self::default();
        json.object(|name, json| {
            match name {
                "id" => message.id = json.text()?,
                "model" => message.model = json.text()?,
                "content" => message.content = Some(*json),
                "usage" => message.read_usage(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(message)
    }

    fn read_usage(&mut self, json: &mut Json<'a>) -> Read<()> {
        let mut figures = Figures::default();
        let mut billed_apart = Vec::new();
        let is_object = json.object(|name, json| match name {
            "iterations" => json
                .array(|json| {
                    let iteration = Iteration::read(json)?;
                    if billed_apart.len() < MAX_REPEATS {
                        billed_apart.extend(iteration);
                    }
                    Ok(())
                })
                .map(drop),
            _ => figures.field(name, json),
        })?;
        self.usage = is_object.then_some(figures);
        self.billed_apart = billed_apart;
        Ok(())
    }

    /// How the first text of the content that is not blank begins, without the space before it;
    /// `None` too if the content is the result of a tool.
    pub(super) fn said(&self) -> Option<String> {
        let mut content = self.content?;
        if content.peek() == Some(b'"') {
            return content.opening().ok()?.and_then(|text| said(&text));
        }
        let mut first = None;
        let mut is_tool_result = false;
        let read = content.array(|json| {
            let mut kind = None;
            let mut block_text = None;
            json.object(|name, json| {
                match name {
                    "type" => kind = json.text()?,
                    "text" => block_text = json.opening()?,
                    _ => {}
                }
                Ok(())
            })?;
            match kind.as_deref() {
                Some("tool_result") => is_tool_result = true,
                Some("text") if first.is_none() => {
                    first = block_text.as_deref().and_then(said);
                }
                _ => {}
            }
            Ok(())
        });
        if read.is_err() || is_tool_result { None } else { first }
    }
}

impl<'a> Iteration<'a> {
    /// `None` if it repeats what `usage` says already.
    fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut kind = None;
        let mut model = None;
        let mut figures = Figures::default();
        json.object(|name, json| {
            match name {
                "type" => kind = json.text()?,
                "model" => model = json.text()?,
                _ => figures.field(name, json)?,
            }
            Ok(())
        })?;
        let kind = match kind.as_deref() {
            Some("advisor_message") => IterationKind::Advisor,
            Some("compaction") => IterationKind::Compaction,
            _ => return Ok(None),
        };
        Ok(Some(Self { kind, model, figures }))
    }
}

impl<'a> Figures<'a> {
    fn field(&mut self, name: &str, json: &mut Json<'a>) -> Read<()> {
        match name {
            "input_tokens" => self.input = json.count()?,
            "output_tokens" => self.output = json.count()?,
            "cache_read_input_tokens" => self.cache_read = json.count()?,
            "cache_creation_input_tokens" => self.cache_create = json.count()?,
            "cache_creation" => {
                json.object(|name, json| {
                    match name {
                        "ephemeral_5m_input_tokens" => self.cache_create_5m = json.count()?,
                        "ephemeral_1h_input_tokens" => self.cache_create_1h = json.count()?,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            "output_tokens_details" => self.thinking = count_of("thinking_tokens", json)?,
            "server_tool_use" => {
                self.web_search_requests = count_of("web_search_requests", json)?;
            }
            "speed" => self.speed = json.text()?,
            "service_tier" => self.service_tier = json.text()?,
            "inference_geo" => self.inference_geo = json.text()?,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn tokens(&self, flags: &mut Flags) -> Result<Tokens, Skip> {
        let cache_create_5m = self.cache_create_5m.clamped(flags)?;
        let cache_create_1h = self.cache_create_1h.clamped(flags)?;
        let output = self.output.clamped(flags)?;
        let thinking = self.thinking.informative(flags);
        if thinking > output {
            flags.insert(Flags::CLAMPED);
        }
        Ok(Tokens {
            input: self.input.clamped(flags)?,
            output,
            cache_read: self.cache_read.clamped(flags)?,
            // The total and its split are stated apart and may disagree: nothing written goes
            // unbilled.
            cache_create: self.cache_create.clamped(flags)?.max(cache_create_5m + cache_create_1h),
            cache_create_1h,
            reasoning: thinking.min(output),
        })
    }

    pub(super) fn web_search_requests(&self, flags: &mut Flags) -> Result<u64, Skip> {
        self.web_search_requests.clamped(flags)
    }
}

/// The count that is the field `wanted` of an object.
fn count_of(wanted: &str, json: &mut Json<'_>) -> Read<Count> {
    let mut count = Count::Absent;
    json.object(|name, json| {
        if name == wanted {
            count = json.count()?;
        }
        Ok(())
    })?;
    Ok(count)
}

fn said(text: &str) -> Option<String> {
    let text = text.trim_start();
    (!text.is_empty()).then(|| text.to_owned())
}
