//! SIGKILL at any moment: afterwards the database is whole, and once the work was done to its end it
//! is that of an uninterrupted run.
//!
//! `TALLYD_KILLS` says how many kills in all, `TALLYD_KILL_SEED` repeats a run as far as chance goes;
//! when a kill meets the program is up to the machine.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::support::logs::{self, write_slowly};
use crate::support::others;
use crate::support::whole::{
    Files, POSITION, ROWS, Whole, database, look, progress, settle, state, stored, whole,
};
use crate::support::{DEADLINE, Dump, Home, Random, Service, copy_tree, integer, strings};

const KILLS: usize = 300;

/// How the kills are shared out, in percent.
const BACKFILL: usize = 24;
const LIVE: usize = 20;
const REBUILD: usize = 13;
const MIGRATION: usize = 15;
const REPRICE: usize = 16;
const RESTORE: usize = 12;

/// The kills of one test.
struct Kills {
    left: usize,
    random: Random,
}

impl Kills {
    #[expect(clippy::disallowed_methods, reason = "how long to test is up to who runs it")]
    fn share(percent: usize) -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let all = number("TALLYD_KILLS").map_or(KILLS, |n| usize::try_from(n).unwrap());
        let seed = number("TALLYD_KILL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("TALLYD_KILL_SEED={seed}");
        // The generator must not start at zero.
        let random = Random((seed ^ percent as u64) | 1 << 40);
        Self { left: (all * percent).div_ceil(100), random }
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let micros = usize::try_from(most.as_micros()).unwrap();
        Duration::from_micros(self.random.below(micros + 1) as u64)
    }

    /// Starts a command and kills it once `due`; whether it was still running. A command that ends
    /// before that must have succeeded: whatever an earlier kill left behind is no obstacle.
    fn strike(&mut self, mut command: Command, mut due: impl FnMut() -> bool) -> bool {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let end = Instant::now() + DEADLINE;
        while !due() {
            if child.try_wait().unwrap().is_some() {
                return self.buried(child, &command);
            }
            assert!(Instant::now() < end, "{command:?} neither ends nor gets anywhere");
            thread::park_timeout(Duration::from_micros(200));
        }
        // It may have ended by itself by now; then this does nothing.
        child.kill().unwrap();
        self.buried(child, &command)
    }

    fn buried(&mut self, child: Child, command: &Command) -> bool {
        let output = child.wait_with_output().unwrap();
        let killed = output.status.signal() == Some(9);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(killed || output.status.success(), "{command:?}: {}\n{said}", output.status);
        self.left = self.left.saturating_sub(usize::from(killed));
        killed
    }
}

/// Due once some time has passed.
fn after(delay: Duration) -> impl FnMut() -> bool {
    let at = Instant::now() + delay;
    move || Instant::now() >= at
}

fn remove_data(home: &Home) {
    fs::remove_dir_all(home.data_dir()).unwrap();
}

/// Nobody has the database open: its files are the whole of it.
fn copy_data(from: &Path, to: &Path) {
    fs::remove_dir_all(to).ok();
    fs::create_dir_all(to).unwrap();
    copy_tree(from, to);
}

#[test]
fn h31_a_killed_backfill_loses_and_doubles_nothing() {
    let mut kills = Kills::share(BACKFILL);
    let Whole { home, expect, span, rows: count, .. } = whole(&mut kills.random, 16, 40);
    let (mut before, mut amid, mut late) = (0, 0, 0);
    while kills.left > 0 {
        remove_data(&home);
        // Every kill of a series goes on where the one before left off.
        loop {
            let killed = if kills.random.below(2) == 0 {
                let delay = kills.up_to(span);
                kills.strike(home.command(&["backfill"]), after(delay))
            } else {
                let due = progress(&home, ROWS, kills.random.below(count));
                kills.strike(home.command(&["backfill"]), due)
            };
            if !killed {
                break;
            }
            match stored(&home) {
                0 => before += 1,
                rows if rows < count => amid += 1,
                _ => late += 1,
            }
            if kills.left == 0 {
                break;
            }
        }
        home.tallyd(&["backfill"]);
        settle(&home, Files::Still, &expect, "after a killed backfill");
    }
    println!(
        "of {count} rows in {span:?}: killed before the first {before}, amid {amid}, after the last {late}"
    );
    assert!(amid > 0, "kills must land in the middle");
}

#[test]
fn h31_a_service_killed_under_load_loses_and_doubles_nothing() {
    let mut kills = Kills::share(LIVE);
    // The first series is not interrupted.
    let mut interrupted = false;
    while kills.left > 0 {
        let home = Home::new();
        let logs = logs::generate(&mut kills.random, 4, 20);
        let others = others::generate(&mut kills.random, 2, 10);
        let done = AtomicBool::new(false);
        let [mut random, mut other_random] = [50, 51].map(|bit| Random(kills.random.0 ^ 1 << bit));
        let run = || home.command(&["run", "--listen", "127.0.0.1:0"]);
        thread::scope(|scope| {
            scope.spawn(|| {
                let pace = Duration::from_millis(4);
                thread::scope(|writers| {
                    let others = &others;
                    writers.spawn(|| {
                        others::write_slowly(home.path(), others, &mut other_random, pace);
                    });
                    write_slowly(home.path(), &logs, &mut random, pace);
                });
                done.store(true, Ordering::Release);
            });
            if !interrupted {
                let service = Service::spawn(run());
                while !done.load(Ordering::Acquire) {
                    thread::park_timeout(Duration::from_millis(5));
                }
                assert_eq!(service.stop(), 0);
            }
            while !done.load(Ordering::Acquire) {
                let delay = kills.up_to(Duration::from_millis(300));
                let due: Box<dyn FnMut() -> bool> = if kills.random.below(2) == 0 {
                    Box::new(after(delay))
                } else {
                    let more = stored(&home) + kills.random.below(60);
                    let mut seen = progress(&home, ROWS, more);
                    let mut over = after(Duration::from_secs(1));
                    Box::new(move || seen() || over())
                };
                assert!(kills.strike(run(), due), "a service does not end by itself");
                // The lock died with its holder, and an address left behind deceives nobody.
                assert_eq!(home.json(&["status"])["running"], false);
            }
        });
        interrupted = true;
        home.tallyd(&["backfill"]);
        let expected = home.path().join("uninterrupted");
        home.tallyd(&["backfill", "--data-dir", expected.to_str().unwrap()]);
        let expect = state(&look(&expected.join("tallyd.db")).unwrap(), Files::Changing);
        settle(&home, Files::Changing, &expect, "after a killed service");
    }
}

/// Makes everything derived wrong, as no run of the program would.
#[expect(clippy::disallowed_methods, reason = "damages a database as another program would")]
fn damage(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "UPDATE usage_cells SET input_tokens = input_tokens + 1;
         UPDATE project_cells SET output_tokens = output_tokens + 1;
         DELETE FROM daily_mart; DELETE FROM project_mart;
         UPDATE session_mart SET message_count = message_count + 1;
         UPDATE model_day_mart SET unpriced_count = 7;
         UPDATE provider_day_mart SET session_count = 7;",
    )
    .unwrap();
}

#[test]
fn h31_a_killed_rebuild_has_done_all_or_nothing() {
    let mut kills = Kills::share(REBUILD);
    let Whole { home, expect, .. } = whole(&mut kills.random, 12, 30);
    let path = database(&home);
    damage(&path);
    let damaged = state(&home.database(), Files::Still);
    let begun = Instant::now();
    home.tallyd(&["rebuild", "--all"]);
    let span = begun.elapsed();
    state(&home.database(), Files::Still).assert_same(&expect, "rebuilt");
    let (mut undone, mut done) = (0, 0);
    while kills.left > 0 {
        damage(&path);
        loop {
            let delay = kills.up_to(span);
            if !kills.strike(home.command(&["rebuild", "--all"]), after(delay)) {
                break;
            }
            let found = state(&home.database(), Files::Still);
            if found == expect {
                done += 1;
                break;
            }
            found.assert_same(&damaged, "a rebuild that did nothing yet");
            undone += 1;
        }
        home.tallyd(&["rebuild", "--all"]);
        settle(&home, Files::Still, &expect, "after a killed rebuild");
    }
    println!("of a rebuild of {span:?}: killed before its end {undone}, after it {done}");
}

#[test]
fn h31_a_killed_reprice_is_finished_by_the_next_one() {
    let mut kills = Kills::share(REPRICE);
    let Whole { home, .. } = whole(&mut kills.random, 16, 60);
    let before = home.path().join("before");
    copy_data(&home.data_dir(), &before);
    let first = position(&home);
    home.write(
        ".config/tallyd/config.toml",
        "[[prices.local]]\nmodel = \"house-model\"\nin = \"1\"\nout = \"2\"\n\
         [[prices.local]]\nmodel = \"house-codex\"\nin = \"1\"\nout = \"2\"\n\
         [[prices.openai]]\nmodel = \"gpt-5.5\"\nin = \"3\"\nout = \"4\"\n\
         [[prices.anthropic]]\nmodel = \"claude-opus-5\"\nin = \"5\"\nout = \"6\"\n",
    );
    let begun = Instant::now();
    let figures = home.json(&["reprice"]);
    let span = begun.elapsed();
    println!("{figures} in {span:?}");
    assert!(figures["repriced"].as_i64().unwrap() > 2_000, "several transactions: {figures}");
    let expect = state(&home.database(), Files::Still);
    let last = position(&home);
    let (mut undone, mut amid, mut done) = (0, 0, 0);
    while kills.left > 0 {
        copy_data(&before, &home.data_dir());
        loop {
            let killed = if kills.random.below(2) == 0 {
                let delay = kills.up_to(span);
                kills.strike(home.command(&["reprice"]), after(delay))
            } else {
                let target = first + kills.random.below(last - first);
                kills.strike(home.command(&["reprice"]), progress(&home, POSITION, target))
            };
            if !killed {
                break;
            }
            match position(&home) {
                found if found == first => undone += 1,
                found if found < last => amid += 1,
                _ => done += 1,
            }
            // Sound at any moment, the marts perhaps not there yet.
            home.tallyd(&["check"]);
            if kills.left == 0 {
                break;
            }
        }
        home.tallyd(&["reprice"]);
        settle(&home, Files::Still, &expect, "after a killed reprice");
    }
    println!("killed before the first transaction {undone}, amid {amid}, after the last {done}");
    assert!(amid > 0, "kills must land between the transactions");
}

/// The last position of a database that nobody writes to.
fn position(home: &Home) -> usize {
    usize::try_from(integer(&home.database(), POSITION)).unwrap()
}

/// Takes a database back to an older schema, with all that schema has room for.
#[expect(clippy::disallowed_methods, reason = "makes a database as an older program would")]
fn make_older(path: &Path, version: i64) {
    let db = Connection::open(path).unwrap();
    db.execute_batch("DROP TABLE source_checkpoint").unwrap();
    if version < 2 {
        for mart in Dump::MARTS {
            db.execute_batch(&format!("DROP TABLE {mart}")).unwrap();
        }
        db.execute_batch(
            "DROP TABLE mart_watermark; DROP TABLE usage_cells; DROP TABLE project_cells",
        )
        .unwrap();
    }
    db.pragma_update(None, "user_version", version).unwrap();
}

fn version(db: &Connection) -> i64 {
    integer(db, "PRAGMA user_version")
}

/// The tables and indexes that migrations make, with how they were made. Marts are no part of it.
fn schema(db: &Connection) -> Vec<String> {
    let tables = "SELECT type || name || coalesce(sql, '') FROM sqlite_schema
        WHERE tbl_name NOT LIKE '%\\_mart' ESCAPE '\\' ORDER BY 1";
    strings(db, tables)
}

fn events(db: &Connection) -> Vec<String> {
    Dump::rows(db, "usage_events", &[])
}

#[test]
fn h44_a_killed_migration_leaves_the_old_or_the_new_schema_and_a_whole_backup() {
    let mut kills = Kills::share(MIGRATION);
    let Whole { home, expect, .. } = whole(&mut kills.random, 12, 30);
    let path = database(&home);
    let rows = events(&home.database());
    let newest = (version(&home.database()), schema(&home.database()));
    let whole = home.path().join("whole");
    copy_data(&home.data_dir(), &whole);
    let backup = home.data_dir().join(format!("tallyd.db.before-v{}", newest.0));
    let partial = home.data_dir().join(format!("tallyd.db.before-v{}.partial", newest.0));
    let old: Vec<(PathBuf, (i64, Vec<String>))> = (1..newest.0)
        .map(|version| {
            let folder = home.path().join(format!("v{version}"));
            copy_data(&whole, &folder);
            make_older(&folder.join("tallyd.db"), version);
            let schema = schema(&look(&folder.join("tallyd.db")).unwrap());
            (folder, (version, schema))
        })
        .collect();
    // Any command that opens the database to write migrates it.
    let migrate = || home.command(&["rebuild", "daily"]);
    copy_data(&old[0].0, &home.data_dir());
    let begun = Instant::now();
    assert!(migrate().output().unwrap().status.success());
    let span = begun.elapsed();
    let (mut were_old, mut were_new) = (0, 0);
    while kills.left > 0 {
        let (folder, old) = &old[kills.random.below(old.len())];
        copy_data(folder, &home.data_dir());
        loop {
            let delay = kills.up_to(span);
            let moment = kills.up_to(Duration::from_millis(4));
            let kind = kills.random.below(3);
            let sign = if kind == 1 { &partial } else { &backup };
            let mut over = after(delay);
            let mut begun = None;
            let killed = kills.strike(migrate(), || match kind {
                0 => over(),
                _ => {
                    // Right after the backup is begun, or is whole and the migration begins.
                    if begun.is_none() && sign.exists() {
                        begun = Some(Instant::now());
                    }
                    begun.is_some_and(|begun: Instant| begun.elapsed() >= moment)
                }
            });
            let db = look(&path).unwrap();
            let found = (version(&db), schema(&db));
            assert!(found == *old || found == newest, "between: {found:?}");
            assert_eq!(events(&db), rows);
            if backup.exists() {
                let db = look(&backup).unwrap();
                assert_eq!(strings(&db, "PRAGMA integrity_check"), ["ok"]);
                assert_eq!((version(&db), schema(&db)), *old);
                assert_eq!(events(&db), rows);
            } else {
                assert_eq!(found, *old, "no migration without a backup");
            }
            were_old += usize::from(killed && found == *old);
            were_new += usize::from(killed && found == newest);
            if !killed || found == newest || kills.left == 0 {
                break;
            }
        }
        assert!(migrate().output().unwrap().status.success());
        home.tallyd(&["check"]);
        home.tallyd(&["backfill"]);
        settle(&home, Files::Still, &expect, "after a killed migration");
    }
    println!("killed before: {were_old}, after: {were_new}");
}

#[test]
fn h31_a_killed_restore_leaves_the_old_or_the_new_database_whole() {
    let mut kills = Kills::share(RESTORE);
    let Whole { home, expect, .. } = whole(&mut kills.random, 12, 30);
    let path = database(&home);
    let backup = home.path().join("backup.db");
    home.tallyd(&["backup", backup.to_str().unwrap()]);
    let new = events(&look(&backup).unwrap());
    // A session more, and what was written last is in the log alone.
    home.write(".claude/projects/-later/later.jsonl", crate::support::faults::calls(0..200));
    let service = Service::start(&home);
    service.wait_ready();
    service.kill();
    let before = home.path().join("before");
    copy_data(&home.data_dir(), &before);
    let old = events(&home.database());
    assert!(old.len() > new.len());
    copy_data(&before, &home.data_dir());
    let restore = || home.command(&["restore", backup.to_str().unwrap()]);
    let begun = Instant::now();
    assert!(restore().output().unwrap().status.success());
    let span = begun.elapsed();
    let partial = home.data_dir().join("tallyd.db.partial");
    let is_aside = || {
        let names = fs::read_dir(home.data_dir()).unwrap().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.to_string_lossy().contains(".replaced-"))
    };
    let (mut were_old, mut were_new) = (0, 0);
    while kills.left > 0 {
        copy_data(&before, &home.data_dir());
        loop {
            let (delay, moment) = (kills.up_to(span), kills.up_to(Duration::from_millis(2)));
            let kind = kills.random.below(3);
            let mut over = after(delay);
            let mut begun = None;
            let killed = kills.strike(restore(), || match kind {
                0 => over(),
                _ => {
                    // While the copy is made, or as soon as the old one has its other name.
                    if begun.is_none() && if kind == 1 { partial.exists() } else { is_aside() } {
                        begun = Some(Instant::now());
                    }
                    begun.is_some_and(|begun: Instant| kind == 2 || begun.elapsed() >= moment)
                }
            });
            let found = events(&look(&path).unwrap());
            assert_eq!(strings(&look(&path).unwrap(), "PRAGMA integrity_check"), ["ok"]);
            assert!(found == old || found == new, "{} rows", found.len());
            were_old += usize::from(killed && found == old);
            were_new += usize::from(killed && found == new);
            if !killed || found == new || kills.left == 0 {
                break;
            }
        }
        fs::remove_dir_all(home.path().join(".claude/projects/-later")).ok();
        assert!(restore().output().unwrap().status.success());
        home.tallyd(&["backfill"]);
        settle(&home, Files::Still, &expect, "after a killed restore");
    }
    println!("killed before: {were_old}, after: {were_new}");
}
