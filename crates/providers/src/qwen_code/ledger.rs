//! The ledger: a line for each response that the agent got, of whatever session.
//!
//! A line names its session and no folder: that is looked up in the session's transcript.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{Flags, Owner, Role, Skip, Source, UsageEvent, digest22};

use super::counts::{Stated, whole_ms};
use super::line::Line;
use super::transcript::call;
use super::{ARCHIVE, CHATS, ID, NO_FOLDER, PROJECTS, VERSION, is_session};
use crate::record::{Json, Read, each_record};
use crate::{Around, ParseLine, Parsed, Surroundings};

/// The transcript says the same and more, where there is one. A fork's copy of it says less: it
/// belongs to another session.
const BESIDE_TRANSCRIPT: u8 = 1;

/// Sessions whose project is remembered. Those at work at the same time are few.
const MAX_PROJECTS: usize = 4;

/// Parses the ledger of one month.
pub(super) struct Ledger {
    provider: Arc<str>,
    source_id: i64,
    /// The time of lines before which no time is known.
    mtime_ms: i64,
    /// The agent's folder.
    home: PathBuf,
    around: Around,
    state: State,
    /// A session that no transcript was found of just now.
    absent: Option<String>,
}

/// What earlier lines left behind.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Time of the newest line that had one.
    ts_ms: Option<i64>,
    /// The projects of the latest sessions, by a hash of the session, the latest last.
    projects: VecDeque<(String, Arc<str>)>,
}

/// A line.
#[derive(Default)]
struct Entry<'a> {
    session: Option<Cow<'a, str>>,
    ts_ms: Option<i64>,
    model: Option<Cow<'a, str>>,
    route: Option<Cow<'a, str>>,
    /// `main`, or the name of the subagent, or what the call was made for on the side.
    source: Option<Cow<'a, str>>,
    /// What the call was made for. The first versions do not say it, and note no call on the side.
    feature: Option<Cow<'a, str>>,
    counts: Stated,
    duration_ms: u64,
}

impl ParseLine for Ledger {
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        each_record(line, out, |json, out| {
            let Some(entry) = Entry::read(json)? else { return Ok(false) };
            match self.event(&entry) {
                Ok(event) => out.events.push(event),
                Err(reason) => out.skips.add(reason),
            }
            Ok(true)
        });
    }

    fn state(&self) -> String {
        // Writing numbers, strings and lists to memory cannot fail.
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Ledger {
    pub(super) fn resume(source: &Source, around: Around, state: &str) -> Self {
        let home = source.path.parent().and_then(Path::parent).unwrap_or(&source.root);
        Self {
            provider: ID.into(),
            source_id: source.id,
            mtime_ms: source.mtime_ms,
            home: home.to_owned(),
            around,
            state: serde_json::from_str(state).unwrap_or_default(),
            absent: None,
        }
    }

    fn event(&mut self, entry: &Entry<'_>) -> Result<UsageEvent, Skip> {
        self.state.ts_ms = entry.ts_ms.or(self.state.ts_ms);
        let mut usage = call(entry.model.as_deref(), entry.counts, entry.route.as_deref())?;
        let session = entry.session.as_deref().ok_or(Skip::BadField)?;
        if entry.ts_ms.is_none() {
            usage.flags.insert(Flags::TS_GUESSED);
        }
        let agent = entry.subagent();
        Ok(UsageEvent {
            key: entry.counts.key(session, entry.duration_ms),
            provider: self.provider.clone(),
            role: Role::Assistant,
            ts_ms: self.state.ts_ms.unwrap_or(self.mtime_ms),
            copy_rank: BESIDE_TRANSCRIPT,
            owner: Owner {
                session_id: session.into(),
                project: self.project(session),
                is_sidechain: agent.is_some(),
                account: None,
                agent: agent.map(Arc::from),
                client: None,
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        })
    }

    fn project(&mut self, session: &str) -> Arc<str> {
        let digest = digest22(session.as_bytes());
        let known = self.state.projects.iter().find(|(known, _)| *known == digest);
        if let Some((_, project)) = known {
            return project.clone();
        }
        if self.absent.as_deref() == Some(session) {
            return NO_FOLDER.into();
        }
        let Some(project) = project_of(&self.home, session, &*self.around) else {
            self.absent = Some(session.to_owned());
            return NO_FOLDER.into();
        };
        let project: Arc<str> = project.into();
        self.state.projects.push_back((digest, project.clone()));
        if self.state.projects.len() > MAX_PROJECTS {
            self.state.projects.pop_front();
        }
        project
    }
}

impl<'a> Entry<'a> {
    /// Reads the next value of a line; `None` if it is no object.
    fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut entry = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "sessionId" => entry.session = json.text()?,
                "timestamp" => entry.ts_ms = json.written_time()?,
                "model" => entry.model = json.text()?,
                "authType" => entry.route = json.text()?,
                "source" => entry.source = json.text()?,
                "feature" => entry.feature = json.text()?,
                "inputTokens" => entry.counts.prompt = json.count()?,
                "outputTokens" => entry.counts.candidates = json.count()?,
                "cachedTokens" => entry.counts.cached = json.count()?,
                "thoughtsTokens" => entry.counts.thoughts = json.count()?,
                "totalTokens" => entry.counts.total = json.count()?,
                "apiDurationMs" => entry.duration_ms = whole_ms(json.number()?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(entry))
    }

    fn subagent(&self) -> Option<&str> {
        let is_of_subagent = matches!(self.feature.as_deref(), None | Some("subagent"));
        self.source.as_deref().filter(|source| is_of_subagent && *source != "main")
    }
}

/// The directory that a session was begun in, as its transcript says.
fn project_of(home: &Path, session: &str, around: &dyn Surroundings) -> Option<String> {
    if !is_session(session) {
        return None;
    }
    let file = format!("{session}.jsonl");
    let mut folders = around.folders_in(&home.join(PROJECTS));
    folders.sort_unstable();
    folders.iter().find_map(|folder| {
        let chats = folder.join(CHATS);
        let transcript = around
            .file(&chats.join(&file))
            .or_else(|| around.file(&chats.join(ARCHIVE).join(&file)));
        let transcript = transcript?;
        let mut lines = transcript.split(|byte| *byte == b'\n');
        lines.find_map(|line| {
            let line = Line::read(&mut Json::new(line)).ok()??;
            line.cwd.map(Cow::into_owned)
        })
    })
}
