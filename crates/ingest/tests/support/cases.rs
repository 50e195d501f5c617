//! Random cases: they are played, and one that fails is made shorter and printed as a command that
//! plays it again.

use std::collections::hash_map::RandomState;
use std::fmt::{Debug, Display};
use std::hash::BuildHasher as _;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How long to wait for something to be counted.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORTENINGS: u32 = 60;

/// What is held to a model.
pub(crate) trait Modelled {
    type Case: Debug + Display + FromStr<Err = String> + Sync;

    /// The name of the test program.
    const PROGRAM: &'static str;
    const CASES: u64;
    /// Cases played at once. They wait most of the time; each has a watch instance, and a user may
    /// have 128 of them.
    const PLAYERS: u64;
    /// How long to wait for something to be counted when a failing case is made shorter.
    const LESS_PATIENCE: Duration;

    fn cases() -> impl Strategy<Value = Self::Case>;

    /// `Err` says what is wrong.
    fn play(case: &Self::Case, patience: Duration) -> Result<(), String>;
}

/// Plays `TALLYD_MODEL_CASES` random cases, made from `TALLYD_MODEL_SEED`.
pub(crate) fn play_random<M: Modelled>() {
    let count = setting("TALLYD_MODEL_CASES").map_or(M::CASES, |n| n.parse().unwrap());
    let seed = setting("TALLYD_MODEL_SEED");
    let seed = seed.map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().unwrap());
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..M::PLAYERS.min(count) {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let tree = case_tree::<M>(seed, number);
                    if let Err(fault) = M::play(&tree.current(), PATIENCE)
                        && !has_failed.swap(true, Ordering::Relaxed)
                    {
                        let told = shortest::<M>(tree, &fault);
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

/// Plays the script in `TALLYD_MODEL_SCRIPT`, if there is one: `TALLYD_MODEL_CASES` times, as what
/// fails may be a matter of moments.
pub(crate) fn play_script<M: Modelled>() {
    let Some(script) = setting("TALLYD_MODEL_SCRIPT") else { return };
    let case: M::Case = script.parse().unwrap();
    let left = AtomicU64::new(setting("TALLYD_MODEL_CASES").map_or(1, |n| n.parse().unwrap()));
    let is_left = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    std::thread::scope(|scope| {
        for _ in 0..M::PLAYERS.min(left.load(Ordering::Relaxed)) {
            scope.spawn(|| {
                while is_left().is_ok() {
                    if let Err(fault) = M::play(&case, PATIENCE) {
                        left.store(0, Ordering::Relaxed);
                        panic!("{}", tell::<M>(&case, &fault));
                    }
                }
            });
        }
    });
}

fn case_tree<M: Modelled>(seed: u64, number: u64) -> impl ValueTree<Value = M::Case> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    M::cases().new_tree(&mut TestRunner::new_with_rng(Config::default(), rng)).unwrap()
}

/// The shortest case found that fails too, and how.
fn shortest<M: Modelled>(mut tree: impl ValueTree<Value = M::Case>, fault: &str) -> String {
    let mut told = tell::<M>(&tree.current(), fault);
    let mut is_simpler = tree.simplify();
    for _ in 0..SHORTENINGS {
        if !is_simpler {
            break;
        }
        is_simpler = match M::play(&tree.current(), M::LESS_PATIENCE) {
            Err(fault) => {
                told = tell::<M>(&tree.current(), &fault);
                tree.simplify()
            }
            Ok(()) => tree.complicate(),
        };
    }
    told
}

fn tell<M: Modelled>(case: &M::Case, fault: &str) -> String {
    format!(
        "{fault}\n\nTALLYD_MODEL_SCRIPT='\n{case}' cargo test -p ingest --test {} -- --exact script\n",
        M::PROGRAM
    )
}

pub(crate) fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how to test is no setting of the program")]
    std::env::var(name).ok()
}
