//! Records of a session in, statements about its calls and prompts out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Role, Skip, Source, Tokens, Usage, UsageEvent};

use super::chat::{About, Figures, Message, Record};
use super::project::project_of;
use super::{ID, Place, VERSION};
use crate::record::{each_record, time_ms};
use crate::{Around, ParseLine, Parsed, Surroundings};

/// Most calls and prompts that a line states. Some lines list all messages of a session; those were
/// nearly always stated one by one before, the latest least surely so.
const MAX_STATED: usize = 1_000;

/// The lines of a session, in order.
pub(super) struct Lines {
    session: Session,
    around: Around,
}

impl Lines {
    pub(super) fn resume(source: &Source, around: &Around, state: &str) -> Self {
        Self { session: Session::resume(source, state), around: around.clone() }
    }
}

impl ParseLine for Lines {
    /// Two records may share a line where a writer was stopped before its newline.
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        let before = out.events.len();
        each_record(line, out, |json, out| {
            let Some(record) = Record::read(json)? else { return Ok(false) };
            self.session.record(&record, &*self.around, out);
            let excess = out.events.len().saturating_sub(before + MAX_STATED);
            if excess > 0 {
                out.events.drain(before..before + excess);
                return Err(Skip::Oversize);
            }
            Ok(true)
        });
    }

    fn state(&self) -> String {
        serde_json::to_string(&self.session.state).unwrap_or_default()
    }
}

/// A session as far as it was read.
pub(super) struct Session {
    source_id: i64,
    /// The time of messages before which no time is known.
    mtime_ms: i64,
    place: Place,
    state: State,
    provider: Arc<str>,
    /// What the session's folder is called, should its project not be found.
    folder: Option<Arc<str>>,
    /// The model of the last call: it is nearly always that of the next one, too.
    model: Option<Arc<str>>,
}

/// What messages do not say themselves.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Never changes once a message was counted: it is part of all keys.
    session_id: Option<Arc<str>>,
    is_subagent: bool,
    /// The project, once it was found.
    project: Option<Arc<str>>,
    ts_ms: Option<i64>,
}

impl Session {
    pub(super) fn resume(source: &Source, state: &str) -> Self {
        Self {
            source_id: source.id,
            mtime_ms: source.mtime_ms,
            place: Place::of(&source.path).unwrap_or_default(),
            state: serde_json::from_str(state).unwrap_or_default(),
            provider: ID.into(),
            folder: None,
            model: None,
        }
    }

    pub(super) fn record(
        &mut self,
        record: &Record<'_>,
        around: &dyn Surroundings,
        out: &mut Parsed,
    ) {
        let Record { session, set, message } = record;
        self.describe(session);
        self.describe(set);
        for message in session.messages.iter().chain([message]) {
            self.message(message, around, out);
        }
        // What a person typed is written down before it is listed with all that the model is shown.
        // What stands only there is made by the program.
        for message in set.messages.iter().filter(|message| message.is_from_model()) {
            self.message(message, around, out);
        }
    }

    fn describe(&mut self, about: &About<'_>) {
        if let Some(id) = about.session_id.as_deref()
            && self.state.session_id.is_none()
        {
            self.state.session_id = Some(id.into());
        }
        if let Some(kind) = about.kind.as_deref() {
            self.state.is_subagent = kind == "subagent";
        }
        self.state.ts_ms = about.start_time.as_deref().and_then(time_ms).or(self.state.ts_ms);
    }

    fn message(&mut self, message: &Message<'_>, around: &dyn Surroundings, out: &mut Parsed) {
        let ts_ms = message.timestamp.as_deref().and_then(time_ms);
        self.state.ts_ms = ts_ms.or(self.state.ts_ms);
        let stated = match &message.figures {
            Some(figures) if message.is_from_model() => {
                self.call(message, figures).map(|usage| (Role::Assistant, usage))
            }
            _ if message.is_from_user() && !self.is_subagent() && message.is_typed() => {
                Ok((Role::User, usage_of("".into(), Tokens::default(), Flags::default())))
            }
            _ => return,
        };
        let stated = stated.and_then(|(role, usage)| {
            let id = message.id.as_deref().ok_or(Skip::BadField)?;
            Ok(self.event(id, role, ts_ms, usage, around))
        });
        match stated {
            Ok(event) => out.events.push(event),
            Err(skip) => out.skips.add(skip),
        }
    }

    fn call(&mut self, message: &Message<'_>, figures: &Figures) -> Result<Usage, Skip> {
        let mut flags = Flags::default();
        let tokens = figures.tokens(&mut flags)?;
        if tokens.total() == 0 {
            return Err(Skip::NoUsage);
        }
        let model = message.model.as_deref().unwrap_or(Usage::UNKNOWN_MODEL);
        let model = match &self.model {
            Some(last) if **last == *model => last.clone(),
            _ => self.model.insert(model.into()).clone(),
        };
        Ok(usage_of(model, tokens, flags))
    }

    fn event(
        &mut self,
        message_id: &str,
        role: Role,
        ts_ms: Option<i64>,
        mut usage: Usage,
        around: &dyn Surroundings,
    ) -> UsageEvent {
        let name = &self.place.name;
        let id = self.state.session_id.get_or_insert_with(|| name.as_str().into()).clone();
        let key = match role {
            Role::Assistant => format!("gemini:{id}:{message_id}"),
            Role::User => format!("gemini:prompt:{id}:{message_id}"),
        };
        // A subagent has a session of its own; what it did belongs to the one that asked it.
        let (session_id, agent) = match &self.place.parent {
            Some(parent) => (parent.as_str().into(), Some(id)),
            None => (id, None),
        };
        UsageEvent {
            key: EventKey::new(&key),
            provider: self.provider.clone(),
            role,
            ts_ms: ts_ms.unwrap_or_else(|| {
                usage.flags.insert(Flags::TS_GUESSED);
                self.state.ts_ms.unwrap_or(self.mtime_ms)
            }),
            copy_rank: 0,
            owner: Owner {
                session_id,
                project: self.project(around),
                is_sidechain: self.is_subagent(),
                account: None,
                agent,
                client: None,
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        }
    }

    fn is_subagent(&self) -> bool {
        self.state.is_subagent || self.place.parent.is_some()
    }

    fn project(&mut self, around: &dyn Surroundings) -> Arc<str> {
        if let Some(known) = self.state.project.as_ref().or(self.folder.as_ref()) {
            return known.clone();
        }
        let folder = &self.place.project;
        if let Some(project) = project_of(folder, around) {
            return self.state.project.insert(project.into()).clone();
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        self.folder.insert(format!("{ID}:{name}").into()).clone()
    }
}

fn usage_of(model: Arc<str>, tokens: Tokens, flags: Flags) -> Usage {
    Usage { tokens, flags, ..Usage::of(model) }
}
