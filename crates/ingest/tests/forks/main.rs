//! Forks of forks, held to one reading of the whole: in whatever order the bytes of a thread, its
//! fork and the fork's fork arrive and whatever happens to the daemon meanwhile, the rows are those
//! of files that were all there from the start, and each call is its own thread's.
//!
//! A random case is a family of threads (`family`) and the steps in which their files are written.
//! `TALLYD_MODEL_CASES` is the number of cases, `TALLYD_MODEL_SEED` what they are made from. A case
//! that fails is made shorter and printed as a command that plays it again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod family;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ingest::{Mode, Output, Root};
use proptest::collection::vec;
use proptest::prelude::*;
use usage::{EventKey, Role, UsageEvent};

use crate::family::{Family, Fork, THREADS};
use crate::support::cases::{Modelled, play_random, play_script};
use crate::support::daemon::{Applied, Daemon, Keep, Plan, Store};
use crate::support::script::{lines, verbs};

struct Forks;

impl Modelled for Forks {
    type Case = Case;

    const PROGRAM: &'static str = "forks";
    const CASES: u64 = 500;
    const PLAYERS: u64 = 24;
    const LESS_PATIENCE: Duration = Duration::from_secs(2);

    fn cases() -> impl Strategy<Value = Case> {
        let step = (0..THREADS, 5..140_usize, proptest::sample::select(Then::ALL.to_vec()));
        let step = step.prop_map(|(thread, share, (then, _))| Step {
            thread,
            share: share.min(100),
            then,
        });
        (family::families(), vec(step, 0..10)).prop_map(|(family, steps)| Case { family, steps })
    }

    fn play(case: &Case, patience: Duration) -> Result<(), String> {
        play(case, patience)
    }
}

#[test]
fn h59_in_whatever_order_parent_and_fork_arrive_the_rows_are_those_of_one_reading() {
    play_random::<Forks>();
}

/// Plays the script in `TALLYD_MODEL_SCRIPT`, if there is one.
#[test]
fn script() {
    play_script::<Forks>();
}

#[derive(Clone, Debug)]
struct Case {
    family: Family,
    steps: Vec<Step>,
}

/// So many hundredths of a thread's file are written, if they are not yet, and then something happens.
#[derive(Clone, Copy, Debug)]
struct Step {
    thread: usize,
    share: usize,
    then: Then,
}

verbs! {
    Then {
        Nothing = "nothing",
        /// Wait until all that was written is read.
        Settle = "settle",
        Restart = "restart",
        /// Kill at the next batch, and start again before the next step.
        Kill = "kill",
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Family { calls, forks } = &self.family;
        writeln!(f, "calls {calls}")?;
        forks.iter().try_for_each(|fork| writeln!(f, "fork {fork}"))?;
        let mut steps = self.steps.iter();
        steps.try_for_each(|Step { thread, share, then }| {
            writeln!(f, "write {thread} {share} {}", then.word())
        })
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(script: &str) -> Result<Self, String> {
        let (mut calls, mut forks, mut steps) = (None, Vec::new(), Vec::new());
        for line in lines(script) {
            let what = || format!("no such line: {line}");
            let number = |word: &str| word.parse::<usize>().map_err(|_| what());
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["calls", n] => calls = Some(number(n)?),
                ["fork", ref words @ ..] => forks.push(Fork::parse(words).ok_or_else(what)?),
                ["write", thread, share, then] => steps.push(Step {
                    thread: number(thread)?.min(THREADS - 1),
                    share: number(share)?.min(100),
                    then: Then::parse(then).ok_or_else(what)?,
                }),
                _ => return Err(what()),
            }
        }
        let forks = forks.try_into().map_err(|_| "there are two forks")?;
        let calls = calls.ok_or("how many calls?")?;
        Ok(Self { family: Family { calls, forks }, steps })
    }
}

/// What is stored, as far as forks are concerned: what only one source says may be withdrawn by it.
#[derive(Default)]
struct Rows(BTreeMap<EventKey, UsageEvent>);

impl Keep for Rows {
    fn keep(&mut self, output: &Output) {
        let Output::Batch(batch) = output else { return };
        for event in batch.events.iter().cloned() {
            let merged = match self.0.remove(&event.key) {
                Some(known) => usage::merge(known, event),
                None => event,
            };
            self.0.insert(merged.key.clone(), merged);
        }
        for key in &batch.retracted {
            self.0.remove(key);
        }
        for key in &batch.withdrawn {
            if self.0.get(key).is_some_and(|e| e.owner.source_id == batch.checkpoint.source_id) {
                self.0.remove(key);
            }
        }
    }
}

impl Rows {
    /// The tokens of each thread's calls.
    fn calls(&self) -> family::Calls {
        let mut calls = family::Calls::default();
        for event in self.0.values().filter(|event| event.role == Role::Assistant) {
            let thread = calls.entry(event.owner.session_id.to_string()).or_default();
            thread.push(event.usage.tokens.input);
            thread.sort_unstable();
        }
        calls
    }
}

struct Player {
    plan: Plan,
    paths: Vec<PathBuf>,
    store: Arc<Store<Rows>>,
    daemon: Option<Daemon<Rows>>,
}

fn play(case: &Case, patience: Duration) -> Result<(), String> {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("sessions");
    fs::create_dir(&folder).unwrap();
    let provider = *providers::ALL.iter().find(|provider| provider.id() == "codex").unwrap();
    let plan = Plan {
        home: home.path().to_owned(),
        roots: vec![Root { provider, path: folder.clone() }],
        scratch: None,
        sweep: Duration::from_secs(3600),
        max_line: 1 << 20,
    };
    let files = case.family.files();
    let paths = files.iter().map(|(name, _)| folder.join(name)).collect();
    let mut player = Player { plan, paths, store: Arc::default(), daemon: None };
    player.start();
    let result = player.play(case, &files, patience);
    if let Some(daemon) = player.daemon.take() {
        daemon.kill();
    }
    result
}

impl Player {
    fn start(&mut self) {
        if self.daemon.as_ref().is_some_and(|daemon| !daemon.is_doomed()) {
            return;
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.daemon = Some(Daemon::start(&self.plan, &self.store, Mode::Live));
    }

    fn play(
        &mut self,
        case: &Case,
        files: &[(String, String)],
        patience: Duration,
    ) -> Result<(), String> {
        let rest = (0..files.len()).map(|thread| Step { thread, share: 100, then: Then::Nothing });
        for Step { thread, share, then } in case.steps.iter().copied().chain(rest) {
            self.start();
            let text = files[thread].1.as_bytes();
            let mut file =
                OpenOptions::new().append(true).create(true).open(&self.paths[thread]).unwrap();
            let written = usize::try_from(file.metadata().unwrap().len()).unwrap();
            let end = (text.len() * share / 100).max(written);
            file.write_all(&text[written..end]).unwrap();
            let daemon = self.daemon.as_ref().unwrap();
            match then {
                Then::Nothing => {}
                Then::Settle => self.settle(patience)?,
                Then::Kill => {
                    daemon.kill_after(written as u64 % 3);
                    let dead = |applied: &Applied<Rows>| (!applied.is_up()).then_some(());
                    // Where no batch comes any more it is killed before the next step.
                    _ = self.store.wait(Duration::from_millis(50), dead);
                }
                Then::Restart => {
                    self.daemon.take().unwrap().stop();
                }
            }
        }
        self.start();
        let expect = case.family.calls();
        let is_met = |rows: &Rows| rows.calls() == expect;
        let shown = |rows: &Rows| format!("{:?}\ninstead of {expect:?}", rows.calls());
        let met = self.store.wait(patience, |applied| is_met(&applied.kept).then_some(()));
        if met.is_none() {
            return Err(format!("live: {}", shown(&self.store.applied().kept)));
        }
        self.daemon.take().unwrap().stop();
        // Nothing was left to do, and one reading says the same down to the last field.
        Daemon::start(&self.plan, &self.store, Mode::Once).finish(patience)?;
        let whole: Arc<Store<Rows>> = Arc::default();
        Daemon::start(&self.plan, &whole, Mode::Once).finish(patience)?;
        let (rows, whole) = (&self.store.applied().kept, &whole.applied().kept);
        if !is_met(whole) {
            return Err(format!("one reading: {}", shown(whole)));
        }
        if rows.0 == whole.0 {
            return Ok(());
        }
        Err(format!("{:#?}\nand in one reading {:#?}", rows.0, whole.0))
    }

    /// All that was written so far is read.
    fn settle(&self, patience: Duration) -> Result<(), String> {
        let size = |path: &PathBuf| fs::read(path).map_or(0, |bytes| whole_lines(&bytes));
        let sizes: u64 = self.paths.iter().map(size).sum();
        let read = self.store.wait(patience, |applied| {
            let read: u64 = applied.checkpoints.values().map(|checkpoint| checkpoint.offset).sum();
            (read == sizes).then_some(())
        });
        read.ok_or_else(|| format!("{sizes} bytes are not read"))
    }
}

fn whole_lines(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1)
}
