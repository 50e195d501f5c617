//! Standard output and error, and what a failure means to the caller.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::ConfigError;
use crate::text;

/// Texts that wait for standard error. When nobody reads it, what comes beyond is lost.
const WAITING: usize = 1_024;
/// How long the end of the process waits for them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Prints to standard output. A reader that went away (`| head`) is not an error of ours.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints what programs read, as it is; on a terminal, where a name from a log may hold anything, fit
/// for that.
pub(crate) fn print_csv(text: &str) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return print(text);
    }
    let shown: String =
        text.chars().map(|c| if c == '\n' { c } else { text::harmless(c) }).collect();
    print(&shown)
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(print(&text)?)
}

/// Tells the user what went wrong, with its causes; as a line of the log where that is JSON.
pub(crate) fn complain(error: &anyhow::Error, as_json: bool) {
    let text = said_once(error.chain().map(ToString::to_string));
    if as_json {
        let time = jiff::Timestamp::now().to_string();
        let line = serde_json::json!({ "timestamp": time, "level": "ERROR", "message": text });
        say(format!("{line}\n"));
        return;
    }
    // It may name what stands in a log.
    let text: String =
        text.chars().map(|c| if c == '\n' { c } else { text::harmless(c) }).collect();
    say(format!("tallyd: {text}\n"));
}

/// An error may have its cause in its own words already, and that of SQLite is the same words after a
/// number: what is said is not said again.
fn said_once(causes: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for cause in causes {
        let words = cause.rsplit(": ").next().unwrap_or(&cause);
        if text.is_empty() {
            text = cause;
        } else if !text.contains(words) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Standard error, for those who must neither wait nor end when nobody reads it: a pipe that is full
/// holds up whoever writes to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        say(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn say(text: impl Into<Vec<u8>>) {
    // When nobody reads there is nobody left to tell.
    _ = SAID.try_send(Said::Text(text.into()));
}

/// Waits until all that was said is written, but not for long: perhaps nobody reads it.
pub(crate) fn flush() {
    let (done, written) = channel();
    if SAID.try_send(Said::Flush(done)).is_ok() {
        _ = written.recv_timeout(PATIENCE);
    }
}

enum Said {
    Text(Vec<u8>),
    Flush(Sender<()>),
}

/// To the thread that writes.
static SAID: LazyLock<SyncSender<Said>> = LazyLock::new(|| {
    let (said, heard) = sync_channel(WAITING);
    _ = thread::Builder::new().name("stderr".to_owned()).spawn(move || write(&heard));
    said
});

fn write(heard: &Receiver<Said>) {
    for said in heard {
        match said {
            Said::Text(text) => _ = io::stderr().write_all(&text),
            Said::Flush(done) => _ = done.send(()),
        }
    }
}

/// What was asked for makes no sense, in words for whoever asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(pub(crate) String);

/// 2: wrong usage; 75: another instance holds the data directory; 78: configuration; 1: anything
/// else.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<ConfigError>() {
            return 78;
        }
        let question = cause.downcast_ref::<store::ReadError>();
        if cause.is::<WrongUsage>() || question.is_some_and(store::ReadError::is_bad_question) {
            return 2;
        }
        let fault = cause
            .downcast_ref::<store::LockError>()
            .map(store::LockError::fault)
            .or_else(|| cause.downcast_ref::<store::StoreError>().map(store::StoreError::fault))
            .or_else(|| question.map(store::ReadError::fault))
            .or_else(|| {
                cause.downcast_ref::<store::RestoreError>().map(store::RestoreError::fault)
            });
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
    next: Instant,
}

impl ProgressLine {
    pub(crate) fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, shown: false, next: Instant::now() + Self::pause(terminal) }
    }

    pub(crate) fn show(&mut self, text: &str) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + Self::pause(self.terminal);
        say(if self.terminal { format!("\r\x1b[K{text}") } else { format!("{text}\n") });
        self.shown = true;
    }

    /// What is over at once needs no progress; a log is not to be filled with it.
    fn pause(terminal: bool) -> Duration {
        Duration::from_millis(if terminal { 100 } else { 5_000 })
    }

    /// Takes the line away, so that what is printed next stands at the margin.
    pub(crate) fn clear(&mut self) {
        if self.terminal && std::mem::take(&mut self.shown) {
            say("\r\x1b[K");
            flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let said = |causes: &[&str]| said_once(causes.iter().map(|&cause| cause.to_owned()));
        let sqlite = "cannot read a: file is not a database";
        assert_eq!(said(&[sqlite, "Error code 26: file is not a database"]), sqlite);
        assert_eq!(said(&["cannot write", "no room", "no room"]), "cannot write: no room");
        assert_eq!(said(&["a", "b: c", "d"]), "a: b: c: d");
    }
}
