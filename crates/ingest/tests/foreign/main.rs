//! Documents and databases, held to a model: whatever their owners do with them and whatever happens
//! to the daemon, exactly what could be read is counted, once.
//!
//! A random case is a list of actions (`action`) that is played in a real folder (`world`) against
//! real watches, with a store in memory and a daemon that can be killed (`daemon`). The databases
//! belong to another process (`owner`), as locks are a matter between processes. `model` says what
//! must be counted.
//!
//! `TALLYD_MODEL_CASES` is the number of cases, `TALLYD_MODEL_SEED` what they are made from. A case
//! that fails is made shorter and printed as a command that plays it again. The long version:
//! `TALLYD_MODEL_CASES=5000 cargo test --release -p ingest --test foreign`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod action;
mod daemon;
mod model;
mod owner;
mod world;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::action::{Case, cases};
use crate::model::play;

const CASES: u64 = 300;
/// Cases played at once. They wait most of the time; each has a watch instance, and a user may have
/// 128 of them.
const PLAYERS: u64 = 16;
/// How long to wait for something to be counted.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same, when a failing case is made shorter.
const LESS_PATIENCE: Duration = Duration::from_secs(6);
const SHORTENINGS: u32 = 60;

#[test]
fn whatever_owners_do_exactly_what_could_be_read_is_counted_once() {
    let count = setting("TALLYD_MODEL_CASES").map_or(CASES, |n| n.parse().unwrap());
    let seed = setting("TALLYD_MODEL_SEED");
    let seed = seed.map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().unwrap());
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS.min(count) {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let tree = case_tree(seed, number);
                    if let Err(fault) = play(&tree.current(), PATIENCE)
                        && !has_failed.swap(true, Ordering::Relaxed)
                    {
                        let told = shortest(tree, &fault);
                        *failure.lock().unwrap() = Some((number, told));
                    }
                }
            });
        }
    });
    if let Some((number, told)) = failure.into_inner().unwrap() {
        panic!("case {number} of seed {seed}: {told}");
    }
}

/// Plays the script in `TALLYD_MODEL_SCRIPT`, if there is one.
#[test]
fn script() {
    if let Some(script) = setting("TALLYD_MODEL_SCRIPT") {
        check(&script);
    }
}

/// Is the owner of a database, if this process was started as one.
#[test]
fn owner_of_a_database() {
    if let Some(path) = setting(owner::ROLE) {
        owner::serve(path.as_ref());
    }
}

/// Plays a case that is written out.
fn check(script: &str) {
    let case: Case = script.parse().unwrap();
    if let Err(fault) = play(&case, PATIENCE) {
        panic!("{}", tell(&case, &fault));
    }
}

fn case_tree(seed: u64, number: u64) -> impl ValueTree<Value = Case> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    cases().new_tree(&mut TestRunner::new_with_rng(Config::default(), rng)).unwrap()
}

/// The shortest case found that fails too, and how.
fn shortest(mut tree: impl ValueTree<Value = Case>, fault: &str) -> String {
    let mut told = tell(&tree.current(), fault);
    let mut is_simpler = tree.simplify();
    for _ in 0..SHORTENINGS {
        if !is_simpler {
            break;
        }
        is_simpler = match play(&tree.current(), LESS_PATIENCE) {
            Err(fault) => {
                told = tell(&tree.current(), &fault);
                tree.simplify()
            }
            Ok(()) => tree.complicate(),
        };
    }
    told
}

fn tell(case: &Case, fault: &str) -> String {
    format!(
        "{fault}\n\nTALLYD_MODEL_SCRIPT='\n{case}' cargo test -p ingest --test foreign -- --exact script\n"
    )
}

fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how to test is no setting of the program")]
    std::env::var(name).ok()
}
