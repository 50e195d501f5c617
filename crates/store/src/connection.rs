//! Connections to our own database: how they are opened, and what their errors ask for.
//!
//! The file is touched through SQLite alone. Closing any other descriptor on it would drop the
//! POSIX locks that every connection of this process holds on it.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::data_dir::beside;
use crate::{StoreError, marts};

/// Older versions can lose committed rows when two connections write and checkpoint.
const OLDEST_SQLITE: i32 = 3_051_003;

const ASIDE: &str = ".corrupt-";
pub(crate) const REPLACED: &str = ".replaced-";

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What an error of SQLite asks of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was changed; the same work may succeed later.
    Wait,
    /// The handle is not to be trusted any more: open another, then do the same work.
    Reopen,
    /// The file is not a sound database.
    Damaged,
    /// The work itself is at fault; repeating it would fail again.
    Wrong,
}

impl Failure {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OutOfMemory,
            ) => Self::Wait,
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly,
            ) => Self::Reopen,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged,
            _ => Self::Wrong,
        }
    }
}

pub(crate) fn check_version(number: i32) -> Result<(), StoreError> {
    if number < OLDEST_SQLITE {
        return Err(StoreError::OldSqlite { found: rusqlite::version().into() });
    }
    Ok(())
}

/// Makes sure that the database file exists and is private; SQLite gives its companions the same
/// mode. While a damaged one waits to be restored, no empty one is put in its place.
pub(crate) fn create_private(database: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { doing: "create", path: database.into(), source };
    if let Some(aside) = awaiting_restore(database).map_err(io)? {
        return Err(StoreError::Damaged { aside, detail: "not restored yet".into() });
    }
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(database) {
        Ok(_new) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => make_private(database),
        Err(error) => Err(error),
    }
    .map_err(io)
}

/// Sets the mode by path: a descriptor on the file must not be opened.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// The one read-write connection.
pub(crate) fn open_writer(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    configure_writer(&db)?;
    Ok(db)
}

pub(crate) fn configure_writer(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;
         PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -16384;
         PRAGMA mmap_size = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA wal_autocheckpoint = 4000;
         PRAGMA trusted_schema = OFF;",
    )?;
    db.set_prepared_statement_cache_capacity(64);
    marts::create_dirty_tables(db)
}

/// A connection that can only read.
pub(crate) fn open_reader(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    configure_reader(&db)?;
    Ok(db)
}

fn configure_reader(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.execute_batch(
        "PRAGMA query_only = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096;
         PRAGMA mmap_size = 0;
         PRAGMA trusted_schema = OFF;",
    )
}

/// A copy that nobody writes to, of which nothing but the file is there: SQLite is told so, as it
/// would leave a write-ahead log behind otherwise.
pub(crate) fn open_copy(file: &Path) -> rusqlite::Result<Connection> {
    if file_len(&beside(file, "-wal")) > 0 || file_len(&beside(file, "-journal")) > 0 {
        return open_reader(file);
    }
    let mut uri = "file:".to_owned();
    for byte in std::path::absolute(file).unwrap_or_else(|_| file.into()).as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure_reader(&db)?;
    Ok(db)
}

/// Whether a connection that can only read met what a killed process left half written. Only a
/// database that is being made is written with a journal that can be left so.
pub(crate) fn needs_rollback(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_READONLY_ROLLBACK)
}

/// Undoes it, as the first look of any connection that may write does.
pub(crate) fn roll_back(database: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Fails as a damaged database does when the file's structure is not sound.
pub(crate) fn require_sound(db: &Connection) -> rusqlite::Result<()> {
    verdict(db, "quick_check(1)")
}

/// Whether a second, thorough look finds damage, too. Errors of the disk can look like damage to
/// whoever meets them once: only what is there to stay may cost the database its place.
pub(crate) fn is_damaged(database: &Path) -> bool {
    let looked = open_writer(database).and_then(|db| verdict(&db, "integrity_check(1)"));
    looked.is_err_and(|error| Failure::of(&error) == Failure::Damaged)
}

/// Fails as a damaged database does unless one of SQLite's checks says ok.
pub(crate) fn verdict(db: &Connection, check: &str) -> rusqlite::Result<()> {
    let verdict: String = db.query_row(&format!("PRAGMA {check}"), [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let error = ffi::Error::new(code_of(&verdict).unwrap_or(ffi::SQLITE_CORRUPT));
    // Lines before the last one say in which database.
    let what = verdict.lines().last().unwrap_or_default().to_owned();
    Err(rusqlite::Error::SqliteFailure(error, Some(what)))
}

/// SQLite reports a page that could not be read as it does one that is wrong, but with the reason:
/// a disk that fails for a moment is no damage.
fn code_of(verdict: &str) -> Option<i32> {
    verdict.rsplit_once("error code=")?.1.trim().parse().ok()
}

/// The size of a file, looked up by its path alone; 0 where there is none.
pub(crate) fn file_len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Pages written to the write-ahead log, and how many of them are in the database already.
pub(crate) struct WalPages {
    pub(crate) logged: i64,
    pub(crate) checkpointed: i64,
}

/// `mode` is one of SQLite's: `NOOP` only asks.
pub(crate) fn checkpoint(db: &Connection, mode: &str) -> rusqlite::Result<WalPages> {
    db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(WalPages { logged: row.get(1)?, checkpointed: row.get(2)? })
    })
}

/// Empties the write-ahead log file, unless a reader still needs it after a second.
pub(crate) fn truncate_wal(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_secs(1))?;
    let outcome = checkpoint(db, "TRUNCATE");
    db.busy_timeout(BUSY_TIMEOUT)?;
    outcome.map(|_| ())
}

/// Moves a damaged database out of the way, with its companions. It is never deleted.
pub(crate) fn set_aside(database: &Path, now_ms: i64) -> Result<PathBuf, StoreError> {
    move_aside(database, &["", "-wal", "-shm"], ASIDE, now_ms)
}

/// Moves the companions of a database that is gone out of the way of the one in its place.
pub(crate) fn set_log_aside(database: &Path, now_ms: i64) -> Result<PathBuf, StoreError> {
    move_aside(database, &["-wal", "-shm"], REPLACED, now_ms)
}

/// A name for what is set aside: why, and when.
pub(crate) fn aside(database: &Path, mark: &str, now_ms: i64) -> PathBuf {
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    beside(database, &format!("{mark}{}", time.strftime("%Y%m%dT%H%M%SZ")))
}

fn move_aside(
    database: &Path,
    suffixes: &[&str],
    mark: &str,
    now_ms: i64,
) -> Result<PathBuf, StoreError> {
    let aside = aside(database, mark, now_ms);
    for suffix in suffixes {
        match fs::rename(beside(database, suffix), beside(&aside, suffix)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Io { doing: "set aside", path: database.into(), source });
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// A damaged database that was set aside and has no successor yet. An empty one in its place would
/// hide that history is missing.
pub(crate) fn awaiting_restore(database: &Path) -> io::Result<Option<PathBuf>> {
    let (Some(folder), Some(name)) = (database.parent(), database.file_name()) else {
        return Ok(None);
    };
    if database.try_exists()? {
        return Ok(None);
    }
    let prefix = [name.as_encoded_bytes(), ASIDE.as_bytes()].concat();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let found = entry?.file_name();
        let bytes = found.as_encoded_bytes();
        let companion = bytes.ends_with(b"-wal") || bytes.ends_with(b"-shm");
        if bytes.starts_with(&prefix) && !companion {
            return Ok(Some(folder.join(found)));
        }
    }
    Ok(None)
}
