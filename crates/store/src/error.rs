//! What can go wrong with the database as a whole, in words for the person who runs it.

use std::io;
use std::path::{Path, PathBuf};

use crate::connection::Failure;

/// The database cannot be opened or can no longer be written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {doing} in {}: {source}", path.display())]
    Sqlite { doing: &'static str, path: PathBuf, source: rusqlite::Error },
    #[error(
        "{} has schema {found}, this program knows schemas up to {known}\n\
         hint: install the newer tallyd that wrote it, or {}",
        path.display(),
        before_upgrade(backup.as_deref())
    )]
    NewerSchema {
        path: PathBuf,
        found: i64,
        known: i64,
        /// What the upgrade has left beside it.
        backup: Option<PathBuf>,
    },
    #[error(
        "{} is the database of another program (application id {found:#x})\n\
         hint: choose another folder with --data-dir",
        path.display()
    )]
    Foreign { path: PathBuf, found: i64 },
    #[error("sqlite {found} has a known fault that can lose rows; 3.51.3 or newer is needed")]
    OldSqlite { found: String },
    #[error(
        "unknown time zone {name:?}\n\
         hint: set time_zone to a name such as \"Europe/Berlin\" or \"UTC\""
    )]
    TimeZone { name: String },
    #[error(
        "the database is damaged ({detail}) and was set aside as {}\n\
         hint: put a backup in its place with `tallyd restore FILE` (without a name it lists \
         them), or delete {} to count anew what the agents' logs still hold",
        aside.display(),
        aside.display()
    )]
    Damaged { aside: PathBuf, detail: String },
    #[error(
        "{} was removed or replaced while it was in use\n\
         hint: start tallyd again; it then works on the file that is there now",
        path.display()
    )]
    Replaced { path: PathBuf },
    #[error("the writer failed unexpectedly: {message}")]
    Panicked { message: String },
}

fn before_upgrade(backup: Option<&Path>) -> String {
    match backup {
        Some(backup) => {
            format!("go back to before the upgrade with `tallyd restore {}`", backup.display())
        }
        None => "restore a backup made before the upgrade: `tallyd restore` lists them".to_owned(),
    }
}

/// The data directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "{} is in use by {holder}\n\
         hint: stop it first, or choose another folder with --data-dir",
        path.display()
    )]
    Held { path: PathBuf, holder: String },
    #[error(
        "{} is on a network filesystem, where two machines could write at once\n\
         hint: choose a folder on a local disk with --data-dir",
        path.display()
    )]
    Remote { path: PathBuf },
    #[error(
        "cannot {doing} {}: {source}\n\
         hint: choose a folder that you can write to with --data-dir",
        path.display()
    )]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// How the process should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another instance holds the data directory.
    Held,
    /// Something a person has to change first.
    Config,
    /// Everything else.
    Fatal,
}

impl StoreError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::NewerSchema { .. } | Self::Foreign { .. } | Self::TimeZone { .. } => {
                Fault::Config
            }
            _ => Fault::Fatal,
        }
    }

    /// Whether the file itself is not sound.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Sqlite { source, .. } => Failure::of(source) == Failure::Damaged,
            _ => false,
        }
    }

    pub(crate) fn sqlite(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Sqlite { doing, path: path.into(), source }
    }
}

impl LockError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::Held { .. } => Fault::Held,
            Self::Remote { .. } => Fault::Config,
            Self::Io { .. } => Fault::Fatal,
        }
    }
}
