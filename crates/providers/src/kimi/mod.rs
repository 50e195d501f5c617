//! Kimi Code and Kimi CLI, which came before it: for each agent of a session a file of lines.
//!
//! Both log each model call by itself, and copy what was said into the file of a fork. Going over to
//! Kimi Code copies the conversations and leaves out what they used: both are read. `line` reads the
//! fields, `wire` says what they state, `beside` knows what stands in other files: the directory of a
//! session and, for Kimi CLI, the model.

mod beside;
mod line;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use usage::Source;

use self::wire::Wire;
use crate::{Appended, Around, Env, ParseLine, Provider, Storage};

pub(crate) struct Kimi;

const ID: &str = "kimi";
const VERSION: u32 = 1;

/// In an agent's folder, a folder for each directory, with one for each session in it.
const SESSIONS: &str = "sessions";
/// The file of an agent.
const WIRE: &str = "wire.jsonl";
/// In the folder of a session of Kimi Code, where all its agents are; of Kimi CLI, its subagents.
const AGENTS: [&str; 2] = ["agents", "subagents"];
/// The agent that a person talks to.
const MAIN: &str = "main";

/// Where the desktop app keeps a folder of Kimi Code, from the folder of application data.
const DESKTOP: &str = "kimi-desktop/daimon-share/daimon/runtime/kimi-code/home";

impl Provider for Kimi {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        // Rebuilt from its components, so that one folder has one spelling.
        let moved = |name| env.var(name).map(|dir| Path::new(dir).components().collect());
        let data: &[&str] = if cfg!(target_os = "macos") {
            &["Library/Application Support"]
        } else {
            &[".config", ".local/share"]
        };
        let own = [".kimi-code", ".kimi"].map(|name| env.home.join(name));
        let desktop = data.iter().map(|data| env.home.join(data).join(DESKTOP));
        let moved = ["KIMI_CODE_HOME", "KIMI_SHARE_DIR"].into_iter().filter_map(moved);
        let mut seen = BTreeSet::new();
        let homes = own.into_iter().chain(desktop).chain(moved).filter(|home| home.is_absolute());
        homes.map(|home| home.join(SESSIONS)).filter(|root| seen.insert(root.clone())).collect()
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        path.starts_with(root) && Place::of(path).is_some()
    }

    /// Sessions hold plans, tasks and what was uploaded, too, and an agent's folder holds programs.
    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        let Ok(below) = folder.strip_prefix(root) else { return false };
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
        let inside = match names.iter().position(|name| name == SESSIONS) {
            Some(at) => &names[at + 1..],
            None if root.ends_with(SESSIONS) => &names[..],
            // On the way to an agent's folder; in it there is nothing else.
            None => return !is_beside_sessions(folder),
        };
        match inside {
            [] | [_] | [_, _] => true,
            [_, _, agents] | [_, _, agents, _] => AGENTS.iter().any(|name| agents == name),
            _ => false,
        }
    }

    fn storage(&self, _path: &Path) -> Storage {
        Storage::Appended(&Self)
    }
}

impl Appended for Kimi {
    fn begin(&self, source: &Source, around: &Around, state: &str) -> Box<dyn ParseLine> {
        Box::new(Wire::resume(source, Arc::clone(around), state))
    }
}

fn is_beside_sessions(folder: &Path) -> bool {
    let homes = [".kimi", ".kimi-code"];
    let mut names = folder.iter();
    names.any(|name| homes.iter().any(|home| name == *home)) && names.next().is_some()
}

/// What the path of an agent's file says about it.
#[derive(Default)]
struct Place {
    /// The folder of the session.
    session: PathBuf,
    session_id: String,
    /// The agent, unless it is the one that a person talks to.
    agent: Option<String>,
}

impl Place {
    /// `None` if the path is not that of an agent's file:
    /// `sessions/<directory>/<session>/agents/<id>/wire.jsonl` of Kimi Code,
    /// `sessions/<directory>/<session>/wire.jsonl` of Kimi CLI, and
    /// `sessions/<directory>/<session>/subagents/<id>/wire.jsonl` of those that work for it.
    fn of(path: &Path) -> Option<Self> {
        let is_sessions = |folder: &Path| folder.ends_with(SESSIONS);
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let folder = path.parent().filter(|_| path.ends_with(WIRE))?;
        let above = |folder: &Path, n: usize| folder.ancestors().nth(n).map(Path::to_owned);
        if above(folder, 2).is_some_and(|folder| is_sessions(&folder)) {
            let session_id = name(folder)?;
            return Some(Self { session: folder.to_owned(), session_id, agent: None });
        }
        let session = above(folder, 2)?;
        let is_agents =
            AGENTS.iter().any(|agents| folder.parent().is_some_and(|f| f.ends_with(agents)));
        let is_in_place = is_agents && above(&session, 2).is_some_and(|f| is_sessions(&f));
        let agent = Some(name(folder)?).filter(|agent| agent != MAIN);
        let session_id = name(&session)?;
        is_in_place.then_some(Self { session, session_id, agent })
    }

    /// The folder of the sessions of a directory.
    fn directory(&self) -> &Path {
        self.session.parent().unwrap_or(&self.session)
    }
}
