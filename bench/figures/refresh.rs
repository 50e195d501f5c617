//! What ten new events cost when there is much history, and what making a mart anew costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::DataDir;
use usage::pricing::PriceBook;
use usage::{Batch, Checkpoint, EventKey, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};

use crate::fresh;
use crate::history::History;
use crate::program::millis;
use crate::table::{Table, Wanted};

/// The service tells no times of its refreshes, so its own code is called for these, in this
/// process and over the same file; then the service itself is given ten lines at a time. Returns
/// the median of the former.
pub(crate) fn ten_events(
    history: &mut History,
    table: &mut Table,
    events: u64,
    times: usize,
) -> f64 {
    let mut refreshes = called(history, times);
    let wanted = [Wanted::P50(1.0), Wanted::P99(3.0)];
    table.add(format!("refresh of 10 events, {events} before"), "ms", &wanted, refreshes.clone());
    history.check(table);
    fresh::tens(history, table, times / 2, format!("10 lines written to shown, {events} before"));
    refreshes.sort_by(f64::total_cmp);
    refreshes[refreshes.len() / 2]
}

/// Two calls in each of five sessions and projects, then a refresh, which is timed.
fn called(history: &mut History, times: usize) -> Vec<f64> {
    let options = store::Options {
        now_ms: || jiff::Timestamp::now().as_millisecond(),
        time_zone: None,
        system_time_zone: "UTC".to_owned(),
        prices: Arc::new(PriceBook::builtin()),
        debounce: Duration::from_millis(100),
        queue_rows: 1,
    };
    let dir = DataDir::lock(&history.place.data).unwrap();
    let mut store = store::open(dir, options).unwrap();
    let probe = history.probe();
    (0..times)
        .map(|_| {
            let events = (0..10).map(|i| event(history, &format!("{probe}-{:02}", i % 5)));
            let mut batch = [Batch {
                events: events.collect(),
                retracted: Vec::new(),
                checkpoint: Checkpoint::at_start(1, "claude-code", "/gone.jsonl".into(), 1),
                bytes: 0,
                lines: 10,
                complete: false,
                restates: false,
            }];
            store.append(&mut batch).unwrap();
            let begun = Instant::now();
            store.refresh().unwrap();
            millis(begun.elapsed())
        })
        .collect()
}

fn event(history: &mut History, session: &str) -> UsageEvent {
    let (ts_ms, id, model, call) = history.call();
    let count = |tokens: i64| u64::try_from(tokens).unwrap();
    UsageEvent {
        key: EventKey::new(&format!("claude:{id}")),
        provider: "claude-code".into(),
        role: Role::Assistant,
        ts_ms,
        copy_rank: 0,
        owner: Owner {
            session_id: session.into(),
            project: format!("/p/{session}").into(),
            is_sidechain: false,
            account: None,
            agent: None,
            client: None,
            source_id: 1,
        },
        usage: Usage {
            model: model.into(),
            speed: Speed::Standard,
            tokens: Tokens {
                input: count(call.input),
                output: count(call.output),
                cache_read: count(call.read),
                cache_create: count(call.write),
                ..Tokens::default()
            },
            web_search_requests: 0,
            vendor: None,
            tier: None,
            geo: None,
            logged_cost_nanousd: None,
            flags: Flags::default(),
        },
        parser_version: 1,
    }
}
