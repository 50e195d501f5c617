//! The directory that a task works in, as the model was told it.

use std::path::Path;
use std::sync::Arc;

use memchr::memmem;

use crate::Surroundings;
use crate::record::{Json, NotJson, Read};

/// What a task's conversation with the model is called.
pub(crate) const CONVERSATION: &str = "api_conversation_history.json";

/// The directory that the conversation of the task in `folder` mentions first.
pub(crate) fn directory_in_conversation(
    folder: &Path,
    around: &dyn Surroundings,
) -> Option<Arc<str>> {
    let bytes = around.file(&folder.join(CONVERSATION))?;
    let mut directory = None;
    let read = Json::new(&bytes).array(|json| {
        json.object(|name, json| {
            if name == "content" {
                directory = directory.take().or(directory_in_content(json)?);
            }
            Ok(())
        })?;
        // Only the first message is looked at.
        Err(NotJson)
    });
    _ = read;
    directory
}

/// The directory in a message: a text, or a list with texts in it.
fn directory_in_content(json: &mut Json<'_>) -> Read<Option<Arc<str>>> {
    if json.peek() == Some(b'"') {
        return directory_in_next(json);
    }
    let mut directory = None;
    json.array(|json| {
        json.object(|name, json| {
            if name == "text" {
                // The surroundings of the task are told last.
                directory = directory_in_next(json)?.or(directory.take());
            }
            Ok(())
        })
        .map(drop)
    })?;
    Ok(directory)
}

/// The directory in the value that is next, whatever it is.
fn directory_in_next(json: &mut Json<'_>) -> Read<Option<Arc<str>>> {
    let bytes = json.rest();
    let start = json.offset();
    json.skip()?;
    Ok(directory_in(&bytes[..json.offset() - start]))
}

/// The directory that what a model was asked tells it is working in. `json` is JSON in which that
/// stands somewhere, and is searched as it is: the line is where the asking ends, behind
/// all that may look like it.
pub(crate) fn directory_in(json: &[u8]) -> Option<Arc<str>> {
    const BEFORE: [&[u8]; 2] =
        [b"# Current Working Directory (", b"# Current Workspace Directory ("];
    const BEHIND: &[u8] = b") Files";

    let ends = BEFORE.iter().filter_map(|before| Some(memmem::rfind(json, before)? + before.len()));
    let start = ends.max()?;
    let end = memmem::find(&json[start..], BEHIND)?;
    let quoted = [b"\"", &json[start..start + end], b"\""].concat();
    let directory = Json::new(&quoted).text().ok()??;
    // Where there are several, the name of the first stands here and not its place.
    let is_on_a_drive = directory.get(1..).is_some_and(|rest| rest.starts_with(":/"));
    (directory.starts_with('/') || is_on_a_drive).then(|| directory.into())
}
