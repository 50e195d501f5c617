//! A database that is damaged, and one that was not closed.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::{Home, batch, event, options};
use crate::{Fault, ReadError, Reader, StoreError};

/// Overwrites part of a file that no one has open.
fn scribble(path: &Path, at: u64) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
}

fn filled(home: &Home) {
    let mut store = home.open();
    let events = (0..2000).map(|n| event(&format!("key number {n}")));
    store.append(&mut [batch(events)]).unwrap();
}

#[test]
fn h42_a_damaged_header_sets_the_database_aside_and_never_starts_over() {
    let home = Home::new();
    filled(&home);
    scribble(&home.database(), 0);
    let damaged = home.open_with(options()).unwrap_err();
    assert!(damaged.to_string().contains("hint: put a backup in its place"), "{damaged}");
    assert_eq!(damaged.fault(), Fault::Fatal);
    let StoreError::Damaged { aside, .. } = damaged else { panic!("{damaged}") };
    assert_eq!(aside.file_name().unwrap(), "tallyd.db.corrupt-20260528T202640Z");
    assert!(aside.exists() && !home.database().exists());
    // Nor does the next start, nor a command that only reads.
    let again = home.open_with(options()).unwrap_err();
    assert!(matches!(again, StoreError::Damaged { .. }), "{again}");
    assert!(!home.database().exists());
    let read = Reader::open(&home.data_dir()).unwrap_err();
    assert!(matches!(read, ReadError::Store(StoreError::Damaged { .. })), "{read}");
    // Once someone put a database back, it is used.
    fs::remove_file(aside).unwrap();
    home.open();
}

#[test]
fn h42_damage_is_found_after_a_stop_that_was_not_clean() {
    let home = Home::new();
    filled(&home);
    let pages = fs::metadata(home.database()).unwrap().len() / 4096;
    // What a process that was killed leaves: a write-ahead log.
    let mut store = home.open();
    store.append(&mut [batch([event("a")])]).unwrap();
    let wal = crate::data_dir::beside(&home.database(), "-wal");
    let kept = fs::read(&wal).unwrap();
    assert!(!kept.is_empty());
    drop(store);
    fs::write(&wal, kept).unwrap();
    scribble(&home.database(), pages / 2 * 4096);
    let damaged = home.open_with(options()).unwrap_err();
    assert!(matches!(damaged, StoreError::Damaged { .. }), "{damaged}");
}

#[test]
fn a_reader_tells_what_is_missing() {
    let home = Home::new();
    let missing = Reader::open(&home.data_dir()).unwrap_err();
    assert!(matches!(missing, ReadError::Missing { .. }), "{missing}");
}
