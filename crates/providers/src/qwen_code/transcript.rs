//! Records of a transcript in, statements about its calls and prompts out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{EventKey, Flags, Owner, Role, Skip, Source, Tokens, Usage, UsageEvent};

use super::counts::Stated;
use super::line::{Event, Line};
use super::{ARCHIVE, ID, NO_FOLDER, VERSION, usage};
use crate::record::{Json, each_record};
use crate::{ParseLine, Parsed};

/// Of the same records in several transcripts, the first goes before what the ledger says, and copies
/// come last.
const ORIGINAL: u8 = 0;
const FORK: u8 = 2;

/// Parses one transcript.
pub(super) struct Transcript {
    provider: Arc<str>,
    source_id: i64,
    /// The time of records before which no time is known.
    mtime_ms: i64,
    /// The session by the file's name, for records that do not say it.
    named: Arc<str>,
    /// The project by the folder's name, likewise.
    folder: Arc<str>,
    state: State,
}

/// What earlier records left behind.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Time of the newest record that had one.
    ts_ms: Option<i64>,
    /// Responses are noted: what they were made into repeats them.
    has_notes: bool,
    /// The newest answer before the first note, which may be of the same call.
    #[serde(skip_serializing_if = "Option::is_none")]
    unnoted: Option<Answer>,
}

/// An answer that was counted.
#[derive(Serialize, Deserialize)]
struct Answer {
    key: String,
    tokens: [u64; 4],
}

impl Answer {
    fn of(stated: &Stating) -> Self {
        let Tokens { input, output, cache_read, reasoning, .. } = stated.usage.tokens;
        Self { key: stated.key.as_str().to_owned(), tokens: [input, output, cache_read, reasoning] }
    }
}

/// A call or a prompt, before it is known where it belongs.
struct Stating {
    role: Role,
    key: EventKey,
    usage: Usage,
    agent: Option<Arc<str>>,
}

impl ParseLine for Transcript {
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        each_record(line, out, |json, out| self.read(json, out));
    }

    fn state(&self) -> String {
        // Writing a number and a flag to memory cannot fail.
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Transcript {
    pub(super) fn resume(source: &Source, state: &str) -> Self {
        let name = source.path.file_stem().unwrap_or_default().to_string_lossy();
        let chats = source.path.parent().filter(|folder| folder.ends_with(ARCHIVE));
        let chats = chats.or(Some(&source.path)).and_then(|path| path.parent());
        let folder = chats.and_then(|chats| chats.parent()?.file_name());
        let folder = folder.map(|folder| format!("{ID}:{}", folder.to_string_lossy()));
        Self {
            provider: ID.into(),
            source_id: source.id,
            mtime_ms: source.mtime_ms,
            named: name.into(),
            folder: folder.map_or_else(|| NO_FOLDER.into(), Arc::from),
            state: serde_json::from_str(state).unwrap_or_default(),
        }
    }

    fn read(&mut self, json: &mut Json<'_>, out: &mut Parsed) -> Result<bool, Skip> {
        let Some(line) = Line::read(json)? else { return Ok(false) };
        self.state.ts_ms = line.ts_ms.or(self.state.ts_ms);
        let stated = if let Some(response) = line.response() {
            self.state.has_notes = true;
            let stated = self.response(&line, response);
            if let (Some(answer), Ok(note)) = (self.state.unnoted.take(), &stated)
                && answer.tokens == Answer::of(note).tokens
            {
                out.skips.add(Skip::Replayed);
                out.retracted.push(EventKey::new(&answer.key));
            }
            stated
        } else if let Some(counts) = line.answer() {
            let stated =
                if self.state.has_notes { Err(Skip::Replayed) } else { answer(&line, counts) };
            self.state.unnoted = stated.as_ref().ok().map(Answer::of);
            stated
        } else if line.is_prompt() {
            prompt(&line)
        } else {
            return Ok(true);
        };
        match stated {
            Ok(stated) => out.events.push(self.event(&line, stated)),
            Err(reason) => out.skips.add(reason),
        }
        Ok(true)
    }

    fn response(&self, line: &Line<'_>, response: &Event<'_>) -> Result<Stating, Skip> {
        let usage = call(response.model.as_deref(), response.counts, response.route.as_deref())?;
        // A copy tells the session that it was made in, by the prompt that it answers.
        let first = || response.prompt_id.as_deref()?.split_once('#').map(|(session, _)| session);
        let session = if line.is_fork { first().or(line.forked_from.as_deref()) } else { None };
        let session = session.or(line.session.as_deref()).unwrap_or(&self.named);
        let agent = response.subagent_id.as_deref().or(response.subagent.as_deref());
        Ok(Stating {
            role: Role::Assistant,
            key: response.counts.key(session, response.duration_ms),
            usage,
            agent: agent.map(Arc::from),
        })
    }

    fn event(&self, line: &Line<'_>, stated: Stating) -> UsageEvent {
        let Stating { role, key, mut usage, agent } = stated;
        if line.ts_ms.is_none() {
            usage.flags.insert(Flags::TS_GUESSED);
        }
        UsageEvent {
            key,
            provider: self.provider.clone(),
            role,
            ts_ms: self.state.ts_ms.unwrap_or(self.mtime_ms),
            copy_rank: if line.is_fork { FORK } else { ORIGINAL },
            owner: Owner {
                session_id: line.session.as_deref().map_or_else(|| self.named.clone(), Arc::from),
                project: line.cwd.as_deref().map_or_else(|| self.folder.clone(), Arc::from),
                is_sidechain: agent.is_some(),
                account: None,
                agent,
                client: line.client.as_deref().map(Arc::from),
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        }
    }
}

fn answer(line: &Line<'_>, counts: Stated) -> Result<Stating, Skip> {
    let usage = call(line.model.as_deref(), counts, None)?;
    let id = line.id.as_deref().ok_or(Skip::BadField)?;
    let key = EventKey::new(&format!("qwen:{id}"));
    Ok(Stating { role: Role::Assistant, key, usage, agent: None })
}

fn prompt(line: &Line<'_>) -> Result<Stating, Skip> {
    let id = line.id.as_deref().ok_or(Skip::BadField)?;
    let key = EventKey::new(&format!("qwen:prompt:{id}"));
    let usage = usage("".into(), Tokens::default(), Flags::default());
    Ok(Stating { role: Role::User, key, usage, agent: None })
}

/// What a call used.
pub(super) fn call(
    model: Option<&str>,
    counts: Stated,
    route: Option<&str>,
) -> Result<Usage, Skip> {
    let mut flags = Flags::default();
    let tokens = counts.tokens(route, &mut flags)?;
    if tokens.total() == 0 {
        return Err(Skip::NoUsage);
    }
    Ok(usage(model.unwrap_or(Usage::UNKNOWN_MODEL).into(), tokens, flags))
}
