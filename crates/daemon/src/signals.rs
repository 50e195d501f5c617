//! Signals: TERM and INT stop, HUP reloads, a second TERM or INT ends the process at once, even if
//! the runtime is stuck.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

/// What the user or the service manager asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Stop,
    Reload,
}

pub(crate) struct Incoming {
    signals: Signals,
    /// A reload that was asked for while only a stop was listened for.
    reload: bool,
}

impl Incoming {
    pub(crate) fn register() -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // The order counts: the first signal finds the flag unset, sets it, and is handled
            // below; the second one finds it set.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
            signal_hook::flag::register(signal, Arc::clone(&stopping))?;
        }
        Ok(Self { signals: Signals::new([SIGTERM, SIGINT, SIGHUP])?, reload: false })
    }

    pub(crate) async fn next(&mut self) -> Asked {
        if std::mem::take(&mut self.reload) {
            return Asked::Reload;
        }
        match self.signals.next().await {
            Some(SIGHUP) => Asked::Reload,
            _ => Asked::Stop,
        }
    }

    /// Waits until a stop is asked for; a reload that is asked for meanwhile comes next.
    pub(crate) async fn stop(&mut self) {
        while let Some(SIGHUP) = self.signals.next().await {
            self.reload = true;
        }
    }
}
