//! `/api/v1/stream`: server-sent events, one `refresh` for each refresh of the marts.
//!
//! An event's id is `<epoch>-<position>`. Whoever comes back with the last one it saw is told at
//! once, in one event, what it missed.

use std::time::Duration;

use futures_util::{Stream, stream};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use store::Moment;
use tokio::time::sleep;

use super::body::Body;
use super::connection::stopped;
use super::error::{Code, Problem};
use super::hub::{Place, Seen, Step};
use super::{App, Response, query};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells clients to come back a second after they lost the connection.
const RETRY: &str = "retry: 1000\n\n";
/// A comment: it keeps proxies from closing, and shows us clients that are gone.
const HEARTBEAT: &str = ": still here\n\n";

pub(super) async fn get(
    app: &App,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    query::parse(query, &[])?;
    let since = last_event_id(headers)?;
    // The place comes before the look at the marts: from then on no refresh passes unseen.
    let place = app.hub.place()?;
    let (now, is_new) = app.hub.catch_up(since).await?;
    let mut first = RETRY.as_bytes().to_vec();
    if is_new {
        first.extend_from_slice(&now.text);
    }
    let client =
        Client { place, seen: now.seen, first: Some(first.into()), heartbeat: app.heartbeat };
    let mut response = Response::new(Body::pieces(client.pieces()));
    *response.status_mut() = StatusCode::OK;
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Moment>, Problem> {
    let mut ids = headers.get_all(LAST_EVENT_ID).iter();
    let Some(id) = ids.next() else { return Ok(None) };
    let moment = id.to_str().ok().filter(|_| ids.next().is_none()).and_then(parse_id);
    moment.map(Some).ok_or_else(|| {
        let detail = "`Last-Event-ID` must be the id of an event of this stream, like 1-42";
        Problem::new(Code::BadParameter, detail).with_allowed(["<epoch>-<position>"])
    })
}

fn parse_id(id: &str) -> Option<Moment> {
    let number = |text: &str| -> Option<i64> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    };
    let (epoch, position) = id.split_once('-')?;
    Some(Moment { epoch: number(epoch)?, position: number(position)? })
}

/// One client of the stream.
struct Client {
    place: Place,
    seen: Seen,
    first: Option<Bytes>,
    heartbeat: Duration,
}

impl Client {
    fn pieces(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, async |mut client| Some((client.next().await?, client)))
    }

    /// The next piece; `None` ends the stream, and the client comes back.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let mut stop = self.place.stop.clone();
        loop {
            let heartbeat = sleep(self.heartbeat);
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return None,
                changed = self.place.newest.changed() => changed.ok()?,
                () = heartbeat => return Some(Bytes::from_static(HEARTBEAT.as_bytes())),
            }
            let newest = self.place.newest.borrow_and_update().clone()?;
            let refresh = match self.seen.step(newest) {
                Step::Known => continue,
                Step::Next(refresh) => refresh,
                Step::Missed => tokio::select! {
                    () = stopped(&mut stop) => return None,
                    merged = self.place.hub.catch_up(Some(self.seen.moment())) => merged.ok()?.0,
                },
            };
            self.seen = refresh.seen;
            return Some(refresh.text);
        }
    }
}
