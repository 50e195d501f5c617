//! Whose a call is: the session it belongs to.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use usage::{EventKey, Flags, Owner, Role, Source, Tokens, Usage, UsageEvent};

use super::{ID, VERSION};
use crate::record::{Json, Read};
use crate::sqlite::{columns, text};
use crate::{DatabaseError, Surroundings};

/// The table of them.
pub(super) const TABLE: &str = "sessions";

/// Longer settings of a model are none.
const MAX_SETTINGS_BYTES: u32 = 64 << 10;

/// What is known of a session.
pub(super) struct Session {
    id: Arc<str>,
    project: Arc<str>,
    /// Another session's model started it.
    is_child: bool,
    /// A person types in it.
    pub(super) is_typed: bool,
    /// The model that it is set to.
    model: Option<String>,
    /// Who serves the model, as the agent calls them.
    vendor: Option<Arc<str>>,
    /// Another agent makes the calls: one request to it may be many to its model.
    is_of_agent: bool,
    /// That is so, and its own log of them is read.
    pub(super) is_told_elsewhere: bool,
    source_id: i64,
}

impl Session {
    /// A call, of the model that its record names or the session is set to.
    pub(super) fn call(
        &self,
        key: &str,
        ts_ms: i64,
        model: Option<&str>,
        (tokens, mut flags): (Tokens, Flags),
        logged_cost_nanousd: Option<i64>,
    ) -> UsageEvent {
        if self.is_of_agent {
            flags.insert(Flags::SUM);
        }
        let model = model.or(self.model.as_deref()).unwrap_or(Usage::UNKNOWN_MODEL);
        let vendor = self.vendor.clone();
        let usage = Usage { vendor, tokens, logged_cost_nanousd, flags, ..Usage::of(model) };
        self.event(key, Role::Assistant, ts_ms, usage)
    }

    pub(super) fn prompt(&self, key: &str, ts_ms: i64, flags: Flags) -> UsageEvent {
        self.event(key, Role::User, ts_ms, Usage { flags, ..Usage::of("") })
    }

    fn event(&self, key: &str, role: Role, ts_ms: i64, usage: Usage) -> UsageEvent {
        UsageEvent {
            key: EventKey::new(key),
            provider: ID.into(),
            role,
            ts_ms,
            copy_rank: 0,
            owner: Owner {
                session_id: self.id.clone(),
                project: self.project.clone(),
                is_sidechain: self.is_child,
                account: None,
                agent: None,
                client: None,
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        }
    }
}

/// The sessions of a database, each looked up once a turn.
pub(super) struct Sessions<'a> {
    source: &'a Source,
    db: &'a Connection,
    around: &'a dyn Surroundings,
    query: String,
    known: BTreeMap<String, Rc<Session>>,
}

impl<'a> Sessions<'a> {
    pub(super) fn new(
        source: &'a Source,
        db: &'a Connection,
        around: &'a dyn Surroundings,
    ) -> Result<Self, DatabaseError> {
        let columns = columns(db, TABLE)?;
        for needed in ["id", "working_dir"] {
            if !columns.contains(needed) {
                return Err(DatabaseError::UnsupportedSchema(format!("{TABLE}.{needed}")));
            }
        }
        let [kind, parent, vendor, settings] =
            ["session_type", "parent_session_id", "provider_name", "model_config_json"]
                .map(|name| if columns.contains(name) { name } else { "NULL" });
        let query = format!(
            "SELECT working_dir, {kind}, {parent}, {vendor}, \
             CASE WHEN octet_length({settings}) <= {MAX_SETTINGS_BYTES} THEN {settings} END \
             FROM {TABLE} WHERE id = ?1"
        );
        Ok(Self { source, db, around, query, known: BTreeMap::new() })
    }

    pub(super) fn get(&mut self, id: &str) -> rusqlite::Result<Rc<Session>> {
        if let Some(session) = self.known.get(id) {
            return Ok(session.clone());
        }
        let mut query = self.db.prepare_cached(&self.query)?;
        let session = query.query_row([id], |row| self.read(id, row)).optional()?;
        let session = Rc::new(session.unwrap_or_else(|| self.unknown(id)));
        self.known.insert(id.to_owned(), session.clone());
        Ok(session)
    }

    fn unknown(&self, id: &str) -> Session {
        Session {
            id: id.into(),
            project: format!("{ID}:unknown").into(),
            is_child: false,
            is_typed: true,
            model: None,
            vendor: None,
            is_of_agent: false,
            is_told_elsewhere: false,
            source_id: self.source.id,
        }
    }

    fn read(&self, id: &str, row: &Row<'_>) -> rusqlite::Result<Session> {
        let mut session = self.unknown(id);
        if let Some(directory) = text(row.get_ref(0)?) {
            session.project = directory.into();
        }
        let kind = text(row.get_ref(1)?);
        session.is_typed =
            matches!(kind.as_deref(), None | Some("user" | "terminal" | "gateway" | "acp"));
        session.is_child =
            text(row.get_ref(2)?).is_some() || matches!(kind.as_deref(), Some("sub_agent"));
        let vendor = text(row.get_ref(3)?);
        let inner = vendor.as_deref().and_then(inner_agent);
        session.is_of_agent = inner.is_some();
        session.is_told_elsewhere = inner.is_some_and(|inner| self.around.reads(inner));
        session.vendor = vendor.map(Arc::from);
        session.model = match row.get_ref(4)? {
            ValueRef::Text(settings) => model(settings).unwrap_or_default(),
            _ => None,
        };
        Ok(session)
    }
}

/// The agent that makes the calls and writes a log of its own, by what the session says who serves
/// its model.
fn inner_agent(vendor: &str) -> Option<&'static str> {
    match vendor {
        "claude-code" | "claude-code-acp" | "claude-acp" => Some("claude-code"),
        "codex" | "codex-acp" => Some("codex"),
        "copilot-acp" => Some("github-copilot"),
        "gemini-cli" | "gemini-acp" => Some("gemini-cli"),
        "kimi-acp" => Some("kimi"),
        "opencode-acp" => Some("opencode"),
        "pi-acp" => Some("pi"),
        "qwen-acp" => Some("qwen-code"),
        _ => None,
    }
}

fn model(settings: &[u8]) -> Read<Option<String>> {
    let mut model = None;
    Json::new(settings).object(|name, json| {
        if name == "model_name" {
            model = json.text()?.map(Into::into);
        }
        Ok(())
    })?;
    Ok(model)
}
