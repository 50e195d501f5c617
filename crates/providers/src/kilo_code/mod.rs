//! Kilo Code: a database in the form of OpenCode's, of which it became a copy; before that tasks in
//! the form of Roo Code's.
//!
//! Both stay where they are. When a person has the sessions of the old extension taken over, their
//! messages come into the database without any figures, from a provider called `legacy`: the tasks
//! count, and not these. Everything else is read as the agents are that this one was copied from.

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a foreign database and its owner")]
mod tests;

use std::path::{Path, PathBuf};

use crate::opencode::{self, Agent, Relative};
use crate::roo_tasks::RooTasks;
use crate::vscode::{self, Place};
use crate::{Env, Provider, Storage, tasks};

const ID: &str = "kilo-code";
const VERSION: u32 = 1;

/// The extension, as VS Code calls it.
const EXTENSION: &str = "kilocode.kilo-code";

/// The command line and the extension of today.
pub(crate) struct KiloCode;

impl Relative for KiloCode {
    const AGENT: &'static Agent = &Agent {
        id: ID,
        version: VERSION,
        prefix: "kilo",
        folder: "kilo",
        // Some versions called those of channels as OpenCode does.
        databases: &["kilo", "opencode"],
        variable: "KILO_DB",
        logged_elsewhere: &[("claude-code", "claude-code"), ("legacy", ID)],
    };
}

/// The extension and the command line as they were at first.
static TASKS: RooTasks =
    RooTasks { version: VERSION, prefix: "kilo-legacy", extensions: &[EXTENSION] };

impl Provider for KiloCode {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let mut roots = Self::AGENT.roots(env);
        roots.push(env.home.join(".kilocode/cli/global/tasks"));
        roots.extend(TASKS.roots(env));
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        Self::AGENT.is_source(root, path) || TASKS.is_source(root, path)
    }

    fn place(&self, root: &Path) -> PathBuf {
        TASKS.place(root)
    }

    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        if root.ends_with(Self::AGENT.folder) {
            return Self::AGENT.looks_into(root, folder);
        }
        let is_of_editors = vscode::is_application_data(root)
            || matches!(Place::of(root, folder, EXTENSION), Place::Inside(_) | Place::Foreign);
        let has_data = !is_of_editors && !root.ends_with("tasks");
        TASKS.looks_into(root, folder) || (has_data && Self::AGENT.looks_into(root, folder))
    }

    fn storage(&self, path: &Path) -> Storage {
        if tasks::is_task_file(path) {
            return Storage::Document(&TASKS);
        }
        opencode::storage(path, &Self)
    }
}
