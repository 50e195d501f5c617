//! The files of older versions: a session's events, a line for each.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use usage::{Skip, Source};

use super::event::{Context, Event};
use super::{ID, project_of_agent, session_in_name};
use crate::record::{Json, each_record};
use crate::{Around, ParseLine, Parsed};

pub(super) struct Lines {
    provider: Arc<str>,
    source_id: i64,
    path: PathBuf,
    /// The time of events before which no time is known.
    mtime_ms: i64,
    around: Around,
    /// The session by the file's name, should its first line be unusable.
    named: Arc<str>,
    /// The project, should no line name one.
    agent: Arc<str>,
    state: State,
}

/// What earlier lines left behind.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    session: Option<Arc<str>>,
    cwd: Option<Arc<str>>,
    forked_ms: Option<i64>,
    /// The model that was chosen last, with who serves it.
    chosen: Option<(String, Option<String>)>,
    /// Time of the newest event that had one.
    ts_ms: Option<i64>,
}

impl ParseLine for Lines {
    fn parse_line(&mut self, line: &[u8], out: &mut Parsed) {
        each_record(line, out, |json, out| self.read(json, out));
    }

    fn state(&self) -> String {
        // Writing numbers and strings to memory cannot fail.
        serde_json::to_string(&self.state).unwrap_or_default()
    }
}

impl Lines {
    pub(super) fn resume(source: &Source, around: Around, state: &str) -> Self {
        let name = source.path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            provider: ID.into(),
            source_id: source.id,
            path: source.path.clone(),
            mtime_ms: source.mtime_ms,
            around,
            named: session_in_name(&name).unwrap_or("unknown").into(),
            agent: project_of_agent(&source.path),
            state: serde_json::from_str(state).unwrap_or_default(),
        }
    }

    fn read(&mut self, json: &mut Json<'_>, out: &mut Parsed) -> Result<bool, Skip> {
        let Some(event) = Event::read(json)? else { return Ok(false) };
        self.state.ts_ms = event.ts_ms.or(self.state.ts_ms);
        if let Some(header) = event.header() {
            self.state.session = header.session.map(Arc::from);
            self.state.cwd = header.cwd.map(Arc::from);
            self.state.forked_ms = header.forked_ms;
        } else if let Some((model, vendor)) = event.choice() {
            self.state.chosen = Some((model.to_owned(), vendor.map(str::to_owned)));
        }
        let context = Context {
            provider: &self.provider,
            source_id: self.source_id,
            session: self.state.session.as_ref().unwrap_or(&self.named).clone(),
            project: self.state.cwd.as_ref().unwrap_or(&self.agent).clone(),
            forked_ms: self.state.forked_ms,
            ts_ms: self.state.ts_ms.unwrap_or(self.mtime_ms),
            chosen: &|| self.state.chosen.clone(),
            path: &self.path,
            around: &*self.around,
        };
        event.state(&context, out);
        Ok(true)
    }
}
