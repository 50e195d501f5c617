//! GitHub Copilot, the command line and the desktop app: one database for all sessions, and a journal
//! for each.
//!
//! The database has a row for every model call. Older versions have none, and only the journal says
//! what was used: when the agent is left, the counters of the whole session so far. A session that
//! the database knows is counted from its rows and never from its journal, whichever of the two is
//! read first: the journal asks the database before it counts, and the database takes back what the
//! journal of a session has counted before its rows came. Prompts stand in the journal alone.
//!
//! `counts` knows what the figures mean, `line` reads the journal's lines, `journal` takes the
//! counters apart, `store` reads the database. Left out is what states the same calls once more: the
//! totals of `data.db`, telemetry, and the dumps in `history-session-state`, which hold no usage.

mod counts;
mod journal;
mod line;
mod store;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "real logs are files")]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use usage::{Flags, Source, Tokens, Usage};

use self::journal::Journal;
use self::store::Store;
use crate::{Appended, Around, Env, ParseLine, Provider, Quality, Storage};

const ID: &str = "github-copilot";
const VERSION: u32 = 2;

/// The project of sessions that name no directory.
const NO_DIRECTORY: &str = "github-copilot:unknown";

/// The folder of the agent.
const HOME: &str = ".copilot";
/// The folder in it that holds a journal or a folder for each session.
const SESSIONS: &str = "session-state";
/// The journal in the folder of a session.
const EVENTS: &str = "events.jsonl";
/// The database.
const STORE: &str = "session-store.db";

pub(crate) struct Copilot;

impl Provider for Copilot {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let mut roots = vec![env.home.join(HOME)];
        // Rebuilt from its components, so that one folder has one spelling.
        let moved = env.var("COPILOT_HOME").map(|dir| Path::new(dir).components().collect());
        roots.extend(moved.filter(|dir: &PathBuf| dir.is_absolute() && *dir != roots[0]));
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        match in_home(root, path).as_deref() {
            Some([STORE]) => true,
            Some([SESSIONS, session, EVENTS]) => is_name(session),
            Some([SESSIONS, file]) if *file != EVENTS => {
                file.strip_suffix(".jsonl").is_some_and(is_name)
            }
            _ => false,
        }
    }

    /// A session's folder may hold whole trees of what it works with.
    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        matches!(in_home(root, folder).as_deref(), Some([] | [SESSIONS] | [SESSIONS, _]))
    }

    fn storage(&self, path: &Path) -> Storage {
        if is_store(path) { Storage::Database(&Store) } else { Storage::Appended(&Self) }
    }

    fn quality(&self, path: &Path) -> Quality {
        if is_store(path) { Quality::PerCall } else { Quality::Cumulative }
    }
}

impl Appended for Copilot {
    fn begin(&self, source: &Source, around: &Around, state: &str) -> Box<dyn ParseLine> {
        Box::new(Journal::resume(source, Arc::clone(around), state))
    }
}

/// The names that lead from the agent's folder to `path`. That folder is the root, or is below it and
/// called as it usually is.
fn in_home<'a>(root: &Path, path: &'a Path) -> Option<Vec<&'a str>> {
    let below = path.strip_prefix(root).ok()?;
    let names: Vec<&str> = below.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
    // What is in a session's folder is none of the agent's, whatever it is called.
    let at = names.iter().position(|name| [HOME, SESSIONS].contains(name));
    let home = at.filter(|at| names[*at] == HOME).map_or(0, |at| at + 1);
    Some(names[home..].to_vec())
}

/// Whether it can be what a session is called on disk.
fn is_name(session: &str) -> bool {
    !session.is_empty() && !session.starts_with('.') && !session.contains(['/', '\\', '\0'])
}

fn is_store(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == STORE)
}

/// The session that a journal is named after, and the agent's folder that it is in.
fn place(journal: &Path) -> Option<(&str, &Path)> {
    let is_in_folder = journal.file_name().is_some_and(|name| name == EVENTS);
    let named = if is_in_folder { journal.parent()? } else { journal };
    let name = named.file_name()?.to_str()?;
    Some((name.strip_suffix(".jsonl").unwrap_or(name), named.parent()?.parent()?))
}

/// Where the journal of a session may be.
fn journals(home: &Path, session: &str) -> Vec<PathBuf> {
    if !is_name(session) {
        return Vec::new();
    }
    let sessions = home.join(SESSIONS);
    vec![sessions.join(session).join(EVENTS), sessions.join(format!("{session}.jsonl"))]
}

/// What a call used. Of a prompt everything is nothing.
fn usage(model: Arc<str>, tokens: Tokens, cost_nanousd: Option<i64>, flags: Flags) -> Usage {
    Usage {
        // It asks prices of its own for some models, and sells some that nobody else has.
        vendor: (!model.is_empty()).then(|| ID.into()),
        tokens,
        logged_cost_nanousd: cost_nanousd,
        flags,
        ..Usage::of(model)
    }
}
