//! The figures as one table and as JSON.

use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    P50(f64),
    P99(f64),
    /// No single one may be more.
    Most(f64),
    /// The median, where more is better.
    AtLeast(f64),
}

impl Wanted {
    fn is_met(self, samples: &Samples) -> bool {
        match self {
            Self::P50(limit) => samples.at(50) <= limit,
            Self::P99(limit) => samples.at(99) <= limit,
            Self::Most(limit) => samples.at(100) <= limit,
            Self::AtLeast(limit) => samples.at(50) >= limit,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::P50(limit) => format!("p50 <= {limit}"),
            Self::P99(limit) => format!("p99 <= {limit}"),
            Self::Most(limit) => format!("all <= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
        }
    }
}

/// In order.
struct Samples(Vec<f64>);

impl Samples {
    fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The smallest sample that so many in a hundred are not above.
    fn at(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }
}

struct Row {
    figure: String,
    unit: &'static str,
    wanted: Vec<Wanted>,
    samples: Samples,
}

impl Row {
    fn wanted(&self) -> String {
        let all: Vec<String> = self.wanted.iter().map(|wanted| wanted.describe()).collect();
        all.join(", ")
    }

    /// `None` where nothing is wanted.
    fn is_met(&self) -> Option<bool> {
        let asked = !self.wanted.is_empty();
        asked.then(|| self.wanted.iter().all(|wanted| wanted.is_met(&self.samples)))
    }

    fn cells(&self) -> [String; 9] {
        let at = |percent| short(self.samples.at(percent));
        let p99 = if self.samples.0.len() < 20 { String::new() } else { at(99) };
        [
            self.figure.clone(),
            self.wanted(),
            at(50),
            short(self.samples.0[0]),
            at(100),
            p99,
            self.samples.0.len().to_string(),
            self.unit.to_owned(),
            match self.is_met() {
                None => "-",
                Some(true) => "ok",
                Some(false) => "miss",
            }
            .to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.figure,
            "wanted": self.wanted(),
            "unit": self.unit,
            "median": self.samples.at(50),
            "min": self.samples.0[0],
            "max": self.samples.at(100),
            "p99": self.samples.at(99),
            "n": self.samples.0.len(),
            "ok": self.is_met(),
        })
    }
}

/// Three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(crate) notes: Vec<String>,
    /// Totals that were wrong, lines that were lost.
    wrong: Vec<String>,
}

impl Table {
    pub(crate) fn add(
        &mut self,
        figure: impl Into<String>,
        unit: &'static str,
        wanted: &[Wanted],
        samples: Vec<f64>,
    ) {
        let figure = figure.into();
        if samples.is_empty() {
            return self.notes.push(format!("{figure}: nothing was measured"));
        }
        let samples = Samples::new(samples);
        let row = Row { figure, unit, wanted: wanted.to_vec(), samples };
        let [figure, _, median, low, high, ..] = row.cells();
        eprintln!("{figure}: {median} {unit} ({low} to {high})");
        self.rows.push(row);
    }

    /// What was found is not what was written.
    pub(crate) fn wrong(&mut self, what: String) {
        eprintln!("WRONG: {what}");
        self.wrong.push(what);
    }

    pub(crate) fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }

    pub(crate) fn print(&self) {
        let head = ["figure", "wanted", "median", "min", "max", "p99", "n", "unit", ""];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
        };
        let widths: [usize; 9] = std::array::from_fn(width);
        for line in &lines {
            let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                let is_number = (2..=6).contains(&column);
                if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        self.notes.iter().for_each(|note| println!("{note}"));
        self.wrong.iter().for_each(|wrong| println!("WRONG: {wrong}"));
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "figures": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "notes": self.notes,
            "wrong": self.wrong,
        })
    }
}
