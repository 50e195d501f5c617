//! The parameters of a request: each known, each given once.

use std::collections::BTreeMap;

use super::error::{Code, Problem};

/// Parameters by name, decoded.
pub(super) type Parameters = BTreeMap<&'static str, String>;

/// Reads `?since=...&until=...`. A parameter that would be ignored is refused instead: whoever
/// wrote it believes that it does something.
pub(super) fn parse(query: Option<&str>, known: &[&'static str]) -> Result<Parameters, Problem> {
    let mut parameters = Parameters::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let Some(name) = known.iter().find(|known| **known == name) else {
            let detail = format!("there is no parameter `{name}` here");
            return Err(Problem::new(Code::UnknownParameter, detail).with_allowed(known));
        };
        if parameters.insert(name, decode(value)?).is_some() {
            let detail = format!("`{name}` is given more than once");
            return Err(Problem::new(Code::BadParameter, detail));
        }
    }
    Ok(parameters)
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
        let expect = expect
            .map(|pairs| pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
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
