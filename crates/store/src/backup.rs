//! A copy of the database, made beside whoever writes to it, that is whole or not there.
//!
//! The pages of one moment are copied, through SQLite, into a file with a name of its own beside the
//! wanted one. That one is compared with what was copied, written to the disk, and only then given its
//! name. It keeps no write-ahead log: a file is all there is of it, and whoever may read the file may
//! read the database. `restore.rs` goes the same way back.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup as Copying, StepResult};
use rusqlite::{Connection, OpenFlags, ffi};

use crate::connection::verdict;
use crate::data_dir::{beside, is_of_database};
use crate::{ReadError, Reader, meta};

/// Added to the name of a copy that is being made.
const PARTIAL: &str = ".partial";

/// Pages between two looks at how far it is: 4 MiB.
const STEP: i32 = 1024;

/// Where a database says how it may be read and written: 1 is without, 2 with a write-ahead log.
const VERSIONS: u64 = 18;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    pub bytes: u64,
    pub events: i64,
    /// The newest position in the log of events.
    pub seq: i64,
}

/// How far a backup is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BackupStep {
    Copying { share: f64 },
    Verifying,
}

/// There is no new copy; what was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} is there already\nhint: choose another name, or replace it with --force", path.display())]
    Exists { path: PathBuf },
    #[error("{} is no place for a copy: it is {what}", path.display())]
    Place { path: PathBuf, what: &'static str },
    #[error(
        "{} is there: somebody writes to {}, or did not end that\n\
         hint: choose another name",
        companion.display(),
        path.display()
    )]
    InUse { path: PathBuf, companion: PathBuf },
    #[error("another backup to {} is being made", path.display())]
    Busy { path: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error(
        "the copy is not what was copied: {what}\n\
         hint: try again, and look at the disk it is written to"
    )]
    Differs { what: String },
}

impl Reader {
    /// Copies the database as it is now to `file`, which must not be there unless `replace`. `tell`
    /// hears how far it is.
    pub fn backup(
        &self,
        file: &Path,
        replace: bool,
        tell: &mut dyn FnMut(BackupStep),
    ) -> Result<Backup, BackupError> {
        let target = Target::new(file, &self.path, replace)?;
        let partial = Partial::create(&target.path)?;
        let moment = self.moment()?;
        // The first question fixes the moment.
        let totals = Totals::of(&moment).map_err(|source| self.error(source))?;
        partial.fill(&moment, tell)?;
        drop(moment);
        tell(BackupStep::Verifying);
        if let Err(differs) = partial.verify(&totals) {
            // Pages are copied as they are, damaged ones, too.
            let moment = self.moment()?;
            verdict(&moment, "integrity_check(1)").map_err(|source| self.error(source))?;
            return Err(differs);
        }
        let bytes = partial.write_out()?;
        target.require_free()?;
        partial.rename(&target.path)?;
        Ok(Backup { bytes, events: totals.events, seq: totals.seq })
    }
}

/// Where the copy goes.
struct Target {
    /// Its folder without links, so that all is done in one folder.
    path: PathBuf,
    replace: bool,
}

impl Target {
    fn new(file: &Path, database: &Path, replace: bool) -> Result<Self, BackupError> {
        let place = |what| BackupError::Place { path: file.into(), what };
        let name = file.file_name().ok_or_else(|| place("a folder"))?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| BackupError::Io { doing, path, source }
        };
        let folder = fs::canonicalize(folder).map_err(io("write to", folder))?;
        let path = folder.join(name);
        let ours = fs::canonicalize(database).map_err(io("find", database))?;
        if is_of_database(&path, &ours) {
            return Err(place("the database itself, or belongs to it"));
        }
        if path.is_dir() {
            return Err(place("a folder"));
        }
        let target = Self { path, replace };
        target.require_free()?;
        Ok(target)
    }

    /// What belongs to a file of this name would be taken for the new one's.
    fn require_free(&self) -> Result<(), BackupError> {
        for suffix in ["-wal", "-journal"] {
            let companion = beside(&self.path, suffix);
            if companion.symlink_metadata().is_ok() {
                return Err(BackupError::InUse { path: self.path.clone(), companion });
            }
        }
        if !self.replace && self.path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists { path: self.path.clone() });
        }
        Ok(())
    }
}

/// The copy while it is being made. It goes when the value is dropped, unless it got its name.
pub(crate) struct Partial {
    path: PathBuf,
    /// Holds the lock of whoever makes a copy of this name: what a killed process left is not held.
    file: File,
    named: bool,
}

impl Partial {
    pub(crate) fn create(target: &Path) -> Result<Self, BackupError> {
        let path = beside(target, PARTIAL);
        let io = |source| BackupError::Io { doing: "create", path: path.clone(), source };
        let busy = || BackupError::Busy { path: target.into() };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(busy()),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // Its owner may have given it its name a moment ago: then it is no longer ours to write to.
        let inode = |file: &fs::Metadata| (file.dev(), file.ino());
        let is_there = fs::metadata(&path).map_err(|_| busy())?;
        if inode(&is_there) != inode(&file.metadata().map_err(io)?) {
            return Err(busy());
        }
        let partial = Self { path: path.clone(), file, named: false };
        partial.file.set_len(0).map_err(io)?;
        partial.file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
        Ok(partial)
    }

    pub(crate) fn fill(
        &self,
        moment: &Connection,
        tell: &mut dyn FnMut(BackupStep),
    ) -> Result<(), BackupError> {
        let mut copy = || {
            let mut db = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            // A copy that did not come to its end is thrown away: nothing in it needs undoing.
            db.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -4096;",
            )?;
            let copying = Copying::new(moment, &mut db)?;
            loop {
                match copying.step(STEP)? {
                    StepResult::Done => return Ok(()),
                    StepResult::More => {}
                    // Nobody else has either side: the moment is fixed, the copy is ours.
                    _ => {
                        let busy = ffi::Error::new(ffi::SQLITE_BUSY);
                        return Err(rusqlite::Error::SqliteFailure(busy, None));
                    }
                }
                let progress = copying.progress();
                let (left, all) = (f64::from(progress.remaining), f64::from(progress.pagecount));
                tell(BackupStep::Copying { share: 1.0 - left / all.max(1.0) });
            }
        };
        copy().map_err(|source| self.sqlite(source))?;
        let written = self.file.write_all_at(&[1, 1], VERSIONS);
        written.map_err(|source| self.io("write", source))
    }

    pub(crate) fn verify(&self, expected: &Totals) -> Result<(), BackupError> {
        let db = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|e| self.sqlite(e))?;
        let differs = |what: String| BackupError::Differs { what };
        verdict(&db, "integrity_check(1)").map_err(|e| differs(e.to_string()))?;
        let found = Totals::of(&db).map_err(|e| differs(e.to_string()))?;
        if found != *expected {
            return Err(differs(format!("{found:?} instead of {expected:?}")));
        }
        Ok(())
    }

    /// The number of changes without new ids, which those who have seen the rows compare.
    pub(crate) fn set_epoch(&self, epoch: i64) -> Result<(), BackupError> {
        let set = || {
            let db = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            db.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
            meta::set_epoch(&db, epoch)
        };
        set().map_err(|source| self.sqlite(source))
    }

    /// Writes it to the disk for good; its size.
    pub(crate) fn write_out(&self) -> Result<u64, BackupError> {
        self.file.sync_all().map_err(|source| self.io("write", source))?;
        Ok(self.file.metadata().map_err(|source| self.io("examine", source))?.len())
    }

    /// Gives it its name.
    pub(crate) fn rename(mut self, target: &Path) -> Result<(), BackupError> {
        fs::rename(&self.path, target).map_err(|source| self.io("rename", source))?;
        self.named = true;
        // A folder that cannot be synced (some filesystems) has the name all the same.
        if let Some(Ok(folder)) = target.parent().map(File::open) {
            _ = folder.sync_all();
        }
        Ok(())
    }

    /// Nobody else has the file, and some disks know no locks: it is opened without any.
    fn open(&self, how: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = how | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags_and_vfs(&self.path, flags, c"unix-none")
    }

    fn io(&self, doing: &'static str, source: io::Error) -> BackupError {
        BackupError::Io { doing, path: self.path.clone(), source }
    }

    fn sqlite(&self, source: rusqlite::Error) -> BackupError {
        BackupError::Sqlite { path: self.path.clone(), source }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.named {
            _ = fs::remove_file(&self.path);
        }
    }
}

/// What a copy is compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) events: i64,
    pub(crate) seq: i64,
    pub(crate) epoch: i64,
    pub(crate) tokens: i64,
    pub(crate) cost_nanousd: i64,
    /// Calls and their cost, from the cells; the first schema had none.
    pub(crate) cells: Option<(i64, i64)>,
}

impl Totals {
    pub(crate) fn of(db: &Connection) -> rusqlite::Result<Self> {
        const EVENTS: &str = "SELECT count(*), coalesce(sum(input_tokens + output_tokens
            + cache_read_tokens + cache_create_tokens), 0), coalesce(sum(cost_nanousd), 0)
            FROM usage_events NOT INDEXED";
        const CELLS: &str = "SELECT coalesce(sum(message_count), 0), coalesce(sum(cost_nanousd), 0)
            FROM project_cells";
        let (events, tokens, cost_nanousd) =
            db.query_row(EVENTS, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let cells = match db.table_exists(None, "project_cells")? {
            true => Some(db.query_row(CELLS, [], |row| Ok((row.get(0)?, row.get(1)?)))?),
            false => None,
        };
        let (seq, epoch) = (meta::seq(db)?, meta::epoch(db)?);
        Ok(Self { events, seq, epoch, tokens, cost_nanousd, cells })
    }
}
