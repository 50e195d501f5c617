//! What stands beside a source, as the providers see it.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use providers::{DatabaseError, Surroundings};
use rusqlite::Connection;

use crate::foreign;
use crate::read::open_file;
use crate::walk::Root;

/// Largest file beside a source that is read.
const MAX_FILE: u64 = 64 << 20;

/// The disk, seen from the turns of one source.
pub(crate) struct Disk {
    roots: Arc<[Root]>,
    scratch: Option<PathBuf>,
    /// Something was there and could not be read.
    failure: Mutex<Option<String>>,
    was_asked: AtomicBool,
}

impl Disk {
    pub(crate) fn new(roots: Arc<[Root]>, scratch: Option<PathBuf>) -> Self {
        Self { roots, scratch, failure: Mutex::default(), was_asked: AtomicBool::new(false) }
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
        let mut bytes = Vec::new();
        open_file(path).map_err(io::Error::from)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
        }
        Ok(bytes)
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

    fn files_in(&self, folder: &Path) -> Vec<PathBuf> {
        self.entries(folder, fs::FileType::is_file)
    }

    fn folders_in(&self, folder: &Path) -> Vec<PathBuf> {
        self.entries(folder, fs::FileType::is_dir)
    }

    fn database(&self, path: &Path, ask: &mut dyn FnMut(&Connection) -> Result<(), DatabaseError>) {
        match foreign::ask(path, self.scratch.as_deref(), 0, ask) {
            Ok(()) => {}
            Err(e) if e.is_missing() => {}
            Err(e) => self.failed(path, e),
        }
    }

    fn reads(&self, provider: &str) -> bool {
        self.roots.iter().any(|root| root.provider.id() == provider && root.path.is_dir())
    }
}

/// Whether there is nothing, or something that is neither a file nor a folder.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
    )
}
