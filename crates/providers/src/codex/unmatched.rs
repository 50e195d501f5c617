//! Records whose totals have not come yet.

use serde::{Deserialize, Serialize};

use super::counts::Counts;

/// Normally there is one at a time; remote compactions are never totalled and stay. Of more than
/// these the oldest is forgotten, and totals that came for it after all would be counted besides it.
const MAX: usize = 64;

/// Among how many of the newest a sum with gaps is looked for.
const MAX_SUMMED: usize = 12;

/// Usage of calls that were counted from their records, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Unmatched(Vec<Counts>);

impl Unmatched {
    pub(super) fn push(&mut self, usage: Counts) {
        if self.0.len() == MAX {
            self.0.remove(0);
        }
        self.0.push(usage);
    }

    /// Takes out the record that states this step of the totals, or the records that do so
    /// together. `false` if there are none: nobody has counted the step yet.
    pub(super) fn take(&mut self, step: Counts) -> bool {
        if let Some(at) = self.0.iter().rposition(|usage| *usage == step) {
            self.0.remove(at);
            return true;
        }
        self.take_newest(step) || self.take_some(step)
    }

    /// All since some record: the totals between them were not logged.
    fn take_newest(&mut self, step: Counts) -> bool {
        let mut sum = Counts::default();
        let start = (0..self.0.len()).rev().find(|at| {
            sum = sum.plus(self.0[*at]);
            sum == step
        });
        self.0.truncate(start.unwrap_or(self.0.len()));
        start.is_some()
    }

    /// Some of the newest: a compaction came between them.
    fn take_some(&mut self, step: Counts) -> bool {
        let newest = self.0.len().saturating_sub(MAX_SUMMED);
        let Some(chosen) = adding_up_to(step, &self.0[newest..]) else { return false };
        for at in chosen.into_iter().rev() {
            self.0.remove(newest + at);
        }
        true
    }
}

/// Which of `usage` add up to `sum`, oldest first.
fn adding_up_to(sum: Counts, usage: &[Counts]) -> Option<Vec<usize>> {
    if sum.is_zero() {
        return Some(Vec::new());
    }
    (0..usage.len()).rev().filter(|at| sum.covers(usage[*at])).find_map(|at| {
        let mut chosen = adding_up_to(sum.since(usage[at]), &usage[..at])?;
        chosen.push(at);
        Some(chosen)
    })
}

#[cfg(test)]
mod tests {
    use super::super::counts::Stated;
    use super::*;
    use crate::record::Count;

    fn counts(input: i64) -> Counts {
        let mut stated = Stated::default();
        stated.0[0] = Count::Is(input);
        stated.totals(&mut usage::Flags::default()).unwrap()
    }

    /// What is left of `usage` after totals have grown by `step`; `None` if nothing matched.
    fn check(usage: &[i64], step: i64, expect: Option<&[i64]>) {
        let mut unmatched = Unmatched(usage.iter().map(|n| counts(*n)).collect());
        let found = unmatched.take(counts(step));
        let left: Vec<_> = expect.unwrap_or(usage).iter().map(|n| counts(*n)).collect();
        assert_eq!((found, unmatched.0), (expect.is_some(), left));
    }

    #[test]
    fn a_step_takes_the_record_that_states_it() {
        check(&[10, 20, 30], 20, Some(&[10, 30]));
        check(&[10, 20, 30], 25, None);
        check(&[], 25, None);
    }

    #[test]
    fn a_step_takes_several_records_that_add_up_to_it() {
        check(&[1, 20, 40], 60, Some(&[1]));
        check(&[1, 20, 7, 40], 60, Some(&[1, 7]));
        check(&[100; 20], 2000, Some(&[]));
    }

    #[test]
    fn beyond_the_limit_the_oldest_record_is_forgotten() {
        let mut unmatched = Unmatched::default();
        for n in 1..=65 {
            unmatched.push(counts(1 << n.min(40)));
        }
        assert_eq!(unmatched.0.len(), MAX);
        assert!(!unmatched.take(counts(2)));
        assert!(unmatched.take(counts(4)));
    }
}
