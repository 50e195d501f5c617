//! Finds sources and reads what is new in them.
//!
//! One road for backfill, restart and live: a source is marked (by a walk or by a file-system
//! event), waits its turn, is read from its checkpoint for one quantum, and yields a batch. Where
//! the batches go is the caller's business: this crate knows no database.

mod canary;
mod database;
mod discover;
mod document;
mod fingerprint;
mod foreign;
mod lines;
mod queue;
mod read;
mod recent;
mod schedule;
mod status;
mod strays;
mod surroundings;
mod turn;
mod twin;
mod walk;
mod watch;
mod whole;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as signal;
use usage::{Batch, Checkpoint};

pub use foreign::ForeignError;
pub use read::ReadError;
pub use status::{Progress, ProviderStatus, Read, RootStatus, Status};
pub use walk::{Root, RootState};

/// What to read and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Source ids are made from paths below this folder.
    pub home: PathBuf,
    pub roots: Vec<Root>,
    /// Where every source was left by the last run.
    pub checkpoints: Vec<Checkpoint>,
    /// Read every source from its start again.
    pub force: bool,
    pub mode: Mode,
    /// All roots are walked at least this often, whatever was or was not heard.
    pub sweep_interval: Duration,
    /// Longest line that is parsed, in bytes.
    pub max_line: usize,
    /// Whether a path is on a filesystem whose changes another machine may make unheard.
    pub is_remote: fn(&std::path::Path) -> bool,
    /// A folder of our own for a copy of a database that its owner's crash left unreadable; it is made
    /// when it is needed, and removed.
    pub scratch: Option<PathBuf>,
    /// A folder of our own in which to prove now and then that events are delivered.
    pub canary: Option<PathBuf>,
    /// UTC milliseconds.
    pub now_ms: fn() -> i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Watch and go on until stopped.
    Live,
    /// Read all there is, then end.
    Once,
}

/// What ingest hands over.
#[derive(Debug)]
pub enum Output {
    Batch(Box<Batch>),
    /// Sources that are gone for good: their checkpoints are of no use any more, their rows stay.
    Forget(Vec<i64>),
}

/// Takes what is handed over, in order per source; blocks while the writer is behind. False when
/// nothing more is taken.
pub type Sink = Arc<dyn Fn(Output) -> bool + Send + Sync>;

/// Ingest cannot go on as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the writer is gone")]
    Closed,
    #[error("a worker thread panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What is below the roots now.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Every source, with the id of its provider.
    pub sources: Vec<(&'static str, PathBuf)>,
    /// Folders that may not be listed.
    pub denied: Vec<PathBuf>,
    /// Folders that were listed; each is watched where roots are not watched as a whole.
    pub folders: usize,
    /// Links below roots, which are not followed, to what lies below no root.
    pub links: Vec<PathBuf>,
}

/// Looks at all roots. Reads folders only.
pub fn survey(roots: &[Root]) -> Survey {
    let mut walk = walk::Walk::new(roots, None);
    (0..roots.len()).for_each(|index| walk.root(index));
    let mut walked = walk.finish();
    let real: Vec<PathBuf> =
        roots.iter().filter_map(|root| std::fs::canonicalize(&root.path).ok()).collect();
    walked.links.retain(|link| {
        let target = std::fs::canonicalize(link);
        target.is_ok_and(|target| !real.iter().any(|root| target.starts_with(root)))
    });
    let provider = |found: &walk::Found| roots[found.root].provider.id();
    Survey {
        sources: walked.found.into_iter().map(|found| (provider(&found), found.path)).collect(),
        denied: walked.denied,
        folders: walked.folders,
        links: walked.links,
    }
}

/// Runs until `stop` says so or, in [`Mode::Once`], until everything has been read.
///
/// Reading stops at a batch boundary: whatever was handed to `sink` carries its own checkpoint.
pub async fn run(
    options: Options,
    sink: Sink,
    status: signal::Sender<Status>,
    stop: signal::Receiver<bool>,
) -> Result<(), Error> {
    schedule::Schedule::new(options, sink, status).run(stop).await
}
