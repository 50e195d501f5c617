//! Refusals and failures, as `application/problem+json` (RFC 9457) with a stable `code`.

use hyper::StatusCode;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::{Response, json};

/// Why a request was not answered. Scripts match on these: a name, once released, stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    BadHost,
    WrongHost,
    CrossSite,
    MethodNotAllowed,
    BodyNotAllowed,
    NotFound,
    UnknownMart,
    UnknownParameter,
    BadParameter,
    BadCursor,
    UnknownValue,
    TooManyStreams,
    Starting,
    Stopping,
    Timeout,
    Internal,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::WrongHost => "wrong_host",
            Self::CrossSite => "cross_site",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyNotAllowed => "body_not_allowed",
            Self::NotFound => "not_found",
            Self::UnknownMart => "unknown_mart",
            Self::UnknownParameter => "unknown_parameter",
            Self::BadParameter => "bad_parameter",
            Self::BadCursor => "bad_cursor",
            Self::UnknownValue => "unknown_value",
            Self::TooManyStreams => "too_many_streams",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadHost
            | Self::UnknownMart
            | Self::UnknownParameter
            | Self::BadParameter
            | Self::BadCursor
            | Self::UnknownValue => StatusCode::BAD_REQUEST,
            Self::CrossSite => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyNotAllowed => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooManyStreams | Self::Starting | Self::Stopping | Self::Timeout => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// What the client is told instead of an answer. Inner detail goes to the log, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    /// What could have been said instead.
    allowed: Vec<String>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), allowed: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn with_allowed(mut self, allowed: impl IntoIterator<Item = impl ToString>) -> Self {
        self.allowed = allowed.into_iter().map(|value| value.to_string()).collect();
        self
    }
}

/// The members of the document; `title` is the status's own phrase, as `about:blank` asks.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    allowed: &'a [String],
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let status = problem.code.status();
        let document = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: problem.code.as_str(),
            detail: &problem.detail,
            allowed: &problem.allowed,
        };
        let mut response = json(status, &document);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_their_code_and_say_when_to_come_back() {
        let problem = Problem::new(Code::Starting, "the database is being opened");
        let response = Response::from(problem);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let problem = Problem::new(Code::MethodNotAllowed, "no").with_allowed(["GET"]);
        let response = Response::from(problem);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "GET, HEAD");
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }
}
