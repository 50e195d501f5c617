//! What a journal's line may say about usage. Everything else in it is stepped over unread.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::counts::Stated;
use crate::record::{Count, Json, Read, is_kept};

/// Most models that a session is counted by.
const MAX_MODELS: usize = 64;

/// One object of a journal.
#[derive(Default)]
pub(super) struct Line<'a> {
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) ts_ms: Option<i64>,
    /// Said by a subagent, or to one.
    pub(super) is_of_subagent: bool,
    pub(super) data: Data<'a>,
}

/// The fields of all kinds of lines at once: they may come before the kind is known.
#[derive(Default)]
pub(super) struct Data<'a> {
    pub(super) session_id: Option<Cow<'a, str>>,
    pub(super) client: Option<Cow<'a, str>>,
    pub(super) cwd: Option<Cow<'a, str>>,
    /// The session works for another one, which nobody sees.
    pub(super) is_detached: bool,
    pub(super) is_success: bool,
    pub(super) output: Count,
    message: Message<'a>,
    pub(super) models: Vec<Model>,
    /// Billionths of AI units of all models together.
    pub(super) nano_aiu: Count,
}

/// A message to the agent.
#[derive(Default)]
struct Message<'a> {
    /// Who has sent it.
    source: Option<Cow<'a, str>>,
    /// How it begins.
    content: Option<Cow<'a, str>>,
    has_attachments: bool,
    is_continuation: bool,
}

/// The counters of one model.
#[derive(Default)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) counts: Stated,
    pub(super) nano_aiu: Count,
}

/// Whether a line can be of a kind that says anything here.
///
/// The kinds are looked for with an opening quote. Inside a JSON string that quote would be escaped,
/// so text that merely talks about them is not taken for one.
pub(super) fn may_matter(line: &[u8]) -> bool {
    static KINDS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
        [r#""session."#, r#""user.message""#, r#""assistant.message""#].map(Finder::new)
    });
    KINDS.iter().any(|kind| kind.find(line).is_some())
}

impl<'a> Line<'a> {
    /// Reads the next object of a line; `None` if it is another kind of value.
    pub(super) fn read(json: &mut Json<'a>) -> Read<Option<Self>> {
        let mut line = Self::default();
        let is_object = json.object(|name, json| {
            match name {
                "type" => line.kind = json.text()?,
                "id" => line.id = json.text()?,
                "timestamp" => line.ts_ms = json.written_time()?,
                "agentId" => line.is_of_subagent = json.text()?.is_some(),
                "data" => line.data = Data::read(json)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(is_object.then_some(line))
    }

    /// Whether a person typed it. What skills, timers and other agents say in the user's name does
    /// not count, nor what keeps the agent going when left alone.
    pub(super) fn is_prompt(&self) -> bool {
        const NOT_TYPED: [&str; 2] = ["<skill-context", "<system_notification"];

        let Message { source, content, has_attachments, is_continuation } = &self.data.message;
        let source = source.as_deref().unwrap_or("user");
        if self.is_of_subagent || *is_continuation {
            return false;
        }
        if source != "user" && !source.starts_with("command-") {
            return false;
        }
        let text = content.as_deref().unwrap_or_default().trim_start();
        let is_said = !text.is_empty() || *has_attachments;
        is_said && !NOT_TYPED.iter().any(|start| text.starts_with(start))
    }
}

impl<'a> Data<'a> {
    fn read(json: &mut Json<'a>) -> Read<Self> {
        let mut data = Self::default();
        json.object(|name, json| {
            match name {
                "sessionId" => data.session_id = json.text()?,
                "copilotVersion" => data.client = json.text()?,
                "context" => data.cwd = cwd(json)?,
                "detachedFromSpawningParentSessionId" => data.is_detached = json.text()?.is_some(),
                "success" => data.is_success = json.is_true()?,
                "outputTokens" => data.output = json.count()?,
                "source" => data.message.source = json.text()?,
                "content" => data.message.content = json.opening()?,
                "attachments" => data.message.has_attachments = json.has_elements()?,
                "isAutopilotContinuation" => data.message.is_continuation = json.is_true()?,
                "modelMetrics" => data.models = Model::read_all(json)?,
                "totalNanoAiu" => data.nano_aiu = json.count()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(data)
    }
}

impl Model {
    /// Reads an object of models by their names. Of a repeated name the last one stands.
    fn read_all(json: &mut Json<'_>) -> Read<Vec<Self>> {
        let mut models: Vec<Self> = Vec::new();
        json.object(|name, json| {
            let model = Self::read(name, json)?;
            match models.iter().position(|known| known.name == name) {
                Some(at) => models[at] = model,
                None if is_kept(name) && models.len() < MAX_MODELS => models.push(model),
                None => {}
            }
            Ok(())
        })?;
        Ok(models)
    }

    fn read(name: &str, json: &mut Json<'_>) -> Read<Self> {
        let mut model = Self { name: name.to_owned(), ..Self::default() };
        json.object(|name, json| {
            match name {
                "usage" => model.counts = read_counts(json)?,
                "totalNanoAiu" => model.nano_aiu = json.count()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(model)
    }
}

fn read_counts(json: &mut Json<'_>) -> Read<Stated> {
    let mut counts = Stated::default();
    json.object(|name, json| {
        let at = match name {
            "inputTokens" => 0,
            "outputTokens" => 1,
            "cacheReadTokens" => 2,
            "cacheWriteTokens" => 3,
            "reasoningTokens" => 4,
            _ => return Ok(()),
        };
        counts.0[at] = json.count()?;
        Ok(())
    })?;
    Ok(counts)
}

fn cwd<'a>(json: &mut Json<'a>) -> Read<Option<Cow<'a, str>>> {
    let mut cwd = None;
    json.object(|name, json| {
        if name == "cwd" {
            cwd = json.text()?;
        }
        Ok(())
    })?;
    Ok(cwd)
}
