//! Where a thread's copied history ends and its own begins.
//!
//! A fork's file may open with a copy of its parent's history, which the parent's file already
//! pays for. Newer files number their lines and say where the own part begins. Older ones do not:
//! there the parent's totals tell, or, where the parent is lost, the times.

use std::mem;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::Flags;

use super::counts::Counts;
use super::line::SessionMeta;
use crate::{Counter, Lean, Series};

/// Copies are written in one go; between two calls of a model lies more than this.
const GAP_MS: u64 = 1000;

/// No model answers sooner than this after the last line of a copy, whose lines come within tens of
/// milliseconds.
const SHORT_GAP_MS: u64 = 200;

/// A copied turn has few counters and one prompt. What goes beyond is dropped, oldest first.
const MAX_PENDING: usize = 64;

/// Whose history the next line belongs to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) enum Phase {
    /// The thread's own so far, but nothing was used yet: a copy may still follow.
    #[default]
    Fresh,
    Inherited(Box<Inherited>),
    Own,
}

impl From<Inherited> for Phase {
    fn from(inherited: Inherited) -> Self {
        Self::Inherited(Box::new(inherited))
    }
}

/// What is known of the parent's history.
#[derive(Debug, Default)]
pub(super) enum Parent {
    #[default]
    NotAsked,
    NotFound,
    /// Its totals, in order.
    Series(Series),
}

/// What of the parent's series it was decided by where the own part begins.
///
/// That series may grow afterwards: the parent's file is written, restored or found later than the
/// fork's. What was decided with less of it is decided again, with one exception: what the parent
/// has added only after the own part had begun cannot have been copied.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Basis {
    parent: Arc<str>,
    /// How many totals were known; none where the parent was not found.
    len: usize,
    last: Option<Counter>,
    /// When the own part began, if it has.
    own_ms: Option<i64>,
    /// The parent's file holds another history now: it says nothing about this one any more.
    is_lost: bool,
}

/// What a series means for what was decided by an earlier one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is decided as before.
    None,
    /// It may be decided in another way.
    Some,
    /// It is another history.
    Lost,
}

impl Basis {
    pub(super) fn new(parent: &str, series: &[Counter]) -> Self {
        let parent = parent.into();
        let mut this = Self { parent, len: 0, last: None, own_ms: None, is_lost: false };
        this.extend(series);
        this
    }

    fn extend(&mut self, series: &[Counter]) {
        (self.len, self.last) = (series.len(), series.last().copied());
    }

    /// The parent cannot be found any more: what is read now is decided without it.
    pub(super) fn forget(&mut self) -> News {
        if !self.is_lost {
            self.extend(&[]);
        }
        News::Lost
    }

    pub(super) fn begin_own(&mut self, ms: i64) {
        self.own_ms = Some(ms);
    }

    /// Takes a series that was asked for again. `read_ms` is the time of the newest line.
    pub(super) fn renew(&mut self, series: &[Counter], read_ms: i64) -> News {
        let continues = self.last.is_none_or(|last| {
            series
                .get(self.len.saturating_sub(1))
                .is_some_and(|counter| counter.digest == last.digest)
        });
        if self.is_lost || !continues {
            self.is_lost = true;
            return News::Lost;
        }
        let is_late = |counter: &Counter| counter.ms > self.own_ms.unwrap_or(read_ms);
        let news = match series.get(self.len) {
            Some(next) if self.len == 0 || !is_late(next) => News::Some,
            _ => News::None,
        };
        self.extend(series);
        news
    }

    /// What is leaned on, unless all that the parent may still add comes too late to matter.
    pub(super) fn lean(&self, read_ms: i64) -> Option<Lean> {
        let until_ms = self.own_ms.unwrap_or(read_ms);
        let is_past = self.is_lost || self.last.is_some_and(|last| last.ms > until_ms);
        let lean = || Lean { name: self.parent.to_string(), counters: self.len as u64 };
        (!is_past).then(lean)
    }
}

/// A time, and whether it is only a guess.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Moment {
    pub(super) ms: i64,
    pub(super) is_guessed: bool,
}

impl Moment {
    pub(super) fn flags(self) -> Flags {
        if self.is_guessed { Flags::TS_GUESSED } else { Flags::default() }
    }
}

/// A prompt: its place in the thread's history, its time and its directory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Prompt {
    pub(super) number: u64,
    pub(super) at: Moment,
    pub(super) cwd: Option<Arc<str>>,
}

/// A `token_count`, checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TokenCount {
    pub(super) at: Moment,
    pub(super) total: Option<Counts>,
    pub(super) last: Option<Counts>,
    pub(super) model: Option<Arc<str>>,
    /// A hash of the line, where no total identifies the call.
    pub(super) line: Option<String>,
    pub(super) is_clamped: bool,
}

/// The counters of the turn that is being copied, should it turn out not to be a copy.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Turn {
    /// The totals before the turn.
    pub(super) prev: Option<Counts>,
    pub(super) counts: Vec<TokenCount>,
}

/// Reading the part that may be copied from the parent.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Inherited {
    parent: Arc<str>,
    created_ms: Option<i64>,
    /// Started by another agent, not by a person.
    is_spawned: bool,
    first_own_ordinal: Option<u64>,
    has_ordinals: bool,
    /// Where the newest copied totals stand in the parent's series.
    position: usize,
    /// Whether copied lines kept their times; the first counter tells.
    keeps_times: Option<bool>,
    /// Some totals were taken for copies although the parent's series, as far as it was known, does
    /// not have them.
    is_unsure: bool,
    /// Time of the newest copied counter; before there is one, of the newest `session_meta`.
    copied_ms: i64,
    turn: Option<Turn>,
    /// Since the newest copied counter.
    prompts: Vec<Prompt>,
    copies: Copies,
}

/// What a copy is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Copies {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Turns, with their counters in them.
    Turns,
    /// Counters alone.
    Counters,
    /// Counters alone, and now a turn begins: no copy.
    CountersAndATurn,
}

impl Inherited {
    /// A thread whose first line names its parent.
    pub(super) fn forked(
        parent: &str,
        meta: &SessionMeta<'_>,
        ordinal: Option<u64>,
        at: Moment,
    ) -> Self {
        Self {
            is_spawned: meta.is_subagent || meta.spawned_by.is_some(),
            first_own_ordinal: meta.first_own_ordinal,
            has_ordinals: ordinal.is_some(),
            ..Self::replayed(parent, meta.created_ms, at)
        }
    }

    /// A thread that opens with another one's first line: early versions resumed a thread in a new
    /// file, with a copy of the old one and nothing else to say so.
    pub(super) fn replayed(parent: &str, created_ms: Option<i64>, at: Moment) -> Self {
        Self { parent: parent.into(), created_ms, copied_ms: at.ms, ..Self::default() }
    }

    /// The parent whose series is needed.
    pub(super) fn wants(&self) -> Option<&str> {
        (!self.is_numbered()).then_some(&*self.parent)
    }

    /// Whether what was taken for copied so far could be seen in another way, knowing more.
    pub(super) fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Whether this line, whatever it is, belongs to the thread itself.
    pub(super) fn ends_at(&mut self, ordinal: Option<u64>, at: Moment, parent: &Parent) -> bool {
        self.has_ordinals |= ordinal.is_some();
        match (self.first_own_ordinal, ordinal) {
            (Some(first), Some(ordinal)) => ordinal >= first,
            _ if self.is_numbered() || matches!(parent, Parent::Series(_)) => false,
            _ => self.keeps_times == Some(true) && self.created_ms.is_some_and(|ms| at.ms >= ms),
        }
    }

    /// Whether a counter is the first of the thread's own. Takes note of it if not.
    pub(super) fn ends_with(&mut self, count: &TokenCount, parent: &Parent) -> bool {
        let ms = count.at.ms;
        let is_older = self.created_ms.is_some_and(|created| ms < created);
        let keeps_times = *self.keeps_times.get_or_insert(is_older);
        let is_own_after =
            |gap_ms| if keeps_times { !is_older } else { ms.abs_diff(self.copied_ms) > gap_ms };
        let is_past = self.is_past_counters();
        let mut is_known = false;
        let is_own = match (parent, count.total) {
            _ if self.is_numbered() => false,
            (Parent::Series(series), Some(total)) => {
                let rest = series.get(self.position..).unwrap_or_default();
                let digest = total.digest();
                let found = rest.iter().position(|copied| copied.digest == digest);
                self.position += found.unwrap_or_default();
                is_known = found.is_some();
                // What the series lacks may be copied all the same: the parent's file may be cut, or
                // not be whole yet. And nothing is asked of a model before a turn begins.
                !is_known && !is_older && (is_past || is_own_after(SHORT_GAP_MS))
            }
            _ => is_own_after(GAP_MS) || (is_past && !is_older),
        };
        if !is_own {
            self.is_unsure |= !is_known;
            self.copied_ms = ms;
            self.prompts.clear();
            self.copies = match self.copies {
                Copies::Turns => Copies::Turns,
                _ => Copies::Counters,
            };
        }
        is_own
    }

    /// Takes note of the context that every turn begins with.
    pub(super) fn note_turn(&mut self) {
        self.copies = match self.copies {
            Copies::Nothing | Copies::Turns => Copies::Turns,
            Copies::Counters | Copies::CountersAndATurn => Copies::CountersAndATurn,
        };
    }

    /// Takes note of a copied `session_meta`.
    pub(super) fn note_meta(&mut self, at: Moment) {
        if self.keeps_times.is_none() {
            self.copied_ms = at.ms;
        }
    }

    /// A turn begins, copied or not.
    pub(super) fn begin_turn(&mut self, prev: Option<Counts>) {
        if self.is_spawned && !self.is_numbered() {
            self.turn = Some(Turn { prev, counts: Vec::new() });
        }
    }

    /// Keeps a counter that looks copied until its turn has shown to be so.
    pub(super) fn keep_count(&mut self, count: TokenCount) {
        let Some(turn) = &mut self.turn else { return };
        if turn.counts.len() == MAX_PENDING {
            turn.prev = turn.counts.remove(0).total.or(turn.prev);
        }
        turn.counts.push(count);
    }

    /// Whether an order from another agent shows that this turn is the thread's own after all.
    ///
    /// It does not in a person's fork of a thread that works with others: that copies such lines
    /// too. Nor is it asked where the parent is known, since its series tells better.
    pub(super) fn ends_with_trigger(&self, parent: &Parent) -> bool {
        self.is_spawned && !self.is_numbered() && !matches!(parent, Parent::Series(_))
    }

    /// The turn that was read last, from its beginning.
    pub(super) fn take_turn(&mut self) -> Option<Turn> {
        self.turn.take()
    }

    /// Keeps a prompt until it is known whether it was copied.
    pub(super) fn keep_prompt(&mut self, prompt: Prompt) {
        if self.prompts.len() == MAX_PENDING {
            self.prompts.remove(0);
        }
        self.prompts.push(prompt);
    }

    /// The kept prompts that are the thread's own, now that its copied part is over.
    pub(super) fn take_own_prompts(&mut self) -> Vec<Prompt> {
        let mut prompts = mem::take(&mut self.prompts);
        prompts.retain(|prompt| {
            let ms = prompt.at.ms;
            !self.is_numbered()
                && self.created_ms.is_none_or(|created| ms >= created)
                && (self.keeps_times == Some(true)
                    || self.is_past_counters()
                    || ms.abs_diff(self.copied_ms) > GAP_MS)
        });
        prompts
    }

    fn is_past_counters(&self) -> bool {
        self.copies == Copies::CountersAndATurn
    }

    /// Whether the lines say by their ordinals where the own part begins.
    fn is_numbered(&self) -> bool {
        self.has_ordinals && self.first_own_ordinal.is_some()
    }
}
