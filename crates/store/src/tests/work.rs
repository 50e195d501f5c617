//! The work that storing costs, counted in steps of SQLite's virtual machine: the same on every
//! machine, so that a test can hold it where a timing could not.

#[path = "../../../../bench/micro/history.rs"]
mod history;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::Memory;
use crate::ledger::Ledger;

/// The steps that `work` takes.
fn steps<T>(memory: &mut Memory, work: impl FnOnce(&mut Ledger, &mut Connection) -> T) -> (T, u64) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let step = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    memory.db.progress_handler(1, Some(step)).unwrap();
    let done = work(&mut memory.ledger, &mut memory.db);
    memory.db.progress_handler(0, None::<fn() -> bool>).unwrap();
    (done, count.load(Ordering::Relaxed))
}

/// A database that holds some days of usage.
fn after_days(days: usize) -> Memory {
    let mut memory = Memory::new("UTC");
    for day in 0..days {
        memory.ledger.append(&mut memory.db, &mut history::day(day)).unwrap();
    }
    memory.ledger.refresh(&mut memory.db).unwrap();
    memory
}

/// Bounds stand 5 % above what is measured: that is less than one more look for a key costs.
fn hold(what: &str, measured: u64, bound: u64) {
    println!("{what}: {measured} steps (bound {bound})");
    assert!(
        measured <= bound,
        "{what} takes {measured} steps, the bound is {bound}: raise it in {} if the work is meant",
        file!()
    );
}

#[test]
fn appending_an_event_takes_no_more_steps_than_it_did() {
    let mut memory = after_days(1);
    let mut batches = history::day(1);
    let (appended, many) = steps(&mut memory, |ledger, db| ledger.append(db, &mut batches));
    let events = appended.unwrap().tally.appended;
    assert_eq!(events, history::EVENTS_PER_DAY as u64);
    hold("an event appended among many", many / events, 165);
    let mut one = history::ten_more(1, 0);
    one.events.truncate(1);
    let (_, alone) = steps(&mut memory, |ledger, db| ledger.append(db, &mut [one]).unwrap());
    hold("an event appended alone", alone, 660);
    let (appended, again) = steps(&mut memory, |ledger, db| ledger.append(db, &mut batches));
    assert_eq!(appended.unwrap().tally.unchanged, events);
    hold("an event stated again", again / events, 196);
    for event in batches.iter_mut().flat_map(|batch| &mut batch.events) {
        event.usage.tokens.output += 150;
    }
    let (appended, corrected) = steps(&mut memory, |ledger, db| ledger.append(db, &mut batches));
    assert_eq!(appended.unwrap().tally.corrected, events);
    hold("an event corrected", corrected / events, 388);
}

#[test]
fn h47_refreshing_ten_events_takes_the_same_steps_whatever_the_history() {
    let [short, long] = [1, 10].map(|days| {
        let mut memory = after_days(days);
        let mut more = [history::ten_more(days - 1, 0)];
        memory.ledger.append(&mut memory.db, &mut more).unwrap();
        steps(&mut memory, |ledger, db| ledger.refresh(db).unwrap()).1
    });
    hold("a refresh of ten events after a day", short, 8_900);
    println!("the same after ten days: {long}");
    assert!(short.abs_diff(long) * 50 <= short, "{short} steps after a day, {long} after ten");
}

#[test]
fn a_rebuild_takes_no_more_steps_for_each_event_than_it_did() {
    let mut memory = after_days(2);
    let events = 2 * history::EVENTS_PER_DAY as u64;
    let (_, all) = steps(&mut memory, |ledger, db| ledger.rebuild_all(db).unwrap());
    hold("cells and marts rebuilt, for each event", all / events, 152);
}
