//! Messages that a database holds more than once.
//!
//! A fork copies the messages of a session; the newest table of messages may repeat those of the
//! older one. All statements of a call have the same key, but within one database the last one is
//! kept: so a copy is left out where what it was copied from was read before it.

use std::collections::BTreeMap;

use rusqlite::{Connection, Params, params};

use super::database::{Row, Table, bytes, mark};
use super::message::Message;
use super::statement::Statement;

pub(super) struct Copies<'a> {
    db: &'a Connection,
    has_messages: bool,
    /// The session that a forked one was copied from, where it was found.
    origins: BTreeMap<String, String>,
    /// How many more times all sessions of a project may be searched for an original. A copy whose
    /// original is not found is counted in its own session.
    searches: usize,
}

impl<'a> Copies<'a> {
    pub(super) fn new(db: &'a Connection, has_messages: bool, searches: usize) -> Self {
        Self { db, has_messages, origins: BTreeMap::new(), searches }
    }

    /// Whether another row states the same that was read before this one. What a database says
    /// of a call takes the place of what it said before: a copy must not speak after its original.
    pub(super) fn is_stated(
        &mut self,
        table: Table,
        row: &Row<'_>,
        statement: &Statement<'_, '_>,
        sessions: &[&str],
    ) -> rusqlite::Result<bool> {
        if table == Table::SessionMessages && self.has_messages && self.is_twin(row, statement)? {
            return Ok(true);
        }
        if !statement.is_copy() {
            return Ok(false);
        }
        let name = table.name();
        if let Some(origin) = self.origins.get(row.session_id) {
            let query = format!(
                "SELECT session_id, data FROM {name}
                    WHERE session_id = ?1 AND time_created = ?2 AND rowid < ?3"
            );
            let at = params![origin, row.created_ms, row.rowid];
            if self.original(&query, at, statement.message)?.is_some() {
                return Ok(true);
            }
        }
        let (Some(project_id), Some(created_ms)) =
            (&statement.session.project_id, statement.session.created_ms)
        else {
            return Ok(false);
        };
        for sessions in sessions {
            let Some(searches) = self.searches.checked_sub(1) else { break };
            self.searches = searches;
            // The order of the join is that of the indexes: sessions of the project, then messages.
            let query = format!(
                "SELECT m.session_id, m.data FROM {sessions} AS s CROSS JOIN {name} AS m
                    ON m.session_id = s.id AND m.time_created = ?2 AND m.rowid < ?3
                    WHERE s.project_id = ?1 AND s.time_created < ?4"
            );
            let at = params![project_id, row.created_ms, row.rowid, created_ms];
            if let Some(origin) = self.original(&query, at, statement.message)? {
                self.origins.insert(row.session_id.to_owned(), origin);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The session of the row that a message is a copy of, among those of a query.
    fn original(
        &self,
        query: &str,
        at: impl Params,
        message: &Message<'_>,
    ) -> rusqlite::Result<Option<String>> {
        let mut query = self.db.prepare_cached(query)?;
        let mut rows = query.query(at)?;
        while let Some(row) = rows.next()? {
            let other = Message::read(bytes(row.get_ref(1)?)).ok().flatten();
            let Some(mut other) = other else { continue };
            // One table says it in a column, alike for both.
            other.author.clone_from(&message.author);
            if message.is_copy_of(&other) {
                return mark(row.get_ref(0)?).map(Some);
            }
        }
        Ok(None)
    }

    /// Whether the older table holds the message, too: the agent may write both at once, or fill
    /// the newer one from the older.
    fn is_twin(&self, row: &Row<'_>, statement: &Statement<'_, '_>) -> rusqlite::Result<bool> {
        let query = "SELECT data FROM message WHERE session_id = ?1 AND time_created <= ?2
            ORDER BY time_created DESC LIMIT 1";
        let mut query = self.db.prepare_cached(query)?;
        let mut rows = query.query(params![row.session_id, statement.created_ms])?;
        let Some(other) = rows.next()? else { return Ok(false) };
        let Ok(Some(other)) = Message::read(bytes(other.get_ref(0)?)) else { return Ok(false) };
        let is_same = other.created_ms() == Some(statement.created_ms);
        let is_within = other.completed_ms() >= Some(statement.created_ms);
        Ok(other.author == statement.message.author && (is_same || is_within))
    }
}
