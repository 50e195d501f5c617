//! Roo Code, and Zoo Code, which went on with it: tasks in the storage of two extensions.
//!
//! The reading is in `roo_tasks`, for others began as copies of it.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::roo_tasks::RooTasks;
use crate::{Env, Provider, Storage};

const ID: &str = "roo-code";
const VERSION: u32 = 1;

/// Roo Code and its successor.
pub(crate) struct RooCode;

static TASKS: RooTasks = RooTasks {
    version: VERSION,
    prefix: "roo",
    extensions: &["rooveterinaryinc.roo-cline", "zoocodeorganization.zoo-code"],
};

impl Provider for RooCode {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        TASKS.roots(env)
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        TASKS.is_source(root, path)
    }

    fn place(&self, root: &Path) -> PathBuf {
        TASKS.place(root)
    }

    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        TASKS.looks_into(root, folder)
    }

    fn storage(&self, _path: &Path) -> Storage {
        Storage::Document(&TASKS)
    }
}
