//! Tasks of Roo Code and of the extensions that are copies of it: where they are, and how they are
//! read.
//!
//! `reader` reads the entries of a task, and `beside` what stands next to it and says what its entries
//! do not: the model, the directory, and whether another task has started it.

mod beside;
mod reader;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::vscode::{self, Place};
use crate::{Env, tasks};

/// What tells apart the extensions whose tasks these are.
pub(crate) struct RooTasks {
    /// The version of their provider.
    pub(crate) version: u32,
    /// What the keys of their calls begin with.
    pub(crate) prefix: &'static str,
    /// The extensions, as VS Code calls them.
    pub(crate) extensions: &'static [&'static str],
}

impl RooTasks {
    pub(crate) fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let roots = self.extensions.iter().flat_map(|extension| vscode::roots(env, extension));
        // The folder of application data is the same for all of them.
        let mut known = BTreeSet::new();
        roots.filter(|root| known.insert(root.clone())).collect()
    }

    /// What of a root is looked into, to be shown.
    pub(crate) fn place(&self, root: &Path) -> PathBuf {
        match self.extensions {
            [extension] => vscode::place(root, extension),
            extensions => vscode::place(root, &format!("{{{}}}", extensions.join(","))),
        }
    }

    pub(crate) fn is_source(&self, root: &Path, path: &Path) -> bool {
        self.extensions.iter().any(|extension| tasks::is_task(root, path, extension))
    }

    pub(crate) fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        self.extensions.iter().any(|extension| {
            let below = match Place::of(root, folder, extension) {
                Place::Above => return true,
                Place::Foreign => return false,
                Place::Inside(below) => below,
                Place::Elsewhere => folder.strip_prefix(root).unwrap_or(folder),
            };
            let below: Vec<&OsStr> = below.iter().collect();
            match below[..] {
                [] => true,
                [tasks] | [tasks, _] => tasks == "tasks",
                _ => false,
            }
        })
    }
}
