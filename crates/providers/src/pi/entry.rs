//! The fields of a session's entries: as many as tell what a call used and who asked for it.
//!
//! Versions and forks of the agent differ in what they write down, so every field is optional. What
//! the fields mean is left to `session`.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use usage::{Flags, Skip, Tokens};

use super::session::MAX_STATED;
use crate::record::{Count, Json, Read, nanousd};

/// A string that says something: not missing, not empty, not endless.
type Text<'a> = Option<Cow<'a, str>>;

#[derive(Default)]
pub(super) struct Entry<'a> {
    pub(super) kind: Text<'a>,
    pub(super) id: Text<'a>,
    pub(super) cwd: Text<'a>,
    /// The session goes on from another one.
    pub(super) is_fork: bool,
    pub(super) message: Message<'a>,
    /// What the entry says of a call of its own, or of the model that is asked from here on.
    pub(super) call: Call<'a>,
}

#[derive(Default)]
pub(super) struct Message<'a> {
    pub(super) role: Text<'a>,
    pub(super) call: Call<'a>,
    /// Calls of subagents, in the result of the tool that ran them.
    pub(super) reported: Vec<Call<'a>>,
    /// Said in the user's name by the agent itself.
    is_injected: bool,
    /// Where the content begins: it is read only if it may be a prompt.
    content: Option<Json<'a>>,
}

#[derive(Default)]
pub(super) struct Call<'a> {
    pub(super) ts_ms: Option<i64>,
    /// The company that served the model.
    pub(super) vendor: Text<'a>,
    pub(super) model: Text<'a>,
    pub(super) figures: Option<Figures<'a>>,
}

/// Counts that add up. Some are stated under two names, after the agent that writes them.
#[derive(Default)]
pub(super) struct Figures<'a> {
    input: Count,
    output: Count,
    cache_read: Count,
    cache_create: Count,
    /// Part of `cache_create`.
    cache_create_1h: Count,
    /// Part of `output`.
    reasoning: Count,
    web_search_requests: Count,
    /// What the vendor's own machinery used to answer the call. It is billed, too.
    orchestration: Orchestration,
    /// Dollars, as they are written.
    cost: Option<&'a str>,
}

#[derive(Default)]
struct Orchestration {
    input: Count,
    output: Count,
    cache_read: Count,
}

/// Whether a line may hold a call, a prompt, or what is to be known of those after it.
///
/// Their names are looked for with both quotes. Inside a JSON string those would be escaped, so text
/// that merely talks about them is not taken for one.
pub(super) fn may_matter(line: &[u8]) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 5]> = LazyLock::new(|| {
        [r#""usage""#, r#""user""#, r#""session""#, r#""session_init""#, r#""model_change""#]
            .map(Finder::new)
    });
    NAMES.iter().any(|name| name.find(line).is_some())
}

impl<'a> Entry<'a> {
    /// Reads the next value of a line; `None` if it is no object.
    pub(super) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut entry = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "type" => entry.kind = json.text()?,
                "id" => entry.id = json.text()?,
                "cwd" => entry.cwd = json.text()?,
                "parentSession" | "branchedFrom" => entry.is_fork |= json.text()?.is_some(),
                "message" => entry.message = Message::read(json)?,
                "modelId" => entry.call.model = json.text()?,
                _ => entry.call.field(name, json)?,
            }
            Ok(())
        })?;
        Ok(is_object.then_some(entry))
    }
}

impl<'a> Message<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut message = Self::default();
        json.object(|name, json| {
            match name {
                "role" => message.role = json.text()?,
                "content" => message.content = Some(*json),
                "synthetic" => message.is_injected |= json.is_true()?,
                "attribution" => message.is_injected |= json.text()?.as_deref() == Some("agent"),
                "details" => message.reported = reported(json)?,
                _ => message.call.field(name, json)?,
            }
            Ok(())
        })?;
        Ok(message)
    }

    /// Whether a person has sent it: words or a picture.
    pub(super) fn is_prompt(&self) -> bool {
        let is_user = self.role.as_deref() == Some("user");
        is_user && !self.is_injected && self.content.is_some_and(|content| is_said(content))
    }
}

fn is_said(mut content: Json<'_>) -> bool {
    let says = |text: Option<Cow<'_, str>>| text.is_some_and(|text| !text.trim().is_empty());
    if content.peek() == Some(b'"') {
        return content.opening().is_ok_and(says);
    }
    let mut is_said = false;
    let read = content.array(|json| {
        json.object(|name, json| {
            match name {
                "type" => is_said |= json.text()?.as_deref() == Some("image"),
                "text" => is_said |= says(json.opening()?),
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    });
    read.is_ok() && is_said
}

/// The calls among the messages of the subagents that a tool has run.
fn reported<'a>(json: &mut Json<'a>) -> Read<Vec<Call<'a>>> {
    let mut calls = Vec::new();
    json.object(|name, json| {
        if name != "results" {
            return Ok(());
        }
        calls.clear();
        json.array(|json| {
            json.object(|name, json| {
                if name != "messages" {
                    return Ok(());
                }
                json.array(|json| {
                    let (mut role, mut call): (Text<'_>, _) = (None, Call::default());
                    json.object(|name, json| match name {
                        "role" => json.text().map(|text| role = text),
                        _ => call.field(name, json),
                    })?;
                    let is_call = role.as_deref() == Some("assistant") && call.figures.is_some();
                    if is_call && calls.len() <= MAX_STATED {
                        calls.push(call);
                    }
                    Ok(())
                })
                .map(drop)
            })
            .map(drop)
        })
        .map(drop)
    })?;
    Ok(calls)
}

impl<'a> Call<'a> {
    fn field(&mut self, name: &str, json: &mut Json<'a>) -> Read<()> {
        match name {
            "timestamp" => self.ts_ms = json.time()?,
            "provider" => self.vendor = json.text()?,
            "model" => self.model = json.text()?,
            "usage" => self.figures = Figures::read(json)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Figures<'a> {
    fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut figures = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "input" => figures.input = json.count()?,
                "output" => figures.output = json.count()?,
                "cacheRead" => figures.cache_read = json.count()?,
                "cacheWrite" => figures.cache_create = json.count()?,
                "cacheWrite1h" => figures.cache_create_1h = json.count()?,
                "reasoning" | "reasoningTokens" => figures.reasoning = json.count()?,
                "cttl" => {
                    json.object(|name, json| {
                        if name == "ephemeral1h" {
                            figures.cache_create_1h = json.count()?;
                        }
                        Ok(())
                    })?;
                }
                "server" => {
                    json.object(|name, json| {
                        if name == "webSearch" {
                            figures.web_search_requests = json.count()?;
                        }
                        Ok(())
                    })?;
                }
                "orchestration" => figures.orchestration = Orchestration::read(json)?,
                "cost" => {
                    json.object(|name, json| {
                        if name == "total" {
                            figures.cost = json.number()?;
                        }
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(figures))
    }

    /// The counts by which the call is known: those that all versions state.
    pub(super) fn key(&self) -> Result<String, Skip> {
        let [input, output, read, write] = self.counts(&mut Flags::default())?;
        Ok(format!("{input}:{output}:{read}:{write}"))
    }

    pub(super) fn tokens(&self, flags: &mut Flags) -> Result<Tokens, Skip> {
        let [input, output, cache_read, cache_create] = self.counts(flags)?;
        let more = self.orchestration.counts(flags)?;
        if more != [0; 3] {
            flags.insert(Flags::SUM);
        }
        let [more_in, more_out, more_read] = more;
        let output = output + more_out;
        let mut part = |stated: Count, whole: u64| {
            let stated = stated.informative(flags);
            if stated > whole {
                flags.insert(Flags::CLAMPED);
            }
            stated.min(whole)
        };
        let cache_create_1h = part(self.cache_create_1h, cache_create);
        let reasoning = part(self.reasoning, output);
        Ok(Tokens {
            input: input + more_in,
            output,
            cache_read: cache_read + more_read,
            cache_create,
            cache_create_1h,
            reasoning,
        })
    }

    pub(super) fn web_search_requests(&self, flags: &mut Flags) -> u64 {
        self.web_search_requests.informative(flags)
    }

    /// Zero is what a call costs whose price the agent does not know.
    pub(super) fn cost_nanousd(&self) -> Option<i64> {
        self.cost.and_then(nanousd)
    }

    fn counts(&self, flags: &mut Flags) -> Result<[u64; 4], Skip> {
        Ok([
            self.input.clamped(flags)?,
            self.output.clamped(flags)?,
            self.cache_read.clamped(flags)?,
            self.cache_create.clamped(flags)?,
        ])
    }
}

impl Orchestration {
    fn read(json: &mut Json<'_>) -> Read<Self> {
        let mut this = Self::default();
        json.object(|name, json| {
            match name {
                "input" => this.input = json.count()?,
                "output" => this.output = json.count()?,
                "cacheRead" => this.cache_read = json.count()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(this)
    }

    /// Input, output and cache reads.
    fn counts(&self, flags: &mut Flags) -> Result<[u64; 3], Skip> {
        Ok([
            self.input.clamped(flags)?,
            self.output.clamped(flags)?,
            self.cache_read.clamped(flags)?,
        ])
    }
}
