//! The edge-case table of the fact sheet row by row, then what must hold for any session.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;

use rusqlite::Connection;
use usage::{EventKey, Role, Skip, Skips, UsageEvent};

use super::*;
use crate::testing::{Stored, put};
use crate::{Database, DatabaseError, Parsed, Progress, Surroundings, nowhere};

const ROOT: &str = "/home/ada/.copilot";

fn source(name: &str) -> Source {
    let (root, path) = (PathBuf::from(ROOT), Path::new(ROOT).join(name));
    Source { id: 7, provider: ID, path, root, mtime_ms: 5_000 }
}

// ---- lines

/// A line of a journal, with an id of its own.
fn line(id: &str, kind: &str, data: &str) -> String {
    let time = "2026-09-20T08:00:00Z";
    format!(r#"{{"type":"{kind}","data":{data},"id":"{id}","timestamp":"{time}","parentId":null}}"#)
}

fn start(session: &str) -> String {
    let data = format!(
        r#"{{"sessionId":"{session}","copilotVersion":"1.0.80","context":{{"cwd":"/w"}}}}"#
    );
    line("start", "session.start", &data)
}

fn resume(id: &str) -> String {
    line(id, "session.resume", r#"{"eventCount":3}"#)
}

fn said(output: u64) -> String {
    line("said", "assistant.message", &format!(r#"{{"outputTokens":{output}}}"#))
}

fn compaction(success: bool) -> String {
    line("compacted", "session.compaction_complete", &format!(r#"{{"success":{success}}}"#))
}

/// A model's counters, with `more` fields.
fn model(name: &str, input: u64, output: u64, more: &str) -> String {
    let usage = format!(r#"{{"inputTokens":{input},"outputTokens":{output}}}"#);
    format!(r#""{name}":{{"usage":{usage}{more}}}"#)
}

fn shutdown(id: &str, models: &[String]) -> String {
    line(id, "session.shutdown", &format!(r#"{{"modelMetrics":{{{}}}}}"#, models.join(",")))
}

/// The agent is left when one model's counters stand at this.
fn left(id: &str, input: u64, output: u64) -> String {
    shutdown(id, &[model("m", input, output, "")])
}

// ---- the store

const SESSIONS_TABLE: &str = "CREATE TABLE sessions (id TEXT PRIMARY KEY, cwd TEXT)";

const CALLS_TABLE: &str = "CREATE TABLE assistant_usage_events (id INTEGER PRIMARY KEY \
    AUTOINCREMENT, session_id TEXT, agent_id TEXT, model TEXT, copilot_usage_model TEXT, \
    input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens \
    INTEGER, reasoning_tokens INTEGER, total_nano_aiu INTEGER, created_at TEXT)";

/// The statement of a call, whose other columns are set by `more`: `, column = value`.
fn call(session: &str, input: u64, output: u64) -> String {
    format!(
        "INSERT INTO assistant_usage_events (session_id, model, input_tokens, output_tokens, \
         created_at) VALUES ('{session}', 'm', {input}, {output}, '2026-09-20T08:00:00Z')"
    )
}

fn set(column: &str, value: &str) -> String {
    format!("UPDATE assistant_usage_events SET {column} = {value}")
}

// ---- reading

/// The agent's folder.
#[derive(Default)]
struct Home {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The statements that have made the store.
    store: Option<Vec<String>>,
    /// Files that were asked for.
    asked: Mutex<Vec<PathBuf>>,
}

impl Home {
    fn with_store(statements: &[String]) -> Self {
        let tables = [SESSIONS_TABLE.to_owned(), CALLS_TABLE.to_owned()];
        Self { store: Some([&tables, statements].concat()), ..Self::default() }
    }

    fn write(&mut self, name: &str, lines: &[String]) {
        let file = self.files.entry(Path::new(ROOT).join(name)).or_default();
        lines.iter().for_each(|line| file.extend(format!("{line}\n").into_bytes()));
    }

    fn open(&self) -> Option<Connection> {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(&self.store.as_ref()?.join(";")).unwrap();
        Some(db)
    }
}

impl Surroundings for Home {
    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        self.asked.lock().unwrap().push(path.to_owned());
        self.files.get(path).cloned()
    }

    fn database(&self, path: &Path, ask: &mut dyn FnMut(&Connection) -> Result<(), DatabaseError>) {
        if let Some(db) = self.open().filter(|_| path == Path::new(ROOT).join(STORE)) {
            ask(&db).unwrap();
        }
    }

    fn reads(&self, _provider: &str) -> bool {
        true
    }
}

/// What is stored of what was read. What was once taken back never comes again.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    events: Stored,
    retracted: BTreeSet<EventKey>,
    skips: Skips,
}

impl Rows {
    fn of(parsed: Parsed) -> Self {
        let mut rows = Self::default();
        rows.take(parsed);
        rows
    }

    fn take(&mut self, parsed: Parsed) {
        self.skips.merge(&parsed.skips);
        self.retracted.extend(parsed.retracted);
        for event in parsed.events {
            put(&mut self.events, event);
        }
        self.events.retain(|key, _| !self.retracted.contains(key));
    }

    fn calls(&self) -> Vec<&UsageEvent> {
        let calls = self.events.values().filter(|event| event.role == Role::Assistant);
        let mut calls: Vec<_> = calls.collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.usage.tokens.total()));
        calls
    }

    /// Input, cached or not, and output of each call, the largest first.
    fn counts(&self) -> Vec<(u64, u64)> {
        let counts = |call: &&UsageEvent| (call.usage.tokens.prompt(), call.usage.tokens.output);
        self.calls().iter().map(counts).collect()
    }

    fn prompts(&self) -> usize {
        self.events.len() - self.calls().len()
    }
}

/// Reads the journal of session `S`.
fn journal(lines: &[String], around: &Around) -> Rows {
    let mut parser = Copilot.begin(&source("session-state/S/events.jsonl"), around, "");
    let mut out = Parsed::default();
    lines.iter().for_each(|line| parser.parse_line(line.as_bytes(), &mut out));
    Rows::of(out)
}

/// What is counted of a session that no store knows.
fn alone(lines: &[String]) -> Rows {
    journal(&[&[start("S")], lines].concat(), &nowhere())
}

fn try_read(home: &Home, state: &str) -> Result<(Rows, Progress), DatabaseError> {
    let mut out = Parsed::default();
    let progress = Store.read(&source(STORE), &home.open().unwrap(), home, state, &mut out)?;
    Ok((Rows::of(out), progress))
}

fn read(home: &Home, state: &str) -> (Rows, String) {
    let (rows, progress) = try_read(home, state).unwrap();
    assert!(!progress.more);
    (rows, progress.state)
}

fn stored(statements: &[String]) -> Rows {
    read(&Home::with_store(statements), "").0
}

fn only(rows: &Rows) -> &UsageEvent {
    assert_eq!(rows.calls().len(), 1, "{rows:?}");
    rows.calls()[0]
}

// ---- edge cases

#[test]
fn edge_01_a_session_in_store_and_journal_is_counted_from_the_store() {
    let home: Around = Arc::new(Home::with_store(&[call("S", 100, 50)]));
    let lines = [start("S"), line("p", "user.message", r#"{"content":"Go."}"#), left("a", 100, 50)];
    let rows = journal(&lines, &home);
    assert_eq!((rows.counts(), rows.prompts()), (vec![], 1));
    assert_eq!(rows.skips.0, [(Skip::Replayed, 1)].into());
    assert_eq!(stored(&[call("S", 100, 50)]).counts(), [(100, 50)]);
    // Another session's rows say nothing.
    let home: Around = Arc::new(Home::with_store(&[call("T", 100, 50)]));
    assert_eq!(journal(&lines, &home).counts(), [(100, 50)]);
}

#[test]
fn edge_02_of_cumulative_counters_the_difference_counts() {
    let rows = alone(&[left("a", 100, 50), left("b", 180, 70)]);
    assert_eq!(rows.counts(), [(100, 50), (80, 20)]);
}

#[test]
fn counters_add_up_requests_and_a_row_of_the_store_is_one() {
    let is_sum = |rows: &Rows| -> Vec<bool> {
        rows.calls().iter().map(|call| call.usage.flags.contains(Flags::SUM)).collect()
    };
    assert_eq!(is_sum(&alone(&[left("a", 100, 50), left("b", 180, 70)])), [true, true]);
    assert_eq!(is_sum(&stored(&[call("S", 100, 50)])), [false]);
}

#[test]
fn edge_03_counters_that_shrink_start_over() {
    let rows = alone(&[left("a", 180, 70), left("b", 30, 5)]);
    assert_eq!(rows.counts(), [(180, 70), (30, 5)]);
    // One of them is enough, and then those of all models do.
    let (m, n) = (|i, o| model("m", i, o, ""), |i, o| model("n", i, o, ""));
    let rows = alone(&[left("a", 180, 70), left("b", 200, 5)]);
    assert_eq!(rows.counts(), [(180, 70), (200, 5)]);
    let rows = alone(&[
        shutdown("a", &[m(100, 10), n(100, 10)]),
        shutdown("b", &[m(300, 30), n(90, 9)]),
        shutdown("c", &[m(400, 40)]),
    ]);
    assert_eq!(rows.counts(), [(400, 40), (300, 30), (100, 10), (100, 10), (90, 9)]);
}

#[test]
fn edge_04_input_includes_what_is_cached() {
    let more = [set("cache_read_tokens", "700"), set("cache_write_tokens", "200")];
    let rows = stored(&[&[call("S", 1000, 80), set("reasoning_tokens", "30")], &more[..]].concat());
    let expect = Tokens {
        input: 100,
        output: 80,
        cache_read: 700,
        cache_create: 200,
        reasoning: 30,
        ..Tokens::default()
    };
    assert_eq!(only(&rows).usage.tokens, expect);
    assert!(only(&rows).usage.flags.is_empty());

    let counts = r#"{"inputTokens":1000,"outputTokens":80,"cacheReadTokens":700,
        "cacheWriteTokens":200,"reasoningTokens":30}"#;
    let models = [format!(r#""m":{{"usage":{counts}}}"#)];
    assert_eq!(only(&alone(&[shutdown("a", &models)])).usage.tokens, expect);

    // A part that is larger than the whole: nothing becomes negative.
    let rows = stored(&[&[call("S", 800, 20), set("reasoning_tokens", "30")], &more[..]].concat());
    let usage = &only(&rows).usage;
    assert_eq!((usage.tokens.input, usage.tokens.prompt()), (0, 900));
    assert_eq!((usage.tokens.output, usage.tokens.reasoning), (20, 20));
    assert!(usage.flags.contains(Flags::CLAMPED));
}

#[test]
fn edge_05_an_ai_unit_costs_a_cent() {
    let cost = |nano_aiu: &str| {
        let rows = stored(&[call("S", 1, 1), set("total_nano_aiu", nano_aiu)]);
        only(&rows).usage.logged_cost_nanousd
    };
    assert_eq!(cost("2500000000"), Some(25_000_000), "0.025 USD");
    assert_eq!(cost("250"), Some(3));
    // What is not billed in units is not free.
    for none in ["0", "NULL", "-7", "'x'", "1.5", "49"] {
        assert_eq!(cost(none), None, "{none}");
    }
}

#[test]
fn edge_06_a_store_that_was_emptied_is_read_again_and_old_rows_stay() {
    let (rows, state) = read(&Home::with_store(&[call("S", 100, 1), call("S", 200, 2)]), "");
    let check = |statements: &[String], expect: &[(u64, u64)]| {
        let mut rows = rows.clone();
        let home = Home::with_store(statements);
        let (new, state) = read(&home, &state);
        rows.events.extend(new.events);
        assert_eq!(rows.counts(), expect);
        assert_eq!(read(&home, &state).0.events.len(), 0, "read to its end");
    };
    let old = [(200, 2), (100, 1)];
    check(&[], &old);
    check(&[call("S", 300, 3)], &[(300, 3), (200, 2), (100, 1)]);
    // It has grown beyond the old one already.
    let regrown: Vec<_> = (3..6).map(|n| call("S", 100 * n, n)).collect();
    check(&regrown, &[(500, 5), (400, 4), (300, 3), (200, 2), (100, 1)]);
    // Only the newest row has gone: nothing is counted twice.
    check(&[call("S", 100, 1)], &old);
    check(&[call("S", 100, 1), call("S", 200, 2), call("S", 300, 3)], &[(300, 3), old[0], old[1]]);
}

// ---- store and journal

/// Store and journal of session `S` while they are written and read.
#[derive(Default)]
struct World {
    home: Home,
    journal: (usize, String),
    store: String,
    rows: Rows,
    /// Read, and not yet stored.
    late: Vec<Parsed>,
}

const JOURNAL: &str = "session-state/S/events.jsonl";

impl World {
    fn new() -> Self {
        let mut home = Home::with_store(&[]);
        let prompt = line("p", "user.message", r#"{"content":"Go."}"#);
        home.write(JOURNAL, &[start("S"), prompt]);
        Self { home, ..Self::default() }
    }

    fn parse_journal(&mut self) -> Parsed {
        let home = std::mem::take(&mut self.home);
        let bytes = home.files.get(&Path::new(ROOT).join(JOURNAL)).cloned().unwrap_or_default();
        let home = Arc::new(home);
        let around: Around = Arc::<Home>::clone(&home);
        let mut parser = Copilot.begin(&source(JOURNAL), &around, &self.journal.1);
        let mut out = Parsed::default();
        let new = bytes.get(self.journal.0..).unwrap_or_default();
        for line in new.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            parser.parse_line(line, &mut out);
        }
        self.journal = (bytes.len(), parser.state());
        drop((parser, around));
        self.home = Arc::into_inner(home).unwrap();
        out
    }

    fn read_journal(&mut self) {
        let parsed = self.parse_journal();
        self.rows.take(parsed);
    }

    fn read_store(&mut self) {
        let Some(db) = self.home.open() else { return };
        let mut out = Parsed::default();
        let read = Store.read(&source(STORE), &db, &self.home, &self.store, &mut out);
        self.store = read.unwrap().state;
        self.rows.take(out);
    }

    fn commit(&mut self, late: Vec<Parsed>) {
        late.into_iter().for_each(|parsed| self.rows.take(parsed));
    }

    fn counts(&self) -> (Vec<(u64, u64)>, usize) {
        (self.rows.counts(), self.rows.prompts())
    }
}

/// Two shutdowns and two rows are written in every order, and after each of them something is read.
fn worlds(check: impl Fn(World, &str)) {
    const ORDERS: [&str; 6] = ["jjss", "jsjs", "jssj", "sjjs", "sjsj", "ssjj"];
    const READS: [&str; 5] = ["", "j", "s", "js", "l"];
    for order in ORDERS {
        for n in 0..READS.len().pow(4) {
            let (mut world, mut history) = (World::new(), String::new());
            let (mut legs, mut calls) = (["a", "b"].into_iter(), [60, 40].into_iter());
            let (mut total, mut choice) = (0, n);
            for written in order.chars() {
                if written == 'j' {
                    total += 50;
                    let left = left(legs.next().unwrap(), total, total);
                    world.home.write(JOURNAL, &[left]);
                } else {
                    let call = call("S", calls.next().unwrap(), 9);
                    world.home.store.as_mut().unwrap().push(call);
                }
                let late = std::mem::take(&mut world.late);
                let reads = READS[choice % READS.len()];
                choice /= READS.len();
                for read in reads.chars() {
                    match read {
                        'j' => world.read_journal(),
                        's' => world.read_store(),
                        // What is read now is stored only after the next step.
                        _ => {
                            let parsed = world.parse_journal();
                            world.late.push(parsed);
                        }
                    }
                }
                world.commit(late);
                history += &format!("{written}:{reads} ");
            }
            let late = std::mem::take(&mut world.late);
            world.commit(late);
            check(world, &history);
        }
    }
}

#[test]
fn whichever_of_store_and_journal_is_read_first_each_call_counts_once() {
    let expect = (vec![(60, 9), (40, 9)], 1);
    worlds(|mut world, history| {
        world.read_journal();
        world.read_store();
        assert_eq!(world.counts(), expect, "{history}");
        // From the start once more while the store is gone: what the journal says is known to be
        // counted.
        let store = world.home.store.take();
        world.journal = <_>::default();
        world.read_journal();
        assert_eq!(world.counts(), expect, "{history} without a store");
        world.home.store = store;
        world.journal = <_>::default();
        world.read_journal();
        world.store.clear();
        world.read_store();
        assert_eq!(world.counts(), expect, "{history} again");
        world.home.files.clear();
        world.store.clear();
        world.read_store();
        assert_eq!(world.counts(), expect, "{history} without a journal");
    });
}

#[test]
fn after_the_store_is_emptied_the_journal_counts_what_was_added() {
    let mut world = World::new();
    world.home.store.as_mut().unwrap().push(call("S", 100, 10));
    world.home.write(JOURNAL, &[left("a", 100, 10)]);
    world.read_store();
    world.read_journal();
    world.home.store.as_mut().unwrap().truncate(2);
    world.read_store();
    world.home.write(JOURNAL, &[left("b", 150, 15)]);
    world.read_journal();
    assert_eq!(world.counts().0, [(100, 10), (50, 5)]);
    // It comes back with rows of the same session: they take the journal's place again.
    world.home.store.as_mut().unwrap().push(call("S", 70, 7));
    world.read_store();
    assert_eq!(world.counts().0, [(100, 10), (70, 7)]);
}

/// An older version kept journals alone, a newer one resumes the session.
#[test]
fn what_was_used_before_the_store_knew_the_session_is_told_by_its_journal() {
    let at = |line: &str, day: u32| line.replace("2026-09-20T08", &format!("2026-09-{day}T08"));
    for order in ["jjs", "jsj", "sjs", "ssj", "js", "sj"] {
        let mut world = World::new();
        world.home.write(JOURNAL, &[at(&left("a", 100, 10), 18), at(&left("b", 150, 15), 19)]);
        for read in order.chars().take(order.len() - 2) {
            if read == 'j' { world.read_journal() } else { world.read_store() }
        }
        world.home.store.as_mut().unwrap().push(call("S", 70, 7));
        world.home.write(JOURNAL, &[at(&left("c", 220, 22), 21)]);
        for read in order.chars().skip(order.len() - 2) {
            if read == 'j' { world.read_journal() } else { world.read_store() }
        }
        let expect = [(100, 10), (50, 5), (70, 7)];
        let sorted = |mut counts: Vec<(u64, u64)>| {
            counts.sort_unstable();
            counts
        };
        assert_eq!(sorted(world.counts().0), sorted(expect.to_vec()), "{order}");
    }
}

#[test]
fn a_store_that_cannot_be_understood_does_not_silence_the_journal() {
    let lines = [start("S"), left("a", 100, 50)];
    let tables = [
        "CREATE TABLE other (id)",
        "CREATE TABLE assistant_usage_events (id, session_id, model, created_at)",
    ];
    for table in tables {
        let home = Home { store: Some(vec![table.to_owned()]), ..Home::default() };
        assert!(matches!(try_read(&home, ""), Err(DatabaseError::UnsupportedSchema(_))), "{table}");
        let around: Around = Arc::new(home);
        assert_eq!(journal(&lines, &around).counts(), [(100, 50)], "{table}");
    }
}

#[test]
fn a_journal_of_another_session_is_left_alone() {
    let mut home = Home::with_store(&[call("S", 1, 1)]);
    home.write(JOURNAL, &[start("T"), left("a", 100, 50)]);
    assert!(read(&home, "").0.retracted.is_empty());
    home.write("session-state/S.jsonl", &[start("S"), left("a", 100, 50)]);
    assert_eq!(read(&home, "").0.retracted.len(), 1, "of the older form");
}

#[test]
fn only_journals_of_sessions_are_looked_for() {
    for session in ["../../secret", "..", ".", "a/b", r"a\b", ".hidden"] {
        let home = Home::with_store(&[call(session, 1, 1)]);
        read(&home, "");
        assert!(home.asked.lock().unwrap().is_empty(), "{session}");
    }
    let home = Home::with_store(&[call("S", 1, 1), call("S", 2, 1)]);
    let state = read(&home, "").1;
    assert_eq!(home.asked.lock().unwrap().len(), 2, "two places, once");
    let mut home = home;
    home.store.as_mut().unwrap().push(call("S", 3, 1));
    read(&home, &state);
    assert_eq!(home.asked.lock().unwrap().len(), 2, "not for every row");
}

// ---- the journal

#[test]
fn a_session_that_ended_in_a_crash_counts_no_calls() {
    let rows = alone(&[said(10), line("p", "user.message", r#"{"content":"Go."}"#)]);
    assert_eq!((rows.counts(), rows.prompts()), (vec![], 1));
}

#[test]
fn messages_tell_counters_of_one_start_from_those_of_the_session() {
    // 100 were added, or 140 in all.
    let both = [left("a", 400, 40), resume("r"), said(100), left("b", 1400, 140)];
    assert_eq!(alone(&both).counts(), [(1000, 100), (400, 40)]);
    let each = [left("a", 400, 40), resume("r"), said(70), said(65), left("b", 1400, 140)];
    assert_eq!(alone(&each).counts(), [(1400, 140), (400, 40)]);
    // Older versions note no resumption.
    let each = [said(40), left("a", 400, 40), said(135), left("b", 1400, 140)];
    assert_eq!(alone(&each).counts(), [(1400, 140), (400, 40)]);
    // What was said before a crash is in no counter.
    let crash = [left("a", 400, 40), said(60), resume("r"), said(100), left("b", 1400, 140)];
    assert_eq!(alone(&crash).counts(), [(1000, 100), (400, 40)]);
}

#[test]
fn counters_start_over_after_a_compaction_that_succeeded() {
    let check = |success, expect: &[(u64, u64)]| {
        let lines = [left("a", 100, 10), compaction(success), left("b", 300, 30)];
        assert_eq!(alone(&lines).counts(), expect);
        let more = [&lines[..], &[left("c", 400, 40)]].concat();
        assert_eq!(alone(&more).counts(), [expect, &[(100, 10)]].concat()[..], "and on from there");
    };
    check(true, &[(300, 30), (100, 10)]);
    check(false, &[(200, 20), (100, 10)]);
}

#[test]
fn a_model_that_comes_later_counts_whole_and_one_not_asked_counts_nothing() {
    let (m, n) = (model("m", 100, 10, ""), model("n", 70, 7, ""));
    let rows = alone(&[left("a", 100, 10), shutdown("b", &[m, n])]);
    assert_eq!(rows.counts(), [(100, 10), (70, 7)]);
    assert_eq!(rows.skips, Skips::default());
    let rows = alone(&[left("a", 0, 0)]);
    assert_eq!(rows.skips.0, [(Skip::NoUsage, 1)].into());
}

#[test]
fn a_shutdown_without_counters_leaves_them_as_they_were() {
    let nothing = line("n", "session.shutdown", r#"{"modelMetrics":{}}"#);
    let rows = alone(&[left("a", 100, 10), nothing, left("b", 150, 15)]);
    assert_eq!(rows.counts(), [(100, 10), (50, 5)]);
    // The same of a model whose counters cannot be read.
    let (m, n) = (|i| model("m", i, 1, ""), |i| model("n", i, 1, ""));
    let bad = n(7).replace(":7", ":7.5");
    let rows = alone(&[
        shutdown("a", &[m(100), n(40)]),
        shutdown("b", &[m(150), bad]),
        shutdown("c", &[m(150), n(90)]),
    ]);
    assert_eq!(rows.counts(), [(100, 1), (50, 0), (50, 0), (40, 1)]);
    assert_eq!(rows.skips.0, [(Skip::BadNumber, 1)].into());
}

#[test]
fn units_count_like_tokens_where_both_readings_state_them() {
    let costs = |lines: &[String]| -> Vec<Option<i64>> {
        let rows = alone(lines);
        rows.calls().iter().map(|call| call.usage.logged_cost_nanousd).collect()
    };
    let m = |input, aiu: &str| model("m", input, 1, aiu);
    let units = |n: u64| format!(r#","totalNanoAiu":{n}"#);
    let leg = |id: &str, input, n| shutdown(id, &[m(input, &units(n))]);
    assert_eq!(costs(&[leg("a", 100, 5000), leg("b", 150, 8000)]), [Some(50), Some(30)]);
    assert_eq!(costs(&[leg("a", 100, 5000), leg("b", 50, 2000)]), [Some(50), Some(20)]);
    assert_eq!(costs(&[leg("a", 100, 5000), leg("b", 150, 4000)]), [Some(50), None]);
    assert_eq!(costs(&[left("a", 100, 1), leg("b", 150, 4000)]), [None, None]);
    assert_eq!(costs(&[leg("a", 100, 0)]), [None]);
    // Stated for all models together only.
    let total = |models: &[String]| {
        shutdown("a", models).replacen(
            "\"modelMetrics\"",
            r#""totalNanoAiu":700,"modelMetrics""#,
            1,
        )
    };
    assert_eq!(costs(&[total(&[m(9, "")])]), [Some(7)]);
    assert_eq!(costs(&[total(&[m(9, ""), model("n", 1, 1, "")])]), [None, None]);
}

#[test]
fn a_prompt_is_what_a_person_typed() {
    let check = |data: &str, expect| {
        let rows = alone(&[line("p", "user.message", data)]);
        assert_eq!(rows.prompts(), expect, "{data}");
        assert_eq!(rows.skips, Skips::default(), "{data}");
    };
    check(r#"{"content":"Go."}"#, 1);
    check(r#"{"content":"Go.","source":"user"}"#, 1);
    check(r#"{"content":"/review","source":"command-review"}"#, 1);
    check(r#"{"content":"","attachments":[{"type":"file"}]}"#, 1);
    // What keeps the agent going when it is left alone.
    check(r#"{"content":"","attachments":[],"agentMode":"autopilot"}"#, 0);
    check(r#"{"content":"Go on.","isAutopilotContinuation":true}"#, 0);
    for source in ["skill-pdf", "agent-1", "schedule-3", "system"] {
        check(&format!(r#"{{"content":"Go.","source":"{source}"}}"#), 0);
    }
    check(r#"{"content":"<skill-context name=\"pdf\">"}"#, 0);
    check(r#"{"content":"<system_notification>"}"#, 0);
    check("{}", 0);

    let said = line("p", "user.message", r#"{"content":"Go."}"#);
    let to_subagent = said.replacen('{', r#"{"agentId":"explore-1","#, 1);
    assert_eq!(alone(&[to_subagent]).prompts(), 0);
    assert_eq!(alone(&[said.clone(), said.clone()]).prompts(), 1, "one id");
    let detached = start("S").replacen(
        "\"sessionId\"",
        r#""detachedFromSpawningParentSessionId":"T","sessionId""#,
        1,
    );
    let rows = journal(&[detached, said, left("a", 1, 1)], &nowhere());
    assert_eq!(rows.prompts(), 0);
    assert!(only(&rows).owner.is_sidechain);
}

#[test]
fn an_event_says_whose_it_is() {
    let moved = line("r", "session.resume", r#"{"context":{"cwd":"/x"}}"#);
    let rows = alone(&[left("a", 100, 1), moved, left("b", 150, 1)]);
    let [first, second] = rows.calls()[..] else { panic!("{rows:?}") };
    assert_eq!((&*first.owner.session_id, &*first.owner.project), ("S", "/w"));
    assert_eq!(first.owner.client.as_deref(), Some("1.0.80"));
    assert_eq!((first.ts_ms, &*first.usage.model), (1_789_891_200_000, "m"));
    assert_eq!(&*second.owner.project, "/x");

    // Neither a first line nor a time.
    let untimed = left("a", 1, 1).replace("2026-09-20T08:00:00Z", "soon");
    let rows = journal(&[untimed], &nowhere());
    let call = only(&rows);
    assert_eq!((&*call.owner.session_id, &*call.owner.project), ("S", NO_DIRECTORY));
    assert_eq!(call.ts_ms, 5_000);
    assert!(call.usage.flags.contains(Flags::TS_GUESSED));
}

#[test]
fn h08_the_state_of_a_journal_is_bounded() {
    let long = "m".repeat(4000);
    let models: Vec<_> = (0..500).map(|n| model(&format!("{long}{n}"), 9, 1, "")).collect();
    let mut parser = Copilot.begin(&source(JOURNAL), &nowhere(), "");
    let mut out = Parsed::default();
    parser.parse_line(start(&long).as_bytes(), &mut out);
    parser.parse_line(shutdown("a", &models).as_bytes(), &mut out);
    assert_eq!(out.events.len(), 64);
    assert!(parser.state().len() < 20_000);
}

// ---- the store

#[test]
fn a_row_says_whose_it_is() {
    let cwd = "INSERT INTO sessions VALUES ('S', '/w')".to_owned();
    let rows = stored(&[cwd, call("S", 5, 1), set("agent_id", "'explore-1'")]);
    let owner = &only(&rows).owner;
    assert_eq!((&*owner.session_id, &*owner.project), ("S", "/w"));
    assert_eq!((owner.agent.as_deref(), owner.is_sidechain), (Some("explore-1"), true));
    let rows = stored(&[call("S", 5, 1), set("agent_id", "'main'")]);
    let owner = &only(&rows).owner;
    assert_eq!((owner.agent.as_deref(), owner.is_sidechain), (None, false));
    assert_eq!(&*owner.project, NO_DIRECTORY);
}

#[test]
fn a_row_has_the_model_that_answered() {
    let model = |model: &str, billed: &str| {
        let set = [set("model", model), set("copilot_usage_model", billed)];
        let rows = stored(&[&[call("S", 5, 1)], &set[..]].concat());
        only(&rows).usage.model.to_string()
    };
    assert_eq!(model("'a'", "'b'"), "a");
    assert_eq!(model("NULL", "'b'"), "b");
    assert_eq!(model("NULL", "NULL"), Usage::UNKNOWN_MODEL);
}

#[test]
fn a_row_is_dated_by_either_form_of_time() {
    let time = |time: &str| {
        let rows = stored(&[call("S", 5, 1), set("created_at", time)]);
        let call = only(&rows);
        (call.ts_ms, call.usage.flags.contains(Flags::TS_GUESSED))
    };
    assert_eq!(time("'2026-09-20T10:00:00+02:00'"), (1_789_891_200_000, false));
    assert_eq!(time("'2026-09-20 08:00:00'"), (1_789_891_200_000, false));
    for none in ["NULL", "'soon'", "7", "'1969-12-31 23:00:00'"] {
        assert_eq!(time(none), (5_000, true), "{none}");
    }
}

#[test]
fn a_row_that_cannot_be_counted_is_skipped() {
    for (column, value, skip) in [
        ("session_id", "NULL", Skip::BadField),
        ("session_id", "''", Skip::BadField),
        ("session_id", "hex(zeroblob(2049))", Skip::BadField),
        ("input_tokens", "'many'", Skip::BadNumber),
        ("output_tokens", "0.5", Skip::BadNumber),
        ("input_tokens", "0", Skip::NoUsage),
    ] {
        let rows = stored(&[call("S", 5, 0), set(column, value)]);
        assert_eq!((rows.counts(), rows.skips.0), (vec![], [(skip, 1)].into()), "{column}");
    }
    let rows = stored(&[call("S", 5, 1), set("input_tokens", "7.0")]);
    assert_eq!(rows.counts(), [(7, 1)]);
}

#[test]
fn only_columns_that_are_needed_must_be_there() {
    let least = "CREATE TABLE assistant_usage_events (id INTEGER PRIMARY KEY, session_id, \
        input_tokens, output_tokens, created_at, model)";
    let home = |table: String| Home { store: Some(vec![table]), ..Home::default() };
    let mut oldest = home(least.to_owned());
    oldest.store.as_mut().unwrap().push(call("S", 5, 1));
    assert_eq!(read(&oldest, "").0.counts(), [(5, 1)]);
    let needed = ["session_id", "input_tokens", "output_tokens", "created_at", "model"];
    for name in needed {
        let without = home(least.replace(name, "x"));
        let Err(DatabaseError::UnsupportedSchema(what)) = try_read(&without, "") else {
            panic!("{name} is not missed")
        };
        assert_eq!(what, format!("assistant_usage_events.{name}"));
    }
}

#[test]
fn a_column_that_a_newer_version_adds_makes_no_call_a_new_one() {
    let mut home = Home::with_store(&[]);
    let needed = "CREATE TABLE assistant_usage_events (id INTEGER PRIMARY KEY AUTOINCREMENT, \
        session_id, model, input_tokens, output_tokens, created_at)";
    home.store = Some(vec![needed.to_owned(), call("S", 5, 1), call("S", 6, 1)]);
    let (before, state) = read(&home, "");
    for column in ["cache_read_tokens", "cache_write_tokens", "reasoning_tokens"] {
        let added = "ALTER TABLE assistant_usage_events ADD COLUMN";
        let added = format!("{added} {column} INTEGER NOT NULL DEFAULT 0");
        home.store.as_mut().unwrap().push(added);
    }
    assert_eq!(try_read(&home, &state).unwrap().1.rows, 0, "nothing is read again");
    let keys = |rows: &Rows| rows.events.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&read(&home, "").0), keys(&before));
}

/// The agent, which empties its log whenever one of its files is asked for.
struct Owner {
    store: PathBuf,
    was_kept_from_it: Mutex<Vec<bool>>,
}

impl Surroundings for Owner {
    fn file(&self, _path: &Path) -> Option<Vec<u8>> {
        let db = Connection::open(&self.store).unwrap();
        db.execute_batch(&call("T", 1, 1)).unwrap();
        let row = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        self.was_kept_from_it.lock().unwrap().push(row.unwrap());
        None
    }
}

#[test]
fn journals_are_read_when_the_database_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let owner = Owner { store: dir.path().join(STORE), was_kept_from_it: Mutex::default() };
    let db = Connection::open(&owner.store).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch(&[SESSIONS_TABLE, CALLS_TABLE, &call("S", 5, 1), "BEGIN"].join(";")).unwrap();
    let mut out = Parsed::default();
    Store.read(&source(STORE), &db, &owner, "", &mut out).unwrap();
    assert_eq!(out.events.len(), 1);
    assert_eq!(*owner.was_kept_from_it.lock().unwrap(), [false, false]);
}

#[test]
fn many_rows_are_read_in_turns_and_the_state_is_bounded() {
    let session = |n: u64| format!("{}-{n}", "s".repeat(1000));
    let calls: Vec<_> = (1..=1100).map(|n| call(&session(n / 2), n, 0)).collect();
    let home = Home::with_store(&calls);
    let (mut state, mut all, mut turns) = (String::new(), Rows::default(), Vec::new());
    loop {
        let (rows, progress) = try_read(&home, &state).unwrap();
        all.events.extend(rows.events);
        turns.push(progress.rows);
        state = progress.state;
        assert!(state.len() < 4_000, "{}", state.len());
        if !progress.more {
            break;
        }
    }
    assert_eq!(turns, [500, 500, 100]);
    assert_eq!(all.counts().len(), 1100);
    assert_eq!(try_read(&home, &state).unwrap().1.rows, 0);
}

// ---- where sources are

#[test]
fn the_agents_folder_may_have_been_moved() {
    let roots = |moved: Option<&str>| {
        let vars = moved.map(|dir| ("COPILOT_HOME".to_owned(), dir.to_owned()));
        Copilot.roots(&Env { home: "/home/ada".into(), vars: vars.into_iter().collect() })
    };
    let usual = Path::new(ROOT);
    assert_eq!(roots(None), [usual]);
    assert_eq!(roots(Some("/opt/copilot/")), [usual, Path::new("/opt/copilot")]);
    assert_eq!(roots(Some("/home/ada/.copilot/")), [usual]);
    assert_eq!(roots(Some("copilot")), [usual]);
}

#[test]
fn sources_are_the_store_and_the_journals() {
    let is_source =
        |root: &str, name: &str| Copilot.is_source(Path::new(root), &Path::new(root).join(name));
    let sources = ["session-store.db", "session-state/S/events.jsonl", "session-state/S.jsonl"];
    for name in sources {
        assert!(is_source(ROOT, name), "{name}");
        assert!(is_source("/opt/copilot", name), "{name}");
        assert!(is_source("/home/ada", &format!(".copilot/{name}")), "{name}");
        assert!(is_source("/home", &format!("ada/.copilot/{name}")), "{name}");
        for place in ["session-state/S/files", "session-state/S/.copilot", "old", ".."] {
            assert!(!is_source(ROOT, &format!("{place}/{name}")), "{place}/{name}");
        }
    }
    for name in [
        "session-store.db-wal",
        "session-store.db-shm",
        "session-store.db.bak",
        "data.db",
        "session-state/S/events.jsonl.tmp",
        "session-state/S/workspace.yaml",
        "session-state/events.jsonl",
        "session-state/.jsonl",
        "session-state/.S.jsonl",
        "history-session-state/session_S_1.json",
        "logs/session.jsonl",
    ] {
        assert!(!is_source(ROOT, name), "{name}");
    }
    let quality = |name: &str| Copilot.quality(&Path::new(ROOT).join(name));
    assert_eq!(quality(sources[0]), Quality::PerCall);
    assert_eq!(quality(sources[1]), Quality::Cumulative);
}

#[test]
fn folders_without_sources_are_not_looked_into() {
    let looks =
        |root: &str, name: &str| Copilot.looks_into(Path::new(root), &Path::new(root).join(name));
    for name in ["", "session-state", "session-state/S"] {
        assert!(looks(ROOT, name), "{name}");
        assert!(looks("/home/ada", &format!(".copilot/{name}")), "{name}");
    }
    for name in ["logs", "installed-plugins", "session-state/S/files", "history-session-state"] {
        assert!(!looks(ROOT, name), "{name}");
    }
}

// ---- real logs

/// Sums of real logs, worked out apart from this: calls, prompts, input, output, cache reads.
#[test]
fn real_journals_add_up() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.exists() {
        println!("no corpus: nothing is checked");
        return;
    }
    let expect = [
        // No shutdown; then one without usage; then one call each.
        ("home-a", "10fb4666-56f0-4352-90fc-715caf95b418", [0, 1, 0, 0, 0]),
        ("home-a", "1afc31c8-d97f-4331-bae9-b6417f1b79a9", [0, 1, 0, 0, 0]),
        ("home-a", "2426852d-6cf5-4e90-be9f-e45fc6c7d5e4", [1, 1, 12_847, 101, 0]),
        ("home-a", "487fbe81-e917-46ad-a7c6-bf31cba53339", [1, 1, 15_517, 45, 0]),
        ("home-d", "378ab881-f02f-435c-9673-0c8d7c7d6bef", [0, 1, 0, 0, 0]),
        ("home-i", "96ef38f0-9d09-45c3-8124-6448c36090ed", [1, 1, 35_071, 2848, 151_738]),
    ];
    for (home, session, sums) in expect {
        let root = corpus.join(home).join(HOME);
        let path = root.join(SESSIONS).join(session).join(EVENTS);
        assert!(Copilot.is_source(&root, &path));
        let text = fs::read_to_string(&path).unwrap();
        let source = Source { id: 7, provider: ID, path, root, mtime_ms: 0 };
        let mut parser = Copilot.begin(&source, &nowhere(), "");
        let mut out = Parsed::default();
        text.lines().for_each(|line| parser.parse_line(line.as_bytes(), &mut out));
        let rows = Rows::of(out);
        assert_eq!(rows.skips.faults(), 0, "{session}");
        let sum = |count: fn(&Tokens) -> u64| -> u64 {
            rows.calls().iter().map(|call| count(&call.usage.tokens)).sum()
        };
        let calls = rows.calls().len() as u64;
        let prompts = rows.prompts() as u64;
        let tokens = [sum(|t| t.input), sum(|t| t.output), sum(|t| t.cache_read)];
        assert_eq!([&[calls, prompts], &tokens[..]].concat(), sums, "{session}");
        for event in rows.events.values() {
            assert_eq!(&*event.owner.session_id, session);
            assert_ne!(&*event.owner.project, NO_DIRECTORY);
            assert_eq!(event.usage.logged_cost_nanousd, None);
        }
    }
}
