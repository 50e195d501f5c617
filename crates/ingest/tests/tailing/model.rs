//! Plays a case, and knows what must be counted.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use ingest::{Mode, Root};
use tokio::runtime::Handle;

use crate::action::{Action, Case, DaemonVerb, FileVerb};
use crate::record::{Agent, MAX_LINE, Rows, add};
use crate::store::Events;
use crate::support::daemon::{Daemon, Plan, Store, runtime};
use crate::world::{World, is_linked};

/// What must be counted is what is below the roots now, and what was counted before it went.
///
/// Nothing in between: the case waits until everything is counted before it takes a record away.
/// Only while the daemon is down may a record go uncounted, and what was counted by then is known.
#[derive(Default)]
struct Model {
    counted: Rows,
    /// What was written to files outside of the roots: it is counted or not, as one that was moved
    /// there may still be open.
    outside: Rows,
}

impl Model {
    fn look(&mut self, world: &World) {
        world.rows_outside().iter().for_each(|(n, v)| add(&mut self.outside, *n, *v));
    }

    /// Whether just that is counted that must be.
    fn is_met(&self, rows: &Rows, expected: &Rows) -> bool {
        difference(expected, rows).is_empty() && self.beyond(rows, expected).is_empty()
    }

    fn beyond(&self, rows: &Rows, expected: &Rows) -> Vec<(u64, u64)> {
        let mut beyond = difference(rows, expected);
        beyond.retain(|(n, v)| self.outside.get(n).is_none_or(|outside| outside < v));
        beyond
    }

    fn expected(&self, world: &World) -> Rows {
        let mut rows = world.rows();
        self.counted.iter().for_each(|(call, version)| add(&mut rows, *call, *version));
        rows
    }
}

/// Plays a case from its first action to the last and compares; `Err` says what is wrong.
pub(crate) fn play(case: &Case, patience: Duration) -> Result<(), String> {
    let world = World::new(case.agent);
    let root = |path| Root { provider: case.agent.provider(), path };
    let plan = Plan {
        home: world.home(),
        roots: world.roots().map(root).to_vec(),
        scratch: None,
        sweep: Duration::from_secs(case.sweep),
        max_line: MAX_LINE,
    };
    let mut player = Player {
        agent: case.agent,
        plan,
        world,
        model: Model::default(),
        store: Arc::default(),
        daemon: None,
        runtime: None,
        patience,
    };
    player.start();
    let result = case.actions.iter().try_for_each(|action| player.act(*action));
    let result = result.and_then(|()| player.end());
    if let Some(daemon) = player.daemon.take() {
        daemon.kill();
    }
    result
}

struct Player {
    agent: Agent,
    plan: Plan,
    world: World,
    model: Model,
    store: Arc<Store<Events>>,
    daemon: Option<Daemon<Events>>,
    /// That of the latest run.
    runtime: Option<Handle>,
    patience: Duration,
}

impl Player {
    fn act(&mut self, action: Action) -> Result<(), String> {
        if self.world.hides(action) {
            self.settle()?;
        }
        match (action, &self.runtime) {
            (Action::Daemon(verb, n), _) => return self.command(verb, n),
            (Action::File(FileVerb::Flood, ..), Some(runtime)) => {
                // What lies outside is not watched and cannot be flooded.
                held_up(runtime, || self.world.apply(action));
            }
            _ => self.world.apply(action),
        }
        Ok(())
    }

    fn command(&mut self, verb: DaemonVerb, n: u64) -> Result<(), String> {
        match verb {
            DaemonVerb::Stop => self.stop(),
            DaemonVerb::Kill => {
                if let Some(daemon) = &self.daemon {
                    daemon.kill_after(n);
                }
            }
            DaemonVerb::Start => self.start(),
            DaemonVerb::Reload => {
                self.stop();
                self.start();
            }
            DaemonVerb::Settle => self.settle()?,
        }
        Ok(())
    }

    /// A run that is to be killed is killed by now. One that is not goes on.
    fn start(&mut self) {
        if let Some(daemon) = &self.daemon
            && !daemon.is_doomed()
        {
            return;
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        let runtime = runtime();
        self.runtime = Some(runtime.handle().clone());
        self.daemon = Some(Daemon::start_in(runtime, &self.plan, &self.store, Mode::Live));
    }

    fn stop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop();
        }
    }

    /// Waits until exactly what must be counted is counted. If the daemon is down, what is there
    /// and not counted may be lost from now on.
    fn settle(&mut self) -> Result<(), String> {
        self.model.look(&self.world);
        let expected = self.model.expected(&self.world);
        let agent = self.agent;
        let mut missing = String::new();
        let settled = self.store.wait(self.patience, |applied| {
            let rows = match applied.rows(agent) {
                Ok(rows) => rows,
                Err(fault) => return Some(Err(fault)),
            };
            let beyond = self.model.beyond(&rows, &expected);
            let lost = difference(&self.model.counted, &rows);
            if !(beyond.is_empty() && lost.is_empty()) {
                return Some(Err(format!("counted for nothing: {beyond:?}; lost: {lost:?}")));
            }
            missing = format!("not counted: {:?}", difference(&expected, &rows));
            (self.model.is_met(&rows, &expected) || !applied.is_up()).then_some(Ok(rows))
        });
        self.model.counted = settled.unwrap_or(Err(missing))?;
        Ok(())
    }

    /// What must hold in the end, whatever has happened.
    fn end(&mut self) -> Result<(), String> {
        self.start();
        self.settle()?;
        if !self.store.applied().is_up() {
            // Killed by what it still had to read.
            self.start();
            self.settle()?;
        }
        self.stop();
        // A copy that nobody read yet may have an earlier owner for a call; it adds none.
        let before = self.store.applied().rows(self.agent)?;
        self.run_once(&self.store)?;
        let after = self.store.applied().rows(self.agent)?;
        if after != before {
            let (beyond, lost) = (difference(&after, &before), difference(&before, &after));
            return Err(format!(
                "a run over what was read before counts more: {beyond:?}; less: {lost:?}"
            ));
        }
        self.run_once(&self.store)?;
        let taken = self.store.applied().taken;
        if taken != 0 {
            return Err(format!("a run over what has not changed hands over {taken} batches"));
        }
        self.every_file_has_its_checkpoint()?;
        let fresh = Arc::default();
        self.run_once(&fresh)?;
        let (rows, there) = (fresh.applied().rows(self.agent)?, self.world.rows());
        if rows == there {
            return Ok(());
        }
        let (beyond, missing) = (difference(&rows, &there), difference(&there, &rows));
        Err(format!("a run from the start counts too much: {beyond:?}; too little: {missing:?}"))
    }

    fn run_once(&self, store: &Arc<Store<Events>>) -> Result<(), String> {
        Daemon::start(&self.plan, store, Mode::Once).finish(self.patience)
    }

    /// Files that moved are known under their new names; one with several names is known under one
    /// of them.
    fn every_file_has_its_checkpoint(&self) -> Result<(), String> {
        let applied = self.store.applied();
        let known = |path| applied.checkpoints.values().any(|known| known.path == path);
        let unknown = self.world.sources().into_iter().filter(|path| !is_linked(path));
        let unknown: Vec<_> = unknown.filter(|path| !known(path.clone())).collect();
        if unknown.is_empty() { Ok(()) } else { Err(format!("no checkpoint for {unknown:?}")) }
    }
}

/// Holds up the loop of a run while `busy` runs: what is heard meanwhile has to wait.
fn held_up(runtime: &Handle, busy: impl FnOnce()) {
    let (release, released) = mpsc::channel::<()>();
    let (hold, held) = mpsc::channel();
    runtime.spawn(async move {
        _ = hold.send(());
        _ = released.recv();
    });
    // Says nothing if the loop has ended.
    _ = held.recv();
    busy();
    drop(release);
}

/// What `a` says beyond `b`.
fn difference(a: &Rows, b: &Rows) -> Vec<(u64, u64)> {
    let known = |call: &u64, version: &u64| b.get(call).is_some_and(|known| known >= version);
    a.iter().filter(|(n, v)| !known(n, v)).map(|(n, v)| (*n, *v)).collect()
}
