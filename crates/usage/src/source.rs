//! A source, how far it was read, and what one read of it yields.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use crate::{EventKey, UsageEvent};

/// One file or database that a provider's records are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// A hash of provider and path, so that equal homes give equal ids.
    pub id: i64,
    pub provider: &'static str,
    pub path: PathBuf,
    /// The watched folder it was found under.
    pub root: PathBuf,
    /// Modification time at the last look: the time of records that have none.
    pub mtime_ms: i64,
}

/// Is this still the file that was read before?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    pub dev: u64,
    pub ino: u64,
    /// 0 where the filesystem has no birth time.
    pub btime_ns: i64,
    pub size: u64,
    pub mtime_ns: i64,
    /// How many bytes before the offset `marker_hash` covers: at most 256.
    pub marker_len: u16,
    pub marker_hash: u64,
}

/// How far a source was read. Saved in the same transaction as what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub source_id: i64,
    pub provider: String,
    pub path: PathBuf,
    pub fingerprint: Fingerprint,
    /// Grows when the source is found truncated, rewritten or replaced.
    pub generation: u32,
    /// Start of the first line not yet consumed (in decoded bytes).
    pub offset: u64,
    /// The offset lies inside an oversized line: drop bytes up to the next newline first.
    pub skip_to_newline: bool,
    /// What earlier records left behind, as the parser wrote it: small JSON.
    pub state: String,
    pub parser_version: u32,
    /// Records not counted since offset 0, by reason.
    pub skips: Skips,
    /// Lines consumed since offset 0.
    pub lines: u64,
    /// Time of the newest event read from it.
    pub last_event_ms: Option<i64>,
    pub last_error: Option<String>,
    /// When the source was first found missing.
    pub missing_since_ms: Option<i64>,
}

impl Checkpoint {
    /// A source of which nothing was read yet.
    pub fn at_start(source_id: i64, provider: &str, path: PathBuf, parser_version: u32) -> Self {
        Self {
            source_id,
            provider: provider.to_owned(),
            path,
            fingerprint: Fingerprint::default(),
            generation: 0,
            offset: 0,
            skip_to_newline: false,
            state: String::new(),
            parser_version,
            skips: Skips::default(),
            lines: 0,
            last_event_ms: None,
            last_error: None,
            missing_since_ms: None,
        }
    }
}

/// Records that were not counted, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skips(pub BTreeMap<Skip, u64>);

impl Skips {
    pub fn add(&mut self, reason: Skip) {
        *self.0.entry(reason).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (reason, n) in &other.0 {
            *self.0.entry(*reason).or_default() += n;
        }
    }

    /// What was added since `before`. Where there are fewer now, counting began anew.
    pub fn since(&self, before: &Self) -> Self {
        let added = |(reason, n): (&Skip, &u64)| {
            let before = before.0.get(reason).copied().filter(|before| before <= n);
            let added = n - before.unwrap_or(0);
            (added > 0).then_some((*reason, added))
        };
        Self(self.0.iter().filter_map(added).collect())
    }

    /// How many of them are faults of the log rather than records that are not billable.
    pub fn faults(&self) -> u64 {
        self.0.iter().filter(|(reason, _)| reason.is_fault()).map(|(_, n)| n).sum()
    }
}

/// Why a record was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// Not JSON.
    Malformed,
    /// JSON, but not an object.
    NotAnObject,
    /// A line over the size limit.
    Oversize,
    /// A count that is not a number the program can hold.
    BadNumber,
    /// A field that identifies the call or says when it was is missing or of another type.
    BadField,
    /// Text made locally, no call.
    Synthetic,
    /// The call failed; the agent counts nothing either.
    ApiError,
    /// A call without any usage.
    NoUsage,
    /// A call that another record or source already states.
    Replayed,
}

impl Skip {
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::NotAnObject,
        Self::Oversize,
        Self::BadNumber,
        Self::BadField,
        Self::Synthetic,
        Self::ApiError,
        Self::NoUsage,
        Self::Replayed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAnObject => "not_an_object",
            Self::Oversize => "oversize",
            Self::BadNumber => "bad_number",
            Self::BadField => "bad_field",
            Self::Synthetic => "synthetic",
            Self::ApiError => "api_error",
            Self::NoUsage => "no_usage",
            Self::Replayed => "replayed",
        }
    }

    /// The same for people, after "records skipped:".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Malformed => "not JSON, or cut off",
            Self::NotAnObject => "not a JSON object",
            Self::Oversize => "line too long",
            Self::BadNumber => "a count that is no whole number",
            Self::BadField => "no usable id or time",
            Self::Synthetic => "written by the agent itself, no call",
            Self::ApiError => "failed call, not billed",
            Self::NoUsage => "call without usage",
            Self::Replayed => "copy of a call counted already",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }

    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Malformed | Self::NotAnObject | Self::Oversize | Self::BadNumber | Self::BadField
        )
    }
}

/// What one read of a source yields. Stored in one transaction or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    pub events: Vec<UsageEvent>,
    /// Keys of events that later records of this source proved wrong.
    pub retracted: Vec<EventKey>,
    /// Keys of events that this source may have stated when less was known, and does not state now.
    pub withdrawn: Vec<EventKey>,
    /// Where the next read begins.
    pub checkpoint: Checkpoint,
    /// Bytes and lines consumed by this read.
    pub bytes: u64,
    pub lines: u64,
    /// The source has been read from its start to its end by this parser version.
    pub complete: bool,
    /// The source is read again from its start on purpose: what it states now takes the place of
    /// what it stated before.
    pub restates: bool,
    /// Each record is the source's whole word on its call, and takes the place of what the source
    /// said of it before: documents and databases, whose records change in place.
    pub amends: bool,
    /// When it was first heard that there is something to read; `None` where nobody said so and a
    /// sweep found it. It travels with what was read because only the writer knows when the marts
    /// show it.
    pub heard: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_since_is_told_and_all_of_it_where_counting_began_anew() {
        let skips = |counts: &[(Skip, u64)]| Skips(counts.iter().copied().collect());
        let before = skips(&[(Skip::Malformed, 5), (Skip::Synthetic, 2), (Skip::Replayed, 9)]);
        let now = skips(&[(Skip::Malformed, 7), (Skip::Synthetic, 2), (Skip::Replayed, 4)]);
        assert_eq!(now.since(&before), skips(&[(Skip::Malformed, 2), (Skip::Replayed, 4)]));
        assert_eq!(now.since(&Skips::default()), now);
    }
}
