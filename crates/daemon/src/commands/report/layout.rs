//! A report as a table that fits the terminal.

use std::io::IsTerminal as _;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};
use store::{Dimension, Figures, Filter, Report, ReportQuery, ReportRow, SessionFacts};

use super::{Told, name_of, plural};
use crate::budgets::Standing;
use crate::config::Config;
use crate::table::{self, Align, squeeze, width_of};
use crate::text;

/// Where a table is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// `None` where lines may be of any length.
    width: Option<usize>,
    is_coloured: bool,
}

impl Screen {
    /// Standard output.
    pub(crate) fn of(config: &Config) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let columns = config.env.var("COLUMNS").and_then(|columns| columns.parse().ok());
        let size = || terminal_size::terminal_size_of(std::io::stdout());
        let of_terminal = || size().filter(|_| is_terminal).map(|(width, _)| usize::from(width.0));
        let wants_none = config.env.var("NO_COLOR").is_some_and(|text| !text.is_empty());
        let is_dumb = config.env.var("TERM") == Some("dumb");
        Self {
            width: columns.or_else(of_terminal),
            is_coloured: is_terminal && !wants_none && !is_dumb,
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        if self.is_coloured { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn faint(self, text: &str) -> String {
        if self.is_coloured { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// How much of the figures there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Full,
    /// `12.3M`.
    Short,
    /// Calls, tokens and cost.
    Sums,
}

pub(super) const DETAILS: [Detail; 3] = [Detail::Full, Detail::Short, Detail::Sums];

impl Detail {
    pub(super) fn columns(self) -> Vec<(&'static str, Align)> {
        let all = match self {
            Self::Full | Self::Short => {
                &["calls", "input", "output", "cache write", "cache read", "tokens", "cost"][..]
            }
            Self::Sums => &["calls", "tokens", "cost"],
        };
        let mut columns: Vec<_> = all.iter().map(|name| (*name, Align::Right)).collect();
        // What a cost lacks.
        columns.push(("", Align::Whole));
        columns
    }

    pub(super) fn cells(self, figures: &Figures) -> Vec<String> {
        let count = |n: i64| if self == Self::Full { text::count(n) } else { text::short_count(n) };
        let Figures { cost_nanousd, message_count, unpriced_count, .. } = *figures;
        let [cost, lack] = if self == Self::Full {
            text::cost_cells(cost_nanousd, message_count, unpriced_count)
        } else {
            [text::short_cost(cost_nanousd, message_count, unpriced_count), String::new()]
        };
        let calls = text::count(figures.message_count);
        if self == Self::Sums {
            return vec![calls, count(figures.tokens()), cost, lack];
        }
        vec![
            calls,
            count(figures.input_tokens),
            count(figures.output_tokens),
            count(figures.cache_create_tokens),
            count(figures.cache_read_tokens),
            count(figures.tokens()),
            cost,
            lack,
        ]
    }
}

pub(super) fn as_text(
    told: &Told<'_>,
    query: &ReportQuery,
    report: &Report,
    screen: &Screen,
) -> String {
    if report.groups == 0 {
        return nothing(told) + &notes(told, screen);
    }
    let names = KeyColumns::of(&query.by, told);
    let build = |detail: Detail| {
        let mut columns = names.headings(detail);
        columns.extend(detail.columns());
        let row = |row: &ReportRow| {
            let mut cells = names.cells(row, detail);
            cells.extend(detail.cells(&row.figures));
            cells
        };
        let mut rows: Vec<_> = report.rows.iter().map(row).collect();
        let more = report.groups - report.rows.len() as u64;
        let mut total = vec![total_name(&query.by, report.groups, more)];
        total.resize(names.headings(detail).len(), String::new());
        total.extend(detail.cells(&report.total));
        rows.push(total);
        (columns, rows)
    };
    fitted(build, screen) + &notes(told, screen)
}

/// `total`, of how many if not all are shown.
fn total_name(by: &[Dimension], groups: u64, more: u64) -> String {
    match (more, by) {
        (0, _) => "total".to_owned(),
        (_, [of]) => format!("total of {} {}", text::count(groups), plural(*of)),
        _ => format!("total of {} rows", text::count(groups)),
    }
}

/// The most detailed table that there is room for; headings and the last row stand out.
pub(super) fn fitted(
    build: impl Fn(Detail) -> (Vec<(&'static str, Align)>, Vec<Vec<String>>),
    screen: &Screen,
) -> String {
    let limit = screen.width.unwrap_or(usize::MAX);
    let fits = |detail: &&Detail| {
        let (columns, mut rows) = build(**detail);
        squeeze(&columns, &mut rows, limit);
        width_of(&columns, &rows) <= limit
    };
    let detail = DETAILS.iter().find(fits).copied().unwrap_or(Detail::Sums);
    let (columns, mut rows) = build(detail);
    squeeze(&columns, &mut rows, limit);
    let text = table::table(&columns, &rows);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len() - 1;
    let style = |(at, line): (usize, &&str)| match at {
        0 => screen.faint(line) + "\n",
        _ if at == last => screen.bold(line) + "\n",
        _ => format!("{line}\n"),
    };
    lines.iter().enumerate().map(style).collect()
}

/// That there is nothing is an answer, too.
pub(super) fn nothing(told: &Told<'_>) -> String {
    let Filter { since, until, .. } = told.filter;
    let days = match (since, until) {
        (None, None) => String::new(),
        (Some(since), None) => format!(" since {since}"),
        (None, Some(until)) => format!(" up to {until}"),
        (Some(since), Some(until)) if since == until => format!(" on {since}"),
        (Some(since), Some(until)) => format!(" from {since} to {until}"),
    };
    format!("nothing was used{days}\n")
}

/// Budgets, and how old the figures are.
pub(super) fn notes(told: &Told<'_>, screen: &Screen) -> String {
    let mut notes: Vec<String> = told.budgets.iter().map(Standing::describe).collect();
    if let Some(next) = told.next_time_zone.filter(|next| *next != told.time_zone) {
        let days = format!("days are those of {}; from the next start, of {next}", told.time_zone);
        notes.push(screen.faint(&days));
    }
    if let Some(age) = told.freshness.as_text(told.now_ms) {
        notes.push(screen.faint(&age));
    }
    notes.iter().map(|note| format!("\n{note}")).collect::<String>()
        + if notes.is_empty() { "" } else { "\n" }
}

/// What a session is known by beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Last,
    Agent,
    Project,
    Model,
}

/// The columns that name a row.
struct KeyColumns<'a> {
    by: &'a [Dimension],
    zone: TimeZone,
    today: Option<Date>,
}

impl<'a> KeyColumns<'a> {
    fn of(by: &'a [Dimension], told: &Told<'_>) -> Self {
        let zone = TimeZone::get(&told.time_zone).unwrap_or(TimeZone::UTC);
        let today = local(told.now_ms, &zone).map(|now| now.date());
        Self { by, zone, today }
    }

    fn headings(&self, detail: Detail) -> Vec<(&'static str, Align)> {
        let mut headings = Vec::new();
        for by in self.by {
            match by {
                Dimension::Session => {
                    headings.push("session");
                    headings.extend(self.facts(detail).into_iter().map(|(name, _)| name));
                }
                Dimension::Provider => headings.push("agent"),
                Dimension::Week => headings.push("week from"),
                _ => headings.push(name_of(*by)),
            }
        }
        let align = |name| match name {
            "session" | "project" | "model" => Align::Left,
            _ => Align::Whole,
        };
        headings.into_iter().map(|name| (name, align(name))).collect()
    }

    /// What else there is room for where sessions are told apart, unless it is told apart itself.
    fn facts(&self, detail: Detail) -> Vec<(&'static str, Fact)> {
        const ALL: [(&str, Fact, Option<Dimension>); 4] = [
            ("last", Fact::Last, None),
            ("agent", Fact::Agent, Some(Dimension::Provider)),
            ("project", Fact::Project, Some(Dimension::Project)),
            ("model", Fact::Model, Some(Dimension::Model)),
        ];
        let has_room = |fact| detail != Detail::Sums || matches!(fact, Fact::Last | Fact::Project);
        let is_new = |of: Option<Dimension>| of.is_none_or(|of| !self.by.contains(&of));
        let wanted = ALL.into_iter().filter(|(_, fact, of)| has_room(*fact) && is_new(*of));
        wanted.map(|(name, fact, _)| (name, fact)).collect()
    }

    fn cells(&self, row: &ReportRow, detail: Detail) -> Vec<String> {
        let mut cells = Vec::new();
        for (by, part) in self.by.iter().zip(&row.key) {
            cells.push(if part.is_empty() { "-".to_owned() } else { text::plain(part) });
            if let (Dimension::Session, Some(session)) = (by, &row.session) {
                let facts = self.facts(detail).into_iter();
                cells.extend(facts.map(|(_, fact)| self.fact(session, fact)));
            }
        }
        cells
    }

    fn fact(&self, session: &SessionFacts, fact: Fact) -> String {
        let or_none = |text: &Option<String>| {
            text.as_deref()
                .filter(|text| !text.is_empty())
                .map_or_else(|| "-".to_owned(), text::plain)
        };
        match fact {
            Fact::Last => self.time(session.last_ts_ms),
            Fact::Agent => session.provider.clone(),
            Fact::Project => or_none(&session.project),
            Fact::Model => or_none(&session.primary_model),
        }
    }

    /// The time of day for today, the day otherwise.
    fn time(&self, ts_ms: i64) -> String {
        let Some(time) = local(ts_ms, &self.zone) else { return "-".to_owned() };
        if Some(time.date()) == self.today {
            time.strftime("%H:%M").to_string()
        } else {
            time.strftime("%Y-%m-%d").to_string()
        }
    }
}

pub(super) fn local(ts_ms: i64, zone: &TimeZone) -> Option<jiff::Zoned> {
    Some(Timestamp::from_millisecond(ts_ms).ok()?.to_zoned(zone.clone()))
}

/// A time as the database writes it: `2026-05-05T04:36:00.123Z`.
pub(crate) fn utc(ts_ms: i64) -> String {
    let time = Timestamp::from_millisecond(ts_ms).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
