//! Lists what is under the roots: every file a provider calls its source.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use providers::Provider;
use usage::Fingerprint;

use crate::fingerprint;
use crate::watch::{WATCHES_WHOLE_ROOTS, Watch};

const MAX_DEPTH: usize = 16;

/// A watched folder of one provider, or a single source.
#[derive(Clone, Debug)]
pub struct Root {
    pub provider: &'static dyn Provider,
    pub path: PathBuf,
}

/// What a root looked like at the last walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootState {
    /// It does not exist yet; it is read as soon as it does.
    #[default]
    Awaited,
    Present,
    /// It exists and cannot be listed.
    Denied,
}

/// A file found under a root.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) root: usize,
    pub(crate) path: PathBuf,
    pub(crate) print: Fingerprint,
}

/// What a walk saw.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) found: Vec<Found>,
    /// State of each root that was walked, by its index.
    pub(crate) roots: Vec<(usize, RootState)>,
    /// Folders that could not be listed: what is missing below them is not gone.
    pub(crate) denied: Vec<PathBuf>,
    pub(crate) folders: usize,
    /// What would be listed or read if links were followed.
    pub(crate) links: Vec<PathBuf>,
    /// A root whose changes may not be heard of.
    pub(crate) remote: Option<PathBuf>,
}

/// Walks one place: a whole root, or a folder below it.
pub(crate) struct Walk<'a> {
    roots: &'a [Root],
    watch: Option<&'a Watch>,
    /// Folders seen in this walk and where, so that nothing is listed twice however it is reached.
    seen: HashMap<(u64, u64), PathBuf>,
    walked: Walked,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(roots: &'a [Root], watch: Option<&'a Watch>) -> Self {
        Self { roots, watch, seen: HashMap::new(), walked: Walked::default() }
    }

    pub(crate) fn finish(self) -> Walked {
        self.walked
    }

    /// Walks a root. The root itself may be a link; what is below it is not followed.
    pub(crate) fn root(&mut self, index: usize) {
        let path = &self.roots[index].path;
        let state = loop {
            match self.root_or_ancestor(path) {
                Ok(Some(metadata)) if metadata.is_file() && self.is_source(index, path) => {
                    let print = fingerprint::of(&metadata);
                    self.walked.found.push(Found { root: index, path: path.clone(), print });
                    break RootState::Present;
                }
                Ok(Some(metadata)) if metadata.is_dir() => {
                    if !self.folder(path, &metadata, 0) {
                        // It went before it was watched: it is awaited after all.
                        continue;
                    }
                    if !self.walked.denied.contains(path) {
                        break RootState::Present;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break RootState::Awaited,
                Err(_) => self.walked.denied.push(path.clone()),
            }
            break RootState::Denied;
        };
        self.walked.roots.push((index, state));
    }

    /// The root, if it is there. One that is not announces itself in the nearest folder that is;
    /// that folder is watched first and the root looked for again, so that it cannot slip through. A
    /// root that is a file is told of there, too.
    fn root_or_ancestor(&self, root: &Path) -> io::Result<Option<Metadata>> {
        let mut awaited_in = None;
        loop {
            match fs::metadata(root) {
                Ok(metadata) if metadata.is_dir() || awaited_in.is_some() => {
                    return Ok(Some(metadata));
                }
                Ok(metadata) if self.watch.is_none() || WATCHES_WHOLE_ROOTS => {
                    return Ok(Some(metadata));
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(e),
                Err(_) => {}
            }
            let nearest = root
                .ancestors()
                .skip(1)
                .find_map(|folder| fs::metadata(folder).ok().map(|metadata| (folder, metadata)));
            let (Some(watch), Some((folder, metadata))) = (self.watch, nearest) else {
                return Ok(None);
            };
            if awaited_in == Some(folder) || WATCHES_WHOLE_ROOTS {
                return Ok(None);
            }
            if watch.add(folder, &fingerprint::of(&metadata)) {
                awaited_in = Some(folder);
            }
        }
    }

    /// Walks a folder that appeared below a root.
    pub(crate) fn below(&mut self, index: usize, folder: &Path, metadata: &Metadata) {
        let root = &self.roots[index].path;
        let depth = folder.strip_prefix(root).map_or(0, |below| below.components().count());
        self.folder(folder, metadata, depth);
    }

    /// False when the folder is gone. Where it was, the watch of the folder above tells.
    fn folder(&mut self, folder: &Path, metadata: &Metadata, depth: usize) -> bool {
        let print = fingerprint::of(metadata);
        if depth > MAX_DEPTH || self.is_seen(&print) || !self.is_of_interest(folder) {
            return true;
        }
        // Watch first, list second: what is created in between is seen by one of the two.
        if let Some(watch) = self.watch
            && (depth == 0 || !WATCHES_WHOLE_ROOTS)
            && !watch.add(folder, &print)
        {
            return false;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return false,
            Err(e) => {
                tracing::debug!(folder.path = %folder.display(), "cannot list a folder: {e}");
                self.walked.denied.push(folder.to_owned());
                return true;
            }
        };
        self.seen.insert((print.dev, print.ino), folder.to_owned());
        self.walked.folders += 1;
        for entry in entries {
            let Ok(entry) = entry else {
                self.walked.denied.push(folder.to_owned());
                return true;
            };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if let Ok(metadata) = entry.metadata() {
                    self.folder(&entry.path(), &metadata, depth + 1);
                }
            } else if kind.is_file() {
                self.file(&entry);
            } else if kind.is_symlink() {
                self.link(entry.path());
            }
        }
        true
    }

    /// Whether a folder was listed in this walk. One that went since may have left its inode to the
    /// one that is asked for.
    fn is_seen(&self, print: &Fingerprint) -> bool {
        let file = (print.dev, print.ino);
        let known = self.seen.get(&file).and_then(|path| fs::metadata(path).ok());
        known.is_some_and(|known| (known.dev(), known.ino()) == file)
    }

    /// Whether a folder may hold sources of any provider that has a root there.
    fn is_of_interest(&self, folder: &Path) -> bool {
        self.roots.iter().any(|root| {
            folder.starts_with(&root.path)
                && (folder == root.path || root.provider.looks_into(&root.path, folder))
        })
    }

    fn is_source(&self, root: usize, path: &Path) -> bool {
        let root = &self.roots[root];
        path.starts_with(&root.path) && root.provider.is_source(&root.path, path)
    }

    fn link(&mut self, link: PathBuf) {
        let Ok(target) = fs::metadata(&link) else { return };
        let is_source = || (0..self.roots.len()).any(|root| self.is_source(root, &link));
        if target.is_dir() && self.is_of_interest(&link) || target.is_file() && is_source() {
            self.walked.links.push(link);
        }
    }

    /// Several providers may have roots at one place, or inside each other's.
    fn file(&mut self, entry: &fs::DirEntry) {
        let path = entry.path();
        let Some(root) = (0..self.roots.len()).find(|&root| self.is_source(root, &path)) else {
            return;
        };
        if let Ok(metadata) = entry.metadata() {
            self.walked.found.push(Found { root, path, print: fingerprint::of(&metadata) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(path: &Path) -> Vec<Root> {
        let provider = *providers::ALL.iter().find(|p| p.id() == "claude-code").unwrap();
        vec![Root { provider, path: path.to_owned() }]
    }

    fn walk(roots: &[Root]) -> Walked {
        let mut walk = Walk::new(roots, None);
        walk.root(0);
        walk.finish()
    }

    fn names(walked: &Walked) -> Vec<String> {
        let name = |f: &Found| f.path.file_name().unwrap().to_string_lossy().into_owned();
        let mut names: Vec<_> = walked.found.iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn sources_are_found_at_any_depth_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("-w/s/subagents/workflows/run");
        fs::create_dir_all(&deep).unwrap();
        fs::write(dir.path().join("-w/a.jsonl"), "").unwrap();
        fs::write(deep.join("agent-1.jsonl"), "").unwrap();
        fs::write(deep.join("notes.txt"), "").unwrap();
        symlink(dir.path(), deep.join("loop")).unwrap();
        symlink(dir.path().join("-w/a.jsonl"), dir.path().join("-w/b.jsonl")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("c.jsonl"), "").unwrap();
        fs::write(elsewhere.path().join("notes.txt"), "").unwrap();
        symlink(elsewhere.path(), dir.path().join("-v")).unwrap();
        symlink(elsewhere.path().join("c.jsonl"), dir.path().join("-w/c.jsonl")).unwrap();
        symlink(elsewhere.path().join("notes.txt"), dir.path().join("-w/notes.txt")).unwrap();
        let roots = root(dir.path());
        let walked = walk(&roots);
        assert_eq!(names(&walked), ["a.jsonl", "agent-1.jsonl"]);
        let mut told = crate::survey(&roots).links;
        told.sort();
        assert_eq!(told, ["-v", "-w/c.jsonl"].map(|link| dir.path().join(link)));
        assert_eq!(walked.roots, [(0, RootState::Present)]);
    }

    #[test]
    fn a_root_may_be_a_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/-w")).unwrap();
        fs::write(dir.path().join("real/-w/a.jsonl"), "").unwrap();
        symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        assert_eq!(names(&walk(&root(&dir.path().join("link")))), ["a.jsonl"]);
    }

    #[test]
    fn folders_nested_too_deep_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d/".repeat(MAX_DEPTH));
        fs::create_dir_all(deep.join("e")).unwrap();
        fs::write(deep.join("in.jsonl"), "").unwrap();
        fs::write(deep.join("e/out.jsonl"), "").unwrap();
        assert_eq!(names(&walk(&root(dir.path()))), ["in.jsonl"]);
    }

    #[test]
    fn h14_a_root_that_is_not_there_is_awaited() {
        let dir = tempfile::tempdir().unwrap();
        let roots = root(&dir.path().join("later/projects"));
        assert_eq!(walk(&roots).roots, [(0, RootState::Awaited)]);
        fs::create_dir_all(&roots[0].path).unwrap();
        assert_eq!(walk(&roots).roots, [(0, RootState::Present)]);
    }

    #[test]
    fn a_root_that_is_no_folder_is_shown_as_denied() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(walk(&root(&dir.path().join("file"))).roots, [(0, RootState::Denied)]);
    }

    /// Has sources of one name, in folders of its own.
    struct Picky(&'static str);

    impl Provider for Picky {
        fn id(&self) -> &'static str {
            self.0
        }

        fn version(&self) -> u32 {
            1
        }

        fn roots(&self, _env: &providers::Env) -> Vec<PathBuf> {
            Vec::new()
        }

        fn looks_into(&self, root: &Path, folder: &Path) -> bool {
            root.join(self.0) == folder
        }

        fn is_source(&self, root: &Path, path: &Path) -> bool {
            path == root || path.file_name().is_some_and(|name| name == self.0)
        }

        fn storage(&self, _path: &Path) -> providers::Storage {
            unreachable!("nothing is read")
        }
    }

    fn picky(names: &[&'static str], path: &Path) -> Vec<Root> {
        let root = |name| {
            let provider: &'static dyn Provider = Box::leak(Box::new(Picky(name)));
            Root { provider, path: path.to_owned() }
        };
        names.iter().copied().map(root).collect()
    }

    #[test]
    fn several_providers_may_share_a_root_and_each_looks_only_where_its_sources_may_be() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a", "b", "other", "a/deep"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            for name in ["a", "b"] {
                fs::write(dir.path().join(folder).join(name), "").unwrap_or_default();
            }
        }
        let roots = picky(&["a", "b"], dir.path());
        let watch = Watch::new();
        watch.begin_sweep();
        if watch.refused().is_some() {
            println!("skipped: the system grants no watcher");
            return;
        }
        let mut walk = Walk::new(&roots, Some(&watch));
        (0..2).for_each(|index| walk.root(index));
        let walked = walk.finish();
        let mut found: Vec<_> = walked
            .found
            .iter()
            .map(|f| (f.root, f.path.strip_prefix(dir.path()).unwrap().to_str().unwrap()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [(0, "a/a"), (0, "b/a"), (1, "a/b"), (1, "b/b")]);
        assert!(!watch.knows(&dir.path().join("other")), "nobody's folder is not watched");
        assert_eq!(watch.folders(), 3);
        let mut walk = Walk::new(&roots, None);
        let other = dir.path().join("other");
        walk.below(0, &other, &fs::metadata(&other).unwrap());
        assert!(walk.finish().found.is_empty(), "nor looked into when it appears");
    }

    #[test]
    fn a_root_may_be_a_single_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("named");
        let roots = picky(&["a"], &path);
        assert_eq!(walk(&roots).roots, [(0, RootState::Awaited)]);
        fs::write(&path, "").unwrap();
        let walked = walk(&roots);
        assert_eq!(
            (names(&walked), walked.roots),
            (vec!["named".to_owned()], vec![(0, RootState::Present)])
        );
        let watch = Watch::new();
        watch.begin_sweep();
        let mut walk = Walk::new(&roots, Some(&watch));
        walk.root(0);
        assert!(watch.refused().is_some() || watch.knows(dir.path()), "it is told of there");
    }
}
