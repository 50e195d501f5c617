//! One journal, line by line: the counters of a session become what was added to them.
//!
//! The counters are written when the agent is left, for each model. Newer versions go on where the
//! session stood before it was resumed, older ones start over, and a compaction of the conversation
//! makes all of them start over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Role, Skip, Source, Tokens, Usage, UsageEvent, digest22};

use super::counts::{Counts, cost_nanousd};
use super::line::{Line, Model, may_matter};
use super::{ID, NO_DIRECTORY, STORE, VERSION, place, store, usage};
use crate::record::{Count, each_record};
use crate::{Around, ParseLine, Parsed, Surroundings, nowhere};

/// Shorter lines are read in any case, so that their faults are seen: it costs little.
const SHORT: usize = 1024;

/// Parses one journal.
pub(super) struct Journal {
    provider: Arc<str>,
    source_id: i64,
    /// The time of lines before which no time is known.
    mtime_ms: i64,
    /// The session by the journal's name, should its first line be unusable.
    named: Arc<str>,
    /// The database that may know the session.
    store: PathBuf,
    around: Around,
    state: State,
}

/// What earlier lines left behind.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    session: Option<Arc<str>>,
    cwd: Option<Arc<str>>,
    client: Option<Arc<str>>,
    is_detached: bool,
    /// Time of the newest line that had one.
    ts_ms: Option<i64>,
    /// Where the counters stood, by the hash of the model's name: there may be many long ones.
    counters: BTreeMap<String, Counters>,
    /// The conversation was compacted since then.
    is_compacted: bool,
    /// Output of the messages since the agent was started.
    said: u64,
}

/// The counters of a model: tokens, and billionths of AI units where they are stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counters(Counts, Option<u64>);

/// A model's counters as a shutdown states them.
struct Reading {
    model: String,
    digest: String,
    now: Counters,
    flags: Flags,
}

impl ParseLine for Journal {
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        let line = line.trim_ascii();
        let may_matter = may_matter(line);
        let is_object = line.starts_with(b"{") && line.ends_with(b"}");
        if !may_matter && is_object && line.len() >= SHORT {
            return;
        }
        each_record(line, out, |json, out| {
            let start = json.offset();
            let Some(record) = Line::read(json)? else { return Ok(false) };
            self.take(&record, &line[start..json.offset()], out);
            Ok(true)
        });
    }

    fn state(&self) -> String {
        // Writing numbers, strings and maps to memory cannot fail.
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Journal {
    pub(super) fn resume(source: &Source, around: Around, state: &str) -> Self {
        let (named, home) = place(&source.path).unwrap_or(("unknown", &source.root));
        Self {
            provider: ID.into(),
            source_id: source.id,
            mtime_ms: source.mtime_ms,
            named: named.into(),
            store: home.join(STORE),
            around,
            state: serde_json::from_str(state).unwrap_or_default(),
        }
    }

    /// `bytes` are the record as it is written: its key, where it has no id.
    fn take(&mut self, line: &Line<'_>, bytes: &[u8], out: &mut Parsed) {
        self.state.ts_ms = line.ts_ms.or(self.state.ts_ms);
        match line.kind.as_deref() {
            Some("session.start") => {
                self.state.session = line.data.session_id.as_deref().map(Arc::from);
                self.state.is_detached = line.data.is_detached;
                self.begin(line);
            }
            Some("session.resume") => self.begin(line),
            Some("session.compaction_complete") => {
                self.state.is_compacted |= line.data.is_success;
            }
            Some("session.shutdown") => self.shutdown(line, bytes, out),
            Some("assistant.message") => {
                let output = line.data.output.informative(&mut Flags::default());
                self.state.said = self.state.said.saturating_add(output);
            }
            Some("user.message") if line.is_prompt() && !self.state.is_detached => {
                let key = EventKey::new(&format!("copilot:prompt:{}", identity(line, bytes)));
                let flags = Flags::default();
                let usage = usage("".into(), Tokens::default(), None, flags);
                out.events.push(self.event(line, key, Role::User, usage));
            }
            _ => {}
        }
    }

    /// The agent is started, in a directory that may be another one than before.
    fn begin(&mut self, line: &Line<'_>) {
        let State { cwd, client, said, .. } = &mut self.state;
        *said = 0;
        if line.data.cwd.is_some() {
            *cwd = line.data.cwd.as_deref().map(Arc::from);
        }
        if line.data.client.is_some() {
            *client = line.data.client.as_deref().map(Arc::from);
        }
    }

    fn shutdown(&mut self, line: &Line<'_>, bytes: &[u8], out: &mut Parsed) {
        let before = std::mem::take(&mut self.state.counters);
        let readings = self.read_counters(line, &before, out);
        if readings.is_empty() {
            // It says nothing of what was used: the next one does.
            self.state.counters = before;
            return;
        }
        let starts_over = self.starts_over(&before, &readings);
        // What was used before the database had calls of the session is told here alone.
        let first_ms = store::first_call_ms(&*self.around, &self.store, self.session());
        let is_stored = first_ms.is_some_and(|first_ms| self.now_ms() >= first_ms);
        for Reading { model, digest, now, mut flags } in readings {
            let earlier = before.get(&digest).filter(|_| !starts_over);
            let tokens = earlier.map_or(now.0, |earlier| now.0.since(earlier.0)).tokens(&mut flags);
            self.state.counters.insert(digest, now);
            let id = identity(line, bytes);
            let key = EventKey::new(&format!("copilot:journal:{}:{model}:{id}", self.session()));
            if tokens.total() == 0 {
                // A model that was not asked since the session was resumed stands where it stood.
                if earlier.is_none() {
                    out.skips.add(Skip::NoUsage);
                }
            } else if is_stored {
                // Said for good: the database may be gone when the journal is read once more.
                out.retracted.push(key);
                out.skips.add(Skip::Replayed);
            } else {
                let cost = now.cost_since(earlier);
                flags.insert(Flags::SUM);
                let usage = usage(model.into(), tokens, cost, flags);
                out.events.push(self.event(line, key, Role::Assistant, usage));
            }
        }
        self.state.is_compacted = false;
        self.state.said = 0;
    }

    /// The counters of all models. Of a model whose counters cannot be read, the earlier ones stay.
    fn read_counters(
        &mut self,
        line: &Line<'_>,
        before: &BTreeMap<String, Counters>,
        out: &mut Parsed,
    ) -> Vec<Reading> {
        let mut readings = Vec::new();
        let models = &line.data.models;
        for Model { name, counts, nano_aiu } in models {
            let digest = digest22(name.as_bytes());
            let mut flags = Flags::default();
            // Older versions state only what all models together were billed.
            let nano_aiu = match nano_aiu {
                Count::Absent if models.len() == 1 => line.data.nano_aiu,
                stated => *stated,
            };
            let nano_aiu = match nano_aiu {
                Count::Is(n) => u64::try_from(n).ok(),
                Count::Absent | Count::Bad => None,
            };
            match counts.totals(&mut flags) {
                Ok(counts) => {
                    let now = Counters(counts, nano_aiu);
                    readings.push(Reading { model: name.clone(), digest, now, flags });
                }
                Err(reason) => {
                    out.skips.add(reason);
                    if let Some(earlier) = before.get(&digest) {
                        self.state.counters.insert(digest, *earlier);
                    }
                }
            }
        }
        readings
    }

    /// Whether the counters count from a new start, and not on from `before`. They do all together.
    fn starts_over(&self, before: &BTreeMap<String, Counters>, readings: &[Reading]) -> bool {
        let now = |digest: &str| readings.iter().find(|reading| reading.digest == digest);
        let has_shrunk = before.iter().any(|(digest, earlier)| match now(digest) {
            Some(reading) => !reading.now.0.covers(earlier.0),
            None => !self.state.counters.contains_key(digest),
        });
        if has_shrunk || self.state.is_compacted {
            return true;
        }
        // Versions that start over with each start of the agent are given away by its messages.
        let (mut whole, mut added) = (0_u64, 0_u64);
        for Reading { digest, now, .. } in readings {
            let since = before.get(digest).map_or(now.0, |earlier| now.0.since(earlier.0));
            whole = whole.saturating_add(now.0.output());
            added = added.saturating_add(since.output());
        }
        let said = self.state.said;
        said > 0 && said.abs_diff(whole) < said.abs_diff(added)
    }

    fn now_ms(&self) -> i64 {
        self.state.ts_ms.unwrap_or(self.mtime_ms)
    }

    fn session(&self) -> &Arc<str> {
        self.state.session.as_ref().unwrap_or(&self.named)
    }

    fn event(&self, line: &Line<'_>, key: EventKey, role: Role, mut usage: Usage) -> UsageEvent {
        if line.ts_ms.is_none() {
            usage.flags.insert(Flags::TS_GUESSED);
        }
        let State { cwd, client, is_detached, .. } = &self.state;
        UsageEvent {
            key,
            provider: self.provider.clone(),
            role,
            ts_ms: self.now_ms(),
            copy_rank: 0,
            owner: Owner {
                session_id: self.session().clone(),
                project: cwd.clone().unwrap_or_else(|| NO_DIRECTORY.into()),
                is_sidechain: *is_detached,
                account: None,
                agent: None,
                client: client.clone(),
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        }
    }
}

impl Counters {
    /// What was billed since `earlier`. Where that is not stated, no part of it can be.
    fn cost_since(self, earlier: Option<&Self>) -> Option<i64> {
        let nano_aiu = self.1?;
        let earlier = earlier.map_or(Some(0), |earlier| earlier.1)?;
        cost_nanousd(nano_aiu.checked_sub(earlier)?)
    }
}

/// The record's own id, which no other one has.
fn identity(line: &Line<'_>, bytes: &[u8]) -> String {
    line.id.as_deref().map_or_else(|| digest22(bytes), str::to_owned)
}

/// The keys of all calls since `first_ms` that a journal counts of a session while no database knows
/// it.
pub(super) fn keys(
    source: &Source,
    path: &Path,
    around: &dyn Surroundings,
    session: &str,
    first_ms: i64,
) -> Vec<EventKey> {
    let source = Source { path: path.to_owned(), ..source.clone() };
    let mut journal = Journal::resume(&source, nowhere(), "");
    let mut out = Parsed::default();
    around.lines(path, &mut |line| {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        journal.parse_line(line, &mut out);
    });
    let calls = out.events.into_iter().filter(|event| event.role == Role::Assistant);
    let is_known = |call: &UsageEvent| *call.owner.session_id == *session && call.ts_ms >= first_ms;
    calls.filter(is_known).map(|call| call.key).collect()
}
