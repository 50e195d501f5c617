//! Lines of an agent in, statements about its calls and prompts out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Role, Skip, Source, Tokens, Usage, UsageEvent};

use super::beside::{self, About};
use super::line::{Figures, Line, may_matter, seconds_ms};
use super::{ID, Place, VERSION};
use crate::record::each_record;
use crate::{Around, ParseLine, Parsed};

/// Shorter lines are read in any case, so that their faults are seen: it costs little.
const SHORT: usize = 1024;

/// Shorter ids of messages are not taken to be the only ones of their kind.
const UNIQUE_ID: usize = 16;

/// The file of an agent as far as it was read.
pub(super) struct Wire {
    source_id: i64,
    place: Place,
    around: Around,
    state: State,
    provider: Arc<str>,
    /// What other files say, once it was asked for. What was not there may be at the next reading.
    about: Option<About>,
    /// The model that Kimi CLI asks now. What was read before keeps the one that it had.
    model: Option<Arc<str>>,
}

/// What lines do not say themselves.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The directory as a line names it.
    cwd: Option<Arc<str>>,
    /// The model that was asked last: what a person calls it, and its vendor.
    alias: Option<Arc<str>>,
    model: Option<Arc<str>>,
}

/// A call or a prompt, but for what it used.
struct Stated<'a> {
    key: String,
    ts_ms: i64,
    /// The subagent, where the file is not its own.
    agent: Option<&'a str>,
    is_sidechain: bool,
}

impl ParseLine for Wire {
    /// Two records may share a line where a writer was stopped before its newline.
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        let is_object = line.starts_with(b"{") && line.ends_with(b"}");
        if line.len() >= SHORT && is_object && !may_matter(line) {
            return;
        }
        each_record(line, out, |json, out| {
            let Some(record) = Line::read(json)? else { return Ok(false) };
            self.take(&record, out);
            Ok(true)
        });
    }

    fn state(&self) -> String {
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Wire {
    pub(super) fn resume(source: &Source, around: Around, state: &str) -> Self {
        Self {
            source_id: source.id,
            place: Place::of(&source.path).unwrap_or_default(),
            around,
            state: serde_json::from_str(state).unwrap_or_default(),
            provider: ID.into(),
            about: None,
            model: None,
        }
    }

    fn take(&mut self, line: &Line<'_>, out: &mut Parsed) {
        let is_main = self.place.agent.is_none();
        let stated = match line.kind.as_deref() {
            Some("usage.record") => self.recorded(line),
            Some("llm.request") => {
                self.state.alias = line.alias.as_deref().map(Arc::from);
                self.state.model = line.model.as_deref().map(Arc::from);
                return;
            }
            Some("config.update") => {
                let cwd = line.cwd.as_deref().map(Arc::from);
                self.state.cwd = cwd.or(self.state.cwd.take());
                return;
            }
            Some("turn.prompt" | "turn.steer") if is_main && line.is_prompt() => {
                self.prompt("kimicode", line.time_ms, line.time_ms.map(|ms| ms.to_string()))
            }
            Some(_) => return,
            None => match line.message.kind.as_deref() {
                Some("StatusUpdate") => {
                    let Some(figures) = line.message.figures else { return };
                    self.told(line, figures, line.message.id.as_deref(), None, !is_main)
                }
                // What a subagent has told stands in a file of its own, in newer versions.
                Some("SubagentEvent") => {
                    let event = &line.message.event;
                    let agent = line.message.agent.as_deref();
                    let is_update = event.kind.as_deref() == Some("StatusUpdate");
                    let Some(figures) = event.figures.filter(|_| is_update) else { return };
                    if event.id.is_none() && agent.is_some() {
                        return out.skips.add(Skip::Replayed);
                    }
                    self.told(line, figures, event.id.as_deref(), agent, true)
                }
                Some("TurnBegin" | "SteerInput") if is_main && line.message.is_prompt() => {
                    let ts_ms = line.timestamp.and_then(seconds_ms);
                    self.prompt("kimi", ts_ms, line.timestamp.map(str::to_owned))
                }
                _ => return,
            },
        };
        match stated {
            Ok(event) => out.events.push(event),
            Err(skip) => out.skips.add(skip),
        }
    }

    /// A call of Kimi Code. Forks copy its record as it is, and it has no id.
    fn recorded(&mut self, line: &Line<'_>) -> Result<UsageEvent, Skip> {
        let mut flags = Flags::default();
        let tokens = line.figures.unwrap_or_default().tokens(&mut flags)?;
        let ts_ms = line.time_ms.ok_or(Skip::BadField)?;
        let alias = line.model.as_deref().unwrap_or(Usage::UNKNOWN_MODEL);
        let State { alias: asked, model, .. } = &self.state;
        let is_asked = asked.as_deref().is_none_or(|asked| asked == alias);
        let model = model.as_ref().filter(|_| is_asked);
        let model = model.map_or_else(|| alias.into(), Arc::clone);
        let stated = Stated {
            key: format!("kimicode:{ts_ms}:{alias}:{}", counts(&tokens)),
            ts_ms,
            agent: None,
            is_sidechain: self.place.agent.is_some(),
        };
        self.event(&stated, Role::Assistant, model, tokens, flags)
    }

    /// A call of Kimi CLI.
    fn told(
        &mut self,
        line: &Line<'_>,
        figures: Figures,
        id: Option<&str>,
        agent: Option<&str>,
        is_sidechain: bool,
    ) -> Result<UsageEvent, Skip> {
        let mut flags = Flags::MODEL_AS_SET;
        let tokens = figures.tokens(&mut flags)?;
        let timestamp = line.timestamp.ok_or(Skip::BadField)?;
        let ts_ms = seconds_ms(timestamp).ok_or(Skip::BadField)?;
        let key = match id {
            Some(id) if id.len() >= UNIQUE_ID => format!("kimi:{id}"),
            Some(id) => format!("kimi:{id}:{}", counts(&tokens)),
            // Millionths of a second are all that two calls differ by; forks leave them as they are.
            None => format!("kimi:{timestamp}:{}", counts(&tokens)),
        };
        let model = match &self.model {
            Some(model) => model.clone(),
            None => {
                let model = beside::model(&self.place, &*self.around);
                let model = model.as_deref().unwrap_or(Usage::UNKNOWN_MODEL);
                self.model.insert(model.into()).clone()
            }
        };
        let stated = Stated { key, ts_ms, agent, is_sidechain };
        self.event(&stated, Role::Assistant, model, tokens, flags)
    }

    fn prompt(
        &mut self,
        prefix: &str,
        ts_ms: Option<i64>,
        identity: Option<String>,
    ) -> Result<UsageEvent, Skip> {
        let (Some(ts_ms), Some(identity)) = (ts_ms, identity) else { return Err(Skip::BadField) };
        let key = format!("{prefix}:prompt:{identity}");
        let stated = Stated { key, ts_ms, agent: None, is_sidechain: false };
        self.event(&stated, Role::User, "".into(), Tokens::default(), Flags::default())
    }

    fn event(
        &mut self,
        stated: &Stated<'_>,
        role: Role,
        model: Arc<str>,
        tokens: Tokens,
        flags: Flags,
    ) -> Result<UsageEvent, Skip> {
        if role == Role::Assistant && tokens.total() == 0 {
            return Err(Skip::NoUsage);
        }
        let Self { place, around, about, .. } = self;
        let about = about.get_or_insert_with(|| {
            let mut about = About::read(place, &**around);
            about.directory = about.directory.or_else(|| beside::directory_of(place, &**around));
            about
        });
        let named = about.directory.as_deref().or(self.state.cwd.as_deref()).map(Arc::from);
        let is_older = about.created_ms.is_none_or(|created_ms| stated.ts_ms < created_ms);
        let copy_rank = u8::from(about.is_fork && is_older);
        Ok(UsageEvent {
            key: EventKey::new(&stated.key),
            provider: self.provider.clone(),
            role,
            ts_ms: stated.ts_ms,
            copy_rank,
            owner: Owner {
                session_id: self.place.session_id.as_str().into(),
                project: named.unwrap_or_else(|| self.folder()),
                is_sidechain: stated.is_sidechain,
                account: None,
                agent: self.place.agent.as_deref().or(stated.agent).map(Arc::from),
                client: None,
                source_id: self.source_id,
            },
            usage: Usage { tokens, flags, ..Usage::of(model) },
            parser_version: VERSION,
        })
    }

    /// The project of a session whose directory nothing names.
    fn folder(&self) -> Arc<str> {
        let name = self.place.directory().file_name().unwrap_or_default().to_string_lossy();
        format!("{ID}:{name}").into()
    }
}

fn counts(tokens: &Tokens) -> String {
    let Tokens { input, output, cache_read, cache_create, .. } = tokens;
    format!("{input}:{output}:{cache_read}:{cache_create}")
}
