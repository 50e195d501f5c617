//! Sources that are not lines: what a turn needs to read them.

use std::sync::Arc;

use providers::Provider;
use usage::{Checkpoint, Source};

use crate::surroundings::Disk;

/// A document or a database, about to be read.
pub(crate) struct Whole<'a> {
    pub(crate) source: &'a Source,
    pub(crate) provider: &'static dyn Provider,
    /// Where the last turn ended.
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) reread: bool,
    pub(crate) around: &'a Arc<Disk>,
    /// How many turns before this one have failed in a way that may pass.
    pub(crate) attempt: u32,
}

impl Whole<'_> {
    /// Whether all that was read has to be read again.
    pub(crate) fn is_new(&self) -> bool {
        self.reread || self.checkpoint.parser_version != self.provider.version()
    }

    /// The checkpoint of a source that can be read.
    pub(crate) fn read_checkpoint(&self) -> Checkpoint {
        Checkpoint {
            path: self.source.path.clone(),
            parser_version: self.provider.version(),
            last_error: None,
            missing_since_ms: None,
            ..self.checkpoint.clone()
        }
    }
}
