//! The JSON of messages and of their parts, as files, tables and all versions have it.
//!
//! Every field is optional and none is trusted. What the fields mean together is left to
//! `statement`.

use std::borrow::Cow;

use usage::{Flags, Skip, Skips, Tokens};

use crate::record::{Count, Json, NotJson, Read, nanousd};

/// A string that says something: not missing, not empty, not endless.
pub(super) type Text<'a> = Option<Cow<'a, str>>;

/// A message of a person or a model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message<'a> {
    /// `user` or `assistant`. The newest tables say it in a column of its own.
    pub(super) author: Text<'a>,
    created: Count,
    completed: Count,
    /// Of a person's message: those it was sent to.
    pub(super) provider: Text<'a>,
    pub(super) model: Text<'a>,
    /// The agent's name for its ways of working, `build` or `plan` say.
    pub(super) agent: Text<'a>,
    pub(super) root: Text<'a>,
    pub(super) cwd: Text<'a>,
    pub(super) is_failed: bool,
    /// Of the last step, though the cost is that of all.
    pub(super) figures: Figures<'a>,
}

impl<'a> Message<'a> {
    /// Reads a whole text; `None` if it is no object.
    pub(super) fn read(bytes: &'a [u8]) -> Read<Option<Self>> {
        let mut message = Self::default();
        let is_object = whole(bytes, |name, json| {
            match name {
                "role" => message.author = json.text()?,
                "time" => message.read_time(json)?,
                "providerID" => message.provider = json.text()?,
                "modelID" => message.model = json.text()?,
                "model" => message.read_model(json)?,
                "agent" => message.agent = json.text()?,
                "path" => message.read_path(json)?,
                "error" => message.is_failed = json.peek() != Some(b'n'),
                _ => message.figures.field(name, json)?,
            }
            Ok(())
        })?;
        Ok(is_object.then_some(message))
    }

    /// UTC milliseconds.
    pub(super) fn created_ms(&self) -> Option<i64> {
        self.created.time_ms()
    }

    /// `None` while the model answers, and for ever if the agent was killed meanwhile.
    pub(super) fn completed_ms(&self) -> Option<i64> {
        self.completed.time_ms()
    }

    /// Whether one is a copy of the other: all is equal that a copy keeps.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        self == other
    }

    fn read_time(&mut self, json: &mut Json<'a>) -> Read<()> {
        json.object(|name, json| {
            match name {
                "created" => self.created = json.count()?,
                "completed" => self.completed = json.count()?,
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    }

    fn read_model(&mut self, json: &mut Json<'a>) -> Read<()> {
        json.object(|name, json| {
            match name {
                "providerID" => self.provider = json.text()?,
                "modelID" | "id" => self.model = json.text()?,
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    }

    fn read_path(&mut self, json: &mut Json<'a>) -> Read<()> {
        json.object(|name, json| {
            match name {
                "root" => self.root = json.text()?,
                "cwd" => self.cwd = json.text()?,
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    }
}

/// What a message or a step states.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Figures<'a> {
    total: Count,
    input: Count,
    output: Count,
    reasoning: Count,
    cache_read: Count,
    cache_write: Count,
    /// As written, so that not a digit is lost.
    cost: Option<&'a str>,
}

/// Figures that can be counted.
pub(super) struct Counted {
    pub(super) tokens: Tokens,
    pub(super) flags: Flags,
    /// What the agent charged. It writes 0 where it knows no price, too.
    pub(super) cost_nanousd: Option<i64>,
    /// Output as stated, which may be without reasoning.
    pub(super) stated_output: u64,
    pub(super) stated_reasoning: u64,
}

impl<'a> Figures<'a> {
    fn field(&mut self, name: &str, json: &mut Json<'a>) -> Read<()> {
        match name {
            "cost" => self.cost = json.number()?,
            "tokens" => {
                json.object(|name, json| {
                    match name {
                        "total" => self.total = json.count()?,
                        "input" => self.input = json.count()?,
                        "output" => self.output = json.count()?,
                        "reasoning" => self.reasoning = json.count()?,
                        "cache" => self.read_cache(json)?,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn read_cache(&mut self, json: &mut Json<'a>) -> Read<()> {
        json.object(|name, json| {
            match name {
                "read" => self.cache_read = json.count()?,
                "write" => self.cache_write = json.count()?,
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    }

    /// Whether no tokens are stated, not even such as cannot be counted.
    pub(super) fn is_nothing(&self) -> bool {
        let counts = [self.input, self.output, self.reasoning, self.cache_read, self.cache_write];
        counts.iter().all(|count| matches!(count, Count::Absent | Count::Is(0)))
    }

    pub(super) fn counted(&self) -> Result<Counted, Skip> {
        let mut flags = Flags::default();
        let input = self.input.clamped(&mut flags)?;
        let stated_output = self.output.clamped(&mut flags)?;
        let stated_reasoning = self.reasoning.clamped(&mut flags)?;
        let cache_read = self.cache_read.clamped(&mut flags)?;
        let cache_create = self.cache_write.clamped(&mut flags)?;
        // Older versions left reasoning inside output. Where there is no total they cannot be told
        // from newer ones; they charged both, too.
        let without_reasoning = input + stated_output + cache_read + cache_create;
        let is_inside =
            matches!(self.total, Count::Is(total) if u64::try_from(total) == Ok(without_reasoning));
        let output = if is_inside { stated_output } else { stated_output + stated_reasoning };
        if stated_reasoning > output {
            flags.insert(Flags::CLAMPED);
        }
        let tokens = Tokens {
            input,
            output,
            cache_read,
            cache_create,
            cache_create_1h: 0,
            reasoning: stated_reasoning.min(output),
        };
        let cost_nanousd = self.cost.and_then(nanousd);
        Ok(Counted { tokens, flags, cost_nanousd, stated_output, stated_reasoning })
    }
}

/// A part of a message, as far as it says something about the message.
pub(super) enum Part<'a> {
    /// What a step of the model used.
    Step(Figures<'a>),
    /// Something that a person wrote or attached.
    Typed,
    Other,
}

impl<'a> Part<'a> {
    /// Reads a whole text; `None` if it is no object.
    pub(super) fn read(bytes: &'a [u8]) -> Read<Option<Self>> {
        let mut kind = None;
        let mut is_made_up = false;
        let mut figures = Figures::default();
        let is_object = whole(bytes, |name, json| {
            match name {
                "type" => kind = json.text()?,
                "synthetic" | "ignored" => is_made_up |= json.is_true()?,
                _ => figures.field(name, json)?,
            }
            Ok(())
        })?;
        Ok(is_object.then_some(match kind.as_deref() {
            Some("step-finish") => Self::Step(figures),
            // A subtask is a command that a person typed and that another agent carries out.
            Some("text" | "file" | "agent" | "subtask") if !is_made_up => Self::Typed,
            _ => Self::Other,
        }))
    }
}

/// Whether a part may be the end of a step: most bytes are in what tools returned. With both its
/// quotes the name is never found inside a JSON string, where quotes are escaped.
pub(super) fn may_be_step(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\"step-finish\"").is_some()
}

/// The steps among the parts of a message.
pub(super) fn steps<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
    skips: &mut Skips,
) -> Vec<Figures<'a>> {
    let mut steps = Vec::new();
    for part in parts {
        match Part::read(part) {
            Ok(Some(Part::Step(figures))) => steps.push(figures),
            Ok(_) => {}
            Err(NotJson) => skips.add(Skip::Malformed),
        }
    }
    steps
}

/// A session's own file.
#[derive(Default)]
pub(super) struct SessionFile<'a> {
    pub(super) parent: Text<'a>,
    pub(super) directory: Text<'a>,
    pub(super) path: Text<'a>,
    created: Count,
}

impl<'a> SessionFile<'a> {
    /// Reads a whole text; `None` if it is no object.
    pub(super) fn read(bytes: &'a [u8]) -> Read<Option<Self>> {
        let mut session = Self::default();
        let is_object = whole(bytes, |name, json| {
            match name {
                "parentID" => session.parent = json.text()?,
                "directory" => session.directory = json.text()?,
                "path" => session.path = json.text()?,
                "time" => {
                    json.object(|name, json| {
                        if name == "created" {
                            session.created = json.count()?;
                        }
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(session))
    }

    pub(super) fn created_ms(&self) -> Option<i64> {
        self.created.time_ms()
    }
}

/// Reads an object after which there is nothing.
fn whole<'a>(bytes: &'a [u8], field: impl FnMut(&str, &mut Json<'a>) -> Read<()>) -> Read<bool> {
    let mut json = Json::new(bytes);
    let is_object = json.object(field)?;
    if json.peek().is_some() { Err(NotJson) } else { Ok(is_object) }
}
