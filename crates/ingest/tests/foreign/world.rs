//! The documents and databases, and everything that happens to them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ingest::Root;
use usage::UsageEvent;

use crate::action::{Action, DatabaseVerb, DocumentVerb};
use crate::owner::Owner;

/// What is to be counted: the number of a call and the latest version of it.
pub(crate) type Rows = BTreeMap<u64, u64>;

/// A time after which a write-ahead log without an index was left by a crash.
const LONG_AGO: Duration = Duration::from_secs(120);
/// How long an owner tries to change the mode of its database.
const MOMENT: Duration = Duration::from_secs(10);
const START_MS: u64 = 1_780_000_000_000;

/// The call and version that an event counts.
pub(crate) fn call_of(event: &UsageEvent) -> (u64, u64) {
    (event.usage.tokens.input, event.usage.tokens.output)
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    /// Calls made so far; each has its own number.
    calls: u64,
    /// Grows with every change of a database.
    clock: u64,
    documents: BTreeMap<u64, Document>,
    databases: BTreeMap<u64, Database>,
}

#[derive(Default)]
struct Document {
    /// Calls and their versions, in order.
    messages: Vec<(u64, u64)>,
    /// Whether it is there, and whole.
    is_whole: bool,
    deleted: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Database {
    owner: Option<Owner>,
    /// Complete calls and those that are not, in order.
    complete: Vec<u64>,
    begun: Vec<u64>,
    /// As it was when the backup was made.
    backup: Option<(Vec<u64>, Vec<u64>)>,
    keeps_log: bool,
    is_held: bool,
    is_made: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        Self {
            dir,
            calls: 0,
            clock: START_MS,
            documents: BTreeMap::new(),
            databases: BTreeMap::new(),
        }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.outside("scratch")
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join("outside").join(name)
    }

    /// That of the documents and that of the databases. Both are missing at first.
    pub(crate) fn roots(&self) -> [Root; 2] {
        let root = |id: &str, path: PathBuf| {
            let provider = *providers::ALL.iter().find(|provider| provider.id() == id).unwrap();
            Root { provider, path }
        };
        [root("cline", self.sessions()), root("opencode", self.data())]
    }

    fn sessions(&self) -> PathBuf {
        self.home().join(".cline/data/sessions")
    }

    fn data(&self) -> PathBuf {
        self.home().join(".local/share/opencode")
    }

    fn document_path(&self, spot: u64) -> PathBuf {
        self.sessions().join(format!("s{spot}/s{spot}.messages.json"))
    }

    fn database_path(&self, spot: u64) -> PathBuf {
        self.data().join(if spot == 0 { "opencode.db" } else { "opencode-next.db" })
    }

    // What is there.

    /// What is to be counted of all that can be read now, by place.
    pub(crate) fn rows(&self) -> BTreeMap<PathBuf, Rows> {
        let mut rows = BTreeMap::new();
        for (spot, document) in &self.documents {
            let path = self.document_path(*spot);
            if document.is_whole && File::open(&path).is_ok() {
                rows.insert(path, document.messages.iter().copied().collect());
            }
        }
        for (spot, database) in &self.databases {
            if database.is_made && (database.keeps_log || !database.is_held) {
                let calls = database.complete.iter().map(|call| (*call, 1)).collect();
                rows.insert(self.database_path(*spot), calls);
            }
        }
        rows
    }

    /// Opens and closes all databases, so that what a crash has left is cleared up.
    pub(crate) fn close_all(&mut self) -> Result<(), String> {
        let made = self.databases.iter().filter(|(_, database)| database.is_made);
        let spots: Vec<u64> = made.map(|(spot, _)| *spot).collect();
        for spot in spots {
            self.settle_hold(spot)?;
            self.sql(spot, "SELECT count(*) FROM message")?;
            self.close(spot)?;
        }
        Ok(())
    }

    /// What stands beside databases that are closed and whose logs hold nothing.
    pub(crate) fn left_behind(&self) -> Vec<PathBuf> {
        let holds_something = |path: &Path| {
            fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0)
        };
        let paths = self.databases.keys().map(|spot| self.database_path(*spot));
        let closed = paths.filter(|path| !holds_something(path));
        let all = closed
            .flat_map(|path| ["-wal", "-shm", "-journal"].map(|suffix| beside(&path, suffix)));
        all.filter(|path| path.exists()).collect()
    }

    // What happens to it.

    /// Whether something that can be read now may be gone for readers afterwards.
    pub(crate) fn hides(&self, action: Action) -> bool {
        match action {
            Action::Document(verb, ..) => {
                use DocumentVerb::*;
                matches!(verb, Half | Steps | Drop | Delete | Restore | Deny)
            }
            Action::Fork(..) => true,
            Action::Database(verb, spot, _) => {
                use DatabaseVerb::*;
                let is_held = self.databases.get(&spot).is_some_and(|database| database.is_held);
                is_held || matches!(verb, Remove | Swap | Hold | Restore | Crash | Anew)
            }
            Action::Daemon(..) => false,
        }
    }

    /// Ends the hold of the database that an action is about; whether there was one.
    pub(crate) fn release(&mut self, action: Action) -> Result<bool, String> {
        let Action::Database(_, spot, _) = action else { return Ok(false) };
        let is_held = self.databases.get(&spot).is_some_and(|database| database.is_held);
        if is_held {
            self.settle_hold(spot)?;
        }
        Ok(is_held)
    }

    pub(crate) fn apply(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Document(verb, spot, n) => self.on_document(verb, spot, n),
            Action::Fork(from, to) => self.fork(from, to),
            Action::Database(verb, spot, n) => return self.on_database(verb, spot, n),
            Action::Daemon(..) => {}
        }
        Ok(())
    }

    fn on_document(&mut self, verb: DocumentVerb, spot: u64, n: u64) {
        let path = self.document_path(spot);
        let is_there = path.exists();
        if matches!(verb, DocumentVerb::Save | DocumentVerb::Write | DocumentVerb::Steps) {
            let new: Vec<_> = (0..if verb == DocumentVerb::Steps { 1 } else { n })
                .map(|_| (self.next_call(), 1))
                .collect();
            self.documents.entry(spot).or_default().messages.extend(new);
        }
        let Some(document) = self.documents.get_mut(&spot) else { return };
        let text = |document: &Document| text_of(&format!("s{spot}"), &document.messages);
        match verb {
            DocumentVerb::Save => self.save(spot),
            DocumentVerb::Write => write(&path, &text(document)),
            DocumentVerb::Steps => {
                let text = text(document);
                write(&path, &text[..text.len() / 2]);
                std::thread::park_timeout(Duration::from_millis(n));
                append(&path, &text[text.len() / 2..]);
            }
            DocumentVerb::Half if is_there => {
                let text = text(document);
                write(&path, &text[..part_of(text.len(), n)]);
                document.is_whole = false;
                return;
            }
            DocumentVerb::Again if is_there => self.save(spot),
            DocumentVerb::Change if is_there && !document.messages.is_empty() => {
                let at = part_of(document.messages.len() - 1, n);
                document.messages[at].1 = 1 + (document.messages[at].1 + n) % 9;
                if n % 2 == 1 { write(&path, &text(document)) } else { self.save(spot) }
            }
            DocumentVerb::Drop if is_there => {
                document.messages.truncate(part_of(document.messages.len(), n));
                self.save(spot);
            }
            DocumentVerb::Delete if is_there => {
                fs::remove_file(&path).unwrap();
                document.deleted = std::mem::take(&mut document.messages);
                document.is_whole = false;
                return;
            }
            DocumentVerb::Restore if !document.deleted.is_empty() => {
                document.messages.clone_from(&document.deleted);
                self.save(spot);
            }
            DocumentVerb::Deny | DocumentVerb::Allow if is_there => {
                let mode = if verb == DocumentVerb::Deny { 0o000 } else { 0o600 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                return;
            }
            _ => return,
        }
        self.documents.get_mut(&spot).unwrap().is_whole = true;
    }

    fn fork(&mut self, from: u64, to: u64) {
        let Some(parent) = self.documents.get(&from) else { return };
        let messages = parent.messages.clone();
        if from != to && !messages.is_empty() {
            let fork = self.documents.entry(to).or_default();
            (fork.messages, fork.is_whole) = (messages, true);
            self.save(to);
        }
    }

    /// By a new file that is renamed.
    fn save(&self, spot: u64) {
        let (path, document) = (self.document_path(spot), &self.documents[&spot]);
        let new = path.with_extension("tmp");
        write(&new, &text_of(&format!("s{spot}"), &document.messages));
        fs::rename(new, path).unwrap();
    }

    fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    // Databases.

    fn on_database(&mut self, verb: DatabaseVerb, spot: u64, n: u64) -> Result<(), String> {
        self.make(spot)?;
        self.settle_hold(spot)?;
        match verb {
            DatabaseVerb::Insert | DatabaseVerb::Begin => {
                for _ in 0..n {
                    let call = self.next_call();
                    self.insert(spot, call, verb == DatabaseVerb::Insert)?;
                }
            }
            DatabaseVerb::Fill => {
                let begun = &mut self.database(spot).begun;
                if !begun.is_empty() {
                    let call = begun.remove(0);
                    self.rewrite(spot, call, 0)?;
                    self.database(spot).complete.push(call);
                }
            }
            DatabaseVerb::Touch => {
                if let Some(call) = self.database(spot).complete.last().copied() {
                    self.rewrite(spot, call, n)?;
                }
            }
            DatabaseVerb::Remove => {
                for _ in 0..n {
                    self.remove_last(spot)?;
                }
            }
            DatabaseVerb::Swap => {
                let rowid = self.remove_last(spot)?;
                let call = self.next_call();
                self.insert(spot, call, true)?;
                let now = self.sql(spot, "SELECT max(rowid) FROM message")?;
                debug_assert!(rowid.is_empty() || now == rowid);
            }
            DatabaseVerb::Vacuum => _ = self.sql(spot, "VACUUM")?,
            DatabaseVerb::Checkpoint => {
                let kind = if n % 2 == 1 { "TRUNCATE" } else { "PASSIVE" };
                let blocked = self.sql(spot, &format!("PRAGMA wal_checkpoint({kind})"))?;
                if blocked != "0" {
                    return Err(format!("the owner was kept from a checkpoint: {blocked}"));
                }
            }
            DatabaseVerb::Close => self.close(spot)?,
            DatabaseVerb::Mode => self.change_mode(spot)?,
            DatabaseVerb::Hold => self.hold(spot)?,
            DatabaseVerb::Backup => {
                let backup = self.outside(&format!("backup{spot}"));
                _ = fs::remove_file(&backup);
                self.sql(spot, &format!("VACUUM INTO '{}'", backup.display()))?;
                let database = self.database(spot);
                database.backup = Some((database.complete.clone(), database.begun.clone()));
            }
            DatabaseVerb::Restore => self.restore(spot)?,
            DatabaseVerb::Crash => self.crash(spot, n)?,
            DatabaseVerb::Anew => {
                self.close(spot)?;
                self.remove_files(spot);
                let backup = self.database(spot).backup.take();
                *self.database(spot) = Database { backup, ..Database::default() };
                self.make(spot)?;
                let call = self.next_call();
                self.insert(spot, call, true)?;
            }
        }
        Ok(())
    }

    fn database(&mut self, spot: u64) -> &mut Database {
        self.databases.entry(spot).or_default()
    }

    fn sql(&mut self, spot: u64, sql: &str) -> Result<String, String> {
        let path = self.database_path(spot);
        self.database(spot).owner.get_or_insert_with(|| Owner::of(&path)).run(sql)
    }

    fn make(&mut self, spot: u64) -> Result<(), String> {
        if self.database(spot).is_made {
            return Ok(());
        }
        fs::create_dir_all(self.data()).unwrap();
        self.sql(
            spot,
            "PRAGMA journal_mode = wal; \
            CREATE TABLE session (id TEXT PRIMARY KEY, project_id TEXT, parent_id TEXT, \
                directory TEXT, time_created INTEGER); \
            CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, \
                time_created INTEGER, time_updated INTEGER, data TEXT NOT NULL); \
            CREATE INDEX m ON message (session_id, time_created, id); \
            CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT NOT NULL, session_id TEXT, \
                time_created INTEGER, time_updated INTEGER, data TEXT); \
            CREATE INDEX p ON part (message_id, id); \
            INSERT INTO session VALUES ('ses_1', 'p', NULL, '/w', 0)",
        )?;
        let database = self.database(spot);
        (database.is_made, database.keeps_log) = (true, true);
        Ok(())
    }

    fn insert(&mut self, spot: u64, call: u64, is_complete: bool) -> Result<(), String> {
        let sql = self.insertion(call, is_complete);
        self.sql(spot, &format!("BEGIN IMMEDIATE; {sql} COMMIT"))?;
        let database = self.database(spot);
        if is_complete { &mut database.complete } else { &mut database.begun }.push(call);
        Ok(())
    }

    fn insertion(&mut self, call: u64, is_complete: bool) -> String {
        self.clock += 1;
        let (at, data) = (self.clock, message(call, is_complete, 0));
        format!(
            "INSERT INTO message VALUES ('msg_{call:08}', 'ses_1', {at}, {at}, '{data}'); \
            INSERT INTO part VALUES ('prt_{call:08}', 'msg_{call:08}', 'ses_1', {at}, {at}, \
                '{{\"type\":\"text\",\"text\":\"\"}}');"
        )
    }

    fn rewrite(&mut self, spot: u64, call: u64, n: u64) -> Result<(), String> {
        self.clock += 1;
        let (at, data) = (self.clock, message(call, true, n));
        let id = format!("msg_{call:08}");
        self.sql(
            spot,
            &format!("UPDATE message SET data = '{data}', time_updated = {at} WHERE id = '{id}'"),
        )?;
        Ok(())
    }

    /// The rowid of what went.
    fn remove_last(&mut self, spot: u64) -> Result<String, String> {
        let rowid = self.sql(spot, "SELECT max(rowid) FROM message")?;
        let id = self.sql(spot, "SELECT id FROM message ORDER BY rowid DESC LIMIT 1")?;
        self.sql(spot, "DELETE FROM message WHERE rowid = (SELECT max(rowid) FROM message)")?;
        let call: u64 = id.strip_prefix("msg_").map_or(0, |number| number.parse().unwrap());
        let database = self.database(spot);
        database.complete.retain(|known| *known != call);
        database.begun.retain(|known| *known != call);
        Ok(rowid)
    }

    fn change_mode(&mut self, spot: u64) -> Result<(), String> {
        let keeps_log = !self.database(spot).keeps_log;
        let mode = if keeps_log { "wal" } else { "delete" };
        let begun = Instant::now();
        // Without waiting: that is up to whoever asks.
        loop {
            let set = self.sql(spot, &format!("PRAGMA journal_mode = {mode}"));
            match set {
                Ok(set) if set == mode => break,
                Err(e) if !e.contains("locked") => return Err(e),
                _ if begun.elapsed() > MOMENT => {
                    return Err(format!("the owner cannot change to {mode}: {set:?}"));
                }
                _ => std::thread::park_timeout(Duration::from_millis(1)),
            }
        }
        self.database(spot).keeps_log = keeps_log;
        Ok(())
    }

    fn hold(&mut self, spot: u64) -> Result<(), String> {
        let call = self.next_call();
        let sql = self.insertion(call, true);
        self.sql(spot, &format!("BEGIN EXCLUSIVE; {sql}"))?;
        self.database(spot).is_held = true;
        Ok(())
    }

    /// Nothing of what was held is kept.
    fn settle_hold(&mut self, spot: u64) -> Result<(), String> {
        if std::mem::take(&mut self.database(spot).is_held) {
            self.sql(spot, "ROLLBACK")?;
        }
        Ok(())
    }

    fn close(&mut self, spot: u64) -> Result<(), String> {
        if let Some(owner) = &mut self.database(spot).owner {
            owner.run("close")?;
        }
        Ok(())
    }

    fn restore(&mut self, spot: u64) -> Result<(), String> {
        let Some((complete, begun)) = self.database(spot).backup.clone() else { return Ok(()) };
        self.close(spot)?;
        let (path, new) = (self.database_path(spot), self.outside("restored"));
        fs::copy(self.outside(&format!("backup{spot}")), &new).unwrap();
        for suffix in ["-shm", "-wal"] {
            _ = fs::remove_file(beside(&path, suffix));
        }
        fs::rename(new, path).unwrap();
        let database = self.database(spot);
        // A copy that was made by VACUUM keeps no log.
        (database.complete, database.begun, database.keeps_log) = (complete, begun, false);
        Ok(())
    }

    /// At every moment the files are those of some moment of the database.
    fn crash(&mut self, spot: u64, n: u64) -> Result<(), String> {
        self.sql(spot, "SELECT count(*) FROM message")?;
        self.database(spot).owner = None;
        let path = self.database_path(spot);
        if n == 1 {
            return Ok(());
        }
        let files = ["", "-wal", "-shm"].map(|suffix| beside(&path, suffix));
        let copies = ["c", "c-wal", "c-shm"].map(|name| self.outside(name));
        let is_there = files.each_ref().map(|file| file.exists());
        for ((file, copy), _) in files.iter().zip(&copies).zip(is_there).filter(|(_, is)| *is) {
            fs::copy(file, copy).unwrap();
        }
        if n == 3 && is_there[1] {
            let log = File::options().write(true).open(&copies[1]).unwrap();
            log.set_modified(now() - LONG_AGO).unwrap();
        }
        for file in [&files[2], &files[1]] {
            _ = fs::remove_file(file);
        }
        let last = if n == 3 { 2 } else { 3 };
        for at in (0..last).filter(|at| is_there[*at]) {
            fs::rename(&copies[at], &files[at]).unwrap();
        }
        _ = fs::remove_file(&copies[2]);
        Ok(())
    }

    fn remove_files(&self, spot: u64) {
        let path = self.database_path(spot);
        for suffix in ["-shm", "-wal", "-journal", ""] {
            _ = fs::remove_file(beside(&path, suffix));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what a crash left long ago has an old time")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// `x.db` and `-wal` make `x.db-wal`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn part_of(of: usize, n: u64) -> usize {
    of * usize::try_from(n).unwrap() / 100
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn append(path: &Path, text: &str) {
    File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// A session of Cline.
fn text_of(id: &str, messages: &[(u64, u64)]) -> String {
    let answer = |(call, version): &(u64, u64)| {
        format!(
            r#"{{"id":"msg_{call}","role":"assistant","content":[],"ts":{},"modelInfo":{{"id":"claude-opus-5","provider":"cline"}},"metrics":{{"inputTokens":{call},"outputTokens":{version},"cacheReadTokens":0,"cacheWriteTokens":0}}}}"#,
            START_MS + call,
        )
    };
    let answers: Vec<String> = messages.iter().map(answer).collect();
    format!(
        r#"{{"version":1,"agent":"lead","sessionId":"{id}","messages":[{}]}}"#,
        answers.join(",")
    )
}

/// A message of OpenCode. What it says of a call depends on nothing but the call.
fn message(call: u64, is_complete: bool, n: u64) -> String {
    let at = START_MS + call * 1_000;
    let completed =
        if is_complete { format!(r#","completed":{}"#, at + 500) } else { String::new() };
    format!(
        r#"{{"role":"assistant","modelID":"gpt-5.5","providerID":"openai","n":{n},"cost":0,"tokens":{{"input":{call},"output":1,"reasoning":0,"cache":{{"read":0,"write":0}}}},"time":{{"created":{at}{completed}}}}}"#
    )
}
