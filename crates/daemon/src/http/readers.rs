//! A few readers of the database, opened when first needed and lent to one question at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{ReadError, Reader};
use tokio::sync::{Semaphore, watch};

use super::connection::stopped;
use super::error::{Code, Problem};

/// Questions answered at once; further ones wait their turn.
const READERS: u32 = 4;

pub(super) struct Readers {
    data_dir: PathBuf,
    turns: Arc<Semaphore>,
    /// `None` once closed.
    idle: Mutex<Option<Vec<Reader>>>,
}

impl Readers {
    pub(super) fn new(data_dir: PathBuf) -> Self {
        let turns = Arc::new(Semaphore::new(READERS as usize));
        Self { data_dir, turns, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Puts a question to the database, on a thread that may wait for the disk.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Reader) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| closed())?;
        let readers = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            // Ends after the reader is back, however the question ends.
            let _turn = turn;
            let reader = readers.take()?;
            let answer = question(&reader)?;
            readers.put_back(reader);
            Ok(answer)
        });
        asked.await.unwrap_or_else(|e| {
            tracing::error!("a question to the database failed: {e}");
            Err(unreadable())
        })
    }

    /// Closes all readers once the daemon stops: the writer cannot empty its log while they read.
    pub(super) async fn close_at(&self, mut stop: watch::Receiver<bool>, patience: Duration) {
        stopped(&mut stop).await;
        *self.idle() = None;
        // Questions under way drop their readers themselves.
        _ = tokio::time::timeout(patience, self.turns.acquire_many(READERS)).await;
        self.turns.close();
    }

    fn take(&self) -> Result<Reader, Problem> {
        let idle = self.idle().as_mut().ok_or_else(closed)?.pop();
        idle.map_or_else(|| Ok(Reader::open(&self.data_dir)?), Ok)
    }

    /// A reader whose question failed does not come back: the next one starts afresh.
    fn put_back(&self, reader: Reader) {
        if let Some(idle) = self.idle().as_mut() {
            idle.push(reader);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<Reader>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::BadDay { .. } => Self::new(Code::BadParameter, detail),
            ReadError::BadCursor { .. } => Self::new(Code::BadCursor, detail),
            ReadError::NoSuchFilter { .. } => Self::new(Code::UnknownParameter, detail),
            ReadError::NoSuchColumn { columns, .. } => {
                Self::new(Code::BadParameter, detail).with_allowed(columns)
            }
            ReadError::Unknown { kind, value, known, .. } => {
                let place = match kind {
                    "provider" => "provider_day",
                    "model" => "model_day",
                    kind => kind,
                };
                let detail = format!(
                    "there is no {kind} `{value}` in what was counted; /api/v1/marts/{place} shows \
                     those there are"
                );
                Self::new(Code::UnknownValue, detail).with_allowed(known)
            }
            ReadError::TooSlow => Self::new(Code::Timeout, detail),
            _ => {
                tracing::error!("cannot answer from the database: {detail}");
                unreadable()
            }
        }
    }
}

fn closed() -> Problem {
    Problem::new(Code::Stopping, "the service is stopping")
}

fn unreadable() -> Problem {
    Problem::new(Code::Internal, "the database could not be read; the log says why")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::connection::LIMITS;
    use super::super::testing::{Database, Server, ago, daemon, soon};
    use super::*;

    /// Questions that hold all readers until the sender is dropped.
    async fn occupy(
        readers: &Arc<Readers>,
    ) -> (mpsc::Sender<()>, Vec<tokio::task::JoinHandle<()>>) {
        let (held, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (begun, mut under_way) = tokio::sync::mpsc::channel(READERS as usize);
        let mut questions = Vec::new();
        for _ in 0..READERS {
            let (readers, gate, begun) = (Arc::clone(readers), Arc::clone(&gate), begun.clone());
            questions.push(tokio::spawn(async move {
                let asked = readers.ask(move |_| {
                    begun.blocking_send(()).unwrap();
                    assert!(gate.lock().unwrap().recv().is_err());
                    Ok(())
                });
                asked.await.unwrap();
            }));
        }
        for _ in 0..READERS {
            soon(under_way.recv()).await.unwrap();
        }
        (held, questions)
    }

    #[tokio::test]
    async fn readers_are_kept_and_a_question_that_failed_loses_its_own() {
        let database = Database::new();
        let readers = Arc::new(Readers::new(database.data_dir().to_owned()));
        let kept = || readers.idle().as_ref().map(Vec::len);
        assert_eq!(kept(), Some(0), "opened when first needed");
        for _ in 0..3 {
            readers.ask(|reader| Ok(reader.seq()?)).await.unwrap();
            assert_eq!(kept(), Some(1));
        }
        readers.ask(|_| Err::<(), _>(unreadable())).await.unwrap_err();
        assert_eq!(kept(), Some(0));
        let panicked = readers.ask(|_| -> Result<(), Problem> { panic!("as the test wants") });
        assert_eq!(panicked.await.unwrap_err().code(), Code::Internal);
        readers.ask(|reader| Ok(reader.seq()?)).await.unwrap();
        assert_eq!(kept(), Some(1), "its turn came back");
    }

    #[tokio::test]
    async fn readers_are_closed_when_the_daemon_stops() {
        let database = Database::new();
        let readers = Arc::new(Readers::new(database.data_dir().to_owned()));
        let (held, questions) = occupy(&readers).await;
        let (stop, stopped) = watch::channel(false);
        let closing = Arc::clone(&readers);
        let closing = tokio::spawn(async move { closing.close_at(stopped, LIMITS.drain).await });
        stop.send_replace(true);
        let closed = async {
            while readers.idle().is_some() {
                tokio::task::yield_now().await;
            }
        };
        soon(closed).await;
        assert!(!closing.is_finished(), "questions under way are waited for");
        drop(held);
        for question in questions {
            soon(question).await.unwrap();
        }
        soon(closing).await.unwrap();
        assert!(readers.idle().is_none(), "none came back");
        let refused = readers.ask(|_| Ok(())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Stopping);
    }

    #[tokio::test]
    async fn a_question_that_waits_too_long_is_refused() {
        let database = Database::new();
        let (_parts, live) = daemon(database.data_dir());
        let limits =
            super::super::connection::Limits { answer: Duration::from_millis(20), ..LIMITS };
        let server = Server::start_within(limits, live).await;
        let (held, _questions) = occupy(&server.app.readers).await;
        let reply = server.get("/api/v1/marts/daily").await;
        assert_eq!(reply.refusal(), (503, "timeout".to_owned()));
        assert_eq!(reply.header("retry-after"), Some("1"));
        drop(held);
        server.stop().await;
    }

    #[tokio::test]
    async fn h58_health_does_not_wait_for_the_database() {
        let database = Database::new();
        let (parts, live) = daemon(database.data_dir());
        let server = Server::start(live).await;
        // The writer holds the lock for good, and every reader is taken.
        let lock = database.hold_the_write_lock();
        let (held, _questions) = occupy(&server.app.readers).await;
        parts.writer.send_modify(|writer| writer.heartbeat = Some(ago(60_000)));
        // What the machine takes, beside other tests, shows in answers that nothing is looked up for.
        let all = [("/none", 404), ("/health", 503), ("/livez", 503), ("/readyz", 200)];
        let mut took = all.map(|_| Vec::new());
        for _ in 0..100 {
            for ((path, expect), took) in all.iter().zip(&mut took) {
                let started = std::time::Instant::now();
                let reply = server.get(path).await;
                took.push(started.elapsed());
                assert_eq!(reply.status, *expect, "{path} knows that the writer stands still");
            }
        }
        let [plain, took @ ..] = took.map(|mut took| {
            took.sort_unstable();
            took[50]
        });
        for (took, (path, _)) in took.iter().zip(&all[1..]) {
            assert!(*took < plain + Duration::from_millis(5), "{path}: {took:?}, {plain:?}");
        }
        drop((held, lock));
        server.stop().await;
    }
}
