//! An event of a session: as many of its fields as tell what a call used and who asked for it, and
//! what they state.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use usage::{EventKey, Flags, Owner, Role, Skip, Tokens, Usage, UsageEvent};

use super::{reads_codex, version};
use crate::parts::Said;
use crate::record::{Count, Json, Read, nanousd};
use crate::{Parsed, Surroundings};

/// A string that says something: not missing, not empty, not endless.
type Text<'a> = Option<Cow<'a, str>>;

/// What the agent says without having asked a model.
const LOCAL_API: &str = "openclaw-transcript";
const LOCAL_MODELS: [&str; 2] = ["delivery-mirror", "gateway-injected"];

/// How it asks another agent, which makes as many calls for an answer as it needs.
const AGENTS_API: &str = "cli";

/// How that is called which notes what Codex has answered.
const CODEX_NOTE: &str = "codex-app-server";

#[derive(Default)]
pub(super) struct Event<'a> {
    kind: Text<'a>,
    id: Text<'a>,
    pub(super) ts_ms: Option<i64>,
    cwd: Text<'a>,
    is_forked: bool,
    custom_kind: Text<'a>,
    /// The model that is asked from here on.
    model: Text<'a>,
    vendor: Text<'a>,
    data: Choice<'a>,
    message: Message<'a>,
}

/// A model and who serves it.
#[derive(Default)]
struct Choice<'a> {
    model: Text<'a>,
    vendor: Text<'a>,
}

#[derive(Default)]
struct Message<'a> {
    role: Text<'a>,
    api: Text<'a>,
    model: Text<'a>,
    vendor: Text<'a>,
    ts_ms: Option<i64>,
    figures: Option<Figures>,
    /// Who noted it down.
    note: Text<'a>,
    origin: Text<'a>,
    /// Who has sent it.
    provenance: Text<'a>,
    /// Where the content begins: it is read only if it may be a prompt.
    content: Option<Json<'a>>,
}

/// What a call used: the four counts share no token.
#[derive(Default)]
struct Figures {
    input: Count,
    output: Count,
    cache_read: Count,
    cache_write: Count,
    cost_nanousd: Option<i64>,
}

/// What a session's first event says.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub(super) session: Option<String>,
    pub(super) cwd: Option<String>,
    /// When the session was made from another one: what is older was copied.
    pub(super) forked_ms: Option<i64>,
}

/// The agent that is run to answer, by what is said to serve the model. It writes its log where it
/// always does.
fn agent_called(vendor: &str) -> Option<&'static str> {
    match vendor {
        "claude-cli" => Some("claude-code"),
        "codex-cli" => Some("codex"),
        "google-gemini-cli" | "gemini-cli" => Some("gemini-cli"),
        _ => None,
    }
}

/// What is known of an event from elsewhere.
pub(super) struct Context<'a> {
    pub(super) provider: &'a Arc<str>,
    pub(super) source_id: i64,
    pub(super) session: Arc<str>,
    pub(super) project: Arc<str>,
    pub(super) forked_ms: Option<i64>,
    /// The time of events that have none.
    pub(super) ts_ms: i64,
    /// The model that was chosen last, with who serves it.
    pub(super) chosen: &'a dyn Fn() -> Option<(String, Option<String>)>,
    pub(super) path: &'a Path,
    pub(super) around: &'a dyn Surroundings,
}

impl<'a> Event<'a> {
    /// Reads the next value; `None` if it is no object.
    pub(super) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut event = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "type" => event.kind = json.text()?,
                "id" => event.id = json.text()?,
                "timestamp" => event.ts_ms = json.time()?,
                "cwd" => event.cwd = json.text()?,
                "parentSession" | "branchedFrom" => event.is_forked |= json.text()?.is_some(),
                "customType" => event.custom_kind = json.text()?,
                "modelId" => event.model = json.text()?,
                "provider" => event.vendor = json.text()?,
                "data" => event.data = Choice::read(json)?,
                "message" => event.message = Message::read(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(event))
    }

    pub(super) fn header(&self) -> Option<Header> {
        (self.kind.as_deref() == Some("session")).then(|| Header {
            session: self.id.as_deref().map(str::to_owned),
            cwd: self.cwd.as_deref().map(str::to_owned),
            forked_ms: self.ts_ms.filter(|_| self.is_forked),
        })
    }

    /// The model that is asked from here on, and who serves it, if the event says so.
    pub(super) fn choice(&self) -> Option<(&str, Option<&str>)> {
        let Self { kind, custom_kind, model, vendor, data, .. } = self;
        let (model, vendor) = match (kind.as_deref()?, custom_kind.as_deref()) {
            ("model_change", _) => (model, vendor),
            ("custom", Some("model-snapshot")) => (&data.model, &data.vendor),
            _ => return None,
        };
        Some((model.as_deref()?, vendor.as_deref()))
    }

    /// What the event states of a call or a prompt.
    pub(super) fn state(&self, context: &Context<'_>, out: &mut Parsed) {
        if self.kind.as_deref() != Some("message") {
            return;
        }
        let message = &self.message;
        let stated = match (message.role.as_deref(), &message.figures) {
            (Some("assistant"), Some(figures)) => {
                self.call(figures, context).map(|(key, usage)| (key, Role::Assistant, usage))
            }
            (Some("user"), _) if message.is_prompt() => self.prompt(),
            _ => return,
        };
        match stated {
            // Said for good: the log may be gone when this is read once more.
            Ok((key, Role::Assistant, _)) if message.is_told_elsewhere(context) => {
                out.skips.add(Skip::Replayed);
                out.retracted.push(key);
            }
            Ok((key, role, usage)) => out.events.push(self.event(key, role, usage, context)),
            Err(reason) => out.skips.add(reason),
        }
    }

    fn call(&self, figures: &Figures, context: &Context<'_>) -> Result<(EventKey, Usage), Skip> {
        let message = &self.message;
        if message.is_local() {
            return Err(Skip::Synthetic);
        }
        let mut flags = Flags::default();
        let tokens = figures.tokens(&mut flags)?;
        if message.is_of_agent() {
            flags.insert(Flags::SUM);
        }
        if tokens.total() == 0 && figures.cost_nanousd.is_none() {
            return Err(Skip::NoUsage);
        }
        let key = self.key("", &format!(":{}:{}", tokens.input, tokens.output))?;
        let (model, vendor) = match &message.model {
            Some(model) => (model.to_string(), message.vendor.as_deref().map(str::to_owned)),
            None => (context.chosen)().unwrap_or_else(|| (Usage::UNKNOWN_MODEL.to_owned(), None)),
        };
        let usage = Usage {
            tokens,
            vendor: vendor.map(Arc::from),
            logged_cost_nanousd: figures.cost_nanousd,
            flags,
            ..Usage::of(model)
        };
        Ok((key, usage))
    }

    fn prompt(&self) -> Result<(EventKey, Role, Usage), Skip> {
        Ok((self.key("prompt:", "")?, Role::User, Usage::of("")))
    }

    /// Ids are short, and those of the first versions missing: the time goes with them.
    fn key(&self, prefix: &str, counts: &str) -> Result<EventKey, Skip> {
        let ts_ms = self.message.ts_ms.or(self.ts_ms);
        if self.id.is_none() && ts_ms.is_none() {
            return Err(Skip::BadField);
        }
        let id = self.id.as_deref().unwrap_or_default();
        let ts_ms = ts_ms.map(|ms| ms.to_string()).unwrap_or_default();
        Ok(EventKey::new(&format!("openclaw:{prefix}{id}:{ts_ms}{counts}")))
    }

    fn event(
        &self,
        key: EventKey,
        role: Role,
        mut usage: Usage,
        context: &Context<'_>,
    ) -> UsageEvent {
        let ts_ms = self.message.ts_ms.or(self.ts_ms);
        if ts_ms.is_none() {
            usage.flags.insert(Flags::TS_GUESSED);
        }
        let is_copy = ts_ms.zip(context.forked_ms).is_some_and(|(ms, forked)| ms < forked);
        UsageEvent {
            key,
            provider: context.provider.clone(),
            role,
            ts_ms: ts_ms.unwrap_or(context.ts_ms),
            copy_rank: u8::from(is_copy),
            owner: Owner {
                session_id: context.session.clone(),
                project: context.project.clone(),
                is_sidechain: false,
                account: None,
                agent: None,
                client: None,
                source_id: context.source_id,
            },
            usage,
            parser_version: version(),
        }
    }
}

impl<'a> Choice<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut choice = Self::default();
        json.object(|name, json| {
            match name {
                "modelId" => choice.model = json.text()?,
                "provider" => choice.vendor = json.text()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(choice)
    }
}

impl<'a> Message<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut message = Self::default();
        json.object(|name, json| {
            match name {
                "role" => message.role = json.text()?,
                "api" => message.api = json.text()?,
                "model" => message.model = json.text()?,
                "provider" => message.vendor = json.text()?,
                "timestamp" => message.ts_ms = json.time()?,
                "usage" => message.figures = Figures::read(json)?,
                "idempotencyKey" => message.note = json.text()?,
                "__openclaw" => message.origin = field(json, "mirrorOrigin")?,
                "provenance" => message.provenance = field(json, "kind")?,
                "content" => message.content = Some(*json),
                _ => {}
            }
            Ok(())
        })?;
        Ok(message)
    }

    /// Whether the agent said it without a model.
    fn is_local(&self) -> bool {
        self.api.as_deref() == Some(LOCAL_API)
            || self.model.as_deref().is_some_and(|model| LOCAL_MODELS.contains(&model))
    }

    /// Whether it is what another agent has answered.
    fn is_of_agent(&self) -> bool {
        self.is_codex() || self.api.as_deref() == Some(AGENTS_API)
    }

    /// Whether that agent's own log of it is read.
    fn is_told_elsewhere(&self, context: &Context<'_>) -> bool {
        if self.is_codex() {
            return reads_codex(context.path, context.around);
        }
        let agent = self.vendor.as_deref().and_then(agent_called);
        self.is_of_agent() && agent.is_some_and(|agent| context.around.reads(agent))
    }

    /// Whether it notes what Codex has answered.
    fn is_codex(&self) -> bool {
        let noted = self.note.as_deref().and_then(|note| note.strip_prefix(CODEX_NOTE));
        noted.is_some_and(|rest| rest.starts_with(':'))
            || self.origin.as_deref() == Some(CODEX_NOTE)
    }

    /// Whether a person typed it. Timers, other sessions and the program itself speak in the user's
    /// name as well; older versions do not say so.
    fn is_prompt(&self) -> bool {
        const INJECTED: [&str; 7] = [
            "[cron:",
            "[Inter-session message]",
            "[Subagent Context]",
            "A new session was started via",
            "Pre-compaction memory flush",
            "Read HEARTBEAT.md",
            "System: ",
        ];
        if !matches!(self.provenance.as_deref(), None | Some("external_user")) {
            return false;
        }
        let said = Said::of(self.content);
        said.text.is_some_and(|text| !INJECTED.iter().any(|start| text.starts_with(start)))
    }
}

impl Figures {
    fn read(json: &mut Json<'_>) -> Read<Option<Self>> {
        let mut figures = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "input" => figures.input = json.count()?,
                "output" => figures.output = json.count()?,
                "cacheRead" => figures.cache_read = json.count()?,
                "cacheWrite" => figures.cache_write = json.count()?,
                "cost" => figures.cost_nanousd = cost(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(figures))
    }

    fn tokens(&self, flags: &mut Flags) -> Result<Tokens, Skip> {
        Ok(Tokens {
            input: self.input.clamped(flags)?,
            output: self.output.clamped(flags)?,
            cache_read: self.cache_read.clamped(flags)?,
            cache_create: self.cache_write.clamped(flags)?,
            cache_create_1h: 0,
            reasoning: 0,
        })
    }
}

/// The total of a cost in dollars. Where the agent knows no price it says zero.
fn cost(json: &mut Json<'_>) -> Read<Option<i64>> {
    let mut cost = None;
    json.object(|name, json| {
        if name == "total" {
            cost = json.number()?.and_then(nanousd);
        }
        Ok(())
    })?;
    Ok(cost)
}

/// A text in an object.
fn field<'a>(json: &mut Json<'a>, wanted: &str) -> Read<Text<'a>> {
    let mut text = None;
    json.object(|name, json| {
        if name == wanted {
            text = json.text()?;
        }
        Ok(())
    })?;
    Ok(text)
}
