//! A file of our own whose changes must be heard: when they are not, the watcher has died without a
//! word, and everything else would wait for the next sweep.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fingerprint;
use crate::watch::Watch;

/// How often it sings.
const PERIOD: Duration = Duration::from_secs(30);
/// How long it may take to be heard.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Canary {
    folder: PathBuf,
    /// When it sang or was heard last.
    since: Instant,
    is_waiting: bool,
}

impl Canary {
    /// Lives in a folder of its own: whatever else is written beside it would wake us.
    pub(crate) fn new(folder: PathBuf, now: Instant) -> Self {
        Self { folder, since: now, is_waiting: false }
    }

    /// To be called often. True when it sang and was not heard.
    pub(crate) fn tick(&mut self, watch: &Watch, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        if self.is_waiting {
            let is_silent = elapsed > PATIENCE;
            if is_silent {
                self.rest(now);
            }
            return is_silent;
        }
        if elapsed >= PERIOD {
            self.since = now;
            self.is_waiting = self.sing(watch);
        }
        false
    }

    /// Whether a path that was heard is its own.
    pub(crate) fn is_heard(&mut self, path: &Path, now: Instant) -> bool {
        let is_own = path.starts_with(&self.folder);
        if is_own {
            self.rest(now);
        }
        is_own
    }

    /// Something else has shown that events are delivered.
    pub(crate) fn rest(&mut self, now: Instant) {
        (self.since, self.is_waiting) = (now, false);
    }

    /// Where it cannot be watched, or written, it proves nothing and is not waited for.
    fn sing(&self, watch: &Watch) -> bool {
        let song = self.folder.join("song");
        let created = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        let Ok(metadata) = created.and_then(|()| fs::metadata(&self.folder)) else {
            return false;
        };
        watch.add(&self.folder, &fingerprint::of(&metadata));
        watch.knows(&self.folder) && fs::write(song, ".").is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h25_a_watcher_that_fell_silent_is_noticed_and_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("canary");
        let (watch, start) = (Watch::new(), Instant::now());
        watch.begin_sweep();
        let mut canary = Canary::new(folder.clone(), start);
        let heard = |canary: &mut Canary, now| {
            let until = Instant::now() + Duration::from_secs(60);
            while Instant::now() < until {
                if watch.mailbox.take().paths.iter().any(|path| canary.is_heard(path, now)) {
                    return true;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            false
        };
        assert!(!canary.tick(&watch, start + PERIOD / 2) && !folder.exists());
        let sung = start + PERIOD;
        assert!(!canary.tick(&watch, sung));
        assert!(heard(&mut canary, sung), "a watcher that works");
        assert!(!canary.tick(&watch, sung + PATIENCE * 2));

        // From here on nothing is delivered.
        watch.deafen();
        let sung = sung + PERIOD;
        assert!(!canary.tick(&watch, sung) && !canary.tick(&watch, sung + PATIENCE));
        assert!(canary.tick(&watch, sung + PATIENCE * 2));
        watch.rebuild();
        watch.begin_sweep();
        let sung = sung + PATIENCE * 2 + PERIOD;
        assert!(!canary.tick(&watch, sung));
        assert!(heard(&mut canary, sung), "a watcher made anew");
    }

    #[test]
    fn h25_a_canary_that_cannot_be_watched_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let (watch, start) = (Watch::new(), Instant::now());
        let mut canary = Canary::new(home.path().join("canary"), start);
        assert!(!canary.tick(&watch, start + PERIOD));
        assert!(!canary.tick(&watch, start + PERIOD + PATIENCE * 2));
    }
}
