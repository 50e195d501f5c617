//! Coding agents: bytes in, usage events out.
//!
//! One file per provider, one entry in [`ALL`]. A provider says where its sources are and how their
//! records are parsed. It opens no file, reads no clock and no environment: bytes, connections, paths
//! and variables are handed in. Parsing never fails: what cannot be counted is a skip with its reason.

mod claude_code;
mod cline;
mod codex;
mod copilot;
mod gemini_cli;
mod goose;
mod kilo_code;
mod kimi;
mod openclaw;
mod opencode;
mod parts;
mod pi;
mod qwen_code;
mod record;
mod roo_code;
mod roo_tasks;
mod sqlite;
mod storage;
mod tasks;
#[cfg(test)]
mod testing;
mod vscode;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use storage::{
    Appended, Around, Counter, Database, DatabaseError, Document, Lean, ParseLine, Parsed,
    Progress, Series, Storage, Surroundings, Ties, Torn, nowhere,
};

/// All providers, in alphabetical order.
pub const ALL: &[&dyn Provider] = &[
    &claude_code::ClaudeCode,
    &cline::Cline,
    &codex::Codex,
    &gemini_cli::GeminiCli,
    &copilot::Copilot,
    &goose::Goose,
    &kilo_code::KiloCode,
    &kimi::Kimi,
    &openclaw::OpenClaw,
    &opencode::OpenCode,
    &pi::Pi,
    &qwen_code::QwenCode,
    &roo_code::RooCode,
];

/// A coding agent whose usage is read.
pub trait Provider: Sync {
    /// Stable name, stored with every event: `"codex"`.
    fn id(&self) -> &'static str;

    /// Bumped when parsing changes: sources are then read again from their start.
    fn version(&self) -> u32;

    /// Folders to watch. They need not exist yet.
    fn roots(&self, env: &Env) -> Vec<PathBuf>;

    /// Whether a file under a root is one of this provider's sources.
    fn is_source(&self, root: &Path, path: &Path) -> bool;

    /// The part of a root that is looked into, as it is shown to people: the root itself, unless
    /// that is a folder of many programs.
    fn place(&self, root: &Path) -> PathBuf {
        root.to_owned()
    }

    /// Whether a folder below a root may hold sources. Others are neither listed nor watched.
    fn looks_into(&self, _root: &Path, _folder: &Path) -> bool {
        true
    }

    /// How the source at `path` is stored, and so how it is read and resumed.
    fn storage(&self, path: &Path) -> Storage;

    /// What the figures of the source at `path` are.
    fn quality(&self, _path: &Path) -> Quality {
        Quality::PerCall
    }
}

/// What the figures of a source are, so that nobody takes an estimate for a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Reported by the model, one record per call.
    PerCall,
    /// Reported by the model, one record per prompt.
    PerTurn,
    /// A counter that only grows: what is added to it is dated when it is seen.
    Cumulative,
    /// Money or credits without tokens.
    CostOnly,
    /// Nothing the model reported.
    Estimated,
}

impl Quality {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PerCall => "per_call",
            Self::PerTurn => "per_turn",
            Self::Cumulative => "cumulative",
            Self::CostOnly => "cost_only",
            Self::Estimated => "estimated",
        }
    }

    /// The same for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::PerCall => "per call",
            Self::PerTurn => "per turn",
            Self::Cumulative => "cumulative (sums of calls)",
            Self::CostOnly => "cost only",
            Self::Estimated => "estimated",
        }
    }
}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The user's home folder and environment, as the daemon was given them.
#[derive(Clone, Debug, Default)]
pub struct Env {
    pub home: PathBuf,
    pub vars: BTreeMap<String, String>,
}

impl Env {
    /// The value of a variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}
