//! Gemini CLI: a file per session, a line for each change of its messages.
//!
//! Older versions kept a session as one document that was written anew at every change. Going on with
//! such a session copies it into a file of lines, and a folder named after the hash of a project is
//! copied into one with a readable name; all copies stay. Messages keep their ids in them, so a call
//! is known by its session and message wherever it stands. `chat` reads the fields, `session` says
//! what they state, `project` knows where a folder's project is written down.

pub(crate) mod chat;
mod project;
mod session;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures and real logs are files")]
mod tests;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use usage::{Skip, Source};

use self::chat::Record;
use self::session::{Lines, Session};
use crate::record::{Json, NotJson};
use crate::{
    Appended, Around, Document, Env, ParseLine, Parsed, Provider, Storage, Surroundings, Torn,
};

pub(crate) struct GeminiCli;

const ID: &str = "gemini-cli";
const VERSION: u32 = 1;

/// The folder of a project's sessions.
const CHATS: &str = "chats";

impl Provider for GeminiCli {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let home = env.var("GEMINI_CLI_HOME").map(Path::new).filter(|home| home.is_absolute());
        vec![home.unwrap_or(&env.home).join(".gemini/tmp")]
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        path.starts_with(root) && Place::of(path).is_some()
    }

    /// The agent keeps results of tools, plans and programs beside the sessions.
    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        let Ok(below) = folder.strip_prefix(root) else { return false };
        let parts: Vec<Cow<'_, str>> = below.iter().map(|part| part.to_string_lossy()).collect();
        let is_tmp = |pair: &[Cow<'_, str>]| pair == [".gemini", "tmp"];
        let below_tmp = match parts.windows(2).position(is_tmp) {
            Some(at) => &parts[at + 2..],
            None if root.ends_with(".gemini/tmp") => &parts[..],
            None => return true,
        };
        match below_tmp {
            [] | [_] => true,
            [_, chats] | [_, chats, _] => chats == CHATS,
            _ => false,
        }
    }

    fn storage(&self, path: &Path) -> Storage {
        if path.extension().is_some_and(|extension| extension == "json") {
            Storage::Document(&Self)
        } else {
            Storage::Appended(&Self)
        }
    }
}

impl Appended for GeminiCli {
    fn begin(&self, source: &Source, around: &Around, state: &str) -> Box<dyn ParseLine> {
        Box::new(Lines::resume(source, around, state))
    }
}

impl Document for GeminiCli {
    fn parse(
        &self,
        source: &Source,
        bytes: &[u8],
        around: &dyn Surroundings,
        _state: &str,
        out: &mut Parsed,
    ) -> Result<String, Torn> {
        let mut json = Json::new(bytes);
        let record = Record::read(&mut json).map_err(|NotJson| Torn)?;
        if json.peek().is_some() {
            return Err(Torn);
        }
        match record {
            Some(record) => Session::resume(source, "").record(&record, around, out),
            None => out.skips.add(Skip::NotAnObject),
        }
        Ok(String::new())
    }
}

/// What the path of a session's file says about it.
#[derive(Default)]
struct Place {
    /// The folder of the project, with the folder of its sessions in it.
    project: PathBuf,
    /// The session whose subagent this is.
    parent: Option<String>,
    /// As much of the session's id as the name holds: the whole of a subagent's, else its beginning.
    name: String,
}

impl Place {
    /// `None` if the path is not that of a session: `<project>/chats/session-<time>-<id>.jsonl`, or
    /// `<project>/chats/<session>/<id>.jsonl` of its subagents; with `.json` in older versions.
    fn of(path: &Path) -> Option<Self> {
        let stem = path.file_stem()?.to_string_lossy();
        let extension = path.extension()?;
        if stem.is_empty() || (extension != "json" && extension != "jsonl") {
            return None;
        }
        let folder = path.parent()?;
        if folder.ends_with(CHATS) {
            let (_, name) = stem.strip_prefix("session-")?.rsplit_once('-')?;
            let project = folder.parent()?.to_owned();
            return (!name.is_empty()).then(|| Self {
                project,
                parent: None,
                name: name.to_owned(),
            });
        }
        let chats = folder.parent().filter(|chats| chats.ends_with(CHATS))?;
        Some(Self {
            project: chats.parent()?.to_owned(),
            parent: Some(folder.file_name()?.to_string_lossy().into_owned()),
            name: stem.into_owned(),
        })
    }
}
