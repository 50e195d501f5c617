//! What the service manager is told: READY, STATUS, WATCHDOG, RELOADING, STOPPING.
//!
//! Without a service manager every call is a no-op.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// A part of the daemon whose heart stood still this long is not alive.
pub(crate) const STILL_ALIVE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Supervisor {
    watchdog: Option<Duration>,
    fed: Instant,
    status: String,
    status_at: Instant,
}

impl Supervisor {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            fed: now,
            status: String::new(),
            status_at: now,
        }
    }

    pub(crate) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(e) => tracing::warn!("cannot read the monotonic clock: {e}"),
        }
    }

    /// Feeds the watchdog, but only for a daemon whose parts all turn over.
    pub(crate) fn feed(&mut self, alive: bool) {
        let Some(interval) = self.watchdog else { return };
        if alive && self.fed.elapsed() >= interval / 3 {
            self.fed = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// One line for `systemctl status`, every 30 s or when asked to say it now.
    pub(crate) fn status(&mut self, text: String, now: bool) {
        if now || (self.status_at.elapsed() >= Duration::from_secs(30) && text != self.status) {
            tell(&[NotifyState::Status(&text)]);
            self.status = text;
            self.status_at = Instant::now();
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        tracing::debug!("cannot notify the service manager: {e}");
    }
}
