//! What the programs of this folder share: the built binary, and looking at its database.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

/// How long anything may take to come about.
const DEADLINE: Duration = Duration::from_secs(60);

/// A command of the binary over a home folder, in an environment of its own.
pub(crate) fn tallyd(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.args(args).env_clear().env("HOME", home).env("TZ", "UTC");
    command
}

pub(crate) fn signal(process: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[expect(clippy::disallowed_methods, reason = "reads as any other program would")]
pub(crate) fn open(database: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = Connection::open_with_flags(database, flags).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db
}

/// Asks every so often until it is `done`, and says how long that took.
pub(crate) fn wait(what: &str, every: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "waited too long for {what}");
        std::thread::park_timeout(every);
    }
    begun.elapsed()
}
