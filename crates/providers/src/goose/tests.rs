//! What the fact sheet says, row by row, then what must hold for any session.

use std::collections::BTreeMap;

use rusqlite::Connection;
use usage::{Role, Skips, UsageEvent};

use super::*;
use crate::nowhere;

/// Tables as the versions of the agent make them: with the ledger, without it, and before caches
/// were counted.
const LEDGER: &str = "CREATE TABLE usage_ledger (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT \
    NOT NULL, created_timestamp INTEGER NOT NULL, model TEXT, input_tokens INTEGER, output_tokens \
    INTEGER, total_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER, cost REAL, \
    cost_source TEXT, is_compaction INTEGER DEFAULT 0); \
    CREATE INDEX l ON usage_ledger (session_id)";
const MESSAGES: &str = "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT, \
    session_id TEXT, role TEXT, content_json TEXT, created_timestamp INTEGER, metadata_json TEXT)";
const CACHES: &str = "ALTER TABLE sessions ADD COLUMN accumulated_cache_read_tokens INTEGER; \
    ALTER TABLE sessions ADD COLUMN accumulated_cache_write_tokens INTEGER";
const SESSIONS_TABLE: &str = "CREATE TABLE sessions (id TEXT PRIMARY KEY, working_dir TEXT NOT NULL, \
    session_type TEXT NOT NULL DEFAULT 'user', created_at TIMESTAMP DEFAULT '2026-05-01 08:00:00', \
    updated_at TIMESTAMP DEFAULT '2026-05-01 09:00:00', input_tokens INTEGER, output_tokens INTEGER, \
    accumulated_total_tokens INTEGER, accumulated_input_tokens INTEGER, accumulated_output_tokens \
    INTEGER, accumulated_cost REAL, provider_name TEXT, model_config_json TEXT); \
    CREATE INDEX u ON sessions (updated_at DESC)";
const PARENT: &str = "ALTER TABLE sessions ADD COLUMN parent_session_id TEXT";

/// 2026-05-01T09:00:00Z.
const UPDATED_MS: i64 = 1_777_626_000_000;

#[derive(Default)]
struct Agents(&'static [&'static str]);

impl Surroundings for Agents {
    fn reads(&self, provider: &str) -> bool {
        self.0.contains(&provider)
    }
}

/// The agent's database, and what was read of it.
struct World {
    db: Connection,
    around: Agents,
    state: String,
    events: BTreeMap<String, UsageEvent>,
    skips: Skips,
}

impl World {
    fn with(tables: &[&str]) -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(&tables.join(";")).unwrap();
        let state = String::new();
        let (events, skips) = (BTreeMap::new(), Skips::default());
        Self { db, around: Agents::default(), state, events, skips }
    }

    fn new() -> Self {
        Self::with(&[SESSIONS_TABLE, PARENT, CACHES, LEDGER, MESSAGES])
    }

    /// Before there was a ledger.
    fn old() -> Self {
        Self::with(&[SESSIONS_TABLE, MESSAGES])
    }

    fn run(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
    }

    fn session(&self, id: &str, more: &[(&str, &str)]) {
        self.run(&format!("INSERT INTO sessions (id, working_dir) VALUES ('{id}', '/w')"));
        self.set(id, more);
    }

    fn set(&self, id: &str, values: &[(&str, &str)]) {
        for (column, value) in values {
            self.run(&format!("UPDATE sessions SET {column} = {value} WHERE id = '{id}'"));
        }
    }

    fn counters(&self, id: &str, input: u64, output: u64, time: &str) {
        self.set(
            id,
            &[
                ("accumulated_input_tokens", &input.to_string()),
                ("accumulated_output_tokens", &output.to_string()),
                ("updated_at", &format!("'{time}'")),
            ],
        );
    }

    /// A request: input, output, cache reads and writes; other columns are set by `more`.
    fn request(&self, session: &str, counts: [u64; 4], more: &[(&str, &str)]) {
        let [input, output, read, write] = counts;
        self.run(&format!(
            "INSERT INTO usage_ledger (session_id, created_timestamp, model, input_tokens, \
             output_tokens, total_tokens, cache_read_tokens, cache_write_tokens) VALUES \
             ('{session}', 1788000000, 'm', {input}, {output}, {input} + {output}, {read}, {write})"
        ));
        for (column, value) in more {
            self.run(&format!(
                "UPDATE usage_ledger SET {column} = {value} \
                 WHERE id = (SELECT max(id) FROM usage_ledger)"
            ));
        }
    }

    fn message(&self, id: &str, session: &str, content: &str, metadata: &str) {
        self.run(&format!(
            "INSERT INTO messages (message_id, session_id, role, content_json, created_timestamp, \
             metadata_json) VALUES ({id}, '{session}', 'user', '{content}', 1788000000, {metadata})"
        ));
    }

    fn try_read(&mut self) -> Result<Vec<UsageEvent>, DatabaseError> {
        let root = PathBuf::from("/home/ada/.local/share/goose/sessions");
        let path = root.join(DATABASE);
        let source = Source { id: 7, provider: ID, path, root, mtime_ms: 5_000 };
        let mut new = Vec::new();
        for _ in 0..100 {
            let mut out = Parsed::default();
            let read = Goose.read(&source, &self.db, &self.around, &self.state, &mut out)?;
            self.state = read.state;
            self.skips.merge(&out.skips);
            new.append(&mut out.events);
            if !read.more {
                self.events.extend(new.iter().map(|e| (e.key.as_str().to_owned(), e.clone())));
                return Ok(new);
            }
        }
        panic!("it never ends");
    }

    /// What a reading of all that is new finds.
    fn read(&mut self) -> Vec<UsageEvent> {
        self.try_read().unwrap()
    }

    fn read_one(&mut self) -> UsageEvent {
        let mut read = self.read();
        assert_eq!(read.len(), 1, "{read:?}");
        read.remove(0)
    }

    fn lose_state(&mut self) {
        self.state.clear();
    }
}

fn tokens(event: &UsageEvent) -> [u64; 4] {
    let Tokens { input, output, cache_read, cache_create, .. } = event.usage.tokens;
    [input, output, cache_read, cache_create]
}

fn is_so_far(event: &UsageEvent) -> bool {
    event.usage.flags.contains(Flags::SESSION_SO_FAR)
}

#[test]
fn edge_01_input_includes_what_is_cached() {
    let mut world = World::new();
    world.session("s", &[]);
    world.request("s", [1_000, 50, 700, 200], &[]);
    let event = world.read_one();
    assert_eq!(tokens(&event), [100, 50, 700, 200]);
    assert!(event.usage.flags.is_empty());
    assert_eq!(event.ts_ms, 1_788_000_000_000);
    // What is not stated is nothing.
    world.request("s", [10, 5, 0, 0], &[("cache_read_tokens", "NULL"), ("cost", "NULL")]);
    assert_eq!(tokens(&world.read_one()), [10, 5, 0, 0]);
}

#[test]
fn edge_02_a_cache_larger_than_the_input_leaves_none() {
    let mut world = World::new();
    world.session("s", &[]);
    world.request("s", [100, 50, 700, 200], &[]);
    let event = world.read_one();
    assert_eq!(tokens(&event), [0, 50, 700, 200]);
    assert!(event.usage.flags.contains(Flags::CLAMPED));
}

#[test]
fn edge_03_what_the_total_has_more_is_no_reasoning() {
    let mut world = World::new();
    world.session("s", &[]);
    world.request("s", [100, 50, 0, 0], &[("total_tokens", "900")]);
    let event = world.read_one();
    assert_eq!((event.usage.tokens.total(), event.usage.tokens.reasoning), (150, 0));
}

#[test]
fn edge_04_a_cost_is_the_vendors_or_the_agents_estimate() {
    let mut world = World::new();
    world.session("s", &[]);
    for (source, cost, expect) in [
        ("'provider_reported'", "0.0123", Some(12_300_000)),
        ("'estimated'", "0.30000000000000004", Some(300_000_000)),
        ("'estimated'", "2", Some(2_000_000_000)),
        ("'something_new'", "1", None),
        ("NULL", "1", None),
        ("'estimated'", "-1", None),
        ("'estimated'", "9e999", None),
        ("'provider_reported'", "NULL", None),
        ("'provider_reported'", "'much'", None),
    ] {
        world.request("s", [100, 50, 0, 0], &[("cost_source", source), ("cost", cost)]);
        let event = world.read_one();
        assert_eq!(event.usage.logged_cost_nanousd, expect, "{source} {cost}");
    }
}

#[test]
fn edge_05_a_zero_is_free_where_the_vendor_says_so() {
    let mut world = World::new();
    world.session("s", &[]);
    for (source, expect) in [("'provider_reported'", Some(0)), ("'estimated'", None)] {
        world.request("s", [100, 50, 0, 0], &[("cost_source", source), ("cost", "0.0")]);
        assert_eq!(world.read_one().usage.logged_cost_nanousd, expect, "{source}");
    }
}

#[test]
fn edge_06_what_is_carried_forward_is_the_session_so_far() {
    let mut world = World::new();
    let settings = [("model_config_json", r#"'{"model_name":"claude-sonnet-4"}'"#)];
    world.session("s", &settings);
    world.session("t", &settings);
    let carried = [("cost_source", "'carried_forward'"), ("cost", "9.5"), ("model", "NULL")];
    world.request("t", [7, 7, 0, 0], &[]);
    world.request("s", [5_000, 300, 1_000, 500], &carried);
    world.request("s", [100, 10, 0, 0], &[]);
    let read = world.read();
    let [_, event, call] = &read[..] else { panic!("{read:?}") };
    assert_eq!(tokens(event), [3_500, 300, 1_000, 500]);
    assert_eq!(event.usage.flags, so_far_flags());
    // The counters' cost may be that of a part, at prices without caches.
    assert_eq!(event.usage.logged_cost_nanousd, None);
    assert_eq!(&*event.usage.model, "claude-sonnet-4");
    assert!(call.usage.flags.is_empty());
    // A version without a ledger went on with the session: what it added comes with what the ledger
    // had before, of which the caches were larger than the input once.
    world.request("s", [10, 1, 30, 0], &[]);
    world.request("s", [900, 90, 0, 0], &carried);
    let read = world.read();
    assert_eq!(tokens(&read[1]), [3_500 + 100 + 900, 300 + 10 + 1 + 90, 1_030, 500]);
    assert_eq!(read[1].usage.flags, so_far_flags());
}

fn so_far_flags() -> Flags {
    let mut flags = Flags::default();
    flags.insert(Flags::SESSION_SO_FAR);
    flags.insert(Flags::SUM);
    flags
}

#[test]
fn edge_07_a_compaction_is_a_call() {
    let mut world = World::new();
    world.session("s", &[]);
    world.request("s", [100, 50, 0, 0], &[("is_compaction", "1")]);
    assert_eq!(tokens(&world.read_one()), [100, 50, 0, 0]);
}

#[test]
fn edge_08_of_counters_the_difference_counts_and_at_first_sight_all() {
    let mut world = World::old();
    world.session("s", &[]);
    assert!(world.read().is_empty());
    world.counters("s", 1_000, 100, "2026-05-01 09:00:00");
    let first = world.read_one();
    assert_eq!((tokens(&first), first.ts_ms), ([1_000, 100, 0, 0], UPDATED_MS));
    assert_eq!(first.usage.flags, so_far_flags(), "it may be stored already");
    assert_eq!(first.usage.logged_cost_nanousd, None);
    assert!(world.read().is_empty());
    world.counters("s", 1_500, 120, "2026-05-01 09:00:10");
    let added = world.read_one();
    assert_eq!((tokens(&added), added.ts_ms), ([500, 20, 0, 0], UPDATED_MS + 10_000));
    assert_eq!(added.usage.flags, Flags::SUM, "however many requests that was");
    // Nothing was used where only the session's name has changed.
    world.set("s", &[("updated_at", "'2026-05-02 09:00:00'")]);
    assert!(world.read().is_empty());
    // Counters that stand as they stood say nothing new: they have the same key.
    world.lose_state();
    let again = world.read_one();
    assert_eq!((&again.key, tokens(&again)), (&added.key, [1_500, 120, 0, 0]));
    assert!(is_so_far(&again));
}

#[test]
fn edge_09_counters_without_a_cache_are_input() {
    let mut world = World::old();
    world.session("s", &[]);
    world.counters("s", 1_000, 100, "2026-05-01 09:00:00");
    let before = world.read_one();
    // The agent is brought up to date and counts caches from now on.
    world.run(CACHES);
    world.lose_state();
    assert_eq!(world.read_one().key, before.key);
    world.set("s", &[("accumulated_cache_read_tokens", "600")]);
    world.counters("s", 2_000, 150, "2026-05-01 09:00:10");
    assert_eq!(tokens(&world.read_one()), [400, 50, 600, 0]);
}

#[test]
fn edge_10_the_model_of_counters_is_what_the_session_is_set_to() {
    let mut world = World::old();
    let cases = [
        (
            r#"'{"model_name":"gpt-5","temperature":null,"request_params":{"model_name":"x"}}'"#,
            "gpt-5",
        ),
        ("NULL", "unknown"),
        ("'{}'", "unknown"),
        ("'not json'", "unknown"),
        ("x'00ff'", "unknown"),
    ];
    for (n, (settings, expect)) in cases.into_iter().enumerate() {
        let id = format!("s{n}");
        let more = [("model_config_json", settings), ("provider_name", "'openai'")];
        world.session(&id, &more);
        world.counters(&id, 10, 1, "2026-05-01 09:00:00");
        let event = world.read_one();
        assert_eq!(&*event.usage.model, expect);
        assert_eq!(event.usage.vendor.as_deref(), Some("openai"));
    }
}

#[test]
fn edge_11_a_session_of_the_ledger_is_never_counted_from_its_counters() {
    let mut world = World::new();
    world.session("both", &[]);
    world.session("old", &[]);
    world.request("both", [100, 10, 0, 0], &[]);
    // The counters are ahead: a version without a ledger was used in between.
    world.counters("both", 5_000, 500, "2026-09-01 09:00:00");
    world.counters("old", 300, 30, "2026-09-01 09:00:00");
    let read = world.read();
    let counts: Vec<_> = read.iter().map(tokens).collect();
    assert_eq!(counts, [[100, 10, 0, 0], [300, 30, 0, 0]]);
    // The old session is gone on with: the ledger says all of it, beginning with what there was.
    world.counters("old", 450, 45, "2026-09-01 09:00:05");
    world.request("old", [300, 30, 0, 0], &[("cost_source", "'carried_forward'")]);
    world.request("old", [150, 15, 0, 0], &[]);
    let read = world.read();
    let counts: Vec<_> = read.iter().map(|event| (tokens(event), is_so_far(event))).collect();
    assert_eq!(counts, [([300, 30, 0, 0], true), ([150, 15, 0, 0], false)]);
}

#[test]
fn edge_12_a_key_holds_the_row_its_time_and_its_counts() {
    let mut world = World::new();
    world.session("20260901_1", &[]);
    world.request("20260901_1", [9, 8, 0, 0], &[]);
    assert_eq!(world.read_one().key, usage::EventKey::new("goose:20260901_1:1:1788000000:9:8"));
    world.session("20260901_2", &[]);
    world.counters("20260901_2", 5, 4, "2026-09-01 09:00:00");
    assert_eq!(
        world.read_one().key,
        usage::EventKey::new("goose:acc:20260901_2:1777622400:5:4:0:0")
    );
}

#[test]
fn edge_13_what_is_deleted_stays_counted() {
    let mut world = World::new();
    world.session("a", &[]);
    world.session("b", &[]);
    world.request("a", [100, 10, 0, 0], &[]);
    world.request("b", [200, 20, 0, 0], &[]);
    assert_eq!(world.read().len(), 2);
    world.run(
        "DELETE FROM usage_ledger WHERE session_id = 'b'; DELETE FROM sessions WHERE id = 'b'",
    );
    // What is left is read again, and says the same.
    let again = world.read();
    assert!(again.iter().all(|event| world.events.contains_key(event.key.as_str())));
    assert!(world.read().is_empty());
    world.session("b", &[]);
    world.request("b", [200, 20, 0, 0], &[]);
    assert_eq!(world.read().len(), 1);
    assert_eq!(world.events.len(), 3, "a number is not given twice");
}

#[test]
fn edge_14_calls_of_another_agent_are_left_to_its_own_log() {
    let cases = [
        ("claude-code", "claude-code"),
        ("claude-acp", "claude-code"),
        ("codex", "codex"),
        ("codex-acp", "codex"),
        ("gemini-cli", "gemini-cli"),
    ];
    for (vendor, inner) in cases {
        for (has_ledger, reads) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut world = if has_ledger { World::new() } else { World::old() };
            world.around.0 = if reads { &["claude-code", "codex", "gemini-cli"] } else { &["pi"] };
            world.session("s", &[("provider_name", &format!("'{vendor}'"))]);
            world.message("'m1'", "s", r#"[{"type":"text"}]"#, "NULL");
            match has_ledger {
                true => world.request("s", [100, 10, 0, 0], &[]),
                false => world.counters("s", 100, 10, "2026-05-01 09:00:00"),
            }
            let read = world.read();
            assert_eq!(read.len(), if reads { 0 } else { 2 }, "{inner}");
            for event in &read {
                let is_sum = event.usage.flags.contains(Flags::SUM);
                assert_eq!(is_sum, event.role == Role::Assistant, "it asks as often as it takes");
            }
            let skipped = world.skips.0.get(&Skip::Replayed).copied();
            assert_eq!(skipped, reads.then_some(1));
            assert_eq!(world.read().len(), 0);
            assert_eq!(world.skips.0.get(&Skip::Replayed).copied(), skipped, "counted once");
        }
    }
    // A vendor that the agent asks itself.
    let mut world = World::new();
    world.around.0 = &["claude-code", "codex"];
    world.session("s", &[("provider_name", "'chatgpt_codex'")]);
    world.request("s", [100, 10, 0, 0], &[]);
    assert!(world.read_one().usage.flags.is_empty());
}

#[test]
fn edge_15_a_session_that_another_one_started_has_rows_of_its_own() {
    let mut world = World::new();
    world.session("s", &[]);
    world.session("sub", &[("parent_session_id", "'s'"), ("session_type", "'sub_agent'")]);
    world.request("s", [100, 10, 0, 0], &[]);
    world.request("sub", [50, 5, 0, 0], &[]);
    let read = world.read();
    let whose = |event: &UsageEvent| (event.owner.session_id.to_string(), event.owner.is_sidechain);
    assert_eq!(whose(&read[0]), ("s".to_owned(), false));
    assert_eq!(whose(&read[1]), ("sub".to_owned(), true));
    assert_eq!(&*read[1].owner.project, "/w");
}

#[test]
fn edge_16_plain_counts_are_no_usage_and_missing_columns_are_named() {
    let mut world = World::old();
    world.session("s", &[("input_tokens", "700"), ("output_tokens", "70")]);
    assert!(world.read().is_empty());
    assert_eq!(world.skips.faults(), 0);
    let missing = |tables: &[&str]| match World::with(tables).try_read() {
        Err(DatabaseError::UnsupportedSchema(missing)) => missing,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&[]), "sessions.id");
    assert_eq!(missing(&["CREATE TABLE sessions (id, cwd)"]), "sessions.working_dir");
    let bare = "CREATE TABLE sessions (id TEXT, working_dir TEXT)";
    assert_eq!(missing(&[bare]), "sessions.accumulated_input_tokens");
    let ledger = LEDGER.replace("cache_read_tokens", "cached");
    assert_eq!(missing(&[bare, &ledger]), "usage_ledger.cache_read_tokens");
    // With a ledger nothing else is needed.
    let mut world = World::with(&[bare, LEDGER]);
    world.session("s", &[]);
    world.request("s", [1, 2, 0, 0], &[]);
    assert_eq!(world.read().len(), 1);
}

#[test]
fn edge_17_counters_that_fall_begin_anew() {
    let mut world = World::old();
    world.session("s", &[]);
    world.counters("s", 1_000, 100, "2026-05-01 09:00:00");
    world.read();
    world.counters("s", 300, 130, "2026-05-01 09:00:10");
    let fallen = world.read_one();
    assert_eq!((tokens(&fallen), is_so_far(&fallen)), ([300, 130, 0, 0], false));
    world.counters("s", 350, 140, "2026-05-01 09:00:20");
    assert_eq!(tokens(&world.read_one()), [50, 10, 0, 0]);
    // The session is deleted, and its id is given to the next one.
    world.run("DELETE FROM sessions");
    world.session("s", &[("created_at", "'2026-05-01 10:00:00'")]);
    world.counters("s", 900, 900, "2026-05-01 10:00:20");
    let other = world.read_one();
    assert_eq!((tokens(&other), is_so_far(&other)), ([900, 900, 0, 0], false));
    // What was counted of the first one is not what the second one says, though it stands as high.
    let before = world.events.len();
    world.counters("s", 1_000, 1_000, "2026-05-01 10:00:30");
    world.read();
    world.run("DELETE FROM sessions");
    world.session("s", &[("created_at", "'2026-05-01 11:00:00'")]);
    world.counters("s", 1_000, 1_000, "2026-05-01 11:00:20");
    world.read();
    assert_eq!(world.events.len(), before + 2);
}

#[test]
fn counters_of_any_number_of_sessions_are_seen_in_whatever_form_their_times_are() {
    let mut world = World::old();
    let many = 3 * MAX_ROWS;
    world.run("BEGIN");
    for n in 0..many {
        let id = format!("s{n}");
        world.session(&id, &[]);
        // All of a day, many in the same second, in no order, some as they were imported.
        let (hour, form) = ((n * 7) % 24, if n % 3 == 0 { "T" } else { " " });
        let zone = if form == "T" { ".123456+00:00" } else { "" };
        world.counters(&id, 10 + n, 1, &format!("2026-05-01{form}{hour:02}:00:00{zone}"));
    }
    world.run("COMMIT");
    assert_eq!(world.read().len() as u64, many);
    assert!(world.read().is_empty());
    assert!(world.state.len() < 10_000, "{} bytes", world.state.len());
    // One that is not remembered any more, in the second of the latest change.
    world.counters("s3", 5_000, 1, "2026-05-01 23:00:00");
    let changed = world.read_one();
    assert_eq!((tokens(&changed), is_so_far(&changed)), ([5_000, 1, 0, 0], true));
    world.counters("s3", 5_001, 1, "2026-05-01 23:00:00");
    assert_eq!(tokens(&world.read_one()), [1, 0, 0, 0]);
}

#[test]
fn a_change_in_the_future_hides_none_of_today() {
    let mut world = World::old();
    world.session("early", &[]);
    world.counters("early", 10, 1, "2999-01-01 09:00:00");
    assert_eq!(world.read().len(), 1);
    world.session("s", &[]);
    world.counters("s", 1_000, 100, "");
    world.set("s", &[("updated_at", "datetime('now')")]);
    assert_eq!(tokens(&world.read_one()), [1_000, 100, 0, 0]);
    assert!(world.read().is_empty());
}

#[test]
fn a_count_that_is_none_is_a_fault_once() {
    let mut world = World::new();
    world.session("s", &[("accumulated_input_tokens", "'many'")]);
    world.session("t", &[]);
    world.request("t", [1, 1, 0, 0], &[("output_tokens", "1.5")]);
    world.request("t", [0, 0, 0, 0], &[]);
    for _ in 0..3 {
        assert!(world.read().is_empty());
    }
    let skips = [(Skip::BadNumber, 2), (Skip::NoUsage, 1)];
    assert_eq!(world.skips.0, skips.into());
    // Counters are believed as far as the agent's own can count.
    world.counters("s", 1_900_000_000, 2_100_000_000, "2026-05-01 09:00:10");
    let event = world.read_one();
    assert_eq!(tokens(&event), [1_900_000_000, 0, 0, 0]);
    assert!(event.usage.flags.contains(Flags::CLAMPED));
}

#[test]
fn a_prompt_is_what_a_person_typed() {
    const TEXT: &str = r#"[{"type":"text","text":"hello"}]"#;
    let mut world = World::new();
    let kinds = ["user", "terminal", "gateway", "acp", "scheduled", "sub_agent", "hidden"];
    for kind in kinds {
        world.session(kind, &[("session_type", &format!("'{kind}'"))]);
        world.message(&format!("'m_{kind}'"), kind, TEXT, r#"'{"userVisible":true}'"#);
    }
    let long = format!(r#"[{{"text":"{}","type":"text"}}]"#, "x".repeat(100_000));
    let returned = r#"[{"type":"toolResponse","id":"1"},{"type":"text","text":"x"}]"#;
    for (id, content, metadata) in [
        ("'image'", r#"[{"type":"image","data":"x"}]"#, "NULL"),
        ("'tool'", returned, "NULL"),
        ("'told'", TEXT, r#"'{"userVisible":false,"agentVisible":true}'"#),
        ("'confirmed'", r#"[{"type":"toolConfirmationRequest"}]"#, "NULL"),
        ("'long'", &long, "'{'"),
        ("NULL", TEXT, "'{}'"),
        ("'broken'", "[{", "NULL"),
    ] {
        world.message(id, "user", content, metadata);
    }
    world.run(
        "INSERT INTO messages (session_id, role, content_json) VALUES ('user', 'assistant', '[]')",
    );
    let read = world.read();
    let prompt = |id: &str| usage::EventKey::new(&format!("goose:prompt:{id}"));
    let keys: Vec<_> = read.iter().map(|event| event.key.clone()).collect();
    let expect = ["m_user", "m_terminal", "m_gateway", "m_acp", "image", "msg_user_13"];
    assert_eq!(keys, expect.map(prompt));
    for event in &read {
        assert_eq!((event.role, &*event.usage.model), (Role::User, ""));
        assert_eq!(event.ts_ms, 1_788_000_000_000);
    }
    // A compaction writes them all anew, and a fork has copies of them.
    world.run(
        "CREATE TEMP TABLE m AS SELECT * FROM messages; DELETE FROM messages;
        INSERT INTO messages (message_id, session_id, role, content_json, created_timestamp)
            SELECT ifnull(message_id, 'msg_user_13'), session_id, role, content_json, 1 FROM m
            WHERE session_id = 'user' AND message_id NOT IN ('told', 'broken')",
    );
    let again = world.read();
    assert!(!again.is_empty());
    assert!(again.iter().all(|event| keys.contains(&event.key)), "{again:?}");
}

#[test]
fn a_database_that_was_made_anew_is_read_from_its_start() {
    let mut world = World::new();
    world.session("s", &[]);
    (0..3).for_each(|n| world.request("s", [10 + n, 1, 0, 0], &[]));
    assert_eq!(world.read().len(), 3);
    world.run("DELETE FROM usage_ledger; DELETE FROM sqlite_sequence");
    world.request("s", [99, 1, 0, 0], &[("created_timestamp", "1788000500000")]);
    let event = world.read_one();
    assert_eq!((tokens(&event)[0], event.ts_ms), (99, 1_788_000_500_000));
}

#[test]
fn a_row_whose_session_is_gone_counts() {
    let mut world = World::new();
    world.request("s", [10, 1, 0, 0], &[("created_timestamp", "-5")]);
    let event = world.read_one();
    assert_eq!((&*event.owner.project, event.ts_ms), ("goose:unknown", 5_000));
    assert!(event.usage.flags.contains(Flags::TS_GUESSED));
    world.request("s", [10, 1, 0, 0], &[("session_id", "''")]);
    assert!(world.read().is_empty());
    assert_eq!(world.skips.faults(), 1);
}

#[test]
fn the_database_is_found_where_the_agent_keeps_it() {
    let mut env = Env { home: "/home/ada".into(), ..Env::default() };
    let place = "/home/ada/.local/share/goose/sessions";
    let paths = |env: &Env| -> Vec<String> {
        Goose.roots(env).iter().map(|root| root.display().to_string()).collect()
    };
    assert_eq!(paths(&env)[0], place);
    assert_eq!(paths(&env).len(), 3);
    env.vars.insert("XDG_DATA_HOME".into(), "/data".into());
    env.vars.insert("GOOSE_PATH_ROOT".into(), "/g".into());
    assert_eq!(paths(&env)[0], "/data/goose/sessions");
    assert_eq!(paths(&env)[3], "/g/data/sessions");
    env.vars.insert("GOOSE_PATH_ROOT".into(), "g".into());
    assert_eq!(paths(&env).len(), 3);
    let check = |root: &str, path: &str, expect: bool| {
        let (root, path) = (Path::new(root), Path::new(path));
        assert_eq!(Goose.is_source(root, path), expect, "{path:?} in {root:?}");
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
        let is_reached = folders.into_iter().all(|folder| Goose.looks_into(root, folder));
        assert!(is_reached || !expect, "{path:?} in {root:?}");
    };
    let database = format!("{place}/sessions.db");
    for root in [place, "/home/ada/.local/share/goose", "/home/ada", "/"] {
        check(root, &database, true);
    }
    check("/backup", "/backup/sessions.db", true);
    check("/g", "/g/data/sessions/sessions.db", true);
    check("/r", "/r/Block/goose/data/sessions/sessions.db", true);
    for name in ["sessions.db-wal", "sessions.db-shm", "sessions.db.bak", "20250101_1.jsonl"] {
        check(place, &format!("{place}/{name}"), false);
    }
    check("/home/ada", "/home/ada/other/sessions/sessions.db", false);
    check("/home/ada", "/home/ada/app/data/sessions/sessions.db", false);
    check(place, &format!("{place}/backup/sessions.db"), false);
    check("/elsewhere", &database, false);
    for (root, folder) in [
        (place, "/home/ada/.local/share/goose/sessions/backup"),
        ("/home/ada/.local/share/goose", "/home/ada/.local/share/goose/models"),
        ("/home/ada", "/home/ada/.local/share/goose/sessions/old"),
    ] {
        assert!(!Goose.looks_into(Path::new(root), Path::new(folder)), "{folder}");
    }
}

/// Nothing beside the database is looked at, and no order of columns matters.
#[test]
fn a_turn_is_short_and_goes_on_where_the_last_one_ended() {
    let world = World::new();
    world.session("s", &[]);
    world.run("BEGIN");
    (0..2 * MAX_ROWS).for_each(|n| world.request("s", [n + 1, 1, 0, 0], &[]));
    world.run("COMMIT");
    let root = PathBuf::from("/r");
    let source = Source { id: 7, provider: ID, path: root.join(DATABASE), root, mtime_ms: 0 };
    let mut out = Parsed::default();
    let first = Goose.read(&source, &world.db, &*nowhere(), "", &mut out).unwrap();
    assert_eq!((first.rows, first.more, out.events.len() as u64), (MAX_ROWS + 1, true, MAX_ROWS));
}
