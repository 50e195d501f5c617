//! One rollout file, line by line: which of its counters are calls, and which are copies.

use std::mem;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Skip, Source, Usage, digest22};

use super::counts::Counts;
use super::line::{self, Line, Record, SessionMeta, UsageRecord};
use super::lineage::{Basis, Inherited, Moment, News, Parent, Phase, Prompt, TokenCount};
use super::thread::{Call, Origin, Thread};
use super::unmatched::Unmatched;
use super::{ID, thread_in_name};
use crate::record::{Json, MAX_REPEATS, NotJson};
use crate::{ParseLine, Parsed, Series, Ties};

/// Shorter lines are read in any case, so that their faults are seen: it costs little.
const SHORT: usize = 1024;

/// A `last_token_usage` without totals that comes again within this time is a repetition.
const REPEAT_MS: u64 = 5000;

/// Calls that wait for the log to name a model. Further ones stay with the unknown model.
const MAX_HELD: usize = 512;

/// Parses one rollout file.
pub(super) struct Rollout {
    origin: Origin,
    mtime_ms: i64,
    /// Who the thread is by its file's name, should the first line be unusable.
    named: Option<Thread>,
    parent: Parent,
    state: State,
}

/// What earlier lines left behind. Every list in it has its limit.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    thread: Option<Thread>,
    phase: Phase,
    model: Option<Arc<str>>,
    /// The directory of the latest turn.
    cwd: Option<Arc<str>>,
    /// The name of a [`usage::Speed`].
    tier: Option<Arc<str>>,
    /// The newest totals that were accepted.
    prev: Option<Counts>,
    /// The newest `last_token_usage` and its time.
    last: Option<(Counts, i64)>,
    /// The newest call taken from totals, as long as its record may still follow.
    recent: Option<(Box<str>, Counts)>,
    unmatched: Unmatched,
    /// Calls that were stated without a model.
    held: Vec<Call>,
    /// Prompts so far, copied ones included.
    prompts: u64,
    /// Time of the newest line that had one.
    last_ms: Option<i64>,
    basis: Option<Basis>,
    counters: Counters,
}

/// How long the thread's own series is, copied totals included.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counters {
    len: u64,
    last: Option<u64>,
}

impl Counters {
    fn note(&mut self, digest: Option<u64>) {
        if digest.is_some() && digest != self.last {
            self.len += 1;
            self.last = digest;
        }
    }
}

/// What a state says of the thread's ties, without reading the rest of it.
pub(super) fn ties(state: &str) -> Ties {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tied {
        last_ms: Option<i64>,
        basis: Option<Basis>,
        counters: Counters,
    }
    let Tied { last_ms, basis, counters } = serde_json::from_str(state).unwrap_or_default();
    let leans_on = basis.and_then(|basis| basis.lean(last_ms.unwrap_or(i64::MAX)));
    Ties { counters: counters.len, leans_on }
}

impl ParseLine for Rollout {
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        let line = line.trim_ascii();
        let mut json = Json::new(line);
        if json.skip_nuls() {
            out.skips.add(Skip::Malformed);
        }
        let line = &line[json.offset()..];
        let may_matter = line::may_matter(line);
        let is_object = line.starts_with(b"{") && line.ends_with(b"}");
        if !may_matter && is_object && line.len() >= SHORT {
            return;
        }
        // Writes that got in each other's way have left several objects on one line.
        let mut json = Json::new(line);
        let mut records = 0;
        while json.peek().is_some() {
            records += 1;
            if records > MAX_REPEATS {
                return out.skips.add(Skip::Malformed);
            }
            let start = json.offset();
            match Line::read(&mut json) {
                Ok(Some(object)) if may_matter => {
                    self.take(object, &line[start..json.offset()], out);
                }
                Ok(Some(_)) => {}
                Ok(None) => out.skips.add(Skip::NotAnObject),
                Err(NotJson) => return out.skips.add(Skip::Malformed),
            }
        }
    }

    fn state(&self) -> String {
        // Writing numbers, strings and lists to memory cannot fail.
        serde_json::to_string(&self.state).unwrap_or_default()
    }

    fn wants_parent(&self) -> Option<String> {
        match (&self.state.phase, &self.parent) {
            (Phase::Inherited(inherited), Parent::NotAsked) => inherited.wants().map(String::from),
            _ => None,
        }
    }

    fn set_parent(&mut self, series: Option<Series>) -> bool {
        let read_ms = self.state.last_ms.unwrap_or(i64::MAX);
        let State { phase, basis, .. } = &mut self.state;
        let (parent, is_unsure) = match phase {
            Phase::Inherited(inherited) => (inherited.wants(), inherited.is_unsure()),
            Phase::Own => (None, true),
            Phase::Fresh => return false,
        };
        // A file without totals tells no more than none.
        let series = series.filter(|series| !series.is_empty());
        let news = match (&mut *basis, &series, parent) {
            (Some(basis), Some(series), _) => basis.renew(series, read_ms),
            // Lines from here on are read without it.
            (Some(basis), None, Some(_)) => basis.forget(),
            (Some(_), None, None) => News::None,
            (None, series, Some(parent)) => {
                *basis = Some(Basis::new(parent, series.as_deref().unwrap_or_default()));
                News::None
            }
            (None, _, None) => return false,
        };
        if parent.is_some() {
            let series = series.filter(|_| news != News::Lost);
            self.parent = series.map_or(Parent::NotFound, Parent::Series);
        }
        news == News::Some && is_unsure
    }
}

impl Rollout {
    pub(super) fn resume(source: &Source, state: &str) -> Self {
        Self {
            origin: Origin { provider: ID.into(), source_id: source.id },
            mtime_ms: source.mtime_ms,
            named: thread_in_name(&source.path).map(Thread::named),
            parent: Parent::NotAsked,
            state: serde_json::from_str(state).unwrap_or_default(),
        }
    }

    fn take(&mut self, line: Line<'_>, bytes: &[u8], out: &mut Parsed) {
        let Line { ts_ms, ordinal, record } = line;
        let at = self.moment(ts_ms);
        if let Phase::Inherited(inherited) = &mut self.state.phase
            && inherited.ends_at(ordinal, at, &self.parent)
        {
            self.leave_inherited(out);
        }
        match record {
            Record::SessionMeta(meta) => self.session_meta(&meta, ordinal, at, out),
            Record::TurnContext { model, cwd } => {
                if let Phase::Inherited(inherited) = &mut self.state.phase {
                    inherited.note_turn();
                }
                set(&mut self.state.cwd, cwd.as_deref());
                self.set_model(model.as_deref(), out);
            }
            Record::Settings(Some(tier)) => self.state.tier = tier.map(|t| t.as_str().into()),
            Record::TokenCount(count) => self.token_count(count, at, bytes, out),
            Record::UsageRecord(record) => self.usage_record(&record, at, bytes, out),
            Record::UserMessage => self.user_message(ordinal, at, out),
            Record::TaskStarted => {
                if let Phase::Inherited(inherited) = &mut self.state.phase {
                    inherited.begin_turn(self.state.prev);
                }
            }
            Record::Trigger => self.trigger(out),
            Record::Settings(None) | Record::Other => {}
        }
    }

    /// The time of a line; where it has none, that of the newest line that has one.
    fn moment(&mut self, ts_ms: Option<i64>) -> Moment {
        self.state.last_ms = ts_ms.or(self.state.last_ms);
        Moment { ms: self.state.last_ms.unwrap_or(self.mtime_ms), is_guessed: ts_ms.is_none() }
    }

    fn session_meta(
        &mut self,
        meta: &SessionMeta<'_>,
        ordinal: Option<u64>,
        at: Moment,
        out: &mut Parsed,
    ) {
        let Some(id) = meta.id.as_deref() else {
            return out.skips.add(Skip::BadField);
        };
        let Some(thread) = &mut self.state.thread else {
            self.state.thread = Some(Thread::new(id, meta));
            self.state.phase = match meta.parent() {
                _ if meta.has_history_base => Phase::Own,
                Some(parent) => Inherited::forked(parent, meta, ordinal, at).into(),
                None => Phase::Fresh,
            };
            return;
        };
        match &mut self.state.phase {
            _ if *thread.id == *id => {}
            Phase::Fresh => {
                thread.has_ancestor = true;
                self.state.phase = Inherited::replayed(id, thread.created_ms, at).into();
            }
            Phase::Inherited(inherited) => inherited.note_meta(at),
            Phase::Own => {}
        }
    }

    /// The thread's own part begins, perhaps with prompts a little before.
    fn leave_inherited(&mut self, out: &mut Parsed) {
        self.parent = Parent::NotAsked;
        if let Phase::Inherited(mut inherited) = mem::replace(&mut self.state.phase, Phase::Own) {
            if let Some(basis) = &mut self.state.basis {
                basis.begin_own(self.state.last_ms.unwrap_or(i64::MAX));
            }
            for prompt in inherited.take_own_prompts() {
                self.prompt(&prompt, out);
            }
        }
    }

    fn trigger(&mut self, out: &mut Parsed) {
        let Phase::Inherited(inherited) = &mut self.state.phase else { return };
        if !inherited.ends_with_trigger(&self.parent) {
            return;
        }
        let turn = inherited.take_turn();
        self.leave_inherited(out);
        if let Some(turn) = turn {
            self.state.prev = turn.prev;
            turn.counts.into_iter().for_each(|count| self.own_count(count, out));
        }
    }

    /// The first model that is named is that of the calls before it as well.
    fn set_model(&mut self, model: Option<&str>, out: &mut Parsed) {
        set(&mut self.state.model, model);
        if self.state.model.is_some() {
            for call in mem::take(&mut self.state.held) {
                self.call(call, None, out);
            }
        }
    }

    fn token_count(
        &mut self,
        count: line::TokenCount<'_>,
        at: Moment,
        bytes: &[u8],
        out: &mut Parsed,
    ) {
        self.state.counters.note(count.digest());
        let mut flags = Flags::default();
        let mut read = || {
            let total = count.total.map(|stated| stated.totals(&mut flags)).transpose()?;
            let last = count.last.map(|stated| stated.call(&mut flags)).transpose()?;
            Ok((total, last))
        };
        let (total, last) = match read() {
            // Only the rate limits have changed.
            Ok((None, None)) => return,
            Ok(counts) => counts,
            Err(reason) => return out.skips.add(reason),
        };
        let count = TokenCount {
            at,
            total,
            last,
            model: count.model.map(Arc::from).or_else(|| self.state.model.clone()),
            line: total.is_none().then(|| digest22(bytes)),
            is_clamped: flags.contains(Flags::CLAMPED),
        };
        if let Phase::Inherited(inherited) = &mut self.state.phase
            && !inherited.ends_with(&count, &self.parent)
        {
            self.state.prev = total.or(self.state.prev);
            let thread = self.state.thread.as_ref();
            let key = thread.map(|thread| count_key(thread, total, count.line.as_deref()));
            out.withdrawn.extend(key.map(|key| EventKey::stored(&key)));
            inherited.keep_count(count);
            return;
        }
        self.leave_inherited(out);
        self.own_count(count, out);
    }

    fn own_count(&mut self, count: TokenCount, out: &mut Parsed) {
        let TokenCount { at, total, last, model, line, is_clamped } = count;
        let is_repeated = last.is_some_and(|last| self.is_repeated(last, at));
        let last = last.filter(|last| !last.is_zero());
        let step = match total {
            Some(total) => self.step(total, last),
            None => last.filter(|_| !is_repeated),
        };
        let mut flags = Flags::default();
        let Some(counts) = step.map(|s| s.of_one_call(&mut flags)).filter(|s| !s.is_zero()) else {
            return;
        };
        // Counters between two of them may not have been logged.
        let is_sum = !last.is_some_and(|last| last.covers(counts));
        if self.state.unmatched.take(counts) {
            self.state.recent = None;
            return;
        }
        let Some(thread) = self.thread() else {
            return out.skips.add(Skip::BadField);
        };
        let key = count_key(thread, total, line.as_deref());
        self.state.recent = Some((key.clone(), counts));
        let is_clamped = is_clamped || flags.contains(Flags::CLAMPED);
        let call = Call { is_sum, ..self.new_call(key, at, counts, is_clamped) };
        self.call(call, model, out);
    }

    /// Whether this `last_token_usage` was the previous one too, a moment ago.
    fn is_repeated(&mut self, last: Counts, at: Moment) -> bool {
        let previous = self.state.last.replace((last, at.ms));
        previous.is_some_and(|(counts, ms)| counts == last && at.ms.abs_diff(ms) <= REPEAT_MS)
    }

    /// What a call has added to the thread's totals, if these totals tell of one.
    fn step(&mut self, total: Counts, last: Option<Counts>) -> Option<Counts> {
        let step = match self.state.prev {
            // The context was forced to full: only `total_tokens` is set, and counting starts over.
            _ if total.is_zero() => None,
            // Zero for totals that are merely repeated.
            Some(prev) if total.covers(prev) => Some(total.since(prev)),
            Some(prev) if last == Some(total) || total.is_below_half_of(prev) => {
                Some(last.unwrap_or(total))
            }
            // An old snapshot that came late.
            Some(_) => return None,
            None if self.thread().is_some_and(|thread| thread.has_ancestor) => last,
            None => Some(last.unwrap_or(total)),
        };
        self.state.prev = Some(total);
        step
    }

    fn usage_record(
        &mut self,
        record: &UsageRecord<'_>,
        at: Moment,
        bytes: &[u8],
        out: &mut Parsed,
    ) {
        let Some(thread) = self.thread() else {
            return out.skips.add(Skip::BadField);
        };
        let is_own = match record.thread_id.as_deref() {
            Some(id) => *thread.id == *id,
            None => !matches!(self.state.phase, Phase::Inherited(_)),
        };
        if !is_own {
            return;
        }
        let key = record_key(record, thread, bytes);
        self.leave_inherited(out);
        let mut flags = Flags::default();
        let counts = match record.usage.unwrap_or_default().call(&mut flags) {
            Ok(counts) if !counts.is_zero() => counts,
            Ok(_) => return out.skips.add(Skip::NoUsage),
            Err(reason) => return out.skips.add(reason),
        };
        match self.state.recent.take() {
            Some((recent, step)) if step == counts => self.retract(&recent, out),
            _ => self.state.unmatched.push(counts),
        }
        let call = self.new_call(key, at, counts, flags.contains(Flags::CLAMPED));
        self.call(call, record.model.as_deref().map(Arc::from), out);
    }

    /// Takes back a call that was taken from totals: its record has come after them.
    fn retract(&mut self, key: &str, out: &mut Parsed) {
        self.state.held.retain(|call| *call.key != *key);
        out.events.retain(|event| event.key.as_str() != key);
        out.retracted.push(EventKey::stored(key));
    }

    fn new_call(&self, key: Box<str>, at: Moment, counts: Counts, is_clamped: bool) -> Call {
        let State { cwd, tier, .. } = &self.state;
        let (cwd, tier) = (cwd.clone(), tier.clone());
        Call { key, at, counts, is_clamped, is_sum: false, cwd, tier }
    }

    fn call(&mut self, call: Call, model: Option<Arc<str>>, out: &mut Parsed) {
        let Some(thread) = self.thread() else { return };
        out.withdrawn.retain(|key| key.as_str() != &*call.key);
        if let Some(model) = model.or_else(|| self.state.model.clone()) {
            out.events.push(thread.call(&call, &model, &self.origin));
            return;
        }
        // Stated again once a model is named; that may never be.
        out.events.push(thread.call(&call, &Usage::UNKNOWN_MODEL.into(), &self.origin));
        if self.state.held.len() < MAX_HELD {
            self.state.held.push(call);
        }
    }

    fn user_message(&mut self, ordinal: Option<u64>, at: Moment, out: &mut Parsed) {
        let number = ordinal.unwrap_or(self.state.prompts);
        self.state.prompts += 1;
        let prompt = Prompt { number, at, cwd: self.state.cwd.clone() };
        match &mut self.state.phase {
            Phase::Inherited(inherited) => {
                let thread = self.state.thread.as_ref().filter(|thread| !thread.is_sidechain);
                let event = thread.map(|thread| thread.prompt(&prompt, &self.origin));
                out.withdrawn.extend(event.map(|event| event.key));
                inherited.keep_prompt(prompt);
            }
            Phase::Fresh | Phase::Own => self.prompt(&prompt, out),
        }
    }

    fn prompt(&self, prompt: &Prompt, out: &mut Parsed) {
        match self.thread() {
            // What a subagent is told, no person has typed.
            Some(thread) if thread.is_sidechain => {}
            Some(thread) => {
                let event = thread.prompt(prompt, &self.origin);
                out.withdrawn.retain(|key| *key != event.key);
                out.events.push(event);
            }
            None => out.skips.add(Skip::BadField),
        }
    }

    fn thread(&self) -> Option<&Thread> {
        self.state.thread.as_ref().or(self.named.as_ref())
    }
}

/// The key of a call that only totals tell of.
fn count_key(thread: &Thread, total: Option<Counts>, line: Option<&str>) -> Box<str> {
    let total = total.map(Counts::key);
    thread.key("tc", total.as_deref().or(line).unwrap_or_default())
}

/// The key of a record: the response's own id is the same wherever the record is copied to.
fn record_key(record: &UsageRecord<'_>, thread: &Thread, bytes: &[u8]) -> Box<str> {
    if let Some(id) = &record.response_id {
        return EventKey::new(&format!("codex:resp:{id}")).as_str().into();
    }
    let total = record.thread_usage.and_then(|stated| stated.totals(&mut Flags::default()).ok());
    thread.key("rec", &total.map_or_else(|| digest22(bytes), Counts::key))
}

/// Keeps the allocation that a thread's events share as long as the text stays the same.
fn set(place: &mut Option<Arc<str>>, text: Option<&str>) {
    if text.is_some() && place.as_deref() != text {
        *place = text.map(Arc::from);
    }
}
