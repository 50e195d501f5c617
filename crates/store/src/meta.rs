//! The few facts about the database as a whole, in table `meta`.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, ToSql};

pub(crate) const TIME_ZONE: &str = "time_zone";
pub(crate) const CREATED_AT: &str = "created_at";
const EPOCH: &str = "epoch";

pub(crate) fn get<T: FromSql>(db: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

pub(crate) fn set(db: &Connection, key: &str, value: impl ToSql) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(rusqlite::params![key, value])?;
    Ok(())
}

/// Grows whenever rows change without new ids.
pub(crate) fn epoch(db: &Connection) -> rusqlite::Result<i64> {
    Ok(get(db, EPOCH)?.unwrap_or(1))
}

pub(crate) fn next_epoch(db: &Connection) -> rusqlite::Result<()> {
    set_epoch(db, epoch(db)? + 1)
}

pub(crate) fn set_epoch(db: &Connection, epoch: i64) -> rusqlite::Result<()> {
    set(db, EPOCH, epoch)
}

/// Brings the newest position up to the newest row, should somebody have set it back: an id that
/// was given is never given again.
pub(crate) fn mend_seq(db: &Connection) -> rusqlite::Result<()> {
    let newest: i64 =
        db.query_row("SELECT coalesce(max(id), 0) FROM usage_events", [], |row| row.get(0))?;
    if seq(db)? >= newest {
        return Ok(());
    }
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'usage_events'", [])?;
    db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('usage_events', ?1)", [newest])?;
    Ok(())
}

/// Sets the newest position, which at least one row has had.
pub(crate) fn set_seq(db: &Connection, seq: i64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'usage_events'")?
        .execute([seq])?;
    Ok(())
}

/// The newest position in the log of events. Ids of rows are not it: the newest row may be gone.
pub(crate) fn seq(db: &Connection) -> rusqlite::Result<i64> {
    let seq = db
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'usage_events'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(seq.unwrap_or(0))
}
