//! The counts that Copilot states, of one call or of a session so far, and what they mean.

use std::fmt;

use serde::{Deserialize, Serialize};
use usage::{Flags, Skip, Tokens};

use crate::record::Count;

/// Counts as they are stated: input, output, cache reads, cache writes and reasoning. Input includes
/// what is read from the cache and written to it, output includes reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stated(pub(super) [Count; 5]);

impl Stated {
    /// The usage of one call.
    pub(super) fn call(self, flags: &mut Flags) -> Result<Counts, Skip> {
        self.each(flags, Count::clamped)
    }

    /// Counters, which may grow without limit.
    pub(super) fn totals(self, flags: &mut Flags) -> Result<Counts, Skip> {
        self.each(flags, |count, flags| match count {
            Count::Is(n) if n >= 0 => Ok(n.unsigned_abs()),
            other => other.clamped(flags),
        })
    }

    fn each(
        self,
        flags: &mut Flags,
        read: impl Fn(Count, &mut Flags) -> Result<u64, Skip>,
    ) -> Result<Counts, Skip> {
        let mut counts = self.0;
        // A call is not dropped over its reasoning, which is not billed by itself.
        if counts[4] == Count::Bad {
            flags.insert(Flags::CLAMPED);
            counts[4] = Count::Absent;
        }
        let mut whole = [0; 5];
        for (whole, stated) in whole.iter_mut().zip(counts) {
            *whole = read(stated, flags)?;
        }
        Ok(Counts(whole))
    }
}

/// What a call is known by: one count that is missing is as good as 0, one that is no number is not.
impl fmt::Display for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|count| match count {
            Count::Absent => write!(f, "0,"),
            Count::Is(n) => write!(f, "{n},"),
            Count::Bad => write!(f, "?,"),
        })
    }
}

/// The same counts, made whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts([u64; 5]);

impl Counts {
    pub(super) fn output(self) -> u64 {
        self.0[1]
    }

    /// Whether no count is smaller than in `other`.
    pub(super) fn covers(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| *a >= b)
    }

    /// What was added since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].saturating_sub(earlier.0[i])))
    }

    /// The disjoint counts of one event. One that cannot be true is 0 and flagged, and so is what is
    /// left of an input that is smaller than its parts.
    pub(super) fn tokens(self, flags: &mut Flags) -> Tokens {
        let [input, output, cache_read, cache_create, reasoning] = self.0.map(|n| {
            let stated = Count::Is(i64::try_from(n).unwrap_or(i64::MAX));
            stated.clamped(flags).unwrap_or_default()
        });
        let cached = cache_read + cache_create;
        if cached > input || reasoning > output {
            flags.insert(Flags::CLAMPED);
        }
        Tokens {
            input: input.saturating_sub(cached),
            output,
            cache_read,
            cache_create,
            cache_create_1h: 0,
            reasoning: reasoning.min(output),
        }
    }
}

/// Nano-dollars of a billionth of AI units, which cost a cent each. Where none are stated, the call
/// was not billed in them, which does not make it free.
pub(super) fn cost_nanousd(nano_aiu: u64) -> Option<i64> {
    let cost = nano_aiu.checked_add(50)? / 100;
    i64::try_from(cost).ok().filter(|cost| *cost > 0)
}
