//! The edge-case table of the fact sheet row by row, then what must hold for any file.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use usage::{EventKey, Flags, Role, Skip, Skips, UsageEvent};

use super::*;
use crate::testing::{Stored, put};
use crate::{Parsed, nowhere};

/// 2026-09-20T08:00:00Z
const START_MS: i64 = 1_789_891_200_000;

fn source(name: &str) -> Source {
    let root = PathBuf::from("/home/ada/.codex/sessions");
    let path = root.join(name);
    Source { id: 7, provider: ID, path, root, mtime_ms: START_MS }
}

// ---- lines

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(START_MS + ms).unwrap().to_string()
}

/// A line `ms` after the start.
fn line(ms: i64, kind: &str, payload: &str) -> String {
    format!(r#"{{"timestamp":"{}","type":"{kind}","payload":{payload}}}"#, time(ms))
}

fn numbered(ordinal: u64, line: &str) -> String {
    line.replacen(r#","type""#, &format!(r#","ordinal":{ordinal},"type""#), 1)
}

/// The first line of thread `T`, created at the start, with `more` fields.
fn meta(more: &str) -> String {
    thread(0, "T", more)
}

fn thread(ms: i64, id: &str, more: &str) -> String {
    let created = time(ms);
    line(
        ms,
        "session_meta",
        &format!(r#"{{"id":"{id}","timestamp":"{created}","cwd":"/w"{more}}}"#),
    )
}

fn context(ms: i64, model: &str) -> String {
    line(ms, "turn_context", &format!(r#"{{"cwd":"/w","model":"{model}"}}"#))
}

fn usage(input: u64) -> String {
    format!(
        r#"{{"input_tokens":{input},"cached_input_tokens":0,"output_tokens":0,"reasoning_output_tokens":0,"total_tokens":{input}}}"#
    )
}

const FORCED_FULL: &str = r#"{"input_tokens":0,"output_tokens":0,"total_tokens":258400}"#;

fn info(ms: i64, info: &str) -> String {
    line(ms, "event_msg", &format!(r#"{{"type":"token_count","info":{info}}}"#))
}

/// A `token_count` with both figures.
fn count(ms: i64, total: u64, last: u64) -> String {
    info(
        ms,
        &format!(r#"{{"total_token_usage":{},"last_token_usage":{}}}"#, usage(total), usage(last)),
    )
}

fn total_only(ms: i64, total: u64) -> String {
    info(ms, &format!(r#"{{"total_token_usage":{}}}"#, usage(total)))
}

fn record(ms: i64, thread: &str, response: &str, input: u64) -> String {
    let usage = usage(input);
    let payload =
        format!(r#"{{"thread_id":"{thread}","response_id":"{response}","usage":{usage}}}"#);
    line(ms, "token_usage_record", &payload)
}

fn settings(ms: i64, settings: &str) -> String {
    let payload = format!(r#"{{"type":"thread_settings_applied","thread_settings":{settings}}}"#);
    line(ms, "event_msg", &payload)
}

fn event(ms: i64, kind: &str) -> String {
    line(ms, "event_msg", &format!(r#"{{"type":"{kind}"}}"#))
}

// ---- reading

/// What the store holds after some batches.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    events: Stored,
    skips: Skips,
}

impl Rows {
    fn apply(&mut self, parsed: Parsed) {
        for event in parsed.events {
            put(&mut self.events, event);
        }
        for key in parsed.retracted.into_iter().chain(parsed.withdrawn) {
            self.events.remove(&key);
        }
        self.skips.merge(&parsed.skips);
    }

    /// The rows in the order of their times.
    fn in_order(&self) -> Vec<&UsageEvent> {
        let mut rows: Vec<_> = self.events.values().collect();
        rows.sort_by_key(|row| (row.ts_ms, row.key.clone()));
        rows
    }

    /// Each call as the kind of its key and its total: `tc 100`.
    fn calls(&self) -> Vec<String> {
        let calls = self.in_order().into_iter().filter(|row| row.role == Role::Assistant);
        calls
            .map(|row| {
                let kind = row.key.as_str().split([':', '#']).nth(1).unwrap_or_default();
                format!("{kind} {}", row.usage.tokens.total())
            })
            .collect()
    }

    fn prompts(&self) -> Vec<&str> {
        let prompts = self.in_order().into_iter().filter(|row| row.role == Role::User);
        prompts.map(|row| row.key.as_str()).collect()
    }

    fn models(&self) -> Vec<&str> {
        self.in_order().into_iter().map(|row| &*row.usage.model).collect()
    }

    fn tokens(&self) -> u64 {
        self.events.values().map(|row| row.usage.tokens.total()).sum()
    }
}

fn series<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Series {
    let mut series = Vec::new();
    lines.into_iter().for_each(|line| Codex.series(line, &mut series));
    series
}

/// Reads lines as one batch, answering for the parent as asked.
fn read(
    parser: &mut dyn ParseLine,
    lines: &[&[u8]],
    parent: &dyn Fn(&str) -> Option<Series>,
) -> Parsed {
    let mut parsed = Parsed::default();
    for line in lines {
        if let Some(name) = parser.wants_parent() {
            parser.set_parent(parent(&name));
        }
        parser.parse_line(line, &mut parsed);
    }
    parsed
}

fn rows_of(lines: &[String], parent: Option<&[String]>) -> Rows {
    let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let parent = parent.map(|lines| series(lines.iter().map(|line| line.as_bytes())));
    let mut rows = Rows::default();
    let mut parser = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), "");
    rows.apply(read(&mut *parser, &bytes, &|_| parent.clone()));
    rows
}

/// The calls of a thread whose parent, if it has one, is not there.
fn check(lines: &[String], expect: &[&str]) {
    assert_eq!(rows_of(lines, None).calls(), expect);
}

/// The calls of a thread, whether its parent is there or not.
fn check_with_parent(lines: &[String], parent: &[String], expect: &[&str]) {
    assert_eq!(rows_of(lines, Some(parent)).calls(), expect, "parent known");
    assert_eq!(rows_of(lines, None).calls(), expect, "parent unknown");
}

fn started(rest: &[String]) -> Vec<String> {
    [&[meta(""), context(10, "gpt-5.5")], rest].concat()
}

// ---- the table

#[test]
fn edge_01_repeated_totals_count_once() {
    check(&started(&[count(1000, 100, 100), count(3000, 100, 100)]), &["tc 100"]);
}

#[test]
fn edge_02_growing_totals_count_by_their_steps() {
    check(&started(&[count(1000, 100, 100), count(9000, 250, 150)]), &["tc 100", "tc 150"]);
}

#[test]
fn edge_03_an_estimate_of_the_context_is_no_call() {
    let estimate = format!(
        r#"{{"total_token_usage":{},"last_token_usage":{{"input_tokens":0,"output_tokens":0,"total_tokens":13989}}}}"#,
        usage(100)
    );
    check(&started(&[count(1000, 100, 100), info(2000, &estimate)]), &["tc 100"]);
}

#[test]
fn edge_04_after_a_forced_full_context_totals_start_over() {
    let full = format!(r#"{{"total_token_usage":{FORCED_FULL},"last_token_usage":{FORCED_FULL}}}"#);
    let lines = [count(1000, 100, 100), info(2000, &full), count(9000, 40, 40)];
    check(&started(&lines), &["tc 100", "tc 40"]);
}

#[test]
fn edge_04_a_forced_full_context_is_no_call_whatever_it_says_was_last() {
    let full = format!(r#"{{"total_token_usage":{FORCED_FULL},"last_token_usage":{}}}"#, usage(70));
    let lines = [count(1000, 100, 100), info(2000, &full), total_only(9000, 40)];
    check(&started(&lines), &["tc 100", "tc 40"]);
}

#[test]
fn edge_05_a_late_snapshot_is_no_step_back() {
    let lines = [count(1000, 1000, 1000), count(2000, 990, 10), count(3000, 1010, 10)];
    check(&started(&lines), &["tc 1000", "tc 10"]);
}

#[test]
fn edge_05_much_smaller_totals_are_a_new_start() {
    check(&started(&[total_only(1000, 1000), total_only(2000, 499)]), &["tc 1000", "tc 499"]);
    check(&started(&[total_only(1000, 1000), total_only(2000, 500)]), &["tc 1000"]);
    // What the call itself says counts for more than the size, and for more than the total.
    check(&started(&[count(1000, 1000, 1000), count(2000, 900, 900)]), &["tc 1000", "tc 900"]);
    check(&started(&[count(1000, 1000, 1000), count(2000, 400, 30)]), &["tc 1000", "tc 30"]);
}

#[test]
fn edge_06_rate_limits_alone_are_no_call() {
    check(&started(&[info(1000, "null")]), &[]);
}

#[test]
fn edge_07_totals_alone_are_enough() {
    check(&started(&[total_only(1000, 100), total_only(9000, 250)]), &["tc 100", "tc 150"]);
}

#[test]
fn edge_08_the_first_total_of_a_fork_contains_its_ancestors_use() {
    let fork =
        meta(r#","forked_from_id":"P","history_base":{"thread_id":"P","end_byte_offset":9}"#);
    let lines = [fork, context(10, "gpt-5.5"), total_only(1000, 900), total_only(9000, 950)];
    check(&lines, &["tc 50"]);

    // Nothing is copied into such a file, so its own part begins at once.
    let [fork, ..] = lines;
    check(&[fork, count(500, 900, 60), count(600, 950, 50)], &["tc 60", "tc 50"]);
}

#[test]
fn edge_09_a_record_and_its_totals_are_one_call() {
    let usage = r#"{"input_tokens":30000,"cached_input_tokens":20000,"cache_write_input_tokens":8000,"output_tokens":1000,"reasoning_output_tokens":300,"total_tokens":31000}"#;
    let lines = [
        numbered(
            0,
            &thread(0, "T1", r#","session_id":"T1","source":"cli","cli_version":"0.154.0""#),
        ),
        numbered(1, &context(1000, "gpt-5.6-sol")),
        numbered(
            7,
            &line(
                5000,
                "token_usage_record",
                &format!(r#"{{"thread_id":"T1","response_id":"resp_1","usage":{usage}}}"#),
            ),
        ),
        numbered(
            8,
            &info(5010, &format!(r#"{{"total_token_usage":{usage},"last_token_usage":{usage}}}"#)),
        ),
    ];
    let rows = rows_of(&lines, None);
    let [row] = rows.in_order()[..] else { panic!("{rows:?}") };
    assert_eq!(row.key.as_str(), "codex:resp:resp_1");
    assert_eq!(row.ts_ms, START_MS + 5000);
    assert_eq!(&*row.usage.model, "gpt-5.6-sol");
    assert_eq!(row.owner.client.as_deref(), Some("0.154.0"));
    let tokens = row.usage.tokens;
    assert_eq!((tokens.input, tokens.cache_create, tokens.cache_read), (2000, 8000, 20000));
    assert_eq!((tokens.output, tokens.reasoning), (1000, 300));
}

#[test]
fn edge_10_two_equal_pairs_are_two_calls() {
    let lines = [
        record(1000, "T", "r1", 100),
        count(1010, 100, 100),
        record(5000, "T", "r2", 100),
        count(5010, 200, 100),
    ];
    check(&started(&lines), &["resp 100", "resp 100"]);
}

#[test]
fn edge_11_totals_before_their_record_give_way_to_it() {
    let lines = started(&[count(1000, 100, 100), record(1010, "T", "r1", 100)]);
    let rows = rows_of(&lines, None);
    assert_eq!(rows.calls(), ["resp 100"]);
    assert_eq!(rows.in_order()[0].key.as_str(), "codex:resp:r1");

    // The same with the record in the next batch: then the row is already stored.
    assert_eq!(rows_in_two(&lines, 3), rows);

    // In one batch the wrong event is not even handed on.
    let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let parsed =
        read(&mut *Codex.begin(&source("rollout-x.jsonl"), &nowhere(), ""), &bytes, &no_parent);
    assert_eq!((parsed.events.len(), parsed.retracted.len()), (1, 1));
}

#[test]
fn edge_11_a_call_that_gave_way_does_not_come_back_with_a_model() {
    let lines =
        [meta(""), count(1000, 100, 100), record(1010, "T", "r1", 100), context(2000, "gpt-5.5")];
    for cut in 0..=lines.len() {
        assert_eq!(rows_in_two(&lines, cut).calls(), ["resp 100"], "cut at {cut}");
    }
}

#[test]
fn edge_12_an_upgrade_in_the_middle_counts_each_call_once() {
    let lines = [
        count(1000, 100, 100),
        count(2000, 300, 200),
        count(3000, 600, 300),
        record(4000, "T", "r1", 400),
        count(4010, 1000, 400),
        record(5000, "T", "r2", 500),
        count(5010, 1500, 500),
    ];
    check(&started(&lines), &["tc 100", "tc 200", "tc 300", "resp 400", "resp 500"]);
}

fn compacted(ms: i64, response: &str, input: u64) -> String {
    let latest = record(ms, "T", response, input);
    let payload = format!(
        r#"{{"message":"","compaction_response_id":"{response}","latest_token_usage_record":{latest},"replacement_history":[{latest}]}}"#
    );
    line(ms, "compacted", &payload)
}

#[test]
fn edge_13_a_remote_compaction_is_billed_by_its_record() {
    let lines = [
        count(1000, 100, 100),
        record(2000, "T", "compaction", 900),
        compacted(2010, "compaction", 900),
        count(2020, 100, 0),
        record(3000, "T", "r1", 50),
        count(3010, 150, 50),
    ];
    check(&started(&lines), &["tc 100", "resp 900", "resp 50"]);
}

#[test]
fn edge_14_a_local_compaction_is_billed_once() {
    let lines = [
        record(2000, "T", "compaction", 900),
        count(2010, 900, 900),
        compacted(2020, "compaction", 900),
    ];
    check(&started(&lines), &["resp 900"]);
}

#[test]
fn edge_15_copies_inside_a_compaction_are_never_billed() {
    check(&started(&[compacted(2000, "r1", 900)]), &[]);
}

#[test]
fn edge_16_a_record_of_another_thread_is_its_own_business() {
    let fork = [meta(r#","forked_from_id":"P""#), record(5, "P", "r1", 100)];
    check(&fork, &[]);
    check(&started(&[record(1000, "P", "r1", 100)]), &[]);
    assert_eq!(rows_of(&fork, None).skips, Skips::default(), "a copy is no fault");
}

/// A parent with three calls, and a fork's copy of it `ms` after the start in steps of 5 ms.
fn parent_and_copy(ms: i64) -> (Vec<String>, Vec<String>) {
    let parent = |ms: i64, step: i64| {
        vec![
            thread(ms, "P", ""),
            context(ms + step, "gpt-5.5"),
            event(ms + 2 * step, "user_message"),
            count(ms + 3 * step, 100, 100),
            count(ms + 4 * step, 250, 150),
            count(ms + 5 * step, 250, 150),
            count(ms + 6 * step, 450, 200),
        ]
    };
    (parent(-3_600_000, 60_000), parent(ms, 5))
}

fn fork(copy: &[String], own: &[String]) -> Vec<String> {
    [&[meta(r#","forked_from_id":"P""#)], copy, own].concat()
}

#[test]
fn edge_17_a_copy_under_new_times_is_not_counted() {
    let (parent, copy) = parent_and_copy(20);
    check_with_parent(&fork(&copy, &[count(9000, 500, 50)]), &parent, &["tc 50"]);
    check_with_parent(&fork(&copy, &[]), &parent, &[]);
}

#[test]
fn edge_17_a_known_parent_tells_even_where_times_do_not() {
    let (parent, copy) = parent_and_copy(20);
    let rows = rows_of(&fork(&copy, &[count(300, 500, 50)]), Some(&parent));
    assert_eq!(rows.calls(), ["tc 50"]);

    // Its totals may even be ones that the parent had before.
    let again = fork(&copy, &[count(9000, 100, 100)]);
    assert_eq!(rows_of(&again, Some(&parent)).calls(), ["tc 100"]);

    // Copying may stop anywhere, and pause.
    let slow = fork(&[copy[3].clone(), count(7000, 250, 150)], &[count(7300, 300, 50)]);
    assert_eq!(rows_of(&slow, Some(&parent)).calls(), ["tc 50"]);
}

#[test]
fn edge_17_what_the_parent_never_had_is_the_forks_own_however_soon_it_comes() {
    let (parent, copy) = parent_and_copy(20);
    let lines = fork(&copy, &[context(55, "gpt-5.5"), count(270, 500, 50), count(9000, 560, 60)]);
    assert_eq!(rows_of(&lines, Some(&parent)).calls(), ["tc 50", "tc 60"]);
}

#[test]
fn edge_17_a_copy_of_counters_alone_ends_where_a_turn_begins_however_soon() {
    let (parent, _) = parent_and_copy(0);
    let copy = [count(1, 100, 100), count(2, 250, 150), count(3, 450, 200)];
    let own = [context(4, "gpt-5.5"), event(4, "user_message"), count(4, 500, 50)];
    let lines = fork(&copy, &own);
    check_with_parent(&lines, &parent, &["tc 50"]);
    for parent in [None, Some(&parent[..])] {
        assert_eq!(rows_of(&lines, parent).prompts(), ["codex:prompt:T:0"]);
    }
    // Nothing is asked of a model before a turn: the parent may lack what is copied.
    check_with_parent(&lines, &[meta(""), count(0, 7, 7), count(1, 9, 2)], &["tc 50"]);
    // Where turns are copied, too, one more may be a copy.
    let copy = [context(0, "gpt-5.5"), count(1, 100, 100), context(2, "gpt-5.5")];
    let lines = fork(&copy, &[count(3, 250, 150), context(4, "gpt-5.5"), count(5, 450, 200)]);
    check_with_parent(&lines, &parent[..5], &[]);
}

#[test]
fn edge_17_a_clock_that_was_set_back_between_parent_and_fork_hides_nothing() {
    let (parent, copy) = parent_and_copy(3_600_000);
    let own = [event(60_000, "user_message"), count(70_000, 500, 50), count(90_000, 560, 60)];
    let lines = fork(&copy, &own);
    check_with_parent(&lines, &parent, &["tc 50", "tc 60"]);
    for parent in [None, Some(&parent[..])] {
        assert_eq!(rows_of(&lines, parent).prompts(), ["codex:prompt:T:1"]);
    }
}

#[test]
fn edge_17_a_long_copy_is_a_copy_to_its_end() {
    let (parent, _) = parent_and_copy(0);
    let copy =
        [count(600, 100, 100), count(1200, 250, 150), count(1800, 450, 200), count(9000, 500, 50)];
    check_with_parent(&fork(&copy, &[]), &parent, &["tc 50"]);

    // It begins when its first line is written, not when the thread was created.
    let (parent, copy) = parent_and_copy(6000);
    check_with_parent(&fork(&copy, &[count(15_000, 500, 50)]), &parent, &["tc 50"]);
}

#[test]
fn edge_18_a_copy_under_the_old_times_is_not_counted() {
    let (parent, _) = parent_and_copy(0);
    let lines = fork(&parent, &[event(200, "user_message"), count(900, 500, 50)]);
    check_with_parent(&lines, &parent, &["tc 50"]);
    for parent in [None, Some(&parent[..])] {
        assert_eq!(rows_of(&lines, parent).prompts(), ["codex:prompt:T:1"]);
    }
}

#[test]
fn edge_18_what_is_older_than_the_thread_is_copied_even_if_the_parent_lacks_it() {
    let (parent, _) = parent_and_copy(0);
    let lines = fork(&parent, &[event(200, "user_message"), count(900, 500, 50)]);
    assert_eq!(rows_of(&lines, Some(&parent[..4])).calls(), ["tc 50"]);
    assert_eq!(rows_of(&lines, Some(&[])).calls(), ["tc 50"]);
}

#[test]
fn copied_prompts_are_nobodys() {
    let (parent, copy) = parent_and_copy(20);
    let check = |copy: &[String], prompt_ms: i64, more: &[String], parent: Option<&[String]>| {
        let own = [&[event(prompt_ms, "user_message")], more, &[count(9000, 500, 50)]].concat();
        let rows = rows_of(&fork(copy, &own), parent);
        assert_eq!((rows.prompts(), rows.calls()), (vec![], vec!["tc 50".to_owned()]));
    };
    for known in [None, Some(&parent[..])] {
        // The parent's last turn was broken off: its prompt comes after its last counter.
        check(&copy, 60, &[], known);
        check(&parent, -1000, &[], known);
    }
    // A copied counter shows that the prompt before it was copied too.
    check(&parent[..5], 100, &[count(200, 450, 200)], Some(&parent));
}

#[test]
fn edge_18_a_prompt_need_not_wait_where_times_tell() {
    let (parent, _) = parent_and_copy(0);
    let lines = fork(&parent, &[event(200, "user_message")]);
    assert_eq!(rows_of(&lines, None).prompts(), ["codex:prompt:T:1"]);
}

#[test]
fn edge_19_a_fork_of_a_fork_counts_only_its_own() {
    let (parent, copy) = parent_and_copy(20);
    let child = fork(&copy, &[count(9000, 500, 50)]);
    let restamped: Vec<_> = fork(&copy, &[count(60, 500, 50)]);
    let fork_of_it = |copy: &[String]| {
        let mut lines = vec![thread(0, "G", r#","forked_from_id":"T""#)];
        lines.extend_from_slice(copy);
        lines.push(count(20_000, 560, 60));
        lines
    };
    check_with_parent(&fork_of_it(&restamped), &child, &["tc 60"]);

    // Under old times: all of it lies before the fork.
    let older: Vec<_> = [parent[0].clone()].into_iter().chain(parent[1..].to_vec()).collect();
    check_with_parent(&fork_of_it(&older), &parent, &["tc 110"]);
}

#[test]
fn edge_20_a_subagent_owns_what_follows_its_first_ordinal() {
    let subagent = r#","subagent_history_start_ordinal":4,"source":{"subagent":{"thread_spawn":{"parent_thread_id":"P"}}}"#;
    let lines = [
        numbered(0, &meta(subagent)),
        numbered(1, &context(1, "gpt-5.5")),
        numbered(2, &count(2, 100, 100)),
        // Neither a long pause nor an order ends a copy that is numbered.
        numbered(3, &trigger(9000)),
        numbered(3, &count(20_000, 100, 100)),
        numbered(3, &count(30_000, 130, 30)),
        numbered(9, &count(30_001, 180, 50)),
    ];
    let rows = rows_of(&lines, None);
    assert_eq!(rows.calls(), ["tc 50"]);
    assert!(rows.in_order()[0].owner.is_sidechain);

    let mut parser = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), "");
    parser.parse_line(lines[0].as_bytes(), &mut Parsed::default());
    assert_eq!(parser.wants_parent(), None);
}

#[test]
fn edge_21_a_subagent_without_a_copy_owns_its_first_call() {
    let spawn = r#","source":{"subagent":{"thread_spawn":{"parent_thread_id":"P"}}}"#;
    let lines = [meta(spawn), context(10, "gpt-5.5"), count(4000, 11234, 11234)];
    let (parent, _) = parent_and_copy(0);
    check_with_parent(&lines, &parent, &["tc 11234"]);
}

#[test]
fn edge_22_equal_totals_of_siblings_are_two_calls() {
    let sibling = |id| {
        let spawn =
            r#","session_id":"P","source":{"subagent":{"thread_spawn":{"parent_thread_id":"P"}}}"#;
        rows_of(&[thread(0, id, spawn), context(10, "gpt-5.5"), count(4000, 11234, 11234)], None)
    };
    let (mut both, other) = (sibling("A"), sibling("B"));
    both.events.extend(other.events);
    assert_eq!(both.calls(), ["tc 11234", "tc 11234"]);
    let agents: Vec<_> = both.events.values().map(|row| row.owner.agent.as_deref()).collect();
    assert_eq!(agents, [Some("A"), Some("B")]);
    assert!(both.events.values().all(|row| &*row.owner.session_id == "P"));
}

#[test]
fn edge_23_a_later_first_line_of_an_ancestor_changes_no_identity() {
    let (_, copy) = parent_and_copy(20);
    let lines = fork(&copy, &[count(9000, 500, 50)]);
    let rows = rows_of(&lines, None);
    let [row] = rows.in_order()[..] else { panic!("{rows:?}") };
    assert_eq!(&*row.owner.session_id, "T");
    assert_eq!(row.key.as_str(), "codex:tc:T:500:0:0:0:0");

    // Its own one may come again, and says nothing new.
    check(&[meta(""), meta(""), count(10, 100, 100)], &["tc 100"]);

    // Nor does an ancestor's in the middle of the thread's own part.
    let late = [count(1000, 100, 100), thread(2000, "P", ""), count(2500, 150, 50)];
    check(&started(&late), &["tc 100", "tc 50"]);
}

#[test]
fn edge_24_a_call_has_the_model_of_the_latest_turn() {
    let lines = [count(1000, 100, 100), context(2000, "gpt-5.4"), count(3000, 150, 50)];
    assert_eq!(rows_of(&started(&lines), None).models(), ["gpt-5.5", "gpt-5.4"]);

    // A model of the record's own counts for more; one that is no text counts for nothing.
    let named = count(4000, 170, 20).replace(r#""info":{"#, r#""info":{"model":"gpt-own","#);
    let no_text = context(3500, "x").replace(r#""x""#, r#"{"name":"x"}"#);
    let lines = [&lines[..], &[no_text, named]].concat();
    assert_eq!(rows_of(&started(&lines), None).models(), ["gpt-5.5", "gpt-5.4", "gpt-own"]);
}

#[test]
fn edge_25_calls_before_any_turn_get_the_model_of_the_first_one() {
    let early = vec![meta(""), count(1000, 100, 100), count(2000, 150, 50)];
    assert_eq!(rows_of(&early, None).models(), ["unknown", "unknown"]);

    let elsewhere = context(3000, "gpt-5-codex").replace("\"/w\"", "\"/elsewhere\"");
    let lines = [&early[..], &[elsewhere, count(4000, 160, 10)]].concat();
    let rows = rows_of(&lines, None);
    assert_eq!(rows.models(), ["gpt-5-codex"; 3]);
    let projects: Vec<_> = rows.in_order().iter().map(|row| &*row.owner.project).collect();
    assert_eq!(projects, ["/w", "/w", "/elsewhere"]);
    assert_eq!(rows.tokens(), 160);
}

/// Moving, compressing and copying files is read end to end elsewhere. Here: what is read again
/// from another path says nothing new.
fn check_elsewhere(name: &str) {
    for fixture in FIXTURES {
        let once = fixture.rows();
        let mut twice = once.clone();
        let mut parser = Codex.begin(&Source { id: 8, ..source(name) }, &nowhere(), "");
        twice.apply(read(&mut *parser, &fixture.lines(), &parent_among_fixtures));
        assert_eq!(twice.events, once.events, "{}", fixture.what);
    }
}

#[test]
fn edge_26_an_archived_file_says_nothing_new() {
    check_elsewhere("../archived_sessions/rollout-x.jsonl");
    let archived = Path::new("/h/.codex/archived_sessions/rollout-2026-09-20T08-00-00-T.jsonl");
    assert!(Codex.is_source(Path::new("/h/.codex/archived_sessions"), archived));
    assert_eq!(Codex.name(archived), Some("T"));
}

#[test]
fn edge_27_a_compressed_file_says_nothing_new() {
    check_elsewhere("2026/09/20/rollout-x.jsonl.zst");
}

#[test]
fn edge_28_a_compressed_file_is_a_source() {
    let root = Path::new("/h/.codex/sessions");
    let is_source = |name: &str| Codex.is_source(root, &root.join("2026/09/20").join(name));
    assert!(is_source("rollout-2026-09-20T08-00-00-T.jsonl"));
    assert!(is_source("rollout-2026-09-20T08-00-00-T.jsonl.zst"));
    assert!(!is_source("rollout-2026-09-20T08-00-00-T.jsonl.zst.tmp"));
    assert!(!is_source("rollout-2026-09-20T08-00-00-T.json"));
    assert!(!is_source("history.jsonl"));
}

#[test]
fn edge_29_no_part_is_larger_than_its_whole() {
    let usage = r#"{"input_tokens":100,"cached_input_tokens":150,"cache_write_input_tokens":7,"output_tokens":10,"reasoning_output_tokens":11}"#;
    let lines = started(&[info(1000, &format!(r#"{{"total_token_usage":{usage}}}"#))]);
    let rows = rows_of(&lines, None);
    let [row] = rows.in_order()[..] else { panic!("{rows:?}") };
    let tokens = row.usage.tokens;
    assert_eq!((tokens.input, tokens.cache_read, tokens.cache_create), (0, 100, 0));
    assert_eq!((tokens.output, tokens.reasoning), (10, 10));
    assert!(row.usage.flags.contains(Flags::CLAMPED));

    for part in ["cached_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens"] {
        let usage = format!(r#"{{"input_tokens":100,"output_tokens":100,"{part}":101}}"#);
        let lines = started(&[info(1000, &format!(r#"{{"total_token_usage":{usage}}}"#))]);
        let rows = rows_of(&lines, None);
        assert_eq!(rows.tokens(), 200);
        assert!(rows.in_order()[0].usage.flags.contains(Flags::CLAMPED), "{part}");
    }
}

#[test]
fn edge_30_total_tokens_is_not_needed() {
    let lines = [count(1000, 100, 100), count(2000, 150, 50)];
    let lines = lines
        .map(|l| l.replace(r#","total_tokens":100"#, "").replace(r#","total_tokens":150"#, ""));
    check(&started(&lines), &["tc 100", "tc 50"]);
}

fn speeds(lines: &[String]) -> Vec<&'static str> {
    rows_of(lines, None).in_order().iter().map(|row| row.usage.speed.as_str()).collect()
}

#[test]
fn edge_31_settings_without_a_tier_keep_it() {
    let lines = [
        settings(500, r#"{"service_tier":"priority"}"#),
        count(1000, 100, 100),
        settings(1500, r#"{"model":"gpt-5.5"}"#),
        count(2000, 150, 50),
        settings(2500, r#"{"service_tier":"flex"}"#),
        count(3000, 160, 10),
        settings(3500, r#"{"service_tier":"ultrafast"}"#),
        count(4000, 170, 10),
        settings(4500, r#"{"service_tier":"default"}"#),
        count(5000, 180, 10),
    ];
    assert_eq!(speeds(&started(&lines)), ["fast", "fast", "flex", "ultrafast", "standard"]);
}

#[test]
fn edge_32_an_unknown_tier_clears_it() {
    for unknown in [r#""banana""#, "null", "7"] {
        let lines = [
            settings(500, r#"{"service_tier":"priority"}"#),
            settings(600, &format!(r#"{{"service_tier":{unknown}}}"#)),
            count(1000, 100, 100),
        ];
        assert_eq!(speeds(&started(&lines)), ["standard"]);
    }
}

/// That a missing folder is awaited is tested with the watcher.
#[test]
fn edge_33_the_folders_are_named_whether_they_exist_or_not() {
    let mut env = Env { home: "/home/ada".into(), ..Env::default() };
    let both =
        |home: &str| ["sessions", "archived_sessions"].map(|f| Path::new(home).join(f)).to_vec();
    assert_eq!(Codex.roots(&env), both("/home/ada/.codex"));
    env.vars.insert("CODEX_HOME".into(), "/does/not/exist".into());
    assert_eq!(Codex.roots(&env), both("/does/not/exist"));
}

/// The reader hands over whole lines only, so a cut first line waits for its rest. Where that never
/// comes, the name of the file still says whose calls these are.
#[test]
fn edge_34_a_cut_first_line_loses_no_calls() {
    let name = "2026/09/20/rollout-2026-09-20T08-00-00-T.jsonl";
    let whole = started(&[count(1000, 100, 100)]);
    let cut = whole[0][..whole[0].len() / 2].to_owned();
    let rest = [whole[1].clone(), whole[2].clone()];

    let calls = |name: &str, first: &str| {
        let mut rows = Rows::default();
        let lines = [first.as_bytes(), rest[0].as_bytes(), rest[1].as_bytes()];
        rows.apply(read(&mut *Codex.begin(&source(name), &nowhere(), ""), &lines, &|_| None));
        (rows.events.into_keys().collect::<Vec<_>>(), rows.skips.0.into_iter().collect::<Vec<_>>())
    };
    let key = vec![EventKey::new("codex:tc:T:100:0:0:0:0")];
    assert_eq!(calls(name, &whole[0]), (key.clone(), vec![]));
    assert_eq!(calls(name, &cut), (key, vec![(Skip::Malformed, 1)]));
    let unknown = vec![(Skip::Malformed, 1), (Skip::BadField, 1)];
    assert_eq!(calls("rollout-.jsonl", &cut), (vec![], unknown));
}

// ---- copies that nothing announces

/// An early version's resumed thread: its own first line, then another thread's whole file.
fn replay() -> (Vec<String>, Vec<String>) {
    let (parent, copy) = parent_and_copy(6000);
    let own = [
        event(30_000, "user_message"),
        context(30_000, "gpt-5.4"),
        count(60_000, 64, 64),
        event(70_000, "user_message"),
        count(90_000, 130, 66),
    ];
    (parent, [&[meta("")], &copy[..], &own].concat())
}

#[test]
fn a_replay_without_a_word_about_its_parent_is_not_counted() {
    let (parent, lines) = replay();
    for parent in [None, Some(&parent[..])] {
        let rows = rows_of(&lines, parent);
        assert_eq!(rows.calls(), ["tc 64", "tc 66"]);
        assert_eq!(rows.prompts(), ["codex:prompt:T:1", "codex:prompt:T:2"]);
        assert_eq!(rows.in_order()[1].owner.client, None);
    }
}

#[test]
fn a_replay_asks_for_the_thread_that_it_copies() {
    let (_, lines) = replay();
    let mut parser = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), "");
    let mut parsed = Parsed::default();
    parser.parse_line(lines[0].as_bytes(), &mut parsed);
    assert_eq!(parser.wants_parent(), None);
    parser.parse_line(lines[1].as_bytes(), &mut parsed);
    assert_eq!(parser.wants_parent().as_deref(), Some("P"));
    parser.set_parent(None);
    assert_eq!(parser.wants_parent(), None);

    // What was found is not kept: after a restart it is asked for again.
    let resumed = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), &parser.state());
    assert_eq!(resumed.wants_parent().as_deref(), Some("P"));
}

#[test]
fn a_thread_does_not_descend_from_itself() {
    let lines = [meta(r#","parent_thread_id":"T""#), count(10, 100, 100)];
    check(&lines, &["tc 100"]);
}

// ---- rule 3c

fn trigger(ms: i64) -> String {
    line(ms, "inter_agent_communication_metadata", r#"{"trigger_turn":true}"#)
}

#[test]
fn an_order_makes_the_running_turn_the_subagents_own() {
    let copied = [event(1, "task_started"), count(2, 100, 100)];
    let own = [event(3, "task_started"), count(500, 140, 40), trigger(600), count(900, 170, 30)];
    let spawn = r#","source":{"subagent":{"thread_spawn":{"parent_thread_id":"P"}}}"#;
    let lines = [&[meta(spawn)], &copied[..], &own].concat();
    check(&lines, &["tc 40", "tc 30"]);

    // A person's fork copies such orders.
    let forked = [&[meta(r#","forked_from_id":"P""#)], &copied[..], &own].concat();
    check(&forked, &[]);
    // And a message that orders nothing says nothing.
    let silent = line(600, "inter_agent_communication", r#"{"trigger_turn":false}"#);
    let lines: Vec<_> =
        lines.into_iter().map(|l| if l == trigger(600) { silent.clone() } else { l }).collect();
    check(&lines, &[]);
}

#[test]
fn a_record_of_its_own_ends_a_copy() {
    let (_, copy) = parent_and_copy(20);
    let own = [record(200, "T", "r1", 50), count(210, 500, 50), count(300, 530, 30)];
    let lines = fork(&copy, &own);
    check(&lines, &["resp 50", "tc 30"]);
}

// ---- counts

#[test]
fn totals_may_exceed_what_a_call_can_use() {
    let lines = [
        count(1000, 5_000_000_000, 1000),
        count(2000, 5_000_000_100, 100),
        // No call uses that much.
        count(3000, 9_000_000_100, 1000),
        count(4000, 9_000_000_150, 50),
    ];
    check(&started(&lines), &["tc 1000", "tc 100", "tc 50"]);
}

/// Where a counter was not logged, the next one has grown by two calls.
#[test]
fn a_step_that_is_larger_than_the_last_call_may_be_several() {
    let is_sum = |lines: &[String]| -> Vec<(u64, bool)> {
        let rows = rows_of(&started(lines), None);
        let describe =
            |row: &&UsageEvent| (row.usage.tokens.total(), row.usage.flags.contains(Flags::SUM));
        rows.in_order().iter().map(describe).collect()
    };
    let lines = [count(1000, 200, 200), count(9000, 500, 150), count(19000, 600, 100)];
    assert_eq!(is_sum(&lines), [(200, false), (300, true), (100, false)]);
    // A restart in between, and a call that waits for its model.
    assert_eq!(
        is_sum(&[count(1000, 200, 200), total_only(9000, 300)]),
        [(200, false), (100, true)]
    );
    let held = [count(1000, 200, 200), count(9000, 500, 150), context(9500, "gpt-5.5")];
    let rows = rows_in_two(&[vec![thread(0, "T", "")], held.to_vec()].concat(), 3);
    let flags: Vec<_> =
        rows.in_order().iter().map(|row| row.usage.flags.contains(Flags::SUM)).collect();
    assert_eq!((rows.models(), flags), (vec!["gpt-5.5"; 2], vec![false, true]));
    // What the call states of itself, where totals start over or an ancestor's are part of them.
    assert_eq!(is_sum(&[count(1000, 900, 900), count(9000, 400, 30)]), [(900, false), (30, false)]);
    assert_eq!(is_sum(&[count(1000, 900, 60)]), [(60, false)]);
    // A record is one call.
    assert_eq!(is_sum(&[record(1000, "T", "r", 300), total_only(1100, 300)]), [(300, false)]);
}

#[test]
fn a_series_without_totals_counts_what_each_call_states() {
    let last = |ms, input| info(ms, &format!(r#"{{"last_token_usage":{}}}"#, usage(input)));
    let lines = [last(1000, 80), last(3000, 80), last(9000, 80), last(9500, 90)];
    check(&started(&lines), &["tc 80", "tc 80", "tc 90"]);
}

#[test]
fn what_is_no_count_skips_the_record_alone() {
    let bad = |count: &str| total_only(1500, 120).replace("120", count);
    for (count, reason) in [
        ("120.5", Skip::BadNumber),
        ("99999999999999999999", Skip::BadNumber),
        ("1e400", Skip::BadNumber),
        ("NaN", Skip::Malformed),
    ] {
        let lines = started(&[self::count(1000, 100, 100), bad(count), self::count(2000, 150, 50)]);
        let rows = rows_of(&lines, None);
        assert_eq!(rows.calls(), ["tc 100", "tc 50"], "{count}");
        assert_eq!(rows.skips.0.into_iter().collect::<Vec<_>>(), [(reason, 1)], "{count}");
    }
    let lines = started(&[count(1000, 100, 100), bad("-5")]);
    check(&lines, &["tc 100"]);
}

#[test]
fn an_odd_count_that_nothing_is_billed_by_does_not_hide_the_call() {
    let usage = r#"{"input_tokens":100,"output_tokens":9,"reasoning_output_tokens":1.5}"#;
    let payload = format!(r#"{{"thread_id":"T","response_id":"r","usage":{usage}}}"#);
    let rows = rows_of(&started(&[line(1, "token_usage_record", &payload)]), None);
    let usage = &rows.in_order()[0].usage;
    assert_eq!((usage.tokens.output, usage.tokens.reasoning), (9, 0));
    assert_eq!(usage.flags.names().collect::<Vec<_>>(), ["clamped"]);
}

/// Of a long one it is only seen that it is no object: reading it would cost more than it tells.
#[test]
fn a_line_that_holds_no_usage_is_a_fault_if_it_is_no_record() {
    let long = format!(r#"{{"type":"response_item","text":"{}" "#, "x".repeat(5000));
    let lines =
        [r#"{"type":"response_item","payload":}"#, "[]", "{}", &(long.clone() + "}"), &long];
    let rows = rows_of(&started(&lines.map(String::from)), None);
    let skips: Vec<_> = rows.skips.0.into_iter().collect();
    assert_eq!(skips, [(Skip::Malformed, 2), (Skip::NotAnObject, 1)]);
}

#[test]
fn two_spellings_of_one_count_are_not_added() {
    let usage = r#"{"input_tokens":100,"cached_input_tokens":null,"cache_read_input_tokens":40,"cached_tokens":50,"output_tokens":9,"reasoning_tokens":3}"#;
    let rows = rows_of(&started(&[info(1, &format!(r#"{{"total_token_usage":{usage}}}"#))]), None);
    let tokens = rows.in_order()[0].usage.tokens;
    assert_eq!((tokens.input, tokens.cache_read, tokens.reasoning), (60, 40, 3));
}

#[test]
fn a_hole_of_nuls_is_one_fault_and_hides_nothing() {
    let after_hole = format!("\0\0\0{}", count(1000, 100, 100));
    let rows = rows_of(&started(&[after_hole, "\0\0".to_owned()]), None);
    assert_eq!(rows.calls(), ["tc 100"]);
    assert_eq!(rows.skips.0.into_iter().collect::<Vec<_>>(), [(Skip::Malformed, 2)]);
}

/// It would have counted as a tail, before what follows was written.
#[test]
fn what_stands_before_garbage_on_a_line_counts() {
    let lines = started(&[count(1000, 100, 100) + "x", "x".to_owned() + &count(2000, 250, 150)]);
    let rows = rows_of(&lines, None);
    assert_eq!(rows.calls(), ["tc 100"]);
    assert_eq!(rows.skips.faults(), 2);
}

#[test]
fn a_record_without_a_response_is_known_by_its_threads_totals() {
    let anonymous = |total: &str| {
        let payload =
            format!(r#"{{"thread_id":"T","usage":{},"thread_token_usage":{total}}}"#, usage(70));
        line(1000, "token_usage_record", &payload)
    };
    let rows = rows_of(&started(&[anonymous(&usage(900)), anonymous(&usage(970))]), None);
    assert_eq!(
        rows.events.keys().map(EventKey::as_str).collect::<Vec<_>>(),
        ["codex:rec:T:900:0:0:0:0", "codex:rec:T:970:0:0:0:0"]
    );
    assert_eq!(rows_of(&started(&[anonymous("{}")]), None).calls(), ["rec 70"]);
}

#[test]
fn a_record_without_usage_is_a_skip() {
    let rows = rows_of(&started(&[record(1000, "T", "r1", 0)]), None);
    assert_eq!(rows.calls(), [""; 0]);
    assert_eq!(rows.skips.0.into_iter().collect::<Vec<_>>(), [(Skip::NoUsage, 1)]);
}

// ---- owners, prompts, times

#[test]
fn a_thread_without_a_directory_has_a_project_of_its_own() {
    let lines = [meta("").replace(r#""/w""#, "17"), count(1000, 100, 100)];
    let rows = rows_of(&lines, None);
    assert_eq!(&*rows.in_order()[0].owner.project, "codex:unknown");
}

#[test]
fn a_vendor_is_named_unless_it_made_the_model() {
    let vendor = |provider: &str| {
        let lines = [meta(&format!(r#","model_provider":"{provider}""#)), count(1000, 100, 100)];
        rows_of(&lines, None).in_order()[0].usage.vendor.as_deref().map(str::to_owned)
    };
    assert_eq!(vendor("openai"), None);
    assert_eq!(vendor("azure").as_deref(), Some("azure"));
}

#[test]
fn prompts_are_numbered_by_the_log_or_counted() {
    let said = event(1000, "user_message");
    let lines = [meta(""), said.clone(), said.clone(), numbered(12, &said)];
    let rows = rows_of(&lines, None);
    assert_eq!(rows.prompts(), ["codex:prompt:T:0", "codex:prompt:T:1", "codex:prompt:T:12"]);

    let lines = [meta(r#","source":{"subagent":"review"}"#), said];
    assert!(rows_of(&lines, None).events.is_empty());
}

#[test]
fn a_line_without_a_time_has_that_of_the_one_before() {
    let timeless = count(0, 150, 50).replace("timestamp", "time");
    let lines = started(&[count(1000, 100, 100), timeless.clone()]);
    let row = rows_of(&lines, None).in_order()[1].clone();
    assert_eq!((row.ts_ms, row.usage.flags), (START_MS + 1000, guessed()));

    // Or else, of the file.
    let lines = [meta("").replace("timestamp", "time"), timeless];
    let row = rows_of(&lines, None).in_order()[0].clone();
    assert_eq!((row.ts_ms, row.usage.flags), (START_MS, guessed()));
}

fn guessed() -> Flags {
    Flags::from_names(["ts_guessed"])
}

#[test]
fn files_are_found_by_the_thread_in_their_names() {
    let id = "0197a000-0000-7000-8000-00000000000a";
    let named = |name: &str| Codex.name(Path::new(name)) == Some(id);
    assert!(named(&format!("/a/rollout-2026-09-20T08-00-00-{id}.jsonl")));
    assert!(named(&format!("/a/rollout-2026-09-20T08-00-00-{id}.jsonl.zst")));
    assert!(named(&format!("/a/rollout-2026-09-20T08-00-00-{id}_0197a000.jsonl")));
    assert!(!named(&format!("/a/rollout-2026-09-20T08-00-00-{id}b.jsonl")));
    assert!(!named(&format!("/a/{id}.jsonl")));
    assert_eq!(Codex.name(Path::new("/a/rollout-2026-09-20T08-00-00-.jsonl")), None);
}

#[test]
fn the_state_stays_small() {
    let mut parser = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), "");
    let mut parsed = Parsed::default();
    parser.parse_line(meta("").as_bytes(), &mut parsed);
    for n in 1..2000 {
        parser.parse_line(count(n * 6000, n.unsigned_abs() * 10, 10).as_bytes(), &mut parsed);
        parser.parse_line(record(n * 6000, "T", &n.to_string(), 7).as_bytes(), &mut parsed);
    }
    assert!(parser.state().len() < 100_000, "{}", parser.state().len());
    parser.parse_line(context(0, "gpt-5.5").as_bytes(), &mut parsed);
    assert!(parser.state().len() < 2_000, "{}", parser.state().len());
}

// ---- fixtures, and what must hold for any file

struct Fixture {
    what: &'static str,
    name: &'static str,
    content: &'static str,
}

macro_rules! fixture {
    ($what:literal, $name:literal) => {
        Fixture {
            what: $what,
            name: $name,
            content: include_str!(concat!("../../testdata/codex/", $name)),
        }
    };
}

const FIXTURES: &[Fixture] = &[
    fixture!(
        "early_without_model",
        "rollout-2025-09-08T10-00-00-0197a000-0000-7000-8000-00000000001b.jsonl"
    ),
    fixture!("plain", "rollout-2026-03-01T09-00-00-0197a000-0000-7000-8000-00000000000a.jsonl"),
    fixture!(
        "replay_of_plain",
        "rollout-2026-03-01T10-00-00-0197a000-0000-7000-8000-00000000000b.jsonl"
    ),
    fixture!(
        "fork_of_replay",
        "rollout-2026-03-02T10-00-00-0197a000-0000-7000-8000-00000000000c.jsonl"
    ),
    fixture!(
        "triggered_subagent",
        "rollout-2026-04-01T10-00-00-0197a000-0000-7000-8000-00000000000e.jsonl"
    ),
    fixture!("oddities", "rollout-2026-05-01T10-00-00-0197a000-0000-7000-8000-00000000001c.jsonl"),
    fixture!("upgraded", "rollout-2026-09-10T10-00-00-0197a000-0000-7000-8000-00000000001a.jsonl"),
    fixture!(
        "numbered_subagent",
        "rollout-2026-09-20T10-00-00-0197a000-0000-7000-8000-00000000000d.jsonl"
    ),
];

impl Fixture {
    fn lines(&self) -> Vec<&'static [u8]> {
        self.content.lines().map(str::as_bytes).collect()
    }

    fn parser(&self, state: &str) -> Box<dyn ParseLine> {
        Codex.begin(&source(self.name), &nowhere(), state)
    }

    fn rows_of(&self, lines: &[&[u8]], parent: &dyn Fn(&str) -> Option<Series>) -> Rows {
        let mut rows = Rows::default();
        rows.apply(read(&mut *self.parser(""), lines, parent));
        rows
    }

    fn rows(&self) -> Rows {
        self.rows_of(&self.lines(), &parent_among_fixtures)
    }
}

fn parent_among_fixtures(name: &str) -> Option<Series> {
    let parent = FIXTURES.iter().find(|f| Codex.name(Path::new(f.name)) == Some(name))?;
    Some(series(parent.lines()))
}

fn no_parent(_name: &str) -> Option<Series> {
    None
}

fn rows_in_two(lines: &[String], cut: usize) -> Rows {
    let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    in_two(
        &|state| Codex.begin(&source("rollout-x.jsonl"), &nowhere(), state),
        &bytes,
        cut,
        &no_parent,
    )
}

fn in_two(
    begin: &dyn Fn(&str) -> Box<dyn ParseLine>,
    lines: &[&[u8]],
    cut: usize,
    parent: &dyn Fn(&str) -> Option<Series>,
) -> Rows {
    let mut rows = Rows::default();
    let mut first = begin("");
    rows.apply(read(&mut *first, &lines[..cut], parent));
    let mut second = begin(&first.state());
    assert_eq!(second.state(), first.state());
    rows.apply(read(&mut *second, &lines[cut..], parent));
    rows
}

#[test]
fn fixtures_give_these_events() {
    for fixture in FIXTURES {
        insta::with_settings!({
            snapshot_path => "../../testdata/codex",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(fixture.what, describe(&fixture.rows()));
        });
    }
}

fn describe(rows: &Rows) -> String {
    let mut text = String::new();
    for row in rows.in_order() {
        let (owner, usage, tokens) = (&row.owner, &row.usage, row.usage.tokens);
        text += &format!(
            "{} {} {}",
            row.key,
            jiff::Timestamp::from_millisecond(row.ts_ms).unwrap(),
            owner.project
        );
        let more = [&owner.agent, &owner.client, &usage.vendor].into_iter().flatten();
        more.for_each(|more| text += &format!(" {more}"));
        if row.role == Role::Assistant {
            text += &format!(
                "\n    {} {}: input {} read {} create {} output {} reasoning {}",
                usage.model,
                usage.speed.as_str(),
                tokens.input,
                tokens.cache_read,
                tokens.cache_create,
                tokens.output,
                tokens.reasoning
            );
        }
        usage.flags.names().for_each(|flag| text += &format!(" {flag}"));
        text += "\n";
    }
    for (reason, n) in &rows.skips.0 {
        text += &format!("skipped {}: {n}\n", reason.as_str());
    }
    text
}

#[test]
fn a_restart_after_any_line_changes_nothing() {
    for fixture in FIXTURES {
        for parent in [&parent_among_fixtures as &dyn Fn(&str) -> _, &no_parent] {
            let lines = fixture.lines();
            let whole = fixture.rows_of(&lines, parent);
            for cut in 0..=lines.len() {
                let cut_rows = in_two(&|state| fixture.parser(state), &lines, cut, parent);
                assert_eq!(cut_rows, whole, "{} cut at {cut}", fixture.what);
            }
        }
    }
}

#[test]
fn a_parent_that_turns_up_or_goes_at_a_restart_changes_nothing() {
    for fixture in FIXTURES {
        let lines = fixture.lines();
        let whole = fixture.rows();
        for cut in 0..=lines.len() {
            for known_first in [true, false] {
                let asked = std::cell::Cell::new(0);
                let parent = |name: &str| {
                    asked.set(asked.get() + 1);
                    if (asked.get() == 1) == known_first {
                        parent_among_fixtures(name)
                    } else {
                        None
                    }
                };
                let cut_rows = in_two(&|state| fixture.parser(state), &lines, cut, &parent);
                assert_eq!(cut_rows, whole, "{} cut at {cut}", fixture.what);
            }
        }
    }
}

/// As while the parent's file is being restored.
#[test]
fn a_parent_of_which_only_the_beginning_is_there_changes_nothing() {
    let mut cuts = 0;
    for fixture in FIXTURES {
        let lines = fixture.lines();
        let whole = fixture.rows();
        let longest = std::cell::Cell::new(0);
        let rows_with = |len: usize| {
            fixture.rows_of(&lines, &|name| {
                let mut series = parent_among_fixtures(name)?;
                longest.set(series.len());
                series.truncate(len);
                Some(series)
            })
        };
        assert_eq!(rows_with(usize::MAX), whole);
        for len in 0..longest.get() {
            assert_eq!(rows_with(len), whole, "{} with {len} totals", fixture.what);
            cuts += 1;
        }
    }
    assert_ne!(cuts, 0, "a fixture has a parent");
}

// ---- a parent of which more is known later

/// A fork that is read as its parent's file grows.
struct Growing {
    lines: Vec<String>,
    parser: Box<dyn ParseLine>,
    at: usize,
    rows: Rows,
    /// How often it was read from its start.
    readings: usize,
}

impl Growing {
    fn new(lines: &[String]) -> Self {
        let parser = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), "");
        Self { lines: lines.to_vec(), parser, at: 0, rows: Rows::default(), readings: 1 }
    }

    /// Reads up to line `end`, with so much of the parent, after a restart.
    fn read(&mut self, end: usize, parent: Option<&[String]>) {
        self.begin(&self.parser.state());
        let series = parent.map(|lines| series(lines.iter().map(|line| line.as_bytes())));
        if self.parser.set_parent(series.clone()) {
            self.begin("");
            (self.at, self.readings) = (0, self.readings + 1);
        }
        let lines: Vec<_> = self.lines[self.at..end].iter().map(|line| line.as_bytes()).collect();
        self.at = end;
        self.rows.apply(read(&mut *self.parser, &lines, &|_| series.clone()));
    }

    fn begin(&mut self, state: &str) {
        self.parser = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), state);
    }

    fn leans_on(&self) -> Option<(String, u64)> {
        let lean = Codex.ties(&self.parser.state()).leans_on;
        lean.map(|lean| (lean.name, lean.counters))
    }
}

/// A parent, and a fork that copies it so slowly that each line looks like a call of its own.
fn parent_and_slow_fork() -> (Vec<String>, Vec<String>) {
    let (parent, _) = parent_and_copy(0);
    let copy: Vec<_> = [(100, 100), (250, 150), (450, 200)]
        .into_iter()
        .zip(1..)
        .map(|((total, last), n)| count(n * 7_000, total, last))
        .collect();
    let own = [event(60_000, "user_message"), count(70_000, 500, 50)];
    let fork = [&[meta(r#","forked_from_id":"P""#), context(5, "gpt-5.5")], &copy[..], &own];
    (parent, fork.concat())
}

#[test]
fn h59_a_fork_read_before_its_parent_takes_back_what_it_has_copied() {
    let (parent, lines) = parent_and_slow_fork();
    let mut fork = Growing::new(&lines);
    fork.read(lines.len(), None);
    assert_eq!(fork.rows.calls(), ["tc 100", "tc 150", "tc 200", "tc 50"]);
    assert_eq!(fork.leans_on(), Some(("P".to_owned(), 0)));
    // A part of the parent.
    fork.read(lines.len(), Some(&parent[..4]));
    assert_eq!(fork.rows.calls(), ["tc 150", "tc 200", "tc 50"]);
    fork.read(lines.len(), Some(&parent));
    assert_eq!(fork.rows, rows_of(&lines, Some(&parent)));
    assert_eq!(fork.rows.calls(), ["tc 50"]);
    assert_eq!((fork.leans_on(), fork.readings), (Some(("P".to_owned(), 3)), 3));
}

#[test]
fn h59_a_fork_whose_own_part_has_begun_is_not_read_again_as_its_parent_goes_on() {
    let (mut parent, lines) = parent_and_slow_fork();
    let mut fork = Growing::new(&lines);
    fork.read(lines.len(), Some(&parent));
    parent.push(count(80_000, 900, 450));
    fork.read(lines.len(), Some(&parent));
    assert_eq!((fork.rows.calls(), fork.readings), (vec!["tc 50".to_owned()], 1));
    // Nothing that is still to come can have been copied.
    assert_eq!(fork.leans_on(), None);
    // Nor before that, as long as all that was copied is known.
    let mut fork = Growing::new(&lines);
    for end in 0..=lines.len() {
        fork.read(end, Some(&parent[..parent.len().min(end + 3)]));
    }
    assert_eq!((fork.rows.calls(), fork.readings), (vec!["tc 50".to_owned()], 1));
}

/// Absence is not deletion.
#[test]
fn h59_a_parent_that_goes_or_begins_anew_brings_back_nothing_that_was_copied() {
    let (parent, lines) = parent_and_slow_fork();
    let other =
        [&[thread(90_000, "P", "")], &[5, 6, 7, 8].map(|n| count(n, n.unsigned_abs(), 1))[..]];
    for later in [None, Some(&other.concat()[..]), Some(&parent[..4])] {
        let mut fork = Growing::new(&lines);
        fork.read(lines.len(), Some(&parent));
        fork.read(lines.len(), later);
        assert_eq!((fork.rows.calls(), fork.readings), (vec!["tc 50".to_owned()], 1));
    }
    // It is no longer looked at.
    let mut fork = Growing::new(&lines);
    fork.read(lines.len(), Some(&parent));
    fork.read(lines.len(), Some(&other.concat()));
    assert_eq!(fork.leans_on(), None);
}

#[test]
fn a_series_is_counted_as_it_is_read() {
    let odd = [
        count(1, 100, 100) + &count(2, 150, 50) + "[]" + &count(3, 150, 0),
        format!("\0\0{}", count(4, 170, 20)),
        count(5, 190, 20) + "x",
        total_only(6, 210).replace("210", "-1"),
        total_only(7, 230).replace("230", "2.5"),
        info(8, "null"),
        count(9, 0, 0),
    ];
    let odd = started(&odd);
    let check = |lines: &[&[u8]]| {
        let mut parser = Codex.begin(&source("rollout-x.jsonl"), &nowhere(), "");
        _ = read(&mut *parser, lines, &no_parent);
        let counters = Codex.ties(&parser.state()).counters;
        assert_eq!(counters, series(lines.iter().copied()).len() as u64);
        assert!(counters > 0);
    };
    FIXTURES.iter().for_each(|fixture| check(&fixture.lines()));
    check(&odd.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
}

fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let cut = (0..FIXTURES.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    prop_oneof![
        prop::collection::vec(any::<u8>().prop_filter("no line end", |b| *b != b'\n'), 1..80),
        // A line that was not written to its end.
        cut.prop_map(|(fixture, line, end)| {
            let lines = FIXTURES[fixture].lines();
            let line = lines[line.index(lines.len())];
            line[..1 + end.index(line.len() - 1)].to_vec()
        }),
        Just(b"\0\0\0\0".to_vec()),
        Just(b"{}".to_vec()),
        Just(b"[\"token_count\"]".to_vec()),
        Just(br#"{"type":"event_msg","payload":["token_count"]}"#.to_vec()),
        Just(br#"{"type":"turn_context","payload":{"model":null,"cwd":{}}}"#.to_vec()),
        Just([br#"{"token_count":"#, &b"[".repeat(5000)[..], &b"]".repeat(5000), b"}"].concat()),
    ]
}

proptest! {
    #[test]
    fn garbage_between_lines_changes_nothing(
        fixture in 0..FIXTURES.len(),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), garbage()), 0..6),
    ) {
        let fixture = &FIXTURES[fixture];
        let mut lines = fixture.lines();
        for (at, garbage) in &garbage {
            lines.insert(at.index(lines.len() + 1), garbage);
        }
        let rows = fixture.rows_of(&lines, &parent_among_fixtures);
        prop_assert_eq!(rows.events, fixture.rows().events);
    }

    #[test]
    fn no_bytes_stop_the_parser(
        fixture in 0..FIXTURES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut bytes = FIXTURES[fixture].content.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
        let rows = FIXTURES[fixture].rows_of(&lines, &parent_among_fixtures);
        let limit = 6_000_000_000;
        prop_assert!(rows.events.values().all(|row| row.usage.tokens.total() <= limit));
    }
}

// ---- real files

/// The rollouts below a folder, by name.
fn rollouts(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rollouts(&path));
        } else if Codex.is_source(folder, &path) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn source_at(path: &Path) -> Source {
    Source { path: path.to_owned(), ..source("") }
}

/// The totals of a file in order, read by other means.
fn totals_in(content: &str) -> Vec<[u64; 4]> {
    let lines = content.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let totals = lines.filter_map(|line| {
        let usage = line.pointer("/payload/info/total_token_usage")?.clone();
        let names =
            ["input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens"];
        Some(names.map(|name| usage[name].as_u64().unwrap()))
    });
    totals.collect()
}

fn sum_of(rows: &Rows) -> [u64; 4] {
    rows.events.values().fold([0; 4], |sum, row| {
        let t = row.usage.tokens;
        [sum[0] + t.prompt(), sum[1] + t.cache_read, sum[2] + t.output, sum[3] + t.reasoning]
    })
}

#[test]
fn real_files_add_up_to_their_last_totals() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let Ok(homes) = fs::read_dir(&corpus) else {
        println!("no corpus here");
        return;
    };
    let mut homes: Vec<_> = homes.map(|home| home.unwrap().path()).collect();
    homes.sort();
    let (mut files, mut resets) = (0, 0);
    for home in homes {
        let paths = rollouts(&home.join(".codex"));
        let mut rows = Rows::default();
        for path in &paths {
            let content = fs::read_to_string(path).unwrap();
            let lines: Vec<_> = content.lines().map(str::as_bytes).collect();
            let parent = |name: &str| {
                let parent = paths.iter().find(|path| Codex.name(path) == Some(name))?;
                Some(series(fs::read_to_string(parent).unwrap().lines().map(str::as_bytes)))
            };
            let mut parser = Codex.begin(&source_at(path), &nowhere(), "");
            let parsed = read(&mut *parser, &lines, &parent);
            let mut own = Rows::default();
            own.apply(parsed.clone());
            for cut in [lines.len() / 4, lines.len() / 2, lines.len() * 3 / 4] {
                let begin = |state: &str| Codex.begin(&source_at(path), &nowhere(), state);
                assert_eq!(in_two(&begin, &lines, cut, &parent), own, "{path:?} cut at {cut}");
            }
            rows.apply(parsed);

            let totals = totals_in(&content);
            let is_reset = totals.windows(2).any(|t| (0..4).any(|i| t[1][i] < t[0][i]));
            if !is_reset {
                assert_eq!(sum_of(&own), totals.last().copied().unwrap_or_default(), "{path:?}");
            }
            assert_eq!(own.skips, Skips::default(), "{path:?}");
            files += 1;
            resets += u32::from(is_reset);
        }
        if !paths.is_empty() {
            let home = home.file_name().unwrap().to_string_lossy().into_owned();
            let calls = rows.calls().len();
            println!(
                "{home}: {calls} calls, {} prompts, {:?}",
                rows.prompts().len(),
                sum_of(&rows)
            );
        }
    }
    // The one that starts over is a replay: what is its own begins with the new series.
    assert_eq!((files, resets), (14, 1));
}
