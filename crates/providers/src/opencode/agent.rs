//! OpenCode and the agents that began as copies of it: where each keeps its data, and what its
//! messages are called.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::tree;
use crate::{Env, Surroundings};

/// An agent that keeps its data as OpenCode does: it is read as one, and says what it is.
pub(crate) trait Relative: Sync {
    const AGENT: &'static Agent;
}

/// What tells such agents apart.
pub(crate) struct Agent {
    /// Its id as a provider.
    pub(crate) id: &'static str,
    /// Its version as a provider.
    pub(crate) version: u32,
    /// What the keys of its messages begin with.
    pub(crate) prefix: &'static str,
    /// The folder of its data, in that of all programs' data.
    pub(crate) folder: &'static str,
    /// What its databases are called, but for their channel.
    pub(crate) databases: &'static [&'static str],
    /// The variable that names another database.
    pub(crate) variable: &'static str,
    /// Those named as providers of messages that stand in another log as well, and whose log that is.
    pub(crate) logged_elsewhere: &'static [(&'static str, &'static str)],
}

impl Agent {
    pub(crate) fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let share = env.var("XDG_DATA_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        // The same on every system: the agent's helper knows no other convention.
        let data = share.unwrap_or_else(|| env.home.join(".local/share")).join(self.folder);
        let other = env.var(self.variable).filter(|name| *name != ":memory:");
        // A relative name means a file in the data folder; joining an absolute one replaces it.
        let other = other.map(|name| data.join(name)).filter(|path| !self.is_source(&data, path));
        [data].into_iter().chain(other).collect()
    }

    /// Whether a path is that of a database or of a message's file in a data folder, or a root
    /// itself: the database that a variable names.
    pub(crate) fn is_source(&self, root: &Path, path: &Path) -> bool {
        if path == root {
            return true;
        }
        let data = match tree::Place::of(path) {
            Some(place) => place.data,
            None if self.is_database(path) => path.parent().unwrap_or(path),
            None => return false,
        };
        data.starts_with(root) && (data == root || data.ends_with(self.folder))
    }

    pub(crate) fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        let Ok(below) = folder.strip_prefix(root) else { return false };
        let mut names: Vec<&OsStr> = below.iter().collect();
        let data = names.iter().rposition(|name| *name == self.folder);
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
            data.is_none() && !root.ends_with(self.folder) && !names.contains(&"storage".as_ref());
        is_wanted || is_above
    }

    /// `opencode.db`, or `opencode-<channel>.db`, say.
    fn is_database(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(OsStr::to_str);
        let Some(name) = name.and_then(|name| name.strip_suffix(".db")) else { return false };
        let is_channel = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        self.databases.iter().any(|database| match name.strip_prefix(database) {
            Some("") => true,
            Some(rest) => rest
                .strip_prefix('-')
                .is_some_and(|channel| !channel.is_empty() && channel.chars().all(is_channel)),
            None => false,
        })
    }

    /// Whether a message is in another log as well, and that one is read.
    pub(super) fn is_logged_elsewhere(
        &self,
        provider: Option<&str>,
        around: &dyn Surroundings,
    ) -> bool {
        let elsewhere = self.logged_elsewhere.iter();
        let mut logs = elsewhere.filter(|(name, _)| Some(*name) == provider);
        logs.any(|(_, log)| around.reads(log))
    }
}
