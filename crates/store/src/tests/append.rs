//! What stands in `usage_events` after appending, whatever was appended before.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use rusqlite::types::Value;
use usage::pricing::PriceBook;
use usage::{Batch, CostSource, EventKey, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};

use super::{Memory, NOW_MS, batch, cases, checkpoint, event, prompt, rows, value};
use crate::events::Tally;
use crate::row;

impl Memory {
    fn append(&mut self, batches: impl IntoIterator<Item = Batch>) -> Tally {
        let mut batches: Vec<Batch> = batches.into_iter().collect();
        self.ledger.append(&mut self.db, &mut batches).unwrap().tally
    }

    fn stored(&self, key: &str) -> Option<row::StoredEvent> {
        row::find_by_key(&self.db, &EventKey::new(key)).unwrap()
    }

    /// Everything that appending writes.
    fn contents(&self) -> Vec<Vec<Vec<Value>>> {
        let tables = [
            "usage_events",
            "usage_cells",
            "project_cells",
            "projects",
            "source_checkpoint",
            "sqlite_sequence",
        ];
        tables.map(|table| rows(&self.db, &format!("SELECT * FROM {table}"))).into()
    }
}

fn of_source(
    source_id: i64,
    parser_version: u32,
    events: impl IntoIterator<Item = UsageEvent>,
) -> Batch {
    let mut batch = batch(events);
    batch.checkpoint = checkpoint(source_id);
    batch.checkpoint.parser_version = parser_version;
    for event in &mut batch.events {
        event.owner.source_id = source_id;
        event.parser_version = parser_version;
    }
    batch
}

fn with_output(key: &str, output: u64) -> UsageEvent {
    let mut event = event(key);
    event.usage.tokens.output = output;
    event
}

#[test]
fn a_correction_takes_the_next_id_and_a_repetition_none() {
    let mut memory = Memory::new("UTC");
    let tally = memory.append([batch([with_output("a", 1), event("b")])]);
    assert_eq!(tally, Tally { appended: 2, ..Tally::default() });
    let tally = memory.append([batch([with_output("a", 500), event("b")])]);
    assert_eq!(tally, Tally { corrected: 1, unchanged: 1, ..Tally::default() });
    assert_eq!(memory.stored("a").unwrap().id, 3);
    assert_eq!(memory.stored("b").unwrap().id, 2);
}

#[test]
fn statements_of_one_call_meet_before_they_reach_the_table() {
    let mut memory = Memory::new("UTC");
    let tally = memory.append([batch([with_output("a", 1), with_output("a", 7)])]);
    assert_eq!(tally.appended, 1);
    assert_eq!(memory.stored("a").unwrap().event.usage.tokens.output, 7);
    assert_eq!(memory.stored("a").unwrap().id, 1);
}

#[test]
fn a_retraction_takes_a_position_that_no_row_gets() {
    let mut memory = Memory::new("UTC");
    memory.append([batch([event("a"), event("b")])]);
    let tally = memory.append([Batch { retracted: vec![EventKey::new("b")], ..batch([]) }]);
    assert_eq!(tally, Tally { retracted: 1, ..Tally::default() });
    assert!(memory.stored("b").is_none());
    assert_eq!(value::<i64>(&memory.db, "SELECT max(last_event_id) FROM usage_cells"), 3);
    assert_eq!(value::<i64>(&memory.db, "SELECT max(last_event_id) FROM project_cells"), 3);
    memory.append([batch([event("c")])]);
    assert_eq!(memory.stored("c").unwrap().id, 4);
}

#[test]
fn a_retraction_follows_the_events_of_its_batch() {
    let mut memory = Memory::new("UTC");
    let retracted = vec![EventKey::new("a"), EventKey::new("never seen")];
    let tally = memory.append([Batch { retracted, ..batch([event("a"), event("b")]) }]);
    assert_eq!(tally, Tally { appended: 2, retracted: 1, ..Tally::default() });
    assert!(memory.stored("a").is_none());
}

#[test]
fn a_newer_parser_replaces_what_its_source_said_and_joins_what_others_said() {
    let mut memory = Memory::new("UTC");
    memory.append([of_source(1, 1, [with_output("a", 500), with_output("b", 500)])]);
    let tally = memory.append([of_source(1, 2, [with_output("a", 7)])]);
    assert_eq!(tally.corrected, 1);
    assert_eq!(memory.stored("a").unwrap().event.usage.tokens.output, 7);
    memory.append([of_source(2, 2, [with_output("b", 7)])]);
    assert_eq!(memory.stored("b").unwrap().event.usage.tokens.output, 500);
}

#[test]
fn a_newer_parser_lowers_nothing_that_another_source_said() {
    let mut memory = Memory::new("UTC");
    // The first source owns the call, the second one states what it used, and is gone by now.
    memory.append([of_source(1, 1, [with_output("a", 3)])]);
    memory.append([of_source(2, 1, [with_output("a", 500)])]);
    let stored = memory.stored("a").unwrap();
    assert_eq!((stored.event.owner.source_id, stored.usage_source), (1, 2));
    memory.append([of_source(1, 2, [with_output("a", 4)])]);
    assert_eq!(memory.stored("a").unwrap().event.usage.tokens.output, 500);
    // Nor is it retracted when its owner does not state it any more.
    memory.append([Batch { complete: true, ..of_source(1, 3, []) }]);
    assert!(memory.stored("a").is_some());
    let whole = of_source(2, 2, [with_output("a", 9)]);
    memory.append([Batch { restates: true, complete: true, ..whole }]);
    let stored = memory.stored("a").unwrap();
    assert_eq!((stored.event.usage.tokens.output, stored.usage_source), (9, 2));
}

#[test]
fn what_changes_in_place_is_as_its_source_says_now() {
    let mut memory = Memory::new("UTC");
    let amended = |source, output| {
        let mut batch = of_source(source, 1, [with_output("a", output)]);
        (batch.amends, batch.checkpoint.generation) = (true, 3);
        batch
    };
    memory.append([amended(1, 500)]);
    assert_eq!(memory.append([amended(1, 7)]).corrected, 1);
    let stored = memory.stored("a").unwrap();
    assert_eq!((stored.event.usage.tokens.output, stored.usage_source), (7, 1));
    // What another source says is joined, and what this one takes back is not taken from that.
    memory.append([amended(2, 20)]);
    memory.append([amended(1, 3)]);
    let stored = memory.stored("a").unwrap();
    assert_eq!((stored.event.usage.tokens.output, stored.usage_source), (20, 2));
}

#[test]
fn whose_usage_is_kept_does_not_depend_on_the_order_of_a_copy_and_its_original() {
    // A response grows in the original and in a copy of it, which has the lesser source id.
    let copied = |output| UsageEvent { copy_rank: 1, ..with_output("a", output) };
    let original = of_source(2, 1, [with_output("a", 9), with_output("a", 20)]);
    let copy = of_source(1, 1, [copied(9), copied(20)]);
    for order in [[&original, &copy], [&copy, &original]] {
        let mut memory = Memory::new("UTC");
        for batch in order {
            for statement in &batch.events {
                memory.append([Batch { events: vec![statement.clone()], ..batch.clone() }]);
            }
        }
        let stored = memory.stored("a").unwrap();
        assert_eq!((stored.event.usage.tokens.output, stored.usage_source), (20, 2));
    }
}

#[test]
fn a_source_that_was_cut_since_lowers_nothing() {
    let mut memory = Memory::new("UTC");
    memory.append([of_source(1, 1, [with_output("a", 159)])]);
    let rest = of_source(1, 2, [with_output("a", 9)]);
    let mut cut = Batch { restates: true, complete: true, ..rest };
    cut.checkpoint.generation = 1;
    memory.append([cut]);
    assert_eq!(memory.stored("a").unwrap().event.usage.tokens.output, 159);
}

#[test]
fn what_a_source_states_when_it_is_read_again_takes_the_place_of_what_is_stored() {
    let mut memory = Memory::new("UTC");
    memory.append([of_source(1, 1, [with_output("a", 9_999)])]);
    let again = |output| Batch { restates: true, ..of_source(1, 1, [with_output("a", output)]) };
    let whole = |output| Batch { complete: true, ..again(output) };
    let state = |memory: &Memory| {
        let stored = memory.stored("a").unwrap();
        (stored.event.usage.tokens.output, stored.id)
    };
    // Within one reading the statements of a growing response are joined, in any order.
    memory.append([again(9)]);
    assert_eq!(state(&memory), (9_999, 1), "a reading that has not ended lowers nothing");
    memory.append([again(159)]);
    // A transaction that failed has stated nothing.
    memory.db.execute_batch("PRAGMA query_only = ON").unwrap();
    memory.ledger.append(&mut memory.db, &mut [whole(9)]).unwrap_err();
    memory.db.execute_batch("PRAGMA query_only = OFF").unwrap();
    memory.append([whole(9)]);
    assert_eq!(state(&memory), (159, 2));
    // What has not changed stays as it is, however it was cut.
    memory.append([again(9), whole(159)]);
    assert_eq!(state(&memory), (159, 2));
    // The next reading begins with the next statement, also within one transaction.
    memory.append([whole(159), whole(9)]);
    assert_eq!(state(&memory), (9, 3));
}

#[test]
fn what_was_retracted_does_not_come_back_from_a_copy_that_ends_before_that() {
    let copy = || of_source(2, 1, [event("total")]);
    let whole =
        || Batch { retracted: vec![EventKey::new("total")], ..of_source(1, 1, [event("record")]) };
    for batches in [[copy(), whole()], [whole(), copy()]] {
        let mut memory = Memory::new("UTC");
        for batch in batches {
            memory.append([batch]);
        }
        assert!(memory.stored("total").is_none());
        assert_eq!(value::<i64>(&memory.db, "SELECT count(*) FROM usage_events"), 1);
        // A newer parser may know better.
        memory.append([of_source(2, 2, [event("total")])]);
        assert!(memory.stored("total").is_some());
    }
}

#[test]
fn what_was_withdrawn_goes_if_nobody_else_says_it_and_may_come_back() {
    let withdrawn = || vec![EventKey::new("a"), EventKey::new("b"), EventKey::new("never seen")];
    let mut memory = Memory::new("UTC");
    memory.append([of_source(1, 1, [event("a"), event("b")]), of_source(2, 1, [event("b")])]);
    // What source 2 has said, too, is kept under the name of the first.
    let of_second = Batch { withdrawn: withdrawn(), ..of_source(2, 1, []) };
    assert_eq!(memory.append([of_second]), Tally::default());
    let of_first = Batch { withdrawn: withdrawn(), ..of_source(1, 1, []) };
    assert_eq!(memory.append([of_first]), Tally { retracted: 2, ..Tally::default() });
    let again = memory.append([of_source(1, 1, [event("a")])]);
    assert_eq!(again, Tally { appended: 1, ..Tally::default() });
}

#[test]
fn a_newer_parser_that_says_the_same_keeps_the_id() {
    let mut memory = Memory::new("UTC");
    memory.append([of_source(2, 1, [event("a")])]);
    let tally = memory.append([of_source(2, 2, [event("a")])]);
    assert_eq!(tally, Tally { unchanged: 1, ..Tally::default() });
    let stored = memory.stored("a").unwrap();
    assert_eq!((stored.id, stored.event.parser_version), (1, 2));
    // Of two sources that say the same, the one with the least id is named.
    memory.append([of_source(1, 2, [event("a")])]);
    let stored = memory.stored("a").unwrap();
    assert_eq!((stored.id, stored.event.owner.source_id), (1, 1));
    assert_eq!(value::<i64>(&memory.db, "SELECT seq FROM sqlite_sequence"), 1);
}

#[test]
fn what_is_read_again_and_says_nothing_new_is_counted_once() {
    let mut memory = Memory::new("UTC");
    memory.append([of_source(1, 1, [event("a"), event("b")])]);
    let all = [event("a"), event("b"), event("c")];
    let again = Batch { restates: true, complete: true, ..of_source(1, 1, all) };
    assert_eq!(memory.append([again]), Tally { appended: 1, unchanged: 2, ..Tally::default() });
}

#[test]
fn a_source_read_whole_by_a_newer_parser_loses_what_that_no_longer_says() {
    let mut memory = Memory::new("UTC");
    memory.append([
        of_source(1, 1, [event("a"), event("b"), prompt("c")]),
        of_source(2, 1, [event("d")]),
    ]);
    let complete = |events: Vec<UsageEvent>| Batch { complete: true, ..of_source(1, 2, events) };
    let tally = memory.append([of_source(1, 2, [event("a")]), complete(vec![])]);
    assert_eq!(tally, Tally { retracted: 2, unchanged: 1, ..Tally::default() });
    assert_eq!(value::<i64>(&memory.db, "SELECT count(*) FROM usage_events"), 2);
    assert!(memory.stored("d").is_some(), "another source's row stays");
    // Read whole again, by the same parser: its rows are its own.
    assert_eq!(memory.append([complete(vec![])]), Tally::default());
    assert!(memory.stored("a").is_some());
}

#[test]
fn a_source_that_was_rewritten_since_keeps_all_its_rows() {
    let mut memory = Memory::new("UTC");
    memory.append([of_source(1, 1, [event("a")])]);
    let mut complete = Batch { complete: true, ..of_source(1, 2, []) };
    complete.checkpoint.generation = 1;
    assert_eq!(memory.append([complete]), Tally::default());
    assert!(memory.stored("a").is_some());
}

#[test]
fn a_model_that_is_set_when_a_call_is_read_stays_the_first_one() {
    let mut memory = Memory::new("UTC");
    let set = |model: &str| {
        let mut event = event("a");
        event.usage.model = model.into();
        event.usage.flags.insert(Flags::MODEL_AS_SET);
        event
    };
    memory.append([batch([set(Usage::UNKNOWN_MODEL)])]);
    memory.append([batch([set("m")])]);
    let first = memory.stored("a").unwrap().event.usage;
    assert_eq!((&*first.model, first.flags.is_empty()), ("m", true));
    let whole = Batch { restates: true, complete: true, ..of_source(1, 1, [set("n")]) };
    for batch in [batch([set("n")]), whole, of_source(1, 2, [set("n")])] {
        memory.append([batch]);
        assert_eq!(memory.stored("a").unwrap().event.usage, first);
    }
}

/// A session's counters as they stand, which are their key.
fn so_far(input: u64, output: u64) -> UsageEvent {
    let mut event = event(&format!("so far:{input}:{output}"));
    event.usage.tokens = Tokens { input, output, ..Tokens::default() };
    event.usage.flags.insert(Flags::SESSION_SO_FAR);
    event
}

impl Memory {
    fn sums(&self) -> (u64, u64) {
        let events =
            rows(&self.db, "SELECT sum(input_tokens), sum(output_tokens) FROM usage_events");
        let cells = rows(&self.db, "SELECT sum(input_tokens), sum(output_tokens) FROM usage_cells");
        assert_eq!(events, cells);
        match events[0][..] {
            [Value::Integer(input), Value::Integer(output)] => {
                (input.cast_unsigned(), output.cast_unsigned())
            }
            _ => (0, 0),
        }
    }
}

#[test]
fn of_a_session_so_far_what_is_stored_of_it_is_taken_off() {
    let mut memory = Memory::new("UTC");
    // A call and another session's, of which one is in the same transaction.
    let mut other = event("other");
    other.owner.session_id = "s2".into();
    memory.append([batch([event("a"), other])]);
    let tally = memory.append([batch([with_output("b", 5), so_far(350, 15)])]);
    assert_eq!(tally, Tally { appended: 2, ..Tally::default() });
    let stored = memory.stored("so far:350:15").unwrap().event;
    assert_eq!(stored.usage.tokens, Tokens { input: 150, ..Tokens::default() });
    assert!(stored.usage.flags.is_empty());
    // Nothing is left of these, and nothing is ever negative.
    let tally = memory.append([batch([so_far(350, 14), so_far(20, 2)])]);
    assert_eq!(tally, Tally { unchanged: 2, ..Tally::default() });
    assert_eq!(memory.sums(), (450, 25));
}

#[test]
fn a_session_so_far_that_is_stated_again_adds_nothing_however_much_came_after_it() {
    let mut memory = Memory::new("UTC");
    memory.append([batch([so_far(1_000, 10)])]);
    memory.append([batch([event("call"), so_far(1_500, 40)])]);
    assert_eq!(memory.sums(), (1_500, 40));
    let before = memory.contents();
    let again = || batch([so_far(1_000, 10), event("call"), so_far(1_500, 40)]);
    let amended = Batch { amends: true, ..again() };
    let whole = Batch { restates: true, complete: true, ..again() };
    for batch in [again(), amended, whole] {
        assert!(!memory.append([batch]).changed());
        assert_eq!(memory.contents(), before);
    }
    // A newer parser knows no better what was stored when.
    let newer = of_source(1, 2, again().events);
    assert!(!memory.append([newer]).changed());
    assert_eq!(memory.sums(), (1_500, 40));
}

/// What an older parser took for one long request, and two that came after it.
#[test]
fn a_newer_parser_that_knows_a_row_for_a_sum_corrects_its_price_and_nothing_else() {
    let mut memory = Memory::new("UTC");
    let sum = |input| {
        let mut event = so_far(input, 0);
        event.usage.flags.insert(Flags::SUM);
        event
    };
    memory.append([batch([so_far(300_000, 0)])]);
    memory.append([batch([so_far(700_000, 0)])]);
    let stored = |memory: &Memory| {
        let stored = memory.stored("so far:700000:0").unwrap();
        (stored.event.usage.tokens.input, stored.cost_nanousd, stored.cost_source)
    };
    assert_eq!(stored(&memory), (400_000, Some(4_000_000_000), CostSource::RateCard));
    let newer = || of_source(1, 2, vec![sum(700_000)]);
    assert!(memory.append([Batch { amends: true, ..newer() }]).changed());
    assert_eq!(stored(&memory), (400_000, Some(2_000_000_000), CostSource::Estimated));
    assert!(!memory.append([Batch { amends: true, ..newer() }]).changed());
    // A part of a session is a sum like the whole.
    memory.append([batch([sum(1_000_000)])]);
    let part = memory.stored("so far:1000000:0").unwrap();
    assert_eq!((part.event.usage.tokens.input, part.cost_source), (300_000, CostSource::Estimated));
}

#[test]
fn a_cost_so_far_is_stored_as_what_was_added_to_it() {
    let mut memory = Memory::new("UTC");
    let cost = |input, cost| {
        let mut event = so_far(input, 0);
        event.usage.logged_cost_nanousd = Some(cost);
        event
    };
    memory.append([batch([cost(10, 500)])]);
    memory.append([batch([cost(20, 800)])]);
    let stored = memory.stored("so far:20:0").unwrap();
    assert_eq!((stored.event.usage.tokens.input, stored.cost_nanousd), (10, Some(300)));
    // What costs more by now without more tokens is stored, too.
    memory.append([batch([UsageEvent { key: EventKey::new("more"), ..cost(20, 900) }])]);
    assert_eq!(memory.stored("more").unwrap().cost_nanousd, Some(100));
}

#[test]
fn only_rows_that_change_are_priced_anew() {
    let book = |input: &str| {
        let row =
            format!("[[prices.openai]]\nmodel = \"gpt-5.5\"\nin = \"{input}\"\nout = \"0\"\n");
        format!("version = \"v{input}\"\nfirst_party = [\"openai\"]\n{row}")
    };
    let parse = |input| std::sync::Arc::new(PriceBook::parse(&book(input)).unwrap());
    let mut memory = Memory::new("UTC");
    memory.ledger.set_prices(parse("1"));
    memory.append([batch([event("a"), event("b")])]);
    memory.ledger.set_prices(parse("3"));
    memory.append([batch([event("a"), with_output("b", 11)])]);
    let a = memory.stored("a").unwrap();
    let b = memory.stored("b").unwrap();
    assert_eq!((a.cost_nanousd, b.cost_nanousd), (Some(100_000), Some(300_000)));
    let extras = rows(&memory.db, "SELECT raw_extras FROM usage_events ORDER BY id");
    let of_book = |version| [Value::Text(format!(r#"{{"price_version":"{version}"}}"#))];
    assert_eq!(extras, [of_book("v1"), of_book("v3")]);
}

#[test]
fn a_version_of_prices_is_told_as_it_is_named_and_dates_are_stored_short() {
    let stored_as = |version: &str| {
        let book = format!(
            "version = {version:?}\nfirst_party = [\"openai\"]\n[[prices.openai]]\nmodel = \"gpt-5.5\"\n\
             in = \"1\"\nout = \"0\"\n"
        );
        let mut memory = Memory::new("UTC");
        memory.ledger.set_prices(std::sync::Arc::new(PriceBook::parse(&book).unwrap()));
        memory.append([batch([event("a")])]);
        let told = "SELECT raw_extras ->> 'price_version' FROM usage_events";
        assert_eq!(value::<String>(&memory.db, told), version);
        value::<String>(&memory.db, "SELECT typeof(price_version) FROM usage_events")
    };
    assert_eq!(stored_as("2026-11-20"), "integer");
    for other in
        ["2026-11-20+user", "2026-02-30", "20261120", "2026-11-20 10:00", "now", "v1", "a\"b"]
    {
        assert_eq!(stored_as(other), "text", "{other}");
    }
}

#[test]
fn a_cost_that_the_agent_logged_stands_in_its_column_alone() {
    let mut memory = Memory::new("UTC");
    let mut live = event("a");
    live.usage.logged_cost_nanousd = Some(7);
    memory.append([batch([live])]);
    assert_eq!(memory.stored("a").unwrap().cost_nanousd, Some(7));
    assert_eq!(value::<Option<String>>(&memory.db, "SELECT raw_extras FROM usage_events"), None);
    assert_eq!(value::<String>(&memory.db, "SELECT cost_source FROM usage_events"), "live");
}

#[test]
fn h11_counts_and_times_out_of_range_cannot_stop_the_sums() {
    let mut memory = Memory::new("UTC");
    for n in 0..20 {
        let mut huge = event(&format!("k{n}"));
        huge.usage.tokens.input = u64::MAX >> n;
        huge.usage.logged_cost_nanousd = Some(i64::MAX);
        huge.ts_ms = if n % 2 == 0 { i64::MAX } else { i64::MIN };
        memory.append([batch([huge])]);
    }
    memory.ledger.refresh(&mut memory.db).unwrap();
    let stored = memory.stored("k0").unwrap().event;
    assert!(stored.usage.flags.contains(Flags::CLAMPED));
    assert_eq!(stored.usage.tokens.input, 0);
    let times = "SELECT min(ts) || ' ' || max(ts) FROM usage_events";
    let times: String = value(&memory.db, times);
    assert_eq!(times, "1970-01-01T00:00:00.000Z 9999-12-31T23:59:59.999Z");
}

#[test]
fn times_are_text_of_24_characters_without_rounding() {
    let mut memory = Memory::new("UTC");
    for (ts_ms, expect) in [
        (1_777_955_760_123, "2026-05-05T04:36:00.123Z"),
        (1_777_955_760_000, "2026-05-05T04:36:00.000Z"),
        (1_777_955_759_999, "2026-05-05T04:35:59.999Z"),
        (1, "1970-01-01T00:00:00.001Z"),
    ] {
        let mut event = event("a");
        event.ts_ms = ts_ms;
        memory.append([batch([event])]);
        assert_eq!(value::<String>(&memory.db, "SELECT ts FROM usage_events"), expect);
    }
}

#[test]
fn h38_a_full_disk_rolls_back_whole_and_what_was_learnt_with_it() {
    let mut memory = Memory::new("UTC");
    memory.append([batch([event("a")])]);
    let before = memory.contents();
    let pages: i64 = value(&memory.db, "PRAGMA page_count");
    memory.db.pragma_update(None, "max_page_count", pages).unwrap();
    let many = || {
        let mut events: Vec<UsageEvent> = (0..500).map(|n| event(&format!("k{n}"))).collect();
        for event in &mut events {
            event.owner.project = "/home/ada/new".into();
            event.owner.client = Some("2.0".into());
            event.owner.source_id = 9;
        }
        vec![batch(events)]
    };
    let full = memory.ledger.append(&mut memory.db, &mut many()).unwrap_err();
    assert_eq!(full.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    assert!(memory.db.is_autocommit());
    assert_eq!(memory.contents(), before);
    memory.db.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    // Another project takes the id first, so that a remembered one would be wrong.
    let mut other = event("b");
    other.owner.project = "/home/ada/other".into();
    memory.append([batch([other])]);
    memory.append(many());
    for n in [0, 499] {
        let stored = memory.stored(&format!("k{n}")).unwrap();
        assert_eq!(&*stored.event.owner.project, "/home/ada/new");
        assert_eq!(stored.event.owner.client.as_deref(), Some("2.0"));
    }
}

fn text() -> impl Strategy<Value = std::sync::Arc<str>> {
    select(&["", "a", "ünï/ \"quoted\"\n", "b\\c", "{}"][..]).prop_map(Into::into)
}

/// Any statement that a parser can make, of one of a few keys.
fn any_statement() -> impl Strategy<Value = UsageEvent> {
    let owner = (
        text(),
        text(),
        any::<bool>(),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        1..3_i64,
    );
    let count = || 0..3_u64;
    let tokens = (count(), count(), count(), count(), count(), count());
    let extras = (option::of(text()), option::of(text()), option::of(text()));
    let usage = (
        select(&["gpt-5.5", "unknown", "mystery"][..]),
        select(&Speed::ALL[..]),
        tokens,
        count(),
        extras,
        option::of(0..3_i64),
        vec(select(&["clamped", "ts_guessed", "estimated", "sum"][..]), 0..3),
    );
    (0..5_u8, 0..3_i64, 0..3_u8, owner, usage).prop_map(|(key, ts, copy_rank, owner, usage)| {
        let (session_id, project, is_sidechain, account, agent, client, source_id) = owner;
        let (model, speed, tokens, web_search_requests, extras, logged, flags) = usage;
        let (input, output, cache_read, cache_create, cache_create_1h, reasoning) = tokens;
        let tokens = Tokens { input, output, cache_read, cache_create, cache_create_1h, reasoning };
        let owner = Owner { session_id, project, is_sidechain, account, agent, client, source_id };
        let (vendor, tier, geo) = extras;
        let usage = Usage {
            model: model.into(),
            speed,
            tokens,
            web_search_requests,
            vendor,
            tier,
            geo,
            logged_cost_nanousd: logged,
            flags: Flags::from_names(flags),
        };
        let mut event = UsageEvent {
            key: EventKey::new(&format!("k{key}")),
            provider: "codex".into(),
            role: Role::Assistant,
            ts_ms: NOW_MS + ts * 80_000_000,
            copy_rank,
            owner,
            usage,
            parser_version: 1,
        };
        if key == 4 {
            event.role = Role::User;
            event.usage = prompt("").usage;
        }
        event
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_row_gives_back_the_statement_it_was_made_from(statement in any_statement()) {
        let mut memory = Memory::new("UTC");
        let key = statement.key.as_str().to_owned();
        memory.append([batch([event("before"), statement.clone()])]);
        prop_assert_eq!(memory.stored(&key).unwrap().event, statement);
    }

    /// Growing counters add up to where they stand, seen as often and in whatever order, after
    /// whatever was lost.
    #[test]
    fn a_session_so_far_adds_up_to_the_most_that_was_stated(
        steps in vec((0..50_u64, 0..5_u64), 1..8),
        seen in vec((any::<prop::sample::Index>(), any::<bool>()), 1..20),
    ) {
        let mut memory = Memory::new("UTC");
        let counters: Vec<_> = steps
            .iter()
            .scan((0, 0), |sum, step| {
                *sum = (sum.0 + step.0, sum.1 + step.1);
                Some(*sum)
            })
            .collect();
        let seen: Vec<_> = seen.iter().map(|(at, cut)| (at.get(&counters), cut)).collect();
        let chunks = seen.chunk_by(|_, (_, cut)| !**cut);
        for chunk in chunks {
            memory.append([batch(chunk.iter().map(|(counters, _)| so_far(counters.0, counters.1)))]);
        }
        let most = seen.iter().map(|(counters, _)| **counters).max().unwrap();
        prop_assert_eq!(memory.sums(), most);
    }

    #[test]
    fn the_same_batches_again_change_nothing(statements in vec(any_statement(), 1..12)) {
        let mut memory = Memory::new("UTC");
        let batches = || statements.chunks(3).map(|events| batch(events.to_vec()));
        memory.append(batches());
        let before = memory.contents();
        let tally = memory.append(batches());
        prop_assert!(!tally.changed());
        prop_assert_eq!(memory.contents(), before);
    }

    #[test]
    fn any_order_and_any_cut_give_the_same_rows(
        (statements, shuffled) in vec(any_statement(), 1..12)
            .prop_flat_map(|statements| (Just(statements.clone()), Just(statements).prop_shuffle())),
        cut in 1..6_usize,
    ) {
        let mut one = Memory::new("UTC");
        one.append([batch(statements.clone())]);
        let mut other = Memory::new("UTC");
        for events in shuffled.chunks(cut) {
            other.append([batch(events.to_vec())]);
        }
        for statement in &statements {
            let [a, b] = [&one, &other].map(|memory| memory.stored(statement.key.as_str()).unwrap());
            prop_assert_eq!(a.event, b.event);
            prop_assert_eq!((a.day, a.cost_nanousd), (b.day, b.cost_nanousd));
        }
    }
}
