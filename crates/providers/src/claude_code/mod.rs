//! Claude Code: transcripts of sessions and their subagents, one JSON object per line.
//!
//! A response is written as several lines, one per block of its content, and sessions copy each
//! other's lines when they are forked or asked something on the side. So each line becomes a
//! statement under the response's own id, and [`usage::merge`] finds what is true. `transcript`
//! reads the fields, `project` knows how folders are named.

mod parser;
mod project;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures and real logs are files")]
mod tests;
mod transcript;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use usage::Source;

use self::parser::Parser;
use self::transcript::Record;
use crate::{Appended, Around, Env, ParseLine, Provider, Storage};

pub(crate) struct ClaudeCode;

const VERSION: u32 = 1;

/// Where Claude Desktop keeps its sessions: each has a whole configuration folder of its own.
const DESKTOP_SESSIONS: &str = "local-agent-mode-sessions";

/// What transcripts of side questions (`/btw`) are called after. They log the whole conversation
/// again, with cache reads of their own.
const SIDE_QUESTION: &str = "aside_question";

impl Provider for ClaudeCode {
    fn id(&self) -> &'static str {
        "claude-code"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let config = env.var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let config = config.unwrap_or_else(|| env.home.join(".config"));
        // The agent takes one folder. Lists, and naming the `projects` folder itself, are customs of
        // other programs that read its logs.
        let dirs = env.var("CLAUDE_CONFIG_DIR").unwrap_or_default().split(',');
        let mut roots: Vec<PathBuf> = dirs.filter_map(projects_of).collect();
        if roots.is_empty() {
            roots.push(env.home.join(".claude/projects"));
        }
        roots.push(config.join("claude/projects"));
        let desktop = if cfg!(target_os = "macos") {
            env.home.join("Library/Application Support/Claude")
        } else {
            config.join("Claude")
        };
        roots.push(desktop.join(DESKTOP_SESSIONS));
        let mut seen = BTreeSet::new();
        roots.retain(|root| seen.insert(root.clone()));
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        Place::of(root, path).is_some()
    }

    fn storage(&self, _path: &Path) -> Storage {
        Storage::Appended(&Self)
    }
}

/// The projects folder that an entry of `CLAUDE_CONFIG_DIR` means. Relative ones mean nothing here:
/// they depend on where the agent was started.
fn projects_of(entry: &str) -> Option<PathBuf> {
    // Rebuilt from its components, so that one folder has one spelling.
    let dir: PathBuf = Path::new(entry.trim()).components().collect();
    let is_projects = dir.ends_with("projects");
    dir.is_absolute().then(|| if is_projects { dir } else { dir.join("projects") })
}

impl Appended for ClaudeCode {
    fn begin(&self, source: &Source, _around: &Around, state: &str) -> Box<dyn ParseLine> {
        Box::new(Parser::new(source, state))
    }
}

/// What the path of a transcript says about its records.
#[derive(Default)]
struct Place {
    /// The folder under `projects`, named after a directory.
    folder: String,
    /// The session of records that name none.
    session_id: String,
    is_side_question: bool,
}

impl Place {
    /// `None` if the path is not that of a transcript.
    fn of(root: &Path, path: &Path) -> Option<Self> {
        let below = path.strip_prefix(root).ok()?;
        let mut parts: Vec<Cow<'_, str>> =
            below.iter().map(|part| part.to_string_lossy()).collect();
        if root.ends_with(DESKTOP_SESSIONS) {
            let is_projects = |pair: &[Cow<'_, str>]| pair == [".claude", "projects"];
            let at = parts.windows(2).position(is_projects)?;
            parts.drain(..at + 2);
        }
        let name = parts.pop()?;
        let stem = name.strip_suffix(".jsonl")?;
        // <folder>/<session>/subagents/**/agent-<id>.jsonl
        let subagents = parts.iter().position(|part| part == "subagents");
        if stem == "history" || (stem == "journal" && subagents.is_some()) {
            return None;
        }
        let session_id = match subagents {
            Some(at) if at >= 2 => &parts[at - 1],
            _ => stem,
        };
        Some(Self {
            folder: parts.first().map(ToString::to_string).unwrap_or_default(),
            session_id: session_id.to_owned(),
            is_side_question: stem.strip_prefix("agent-").is_some_and(is_side_question),
        })
    }

    /// A copy belongs to the session it was made from, should the original be gone.
    fn session_id_of<'r>(&'r self, record: &'r Record<'_>) -> &'r str {
        let original = record.forked_from.as_ref().and_then(|from| from.session_id.as_deref());
        original.or(record.session_id.as_deref()).unwrap_or(&self.session_id)
    }
}

fn is_side_question(agent_id: &str) -> bool {
    agent_id.starts_with(SIDE_QUESTION)
}
