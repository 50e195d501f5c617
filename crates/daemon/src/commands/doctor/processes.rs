//! What the system tells of processes and limits, through `/proc`: of others than the own user's it
//! tells little, and where there is no `/proc`, nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::text;

/// A process of the own user.
pub(super) struct Process {
    pub(super) id: u32,
    folder: PathBuf,
}

/// All processes of this user but this one.
pub(super) fn own() -> Vec<Process> {
    let uid = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let is_own = entry.metadata().ok()?.uid() == uid && id != std::process::id();
        is_own.then(|| Process { id, folder: entry.path() })
    });
    processes.collect()
}

impl Process {
    pub(super) fn of(id: u32) -> Self {
        Self { id, folder: format!("/proc/{id}").into() }
    }

    /// `sqlite3 (process 123)`.
    pub(super) fn name(&self) -> String {
        let name = fs::read_to_string(self.folder.join("comm")).unwrap_or_default();
        let name = if name.trim().is_empty() { "a program" } else { name.trim() };
        format!("{} (process {})", text::plain(name), self.id)
    }

    /// The program that it runs; one that was replaced or removed since has ` (deleted)` added.
    pub(super) fn program(&self) -> Option<PathBuf> {
        fs::read_link(self.folder.join("exe")).ok()
    }

    /// The environment it was started with.
    pub(super) fn environment(&self) -> Option<BTreeMap<String, String>> {
        let bytes = fs::read(self.folder.join("environ")).ok()?;
        let vars = bytes.split(|byte| *byte == 0).filter_map(|var| {
            let (name, value) = std::str::from_utf8(var).ok()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Some(vars.collect())
    }

    /// The process that has started it; `None` once it has ended.
    fn parent(&self) -> Option<u32> {
        let status = fs::read_to_string(self.folder.join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
    }

    /// What its descriptors lead to, each with its number.
    fn open(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(self.folder.join("fd")).into_iter().flatten().flatten();
        let open = entries.filter_map(|entry| {
            let number = entry.file_name().into_string().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?))
        });
        open.collect()
    }
}

/// Which of them have a file open.
pub(super) fn holders(file: &Path) -> Vec<Process> {
    let Ok(file) = fs::canonicalize(file) else { return Vec::new() };
    let mut all = own();
    all.retain(|process| process.open().iter().any(|(_, path)| *path == file));
    all
}

/// Which of them listens at an address.
pub(super) fn listener(address: SocketAddr) -> Option<Process> {
    const LISTENS: &str = "0A";
    let place = match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(ip) => {
            let words = ip.octets();
            let words = words.chunks_exact(4).map(|word| {
                let word = <[u8; 4]>::try_from(word).unwrap_or_default();
                format!("{:08X}", u32::from_ne_bytes(word))
            });
            words.collect()
        }
    };
    let port = format!("{:04X}", address.port());
    let table = if address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = fs::read_to_string(table).ok()?;
    let inode = table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (ip, found) = columns.get(1)?.split_once(':')?;
        let is_any = ip.bytes().all(|digit| digit == b'0');
        let is_it = found == port && (ip == place || is_any) && *columns.get(3)? == LISTENS;
        is_it.then(|| columns.get(9).copied()).flatten()
    })?;
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    let mut all = own();
    all.retain(|process| process.open().iter().any(|(_, path)| *path == socket));
    first_of(all)
}

/// Of processes that have the same socket the one that has started the others: what it has open is
/// theirs, too, at least until they become another program.
fn first_of(all: Vec<Process>) -> Option<Process> {
    let ids: Vec<u32> = all.iter().map(|process| process.id).collect();
    let is_first = |process: &Process| process.parent().is_some_and(|id| !ids.contains(&id));
    all.into_iter().find(is_first)
}

/// What is granted to a user of watches on folders, and taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watches {
    pub(super) most: u64,
    pub(super) used: u64,
    pub(super) most_instances: u64,
    pub(super) used_instances: u64,
}

/// `None` where watches are not counted so.
pub(super) fn watches() -> Option<Watches> {
    // The second is of the own user namespace, and may be less.
    let least = |names: [&str; 2]| {
        let values =
            names.iter().filter_map(|name| fs::read_to_string(name).ok()?.trim().parse().ok());
        values.min()
    };
    let mut watches = Watches {
        most: least([
            "/proc/sys/fs/inotify/max_user_watches",
            "/proc/sys/user/max_inotify_watches",
        ])?,
        most_instances: least([
            "/proc/sys/fs/inotify/max_user_instances",
            "/proc/sys/user/max_inotify_instances",
        ])?,
        ..Watches::default()
    };
    for process in own() {
        for (number, path) in process.open() {
            if path != Path::new("anon_inode:inotify") {
                continue;
            }
            let info = process.folder.join("fdinfo").join(number);
            let info = fs::read_to_string(info).unwrap_or_default();
            watches.used += info.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
            watches.used_instances += 1;
        }
    }
    Some(watches)
}

/// The home folder that the system has on record for the user.
pub(super) fn home_on_record() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let columns: Vec<&str> = line.split(':').collect();
        (*columns.get(2)? == uid).then(|| columns.get(5).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn of_a_program_and_what_it_has_started_the_program_is_named() {
        if !Path::new("/proc/self/status").exists() {
            println!("skipped: no /proc here");
            return;
        }
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (me, its) = (std::process::id(), child.id());
        for ids in [[me, its], [its, me]] {
            let first = first_of(ids.map(Process::of).into());
            assert_eq!(first.map(|process| process.id), Some(me), "of {ids:?}");
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(first_of(vec![Process::of(its)]).is_none(), "it has ended");
    }
}
