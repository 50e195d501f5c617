//! The schema: an ordered list of changes, and how far a database has gone through it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::connection::{make_private, needs_rollback, open_reader, roll_back};
use crate::data_dir::beside;
use crate::recompute::recompute;
use crate::zone::Zone;
use crate::{StoreError, marts, meta};

/// Our mark in the file's header: "taly".
pub(crate) const APPLICATION_ID: i64 = 0x7461_6c79;

/// Never edited once released; `user_version` counts how many of them a database has seen.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/0001_usage_events.sql"),
    include_str!("../../../migrations/0002_cells.sql"),
    include_str!("../../../migrations/0003_source_checkpoint.sql"),
];

/// The first schema had rows alone.
const WITHOUT_CELLS: i64 = 1;

/// The schema this program writes.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The schema a database has: 0 for an empty file. Refuses what this program must not touch, and
/// changes nothing itself, with a connection that can only read. What a kill left half written is
/// undone first, or nobody could read.
pub(crate) fn schema_of(database: &Path) -> Result<i64, StoreError> {
    let header = || Header::of(&open_reader(database)?);
    let sqlite = |error| StoreError::sqlite("read the schema version", database, error);
    let found = header().or_else(|error| {
        if !needs_rollback(&error) {
            return Err(error);
        }
        roll_back(database)?;
        header()
    });
    found.map_err(sqlite)?.schema(database)
}

/// What a database says of itself.
pub(crate) struct Header {
    application_id: i64,
    version: i64,
    empty: bool,
}

impl Header {
    pub(crate) fn of(db: &Connection) -> rusqlite::Result<Self> {
        let pragma = |name| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
        let empty = db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
        Ok(Self {
            application_id: pragma("application_id")?,
            version: pragma("user_version")?,
            empty,
        })
    }

    /// The schema of the database at `path`, unless this program must not touch it.
    pub(crate) fn schema(&self, path: &Path) -> Result<i64, StoreError> {
        let found = self.version;
        let fresh = self.empty && self.application_id == 0 && found == 0;
        if self.application_id != APPLICATION_ID && !fresh {
            return Err(StoreError::Foreign { path: path.into(), found: self.application_id });
        }
        if found > known() {
            let backup = before(path, found);
            let backup = backup.exists().then_some(backup);
            return Err(StoreError::NewerSchema {
                path: path.into(),
                found,
                known: known(),
                backup,
            });
        }
        Ok(found)
    }
}

/// Where a database is kept as it was before it got schema `version`.
fn before(database: &Path, version: i64) -> PathBuf {
    beside(database, &format!(".before-v{version}"))
}

/// Brings a database from schema `found` to the newest one, and its marts to their definitions,
/// after a backup of what an older program has left. It is one transaction: nobody ever finds a
/// schema between, or one without its marts.
pub(crate) fn migrate(
    db: &mut Connection,
    database: &Path,
    found: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    if found > 0 && found < known() {
        back_up(db, &before(database, known()))?;
    }
    let sqlite = |doing| move |error| StoreError::sqlite(doing, database, error);
    let migrating = sqlite("migrate the schema");
    let mut tx =
        db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&migrating)?;
    take_steps(&tx, known(), now_ms).map_err(&migrating)?;
    if found == WITHOUT_CELLS {
        let zone: Option<String> = meta::get(&tx, meta::TIME_ZONE).map_err(&migrating)?;
        let mut zone = Zone::new(zone.as_deref().unwrap_or("UTC"))?;
        recompute(&tx, &mut zone).map_err(&migrating)?;
    }
    marts::keep_definitions(&mut tx, now_ms).map_err(sqlite("build the marts"))?;
    tx.commit().map_err(migrating)
}

/// Takes the steps up to schema `target` that the database has not seen.
pub(crate) fn take_steps(db: &Connection, target: i64, now_ms: i64) -> rusqlite::Result<()> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (version, sql) in (1..=target).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        db.execute_batch(sql)?;
        db.pragma_update(None, "application_id", APPLICATION_ID)?;
        db.pragma_update(None, "user_version", version)?;
        if version == 1 {
            meta::set(db, meta::CREATED_AT, now_ms)?;
        }
    }
    Ok(())
}

/// Copies the database. The name is taken only by a whole copy.
fn back_up(db: &Connection, target: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { doing: "write the backup", path: target.into(), source };
    let partial = beside(target, ".partial");
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    db.execute("VACUUM INTO ?1", [partial.to_string_lossy()])
        .map_err(|error| StoreError::sqlite("write the backup", target, error))?;
    make_private(&partial).map_err(io)?;
    fs::rename(&partial, target).map_err(io)
}
