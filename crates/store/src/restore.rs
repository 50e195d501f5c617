//! Puts a copy in the place of the database, which is set aside and never deleted.
//!
//! The copy is copied once more, to beside the database, verified there and written to the disk.
//! Then the database gets a second name, and in one step the copy takes its first: whenever this is
//! ended, the old one or the new one stands there whole.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags};

use crate::backup::{Partial, Totals};
use crate::connection::{
    Failure, REPLACED, WalPages, aside, checkpoint, open_copy, open_reader, verdict,
};
use crate::data_dir::{beside, database_in, is_of_database};
use crate::migrate::{self, Header};
use crate::{BackupError, BackupStep, DataDir, Fault, StoreError, meta};

/// What may stand beside a database and belongs to it.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// How long a program that reads the database may hold up its replacement.
const READERS: Duration = Duration::from_secs(5);

/// What was put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub bytes: u64,
    pub contents: Contents,
    /// Where the database that was there is now.
    pub aside: Option<PathBuf>,
}

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub schema: i64,
    pub events: i64,
    pub newest_ts_ms: Option<i64>,
}

/// A file beside the database that may be a copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was written to last, UTC milliseconds.
    pub modified_ms: i64,
    /// What it holds, or why it cannot be restored.
    pub contents: Result<Contents, String>,
    /// A restore has set it aside: it is no backup that somebody made.
    pub is_replaced: bool,
}

/// Nothing was replaced.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is the database itself, or belongs to it", path.display())]
    Itself { path: PathBuf },
    #[error(
        "{} is no backup of tallyd's database: {what}\n\
         hint: `tallyd restore` lists those beside the database",
        path.display()
    )]
    NoBackup { path: PathBuf, what: String },
    #[error(
        "{} is being read by another program\n\
         hint: let it end, or close it, and try again",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(transparent)]
    Copy(#[from] BackupError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RestoreError {
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Fatal,
        }
    }
}

/// Puts a copy of `file` in the place of the data directory's database. `tell` hears how far it is.
pub fn restore(
    dir: &DataDir,
    file: &Path,
    now_ms: i64,
    tell: &mut dyn FnMut(BackupStep),
) -> Result<Restored, RestoreError> {
    let database = dir.database();
    let io = |source| RestoreError::Io { doing: "read", path: file.into(), source };
    let real = fs::canonicalize(file).map_err(io)?;
    let folder = fs::canonicalize(dir.path()).map_err(io)?;
    if is_of_database(&real, &database_in(&folder)) {
        return Err(RestoreError::Itself { path: file.into() });
    }
    drop_second_names(&database)?;
    let present = Present::of(&database)?;
    let source = open_copy(&real).map_err(|error| no_backup(file, &error))?;
    let source = source.unchecked_transaction().map_err(|error| no_backup(file, &error))?;
    let schema = schema_of_copy(&source, file)?;
    let (contents, totals) = contents(&source, schema).map_err(|error| no_backup(file, &error))?;

    let partial = Partial::create(&database)?;
    partial.fill(&source, tell)?;
    tell(BackupStep::Verifying);
    // Whoever has seen the rows must see that they are others. Where nobody can tell which numbers
    // were given, the time is larger than all.
    let epoch = present.epoch().map_or(now_ms / 1_000, |epoch| epoch + 1).max(totals.epoch + 1);
    partial.set_epoch(epoch)?;
    partial.verify(&Totals { epoch, ..totals })?;
    let bytes = partial.write_out()?;
    let aside = present.set_aside(&database, now_ms)?;
    partial.rename(&database)?;
    Ok(Restored { bytes, contents, aside })
}

fn no_backup(file: &Path, error: &rusqlite::Error) -> RestoreError {
    RestoreError::NoBackup { path: file.into(), what: error.to_string() }
}

fn schema_of_copy(db: &Connection, file: &Path) -> Result<i64, RestoreError> {
    let header = Header::of(db).map_err(|error| no_backup(file, &error))?;
    let no_backup = |what: &str| RestoreError::NoBackup { path: file.into(), what: what.into() };
    match header.schema(file) {
        Ok(0) => Err(no_backup("there is nothing in it")),
        Err(StoreError::Foreign { .. }) => Err(no_backup("it belongs to another program")),
        schema => Ok(schema?),
    }
}

/// What a copy holds, if it is whole.
fn contents(db: &Connection, schema: i64) -> rusqlite::Result<(Contents, Totals)> {
    verdict(db, "quick_check(1)")?;
    let totals = Totals::of(db)?;
    let newest_ts_ms = db.query_row("SELECT max(ts_ms) FROM usage_events", [], |row| row.get(0))?;
    Ok((Contents { schema, events: totals.events, newest_ts_ms }, totals))
}

/// The database that is to be replaced.
enum Present {
    Missing,
    /// It can be opened; `None` where its epoch cannot be told.
    Sound(Option<i64>),
    Damaged,
}

impl Present {
    fn of(database: &Path) -> Result<Self, RestoreError> {
        if database.symlink_metadata().is_err() {
            return Ok(Self::Missing);
        }
        match migrate::schema_of(database) {
            Ok(_) | Err(StoreError::NewerSchema { .. }) => {
                let epoch = open_reader(database).and_then(|db| meta::epoch(&db));
                Ok(Self::Sound(epoch.ok()))
            }
            Err(StoreError::Sqlite { source, .. }) if Failure::of(&source) == Failure::Damaged => {
                Ok(Self::Damaged)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn epoch(&self) -> Option<i64> {
        match self {
            Self::Sound(epoch) => *epoch,
            Self::Missing | Self::Damaged => None,
        }
    }

    /// Gives the database another name beside its own, and takes away what would be taken for the
    /// new one's. What is left under its own name is whole.
    fn set_aside(&self, database: &Path, now_ms: i64) -> Result<Option<PathBuf>, RestoreError> {
        if let Self::Sound(_) = self {
            empty_log(database)?;
        }
        let aside = free_name(database, now_ms);
        let io = |source| RestoreError::Io { doing: "set aside", path: database.into(), source };
        if !matches!(self, Self::Missing) {
            fs::hard_link(database, &aside).map_err(io)?;
        }
        for suffix in COMPANIONS {
            match fs::rename(beside(database, suffix), beside(&aside, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
        }
        Ok(aside.exists().then_some(aside))
    }
}

/// Copies all of the write-ahead log into the database.
fn empty_log(database: &Path) -> Result<(), RestoreError> {
    let copy_all = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(database, flags)?;
        db.busy_timeout(READERS)?;
        checkpoint(&db, "FULL")
    };
    match copy_all() {
        Ok(WalPages { logged, checkpointed }) if logged == checkpointed => Ok(()),
        Ok(_) => Err(RestoreError::InUse { path: database.into() }),
        // What cannot be saved any more is what it is restored for.
        Err(error) if Failure::of(&error) == Failure::Damaged => Ok(()),
        Err(error) => Err(StoreError::sqlite("close the database", database, error).into()),
    }
}

/// Two restores may come in one second.
fn free_name(database: &Path, now_ms: i64) -> PathBuf {
    let first = aside(database, REPLACED, now_ms);
    let is_free = |name: &PathBuf| {
        let mut all = std::iter::once("").chain(COMPANIONS).map(|suffix| beside(name, suffix));
        all.all(|path| path.symlink_metadata().is_err())
    };
    let others = (2..).map(|n| beside(&first, &format!("-{n}")));
    std::iter::once(first.clone()).chain(others).find(is_free).unwrap_or(first)
}

fn is_one_file(a: &Path, b: &Path) -> bool {
    let inode = |path: &Path| path.symlink_metadata().map(|file| (file.dev(), file.ino()));
    matches!((inode(a), inode(b)), (Ok(a), Ok(b)) if a == b)
}

/// A restore that was killed may have left the database with two names.
fn drop_second_names(database: &Path) -> Result<(), RestoreError> {
    let prefix = beside(database, REPLACED);
    for path in entries(database)? {
        let is_name =
            path.as_os_str().as_encoded_bytes().starts_with(prefix.as_os_str().as_encoded_bytes());
        if is_name && is_one_file(&path, database) {
            let io = |source| RestoreError::Io { doing: "remove", path: path.clone(), source };
            fs::remove_file(&path).map_err(io)?;
        }
    }
    Ok(())
}

/// What stands beside the database.
fn entries(database: &Path) -> Result<Vec<PathBuf>, RestoreError> {
    let Some(folder) = database.parent() else { return Ok(Vec::new()) };
    let io = |source| RestoreError::Io { doing: "list", path: folder.into(), source };
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let paths = entries.map_err(io)?.map(|entry| entry.map(|entry| entry.path()));
            let mut paths: Vec<_> = paths.collect::<io::Result<_>>().map_err(io)?;
            paths.sort();
            Ok(paths)
        }
    }
}

/// The copies beside the database of a data directory, the newest first.
pub fn backups(data_dir: &Path) -> Result<Vec<Candidate>, RestoreError> {
    let database = database_in(data_dir);
    let found = entries(&database)?.into_iter();
    let mut found: Vec<_> = found.filter_map(|path| candidate(path, &database)).collect();
    found.sort_by(|a, b| (b.modified_ms, &b.path).cmp(&(a.modified_ms, &a.path)));
    Ok(found)
}

/// `None` for what is no database, or not a copy.
fn candidate(path: PathBuf, database: &Path) -> Option<Candidate> {
    let file = path.symlink_metadata().ok()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    let is_part = COMPANIONS.into_iter().chain([".partial"]).any(|end| name.ends_with(end));
    if !file.is_file() || is_part || is_of_database(&path, database) || is_one_file(&path, database)
    {
        return None;
    }
    let begins = |mark: &str| {
        let whole = beside(database, mark);
        whole.file_name().is_some_and(|begin| name.starts_with(&*begin.to_string_lossy()))
    };
    let modified = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let contents = match open_copy(&path).and_then(|db| Header::of(&db).map(|header| (db, header)))
    {
        Ok((db, header)) => match header.schema(&path) {
            Ok(0) | Err(StoreError::Foreign { .. }) => return None,
            Ok(schema) => match contents(&db, schema) {
                Ok((contents, _)) => Ok(contents),
                Err(error) => Err(format!("damaged: {error}")),
            },
            Err(StoreError::NewerSchema { found, .. }) => {
                Err(format!("its schema {found} is newer than this program"))
            }
            Err(error) => Err(error.to_string()),
        },
        // Other files may be anything; one that bears our name should be a database.
        Err(_) if !begins(".") => return None,
        Err(error) => Err(format!("damaged: {error}")),
    };
    Some(Candidate {
        bytes: file.len(),
        modified_ms: modified.map_or(0, |at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX)),
        contents,
        is_replaced: begins(REPLACED),
        path,
    })
}
