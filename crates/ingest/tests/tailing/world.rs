//! The folders that agents write into, and everything that happens there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::action::{Action, FileVerb, Folder, FolderVerb, PairVerb, Spot};
use crate::record::{Agent, MAX_LINE, Rows, VERSIONS, add, packed};

/// More paths than the daemon's mailbox keeps even if as many events as the kernel keeps (16,384 if
/// nobody has changed it) have not reached it yet.
const FLOOD: u32 = 85_000;

pub(crate) struct World {
    dir: tempfile::TempDir,
    agent: Agent,
    /// Calls written so far; each has its own number.
    calls: u64,
    /// Folders and files made under names of their own.
    made: u64,
}

impl World {
    pub(crate) fn new(agent: Agent) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), agent, calls: 0, made: 0 }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Both are missing at first.
    pub(crate) fn roots(&self) -> [PathBuf; 2] {
        [self.home().join("agent/first"), self.home().join("agent/second")]
    }

    fn root_of(&self, folder: Folder) -> Option<PathBuf> {
        let [first, second] = self.roots();
        match folder {
            Folder::A | Folder::B | Folder::D => Some(first),
            Folder::C => Some(second),
            Folder::Outside => None,
        }
    }

    fn folder(&self, folder: Folder) -> PathBuf {
        let [first, second] = self.roots();
        match folder {
            Folder::A => first.join("a"),
            Folder::B => first.join("a/b"),
            Folder::C => second.join("c"),
            Folder::D => first.join("d"),
            Folder::Outside => self.outside("o"),
        }
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join("outside").join(name)
    }

    fn path(&self, spot: Spot) -> PathBuf {
        self.folder(spot.folder).join(self.agent.file_name(&spot.name.to_string()))
    }

    // What is there.

    /// What is to be counted of all files below the roots.
    pub(crate) fn rows(&self) -> Rows {
        self.rows_below(self.roots().to_vec())
    }

    /// What would be counted of the files that are not, or no more, below a root.
    pub(crate) fn rows_outside(&self) -> Rows {
        self.rows_below(vec![self.dir.path().join("outside")])
    }

    fn rows_below(&self, folders: Vec<PathBuf>) -> Rows {
        let mut rows = Rows::new();
        for path in logs(folders) {
            if is_stood_in_for(&path) {
                continue;
            }
            let Ok(content) = fs::read(&path) else { continue };
            let content = match path.extension().is_some_and(|e| e == "zst") {
                true => zstd::decode_all(&content[..]).unwrap(),
                false => content,
            };
            self.agent.rows_in(&content).iter().for_each(|(n, v)| add(&mut rows, *n, *v));
        }
        rows
    }

    /// All logs below the roots, compressed or not.
    pub(crate) fn sources(&self) -> Vec<PathBuf> {
        let mut sources = logs(self.roots().to_vec());
        sources.retain(|path| !is_stood_in_for(path));
        sources
    }

    /// Whether an action may take records away that were not counted yet.
    pub(crate) fn hides(&self, action: Action) -> bool {
        use FileVerb::{Cut, Delete, Deny, Garbage, Half, Long, Nuls, Pack, Regrow, Replace};
        use FileVerb::{Rewrite, Stale, Tail, Truncate, Unpack};
        // A log that is written again takes the place of its compressed copy.
        let is_packed = |spot| is_absent(&self.path(spot)) && zst(&self.path(spot)).exists();
        match action {
            Action::File(verb, spot, _) => match verb {
                Unpack => false,
                _ if is_packed(spot) => true,
                Truncate | Cut | Regrow | Stale | Rewrite | Replace | Delete | Deny => true,
                // A record that lacks its newline counts until something stands behind it.
                Half | Garbage | Nuls | Tail | Long => {
                    self.content(spot).is_some_and(|c| c.last().is_some_and(|byte| *byte != b'\n'))
                }
                Pack => zst(&self.path(spot)).exists(),
                _ => false,
            },
            Action::Pair(PairVerb::Recreate, ..) => true,
            Action::Pair(_, _, to) => {
                to.folder == Folder::Outside || self.path(to).exists() || is_packed(to)
            }
            Action::Folder(verb, ..) => !matches!(verb, FolderVerb::Deep | FolderVerb::Loop),
            Action::MoveFolder(_, to) => to == Folder::Outside,
            Action::Daemon(..) => false,
        }
    }

    /// Content of a regular file that may be read.
    fn content(&self, spot: Spot) -> Option<Vec<u8>> {
        let path = self.path(spot);
        if is_file(&path) { fs::read(path).ok() } else { None }
    }

    // What happens.

    pub(crate) fn apply(&mut self, action: Action) {
        match action {
            Action::File(verb, spot, n) => self.on_file(verb, spot, n),
            Action::Pair(verb, from, to) => self.on_pair(verb, from, to),
            Action::Folder(verb, folder, n) => self.on_folder(verb, folder, n),
            Action::MoveFolder(from, to) => self.move_folder(from, to),
            Action::Daemon(..) => {}
        }
    }

    fn on_file(&mut self, verb: FileVerb, spot: Spot, n: u64) {
        let path = self.path(spot);
        // What is written outside under another name of a file below a root tells no watch.
        if spot.folder == Folder::Outside && is_linked(&path) {
            return;
        }
        match verb {
            FileVerb::Append => self.append_lines(&path, n),
            FileVerb::Tail => {
                let record = self.record();
                append(&path, record.as_bytes());
            }
            FileVerb::Half => {
                let record = self.record();
                append(&path, &record.as_bytes()[..hundredths(record.len(), n).max(1)]);
            }
            FileVerb::Glue => {
                let line = format!("{}{}\n", self.record(), self.record());
                append(&path, line.as_bytes());
            }
            FileVerb::Garbage => {
                append(&path, [&b"~ no json ~"[..], b"\n"][..1 + odd(n)].concat().as_slice())
            }
            FileVerb::Nuls => append(&path, &vec![0; hundredths(60, n) + 1]),
            FileVerb::Long => {
                self.calls += 1;
                // Some are longer than what is read at once.
                let len = if n > 80 { 300_000 } else { MAX_LINE };
                let line = self.agent.oversize(self.calls, len);
                append(&path, [line.as_bytes(), b"\n"][..1 + odd(n)].concat().as_slice());
            }
            FileVerb::Silent => self.append_unheard(&path, n),
            FileVerb::Flood => {
                self.append_unheard(&path, n);
                flood(path.parent().unwrap());
            }
            FileVerb::Fifo if is_absent(&path) => {
                make_parents(&path);
                mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
            FileVerb::Named if is_absent(&path) => fs::create_dir_all(&path).unwrap(),
            FileVerb::Fifo | FileVerb::Named => {}
            FileVerb::Delete => remove(&path),
            FileVerb::Unpack => unpack(&path),
            _ if is_file(&path) => self.on_content(verb, spot, n),
            _ => {}
        }
    }

    /// Actions on a file that is there.
    fn on_content(&mut self, verb: FileVerb, spot: Spot, n: u64) {
        let path = self.path(spot);
        let mode = match verb {
            FileVerb::Deny => Some(0o000),
            FileVerb::Allow => Some(0o600),
            _ => None,
        };
        if let Some(mode) = mode {
            return fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let Some(content) = self.content(spot) else { return };
        let (agent, len) = (self.agent, content.len());
        let open = || OpenOptions::new().write(true).open(&path).unwrap();
        match verb {
            FileVerb::Rest => {
                let rest = agent.rest_of(&content).unwrap_or_default();
                append(&path, format!("{rest}\n").as_bytes());
            }
            FileVerb::Correct => {
                let last = agent.rows_in(&content).into_iter().next_back();
                if let Some((call, version)) = last.filter(|(_, version)| *version < VERSIONS) {
                    append(&path, format!("{}\n", agent.record(call, version + 1)).as_bytes());
                }
            }
            FileVerb::Truncate => open().set_len(0).unwrap(),
            FileVerb::Cut => open().set_len(hundredths(len, n) as u64).unwrap(),
            FileVerb::Regrow => {
                let fresh = self.lines_beyond(Vec::new(), len);
                let mut file = open();
                file.set_len(0).unwrap();
                file.write_all(&fresh).unwrap();
            }
            FileVerb::Stale => {
                let mut file = open();
                file.set_len(0).unwrap();
                file.seek(SeekFrom::Start(len as u64)).unwrap();
                file.write_all(format!("{}\n", self.record()).as_bytes()).unwrap();
            }
            FileVerb::Rewrite => {
                let fresh = self.rewritten(&content, n);
                let mut file = open();
                file.write_all(&fresh).unwrap();
                file.set_len(fresh.len() as u64).unwrap();
            }
            FileVerb::Replace => {
                let fresh = self.rewritten(&content, n);
                replace(&path, &fresh);
            }
            FileVerb::Pack if agent == Agent::Codex => {
                replace(&zst(&path), &packed(&content));
                fs::remove_file(&path).unwrap();
            }
            _ => {}
        }
    }

    fn on_pair(&mut self, verb: PairVerb, from: Spot, to: Spot) {
        let is_outside = to.folder == Folder::Outside;
        let (from, to) = (self.path(from), self.path(to));
        if is_outside && is_linked(&to) {
            return;
        }
        if verb == PairVerb::Recreate {
            if !to.is_dir() || from == to {
                remove(&from);
                self.append_lines(&to, 1);
            }
            return;
        }
        if is_same(&from, &to) || !is_file(&from) || !(is_file(&to) || is_absent(&to)) {
            return;
        }
        make_parents(&to);
        match verb {
            PairVerb::Copy => match fs::read(&from) {
                Ok(content) => _ = fs::write(&to, content),
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::PermissionDenied),
            },
            PairVerb::Link => {
                remove(&to);
                fs::hard_link(&from, &to).unwrap();
            }
            PairVerb::Move => fs::rename(&from, &to).unwrap(),
            PairVerb::Rotate => {
                fs::rename(&from, &to).unwrap();
                self.append_lines(&from, 1);
            }
            PairVerb::Recreate => {}
        }
    }

    fn on_folder(&mut self, verb: FolderVerb, folder: Folder, n: u64) {
        let path = self.folder(folder);
        match verb {
            FolderVerb::Deep => {
                self.made += 1;
                let below = "s/".repeat(usize::try_from(n).unwrap());
                let deep = path.join(format!("deep{}/{below}", self.made));
                let name = self.agent.file_name(&format!("deep{}", self.made));
                self.append_lines(&deep.join(name), 1);
            }
            FolderVerb::Loop => {
                fs::create_dir_all(&path).unwrap();
                let log = self.agent.file_name("link");
                let file = self.path(Spot { folder: Folder::Outside, name: 0 });
                for (to, name) in [(path.parent().unwrap(), "up"), (&file, &log)] {
                    if is_absent(&path.join(name)) {
                        symlink(to, path.join(name)).unwrap();
                    }
                }
            }
            FolderVerb::Remove => remove(&path),
            FolderVerb::RemoveRoot => {
                let Some(root) = self.root_of(folder) else { return };
                remove(if odd(n) == 1 { root.parent().unwrap() } else { &root });
            }
            FolderVerb::MoveRoot => {
                let Some(root) = self.root_of(folder) else { return };
                let away = self.outside("root").join(root.file_name().unwrap());
                move_folder(&root, &away);
                if is_absent(&root) && n > 5 {
                    move_folder(&away, &root);
                }
            }
        }
    }

    fn move_folder(&self, from: Folder, to: Folder) {
        move_folder(&self.folder(from), &self.folder(to));
    }

    // What is written.

    fn record(&mut self) -> String {
        self.calls += 1;
        self.agent.record(self.calls, 1)
    }

    fn lines(&mut self, n: u64) -> Vec<u8> {
        (0..n).flat_map(|_| format!("{}\n", self.record()).into_bytes()).collect()
    }

    fn append_lines(&mut self, path: &Path, n: u64) {
        let lines = self.lines(n);
        append(path, &lines);
    }

    /// `content` and as many lines as make it longer than `len`.
    fn lines_beyond(&mut self, mut content: Vec<u8>, len: usize) -> Vec<u8> {
        while content.len() <= len {
            content.extend(self.lines(1));
        }
        content
    }

    /// So many hundredths of the lines as they were, then others. Never as long as before: a file
    /// whose length and time are the same is not looked into.
    fn rewritten(&mut self, content: &[u8], n: u64) -> Vec<u8> {
        let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
        let kept = lines[..hundredths(lines.len(), n)].concat();
        if odd(n) == 1 {
            return self.lines_beyond(kept, content.len());
        }
        let mut fresh = kept;
        fresh.extend(self.lines(1));
        if fresh.len() == content.len() {
            fresh.push(b'\n');
        }
        fresh
    }

    /// Through a link in a folder that nobody watches.
    fn append_unheard(&mut self, path: &Path, n: u64) {
        if !is_file(path) {
            return self.append_lines(path, n);
        }
        let link = self.outside("link");
        make_parents(&link);
        fs::hard_link(path, &link).unwrap();
        self.append_lines(&link, n);
        fs::remove_file(&link).unwrap();
    }
}

/// All files below some folders that are named like logs.
fn logs(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let (kind, path) = (entry.file_type().unwrap(), entry.path());
            let is_log = path.extension().is_some_and(|e| e == "jsonl" || e == "zst");
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && is_log {
                found.push(path);
            }
        }
    }
    found
}

fn hundredths(of: usize, n: u64) -> usize {
    of * usize::try_from(n).unwrap() / 100
}

fn odd(n: u64) -> usize {
    usize::from(n % 2 == 1)
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Whether a file has several names.
pub(crate) fn is_linked(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.nlink() > 1)
}

/// Whether both name one file. Renaming the one to the other would do nothing.
fn is_same(a: &Path, b: &Path) -> bool {
    let file = |path| fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()));
    matches!((file(a), file(b)), (Ok(a), Ok(b)) if a == b)
}

fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
}

/// Whether this is the compressed copy of a log that is there, too.
fn is_stood_in_for(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "zst") && is_file(&path.with_extension(""))
}

fn make_parents(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
}

fn zst(path: &Path) -> PathBuf {
    path.with_added_extension("zst")
}

/// Does nothing to what is no file or may not be written.
fn append(path: &Path, bytes: &[u8]) {
    if !(is_file(path) || is_absent(path)) {
        return;
    }
    make_parents(path);
    match OpenOptions::new().append(true).create(true).open(path) {
        Ok(mut file) => file.write_all(bytes).unwrap(),
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::PermissionDenied),
    }
}

fn replace(path: &Path, content: &[u8]) {
    let new = path.with_added_extension("tmp");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}

fn unpack(path: &Path) {
    if is_absent(path) && is_file(&zst(path)) {
        let file = File::open(zst(path)).unwrap();
        replace(path, &zstd::decode_all(file).unwrap());
        fs::remove_file(zst(path)).unwrap();
    }
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn move_folder(from: &Path, to: &Path) {
    if from.is_dir() && is_absent(to) && !to.starts_with(from) {
        make_parents(to);
        fs::rename(from, to).unwrap();
    }
}

/// One file takes one name after the other.
fn flood(folder: &Path) {
    let name = |n: u32| folder.join(format!("flood{n}"));
    fs::write(name(0), "").unwrap();
    (0..FLOOD).for_each(|n| fs::rename(name(n), name(n + 1)).unwrap());
    fs::remove_file(name(FLOOD)).unwrap();
}
