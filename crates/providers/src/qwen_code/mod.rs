//! Qwen Code: a transcript per session, and beside them all a ledger with a line for each call.
//!
//! A call stands in up to three records: a note of the response in the transcript, which is the
//! agent's own telemetry; the answer that was made of it, in the transcript as well; and its line in
//! the ledger of the month. The note and the ledger's line are written from one object, so they have
//! the same key, made from the session and from all that both say: whichever is read first, and
//! whichever is lost, the call counts once. Calls that the agent makes on the side stand in the ledger
//! alone; so do all calls of a session whose transcript has gone. Answers count only before the first
//! note, and not the one that it notes: transcripts of older versions have no notes.
//!
//! The agent began as a copy of Gemini CLI, and its oldest sessions are documents of that form.
//!
//! `counts` knows what the figures mean, `line` reads the fields of a transcript's records and
//! `transcript` says what they state, `ledger` reads the ledger, `document` the old sessions. Left
//! out is what states the same calls once more: `usage_record.jsonl` with a sum for each session, and
//! the transcripts of subagents, whose calls are noted in the transcript of their session.

mod counts;
mod document;
mod ledger;
mod line;
#[cfg(test)]
mod tests;
mod transcript;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use usage::{Flags, Source, Tokens, Usage};

use self::document::Sessions;
use self::ledger::Ledger;
use self::transcript::Transcript;
use crate::{Appended, Around, Env, ParseLine, Provider, Storage};

const ID: &str = "qwen-code";
const VERSION: u32 = 1;

/// The project of calls of which nothing but the session is known.
const NO_FOLDER: &str = "qwen-code:unknown";

/// The agent's folder.
const HOME: &str = ".qwen";
/// In it: the ledger, a file for each month.
const LEDGER: &str = "usage";
/// A folder for each project.
const PROJECTS: &str = "projects";
/// A folder for each project in older versions.
const OLD_PROJECTS: &str = "tmp";
/// In the folder of a project: its sessions.
const CHATS: &str = "chats";
/// Among them: sessions that were put away.
const ARCHIVE: &str = "archive";

pub(crate) struct QwenCode;

impl Provider for QwenCode {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let mut roots = vec![env.home.join(HOME)];
        for name in ["QWEN_HOME", "QWEN_RUNTIME_DIR"] {
            let Some(dir) = env.var(name) else { continue };
            let dir = match dir.strip_prefix('~') {
                Some(below) => env.home.join(below.trim_start_matches('/')),
                None => dir.into(),
            };
            // Rebuilt from its components, so that one folder has one spelling.
            let dir: PathBuf = dir.components().collect();
            if dir.is_absolute() && !roots.contains(&dir) {
                roots.push(dir);
            }
        }
        roots
    }

    fn is_source(&self, root: &Path, path: &Path) -> bool {
        Place::of(root, path).is_some()
    }

    /// Programs, snapshots of projects and whole working trees are in the agent's folder as well.
    fn looks_into(&self, root: &Path, folder: &Path) -> bool {
        matches!(
            in_home(root, folder).as_deref(),
            Some(
                [] | [LEDGER | PROJECTS | OLD_PROJECTS]
                    | [PROJECTS | OLD_PROJECTS, _]
                    | [PROJECTS | OLD_PROJECTS, _, CHATS]
                    | [PROJECTS, _, CHATS, ARCHIVE]
            )
        )
    }

    fn storage(&self, path: &Path) -> Storage {
        if path.extension().is_some_and(|extension| extension == "json") {
            Storage::Document(&Sessions)
        } else {
            Storage::Appended(&Self)
        }
    }
}

impl Appended for QwenCode {
    fn begin(&self, source: &Source, around: &Around, state: &str) -> Box<dyn ParseLine> {
        if is_ledger(&source.path) {
            Box::new(Ledger::resume(source, Arc::clone(around), state))
        } else {
            Box::new(Transcript::resume(source, state))
        }
    }
}

/// What a source is, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ledger,
    Transcript,
    OldSession,
}

impl Place {
    fn of(root: &Path, path: &Path) -> Option<Self> {
        match in_home(root, path)?.as_slice() {
            [LEDGER, file] => is_month(file.strip_prefix(MONTH)?).then_some(Self::Ledger),
            [PROJECTS, _, CHATS, file] | [PROJECTS, _, CHATS, ARCHIVE, file] => {
                is_session(file.strip_suffix(".jsonl")?).then_some(Self::Transcript)
            }
            [OLD_PROJECTS, _, CHATS, file] => {
                let name = file.strip_prefix("session-")?.strip_suffix(".json")?;
                (!name.is_empty()).then_some(Self::OldSession)
            }
            _ => None,
        }
    }
}

/// How the name of a ledger begins.
const MONTH: &str = "token-usage-";

/// `<year>-<month>.jsonl`
fn is_month(name: &str) -> bool {
    name.strip_suffix(".jsonl").is_some_and(|month| {
        month.len() == 7 && month.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    })
}

fn is_ledger(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MONTH))
}

/// Whether it is what the agent takes for the id of a session. Other files beside the transcripts
/// are named after one, too, and then some.
fn is_session(name: &str) -> bool {
    (32..=36).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The names that lead from the agent's folder to `path`. That folder is the root, or is below it and
/// called as it usually is.
fn in_home<'a>(root: &Path, path: &'a Path) -> Option<Vec<&'a str>> {
    const OWN: [&str; 4] = [HOME, LEDGER, PROJECTS, OLD_PROJECTS];

    let below = path.strip_prefix(root).ok()?;
    let names: Vec<&str> = below.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
    // What is in a project's folder is none of the agent's, whatever it is called.
    let at = names.iter().position(|name| OWN.contains(name));
    let home = at.filter(|at| names[*at] == HOME).map_or(0, |at| at + 1);
    Some(names[home..].to_vec())
}

/// What a call used. Of a prompt everything is nothing.
fn usage(model: Arc<str>, tokens: Tokens, flags: Flags) -> Usage {
    Usage { tokens, flags, ..Usage::of(model) }
}
