//! The work of parsing a line, counted in allocations: the same on every machine, so that a test can
//! hold it. A line of content that allocates, or a call that allocates twice as much, costs a first
//! reading more than any timing on a shared machine would show.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the measured figures are what bounds are set by")]

#[path = "../../../bench/micro/mix.rs"]
mod mix;

use std::path::PathBuf;

use allocation_counter::measure;
use providers::{Parsed, nowhere};
use usage::Source;

/// Allocations of a hundred lines of one kind are at most the bound beside it.
fn check(provider: &str, path: &str, lines: &[mix::Line], bounds: &[(&str, u64)]) {
    let provider = *providers::ALL.iter().find(|p| p.id() == provider).unwrap();
    let path = PathBuf::from(path);
    let appended = provider.storage(&path).appended().unwrap();
    let root = path.ancestors().nth(2).unwrap().to_owned();
    let source = Source { id: 1, provider: provider.id(), path, root, mtime_ms: 0 };
    let mut parser = appended.begin(&source, &nowhere(), "");
    let mut out = Parsed::default();
    out.events.reserve(16);
    out.retracted.reserve(16);
    let mut counts = bounds.iter().map(|(kind, _)| (*kind, 0, 0)).collect::<Vec<_>>();
    let mut events = 0;
    for (kind, line) in lines {
        let work = measure(|| parser.parse_line(line.as_bytes(), &mut out));
        let (_, n, allocations) = counts.iter_mut().find(|(k, ..)| k == kind).unwrap();
        *n += 1;
        *allocations += work.count_total;
        events += out.events.len();
        out.events.clear();
        out.retracted.clear();
        assert_eq!(out.skips.faults(), 0, "{line}");
    }
    assert!(events > 300, "the lines are those of calls");
    let id = provider.id();
    let mut above = Vec::new();
    for ((kind, n, allocations), (_, bound)) in counts.iter().zip(bounds) {
        let measured: u64 = allocations * 100 / n;
        println!(
            "{id}: a hundred lines of kind {kind:?} allocate {measured} times (bound {bound})"
        );
        if measured > *bound {
            above.push(format!("{kind:?} allocates {measured} times, the bound is {bound}"));
        }
    }
    assert!(
        above.is_empty(),
        "{id}, a hundred lines of kind {}\nIf the work is meant, raise the bounds in {}.",
        above.join("\n"),
        file!()
    );
}

#[test]
fn parsing_lines_of_claude_code_allocates_no_more_than_it_did() {
    let path = "/logs/projects/-home-ada-engine/5e550000-0000-4000-8000-000000000001.jsonl";
    let bounds = [("call", 330), ("prompt", 1_070), ("content", 0), ("other", 0)];
    check("claude-code", path, &mix::claude_code(), &bounds);
}

#[test]
fn parsing_lines_of_codex_allocates_no_more_than_it_did() {
    let path =
        "/logs/2026/05/rollout-2026-05-02T08-00-00-0197a000-0000-7000-8000-00000000000a.jsonl";
    let bounds = [
        ("thread", 550),
        ("turn", 6),
        ("prompt", 1_250),
        ("content", 0),
        ("count", 770),
        ("record", 550),
    ];
    check("codex", path, &mix::codex(), &bounds);
}
