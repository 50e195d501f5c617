//! Who a thread is, and the events that are its own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Role, Speed, Usage, UsageEvent};

use super::VERSION;
use super::counts::Counts;
use super::line::SessionMeta;
use super::lineage::{Moment, Prompt};

/// The project of threads that name no directory.
const NO_DIRECTORY: &str = "codex:unknown";

/// Who a thread is. Its first `session_meta` says so: later ones are copies of its ancestors'.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Thread {
    pub(super) id: Arc<str>,
    session: Arc<str>,
    pub(super) created_ms: Option<i64>,
    cwd: Option<Arc<str>>,
    client: Option<Arc<str>>,
    vendor: Option<Arc<str>>,
    pub(super) is_sidechain: bool,
    /// Its first totals may contain what an ancestor used.
    pub(super) has_ancestor: bool,
}

/// A call, but for its model.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) key: Box<str>,
    pub(super) at: Moment,
    pub(super) counts: Counts,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_clamped: bool,
    /// It may be several, of which only the totals are known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_sum: bool,
    /// The directory of its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cwd: Option<Arc<str>>,
    /// The name of a [`Speed`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tier: Option<Arc<str>>,
}

/// The file that events are read from.
pub(super) struct Origin {
    pub(super) provider: Arc<str>,
    pub(super) source_id: i64,
}

impl Thread {
    pub(super) fn new(id: &str, meta: &SessionMeta<'_>) -> Self {
        Self {
            id: id.into(),
            session: meta.session_id.as_deref().unwrap_or(id).into(),
            created_ms: meta.created_ms,
            cwd: meta.cwd.as_deref().map(Arc::from),
            client: meta.cli_version.as_deref().map(Arc::from),
            vendor: meta.model_provider.as_deref().filter(|v| *v != "openai").map(Arc::from),
            is_sidechain: meta.is_subagent,
            has_ancestor: meta.has_history_base || meta.parent().is_some(),
        }
    }

    /// A thread of which only the id is known.
    pub(super) fn named(id: &str) -> Self {
        Self { id: id.into(), session: id.into(), ..Self::default() }
    }

    /// The key of something that has no id of its own but one within the thread.
    pub(super) fn key(&self, kind: &str, identity: &str) -> Box<str> {
        EventKey::new(&format!("codex:{kind}:{}:{identity}", self.id)).as_str().into()
    }

    pub(super) fn call(&self, call: &Call, model: &Arc<str>, origin: &Origin) -> UsageEvent {
        let mut flags = call.at.flags();
        if call.is_clamped {
            flags.insert(Flags::CLAMPED);
        }
        if call.is_sum {
            flags.insert(Flags::SUM);
        }
        UsageEvent {
            key: EventKey::stored(&call.key),
            provider: origin.provider.clone(),
            role: Role::Assistant,
            ts_ms: call.at.ms,
            copy_rank: 0,
            owner: self.owner(call.cwd.as_ref(), origin),
            usage: Usage {
                speed: call.tier.as_deref().and_then(Speed::parse).unwrap_or_default(),
                tokens: call.counts.tokens(&mut flags),
                vendor: self.vendor.clone(),
                flags,
                ..Usage::of(model.clone())
            },
            parser_version: VERSION,
        }
    }

    pub(super) fn prompt(&self, prompt: &Prompt, origin: &Origin) -> UsageEvent {
        UsageEvent {
            key: EventKey::stored(&self.key("prompt", &prompt.number.to_string())),
            provider: origin.provider.clone(),
            role: Role::User,
            ts_ms: prompt.at.ms,
            copy_rank: 0,
            owner: self.owner(prompt.cwd.as_ref(), origin),
            usage: Usage { flags: prompt.at.flags(), ..Usage::of("") },
            parser_version: VERSION,
        }
    }

    fn owner(&self, cwd: Option<&Arc<str>>, origin: &Origin) -> Owner {
        let project = cwd.or(self.cwd.as_ref());
        Owner {
            session_id: self.session.clone(),
            project: project.map_or_else(|| NO_DIRECTORY.into(), Arc::clone),
            is_sidechain: self.is_sidechain,
            account: None,
            agent: (self.id != self.session).then(|| self.id.clone()),
            client: self.client.clone(),
            source_id: origin.source_id,
        }
    }
}
