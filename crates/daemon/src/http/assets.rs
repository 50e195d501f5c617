//! Files of pages: found by path, sent as the client takes them best, unless it has them already.
//!
//! `build.rs` makes most of them, with their compressed forms beside them.

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderValue, VARY,
};

use super::entity_tag::{EntityTag, Known};
use super::{Response, plain, with_body};

/// What the page may load and do: only what comes from here, and text cannot become a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// The page as it was built with this program: none where Node.js was not there.
const PAGE: &[File] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

#[derive(Clone, Copy)]
pub(super) struct File {
    pub(super) path: &'static str,
    /// Its content type.
    pub(super) kind: &'static str,
    pub(super) plain: &'static [u8],
    pub(super) gzip: Option<&'static [u8]>,
    pub(super) brotli: Option<&'static [u8]>,
}

/// Files, each with a digest of its content.
pub(super) struct Assets(Vec<(File, String)>);

impl Assets {
    pub(super) fn of(files: impl IntoIterator<Item = File>) -> Self {
        let with_digest = |file: File| (file, usage::digest22(file.plain));
        Self(files.into_iter().map(with_digest).collect())
    }

    /// The page, if it was built, and the files of the plain one.
    pub(super) fn built() -> Self {
        Self::of(PAGE.iter().copied().chain([plain::STYLE]))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.0.iter().any(|(file, _)| file.path == path)
    }

    /// The answer with the file at a path, if there is one.
    pub(super) fn get(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        let (file, digest) = self.0.iter().find(|(file, _)| file.path == path)?;
        let (coding, bytes) = file.best_for(headers);
        let tag = EntityTag::of_file(digest, coding);
        let known = Known::of(headers);
        let mut response = if known.has(&tag) || known.has_any() {
            tag.not_modified()
        } else {
            let mut response = tag.put_on(with_body(StatusCode::OK, bytes));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.kind));
            if coding != IDENTITY {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            response
        };
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if path.starts_with("/assets/") {
            // Their names have a digest of their content.
            let forever = HeaderValue::from_static("private, max-age=31536000, immutable");
            headers.insert(CACHE_CONTROL, forever);
        }
        if file.kind.starts_with("text/html") {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        }
        Some(response)
    }
}

const IDENTITY: &str = "identity";

impl File {
    /// The form that the client likes best, the smallest where it likes several; as it is where it
    /// takes none, since that is better than nothing.
    fn best_for(&self, headers: &HeaderMap) -> (&'static str, &'static [u8]) {
        let forms = [(IDENTITY, Some(self.plain)), ("gzip", self.gzip), ("br", self.brotli)];
        let there = forms.into_iter().filter_map(|(coding, bytes)| Some((coding, bytes?)));
        let taken = there.filter_map(|form| Some((quality(headers, form.0)?, form)));
        // The last one of equals is the greatest.
        let best = taken.max_by(|(one, _), (other, _)| one.total_cmp(other));
        best.map_or((IDENTITY, self.plain), |(_, form)| form)
    }
}

/// How much a client likes a coding; `None` if it does not take it.
fn quality(headers: &HeaderMap, coding: &str) -> Option<f32> {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    let named = lists.flat_map(|list| list.split(',')).filter_map(|one| {
        let (name, parameters) = one.split_once(';').unwrap_or((one, ""));
        let quality = match parameters.trim().strip_prefix(['q', 'Q']) {
            Some(value) => value.trim_start().strip_prefix('=')?.trim().parse().ok()?,
            None => 1.0,
        };
        Some((name.trim(), quality))
    });
    let all: Vec<(&str, f32)> = named.collect();
    let of = |wanted: &str| all.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    match of(coding).or_else(|| of("*")) {
        Some((_, quality)) => (*quality > 0.0).then_some(*quality),
        // What is not compressed may be sent unless it is said otherwise.
        None => (coding == IDENTITY).then_some(0.0),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::{Reply, Server, daemon};
    use super::*;
    use crate::live::Phase;

    /// A page of two files, of which one is there in every form.
    fn page() -> Assets {
        Assets::of([
            File {
                path: "/",
                kind: "text/html; charset=utf-8",
                plain: b"the page",
                gzip: None,
                brotli: None,
            },
            File {
                path: "/assets/main-Dz4.js",
                kind: "text/javascript; charset=utf-8",
                plain: b"as it is",
                gzip: Some(b"gzip"),
                brotli: Some(b"br"),
            },
        ])
    }

    const SCRIPT: &str = "/assets/main-Dz4.js";

    async fn start() -> Server {
        let (parts, live) = daemon(Path::new("/nonexistent"));
        // Whoever looks at the page meanwhile is shown that the database is being opened.
        parts.phase.send_replace(Phase::Starting);
        Server::start_with(page(), live).await
    }

    fn has_safe_headers(reply: &Reply) {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"), "{reply:?}");
        assert_eq!(reply.header("cross-origin-opener-policy"), Some("same-origin"), "{reply:?}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{reply:?}");
    }

    #[test]
    fn the_whole_page_is_small_and_there_in_every_form() {
        let sizes = PAGE.iter().map(|file| file.brotli.unwrap_or(file.plain).len());
        assert!(sizes.sum::<usize>() < 300_000, "the page takes long to load");
        for file in PAGE.iter().filter(|file| file.path == "/" || file.path.starts_with("/assets/"))
        {
            let is_text = file.kind.starts_with("text/");
            assert_eq!(file.gzip.is_some() && file.brotli.is_some(), is_text, "{}", file.path);
        }
    }

    #[tokio::test]
    async fn a_file_is_sent_in_the_form_that_the_client_likes_best() {
        let server = start().await;
        for (accepted, expect) in [
            (None, "as it is"),
            (Some(""), "as it is"),
            (Some("gzip, deflate, br, zstd"), "br"),
            (Some("gzip, deflate"), "gzip"),
            (Some("GZIP"), "gzip"),
            (Some("deflate"), "as it is"),
            (Some("*"), "br"),
            (Some("*;q=0.5, br;q=0"), "gzip"),
            (Some("br;q=0.5, gzip;q=0.8"), "gzip"),
            (Some("br ; q = 0.5 ,gzip; Q=0.4"), "br"),
            (Some("gzip;q=0.1"), "gzip"),
            (Some("gzip;q=0.1, identity"), "as it is"),
            (Some("br;q=0, gzip;q=0.000"), "as it is"),
            (Some("br;q=a lot, gzip;q=0.1"), "gzip"),
            (Some("identity;q=0, *;q=0"), "as it is"),
        ] {
            let header = accepted.map(|a| format!("Accept-Encoding: {a}\r\n")).unwrap_or_default();
            let reply = server.ask("GET", SCRIPT, &header).await;
            assert_eq!((reply.status, &*reply.body), (200, expect), "{accepted:?}");
            let coding = (expect != "as it is").then_some(expect);
            assert_eq!(reply.header("content-encoding"), coding, "{accepted:?}");
            assert_eq!(reply.header("vary"), Some("accept-encoding"), "{accepted:?}");
            let page = server.ask("GET", "/", &header).await;
            assert_eq!((&*page.body, page.header("content-encoding")), ("the page", None));
        }
        let two = "Accept-Encoding: gzip;q=0.1\r\nAccept-Encoding: br\r\n";
        assert_eq!(server.ask("GET", SCRIPT, two).await.body, "br");
        server.stop().await;
    }

    #[tokio::test]
    async fn what_the_client_has_is_not_sent_again() {
        let server = start().await;
        let mut tags = Vec::new();
        for accepted in ["br", "gzip", "identity"] {
            let accepted = format!("Accept-Encoding: {accepted}\r\n");
            let first = server.ask("GET", SCRIPT, &accepted).await;
            let tag = first.header("etag").unwrap().to_owned();
            for known in [&*tag, &format!("\"x\", W/{tag}"), "*"] {
                let again = format!("{accepted}If-None-Match: {known}\r\n");
                let reply = server.ask("GET", SCRIPT, &again).await;
                assert_eq!((reply.status, &*reply.body), (304, ""), "{known}");
                for header in ["etag", "vary", "cache-control"] {
                    assert_eq!(reply.header(header), first.header(header), "{header}");
                }
                has_safe_headers(&reply);
            }
            tags.push(tag);
        }
        let of_gzip = format!("Accept-Encoding: br\r\nIf-None-Match: {}\r\n", tags[1]);
        assert_eq!(server.ask("GET", SCRIPT, &of_gzip).await.body, "br");
        tags.push(server.get("/").await.header("etag").unwrap().to_owned());
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 4, "each form has its own tag");
        server.stop().await;
    }

    #[tokio::test]
    async fn files_with_a_digest_in_their_names_are_kept_for_good_and_the_page_is_asked_for_again()
    {
        let server = start().await;
        let script = server.get(SCRIPT).await;
        let forever = "private, max-age=31536000, immutable";
        assert_eq!(script.header("cache-control"), Some(forever));
        assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
        // What the query says is for the page to read.
        for path in ["/", "/?view=sessions&project=%2Fw%2F%ff&since=", "/?"] {
            let page = server.get(path).await;
            assert_eq!((page.status, &*page.body), (200, "the page"), "{path}");
            assert_eq!(page.header("cache-control"), Some("private, no-cache"));
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        }
        for path in ["/assets/main-Dz5.js", "/assets", "/assets/", "/index.html", "//"] {
            let reply = server.get(path).await;
            assert_eq!(reply.refusal(), (404, "not_found".to_owned()), "{path}");
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn the_page_may_load_only_what_is_ours_and_answers_may_load_nothing() {
        let server = start().await;
        let page = server.get("/").await;
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        let none = "default-src 'none'; frame-ancestors 'none'";
        for path in ["/livez", "/api/v1/summary", "/none", SCRIPT] {
            let reply = server.get(path).await;
            assert_eq!(reply.header("content-security-policy"), Some(none), "{path}");
            has_safe_headers(&reply);
        }
        has_safe_headers(&page);
        server.stop().await;
    }

    #[tokio::test]
    async fn head_says_what_get_would_send() {
        let server = start().await;
        let accepted = "Accept-Encoding: gzip\r\n";
        let get = server.ask("GET", SCRIPT, accepted).await;
        let head = server.ask("HEAD", SCRIPT, accepted).await;
        assert_eq!((head.status, &*head.body), (200, ""));
        for header in ["content-length", "content-type", "content-encoding", "etag", "vary"] {
            assert!(head.header(header).is_some(), "{header}");
            assert_eq!(head.header(header), get.header(header), "{header}");
        }
        server.stop().await;
    }
}
