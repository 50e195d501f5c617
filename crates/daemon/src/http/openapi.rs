//! `/api/v1/openapi.json`: what all of this is, for programs.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{Response, with_body};

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

pub(super) fn get() -> Response {
    let mut response = with_body(StatusCode::OK, DOCUMENT);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
