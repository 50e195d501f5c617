//! Signals: TERM and INT stop, HUP reloads, a second TERM or INT ends the process at once, even if
//! the runtime is stuck.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Blocking;
use signal_hook_tokio::Signals;

/// Some send one stop as two signals: `timeout` signals the process and then its whole group.
const ONE_STOP: Duration = Duration::from_millis(500);

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
    #[expect(clippy::disallowed_methods, reason = "there is nothing to wait on but the time")]
    pub(crate) fn register() -> io::Result<Self> {
        let is_second = Arc::new(AtomicBool::new(false));
        let mut first = Blocking::new([SIGTERM, SIGINT])?;
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_second))?;
        }
        thread::Builder::new().name("second-stop".into()).spawn(move || {
            _ = first.forever().next();
            thread::sleep(ONE_STOP);
            is_second.store(true, Ordering::Relaxed);
        })?;
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
