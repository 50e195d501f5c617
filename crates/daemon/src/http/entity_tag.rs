//! Entity tags: a poll that would get what it has already gets a 304 instead.

use std::fmt::{Debug, Display};

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ETAG, HeaderValue, IF_NONE_MATCH};

use super::{Response, with_body};

/// Tells one answer from all others.
pub(super) struct EntityTag(String);

impl EntityTag {
    /// Of an answer to `question` at a position of the log. The question stands for the program, too:
    /// its next version may answer it in another shape.
    pub(super) fn of(name: impl Display, epoch: i64, position: i64, question: &impl Debug) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let asked = usage::digest22(format!("{version}{question:?}").as_bytes());
        Self(format!("\"{name}-{epoch}-{position}-{asked}\""))
    }

    /// Of a file with this digest, in the form that it is sent in.
    pub(super) fn of_file(digest: &str, coding: &str) -> Self {
        Self(format!("\"{digest}-{coding}\""))
    }

    pub(super) fn put_on(&self, mut response: Response) -> Response {
        // A tag is ASCII, so it always is a header's value.
        if let Ok(tag) = HeaderValue::from_str(&self.0) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }

    pub(super) fn not_modified(&self) -> Response {
        self.put_on(with_body(StatusCode::NOT_MODIFIED, Bytes::new()))
    }
}

/// The entity tags of answers that the client still has.
pub(super) struct Known(Vec<String>);

impl Known {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
        let tags = lists.flat_map(|list| list.split(',')).map(|tag| {
            // Proxies that compress weaken a tag; for a GET that makes no difference.
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag).to_owned()
        });
        Self(tags.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the client has this very answer.
    pub(super) fn has(&self, tag: &EntityTag) -> bool {
        self.0.contains(&tag.0)
    }

    /// Whether it has some answer: `*`, which says nothing of what was asked, so that the question
    /// has to be looked at first.
    pub(super) fn has_any(&self) -> bool {
        self.0.iter().any(|known| known == "*")
    }
}
