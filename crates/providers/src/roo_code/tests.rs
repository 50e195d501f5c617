//! The edge cases of the fact sheet by their numbers, then what it says elsewhere.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use usage::{EventKey, Flags, Owner, Role, Skip, Skips, Source, UsageEvent};

use super::*;
use crate::testing::Files;
use crate::{Parsed, Torn};

/// 2025-06-15T15:06:40Z: the cache is beside the input, but for models of OpenAI's kind.
const OLD_MS: i64 = 1_750_000_000_000;
/// 2026-02-02T02:40:00Z: the cache is part of it.
const NEW_MS: i64 = 1_770_000_000_000;
/// The first moment of the latter.
const CHANGE_MS: i64 = 1_761_868_800_000;

const FOLDER: &str =
    "/home/ada/.config/Code/User/globalStorage/rooveterinaryinc.roo-cline/tasks/t1";

/// Files beside the task.
fn files() -> Files {
    Files::below(FOLDER)
}

/// A task, and what the store would hold of it.
#[derive(Default)]
struct World {
    around: Files,
    state: String,
    rows: BTreeMap<EventKey, UsageEvent>,
    retracted: Vec<EventKey>,
    skips: Skips,
}

impl World {
    fn beside(around: Files) -> Self {
        Self { around, ..Self::default() }
    }

    fn read(&mut self, entries: &[Value]) {
        let (out, state) = parse(&json!(entries).to_string(), &self.around, &self.state).unwrap();
        self.state = state;
        self.rows.extend(out.events.into_iter().map(|event| (event.key.clone(), event)));
        self.retracted.extend(out.retracted);
        self.rows.retain(|key, _| !self.retracted.contains(key));
        self.skips = out.skips;
    }

    fn in_order(&self) -> Vec<&UsageEvent> {
        let mut rows: Vec<_> = self.rows.values().collect();
        rows.sort_by_key(|row| (row.ts_ms, row.role));
        rows
    }

    /// Calls as `500+1 r9000 w20 $nanos`, and prompts.
    fn table(&self) -> Vec<String> {
        self.in_order().into_iter().map(describe).collect()
    }

    fn models(&self) -> Vec<&str> {
        self.in_order().into_iter().map(|row| &*row.usage.model).collect()
    }
}

fn describe(row: &UsageEvent) -> String {
    if row.role == Role::User {
        return "prompt".to_owned();
    }
    let tokens = row.usage.tokens;
    let mut line = format!(
        "{}+{} r{} w{}",
        tokens.input, tokens.output, tokens.cache_read, tokens.cache_create
    );
    if let Some(cost) = row.usage.logged_cost_nanousd {
        line += &format!(" ${cost}");
    }
    if row.usage.flags.contains(Flags::CLAMPED) {
        line += " clamped";
    }
    line
}

fn parse(document: &str, around: &Files, state: &str) -> Result<(Parsed, String), Torn> {
    let path = Path::new(FOLDER).join("ui_messages.json");
    let Storage::Document(reader) = RooCode.storage(&path) else { panic!("a document") };
    let source = Source { id: 7, provider: ID, path, root: FOLDER.into(), mtime_ms: 1 };
    let mut out = Parsed::default();
    let state = reader.parse(&source, document.as_bytes(), around, state, &mut out)?;
    assert!(state.len() < 100_000);
    Ok((out, state))
}

/// The rows of a task that is read once, with nothing beside it.
#[track_caller]
fn check(entries: &[Value], expect: &[&str]) {
    let mut world = World::default();
    world.read(entries);
    assert_eq!(world.table(), expect);
}

fn entry(ts: i64, say: &str, text: &str) -> Value {
    json!({"ts": ts, "type": "say", "say": say, "text": text})
}

fn request(ts: i64, figures: &Value) -> Value {
    entry(ts, "api_req_started", &figures.to_string())
}

fn used(protocol: &str, input: u64, read: u64, write: u64) -> Value {
    json!({
        "apiProtocol": protocol,
        "tokensIn": input,
        "tokensOut": 1,
        "cacheReads": read,
        "cacheWrites": write,
    })
}

/// A message that tells the model where it is and what it is.
fn told(ts: i64, model: &str) -> Value {
    let surroundings = format!(
        "<environment_details>\n# Current Mode\n<slug>code</slug>\n<name>Code</name>\n\
         <model>{model}</model>\n\n# Current Workspace Directory (/told) Files\na\n\
         </environment_details>"
    );
    let content =
        [json!({"type": "text", "text": "do it"}), json!({"type": "text", "text": surroundings})];
    json!({"role": "user", "content": content, "ts": ts})
}

// ---- the edge-case table

#[test]
fn edge_01_what_was_cached_is_taken_out_of_the_input_since_the_change() {
    for protocol in ["anthropic", "openai", ""] {
        check(&[request(NEW_MS, &used(protocol, 10_000, 9_000, 500))], &["500+1 r9000 w500"]);
    }
    check(&[request(CHANGE_MS, &used("anthropic", 10_000, 9_000, 500))], &["500+1 r9000 w500"]);
}

#[test]
fn edge_02_before_it_anthropic_calls_state_the_cache_beside_the_input() {
    check(&[request(OLD_MS, &used("anthropic", 500, 9_000, 0))], &["500+1 r9000 w0"]);
    let last = request(CHANGE_MS - 1, &used("anthropic", 10_000, 9_000, 500));
    check(&[last], &["10000+1 r9000 w500"]);
    check(&[request(OLD_MS, &used("openai", 9_500, 9_000, 0))], &["500+1 r9000 w0"]);
    // The version that said who serves the call first came later than others.
    check(&[request(OLD_MS, &json!({"tokensIn": 500, "cacheReads": 9_000}))], &["500+0 r9000 w0"]);
    // A version of before, in use after: more was cached than the input that would include it.
    check(&[request(NEW_MS, &used("anthropic", 500, 9_000, 0))], &["500+1 r9000 w0 clamped"]);
}

#[test]
fn edge_03_a_cancelled_request_without_tokens_is_nothing() {
    let cancelled = json!({"apiProtocol": "anthropic", "cancelReason": "user_cancelled"});
    let zero =
        json!({"tokensIn": 0, "tokensOut": 0, "cost": 0, "cancelReason": "streaming_failed"});
    let mut world = World::default();
    world.read(&[request(NEW_MS, &cancelled), request(NEW_MS + 1, &zero)]);
    assert!(world.rows.is_empty() && world.skips.0.is_empty(), "and no fault");
    let some =
        json!({"tokensIn": 5, "tokensOut": 1, "cost": 0.1, "cancelReason": "user_cancelled"});
    check(&[request(NEW_MS, &some)], &["5+1 r0 w0 $100000000"]);
}

#[test]
fn edge_04_a_condensation_is_a_cost_without_tokens() {
    let condensed = |cost: Value| {
        json!({
            "ts": NEW_MS,
            "type": "say",
            "say": "condense_context",
            "contextCondense": {"cost": cost, "prevContextTokens": 9_000, "newContextTokens": 90},
        })
    };
    check(&[condensed(json!(0.02))], &["0+0 r0 w0 $20000000"]);
    check(&[condensed(json!(0)), condensed(json!("0.02"))], &[]);
    check(&[entry(NEW_MS, "condense_context", "")], &[]);
}

// ---- figures

#[test]
fn a_request_counts_once_it_is_filled_in_and_as_it_is_filled_in_last() {
    let begun = request(NEW_MS, &json!({"apiProtocol": "anthropic"}));
    let mut world = World::default();
    world.read(std::slice::from_ref(&begun));
    assert!(world.table().is_empty());
    for (input, cost) in [(10, 0.1), (20, 0.2)] {
        let mut figures = used("anthropic", input, 0, 0);
        figures["cost"] = json!(cost);
        world.read(&[request(NEW_MS, &figures)]);
    }
    assert_eq!(world.table(), ["20+1 r0 w0 $200000000"]);
    let key = world.rows.keys().next().unwrap();
    assert_eq!(key.as_str(), format!("roo:t1:{NEW_MS}"));
    // What a person rewinds stays spent.
    world.read(&[]);
    assert_eq!(world.rows.len(), 1);
}

#[test]
fn what_the_oldest_versions_say_at_the_end_of_a_request_counts() {
    let figures = json!({"tokensIn": 8, "tokensOut": 1, "cost": 0.5}).to_string();
    check(
        &[
            request(OLD_MS, &json!({"request": "do it"})),
            entry(OLD_MS + 1, "api_req_finished", &figures),
            entry(OLD_MS + 2, "api_req_retried", &figures),
            entry(OLD_MS + 3, "text", &figures),
            json!({"ts": OLD_MS + 4, "type": "ask", "say": "api_req_started", "text": figures}),
        ],
        &["8+1 r0 w0 $500000000"],
    );
}

#[test]
fn junk_is_skipped_with_its_reason() {
    let mut world = World::default();
    let mut timeless = request(0, &used("openai", 1, 0, 0));
    timeless["ts"] = json!("now");
    world.read(&[
        entry(NEW_MS, "api_req_started", r#"{"tokensIn":5"#),
        entry(NEW_MS, "api_req_started", "[]"),
        request(NEW_MS, &json!({"tokensIn": 1.5})),
        timeless,
        json!("no entry"),
        request(NEW_MS, &json!({"tokensIn": -5, "tokensOut": 2})),
    ]);
    assert_eq!(world.table(), ["0+2 r0 w0 clamped"]);
    let skips: Vec<_> = world.skips.0.into_iter().collect();
    for skip in
        [(Skip::Malformed, 1), (Skip::NotAnObject, 2), (Skip::BadNumber, 1), (Skip::BadField, 1)]
    {
        assert!(skips.contains(&skip), "{skips:?}");
    }
}

#[test]
fn a_document_that_is_not_whole_says_nothing() {
    let whole = json!([request(NEW_MS, &used("openai", 1, 0, 0))]).to_string();
    for end in 0..whole.len() {
        assert_eq!(parse(&whole[..end], &files(), "").err(), Some(Torn), "{end}");
    }
    assert_eq!(parse(&format!("{whole}]"), &files(), "").err(), Some(Torn));
}

// ---- model

/// Requests of 0, 10, 20 and so on.
fn requests(times: &[i64]) -> Vec<Value> {
    times.iter().map(|ts| request(NEW_MS + ts, &used("anthropic", 1, 0, 0))).collect()
}

#[test]
fn a_request_is_of_the_model_that_was_told_its_name_before_the_next_one() {
    let conversation = json!([
        told(NEW_MS + 3, "one"),
        {"role": "assistant", "content": "# Current Mode\n<model>quoted</model>", "ts": NEW_MS + 5},
        told(NEW_MS + 23, "two"),
        {"role": "user", "content": "no surroundings", "ts": NEW_MS + 33},
        told(NEW_MS + 43, "one"),
    ]);
    let mut world = World::beside(files().with("api_conversation_history.json", &conversation));
    world.read(&requests(&[0, 10, 20, 30, 40]));
    assert_eq!(world.models(), ["one", "one", "two", "two", "one"]);
    let mut world = World::default();
    world.read(&requests(&[0]));
    assert_eq!(world.models(), ["unknown"]);
}

#[test]
fn a_model_is_told_at_the_end_and_what_looks_like_it_before_is_none() {
    let check = |content: &str, model: &str| {
        let conversation = json!([{"role": "user", "content": content}]);
        let around = files().with("api_conversation_history.json", &conversation);
        let mut world = World::beside(around);
        world.read(&requests(&[0]));
        assert_eq!(world.models(), [model], "{content}");
    };
    check("<model>x</model>", "unknown");
    check("# Current Mode\n<slug>a</slug>\n<model>v/m \"1\"</model>", "v/m \"1\"");
    check("# Current Mode\n<model>x</model> # Current Mode\n<model>y</model>", "y");
    check("# Current Mode\n<model>x", "unknown");
    check("# Current Mode\n<model></model>", "unknown");
    check(&format!("# Current Mode\n<model>{}</model>", "x".repeat(201)), "unknown");
}

#[test]
fn a_conversation_is_read_once_for_each_request_and_what_it_said_is_remembered() {
    const CONVERSATION: &str = "api_conversation_history.json";
    let around = files()
        .with("history_item.json", &json!({"workspace": "/w"}))
        .with(CONVERSATION, &json!([told(NEW_MS + 3, "one")]));
    let mut world = World::beside(around);
    world.read(&requests(&[0]));
    assert!(world.around.take_asked().contains(&CONVERSATION.to_owned()));
    world.read(&requests(&[0]));
    assert!(!world.around.take_asked().contains(&CONVERSATION.to_owned()));
    // It was put in short, and goes on with another model.
    world.around =
        std::mem::take(&mut world.around).with(CONVERSATION, &json!([told(NEW_MS + 13, "two")]));
    world.read(&requests(&[0, 10]));
    assert!(world.around.take_asked().contains(&CONVERSATION.to_owned()));
    assert_eq!(world.models(), ["one", "two"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let messages: Vec<_> =
        (0..2_000).map(|n| told(NEW_MS + n, &format!("{}{n}", "é".repeat(90)))).collect();
    let around = files().with("api_conversation_history.json", &json!(messages));
    let mut world = World::beside(around);
    world.read(&requests(&[0]));
    assert!(world.state.len() < 20_000, "{}", world.state.len());
}

// ---- whose it is

#[test]
fn a_task_is_of_its_workspace_or_of_the_directory_that_is_mentioned() {
    let item = json!({"id": "t1", "task": "x", "workspace": "/listed"});
    let conversation = json!([told(NEW_MS, "m")]);
    let old =
        |line: &str| request(OLD_MS, &json!({"request": line, "tokensIn": 1, "tokensOut": 1}));
    let check = |around: Files, line: &str, project: &str| {
        let mut world = World::beside(around);
        for _ in 0..2 {
            world.read(&[old(line)]);
            let Owner { session_id, project: found, is_sidechain, .. } = &world.in_order()[0].owner;
            assert_eq!((&**session_id, &**found, *is_sidechain), ("t1", project, false));
        }
    };
    let told = || files().with("api_conversation_history.json", &conversation);
    let line = "# Current Workspace Directory (c:/w) Files\na";
    check(told().with("history_item.json", &item), line, "/listed");
    check(told(), line, "c:/w");
    check(told(), "# Current Working Directory (/older) Files", "/older");
    check(told(), "", "/told");
    check(files(), "", "roo-code:unknown");
}

#[test]
fn prompts_are_what_a_person_typed_and_not_what_another_task_asked_for() {
    let typed = [
        entry(NEW_MS, "text", "do it"),
        entry(NEW_MS + 1, "text", "an answer"),
        entry(NEW_MS + 2, "user_feedback", "and this"),
        entry(NEW_MS + 3, "user_feedback", " "),
        entry(NEW_MS + 4, "user_feedback_diff", "-a"),
        entry(NEW_MS + 5, "subtask_result", "done"),
        json!({"ts": NEW_MS + 6, "type": "say", "say": "user_feedback", "images": ["data:"]}),
    ];
    check(&typed, &["prompt", "prompt", "prompt"]);
    let item = json!({"parentTaskId": "t0", "workspace": "/w"});
    let mut world = World::default();
    world.read(&typed);
    assert_eq!(world.rows.len(), 3);
    // The history is written a moment later.
    world.around = files().with("history_item.json", &item);
    world.read(&typed);
    assert_eq!(world.rows.len(), 2);
    assert!(world.rows.values().all(|row| row.owner.is_sidechain && row.ts_ms > NEW_MS));
}

#[test]
fn nothing_that_was_said_is_kept() {
    const SECRET: &str = "correct horse";
    let figures = json!({"request": SECRET, "tokensIn": 1});
    let around = files().with("history_item.json", &json!({"task": SECRET})).with(
        "api_conversation_history.json",
        &json!([{"role": "user", "content": SECRET}, told(NEW_MS, "m")]),
    );
    let entries = json!([entry(NEW_MS, "text", SECRET), request(NEW_MS, &figures)]);
    let (parsed, state) = parse(&entries.to_string(), &around, "").unwrap();
    assert_eq!(parsed.events.len(), 2);
    assert!(!format!("{parsed:?}{state}").contains(SECRET));
}

// ---- places

#[test]
fn both_extensions_are_looked_for_in_every_editor() {
    let env = Env { home: "/home/ada".into(), ..Env::default() };
    let roots = RooCode.roots(&env);
    let of = |name: &str| roots.iter().filter(|root| root.ends_with(name)).count();
    let shared = roots.len() - of(TASKS.extensions[0]) - of(TASKS.extensions[1]);
    assert_eq!((of(TASKS.extensions[0]), of(TASKS.extensions[1]), shared), (9, 9, 1));
    let place = RooCode.place("/home/ada/.config".as_ref());
    let names = "{rooveterinaryinc.roo-cline,zoocodeorganization.zoo-code}";
    assert_eq!(place, Path::new("/home/ada/.config/*/User/globalStorage").join(names));
}

#[test]
fn sources_and_the_folders_that_lead_to_them_are_known_by_their_place() {
    let check = |root: &str, below: &str, is_source: bool| {
        let path = Path::new(root).join(below);
        assert_eq!(RooCode.is_source(root.as_ref(), &path), is_source, "{root} {below}");
        let folder = path.parent().unwrap();
        assert!(!is_source || RooCode.looks_into(root.as_ref(), folder), "{root} {below}");
    };
    let (config, storage) = ("/home/ada/.config", "Cursor/User/globalStorage");
    for extension in TASKS.extensions {
        let inside = format!("{storage}/{extension}/tasks");
        check(config, &format!("{inside}/1/ui_messages.json"), true);
        check(config, &format!("{inside}/1/claude_messages.json"), true);
        check(config, &format!("{inside}/1/ui_messages.json.new_1.tmp"), false);
        check(config, &format!("{inside}/1/history_item.json"), false);
        check(config, &format!("{inside}/1/api_conversation_history.json"), false);
        check(config, &format!("{inside}/_index.json"), false);
        check(&format!("{config}/{storage}/{extension}"), "tasks/1/ui_messages.json", true);
    }
    check(config, &format!("{storage}/saoudrizwan.claude-dev/tasks/1/ui_messages.json"), false);
    check("/data/roo", "tasks/1/ui_messages.json", true);
    check("/data/roo", "tasks/ui_messages.json", false);
    let refused = |root: &str, below: &str| {
        assert!(!RooCode.looks_into(root.as_ref(), &Path::new(root).join(below)), "{below}");
    };
    for extension in TASKS.extensions {
        refused(config, &format!("{storage}/{extension}/tasks/1/checkpoints"));
        refused(config, &format!("{storage}/{extension}/cache"));
    }
    refused(config, &format!("{storage}/saoudrizwan.claude-dev"));
    refused(config, "Cursor/Cache");
    refused("/data/roo", "tasks/1/checkpoints");
}

proptest! {
    /// However often a task is read while it goes on, the rows are those of its last reading.
    #[test]
    fn any_order_of_readings_gives_the_same(
        models in prop::collection::vec(0..3_u8, 1..12),
        reads in prop::collection::vec(any::<bool>(), 12),
    ) {
        let (mut entries, mut conversation) = (Vec::new(), Vec::new());
        let mut world = World::default();
        for (n, model) in models.iter().enumerate() {
            let ts = NEW_MS + i64::try_from(n).unwrap() * 10;
            conversation.push(told(ts + 3, &format!("m{model}")));
            entries.push(request(ts, &used("anthropic", 1, 0, 0)));
            world.around = files().with("api_conversation_history.json", &json!(conversation));
            if reads[n] || n + 1 == models.len() {
                world.read(&entries);
            }
        }
        let expect: Vec<String> = models.iter().map(|model| format!("m{model}")).collect();
        prop_assert_eq!(world.models(), expect.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
