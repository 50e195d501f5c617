//! How sources are stored, and what a provider does to read each kind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use usage::{EventKey, Skips, Source, UsageEvent};

/// How a source is stored.
#[derive(Clone, Copy)]
pub enum Storage {
    /// Lines are only ever appended. Resumes at a byte offset. Names that end in `.zst` are decoded
    /// on the way; offsets then count decoded bytes.
    Appended(&'static dyn Appended),
    /// A document that is rewritten whole. Read whole whenever its content has changed.
    Document(&'static dyn Document),
    /// An SQLite database of another program. Read in short turns, from where the last one ended.
    Database(&'static dyn Database),
}

impl Storage {
    pub fn appended(self) -> Option<&'static dyn Appended> {
        match self {
            Self::Appended(appended) => Some(appended),
            Self::Document(_) | Self::Database(_) => None,
        }
    }
}

/// A provider whose sources are appended lines.
pub trait Appended: Sync {
    /// A parser that goes on where `state` (as [`ParseLine::state`] gave it; empty at the start of
    /// a source) left off.
    fn begin(&self, source: &Source, around: &Around, state: &str) -> Box<dyn ParseLine>;

    /// What records call the source at `path` (a thread id, say).
    fn name<'p>(&self, _path: &'p Path) -> Option<&'p str> {
        None
    }

    /// Adds what `line` contributes to a source's series.
    fn series(&self, _line: &[u8], _series: &mut Series) {}

    /// How a source hangs together with others, by the state that its parser has left behind.
    fn ties(&self, _state: &str) -> Ties {
        Ties::default()
    }
}

/// The counters of a source that a fork's copy of it repeats, in order.
pub type Series = Vec<Counter>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// A hash of what it counts.
    pub digest: u64,
    /// When it was written.
    pub ms: i64,
}

/// How a source hangs together with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    /// The length of its series so far.
    pub counters: u64,
    /// The source that it was forked from, as long as more of that could change what was read here.
    pub leans_on: Option<Lean>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lean {
    pub name: String,
    /// How much of its series was known.
    pub counters: u64,
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

    /// The series of the wanted parent; `None` when it cannot be found. Whether the source has to be
    /// read again from its start: earlier lines were read with less of it, and would say something
    /// else now.
    fn set_parent(&mut self, _series: Option<Series>) -> bool {
        false
    }
}

/// A provider whose sources are documents that are rewritten whole.
///
/// What a document states of a call takes the place of what it stated before; what has gone from it
/// stays counted.
pub trait Document: Sync {
    /// Parses a whole document. `state` is what the last parse of it returned; empty at first. A
    /// torn document yields nothing: it is read again in a moment.
    fn parse(
        &self,
        source: &Source,
        bytes: &[u8],
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<String, Torn>;
}

/// The bytes are no whole document: somebody is writing it, or it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn;

/// A provider whose sources are SQLite databases of other programs.
///
/// What a database states of a call takes the place of what it stated before; what has gone from it
/// stays counted.
pub trait Database: Sync {
    /// Reads what is new since `state` (as the last read returned it; empty at first), a few hundred
    /// rows at most, in the read transaction that `db` is in and that may be ended early. It must not
    /// write, nor take long.
    fn read(
        &self,
        source: &Source,
        db: &Connection,
        around: &dyn Surroundings,
        state: &str,
        out: &mut Parsed,
    ) -> Result<Progress, DatabaseError>;
}

/// How far a database was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What must be known to go on: small JSON.
    pub state: String,
    /// Rows looked at for the first time.
    pub rows: u64,
    /// There is more to read now.
    pub more: bool,
}

/// A database cannot be read now. It is tried again; nothing of the turn is kept.
#[derive(Debug)]
pub enum DatabaseError {
    /// It is busy, damaged, or no database.
    Sqlite(rusqlite::Error),
    /// A table or column that is needed is missing: which one. Nothing is guessed.
    UnsupportedSchema(String),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What stands beside a source: files and databases that its records lean on. Without more said,
/// there is nothing.
///
/// Where something is there and cannot be read now, the answer is as if it were not, and nothing of
/// the turn that asked is kept: it is tried again.
pub trait Surroundings: Send + Sync {
    /// A file's bytes, if there is such a file. One that is too large to be held is as good as none.
    fn file(&self, _path: &Path) -> Option<Vec<u8>> {
        None
    }

    /// The lines of a file of any size, if there is such a file; the last one may be cut off.
    fn lines(&self, path: &Path, each: &mut dyn FnMut(&[u8])) {
        if let Some(bytes) = self.file(path) {
            bytes.split(|byte| *byte == b'\n').for_each(each);
        }
    }

    /// The files in a folder, in no particular order.
    fn files_in(&self, _folder: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The folders in a folder, in no particular order.
    fn folders_in(&self, _folder: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Asks a database, if there is one, in a read transaction. `ask` is called at most once.
    fn database(
        &self,
        _path: &Path,
        _ask: &mut dyn FnMut(&Connection) -> Result<(), DatabaseError>,
    ) {
    }

    /// Whether the logs of the provider with this id are read, too, and it has any.
    fn reads(&self, _provider: &str) -> bool {
        false
    }
}

/// Surroundings, shared by the turns of all sources.
pub type Around = Arc<dyn Surroundings>;

/// Surroundings in which there is nothing.
pub fn nowhere() -> Around {
    Arc::new(Nowhere)
}

struct Nowhere;

impl Surroundings for Nowhere {}

/// What parsing yields.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub events: Vec<UsageEvent>,
    /// Keys of events of this source that a later record proved wrong. They go once `events` are in:
    /// a parser that proves an event of the same call wrong takes it out of `events` as well.
    pub retracted: Vec<EventKey>,
    /// Keys of events that this source may have stated when less was known, and does not state now.
    /// They go, too; but nothing speaks against their coming back. Of appended sources only: others
    /// are read whole.
    pub withdrawn: Vec<EventKey>,
    pub skips: Skips,
}
