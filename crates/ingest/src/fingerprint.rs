//! Is this still the file that was read before?
//!
//! Device, inode and birth time say whether a path still names the same file; the bytes just before
//! the offset say whether its content is still what was read. A fingerprint of a file's head is
//! never asked: programs that start a new file with a copy of an older one would look like one file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::UNIX_EPOCH;

use usage::{Checkpoint, Fingerprint};

/// How many bytes before the offset are remembered.
pub(crate) const MARKER_LEN: usize = 256;

/// What became of a file since its checkpoint was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nothing was read from it so far.
    New,
    /// The same file, and what was read is still there.
    Same,
    /// Another file under the same path.
    Replaced,
    /// Shorter than what was read.
    Truncated,
    /// The same file with other content.
    Rewritten,
}

/// What a file is, apart from its content.
pub(crate) fn of(metadata: &Metadata) -> Fingerprint {
    Fingerprint {
        dev: metadata.dev(),
        ino: metadata.ino(),
        btime_ns: birth_ns(metadata),
        size: metadata.size(),
        mtime_ns: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
        marker_len: 0,
        marker_hash: 0,
    }
}

/// Whether both are the same file on disk, whatever their names.
pub(crate) fn same_file(a: &Fingerprint, b: &Fingerprint) -> bool {
    (a.dev, a.ino) == (b.dev, b.ino)
        && (a.btime_ns == b.btime_ns || a.btime_ns == 0 || b.btime_ns == 0)
}

/// Whether a look at the directory entry alone shows that nothing changed.
pub(crate) fn unchanged(a: &Fingerprint, b: &Fingerprint) -> bool {
    same_file(a, b) && (a.size, a.mtime_ns) == (b.size, b.mtime_ns)
}

/// `marker` is what stands before the offset now.
pub(crate) fn identify(marker: &[u8], now: &Fingerprint, before: &Checkpoint) -> Identity {
    let then = &before.fingerprint;
    if then.ino == 0 {
        return Identity::New;
    }
    if !same_file(then, now) {
        return Identity::Replaced;
    }
    if now.size < before.offset {
        return Identity::Truncated;
    }
    if may_be_growing(now, before) {
        return Identity::Rewritten;
    }
    if is_marker(marker, then) { Identity::Same } else { Identity::Rewritten }
}

/// Read to its end, no longer and no shorter, and yet written to: if it does not grow now, it was
/// rewritten. A reading that was interrupted remembers no time.
pub(crate) fn may_be_growing(now: &Fingerprint, before: &Checkpoint) -> bool {
    let then = &before.fingerprint;
    let is_same_size = now.size == before.offset && then.size == before.offset;
    let is_known = then.ino != 0 && then.mtime_ns != 0 && same_file(then, now);
    is_known && is_same_size && now.mtime_ns != then.mtime_ns
}

/// The same for a log that was compressed, or decompressed, since: another file, whose content
/// alone can tell.
pub(crate) fn identify_twin(marker: &[u8], before: &Checkpoint) -> Identity {
    let then = &before.fingerprint;
    if then.ino == 0 {
        return Identity::New;
    }
    let is_marked = then.marker_len > 0 || before.offset == 0;
    if is_marked && is_marker(marker, then) { Identity::Same } else { Identity::Rewritten }
}

fn is_marker(bytes: &[u8], print: &Fingerprint) -> bool {
    bytes.len() == usize::from(print.marker_len) && hash(bytes) == print.marker_hash
}

/// Remembers the last bytes that were read; `None` when they are not there any more: then the next
/// look starts over.
pub(crate) fn set_marker(print: &mut Fingerprint, read: Option<&[u8]>) {
    let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or_default();
    // One byte never has this hash.
    (print.marker_len, print.marker_hash) = read.map_or((1, 0), |bytes| (len(bytes), hash(bytes)));
}

/// Remembers the whole content of a document.
pub(crate) fn set_content(print: &mut Fingerprint, content: &[u8]) {
    (print.marker_len, print.marker_hash) = (0, hash(content));
}

/// Whether two documents have the same content.
pub(crate) fn same_content(a: &Fingerprint, b: &Fingerprint) -> bool {
    (a.size, a.marker_hash) == (b.size, b.marker_hash)
}

/// The `len` bytes before `offset`, or fewer where the file has no more.
pub(crate) fn bytes_before(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let start = offset.saturating_sub(len as u64);
    let mut bytes = vec![0; len.min(usize::try_from(offset).unwrap_or(len))];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], start + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

fn birth_ns(metadata: &Metadata) -> i64 {
    let since = metadata.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    since.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use super::*;

    fn print(path: &Path) -> Fingerprint {
        of(&std::fs::metadata(path).unwrap())
    }

    /// A checkpoint after `offset` bytes of the file were read.
    fn read_up_to(path: &Path, offset: u64) -> Checkpoint {
        let mut fingerprint = print(path);
        let read = bytes_before(&File::open(path).unwrap(), offset, MARKER_LEN).unwrap();
        set_marker(&mut fingerprint, Some(&read));
        crate::discover::tests::checkpoint(path, fingerprint, offset)
    }

    fn check(path: &Path, before: &Checkpoint, expect: Identity) {
        let file = File::open(path).unwrap();
        let marker = bytes_before(&file, before.offset, before.fingerprint.marker_len.into());
        assert_eq!(identify(&marker.unwrap(), &print(path), before), expect);
    }

    #[test]
    fn a_file_that_grew_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "one\n").unwrap();
        let before = read_up_to(&path, 4);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"two\n").unwrap();
        check(&path, &before, Identity::Same);
    }

    #[test]
    fn h01_a_shorter_file_is_truncated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let before = read_up_to(&path, 8);
        std::fs::write(&path, "one\n").unwrap();
        check(&path, &before, Identity::Truncated);
    }

    #[test]
    fn h01_a_file_cut_and_grown_past_the_offset_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        // The same first line, as many bytes: only what stands before the offset tells.
        std::fs::write(&path, "first\naaaa\n").unwrap();
        let before = read_up_to(&path, 11);
        std::fs::write(&path, "first\nbbbb\nmore\n").unwrap();
        check(&path, &before, Identity::Rewritten);
    }

    #[test]
    fn a_file_rewritten_far_from_its_end_at_the_same_size_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let text = |first: &str| format!("{first}{}", "x".repeat(1_000));
        std::fs::write(&path, text("one")).unwrap();
        let mut before = read_up_to(&path, 1_003);
        check(&path, &before, Identity::Same);
        std::fs::write(&path, text("two")).unwrap();
        // Within the clock tick of the first write the time may not have moved.
        before.fingerprint.mtime_ns -= 1;
        check(&path, &before, Identity::Rewritten);
    }

    /// It stopped at what was the end, to ask for the parent of a fork.
    #[test]
    fn h31_a_reading_that_was_interrupted_where_the_file_ends_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "one\n").unwrap();
        let mut before = read_up_to(&path, 4);
        before.fingerprint.mtime_ns = 0;
        check(&path, &before, Identity::Same);
    }

    #[test]
    fn h06_a_reused_inode_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "one\n").unwrap();
        let before = read_up_to(&path, 4);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "one\n").unwrap();
        let now = print(&path);
        if now.btime_ns == 0 {
            println!("skipped: no birth times on this filesystem");
            return;
        }
        check(&path, &before, Identity::Replaced);
    }

    #[test]
    fn nothing_read_yet_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "one\n").unwrap();
        let before = crate::discover::tests::checkpoint(&path, Fingerprint::default(), 0);
        check(&path, &before, Identity::New);
    }
}
