//! How well the latest lines of a source could be read.

use std::time::{Duration, Instant};

/// Lines that are looked back on.
const LINES: u64 = 500;
/// Fewer say nothing about the rest.
const FEWEST: u64 = 20;
/// How often one source may be spoken of in the log.
const SPACING: Duration = Duration::from_secs(60);

/// The latest lines of a source, and how many of them were faults. Only counted: what an older line
/// weighs fades as newer ones come.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    lines: u64,
    faults: u64,
    told: Option<Instant>,
}

impl Recent {
    pub(crate) fn add(&mut self, lines: u64, faults: u64) {
        self.lines += lines;
        self.faults += faults.min(lines);
        if self.lines > LINES {
            self.faults = self.faults * LINES / self.lines;
            self.lines = LINES;
        }
    }

    /// More than a fifth are faults: the format may have changed, or it is no log of that agent.
    pub(crate) fn is_degraded(&self) -> bool {
        self.lines >= FEWEST && self.faults * 5 > self.lines
    }

    /// Whether it is time to speak of it again.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= SPACING);
        if due {
            self.told = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h10_a_source_is_degraded_while_more_than_a_fifth_of_its_latest_lines_are_faults() {
        let mut recent = Recent::default();
        recent.add(10, 10);
        assert!(!recent.is_degraded(), "ten lines say nothing");
        recent.add(40, 0);
        assert!(!recent.is_degraded(), "a fifth is not more than a fifth");
        recent.add(1, 1);
        assert!(recent.is_degraded());
        recent.add(10_000, 0);
        assert!(!recent.is_degraded(), "old faults fade");
        recent.add(10_000, 2_500);
        assert!(recent.is_degraded(), "and new ones count");
    }

    #[test]
    fn h10_a_source_is_spoken_of_once_a_minute() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        assert!(recent.is_due(start));
        assert!(!recent.is_due(start + SPACING / 2));
        assert!(recent.is_due(start + SPACING));
        assert!(!recent.is_due(start + SPACING));
    }
}
