//! Standard output and error, and what a failure means to the caller.

use std::io::{self, IsTerminal as _, Write as _};

use crate::config::ConfigError;

/// Prints to standard output. A reader that went away (`| head`) is not an error of ours.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(print(&text)?)
}

/// Tells the user what went wrong, with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    // An error may have its cause in its own words already: a cause is said once.
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // Standard error is the last resort: when it is closed there is nobody left to tell.
    _ = writeln!(io::stderr().lock(), "tallyd: {text}");
}

/// 75: another instance holds the data directory; 78: configuration; 1: anything else.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<ConfigError>() {
            return 78;
        }
        let fault = cause
            .downcast_ref::<store::LockError>()
            .map(store::LockError::fault)
            .or_else(|| cause.downcast_ref::<store::StoreError>().map(store::StoreError::fault))
            .or_else(|| cause.downcast_ref::<store::ReadError>().map(store::ReadError::fault));
        match fault {
            Some(store::Fault::Held) => return 75,
            Some(store::Fault::Config) => return 78,
            Some(store::Fault::Fatal) | None => {}
        }
    }
    1
}

/// One line of progress: rewritten in place on a terminal, a plain line now and then elsewhere.
pub(crate) struct ProgressLine {
    terminal: bool,
    shown: bool,
    next: std::time::Instant,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, shown: false, next: std::time::Instant::now() + Self::pause(terminal) }
    }

    pub(crate) fn show(&mut self, text: &str) {
        let now = std::time::Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + Self::pause(self.terminal);
        let mut out = io::stderr().lock();
        // Progress is for whoever looks; nobody does when standard error is closed.
        _ = if self.terminal { write!(out, "\r\x1b[K{text}") } else { writeln!(out, "{text}") };
        _ = out.flush();
        self.shown = true;
    }

    /// What is over at once needs no progress; a log is not to be filled with it.
    fn pause(terminal: bool) -> std::time::Duration {
        std::time::Duration::from_millis(if terminal { 100 } else { 5_000 })
    }

    /// Takes the line away, so that what is printed next stands at the margin.
    pub(crate) fn clear(&mut self) {
        if self.terminal && std::mem::take(&mut self.shown) {
            let mut out = io::stderr().lock();
            _ = write!(out, "\r\x1b[K");
            _ = out.flush();
        }
    }
}
