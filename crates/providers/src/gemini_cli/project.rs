//! Which project a folder of sessions belongs to.
//!
//! The folder says so itself, and a registry beside all folders says so again. Older folders are
//! named after a hash of the project's directory and have neither.

use std::borrow::Cow;
use std::path::Path;

use crate::Surroundings;
use crate::record::Json;

/// In a project's folder: the project's directory.
const MARKER: &str = ".project_root";

/// Beside the folder of all projects' folders: the folder's name of each project.
const REGISTRY: &str = "projects.json";

/// Longer directories are junk.
const MAX_LEN: usize = 4096;

/// The directory of the project whose sessions are in `folder`.
pub(super) fn project_of(folder: &Path, around: &dyn Surroundings) -> Option<String> {
    let marker = around.file(&folder.join(MARKER));
    let marker = marker.filter(|bytes| bytes.len() <= MAX_LEN);
    let directory = marker.and_then(|bytes| directory(&String::from_utf8_lossy(&bytes)));
    directory.or_else(|| {
        let registry = around.file(&folder.parent()?.parent()?.join(REGISTRY))?;
        registered(&registry, &folder.file_name()?.to_string_lossy())
    })
}

/// The project of a folder's name in the registry.
fn registered(registry: &[u8], folder: &str) -> Option<String> {
    let mut found = None;
    let read = Json::new(registry).object(|name, json| {
        if name != "projects" {
            return Ok(());
        }
        found = None;
        json.object(|project, json| {
            let slug: Option<Cow<'_, str>> = json.text()?;
            if found.is_none() && slug.as_deref() == Some(folder) {
                found = directory(project);
            }
            Ok(())
        })
        .map(drop)
    });
    read.ok().and(found)
}

fn directory(text: &str) -> Option<String> {
    let text = text.trim();
    (1..=MAX_LEN).contains(&text.len()).then(|| text.to_owned())
}
