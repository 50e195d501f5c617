//! Pi and OMP, and what else was made from Pi: a file per session, one JSON object per line.
//!
//! A session is a tree of entries that are only ever appended. Going on from an earlier entry copies
//! those before it into a file of its own, as they are, and opening an old file with a newer version
//! gives all its entries new ids. So a call is known by its time, its model and its counts, wherever
//! it stands. A subagent that is kept has a file in a folder named after the session it works for; of
//! others only the result of the tool that ran them says what they said. `entry` reads the fields,
//! `session` says what they state.

mod entry;
mod session;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "real logs are files")]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use usage::Source;

use self::session::Session;
use crate::{Appended, Around, Env, ParseLine, Provider, Storage};

pub(crate) struct Pi;

const ID: &str = "pi";
const VERSION: u32 = 2;

/// Folders in the home folder, and how the variables begin that move what is in them.
const AGENTS: [(&str, &str); 5] = [
    (".pi", "PI"),
    (".omp", "OMP"),
    (".prime", "PRIME_AGENT"),
    (".gjc", "GJC"),
    (".senpi", "SENPI"),
];

/// An agent's own folder, in one of those.
const AGENT: &str = "agent";
/// In that, a folder for the sessions of each project.
const SESSIONS: &str = "sessions";
/// Where OMP keeps a folder for each set of settings, with sessions of its own.
const PROFILES: &str = "profiles";

impl Provider for Pi {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let mut roots = Vec::new();
        let moved = |name: &str| env.var(name).and_then(|dir| expanded(dir, env));
        for (folder, variables) in AGENTS {
            roots.push(env.home.join(folder).join(AGENT).join(SESSIONS));
            let agent = moved(&format!("{variables}_CODING_AGENT_DIR"));
            roots.extend(agent.map(|dir| dir.join(SESSIONS)));
            roots.extend(moved(&format!("{variables}_CODING_AGENT_SESSION_DIR")));
        }
        roots.push(env.home.join(".omp").join(PROFILES));
        if let Some(data) = moved("XDG_DATA_HOME") {
            roots.extend([SESSIONS, PROFILES].map(|folder| data.join("omp").join(folder)));
        }
        let mut seen = BTreeSet::new();
        roots.retain(|root| seen.insert(root.clone()));
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        Place::of(root, path).is_some()
    }

    /// Agents keep programs, packages and whole checkouts beside their sessions, and the output of
    /// tools in them.
    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        match Names::of(root, folder) {
            Some(Names::InSessions(names)) => match names[..] {
                [] => true,
                [name] => !is_hidden(name),
                _ => session_folder(&names).is_some_and(|at| at <= 1),
            },
            Some(Names::Elsewhere(names)) if root.ends_with(PROFILES) => {
                matches!(names[..], [_] | [_, AGENT])
            }
            Some(Names::Elsewhere(_)) => !is_beside_sessions(folder),
            None => false,
        }
    }

    fn storage(&self, _path: &Path) -> Storage {
        Storage::Appended(&Self)
    }
}

impl Appended for Pi {
    fn begin(&self, source: &Source, _around: &Around, state: &str) -> Box<dyn ParseLine> {
        Box::new(Session::resume(source, state))
    }
}

/// The folder that a variable names. Relative ones mean nothing here: they depend on where the agent
/// was started.
fn expanded(dir: &str, env: &Env) -> Option<PathBuf> {
    let dir = match dir.strip_prefix('~') {
        Some(below) if below.is_empty() || below.starts_with('/') => {
            env.home.join(below.trim_start_matches('/'))
        }
        _ => PathBuf::from(dir),
    };
    // Rebuilt from its components, so that one folder has one spelling.
    dir.is_absolute().then(|| dir.components().collect())
}

/// What the path of a session's file says about it.
#[derive(Default)]
struct Place {
    /// The id of the session, should its first line be gone.
    session_id: String,
    /// The session that this one works for.
    parent: Option<String>,
}

impl Place {
    /// `None` if the path is not that of a session: `<project>/<time>_<id>.jsonl`, with or without a
    /// folder for the project, or any name in the folder `<time>_<id>` of the session it works for.
    fn of(root: &Path, path: &Path) -> Option<Self> {
        let (is_known, mut names) = match Names::of(root, path)? {
            Names::InSessions(names) => (true, names),
            Names::Elsewhere(names) => (false, names),
        };
        let name = names.pop().filter(|name| !is_hidden(name))?;
        let stem = name.strip_suffix(".jsonl")?;
        let own_id = session_id(stem);
        let parent = match session_folder(&names) {
            Some(at) if !is_known || at <= 1 => session_id(names[at]),
            None if own_id.is_some() || (is_known && names.len() <= 1) => None,
            _ => return None,
        };
        let is_plain = names.iter().all(|name| !is_hidden(name));
        (is_plain || !is_known).then(|| Self {
            session_id: own_id.unwrap_or(stem).to_owned(),
            parent: parent.map(str::to_owned),
        })
    }
}

/// The names that lead to a path.
enum Names<'a> {
    /// From the folder in which an agent keeps all its sessions.
    InSessions(Vec<&'a str>),
    /// From a root that may be anything.
    Elsewhere(Vec<&'a str>),
}

impl<'a> Names<'a> {
    fn of(root: &Path, path: &'a Path) -> Option<Self> {
        path.strip_prefix(root).ok()?;
        let names: Vec<&str> = path.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
        // The root itself may be that folder, but no folder above it.
        let first = root.iter().count();
        let is_sessions = |at: &usize| {
            let above = |n: usize| at.checked_sub(n).map(|at| names[at]);
            let is_agents = matches!(above(1), Some(AGENT | "omp")) || above(2) == Some(PROFILES);
            names[*at] == SESSIONS && is_agents
        };
        Some(match (first.saturating_sub(1)..names.len()).find(is_sessions) {
            Some(at) => Self::InSessions(names[at + 1..].to_vec()),
            None => Self::Elsewhere(names[first..].to_vec()),
        })
    }
}

/// Which of the folders is that of a session, where subagents are kept. Deep below it, and in what is
/// hidden there, there are none.
fn session_folder(names: &[&str]) -> Option<usize> {
    const MAX_DEPTH: usize = 3;
    let at = names.iter().position(|name| session_id(name).is_some())?;
    let below = &names[at..];
    (below.len() <= MAX_DEPTH && !below.iter().any(|name| is_hidden(name))).then_some(at)
}

/// The id in the name of a session's file or folder, `2026-09-01T10-00-00-000Z_<id>`.
fn session_id(name: &str) -> Option<&str> {
    let (time, id) = name.split_once('_')?;
    let is_date = |date: &[u8]| {
        date.iter().zip(b"0000-00-00T").all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
    };
    (time.len() > 10 && is_date(time.as_bytes()) && !id.is_empty()).then_some(id)
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether a folder is in an agent's own one and is not that of its sessions, nor on the way there.
fn is_beside_sessions(folder: &Path) -> bool {
    let names: Vec<_> = folder.iter().map(|name| name.to_string_lossy()).collect();
    names.windows(3).any(|names| is_hidden(&names[0]) && names[1] == AGENT && names[2] != SESSIONS)
}
