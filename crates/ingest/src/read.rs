//! Provider, source and checkpoint in, batch out.
//!
//! Only whole lines are consumed: the offset saved with a batch is always the start of a line. A
//! tail that is a complete record already is counted at once, with the offset left before it, so
//! that its newline adds nothing later.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use providers::{Appended, Around, ParseLine, Parsed, Provider, Series};
use rustix::fs::OFlags;
use rustix::io::Errno;
use usage::{Batch, Checkpoint, EventKey, Fingerprint, Skip, Skips, Source};

use crate::fingerprint::{self, Identity, MARKER_LEN};
use crate::foreign::ForeignError;
use crate::lines::{Lines, Step};
use crate::surroundings::Disk;
use crate::twin;

/// Why a source could not be read. The others go on; this one is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot open {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read {path} at offset {offset}: {source}")]
    Read { path: PathBuf, offset: u64, source: io::Error },
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("the parser gave up on {path}")]
    Panicked { path: PathBuf },
    #[error("{path} is being written")]
    Torn { path: PathBuf },
    #[error("cannot read the database {path}: {error}{}", hint(error))]
    Database { path: PathBuf, error: ForeignError },
    #[error("cannot read {path}, as what stands beside it cannot be read: {why}")]
    Surroundings { path: PathBuf, why: String },
}

fn hint(error: &ForeignError) -> &'static str {
    match error {
        ForeignError::UnsupportedSchema(_) => {
            "; its form is not known to this version, and nothing of it is guessed"
        }
        _ => "",
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Open { source, .. } | ReadError::Read { source, .. } => source,
            other => Self::new(io::ErrorKind::InvalidInput, other.to_string()),
        }
    }
}

impl ReadError {
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Database { error, .. } => error.is_missing(),
            _ => false,
        }
    }

    /// Whether it may be over in a moment, without anything happening that would be heard of.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Torn { .. } | Self::Surroundings { .. } => true,
            Self::Database { error, .. } => {
                !error.is_missing() && !matches!(error, ForeignError::UnsupportedSchema(_))
            }
            _ => false,
        }
    }

    pub(crate) fn is_lack_of_descriptors(&self) -> bool {
        let Self::Open { source, .. } = self else { return false };
        [Errno::MFILE, Errno::NFILE]
            .map(Errno::raw_os_error)
            .iter()
            .any(|lack| source.raw_os_error() == Some(*lack))
    }
}

/// How much one read may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes per turn, so that no file starves another.
    pub(crate) quantum: u64,
    /// Longest line that is parsed.
    pub(crate) max_line: usize,
}

/// A file that is being appended to has its new time before its new size, for a moment.
const GROWTH: Duration = Duration::from_millis(10);

/// Events per batch: the writer's transactions stay short.
const MAX_EVENTS: usize = 2_000;

/// What follows a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is more to read now.
    More,
    /// The end, for now.
    End,
    /// Give the series of the source with this name first.
    Parent(String),
}

/// How the lines of a source are to be parsed.
#[derive(Clone)]
pub(crate) struct Format {
    pub(crate) provider: &'static dyn Provider,
    pub(crate) appended: &'static dyn Appended,
    pub(crate) around: Arc<Disk>,
}

/// An open source: where the file and the parser stand.
pub(crate) struct Reader {
    source: Source,
    provider: &'static dyn Provider,
    appended: &'static dyn Appended,
    around: Arc<Disk>,
    file: File,
    lines: Lines<Box<dyn Read + Send>>,
    compressed: bool,
    parser: Box<dyn ParseLine>,
    parent: Option<Option<Arc<Series>>>,
    checkpoint: Checkpoint,
    anchor: Anchor,
    /// Opened to be read again from the start.
    restates: bool,
    /// What is known of the parent has changed the parser's state.
    is_told: bool,
}

/// What stood where reading began. If it changes meanwhile, the file was rewritten under the reader.
struct Anchor {
    end: u64,
    bytes: Vec<u8>,
}

impl Anchor {
    fn of_head(file: &File) -> io::Result<Self> {
        let bytes = fingerprint::bytes_before(file, MARKER_LEN as u64, MARKER_LEN)?;
        Ok(Self { end: bytes.len() as u64, bytes })
    }

    fn holds(&self, file: &File) -> io::Result<bool> {
        Ok(fingerprint::bytes_before(file, self.end, self.bytes.len())? == self.bytes)
    }
}

impl Reader {
    /// Opens a source where its checkpoint left off, or at its start when the checkpoint does not
    /// fit the file any more or `reread` asks for it.
    pub(crate) fn open(
        mut source: Source,
        format: Format,
        mut checkpoint: Checkpoint,
        reread: bool,
        limits: Limits,
    ) -> Result<Self, ReadError> {
        let mut opened = open_file(&source.path);
        if opened.as_ref().is_err_and(ReadError::is_missing)
            && let Some((twin, _)) = twin::standing(&source.path)
        {
            // It has taken the place of what was found a moment ago.
            source.path = twin;
            opened = open_file(&source.path);
        }
        let file = opened?;
        let failed = |e| failed_at(&source.path, checkpoint.offset, e);
        let mut now = fingerprint::of(&file.metadata().map_err(failed)?);
        if fingerprint::may_be_growing(&now, &checkpoint) {
            thread::park_timeout(GROWTH);
            now = fingerprint::of(&file.metadata().map_err(failed)?);
        }
        let compressed = twin::is_compressed(&source.path);
        let marker_len = checkpoint.fingerprint.marker_len.into();
        let marker =
            bytes_before(&file, compressed, checkpoint.offset, marker_len).map_err(failed)?;
        let identity = if compressed != twin::is_compressed(&checkpoint.path) {
            fingerprint::identify_twin(&marker, &checkpoint)
        } else if compressed {
            identify_compressed(&now, &checkpoint)
        } else {
            fingerprint::identify(&marker, &now, &checkpoint)
        };
        if !matches!(identity, Identity::New | Identity::Same) {
            tracing::info!(source.path = %source.path.display(), reason = ?identity, "reading a source again from its start");
            checkpoint.generation += 1;
            restart(&mut checkpoint);
        }
        if reread || checkpoint.parser_version != format.provider.version() {
            restart(&mut checkpoint);
        }
        checkpoint.fingerprint = now;
        checkpoint.parser_version = format.provider.version();
        checkpoint.path.clone_from(&source.path);
        checkpoint.last_error = None;
        checkpoint.missing_since_ms = None;
        let reader = Self::at(file, source, format, checkpoint, marker, limits)?;
        Ok(Self { restates: reread, ..reader })
    }

    /// Goes on with a file that no path may lead to any more; `None` if it is not what was read.
    pub(crate) fn go_on(
        file: File,
        source: Source,
        format: Format,
        checkpoint: Checkpoint,
        limits: Limits,
    ) -> Result<Option<Self>, ReadError> {
        let failed = |e| failed_at(&source.path, checkpoint.offset, e);
        let now = fingerprint::of(&file.metadata().map_err(failed)?);
        let marker_len = checkpoint.fingerprint.marker_len.into();
        let marker = fingerprint::bytes_before(&file, checkpoint.offset, marker_len);
        let marker = marker.map_err(failed)?;
        if fingerprint::identify(&marker, &now, &checkpoint) != Identity::Same {
            return Ok(None);
        }
        Self::at(file, source, format, checkpoint, marker, limits).map(Some)
    }

    /// What was skipped since it was last asked.
    pub(crate) fn take_skips(&mut self) -> Skips {
        std::mem::take(&mut self.checkpoint.skips)
    }

    /// The file, unless it is a compressed one: nobody appends to that.
    pub(crate) fn into_file(self) -> Option<File> {
        (!self.compressed).then_some(self.file)
    }

    /// Begins at the checkpoint's offset, before which `marker` was found to stand.
    fn at(
        file: File,
        source: Source,
        format: Format,
        checkpoint: Checkpoint,
        marker: Vec<u8>,
        limits: Limits,
    ) -> Result<Self, ReadError> {
        let Format { provider, appended, around } = format;
        let (compressed, offset) = (twin::is_compressed(&source.path), checkpoint.offset);
        let failed = |e| failed_at(&source.path, offset, e);
        let (anchor, before) = if offset > 0 {
            (Anchor { end: offset, bytes: marker.clone() }, marker)
        } else {
            (Anchor::of_head(&file).map_err(failed)?, Vec::new())
        };
        let input = input_at(&file, compressed, offset).map_err(failed)?;
        let lines = Lines::new(input, offset, checkpoint.skip_to_newline, limits.max_line);
        let parser = appended.begin(&source, &(Arc::clone(&around) as Around), &checkpoint.state);
        Ok(Self {
            source,
            provider,
            appended,
            around,
            file,
            lines: lines.after(before),
            compressed,
            parser,
            parent: None,
            checkpoint,
            anchor,
            restates: false,
            is_told: false,
        })
    }

    /// Answers [`Next::Parent`], or tells that there may be more of the parent now: reads its series,
    /// if there is such a source. What says something else by it than before is read again.
    pub(crate) fn set_parent(
        &mut self,
        path: Option<&Path>,
        limits: Limits,
    ) -> Result<(), ReadError> {
        let series = path.and_then(|path| match self.read_series(path, limits) {
            Ok(series) => Some(Arc::new(series)),
            Err(e) => {
                tracing::warn!(source.path = %self.source.path.display(), "cannot read the parent of a fork: {e}");
                None
            }
        });
        let is_outdated = self.parser.set_parent(series.as_deref().cloned());
        self.parent = Some(series);
        self.is_told = true;
        if is_outdated {
            tracing::debug!(source.path = %self.source.path.display(), "there is more of the parent: reading a fork again");
            self.start_over(limits)?;
        }
        Ok(())
    }

    fn start_over(&mut self, limits: Limits) -> Result<(), ReadError> {
        let failed = |e| failed_at(&self.source.path, 0, e);
        let input = input_at(&self.file, self.compressed, 0).map_err(failed)?;
        self.anchor = Anchor::of_head(&self.file).map_err(failed)?;
        self.lines = Lines::new(input, 0, false, limits.max_line);
        restart(&mut self.checkpoint);
        let around = Arc::clone(&self.around) as Around;
        self.parser = self.appended.begin(&self.source, &around, "");
        self.parent = None;
        self.restates = true;
        Ok(())
    }

    /// Reads one quantum.
    pub(crate) fn read(&mut self, limits: Limits) -> Result<(Batch, Next), ReadError> {
        let begin = self.lines.offset();
        let mut out = Parsed::default();
        let mut count = 0;
        self.refresh_fingerprint()?;
        let next = loop {
            if let Some(name) = self.parser.wants_parent() {
                break Next::Parent(name);
            }
            if self.lines.offset() - begin >= limits.quantum || out.events.len() >= MAX_EVENTS {
                break Next::More;
            }
            let at = self.lines.offset();
            let step = self.lines.step().map_err(|e| failed_at(&self.source.path, at, e))?;
            match step {
                Step::Line(line) => {
                    count += 1;
                    parse_line(&mut *self.parser, line, at == 0, &mut out);
                }
                Step::Oversize => {
                    count += 1;
                    out.skips.add(Skip::Oversize);
                }
                Step::Dropped => {}
                Step::End(tail) => {
                    let clean = trim(tail, at == 0);
                    if clean.last() == Some(&b'}') {
                        let around = Arc::clone(&self.around) as Around;
                        let state = self.parser.state();
                        let mut ahead = self.appended.begin(&self.source, &around, &state);
                        if let Some(series) = &self.parent {
                            ahead.set_parent(series.as_deref().cloned());
                        }
                        parse_ahead(&mut *ahead, clean, &mut out);
                    }
                    break Next::End;
                }
            }
        };
        if let Some(why) = self.around.take_failure() {
            return Err(ReadError::Surroundings { path: self.source.path.clone(), why });
        }
        let batch = self.batch(out, self.lines.offset() - begin, count, next == Next::End)?;
        Ok((batch, next))
    }

    fn batch(
        &mut self,
        out: Parsed,
        bytes: u64,
        lines: u64,
        complete: bool,
    ) -> Result<Batch, ReadError> {
        let checkpoint = &mut self.checkpoint;
        if bytes > 0 || lines > 0 || std::mem::take(&mut self.is_told) {
            checkpoint.state = self.parser.state();
        }
        checkpoint.offset = self.lines.offset();
        checkpoint.skip_to_newline = self.lines.skipping();
        checkpoint.lines += lines;
        checkpoint.skips.merge(&out.skips);
        let newest = out.events.iter().map(|e| e.ts_ms).max();
        checkpoint.last_event_ms = checkpoint.last_event_ms.max(newest);
        let metadata = self.file.metadata();
        let read = Anchor { end: checkpoint.offset, bytes: self.lines.before().to_vec() };
        // Looked at after the time was, so that a rewrite shows in the one or the other.
        let is_as_read = self.compressed || {
            let holds = |anchor: &Anchor| anchor.holds(&self.file);
            let failed = |e| failed_at(&self.source.path, checkpoint.offset, e);
            holds(&self.anchor).map_err(failed)? && holds(&read).map_err(failed)?
        };
        let marker = is_as_read.then_some(&read.bytes[..]);
        fingerprint::set_marker(&mut checkpoint.fingerprint, marker);
        if checkpoint.offset > 0 {
            self.anchor = read;
        }
        if !(complete && is_as_read) {
            // Interrupted here, the next run must not take the source for read.
            checkpoint.fingerprint.mtime_ns = 0;
        } else if let Ok(metadata) = metadata
            && metadata.len() == checkpoint.offset
        {
            // Size and time of what was read, if it did not grow beyond that meanwhile.
            let Fingerprint { size, mtime_ns, .. } = fingerprint::of(&metadata);
            (checkpoint.fingerprint.size, checkpoint.fingerprint.mtime_ns) = (size, mtime_ns);
        }
        Ok(Batch {
            events: out.events,
            retracted: out.retracted,
            withdrawn: out.withdrawn,
            checkpoint: checkpoint.clone(),
            bytes,
            lines,
            complete,
            restates: self.restates,
            amends: false,
            heard: None,
        })
    }

    /// Size and time as they are before this read: what is appended during it shows up as a change
    /// at the next look.
    fn refresh_fingerprint(&mut self) -> Result<(), ReadError> {
        let failed = |e| failed_at(&self.source.path, self.checkpoint.offset, e);
        let metadata = self.file.metadata().map_err(failed)?;
        self.checkpoint.fingerprint = fingerprint::of(&metadata);
        if !self.compressed {
            self.lines.set_limit(self.checkpoint.fingerprint.size);
        }
        Ok(())
    }

    fn read_series(&self, path: &Path, limits: Limits) -> Result<Series, ReadError> {
        let file = open_file(path)?;
        let failed = |e| failed_at(path, 0, e);
        let input = input_at(&file, twin::is_compressed(path), 0).map_err(failed)?;
        let mut lines = Lines::new(input, 0, false, limits.max_line);
        let mut series = Series::new();
        loop {
            let first = lines.offset() == 0;
            match lines.step().map_err(failed)? {
                Step::Line(line) => self.appended.series(trim(line, first), &mut series),
                Step::Oversize | Step::Dropped => {}
                Step::End(tail) => {
                    self.appended.series(trim(tail, first), &mut series);
                    return Ok(series);
                }
            }
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("provider", &self.provider.id())
            .field("path", &self.source.path)
            .field("offset", &self.lines.offset())
            .finish_non_exhaustive()
    }
}

fn failed_at(path: &Path, offset: u64, source: io::Error) -> ReadError {
    ReadError::Read { path: path.to_owned(), offset, source }
}

/// Forgets what was read, so that everything is read again.
fn restart(checkpoint: &mut Checkpoint) {
    checkpoint.offset = 0;
    checkpoint.skip_to_newline = false;
    checkpoint.state.clear();
    checkpoint.skips = Skips::default();
    checkpoint.lines = 0;
}

/// A compressed source is written once; anything else about it means other content.
fn identify_compressed(now: &usage::Fingerprint, before: &Checkpoint) -> Identity {
    if before.fingerprint.ino == 0 {
        Identity::New
    } else if fingerprint::same_file(now, &before.fingerprint)
        && now.size == before.fingerprint.size
    {
        Identity::Same
    } else {
        Identity::Replaced
    }
}

/// Never blocks on a FIFO, never follows a link, never becomes anybody's terminal.
pub(crate) fn open_file(path: &Path) -> Result<File, ReadError> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    let metadata =
        file.metadata().map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
    if metadata.is_file() { Ok(file) } else { Err(ReadError::NotAFile { path: path.to_owned() }) }
}

fn input_at(file: &File, compressed: bool, offset: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut file = file.try_clone()?;
    if compressed {
        Ok(Box::new(decoded_at(file, offset)?))
    } else {
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

fn decoded_at(mut file: File, offset: u64) -> io::Result<impl Read + Send + use<>> {
    file.seek(SeekFrom::Start(0))?;
    let mut decoder = zstd::Decoder::with_buffer(BufReader::new(file))?;
    io::copy(&mut decoder.by_ref().take(offset), &mut io::sink())?;
    Ok(decoder)
}

/// The `len` bytes before `offset`, or fewer where there are no more.
fn bytes_before(file: &File, compressed: bool, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    if !compressed {
        return fingerprint::bytes_before(file, offset, len);
    }
    let start = offset.saturating_sub(len as u64);
    let mut bytes = Vec::with_capacity(len);
    decoded_at(file.try_clone()?, start)?.take(offset - start).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A run of NULs, as a truncated file with a stale writer leaves it, is one malformed record; what
/// follows it on the line is read.
fn parse_line(parser: &mut dyn ParseLine, line: &[u8], first: bool, out: &mut Parsed) {
    let mut line = trim(line, first);
    if line.first() == Some(&0) {
        out.skips.add(Skip::Malformed);
        let run = line.iter().take_while(|b| **b == 0).count();
        line = trim(&line[run..], false);
    }
    if !line.is_empty() {
        parser.parse_line(line, out);
    }
}

/// Parses a tail that may be a whole record, and keeps the events of what is: nothing that follows
/// can change a record that has ended. Its faults are counted once the line has.
fn parse_ahead(parser: &mut dyn ParseLine, tail: &[u8], out: &mut Parsed) {
    let mut ahead = Parsed::default();
    if parser.wants_parent().is_some() {
        return;
    }
    parser.parse_line(tail, &mut ahead);
    out.events.append(&mut ahead.events);
    out.retracted.append(&mut ahead.retracted);
    let is_stated = |key: &EventKey| out.events.iter().any(|event| event.key == *key);
    out.withdrawn.append(&mut ahead.withdrawn);
    out.withdrawn.retain(|key| !is_stated(key));
}

fn trim(line: &[u8], first: bool) -> &[u8] {
    let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"type":"assistant","timestamp":"2026-01-31T00:00:00.000Z","sessionId":"s","message":{"id":"msg_1","model":"claude-sonnet-4-5","usage":{"input_tokens":1,"output_tokens":2}}}"#;

    fn open(path: &Path, checkpoint: Checkpoint, limits: Limits) -> Reader {
        let provider = *providers::ALL.iter().find(|p| p.id() == "claude-code").unwrap();
        let source = Source {
            id: 1,
            provider: provider.id(),
            path: path.to_owned(),
            root: path.parent().unwrap().to_owned(),
            mtime_ms: 0,
        };
        let appended = provider.storage(path).appended().unwrap();
        let around = Arc::new(Disk::new(Arc::new([]), None, 0));
        let format = Format { provider, appended, around };
        Reader::open(source, format, checkpoint, false, limits).unwrap()
    }

    fn start(path: &Path) -> Checkpoint {
        Checkpoint::at_start(1, "claude-code", path.to_owned(), 1)
    }

    #[test]
    fn h12_a_log_that_is_deleted_while_it_is_read_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, format!("{LINE}\n").repeat(3)).unwrap();
        let limits = Limits { quantum: 1, max_line: 1 << 20 };
        let mut reader = open(&path, start(&path), limits);
        let (batch, next) = reader.read(limits).unwrap();
        assert_eq!((batch.lines, next), (1, Next::More));
        std::fs::remove_file(&path).unwrap();
        let mut lines = batch.lines;
        loop {
            let (batch, next) = reader.read(limits).unwrap();
            lines += batch.lines;
            if next == Next::End {
                break;
            }
        }
        assert_eq!(lines, 3);
    }

    /// More than is read at once, on one line, and the process is gone in the middle of it.
    #[test]
    fn h08_an_endless_line_is_dropped_in_bounded_memory_also_across_a_restart() {
        const HUGE: usize = 200 << 20;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let file = File::create(&path).unwrap();
        file.set_len(HUGE as u64).unwrap();
        let limits = Limits { quantum: 1 << 20, max_line: 1 << 20 };
        let mut reader = open(&path, start(&path), limits);
        let mut checkpoint = start(&path);
        // Up to somewhere inside, then anew from what was saved.
        for _ in 0..20 {
            let (batch, next) = reader.read(limits).unwrap();
            assert_eq!(next, Next::More);
            checkpoint = batch.checkpoint;
        }
        assert!(checkpoint.skip_to_newline && checkpoint.offset < HUGE as u64);
        let mut reader = open(&path, checkpoint, limits);
        let mut last = loop {
            let (batch, next) = reader.read(limits).unwrap();
            assert!(reader.lines.held() < 4 << 20, "memory is bounded");
            if next == Next::End {
                break batch.checkpoint;
            }
        };
        assert_eq!(last.skips.faults(), 1, "one line, skipped once");
        // There was no newline for long; when it comes, what follows is read.
        let end = format!("\n{LINE}\n");
        std::os::unix::fs::FileExt::write_all_at(&file, end.as_bytes(), HUGE as u64).unwrap();
        let (batch, next) = open(&path, last.clone(), limits).read(limits).unwrap();
        last = batch.checkpoint;
        assert_eq!((batch.events.len(), next, last.skips.faults()), (1, Next::End, 1));
    }
}
