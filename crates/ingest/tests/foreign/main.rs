//! Documents and databases, held to a model: whatever their owners do with them and whatever happens
//! to the daemon, exactly what could be read is counted, once.
//!
//! A random case is a list of actions (`action`) that is played in a real folder (`world`) against
//! real watches, with a store in memory (`store`) and a daemon that can be killed (`support`). The
//! databases belong to another process (`owner`), as locks are a matter between processes. `model`
//! says what must be counted.
//!
//! `TALLYD_MODEL_CASES` is the number of cases, `TALLYD_MODEL_SEED` what they are made from. A case
//! that fails is made shorter and printed as a command that plays it again. The long version:
//! `TALLYD_MODEL_CASES=5000 cargo test --release -p ingest --test foreign`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod action;
mod model;
mod owner;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::time::Duration;

use proptest::strategy::Strategy;

use crate::action::Case;
use crate::support::cases::{Modelled, play_random, play_script, setting};

struct Foreign;

impl Modelled for Foreign {
    type Case = Case;

    const PROGRAM: &'static str = "foreign";
    const CASES: u64 = 300;
    const PLAYERS: u64 = 16;
    const LESS_PATIENCE: Duration = Duration::from_secs(6);

    fn cases() -> impl Strategy<Value = Case> {
        action::cases()
    }

    fn play(case: &Case, patience: Duration) -> Result<(), String> {
        model::play(case, patience)
    }
}

#[test]
fn whatever_owners_do_exactly_what_could_be_read_is_counted_once() {
    play_random::<Foreign>();
}

/// Plays the script in `TALLYD_MODEL_SCRIPT`, if there is one.
#[test]
fn script() {
    play_script::<Foreign>();
}

/// Is the owner of a database, if this process was started as one.
#[test]
fn owner_of_a_database() {
    if let Some(path) = setting(owner::ROLE) {
        owner::serve(path.as_ref());
    }
}
