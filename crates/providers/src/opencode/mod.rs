//! OpenCode: one SQLite database per release channel; before that a tree of small JSON files.
//!
//! Both hold the same messages, and forking a session copies its messages under new ids. So a call is
//! known by what it says of itself (times, model, counts, cost), which all copies share, and not by an
//! id. A message is one call, or several where older versions went on in the same one: then each of
//! its `step-finish` parts is a call. Nothing is counted before a message is complete: until then it
//! has no fingerprint that lasts.
//!
//! `message` reads the JSON, `statement` makes the events, `tree` reads the files and `database` the
//! tables as far as `cursor` says, `sessions` knows whose a message is and `copies` which is told
//! twice. The totals that newer databases keep per session are
//! left out: they repeat the messages.

mod copies;
pub(crate) mod cursor;
mod database;
mod message;
mod sessions;
mod statement;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures and real logs are files")]
mod tests;
mod tree;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::{Env, Provider, Storage};

const ID: &str = "opencode";
const VERSION: u32 = 1;

pub(crate) struct OpenCode;

impl Provider for OpenCode {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let share = env.var("XDG_DATA_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        // The same on every system: the agent's helper knows no other convention.
        let data = share.unwrap_or_else(|| env.home.join(".local/share")).join(ID);
        let other = env.var("OPENCODE_DB").filter(|name| *name != ":memory:");
        // A relative name means a file in the data folder; joining an absolute one replaces it.
        let other = other.map(|name| data.join(name)).filter(|path| !is_source(&data, path));
        [data].into_iter().chain(other).collect()
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        is_source(root, path)
    }

    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        let Ok(below) = folder.strip_prefix(root) else { return false };
        let mut names: Vec<&OsStr> = below.iter().collect();
        let data = names.iter().rposition(|name| *name == ID);
        names.drain(..data.map_or(0, |at| at + 1));
        let is_wanted = match names[..] {
            [] => true,
            [storage, ref rest @ ..] if storage == "storage" => match rest {
                [] => true,
                [message, rest @ ..] => *message == "message" && rest.len() <= 1,
            },
            _ => false,
        };
        // Above the data folder its place is not known.
        let is_above =
            data.is_none() && !root.ends_with(ID) && !names.contains(&"storage".as_ref());
        is_wanted || is_above
    }

    fn storage(&self, path: &Path) -> Storage {
        match tree::Place::of(path) {
            Some(_) => Storage::Document(&Self),
            None => Storage::Database(&Self),
        }
    }
}

/// Whether a path is that of a database or of a message's file in a data folder, or a root itself:
/// the database that a variable names.
fn is_source(root: &Path, path: &Path) -> bool {
    if path == root {
        return true;
    }
    let data = match tree::Place::of(path) {
        Some(place) => place.data,
        None if is_database(path) => path.parent().unwrap_or(path),
        None => return false,
    };
    data.starts_with(root) && (data == root || data.ends_with(ID))
}

/// `opencode.db`, or `opencode-<channel>.db`.
fn is_database(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    let Some(name) = name.and_then(|name| name.strip_suffix(".db")) else { return false };
    let is_channel = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.strip_prefix(ID) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('-')
            .is_some_and(|channel| !channel.is_empty() && channel.chars().all(is_channel)),
        None => false,
    }
}
