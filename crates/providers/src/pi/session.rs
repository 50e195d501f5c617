//! Entries of a session in, statements about its calls and prompts out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Role, Skip, Source, Tokens, Usage, UsageEvent};

use super::entry::{Call, Entry, may_matter};
use super::{ID, Place, VERSION};
use crate::record::each_record;
use crate::{ParseLine, Parsed};

/// Most calls and prompts that a line states. The results of tools list all that subagents said.
pub(super) const MAX_STATED: usize = 1_000;

/// Shorter lines are read in any case, so that their faults are seen: it costs little.
const SHORT: usize = 1024;

/// The project of sessions that name no directory.
const NO_DIRECTORY: &str = "pi:unknown";

/// A session as far as it was read.
pub(super) struct Session {
    source_id: i64,
    place: Place,
    state: State,
    provider: Arc<str>,
}

/// What entries do not say themselves.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    has_header: bool,
    session_id: Option<Arc<str>>,
    cwd: Option<Arc<str>>,
    is_fork: bool,
    /// When the file was begun. In a fork, what is older is a copy.
    created_ms: Option<i64>,
    is_subagent: bool,
    /// The model that was asked last, and who served it.
    model: Option<Arc<str>>,
    vendor: Option<Arc<str>>,
}

impl ParseLine for Session {
    /// Two entries may share a line where a writer was stopped before its newline.
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        let is_object = line.starts_with(b"{") && line.ends_with(b"}");
        if line.len() >= SHORT && is_object && !may_matter(line) {
            return;
        }
        let most = out.events.len() + MAX_STATED;
        each_record(line, out, |json, out| {
            let Some(entry) = Entry::read(json)? else { return Ok(false) };
            self.entry(&entry, out);
            if out.events.len() > most {
                out.events.truncate(most);
                return Err(Skip::Malformed);
            }
            Ok(true)
        });
    }

    fn state(&self) -> String {
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Session {
    pub(super) fn resume(source: &Source, state: &str) -> Self {
        Self {
            source_id: source.id,
            place: Place::of(&source.root, &source.path).unwrap_or_default(),
            state: serde_json::from_str(state).unwrap_or_default(),
            provider: ID.into(),
        }
    }

    fn entry(&mut self, entry: &Entry<'_>, out: &mut Parsed) {
        let Entry { call, message, .. } = entry;
        match entry.kind.as_deref() {
            Some("session") if !self.state.has_header => self.begin(entry),
            Some("session_init") => self.state.is_subagent = true,
            Some("model_change") => self.ask(call),
            Some("message") => {
                if message.role.as_deref() == Some("assistant") {
                    self.ask(&message.call);
                    self.call(&message.call, call.ts_ms, self.is_subagent(), out);
                } else if message.is_prompt() && !self.is_subagent() {
                    self.prompt(message.call.ts_ms.or(call.ts_ms), out);
                }
                for reported in &message.reported {
                    self.call(reported, None, true, out);
                }
            }
            // What is asked beside the conversation: for a title, say.
            Some("model_usage") => self.call(call, None, self.is_subagent(), out),
            Some("compaction" | "branch_summary") => self.summary(call, out),
            _ => {}
        }
    }

    /// The first line that is about the session stands; should it be repeated, nothing changes.
    fn begin(&mut self, entry: &Entry<'_>) {
        let State { has_header, session_id, cwd, is_fork, created_ms, .. } = &mut self.state;
        *has_header = true;
        *session_id = entry.id.as_deref().map(Arc::from);
        *cwd = entry.cwd.as_deref().map(Arc::from);
        *is_fork = entry.is_fork;
        *created_ms = entry.call.ts_ms;
        self.ask(&entry.call);
    }

    fn ask(&mut self, call: &Call<'_>) {
        let State { model, vendor, .. } = &mut self.state;
        for (last, named) in [(model, &call.model), (vendor, &call.vendor)] {
            if let Some(named) = named.as_deref()
                && last.as_deref() != Some(named)
            {
                *last = Some(named.into());
            }
        }
    }

    fn call(&self, call: &Call<'_>, at_ms: Option<i64>, is_sidechain: bool, out: &mut Parsed) {
        let Some(figures) = &call.figures else { return };
        let model = call.model.as_deref().unwrap_or(Usage::UNKNOWN_MODEL);
        let stated = figures.key().and_then(|counts| {
            let ts_ms = call.ts_ms.or(at_ms).ok_or(Skip::BadField)?;
            let key = format!("{ID}:{ts_ms}:{model}:{counts}");
            let usage = self.usage(call, self.shared(model), call.vendor.as_deref())?;
            Ok(self.event(&key, Role::Assistant, ts_ms, is_sidechain, usage))
        });
        add(stated, out);
    }

    /// The call that made a summary. It does not say which model was asked, and what was asked before
    /// it may be another one in a copy.
    fn summary(&self, call: &Call<'_>, out: &mut Parsed) {
        let Some(figures) = &call.figures else { return };
        let stated = figures.key().and_then(|counts| {
            let ts_ms = call.ts_ms.ok_or(Skip::BadField)?;
            let key = format!("{ID}:summary:{ts_ms}:{counts}");
            let model = self.state.model.clone();
            let model = model.unwrap_or_else(|| Usage::UNKNOWN_MODEL.into());
            let usage = self.usage(call, model, self.state.vendor.as_deref())?;
            Ok(self.event(&key, Role::Assistant, ts_ms, self.is_subagent(), usage))
        });
        add(stated, out);
    }

    fn prompt(&self, ts_ms: Option<i64>, out: &mut Parsed) {
        let stated = ts_ms.ok_or(Skip::BadField).map(|ts_ms| {
            let key = format!("{ID}:prompt:{ts_ms}");
            let usage = usage_of("".into(), Tokens::default(), Flags::default());
            self.event(&key, Role::User, ts_ms, false, usage)
        });
        add(stated, out);
    }

    fn usage(&self, call: &Call<'_>, model: Arc<str>, vendor: Option<&str>) -> Result<Usage, Skip> {
        let figures = call.figures.as_ref().ok_or(Skip::NoUsage)?;
        let mut flags = Flags::default();
        let tokens = figures.tokens(&mut flags)?;
        if tokens.total() == 0 {
            return Err(Skip::NoUsage);
        }
        let web_search_requests = figures.web_search_requests(&mut flags);
        let last = self.state.vendor.as_ref().filter(|last| Some(&***last) == vendor);
        Ok(Usage {
            web_search_requests,
            vendor: last.cloned().or_else(|| vendor.map(Arc::from)),
            logged_cost_nanousd: figures.cost_nanousd(),
            ..usage_of(model, tokens, flags)
        })
    }

    /// A model's name: nearly always it is that of the last one, and then shared.
    fn shared(&self, model: &str) -> Arc<str> {
        let last = self.state.model.as_ref().filter(|last| ***last == *model);
        last.map_or_else(|| model.into(), Arc::clone)
    }

    fn event(
        &self,
        key: &str,
        role: Role,
        ts_ms: i64,
        is_sidechain: bool,
        usage: Usage,
    ) -> UsageEvent {
        let State { session_id, cwd, is_fork, created_ms, .. } = &self.state;
        let id = session_id.clone().unwrap_or_else(|| self.place.session_id.as_str().into());
        let (session_id, agent) = match &self.place.parent {
            Some(parent) => (parent.as_str().into(), Some(id)),
            None => (id, None),
        };
        let is_copy = *is_fork && created_ms.is_none_or(|created_ms| ts_ms < created_ms);
        UsageEvent {
            key: EventKey::new(key),
            provider: self.provider.clone(),
            role,
            ts_ms,
            copy_rank: u8::from(is_copy),
            owner: Owner {
                session_id,
                project: cwd.clone().unwrap_or_else(|| NO_DIRECTORY.into()),
                is_sidechain,
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
}

fn add(stated: Result<UsageEvent, Skip>, out: &mut Parsed) {
    match stated {
        Ok(event) => out.events.push(event),
        Err(skip) => out.skips.add(skip),
    }
}

fn usage_of(model: Arc<str>, tokens: Tokens, flags: Flags) -> Usage {
    Usage { tokens, flags, ..Usage::of(model) }
}
