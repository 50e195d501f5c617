//! Cuts a stream of bytes into whole lines, in bounded memory.

use std::io::{self, Read};

use memchr::memchr;

use crate::fingerprint::MARKER_LEN;

/// How much is asked of the file at once.
const CHUNK: usize = 256 * 1024;

/// What the next step through a source met.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// One line, without its newline.
    Line(&'a [u8]),
    /// A line over the limit begins here; its bytes are dropped up to its newline.
    Oversize,
    /// More of its bytes were dropped. It may be endless: others have their turn in between.
    Dropped,
    /// The end for now; these bytes are not yet a line.
    End(&'a [u8]),
}

/// Lines of one source, read in order from an offset.
pub(crate) struct Lines<R> {
    input: R,
    buf: Vec<u8>,
    /// Bytes of `buf` not yet handed out: `start..end`; no newline before `scanned`.
    start: usize,
    scanned: usize,
    end: usize,
    /// Offset in the source of `buf[start]`.
    offset: u64,
    /// The last bytes before `buf[remembered]` that were handed out or dropped.
    before: Vec<u8>,
    remembered: usize,
    /// The bytes at `offset` belong to an oversized line.
    skipping: bool,
    /// Nothing is read from here on.
    limit: u64,
    max_line: usize,
}

impl<R: Read> Lines<R> {
    /// `input` stands at `offset`.
    pub(crate) fn new(input: R, offset: u64, skipping: bool, max_line: usize) -> Self {
        Self {
            input,
            buf: Vec::new(),
            start: 0,
            scanned: 0,
            end: 0,
            offset,
            before: Vec::new(),
            remembered: 0,
            skipping,
            limit: u64::MAX,
            max_line,
        }
    }

    /// Ends at this offset, for now. A file that is rewritten meanwhile would otherwise go on with
    /// other bytes in the middle of a line.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Says what stands before the offset that reading begins at.
    pub(crate) fn after(mut self, before: Vec<u8>) -> Self {
        self.before = before;
        self
    }

    /// The last bytes before the offset, as they were read.
    pub(crate) fn before(&mut self) -> &[u8] {
        let from = self.remembered.max(self.start.saturating_sub(MARKER_LEN));
        self.before.extend(&self.buf[from..self.start]);
        self.before.drain(..self.before.len().saturating_sub(MARKER_LEN));
        self.remembered = self.start;
        &self.before
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn skipping(&self) -> bool {
        self.skipping
    }

    /// Bytes of memory that it takes.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buf.capacity() + self.before.capacity()
    }

    pub(crate) fn step(&mut self) -> io::Result<Step<'_>> {
        loop {
            if let Some(at) = memchr(b'\n', &self.buf[self.scanned..self.end]) {
                let line = self.start..self.scanned + at;
                self.take(line.len() + 1);
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                // However much of it was read at once: a line counts or not whatever the pace.
                if line.len() > self.max_line {
                    return Ok(Step::Oversize);
                }
                return Ok(Step::Line(&self.buf[line]));
            }
            self.scanned = self.end;
            if self.skipping && self.start < self.end {
                self.take(self.end - self.start);
                return Ok(Step::Dropped);
            }
            if self.end - self.start > self.max_line {
                self.take(self.end - self.start);
                self.before();
                self.buf = Vec::new();
                (self.start, self.scanned, self.end, self.remembered) = (0, 0, 0, 0);
                self.skipping = true;
                return Ok(Step::Oversize);
            }
            if !self.fill()? {
                return Ok(Step::End(&self.buf[self.start..self.end]));
            }
        }
    }

    fn take(&mut self, n: usize) {
        self.start += n;
        self.scanned = self.start;
        self.offset += n as u64;
    }

    /// Reads more bytes behind those not yet handed out; false at the end of the input.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.before();
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned -= self.start;
            (self.start, self.remembered) = (0, 0);
        }
        if self.buf.len() - self.end < CHUNK {
            // A long line doubles the buffer, so that reading it stays linear.
            let room = (self.buf.len() * 2).clamp(self.end + CHUNK, self.max_line + 2 * CHUNK);
            self.buf.resize(room.max(self.end + CHUNK), 0);
        }
        let at = self.offset + (self.end - self.start) as u64;
        let left = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
        let end = self.end.saturating_add(left).min(self.buf.len());
        let n = loop {
            match self.input.read(&mut self.buf[self.end..end]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.end += n;
        Ok(n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps as text: `line`, `!` for an oversized line, `...tail` at the end.
    fn check(input: &[u8], max_line: usize, expect: &[&str]) {
        let mut lines = Lines::new(input, 0, false, max_line);
        let mut got = Vec::new();
        loop {
            match lines.step().unwrap() {
                Step::Line(line) => got.push(String::from_utf8_lossy(line).into_owned()),
                Step::Oversize => got.push("!".into()),
                Step::Dropped => {}
                Step::End(tail) => {
                    got.push(format!("...{}", String::from_utf8_lossy(tail)));
                    break;
                }
            }
        }
        assert_eq!(got, expect);
    }

    #[test]
    fn nothing_is_read_beyond_the_limit() {
        let mut lines = Lines::new(&b"one\ntwo\nthree\n"[..], 0, false, 99);
        lines.set_limit(6);
        assert!(matches!(lines.step().unwrap(), Step::Line(b"one")));
        assert!(matches!(lines.step().unwrap(), Step::End(b"tw")));
        lines.set_limit(14);
        assert!(matches!(lines.step().unwrap(), Step::Line(b"two")));
        assert!(matches!(lines.step().unwrap(), Step::Line(b"three")));
    }

    #[test]
    fn what_stands_before_the_offset_is_what_was_read() {
        let mut input = vec![b'x'; 2 * CHUNK];
        input.extend(b"\nsecond\n");
        input.extend(vec![b'y'; CHUNK]);
        input.extend(b"\nlast\ntail");
        for max_line in [4 * CHUNK, CHUNK / 2] {
            let mut lines = Lines::new(&input[3..], 3, false, max_line).after(b"xxx".to_vec());
            assert_eq!(lines.before(), b"xxx");
            while !matches!(lines.step().unwrap(), Step::End(_)) {
                let end = usize::try_from(lines.offset()).unwrap();
                assert_eq!(lines.before(), &input[end.saturating_sub(MARKER_LEN)..end]);
            }
        }
    }

    #[test]
    fn whole_lines_and_a_tail() {
        check(b"a\n\nbc\nd", 9, &["a", "", "bc", "...d"]);
        check(b"", 9, &["..."]);
        check(b"a\n", 9, &["a", "..."]);
    }

    #[test]
    fn an_oversized_line_is_dropped_and_the_next_one_read() {
        let mut input = vec![b'x'; 3 * CHUNK];
        input.extend(b"\nok\n");
        check(&input, CHUNK, &["!", "ok", "..."]);
    }

    #[test]
    fn an_oversized_line_without_end_leaves_no_tail() {
        check(&vec![b'x'; 3 * CHUNK], CHUNK, &["!", "..."]);
    }

    #[test]
    fn skipping_goes_on_after_a_restart() {
        let mut lines = Lines::new(&b"rest of it\nok\n"[..], 7, true, 9);
        assert!(matches!(lines.step().unwrap(), Step::Line(b"ok")));
        assert_eq!(lines.offset(), 21);
    }

    #[test]
    fn a_line_of_many_chunks_is_whole() {
        let mut input = vec![b'x'; 5 * CHUNK + 17];
        input.extend(b"\nok\n");
        let mut lines = Lines::new(&input[..], 0, false, 64 * CHUNK);
        assert!(matches!(lines.step().unwrap(), Step::Line(l) if l.len() == 5 * CHUNK + 17));
        assert!(matches!(lines.step().unwrap(), Step::Line(b"ok")));
        assert_eq!(lines.offset(), input.len() as u64);
    }

    /// Its buffer is made once, whatever the number of lines: counted, not timed, so that it holds on
    /// any machine.
    #[test]
    fn reading_lines_allocates_only_the_buffer() {
        const BOUND: u64 = 6;
        let input = b"x".repeat(99).into_iter().chain([b'\n']).collect::<Vec<u8>>().repeat(100_000);
        let mut lines = Lines::new(&input[..], 0, false, CHUNK);
        let mut read = 0;
        let work = allocation_counter::measure(|| {
            while let Step::Line(_) = lines.step().unwrap() {
                read += 1;
            }
        });
        let allocations = work.count_total;
        println!("{read} lines allocate {allocations} times (bound {BOUND})");
        assert_eq!(read, 100_000);
        assert!(
            allocations <= BOUND,
            "{read} lines allocate {allocations} times, the bound is {BOUND}: raise it here if the \
             work is meant"
        );
    }
}
