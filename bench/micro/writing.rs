//! What the writer does, without a channel before it: appending days of usage, and bringing the
//! marts up to ten new events, into a database file in the folder for temporary files.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod history;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use store::{DataDir, Options, Store};
use tempfile::TempDir;
use usage::pricing::PriceBook;

fn main() {
    divan::main();
}

/// A database that holds some days of usage.
fn after_days(days: usize) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        now_ms: || 1_780_000_000_000,
        time_zone: None,
        system_time_zone: "UTC".into(),
        prices: Arc::new(PriceBook::builtin()),
        debounce: Duration::from_millis(100),
        queue_rows: 64,
    };
    let mut store = store::open(DataDir::lock(dir.path()).unwrap(), options).unwrap();
    for day in 0..days {
        store.append(&mut history::day(day)).unwrap();
    }
    store.refresh().unwrap();
    (dir, store)
}

/// A day in one transaction.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn append(bencher: Bencher) {
    let (_dir, mut store) = after_days(2);
    let mut days = 2..;
    bencher
        .counter(ItemsCount::new(history::EVENTS_PER_DAY))
        .with_inputs(|| history::day(days.next().unwrap()))
        .bench_local_values(|mut batches| store.append(&mut batches).unwrap());
}

/// The second figure must be that of the first: work grows with what is new alone.
#[divan::bench(args = [10_000, 200_000], sample_count = 200, sample_size = 1)]
fn refresh_ten_after(bencher: Bencher, events: usize) {
    let days = events / history::EVENTS_PER_DAY;
    let (_dir, store) = after_days(days);
    let store = RefCell::new(store);
    let mut rounds = 0..;
    bencher
        .with_inputs(|| {
            let more = history::ten_more(days - 1, rounds.next().unwrap());
            store.borrow_mut().append(&mut [more]).unwrap();
        })
        .bench_local_values(|()| store.borrow_mut().refresh().unwrap());
}
