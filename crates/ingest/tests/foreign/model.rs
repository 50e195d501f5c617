//! Plays a case, and knows what must be counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ingest::{Mode, Root};

use crate::action::{Action, Case, DaemonVerb};
use crate::store::Statements;
use crate::support::daemon::{Daemon, Plan, Store};
use crate::world::{Rows, World};

type All = BTreeMap<PathBuf, Rows>;

/// What must be counted of a place is what can be read there now, and what was counted before it
/// went.
///
/// Nothing in between: the case waits until everything is counted before something may go. Only
/// while nobody reads there may it go uncounted, and what was counted by then is known.
#[derive(Default)]
struct Model {
    counted: All,
    /// All that could ever be read.
    ever: BTreeSet<(PathBuf, u64, u64)>,
}

impl Model {
    fn look(&mut self, world: &World) {
        let rows = world.rows();
        let all = rows.iter().flat_map(|(path, rows)| rows.iter().map(move |row| (path, row)));
        self.ever.extend(all.map(|(path, (call, version))| (path.clone(), *call, *version)));
    }

    fn expected(&self, world: &World) -> All {
        let mut all = self.counted.clone();
        for (path, rows) in world.rows() {
            all.entry(path).or_default().extend(rows);
        }
        all.retain(|_, rows| !rows.is_empty());
        all
    }

    /// What is counted that never could be read, or was counted and is no more.
    fn wrong(&self, rows: &All) -> Option<String> {
        for (path, rows) in rows {
            for (call, version) in rows {
                if !self.ever.contains(&(path.clone(), *call, *version)) {
                    return Some(format!("counted for nothing: {call}.{version} {}", name(path)));
                }
            }
        }
        for (path, known) in &self.counted {
            let now = rows.get(path);
            if let Some(call) = known.keys().find(|call| !now.is_some_and(|n| n.contains_key(call)))
            {
                return Some(format!("lost: {call} {}", name(path)));
            }
        }
        None
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Plays a case from its first action to the last and compares; `Err` says what is wrong.
pub(crate) fn play(case: &Case, patience: Duration) -> Result<(), String> {
    let world = World::new();
    let plan = Plan {
        home: world.home(),
        roots: world.roots().to_vec(),
        scratch: Some(world.scratch()),
        sweep: Duration::from_secs(case.sweep),
        max_line: 1 << 20,
    };
    let mut player = Player {
        plan,
        world,
        model: Model::default(),
        store: Arc::default(),
        daemon: None,
        off: None,
        patience,
    };
    player.start(None);
    let result = case.actions.iter().try_for_each(|action| {
        player.act(*action).map_err(|fault| format!("at `{action}`: {fault}"))
    });
    let result = result.and_then(|()| player.end());
    if let Some(daemon) = player.daemon.take() {
        daemon.kill();
    }
    result
}

struct Player {
    plan: Plan,
    world: World,
    model: Model,
    store: Arc<Store<Statements>>,
    daemon: Option<Daemon<Statements>>,
    /// The root that is not read by the present run.
    off: Option<Root>,
    patience: Duration,
}

impl Player {
    fn act(&mut self, action: Action) -> Result<(), String> {
        if self.world.hides(action) {
            self.settle()?;
            // What was held is there to be read for a moment, before anything of it may go.
            if self.world.release(action)? {
                self.settle()?;
            }
        }
        if let Action::Daemon(verb, n) = action {
            return self.command(verb, n);
        }
        self.world.apply(action)?;
        self.model.look(&self.world);
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
            DaemonVerb::Start => self.start(None),
            DaemonVerb::Reload => {
                self.stop();
                self.start(None);
            }
            DaemonVerb::Without => {
                self.stop();
                self.start(Some(usize::from(n % 2 == 1)));
            }
            DaemonVerb::Once => {
                self.stop();
                self.run_once(&self.store)?;
                self.compare()?;
            }
            DaemonVerb::Settle => self.settle()?,
        }
        Ok(())
    }

    /// A run that is to be killed is killed by now. One that is not goes on.
    fn start(&mut self, off: Option<usize>) {
        if let Some(daemon) = &self.daemon
            && !daemon.is_doomed()
            && self.off.is_none()
        {
            return;
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        let mut plan = self.plan.clone();
        self.off = off.map(|off| plan.roots.remove(off));
        self.daemon = Some(Daemon::start(&plan, &self.store, Mode::Live));
    }

    fn stop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop();
        }
    }

    /// Waits until exactly what must be counted is counted. What nobody reads now may be lost from
    /// now on.
    fn settle(&mut self) -> Result<(), String> {
        self.model.look(&self.world);
        let expected = self.model.expected(&self.world);
        let off = self.off.as_ref().map(|root| root.path.clone());
        let is_read = |path: &Path| off.as_ref().is_none_or(|off| !path.starts_with(off));
        let mut missing = String::new();
        let settled = self.store.wait(self.patience, |applied| {
            let rows = match applied.rows() {
                Ok(rows) => rows,
                Err(fault) => return Some(Err(fault)),
            };
            if let Some(wrong) = self.model.wrong(&rows) {
                return Some(Err(wrong));
            }
            let differs = difference(&expected, &rows, is_read);
            if differs.is_empty() || !applied.is_up() {
                return Some(Ok(rows));
            }
            missing = format!("not counted: {differs}");
            None
        });
        self.model.counted = settled.unwrap_or(Err(missing))?;
        Ok(())
    }

    /// That all is counted, now.
    fn compare(&mut self) -> Result<(), String> {
        let expected = self.model.expected(&self.world);
        let rows = self.store.applied().rows()?;
        if let Some(wrong) = self.model.wrong(&rows) {
            return Err(wrong);
        }
        let differs = difference(&expected, &rows, |_| true);
        if !differs.is_empty() {
            return Err(format!("not counted by a single run: {differs}"));
        }
        self.model.counted = rows;
        Ok(())
    }

    /// What must hold in the end, whatever has happened.
    fn end(&mut self) -> Result<(), String> {
        self.start(None);
        self.settle()?;
        if !self.store.applied().is_up() {
            // Killed by what it still had to read.
            self.start(None);
            self.settle()?;
        }
        // Their owners close them under the eyes of the daemon.
        self.world.close_all()?;
        self.stop();
        self.nothing_is_left_behind()?;
        // What was left by a close that a reader was in the way of is cleared up by the next one.
        self.world.close_all()?;
        self.run_once(&self.store)?;
        self.compare()?;
        // The newest rows are asked for once more.
        self.run_once(&self.store)?;
        self.run_once(&self.store)?;
        let (taken, last) = {
            let applied = self.store.applied();
            (applied.taken, applied.kept.last.clone())
        };
        if taken != 0 {
            return Err(format!(
                "a run over what has not changed hands over {taken} batches: {last}"
            ));
        }
        self.nothing_is_left_behind()?;
        let fresh = Arc::default();
        self.run_once(&fresh)?;
        let (rows, mut there) = (fresh.applied().rows()?, self.world.rows());
        there.retain(|_, rows| !rows.is_empty());
        let differs = difference(&there, &rows, |_| true);
        if differs.is_empty() { Ok(()) } else { Err(format!("a run from the start: {differs}")) }
    }

    /// A log that holds something is its owner's.
    fn nothing_is_left_behind(&self) -> Result<(), String> {
        let left = self.world.left_behind();
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
    }

    fn run_once(&self, store: &Arc<Store<Statements>>) -> Result<(), String> {
        Daemon::start(&self.plan, store, Mode::Once).finish(self.patience)
    }
}

/// Where two differ.
fn difference(expected: &All, rows: &All, is_read: impl Fn(&Path) -> bool) -> String {
    let nothing = Rows::new();
    let paths: BTreeSet<&PathBuf> = expected.keys().chain(rows.keys()).collect();
    let mut told = String::new();
    for path in paths.into_iter().filter(|path| is_read(path)) {
        let (expected, rows) =
            (expected.get(path).unwrap_or(&nothing), rows.get(path).unwrap_or(&nothing));
        if expected != rows {
            told += &format!("{}: {rows:?} instead of {expected:?}; ", name(path));
        }
    }
    told
}
