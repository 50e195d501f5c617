//! What stands beside a source, as the providers see it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use providers::{DatabaseError, Surroundings};
use rusqlite::Connection;

use crate::foreign;
use crate::lines::{Lines, Step};
use crate::read::open_file;
use crate::walk::Root;

/// Largest file beside a source that is read whole.
const MAX_FILE: u64 = 64 << 20;
/// Longest line of one that is not.
const MAX_LINE: usize = 64 << 20;

/// The disk, seen from the turns of one source.
pub(crate) struct Disk {
    roots: Arc<[Root]>,
    scratch: Option<PathBuf>,
    /// How many turns before this one have failed in a way that may pass: a question that took too
    /// long may take longer.
    attempt: u32,
    /// Something was there and could not be read.
    failure: Mutex<Option<String>>,
    was_asked: AtomicBool,
}

impl Disk {
    pub(crate) fn new(roots: Arc<[Root]>, scratch: Option<PathBuf>, attempt: u32) -> Self {
        let (failure, was_asked) = (Mutex::default(), AtomicBool::new(false));
        Self { roots, scratch, attempt, failure, was_asked }
    }

    /// A folder of our own for copies.
    pub(crate) fn scratch(&self) -> Option<&Path> {
        self.scratch.as_deref()
    }

    /// Whether anything was asked about files beside the source.
    pub(crate) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }

    fn ask(&self) {
        self.was_asked.store(true, Ordering::Relaxed);
    }

    /// Why an answer since the last time this was asked is not to be relied on.
    pub(crate) fn take_failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, path: &Path, why: impl std::fmt::Display) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| format!("{}: {why}", path.display()));
    }

    fn entries(&self, folder: &Path, is_wanted: fn(&fs::FileType) -> bool) -> Vec<PathBuf> {
        self.ask();
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let entries = entries.unwrap_or_else(|e| {
            if !is_absence(&e) {
                self.failed(folder, e);
            }
            Vec::new()
        });
        let is_wanted = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| is_wanted(&kind));
        entries.iter().filter(|entry| is_wanted(entry)).map(fs::DirEntry::path).collect()
    }

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        let file = open_file(path).map_err(io::Error::from)?;
        if file.metadata()?.len() > MAX_FILE {
            tracing::debug!("{} is larger than 64 MiB and left unread", path.display());
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_lines(path: &Path, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let file = open_file(path).map_err(io::Error::from)?;
        let size = file.metadata()?.len();
        let mut lines = Lines::new(file, 0, false, MAX_LINE);
        lines.set_limit(size);
        loop {
            match lines.step()? {
                Step::Line(line) => each(line),
                Step::Oversize | Step::Dropped => {}
                Step::End(tail) => {
                    each(tail);
                    return Ok(());
                }
            }
        }
    }
}

impl Surroundings for Disk {
    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        self.ask();
        match Self::read(path) {
            Ok(bytes) => Some(bytes),
            Err(e) if is_absence(&e) => None,
            Err(e) => {
                self.failed(path, e);
                None
            }
        }
    }

    fn lines(&self, path: &Path, each: &mut dyn FnMut(&[u8])) {
        if let Err(e) = Self::read_lines(path, each)
            && !is_absence(&e)
        {
            self.failed(path, e);
        }
    }

    fn files_in(&self, folder: &Path) -> Vec<PathBuf> {
        self.entries(folder, fs::FileType::is_file)
    }

    fn folders_in(&self, folder: &Path) -> Vec<PathBuf> {
        self.entries(folder, fs::FileType::is_dir)
    }

    fn database(&self, path: &Path, ask: &mut dyn FnMut(&Connection) -> Result<(), DatabaseError>) {
        match foreign::ask(path, self.scratch.as_deref(), self.attempt, ask) {
            Ok(()) => {}
            Err(e) if e.is_missing() => {}
            Err(e) => self.failed(path, e),
        }
    }

    fn reads(&self, provider: &str) -> bool {
        self.roots.iter().any(|root| root.provider.id() == provider && root.path.is_dir())
    }
}

/// Whether there is nothing, or something that is neither a file nor a folder, or too large: it will
/// not be read later either.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests are the owner of the database")]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_that_is_too_large_stops_nothing_and_has_its_lines_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let disk = Disk::new(Arc::new([]), None, 0);
        let lines = || {
            let mut lines = Vec::new();
            disk.lines(&path, &mut |line| lines.push(line.to_owned()));
            lines
        };
        assert!(lines().is_empty(), "there is none");
        fs::write(&path, "a\n\nb\nc").unwrap();
        assert_eq!(lines(), [&b"a"[..], b"", b"b", b"c"]);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(MAX_FILE + 1).unwrap();
        file.write_all_at(b"\nz", MAX_FILE - 1).unwrap();
        assert_eq!(disk.file(&path), None);
        let found = lines();
        assert_eq!((&found[0][..], &found[found.len() - 1][..]), (&b"a"[..], &b"z"[..]));
        assert_eq!(disk.take_failure(), None);
    }

    #[test]
    fn a_database_beside_a_source_may_take_longer_each_time_it_took_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("beside.db");
        let owner = Connection::open(&path).unwrap();
        owner.execute_batch("CREATE TABLE t (n)").unwrap();
        let fails_at = |attempt| {
            let disk = Disk::new(Arc::new([]), None, attempt);
            disk.database(&path, &mut |db| {
                std::thread::sleep(Duration::from_millis(300));
                let many =
                    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 9999)
                    SELECT max(n) FROM r";
                Ok(db.query_row(many, [], |_| Ok(()))?)
            });
            disk.take_failure().is_some()
        };
        assert!(fails_at(0));
        assert!(!fails_at(5));
    }
}
