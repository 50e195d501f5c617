//! How far each source was read, in table `source_checkpoint`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use usage::{Checkpoint, Fingerprint, Skip, Skips};

pub(crate) fn save(db: &Connection, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    const UPSERT: &str = "INSERT INTO source_checkpoint
        (source_id, provider, path, dev, ino, btime_ns, size, mtime_ns, marker_len, marker_hash,
         generation, \"offset\", skip_to_newline, state, parser_version, oldest_parser_version,
         skips, lines, last_event_ms, last_error, missing_since_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15, ?16, ?17,
                ?18, ?19, ?20)
        ON CONFLICT DO UPDATE SET
            provider = excluded.provider, path = excluded.path, dev = excluded.dev,
            ino = excluded.ino, btime_ns = excluded.btime_ns, size = excluded.size,
            mtime_ns = excluded.mtime_ns, marker_len = excluded.marker_len,
            marker_hash = excluded.marker_hash, generation = excluded.generation,
            \"offset\" = excluded.\"offset\", skip_to_newline = excluded.skip_to_newline,
            state = excluded.state, parser_version = excluded.parser_version,
            oldest_parser_version = min(oldest_parser_version, excluded.parser_version),
            skips = excluded.skips, lines = excluded.lines,
            last_event_ms = excluded.last_event_ms, last_error = excluded.last_error,
            missing_since_ms = excluded.missing_since_ms";
    let Checkpoint { source_id, provider, path, fingerprint: print, .. } = checkpoint;
    db.prepare_cached(UPSERT)?.execute(params![
        source_id,
        provider,
        path_value(path),
        print.dev.cast_signed(),
        print.ino.cast_signed(),
        print.btime_ns,
        print.size.cast_signed(),
        print.mtime_ns,
        print.marker_len,
        print.marker_hash.cast_signed(),
        checkpoint.generation,
        checkpoint.offset.cast_signed(),
        checkpoint.skip_to_newline,
        checkpoint.state,
        checkpoint.parser_version,
        skips_to_json(&checkpoint.skips),
        checkpoint.lines.cast_signed(),
        checkpoint.last_event_ms,
        checkpoint.last_error,
        checkpoint.missing_since_ms,
    ])?;
    Ok(())
}

pub(crate) fn forget(db: &Connection, source_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM source_checkpoint WHERE source_id = ?1")?
        .execute([source_id])?;
    Ok(())
}

/// The oldest parser whose rows of this source may still stand; `None` for a source never saved.
pub(crate) fn oldest_parser(db: &Connection, source_id: i64) -> rusqlite::Result<Option<u32>> {
    db.prepare_cached("SELECT oldest_parser_version FROM source_checkpoint WHERE source_id = ?1")?
        .query_row([source_id], |row| row.get(0))
        .optional()
}

/// The source was read whole by its checkpoint's parser: no rows of older ones are left.
pub(crate) fn set_read_whole(db: &Connection, source_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE source_checkpoint SET oldest_parser_version = parser_version WHERE source_id = ?1",
    )?
    .execute([source_id])?;
    Ok(())
}

/// Provider and path of each source.
pub(crate) fn sources(db: &Connection) -> rusqlite::Result<Vec<(String, PathBuf)>> {
    let mut rows = db.prepare("SELECT provider, path FROM source_checkpoint ORDER BY source_id")?;
    let rows = rows.query_map([], |row| Ok((row.get(0)?, path_of(row.get_ref(1)?))))?;
    rows.collect()
}

pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<Checkpoint>> {
    const ALL: &str = "SELECT source_id, provider, path, dev, ino, btime_ns, size, mtime_ns,
            marker_len, marker_hash, generation, \"offset\", skip_to_newline, state,
            parser_version, skips, lines, last_event_ms, last_error, missing_since_ms
        FROM source_checkpoint ORDER BY source_id";
    db.prepare(ALL)?.query_map([], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    let unsigned = |column| row.get(column).map(i64::cast_unsigned);
    Ok(Checkpoint {
        source_id: row.get(0)?,
        provider: row.get(1)?,
        path: path_of(row.get_ref(2)?),
        fingerprint: Fingerprint {
            dev: unsigned(3)?,
            ino: unsigned(4)?,
            btime_ns: row.get(5)?,
            size: unsigned(6)?,
            mtime_ns: row.get(7)?,
            marker_len: row.get(8)?,
            marker_hash: unsigned(9)?,
        },
        generation: row.get(10)?,
        offset: unsigned(11)?,
        skip_to_newline: row.get(12)?,
        state: row.get(13)?,
        parser_version: row.get(14)?,
        skips: skips_of_json(row.get_ref(15)?.as_str()?),
        lines: unsigned(16)?,
        last_event_ms: row.get(17)?,
        last_error: row.get(18)?,
        missing_since_ms: row.get(19)?,
    })
}

/// A path as text, or as the bytes it is where they are no text.
fn path_value(path: &Path) -> ToSqlOutput<'_> {
    let bytes = path.as_os_str().as_bytes();
    let value = if path.to_str().is_some() { ValueRef::Text(bytes) } else { ValueRef::Blob(bytes) };
    ToSqlOutput::Borrowed(value)
}

fn path_of(value: ValueRef<'_>) -> PathBuf {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => OsStr::from_bytes(bytes).into(),
        _ => PathBuf::new(),
    }
}

fn skips_to_json(skips: &Skips) -> String {
    let named: BTreeMap<&str, u64> = skips.0.iter().map(|(skip, n)| (skip.as_str(), *n)).collect();
    serde_json::to_string(&named).unwrap_or_default()
}

/// Unknown reasons are ignored: they come from a newer version.
pub(crate) fn skips_of_json(json: &str) -> Skips {
    let named: BTreeMap<String, u64> = serde_json::from_str(json).unwrap_or_default();
    let known = named.into_iter().filter_map(|(name, n)| Some((Skip::parse(&name)?, n)));
    Skips(known.collect())
}
