//! Tailing, held to a model: whatever happens to files and to the daemon, exactly what was there to
//! be read is counted, once.
//!
//! A random case is a list of actions (`action`) that is played in a real folder (`world`) against
//! real watches, with a store in memory (`store`) and a daemon that can be killed (`support`).
//! `model` says what must be counted; `record` reads the same bytes in a second, simpler way.
//!
//! `TALLYD_MODEL_CASES` is the number of cases, `TALLYD_MODEL_SEED` what they are made from. A case
//! that fails is made shorter and printed as a command that plays it again. The long version:
//! `TALLYD_MODEL_CASES=20000 cargo test --release -p ingest --test tailing`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod action;
mod model;
mod record;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use proptest::strategy::Strategy;

use crate::action::Case;
use crate::support::cases::{Modelled, play_random, play_script};

struct Tailing;

impl Modelled for Tailing {
    type Case = Case;

    const PROGRAM: &'static str = "tailing";
    const CASES: u64 = 2_000;
    const PLAYERS: u64 = 24;
    const LESS_PATIENCE: Duration = Duration::from_secs(2);

    fn cases() -> impl Strategy<Value = Case> {
        action::cases()
    }

    fn play(case: &Case, patience: Duration) -> Result<(), String> {
        model::play(case, patience)
    }
}

#[test]
fn whatever_happens_exactly_what_was_there_is_counted_once() {
    play_random::<Tailing>();
}

/// Plays the script in `TALLYD_MODEL_SCRIPT`, if there is one.
#[test]
fn script() {
    play_script::<Tailing>();
}
