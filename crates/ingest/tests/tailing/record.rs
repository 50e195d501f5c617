//! The lines that agents write here, and what a file made of them says: a second, much simpler
//! reading of the same bytes, that the real one is held to.

use std::collections::BTreeMap;
use std::io::Write as _;

use providers::Provider;
use usage::{EventKey, UsageEvent};

/// Longest line that is parsed. Small, so that cases meet it.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// A call may be stated again with more output, so often that one digit tells which.
pub(crate) const VERSIONS: u64 = 9;

/// What is to be counted: the number of a call and the latest version of it.
pub(crate) type Rows = BTreeMap<u64, u64>;

/// Both agents write one record a line; only Codex compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    Claude,
    Codex,
}

impl Agent {
    pub(crate) fn provider(self) -> &'static dyn Provider {
        let id = match self {
            Self::Claude => "claude-code",
            Self::Codex => "codex",
        };
        *providers::ALL.iter().find(|provider| provider.id() == id).unwrap()
    }

    pub(crate) fn file_name(self, stem: &str) -> String {
        match self {
            Self::Claude => format!("{stem}.jsonl"),
            Self::Codex => format!("rollout-2026-01-31T00-00-00-{stem}.jsonl"),
        }
    }

    /// The record of one call, without its newline. Its number stands at both ends: any marker of
    /// the bytes before an offset holds it, and half a record can be completed.
    pub(crate) fn record(self, call: u64, version: u64) -> String {
        let (head, input) = (head(call), call + 1);
        match self {
            Self::Claude => format!(
                r#"{head},"type":"assistant","timestamp":"2026-01-31T00:00:00.000Z","sessionId":"s","cwd":"/w","message":{{"model":"claude-sonnet-4-5","usage":{{"input_tokens":{input},"output_tokens":{version}}},"id":"msg_{call:016}"}}}}"#
            ),
            Self::Codex => format!(
                r#"{head},"type":"token_usage_record","timestamp":"2026-01-31T00:00:00.000Z","payload":{{"model":"gpt-5","usage":{{"input_tokens":{input},"output_tokens":{version}}},"response_id":"{call:016}"}}}}"#
            ),
        }
    }

    /// A record on a line that is too long to be parsed.
    pub(crate) fn oversize(self, call: u64, len: usize) -> String {
        let record = self.record(call, 1);
        format!(r#"{},"pad":"{}"}}"#, &record[..record.len() - 1], "x".repeat(len))
    }

    fn key(self, call: u64) -> EventKey {
        EventKey::new(&match self {
            Self::Claude => format!("claude:msg_{call:016}"),
            Self::Codex => format!("codex:resp:{call:016}"),
        })
    }

    /// The call and version that an event counts; `None` if no record written here says so.
    pub(crate) fn row_of(self, event: &UsageEvent) -> Option<(u64, u64)> {
        let tokens = event.usage.tokens;
        let call = tokens.input.checked_sub(1)?;
        let is_whole = tokens.total() == tokens.input + tokens.output;
        (is_whole && event.key == self.key(call)).then_some((call, tokens.output))
    }

    /// What is to be counted of a file with this content.
    pub(crate) fn rows_in(self, content: &[u8]) -> Rows {
        let mut rows = Rows::new();
        let mut lines = content.split(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            let is_ended = lines.peek().is_some();
            for (call, version) in self.records_on(line, is_ended) {
                add(&mut rows, call, version);
            }
        }
        rows
    }

    /// The records on one line, up to what is none. A line that has no end yet counts if it could be
    /// a record as it is.
    fn records_on(self, line: &[u8], is_ended: bool) -> Vec<(u64, u64)> {
        let mut records = Vec::new();
        if line.len() > MAX_LINE || !(is_ended || line.ends_with(b"}")) {
            return records;
        }
        let mut rest = after_nuls(line);
        while let Some((call, version)) = self.record_at(rest) {
            records.push((call, version));
            rest = &rest[self.record(call, version).len()..];
            if self == Self::Claude {
                rest = after_nuls(rest);
            }
        }
        records
    }

    fn record_at(self, text: &[u8]) -> Option<(u64, u64)> {
        let call = call_at(text)?;
        let version =
            (1..=VERSIONS).find(|version| text.starts_with(self.record(call, *version).as_bytes()));
        version.map(|version| (call, version))
    }

    /// What is missing from the record that `content` breaks off in.
    pub(crate) fn rest_of(self, content: &[u8]) -> Option<String> {
        let begin = (0..content.len()).rev().find(|at| call_at(&content[*at..]).is_some())?;
        let half = &content[begin..];
        let record = self.record(call_at(half)?, 1);
        let rest = record.as_bytes().strip_prefix(half)?;
        Some(String::from_utf8_lossy(rest).into_owned())
    }
}

pub(crate) fn add(rows: &mut Rows, call: u64, version: u64) {
    let known = rows.entry(call).or_insert(version);
    *known = version.max(*known);
}

fn head(call: u64) -> String {
    format!(r#"{{"n":"{call:016}""#)
}

/// The number of the record that begins here.
fn call_at(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(br#"{"n":""#)?.get(..16)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn after_nuls(line: &[u8]) -> &[u8] {
    let run = line.iter().take_while(|byte| **byte == 0).count();
    &line[run..]
}

pub(crate) fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_second_reading_tells_records_from_rubbish() {
    for agent in [Agent::Claude, Agent::Codex] {
        let (one, two) = (agent.record(1, 1), agent.record(2, 3));
        let check = |content: String, expect: &[(u64, u64)]| {
            assert_eq!(agent.rows_in(content.as_bytes()), expect.iter().copied().collect());
        };
        check(format!("{one}\n{two}\n"), &[(1, 1), (2, 3)]);
        check(format!("{one}{two}"), &[(1, 1), (2, 3)]);
        check(format!("{one}{}", &two[..60]), &[]);
        check(format!("{one}{}\n", &two[..60]), &[(1, 1)]);
        check(format!("\0\0{one}\n\0{two}"), &[(1, 1), (2, 3)]);
        check(format!("{}\n{one}", agent.oversize(2, MAX_LINE)), &[(1, 1)]);
        let rest_of = |content: String| agent.rest_of(content.as_bytes());
        assert_eq!(rest_of(format!("{two}\n{}", &one[..40])).as_deref(), Some(&one[40..]));
        assert_eq!(rest_of(format!("{one}\n")), None);
    }
}
