//! The forms in which clients and clouds write a model's name.

use std::iter;

/// A form of a model's name under which it may be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spelling<'a> {
    pub(super) name: &'a str,
    /// The name says that another company served the model.
    pub(super) is_rerouted: bool,
}

/// A name, then what is left of it as each thing that is put around names is taken off.
///
/// Only these exact forms: a name that merely resembles another belongs to another model.
pub(super) fn spellings(model: &str) -> impl Iterator<Item = Spelling<'_>> {
    const FORMS: [fn(&str) -> Option<Spelling<'_>>; 4] =
        [without_marker, without_route, without_version, without_date];
    let mut last = Spelling { name: model, is_rerouted: false };
    let stripped = FORMS.into_iter().filter_map(move |without| {
        let Spelling { name, is_rerouted } = without(last.name)?;
        last = Spelling { name, is_rerouted: is_rerouted || last.is_rerouted };
        Some(last)
    });
    iter::once(Spelling { name: model, is_rerouted: false }).chain(stripped)
}

/// The name as Claude's maker writes it: GitHub and the gateways put a dot into its version.
pub(super) fn dashed(model: &str) -> Option<String> {
    let (route, name) = model.split_at(model.find("claude-")?);
    if !route.is_empty() && !route.ends_with('/') {
        return None;
    }
    let digit = |at: usize| name.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let is_dot = |at: usize| name[at..].starts_with('.') && digit(at - 1) && digit(at + 1);
    let letter = |(at, c): (usize, char)| if is_dot(at) { '-' } else { c };
    let dashed = name.char_indices().map(letter).collect::<String>();
    (dashed != name).then(|| format!("{route}{dashed}"))
}

/// Claude Code marks a model that was set to a long context.
fn without_marker(name: &str) -> Option<Spelling<'_>> {
    Some(Spelling { name: name.strip_suffix("[1m]")?, is_rerouted: false })
}

fn without_route(name: &str) -> Option<Spelling<'_>> {
    const REGIONS: [&str; 4] = ["us.", "eu.", "apac.", "global."];
    // The last one is the route of a maker's own service.
    const MAKERS: [&str; 5] = ["anthropic/", "openai/", "google/", "x-ai/", "kimi-code/"];
    // Others host what these make: a gateway may have sent the call to any of them.
    const HOSTED_ELSEWHERE: [&str; 7] =
        ["deepseek/", "minimax/", "mistralai/", "moonshotai/", "qwen/", "xiaomi/", "z-ai/"];
    for (makers, is_rerouted) in [(&MAKERS[..], false), (&HOSTED_ELSEWHERE[..], true)] {
        if let Some(name) = makers.iter().find_map(|maker| name.strip_prefix(maker)) {
            return Some(Spelling { name, is_rerouted });
        }
    }
    let gateway = || Some(name.strip_prefix("openrouter/")?.split_once('/')?.1);
    let vertex = || name.strip_prefix("vertex_ai/");
    let bedrock = || {
        let region = REGIONS.into_iter().find(|region| name.starts_with(region)).unwrap_or("");
        name[region.len()..].strip_prefix("anthropic.")
    };
    let name = bedrock().or_else(vertex).or_else(gateway)?;
    Some(Spelling { name, is_rerouted: true })
}

/// Bedrock numbers the editions of a model: `-v1:0`.
fn without_version(name: &str) -> Option<Spelling<'_>> {
    let name = without_number(without_number(name)?.strip_suffix(':')?)?.strip_suffix("-v")?;
    Some(Spelling { name, is_rerouted: true })
}

fn without_number(name: &str) -> Option<&str> {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (rest.len() < name.len()).then_some(rest)
}

/// Vertex alone writes the date after an `@`.
fn without_date(name: &str) -> Option<Spelling<'_>> {
    let without = |shape: &str| {
        let (name, tail) = name.split_at_checked(name.len().checked_sub(shape.len())?)?;
        let fits = |(byte, shape): (u8, u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        };
        tail.bytes().zip(shape.bytes()).all(fits).then_some(name)
    };
    if let Some(name) = without("-00000000").or_else(|| without("-0000-00-00")) {
        return Some(Spelling { name, is_rerouted: false });
    }
    Some(Spelling { name: without("@00000000")?, is_rerouted: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms after the name itself; `~` marks those that name another company.
    #[track_caller]
    fn check(model: &str, expect: &[&str]) {
        let forms: Vec<String> = spellings(model)
            .map(|form| format!("{}{}", if form.is_rerouted { "~" } else { "" }, form.name))
            .collect();
        assert_eq!(forms[0], model);
        assert_eq!(forms[1..], *expect);
    }

    #[test]
    fn markers_and_dates() {
        check("claude-opus-5", &[]);
        check("claude-opus-5[1m]", &["claude-opus-5"]);
        check("claude-opus-4-1-20250805", &["claude-opus-4-1"]);
        check("claude-opus-4-1-20250805[1m]", &["claude-opus-4-1-20250805", "claude-opus-4-1"]);
        check("gpt-5.5-2026-04-23", &["gpt-5.5"]);
        check("claude-opus-4-1@20250805", &["~claude-opus-4-1"]);
    }

    #[test]
    fn routes() {
        check("anthropic/claude-opus-5", &["claude-opus-5"]);
        check("openai/gpt-5.5-2026-04-23", &["gpt-5.5-2026-04-23", "gpt-5.5"]);
        check("openrouter/openai/gpt-5.5", &["~gpt-5.5"]);
        check("google/gemini-3.1-pro-preview", &["gemini-3.1-pro-preview"]);
        check("x-ai/grok-4.5", &["grok-4.5"]);
        check("z-ai/glm-4.6", &["~glm-4.6"]);
        check("qwen/qwen3-max", &["~qwen3-max"]);
        check("minimax/minimax-m3", &["~minimax-m3"]);
        check("kimi-code/kimi-for-coding", &["kimi-for-coding"]);
        check("anthropic.claude-opus-5", &["~claude-opus-5"]);
        check("vertex_ai/claude-opus-5@20260101", &["~claude-opus-5@20260101", "~claude-opus-5"]);
        check(
            "apac.anthropic.claude-sonnet-4-5-20250929-v1:0",
            &[
                "~claude-sonnet-4-5-20250929-v1:0",
                "~claude-sonnet-4-5-20250929",
                "~claude-sonnet-4-5",
            ],
        );
    }

    #[test]
    fn a_dot_in_the_version_of_claude_is_a_dash() {
        for (model, expect) in [
            ("claude-sonnet-4.6", Some("claude-sonnet-4-6")),
            ("claude-3.5-sonnet", Some("claude-3-5-sonnet")),
            ("anthropic/claude-opus-4.8-fast", Some("anthropic/claude-opus-4-8-fast")),
            (
                "openrouter/anthropic/claude-3.7-sonnet",
                Some("openrouter/anthropic/claude-3-7-sonnet"),
            ),
            ("claude-sonnet-4-6", None),
            ("claude-", None),
            ("claude-.5", None),
            ("claude-5.", None),
            ("claude-v.2", None),
            ("claude-ü.2", None),
            ("not-claude-4.6", None),
            ("gpt-5.5", None),
            ("gemini-3.1-pro-preview", None),
        ] {
            assert_eq!(dashed(model).as_deref(), expect, "{model}");
        }
    }

    #[test]
    fn what_only_looks_like_a_form_stays() {
        for model in [
            "us.claude-opus-5",
            "us.eu.anthropic.claude-opus-5",
            "xopenai/gpt-5.5",
            "openrouter/gpt-5.5",
            "claude-opus-5-v1",
            "claude-opus-5-v1:",
            "claude-opus-5-v:0",
            "claude-opus-5-2025080",
            "claude-opus-5-2025-8-05",
            "claude-opus-5[2m]",
            "[1m]claude-opus-5",
            "xü88888888",
            "20250805",
            "",
        ] {
            check(model, &[]);
        }
    }
}
