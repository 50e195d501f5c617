//! Path to provider and source: the sources that are known, and how a path found on disk becomes
//! one of them.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use providers::{Provider, Storage, Ties};
use usage::{Checkpoint, Fingerprint, Source};

use crate::fingerprint;
use crate::queue::ECHOES;
use crate::read::Reader;
use crate::recent::Recent;
use crate::twin;
use crate::walk::{Found, Root};

/// Index of a known source.
pub(crate) type Id = usize;

/// A known source and what is going on with it.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) source: Source,
    pub(crate) provider: &'static dyn Provider,
    pub(crate) checkpoint: Checkpoint,
    /// What the directory entry looked like when it was last seen.
    pub(crate) seen: Fingerprint,
    /// Read from the start at the next opportunity.
    pub(crate) reread: bool,
    pub(crate) ties: Ties,
    /// There is more of the source it leans on: it is looked at whether that changes anything. The
    /// number says how much there was when that was last so.
    pub(crate) retie: bool,
    pub(crate) retied: u64,
    /// Open between two turns of one reading.
    pub(crate) reader: Option<Box<Reader>>,
    pub(crate) queued: Option<Queue>,
    pub(crate) busy: bool,
    /// Marked while it was being read.
    pub(crate) again: bool,
    /// How many turns in a row have failed in a way that may pass.
    pub(crate) attempt: u32,
    /// When it is asked once more although nothing was heard, and how often that was since the last
    /// hint.
    pub(crate) echo: Option<Instant>,
    pub(crate) echoes: usize,
    /// Not before this time.
    pub(crate) not_before: Option<Instant>,
    /// Since when it waits to be read.
    pub(crate) marked: Option<Instant>,
    /// When it was first heard that something was written which no turn has begun to read.
    pub(crate) heard: Option<Instant>,
    pub(crate) recent: Recent,
    /// Gone for good; the place stays, so that the others keep theirs.
    pub(crate) forgotten: bool,
}

/// Which line a source waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Something was written just now.
    Live,
    /// Found by a walk.
    Backlog,
}

impl Tracked {
    fn name(&self) -> Option<&str> {
        let path = &self.source.path;
        self.provider.storage(path).appended()?.name(path)
    }

    /// Bytes known to be unread.
    pub(crate) fn bytes_left(&self) -> u64 {
        if self.reread || fingerprint::same_file(&self.seen, &self.checkpoint.fingerprint) {
            let done = if self.reread { 0 } else { self.checkpoint.offset };
            self.seen.size.saturating_sub(done)
        } else {
            self.seen.size
        }
    }

    /// Whether a look at the directory entry says that there may be something to read.
    pub(crate) fn is_dirty(&self) -> bool {
        // What is written to a database need not show in its size or time.
        matches!(self.provider.storage(&self.source.path), Storage::Database(_))
            || self.reread
            || self.checkpoint.last_error.is_some()
            || self.checkpoint.missing_since_ms.is_some()
            || self.checkpoint.path != self.source.path
            || !fingerprint::unchanged(&self.seen, &self.checkpoint.fingerprint)
    }
}

/// All sources that are known.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) all: Vec<Tracked>,
    /// By the path of the log itself, also where only its compressed copy is there. Of several that
    /// were last read there (one moved away and nobody could save it), the one that is there.
    by_path: HashMap<PathBuf, Id>,
    /// By device and inode, the one seen last at the end: a file that has gone may have left its
    /// inode to another one.
    by_file: HashMap<(u64, u64), Vec<Id>>,
    by_source_id: HashMap<i64, Id>,
    /// By what records call them. Some may have moved on to another name.
    by_name: HashMap<String, Vec<Id>>,
    /// Who leans on a source with this name, or once did.
    leaning: HashMap<String, BTreeSet<Id>>,
    home: PathBuf,
}

impl Sources {
    pub(crate) fn new(home: PathBuf) -> Self {
        Self {
            all: Vec::new(),
            by_path: HashMap::new(),
            by_file: HashMap::new(),
            by_source_id: HashMap::new(),
            by_name: HashMap::new(),
            leaning: HashMap::new(),
            home,
        }
    }

    /// Whether a root has any source.
    pub(crate) fn are_below(&self, root: &Root) -> bool {
        self.all.iter().filter(|tracked| !tracked.forgotten).any(|tracked| {
            tracked.source.provider == root.provider.id() && tracked.source.root == root.path
        })
    }

    /// Takes up a source that an earlier run has read.
    pub(crate) fn restore(&mut self, checkpoint: Checkpoint, roots: &[Root], force: bool) {
        let root = roots.iter().find(|root| {
            root.provider.id() == checkpoint.provider
                && checkpoint.path.starts_with(&root.path)
                && root.provider.is_source(&root.path, &checkpoint.path)
        });
        // A source of an agent that is switched off, or of a root that was taken out: its rows and
        // its checkpoint stay as they are.
        let Some(root) = root else { return };
        let source = Source {
            id: checkpoint.source_id,
            provider: root.provider.id(),
            path: checkpoint.path.clone(),
            root: root.path.clone(),
            mtime_ms: checkpoint.fingerprint.mtime_ns / 1_000_000,
        };
        let reread = force || checkpoint.parser_version != root.provider.version();
        let seen = checkpoint.fingerprint.clone();
        self.insert(source, root.provider, checkpoint, seen, reread);
    }

    /// The source a found file is, new or known.
    pub(crate) fn found(&mut self, found: Found, roots: &[Root]) -> Id {
        let Found { root, mut path, mut print } = found;
        if twin::is_compressed(&path)
            && let Some((standing, metadata)) = twin::standing(&path)
        {
            (path, print) = (standing, fingerprint::of(&metadata));
        }
        if let Some(id) = self.by_path(&path) {
            let id = self.returned(&path, &print).unwrap_or(id);
            let known = &mut self.all[id];
            if known.source.path != path {
                known.source.path = path;
                known.reader = None;
            }
            self.see(id, print);
            return id;
        }
        if let Some(id) = self.same_file_elsewhere(&print) {
            let known = &mut self.all[id];
            if fs::symlink_metadata(&known.source.path)
                .is_ok_and(|m| fingerprint::same_file(&fingerprint::of(&m), &print))
            {
                // A hard link: one file reached twice is read once. What is written under this
                // name is announced under no other.
                _ = self.returned(&path, &print);
                self.see(id, print);
                return id;
            }
            if known.provider.id() == roots[root].provider.id() {
                let left = twin::log_path(&known.source.path);
                known.source.path.clone_from(&path);
                known.source.root.clone_from(&roots[root].path);
                known.reader = None;
                if self.by_path.get(&left) == Some(&id) {
                    self.by_path.remove(&left);
                }
                self.by_path.insert(twin::log_path(&path), id);
                self.call(id);
                self.see(id, print);
                return id;
            }
        }
        let Root { provider, path: root } = &roots[root];
        let source = Source {
            id: self.free_source_id(provider.id(), &path),
            provider: provider.id(),
            path: path.clone(),
            root: root.clone(),
            mtime_ms: print.mtime_ns / 1_000_000,
        };
        let checkpoint = Checkpoint::at_start(source.id, provider.id(), path, provider.version());
        self.insert(source, *provider, checkpoint, print, false)
    }

    /// Forgets a source that is gone for good. The same file would be a new source.
    pub(crate) fn forget(&mut self, id: Id) -> i64 {
        let tracked = &mut self.all[id];
        tracked.forgotten = true;
        let path = twin::log_path(&tracked.source.path);
        if self.by_path.get(&path) == Some(&id) {
            self.by_path.remove(&path);
        }
        self.by_source_id.remove(&tracked.source.id);
        let (source_id, seen) = (tracked.source.id, tracked.seen.clone());
        self.lose(id, &seen);
        source_id
    }

    pub(crate) fn by_path(&self, path: &Path) -> Option<Id> {
        self.by_path.get(&twin::log_path(path)).copied()
    }

    /// The source that a record calls `name`, and where it is: the plain file before its compressed
    /// copy.
    pub(crate) fn named(
        &self,
        provider: &'static dyn Provider,
        name: &str,
    ) -> Option<(Id, PathBuf)> {
        let called = self.by_name.get(name)?.iter().copied();
        called
            .filter(|id| {
                let tracked = &self.all[*id];
                let is_known = !tracked.forgotten && tracked.source.provider == provider.id();
                is_known && tracked.name() == Some(name)
            })
            .filter_map(|id| Some((id, twin::standing(&self.all[id].source.path)?.0)))
            .min_by_key(|(_, path)| (twin::is_compressed(path), path.clone()))
    }

    fn call(&mut self, id: Id) {
        let Some(name) = self.all[id].name() else { return };
        let called = self.by_name.entry(name.to_owned()).or_default();
        if !called.contains(&id) {
            called.push(id);
        }
    }

    /// Remembers who leans on whom.
    pub(crate) fn tie(&mut self, id: Id, ties: Ties) {
        let before = std::mem::replace(&mut self.all[id].ties, ties).leans_on;
        let now = self.all[id].ties.leans_on.as_ref();
        if before.as_ref().map(|lean| &lean.name) == now.map(|lean| &lean.name) {
            return;
        }
        if let Some(lean) = before
            && let Some(leaning) = self.leaning.get_mut(&lean.name)
        {
            leaning.remove(&id);
        }
        if let Some(lean) = now {
            self.leaning.entry(lean.name.clone()).or_default().insert(id);
        }
    }

    /// All that lean on a source, or on one of its name.
    pub(crate) fn leaning_on(&self, id: Id) -> Vec<Id> {
        let leaning = self.all[id].name().and_then(|name| self.leaning.get(name));
        leaning.into_iter().flatten().copied().collect()
    }

    pub(crate) fn all_leaning(&self) -> Vec<Id> {
        self.leaning.values().flatten().copied().collect()
    }

    /// Where the source is that this one leans on.
    pub(crate) fn parent_of(&self, id: Id) -> Option<(Id, PathBuf)> {
        let Tracked { provider, ties, .. } = &self.all[id];
        self.named(*provider, &ties.leans_on.as_ref()?.name)
    }

    /// Whether there is more of the source that this one leans on than it knows of.
    pub(crate) fn is_outgrown(&self, id: Id) -> Option<u64> {
        let tracked = &self.all[id];
        let known = tracked.ties.leans_on.as_ref()?.counters.max(tracked.retied);
        let (parent, _) = self.parent_of(id)?;
        Some(self.all[parent].ties.counters).filter(|counters| *counters > known)
    }

    /// Whether another source has the place where this one was last read.
    pub(crate) fn is_displaced(&self, id: Id) -> bool {
        self.by_path(&self.all[id].source.path).is_some_and(|holder| holder != id)
    }

    /// The source that was last read at `path` and is this very file; it has the place from now on.
    fn returned(&mut self, path: &Path, print: &Fingerprint) -> Option<Id> {
        let id = self.same_file_elsewhere(print)?;
        let place = twin::log_path(path);
        if twin::log_path(&self.all[id].source.path) != place {
            return None;
        }
        self.by_path.insert(place, id);
        Some(id)
    }

    fn same_file_elsewhere(&self, print: &Fingerprint) -> Option<Id> {
        let ids = self.by_file.get(&(print.dev, print.ino))?;
        ids.iter().rev().copied().find(|id| fingerprint::same_file(&self.all[*id].seen, print))
    }

    fn see(&mut self, id: Id, print: Fingerprint) {
        let tracked = &mut self.all[id];
        tracked.source.mtime_ms = print.mtime_ns / 1_000_000;
        let file = (print.dev, print.ino);
        let before = std::mem::replace(&mut tracked.seen, print);
        self.lose(id, &before);
        self.by_file.entry(file).or_default().push(id);
    }

    /// A source is not that file any more.
    fn lose(&mut self, id: Id, print: &Fingerprint) {
        let file = (print.dev, print.ino);
        let Some(ids) = self.by_file.get_mut(&file) else { return };
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            self.by_file.remove(&file);
        }
    }

    fn insert(
        &mut self,
        source: Source,
        provider: &'static dyn Provider,
        checkpoint: Checkpoint,
        seen: Fingerprint,
        reread: bool,
    ) -> Id {
        let id = self.all.len();
        self.by_path.entry(twin::log_path(&source.path)).or_insert(id);
        self.by_source_id.insert(source.id, id);
        if seen.ino != 0 {
            self.by_file.entry((seen.dev, seen.ino)).or_default().push(id);
        }
        self.all.push(Tracked {
            source,
            provider,
            checkpoint,
            seen,
            reread,
            ties: Ties::default(),
            retie: false,
            retied: 0,
            reader: None,
            queued: None,
            busy: false,
            again: false,
            attempt: 0,
            echo: None,
            echoes: ECHOES.len(),
            not_before: None,
            marked: None,
            heard: None,
            recent: Recent::default(),
            forgotten: false,
        });
        self.call(id);
        if let Some(appended) = provider.storage(&self.all[id].source.path).appended() {
            let ties = appended.ties(&self.all[id].checkpoint.state);
            self.tie(id, ties);
        }
        id
    }

    /// A hash of provider and path below the home folder: equal homes give equal ids. Another
    /// source may hold it (it was moved here from there): then the next free one.
    fn free_source_id(&self, provider: &str, path: &Path) -> i64 {
        let path = twin::log_path(path);
        let shown = path.strip_prefix(&self.home).map_or_else(
            |_| path.to_string_lossy().into_owned(),
            |below| format!("~/{}", below.to_string_lossy()),
        );
        (0_u32..)
            .map(|attempt| source_id(provider, &shown, attempt))
            .find(|id| !self.by_source_id.contains_key(id))
            .unwrap_or_default()
    }
}

/// 47 bits, so that SQLite keeps it in six bytes and JavaScript can hold it.
fn source_id(provider: &str, path: &str, attempt: u32) -> i64 {
    let hash = blake3::hash(format!("{provider}\0{path}\0{attempt}").as_bytes());
    let mut first = [0; 8];
    first[..6].copy_from_slice(&hash.as_bytes()[..6]);
    i64::from_le_bytes(first) & 0x7fff_ffff_ffff
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn checkpoint(path: &Path, fingerprint: Fingerprint, offset: u64) -> Checkpoint {
        let start = Checkpoint::at_start(1, "codex", path.into(), 1);
        Checkpoint { fingerprint, offset, ..start }
    }

    /// A source that was last written to at this time.
    pub(crate) fn tracked(mtime_ms: i64) -> Tracked {
        let mut place = Place::new();
        fs::write(place.path("a"), "x").unwrap();
        place.find("a");
        let mut tracked = place.sources.all.remove(0);
        tracked.source.mtime_ms = mtime_ms;
        tracked
    }

    struct Place {
        dir: tempfile::TempDir,
        roots: Vec<Root>,
        sources: Sources,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let provider = *providers::ALL.iter().find(|p| p.id() == "codex").unwrap();
            let roots = vec![Root { provider, path: dir.path().to_owned() }];
            let sources = Sources::new(dir.path().to_owned());
            Self { dir, roots, sources }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(format!("rollout-2026-01-01T00-00-00-{name}.jsonl"))
        }

        fn find(&mut self, name: &str) -> Id {
            let path = self.path(name);
            let print = fingerprint::of(&fs::metadata(&path).unwrap());
            self.sources.found(Found { root: 0, path, print }, &self.roots)
        }
    }

    #[test]
    fn a_file_is_one_source_however_often_it_is_found() {
        let mut place = Place::new();
        fs::write(place.path("a"), "x").unwrap();
        assert_eq!(place.find("a"), 0);
        assert_eq!(place.find("a"), 0);
        assert_eq!(place.sources.all.len(), 1);
        assert!(place.sources.all[0].is_dirty());
    }

    #[test]
    fn h15_a_file_that_moved_keeps_its_source() {
        let mut place = Place::new();
        fs::write(place.path("a"), "x").unwrap();
        let id = place.find("a");
        let source_id = place.sources.all[id].source.id;
        fs::rename(place.path("a"), place.path("b")).unwrap();
        assert_eq!(place.find("b"), id);
        assert_eq!(place.sources.all[id].source.path, place.path("b"));
        // Another file under the old path is another source, though its hash is taken.
        fs::write(place.path("a"), "y").unwrap();
        let other = place.find("a");
        assert_ne!(other, id);
        assert_ne!(place.sources.all[other].source.id, source_id);
    }

    /// The older one had moved, the newer one was saved, and then the process was killed.
    #[test]
    fn h15_of_two_sources_last_read_at_one_place_each_keeps_its_file() {
        for moved_is_first in [true, false] {
            for moved_is_found_first in [true, false] {
                let mut place = Place::new();
                fs::write(place.path("a"), "x").unwrap();
                let moved = fingerprint::of(&fs::metadata(place.path("a")).unwrap());
                fs::rename(place.path("a"), place.path("b")).unwrap();
                fs::write(place.path("a"), "yz").unwrap();
                let newer = fingerprint::of(&fs::metadata(place.path("a")).unwrap());
                let known = |id, print| Checkpoint {
                    source_id: id,
                    ..checkpoint(&place.path("a"), print, 1)
                };
                let mut known = [known(1, moved), known(2, newer)];
                if !moved_is_first {
                    known.reverse();
                }
                for checkpoint in known {
                    place.sources.restore(checkpoint, &place.roots, false);
                }
                let names = if moved_is_found_first { ["b", "a"] } else { ["a", "b"] };
                for name in names {
                    let id = place.find(name);
                    let source = &place.sources.all[id].source;
                    assert_eq!(source.id, if name == "b" { 1 } else { 2 });
                    assert_eq!(source.path, place.path(name));
                    assert_eq!(place.find(name), id);
                }
                assert_eq!(place.sources.all.len(), 2);
                assert!((0..2).all(|id| !place.sources.is_displaced(id)));
            }
        }
    }

    /// Inodes are given anew at once; when the file came into being tells the two apart.
    #[test]
    fn h15_a_log_that_moved_is_known_though_one_that_has_gone_had_its_inode() {
        for gone_is_first in [true, false] {
            let mut place = Place::new();
            fs::write(place.path("a"), "x").unwrap();
            let file = fingerprint::of(&fs::metadata(place.path("a")).unwrap());
            let before = Fingerprint { btime_ns: file.btime_ns - 1, ..file.clone() };
            if file.btime_ns == 0 {
                println!("skipped: files here do not tell when they came into being");
                return;
            }
            fs::rename(place.path("a"), place.path("b")).unwrap();
            let known = |id, name, print| Checkpoint {
                source_id: id,
                ..checkpoint(&place.path(name), print, 1)
            };
            let mut known = [known(1, "gone", before), known(2, "a", file)];
            if !gone_is_first {
                known.reverse();
            }
            for checkpoint in known {
                place.sources.restore(checkpoint, &place.roots, false);
            }
            let id = place.find("b");
            assert_eq!(place.sources.all[id].source.id, 2, "the other one first: {gone_is_first}");
            assert_eq!(place.sources.all.len(), 2);
        }
    }

    #[test]
    fn h16_a_hard_link_is_read_once() {
        let mut place = Place::new();
        fs::write(place.path("a"), "x").unwrap();
        let id = place.find("a");
        fs::hard_link(place.path("a"), place.path("b")).unwrap();
        fs::write(place.path("b"), "xy").unwrap();
        assert_eq!(place.find("b"), id);
        assert_eq!(place.sources.all[id].source.path, place.path("a"));
        assert_eq!(place.sources.all[id].seen.size, 2, "what is written under either name is new");
    }

    #[test]
    fn a_log_and_its_compressed_copy_are_one_source_in_whatever_order_they_are_found() {
        let sources_in = |order: [&str; 3]| {
            let mut place = Place::new();
            let packed = place.path("a").with_added_extension("zst");
            let mut seen = Vec::new();
            for step in order {
                match step {
                    "plain" => fs::write(place.path("a"), "x").unwrap(),
                    "packed" => fs::write(&packed, "x").unwrap(),
                    _ => fs::remove_file(place.path("a")).unwrap(),
                }
                let path = if step == "packed" { packed.clone() } else { place.path("a") };
                if let Ok(metadata) = fs::metadata(&path) {
                    let print = fingerprint::of(&metadata);
                    place.sources.found(Found { root: 0, path, print }, &place.roots);
                }
                seen.push(twin::is_compressed(&place.sources.all[0].source.path));
            }
            assert_eq!(place.sources.all.len(), 1);
            (place.sources.all[0].source.id, seen)
        };
        let (plain_first, seen) = sources_in(["plain", "packed", "plain"]);
        assert_eq!(seen, [false, false, false], "the log is preferred");
        let (packed_first, seen) = sources_in(["packed", "plain", "packed"]);
        assert_eq!(seen, [true, false, false], "and taken as soon as it is there");
        let (_, seen) = sources_in(["plain", "remove", "packed"]);
        assert_eq!(seen, [false, false, true]);
        assert_eq!(plain_first, packed_first);
    }

    #[test]
    fn equal_homes_give_equal_source_ids() {
        let ids = [Place::new(), Place::new()].map(|mut place| {
            fs::write(place.path("a"), "x").unwrap();
            let id = place.find("a");
            place.sources.all[id].source.id
        });
        assert_eq!(ids[0], ids[1]);
    }

    #[test]
    fn a_named_parent_is_found_plain_before_compressed() {
        let mut place = Place::new();
        fs::write(place.path("t1"), "x").unwrap();
        place.find("t1");
        let packed = place.dir.path().join("rollout-2026-01-01T00-00-00-t1.jsonl.zst");
        fs::write(&packed, "x").unwrap();
        let print = fingerprint::of(&fs::metadata(&packed).unwrap());
        let found = Found { root: 0, path: packed.clone(), print };
        place.sources.found(found, &place.roots);
        let provider = place.roots[0].provider;
        assert_eq!(place.sources.named(provider, "t1"), Some((0, place.path("t1"))));
        fs::remove_file(place.path("t1")).unwrap();
        assert_eq!(place.sources.named(provider, "t1"), Some((0, packed)));
        assert_eq!(place.sources.named(provider, "t2"), None);
    }
}
