//! Files in memory, as the surroundings of a source. What is called `x.sql` is the database `x`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use providers::{DatabaseError, Surroundings};
use rusqlite::Connection;

/// Where the files of a folder seem to be.
pub(crate) const ROOT: &str = "/root";

#[derive(Clone, Default)]
pub(crate) struct Folder(pub(crate) BTreeMap<String, Vec<u8>>);

impl Folder {
    fn get(&self, path: &Path) -> Option<&Vec<u8>> {
        self.0.get(path.strip_prefix(ROOT).ok()?.to_str()?)
    }
}

impl Surroundings for Folder {
    fn file(&self, path: &Path) -> Option<Vec<u8>> {
        self.get(path).cloned()
    }

    fn files_in(&self, folder: &Path) -> Vec<PathBuf> {
        let all = self.0.keys().map(|name| Path::new(ROOT).join(name));
        all.filter(|path| path.parent() == Some(folder)).collect()
    }

    fn folders_in(&self, folder: &Path) -> Vec<PathBuf> {
        let all = self.0.keys().map(|name| Path::new(ROOT).join(name));
        let folders = all.filter_map(|path| {
            let below = path.strip_prefix(folder).ok()?;
            (below.iter().count() > 1).then(|| folder.join(below.iter().next().unwrap()))
        });
        folders.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn database(&self, path: &Path, ask: &mut dyn FnMut(&Connection) -> Result<(), DatabaseError>) {
        if let Some(sql) = self.get(&path.with_added_extension("sql")) {
            let db = Connection::open_in_memory().unwrap();
            db.execute_batch(std::str::from_utf8(sql).unwrap()).unwrap();
            ask(&db).unwrap();
        }
    }

    fn reads(&self, _provider: &str) -> bool {
        true
    }
}

/// The statements of a script: each ends with `;` at the end of a line.
pub(crate) fn statements(sql: &[u8]) -> Vec<&str> {
    let sql = std::str::from_utf8(sql).unwrap();
    sql.split_inclusive(";\n").filter(|statement| !statement.trim().is_empty()).collect()
}
