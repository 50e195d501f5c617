//! One usage event: a billable model call, or a prompt a person typed.

use std::sync::Arc;

use crate::EventKey;

/// What one record of an agent's log says about one call.
///
/// The same call may be stated several times (a streamed response, a forked copy); statements with
/// equal `key` meet in [`crate::merge()`]. A row of `usage_events` is the merge of all statements of
/// its key, plus what is derived from it: id, day and price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    pub key: EventKey,
    /// The agent that wrote the log: `"codex"`.
    pub provider: Arc<str>,
    pub role: Role,
    /// UTC milliseconds.
    pub ts_ms: i64,
    /// 0 original, 1 forked copy, 2 sidechain copy of another file's message.
    pub copy_rank: u8,
    pub owner: Owner,
    pub usage: Usage,
    /// Version of the parser that produced this statement.
    pub parser_version: u32,
}

/// Where a call belongs. Chosen as a whole when statements are merged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub session_id: Arc<str>,
    /// Working directory of the project, or `<provider>:<name>` where the agent tells none.
    pub project: Arc<str>,
    pub is_sidechain: bool,
    /// `None` is the default account.
    pub account: Option<Arc<str>>,
    /// The agent's own id of the subagent that made the call.
    pub agent: Option<Arc<str>>,
    /// Version of the agent program.
    pub client: Option<Arc<str>>,
    /// The source that said so.
    pub source_id: i64,
}

/// What a call used. Chosen as a whole when statements are merged, so that no combination of
/// counts is ever stored that was never logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// As the agent wrote it; `""` for prompts, [`Usage::UNKNOWN_MODEL`] where the log has none.
    pub model: Arc<str>,
    pub speed: Speed,
    pub tokens: Tokens,
    pub web_search_requests: u64,
    /// The company that served the model, where it is not the one that made it (`"azure"`).
    pub vendor: Option<Arc<str>>,
    /// Service tier as logged, where `speed` does not already say it.
    pub tier: Option<Arc<str>>,
    /// Region as logged, where it may change the price (`"us"`).
    pub geo: Option<Arc<str>>,
    /// Cost in 1e-9 USD that the agent logged itself and that its fact sheet calls sound. Zero is a
    /// call that was free; what an agent could not price is `None`.
    pub logged_cost_nanousd: Option<i64>,
    pub flags: Flags,
}

impl Usage {
    /// The model of a call whose log names none.
    pub const UNKNOWN_MODEL: &str = "unknown";

    /// Nothing used, and nothing else said than which model was asked.
    pub fn of(model: impl Into<Arc<str>>) -> Self {
        Self {
            model: model.into(),
            speed: Speed::Standard,
            tokens: Tokens::default(),
            web_search_requests: 0,
            vendor: None,
            tier: None,
            geo: None,
            logged_cost_nanousd: None,
            flags: Flags::default(),
        }
    }
}

/// Token counts of one call. The first four are disjoint and add up to the call's total; the last
/// two are "of which" figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens {
    /// Uncached input.
    pub input: u64,
    /// Output, reasoning included.
    pub output: u64,
    pub cache_read: u64,
    pub cache_create: u64,
    /// Part of `cache_create` that was written for one hour.
    pub cache_create_1h: u64,
    /// Part of `output`.
    pub reasoning: u64,
}

impl Tokens {
    /// Input of the whole request, cached or not: what long-context thresholds are compared with,
    /// unless it adds up several requests.
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_create)
    }

    pub fn total(&self) -> u64 {
        self.prompt().saturating_add(self.output)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A billable call.
    Assistant,
    /// A prompt a person typed: no tokens, no cost.
    User,
}

impl Role {
    pub const ALL: [Self; 2] = [Self::Assistant, Self::User];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assistant => "assistant",
            Self::User => "user",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == name)
    }
}

/// The speed a call was served at; it selects the price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speed {
    #[default]
    Standard,
    Fast,
    Flex,
    Batch,
    Ultrafast,
}

impl Speed {
    pub const ALL: [Self; 5] =
        [Self::Standard, Self::Fast, Self::Flex, Self::Batch, Self::Ultrafast];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Fast => "fast",
            Self::Flex => "flex",
            Self::Batch => "batch",
            Self::Ultrafast => "ultrafast",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// Where a stored cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostSource {
    /// The agent logged it.
    Live,
    /// The price book's row for this model.
    RateCard,
    /// Tokens or price are an estimate.
    Estimated,
    /// No price known: the cost is NULL.
    Unknown,
}

impl CostSource {
    pub const ALL: [Self; 4] = [Self::Live, Self::RateCard, Self::Estimated, Self::Unknown];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::RateCard => "rate_card",
            Self::Estimated => "estimated",
            Self::Unknown => "unknown",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// Doubts about a record that was counted all the same. Kept in `raw_extras.flags`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flags(u8);

impl Flags {
    /// A count was negative, absurd, or larger than the figure it is part of.
    pub const CLAMPED: Self = Self(1);
    /// The record had no usable time of its own.
    pub const TS_GUESSED: Self = Self(2);
    /// Token counts are not from the model's own report.
    pub const ESTIMATED: Self = Self(4);
    /// No doubt, and in no row: counts and cost are those of the whole session so far. Of them
    /// becomes a row what is stored of the session neither yet. That is found out when the event is
    /// stored, as only then is it known whether earlier events are still there.
    pub const SESSION_SO_FAR: Self = Self(8);

    /// No doubt, and in no row: the record names no model, and the model is the one that is set when
    /// it is read. The first one that was stored stays.
    pub const MODEL_AS_SET: Self = Self(16);
    /// The record may add up several requests: nothing says how long any of them was.
    pub const SUM: Self = Self(32);

    const NAMES: [(Self, &'static str); 4] = [
        (Self::CLAMPED, "clamped"),
        (Self::TS_GUESSED, "ts_guessed"),
        (Self::ESTIMATED, "estimated"),
        (Self::SUM, "sum"),
    ];

    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(f, _)| self.contains(*f)).map(|(_, name)| name)
    }

    /// Unknown names are ignored: they come from a newer version.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut flags = Self::default();
        for name in names {
            if let Some((flag, _)) = Self::NAMES.into_iter().find(|(_, n)| *n == name) {
                flags.insert(flag);
            }
        }
        flags
    }
}
