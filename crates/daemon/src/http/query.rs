//! The parameters of a request: each known, and given once unless several values make sense.

use std::collections::BTreeMap;

use jiff::civil::Date;
use store::Filter;

use super::error::{Code, Problem};
use crate::range::parse_day;

/// Of a filter rows have to match one of the values given; `by` tells apart all that are given.
const REPEATABLE: [&str; 5] = ["provider", "project", "model", "session", "by"];

/// A page that is read and sent in a few milliseconds.
const DEFAULT_LIMIT: u32 = 500;
/// A page of this many rows is a few megabytes.
const MAX_LIMIT: u32 = 5_000;

/// Values by parameter, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(BTreeMap<&'static str, Vec<String>>);

/// Reads `?since=...&until=...`. A parameter that would be ignored is refused instead: whoever
/// wrote it believes that it does something.
pub(super) fn parse(query: Option<&str>, known: &[&'static str]) -> Result<Parameters, Problem> {
    let mut parameters = Parameters::default();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let Some(name) = known.iter().find(|known| **known == name) else {
            let detail = format!("there is no parameter `{name}` here");
            return Err(Problem::new(Code::UnknownParameter, detail).with_allowed(known));
        };
        let values = parameters.0.entry(name).or_default();
        values.push(decode(value)?);
        if values.len() > 1 && !REPEATABLE.contains(name) {
            let detail = format!("`{name}` is given more than once");
            return Err(Problem::new(Code::BadParameter, detail));
        }
    }
    Ok(parameters)
}

impl Parameters {
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.first()).map(String::as_str)
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// Days, agents, projects and models.
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let (since, until) = (self.day("since")?, self.day("until")?);
        if since.zip(until).is_some_and(|(since, until)| since > until) {
            let detail = "`since` lies after `until`, so nothing can lie between them";
            return Err(Problem::new(Code::BadParameter, detail));
        }
        Ok(Filter {
            since,
            until,
            providers: self.all("provider"),
            projects: self.all("project"),
            models: self.all("model"),
            known: providers::ALL.iter().map(|provider| provider.id().to_owned()).collect(),
        })
    }

    fn day(&self, name: &str) -> Result<Option<Date>, Problem> {
        let Some(text) = self.one(name) else { return Ok(None) };
        parse_day(text).map(Some).map_err(|_| {
            let detail = format!("`{name}` must be a day like 2026-05-31, not `{text}`");
            Problem::new(Code::BadParameter, detail).with_allowed(["YYYY-MM-DD"])
        })
    }

    /// The most rows of a page.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.one("limit") else { return Ok(DEFAULT_LIMIT as usize) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.map(|limit| limit as usize).ok_or_else(|| {
            let detail =
                format!("`limit` must be a whole number from 1 to {MAX_LIMIT}, not `{text}`");
            Problem::new(Code::BadParameter, detail).with_allowed([format!("1 to {MAX_LIMIT}")])
        })
    }
}

/// Undoes the encoding of forms: `%2F` and `+`.
fn decode(text: &str) -> Result<String, Problem> {
    let bad = || Problem::new(Code::BadParameter, format!("`{text}` is not encoded rightly"));
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(bad)?
            }
            plain => plain,
        });
    }
    String::from_utf8(decoded).map_err(|_| bad())
}

fn digit(byte: Option<u8>) -> Option<u8> {
    match byte? {
        b @ b'0'..=b'9' => Some(b - b'0'),
        b @ b'a'..=b'f' => Some(b - b'a' + 10),
        b @ b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expect: Result<&[(&'static str, &str)], Code>) {
        let parsed = parse(Some(query), &["model", "project", "since"]);
        let expect = expect.map(|pairs| {
            let mut parameters = Parameters::default();
            for (name, value) in pairs {
                parameters.0.entry(*name).or_default().push((*value).to_owned());
            }
            parameters
        });
        assert_eq!(parsed.map_err(|problem| problem.code()), expect, "{query}");
    }

    #[test]
    fn parameters_are_decoded() {
        check("", Ok(&[]));
        check("&", Ok(&[]));
        check("since=2026-05-01&model=", Ok(&[("since", "2026-05-01"), ("model", "")]));
        check("model", Ok(&[("model", "")]));
        check("project=%2Fhome%2fa+b%2Bc%C3%A9=d", Ok(&[("project", "/home/a b+c\u{e9}=d")]));
        check("%73ince=x", Ok(&[("since", "x")]));
        check("model=a&model=b", Ok(&[("model", "a"), ("model", "b")]));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        check("until=2026-05-01", Err(Code::UnknownParameter));
        check("since=a&since=a", Err(Code::BadParameter));
        check("project=%", Err(Code::BadParameter));
        check("project=%2", Err(Code::BadParameter));
        check("project=%+2", Err(Code::BadParameter));
        check("project=%ff", Err(Code::BadParameter));
    }
}
