//! The write loop: what is queued gets in, the marts follow, and failures end well.

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::time::timeout;
use usage::Batch;

use super::{Home, batch, event, options, value};
use crate::connection::{checkpoint, file_len};
use crate::data_dir::beside;
use crate::{Histogram, Job, Options, QueueState, StoreError, Writer, WriterHandle, WriterStatus};

/// Waits for what must happen; a test fails rather than hangs.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), what).await.expect("in time")
}

async fn until(
    handle: &WriterHandle,
    condition: impl FnMut(&WriterStatus) -> bool,
) -> WriterStatus {
    soon(handle.status().wait_for(condition)).await.unwrap().clone()
}

fn writer_of(home: &Home, options: Options) -> (Writer, WriterHandle) {
    home.open_with(options).unwrap().into_writer().unwrap()
}

#[tokio::test]
async fn a_flush_answers_once_all_before_it_is_in_the_marts() {
    let home = Home::new();
    let (writer, handle) = writer_of(&home, options());
    let running = tokio::spawn(writer.run());
    for n in 0..200 {
        handle.append(batch([event(&format!("k{n}"))])).await.unwrap();
    }
    soon(handle.flush()).await.unwrap();
    let reader = crate::Reader::open(&home.data_dir()).unwrap();
    let report = reader.check(5).unwrap();
    assert!(report.is_sound() && report.pending.is_empty(), "{report:?}");
    assert_eq!(reader.seq().unwrap(), 200);
    let status = handle.status().borrow().clone();
    assert_eq!((status.seq, status.tally.appended), (200, 200));
    assert!(status.marts.iter().all(|mart| mart.watermark == 200), "{status:?}");
    assert!(status.db_bytes > 0);
    drop((reader, handle));
    soon(running).await.unwrap().unwrap();
    assert!(!beside(&home.database(), "-wal").exists(), "a clean stop leaves no log");
}

#[tokio::test]
async fn the_first_append_after_a_quiet_spell_is_refreshed_at_once_and_news_of_it_told() {
    let home = Home::new();
    // A window that would outlast the test.
    let (writer, handle) = writer_of(&home, Options { debounce: Duration::MAX / 4, ..options() });
    let mut refreshed = handle.refreshed();
    tokio::spawn(writer.run());
    handle.append(batch([event("a")])).await.unwrap();
    let news = soon(refreshed.wait_for(|news| news.version == 1)).await.unwrap().clone();
    assert_eq!((news.seq, &*news.dirty_days), (1, &["2026-05-28".to_owned()][..]));
    assert!(news.watermarks.iter().all(|(_, watermark)| *watermark == 1), "{news:?}");
    // What follows in the window waits for its end; asking does not.
    handle.append(batch([event("b")])).await.unwrap();
    until(&handle, |status| status.seq == 2).await;
    assert_eq!(refreshed.borrow().version, 1);
    soon(handle.flush()).await.unwrap();
    assert_eq!(refreshed.borrow().version, 2);
}

#[tokio::test]
async fn what_was_heard_of_counts_as_fresh_once_the_marts_show_it() {
    let home = Home::new();
    let (writer, handle) = writer_of(&home, options());
    tokio::spawn(writer.run());
    let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
    // The third says nothing new, the fourth was found by a sweep.
    for (key, heard) in [("a", ago(5)), ("b", ago(100)), ("a", ago(100)), ("c", None)] {
        handle.append(Batch { heard, ..batch([event(key)]) }).await.unwrap();
        soon(handle.flush()).await.unwrap();
    }
    let status = handle.status().borrow().clone();
    let seconds = status.freshness.sum().as_secs();
    assert!((105..130).contains(&seconds), "{seconds}");
    assert_eq!(status.freshness.count(), 2);
    let at_most_a_minute = status.freshness.cumulative()[Histogram::BOUNDS_US.len() - 1];
    assert_eq!(at_most_a_minute, 1, "it counts from the first word, not from the commit");
    assert_eq!((status.appends.count(), status.refreshes.count()), (4, 3));
    assert_eq!(status.providers["codex"], status.tally);
    assert_eq!((status.tally.appended, status.tally.unchanged), (3, 1));
}

#[tokio::test]
async fn what_was_committed_before_a_kill_is_refreshed_at_the_next_start() {
    let home = Home::new();
    home.open().append(&mut [batch([event("a")])]).unwrap();
    let (writer, handle) = writer_of(&home, options());
    let mut refreshed = handle.refreshed();
    tokio::spawn(writer.run());
    soon(refreshed.wait_for(|news| news.seq == 1)).await.unwrap();
}

#[tokio::test]
async fn all_that_was_sent_is_stored_before_the_writer_ends() {
    let home = Home::new();
    // More than one group of any size.
    let (writer, handle) = writer_of(&home, Options { queue_rows: 1_800, ..options() });
    for n in 0..900 {
        handle.append(batch([event(&format!("k{n}"))])).await.unwrap();
    }
    drop(handle);
    soon(writer.run()).await.unwrap();
    let db = Connection::open(home.database()).unwrap();
    assert_eq!(value::<i64>(&db, "SELECT sum(message_count) FROM daily_mart"), 900);
}

#[tokio::test]
async fn a_checkpoint_is_dropped_only_on_request_and_in_order() {
    let home = Home::new();
    let (writer, handle) = writer_of(&home, options());
    tokio::spawn(writer.run());
    handle.append(batch([event("a")])).await.unwrap();
    handle.send(Job::Forget(vec![1])).await.unwrap();
    soon(handle.flush()).await.unwrap();
    let reader = crate::Reader::open(&home.data_dir()).unwrap();
    assert!(reader.checkpoints().unwrap().is_empty());
    assert_eq!(reader.seq().unwrap(), 1);
    handle.append(batch([event("a")])).await.unwrap();
    soon(handle.flush()).await.unwrap();
    assert_eq!(reader.checkpoints().unwrap().len(), 1);
}

#[tokio::test]
async fn h38_a_full_disk_is_waited_out_and_nothing_is_lost() {
    let home = Home::new();
    let store = home.open();
    let pages: i64 = value(&store.db, "PRAGMA page_count");
    store.db.pragma_update(None, "max_page_count", pages).unwrap();
    let (writer, handle) = store.into_writer().unwrap();
    let db = writer.connection().unwrap();
    tokio::spawn(writer.run());
    let events = || (0..500).map(|n| event(&format!("a key of some length {n}")));
    handle.append(batch(events())).await.unwrap();
    let status = until(&handle, |status| status.queue != QueueState::Flowing).await;
    let QueueState::Retrying { attempts, error, .. } = status.queue else { panic!() };
    assert_eq!(attempts, 1);
    assert!(error.contains("full"), "{error}");
    // Readers go on.
    let reader = crate::Reader::open(&home.data_dir()).unwrap();
    assert_eq!(reader.seq().unwrap(), 0);
    soon(db.call(|db| db.pragma_update(None, "max_page_count", 1_000_000))).await.unwrap();
    soon(handle.flush()).await.unwrap();
    let status = handle.status().borrow().clone();
    assert_eq!(status.queue, QueueState::Flowing);
    assert!(status.failures >= 1 && status.last_error.unwrap().error.contains("full"));
    assert_eq!(reader.seq().unwrap(), 500);
    assert!(reader.check(5).unwrap().is_sound());
}

#[tokio::test]
async fn h41_a_lock_held_by_someone_else_is_waited_out() {
    let home = Home::new();
    let store = home.open();
    store.db.busy_timeout(Duration::ZERO).unwrap();
    let (writer, handle) = store.into_writer().unwrap();
    tokio::spawn(writer.run());
    let mut other = Connection::open(home.database()).unwrap();
    let held = other.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    handle.append(batch([event("a")])).await.unwrap();
    until(&handle, |status| status.queue != QueueState::Flowing).await;
    held.rollback().unwrap();
    soon(handle.flush()).await.unwrap();
    assert_eq!(handle.status().borrow().tally.appended, 1);
}

#[tokio::test]
async fn a_mart_that_fails_is_left_as_it_was_and_the_others_move_on() {
    let home = Home::new();
    let (mut writer, handle) = writer_of(&home, options());
    writer.tick = Duration::from_millis(50);
    tokio::spawn(writer.run());
    handle.append(batch([event("a")])).await.unwrap();
    soon(handle.flush()).await.unwrap();
    let other = Connection::open(home.database()).unwrap();
    // Fails after the rows of the dirty keys were deleted.
    let broken = "CREATE TRIGGER broken BEFORE INSERT ON session_mart
        BEGIN SELECT RAISE(ABORT, 'broken'); END";
    other.execute_batch(broken).unwrap();
    let heard = Some(Instant::now());
    handle.append(Batch { heard, ..batch([event("b")]) }).await.unwrap();
    soon(handle.flush()).await.unwrap();
    let failed = |status: &WriterStatus| {
        let failed = status.marts.iter().filter(|mart| mart.error.is_some());
        failed.map(|mart| (mart.name, mart.watermark)).collect::<Vec<_>>()
    };
    let status = handle.status().borrow().clone();
    assert_eq!(failed(&status), [("session_mart", 1)]);
    assert!(status.marts.iter().all(|mart| mart.watermark == 2 || mart.error.is_some()));
    assert_eq!(status.freshness.count(), 0, "one of them does not show it");
    let calls = || value::<i64>(&other, "SELECT sum(message_count) FROM session_mart");
    assert_eq!(calls(), 1);
    // It is tried again without any news, at the latest with the next look around.
    other.execute_batch("DROP TRIGGER broken").unwrap();
    let status = until(&handle, |status| failed(status).is_empty()).await;
    assert_eq!(calls(), 2);
    let once = status.marts.iter().find(|mart| mart.name == "session_mart").unwrap();
    let last = once.last_error.as_ref().unwrap();
    assert!(once.failures >= 1 && last.error.contains("broken") && last.at_ms > 0, "{once:?}");
}

#[tokio::test]
async fn h45_a_database_that_was_replaced_ends_the_writer() {
    let other = Home::new();
    drop(other.open());
    let other = fs::read(other.database()).unwrap();
    for replacement in [None, Some(&[][..]), Some(&other)] {
        let home = Home::new();
        let (mut writer, handle) = writer_of(&home, options());
        writer.tick = Duration::from_millis(50);
        let running = tokio::spawn(writer.run());
        fs::rename(home.database(), home.data_dir().join("moved")).unwrap();
        if let Some(bytes) = replacement {
            fs::write(home.database(), bytes).unwrap();
        }
        let ended = soon(running).await.unwrap().unwrap_err();
        assert!(matches!(ended, StoreError::Replaced { .. }), "{ended}");
        assert!(handle.append(batch([event("a")])).await.is_err());
    }
}

#[tokio::test]
async fn h36_a_panic_ends_the_writer_with_an_error() {
    let home = Home::new();
    let (mut writer, _handle) = writer_of(&home, options());
    let panicked =
        writer.attempt("test", (), |_, _, ()| -> rusqlite::Result<()> { panic!("boom") });
    let ended = soon(panicked).await.unwrap_err();
    assert!(matches!(&ended, StoreError::Panicked { message } if message == "boom"), "{ended}");
}

#[tokio::test]
async fn h39_after_an_io_error_the_work_is_done_on_a_new_connection() {
    let home = Home::new();
    let (mut writer, _handle) = writer_of(&home, options());
    let mark = |db: &mut Connection| db.pragma_update(None, "cache_size", -77);
    soon(writer.connection().unwrap().call(mark)).await.unwrap();
    // Fails as long as it runs on the connection that was marked.
    let done = writer.attempt("test", 0, |_, db, attempts| {
        *attempts += 1;
        match value::<i64>(db, "PRAGMA cache_size") {
            -77 => {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
                Err(rusqlite::Error::SqliteFailure(code, None))
            }
            _ => Ok(*attempts),
        }
    });
    assert_eq!(soon(done).await.unwrap(), 2);
}

/// Work that fails as if the file were damaged, the first time.
async fn meet_damage(writer: &mut Writer) -> Result<u32, StoreError> {
    let work = writer.attempt("test", 0, |_, _, attempts| {
        *attempts += 1;
        if *attempts > 1 {
            return Ok(*attempts);
        }
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(rusqlite::Error::SqliteFailure(code, Some("malformed".into())))
    });
    soon(work).await
}

#[tokio::test]
async fn h42_damage_ends_the_writer_and_sets_the_database_aside() {
    let home = Home::new();
    let (mut writer, _handle) = writer_of(&home, options());
    let mut file = fs::OpenOptions::new().write(true).open(home.database()).unwrap();
    file.write_all(&[0x5a; 4096]).unwrap();
    let ended = meet_damage(&mut writer).await.unwrap_err();
    let StoreError::Damaged { aside, detail } = &ended else { panic!("{ended}") };
    assert!(aside.exists() && !home.database().exists() && detail == "malformed");
}

#[tokio::test]
async fn h39_damage_that_a_second_look_does_not_find_is_a_fault_of_the_moment() {
    let home = Home::new();
    let (mut writer, _handle) = writer_of(&home, options());
    assert_eq!(meet_damage(&mut writer).await.unwrap(), 2);
    assert!(home.database().exists());
}

#[tokio::test]
async fn h45_the_log_of_a_database_that_is_gone_is_not_left_to_the_next_one() {
    let home = Home::new();
    let (mut writer, handle) = writer_of(&home, options());
    writer.tick = Duration::from_millis(50);
    let running = tokio::spawn(writer.run());
    handle.append(batch([event("a")])).await.unwrap();
    soon(handle.flush()).await.unwrap();
    let log = beside(&home.database(), "-wal");
    assert!(file_len(&log) > 0);
    // It is looked at with the next tick.
    tokio::time::sleep(Duration::from_millis(200)).await;
    fs::rename(home.database(), home.data_dir().join("moved")).unwrap();
    soon(running).await.unwrap().unwrap_err();
    assert!(!log.exists());
}

#[tokio::test]
async fn h40_the_log_is_copied_when_idle_and_emptied_when_long() {
    let home = Home::new();
    let (mut writer, handle) = writer_of(&home, options());
    writer.tick = Duration::from_millis(50);
    let db = writer.connection().unwrap();
    tokio::spawn(writer.run());
    let wal = beside(&home.database(), "-wal");
    let seen = Connection::open(home.database()).unwrap();
    // More pages than may wait when idle, fewer than SQLite itself lets wait.
    let grow = |pages: i64| {
        let sql = format!("CREATE TABLE ballast_{pages} AS SELECT zeroblob({pages} * 4096)");
        db.call(move |db| db.execute_batch(&sql))
    };
    soon(grow(2_000)).await.unwrap();
    let asked = checkpoint(&seen, "NOOP").unwrap();
    assert!(asked.logged > 2_000 && asked.checkpointed == 0);
    handle.append(batch([event("a")])).await.unwrap();
    let copied = async {
        loop {
            let asked = checkpoint(&seen, "NOOP").unwrap();
            if asked.checkpointed == asked.logged {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(copied).await;
    assert!(file_len(&wal) > 0, "it is not emptied for that");
    soon(grow(17_000)).await.unwrap();
    let emptied = async {
        while file_len(&wal) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(emptied).await;
}

#[tokio::test]
async fn h40_after_a_rest_the_file_holds_all_there_is_however_little_it_was() {
    let home = Home::new();
    let (mut writer, handle) = writer_of(&home, options());
    writer.rest = Duration::from_millis(400);
    tokio::spawn(writer.run());
    let seen = Connection::open(home.database()).unwrap();
    handle.append(batch([event("a")])).await.unwrap();
    soon(handle.flush()).await.unwrap();
    let copied = async {
        loop {
            let asked = checkpoint(&seen, "NOOP").unwrap();
            if asked.logged > 0 && asked.checkpointed == asked.logged {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(copied).await;
}
