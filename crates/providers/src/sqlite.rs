//! What the databases of all agents have in common: tables that gain columns with every version of
//! the agent, and columns that hold values of any type, whatever they are declared as.

use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::record::{Count, is_kept};

/// The columns of a table; none if there is no such table.
pub(crate) fn columns(db: &Connection, table: &str) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = db.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect()
}

/// A text to keep.
pub(crate) fn text(value: ValueRef<'_>) -> Option<String> {
    let ValueRef::Text(bytes) = value else { return None };
    Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| is_kept(text))
}

pub(crate) fn count(value: ValueRef<'_>) -> Count {
    match value {
        ValueRef::Null => Count::Absent,
        ValueRef::Integer(n) => Count::Is(n),
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
        ValueRef::Real(x) if x.fract() == 0.0 && x.abs() < 9.2e18 => Count::Is(x as i64),
        ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => Count::Bad,
    }
}
