//! Cline: sessions of version 4 and of the command line, and tasks of the extension before it.
//!
//! The two have nothing in common but the agent. Both are documents that are saved whole many times
//! a minute, so each is read in one pass that builds nothing: `session` reads the messages of a
//! session and the manifest beside them, `task` the entries of a task, `beside` what stands next
//! to a task and says what its entries do not.

mod beside;
mod session;
mod task;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures and real logs are files")]
mod tests;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::session::Session;
use self::task::Task;
use crate::tasks::{self, name_of};
use crate::vscode::{self, Place};
use crate::{Env, Provider, Storage};

const ID: &str = "cline";
const VERSION: u32 = 2;

/// The extension, as VS Code calls it.
const EXTENSION: &str = "saoudrizwan.claude-dev";

/// How the document of a session's messages is called after its session.
const MESSAGES: &str = ".messages.json";

/// The project of sessions and tasks that name no directory.
const NO_DIRECTORY: &str = "cline:unknown";

/// The extension of VS Code, the command line, and what else shares their data.
pub(crate) struct Cline;

impl Provider for Cline {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let data = directory(env, "CLINE_DATA_DIR")
            .or_else(|| directory(env, "CLINE_DIR").map(|dir| dir.join("data")))
            .unwrap_or_else(|| env.home.join(".cline/data"));
        let sessions = directory(env, "CLINE_SESSION_DATA_DIR");
        let mut roots = vec![sessions.unwrap_or_else(|| data.join("sessions")), data.join("tasks")];
        roots.extend(vscode::roots(env, EXTENSION));
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        is_session(root, path) || tasks::is_task(root, path, EXTENSION)
    }

    fn place(&self, root: &Path) -> PathBuf {
        vscode::place(root, EXTENSION)
    }

    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        let (below, is_in_storage) = match Place::of(root, folder, EXTENSION) {
            Place::Above => return true,
            Place::Foreign => return false,
            Place::Inside(below) => (below, true),
            Place::Elsewhere => (folder.strip_prefix(root).unwrap_or(folder), false),
        };
        let below: Vec<&OsStr> = below.iter().collect();
        match below[..] {
            [] => true,
            [tasks] => tasks == "tasks",
            [kind, _] => kind == "tasks" || (kind == "sessions" && !is_in_storage),
            _ => false,
        }
    }

    fn storage(&self, path: &Path) -> Storage {
        let is_session = name_of(path).ends_with(MESSAGES);
        Storage::Document(if is_session { &Session } else { &Task })
    }
}

/// The directory that a variable names. Relative ones mean nothing here: they depend on where the
/// agent was started.
fn directory(env: &Env, name: &str) -> Option<PathBuf> {
    env.var(name).map(|dir| PathBuf::from(dir.trim())).filter(|dir| dir.is_absolute())
}

/// `<id>/<id>.messages.json`, and beside it one for each agent that works for the session.
fn is_session(root: &Path, path: &Path) -> bool {
    let Some(stem) = name_of(path).strip_suffix(MESSAGES) else { return false };
    let Some(folder) = path.parent() else { return false };
    let sessions = folder.parent();
    let is_among_sessions = sessions.is_some_and(|all| all == root || all.ends_with("sessions"));
    !stem.is_empty() && (name_of(folder) == stem || is_among_sessions)
}

/// The company that was asked, as the agent calls it; who asks what price is not for the agent to
/// guess.
fn vendor(provider: Option<&str>) -> Option<Arc<str>> {
    provider.filter(|provider| *provider != "unknown").map(Arc::from)
}

/// The agent that really made a call and wrote a log of its own, by what the one that only passed
/// the call on names as its provider.
fn inner_agent(provider: &str) -> Option<&'static str> {
    match provider {
        "claude-code" => Some("claude-code"),
        "openai-codex-cli" => Some("codex"),
        "opencode" => Some("opencode"),
        _ => None,
    }
}
