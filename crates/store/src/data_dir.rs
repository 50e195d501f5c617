//! The folder the database lives in: private, on a local disk, and held by one instance.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt as _, OpenOptionsExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::LockError;

const DATABASE: &str = "tallyd.db";
const LOCK: &str = "tallyd.db.lock";

/// Asking whether the lock is held takes far less.
const RETRY: Duration = Duration::from_millis(50);

/// A data directory that this process alone may write to, until the value is dropped or the
/// process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Creates the folder if need be and takes its lock, before anything else in it is touched.
    pub fn lock(path: &Path) -> Result<Self, LockError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { doing, path, source }
        };
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(io("create", path))?;
        if is_remote(path).map_err(io("examine", path))? {
            return Err(LockError::Remote { path: path.into() });
        }
        let lock_path = path.join(LOCK);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path);
        let lock = opened.map_err(io("open", &lock_path))?;
        for last in [false, false, true] {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.into(), lock }),
                // Somebody may only be asking whether it is held.
                Err(TryLockError::WouldBlock) if !last => thread::park_timeout(RETRY),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(io("lock", &lock_path)(error)),
            }
        }
        Err(LockError::Held { path: path.into(), holder: signature(path) })
    }

    /// Says in the lock file who holds the folder, for people and for [`DataDir::holder`].
    pub fn sign(&self, holder: &str) -> io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.write_all_at(holder.as_bytes(), 0)
    }

    /// Who holds the folder now, in the words of [`DataDir::sign`]; `None` if nobody does. Asking
    /// takes the lock for a moment.
    pub fn holder(path: &Path) -> Option<String> {
        let lock = File::open(path.join(LOCK)).ok()?;
        let is_held = matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock));
        is_held.then(|| signature(path))
    }

    /// Whether the folder lets others than its owner in: one that was there before keeps its mode.
    pub fn is_open_to_others(&self) -> io::Result<bool> {
        Ok(fs::metadata(&self.path)?.permissions().mode() & 0o077 != 0)
    }

    /// Whether a file of this name in a data directory is the database or belongs to it: its log, its
    /// lock, what was put aside of it.
    pub fn is_named(name: &OsStr) -> bool {
        name.to_str().is_some_and(|name| name.starts_with(DATABASE))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn database(&self) -> PathBuf {
        database_in(&self.path)
    }
}

fn signature(data_dir: &Path) -> String {
    // The holder may be about to sign.
    let text = fs::read_to_string(data_dir.join(LOCK)).unwrap_or_default();
    if text.is_empty() { "another tallyd".to_owned() } else { text }
}

pub(crate) fn database_in(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}

/// A companion of the database: its path with `suffix` appended.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Whether a path is that of a database, or of what belongs to it.
pub(crate) fn is_of_database(path: &Path, database: &Path) -> bool {
    ["", "-wal", "-shm", "-journal", ".lock"].iter().any(|suffix| path == beside(database, suffix))
}

/// Who serves a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    Local,
    /// A program of this machine. Encrypted home folders are so, and what is no better than remote.
    Fuse,
    /// Another machine, or the other side of a virtual one; by the name of the type.
    Remote(&'static str),
}

/// Whether a path is served by another machine. The write-ahead log needs memory shared between all
/// processes that use it: one machine only; and what another machine changes is not heard of.
pub fn is_remote(path: &Path) -> io::Result<bool> {
    Ok(matches!(filesystem(path)?, Filesystem::Remote(_)))
}

#[cfg(target_os = "linux")]
pub fn filesystem(path: &Path) -> io::Result<Filesystem> {
    let kind = rustix::fs::statfs(path)?.f_type;
    Ok(filesystem_of(kind))
}

#[cfg(not(target_os = "linux"))]
pub fn filesystem(path: &Path) -> io::Result<Filesystem> {
    const MNT_LOCAL: u32 = 0x1000;
    let is_local = rustix::fs::statfs(path)?.f_flags & MNT_LOCAL != 0;
    Ok(if is_local { Filesystem::Local } else { Filesystem::Remote("network") })
}

#[cfg(target_os = "linux")]
fn filesystem_of(kind: rustix::fs::FsWord) -> Filesystem {
    const FUSE: u32 = 0x6573_5546;
    const REMOTE: [(u32, &str); 13] = [
        (0x5346_414f, "AFS"),
        (0x00c3_6400, "Ceph"),
        (0xff53_4d42, "CIFS"),
        (0x7375_7245, "Coda"),
        (0x0116_1970, "GFS2"),
        (0x4750_4653, "GPFS"),
        (0x0bd0_0bd0, "Lustre"),
        (0x564c, "NCP"),
        (0x6969, "NFS"),
        (0x7461_636f, "OCFS2"),
        (0x517b, "SMB"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9p"),
    ];
    // The field is signed or not and 32 or 64 bits wide; the types are 32 bits.
    let Ok(kind) = u32::try_from(i128::from(kind) & 0xffff_ffff) else { return Filesystem::Local };
    match REMOTE.iter().find(|(remote, _)| *remote == kind) {
        Some((_, name)) => Filesystem::Remote(name),
        None if kind == FUSE => Filesystem::Fuse,
        None => Filesystem::Local,
    }
}

/// Bytes that are left on the disk of a path.
pub fn disk_free(path: &Path) -> Option<u64> {
    rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h34_the_second_instance_is_refused_and_the_lock_dies_with_its_holder() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/data");
        let first = DataDir::lock(&path).unwrap();
        assert!(matches!(DataDir::lock(&path), Err(LockError::Held { .. })));
        assert_eq!(DataDir::holder(&path).unwrap(), "another tallyd");
        first.sign("tallyd backfill (process 12345)").unwrap();
        first.sign("tallyd run (process 1)").unwrap();
        assert_eq!(DataDir::holder(&path).unwrap(), "tallyd run (process 1)");
        // Opening and closing the file elsewhere in the process does not let go of the lock.
        drop(File::open(path.join(LOCK)).unwrap());
        assert!(matches!(DataDir::lock(&path), Err(LockError::Held { .. })));
        drop(first);
        assert_eq!(DataDir::holder(&path), None);
        DataDir::lock(&path).unwrap();
    }

    #[test]
    fn the_folder_is_private() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(&home.path().join("data")).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path()), 0o700);
        assert!(!dir.is_open_to_others().unwrap());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(dir.is_open_to_others().unwrap());
        assert_eq!(mode(&dir.path().join(LOCK)), 0o600);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn h27_network_filesystems_are_known() {
        assert_eq!(filesystem_of(0x6969), Filesystem::Remote("NFS"));
        assert_eq!(filesystem_of(0xff53_4d42), Filesystem::Remote("CIFS"));
        assert_eq!(filesystem_of(0x0102_1997), Filesystem::Remote("9p"));
        assert_eq!(filesystem_of(0x6573_5546), Filesystem::Fuse);
        assert_eq!(filesystem_of(0xef53), Filesystem::Local, "ext4");
        assert_eq!(filesystem_of(0x0102_1994), Filesystem::Local, "tmpfs");
    }
}
