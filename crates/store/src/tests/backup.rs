//! A copy is whole, verified and private, or not there.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{HOUR_MS, Home, batch, event, value};
use crate::{Backup, BackupError, BackupStep, ReadError, Reader, Store};

/// Some megabytes, so that it is copied in steps.
fn store_of(home: &Home) -> Store {
    let mut store = home.open();
    let events = (0..20_000).map(|n| {
        let mut event = event(&format!("key-of-call-{n}"));
        event.ts_ms += n * HOUR_MS;
        event.owner.session_id = format!("session-{}", n % 500).into();
        event
    });
    store.append(&mut [batch(events)]).unwrap();
    store.refresh().unwrap();
    store
}

fn backup(store: &Store, file: &Path) -> Result<Backup, BackupError> {
    store.reader().unwrap().backup(file, false, &mut |_| {})
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn folder(home: &Home, name: &str) -> PathBuf {
    let folder = home.dir.path().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

fn open(file: &Path) -> Connection {
    crate::connection::open_reader(file).unwrap()
}

#[test]
fn a_copy_is_of_one_moment_while_the_database_is_written_to() {
    let home = Home::new();
    let (mut store, folder) = (store_of(&home), folder(&home, "copies"));
    let reader = store.reader().unwrap();
    let (mut steps, file) = (Vec::new(), folder.join("tallyd.db"));
    let copied = reader.backup(&file, false, &mut |step| {
        let mut more = event(&format!("more {}", steps.len()));
        more.owner.session_id = "later".into();
        store.append(&mut [batch([more])]).unwrap();
        store.refresh().unwrap();
        steps.push(step);
    });
    let copied = copied.unwrap();
    assert!(matches!(steps[0], BackupStep::Copying { share } if share > 0.0 && share < 0.9));
    assert_eq!(steps.last(), Some(&BackupStep::Verifying));
    assert_eq!((copied.events, copied.seq), (20_000, 20_000));
    assert_eq!(copied.bytes, fs::metadata(&file).unwrap().len());
    assert_eq!(names(&folder), ["tallyd.db"], "a file is all there is of it");
    let now: i64 = value(&store.db, "SELECT count(*) FROM usage_events");
    assert_eq!(now, 20_000 + steps.len() as i64, "it was written to");

    let copy = Reader::open(&folder).unwrap();
    let report = copy.check(3).unwrap();
    assert!(report.is_sound() && report.pending.is_empty(), "{report:?}");
    assert_eq!(copy.seq().unwrap(), 20_000);
}

#[test]
fn a_copy_is_private_and_can_be_read_where_nothing_can_be_written() {
    let home = Home::new();
    let (store, folder) = (store_of(&home), folder(&home, "copies"));
    let file = folder.join("copy.db");
    // What a killed process left, open to all and longer than the copy.
    fs::write(folder.join("copy.db.partial"), vec![7; 40_000_000]).unwrap();
    let copied = backup(&store, &file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(copied.bytes < 40_000_000);
    let db = open(&file);
    assert_eq!(value::<String>(&db, "PRAGMA journal_mode"), "delete");
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM usage_events"), 20_000);
    assert_eq!(names(&folder), ["copy.db"], "reading it leaves nothing beside it");
}

#[test]
fn what_is_there_is_replaced_on_request_only() {
    let home = Home::new();
    let (mut store, folder) = (store_of(&home), folder(&home, "copies"));
    let file = folder.join("copy.db");
    backup(&store, &file).unwrap();
    let before = fs::read(&file).unwrap();
    store.append(&mut [batch([event("one more")])]).unwrap();
    let refused = backup(&store, &file).unwrap_err();
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    assert!(refused.to_string().contains("--force"));
    assert!(fs::read(&file).unwrap() == before);
    let reader = store.reader().unwrap();
    assert_eq!(reader.backup(&file, true, &mut |_| {}).unwrap().events, 20_001);
    // A journal of the old one would be played into the new one.
    for companion in ["copy.db-wal", "copy.db-journal"] {
        fs::write(folder.join(companion), "").unwrap();
        let refused = reader.backup(&file, true, &mut |_| {}).unwrap_err();
        assert!(matches!(refused, BackupError::InUse { .. }), "{refused}");
        fs::remove_file(folder.join(companion)).unwrap();
    }
    assert_eq!(names(&folder), ["copy.db"]);
}

#[test]
fn the_database_itself_and_folders_are_no_place_for_a_copy() {
    let home = Home::new();
    let store = store_of(&home);
    let reader = store.reader().unwrap();
    let link = home.dir.path().join("link");
    std::os::unix::fs::symlink(home.data_dir(), &link).unwrap();
    for place in [
        home.database(),
        link.join("tallyd.db"),
        home.data_dir().join("tallyd.db-wal"),
        home.data_dir().join("tallyd.db.lock"),
        home.data_dir(),
        "/".into(),
        "..".into(),
    ] {
        let refused = reader.backup(&place, true, &mut |_| {}).unwrap_err();
        assert!(matches!(refused, BackupError::Place { .. }), "{place:?}: {refused}");
    }
    let nowhere = reader.backup(&home.dir.path().join("no/copy.db"), false, &mut |_| {});
    let nowhere = nowhere.unwrap_err().to_string();
    assert!(
        nowhere.starts_with("cannot write to") && nowhere.contains("No such file"),
        "{nowhere}"
    );
    // Beside the database there is place for it.
    backup(&store, &home.data_dir().join("copy.db")).unwrap();
}

#[test]
fn a_copy_that_is_not_what_was_copied_gets_no_name() {
    let home = Home::new();
    let (store, folder) = (store_of(&home), folder(&home, "copies"));
    let (file, partial) = (folder.join("copy.db"), folder.join("copy.db.partial"));
    let reader = store.reader().unwrap();
    // A page of zeros; another value in a sound file.
    let harms: [&dyn Fn(); 2] = [
        &|| {
            let file = fs::OpenOptions::new().write(true).open(&partial).unwrap();
            file.write_all_at(&[0; 4096], 100 * 4096).unwrap();
        },
        &|| {
            let db = crate::connection::open_writer(&partial).unwrap();
            db.execute_batch(
                "PRAGMA journal_mode = DELETE;
                 UPDATE usage_events SET input_tokens = 5 WHERE id = 7",
            )
            .unwrap();
        },
    ];
    for harm in harms {
        let refused = reader.backup(&file, false, &mut |step| {
            if step == BackupStep::Verifying {
                harm();
            }
        });
        let refused = refused.unwrap_err();
        assert!(matches!(refused, BackupError::Differs { .. }), "{refused}");
        assert_eq!(names(&folder), [""; 0]);
    }
    backup(&store, &file).unwrap();
}

#[test]
fn a_copy_of_a_damaged_database_is_refused_as_what_it_is() {
    let home = Home::new();
    let (store, folder) = (store_of(&home), folder(&home, "copies"));
    let reader = store.reader().unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'usage_cells_session'";
    let page: i64 = reader.moment().unwrap().query_row(root, [], |row| row.get(0)).unwrap();
    // The last one that may write puts all of it into the file.
    drop(reader);
    drop(store);
    let file = fs::OpenOptions::new().write(true).open(home.database()).unwrap();
    file.write_all_at(&[0x5a; 4096], u64::try_from(page - 1).unwrap() * 4096).unwrap();
    let reader = Reader::open(&home.data_dir()).unwrap();
    let refused = reader.backup(&folder.join("copy.db"), false, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, BackupError::Read(ReadError::Damaged { .. })), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("hint: stop the service and put a backup in its place"), "{said}");
    assert!(!said.contains("***"), "{said}");
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn two_copies_of_one_name_are_not_made_at_once() {
    let home = Home::new();
    let (store, folder) = (store_of(&home), folder(&home, "copies"));
    let file = folder.join("copy.db");
    let (first, second) = (store.reader().unwrap(), store.reader().unwrap());
    let mut refused = Vec::new();
    let copied = first.backup(&file, false, &mut |_| {
        refused.push(second.backup(&file, false, &mut |_| {}).unwrap_err());
    });
    assert_eq!(copied.unwrap().events, 20_000);
    assert!(refused.iter().all(|error| matches!(error, BackupError::Busy { .. })), "{refused:?}");
    assert!(!refused.is_empty());
    assert_eq!(names(&folder), ["copy.db"]);
}
