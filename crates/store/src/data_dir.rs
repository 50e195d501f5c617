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

/// Whether a path is served by another machine. The write-ahead log needs memory shared between all
/// processes that use it: one machine only; and what another machine changes is not heard of.
#[cfg(target_os = "linux")]
pub fn is_remote(path: &Path) -> io::Result<bool> {
    let kind = rustix::fs::statfs(path)?.f_type;
    Ok(is_remote_type(kind))
}

#[cfg(not(target_os = "linux"))]
pub fn is_remote(path: &Path) -> io::Result<bool> {
    const MNT_LOCAL: u32 = 0x1000;
    Ok(rustix::fs::statfs(path)?.f_flags & MNT_LOCAL == 0)
}

/// Filesystem types that are served by another machine, or by the other side of a virtual one.
/// FUSE is not among them: encrypted home folders are FUSE, and they are local.
#[cfg(target_os = "linux")]
fn is_remote_type(kind: rustix::fs::FsWord) -> bool {
    const AFS: u32 = 0x5346_414f;
    const CEPH: u32 = 0x00c3_6400;
    const CIFS: u32 = 0xff53_4d42;
    const CODA: u32 = 0x7375_7245;
    const GFS2: u32 = 0x0116_1970;
    const GPFS: u32 = 0x4750_4653;
    const LUSTRE: u32 = 0x0bd0_0bd0;
    const NCP: u32 = 0x564c;
    const NFS: u32 = 0x6969;
    const OCFS2: u32 = 0x7461_636f;
    const SMB: u32 = 0x517b;
    const SMB2: u32 = 0xfe53_4d42;
    const V9FS: u32 = 0x0102_1997;
    // The field is signed or not and 32 or 64 bits wide; the types are 32 bits.
    let Ok(kind) = u32::try_from(i128::from(kind) & 0xffff_ffff) else { return false };
    matches!(
        kind,
        AFS | CEPH | CIFS | CODA | GFS2 | GPFS | LUSTRE | NCP | NFS | OCFS2 | SMB | SMB2 | V9FS
    )
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
        assert!(is_remote_type(0x6969), "NFS");
        assert!(is_remote_type(0xff53_4d42), "CIFS");
        assert!(is_remote_type(0x0102_1997), "9p");
        assert!(!is_remote_type(0xef53), "ext4");
        assert!(!is_remote_type(0x0102_1994), "tmpfs");
    }
}
