//! What a message says, as events.

use usage::{EventKey, Owner, Role, Skip, Source, Tokens, Usage, UsageEvent, digest22};

use super::agent::Agent;
use super::message::{Counted, Figures, Message};
use super::sessions::Session;
use crate::Parsed;

/// Most steps of one message that are looked at.
pub(super) const MAX_STEPS: usize = crate::record::MAX_REPEATS;

/// A message and whose it is.
pub(super) struct Statement<'r, 'a> {
    pub(super) agent: &'r Agent,
    pub(super) source: &'r Source,
    pub(super) session: &'r Session,
    pub(super) message: &'r Message<'a>,
    pub(super) created_ms: i64,
}

impl Statement<'_, '_> {
    /// Whether the message was copied when its session was forked from another: it is older than its
    /// session.
    pub(super) fn is_copy(&self) -> bool {
        self.session.created_ms.is_some_and(|created_ms| self.created_ms < created_ms)
    }

    /// The calls of a message that was completed: one for each step with tokens, else the message's
    /// own. Says whether it is the message's own.
    pub(super) fn calls(&self, completed_ms: i64, steps: &[Figures<'_>], out: &mut Parsed) -> bool {
        let is_stepped = steps.iter().any(|step| !step.is_nothing());
        let whole = [&self.message.figures];
        let figures: Vec<&Figures<'_>> =
            if is_stepped { steps.iter().collect() } else { whole.into() };
        let before = out.events.len();
        let mut skipped = None;
        for (ordinal, figures) in figures.into_iter().enumerate() {
            if is_stepped && figures.is_nothing() {
                continue;
            }
            match self.call(completed_ms, figures, ordinal) {
                Ok(event) => out.events.push(event),
                Err(skip) => {
                    out.skips.add(skip);
                    skipped = Some(skip);
                }
            }
        }
        let has_call = out.events.len() > before;
        if is_stepped {
            self.retract_whole(completed_ms, before, out);
        }
        has_call && !is_stepped && skipped.is_none()
    }

    /// Steps may come after their message, while a session is copied: until then the message spoke
    /// for all of them.
    fn retract_whole(&self, completed_ms: i64, before: usize, out: &mut Parsed) {
        let Ok(whole) = self.call(completed_ms, &self.message.figures, 0) else { return };
        if out.events[before..].iter().all(|event| event.key != whole.key) {
            out.retracted.push(whole.key);
        }
    }

    fn call(
        &self,
        completed_ms: i64,
        figures: &Figures<'_>,
        ordinal: usize,
    ) -> Result<UsageEvent, Skip> {
        let counted = figures.counted()?;
        let Counted { tokens, flags, cost_nanousd, stated_output, stated_reasoning } = counted;
        if tokens.total() == 0 {
            return Err(if self.message.is_failed { Skip::ApiError } else { Skip::NoUsage });
        }
        let provider = self.message.provider.as_deref().unwrap_or_default();
        let model = self.message.model.as_deref().unwrap_or_default();
        let Tokens { input, cache_read, cache_create, .. } = tokens;
        // All that a fork, a migration and a backup leave as it is, and nothing else.
        let fingerprint = format!(
            "{}|{completed_ms}|{provider}|{model}|{input}|{stated_output}|{stated_reasoning}|\
             {cache_read}|{cache_create}|{}|{ordinal}",
            self.created_ms,
            cost_nanousd.unwrap_or_default(),
        );
        let usage = Usage {
            tokens,
            vendor: (!provider.is_empty()).then(|| provider.into()),
            logged_cost_nanousd: cost_nanousd,
            flags,
            ..Usage::of(if model.is_empty() { Usage::UNKNOWN_MODEL } else { model })
        };
        let key = format!("{}:{}", self.agent.prefix, digest22(fingerprint.as_bytes()));
        Ok(self.event(&key, Role::Assistant, usage))
    }

    /// The message as a prompt that a person typed.
    pub(super) fn prompt(&self) -> UsageEvent {
        let Message { agent, provider, model, .. } = self.message;
        let text = |text: &super::message::Text<'_>| text.as_deref().unwrap_or_default().to_owned();
        let fingerprint =
            [self.created_ms.to_string(), text(agent), text(provider), text(model)].join("|");
        let key = format!("{}:prompt:{}", self.agent.prefix, digest22(fingerprint.as_bytes()));
        self.event(&key, Role::User, Usage::of(""))
    }

    fn event(&self, key: &str, role: Role, usage: Usage) -> UsageEvent {
        UsageEvent {
            key: EventKey::new(key),
            provider: self.agent.id.into(),
            role,
            // The parts' own times are not looked at: a migration or a fork makes them new.
            ts_ms: self.created_ms,
            copy_rank: u8::from(self.is_copy()),
            owner: Owner {
                session_id: self.session.id.clone(),
                project: self.session.project(self.message, self.agent),
                is_sidechain: self.session.is_child,
                account: None,
                agent: None,
                client: None,
                source_id: self.source.id,
            },
            usage,
            parser_version: self.agent.version,
        }
    }
}
