//! Reads bytes as ingest reads a source, and says what must hold for any bytes. The fuzz targets
//! use this file too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use providers::{
    Appended, Around, Database, Document, ParseLine, Parsed, Provider, Series, Storage, nowhere,
};
use rusqlite::Connection;
use usage::{Skip, Skips, Source, UsageEvent, merge};

/// The end of the year 9999: later times have no text form.
const MAX_MS: i64 = 253_402_300_799_999;

/// No call has more tokens of one kind; what was written to the cache is stated in two parts.
const MAX_TOKENS: u64 = 2_000_000_000;

/// Longest text of an event: what is kept of a record, with each of its bytes replaced.
const MAX_TEXT: usize = 3 * 4096;

/// Answers for the source with a name: its series.
pub(crate) type Parent<'a> = &'a dyn Fn(&str) -> Option<Series>;

/// What the store holds after some reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) events: BTreeMap<String, UsageEvent>,
    pub(crate) skips: Skips,
}

impl Rows {
    fn take(&mut self, parsed: Parsed) {
        for event in parsed.events {
            let key = event.key.as_str().to_owned();
            let row = match self.events.remove(&key) {
                Some(row) => merge(row, event),
                None => event,
            };
            self.events.insert(key, row);
        }
        for key in parsed.retracted.iter().chain(&parsed.withdrawn) {
            self.events.remove(key.as_str());
        }
        self.skips.merge(&parsed.skips);
    }

    /// What a document or database says takes the place of what it said before.
    fn amend(&mut self, parsed: Parsed) {
        let mut stated = Self::default();
        stated.take(parsed);
        for (key, event) in stated.events {
            let ts_ms = self.events.get(&key).map_or(event.ts_ms, |row| row.ts_ms.min(event.ts_ms));
            self.events.insert(key, UsageEvent { ts_ms, ..event });
        }
        self.skips = stated.skips;
    }

    fn check(&self) {
        self.events.values().for_each(check_event);
    }
}

pub(crate) fn source(provider: &dyn Provider, path: PathBuf) -> Source {
    Source { id: 1, provider: provider.id(), path, root: "/root".into(), mtime_ms: 1_000 }
}

/// A source and how far it was read: nothing but offset and state outlives a read.
#[derive(Clone)]
pub(crate) struct Reading<'a> {
    appended: &'static dyn Appended,
    source: Source,
    around: Around,
    parent: Parent<'a>,
    offset: usize,
    pub(crate) state: String,
    pub(crate) rows: Rows,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        appended: &'static dyn Appended,
        source: Source,
        around: Around,
        parent: Parent<'a>,
    ) -> Self {
        let (state, rows) = (String::new(), Rows::default());
        Self { appended, source, around, parent, offset: 0, state, rows }
    }

    fn is_at(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.offset, it.state.clone());
        of(self) == of(other) && self.rows == other.rows
    }

    /// Reads what is new in the file, which now holds `bytes`.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        let mut parser = self.appended.begin(&self.source, &self.around, &self.state);
        let mut answered = None;
        let mut out = Parsed::default();
        loop {
            if let Some(name) = parser.wants_parent() {
                let series = (self.parent)(&name);
                let is_outdated = parser.set_parent(series.clone());
                assert!(!is_outdated, "the parent is the same throughout");
                answered = Some(series);
            }
            let rest = &bytes[self.offset..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
            parse(&mut *parser, &rest[..end], self.offset == 0, &mut out);
            self.offset += end + 1;
        }
        self.state = parser.state();
        self.rows.take(out);
        self.read_ahead(&bytes[self.offset..], answered);
    }

    /// A tail that is a record already counts at once; offset and state stay before it.
    fn read_ahead(&mut self, tail: &[u8], answered: Option<Option<Series>>) {
        if !may_be_record(tail, self.offset == 0) {
            return;
        }
        let tail = trim(tail, self.offset == 0);
        let mut ahead = self.appended.begin(&self.source, &self.around, &self.state);
        assert_eq!(ahead.state(), self.state, "a state begins where it ended");
        if let Some(series) = answered {
            ahead.set_parent(series);
        }
        let mut out = Parsed::default();
        if ahead.wants_parent().is_none() {
            ahead.parse_line(tail, &mut out);
        }
        out.skips = Skips::default();
        self.rows.take(out);
    }
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "offset {}, state {}, {:#?}", self.offset, self.state, self.rows)
    }
}

fn parse(parser: &mut dyn ParseLine, line: &[u8], first: bool, out: &mut Parsed) {
    let mut line = trim(line, first);
    if line.first() == Some(&0) {
        out.skips.add(Skip::Malformed);
        let run = line.iter().take_while(|byte| **byte == 0).count();
        line = trim(&line[run..], false);
    }
    if !line.is_empty() {
        parser.parse_line(line, out);
    }
}

fn may_be_record(tail: &[u8], first: bool) -> bool {
    trim(tail, first).last() == Some(&b'}')
}

fn trim(line: &[u8], first: bool) -> &[u8] {
    let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    line.trim_ascii()
}

/// Reads `bytes` whole, and again in two steps for each of `cuts`, which ascend. Fails unless all
/// reads give the same rows and the same state, reading on finds nothing new, and every figure can
/// be stored. A last line that is no record yet may have been one where it was cut: then all reads
/// are the same once it has ended.
pub(crate) fn check(
    begin: &Reading<'_>,
    bytes: &[u8],
    cuts: impl IntoIterator<Item = usize>,
) -> Rows {
    let mut whole = begin.clone();
    whole.read(bytes);
    whole.rows.check();
    let ended = [bytes, b"\n"].concat();
    let mut whole_ended = whole.clone();
    whole_ended.read(&ended);
    let mut last_line = begin.clone();
    let mut previous: Option<Reading<'_>> = None;
    for cut in cuts {
        let mut cut_off = last_line.clone();
        cut_off.read(&bytes[..cut]);
        if cut_off.offset == cut {
            last_line = cut_off.clone();
        }
        // What left nothing else behind than the cut before it cannot go on in another way.
        if previous.as_ref().is_some_and(|previous| cut_off.is_at(previous)) {
            continue;
        }
        previous = Some(cut_off.clone());
        cut_off.read(bytes);
        if !may_be_record(&bytes[whole.offset..], whole.offset == 0) {
            cut_off.read(&ended);
            assert!(cut_off.is_at(&whole_ended), "cut at {cut}: {cut_off:?}\nand whole: {whole:?}");
            continue;
        }
        assert!(cut_off.is_at(&whole), "cut at {cut}: {cut_off:?}\nand whole: {whole:?}");
    }
    let rows = whole.rows.clone();
    let state = whole.state.clone();
    whole.read(bytes);
    assert_eq!((&whole.rows, &whole.state), (&rows, &state), "read twice");
    rows
}

/// A document and what was read of it.
#[derive(Clone)]
pub(crate) struct Saved {
    document: &'static dyn Document,
    source: Source,
    around: Around,
    state: String,
    pub(crate) rows: Rows,
}

impl Saved {
    pub(crate) fn new(document: &'static dyn Document, source: Source, around: Around) -> Self {
        Self { document, source, around, state: String::new(), rows: Rows::default() }
    }

    /// Reads a save of the document. False when it is torn.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> bool {
        let mut out = Parsed::default();
        let parsed = self.document.parse(&self.source, bytes, &*self.around, &self.state, &mut out);
        let Ok(state) = parsed else { return false };
        self.state = state;
        self.rows.amend(out);
        true
    }

    /// Reads `bytes`, and again after each of `cuts` of it, which is torn or says nothing else.
    /// `None` if `bytes` is torn itself.
    pub(crate) fn check(
        &self,
        bytes: &[u8],
        cuts: impl IntoIterator<Item = usize>,
    ) -> Option<Rows> {
        let mut whole = self.clone();
        let is_whole = whole.read(bytes);
        whole.rows.check();
        for cut in cuts {
            let mut cut_off = self.clone();
            let is_cut_whole = cut_off.read(&bytes[..cut]);
            if is_whole {
                if is_cut_whole {
                    assert_eq!(cut_off.rows, whole.rows, "cut at {cut}");
                }
                cut_off.read(bytes);
                let of = |saved: &Self| (saved.rows.clone(), saved.state.clone());
                assert_eq!(of(&cut_off), of(&whole), "cut at {cut}");
            }
        }
        let mut again = whole.clone();
        again.read(bytes);
        assert_eq!((&again.rows, &again.state), (&whole.rows, &whole.state), "read twice");
        is_whole.then_some(whole.rows)
    }
}

/// A database and what was read of it.
pub(crate) struct Table {
    database: &'static dyn Database,
    source: Source,
    around: Around,
    pub(crate) state: String,
    pub(crate) rows: Rows,
}

impl Table {
    pub(crate) fn new(database: &'static dyn Database, source: Source, around: Around) -> Self {
        Self { database, source, around, state: String::new(), rows: Rows::default() }
    }

    /// Reads all that is new. False when the database cannot be read.
    pub(crate) fn read(&mut self, db: &Connection) -> bool {
        let mut skips = self.rows.skips.clone();
        for _ in 0..10_000 {
            let mut out = Parsed::default();
            let read = self.database.read(&self.source, db, &*self.around, &self.state, &mut out);
            let Ok(progress) = read else { return false };
            assert!(out.events.len() <= 5_000, "a turn is short");
            assert!(progress.state.len() < 100_000, "a state is small");
            skips.merge(&out.skips);
            self.rows.amend(out);
            self.rows.skips = skips.clone();
            let has_moved = self.state != progress.state;
            self.state = progress.state;
            if !progress.more {
                self.rows.check();
                return true;
            }
            assert!(has_moved, "there is said to be more, and nothing is read");
        }
        panic!("it never ends");
    }
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.append(&mut files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// A path of each kind of source that a provider has fixtures of: its kind is what follows its name.
pub(crate) fn paths(provider: &dyn Provider, testdata: &Path) -> Vec<PathBuf> {
    let root = testdata.join(provider.id());
    let names = files_below(&root).into_iter().map(|path| match path.extension() {
        Some(extension) if extension == "sql" => path.with_extension(""),
        _ => path,
    });
    let sources = names.filter(|path| provider.is_source(&root, path));
    let kind = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.split_once('.')?.1.to_owned();
        Some((name, Path::new("/root").join(path.strip_prefix(&root).ok()?)))
    };
    let by_kind: BTreeMap<String, PathBuf> = sources.filter_map(kind).collect();
    by_kind.into_values().collect()
}

/// A case as the fuzzer makes it: a byte that says where the file is cut, then the parent's bytes up
/// to a byte of ones, if there is one, then the file's. A database is not cut.
pub(crate) fn check_input(provider: &dyn Provider, path: &Path, data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let source = source(provider, path.to_owned());
    match provider.storage(path) {
        Storage::Appended(appended) => {
            let (parent, bytes) = match bytes.iter().position(|byte| *byte == 0xff) {
                Some(at) => (Some(&bytes[..at]), &bytes[at + 1..]),
                None => (None, bytes),
            };
            let cut = usize::from(*cut) * bytes.len() / 255;
            let series = parent.map(|parent| series_of(appended, parent));
            let parent = |_: &str| series.clone();
            check(&Reading::new(appended, source, nowhere(), &parent), bytes, [cut]);
        }
        Storage::Document(document) => {
            let cut = usize::from(*cut) * bytes.len() / 255;
            Saved::new(document, source, nowhere()).check(bytes, [cut]);
        }
        Storage::Database(database) => {
            let Some(db) = deserialized(bytes) else { return };
            let mut table = Table::new(database, source, nowhere());
            if table.read(&db) {
                let rows = table.rows.events.clone();
                assert!(table.read(&db));
                assert_eq!(table.rows.events, rows, "read twice");
            }
        }
    }
}

/// A database of these bytes, as strict as ingest opens it.
fn deserialized(bytes: &[u8]) -> Option<Connection> {
    use rusqlite::config::DbConfig;
    let mut db = Connection::open_in_memory().ok()?;
    db.deserialize_read_exact("main", bytes, bytes.len(), true).ok()?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).ok()?;
    db.execute_batch("PRAGMA trusted_schema=0; PRAGMA cell_size_check=1; PRAGMA query_only=1")
        .ok()?;
    db.progress_handler(1_000_000, Some(|| true)).ok()?;
    Some(db)
}

pub(crate) fn series_of(appended: &dyn Appended, bytes: &[u8]) -> Series {
    let mut series = Series::new();
    bytes.split(|byte| *byte == b'\n').for_each(|line| appended.series(line, &mut series));
    series
}

fn check_event(event: &UsageEvent) {
    let UsageEvent { usage, owner, .. } = event;
    let tokens = usage.tokens;
    assert!((0..=MAX_MS).contains(&event.ts_ms), "{event:?}");
    let counts = [
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_create,
        usage.web_search_requests,
    ];
    assert!(counts.iter().all(|n| *n <= MAX_TOKENS), "{event:?}");
    assert!(tokens.cache_create_1h <= tokens.cache_create, "{event:?}");
    assert!(tokens.reasoning <= tokens.output, "{event:?}");
    assert!(usage.logged_cost_nanousd.is_none_or(|cost| cost >= 0), "{event:?}");
    let texts = [&owner.session_id, &owner.project, &usage.model];
    let more = [&owner.agent, &owner.client, &usage.vendor, &usage.tier, &usage.geo];
    let texts = texts.into_iter().chain(more.into_iter().flatten());
    assert!(texts.into_iter().all(|text| text.len() <= MAX_TEXT), "{event:?}");
    assert!(event.key.as_str().len() <= 63, "{event:?}");
}
