//! Usage as it comes in over days, the same at every run: 5,000 calls a day in a hundred sessions of
//! twenty projects, two agents and three models.

use usage::{Batch, Checkpoint, EventKey, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};

pub(crate) const EVENTS_PER_DAY: usize = 5_000;
const SESSIONS_PER_DAY: usize = 100;
const PROJECTS: usize = 20;
const DAY_MS: usize = 86_400_000;

/// 2026-01-01T00:00:00Z.
const START_MS: usize = 1_767_225_600_000;

/// What the sessions of one day log until the evening, a batch for each.
pub(crate) fn day(day: usize) -> Vec<Batch> {
    let calls = EVENTS_PER_DAY / SESSIONS_PER_DAY;
    let session = |session| batch(session, (0..calls).map(|call| event(day, session, call)));
    (0..SESSIONS_PER_DAY).map(|n| session(day * SESSIONS_PER_DAY + n)).collect()
}

/// Ten calls more in one of the day's sessions; `round` makes them others each time.
pub(crate) fn ten_more(day: usize, round: usize) -> Batch {
    let session = day * SESSIONS_PER_DAY + round % SESSIONS_PER_DAY;
    let calls = 1_000 + round * 10..1_010 + round * 10;
    batch(session, calls.map(|call| event(day, session, call)))
}

fn batch(session: usize, events: impl Iterator<Item = UsageEvent>) -> Batch {
    let path = format!("/logs/{session}.jsonl");
    Batch {
        events: events.collect(),
        retracted: Vec::new(),
        withdrawn: Vec::new(),
        checkpoint: Checkpoint::at_start(session as i64, provider(session), path.into(), 1),
        bytes: 0,
        lines: 0,
        complete: false,
        restates: false,
        amends: false,
        heard: None,
    }
}

fn provider(session: usize) -> &'static str {
    if session.is_multiple_of(4) { "codex" } else { "claude-code" }
}

fn event(day: usize, session: usize, call: usize) -> UsageEvent {
    const MODELS: [&str; 3] = ["claude-opus-4-5", "claude-haiku-4-5", "gpt-5.5"];
    let provider = provider(session);
    let model = if provider == "codex" { MODELS[2] } else { MODELS[call % 10 / 9] };
    UsageEvent {
        key: EventKey::new(&format!("{provider}:{session}:msg_01{:020}", call)),
        provider: provider.into(),
        role: if call.is_multiple_of(10) { Role::User } else { Role::Assistant },
        ts_ms: (START_MS + day * DAY_MS + (session + call * 977) % 80_000 * 1_000) as i64,
        copy_rank: 0,
        owner: Owner {
            session_id: format!("5e550000-0000-4000-8000-{session:012}").into(),
            project: format!("/home/ada/project-{}", session % PROJECTS).into(),
            is_sidechain: false,
            account: None,
            agent: None,
            client: Some("2.1.63".into()),
            source_id: session as i64,
        },
        usage: Usage {
            model: if call.is_multiple_of(10) { "" } else { model }.into(),
            speed: Speed::Standard,
            tokens: Tokens {
                input: 7,
                output: 9 + call as u64,
                cache_read: 20_000 + session as u64,
                cache_create: 900,
                ..Tokens::default()
            },
            web_search_requests: 0,
            vendor: None,
            tier: Some("standard".into()),
            geo: None,
            logged_cost_nanousd: None,
            flags: Flags::default(),
        },
        parser_version: 1,
    }
}
