//! Lines in, statements about calls and prompts out.

use std::sync::{Arc, LazyLock};

use memchr::memmem::{self, Finder};
use serde::{Deserialize, Serialize};
use usage::{
    EventKey, Flags, Owner, Role, Skip, Source, Speed, Tokens, Usage, UsageEvent, digest22,
};

use super::project::project_of;
use super::transcript::{Call, Figures, Iteration, IterationKind, Progress, Record, Text};
use super::{ClaudeCode, Place, VERSION, is_side_question};
use crate::record::{each_record, nanousd, time_ms};
use crate::{ParseLine, Parsed, Provider};

/// Shorter lines are read in any case: little is to be gained by searching them first, and so their
/// faults are all seen, and their times and directories, which a later record may lack.
const SHORT: usize = 1024;

/// Whether a line may hold a call or a prompt.
///
/// Most bytes are in long results of tools, and searching them is many times faster than reading
/// them. A needle with both its quotes is never found inside a JSON string, where quotes are
/// escaped, so finding one says something about the record and not about what was talked about. A
/// line that does not even look like an object is read to be counted as a fault; one that does and
/// lacks the needles could not have been counted, whole or not.
fn is_worth_reading(line: &[u8]) -> bool {
    static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    static USER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"user\""));
    static TOOL_RESULT: LazyLock<Finder<'static>> =
        LazyLock::new(|| Finder::new(b"\"type\":\"tool_result\""));

    let is_object = line.first() == Some(&b'{') && line.last() == Some(&b'}');
    if line.len() < SHORT || !is_object || USAGE.find(line).is_some() {
        return true;
    }
    if USER.find(line).is_none() {
        return false;
    }
    // Where two records share a line, one may be a prompt though the other is a tool's result.
    TOOL_RESULT.find(line).is_none() || memmem::find(line, b"}{").is_some()
}

pub(super) struct Parser {
    source_id: i64,
    /// The time of records before which no time is known.
    mtime_ms: i64,
    place: Place,
    state: State,
    provider: Arc<str>,
    /// The project of `state.cwd`, once it is needed.
    project: Option<Arc<str>>,
    session_id: Interned,
    agent: Interned,
    client: Interned,
    model: Interned,
    tier: Interned,
    geo: Interned,
}

/// What a record that lacks its own takes from those before it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    cwd: Option<Arc<str>>,
    ts_ms: Option<i64>,
}

/// The last value of a field: it is nearly always the next one too, and then shared.
#[derive(Default)]
struct Interned(Option<Arc<str>>);

impl Interned {
    fn get(&mut self, text: &str) -> Arc<str> {
        match &self.0 {
            Some(last) if **last == *text => last.clone(),
            _ => self.0.insert(text.into()).clone(),
        }
    }
}

impl ParseLine for Parser {
    /// Two records may share a line: the agent appends to files that lost their last newline.
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        if !is_worth_reading(line) {
            return self.note(&Record::read_beginning(line));
        }
        each_record(line, out, |json, out| {
            let start = json.offset();
            let Some(record) = Record::read(json)? else { return Ok(false) };
            self.record(&record, &line[start..json.offset()], out);
            Ok(true)
        });
    }

    fn state(&self) -> String {
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Parser {
    pub(super) fn new(source: &Source, state: &str) -> Self {
        Self {
            source_id: source.id,
            mtime_ms: source.mtime_ms,
            place: Place::of(&source.root, &source.path).unwrap_or_default(),
            state: serde_json::from_str(state).unwrap_or_default(),
            provider: ClaudeCode.id().into(),
            project: None,
            session_id: Interned::default(),
            agent: Interned::default(),
            client: Interned::default(),
            model: Interned::default(),
            tier: Interned::default(),
            geo: Interned::default(),
        }
    }

    /// Remembers what a later record may lack.
    fn note(&mut self, record: &Record<'_>) {
        if let Some(cwd) = record.cwd.as_deref()
            && self.state.cwd.as_deref() != Some(cwd)
        {
            self.state.cwd = Some(cwd.into());
            self.project = None;
        }
        self.state.ts_ms = time_of(&record.call).or(self.state.ts_ms);
    }

    /// `bytes` are the record as written: its key, where it has no id at all.
    fn record(&mut self, record: &Record<'_>, bytes: &[u8], out: &mut Parsed) {
        self.note(record);
        let ts_ms = time_of(&record.call);
        let own = Statement {
            record,
            call: &record.call,
            agent_id: record.agent_id.as_deref(),
            is_sidechain: record.is_sidechain,
            ts_ms,
        };
        let counted = match record.kind.as_deref() {
            Some("assistant") => self.call(&own, bytes, out),
            Some("progress") if record.progress.kind.as_deref() == Some("agent_progress") => {
                let Progress { agent_id, call, .. } = &record.progress;
                let of_subagent = Statement {
                    call,
                    agent_id: agent_id.as_deref().or(own.agent_id),
                    is_sidechain: true,
                    ts_ms: time_of(call).or(ts_ms),
                    ..own
                };
                self.call(&of_subagent, bytes, out)
            }
            Some("user") if is_prompt(record) => {
                out.events.push(self.prompt(&own, bytes));
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(skip) = counted {
            out.skips.add(skip);
        }
    }

    fn call(
        &mut self,
        statement: &Statement<'_, '_>,
        bytes: &[u8],
        out: &mut Parsed,
    ) -> Result<(), Skip> {
        let message = &statement.call.message;
        let Some(figures) = &message.usage else { return Ok(()) };
        if statement.call.is_failed || statement.record.call.is_failed {
            return Err(Skip::ApiError);
        }
        let mut usage = self.usage(&message.model, figures, figures)?;
        usage.logged_cost_nanousd =
            statement.record.cost_usd.and_then(nanousd).filter(|cost| *cost > 0);
        let key = self.call_key(statement, &usage.tokens, bytes);
        let before = out.events.len();
        if !is_nothing(&usage) {
            out.events.push(self.event(statement, &key, Role::Assistant, usage));
        }
        let (mut advisors, mut compactions) = (0, 0);
        for Iteration { kind, model, figures: own_figures } in &message.billed_apart {
            let (name, model, ordinal) = match kind {
                IterationKind::Advisor => ("advisor", model, &mut advisors),
                IterationKind::Compaction => ("compaction", &message.model, &mut compactions),
            };
            let key = format!("{key}:{name}:{ordinal}");
            *ordinal += 1;
            match self.usage(model, own_figures, figures) {
                Ok(usage) if is_nothing(&usage) => {}
                Ok(usage) => out.events.push(self.event(statement, &key, Role::Assistant, usage)),
                Err(skip) => out.skips.add(skip),
            }
        }
        if out.events.len() == before { Err(Skip::NoUsage) } else { Ok(()) }
    }

    fn prompt(&mut self, statement: &Statement<'_, '_>, bytes: &[u8]) -> UsageEvent {
        let key = match &statement.call.uuid {
            Some(uuid) => format!("claude:prompt:{uuid}"),
            None => format!("claude:prompt:sha:{}", digest22(bytes)),
        };
        self.event(statement, &key, Role::User, Usage::of(""))
    }

    /// What one model run used. Speed, tier and region are those of the whole call unless it states
    /// its own.
    fn usage(
        &mut self,
        model: &Text<'_>,
        figures: &Figures<'_>,
        call: &Figures<'_>,
    ) -> Result<Usage, Skip> {
        let model = model.as_deref().filter(|model| *model != "<synthetic>");
        let model = self.model.get(model.ok_or(Skip::Synthetic)?);
        let mut flags = Flags::default();
        let tokens = figures.tokens(&mut flags)?;
        let web_search_requests = figures.web_search_requests(&mut flags)?;
        let speed = figures.speed.as_deref().or(call.speed.as_deref());
        let tier = figures.service_tier.as_deref().or(call.service_tier.as_deref());
        let geo = figures.inference_geo.as_deref().or(call.inference_geo.as_deref());
        let speed = match (speed, tier) {
            (Some("fast"), _) => Speed::Fast,
            (_, Some("batch")) => Speed::Batch,
            _ => Speed::Standard,
        };
        let tier = tier.filter(|tier| !matches!(*tier, "standard" | "batch"));
        let geo = geo.filter(|geo| !matches!(*geo, "global" | "not_available"));
        Ok(Usage {
            speed,
            tokens,
            web_search_requests,
            tier: tier.map(|tier| self.tier.get(tier)),
            geo: geo.map(|geo| self.geo.get(geo)),
            flags,
            ..Usage::of(model)
        })
    }

    /// What is common to all lines and copies of a response, and to nothing else.
    fn call_key(&self, statement: &Statement<'_, '_>, tokens: &Tokens, bytes: &[u8]) -> String {
        let Call { uuid, request_id, message, .. } = statement.call;
        match (message.id.as_deref(), request_id, uuid) {
            // Anthropic's own ids are unique. The request's is left out: a side question logs the
            // same response under another one.
            (Some(id), _, _) if id.starts_with("msg_") && id.len() >= 20 => format!("claude:{id}"),
            (Some(id), Some(request_id), _) => format!("claude:{id}:{request_id}"),
            (Some(id), None, _) if is_unique(id) => format!("claude:{id}"),
            // A relay may give every response the same id. What was asked tells them apart, and
            // does not change while the response grows.
            (Some(id), None, _) => {
                let session_id = self.place.session_id_of(statement.record);
                let Tokens { input, cache_create, cache_read, .. } = tokens;
                format!("claude:{session_id}:{id}:{input}:{cache_create}:{cache_read}")
            }
            (None, Some(request_id), _) => format!("claude:req:{request_id}"),
            (None, None, Some(uuid)) => format!("claude:uuid:{uuid}"),
            (None, None, None) => format!("claude:sha:{}", digest22(bytes)),
        }
    }

    fn event(
        &mut self,
        statement: &Statement<'_, '_>,
        key: &str,
        role: Role,
        mut usage: Usage,
    ) -> UsageEvent {
        let ts_ms = statement.ts_ms.unwrap_or_else(|| {
            usage.flags.insert(Flags::TS_GUESSED);
            self.state.ts_ms.unwrap_or(self.mtime_ms)
        });
        let of_side_question =
            self.place.is_side_question || statement.agent_id.is_some_and(is_side_question);
        UsageEvent {
            key: EventKey::new(key),
            provider: self.provider.clone(),
            role,
            ts_ms,
            copy_rank: match &statement.record.forked_from {
                _ if of_side_question => 2,
                Some(_) => 1,
                None => 0,
            },
            owner: Owner {
                session_id: self.session_id.get(self.place.session_id_of(statement.record)),
                project: self.project(),
                is_sidechain: statement.is_sidechain,
                account: None,
                agent: statement.agent_id.map(|agent| self.agent.get(agent)),
                client: statement.record.version.as_deref().map(|version| self.client.get(version)),
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        }
    }

    /// The project of the directory seen last, which is the record's own if it names one.
    fn project(&mut self) -> Arc<str> {
        let Self { project, state, place, .. } = self;
        let find = || match &state.cwd {
            Some(cwd) => project_of(cwd, &place.folder).into(),
            None => format!("claude-code:{}", place.folder).into(),
        };
        project.get_or_insert_with(find).clone()
    }
}

/// A record's claim about a call or a prompt.
struct Statement<'r, 'a> {
    record: &'r Record<'a>,
    /// The record's own call, or the one it reports.
    call: &'r Call<'a>,
    agent_id: Option<&'r str>,
    is_sidechain: bool,
    /// Its own time.
    ts_ms: Option<i64>,
}

fn time_of(call: &Call<'_>) -> Option<i64> {
    call.timestamp.as_deref().and_then(time_ms)
}

/// Whether a person typed it. Slash commands count; what the program and its tools say in the
/// user's name does not.
fn is_prompt(record: &Record<'_>) -> bool {
    const NOT_TYPED: [&str; 4] =
        ["<local-command-", "<task-notification", "<system-reminder", "[Request interrupted"];

    let Record { is_meta, is_sidechain, is_compact_summary, is_tool_result, .. } = *record;
    if is_meta || is_sidechain || is_compact_summary || is_tool_result {
        return false;
    }
    let said = record.call.message.said();
    said.is_some_and(|text| !NOT_TYPED.iter().any(|start| text.starts_with(start)))
}

fn is_nothing(usage: &Usage) -> bool {
    usage.tokens.total() == 0 && usage.web_search_requests == 0
}

/// Whether an id that is not Anthropic's own is one no other response has: its form is that of a
/// known gateway, or it is too long to be a constant.
fn is_unique(id: &str) -> bool {
    ["chatcmpl-", "gen-", "resp_"].iter().any(|start| id.starts_with(start)) || id.len() >= 24
}
