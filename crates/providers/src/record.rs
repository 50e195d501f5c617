//! What the records of all providers have in common: JSON that may hold anything, counts, money
//! and times.
//!
//! Agents' logs are undocumented and written by many hands. [`Json`] therefore reads a record field
//! by field, in one pass: it takes what is asked for, treats a value of another type as absent and
//! steps over the rest without building it. It takes exactly what is JSON by grammar; a lone
//! surrogate, a byte that is not UTF-8, a repeated field, a number out of range or a thousand levels
//! of nesting hides no usage. What a record means is left to the providers.

use std::borrow::Cow;

use usage::{Flags, Skip};

use crate::Parsed;

/// A reader of JSON values, one after the other: a line may hold several.
///
/// Each method reads one value. A value of another type than asked for is skipped and reported as
/// absent.
#[derive(Clone, Copy)]
pub(crate) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Longest text that is kept of a record: a name, an id, a folder. A longer one is junk, and would be
/// kept many times over.
pub(crate) const MAX_KEPT: usize = 4096;

/// Most records on one line, and most parts of one record, that are counted. Real lines hold one or
/// two; what a line of mebibytes could hold would fill the memory.
pub(crate) const MAX_REPEATS: usize = 256;

/// The end of the year 9999 in UTC milliseconds: later times have no text form.
pub(crate) const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// How much of a text is looked at to tell what it is.
const MAX_OPENING: usize = 64 << 10;

/// The bytes do not follow JSON's grammar. What comes after them cannot be made sense of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

impl From<NotJson> for Skip {
    fn from(NotJson: NotJson) -> Self {
        Self::Malformed
    }
}

/// Whether a value was read, and what it was.
pub(crate) type Read<T> = Result<T, NotJson>;

/// Reads what stands on a line: one record, or several where a writer was stopped before a newline.
/// `read` reads the next value and says whether it was an object, or why the rest is left unread.
pub(crate) fn each_record<'a>(
    line: &'a [u8],
    out: &mut Parsed,
    mut read: impl FnMut(&mut Json<'a>, &mut Parsed) -> Result<bool, Skip>,
) {
    let mut json = Json::new(line);
    let mut records = 0;
    while json.peek().is_some() {
        if json.skip_nuls() {
            out.skips.add(Skip::Malformed);
            continue;
        }
        records += 1;
        if records > MAX_REPEATS {
            return out.skips.add(Skip::Malformed);
        }
        match read(&mut json, out) {
            Ok(true) => {}
            Ok(false) => out.skips.add(Skip::NotAnObject),
            Err(reason) => return out.skips.add(reason),
        }
    }
}

impl<'a> Json<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The first byte of the next value (which tells its type), `None` at the end of the line.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Steps over a run of NULs and says whether there was one: a hole that a writer left which did
    /// not know that its file had been cut.
    pub(crate) fn skip_nuls(&mut self) -> bool {
        let start = self.at;
        self.at += self.bytes[start..].iter().take_while(|&&byte| byte == 0).count();
        self.at > start
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Reads an object: `field` is called with each name and reads the value, or leaves it alone to
    /// have it skipped. Of a repeated field the last one stands, if `field` assigns. `false` if the
    /// value was no object.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&str, &mut Self) -> Read<()>,
    ) -> Read<bool> {
        if self.peek() != Some(b'{') {
            return self.skip().map(|()| false);
        }
        self.at += 1;
        if self.take(b'}') {
            return Ok(true);
        }
        loop {
            let (raw, escaped) = self.name()?;
            let name = decode(beginning(raw), escaped);
            self.one_value(|json| field(&name, json))?;
            match self.next()? {
                b',' => {}
                b'}' => return Ok(true),
                _ => return Err(NotJson),
            }
        }
    }

    /// Reads an array: `element` is called for each value, as in [`Json::object`].
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Read<()>) -> Read<bool> {
        if self.peek() != Some(b'[') {
            return self.skip().map(|()| false);
        }
        self.at += 1;
        if self.take(b']') {
            return Ok(true);
        }
        loop {
            self.one_value(&mut element)?;
            match self.next()? {
                b',' => {}
                b']' => return Ok(true),
                _ => return Err(NotJson),
            }
        }
    }

    /// Reads a value and says whether it is an array that is not empty.
    pub(crate) fn has_elements(&mut self) -> Read<bool> {
        let mut has_elements = false;
        self.array(|_| {
            has_elements = true;
            Ok(())
        })?;
        Ok(has_elements)
    }

    /// Reads a string that says something, to be kept. Lone surrogates and bytes that are not UTF-8
    /// become U+FFFD. One over the limit is as good as absent.
    pub(crate) fn text(&mut self) -> Read<Option<Cow<'a, str>>> {
        if self.peek() != Some(b'"') {
            return self.skip().map(|()| None);
        }
        let (raw, escaped) = self.string()?;
        let is_kept = (1..=MAX_KEPT).contains(&raw.len());
        Ok(is_kept.then(|| decode(raw, escaped)))
    }

    /// Reads the beginning of a string of any length.
    pub(crate) fn opening(&mut self) -> Read<Option<Cow<'a, str>>> {
        if self.peek() != Some(b'"') {
            return self.skip().map(|()| None);
        }
        let (raw, escaped) = self.string()?;
        Ok(Some(decode(beginning(raw), escaped)))
    }

    /// Reads a string of any length whole, to be read as JSON in its turn. It is not to be kept.
    pub(crate) fn nested(&mut self) -> Read<Option<Cow<'a, str>>> {
        if self.peek() != Some(b'"') {
            return self.skip().map(|()| None);
        }
        let (raw, escaped) = self.string()?;
        Ok(Some(decode(raw, escaped)))
    }

    /// Reads a number as it is written.
    pub(crate) fn number(&mut self) -> Read<Option<&'a str>> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.digits().map(Some),
            _ => self.skip().map(|()| None),
        }
    }

    /// Reads a count of tokens or requests.
    pub(crate) fn count(&mut self) -> Read<Count> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => Ok(Count::parse(self.digits()?)),
            Some(b'n') => self.skip().map(|()| Count::Absent),
            _ => self.skip().map(|()| Count::Bad),
        }
    }

    /// Reads a time in UTC milliseconds, or as RFC 3339 has it.
    pub(crate) fn time(&mut self) -> Read<Option<i64>> {
        if self.peek() == Some(b'"') {
            return self.written_time();
        }
        Ok(self.count()?.time_ms())
    }

    /// Reads a time as RFC 3339 has it.
    pub(crate) fn written_time(&mut self) -> Read<Option<i64>> {
        Ok(self.text()?.as_deref().and_then(time_ms))
    }

    /// Reads a value and says whether it is `true`.
    pub(crate) fn is_true(&mut self) -> Read<bool> {
        let is_true = self.peek() == Some(b't');
        self.skip().map(|()| is_true)
    }

    /// Reads any value and forgets it. Nesting of any depth needs no stack.
    pub(crate) fn skip(&mut self) -> Read<()> {
        let mut open = Nesting::default();
        loop {
            match self.peek().ok_or(NotJson)? {
                b'{' => {
                    self.at += 1;
                    if !self.take(b'}') {
                        open.push(true);
                        self.name().map(drop)?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.take(b']') {
                        open.push(false);
                        continue;
                    }
                }
                b'"' => self.string().map(drop)?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                _ => self.digits().map(drop)?,
            }
            // A value has ended; so do the objects and arrays whose last one it was.
            loop {
                let Some(in_object) = open.last() else { return Ok(()) };
                match (self.next()?, in_object) {
                    (b',', true) => self.name().map(drop)?,
                    (b',', false) => {}
                    (b'}', true) | (b']', false) => {
                        open.pop();
                        continue;
                    }
                    _ => return Err(NotJson),
                }
                break;
            }
        }
    }

    /// Has `read` read one value, and skips it if `read` did not.
    fn one_value(&mut self, read: impl FnOnce(&mut Self) -> Read<()>) -> Read<()> {
        self.peek();
        let start = self.at;
        read(self)?;
        if self.at == start { self.skip() } else { Ok(()) }
    }

    /// The name of a field and its colon.
    fn name(&mut self) -> Read<(&'a [u8], bool)> {
        if self.peek() != Some(b'"') {
            return Err(NotJson);
        }
        let name = self.string()?;
        if self.next()? != b':' {
            return Err(NotJson);
        }
        Ok(name)
    }

    /// The next byte that is not white space.
    fn next(&mut self) -> Read<u8> {
        let byte = self.peek().ok_or(NotJson)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &[u8]) -> Read<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    /// The bytes between the quotes, and whether there are escapes among them.
    fn string(&mut self) -> Read<(&'a [u8], bool)> {
        let start = self.at + 1;
        let mut end = start;
        let mut escaped = false;
        loop {
            end += plain_len(&self.bytes[end..]);
            match self.bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {}
                _ => return Err(NotJson),
            }
            escaped = true;
            end += match self.bytes.get(end + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                Some(b'u') if hex4(&self.bytes[end + 2..]).is_some() => 6,
                _ => return Err(NotJson),
            };
        }
        self.at = end + 1;
        Ok((&self.bytes[start..end], escaped))
    }

    /// A number.
    fn digits(&mut self) -> Read<&'a str> {
        let start = self.at;
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        let run = |from: usize| {
            let len = self.bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
            if len == 0 { Err(NotJson) } else { Ok(from + len) }
        };
        let whole = start + usize::from(byte(start) == b'-');
        let mut end = if byte(whole) == b'0' { whole + 1 } else { run(whole)? };
        if byte(end) == b'.' {
            end = run(end + 1)?;
        }
        if let b'e' | b'E' = byte(end) {
            end = run(end + 1 + usize::from(matches!(byte(end + 1), b'+' | b'-')))?;
        }
        self.at = end;
        std::str::from_utf8(&self.bytes[start..end]).map_err(|_| NotJson)
    }
}

/// How many bytes there are before the first quote, backslash or control character.
///
/// Most bytes of a log are inside strings: eight are looked at at once. Subtracting borrows from
/// the next byte only where a byte has matched, so the lowest match is always true.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * u64::from(b' ')) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & (ONES << 7);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let plain = |&byte: &u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    at + bytes[at..].iter().take_while(|byte| plain(byte)).count()
}

/// Which brackets are open, innermost last: one bit each, 1 for an object.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost up to 64.
    bits: u64,
    /// Full words of the levels around them. Real records never get here.
    outer: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

/// At most as much of a string as is looked at, and no half of an escape.
fn beginning(raw: &[u8]) -> &[u8] {
    let mut end = 0;
    while end < raw.len().min(MAX_OPENING) {
        end += match raw[end..] {
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            _ => 1,
        };
    }
    &raw[..end]
}

/// The text that the bytes between two quotes stand for.
fn decode(raw: &[u8], escaped: bool) -> Cow<'_, str> {
    if !escaped {
        // Checked first, because replacing what is not UTF-8 is slow even where there is nothing.
        return std::str::from_utf8(raw)
            .map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        let (c, len) = unescape(&rest[at..]);
        text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[at + len..];
    }
    text.extend_from_slice(rest);
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    Cow::Owned(String::from_utf8(text).unwrap_or_else(|error| lossy(error.as_bytes())))
}

/// The character an escape stands for, and the escape's length. The escape is known to be valid.
fn unescape(escape: &[u8]) -> (char, usize) {
    let c = match escape[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = hex4(&escape[2..]).unwrap_or_default();
            let second = escape[6..].strip_prefix(b"\\u").and_then(hex4);
            let units = [first, second.unwrap_or_default()];
            return match char::decode_utf16(units).next() {
                Some(Ok(c)) => (c, 6 * c.len_utf16()),
                _ => (char::REPLACEMENT_CHARACTER, 6),
            };
        }
        other => char::from(other),
    };
    (c, 2)
}

/// A UTF-16 unit of exactly four hexadecimal digits.
fn hex4(bytes: &[u8]) -> Option<u16> {
    bytes.get(..4)?.iter().try_fold(0, |unit, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// A count as a record states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Count {
    /// Missing or null.
    #[default]
    Absent,
    /// A whole number.
    Is(i64),
    /// A fraction, beyond 64 bits, or no number at all.
    Bad,
}

impl Count {
    /// No call has that many tokens: a larger count is an error of the log.
    const MAX: i64 = 1_000_000_000;

    /// The count to store: 0 where there is none. One that cannot be true is 0 as well, and flagged.
    pub(crate) fn clamped(self, flags: &mut Flags) -> Result<u64, Skip> {
        match self {
            Self::Absent => Ok(0),
            Self::Is(n) if n <= Self::MAX => Ok(u64::try_from(n).unwrap_or_else(|_| {
                flags.insert(Flags::CLAMPED);
                0
            })),
            Self::Is(_) => {
                flags.insert(Flags::CLAMPED);
                Ok(0)
            }
            Self::Bad => Err(Skip::BadNumber),
        }
    }

    /// The same of a count that nothing is billed by: a call is not dropped over it.
    pub(crate) fn informative(self, flags: &mut Flags) -> u64 {
        self.clamped(flags).unwrap_or_else(|_| {
            flags.insert(Flags::CLAMPED);
            0
        })
    }

    /// What it is as a time in UTC milliseconds.
    pub(crate) fn time_ms(self) -> Option<i64> {
        match self {
            Self::Is(ms @ 0..=MAX_TIME_MS) => Some(ms),
            Self::Is(_) | Self::Absent | Self::Bad => None,
        }
    }

    fn parse(digits: &str) -> Self {
        if let Ok(n) = digits.parse() {
            return Self::Is(n);
        }
        // `12.0` and `1e3` are whole numbers too; integers beyond 64 bits fail the range here.
        match digits.parse::<f64>() {
            Ok(x) if x.fract() == 0.0 && x.abs() < 9.2e18 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
                Self::Is(x as i64)
            }
            _ => Self::Bad,
        }
    }
}

/// The nano-dollars of a positive number of dollars, to the half. Worked out on the digits as they
/// are written, because binary fractions hold no cents.
pub(crate) fn nanousd(number: &str) -> Option<i64> {
    if number.len() > MAX_KEPT {
        return None;
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = exponent.parse::<i32>().ok()?.checked_add(9)?;
    let shift = shift.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_u128.checked_pow(shift.unsigned_abs());
    let nanos = match (shift >= 0, power) {
        (true, Some(power)) => digits.checked_mul(power)?,
        (false, Some(power)) => digits.checked_add(power / 2)? / power,
        (true, None) => return None,
        (false, None) => 0,
    };
    i64::try_from(nanos).ok().filter(|nanos| *nanos > 0)
}

/// Whether a text that no [`Json`] has read is one to keep: it says something, and is within the limit.
pub(crate) fn is_kept(text: &str) -> bool {
    (1..=MAX_KEPT).contains(&text.len())
}

/// The UTC milliseconds of an RFC 3339 time. Before 1970 there were no agents.
pub(crate) fn time_ms(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond()).filter(|ms| *ms >= 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// Whether the bytes are one JSON value and nothing else.
    fn is_json(bytes: &[u8]) -> bool {
        let mut json = Json::new(bytes);
        json.skip().is_ok() && json.peek().is_none()
    }

    fn text(bytes: &[u8]) -> Option<String> {
        Json::new(bytes).text().unwrap().map(Cow::into_owned)
    }

    fn count(number: &str) -> Count {
        Json::new(number.as_bytes()).count().unwrap()
    }

    #[test]
    fn an_object_is_read_field_by_field() {
        let line =
            br#" {"a" : 1, "skip":{"a":[2,{"a":3}]},"b":"x","list":[1,"y",[],null], "a":4} "#;
        let (mut a, mut b, mut list) = (Count::Absent, None, Vec::new());
        let mut json = Json::new(line);
        let read = json.object(|name, json| {
            match name {
                "a" => a = json.count()?,
                "b" => b = json.text()?,
                "list" => {
                    json.array(|json| {
                        list.push(json.text()?);
                        Ok(())
                    })?;
                }
                _ => {}
            }
            Ok(())
        });
        assert_eq!(read, Ok(true));
        assert_eq!((a, b.as_deref()), (Count::Is(4), Some("x")), "the last of a repeated field");
        assert_eq!(list, [None, Some("y".into()), None, None]);
        assert_eq!(json.peek(), None);
    }

    #[test]
    fn a_value_of_another_type_is_absent() {
        for line in
            [&b"null 7"[..], b"true 7", b"1.5 7", b"[[1],{}] 7", b"{\"a\":[]} 7", b"\"x\" 7"]
        {
            let read: [fn(&mut Json<'_>) -> bool; 5] = [
                |json| json.object(|_, _| Ok(())).is_ok(),
                |json| json.array(|_| Ok(())).is_ok(),
                |json| json.text().is_ok(),
                |json| json.number().is_ok(),
                |json| json.is_true().is_ok(),
            ];
            for read in read {
                let mut json = Json::new(line);
                assert!(read(&mut json));
                assert_eq!(json.number(), Ok(Some("7")), "{}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn values_may_follow_each_other() {
        let mut json = Json::new(b"{}{\"a\":1} [] \0\0{}");
        assert_eq!(json.object(|_, _| Ok(())), Ok(true));
        assert_eq!(json.object(|_, _| Ok(())), Ok(true));
        assert_eq!(json.object(|_, _| Ok(())), Ok(false));
        assert_eq!(json.peek(), Some(0));
        assert!(json.skip_nuls());
        assert!(!json.skip_nuls());
        assert_eq!(json.offset(), 15);
        assert_eq!(json.object(|_, _| Ok(())), Ok(true));
        assert_eq!(json.peek(), None);
    }

    #[test]
    fn text_is_never_refused_for_its_characters() {
        assert_eq!(text(br#""a\u00e9\n\"\\\/\ud834\udd1e""#).unwrap(), "aé\n\"\\/𝄞");
        assert_eq!(text(br#""\ud834""#).unwrap(), "\u{fffd}");
        assert_eq!(text(br#""\ud834\ud834\udd1e""#).unwrap(), "\u{fffd}𝄞");
        assert_eq!(text(br#""\udd1e\u0041""#).unwrap(), "\u{fffd}A");
        assert_eq!(text(b"\"a\xffb\"").unwrap(), "a\u{fffd}b");
        assert_eq!(text(b"\"\\n\xc3\"").unwrap(), "\n\u{fffd}");
    }

    #[test]
    fn h08_no_text_is_kept_over_the_limit_and_none_is_looked_at_over_another() {
        let quoted = |text: &str| format!("\"{text}\"").into_bytes();
        assert_eq!(text(&quoted(&"x".repeat(MAX_KEPT))), Some("x".repeat(MAX_KEPT)));
        assert_eq!(text(&quoted(&"x".repeat(MAX_KEPT + 1))), None);
        assert_eq!(text(b"\"\""), None);
        for (unit, shown) in [("x", "x"), (r"\n", "\n"), (r"\u00e9", "é"), (r"\\", r"\")] {
            let long = quoted(&unit.repeat(MAX_OPENING));
            let mut json = Json::new(&long);
            let opening = json.opening().unwrap().unwrap();
            assert_eq!(opening, shown.repeat(MAX_OPENING.div_ceil(unit.len())));
            assert_eq!(json.peek(), None);
        }
        assert_eq!(nanousd(&format!("1e{}1", "0".repeat(MAX_KEPT))), None);
        assert!(is_kept(&"x".repeat(MAX_KEPT)));
        assert!(!is_kept(&"x".repeat(MAX_KEPT + 1)) && !is_kept(""));
    }

    #[test]
    fn json_in_a_string_is_read_whole() {
        let request = "\\n".repeat(MAX_OPENING);
        let inner = serde_json::json!({ "request": request, "n": 7 }).to_string();
        let outer = serde_json::to_vec(&inner).unwrap();
        let mut json = Json::new(&outer);
        assert_eq!(json.rest(), outer);
        assert_eq!(json.nested().unwrap().as_deref(), Some(&*inner));
        assert_eq!((json.rest(), json.peek()), (&b""[..], None));
        assert_eq!(Json::new(b"7").nested(), Ok(None));
        assert_eq!(Json::new(br#""""#).nested(), Ok(Some("".into())));
    }

    #[test]
    fn nesting_needs_no_stack() {
        const DEPTH: usize = 1_000_000;
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            let deep = format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
            assert!(is_json(deep.as_bytes()));
            let crossed = format!("{}1{}", open.repeat(DEPTH), "]".repeat(2 * DEPTH));
            assert!(!is_json(crossed.as_bytes()), "{open}");
        }
    }

    #[test]
    fn a_count_is_a_whole_number() {
        for (number, n) in
            [("0", 0), ("-0", 0), ("12", 12), ("12.0", 12), ("1.2e1", 12), ("-3", -3)]
        {
            assert_eq!(count(number), Count::Is(n), "{number}");
        }
        assert_eq!(count("9223372036854775807"), Count::Is(i64::MAX));
        for number in
            ["9223372036854775808", "18446744073709551615", "1e400", "-1e19", "1.5", "1e-1"]
        {
            assert_eq!(count(number), Count::Bad, "{number}");
        }
        for other in [r#""12""#, "true", "[12]", "{}"] {
            assert_eq!(count(other), Count::Bad, "{other}");
        }
        assert_eq!(count("null"), Count::Absent);
    }

    #[test]
    fn a_count_that_cannot_be_true_is_zero_and_flagged() {
        let check = |count: Count, expect, is_flagged| {
            let mut flags = Flags::default();
            assert_eq!(count.clamped(&mut flags), expect, "{count:?}");
            assert_eq!(flags.contains(Flags::CLAMPED), is_flagged, "{count:?}");
        };
        check(Count::Absent, Ok(0), false);
        check(Count::Is(1_000_000_000), Ok(1_000_000_000), false);
        check(Count::Is(1_000_000_001), Ok(0), true);
        check(Count::Is(-1), Ok(0), true);
        check(Count::Bad, Err(Skip::BadNumber), false);
    }

    #[test]
    fn dollars_are_exact() {
        for (number, nanos) in [
            ("0.1", 100_000_000),
            ("0.15505", 155_050_000),
            ("12", 12_000_000_000),
            ("1.5e-3", 1_500_000),
            ("2E+1", 20_000_000_000),
            ("0.0000000005", 1),
            ("0.0000000014999", 1),
            ("0.30000000000000004", 300_000_000),
        ] {
            assert_eq!(nanousd(number), Some(nanos), "{number}");
        }
        for number in ["0", "0.0", "-1", "-0.5", "0.0000000004", "1e-400", "1e400", "99999999999"] {
            assert_eq!(nanousd(number), None, "{number}");
        }
    }

    #[test]
    fn a_time_is_rfc_3339() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-09-01T10:00:00.100Z", 1_788_256_800_100),
            ("2026-09-01T12:00:00.1009+02:00", 1_788_256_800_100),
        ] {
            assert_eq!(time_ms(text), Some(ms), "{text}");
        }
        for text in [
            "-000001-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "",
            "now",
            "2026-09-01",
            "2026-09-01T10:00:00",
            "2026-13-01T10:00:00Z",
        ] {
            assert_eq!(time_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_may_be_milliseconds() {
        for (json, ms) in [
            ("1788256800100", Some(1_788_256_800_100)),
            (r#""2026-09-01T10:00:00.100Z""#, Some(1_788_256_800_100)),
            ("253402300799999", Some(253_402_300_799_999)),
            ("253402300800000", None),
            ("-1", None),
            ("1.5", None),
            (r#""1788256800100""#, None),
            ("[1788256800100]", None),
        ] {
            assert_eq!(Json::new(json.as_bytes()).time(), Ok(ms), "{json}");
        }
    }

    proptest! {
        /// Nothing is taken for JSON that is not, and the other way round.
        #[test]
        fn json_is_what_serde_takes_for_it(bytes in json_like()) {
            let serde = serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(is_json(&bytes), serde, "{}", bytes.escape_ascii());
        }

        #[test]
        fn text_is_what_was_written(written in any::<String>()) {
            let json = serde_json::to_vec(&written).unwrap();
            let is_kept = (3..=MAX_KEPT).contains(&json.len());
            prop_assert_eq!(text(&json), is_kept.then_some(written));
        }
    }

    /// What the fuzzer begins with.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "seeds are files")]
    fn seeds_of_the_fuzzer_are_json_where_serde_says_so() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/record");
        for seed in std::fs::read_dir(seeds).unwrap() {
            let bytes = std::fs::read(seed.unwrap().path()).unwrap();
            if std::str::from_utf8(&bytes).is_ok() {
                let serde = serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
                assert_eq!(is_json(&bytes), serde, "{}", bytes.escape_ascii());
            }
        }
    }

    /// Bytes that are JSON often enough to get beyond the first error.
    fn json_like() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            8 => r#"[\[\]{},: "]"#,
            4 => r#""[a\\"/u0 \x1f]{0,9}""#,
            2 => r#""a":"#,
            4 => r"-?[0-9]{0,3}\.?[0-9]?([eE][+-]?[0-9]?)?",
            2 => "(true|false|null|tru)",
            1 => r#""[a-z ]{0,20}(\\[bfnrtux"\\/]|\\u[0-9a-fA-F]{3,4})?[a-z]{0,20}""#,
        ]
        .prop_map(String::into_bytes);
        let soup = prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
        let value =
            Just(br#"{"a":[1,-2.5e3,"x\n\u00e9 long enough for words",{}],"b":{"c":null}}"#);
        let broken =
            (value, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
                let mut value = value.to_vec();
                let at = at.index(value.len());
                value[at] = byte;
                value
            });
        let number =
            r"-?[0-9]{0,3}(\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?".prop_map(String::into_bytes);
        prop_oneof![soup, broken, number]
    }
}
