//! The oldest sessions: documents as Gemini CLI wrote them at that time, by another name of the model.

use std::path::Path;
use std::sync::Arc;

use usage::{EventKey, Flags, Owner, Role, Skip, Source, Tokens, Usage, UsageEvent};

use super::counts::Stated;
use super::transcript::call;
use super::{ID, VERSION, usage};
use crate::gemini_cli::chat::{Figures, Message, Record};
use crate::record::{Json, NotJson, time_ms};
use crate::{Document, Parsed, Surroundings, Torn};

pub(super) struct Sessions;

impl Document for Sessions {
    fn parse(
        &self,
        source: &Source,
        bytes: &[u8],
        _around: &dyn Surroundings,
        _state: &str,
        out: &mut Parsed,
    ) -> Result<String, Torn> {
        let mut json = Json::new(bytes);
        let record = Record::read(&mut json).map_err(|NotJson| Torn)?;
        if json.peek().is_some() {
            return Err(Torn);
        }
        match record {
            Some(record) => Session::new(source, &record).state(&record, out),
            None => out.skips.add(Skip::NotAnObject),
        }
        Ok(String::new())
    }
}

struct Session {
    provider: Arc<str>,
    id: Arc<str>,
    project: Arc<str>,
    source_id: i64,
    /// The time of messages that have none: that of the one before.
    ts_ms: i64,
}

impl Session {
    fn new(source: &Source, record: &Record<'_>) -> Self {
        let name = source.path.file_stem().unwrap_or_default().to_string_lossy();
        let id = record.session.session_id.as_deref().unwrap_or(&name);
        // Its name is a hash of the directory, which is written down nowhere.
        let folder = source.path.parent().and_then(Path::parent).and_then(Path::file_name);
        let folder = folder.unwrap_or_default().to_string_lossy();
        let start = record.session.start_time.as_deref().and_then(time_ms);
        Self {
            provider: ID.into(),
            id: id.into(),
            project: format!("{ID}:{folder}").into(),
            source_id: source.id,
            ts_ms: start.unwrap_or(source.mtime_ms),
        }
    }

    fn state(&mut self, record: &Record<'_>, out: &mut Parsed) {
        for message in &record.session.messages {
            let ts_ms = message.timestamp.as_deref().and_then(time_ms);
            self.ts_ms = ts_ms.unwrap_or(self.ts_ms);
            let stated = match &message.figures {
                Some(figures) if message.kind.as_deref() == Some("qwen") => {
                    call(message.model.as_deref(), stated(figures), None)
                        .map(|usage| (Role::Assistant, usage))
                }
                _ if message.is_from_user() && message.is_typed() => {
                    Ok((Role::User, usage("".into(), Tokens::default(), Flags::default())))
                }
                _ => continue,
            };
            match stated.and_then(|(role, usage)| self.event(message, role, ts_ms, usage)) {
                Ok(event) => out.events.push(event),
                Err(reason) => out.skips.add(reason),
            }
        }
    }

    fn event(
        &self,
        message: &Message<'_>,
        role: Role,
        ts_ms: Option<i64>,
        mut usage: Usage,
    ) -> Result<UsageEvent, Skip> {
        let id = message.id.as_deref().ok_or(Skip::BadField)?;
        let key = match role {
            Role::Assistant => format!("qwen:old:{}:{id}", self.id),
            Role::User => format!("qwen:prompt:{}:{id}", self.id),
        };
        if ts_ms.is_none() {
            usage.flags.insert(Flags::TS_GUESSED);
        }
        Ok(UsageEvent {
            key: EventKey::new(&key),
            provider: self.provider.clone(),
            role,
            ts_ms: self.ts_ms,
            copy_rank: 0,
            owner: Owner {
                session_id: self.id.clone(),
                project: self.project.clone(),
                is_sidechain: false,
                account: None,
                agent: None,
                client: None,
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        })
    }
}

/// The counts mean what they mean in the transcripts, whatever they are called.
fn stated(figures: &Figures) -> Stated {
    Stated {
        prompt: figures.input,
        candidates: figures.output,
        cached: figures.cached,
        thoughts: figures.thoughts,
        total: figures.total,
    }
}
