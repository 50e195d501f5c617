//! What a rollout line may say about usage. Everything else in it is stepped over unread.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use usage::{Flags, Speed};

use super::counts::{Counts, Stated};
use crate::record::{Count, Json, Read};

/// One object of a rollout file.
pub(super) struct Line<'a> {
    pub(super) ts_ms: Option<i64>,
    /// Position in the thread's history. Only newer files number their lines.
    pub(super) ordinal: Option<u64>,
    pub(super) record: Record<'a>,
}

pub(super) enum Record<'a> {
    SessionMeta(Box<SessionMeta<'a>>),
    TurnContext {
        model: Option<Cow<'a, str>>,
        cwd: Option<Cow<'a, str>>,
    },
    /// New thread settings, with the service tier if they name one: [`None`] inside for a tier that
    /// has no meaning here.
    Settings(Option<Option<Speed>>),
    TokenCount(TokenCount<'a>),
    UsageRecord(UsageRecord<'a>),
    UserMessage,
    TaskStarted,
    /// Another agent has set this thread to work.
    Trigger,
    Other,
}

/// Who a thread is and where it comes from.
#[derive(Default)]
pub(super) struct SessionMeta<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    /// The thread that the user sees, where this one works for it.
    pub(super) session_id: Option<Cow<'a, str>>,
    pub(super) created_ms: Option<i64>,
    pub(super) cwd: Option<Cow<'a, str>>,
    pub(super) cli_version: Option<Cow<'a, str>>,
    pub(super) model_provider: Option<Cow<'a, str>>,
    pub(super) forked_from: Option<Cow<'a, str>>,
    pub(super) spawned_by: Option<Cow<'a, str>>,
    pub(super) is_subagent: bool,
    /// The first ordinal that is not copied from the parent.
    pub(super) first_own_ordinal: Option<u64>,
    /// The history lies in the parent's file: nothing is copied.
    pub(super) has_history_base: bool,
}

impl SessionMeta<'_> {
    /// The thread whose history may be copied into this one. Nobody descends from himself.
    pub(super) fn parent(&self) -> Option<&str> {
        let parent = self.forked_from.as_deref().or(self.spawned_by.as_deref());
        parent.filter(|parent| Some(*parent) != self.id.as_deref())
    }
}

#[derive(Default)]
pub(super) struct TokenCount<'a> {
    pub(super) total: Option<Stated>,
    pub(super) last: Option<Stated>,
    pub(super) model: Option<Cow<'a, str>>,
}

pub(super) struct UsageRecord<'a> {
    pub(super) thread_id: Option<Cow<'a, str>>,
    pub(super) response_id: Option<Cow<'a, str>>,
    pub(super) usage: Option<Stated>,
    pub(super) thread_usage: Option<Stated>,
    pub(super) model: Option<Cow<'a, str>>,
}

const INTER_AGENT: &str = "inter_agent_communication";

/// Whether a line can be one of the records above.
///
/// Their names are looked for with an opening quote. Inside a JSON string that quote would be
/// escaped, so text that merely talks about these records is not taken for one.
pub(super) fn may_matter(line: &[u8]) -> bool {
    static NAMES: LazyLock<[Finder<'static>; 8]> = LazyLock::new(|| {
        [
            r#""token_count""#,
            r#""user_message""#,
            r#""turn_context""#,
            r#""token_usage_record""#,
            r#""task_started""#,
            r#""thread_settings_applied""#,
            r#""session_meta""#,
            // The message itself, or only the note that there was one.
            r#""inter_agent_communication"#,
        ]
        .map(Finder::new)
    });
    NAMES.iter().any(|name| name.find(line).is_some())
}

/// Whether a line can hold a `token_count`.
pub(super) fn may_count(line: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""token_count""#));
    NAME.find(line).is_some()
}

impl<'a> Line<'a> {
    /// Reads the next object of a line; `None` if it is another kind of value.
    pub(super) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let (mut kind, mut ts_ms, mut ordinal) = (None, None, None);
        let mut payload = Payload::default();
        let is_object = json.object(|name, json| {
            match name {
                "type" => kind = json.text()?,
                "timestamp" => ts_ms = json.time()?,
                "ordinal" => ordinal = whole(json)?,
                "payload" => payload = Payload::read(json)?,
                _ => {}
            }
            Ok(())
        })?;
        let record = payload.into_record(kind.as_deref().unwrap_or_default());
        Ok(is_object.then_some(Self { ts_ms, ordinal, record }))
    }
}

/// The fields of all payloads at once: a payload may come before the type that says what it is.
#[derive(Default)]
struct Payload<'a> {
    kind: Option<Cow<'a, str>>,
    meta: SessionMeta<'a>,
    parent_thread_id: Option<Cow<'a, str>>,
    subagent_history_start_ordinal: Option<u64>,
    forked_from_ordinal_exclusive: Option<u64>,
    model: Option<Cow<'a, str>>,
    info: TokenCount<'a>,
    tier: Option<Option<Speed>>,
    trigger_turn: bool,
    thread_id: Option<Cow<'a, str>>,
    response_id: Option<Cow<'a, str>>,
    usage: Option<Stated>,
    thread_usage: Option<Stated>,
}

impl<'a> Payload<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut this = Self::default();
        json.object(|name, json| {
            match name {
                "type" => this.kind = json.text()?,
                "id" => this.meta.id = json.text()?,
                "session_id" => this.meta.session_id = json.text()?,
                "timestamp" => this.meta.created_ms = json.time()?,
                "cwd" => this.meta.cwd = json.text()?,
                "cli_version" => this.meta.cli_version = json.text()?,
                "model_provider" => this.meta.model_provider = json.text()?,
                "forked_from_id" => this.meta.forked_from = json.text()?,
                "history_base" => this.meta.has_history_base = json.peek() != Some(b'n'),
                "source" => this.read_source(json)?,
                "parent_thread_id" => this.parent_thread_id = json.text()?,
                "subagent_history_start_ordinal" => {
                    this.subagent_history_start_ordinal = whole(json)?;
                }
                "forked_from_ordinal_exclusive" => {
                    this.forked_from_ordinal_exclusive = whole(json)?;
                }
                "model" => this.model = json.text()?,
                "info" => this.info = TokenCount::read(json)?,
                "thread_settings" => this.tier = tier(json)?,
                "trigger_turn" => this.trigger_turn = json.is_true()?,
                "thread_id" => this.thread_id = json.text()?,
                "response_id" => this.response_id = json.text()?,
                "usage" => this.usage = usage(json)?,
                "thread_token_usage" => this.thread_usage = usage(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(this)
    }

    /// `"cli"`, or `{"subagent": ...}` with or without the thread that started it.
    fn read_source(&mut self, json: &mut Json<'a>) -> Read<()> {
        json.object(|name, json| {
            if name != "subagent" {
                return Ok(());
            }
            self.meta.is_subagent = json.peek() != Some(b'n');
            json.object(|name, json| {
                if name != "thread_spawn" {
                    return Ok(());
                }
                json.object(|name, json| {
                    if name == "parent_thread_id" {
                        self.meta.spawned_by = json.text()?;
                    }
                    Ok(())
                })
                .map(drop)
            })
            .map(drop)
        })
        .map(drop)
    }

    fn into_record(self, kind: &str) -> Record<'a> {
        let payload_kind = self.kind.as_deref().unwrap_or_default();
        match (kind, payload_kind) {
            ("session_meta", _) => Record::SessionMeta(Box::new(SessionMeta {
                spawned_by: self.parent_thread_id.or(self.meta.spawned_by),
                first_own_ordinal: self
                    .subagent_history_start_ordinal
                    .or(self.forked_from_ordinal_exclusive),
                ..self.meta
            })),
            ("turn_context", _) => Record::TurnContext { model: self.model, cwd: self.meta.cwd },
            ("token_usage_record", _) => Record::UsageRecord(UsageRecord {
                thread_id: self.thread_id,
                response_id: self.response_id,
                usage: self.usage,
                thread_usage: self.thread_usage,
                model: self.model,
            }),
            ("event_msg", "token_count") => Record::TokenCount(TokenCount {
                model: self.model.or(self.info.model),
                ..self.info
            }),
            ("event_msg", "thread_settings_applied") => Record::Settings(self.tier),
            ("event_msg", "user_message") => Record::UserMessage,
            ("event_msg", "task_started") => Record::TaskStarted,
            (a, b) if self.trigger_turn && [a, b].iter().any(|k| k.starts_with(INTER_AGENT)) => {
                Record::Trigger
            }
            _ => Record::Other,
        }
    }
}

impl<'a> TokenCount<'a> {
    /// What it is known by in the thread's series. Estimates and repetitions are part of that.
    pub(super) fn digest(&self) -> Option<u64> {
        let total = self.total.and_then(|stated| stated.totals(&mut Flags::default()).ok());
        total.map(Counts::digest)
    }

    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut this = Self::default();
        json.object(|name, json| {
            match name {
                "total_token_usage" => this.total = usage(json)?,
                "last_token_usage" => this.last = usage(json)?,
                "model" => this.model = json.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(this)
    }
}

/// A usage object, in the newer or one of the older spellings. `None` if it states nothing.
fn usage(json: &mut Json<'_>) -> Read<Option<Stated>> {
    let mut total_tokens = Count::Absent;
    let [mut input, mut output, mut cache_write] = [Count::Absent; 3];
    let [mut cached, mut cache_read, mut cached_short] = [Count::Absent; 3];
    let [mut reasoning, mut reasoning_short] = [Count::Absent; 2];
    json.object(|name, json| {
        let count = match name {
            "input_tokens" => &mut input,
            "cached_input_tokens" => &mut cached,
            "cache_read_input_tokens" => &mut cache_read,
            "cached_tokens" => &mut cached_short,
            "cache_write_input_tokens" => &mut cache_write,
            "output_tokens" => &mut output,
            "reasoning_output_tokens" => &mut reasoning,
            "reasoning_tokens" => &mut reasoning_short,
            "total_tokens" => &mut total_tokens,
            _ => return Ok(()),
        };
        *count = json.count()?;
        Ok(())
    })?;
    let counts = [
        input,
        first_of([cached, cache_read, cached_short]),
        cache_write,
        output,
        first_of([reasoning, reasoning_short]),
    ];
    let is_stated = counts.iter().chain([&total_tokens]).any(|c| *c != Count::Absent);
    Ok(is_stated.then_some(Stated(counts)))
}

fn first_of<const N: usize>(counts: [Count; N]) -> Count {
    counts.into_iter().find(|c| *c != Count::Absent).unwrap_or_default()
}

/// The service tier of thread settings: [`None`] if they name none, [`None`] inside if it is unknown.
fn tier(json: &mut Json<'_>) -> Read<Option<Option<Speed>>> {
    let mut tier = None;
    json.object(|name, json| {
        if name == "service_tier" {
            tier = Some(match json.text()?.as_deref() {
                Some("priority" | "fast") => Some(Speed::Fast),
                Some("ultrafast") => Some(Speed::Ultrafast),
                Some("flex") => Some(Speed::Flex),
                Some("default" | "standard") => Some(Speed::Standard),
                _ => None,
            });
        }
        Ok(())
    })?;
    Ok(tier)
}

fn whole(json: &mut Json<'_>) -> Read<Option<u64>> {
    Ok(match json.count()? {
        Count::Is(n) => u64::try_from(n).ok(),
        Count::Absent | Count::Bad => None,
    })
}
