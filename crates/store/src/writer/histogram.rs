//! How long things took since the start, counted in buckets as Prometheus wants them.

use std::time::Duration;

/// Times observed, by size. A copy is a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many were at most as long as the bound of the same index, and longer than the one before;
    /// the last ones were longer than every bound.
    counts: [u64; Self::BOUNDS_US.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// From what a refresh of a few rows takes to what nobody should wait for, in microseconds.
    pub const BOUNDS_US: [u64; 16] = [
        500, 1_000, 2_000, 3_000, 5_000, 10_000, 25_000, 50_000, 100_000, 150_000, 250_000,
        500_000, 1_000_000, 2_500_000, 10_000_000, 60_000_000,
    ];

    pub fn observe(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = Self::BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// How many were at most as long as each bound.
    pub fn cumulative(&self) -> [u64; Self::BOUNDS_US.len()] {
        let mut so_far = 0;
        std::array::from_fn(|bucket| {
            so_far += self.counts[bucket];
            so_far
        })
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_for_its_bound_and_every_longer_one() {
        let mut histogram = Histogram::default();
        for us in [0, 500, 501, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[..3], [2, 3, 3]);
        assert_eq!(cumulative[14..], [3, 4]);
        assert_eq!(histogram.count(), 5, "with the one that is longer than all bounds");
        assert_eq!(histogram.sum(), Duration::from_micros(120_001_002));
    }

    #[test]
    fn bounds_grow() {
        assert!(Histogram::BOUNDS_US.is_sorted_by(|one, next| one < next));
    }
}
