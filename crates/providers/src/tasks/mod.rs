//! Tasks of editor extensions: Cline's, before it had sessions, and those of the extensions that
//! began as copies of it.
//!
//! A task is a folder, and in it a document of entries that is saved many times a minute. Here is what
//! all of them have in common: where it is, its entries, and the figures in the text of one.
//! Which entries count and what their figures mean is left to the readers of each family.

mod author;
mod directory;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

use usage::{Flags, Skip, Tokens};

pub(crate) use self::author::Author;
pub(crate) use self::directory::{CONVERSATION, directory_in, directory_in_conversation};
use crate::record::{Count, Json, Read};
use crate::vscode::Place;

/// The documents of a task: as they are called, and as they were at first.
const TASK_FILES: [&str; 2] = ["ui_messages.json", "claude_messages.json"];

/// A string that says something: not missing, not empty, not endless.
pub(crate) type Text<'a> = Option<Cow<'a, str>>;

/// `tasks/<id>/ui_messages.json`, and not in the storage of another extension: there it looks the
/// same.
pub(crate) fn is_task(root: &Path, path: &Path, extension: &str) -> bool {
    let tasks = path.parent().and_then(Path::parent);
    is_task_file(path)
        && tasks.is_some_and(|tasks| tasks.ends_with("tasks"))
        && Place::of(root, path, extension) != Place::Foreign
}

/// Whether a file is called as the document of a task is.
pub(crate) fn is_task_file(path: &Path) -> bool {
    TASK_FILES.contains(&name_of(path))
}

pub(crate) fn name_of(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// The figures of a call, as tasks and sessions state them.
#[derive(Default)]
pub(crate) struct Figures<'a> {
    pub(crate) input: Count,
    pub(crate) output: Count,
    pub(crate) cache_read: Count,
    pub(crate) cache_create: Count,
    /// In dollars, as written, so that not a digit is lost.
    pub(crate) cost: Option<&'a str>,
}

impl Figures<'_> {
    /// The counts, where those of the cache are not part of the input.
    pub(crate) fn tokens(&self, flags: &mut Flags) -> Result<Tokens, Skip> {
        Ok(Tokens {
            input: self.input.clamped(flags)?,
            output: self.output.clamped(flags)?,
            cache_read: self.cache_read.clamped(flags)?,
            cache_create: self.cache_create.clamped(flags)?,
            ..Tokens::default()
        })
    }
}

/// One entry. Everything in it may be missing.
#[derive(Default)]
pub(crate) struct Entry<'a> {
    pub(crate) ts_ms: Option<i64>,
    pub(crate) kind: Text<'a>,
    pub(crate) say: Text<'a>,
    /// Where the text begins: it is read only if the entry matters.
    pub(crate) text: Option<Json<'a>>,
    has_images: bool,
    has_files: bool,
    pub(crate) model: Text<'a>,
    /// Who served it.
    pub(crate) provider: Text<'a>,
    /// What it cost to have what was said before put in short, in dollars as written.
    pub(crate) condensed_cost: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// Reads the next value; `None` if it is no object.
    pub(crate) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut entry = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "ts" => entry.ts_ms = json.count()?.time_ms(),
                "type" => entry.kind = json.text()?,
                "say" => entry.say = json.text()?,
                "text" => entry.text = Some(*json),
                "images" => entry.has_images = json.has_elements()?,
                "files" => entry.has_files = json.has_elements()?,
                "modelInfo" => entry.read_model(json)?,
                "contextCondense" => entry.read_condensed(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(entry))
    }

    fn read_model(&mut self, json: &mut Json<'a>) -> Read<()> {
        (self.model, self.provider) = (None, None);
        json.object(|name, json| {
            match name {
                "modelId" => self.model = json.text()?,
                "providerId" => self.provider = json.text()?,
                _ => {}
            }
            Ok(())
        })
        .map(drop)
    }

    fn read_condensed(&mut self, json: &mut Json<'a>) -> Read<()> {
        self.condensed_cost = None;
        json.object(|name, json| {
            if name == "cost" {
                self.condensed_cost = json.number()?;
            }
            Ok(())
        })
        .map(drop)
    }

    /// What the entry says, if a program says it.
    pub(crate) fn said(&self) -> Option<&str> {
        self.say.as_deref().filter(|_| self.kind.as_deref() == Some("say"))
    }

    /// The text whole, to be read as JSON.
    pub(crate) fn nested(&self) -> Cow<'a, str> {
        self.text.and_then(|mut json| json.nested().ok()?).unwrap_or_default()
    }

    /// Whether a person has written or attached something.
    pub(crate) fn is_prompt(&self) -> bool {
        let text = self.text.and_then(|mut json| json.opening().ok()?).unwrap_or_default();
        !text.trim_start().is_empty() || self.has_images || self.has_files
    }
}

/// What the text of an entry says of a request.
#[derive(Default)]
pub(crate) struct Request<'a> {
    pub(crate) figures: Figures<'a>,
    /// Whose way of counting the figures follow, where it is said.
    pub(crate) protocol: Text<'a>,
}

pub(crate) fn read_request(text: &str) -> Result<Request<'_>, Skip> {
    let mut request = Request::default();
    let figures = &mut request.figures;
    let mut json = Json::new(text.as_bytes());
    let read = json.object(|name, json| {
        match name {
            "tokensIn" => figures.input = json.count()?,
            "tokensOut" => figures.output = json.count()?,
            "cacheReads" => figures.cache_read = json.count()?,
            "cacheWrites" => figures.cache_create = json.count()?,
            "cost" => figures.cost = json.number()?,
            "apiProtocol" => request.protocol = json.text()?,
            _ => {}
        }
        Ok(())
    });
    match read {
        Ok(true) if json.peek().is_none() => Ok(request),
        Ok(false) => Err(Skip::NotAnObject),
        _ => Err(Skip::Malformed),
    }
}
