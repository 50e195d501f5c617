//! What `/metrics` says, read strictly.

use std::collections::{BTreeMap, BTreeSet};

/// Name and labels.
pub(crate) type Series = (String, BTreeMap<String, String>);

#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<(Series, f64)>,
}

/// Figures by name.
#[derive(Debug)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, Family>);

impl Scrape {
    /// Fails on whatever a strict reader would refuse.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut families = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(help) = lines.next() {
            let (name, help) = help.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
            let (typed, kind) =
                lines.next().unwrap().strip_prefix("# TYPE ").unwrap().split_once(' ').unwrap();
            assert_eq!(name, typed);
            assert!(help.ends_with('.') && !help.contains('\\'), "{help}");
            check_name(name, kind);
            let mut family = Family { kind: kind.to_owned(), samples: Vec::new() };
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                family.samples.push(sample(line));
            }
            let distinct: BTreeSet<_> = family.samples.iter().map(|(series, _)| series).collect();
            assert_eq!(distinct.len(), family.samples.len(), "{name} has a sample twice");
            check_samples(name, &family);
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} is there twice");
        }
        Self(families)
    }

    /// The sum of all samples that have these labels.
    #[track_caller]
    pub(crate) fn sum(&self, sample: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &Series| {
            series.0 == sample
                && labels.iter().all(|(name, text)| series.1.get(*name).is_some_and(|t| t == text))
        };
        let all = self.0.values().flat_map(|family| &family.samples);
        let found: Vec<f64> = all.filter(|(series, _)| has(series)).map(|(_, n)| *n).collect();
        assert!(!found.is_empty(), "there is no {sample} of {labels:?}");
        found.iter().sum()
    }

    /// Everything that must never fall.
    fn counted(&self) -> impl Iterator<Item = (&Series, f64)> {
        let counters = self.0.values().filter(|family| family.kind != "gauge");
        counters.flat_map(|family| family.samples.iter().map(|(series, n)| (series, *n)))
    }

    /// Fails if a counter was there and is gone, or has fallen.
    #[track_caller]
    pub(crate) fn assert_after(&self, before: &Self) {
        let now: BTreeMap<_, _> = self.counted().collect();
        for (series, before) in before.counted() {
            let n = now.get(series).unwrap_or_else(|| panic!("{series:?} has gone"));
            assert!(*n >= before, "{series:?} fell from {before} to {n}");
        }
    }
}

fn check_name(name: &str, kind: &str) {
    let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    assert!(name.starts_with("tallyd_") && is_plain, "{name}");
    assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
    for reserved in ["_bucket", "_sum", "_count"] {
        assert!(!name.ends_with(reserved), "{name}");
    }
    for unit in ["ms", "us", "millis", "kb", "mb", "minutes", "percent"] {
        assert!(!name.split('_').any(|word| word == unit), "{name} is not in base units");
    }
    assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{name} is a {kind}");
}

fn check_samples(name: &str, family: &Family) {
    for ((sample, labels), value) in &family.samples {
        let suffix = sample.strip_prefix(name).unwrap_or_else(|| panic!("{sample} in {name}"));
        let suffixes: &[&str] = match &*family.kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{sample} in {name}");
        assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{sample}");
        assert!(value.is_finite() && *value >= 0.0, "{sample} is {value}");
    }
    if family.kind == "histogram" {
        check_histogram(name, family);
    }
}

/// Of a histogram without labels of its own.
fn check_histogram(name: &str, family: &Family) {
    let is = |suffix: &'static str| {
        let sample = format!("{name}{suffix}");
        family.samples.iter().filter(move |((found, _), _)| *found == sample)
    };
    let bounds: Vec<f64> =
        is("_bucket").map(|((_, labels), _)| labels["le"].parse().unwrap()).collect();
    assert!(bounds.is_sorted_by(|one, next| one < next), "{name}: {bounds:?}");
    assert_eq!(bounds.last(), Some(&f64::INFINITY), "{name}");
    let counts: Vec<f64> = is("_bucket").map(|(_, n)| *n).collect();
    assert!(counts.is_sorted(), "{name}: {counts:?}");
    let count: Vec<f64> = is("_count").map(|(_, n)| *n).collect();
    assert_eq!(count, [*counts.last().unwrap()], "{name}");
    let sum: Vec<f64> = is("_sum").map(|(_, n)| *n).collect();
    assert!(sum.len() == 1 && (sum[0] > 0.0) == (count[0] > 0.0), "{name}: {sum:?}");
}

/// `name{label="text",...} value`, and nothing else on the line.
fn sample(line: &str) -> (Series, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(within) = rest.strip_prefix('{') {
        rest = within;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            let (text, after) = unquote(after);
            assert!(labels.insert(label.to_owned(), text).is_none(), "{label} twice in {line}");
            rest = match after.strip_prefix(',') {
                Some(next) => next,
                None => break rest = after.strip_prefix('}').unwrap(),
            };
        }
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap_or_else(|e| panic!("{line}: {e}"));
    ((name.to_owned(), labels), value)
}

/// A label's text up to its quote, and what follows.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("{other:?} after a backslash in {quoted}"),
            }),
            c => text.push(c),
        }
    }
    panic!("no end of {quoted}");
}
