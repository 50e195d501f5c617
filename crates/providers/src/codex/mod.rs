//! Codex: one file per thread, with a line for everything that happens in it.
//!
//! A model call is stated twice at most: exactly by a `token_usage_record` (newer versions), and by
//! what it adds to the running totals of a `token_count`. Each call becomes one event, from the
//! record where there is one. `last_token_usage` looks handier than the totals but is repeated,
//! estimated and cut short; it only starts a series and confirms that one starts over.
//!
//! A fork's file may begin with its parent's history. Copied calls, prompts and foreign records are
//! left out silently: they are no faults, and the parent's file counts them.
//!
//! `line` reads lines, `lineage` finds the end of a copied history, `rollout` decides what is a call,
//! `unmatched` pairs records with totals, `thread` makes the events. Reading `config.toml` is left out: a thread
//! without a logged service tier is taken as standard.

mod counts;
mod line;
mod lineage;
mod rollout;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures and real logs are files")]
mod tests;
mod thread;
mod unmatched;

use std::path::{Path, PathBuf};

use usage::Source;

use self::line::{Line, Record};
use self::rollout::Rollout;
use crate::record::{Json, MAX_REPEATS};
use crate::{Appended, Around, Counter, Env, ParseLine, Provider, Series, Storage, Ties};

const ID: &str = "codex";
const VERSION: u32 = 2;

/// Codex CLI, and every editor or app that drives it.
pub(crate) struct Codex;

impl Provider for Codex {
    fn id(&self) -> &'static str {
        ID
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn roots(&self, env: &Env) -> Vec<PathBuf> {
        let home = env.var("CODEX_HOME").map_or_else(|| env.home.join(".codex"), PathBuf::from);
        vec![home.join("sessions"), home.join("archived_sessions")]
    }

    fn is_source(&self, _root: &Path, path: &Path) -> bool {
        stem(path).is_some()
    }

    fn storage(&self, _path: &Path) -> Storage {
        Storage::Appended(&Self)
    }
}

impl Appended for Codex {
    fn begin(&self, source: &Source, _around: &Around, state: &str) -> Box<dyn ParseLine> {
        Box::new(Rollout::resume(source, state))
    }

    fn name<'p>(&self, path: &'p Path) -> Option<&'p str> {
        // A long thread goes on in files that add a second id to its own.
        thread_in_name(path)
    }

    fn series(&self, line: &[u8], series: &mut Series) {
        if !line::may_count(line) {
            return;
        }
        let mut json = Json::new(line);
        json.skip_nuls();
        for _ in 0..MAX_REPEATS {
            if json.peek().is_none() {
                return;
            }
            let Ok(object) = Line::read(&mut json) else { return };
            let Some(Line { ts_ms, record: Record::TokenCount(count), .. }) = object else {
                continue;
            };
            if let Some(digest) = count.digest()
                && series.last().is_none_or(|last| last.digest != digest)
            {
                // Without a time it is never later than anything.
                series.push(Counter { digest, ms: ts_ms.unwrap_or(i64::MIN) });
            }
        }
    }

    fn ties(&self, state: &str) -> Ties {
        rollout::ties(state)
    }
}

/// The name of a rollout file without its extension; `None` for other files.
fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".zst").unwrap_or(name);
    name.strip_suffix(".jsonl")?.strip_prefix("rollout-")
}

/// The thread id in a file's name: `<date and time>-<thread>` or `<date and time>-<thread>_<part>`.
fn thread_in_name(path: &Path) -> Option<&str> {
    const TIME_LEN: usize = "2026-01-31T00-00-00-".len();
    let name = stem(path)?.get(TIME_LEN..)?;
    name.split('_').next().filter(|id| !id.is_empty())
}
