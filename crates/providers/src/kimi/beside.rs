//! What other files say about a session.

use std::path::Path;

use md5::{Digest as _, Md5};

use super::Place;
use crate::Surroundings;
use crate::record::{Json, is_kept};

/// What the file beside all agents of a session says. Kimi CLI says none of it there.
#[derive(Default)]
pub(super) struct About {
    pub(super) directory: Option<String>,
    pub(super) created_ms: Option<i64>,
    pub(super) is_fork: bool,
}

impl About {
    pub(super) fn read(place: &Place, around: &dyn Surroundings) -> Self {
        let mut about = Self::default();
        let Some(bytes) = around.file(&place.session.join("state.json")) else { return about };
        let read = Json::new(&bytes).object(|name, json| {
            match name {
                "workDir" | "cwd" => {
                    let directory = json.text()?.map(String::from);
                    about.directory = directory.or(about.directory.take());
                }
                "createdAt" => about.created_ms = json.time()?,
                "forkedFrom" => about.is_fork = json.text()?.is_some(),
                _ => {}
            }
            Ok(())
        });
        if read.is_ok() { about } else { Self::default() }
    }
}

/// The directory whose sessions of Kimi CLI are in a folder: the folder is named after its hash, and a
/// list beside all folders names the directories.
pub(super) fn directory_of(place: &Place, around: &dyn Surroundings) -> Option<String> {
    let folder = place.directory();
    let name = folder.file_name()?.to_str()?;
    // Those on other machines begin with the machine's name.
    let hash = name.rsplit_once('_').map_or(name, |(_, hash)| hash);
    let list = around.file(&home(place)?.join("kimi.json"))?;
    let mut found = None;
    let read = Json::new(&list).object(|name, json| {
        if name != "work_dirs" {
            return Ok(());
        }
        json.array(|json| {
            json.object(|name, json| {
                if name == "path"
                    && let Some(path) = json.text()?
                    && folder_of(&path) == hash
                {
                    found = Some(path.into_owned());
                }
                Ok(())
            })
            .map(drop)
        })
        .map(drop)
    });
    read.ok().and(found)
}

/// The model that Kimi CLI asks as it is set now: its logs name none.
pub(super) fn model(place: &Place, around: &dyn Surroundings) -> Option<String> {
    let settings = around.file(&home(place)?.join("config.toml"))?;
    model_in(&String::from_utf8_lossy(&settings))
}

/// The folder of the agent.
fn home(place: &Place) -> Option<&Path> {
    place.directory().parent()?.parent()
}

/// `default_model` names one of the tables `[models.<name>]`, and that says what the model is called.
/// As much of TOML as the agent itself writes.
fn model_in(settings: &str) -> Option<String> {
    let kept = |model: &str| is_kept(model).then(|| model.to_owned());
    let (mut chosen, mut table) = (None, "");
    for line in settings.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            table = name.strip_suffix(']').unwrap_or(name);
        } else if let Some((key, value)) = line.split_once('=') {
            let named = table.strip_prefix("models.").map(unquoted);
            match key.trim() {
                "default_model" if table.is_empty() => chosen = Some(unquoted(value)),
                "model" if named.is_some() && named == chosen => return kept(unquoted(value)),
                _ => {}
            }
        }
    }
    chosen.and_then(kept)
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inside = |quote: char| text.strip_prefix(quote)?.split(quote).next();
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// What Kimi CLI calls the folder of a directory.
fn folder_of(directory: &str) -> String {
    format!("{:x}", Md5::digest(directory.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::model_in;

    #[test]
    fn the_model_is_the_one_that_the_chosen_name_stands_for() {
        let check = |settings: &str, model: Option<&str>| {
            assert_eq!(model_in(settings).as_deref(), model, "{settings}");
        };
        let models = "[models.\"kimi/a\"]\nmodel = \"kimi-a\"\nprovider = \"p\"\n\n[models.b]\nmodel='kimi-b' # new\n\n[other]\nmodel = \"x\"\n";
        check(&format!("default_model = \"kimi/a\"\n{models}"), Some("kimi-a"));
        check(&format!("default_model = \"b\"\n{models}"), Some("kimi-b"));
        check(&format!("default_model = \"c\"\n{models}"), Some("c"));
        check(models, None);
        check("default_model = \"\"\n", None);
        check("[loop]\ndefault_model = \"x\"\n", None);
        check("\u{0}=[", None);
    }
}
