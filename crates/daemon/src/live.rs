//! What the running daemon shows of itself: receivers of the snapshots that its parts publish.
//!
//! Health is answered from these, never from a query, so that it tells the truth while the writer
//! is busy or stuck.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::watch;

use crate::budgets::Standing;

/// Where the daemon is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Opening the database, migrating.
    Starting,
    /// Up and watching; the first backfill is not in the marts yet.
    Backfilling,
    /// Everything that existed at the start is in the marts.
    Ready,
    Stopping,
}

/// The parts of the daemon, as its listeners see them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) ingest: watch::Receiver<ingest::Status>,
    /// Set once the database is open.
    pub(crate) store: Arc<OnceLock<StoreView>>,
    pub(crate) data_dir: PathBuf,
    /// The configuration that was asked for last and refused, with the reason.
    pub(crate) config_error: watch::Receiver<Option<String>>,
    /// Agents that are switched off in the configuration.
    pub(crate) switched_off: watch::Receiver<Vec<&'static str>>,
    /// How the budgets stood when they were last looked up.
    pub(crate) budgets: watch::Receiver<Vec<Standing>>,
    pub(crate) now_ms: fn() -> i64,
    pub(crate) started: Instant,
}

/// The database as its writer shows it.
#[derive(Clone, Debug)]
pub(crate) struct StoreView {
    pub(crate) status: watch::Receiver<store::WriterStatus>,
    /// Changes with every refresh of the marts.
    pub(crate) refreshed: watch::Receiver<store::Refreshed>,
}
