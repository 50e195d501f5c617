//! The contract of all providers: what must hold for the fixtures of each, and for any bytes.
//!
//! A provider is covered by putting files into `testdata/<id>/` and a line for each into its
//! `totals.txt`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

mod reading;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use providers::{Parsed, Provider, Storage};
use usage::{Role, Source};

use reading::{Reading, Rows, check, check_input, series_of};

/// The files of one provider, by their place below `testdata/<id>`.
struct Fixtures {
    provider: &'static dyn Provider,
    files: BTreeMap<String, Vec<u8>>,
}

impl Fixtures {
    fn all() -> Vec<Self> {
        let all = providers::ALL.iter().map(|provider| Self::of(*provider));
        all.collect()
    }

    fn of(provider: &'static dyn Provider) -> Self {
        let root = testdata(provider);
        let files: BTreeMap<String, Vec<u8>> = files_below(&root)
            .into_iter()
            .filter(|path| provider.is_source(&root, path))
            .map(|path| {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect();
        assert!(!files.is_empty(), "{provider:?} has no fixtures");
        Self { provider, files }
    }

    fn parent(&self, name: &str) -> Option<Vec<u64>> {
        let Storage::Appended(appended) = self.provider.storage();
        let (_, bytes) =
            self.files.iter().find(|(path, _)| appended.is_named(Path::new(path), name))?;
        Some(series_of(appended, bytes))
    }

    fn rows(&self, name: &str, bytes: &[u8]) -> Rows {
        self.check(name, bytes, [])
    }

    fn check(&self, name: &str, bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Rows {
        let parent = |name: &str| self.parent(name);
        let path = Path::new("/root").join(name);
        check(&Reading::new(self.provider, path, &parent), bytes, cuts)
    }
}

fn testdata(provider: &dyn Provider) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(provider.id())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.append(&mut files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Rows as a line of `totals.txt`.
fn totals(name: &str, rows: &Rows) -> String {
    let calls: Vec<_> =
        rows.events.values().filter(|event| event.role == Role::Assistant).collect();
    let sum = |count: fn(&usage::Tokens) -> u64| {
        calls.iter().map(|call| count(&call.usage.tokens)).sum::<u64>()
    };
    [
        name.to_owned(),
        calls.len().to_string(),
        (rows.events.len() - calls.len()).to_string(),
        sum(|tokens| tokens.input).to_string(),
        sum(|tokens| tokens.output).to_string(),
        sum(|tokens| tokens.cache_read).to_string(),
        sum(|tokens| tokens.cache_create).to_string(),
        rows.skips.faults().to_string(),
    ]
    .join(" | ")
}

#[test]
fn fixtures_add_up_to_what_was_worked_out_by_hand() {
    for fixtures in Fixtures::all() {
        let stated = fs::read_to_string(testdata(fixtures.provider).join("totals.txt")).unwrap();
        let mut stated: Vec<&str> = stated.lines().filter(|line| !line.starts_with('#')).collect();
        stated.sort_unstable();
        let read = fixtures.files.iter();
        let read: Vec<String> =
            read.map(|(name, bytes)| totals(name, &fixtures.rows(name, bytes))).collect();
        assert_eq!(read, stated);
    }
}

#[test]
fn a_source_cut_at_any_byte_gives_the_same_rows_and_the_same_state() {
    for fixtures in Fixtures::all() {
        for (name, bytes) in &fixtures.files {
            fixtures.check(name, bytes, 0..=bytes.len());
        }
    }
}

/// What the fuzzer begins with. `just fuzz` goes on from there.
#[test]
fn seeds_of_the_fuzzer_keep_the_contract() {
    for provider in providers::ALL {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        let seeds = files_below(&seeds.join(provider.id().replace('-', "_")));
        assert!(!seeds.is_empty());
        for seed in seeds {
            check_input(*provider, &fs::read(seed).unwrap());
        }
    }
}

/// Whatever is put before a value under the same name is stepped over: the last one counts.
#[test]
fn h11_no_depth_in_any_field_changes_what_is_counted() {
    const DEPTH: usize = 100_000;
    let bombs = [
        "[".repeat(DEPTH) + &"]".repeat(DEPTH),
        "[{\"a\":".repeat(DEPTH / 4) + "1" + &"}]".repeat(DEPTH / 4),
    ];
    for fixtures in Fixtures::all() {
        for (name, (file, bytes, at)) in fields(&fixtures) {
            let expect = totals(file, &fixtures.rows(file, bytes));
            for bomb in &bombs {
                let doubled = format!("\"{name}\":{bomb},");
                let mined = [&bytes[..at], doubled.as_bytes(), &bytes[at..]].concat();
                assert_eq!(totals(file, &fixtures.rows(file, &mined)), expect, "{name}");
            }
        }
    }
}

/// Where a field of each name stands for the first time: its file and the place of its quote.
fn fields(fixtures: &Fixtures) -> BTreeMap<String, (&str, &[u8], usize)> {
    let mut fields = BTreeMap::new();
    for (file, bytes) in &fixtures.files {
        for (at, _) in bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\":") {
            let start = bytes[..at].iter().rposition(|byte| *byte == b'"').unwrap();
            // Inside a text the quotes are escaped.
            if bytes[start - 1] != b'\\' && bytes[at - 1] != b'\\' {
                let name = String::from_utf8(bytes[start + 1..at].to_vec()).unwrap();
                fields.entry(name).or_insert((file.as_str(), bytes.as_slice(), start));
            }
        }
    }
    assert!(fields.len() > 20, "{fields:?}");
    fields
}

/// A line of mebibytes may hold thousands of records: what it yields stays bounded.
#[test]
fn h08_a_line_that_repeats_itself_yields_a_bounded_number_of_events() {
    for fixtures in Fixtures::all() {
        let Storage::Appended(appended) = fixtures.provider.storage();
        for (name, bytes) in &fixtures.files {
            let mut glued = bytes.repeat((2 << 20) / bytes.len());
            glued.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            let path = Path::new("/root").join(name);
            let source =
                Source { id: 1, provider: "", path, root: "/root".into(), mtime_ms: 1_000 };
            let mut parser = appended.begin(&source, "");
            parser.set_parent(None);
            let mut out = Parsed::default();
            parser.parse_line(glued.trim_ascii(), &mut out);
            assert!(out.events.len() <= 1_000, "{name}: {} events", out.events.len());
            assert!(out.skips.faults() > 0, "{name}: the rest is counted as a fault");
            assert!(parser.state().len() < 100_000, "{name}");
        }
    }
}
