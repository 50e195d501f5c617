//! Projects by their path: one row per working directory, shared by all agents that work in it.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

/// The ids of the projects seen so far. To be cleared when a transaction fails: ids it gave out are
/// then free again.
#[derive(Debug, Default)]
pub(crate) struct Projects(HashMap<Arc<str>, i64>);

impl Projects {
    pub(crate) fn id(
        &mut self,
        db: &Connection,
        path: &Arc<str>,
        provider: &str,
    ) -> rusqlite::Result<i64> {
        if let Some(id) = self.0.get(path) {
            return Ok(*id);
        }
        let known = db
            .prepare_cached("SELECT id FROM projects WHERE path = ?1")?
            .query_row([path], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => db
                .prepare_cached(
                    "INSERT INTO projects (path, display_name) VALUES (?1, ?2) RETURNING id",
                )?
                .query_row([&**path, display_name(path, provider)], |row| row.get(0))?,
        };
        self.0.insert(Arc::clone(path), id);
        Ok(id)
    }

    /// Whether the id is at hand, so that asking for it writes nothing.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The last component of a path, in the notation of any system.
fn display_name<'a>(path: &'a str, provider: &str) -> &'a str {
    let own_name = path.strip_prefix(provider).and_then(|rest| rest.strip_prefix(':'));
    let name = own_name.unwrap_or(path).trim_end_matches(['/', '\\']);
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    if last.is_empty() { path } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_shown_by_its_last_component() {
        for (path, expect) in [
            ("/home/ada/engine", "engine"),
            ("/home/ada/engine/", "engine"),
            (r"C:\Users\ada\engine", "engine"),
            ("codex:engine", "engine"),
            ("codex:", "codex:"),
            ("engine", "engine"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(display_name(path, "codex"), expect, "{path}");
        }
    }
}
