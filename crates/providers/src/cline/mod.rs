//! Cline: sessions of version 4 and of the command line, and tasks of the extension before it.
//!
//! The two have nothing in common but the agent. Both are documents that are saved whole many times
//! a minute, so each is read in one pass that builds nothing: `session` reads the messages of a
//! session and the manifest beside them, `task` the entries of a task, `beside` what stands next
//! to a task and says what its entries do not.

mod beside;
mod session;
mod task;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures and real logs are files")]
mod tests;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use usage::{EventKey, Flags, Owner, Role, Skip, Source, Speed, Tokens, Usage, UsageEvent};

use self::session::Session;
use self::task::Task;
use crate::record::{Count, Json, Read};
use crate::vscode::{self, Place};
use crate::{Env, Provider, Storage};

const ID: &str = "cline";
const VERSION: u32 = 1;

/// The extension, as VS Code calls it.
const EXTENSION: &str = "saoudrizwan.claude-dev";

/// How the document of a session's messages is called after its session.
const MESSAGES: &str = ".messages.json";

/// The documents of a task: as they are called, and as they were at first.
const TASK_FILES: [&str; 2] = ["ui_messages.json", "claude_messages.json"];

/// The project of sessions and tasks that name no directory.
const NO_DIRECTORY: &str = "cline:unknown";

/// A string that says something: not missing, not empty, not endless.
type Text<'a> = Option<Cow<'a, str>>;

/// The extension of VS Code, the command line, and what else shares their data.
pub(crate) struct Cline;

impl Provider for Cline {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let data = directory(env, "CLINE_DATA_DIR")
            .or_else(|| directory(env, "CLINE_DIR").map(|dir| dir.join("data")))
            .unwrap_or_else(|| env.home.join(".cline/data"));
        let sessions = directory(env, "CLINE_SESSION_DATA_DIR");
        let mut roots = vec![sessions.unwrap_or_else(|| data.join("sessions")), data.join("tasks")];
        roots.extend(vscode::roots(env, EXTENSION));
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        is_session(root, path) || is_task(root, path)
    }

    fn place(&self, root: &Path) -> PathBuf {
        vscode::place(root, EXTENSION)
    }

    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        let (below, is_in_storage) = match Place::of(root, folder, EXTENSION) {
            Place::Above => return true,
            Place::Foreign => return false,
            Place::Inside(below) => (below, true),
            Place::Elsewhere => (folder.strip_prefix(root).unwrap_or(folder), false),
        };
        let below: Vec<&OsStr> = below.iter().collect();
        match below[..] {
            [] => true,
            [tasks] => tasks == "tasks",
            [kind, _] => kind == "tasks" || (kind == "sessions" && !is_in_storage),
            _ => false,
        }
    }

    fn storage(&self, path: &Path) -> Storage {
        let is_session = name_of(path).ends_with(MESSAGES);
        Storage::Document(if is_session { &Session } else { &Task })
    }
}

/// The directory that a variable names. Relative ones mean nothing here: they depend on where the
/// agent was started.
fn directory(env: &Env, name: &str) -> Option<PathBuf> {
    env.var(name).map(|dir| PathBuf::from(dir.trim())).filter(|dir| dir.is_absolute())
}

/// `<id>/<id>.messages.json`, and beside it one for each agent that works for the session.
fn is_session(root: &Path, path: &Path) -> bool {
    let Some(stem) = name_of(path).strip_suffix(MESSAGES) else { return false };
    let Some(folder) = path.parent() else { return false };
    let sessions = folder.parent();
    let is_among_sessions = sessions.is_some_and(|all| all == root || all.ends_with("sessions"));
    !stem.is_empty() && (name_of(folder) == stem || is_among_sessions)
}

/// `tasks/<id>/ui_messages.json`. Other extensions began as copies of this one: theirs look the same.
fn is_task(root: &Path, path: &Path) -> bool {
    let tasks = path.parent().and_then(Path::parent);
    TASK_FILES.contains(&name_of(path))
        && tasks.is_some_and(|tasks| tasks.ends_with("tasks"))
        && Place::of(root, path, EXTENSION) != Place::Foreign
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// The agent that really made a call and wrote a log of its own, by what the one that only passed
/// the call on names as its provider.
fn inner_agent(provider: &str) -> Option<&'static str> {
    match provider {
        "claude-code" => Some("claude-code"),
        "openai-codex-cli" => Some("codex"),
        "opencode" => Some("opencode"),
        _ => None,
    }
}

/// Reads a time in milliseconds.
fn time(json: &mut Json<'_>) -> Read<Option<i64>> {
    /// The end of the year 9999: later times have no text form.
    const MAX_MS: i64 = 253_402_300_799_999;
    Ok(match json.count()? {
        Count::Is(ms @ 0..=MAX_MS) => Some(ms),
        _ => None,
    })
}

/// The figures of a call, as both formats state them.
#[derive(Default)]
struct Figures<'a> {
    input: Count,
    output: Count,
    cache_read: Count,
    cache_create: Count,
    /// In dollars, as written, so that not a digit is lost.
    cost: Option<&'a str>,
}

impl Figures<'_> {
    /// The counts, where those of the cache are not part of the input.
    fn tokens(&self, flags: &mut Flags) -> Result<Tokens, Skip> {
        Ok(Tokens {
            input: self.input.clamped(flags)?,
            output: self.output.clamped(flags)?,
            cache_read: self.cache_read.clamped(flags)?,
            cache_create: self.cache_create.clamped(flags)?,
            ..Tokens::default()
        })
    }
}

/// Makes the events of one document. Whose they are is often known only at its end.
struct Author {
    provider: Arc<str>,
    source_id: i64,
    /// The last one: it is nearly always the next one too, and then shared.
    model: Arc<str>,
    nobody: Arc<str>,
}

impl Author {
    fn new(source: &Source) -> Self {
        let unknown = Usage::UNKNOWN_MODEL.into();
        Self { provider: ID.into(), source_id: source.id, model: unknown, nobody: "".into() }
    }

    fn call(
        &mut self,
        key: &str,
        ts_ms: i64,
        model: Option<&str>,
        (tokens, cost, flags): (Tokens, Option<i64>, Flags),
    ) -> UsageEvent {
        let model = model.unwrap_or(Usage::UNKNOWN_MODEL);
        if *self.model != *model {
            self.model = model.into();
        }
        let usage = Usage { logged_cost_nanousd: cost, tokens, flags, ..nothing(&self.model) };
        self.event(key, ts_ms, Role::Assistant, usage)
    }

    fn prompt(&self, key: &str, ts_ms: i64, flags: Flags) -> UsageEvent {
        self.event(key, ts_ms, Role::User, Usage { flags, ..nothing(&self.nobody) })
    }

    fn event(&self, key: &str, ts_ms: i64, role: Role, usage: Usage) -> UsageEvent {
        UsageEvent {
            key: EventKey::new(key),
            provider: self.provider.clone(),
            role,
            ts_ms,
            copy_rank: 0,
            owner: Owner {
                session_id: self.nobody.clone(),
                project: self.nobody.clone(),
                is_sidechain: false,
                account: None,
                agent: None,
                client: None,
                source_id: self.source_id,
            },
            usage,
            parser_version: VERSION,
        }
    }
}

fn nothing(model: &Arc<str>) -> Usage {
    Usage {
        model: model.clone(),
        speed: Speed::Standard,
        tokens: Tokens::default(),
        web_search_requests: 0,
        vendor: None,
        tier: None,
        geo: None,
        logged_cost_nanousd: None,
        flags: Flags::default(),
    }
}
