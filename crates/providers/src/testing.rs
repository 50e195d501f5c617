//! What the tests of several providers do alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use usage::{EventKey, Flags, Skips, Tokens, UsageEvent, merge};

use crate::{Parsed, Surroundings};

/// Rows as the database would hold them.
pub(crate) type Stored = BTreeMap<EventKey, UsageEvent>;

/// Stores an event with what is known of it.
pub(crate) fn put(rows: &mut Stored, event: UsageEvent) {
    let row = match rows.remove(&event.key) {
        Some(row) => merge(row, event),
        None => event,
    };
    rows.insert(row.key.clone(), row);
}

/// The same where what a source states now takes the place of what it stated before.
pub(crate) fn put_anew(rows: &mut Stored, event: UsageEvent) {
    if rows.get(&event.key).is_some_and(|row| row.owner.source_id == event.owner.source_id) {
        rows.remove(&event.key);
    }
    put(rows, event);
}

pub(crate) fn merged<'a>(events: impl IntoIterator<Item = &'a UsageEvent>) -> Stored {
    let mut rows = Stored::new();
    events.into_iter().for_each(|event| put(&mut rows, event.clone()));
    rows
}

/// The rows of some sources, which take nothing back, in whatever order they are read, and all that
/// was skipped.
#[track_caller]
pub(crate) fn stored<'a>(parsed: impl IntoIterator<Item = &'a Parsed>) -> (Stored, Skips) {
    let mut events = Vec::new();
    let mut skips = Skips::default();
    for parsed in parsed {
        assert!(parsed.retracted.is_empty());
        events.extend(&parsed.events);
        skips.merge(&parsed.skips);
    }
    let rows = merged(events.iter().copied());
    assert_eq!(rows, merged(events.into_iter().rev()), "the order of files and lines matters");
    (rows, skips)
}

/// A line for each reason.
pub(crate) fn skipped(skips: &Skips) -> impl Iterator<Item = String> {
    skips.0.iter().map(|(reason, n)| format!("skipped: {} {n}", reason.as_str()))
}

/// Adds to a line those of some counts that are not zero.
pub(crate) fn add_counts<const N: usize>(line: &mut String, counts: [(&str, u64); N]) {
    for (name, n) in counts.into_iter().filter(|(_, n)| *n != 0) {
        *line += &format!(" {name} {n}");
    }
}

pub(crate) fn add_tokens(line: &mut String, tokens: Tokens) {
    let counts = [
        ("in", tokens.input),
        ("out", tokens.output),
        ("read", tokens.cache_read),
        ("write", tokens.cache_create),
        ("1h", tokens.cache_create_1h),
        ("think", tokens.reasoning),
    ];
    add_counts(line, counts);
}

pub(crate) fn add_flags(line: &mut String, flags: Flags) {
    for flag in flags.names() {
        *line += &format!(" {flag}");
    }
}

/// Files beside a source, and other agents whose logs are read.
#[derive(Clone, Default)]
pub(crate) struct Files {
    pub(crate) root: PathBuf,
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) reads: &'static [&'static str],
    /// The names of the files that were asked for, in order.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Files {
    pub(crate) fn below(root: &str) -> Self {
        Self { root: root.into(), ..Self::default() }
    }

    /// `path` is one below the root, or an absolute one.
    pub(crate) fn with(mut self, path: &str, content: &(impl ToString + ?Sized)) -> Self {
        self.files.insert(self.root.join(path), content.to_string().into_bytes());
        self
    }

    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Surroundings for Files {
    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.asked.lock().unwrap().push(name.into_owned());
        self.files.get(path).cloned()
    }

    fn reads(&self, provider: &str) -> bool {
        self.reads.contains(&provider)
    }
}
