//! Writes figures as the text that Prometheus reads, format 0.0.4.
//!
//! An own writer, as it is shorter than telling a metrics library of figures that others keep: ours are
//! snapshots, labels and all, and none is counted here.

use std::fmt::{Display, Write as _};

use store::Histogram;

/// What a figure does as time goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a figure. All its samples follow, by themselves.
    pub(super) fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()));
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.push(format_args!("{name}"));
        for (n, (label, text)) in labels.iter().enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            self.push(format_args!("{before}{label}=\"{}\"", escape(text)));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{after} {value}\n"));
    }

    /// A figure that is one number.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, times: &Histogram) {
        self.begin(name, Kind::Histogram, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in Histogram::BOUNDS_US.iter().zip(times.cumulative()) {
            self.sample(&bucket, &[("le", &(*bound as f64 / 1e6).to_string())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], times.count());
        self.sample(&format!("{name}_sum"), &[], times.sum().as_secs_f64());
        self.sample(&format!("{name}_count"), &[], times.count());
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        _ = self.0.write_fmt(text);
    }
}

/// A label's text may hold anything: models are named by whoever wrote the log.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_label_may_hold_cannot_end_it() {
        let mut out = Exposition::default();
        out.begin("tallyd_x", Kind::Gauge, "Odd names.");
        out.sample("tallyd_x", &[("a", "\"} 1\n\\"), ("b", "é")], 2);
        let expect = "# HELP tallyd_x Odd names.\n# TYPE tallyd_x gauge\n\
                      tallyd_x{a=\"\\\"} 1\\n\\\\\",b=\"é\"} 2\n";
        assert_eq!(out.into_text(), expect);
    }

    #[test]
    fn a_histogram_ends_with_all_that_was_observed() {
        let mut times = Histogram::default();
        times.observe(Duration::from_micros(1_500));
        times.observe(Duration::from_secs(3_600));
        let mut out = Exposition::default();
        out.histogram("tallyd_x_seconds", "Times.", &times);
        let text = out.into_text();
        for line in [
            "tallyd_x_seconds_bucket{le=\"0.0005\"} 0",
            "tallyd_x_seconds_bucket{le=\"0.002\"} 1",
            "tallyd_x_seconds_bucket{le=\"60\"} 1",
            "tallyd_x_seconds_bucket{le=\"+Inf\"} 2",
            "tallyd_x_seconds_sum 3600.0015",
            "tallyd_x_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
