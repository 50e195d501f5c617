//! Coding agents: bytes in, usage events out.
//!
//! One file per provider, one entry in [`ALL`]. A provider says where its sources are and how their
//! records are parsed. It opens no file, reads no clock and no environment: bytes, paths and
//! variables are handed in. Parsing never fails: what cannot be counted is a skip with its reason.

mod claude_code;
mod codex;
mod record;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use usage::{EventKey, Skips, Source, UsageEvent};

/// All providers, in alphabetical order.
pub const ALL: &[&dyn Provider] = &[&claude_code::ClaudeCode, &codex::Codex];

/// A coding agent whose usage is read.
pub trait Provider: Sync {
    /// Stable name, stored with every event: `"codex"`.
    fn id(&self) -> &'static str;

    /// Bumped when parsing changes: sources are then read again from their start.
    fn version(&self) -> u32;

    /// Folders to watch. They need not exist yet.
    fn roots(&self, env: &Env) -> Vec<PathBuf>;

    /// Whether a file under a root is one of this provider's sources.
    fn is_source(&self, root: &Path, path: &Path) -> bool;

    /// How a source is stored, and so how it is read and resumed.
    fn storage(&self) -> Storage;
}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The user's home folder and environment, as the daemon was given them.
#[derive(Clone, Debug, Default)]
pub struct Env {
    pub home: PathBuf,
    pub vars: BTreeMap<String, String>,
}

impl Env {
    /// The value of a variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}

/// How a source is stored.
#[derive(Clone, Copy)]
pub enum Storage {
    /// Lines are only ever appended. Resumes at a byte offset. Names that end in `.zst` are decoded
    /// on the way; offsets then count decoded bytes.
    Appended(&'static dyn Appended),
}

/// A provider whose sources are appended lines.
pub trait Appended: Sync {
    /// A parser that goes on where `state` (as [`ParseLine::state`] gave it; empty at the start of
    /// a source) left off.
    fn begin(&self, source: &Source, state: &str) -> Box<dyn ParseLine>;

    /// Whether `path` is the source that a record calls `name` (a thread id, say).
    fn is_named(&self, _path: &Path, _name: &str) -> bool {
        false
    }

    /// Adds what `line` contributes to a source's series: the counters that a fork's copy of it
    /// repeats, each as a hash.
    fn series(&self, _line: &[u8], _series: &mut Vec<u64>) {}
}

/// Parses the lines of one source, in order.
pub trait ParseLine: Send {
    /// `line` is without its newline and not blank; a byte order mark and `\r` are already gone.
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed);

    /// What must be known of the lines so far to go on after a restart: small JSON.
    fn state(&self) -> String;

    /// The name of the source whose series must be known before the next line is parsed. Asked
    /// again before every line until [`ParseLine::set_parent`] has answered.
    fn wants_parent(&self) -> Option<String> {
        None
    }

    /// The series of the wanted parent; `None` when it cannot be found.
    fn set_parent(&mut self, _series: Option<Vec<u64>>) {}
}

/// What parsing yields.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub events: Vec<UsageEvent>,
    /// Keys of events of this source that a later record proved wrong. They go once `events` are in:
    /// a parser that proves an event of the same call wrong takes it out of `events` as well.
    pub retracted: Vec<EventKey>,
    pub skips: Skips,
}
