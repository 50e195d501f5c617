//! What the clients of the stream share: one look at the database for each refresh of the marts,
//! taken only while there is a client.
//!
//! Only the newest look is kept. A client that has not followed the one before asks for all that it
//! missed in one, so that nobody is fed a backlog and nobody slows down the others.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::json;
use store::{Moment, News};
use tokio::sync::watch;

use super::connection::stopped;
use super::error::{Code, Problem};
use super::readers::Readers;
use crate::commands::{figure_columns, object};
use crate::live::Live;

/// How long to wait after a question that the database did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// One refresh, as clients are told of it.
#[derive(Clone, Debug)]
pub(super) struct Refresh {
    /// Whom it is enough for: clients that have followed the marts that far.
    after: i64,
    pub(super) seen: Seen,
    pub(super) text: Bytes,
}

/// How far a client has followed the marts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    moment: Moment,
    /// The sum of all watermarks: it grows whichever mart moves, also while another one cannot.
    progress: i64,
}

/// What the newest refresh is to a client.
pub(super) enum Step {
    Known,
    Next(Refresh),
    /// There were others between.
    Missed,
}

pub(super) struct Hub {
    live: Live,
    readers: Arc<Readers>,
    stop: watch::Receiver<bool>,
    most_clients: usize,
    clients: watch::Sender<usize>,
    newest: watch::Sender<Option<Refresh>>,
}

impl Hub {
    pub(super) fn new(
        live: Live,
        readers: Arc<Readers>,
        stop: watch::Receiver<bool>,
        most_clients: usize,
    ) -> Self {
        let (clients, newest) = (watch::Sender::new(0), watch::Sender::new(None));
        Self { live, readers, stop, most_clients, clients, newest }
    }

    /// Follows the marts until the daemon stops.
    pub(super) async fn run(&self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = stopped(&mut stop) => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut clients = self.clients.subscribe();
        while clients.wait_for(|clients| *clients > 0).await.is_ok() {
            // There is no client before the database is open.
            let Some(store) = self.live.store.get() else { return };
            let mut refreshed = store.refreshed.clone();
            let mut seen: Option<Seen> = None;
            loop {
                refreshed.mark_unchanged();
                let is_known = match self.news(seen.map(|seen| seen.moment)).await {
                    Ok(news) => {
                        self.publish(seen, &news);
                        seen = Some(Seen::of(&news));
                        true
                    }
                    Err(_) => false,
                };
                tokio::select! {
                    changed = refreshed.changed(), if is_known => if changed.is_err() { return },
                    () = tokio::time::sleep(AGAIN), if !is_known => {}
                    _ = clients.wait_for(|clients| *clients == 0) => break,
                }
            }
        }
    }

    fn publish(&self, before: Option<Seen>, news: &News) {
        let seen = Seen::of(news);
        // The first look is nobody's next one: it only tells clients that they may have missed some.
        let after = before.map_or(seen.progress, |before| before.progress);
        if before.is_none_or(|before| before.progress < seen.progress) {
            self.newest.send_replace(Some(Refresh { after, seen, text: text_of(news) }));
        }
    }

    /// All that changed since a client looked, and whether it is anything.
    pub(super) async fn catch_up(&self, since: Option<Moment>) -> Result<(Refresh, bool), Problem> {
        let news = self.news(since).await?;
        let seen = Seen::of(&news);
        Ok((Refresh { after: seen.progress, seen, text: text_of(&news) }, news.is_new))
    }

    async fn news(&self, since: Option<Moment>) -> Result<News, Problem> {
        let now_ms = (self.live.now_ms)();
        self.readers.ask(move |reader| Ok(reader.news(since, now_ms)?)).await
    }

    /// A place for one more client, until it is dropped.
    pub(super) fn place(self: &Arc<Self>) -> Result<Place, Problem> {
        let has_place = self.clients.send_if_modified(|clients| {
            let has_place = *clients < self.most_clients;
            *clients += usize::from(has_place);
            has_place
        });
        if !has_place {
            let detail = format!("{} streams are open, which is the most", self.most_clients);
            return Err(Problem::new(Code::TooManyStreams, detail));
        }
        Ok(Place {
            newest: self.newest.subscribe(),
            stop: self.stop.clone(),
            hub: Arc::clone(self),
        })
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> watch::Receiver<usize> {
        self.clients.subscribe()
    }
}

/// The place of one client.
pub(super) struct Place {
    pub(super) hub: Arc<Hub>,
    pub(super) newest: watch::Receiver<Option<Refresh>>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.clients.send_modify(|clients| *clients -= 1);
    }
}

impl Seen {
    fn of(news: &News) -> Self {
        let progress = news.watermarks.iter().map(|mart| mart.last_event_id).sum();
        Self { moment: news.now, progress }
    }

    pub(super) fn moment(&self) -> Moment {
        self.moment
    }

    pub(super) fn step(&self, newest: Refresh) -> Step {
        if newest.seen.progress <= self.progress {
            Step::Known
        } else if newest.after <= self.progress {
            Step::Next(newest)
        } else {
            Step::Missed
        }
    }
}

/// A refresh as a server-sent event.
fn text_of(news: &News) -> Bytes {
    let Moment { epoch, position } = news.now;
    let watermarks: serde_json::Map<_, _> = news
        .watermarks
        .iter()
        .map(|of| (of.mart.trim_end_matches("_mart").to_owned(), of.last_event_id.into()))
        .collect();
    let day = [("day", news.today.to_string().into())];
    let today = object(day.into_iter().chain(figure_columns(&news.figures_today)));
    let data = json!({
        "epoch": epoch,
        "position": position,
        "watermarks": watermarks,
        "today": today,
        "all_changed": news.dirty_days.is_none(),
        "dirty_days": news.dirty_days.as_deref().unwrap_or_default(),
    });
    // JSON holds no line break, so the event is of one line.
    format!("event: refresh\nid: {epoch}-{position}\ndata: {data}\n\n").into()
}
