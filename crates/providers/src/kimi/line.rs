//! The fields of an agent's lines: as many as tell what a call used and who asked for it.
//!
//! Kimi Code's lines are what happened; those of Kimi CLI are an envelope with a time and a message.
//! No field of the one has another meaning in the other.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use usage::{Flags, Skip, Tokens};

use crate::record::{Count, Json, MAX_TIME_MS, Read};

/// A string that says something: not missing, not empty, not endless.
type Text<'a> = Option<Cow<'a, str>>;

#[derive(Default)]
pub(super) struct Line<'a> {
    pub(super) kind: Text<'a>,
    pub(super) time_ms: Option<i64>,
    /// What a call is recorded by: the name that a person has given to a model.
    pub(super) model: Text<'a>,
    /// The name in a request, where `model` is what its vendor calls it.
    pub(super) alias: Text<'a>,
    pub(super) cwd: Text<'a>,
    pub(super) figures: Option<Figures>,
    origin: Origin<'a>,
    input: Option<Json<'a>>,
    /// Seconds, as Kimi CLI writes them.
    pub(super) timestamp: Option<&'a str>,
    pub(super) message: Message<'a>,
}

/// What Kimi CLI has told its user interface.
#[derive(Default)]
pub(super) struct Message<'a> {
    pub(super) kind: Text<'a>,
    pub(super) figures: Option<Figures>,
    pub(super) id: Text<'a>,
    /// The subagent that an event is from, if it has a file of its own.
    pub(super) agent: Text<'a>,
    /// What a subagent has told.
    pub(super) event: Event<'a>,
    input: Option<Json<'a>>,
}

#[derive(Default)]
pub(super) struct Event<'a> {
    pub(super) kind: Text<'a>,
    pub(super) figures: Option<Figures>,
    pub(super) id: Text<'a>,
}

/// Who has asked.
#[derive(Default)]
struct Origin<'a> {
    kind: Text<'a>,
    trigger: Text<'a>,
}

/// Counts that add up; reasoning is in the output.
#[derive(Clone, Copy, Default)]
pub(super) struct Figures {
    input: Count,
    output: Count,
    cache_read: Count,
    cache_create: Count,
}

/// Whether a line may hold a call, a prompt, or what is to be known of those after it.
///
/// Their names are looked for with both quotes. Inside a JSON string those would be escaped, so text
/// that merely talks about them is not taken for one.
pub(super) fn may_matter(line: &[u8]) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 8]> = LazyLock::new(|| {
        [
            r#""usage.record""#,
            r#""llm.request""#,
            r#""turn.prompt""#,
            r#""turn.steer""#,
            r#""config.update""#,
            r#""StatusUpdate""#,
            r#""TurnBegin""#,
            r#""SteerInput""#,
        ]
        .map(Finder::new)
    });
    NAMES.iter().any(|name| name.find(line).is_some())
}

impl<'a> Line<'a> {
    /// Reads the next value of a line; `None` if it is no object.
    pub(super) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut line = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "type" => line.kind = json.text()?,
                "time" => line.time_ms = json.time()?,
                "model" => line.model = json.text()?,
                "modelAlias" => line.alias = json.text()?,
                "cwd" => line.cwd = json.text()?,
                "usage" => line.figures = Figures::read(json)?,
                "origin" => line.origin = Origin::read(json)?,
                "input" => line.input = Some(*json),
                "timestamp" => line.timestamp = json.number()?,
                "message" => line.message = Message::read(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(line))
    }

    /// Whether a person has typed it, be it a command. What hooks, timers and tasks say is not.
    pub(super) fn is_prompt(&self) -> bool {
        let is_typed = match self.origin.kind.as_deref() {
            Some("user" | "plugin_command") => true,
            Some("skill_activation") => self.origin.trigger.as_deref() == Some("user-slash"),
            _ => false,
        };
        is_typed && self.input.is_some_and(is_said)
    }
}

impl<'a> Message<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut message = Self::default();
        json.object(|name, json| match name {
            "type" => json.text().map(|kind| message.kind = kind),
            "payload" => json
                .object(|name, json| {
                    match name {
                        "token_usage" => message.figures = Figures::read(json)?,
                        "message_id" => message.id = json.text()?,
                        "agent_id" => message.agent = json.text()?,
                        "event" => message.event = Event::read(json)?,
                        "user_input" => message.input = Some(*json),
                        _ => {}
                    }
                    Ok(())
                })
                .map(drop),
            _ => Ok(()),
        })?;
        Ok(message)
    }

    /// Whether a person has typed it. What was brought along from elsewhere looks the same otherwise.
    pub(super) fn is_prompt(&self) -> bool {
        const IMPORTED: &str = "[Imported context from ";
        self.input.is_some_and(|mut input| {
            let is_imported =
                input.opening().is_ok_and(|text| text.is_some_and(|t| t.starts_with(IMPORTED)));
            !is_imported && self.input.is_some_and(is_said)
        })
    }
}

impl<'a> Event<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut event = Self::default();
        json.object(|name, json| match name {
            "type" => json.text().map(|kind| event.kind = kind),
            "payload" => json
                .object(|name, json| {
                    match name {
                        "token_usage" => event.figures = Figures::read(json)?,
                        "message_id" => event.id = json.text()?,
                        _ => {}
                    }
                    Ok(())
                })
                .map(drop),
            _ => Ok(()),
        })?;
        Ok(event)
    }
}

impl<'a> Origin<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut origin = Self::default();
        json.object(|name, json| {
            match name {
                "kind" => origin.kind = json.text()?,
                "trigger" => origin.trigger = json.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(origin)
    }
}

/// Whether there are words or pictures: a text, or parts.
fn is_said(mut input: Json<'_>) -> bool {
    let says = |text: Option<Cow<'_, str>>| text.is_some_and(|text| !text.trim().is_empty());
    if input.peek() == Some(b'"') {
        return input.opening().is_ok_and(says);
    }
    let mut is_said = false;
    let read = input.array(|json| {
        json.object(|name, json| {
            match name {
                "type" => is_said |= json.text()?.is_some_and(|kind| kind.ends_with("_url")),
                "text" => is_said |= says(json.opening()?),
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    });
    read.is_ok() && is_said
}

impl Figures {
    fn read(json: &mut Json<'_>) -> Read<Option<Self>> {
        let mut figures = Self::default();
        let is_object = json.object(|name, json| {
            let count = match name {
                "inputOther" | "input_other" => &mut figures.input,
                "output" => &mut figures.output,
                "inputCacheRead" | "input_cache_read" => &mut figures.cache_read,
                "inputCacheCreation" | "input_cache_creation" => &mut figures.cache_create,
                _ => return Ok(()),
            };
            *count = json.count()?;
            Ok(())
        })?;
        Ok(is_object.then_some(figures))
    }

    pub(super) fn tokens(self, flags: &mut Flags) -> Result<Tokens, Skip> {
        Ok(Tokens {
            input: self.input.clamped(flags)?,
            output: self.output.clamped(flags)?,
            cache_read: self.cache_read.clamped(flags)?,
            cache_create: self.cache_create.clamped(flags)?,
            cache_create_1h: 0,
            reasoning: 0,
        })
    }
}

/// The milliseconds of a number of seconds, worked out on the digits.
pub(super) fn seconds_ms(number: &str) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let seconds: i64 =
        whole.parse().ok().filter(|seconds| (0..=MAX_TIME_MS / 1_000).contains(seconds))?;
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(seconds * 1_000 + millis.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::seconds_ms;

    #[test]
    fn seconds_are_cut_to_milliseconds() {
        for (number, ms) in [
            ("1788256800.100999", Some(1_788_256_800_100)),
            ("1788256800.1", Some(1_788_256_800_100)),
            ("1788256800", Some(1_788_256_800_000)),
            ("0.0", Some(0)),
            ("-1.5", None),
            ("1.5e9", None),
            ("253402300800", None),
        ] {
            assert_eq!(seconds_ms(number), ms, "{number}");
        }
    }
}
