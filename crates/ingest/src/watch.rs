//! File-system events in, a set of dirty paths out.
//!
//! An event only says where to look. Events are merged, may be lost, and are never counted; when
//! some were lost the set asks for a rescan instead.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::ModifyKind;
use notify::{Config, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use usage::Fingerprint;

use crate::{fingerprint, foreign};

/// What the system says when a user has all the inotify instances it may have.
const NO_INSTANCES: i32 = rustix::io::Errno::MFILE.raw_os_error();
/// Beyond this many dirty paths a rescan is cheaper than looking at each.
const MAX_PATHS: usize = 65_536;

/// What was heard since the last look.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) paths: HashSet<PathBuf>,
    /// Events were lost: only a walk of all roots tells what changed.
    pub(crate) rescan: bool,
}

/// The mailbox between the watcher's thread and the ingest loop.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    heard: Mutex<Heard>,
    wake: Notify,
}

impl Mailbox {
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn take(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a look at a path.
    pub(crate) fn hear_of(&self, path: &Path) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).paths.insert(path.to_owned());
        self.wake.notify_one();
    }

    /// Marks and returns: it must neither block nor fail, or event delivery would end.
    pub(crate) fn hear(&self, event: notify::Result<notify::Event>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(event) if event.need_rescan() => heard.rescan = true,
            Ok(event) => {
                let is_ours = |path: &Path| is_of_us(event.kind, path);
                heard.paths.extend(event.paths.into_iter().filter(|path| !is_ours(path)));
            }
            Err(_) => heard.rescan = true,
        }
        if heard.paths.len() > MAX_PATHS {
            *heard = Heard { paths: HashSet::new(), rescan: true };
        }
        drop(heard);
        self.wake.notify_one();
    }
}

/// Run as root, SQLite gives what stands beside a database to the database's owner whenever it opens
/// it: asking would be the next hint.
fn is_of_us(kind: EventKind, path: &Path) -> bool {
    matches!(kind, EventKind::Modify(ModifyKind::Metadata(_)))
        && foreign::database_of(path).is_some()
}

/// Watched folders. On Linux each folder has a watch of its own, added before the folder is listed,
/// so that nothing created in between is missed; elsewhere a root is watched as a whole.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: Mutex<Watched>,
    pub(crate) mailbox: Arc<Mailbox>,
}

#[derive(Debug)]
struct Watched {
    /// `None` where the system grants none: then every folder is only swept.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeMap<PathBuf, Fingerprint>,
    /// The system's reason for refusing a watch; the sweep stands in for it.
    refused: Option<String>,
    /// The same, as far as the sweep under way has met it.
    met: Option<String>,
}

/// Whether watching a folder covers what is below it.
pub(crate) const WATCHES_WHOLE_ROOTS: bool = cfg!(target_os = "macos");

impl Watch {
    pub(crate) fn new() -> Self {
        let watched = Watched { watcher: None, folders: BTreeMap::new(), refused: None, met: None };
        Self { watcher: Mutex::new(watched), mailbox: Arc::default() }
    }

    /// A walk of all roots begins: what cannot be watched is tried again.
    pub(crate) fn begin_sweep(&self) {
        let mut watched = self.lock();
        watched.met = None;
        if watched.watcher.is_none() {
            match self.watcher() {
                Ok(watcher) => watched.watcher = Some(watcher),
                Err(e) => watched.refuse(Path::new("any folder"), &e),
            }
        }
    }

    /// It has ended: what was not refused in it is watched now.
    pub(crate) fn end_sweep(&self) {
        let mut watched = self.lock();
        watched.refused = watched.met.take();
    }

    fn watcher(&self) -> notify::Result<RecommendedWatcher> {
        let config =
            Config::default().with_event_kinds(EventKindMask::CORE).with_follow_symlinks(false);
        let ear = Arc::clone(&self.mailbox);
        RecommendedWatcher::new(move |event| ear.hear(event), config)
    }

    /// Watches a folder, anew when another folder has taken its path. False when it is gone.
    pub(crate) fn add(&self, folder: &Path, print: &Fingerprint) -> bool {
        let mut watched = self.lock();
        let Watched { watcher: Some(watcher), folders, .. } = &mut *watched else { return true };
        match folders.get(folder) {
            Some(known) if fingerprint::same_file(known, print) => return true,
            Some(_) => {
                // A watch stays with the folder it was made for. That it went will not be heard any
                // more, and it may be what others waited in for their roots.
                _ = watcher.unwatch(folder);
                self.mailbox.hear_of(folder);
            }
            None => {}
        }
        let mode = if WATCHES_WHOLE_ROOTS {
            RecursiveMode::Recursive
        } else {
            RecursiveMode::NonRecursive
        };
        match watcher.watch(folder, mode) {
            Ok(()) => {
                folders.insert(folder.to_owned(), print.clone());
            }
            Err(e) => {
                folders.remove(folder);
                if is_gone(&e) {
                    return false;
                }
                watched.refuse(folder, &e);
            }
        }
        true
    }

    /// Forgets a folder and all below it, so that what is under these paths is watched again: a
    /// folder that moves loses its watch, even if it comes back.
    pub(crate) fn forget(&self, folder: &Path) {
        let mut watched = self.lock();
        let Watched { watcher: Some(watcher), folders, .. } = &mut *watched else { return };
        let below = folders.range(folder.to_owned()..).map(|(path, _)| path);
        let below: Vec<_> = below.take_while(|path| path.starts_with(folder)).cloned().collect();
        for path in below {
            folders.remove(&path);
            _ = watcher.unwatch(&path);
        }
    }

    /// Whether a folder has a watch.
    pub(crate) fn knows(&self, folder: &Path) -> bool {
        self.lock().folders.contains_key(folder)
    }

    /// Lets go of a watcher that delivers nothing any more: the next sweep makes another and adds
    /// all watches to it.
    pub(crate) fn rebuild(&self) {
        let mut watched = self.lock();
        watched.watcher = None;
        watched.folders.clear();
    }

    /// Delivers nothing any more, and does not say so.
    #[cfg(test)]
    pub(crate) fn deafen(&self) {
        let watched = &mut *self.lock();
        for folder in watched.folders.keys() {
            _ = watched.watcher.as_mut().map(|watcher| watcher.unwatch(folder));
        }
    }

    pub(crate) fn folders(&self) -> usize {
        self.lock().folders.len()
    }

    /// Why some folders are not watched, if any.
    pub(crate) fn refused(&self) -> Option<String> {
        self.lock().refused.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn refuse(&mut self, folder: &Path, error: &notify::Error) {
        let reason = match &error.kind {
            notify::ErrorKind::MaxFilesWatch => {
                "no inotify watches left: raise fs.inotify.max_user_watches".to_owned()
            }
            notify::ErrorKind::Io(e) if e.raw_os_error() == Some(NO_INSTANCES) => {
                "no inotify instances left: raise fs.inotify.max_user_instances".to_owned()
            }
            _ => format!("cannot watch {}: {error}", folder.display()),
        };
        if self.refused.is_none() {
            tracing::warn!("{reason}; changes there are found by the sweep");
        }
        self.refused = Some(reason.clone());
        self.met = Some(reason);
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(e) => e.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use notify::Event;
    use notify::event::{CreateKind, Flag};

    use super::*;

    fn event(path: &str) -> notify::Result<Event> {
        Ok(Event::new(EventKind::Create(CreateKind::File)).add_path(path.into()))
    }

    #[test]
    fn h26_a_million_hints_for_one_path_are_one() {
        let mailbox = Mailbox::default();
        (0..1_000_000).for_each(|_| mailbox.hear(event("/a")));
        let heard = mailbox.take();
        assert_eq!((heard.paths.len(), heard.rescan), (1, false));
    }

    #[test]
    fn h26_hints_for_too_many_paths_become_one_rescan() {
        let mailbox = Mailbox::default();
        (0..=MAX_PATHS).for_each(|n| mailbox.hear(event(&format!("/{n}"))));
        let heard = mailbox.take();
        assert!(heard.rescan && heard.paths.is_empty());
    }

    #[test]
    fn h23_lost_events_and_errors_ask_for_a_rescan() {
        let mailbox = Mailbox::default();
        mailbox.hear(event("/a"));
        assert!(!mailbox.take().rescan);
        mailbox.hear(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(mailbox.take().rescan);
        mailbox.hear(Err(notify::Error::generic("it went wrong")));
        assert!(mailbox.take().rescan);
    }

    /// What is heard while something is done to a folder.
    fn heard_in(folder: &Path, act: impl FnOnce()) -> Option<HashSet<PathBuf>> {
        let last = folder.join("last");
        let watch = Watch::new();
        watch.begin_sweep();
        if watch.refused().is_some() {
            println!("skipped: the system grants no watcher");
            return None;
        }
        assert!(watch.add(folder, &fingerprint::of(&fs::metadata(folder).unwrap())));
        act();
        // Events come in order: what is heard up to this one is all there was.
        fs::write(&last, "y").unwrap();
        let mut paths = HashSet::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !paths.remove(&last) && Instant::now() < deadline {
            paths.extend(watch.mailbox.take().paths);
            std::thread::yield_now();
        }
        Some(paths)
    }

    #[test]
    fn h24_reading_a_log_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "x").unwrap();
        let heard = heard_in(dir.path(), || {
            for _ in 0..100 {
                assert_eq!(fs::read(&log).unwrap(), b"x");
                fs::read_dir(dir.path()).unwrap().for_each(drop);
            }
        });
        assert_eq!(heard.unwrap_or_default(), HashSet::new());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the owner of the database")]
    fn h24_asking_a_database_that_its_owner_has_open_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let owner = rusqlite::Connection::open(&path).unwrap();
        owner.pragma_update(None, "journal_mode", "wal").unwrap();
        owner.execute_batch("CREATE TABLE t (n)").unwrap();
        let heard = heard_in(dir.path(), || {
            for _ in 0..20 {
                foreign::ask(&path, None, 0, |db| {
                    Ok(db.query_row("SELECT count(*) FROM t", [], |_| Ok(()))?)
                })
                .unwrap();
            }
        });
        assert_eq!(heard.unwrap_or_default(), HashSet::new());
        let heard = heard_in(dir.path(), || {
            owner.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        });
        let log = dir.path().join("a.db-wal");
        assert!(heard.is_none_or(|heard| heard.contains(&log)), "its owner's writing does");
    }
}
