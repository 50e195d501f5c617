//! Bytes of any kind on a connection: hyper's head, the guard, the parameters of the query.
//!
//! What passes the guard has shown a loopback name and asks for nothing but reading.

#![no_main]

#[path = "../../crates/daemon/src/http"]
#[expect(dead_code, reason = "the daemon uses the rest")]
mod http {
    use http_body_util::Full;
    use hyper::StatusCode;
    use hyper::body::Bytes;
    use hyper::http::request::Parts;

    mod error;
    mod guard;
    mod query;

    pub(super) type Response = hyper::Response<Full<Bytes>>;

    const PARAMETERS: [&str; 6] = ["cursor", "limit", "model", "project", "provider", "since"];

    pub(super) fn answer(request: &Parts) -> Response {
        let guard = guard::Guard::new(([127, 0, 0, 1], 8474).into());
        if let Err(problem) = guard.check(request) {
            return problem.into();
        }
        let host = request.headers["host"].as_bytes().to_ascii_lowercase();
        assert!(host.ends_with(b":8474"), "passed the guard: {request:?}");
        assert!(["GET", "HEAD"].contains(&request.method.as_str()), "{request:?}");
        match query::parse(request.uri.query(), &PARAMETERS) {
            Ok(parameters) => json(StatusCode::OK, &parameters),
            Err(problem) => problem.into(),
        }
    }

    fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
        let mut response = Response::new(Full::new(serde_json::to_vec(body).unwrap().into()));
        *response.status_mut() = status;
        response
    }
}

use std::convert::Infallible;
use std::io::Cursor;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut sent = Vec::new();
        let stream = tokio::io::join(Cursor::new(data), Cursor::new(&mut sent));
        let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
            let (head, _) = request.into_parts();
            async move { Ok::<_, Infallible>(http::answer(&head)) }
        });
        // Bytes that end early, or are no request, end the connection with an error.
        _ = Builder::new()
            .max_buf_size(16 << 10)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        assert!(sent.is_empty() || sent.starts_with(b"HTTP/1."));
    });
});
