//! Whose a message is: the session it belongs to.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use super::agent::Agent;
use super::database::{columns, need};
use super::message::Message;
use crate::DatabaseError;
use crate::record::MAX_KEPT;

/// What is known of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: Arc<str>,
    /// Another session's model started it.
    pub(super) is_child: bool,
    pub(super) created_ms: Option<i64>,
    /// The agent's own id of the project, if it is looked up by one.
    pub(super) project_id: Option<String>,
    /// The root of the project it works in, as far as the session tells.
    folder: Option<Arc<str>>,
}

impl Session {
    pub(super) fn unknown(id: &str) -> Self {
        Self { id: id.into(), is_child: false, created_ms: None, project_id: None, folder: None }
    }

    /// `path` is where the working directory is below the project's root; older versions do not say.
    pub(super) fn set_folder(&mut self, directory: Option<&str>, path: Option<&str>) {
        let directory = directory.filter(|directory| !directory.is_empty());
        self.folder = directory.map(|directory| {
            let path = path.unwrap_or_default();
            let root = directory.strip_suffix(path).and_then(|root| root.strip_suffix(['/', '\\']));
            root.filter(|root| !path.is_empty() && !root.is_empty()).unwrap_or(directory).into()
        });
    }

    /// The project of one of its messages. Outside of any repository the agent calls `/` the root.
    pub(super) fn project(&self, message: &Message<'_>, agent: &Agent) -> Arc<str> {
        let root = message.root.as_deref().filter(|root| *root != "/");
        match (root, &self.folder, message.cwd.as_deref()) {
            (Some(root), _, _) => root.into(),
            (None, Some(folder), _) => folder.clone(),
            (None, None, Some(cwd)) => cwd.into(),
            (None, None, None) => format!("{}:unknown", agent.id).into(),
        }
    }
}

/// The sessions of a database, each looked up once a turn.
pub(super) struct Sessions<'a> {
    db: &'a Connection,
    /// One query for each table of sessions that there is.
    queries: Vec<String>,
    /// Those of the tables that say which project a session belongs to.
    by_project: Vec<&'static str>,
    known: BTreeMap<String, Rc<Session>>,
}

/// Tables of sessions, older first. Both may be there.
const TABLES: [&str; 2] = ["session", "session_v2"];

impl<'a> Sessions<'a> {
    pub(super) fn new(db: &'a Connection) -> Result<Self, DatabaseError> {
        let (mut queries, mut by_project) = (Vec::new(), Vec::new());
        for table in TABLES {
            let columns = columns(db, table)?;
            if columns.is_empty() {
                continue;
            }
            need(table, &columns, &["id", "time_created"])?;
            let column = |name| if columns.contains(name) { name } else { "NULL" };
            let query = format!(
                "SELECT time_created, {}, {}, {}, {} FROM {table} WHERE id = ?1",
                column("parent_id"),
                column("directory"),
                column("path"),
                column("project_id"),
            );
            queries.push(query);
            if columns.contains("project_id") {
                by_project.push(table);
            }
        }
        if queries.is_empty() {
            return Err(DatabaseError::UnsupportedSchema("session".to_owned()));
        }
        Ok(Self { db, queries, by_project, known: BTreeMap::new() })
    }

    /// The tables of sessions that can be searched by project.
    pub(super) fn by_project(&self) -> &[&'static str] {
        &self.by_project
    }

    pub(super) fn get(&mut self, id: &str) -> rusqlite::Result<Rc<Session>> {
        if let Some(session) = self.known.get(id) {
            return Ok(session.clone());
        }
        let mut session = None;
        for query in &self.queries {
            let mut query = self.db.prepare_cached(query)?;
            session = query.query_row([id], |row| session_of(id, row)).optional()?;
            if session.is_some() {
                break;
            }
        }
        let session = Rc::new(session.unwrap_or_else(|| Session::unknown(id)));
        self.known.insert(id.to_owned(), session.clone());
        Ok(session)
    }
}

fn session_of(id: &str, row: &Row<'_>) -> rusqlite::Result<Session> {
    let text = |column| -> rusqlite::Result<Option<String>> {
        let text = row.get_ref(column)?.as_str_or_null().ok().flatten();
        Ok(text.filter(|text| (1..=MAX_KEPT).contains(&text.len())).map(str::to_owned))
    };
    let mut session = Session::unknown(id);
    session.created_ms = row.get_ref(0)?.as_i64().ok();
    session.is_child = text(1)?.is_some();
    session.set_folder(text(2)?.as_deref(), text(3)?.as_deref());
    session.project_id = text(4)?;
    Ok(session)
}
