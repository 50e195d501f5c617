//! A log and its compressed copy: one source, whichever of the two is there.
//!
//! The copy is named like the log with `.zst` behind it. The log itself is preferred while both
//! exist; offsets count decoded bytes, so that reading goes on in the one where it stopped in the
//! other.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

pub(crate) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "zst")
}

/// What a source is known by: the path of the log itself.
pub(crate) fn log_path(path: &Path) -> PathBuf {
    if is_compressed(path) { path.with_extension("") } else { path.to_owned() }
}

/// Which of the two is there to be read, if either is.
pub(crate) fn standing(path: &Path) -> Option<(PathBuf, Metadata)> {
    let log = log_path(path);
    let copy = log.with_added_extension("zst");
    [log, copy].into_iter().find_map(|path| {
        let metadata = fs::symlink_metadata(&path).ok()?;
        metadata.is_file().then_some((path, metadata))
    })
}
