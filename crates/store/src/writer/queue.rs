//! The bounded way to the writer.
//!
//! Room is counted in rows, not in jobs: what waits then never takes more than a known amount of
//! memory, and many small reads still fill a transaction that is worth its commit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Job, Stopped};

/// Hands jobs to the writer. It ends when the last sender is dropped and all they sent is done.
#[derive(Clone, Debug)]
pub struct JobSender {
    jobs: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    rows: u32,
}

/// A job, and the room it takes until the writer has it.
#[derive(Debug)]
struct Waiting {
    job: Job,
    _room: OwnedSemaphorePermit,
}

/// The writer's end. Whoever waits for room when it is dropped is told that there will be none.
#[derive(Debug)]
pub(super) struct Jobs {
    waiting: mpsc::UnboundedReceiver<Waiting>,
    room: Arc<Semaphore>,
}

/// A queue with room for so many rows. A job with more of them waits until it is empty.
pub(super) fn queue(rows: u32) -> (JobSender, Jobs) {
    let (jobs, waiting) = mpsc::unbounded_channel();
    let rows = rows.max(1);
    let room = Arc::new(Semaphore::new(rows as usize));
    let taken = Jobs { waiting, room: Arc::clone(&room) };
    (JobSender { jobs, room, rows }, taken)
}

impl JobSender {
    /// Waits while the writer is behind.
    pub async fn send(&self, job: Job) -> Result<(), Stopped> {
        let rows = u32::try_from(job.rows()).unwrap_or(u32::MAX).min(self.rows);
        let taken = Arc::clone(&self.room).acquire_many_owned(rows).await;
        let room = taken.map_err(|_| Stopped)?;
        self.jobs.send(Waiting { job, _room: room }).map_err(|_| Stopped)
    }
}

impl Jobs {
    pub(super) async fn recv(&mut self) -> Option<Job> {
        Some(self.waiting.recv().await?.job)
    }

    pub(super) fn try_recv(&mut self) -> Option<Job> {
        Some(self.waiting.try_recv().ok()?.job)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nobody is left to send anything.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting.is_closed()
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.room.close();
    }
}
