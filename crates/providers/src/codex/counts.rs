//! The five counts of a Codex usage object, and what they say about one call.

use serde::{Deserialize, Serialize};
use usage::{Flags, Skip, Tokens};

use crate::record::Count;

/// Input, cached input, cache writes, output and reasoning, nested as Codex logs them: input
/// includes the cached and the written part, output includes reasoning.
///
/// `total_tokens` is not among them: it is changed by estimates that nobody is billed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts([u64; 5]);

impl Counts {
    pub(super) fn is_zero(self) -> bool {
        self.0 == [0; 5]
    }

    /// Whether no count is smaller than in `other`.
    pub(super) fn covers(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| *a >= b)
    }

    /// What was added since `earlier`, which it covers.
    pub(super) fn since(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }

    /// Whether these totals are so much smaller than `earlier` that they must count from a new start.
    pub(super) fn is_below_half_of(self, earlier: Self) -> bool {
        2 * self.total() < earlier.total()
    }

    /// The counts that one call can have; one that no call has is an error of the log and becomes 0.
    pub(super) fn of_one_call(self, flags: &mut Flags) -> Self {
        Self(self.0.map(|n| {
            let stated = Count::Is(i64::try_from(n).unwrap_or(i64::MAX));
            stated.clamped(flags).unwrap_or_default()
        }))
    }

    /// The disjoint counts, where a part is never larger than the whole.
    pub(super) fn tokens(self, flags: &mut Flags) -> Tokens {
        let [input, cached, cache_write, output, reasoning] = self.0;
        let mut part = |stated: u64, whole: u64| {
            if stated > whole {
                flags.insert(Flags::CLAMPED);
            }
            stated.min(whole)
        };
        let cache_read = part(cached, input);
        let cache_create = part(cache_write, input - cache_read);
        Tokens {
            input: input - cache_read - cache_create,
            output,
            cache_read,
            cache_create,
            cache_create_1h: 0,
            reasoning: part(reasoning, output),
        }
    }

    /// The counts as part of an event's key.
    pub(super) fn key(self) -> String {
        let [input, cached, cache_write, output, reasoning] = self.0;
        format!("{input}:{cached}:{cache_write}:{output}:{reasoning}")
    }

    /// One number for all five (FNV-1a), to compare the histories of two threads. It is stored with
    /// the state of a fork, so it must stay what it is.
    pub(super) fn digest(self) -> u64 {
        let bytes = self.0.into_iter().flat_map(u64::to_le_bytes);
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    fn total(self) -> u128 {
        u128::from(self.0[0]) + u128::from(self.0[3])
    }

    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

/// A usage object as it stands in a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stated(pub(super) [Count; 5]);

impl Stated {
    /// Running totals of a thread. They may grow without limit.
    pub(super) fn totals(self, flags: &mut Flags) -> Result<Counts, Skip> {
        self.each(|count| match count {
            Count::Is(n) if n >= 0 => Ok(n.unsigned_abs()),
            other => other.clamped(flags),
        })
    }

    /// The usage of one call.
    pub(super) fn call(mut self, flags: &mut Flags) -> Result<Counts, Skip> {
        let [.., reasoning] = &mut self.0;
        let known = reasoning.informative(flags);
        *reasoning = Count::Is(i64::try_from(known).unwrap_or_default());
        self.each(|count| count.clamped(flags))
    }

    fn each(self, mut read: impl FnMut(Count) -> Result<u64, Skip>) -> Result<Counts, Skip> {
        let mut counts = [0; 5];
        for (count, stated) in counts.iter_mut().zip(self.0) {
            *count = read(stated)?;
        }
        Ok(Counts(counts))
    }
}
