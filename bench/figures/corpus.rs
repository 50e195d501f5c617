//! Logs as Claude Code and Codex write them, the same in every run, counted as they are written.
//!
//! In size and shape as real ones: most bytes are results of tools, a response is one to five lines
//! whose first ones hold a placeholder for its output, sessions have subagents and are resumed or
//! forked with a copy of what was before, counters are repeated. None of that counts twice.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::totals::{CODEX, Call, HAIKU, MODELS, Totals};

/// 2026-06-23, and so many days from there on.
const FIRST_MS: u64 = 1_782_172_800_000;
const DAYS: u64 = 150;
const HOUR_MS: u64 = 3_600_000;
const PROJECTS: u64 = 40;

/// A home with logs, and what is in them.
pub(crate) struct Corpus {
    pub(crate) home: PathBuf,
    pub(crate) totals: Totals,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

impl Corpus {
    /// Writes about so many bytes of logs.
    pub(crate) fn write(home: &Path, bytes: u64) -> Self {
        let mut random = Random(0x0123_4567_89ab_cdef);
        let pool = Pool::new(&mut random);
        let corpus = Self { home: home.to_owned(), totals: Totals::default(), bytes: 0, files: 0 };
        let mut author =
            Author { corpus, random, pool: &pool, now_ms: 0, claude: None, codex: None };
        while author.corpus.bytes < bytes {
            if author.random.one_in(6) { author.codex() } else { author.claude() }
        }
        author.corpus
    }

    /// A home that somebody else has made.
    pub(crate) fn found(dir: &Path) -> Self {
        let below = dir.join("home");
        let home = fs::canonicalize(if below.is_dir() { &below } else { dir }).unwrap();
        let (mut bytes, mut files) = (0, 0);
        let mut folders = vec![home.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += entry.metadata().unwrap().len();
                    files += 1;
                }
            }
        }
        Self { totals: Totals::beside(&home), home, bytes, files }
    }
}

/// Text as it stands in a JSON string, of which any piece is one slice.
struct Pool {
    text: String,
    /// Where its lines begin.
    lines: Vec<usize>,
}

impl Pool {
    fn new(random: &mut Random) -> Self {
        const SIZE: usize = 2 << 20;
        const WORDS: [&str; 32] = [
            "fn",
            "let",
            "match",
            "return",
            "self.cursor",
            "&mut",
            "Vec<u8>",
            "Option<Event>",
            "=>",
            "{",
            "}",
            "(index, item)",
            "buffer",
            "parse",
            "reader",
            "// the",
            "offset",
            "of",
            "each",
            "chunk",
            "\\\"text\\\"",
            "where",
            "impl",
            "pub",
            "async",
            "0x1f",
            "==",
            "while",
            "session",
            "→",
            "“ok”",
            "\\t",
        ];
        let (mut text, mut lines) = (String::with_capacity(SIZE + 256), Vec::new());
        while text.len() < SIZE {
            lines.push(text.len());
            text.push_str(&"    "[..random.below(5)]);
            for _ in 0..random.below(14) {
                text.push_str(WORDS[random.below(WORDS.len())]);
                text.push(' ');
            }
            text.push_str("\\n");
        }
        Self { text, lines }
    }

    /// Whole lines, about `bytes` of them.
    fn take(&self, random: &mut Random, bytes: usize) -> &str {
        let begin = self.lines[random.below(self.lines.len())];
        let begin = if begin + bytes < self.text.len() { begin } else { 0 };
        let end = self.lines.partition_point(|line| *line <= begin + bytes);
        &self.text[begin..self.lines.get(end).copied().unwrap_or(self.text.len())]
    }
}

struct Author<'p> {
    corpus: Corpus,
    random: Random,
    pool: &'p Pool,
    /// When what is written next happens.
    now_ms: u64,
    /// The latest sessions, to be copied: id, lines, and Codex's counters.
    claude: Option<(String, String)>,
    codex: Option<(String, String, [i64; 4])>,
}

/// A Claude Code session, or one of its subagents.
struct Session {
    head: String,
    is_subagent: bool,
    model: usize,
    has_long_cache: bool,
    context: i64,
}

impl<'p> Author<'p> {
    fn text(&mut self, median: f64, spread: f64) -> &'p str {
        let bytes = self.random.around(median, spread, 20.0, 400_000.0);
        self.pool.take(&mut self.random, usize::try_from(bytes).unwrap())
    }

    fn time(&self) -> String {
        let ms = i64::try_from(self.now_ms).unwrap();
        format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap())
    }

    fn pass(&mut self, median_ms: f64) {
        self.now_ms += self.random.around(median_ms, 1.0, 20.0, 2e7);
    }

    fn begin_at_some_time(&mut self) {
        let day = self.random.up_to(DAYS);
        self.now_ms = FIRST_MS + day * 24 * HOUR_MS + self.random.up_to(24 * HOUR_MS);
    }

    fn save(&mut self, path: &str, text: &str) {
        let path = self.corpus.home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.corpus.bytes += text.len() as u64;
        self.corpus.files += 1;
    }

    fn count(&mut self, ts: &str, call: &Call) {
        self.corpus.totals.count(&ts[..10], call);
    }

    fn claude(&mut self) {
        self.begin_at_some_time();
        let (id, project) = (self.random.uuid(), self.random.up_to(PROJECTS));
        let cwd = format!("/home/dev/work/project-{project}");
        let folder = format!(".claude/projects/{}", cwd.replace('/', "-"));
        let calls = self.random.around(45.0, 1.0, 3.0, 1_500.0);
        let (begun_ms, model) = (self.now_ms, self.random.below(10).saturating_sub(6));
        let text = self.session(&id, &cwd, None, model, calls);
        if self.random.one_in(4) {
            for _ in 0..=self.random.below(3) {
                self.now_ms = begun_ms + 30_000;
                let agent = &self.random.uuid()[..8];
                let log = self.session(&id, &cwd, Some(agent), HAIKU, calls / 5 + 3);
                self.save(&format!("{folder}/{id}/subagents/agent-{agent}.jsonl"), &log);
            }
        }
        let copied = match &self.claude {
            Some((other, lines)) if self.random.one_in(20) => lines.replace(other, &id),
            _ => String::new(),
        };
        self.save(&format!("{folder}/{id}.jsonl"), &(copied + &text));
        if calls < 100 {
            self.claude = Some((id, text));
        }
    }

    fn session(
        &mut self,
        id: &str,
        cwd: &str,
        agent: Option<&str>,
        model: usize,
        calls: u64,
    ) -> String {
        let is_subagent = agent.is_some();
        let agent = agent.map_or(String::new(), |agent| format!(r#","agentId":"{agent}""#));
        let head = format!(
            r#""isSidechain":{is_subagent},"userType":"external","cwd":"{cwd}","sessionId":"{id}","version":"2.0.76","gitBranch":"main"{agent}"#
        );
        let has_long_cache = self.random.below(10) < 3;
        let mut session = Session { head, is_subagent, model, has_long_cache, context: 14_000 };
        let (mut text, mut needs_prompt) = (String::new(), true);
        for _ in 0..calls {
            if needs_prompt {
                self.prompt(&session, &mut text);
            }
            needs_prompt = self.random.below(100) < 15;
            self.response(&mut session, needs_prompt, &mut text);
        }
        text
    }

    fn line(&mut self, session: &Session, rest: &str, text: &mut String) {
        let (parent, uuid, ts) = (self.random.uuid(), self.random.uuid(), self.time());
        let head = &session.head;
        writeln!(
            text,
            r#"{{"parentUuid":"{parent}",{head},{rest},"uuid":"{uuid}","timestamp":"{ts}"}}"#
        )
        .unwrap();
    }

    fn prompt(&mut self, session: &Session, text: &mut String) {
        let said = self.text(180.0, 1.0);
        let rest = format!(r#""type":"user","message":{{"role":"user","content":"{said}"}}"#);
        self.line(session, &rest, text);
        if !session.is_subagent {
            self.corpus.totals.prompt();
        }
        self.pass(1_500.0);
    }

    /// One call: its lines, and what its tool said.
    fn response(&mut self, session: &mut Session, is_last: bool, text: &mut String) {
        let created = i64::try_from(self.random.up_to(900)).unwrap() + 150;
        let output = i64::try_from(self.random.around(170.0, 1.1, 9.0, 16_000.0)).unwrap();
        let (write, write_1h) = if session.has_long_cache { (0, created) } else { (created, 0) };
        let input = i64::try_from(self.random.up_to(12)).unwrap() + 1;
        let read = session.context;
        let call = Call { model: session.model, input, output, read, write, write_1h };
        self.count(&self.time(), &call);

        let lines = match self.random.below(100) {
            0..45 => 1,
            45..80 => 2,
            80..92 => 3,
            92..97 => 4,
            _ => 5,
        };
        let ids = (self.random.letters(22), self.random.letters(20), self.random.letters(22));
        let is_streamed = self.random.below(10) < 6;
        for line in 1..=lines {
            let is_whole = line == lines || !is_streamed;
            let said = if is_whole { output } else { 1 + i64::from(line) };
            let (block, stop) = self.block(line == lines, is_last, &ids.2);
            let model = MODELS[session.model].name;
            let rest = format!(
                r#""message":{{"model":"{model}","id":"msg_01{}","type":"message","role":"assistant","content":[{block}],"stop_reason":{stop},"stop_sequence":null,"usage":{{"input_tokens":{input},"cache_creation_input_tokens":{created},"cache_read_input_tokens":{read},"cache_creation":{{"ephemeral_5m_input_tokens":{write},"ephemeral_1h_input_tokens":{write_1h}}},"output_tokens":{said},"service_tier":"standard"}}}},"requestId":"req_011C{}","type":"assistant""#,
                ids.0, ids.1
            );
            self.line(session, &rest, text);
            self.pass(800.0);
        }
        session.context += created + output;
        if !is_last {
            let (result, tool) = (self.text(1_100.0, 1.35), &ids.2);
            let rest = format!(
                r#""type":"user","message":{{"role":"user","content":[{{"tool_use_id":"toolu_01{tool}","type":"tool_result","content":"{result}"}}]}},"toolUseResult":{{"stdout":"{result}","stderr":"","interrupted":false,"isImage":false}}"#
            );
            self.pass(2_000.0);
            self.line(session, &rest, text);
            session.context += i64::try_from(result.len() / 8).unwrap();
        }
        // What is over is summarised. Dearer prices of long contexts are another matter.
        if session.context > 165_000 {
            session.context = 20_000;
        }
        self.pass(if is_last { 60_000.0 } else { 1_000.0 });
    }

    fn block(&mut self, is_end: bool, is_last: bool, tool: &str) -> (String, &'static str) {
        match (is_end, is_last) {
            (true, false) => {
                let (old, new) = (self.text(90.0, 1.2), self.text(120.0, 1.4));
                let input = format!(
                    r#"{{"file_path":"src/a.rs","old_string":"{old}","new_string":"{new}"}}"#
                );
                let block = format!(
                    r#"{{"type":"tool_use","id":"toolu_01{tool}","name":"Edit","input":{input}}}"#
                );
                (block, r#""tool_use""#)
            }
            (true, true) => (
                format!(r#"{{"type":"text","text":"{}"}}"#, self.text(220.0, 1.0)),
                r#""end_turn""#,
            ),
            (false, _) => {
                let (thought, signature) = (self.text(500.0, 0.9), self.random.letters(700));
                let block = format!(
                    r#"{{"type":"thinking","thinking":"{thought}","signature":"{signature}"}}"#
                );
                (block, "null")
            }
        }
    }

    fn codex(&mut self) {
        self.begin_at_some_time();
        let (id, project) = (self.random.uuid(), self.random.up_to(PROJECTS));
        let (mut text, mut totals) = (String::new(), [0; 4]);
        let copied = self.codex.take_if(|_| self.random.one_in(16));
        let forked = copied
            .as_ref()
            .map_or(String::new(), |(other, ..)| format!(r#","forked_from_id":"{other}""#));
        let cwd = format!("/home/dev/work/project-{project}");
        let (ts, instructions) = (self.time(), self.text(9_000.0, 0.1));
        let began = ts[..19].replace(':', "-");
        let meta = format!(
            r#"{{"id":"{id}"{forked},"timestamp":"{ts}","cwd":"{cwd}","originator":"codex_cli_rs","cli_version":"0.98.0","source":"cli","model_provider":"openai","base_instructions":{{"text":"{instructions}"}}}}"#
        );
        self.record("session_meta", &meta, &mut text);
        if let Some((_, lines, counted)) = copied {
            text.push_str(&lines);
            totals = counted;
        }
        let turns = self.random.around(45.0, 0.9, 3.0, 900.0);
        for turn in 0..turns {
            self.turn(&cwd, turn % 6 == 0, &mut totals, &mut text);
        }
        let folder = format!(".codex/sessions/{}", began[..10].replace('-', "/"));
        self.save(&format!("{folder}/rollout-{began}-{id}.jsonl"), &text);
        if turns < 100 {
            self.codex = Some((id, text, totals));
        }
    }

    fn record(&mut self, kind: &str, payload: &str, text: &mut String) {
        let ts = self.time();
        writeln!(text, r#"{{"timestamp":"{ts}","type":"{kind}","payload":{payload}}}"#).unwrap();
    }

    fn turn(&mut self, cwd: &str, is_prompted: bool, totals: &mut [i64; 4], text: &mut String) {
        let model = MODELS[CODEX].name;
        let context = format!(
            r#"{{"cwd":"{cwd}","approval_policy":"on-request","model":"{model}","effort":"medium"}}"#
        );
        self.record("turn_context", &context, text);
        if is_prompted {
            let said = self.text(200.0, 1.0);
            let message = format!(r#"{{"type":"user_message","message":"{said}","kind":"plain"}}"#);
            self.record("event_msg", &message, text);
            self.corpus.totals.prompt();
        }
        let thought = self.random.letters(2_000);
        let reasoning = format!(
            r#"{{"type":"reasoning","summary":[],"content":null,"encrypted_content":"{thought}"}}"#
        );
        self.record("response_item", &reasoning, text);
        let (tool, result) = (self.random.letters(24), self.text(1_100.0, 1.35));
        let called = format!(
            r#"{{"type":"function_call","name":"shell","arguments":"{{}}","call_id":"call_{tool}"}}"#
        );
        self.record("response_item", &called, text);
        self.pass(3_000.0);
        let output = format!(
            r#"{{"type":"function_call_output","call_id":"call_{tool}","output":"{result}"}}"#
        );
        self.record("response_item", &output, text);

        let input = i64::try_from(self.random.up_to(200_000)).unwrap() + 9_000;
        let cached = if self.random.one_in(14) { 0 } else { input / 128 * 127 };
        let output = i64::try_from(self.random.around(250.0, 1.0, 5.0, 9_000.0)).unwrap();
        let last = [input, cached, output, output / 3];
        totals.iter_mut().zip(last).for_each(|(total, more)| *total += more);
        let ts = self.time();
        let call = Call {
            model: CODEX,
            input: input - cached,
            output,
            read: cached,
            write: 0,
            write_1h: 0,
        };
        self.count(&ts, &call);
        let count = format!(
            r#"{{"type":"token_count","info":{{"total_token_usage":{},"last_token_usage":{},"model_context_window":272000}},"rate_limits":{{"primary":{{"used_percent":12.5,"window_minutes":300}}}}}}"#,
            counters(*totals),
            counters(last)
        );
        self.record("event_msg", &count, text);
        while self.random.below(10) < 3 {
            self.pass(1_000.0);
            self.record("event_msg", &count, text);
        }
        self.pass(9_000.0);
    }
}

fn counters([input, cached, output, reasoning]: [i64; 4]) -> String {
    let total = input + output;
    format!(
        r#"{{"input_tokens":{input},"cached_input_tokens":{cached},"output_tokens":{output},"reasoning_output_tokens":{reasoning},"total_tokens":{total}}}"#
    )
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn up_to(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.up_to(n as u64)).unwrap()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.up_to(n) == 0
    }

    /// Log-normal: half are below the median, a few are many times it. The normal part is the sum of
    /// twelve even ones.
    fn around(&mut self, median: f64, spread: f64, least: f64, most: f64) -> u64 {
        let normal =
            (0..12).map(|_| self.up_to(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0;
        let value = (median * (spread * normal).exp()).clamp(least, most);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let whole = value as u64;
        whole
    }

    fn letters(&mut self, n: usize) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AB";
        let mut text = String::with_capacity(n);
        while text.len() < n {
            let mut bits = self.next();
            for _ in 0..(n - text.len()).min(10) {
                text.push(char::from(LETTERS[(bits % 64) as usize]));
                bits >>= 6;
            }
        }
        text
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}
