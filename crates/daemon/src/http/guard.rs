//! What every request must show before it is asked what it wants.
//!
//! A web page can make a browser send requests to loopback, and can even give its own name this
//! machine's address. It cannot forge `Host`, `Origin` or `Sec-Fetch-Site`: those decide here.

use std::net::SocketAddr;

use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, ORIGIN, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Uri};

use super::error::{Code, Problem};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What a link on another site may open, in a window of its own. That site cannot look into it.
const PAGES: [&str; 2] = ["/", "/plain"];

/// The names this server answers to, for the port it has.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// `localhost:8474` and so on.
    hosts: Vec<String>,
}

impl Guard {
    pub(super) fn new(bound: SocketAddr) -> Self {
        let own = match bound {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()];
        if !names.contains(&own) {
            names.push(own);
        }
        let mut hosts: Vec<String> =
            names.iter().map(|name| format!("{name}:{}", bound.port())).collect();
        if bound.port() == 80 {
            hosts.append(&mut names);
        }
        Self { hosts }
    }

    pub(super) fn check(&self, request: &Parts) -> Result<(), Problem> {
        self.check_host(&request.headers, &request.uri)?;
        self.check_site(request)?;
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let detail = format!("only reading is possible, not {}", request.method);
            return Err(Problem::new(Code::MethodNotAllowed, detail).with_allowed(["GET", "HEAD"]));
        }
        check_body(&request.headers)
    }

    fn check_host(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.as_bytes(),
            (None, _) => return Err(Problem::new(Code::BadHost, "the Host header is missing")),
            (Some(_), Some(_)) => {
                return Err(Problem::new(Code::BadHost, "there is more than one Host header"));
            }
        };
        let named = uri.authority().map(|authority| authority.as_str().as_bytes());
        let is_http = uri.scheme_str().is_none_or(|scheme| scheme.eq_ignore_ascii_case("http"));
        if !self.is_ours(host) || !named.is_none_or(|named| self.is_ours(named)) || !is_http {
            let detail = "this server answers only to its own loopback names";
            return Err(Problem::new(Code::WrongHost, detail).with_allowed(&self.hosts));
        }
        if named.is_some_and(|named| !named.eq_ignore_ascii_case(host)) {
            return Err(Problem::new(Code::BadHost, "the Host header and the URI differ"));
        }
        Ok(())
    }

    fn is_ours(&self, host: &[u8]) -> bool {
        self.hosts.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(host))
    }

    fn check_site(&self, request: &Parts) -> Result<(), Problem> {
        let headers = &request.headers;
        let origins_are_ours = headers.get_all(ORIGIN).iter().all(|origin| {
            origin.as_bytes().strip_prefix(b"http://").is_some_and(|host| self.is_ours(host))
        });
        // `same-site` is another port of this machine, `none` a person who typed the address.
        let sites_are_ours = headers
            .get_all(SEC_FETCH_SITE)
            .iter()
            .all(|site| matches!(site.as_bytes(), b"same-origin" | b"same-site" | b"none"));
        if origins_are_ours && (sites_are_ours || opens_a_page(request)) {
            return Ok(());
        }
        Err(Problem::new(Code::CrossSite, "requests of other web sites are not answered"))
    }
}

/// Whether a person follows a link to a page. In a frame of the other site it would not be one.
fn opens_a_page(request: &Parts) -> bool {
    let is = |name: HeaderName, value: &[u8]| {
        let mut all = request.headers.get_all(name).iter();
        all.next().is_some_and(|only| only.as_bytes() == value) && all.next().is_none()
    };
    request.method == Method::GET
        && PAGES.contains(&request.uri.path())
        && is(SEC_FETCH_SITE, b"cross-site")
        && is(SEC_FETCH_MODE, b"navigate")
        && is(SEC_FETCH_DEST, b"document")
}

fn check_body(headers: &HeaderMap) -> Result<(), Problem> {
    let is_empty = headers.get_all(CONTENT_LENGTH).iter().all(|length| length.as_bytes() == b"0");
    if is_empty && !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    Err(Problem::new(Code::BodyNotAllowed, "requests have no body here"))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    /// What becomes of a request: its code if it is refused.
    fn check(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<Code> {
        check_on("127.0.0.1:8474", method, uri, headers)
    }

    fn check_on(bound: &str, method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<Code> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (request, ()) = request.body(()).unwrap().into_parts();
        let checked = Guard::new(bound.parse().unwrap()).check(&request);
        checked.err().map(|problem| problem.code())
    }

    #[test]
    fn h56_only_loopback_names_with_our_port_are_ours() {
        let host = |host| check("GET", "/health", &[("host", host)]);
        for ours in ["localhost:8474", "127.0.0.1:8474", "[::1]:8474", "LocalHost:8474"] {
            assert_eq!(host(ours), None, "{ours}");
        }
        for wrong in [
            "",
            "evil.example",
            "evil.example:8474",
            "localhost",
            "localhost:",
            "localhost:8475",
            "localhost:08474",
            "localhost:8474.",
            "localhost.:8474",
            "localhost.evil.example:8474",
            "127.0.0.1.evil.example:8474",
            "127.1:8474",
            "0.0.0.0:8474",
            "127.0.0.2:8474",
            "::1:8474",
            "[::1]",
            "[::2]:8474",
            "user@localhost:8474",
            "localhost:8474, evil.example",
        ] {
            assert_eq!(host(wrong), Some(Code::WrongHost), "{wrong}");
        }
    }

    #[test]
    fn h56_there_is_exactly_one_host() {
        assert_eq!(check("GET", "/", &[]), Some(Code::BadHost));
        for second in ["localhost:8474", "evil.example"] {
            let hosts = [("host", "localhost:8474"), ("host", second)];
            assert_eq!(check("GET", "/", &hosts), Some(Code::BadHost), "{second}");
        }
    }

    #[test]
    fn h56_an_absolute_uri_must_be_ours_and_agree() {
        let uri = |uri| check("GET", uri, &[("host", "localhost:8474")]);
        assert_eq!(uri("http://localhost:8474/health"), None);
        assert_eq!(uri("http://127.0.0.1:8474/health"), Some(Code::BadHost));
        for wrong in [
            "http://evil.example/health",
            "http://localhost/health",
            "http://localhost.:8474/health",
            "http://user@localhost:8474/health",
            "https://localhost:8474/health",
        ] {
            assert_eq!(uri(wrong), Some(Code::WrongHost), "{wrong}");
        }
        let evil = [("host", "evil.example")];
        assert_eq!(check("GET", "http://localhost:8474/", &evil), Some(Code::WrongHost));
    }

    #[test]
    fn h56_the_address_listened_on_is_ours_too() {
        let host = |bound, host| check_on(bound, "GET", "/", &[("host", host)]);
        assert_eq!(host("127.0.0.7:8474", "127.0.0.7:8474"), None);
        assert_eq!(host("[::1]:9", "[::1]:9"), None);
        assert_eq!(host("[::1]:9", "localhost:9"), None);
        // Browsers leave out the port that goes without saying.
        assert_eq!(host("127.0.0.1:80", "localhost"), None);
        assert_eq!(host("127.0.0.1:80", "localhost:80"), None);
    }

    #[test]
    fn h57_requests_of_other_sites_are_refused() {
        let with = |name, value| check("GET", "/", &[("host", "localhost:8474"), (name, value)]);
        for ours in ["http://localhost:8474", "http://127.0.0.1:8474", "http://[::1]:8474"] {
            assert_eq!(with("origin", ours), None, "{ours}");
        }
        for wrong in [
            "null",
            "",
            "https://evil.example",
            "http://evil.example:8474",
            "https://localhost:8474",
            "http://localhost",
            "http://localhost:3000",
            "http://localhost:8474/",
            "localhost:8474",
        ] {
            assert_eq!(with("origin", wrong), Some(Code::CrossSite), "{wrong}");
        }
        for ours in ["same-origin", "same-site", "none"] {
            assert_eq!(with("sec-fetch-site", ours), None, "{ours}");
        }
        for wrong in ["cross-site", "Cross-Site", "", "what"] {
            assert_eq!(with("sec-fetch-site", wrong), Some(Code::CrossSite), "{wrong}");
        }
        let two = [
            ("host", "localhost:8474"),
            ("origin", "http://localhost:8474"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(check("GET", "/", &two), Some(Code::CrossSite));
    }

    #[test]
    fn h57_a_link_on_another_site_opens_a_page_and_nothing_else() {
        const LINK: [(&str, &str); 4] = [
            ("host", "localhost:8474"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        for page in ["/", "/?since=2026-05-01", "/plain", "http://localhost:8474/"] {
            assert_eq!(check("GET", page, &LINK), None, "{page}");
        }
        for path in ["/health", "/api/v1/summary", "/assets/main.js", "/plain/", "/plain.css", "//"]
        {
            assert_eq!(check("GET", path, &LINK), Some(Code::CrossSite), "{path}");
        }
        for method in ["HEAD", "POST"] {
            assert_eq!(check(method, "/", &LINK), Some(Code::CrossSite), "{method}");
        }
        for (name, value) in [
            ("sec-fetch-site", "what"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "iframe"),
            ("sec-fetch-dest", "object"),
            ("sec-fetch-dest", "empty"),
        ] {
            let other = LINK.map(|header| if header.0 == name { (name, value) } else { header });
            assert_eq!(check("GET", "/", &other), Some(Code::CrossSite), "{name}: {value}");
            let both: Vec<_> = LINK.into_iter().chain([(name, value)]).collect();
            assert_eq!(check("GET", "/", &both), Some(Code::CrossSite), "{name}: {value}, too");
        }
        for missing in 1..LINK.len() {
            let mut rest = LINK.to_vec();
            let (name, _) = rest.remove(missing);
            // Browsers that do not tell the site are judged by `Origin` alone, as ever.
            let expect = (name != "sec-fetch-site").then_some(Code::CrossSite);
            assert_eq!(check("GET", "/", &rest), expect, "without {name}");
        }
        let evil: Vec<_> = LINK.into_iter().chain([("origin", "https://evil.example")]).collect();
        assert_eq!(check("GET", "/", &evil), Some(Code::CrossSite));
    }

    #[test]
    fn h57_only_reading_is_possible() {
        let host = [("host", "localhost:8474")];
        assert_eq!(check("GET", "/", &host), None);
        assert_eq!(check("HEAD", "/", &host), None);
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "QUERY"] {
            assert_eq!(check(method, "/", &host), Some(Code::MethodNotAllowed), "{method}");
        }
    }

    #[test]
    fn h55_requests_have_no_body() {
        let with = |name, value| check("GET", "/", &[("host", "localhost:8474"), (name, value)]);
        assert_eq!(with("content-length", "0"), None);
        assert_eq!(with("content-length", "1"), Some(Code::BodyNotAllowed));
        assert_eq!(with("transfer-encoding", "chunked"), Some(Code::BodyNotAllowed));
    }
}
