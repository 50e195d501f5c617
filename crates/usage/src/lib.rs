//! The words every crate speaks: what a usage event is, how two records of one call become one,
//! what a source's checkpoint holds, what a call costs.
//!
//! No I/O, no clock, no environment: everything here is a value or a pure function.

mod event;
mod key;
mod merge;
pub mod pricing;
mod source;

pub use event::{CostSource, Flags, Owner, Role, Speed, Tokens, Usage, UsageEvent};
pub use key::{EventKey, digest22};
pub use merge::{merge, originality};
pub use source::{Batch, Checkpoint, Fingerprint, Skip, Skips, Source};
