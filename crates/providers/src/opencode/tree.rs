//! The tree of JSON files that was written before there were databases. It stays where it is when an
//! agent is upgraded.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use usage::{Skip, Source};

use super::agent::{Agent, Relative};
use super::message::{Message, Part, SessionFile, may_be_step, steps};
use super::sessions::Session;
use super::statement::{MAX_STEPS, Statement};
use crate::record::NotJson;
use crate::{Document, Parsed, Surroundings, Torn};

/// Where a message's file is: `<data>/storage/message/<session>/<message>.json`.
pub(super) struct Place<'p> {
    pub(super) data: &'p Path,
    session: &'p str,
    message: &'p str,
}

impl<'p> Place<'p> {
    pub(super) fn of(path: &'p Path) -> Option<Self> {
        let name = |path: &'p Path| path.file_name().and_then(OsStr::to_str);
        let session = path.parent()?;
        let messages = session.parent()?;
        let storage = messages.parent()?;
        let place = Self {
            data: storage.parent()?,
            session: name(session).filter(|id| id.starts_with("ses_"))?,
            message: name(path)?.strip_suffix(".json").filter(|id| id.starts_with("msg_"))?,
        };
        (messages.ends_with("message") && storage.ends_with("storage")).then_some(place)
    }

    /// The session's file is in a folder named after the project, which the message does not name.
    fn session(&self, around: &dyn Surroundings) -> Session {
        let mut session = Session::unknown(self.session);
        let mut projects = around.folders_in(&self.data.join("storage/session"));
        projects.sort_unstable();
        let name = format!("{}.json", self.session);
        let file = projects.iter().find_map(|project| around.file(&project.join(&name)));
        if let Some(Ok(Some(file))) = file.as_deref().map(SessionFile::read) {
            session.is_child = file.parent.is_some();
            session.created_ms = file.created_ms();
            session.set_folder(file.directory.as_deref(), file.path.as_deref());
        }
        session
    }

    /// The files of the message's parts, in the order in which the parts were made.
    fn parts(&self, around: &dyn Surroundings) -> Vec<PathBuf> {
        let mut parts = around.files_in(&self.data.join("storage/part").join(self.message));
        parts.retain(|path| path.extension() == Some("json".as_ref()));
        parts.sort_unstable();
        parts
    }
}

impl<A: Relative> Document for A {
    fn parse(
        &self,
        source: &Source,
        bytes: &[u8],
        around: &dyn Surroundings,
        _state: &str,
        out: &mut Parsed,
    ) -> Result<String, Torn> {
        let message = Message::read(bytes).map_err(|NotJson| Torn)?;
        let counted = match (message, Place::of(&source.path)) {
            (Some(message), Some(place)) => parse(A::AGENT, source, &message, &place, around, out),
            (None, _) => Err(Skip::NotAnObject),
            (Some(_), None) => Ok(()),
        };
        if let Err(skip) = counted {
            out.skips.add(skip);
        }
        Ok(String::new())
    }
}

fn parse(
    agent: &Agent,
    source: &Source,
    message: &Message<'_>,
    place: &Place<'_>,
    around: &dyn Surroundings,
    out: &mut Parsed,
) -> Result<(), Skip> {
    let is_call = match message.author.as_deref() {
        Some("assistant") => true,
        Some("user") => false,
        _ => return Ok(()),
    };
    if agent.is_logged_elsewhere(message.provider.as_deref(), around) {
        return if is_call { Err(Skip::Replayed) } else { Ok(()) };
    }
    let created_ms = message.created_ms().ok_or(Skip::BadField)?;
    let completed_ms = message.completed_ms();
    if is_call && completed_ms.is_none() {
        return Ok(());
    }
    let session = place.session(around);
    let statement = Statement { agent, source, session: &session, message, created_ms };
    let parts = place.parts(around);
    let mut parts = parts.iter().filter_map(|path| around.file(path));
    match completed_ms {
        Some(completed_ms) if is_call => {
            let parts: Vec<_> = parts.filter(|part| may_be_step(part)).take(MAX_STEPS).collect();
            let steps = steps(parts.iter().map(Vec::as_slice), &mut out.skips);
            statement.calls(completed_ms, &steps, out);
        }
        _ if session.is_child => {}
        _ => {
            let is_typed = parts.any(|part| matches!(Part::read(&part), Ok(Some(Part::Typed))));
            out.events.extend(is_typed.then(|| statement.prompt()));
        }
    }
    Ok(())
}
