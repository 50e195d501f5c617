//! OpenClaw: assistants that live on a machine and are spoken to from elsewhere.
//!
//! Each of its agents keeps the events of its sessions: older versions a file of lines for each
//! session, newer ones a database for all of them, into which the files were taken over and beside
//! which they lie on. Resetting or deleting a session, forking it and compacting it leave copies
//! behind. An event is the same in all of them, so the keys are made from it alone.
//!
//! For some models Codex does the work, in a folder of its own below that of the agent, and what it
//! answers is noted among the events. Its logs are read here, by Codex's own parser, as those of
//! Codex; the notes count where there is no such log. So it is with the answers of agents that it runs
//! as commands, which log where they always do.
//!
//! `event` knows the fields of an event and what they state, `lines` and `store` read the two
//! generations. Left out are `sessions.json` with sums for each session, and sessions that were
//! deleted before the agent's database was read: it keeps them compressed.

mod event;
mod lines;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use usage::Source;

use self::lines::Lines;
use self::store::Store;
use crate::codex::Codex;
use crate::{Appended, Around, Env, ParseLine, Provider, Storage, Surroundings};

const ID: &str = "openclaw";

/// The folder of the agent, by its names so far. A profile adds its own to the first.
const HOMES: [&str; 4] = [".openclaw", ".clawdbot", ".moltbot", ".moldbot"];

/// In it: a folder for each agent.
const AGENTS: &str = "agents";
/// In that of an agent: its sessions, and those that were taken over into the database.
const SESSIONS: &str = "sessions";
const IMPORTED: &str = "session-sqlite-import-archive";
/// What else belongs to it.
const AGENT: &str = "agent";
/// In that: the database.
const STORE: &str = "openclaw-agent.sqlite";
/// And what Codex keeps.
const CODEX: &str = "codex-home";
const CODEX_SESSIONS: [&str; 2] = ["sessions", "archived_sessions"];

pub(crate) struct OpenClaw;

/// Bumped when parsing changes. Its sources are read again when Codex's are, because some are
/// Codex's.
fn version() -> u32 {
    const OWN: u32 = 2;
    OWN + Codex.version()
}

impl Provider for OpenClaw {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        version()
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let mut roots: Vec<PathBuf> = HOMES.iter().map(|name| env.home.join(name)).collect();
        let profile = env.var("OPENCLAW_PROFILE").filter(|name| *name != "default");
        roots.extend(profile.map(|name| env.home.join(format!("{}-{name}", HOMES[0]))));
        let moved = env.var("OPENCLAW_HOME").map(|home| Path::new(home).join(HOMES[0]));
        let moved = [moved, env.var("OPENCLAW_STATE_DIR").map(PathBuf::from)];
        for dir in moved.into_iter().flatten() {
            // Rebuilt from its components, so that one folder has one spelling.
            let dir: PathBuf = dir.components().collect();
            if dir.is_absolute() && !roots.contains(&dir) {
                roots.push(dir);
            }
        }
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        match in_agents(root, path).as_deref() {
            Some([_, SESSIONS | IMPORTED, file]) => session_in_name(file).is_some(),
            Some([_, AGENT, STORE]) => true,
            Some([_, AGENT, CODEX, sessions, ..]) => {
                CODEX_SESSIONS.contains(sessions) && Codex.is_source(root, path)
            }
            _ => false,
        }
    }

    /// An agent's folder may hold whatever it works with, and the folder of all of them programs.
    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        match in_agents(root, folder).as_deref() {
            Some([] | [_] | [_, SESSIONS | IMPORTED | AGENT] | [_, AGENT, CODEX]) => true,
            Some([_, AGENT, CODEX, sessions, ..]) => CODEX_SESSIONS.contains(sessions),
            Some(_) => false,
            None => folder.strip_prefix(root).is_ok_and(|below| is_home(below) || *below == *""),
        }
    }

    fn storage(&self, path: &Path) -> Storage {
        if path.file_name().is_some_and(|name| name == STORE) {
            Storage::Database(&Store)
        } else if path.iter().any(|name| name == CODEX) {
            Storage::Appended(&Codex)
        } else {
            Storage::Appended(&Self)
        }
    }
}

impl Appended for OpenClaw {
    fn begin(&self, source: &Source, around: &Around, state: &str) -> Box<dyn ParseLine> {
        Box::new(Lines::resume(source, Arc::clone(around), state))
    }
}

/// The names that lead from the folder of all agents to `path`. That folder is in the root, or in one
/// that is called as the agent's folder usually is.
fn in_agents<'a>(root: &Path, path: &'a Path) -> Option<Vec<&'a str>> {
    let below = path.strip_prefix(root).ok()?;
    let names: Vec<&str> = below.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
    match names.as_slice() {
        [AGENTS, names @ ..] => Some(names.to_vec()),
        [home, AGENTS, names @ ..] if is_home(Path::new(home)) => Some(names.to_vec()),
        _ => None,
    }
}

/// Whether it is a name of the agent's folder, with or without that of a profile.
fn is_home(name: &Path) -> bool {
    let Some(name) = name.to_str() else { return false };
    let profile = name.strip_prefix(HOMES[0]).and_then(|rest| rest.strip_prefix('-'));
    HOMES.contains(&name) || profile.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// The session that a file's name tells, if it is a file of events: one that is written, one that was
/// put away when its session was reset, deleted, compacted or taken over, or one of these compressed.
fn session_in_name(file: &str) -> Option<&str> {
    let (name, rest) = file.split_once(".jsonl")?;
    let rest = rest.strip_suffix(".zst").unwrap_or(rest);
    let is_put_away =
        [".deleted.", ".reset.", ".imported-"].iter().any(|why| rest.starts_with(why));
    let is_session = rest.is_empty() || rest == ".full.bak" || is_put_away;
    // What is called so is a record of the program's own steps.
    if !is_session || name.is_empty() || name.starts_with('.') || name.ends_with(".trajectory") {
        return None;
    }
    Some(name.split_once(".checkpoint.").map_or(name, |(session, _)| session))
}

/// The folder of the agent that a source belongs to.
fn agent_of(path: &Path) -> Option<&Path> {
    path.ancestors().find(|folder| folder.parent().is_some_and(|agents| agents.ends_with(AGENTS)))
}

/// The project of sessions that name no directory: the agent.
fn project_of_agent(path: &Path) -> Arc<str> {
    let name = agent_of(path).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    format!("{ID}:{name}").into()
}

/// Whether what Codex does for the agent is in a log that is read, which the agent keeps for it: the
/// user's own Codex knows nothing of it.
fn reads_codex(path: &Path, around: &dyn Surroundings) -> bool {
    let sessions =
        agent_of(path).map(|agent| agent.join(AGENT).join(CODEX).join(CODEX_SESSIONS[0]));
    sessions.is_some_and(|sessions| !around.folders_in(&sessions).is_empty())
}
