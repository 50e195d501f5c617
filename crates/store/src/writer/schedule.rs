//! When to refresh, and when to try again: pure functions of the time they are given.

use std::time::Duration;

use tokio::time::Instant;

/// A refresh may take one part in this many of the time: the wait after it is as many times its own
/// duration, less one.
const SHARE: u32 = 10;

/// Debounces refreshes on both edges: the first change after a quiet spell is refreshed at once, all
/// that follows within the window together at its end.
#[derive(Debug)]
pub(crate) struct Debounce {
    window: Duration,
    /// When the current window ends; there is none before the first refresh.
    ends: Option<Instant>,
    pending: bool,
}

impl Debounce {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, ends: None, pending: false }
    }

    /// Something changed that the marts do not show yet.
    pub(crate) fn request(&mut self) {
        self.pending = true;
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    /// When to refresh, if there is anything to: a time that has passed means now.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.pending.then(|| self.ends.unwrap_or(now))
    }

    /// A refresh ended `now`, after `took`. Under load the window grows with it, so that refreshing
    /// never takes more than its share of the writer's time.
    pub(crate) fn refreshed(&mut self, now: Instant, took: Duration) {
        self.pending = false;
        self.ends = Some(now + self.window.max(took * (SHARE - 1)));
    }
}

/// Doubling waits between attempts, from one second to a minute.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = Duration::from_secs(1 << self.attempts.min(6)).min(Duration::from_secs(60));
        self.attempts += 1;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(100);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_first_change_is_refreshed_at_once_and_what_follows_at_the_end_of_the_window() {
        let start = Instant::now();
        let mut debounce = Debounce::new(WINDOW);
        assert_eq!(debounce.due(start), None);
        debounce.request();
        assert_eq!(debounce.due(start), Some(start));
        debounce.refreshed(start + ms(1), ms(1));
        assert_eq!(debounce.due(start + ms(1)), None);
        for _ in 0..3 {
            debounce.request();
            assert_eq!(debounce.due(start + ms(30)), Some(start + ms(101)));
        }
        debounce.refreshed(start + ms(102), ms(1));
        // Quiet since: the window is over before the next change.
        debounce.request();
        assert!(debounce.due(start + ms(500)).is_some_and(|due| due <= start + ms(500)));
    }

    #[test]
    fn h26_refreshing_takes_at_most_a_tenth_of_a_storm() {
        let mut now = Instant::now();
        let start = now;
        let mut debounce = Debounce::new(WINDOW);
        let mut refreshing = Duration::ZERO;
        while now < start + Duration::from_secs(60) {
            debounce.request();
            if debounce.due(now).is_some_and(|due| due <= now) {
                now += ms(40);
                refreshing += ms(40);
                debounce.refreshed(now, ms(40));
            } else {
                now += ms(5);
            }
        }
        assert!(refreshing <= Duration::from_secs(6) + ms(40), "{refreshing:?}");
    }

    #[test]
    fn h38_waits_grow_from_a_second_to_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| backoff.next_wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
