//! Documents that are rewritten whole: read when their content has changed, and only if nobody
//! wrote to them meanwhile.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use providers::{Document, Parsed, Torn};
use serde::{Deserialize, Serialize};
use usage::{Batch, Checkpoint, EventKey, Fingerprint, Skip, Skips};

use crate::fingerprint;
use crate::read::{ReadError, open_file};
use crate::turn::RETRIES;
use crate::whole::Whole;

/// Largest document that is read.
const MAX_LEN: u64 = 256 << 20;

/// Documents larger than this are held in memory one at a time.
const LARGE: u64 = 2 << 20;
static ROOM: Mutex<()> = Mutex::new(());
/// Two changes within this time may give a file the same time.
const TICK: Duration = Duration::from_millis(10);

/// So long after it was written a document is looked at by each sweep if it leans on files beside it:
/// they may be written later, and nothing tells of them.
const SETTLING: Duration = Duration::from_secs(600);

/// What is kept of a document besides its fingerprint.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// How many calls and prompts it stated, and a digest of their keys in order: tells whether what
    /// it states now begins with them.
    stated: usize,
    digest: String,
    parser: String,
    /// A digest of all it stated, if it is to be looked at again.
    said: String,
}

impl Whole<'_> {
    /// Reads a document if its content has changed. A torn one is an error, until it was tried
    /// often enough: then it counts as malformed until it changes.
    pub(crate) fn document(&self, document: &dyn Document) -> Result<Batch, ReadError> {
        let path = &self.source.path;
        let mut checkpoint = self.read_checkpoint();
        let mut opened = Opened::open(path)?;
        let now = opened.print.clone();
        let before = std::mem::replace(&mut checkpoint.fingerprint, now.clone());
        checkpoint.offset = now.size;
        let mut batch = whole(checkpoint, now.size);
        let checkpoint = &mut batch.checkpoint;
        if now.size > MAX_LEN {
            checkpoint.skips = only(Skip::Oversize);
            return Ok(batch);
        }
        let failed = |source| ReadError::Read { path: path.clone(), offset: 0, source };
        let room = (now.size > LARGE).then(|| ROOM.lock().unwrap_or_else(PoisonError::into_inner));
        let bytes = opened.read().map_err(failed)?;
        if !opened.is_as_it_was().map_err(failed)? {
            return Err(ReadError::Torn { path: path.clone() });
        }
        fingerprint::set_content(&mut checkpoint.fingerprint, &bytes);
        let was_read = before.ino != 0;
        let is_same = was_read && fingerprint::same_content(&before, &checkpoint.fingerprint);
        let was_settling = was_read && before.mtime_ns == 0;
        if is_same && !self.is_new() && !was_settling {
            batch.bytes = 0;
            return Ok(batch);
        }
        let known: State = serde_json::from_str(&checkpoint.state).unwrap_or_default();
        let mut out = Parsed::default();
        let parsed = document.parse(self.source, &bytes, &**self.around, &known.parser, &mut out);
        let parser = match parsed {
            Ok(parser) => parser,
            Err(Torn) if self.has_tried_enough() => {
                checkpoint.skips = only(Skip::Malformed);
                return Ok(batch);
            }
            Err(Torn) => return Err(ReadError::Torn { path: path.clone() }),
        };
        drop((bytes, room));
        // What vanished from a document stays counted, also when a newer parser does not state it.
        let keys: Vec<&EventKey> = out.events.iter().map(|event| &event.key).collect();
        let has_kept = if self.is_new() {
            // The keys of another parser cannot be compared.
            is_same
        } else {
            keys.get(..known.stated).is_some_and(|kept| digest(kept) == known.digest)
        };
        if was_read && !has_kept {
            checkpoint.generation += 1;
        }
        let is_settling = self.around.was_asked() && opened.is_young;
        if is_settling {
            // No sweep finds it as it was.
            checkpoint.fingerprint.mtime_ns = 0;
        }
        let said = if is_settling || was_settling { digest_of(&out) } else { String::new() };
        let state = State { stated: keys.len(), digest: digest(&keys), parser, said };
        let has_news = !is_same || self.is_new() || state.said != known.said;
        if has_news {
            checkpoint.state = serde_json::to_string(&state).unwrap_or_default();
        }
        checkpoint.skips = out.skips;
        checkpoint.lines = out.events.len() as u64;
        let newest = out.events.iter().map(|event| event.ts_ms).max();
        checkpoint.last_event_ms = checkpoint.last_event_ms.max(newest);
        batch.lines = checkpoint.lines;
        if has_news {
            (batch.events, batch.retracted) = (out.events, out.retracted);
        } else {
            batch.bytes = 0;
        }
        Ok(batch)
    }

    fn has_tried_enough(&self) -> bool {
        usize::try_from(self.attempt).is_ok_and(|tried| tried >= RETRIES.len())
    }
}

/// All that a document states, which is nothing so far.
fn whole(checkpoint: Checkpoint, bytes: u64) -> Batch {
    Batch {
        events: Vec::new(),
        retracted: Vec::new(),
        withdrawn: Vec::new(),
        checkpoint,
        bytes,
        lines: 0,
        complete: true,
        restates: false,
        amends: true,
        heard: None,
    }
}

fn digest_of(out: &Parsed) -> String {
    usage::digest22(format!("{:?}{:?}", out.events, out.retracted).as_bytes())
}

/// A document that was opened, and what it looked like then.
struct Opened {
    file: File,
    print: Fingerprint,
    /// It was written not long ago.
    is_young: bool,
}

impl Opened {
    fn open(path: &Path) -> Result<Self, ReadError> {
        let file = open_file(path)?;
        let failed = |source| ReadError::Open { path: path.to_owned(), source };
        let mut metadata = file.metadata().map_err(failed)?;
        // A change in the same moment, and as long, would show in nothing.
        let written = metadata.modified().ok().and_then(|written| written.elapsed().ok());
        if let Some(rest) = written.and_then(|since| TICK.checked_sub(since)) {
            thread::park_timeout(rest);
            metadata = file.metadata().map_err(failed)?;
        }
        let is_young = written.is_some_and(|since| since < SETTLING);
        Ok(Self { print: fingerprint::of(&metadata), file, is_young })
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.print.size).unwrap_or_default());
        (&mut self.file).take(MAX_LEN).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether nobody has written to it since it was opened.
    fn is_as_it_was(&self) -> io::Result<bool> {
        Ok(fingerprint::of(&self.file.metadata()?) == self.print)
    }
}

fn only(reason: Skip) -> Skips {
    let mut skips = Skips::default();
    skips.add(reason);
    skips
}

fn digest(keys: &[&EventKey]) -> String {
    let joined: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
    usage::digest22(joined.join("\n").as_bytes())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a document that was left alone has an old time")]
pub(crate) mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use providers::{Env, Provider, Storage, Surroundings};
    use usage::{Checkpoint, Flags, Owner, Role, Source, Speed, Tokens, Usage, UsageEvent};

    use super::*;
    use crate::surroundings::Disk;

    /// A document `[a,b,c]` states the calls a, b and c, in this order.
    struct Letters {
        parsed: AtomicU32,
        version: AtomicU32,
    }

    impl Provider for Letters {
        fn id(&self) -> &'static str {
            "letters"
        }

        fn version(&self) -> u32 {
            self.version.load(Ordering::Relaxed)
        }

        fn roots(&self, _env: &Env) -> Vec<PathBuf> {
            Vec::new()
        }

        fn is_source(&self, _root: &Path, _path: &Path) -> bool {
            true
        }

        fn storage(&self, _path: &Path) -> Storage {
            unreachable!("the test knows")
        }
    }

    impl Document for Letters {
        fn parse(
            &self,
            source: &Source,
            bytes: &[u8],
            around: &dyn Surroundings,
            state: &str,
            out: &mut Parsed,
        ) -> Result<String, Torn> {
            self.parsed.fetch_add(1, Ordering::Relaxed);
            let text = std::str::from_utf8(bytes).map_err(|_| Torn)?;
            let project = match text.starts_with("[lean") {
                true => around.file(&source.path.with_file_name("project")),
                false => None,
            };
            let project = project.map(|bytes| String::from_utf8(bytes).unwrap());
            let letters = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or(Torn)?;
            out.events = letters.split(',').map(|letter| call(letter, source)).collect();
            if let Some(project) = project {
                out.events.iter_mut().for_each(|event| event.owner.project = (*project).into());
            }
            Ok(format!("{state}+"))
        }
    }

    pub(crate) fn call(key: &str, source: &Source) -> UsageEvent {
        UsageEvent {
            key: EventKey::new(key),
            provider: "letters".into(),
            role: Role::Assistant,
            ts_ms: 1,
            copy_rank: 0,
            owner: Owner {
                session_id: "s".into(),
                project: "/p".into(),
                is_sidechain: false,
                account: None,
                agent: None,
                client: None,
                source_id: source.id,
            },
            usage: Usage {
                model: "m".into(),
                speed: Speed::Standard,
                tokens: Tokens::default(),
                web_search_requests: 0,
                vendor: None,
                tier: None,
                geo: None,
                logged_cost_nanousd: None,
                flags: Flags::default(),
            },
            parser_version: 1,
        }
    }

    /// A document, and the turns that read it.
    struct Desk {
        dir: tempfile::TempDir,
        letters: &'static Letters,
        checkpoint: Checkpoint,
        attempt: u32,
    }

    impl Desk {
        fn new() -> Self {
            let letters = Letters { parsed: AtomicU32::new(0), version: AtomicU32::new(1) };
            let dir = tempfile::tempdir().unwrap();
            let checkpoint = Checkpoint::at_start(1, "letters", dir.path().join("d"), 1);
            Self { dir, letters: Box::leak(Box::new(letters)), checkpoint, attempt: 0 }
        }

        /// Saves the document by a rename, as most agents do.
        fn save(&self, text: &str) {
            let (new, path) = (self.dir.path().join("new"), self.dir.path().join("d"));
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, path).unwrap();
        }

        fn turn(&mut self) -> Result<Vec<String>, ReadError> {
            let source = Source {
                id: 1,
                provider: "letters",
                path: self.dir.path().join("d"),
                root: self.dir.path().to_owned(),
                mtime_ms: 0,
            };
            let whole = Whole {
                source: &source,
                provider: self.letters,
                checkpoint: &self.checkpoint,
                reread: false,
                around: &Arc::new(Disk::new(Arc::new([]), None, 0)),
                attempt: self.attempt,
            };
            let batch = whole.document(self.letters)?;
            assert!(batch.complete && batch.amends);
            self.checkpoint = batch.checkpoint;
            Ok(batch.events.iter().map(|event| event.key.to_string()).collect())
        }

        fn parsed(&self) -> u32 {
            self.letters.parsed.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn h05_a_torn_document_yields_nothing_and_is_tried_again() {
        let mut desk = Desk::new();
        desk.save("[a,b");
        let before = desk.checkpoint.clone();
        for attempt in 0..RETRIES.len() {
            desk.attempt = u32::try_from(attempt).unwrap();
            assert!(desk.turn().unwrap_err().is_passing());
            assert_eq!(desk.checkpoint, before);
        }
        // It is damaged, then; what it stated before stays, and it is read when it is whole.
        desk.attempt += 1;
        assert!(desk.turn().unwrap().is_empty());
        assert_eq!(desk.checkpoint.skips, only(Skip::Malformed));
        desk.attempt = 0;
        desk.save("[a,b]");
        assert_eq!(desk.turn().unwrap(), ["a", "b"]);
        assert_eq!(desk.checkpoint.skips, Skips::default());
    }

    #[test]
    fn h05_a_document_that_is_written_while_it_is_read_is_not_taken() {
        let desk = Desk::new();
        desk.save("[a,b]");
        let path = desk.dir.path().join("d");
        let mut opened = Opened::open(&path).unwrap();
        assert_eq!(opened.read().unwrap(), b"[a,b]");
        assert!(opened.is_as_it_was().unwrap());
        let file = File::options().write(true).open(&path).unwrap();
        // As long as before, and a whole document: only its time tells.
        std::os::unix::fs::FileExt::write_all_at(&file, b"c", 3).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(!opened.is_as_it_was().unwrap());
        // One that is renamed into its place is another file: this one was whole.
        desk.save("[a,b]");
        let opened = Opened::open(&path).unwrap();
        desk.save("[a,b,c]");
        assert!(opened.is_as_it_was().unwrap());
    }

    /// Only one that is written from then on gets another time.
    #[test]
    fn h05_a_document_is_read_once_a_change_would_show_in_its_time() {
        let mut desk = Desk::new();
        for _ in 0..5 {
            desk.save("[a,b]");
            let written = std::fs::metadata(desk.dir.path().join("d")).unwrap().modified().unwrap();
            let opened = Opened::open(&desk.dir.path().join("d")).unwrap();
            assert!(written.elapsed().unwrap() >= TICK);
            assert!(opened.is_as_it_was().unwrap());
        }
        assert_eq!(desk.turn().unwrap(), ["a", "b"]);
    }

    #[test]
    fn h05_what_comes_beside_a_document_after_it_is_seen_at_the_next_look() {
        let mut desk = Desk::new();
        let is_dirty = |desk: &Desk| {
            let now = std::fs::metadata(desk.dir.path().join("d")).unwrap();
            !fingerprint::unchanged(&fingerprint::of(&now), &desk.checkpoint.fingerprint)
        };
        desk.save("[lean,b]");
        assert_eq!(desk.turn().unwrap(), ["lean", "b"]);
        // It is looked at by each sweep, and nothing comes of it.
        for _ in 0..2 {
            assert!(is_dirty(&desk));
            let before = desk.checkpoint.clone();
            assert!(desk.turn().unwrap().is_empty());
            assert_eq!(desk.checkpoint, before);
        }
        std::fs::write(desk.dir.path().join("project"), "/w/late").unwrap();
        assert_eq!(desk.turn().unwrap(), ["lean", "b"]);
        assert!(desk.turn().unwrap().is_empty());
        assert_eq!(desk.checkpoint.generation, 0);
        // Until it has been left alone for long.
        let file = File::options().write(true).open(desk.dir.path().join("d")).unwrap();
        file.set_modified(std::time::SystemTime::now() - SETTLING).unwrap();
        assert!(desk.turn().unwrap().is_empty());
        assert!(!is_dirty(&desk));
        // One that leans on nothing is done with at once.
        desk.save("[a,b]");
        desk.turn().unwrap();
        assert!(!is_dirty(&desk));
    }

    #[test]
    fn content_that_has_not_changed_is_not_parsed_again() {
        let mut desk = Desk::new();
        desk.save("[a,b]");
        desk.turn().unwrap();
        for _ in 0..3 {
            desk.save("[a,b]");
            assert!(desk.turn().unwrap().is_empty());
        }
        assert_eq!(desk.parsed(), 1);
        let now = std::fs::metadata(desk.dir.path().join("d")).unwrap();
        assert!(fingerprint::unchanged(&fingerprint::of(&now), &desk.checkpoint.fingerprint));
        desk.save("[a,c]");
        assert_eq!(desk.turn().unwrap(), ["a", "c"]);
    }

    /// Rows are retracted by a newer parser only where nothing can have gone: at generation 0.
    #[test]
    fn a_document_that_grows_keeps_its_generation_and_one_that_loses_something_does_not() {
        let generations = |saves: &[&str]| {
            let mut desk = Desk::new();
            for save in saves {
                desk.save(save);
                desk.turn().unwrap();
            }
            desk.checkpoint.generation
        };
        assert_eq!(generations(&["[a]", "[a,b]", "[a,b,c]"]), 0);
        assert_eq!(generations(&["[a,b]", "[a,c,d]"]), 1);
        assert_eq!(generations(&["[a,b]", "[a]", "[a,b]"]), 1);
        let upgraded = |then: &str| {
            let mut desk = Desk::new();
            desk.save("[a,b]");
            desk.turn().unwrap();
            desk.letters.version.store(2, Ordering::Relaxed);
            desk.save(then);
            desk.turn().unwrap();
            (desk.checkpoint.generation, desk.parsed())
        };
        assert_eq!(upgraded("[a,b]"), (0, 2), "read again, though it has not changed");
        assert_eq!(upgraded("[a,b,c]"), (1, 2), "what went meanwhile is not known");
    }

    #[test]
    fn a_document_over_the_limit_is_skipped() {
        let mut desk = Desk::new();
        let file = File::create(desk.dir.path().join("d")).unwrap();
        file.set_len(MAX_LEN + 1).unwrap();
        assert!(desk.turn().unwrap().is_empty());
        assert_eq!(desk.checkpoint.skips, only(Skip::Oversize));
    }
}
