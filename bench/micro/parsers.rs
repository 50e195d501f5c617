//! How fast lines are parsed, without reading files: one log of each agent, line by line.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod mix;

use std::path::PathBuf;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use providers::{Parsed, nowhere};
use usage::Source;

fn main() {
    divan::main();
}

#[divan::bench]
fn claude_code(bencher: Bencher) {
    let path = "/logs/projects/-home-ada-engine/5e550000-0000-4000-8000-000000000001.jsonl";
    parse(bencher, "claude-code", path, &mix::claude_code());
}

#[divan::bench]
fn codex(bencher: Bencher) {
    let path =
        "/logs/2026/05/rollout-2026-05-02T08-00-00-0197a000-0000-7000-8000-00000000000a.jsonl";
    parse(bencher, "codex", path, &mix::codex());
}

fn parse(bencher: Bencher, provider: &str, path: &str, lines: &[mix::Line]) {
    let provider = *providers::ALL.iter().find(|p| p.id() == provider).unwrap();
    let path = PathBuf::from(path);
    let appended = provider.storage(&path).appended().unwrap();
    let root = path.ancestors().nth(2).unwrap().to_owned();
    let source = Source { id: 1, provider: provider.id(), path, root, mtime_ms: 0 };
    let bytes: usize = lines.iter().map(|(_, line)| line.len() + 1).sum();
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(lines.len())).bench(|| {
        let mut parser = appended.begin(&source, &nowhere(), "");
        let mut out = Parsed::default();
        for (_, line) in lines {
            parser.parse_line(black_box(line.as_bytes()), &mut out);
        }
        out
    });
}
