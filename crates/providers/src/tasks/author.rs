//! The events of one document.

use std::sync::Arc;

use usage::{EventKey, Flags, Owner, Role, Source, Tokens, Usage, UsageEvent};

/// Makes the events of one document. Whose they are is often known only at its end.
pub(crate) struct Author {
    provider: Arc<str>,
    version: u32,
    source_id: i64,
    /// The last one: it is nearly always the next one too, and then shared.
    model: Arc<str>,
    nobody: Arc<str>,
}

impl Author {
    /// `version` is that of the source's provider.
    pub(crate) fn new(source: &Source, version: u32) -> Self {
        Self {
            provider: source.provider.into(),
            version,
            source_id: source.id,
            model: Usage::UNKNOWN_MODEL.into(),
            nobody: "".into(),
        }
    }

    pub(crate) fn call(
        &mut self,
        key: &str,
        ts_ms: i64,
        model: Option<&str>,
        (tokens, cost, flags): (Tokens, Option<i64>, Flags),
    ) -> UsageEvent {
        let model = model.unwrap_or(Usage::UNKNOWN_MODEL);
        if *self.model != *model {
            self.model = model.into();
        }
        let usage =
            Usage { logged_cost_nanousd: cost, tokens, flags, ..Usage::of(self.model.clone()) };
        self.event(key, ts_ms, Role::Assistant, usage)
    }

    pub(crate) fn prompt(&self, key: &str, ts_ms: i64, flags: Flags) -> UsageEvent {
        self.event(key, ts_ms, Role::User, Usage { flags, ..Usage::of(self.nobody.clone()) })
    }

    fn event(&self, key: &str, ts_ms: i64, role: Role, usage: Usage) -> UsageEvent {
        UsageEvent {
            key: EventKey::new(key),
            provider: self.provider.clone(),
            role,
            ts_ms,
            copy_rank: 0,
            owner: Owner {
                session_id: self.nobody.clone(),
                project: self.nobody.clone(),
                is_sidechain: false,
                account: None,
                agent: None,
                client: None,
                source_id: self.source_id,
            },
            usage,
            parser_version: self.version,
        }
    }
}
