//! OpenCode: one SQLite database per release channel; before that a tree of small JSON files.
//!
//! Both hold the same messages, and forking a session copies its messages under new ids. So a call is
//! known by what it says of itself (times, model, counts, cost), which all copies share, and not by an
//! id. A message is one call, or several where older versions went on in the same one: then each of
//! its `step-finish` parts is a call. Nothing is counted before a message is complete: until then it
//! has no fingerprint that lasts.
//!
//! Other agents began as copies of this one and keep their data in the same form: `agent` says what
//! tells them apart.
//!
//! `message` reads the JSON, `statement` makes the events, `tree` reads the files and `database` the
//! tables as far as `cursor` says, `sessions` knows whose a message is and `copies` which is told
//! twice. The totals that newer databases keep per session are
//! left out: they repeat the messages.

mod agent;
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

use std::path::{Path, PathBuf};

pub(crate) use self::agent::{Agent, Relative};
use crate::{Env, Provider, Storage};

pub(crate) struct OpenCode;

impl Relative for OpenCode {
    const AGENT: &'static Agent = &Agent {
        id: "opencode",
        version: 1,
        prefix: "opencode",
        folder: "opencode",
        databases: &["opencode"],
        variable: "OPENCODE_DB",
        logged_elsewhere: &[],
    };
}

impl Provider for OpenCode {
    fn id(&self) -> &'static str {
        Self::AGENT.id
    }

    fn version(&self) -> u32 {
        Self::AGENT.version
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        Self::AGENT.roots(env)
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        Self::AGENT.is_source(root, path)
    }

    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        Self::AGENT.looks_into(root, folder)
    }

    fn storage(&self, path: &Path) -> Storage {
        storage(path, &Self)
    }
}

/// How a source of such an agent is stored.
pub(crate) fn storage<A: Relative>(path: &Path, agent: &'static A) -> Storage {
    match tree::Place::of(path) {
        Some(_) => Storage::Document(agent),
        None => Storage::Database(agent),
    }
}
