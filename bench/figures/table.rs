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

struct Row {
    figure: String,
    unit: &'static str,
    wanted: Vec<Wanted>,
    /// In order.
    samples: Vec<f64>,
}

impl Row {
    /// The smallest sample that so many in a hundred are not above.
    fn at(&self, percent: usize) -> f64 {
        let rank = (self.samples.len() * percent).div_ceil(100).max(1);
        self.samples[rank - 1]
    }

    fn wanted(&self) -> String {
        let describe = |wanted: &Wanted| match wanted {
            Wanted::P50(limit) => format!("p50 <= {limit}"),
            Wanted::P99(limit) => format!("p99 <= {limit}"),
            Wanted::Most(limit) => format!("all <= {limit}"),
            Wanted::AtLeast(limit) => format!(">= {limit}"),
        };
        self.wanted.iter().map(describe).collect::<Vec<_>>().join(", ")
    }

    /// `None` where nothing is wanted.
    fn is_met(&self) -> Option<bool> {
        let is_met = |wanted: &Wanted| match *wanted {
            Wanted::P50(limit) => self.at(50) <= limit,
            Wanted::P99(limit) => self.at(99) <= limit,
            Wanted::Most(limit) => self.at(100) <= limit,
            Wanted::AtLeast(limit) => self.at(50) >= limit,
        };
        (!self.wanted.is_empty()).then(|| self.wanted.iter().all(is_met))
    }

    fn cells(&self) -> [String; 9] {
        let at = |percent| short(self.at(percent));
        let verdict = self.is_met().map_or("-", |is_met| if is_met { "ok" } else { "miss" });
        [
            self.figure.clone(),
            self.wanted(),
            at(50),
            at(0),
            at(100),
            // Of a few samples it is the worst one.
            if self.samples.len() < 20 { String::new() } else { at(99) },
            self.samples.len().to_string(),
            self.unit.to_owned(),
            verdict.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.figure,
            "wanted": self.wanted(),
            "unit": self.unit,
            "median": self.at(50),
            "min": self.at(0),
            "max": self.at(100),
            "p99": self.at(99),
            "n": self.samples.len(),
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
    /// What else there is to know.
    pub(crate) notes: Vec<String>,
    /// Totals that were wrong, lines that were lost.
    wrong: Vec<String>,
}

impl Table {
    /// Adds a figure; its median.
    pub(crate) fn add(
        &mut self,
        figure: impl Into<String>,
        unit: &'static str,
        wanted: &[Wanted],
        mut samples: Vec<f64>,
    ) -> f64 {
        if samples.is_empty() {
            samples.push(f64::NAN);
        }
        samples.sort_by(f64::total_cmp);
        let row = Row { figure: figure.into(), unit, wanted: wanted.to_vec(), samples };
        let [figure, _, median, low, high, ..] = row.cells();
        eprintln!("{figure}: {median} {unit} ({low} to {high})");
        let median = row.at(50);
        self.rows.push(row);
        median
    }

    /// Keeps what was found not to be what was written.
    pub(crate) fn check(&mut self, what: &str, checked: Result<(), String>) {
        if let Err(wrong) = checked {
            eprintln!("WRONG: {what}: {wrong}");
            self.wrong.push(format!("{what}: {wrong}"));
        }
    }

    pub(crate) fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }

    pub(crate) fn print(&self) {
        let head = ["figure", "wanted", "median", "min", "max", "p99", "n", "unit", ""];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        for line in &lines {
            let cells = line.iter().enumerate().map(|(column, cell)| {
                let width = lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
                let is_number = (2..=6).contains(&column);
                if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        self.notes.iter().for_each(|note| println!("{note}"));
        self.wrong.iter().for_each(|wrong| println!("WRONG: {wrong}"));
    }

    pub(crate) fn json(&self) -> Value {
        let figures: Vec<Value> = self.rows.iter().map(Row::json).collect();
        json!({ "figures": figures, "notes": self.notes, "wrong": self.wrong })
    }
}
