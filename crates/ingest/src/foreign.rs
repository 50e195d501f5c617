//! Asks SQLite databases of other programs, and leaves them as they were.
//!
//! A database is opened for one question in one short read transaction and closed again: a
//! connection that stays open would keep its owner from checkpointing and from changing its mode.
//! How it is opened depends on what stands beside it, so that nothing is created there and nothing
//! stale is read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use providers::DatabaseError;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, ffi};
use rustix::fs::{FlockOperation, fcntl_lock};
use usage::Fingerprint;

use crate::fingerprint;

/// How long to wait for a lock that the owner holds.
const BUSY: Duration = Duration::from_millis(50);
/// How long a question may take, at first; each time it took longer it may take twice as long.
const PATIENCE: Duration = Duration::from_millis(250);
const MOST_DOUBLINGS: u32 = 5;
/// With locks, and without making or mending the index of a log.
const SHARED: &str = "mode=ro&readonly_shm=1";
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 10_000;
/// Longest value that is taken from a row.
const MAX_VALUE: i32 = 64 << 20;
/// A write-ahead log without its index that is older than this was left by a crash.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// In one process a file may be opened by SQLite and by other means, but not at the same time: the
/// other means' close drops SQLite's locks. So each database is asked by one at a time; others, which
/// may take seconds, do not matter to it.
static ASKED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static ANSWERED: Condvar = Condvar::new();

/// There is room for one copy.
static COPIED: Mutex<()> = Mutex::new(());

/// Why a database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Sqlite(rusqlite::Error),
    #[error("it changed while it was read")]
    Changed,
    #[error("it is empty and has a write-ahead log: it is just being copied or was cut")]
    Empty,
    #[error("its write-ahead log has no index: its owner is starting or has crashed")]
    NoIndex,
    #[error("it has no {0}")]
    UnsupportedSchema(String),
    #[error("its owner has crashed, and there is no room for a copy")]
    Crashed,
}

impl ForeignError {
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Io(e) if e.kind() == io::ErrorKind::NotFound)
    }
}

impl From<DatabaseError> for ForeignError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Sqlite(e) => Self::Sqlite(e),
            DatabaseError::UnsupportedSchema(what) => Self::UnsupportedSchema(what),
        }
    }
}

/// Asks the database at `path`. `scratch` is a folder of our own for a copy of what a crash left.
/// `attempt` counts from 0: a question that took too long may take longer next time.
pub(crate) fn ask<T>(
    path: &Path,
    scratch: Option<&Path>,
    attempt: u32,
    ask: impl FnOnce(&Connection) -> Result<T, DatabaseError>,
) -> Result<T, ForeignError> {
    let _turn = Turn::at(path);
    let patience = PATIENCE * (1 << attempt.min(MOST_DOUBLINGS));
    let before = Look::at(path)?;
    match before.way(path)? {
        Way::Beside => {
            let lock = lock_out_closing(path)?;
            let log = log_of(path).ok_or(ForeignError::Changed)?;
            let answered = answer(&open(path, SHARED)?, patience, ask);
            drop(lock);
            clear_up(path, Some(&log));
            answered
        }
        Way::Shared => {
            let log = log_of(path);
            let db = open(path, SHARED)?;
            let is_readable = guard(&db, patience);
            if is_readable.as_ref().is_err_and(is_hot_journal)
                && is_left_behind(&beside(path, "-journal"))?
            {
                drop(db);
                return as_copy((path, &before, "-journal"), scratch, patience, ask);
            }
            let answered = is_readable.map_err(ForeignError::Sqlite).and_then(|()| Ok(ask(&db)?));
            drop(db);
            // By now it may keep one, and be closed again.
            clear_up(path, log.as_ref());
            answered
        }
        Way::Quiet => {
            let answered = answer(&open(path, "immutable=1")?, patience, ask);
            // Whoever opens it for writing makes a write-ahead log first.
            if Look::at(path)? != before {
                return Err(ForeignError::Changed);
            }
            answered
        }
        Way::Crashed => as_copy((path, &before, "-wal"), scratch, patience, ask),
    }
}

/// Asks a copy of a database that its owner's crash has left unreadable, made with what stands beside
/// it and says how to go on.
fn as_copy<T>(
    (path, before, suffix): (&Path, &Look, &str),
    scratch: Option<&Path>,
    patience: Duration,
    ask: impl FnOnce(&Connection) -> Result<T, DatabaseError>,
) -> Result<T, ForeignError> {
    let Some(scratch) = scratch else { return Err(ForeignError::Crashed) };
    let _room = COPIED.lock().unwrap_or_else(PoisonError::into_inner);
    let copy = Copy::of(path, suffix, scratch)?;
    if Look::at(path)? != *before {
        return Err(ForeignError::Changed);
    }
    answer(&open(&copy.0, "mode=rw")?, patience, ask)
}

/// A place among those who ask.
struct Turn<'a>(&'a Path);

impl<'a> Turn<'a> {
    fn at(path: &'a Path) -> Self {
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        while !asked.insert(path.to_owned()) {
            asked = ANSWERED.wait(asked).unwrap_or_else(PoisonError::into_inner);
        }
        Self(path)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        ASKED.lock().unwrap_or_else(PoisonError::into_inner).remove(self.0);
        ANSWERED.notify_all();
    }
}

/// How a database is to be opened.
enum Way {
    /// With its log and the log's index, beside its owner.
    Beside,
    /// With locks: it keeps no log.
    Shared,
    /// Without: it is closed, and opening it otherwise would leave files behind.
    Quiet,
    /// As a copy: a crash has left it without the index of its write-ahead log.
    Crashed,
}

/// What stands at the path of a database and beside it.
#[derive(PartialEq, Eq)]
struct Look {
    database: (u64, u64, u64, i64),
    log: Option<(u64, u64, u64, i64)>,
    has_index: bool,
}

impl Look {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Self {
            database: state(&fingerprint::of(&metadata)),
            log: log_of(path).filter(|log| log.size > 0).map(|log| state(&log)),
            has_index: beside(path, "-shm").exists(),
        })
    }

    fn way(&self, path: &Path) -> Result<Way, ForeignError> {
        if self.log.is_none() {
            return Ok(if keeps_log(path)? { Way::Quiet } else { Way::Shared });
        }
        let (_, _, size, _) = self.database;
        if size == 0 {
            // SQLite would remove the log.
            return Err(ForeignError::Empty);
        }
        if self.has_index {
            return Ok(Way::Beside);
        }
        if is_left_behind(&beside(path, "-wal"))? {
            return Ok(Way::Crashed);
        }
        Err(ForeignError::NoIndex)
    }
}

/// Whether whoever has written a journal or a log does no more.
fn is_left_behind(path: &Path) -> io::Result<bool> {
    let written = fs::metadata(path)?.modified()?;
    Ok(written.elapsed().is_ok_and(|since| since > LEFT_BEHIND))
}

/// Whether a transaction was interrupted and is to be rolled back first, which its owner does.
fn is_hot_journal(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_READONLY_ROLLBACK)
}

fn state(print: &Fingerprint) -> (u64, u64, u64, i64) {
    (print.dev, print.ino, print.size, print.mtime_ns)
}

/// While the file that is returned is open nobody can close the database so that its log goes: SQLite
/// would make another log for us.
fn lock_out_closing(path: &Path) -> Result<File, ForeignError> {
    let file = File::open(path)?;
    // As SQLite's own locks, that of a process.
    fcntl_lock(&file, FlockOperation::NonBlockingLockShared).map_err(io::Error::from)?;
    Ok(file)
}

/// Takes away an empty log that is there because of us: SQLite has made it as the right one went
/// unexpectedly (whoever replaces a database by another file asks for no lock), or its owner has closed
/// the database while we read.
fn clear_up(path: &Path, before: Option<&Fingerprint>) {
    let Some(log) = log_of(path).filter(|log| log.size == 0) else { return };
    let is_made = before.is_none_or(|before| !fingerprint::same_file(&log, before));
    let patience = if is_made { BUSY } else { Duration::ZERO };
    if let Err(e) = remove_log(path, &log, patience) {
        tracing::debug!(source.path = %path.display(), "cannot clear up: {e}");
    }
}

/// As SQLite does it: while nobody else has the database open.
fn remove_log(path: &Path, log: &Fingerprint, patience: Duration) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let begun = Instant::now();
    while let Err(e) = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        if begun.elapsed() >= patience {
            return Err(e.into());
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    if log_of(path).is_some_and(|now| now.size == 0 && fingerprint::same_file(&now, log)) {
        fs::remove_file(beside(path, "-wal"))?;
        match fs::remove_file(beside(path, "-shm")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn log_of(path: &Path) -> Option<Fingerprint> {
    fs::symlink_metadata(beside(path, "-wal")).ok().map(|log| fingerprint::of(&log))
}

/// `x.db` and `-wal` make `x.db-wal`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The database that a file stands beside: `x.db` for `x.db-wal`.
pub(crate) fn database_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let name = ["-wal", "-shm", "-journal"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    Some(path.with_file_name(name))
}

/// Whether a database that is open keeps a write-ahead log; its header says so.
fn keeps_log(path: &Path) -> io::Result<bool> {
    let mut header = [0; 20];
    let mut file = File::open(path)?;
    match file.read_exact(&mut header) {
        Ok(()) => Ok(header[18] == 2),
        // A database that is only just being made.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[expect(clippy::disallowed_methods, reason = "the only place where ingest opens a database")]
fn open(path: &Path, how: &str) -> Result<Connection, ForeignError> {
    let is_ours = how == "mode=rw";
    let flags =
        if is_ours { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let flags = flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let uri = format!("file:{}?{how}", escaped(path));
    Connection::open_with_flags(uri, flags).map_err(ForeignError::Sqlite)
}

/// A path as it stands in a URI.
fn escaped(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut uri, byte| {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            _ = write!(uri, "%{byte:02x}");
        }
        uri
    })
}

/// Puts the question to a database that nobody writes to.
fn answer<T>(
    db: &Connection,
    patience: Duration,
    ask: impl FnOnce(&Connection) -> Result<T, DatabaseError>,
) -> Result<T, ForeignError> {
    guard(db, patience).map_err(ForeignError::Sqlite)?;
    Ok(ask(db)?)
}

/// Begins to read, on guard against what a database may hold.
fn guard(db: &Connection, patience: Duration) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    let deadline = Instant::now() + patience;
    db.progress_handler(STEPS, Some(move || Instant::now() > deadline))?;
    db.execute_batch(
        "PRAGMA query_only = 1;
        PRAGMA cell_size_check = 1;
        PRAGMA mmap_size = 0;
        BEGIN;
        SELECT 1 FROM sqlite_schema LIMIT 1",
    )
}

/// A copy of a database and its log or journal; it goes when this does.
struct Copy(PathBuf);

impl Copy {
    fn of(path: &Path, suffix: &str, scratch: &Path) -> io::Result<Self> {
        fs::create_dir_all(scratch)?;
        let copy = Self(scratch.join("copy.db"));
        fs::copy(path, &copy.0)?;
        fs::copy(beside(path, suffix), beside(&copy.0, suffix))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            _ = fs::remove_file(beside(&self.0, suffix));
        }
        if let Some(folder) = self.0.parent() {
            _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests are the owner of the database")]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::SystemTime;

    use super::*;

    /// A folder with a database that keeps a write-ahead log, and its owner.
    fn place() -> (tempfile::TempDir, PathBuf, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b%.db");
        let owner = Connection::open(&path).unwrap();
        owner.pragma_update(None, "journal_mode", "wal").unwrap();
        owner.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)").unwrap();
        (dir, path, owner)
    }

    fn count(path: &Path) -> Result<i64, ForeignError> {
        ask(path, None, 0, count_in)
    }

    fn count_in(db: &Connection) -> Result<i64, DatabaseError> {
        Ok(db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    /// Names and content of all files.
    fn listing(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
        files.sort();
        files
    }

    /// The files as a crash of the owner would leave them.
    fn crashed(path: &Path, suffixes: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("crashed.db");
        for suffix in suffixes {
            fs::copy(beside(path, suffix), beside(&copy, suffix)).unwrap();
        }
        (dir, copy)
    }

    #[test]
    fn h49_what_its_owner_has_just_committed_is_seen() {
        let (_dir, path, owner) = place();
        assert_eq!(count(&path).unwrap(), 1);
        owner.execute_batch("INSERT INTO t VALUES (2); BEGIN; INSERT INTO t VALUES (3)").unwrap();
        assert_eq!(count(&path).unwrap(), 2, "and nothing else");
    }

    #[test]
    fn h49_what_a_crash_left_in_the_log_is_seen() {
        let (_dir, path, _owner) = place();
        let (dir, copy) = crashed(&path, &["", "-wal", "-shm"]);
        let before = listing(dir.path());
        assert_eq!(count(&copy).unwrap(), 1);
        assert_eq!(listing(dir.path()), before, "the index is not made anew, either");
    }

    #[test]
    fn h49_a_log_that_a_crash_left_without_its_index_is_read_as_a_copy_after_a_minute() {
        let (_dir, path, _owner) = place();
        let (dir, copy) = crashed(&path, &["", "-wal"]);
        let ours = tempfile::tempdir().unwrap();
        let scratch = ours.path().join("scratch");
        let look = || ask(&copy, Some(&scratch), 0, count_in);
        // Its owner may be starting.
        assert!(matches!(look(), Err(ForeignError::NoIndex)));
        let log = File::options().write(true).open(beside(&copy, "-wal")).unwrap();
        log.set_modified(SystemTime::now() - LEFT_BEHIND - Duration::from_secs(1)).unwrap();
        let before = listing(dir.path());
        assert_eq!(look().unwrap(), 1);
        assert!(matches!(count(&copy), Err(ForeignError::Crashed)), "without a place for a copy");
        assert_eq!(listing(dir.path()), before);
        assert!(!scratch.exists());
    }

    /// In one that keeps no log a crash leaves a journal, and half of a transaction in the database.
    #[test]
    fn h49_a_transaction_that_a_crash_has_cut_short_is_not_seen() {
        let (_dir, path, owner) = place();
        let mode = "PRAGMA journal_mode = delete; PRAGMA cache_size = 1; CREATE TABLE pad (text)";
        owner.execute_batch(mode).unwrap_or_default();
        owner
            .execute_batch(
                "BEGIN; INSERT INTO t VALUES (2);
                WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 1000)
                INSERT INTO pad SELECT hex(zeroblob(1000)) FROM r",
            )
            .unwrap();
        let (dir, copy) = crashed(&path, &["", "-journal"]);
        let ours = tempfile::tempdir().unwrap();
        let look = || ask(&copy, Some(&ours.path().join("scratch")), 0, count_in);
        // Its owner may be about to clear up.
        let soon = look().unwrap_err();
        assert!(matches!(&soon, ForeignError::Sqlite(e) if is_hot_journal(e)), "{soon:?}");
        let journal = File::options().write(true).open(beside(&copy, "-journal")).unwrap();
        journal.set_modified(SystemTime::now() - LEFT_BEHIND - Duration::from_secs(1)).unwrap();
        let before = listing(dir.path());
        assert_eq!(look().unwrap(), 1);
        assert_eq!(listing(dir.path()), before);
        assert_eq!(listing(ours.path()), []);
    }

    #[test]
    fn h48_a_database_that_takes_long_holds_up_no_other_one() {
        let (_dir, path, _owner) = place();
        let (_other_dir, other, _other_owner) = place();
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (begun, has_begun) = std::sync::mpsc::channel();
            scope.spawn(move || {
                let slow = ask(&path, None, 0, |_| {
                    begun.send(()).unwrap();
                    is_done.recv_timeout(Duration::from_secs(20)).unwrap();
                    Ok(())
                });
                slow.unwrap();
            });
            has_begun.recv().unwrap();
            assert_eq!(count(&other).unwrap(), 1);
            done.send(()).unwrap();
        });
    }

    #[test]
    fn h50_nothing_is_left_beside_a_database_that_nobody_has_open() {
        let (dir, path, owner) = place();
        drop(owner);
        let before = listing(dir.path());
        assert_eq!(before.len(), 1);
        assert_eq!(count(&path).unwrap(), 1);
        assert_eq!(listing(dir.path()), before);
        // One that keeps no write-ahead log, too.
        let owner = Connection::open(&path).unwrap();
        owner.pragma_update(None, "journal_mode", "delete").unwrap();
        let before = listing(dir.path());
        assert_eq!(count(&path).unwrap(), 1);
        assert_eq!(listing(dir.path()), before);
    }

    #[test]
    fn h49_a_database_that_is_opened_while_it_is_read_without_locks_is_read_again() {
        let (_dir, path, owner) = place();
        drop(owner);
        let mut owner = None;
        let read = ask(&path, None, 0, |db| {
            let other = Connection::open(&path)?;
            other.execute_batch("INSERT INTO t VALUES (2)")?;
            owner = Some(other);
            count_in(db)
        });
        assert!(matches!(read, Err(ForeignError::Changed)), "{read:?}");
        assert_eq!(count(&path).unwrap(), 2);
    }

    #[test]
    fn h48_its_owner_empties_its_log_and_changes_its_mode_as_if_nobody_asked() {
        let (dir, path, owner) = place();
        for n in 0..100 {
            assert_eq!(count(&path).unwrap(), 1 + n);
            owner.execute_batch("INSERT INTO t VALUES (0)").unwrap();
            let blocked: i64 =
                owner.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
            assert_eq!(blocked, 0);
        }
        let mode: String =
            owner.query_row("PRAGMA journal_mode = delete", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "delete");
        drop(owner);
        assert_eq!(listing(dir.path()).len(), 1);
    }

    /// Names the database of which this process is the owner.
    const OWNER_OF: &str = "TALLYD_TEST_OWNER_OF";
    const OWNER_DOES: &str = "TALLYD_TEST_OWNER_DOES";

    /// Its log is there when it is looked for and gone when the database is opened: then SQLite makes
    /// another one.
    #[test]
    fn h50_nothing_is_left_beside_a_database_that_is_closed_while_it_is_asked() {
        let (dir, path, owner) = place();
        drop(owner);
        let mut closed = 0;
        for n in 0..50 {
            let mut owner = owner_who(&path, "INSERT INTO t VALUES (0)");
            while !beside(&path, "-wal").exists() || count(&path).is_ok_and(|rows| rows < n + 2) {
                assert_eq!(owner.try_wait().unwrap(), None);
            }
            drop(owner.stdin.take());
            while owner.try_wait().unwrap().is_none() {
                // It may be busy, too.
                _ = count(&path);
            }
            let left = fs::metadata(beside(&path, "-wal"));
            closed += u32::from(left.is_err());
            assert!(left.is_err() || left.unwrap().len() > 0, "{n}: {:?}", listing(dir.path()));
        }
        assert!(closed > 0, "it is mostly closed as if nobody asked");
    }

    /// Whoever puts another database in its place may take away the log without a lock.
    #[test]
    fn h50_a_log_that_was_made_for_us_goes_unless_the_owner_has_it_open() {
        let (dir, path, owner) = place();
        drop(owner);
        let log = beside(&path, "-wal");
        let other = fingerprint::of(&fs::metadata(&path).unwrap());
        for before in [None, Some(&other)] {
            fs::write(&log, "").unwrap();
            clear_up(&path, before);
            assert!(!log.exists());
        }
        fs::write(&log, "").unwrap();
        fs::write(beside(&path, "-shm"), "x").unwrap();
        clear_up(&path, log_of(&path).as_ref());
        assert_eq!(listing(dir.path()).len(), 1, "as its owner would have left it");
        let mut owner = owner_who(&path, "DELETE FROM t; PRAGMA wal_checkpoint(TRUNCATE)");
        while !log.exists() || count(&path).is_ok_and(|rows| rows > 0) {
            assert_eq!(owner.try_wait().unwrap(), None);
        }
        while fs::metadata(&log).unwrap().len() > 0 {
            assert_eq!(owner.try_wait().unwrap(), None);
        }
        clear_up(&path, Some(&other));
        assert!(log.exists(), "somebody has it open");
        drop(owner.stdin.take());
        assert!(owner.wait().unwrap().success());
        assert!(!log.exists());
    }

    /// An owner in another process, as locks are a matter between processes. It closes the database
    /// when its input ends.
    fn owner_who(path: &Path, does: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["foreign::tests::owner", "--exact", "--nocapture"])
            .envs([(OWNER_OF, path.as_os_str()), (OWNER_DOES, does.as_ref())])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "how this process was started")]
    fn owner() {
        let Some(path) = std::env::var_os(OWNER_OF) else { return };
        let owner = Connection::open(path).unwrap();
        owner.execute_batch(&std::env::var(OWNER_DOES).unwrap()).unwrap();
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }

    /// A database that is just being copied to its place, over a log that was there.
    #[test]
    fn h50_the_log_of_a_database_that_is_empty_is_left_alone() {
        let (_dir, path, _owner) = place();
        let (dir, copy) = crashed(&path, &["", "-wal", "-shm"]);
        fs::write(&copy, "").unwrap();
        let before = listing(dir.path());
        count(&copy).unwrap_err();
        assert_eq!(listing(dir.path()), before);
    }

    #[test]
    fn h51_a_busy_database_is_an_error_and_not_an_empty_one() {
        let (_dir, path, owner) = place();
        owner.pragma_update(None, "journal_mode", "delete").unwrap();
        owner.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let read = count(&path);
        assert!(matches!(read, Err(ForeignError::Sqlite(_))), "{read:?}");
        owner.execute_batch("ROLLBACK").unwrap();
        assert_eq!(count(&path).unwrap(), 1);
    }

    #[test]
    fn h52_what_is_no_database_or_takes_too_long_is_an_error() {
        let (dir, path, _owner) = place();
        let other = dir.path().join("other.db");
        for garbage in [vec![], vec![b'x'; 10], vec![b'x'; 10_000]] {
            fs::write(&other, garbage).unwrap();
            assert!(matches!(count(&other), Err(ForeignError::Sqlite(_))));
        }
        let bytes = fs::read(&path).unwrap();
        fs::write(&other, &bytes[..bytes.len().min(1_000)]).unwrap();
        count(&other).unwrap_err();
        let endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r)
            SELECT max(n) FROM r";
        let begun = Instant::now();
        let read =
            ask(&path, None, 0, |db| Ok(db.query_row(endless, [], |row| row.get::<_, i64>(0))?));
        assert!(matches!(read, Err(ForeignError::Sqlite(_))), "{read:?}");
        assert!(begun.elapsed() < Duration::from_secs(30));
        let written = ask(&path, None, 0, |db| Ok(db.execute("INSERT INTO t VALUES (9)", [])?));
        assert!(matches!(written, Err(ForeignError::Sqlite(_))), "{written:?}");
        assert!(count(&dir.path().join("none.db")).unwrap_err().is_missing());
    }

    #[test]
    fn a_log_leads_to_its_database() {
        let database = |name: &str| database_of(&Path::new("/d").join(name));
        assert_eq!(database("x.db-wal"), Some("/d/x.db".into()));
        assert_eq!(database("x.db-shm"), Some("/d/x.db".into()));
        assert_eq!(database("x.db"), None);
    }
}
