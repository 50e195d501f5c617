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
const DAY_MS: u64 = 86_400_000;
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
        let totals = Totals::none_yet();
        let corpus = Self { home: home.to_owned(), totals, bytes: 0, files: 0 };
        let mut random = Random(0x0123_4567_89ab_cdef);
        let pool = Pool::new(&mut random);
        let mut author =
            Author { corpus, random, pool: &pool, now_ms: 0, claude: None, codex: None };
        while author.corpus.bytes < bytes {
            if author.random.one_in(6) { author.codex() } else { author.claude() }
        }
        author.corpus
    }

    /// A home that somebody else has made, or the folder it is in.
    pub(crate) fn found(dir: &Path) -> Self {
        let below = dir.join("home");
        let home = fs::canonicalize(if below.is_dir() { &below } else { dir }).unwrap();
        let (mut bytes, mut files, mut folders) = (0, 0, vec![home.clone()]);
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
        const WORDS: &str = "fn let match return self.cursor &mut Vec<u8> Option<Event> => { } \
            (index,item) buffer parse reader // the offset of each chunk \\\"text\\\" where impl \
            pub async 0x1f == while session → “ok” \\t";
        let words: Vec<&str> = WORDS.split(' ').collect();
        let (mut text, mut lines) = (String::with_capacity(SIZE + 256), Vec::new());
        while text.len() < SIZE {
            lines.push(text.len());
            for _ in 0..random.up_to(14) {
                text.push_str(words[random.up_to(words.len() as u64) as usize]);
                text.push(' ');
            }
            text.push_str("\\n");
        }
        Self { text, lines }
    }

    /// Whole lines, about `bytes` of them.
    fn take(&self, random: &mut Random, bytes: usize) -> &str {
        let begin = self.lines[random.up_to(self.lines.len() as u64) as usize];
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
    /// The latest sessions, to be copied: id, lines, and Codex's counters and end.
    claude: Option<(String, String)>,
    codex: Option<(String, String, [i64; 4], u64)>,
}

impl<'p> Author<'p> {
    fn text(&mut self, median: f64, spread: f64) -> &'p str {
        let bytes = self.random.around(median, spread, 20.0, 400_000.0);
        self.pool.take(&mut self.random, bytes as usize)
    }

    fn time(&self) -> String {
        format!("{:.3}", jiff::Timestamp::from_millisecond(self.now_ms as i64).unwrap())
    }

    fn pass(&mut self, median_ms: f64) {
        self.now_ms += self.random.around(median_ms, 1.0, 20.0, 2e7);
    }

    /// Begins a session at some time: its id, and the number of its project.
    fn begin(&mut self) -> (String, u64) {
        self.now_ms = FIRST_MS + self.random.up_to(DAYS * DAY_MS);
        (self.random.uuid(), self.random.up_to(PROJECTS))
    }

    fn save(&mut self, path: &str, text: &str) {
        let path = self.corpus.home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.corpus.bytes += text.len() as u64;
        self.corpus.files += 1;
    }

    fn claude(&mut self) {
        let (id, project) = self.begin();
        let cwd = format!("/home/dev/code/project-{project}");
        let folder = format!(".claude/projects/{}", cwd.replace('/', "-"));
        let head =
            format!(r#""userType":"external","cwd":"{cwd}","sessionId":"{id}","version":"2.0.76""#);
        let calls = self.random.around(45.0, 1.0, 3.0, 1_500.0);
        let (begun_ms, model) = (self.now_ms, self.random.up_to(10).saturating_sub(6) as usize);
        let text = self.session(&format!(r#""isSidechain":false,{head}"#), model, calls);
        if self.random.one_in(4) {
            for _ in 0..=self.random.up_to(3) {
                self.now_ms = begun_ms + 30_000;
                let agent = &self.random.uuid()[..8];
                let head = format!(r#""isSidechain":true,"agentId":"{agent}",{head}"#);
                let log = self.session(&head, HAIKU, calls / 5 + 3);
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

    fn session(&mut self, head: &str, model: usize, calls: u64) -> String {
        let has_long_cache = self.random.up_to(10) < 3;
        let (mut text, mut needs_prompt, mut context) = (String::new(), true, 14_000);
        for _ in 0..calls {
            if needs_prompt {
                let said = self.text(180.0, 1.0);
                let prompt =
                    format!(r#""type":"user","message":{{"role":"user","content":"{said}"}}"#);
                self.line(head, &prompt, &mut text);
                if !head.contains("agentId") {
                    self.corpus.totals.prompt();
                }
                self.pass(1_500.0);
            }
            needs_prompt = self.random.up_to(100) < 15;
            let created = 150 + self.random.up_to(900) as i64;
            let output = self.random.around(170.0, 1.1, 9.0, 16_000.0) as i64;
            let (write, write_1h) = if has_long_cache { (0, created) } else { (created, 0) };
            let input = 1 + self.random.up_to(12) as i64;
            let call = Call { model, tokens: [input, output, context, write, write_1h] };
            let result = self.response(head, &call, needs_prompt, &mut text);
            context += created + output + result / 8;
            // What is over is summarised. Dearer prices of long contexts are another matter.
            if context > 165_000 {
                context = 20_000;
            }
        }
        text
    }

    fn line(&mut self, head: &str, rest: &str, text: &mut String) {
        let (parent, uuid, ts) = (self.random.uuid(), self.random.uuid(), self.time());
        let ids = format!(r#""uuid":"{uuid}","timestamp":"{ts}""#);
        writeln!(text, r#"{{"parentUuid":"{parent}",{head},{rest},{ids}}}"#).unwrap();
    }

    /// The lines of one call and of what its tool said, whose length is returned.
    fn response(&mut self, head: &str, call: &Call, is_last: bool, text: &mut String) -> i64 {
        self.corpus.totals.count(&self.time(), call);
        let lines = match self.random.up_to(100) {
            0..45 => 1,
            45..80 => 2,
            80..92 => 3,
            92..97 => 4,
            _ => 5,
        };
        let (id, request) = (self.random.letters(22), self.random.letters(20));
        let tool = self.random.letters(22);
        let is_streamed = self.random.up_to(10) < 6;
        let (model, [input, output, read, write, write_1h]) = (MODELS[call.model].0, call.tokens);
        for line in 1..=lines {
            let is_end = line == lines;
            let said = if is_end || !is_streamed { output } else { 1 + line };
            let (block, stop) = self.block(is_end, is_last, &tool);
            let created = write + write_1h;
            let usage = format!(
                r#"{{"input_tokens":{input},"cache_creation_input_tokens":{created},"cache_read_input_tokens":{read},"cache_creation":{{"ephemeral_5m_input_tokens":{write},"ephemeral_1h_input_tokens":{write_1h}}},"output_tokens":{said},"service_tier":"standard"}}"#
            );
            let rest = format!(
                r#""message":{{"model":"{model}","id":"msg_01{id}","type":"message","role":"assistant","content":[{block}],"stop_reason":{stop},"usage":{usage}}},"requestId":"req_011C{request}","type":"assistant""#
            );
            self.line(head, &rest, text);
            self.pass(800.0);
        }
        if is_last {
            self.pass(60_000.0);
            return 0;
        }
        self.pass(2_000.0);
        let result = self.text(1_100.0, 1.35);
        let rest = format!(
            r#""type":"user","message":{{"role":"user","content":[{{"tool_use_id":"toolu_01{tool}","type":"tool_result","content":"{result}"}}]}},"toolUseResult":{{"stdout":"{result}","stderr":"","interrupted":false}}"#
        );
        self.line(head, &rest, text);
        result.len() as i64
    }

    /// A piece of a response, and why the response ended with it.
    fn block(&mut self, is_end: bool, is_last: bool, tool: &str) -> (String, &'static str) {
        let said = self.text(250.0, 1.2);
        if !is_end {
            let signature = self.random.letters(700);
            let thought = format!(r#""thinking":"{said}","signature":"{signature}""#);
            (format!(r#"{{"type":"thinking",{thought}}}"#), "null")
        } else if is_last {
            (format!(r#"{{"type":"text","text":"{said}"}}"#), r#""end_turn""#)
        } else {
            let input = format!(r#"{{"file_path":"src/a.rs","new_string":"{said}"}}"#);
            let called = format!(r#""id":"toolu_01{tool}","name":"Edit","input":{input}"#);
            (format!(r#"{{"type":"tool_use",{called}}}"#), r#""tool_use""#)
        }
    }

    fn codex(&mut self) {
        let (id, project) = self.begin();
        let (mut text, mut totals, mut forked) = (String::new(), [0; 4], String::new());
        let copied = self.codex.take_if(|_| self.random.one_in(16));
        if let Some((parent, _, _, end_ms)) = &copied {
            self.now_ms = end_ms + 3_600_000;
            forked = format!(r#","forked_from_id":"{parent}""#);
        }
        let cwd = format!("/home/dev/code/project-{project}");
        let (ts, instructions) = (self.time(), self.text(9_000.0, 0.1));
        let meta = format!(
            r#"{{"id":"{id}"{forked},"timestamp":"{ts}","cwd":"{cwd}","originator":"codex_cli_rs","cli_version":"0.98.0","source":"cli","base_instructions":{{"text":"{instructions}"}}}}"#
        );
        self.record("session_meta", &meta, &mut text);
        if let Some((_, lines, counted, _)) = copied {
            text.push_str(&lines);
            totals = counted;
        }
        let turns = self.random.around(45.0, 0.9, 3.0, 900.0);
        for turn in 0..turns {
            self.turn(&cwd, turn % 6 == 0, &mut totals, &mut text);
        }
        let (folder, began) = (ts[..10].replace('-', "/"), ts[..19].replace(':', "-"));
        self.save(&format!(".codex/sessions/{folder}/rollout-{began}-{id}.jsonl"), &text);
        if turns < 100 {
            self.codex = Some((id, text, totals, self.now_ms));
        }
    }

    fn record(&mut self, kind: &str, payload: &str, text: &mut String) {
        let ts = self.time();
        writeln!(text, r#"{{"timestamp":"{ts}","type":"{kind}","payload":{payload}}}"#).unwrap();
    }

    fn turn(&mut self, cwd: &str, is_prompted: bool, totals: &mut [i64; 4], text: &mut String) {
        let context =
            format!(r#"{{"cwd":"{cwd}","model":"{}","effort":"medium"}}"#, MODELS[CODEX].0);
        self.record("turn_context", &context, text);
        if is_prompted {
            let said = self.text(200.0, 1.0);
            let message = format!(r#"{{"type":"user_message","message":"{said}","kind":"plain"}}"#);
            self.record("event_msg", &message, text);
            self.corpus.totals.prompt();
        }
        let thought = format!(r#""encrypted_content":"{}""#, self.random.letters(2_000));
        let reasoning = format!(r#"{{"type":"reasoning","summary":[],"content":null,{thought}}}"#);
        self.record("response_item", &reasoning, text);
        self.pass(3_000.0);
        let result = self.text(1_100.0, 1.35);
        let tool = format!(r#""call_id":"call_{}","output":"{result}""#, self.random.letters(24));
        self.record("response_item", &format!(r#"{{"type":"function_call_output",{tool}}}"#), text);

        let input = 9_000 + self.random.up_to(200_000) as i64;
        let cached = if self.random.one_in(14) { 0 } else { input / 128 * 127 };
        let output = self.random.around(250.0, 1.0, 5.0, 9_000.0) as i64;
        let last = [input, cached, output, output / 3];
        totals.iter_mut().zip(last).for_each(|(total, more)| *total += more);
        let call = Call { model: CODEX, tokens: [input - cached, output, cached, 0, 0] };
        self.corpus.totals.count(&self.time(), &call);
        let (total, last) = (counters(*totals), counters(last));
        let info = format!(r#"{{"total_token_usage":{total},"last_token_usage":{last}}}"#);
        let count = format!(r#"{{"type":"token_count","info":{info},"rate_limits":null}}"#);
        self.record("event_msg", &count, text);
        while self.random.up_to(10) < 3 {
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

    fn one_in(&mut self, n: u64) -> bool {
        self.up_to(n) == 0
    }

    /// Half are below the median, a few are many times it: log-normal, with the sum of twelve even
    /// numbers for a normal one.
    fn around(&mut self, median: f64, spread: f64, least: f64, most: f64) -> u64 {
        let even = (0..12).map(|_| self.up_to(1_000_000) as f64 / 1e6);
        let normal = even.sum::<f64>() - 6.0;
        (median * (spread * normal).exp()).clamp(least, most) as u64
    }

    fn letters(&mut self, n: usize) -> String {
        let mut text = String::with_capacity(n + 10);
        while text.len() < n {
            let bits = self.next();
            text.extend((0..10).map(|i| char::from(b'a' + (bits >> (6 * i)) as u8 % 26)));
        }
        text.truncate(n);
        text
    }

    fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next() >> 16);
        let (c, d, e) = (a >> 32, (a >> 16) & 0xffff, a & 0xfff);
        format!("{c:08x}-{d:04x}-4{e:03x}-a{e:03x}-{b:012x}")
    }
}
