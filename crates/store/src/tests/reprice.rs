//! Pricing stored calls anew.

use std::sync::Arc;

use usage::pricing::PriceBook;
use usage::{Flags, UsageEvent};

use super::{HOUR_MS, Home, NOW_MS, batch, event, options, prompt, rows, value};
use crate::reprice::STEP;
use crate::{Options, Repriced, Store, Which, marts};

/// A book in which a million tokens of input to `model` cost so many dollars.
fn book(model: &str, dollars: &str) -> Arc<PriceBook> {
    let row = format!("[[prices.openai]]\nmodel = {model:?}\nin = {dollars:?}\nout = \"0\"\n");
    let head = format!("version = \"v{dollars}\"\nfirst_party = [\"openai\"]\n");
    Arc::new(PriceBook::parse(&format!("{head}{row}")).unwrap())
}

fn with_prices(home: &Home, prices: Arc<PriceBook>) -> Store {
    home.open_with(Options { prices, ..options() }).unwrap()
}

fn of_model(key: &str, model: &str) -> UsageEvent {
    let mut event = event(key);
    event.usage.model = model.into();
    event
}

/// 100 tokens of input each: a cost of 100 micro-dollars times the price, unless the agent says
/// otherwise. The last one is a day older.
fn history() -> [UsageEvent; 5] {
    let mut live = event("live");
    live.usage.logged_cost_nanousd = Some(7);
    let mut old = event("old");
    old.ts_ms = NOW_MS - 24 * HOUR_MS;
    [event("new"), live, of_model("mystery", "mystery"), prompt("prompt"), old]
}

/// A store with the history, priced at one dollar, opened again with another book.
fn repriced_by(prices: Arc<PriceBook>, which: &Which) -> (Home, Store, Repriced) {
    let home = Home::new();
    let mut store = with_prices(&home, book("gpt-5.5", "1"));
    store.append(&mut [batch(history())]).unwrap();
    store.refresh().unwrap();
    drop(store);
    let mut store = with_prices(&home, prices);
    let repriced = store.reprice(which, |_, _| {}).unwrap();
    (home, store, repriced)
}

fn costs(store: &Store) -> Vec<(String, Option<i64>, String)> {
    let mut costs = store
        .db
        .prepare("SELECT event_key, cost_nanousd, cost_source FROM usage_events ORDER BY 1")
        .unwrap();
    let rows = costs.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[track_caller]
fn check_costs(store: &Store, expect: &[(&str, Option<i64>, &str)]) {
    let expect: Vec<_> =
        expect.iter().map(|(key, cost, source)| ((*key).into(), *cost, (*source).into())).collect();
    assert_eq!(costs(store), expect);
    // The marts show it, and refreshing them gave what rebuilding gives.
    assert!(store.reader().unwrap().check(9).unwrap().is_sound());
    assert!(store.reader().unwrap().check(9).unwrap().pending.is_empty());
    let cost =
        |table: &str| value::<i64>(&store.db, &format!("SELECT sum(cost_nanousd) FROM {table}"));
    for mart in &marts::ALL {
        assert_eq!(cost(mart.name), cost("usage_events"), "{}", mart.name);
    }
}

#[test]
fn a_new_price_moves_rows_cells_and_marts_and_a_logged_cost_stays() {
    let (_home, store, repriced) = repriced_by(book("gpt-5.5", "3"), &Which::default());
    let expect = Repriced {
        calls: 4,
        changed: 2,
        before_nanousd: 200_007,
        after_nanousd: 600_007,
        unpriced: [("mystery".into(), 1)].into(),
    };
    assert_eq!(repriced, expect);
    check_costs(
        &store,
        &[
            ("live", Some(7), "live"),
            ("mystery", None, "unknown"),
            ("new", Some(300_000), "rate_card"),
            ("old", Some(300_000), "rate_card"),
            ("prompt", Some(0), "rate_card"),
        ],
    );
    // The two changed rows were appended again, in their order; the others kept their ids.
    let ids = "SELECT group_concat(event_key ORDER BY id) FROM usage_events";
    assert_eq!(value::<String>(&store.db, ids), "live,mystery,prompt,new,old");
    let extras = "SELECT raw_extras ->> 'price_version' FROM usage_events WHERE event_key = 'new'";
    assert_eq!(value::<String>(&store.db, extras), "v3");
}

#[test]
fn doing_it_again_changes_nothing() {
    let (_home, mut store, _) = repriced_by(book("gpt-5.5", "3"), &Which::default());
    let tables = ["usage_events", "usage_cells", "project_cells", "sqlite_sequence"];
    let contents =
        |store: &Store| tables.map(|table| rows(&store.db, &format!("SELECT * FROM {table}")));
    let before = contents(&store);
    let again = store.reprice(&Which::default(), |_, _| {}).unwrap();
    assert_eq!((again.changed, again.calls), (0, 4));
    assert_eq!(contents(&store), before);
}

#[test]
fn a_price_that_comes_out_the_same_is_left_alone_whatever_the_version() {
    let (_home, store, repriced) = repriced_by(book("gpt-5.5", "1.0"), &Which::default());
    assert_eq!(repriced.changed, 0);
    assert_eq!(value::<i64>(&store.db, "SELECT seq FROM sqlite_sequence"), 5);
    let extras = "SELECT raw_extras ->> 'price_version' FROM usage_events WHERE event_key = 'new'";
    assert_eq!(value::<String>(&store.db, extras), "v1");
}

#[test]
fn a_price_that_is_no_longer_an_estimate_is_a_change() {
    let home = Home::new();
    let mut store = with_prices(&home, book("gpt-5.5", "1"));
    store.append(&mut [batch([event("a")])]).unwrap();
    store.db.execute("UPDATE usage_events SET other_cost_source = 'estimated'", []).unwrap();
    assert_eq!(store.reprice(&Which::default(), |_, _| {}).unwrap().changed, 1);
    check_costs(&store, &[("a", Some(100_000), "rate_card")]);
}

#[test]
fn an_estimate_of_tokens_stays_one() {
    let home = Home::new();
    let mut store = with_prices(&home, book("gpt-5.5", "1"));
    let mut estimated = event("a");
    estimated.usage.flags = Flags::ESTIMATED;
    store.append(&mut [batch([estimated])]).unwrap();
    assert_eq!(store.reprice(&Which::default(), |_, _| {}).unwrap().changed, 0);
}

#[test]
fn only_what_had_no_price_can_be_asked_for() {
    let which = Which { unpriced: true, since: None };
    let (_home, store, repriced) = repriced_by(book("mystery", "3"), &which);
    assert_eq!((repriced.calls, repriced.changed, repriced.unpriced.len()), (1, 1, 0));
    check_costs(
        &store,
        &[
            ("live", Some(7), "live"),
            ("mystery", Some(300_000), "rate_card"),
            ("new", Some(100_000), "rate_card"),
            ("old", Some(100_000), "rate_card"),
            ("prompt", Some(0), "rate_card"),
        ],
    );
}

#[test]
fn a_model_that_lost_its_price_is_unpriced() {
    let (_home, store, repriced) = repriced_by(book("mystery", "3"), &Which::default());
    assert_eq!(repriced.unpriced, [("gpt-5.5".into(), 2)].into());
    assert_eq!(store.reader().unwrap().unpriced_models().unwrap(), [("gpt-5.5".into(), 2)]);
}

#[test]
fn only_what_happened_since_a_day_can_be_asked_for() {
    // 2026-05-28 is the day of NOW_MS.
    for (since, changed) in [("2026-05-27", 2), ("2026-05-28", 1), ("2026-05-29", 0)] {
        let which = Which { unpriced: false, since: Some(since.parse().unwrap()) };
        let (_home, _store, repriced) = repriced_by(book("gpt-5.5", "3"), &which);
        assert_eq!(repriced.changed, changed, "{since}");
    }
}

/// Each step is a transaction of its own: one that never comes leaves the rest for the next time.
#[test]
fn h31_what_was_interrupted_is_finished_by_the_next_one() {
    let calls = 2 * STEP + 1;
    let home = Home::new();
    let mut store = with_prices(&home, book("gpt-5.5", "1"));
    store.append(&mut [batch((0..calls).map(|n| event(&format!("k{n}"))))]).unwrap();
    store.refresh().unwrap();
    drop(store);
    let mut store = with_prices(&home, book("gpt-5.5", "3"));
    let end = i64::try_from(calls).unwrap();
    let mut repriced = Repriced::default();
    let which = Which::default();
    let Store { db, ledger, .. } = &mut store;
    let reached = ledger.reprice(db, &which, (0, end), &mut repriced).unwrap();
    assert_eq!((reached, repriced.changed), (i64::try_from(STEP).unwrap(), STEP as u64));
    let report = store.reader().unwrap().check(9).unwrap();
    assert!(report.is_sound() && !report.pending.is_empty(), "sound, the marts not yet there");
    let mut steps = 0;
    let rest = store.reprice(&which, |_, _| steps += 1).unwrap();
    assert_eq!((rest.calls, rest.changed), (calls as u64, (calls - STEP) as u64));
    assert!(steps > 2, "more than one transaction");
    let sum = "SELECT sum(cost_nanousd) FROM daily_mart";
    assert_eq!(value::<i64>(&store.db, sum), end * 300_000);
    assert!(store.reader().unwrap().check(9).unwrap().is_sound());
}

/// What a row adds up does not show in its counts.
#[test]
fn a_sum_of_requests_is_priced_anew_as_one() {
    let home = Home::new();
    let mut sum = event("sum");
    sum.usage.flags.insert(Flags::SUM);
    let mut store = with_prices(&home, book("gpt-5.5", "1"));
    store.append(&mut [batch([event("call"), sum])]).unwrap();
    let expect = [("call", Some(100_000), "rate_card"), ("sum", Some(100_000), "rate_card")];
    store.refresh().unwrap();
    check_costs(&store, &expect);
    drop(store);
    let long = r#"version = "v3"
        first_party = ["openai"]
        [[prices.openai]]
        model = "gpt-5.5"
        in = "3"
        out = "0"
        [[prices.openai]]
        model = "gpt-5.5"
        above = 99
        in = "40"
        out = "0""#;
    let mut store = with_prices(&home, Arc::new(PriceBook::parse(long).unwrap()));
    assert_eq!(store.reprice(&Which::default(), |_, _| {}).unwrap().changed, 2);
    let expect = [("call", Some(4_000_000), "rate_card"), ("sum", Some(300_000), "estimated")];
    check_costs(&store, &expect);
}
