//! Opening: files, schema, time zone and mart definitions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use super::{Home, Memory, NOW_MS, batch, event, options, rows, value};
use crate::{Fault, Options, ReadError, Reader, StoreError, connection, marts, meta, migrate};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn schema(db: &Connection) -> Vec<Vec<rusqlite::types::Value>> {
    rows(db, "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")
}

#[test]
fn a_new_database_is_private_and_ours() {
    let home = Home::new();
    let mut store = home.open();
    store.append(&mut [batch([event("a")])]).unwrap();
    assert_eq!(mode(&home.data_dir()), 0o700);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(&crate::data_dir::beside(&home.database(), suffix)), 0o600, "{suffix}");
    }
    assert_eq!(value::<i64>(&store.db, "PRAGMA application_id"), migrate::APPLICATION_ID);
    assert_eq!(value::<i64>(&store.db, "PRAGMA user_version"), migrate::known());
    assert_eq!(value::<String>(&store.db, "PRAGMA journal_mode"), "wal");
    assert_eq!(value::<i64>(&store.db, "PRAGMA foreign_keys"), 1);
    let lax = "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND NOT strict
        AND name NOT LIKE 'sqlite_%'";
    assert_eq!(value::<i64>(&store.db, lax), 0, "every table is STRICT");
}

#[test]
fn opening_again_changes_nothing() {
    let home = Home::new();
    let mut store = home.open();
    store.append(&mut [batch([event("a")])]).unwrap();
    store.refresh().unwrap();
    let tables = ["meta", "mart_watermark", "daily_mart", "usage_events", "sqlite_schema"];
    let contents =
        |db: &Connection| tables.map(|table| rows(db, &format!("SELECT * FROM {table}")));
    let before = contents(&store.db);
    drop(store);
    assert_eq!(contents(&home.open().db), before);
}

#[test]
fn the_columns_of_usage_events_are_public() {
    let Memory { db, .. } = Memory::new("UTC");
    let columns = "SELECT group_concat(name, ' ') FROM pragma_table_xinfo('usage_events')";
    assert_eq!(
        value::<String>(&db, columns),
        "id event_key provider account project_id session_id ts_ms ts day role model speed \
         input_tokens output_tokens cache_read_tokens cache_create_tokens cache_create_1h_tokens \
         reasoning_tokens web_search_requests cost_nanousd cost_usd cost_source is_sidechain \
         copy_rank source_id parser_version raw_extras day_number other_role other_speed \
         other_cost_source price_version extras"
    );
    let indexes = "SELECT group_concat(name, ' ') FROM pragma_index_list('usage_events')";
    assert_eq!(value::<String>(&db, indexes), "usage_events_ts_ms sqlite_autoindex_usage_events_1");
}

#[test]
fn h43_a_newer_schema_is_refused_and_left_alone() {
    let home = Home::new();
    drop(home.open());
    let db = Connection::open(home.database()).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    db.close().unwrap();
    let before = fs::read(home.database()).unwrap();
    let refused = home.open_with(options()).unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }), "{refused}");
    assert_eq!(refused.fault(), Fault::Config);
    assert_eq!(fs::read(home.database()).unwrap(), before);
}

#[test]
fn h43_another_programs_database_is_refused_and_left_alone() {
    for setup in ["PRAGMA application_id = 7", "CREATE TABLE t (x)"] {
        let home = Home::new();
        fs::create_dir(home.data_dir()).unwrap();
        let db = Connection::open(home.database()).unwrap();
        db.execute_batch(setup).unwrap();
        db.close().unwrap();
        let before = fs::read(home.database()).unwrap();
        let refused = home.open_with(options()).unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
        assert_eq!(refused.fault(), Fault::Config);
        assert_eq!(fs::read(home.database()).unwrap(), before);
    }
}

#[test]
fn h44_every_older_schema_becomes_the_newest_with_a_backup_first() {
    let fresh = Home::new();
    let expected = schema(&fresh.open().db);
    for version in 1..migrate::known() {
        let home = Home::new();
        fs::create_dir(home.data_dir()).unwrap();
        let db = Connection::open(home.database()).unwrap();
        migrate::take_steps(&db, version, NOW_MS).unwrap();
        db.close().unwrap();
        let store = home.open();
        assert_eq!(schema(&store.db), expected, "from {version}");
        let backup = format!(".before-v{}", migrate::known());
        let backup = crate::data_dir::beside(&home.database(), &backup);
        assert_eq!(mode(&backup), 0o600);
        let backup = Connection::open(backup).unwrap();
        assert_eq!(value::<i64>(&backup, "PRAGMA user_version"), version);
    }
    let backups = fs::read_dir(fresh.data_dir()).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    assert!(backups.map(name).all(|name| !name.to_string_lossy().contains("before")));
}

#[test]
fn h44_a_released_migration_is_not_edited() {
    const GOLDEN: [&str; 3] = [
        include_str!("../../../../tests/golden/schema-1.sql"),
        include_str!("../../../../tests/golden/schema-2.sql"),
        include_str!("../../../../tests/golden/schema-3.sql"),
    ];
    let tables =
        "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '%\\_mart' ESCAPE '\\'
        ORDER BY type, name";
    for (version, golden) in (1..=migrate::known()).zip(GOLDEN) {
        let [made, kept] = [(); 2].map(|()| Connection::open_in_memory().unwrap());
        migrate::take_steps(&made, version, NOW_MS).unwrap();
        kept.execute_batch(golden).unwrap();
        assert_eq!(rows(&made, tables), rows(&kept, tables), "schema {version}");
    }
    assert_eq!(migrate::known(), 3, "each has a golden one");
}

#[test]
fn h44_a_migration_that_fails_leaves_the_schema_before_it() {
    for (put, take_away) in [
        ("CREATE TABLE project_cells (in_the_way)", "DROP TABLE project_cells"),
        ("CREATE TABLE source_checkpoint (in_the_way)", "DROP TABLE source_checkpoint"),
        ("CREATE VIEW session_mart AS SELECT 1", "DROP VIEW session_mart"),
    ] {
        let mut db = Connection::open_in_memory().unwrap();
        connection::configure_writer(&db).unwrap();
        migrate::take_steps(&db, 1, NOW_MS).unwrap();
        let before = schema(&db);
        db.execute_batch(put).unwrap();
        migrate::migrate(&mut db, Path::new(":memory:"), 0, NOW_MS).unwrap_err();
        db.execute_batch(take_away).unwrap();
        assert_eq!(schema(&db), before, "{put}");
        assert_eq!(value::<i64>(&db, "PRAGMA user_version"), 1);
    }
}

#[test]
fn h31_a_database_that_a_killed_first_start_left_empty_is_none_yet() {
    let home = Home::new();
    fs::create_dir(home.data_dir()).unwrap();
    Connection::open(home.database()).unwrap().execute_batch("PRAGMA journal_mode = WAL").unwrap();
    assert!(matches!(Reader::open(&home.data_dir()), Err(ReadError::Missing { .. })));
    drop(home.open());
    Reader::open(&home.data_dir()).unwrap();
}

#[test]
fn h31_what_a_killed_first_start_left_half_written_is_rolled_back() {
    let home = Home::new();
    fs::create_dir(home.data_dir()).unwrap();
    // A database on its way into its first pages, as a kill leaves it: with the journal to undo them.
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("tallyd.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA cache_size = 1;
         BEGIN;
         CREATE TABLE t (x);
         WITH n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 99)
         INSERT INTO t SELECT zeroblob(4000) FROM n;",
    )
    .unwrap();
    let journal = crate::data_dir::beside(&home.database(), "-journal");
    let leave = || {
        fs::copy(&path, home.database()).unwrap();
        fs::copy(crate::data_dir::beside(&path, "-journal"), &journal).unwrap();
    };
    leave();
    assert!(matches!(Reader::open(&home.data_dir()), Err(ReadError::Missing { .. })));
    leave();
    drop(home.open());
    assert!(!journal.exists());
    Reader::open(&home.data_dir()).unwrap();
}

fn in_zone(name: Option<&str>, system: &str) -> Options {
    Options { time_zone: name.map(str::to_owned), system_time_zone: system.into(), ..options() }
}

#[test]
fn the_time_zone_is_kept_until_the_configuration_changes_it() {
    let home = Home::new();
    let mut store = home.open_with(in_zone(None, "Asia/Tokyo")).unwrap();
    store.append(&mut [batch([event("a")])]).unwrap();
    store.refresh().unwrap();
    let epoch = meta::epoch(&store.db).unwrap();
    let days = |db: &Connection| {
        ["usage_events", "usage_cells", "daily_mart"]
            .map(|table| value::<String>(db, &format!("SELECT group_concat(day) FROM {table}")))
    };
    assert_eq!(days(&store.db), ["2026-05-29"; 3]);
    drop(store);
    let store = home.open_with(in_zone(None, "America/New_York")).unwrap();
    assert_eq!(store.time_zone(), "Asia/Tokyo");
    drop(store);
    let store = home.open_with(in_zone(Some("America/New_York"), "UTC")).unwrap();
    assert_eq!(store.time_zone(), "America/New_York");
    assert_eq!(days(&store.db), ["2026-05-28"; 3]);
    assert!(meta::epoch(&store.db).unwrap() > epoch);
    assert!(store.reader().unwrap().check(9).unwrap().is_sound());
}

#[test]
fn h35_an_unknown_time_zone_is_a_fault_of_the_configuration() {
    let refused = Home::new().open_with(in_zone(Some("Mars/Olympus"), "UTC")).unwrap_err();
    assert_eq!(refused.fault(), Fault::Config);
    assert!(refused.to_string().contains("\nhint: "), "{refused}");
}

#[test]
fn a_mart_whose_definition_changed_is_started_over() {
    let home = Home::new();
    let mut store = home.open();
    store.append(&mut [batch([event("a")])]).unwrap();
    store.refresh().unwrap();
    let epoch = meta::epoch(&store.db).unwrap();
    store
        .db
        .execute_batch(
            "UPDATE mart_watermark SET definition_hash = 'older' WHERE mart_name = 'daily_mart';
             DROP TABLE daily_mart; CREATE TABLE daily_mart (old);
             DROP TABLE session_mart;
             INSERT INTO mart_watermark VALUES ('hourly_mart', 1, '', '');
             CREATE TABLE hourly_mart (hour)",
        )
        .unwrap();
    drop(store);
    let store = home.open();
    assert!(meta::epoch(&store.db).unwrap() > epoch);
    let gone = "SELECT count(*) FROM sqlite_schema WHERE name = 'hourly_mart'";
    assert_eq!(value::<i64>(&store.db, gone), 0);
    let names = "SELECT group_concat(mart_name) FROM mart_watermark";
    assert_eq!(value::<String>(&store.db, names), marts::ALL.each_ref().map(|m| m.name).join(","));
    assert!(store.reader().unwrap().check(9).unwrap().is_sound());
}

#[test]
fn an_index_goes_and_comes_with_its_mart() {
    const INDICES: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'session_mart_last_ts'";
    let home = Home::new();
    let mut store = home.open();
    store.append(&mut [batch([event("a")])]).unwrap();
    store.refresh().unwrap();
    let older = "UPDATE mart_watermark SET definition_hash = 'older'";
    for older in [older, &format!("DROP INDEX session_mart_last_ts; {older}")] {
        store.db.execute_batch(older).unwrap();
        drop(store);
        store = home.open();
        assert_eq!(value::<i64>(&store.db, INDICES), 1, "{older}");
        assert!(store.reader().unwrap().check(9).unwrap().is_sound());
    }
    store.db.execute_batch("DROP TABLE session_mart").unwrap();
    assert_eq!(value::<i64>(&store.db, INDICES), 0);
}

#[test]
fn h46_sqlite_is_new_enough() {
    let check = crate::connection::check_version;
    check(rusqlite::version_number()).unwrap();
    check(3_051_003).unwrap();
    assert!(matches!(check(3_051_002), Err(StoreError::OldSqlite { .. })));
}

#[test]
fn a_reader_tells_of_a_file_that_is_no_database() {
    let home = Home::new();
    fs::create_dir_all(home.data_dir()).unwrap();
    fs::write(home.database(), "not a database ".repeat(1_000)).unwrap();
    let error = Reader::open(&home.data_dir()).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("\nhint: "), "{error}");
}
