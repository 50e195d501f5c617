//! The contract of all providers: what must hold for the fixtures of each, and for any bytes.
//!
//! A provider is covered by putting files into `testdata/<id>/` and a line for each into its
//! `totals.txt`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

mod folder;
mod reading;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use providers::{Appended, Parsed, Provider, Quality, Series, Storage, nowhere};
use rusqlite::Connection;
use usage::{Flags, Role, Source};

use folder::{Folder, ROOT, statements};
use reading::{Reading, Rows, Saved, Table, check, check_input, files_below, series_of};

/// The files of one provider, by their place below `testdata/<id>`.
///
/// A database is written as `<its name>.sql`, one statement a line; earlier saves of a document stand
/// beside it as `<its name>@1`, `<its name>@2` and so on.
struct Fixtures {
    provider: &'static dyn Provider,
    folder: Folder,
    /// Names of the files that are sources; of a database, its own.
    sources: Vec<String>,
}

impl Fixtures {
    fn all() -> Vec<Self> {
        let all = providers::ALL.iter().map(|provider| Self::of(*provider));
        all.collect()
    }

    fn of(provider: &'static dyn Provider) -> Self {
        let root = testdata(provider);
        let files = files_below(&root).into_iter().map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        });
        let folder = Folder(files.collect());
        let names = folder.0.keys().map(|name| name.strip_suffix(".sql").unwrap_or(name));
        let is_source = |name: &&str| provider.is_source(&root, &root.join(name));
        let sources: Vec<String> = names.filter(is_source).map(str::to_owned).collect();
        assert!(!sources.is_empty(), "{provider:?} has no fixtures");
        Self { provider, folder, sources }
    }

    fn source(&self, name: &str) -> Source {
        reading::source(self.provider, Path::new(ROOT).join(name))
    }

    fn around(&self) -> providers::Around {
        Arc::new(self.folder.clone())
    }

    fn storage(&self, name: &str) -> Storage {
        self.provider.storage(&Path::new(ROOT).join(name))
    }

    /// The sources that are appended to, with their content.
    fn appended(&self) -> impl Iterator<Item = (&String, &[u8], &'static dyn Appended)> {
        let sources = self.sources.iter();
        sources.filter_map(|name| {
            let appended = self.storage(name).appended()?;
            Some((name, &self.folder.0[name][..], appended))
        })
    }

    fn parent(&self, name: &str) -> Option<Series> {
        let mut appended = self.appended();
        let (_, bytes, appended) =
            appended.find(|(path, _, appended)| appended.name(Path::new(path)) == Some(name))?;
        Some(series_of(appended, bytes))
    }

    /// What the source says, with the given content if it is a file; `is_cut` to cut it everywhere.
    fn check(&self, name: &str, bytes: Option<&[u8]>, is_cut: bool) -> Rows {
        let (source, around) = (self.source(name), self.around());
        let bytes = bytes.or_else(|| self.folder.0.get(name).map(Vec::as_slice));
        let cuts = |bytes: &[u8]| if is_cut { 0..bytes.len() + 1 } else { 0..0 };
        match self.storage(name) {
            Storage::Appended(appended) => {
                let parent = |name: &str| self.parent(name);
                let bytes = bytes.unwrap();
                check(&Reading::new(appended, source, around, &parent), bytes, cuts(bytes))
            }
            Storage::Document(document) => {
                let bytes = bytes.unwrap();
                let saved = Saved::new(document, source, around);
                saved.check(bytes, cuts(bytes)).unwrap()
            }
            Storage::Database(database) => {
                let sql = &self.folder.0[&format!("{name}.sql")];
                let statements = statements(sql);
                let read = |stops: &[usize]| {
                    let db = Connection::open_in_memory().unwrap();
                    let mut table = Table::new(database, source.clone(), Arc::clone(&around));
                    for (n, statement) in statements.iter().enumerate() {
                        if stops.contains(&n) {
                            // Its tables may not be there yet.
                            table.read(&db);
                        }
                        db.execute_batch(statement).unwrap();
                    }
                    assert!(table.read(&db), "{name}");
                    let (rows, state) = (table.rows.clone(), table.state.clone());
                    assert!(table.read(&db), "{name}");
                    assert_eq!((&table.rows, &table.state), (&rows, &state), "read twice");
                    rows
                };
                let whole = read(&[]);
                if is_cut {
                    for n in 0..statements.len() {
                        assert_eq!(read(&[n]), whole, "{name}, read before statement {n}");
                    }
                    assert_eq!(read(&(0..statements.len()).collect::<Vec<_>>()), whole, "{name}");
                }
                whole
            }
        }
    }
}

fn testdata(provider: &dyn Provider) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(provider.id())
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
        let read = fixtures.sources.iter();
        let mut read: Vec<String> =
            read.map(|name| totals(name, &fixtures.check(name, None, false))).collect();
        read.sort_unstable();
        assert_eq!(read, stated);
    }
}

/// Appended lines at every byte, documents at every byte of a save, databases at every statement.
#[test]
fn a_source_read_in_two_steps_wherever_it_is_cut_gives_the_same_rows() {
    for fixtures in Fixtures::all() {
        for name in &fixtures.sources {
            fixtures.check(name, None, true);
        }
    }
}

/// What a save states and a later one does not stays counted; what both state is as the later one
/// says.
#[test]
fn a_document_read_at_every_save_has_the_rows_of_its_last_save_and_what_went_before() {
    for fixtures in Fixtures::all() {
        for name in &fixtures.sources {
            let Storage::Document(document) = fixtures.storage(name) else { continue };
            let saves = (1..).map_while(|n| fixtures.folder.0.get(&format!("{name}@{n}")));
            let mut saved = Saved::new(document, fixtures.source(name), fixtures.around());
            for bytes in saves {
                assert!(saved.read(bytes), "{name}");
            }
            assert!(saved.read(&fixtures.folder.0[name]), "{name}");
            for (key, event) in fixtures.check(name, None, false).events {
                assert_eq!(saved.rows.events.get(&key), Some(&event), "{name}");
            }
        }
    }
}

#[test]
fn providers_stand_in_the_order_of_their_ids() {
    let ids: Vec<&str> = providers::ALL.iter().map(|provider| provider.id()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
}

/// Nobody takes an estimate for a measurement.
#[test]
fn a_figure_is_estimated_where_its_source_is_said_to_be_and_nowhere_else() {
    for fixtures in Fixtures::all() {
        for name in &fixtures.sources {
            let is_said = fixtures.provider.quality(&fixtures.source(name).path);
            for event in fixtures.check(name, None, false).events.values() {
                let is_call = event.role == Role::Assistant;
                assert_eq!(
                    event.usage.flags.contains(Flags::ESTIMATED),
                    is_call && is_said == Quality::Estimated,
                    "{name}: {event:?}"
                );
            }
        }
    }
}

/// Whatever stands where a source should be, it costs no more than a skip.
#[test]
fn garbage_is_skipped() {
    let garbage: &[&[u8]] = &[
        b"",
        b"\0\0\0",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"[{}]",
        b"\xff\xfe\xfd",
        b"42\n{\"a\":[1,{}]}",
    ];
    for fixtures in Fixtures::all() {
        for name in &fixtures.sources {
            for bytes in garbage {
                let path = Path::new(ROOT).join(name);
                let input = [b"\x80", *bytes].concat();
                check_input(fixtures.provider, &path, &input);
                match fixtures.storage(name) {
                    Storage::Database(_) => {}
                    Storage::Document(document) => {
                        let mut saved =
                            Saved::new(document, fixtures.source(name), fixtures.around());
                        saved.read(bytes);
                        assert!(saved.rows.events.is_empty(), "{name}");
                    }
                    Storage::Appended(_) => {
                        assert!(
                            fixtures.check(name, Some(bytes), true).events.is_empty(),
                            "{name}"
                        );
                    }
                }
            }
        }
    }
}

/// What the fuzzer begins with. `just fuzz` goes on from there.
#[test]
fn seeds_of_the_fuzzer_keep_the_contract() {
    for provider in providers::ALL {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        let seeds = files_below(&seeds.join(provider.id()));
        assert!(!seeds.is_empty());
        let paths = reading::paths(*provider, testdata(*provider).parent().unwrap());
        assert!(!paths.is_empty());
        for seed in seeds {
            let data = fs::read(&seed).unwrap();
            for path in &paths {
                check_input(*provider, path, &data);
            }
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
            let expect = totals(file, &fixtures.check(file, None, false));
            for bomb in &bombs {
                let doubled = format!("\"{name}\":{bomb},");
                let mined = [&bytes[..at], doubled.as_bytes(), &bytes[at..]].concat();
                let read = fixtures.check(file, Some(&mined), false);
                assert_eq!(totals(file, &read), expect, "{name}");
            }
        }
    }
}

/// Where a field of each name stands for the first time: its file and the place of its quote.
fn fields(fixtures: &Fixtures) -> BTreeMap<String, (&str, &[u8], usize)> {
    let mut fields = BTreeMap::new();
    for file in &fixtures.sources {
        let Some(bytes) = fixtures.folder.0.get(file) else { continue };
        for (at, _) in bytes.windows(2).enumerate().filter(|(_, pair)| *pair == b"\":") {
            let start = bytes[..at].iter().rposition(|byte| *byte == b'"').unwrap();
            // Inside a text the quotes are escaped.
            if bytes[start - 1] != b'\\' && bytes[at - 1] != b'\\' {
                let name = String::from_utf8(bytes[start + 1..at].to_vec()).unwrap();
                fields.entry(name).or_insert((file.as_str(), bytes.as_slice(), start));
            }
        }
    }
    fields
}

/// A line of mebibytes may hold thousands of records: what it yields stays bounded.
#[test]
fn h08_a_line_that_repeats_itself_yields_a_bounded_number_of_events() {
    for fixtures in Fixtures::all() {
        for (name, bytes, appended) in fixtures.appended() {
            let mut glued = bytes.repeat((2 << 20) / bytes.len());
            glued.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            let mut parser = appended.begin(&fixtures.source(name), &nowhere(), "");
            parser.set_parent(None);
            let mut out = Parsed::default();
            parser.parse_line(glued.trim_ascii(), &mut out);
            assert!(out.events.len() <= 1_000, "{name}: {} events", out.events.len());
            assert!(out.skips.faults() > 0, "{name}: the rest is counted as a fault");
            assert!(parser.state().len() < 100_000, "{name}");
        }
    }
}
