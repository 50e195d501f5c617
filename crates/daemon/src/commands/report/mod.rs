//! `tallyd report`: what was used, by day, week, month, session, project, agent or model.

pub(crate) mod blocks;
pub(crate) mod columns;
mod freshness;
mod layout;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use store::{Dimension, Filter, Reader, Report, ReportQuery, ReportRow, SortBy};

pub(crate) use self::columns::{figure_columns, object};
pub(super) use self::freshness::Freshness;
pub(crate) use self::layout::utc;

use self::columns::{By, Sort, name_of, row_columns};
use crate::budgets::{self, Standing};
use crate::clock::now_ms;
use crate::config::Config;
use crate::output::{self, WrongUsage};
use crate::range::{Day, Last, Range};

/// What a report tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Daily,
    /// From Monday to Sunday
    Weekly,
    Monthly,
    Session,
    Project,
    Provider,
    Model,
    /// The five-hour windows that subscriptions are limited by; the last three days' if none are named
    Blocks,
}

/// Which usage.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Which {
    /// First day: 2026-05-31, today or yesterday
    #[arg(long, value_name = "DAY", value_parser = Day::parse)]
    pub(crate) since: Option<Day>,
    /// Last day, included
    #[arg(long, value_name = "DAY", value_parser = Day::parse)]
    pub(crate) until: Option<Day>,
    /// The last days, weeks or months, today included: 7d, 4w, 3m
    #[arg(long, value_name = "TIME", value_parser = Last::parse, conflicts_with_all = ["since", "until"])]
    pub(crate) last: Option<Last>,
    #[command(flatten)]
    pub(crate) of: Of,
}

/// Whose usage.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Of {
    /// Only this agent's: claude-code, codex and so on, as `tallyd providers` names them. May be given
    /// several times, like --project and --model
    #[arg(long, value_name = "AGENT")]
    pub(crate) provider: Vec<String>,
    /// Only of this project: its folder, its name, or `.` for this folder
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Vec<String>,
    /// Only of this model
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Vec<String>,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print CSV, one line for each row, without the total
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Which report
    #[arg(value_enum, default_value_t = Kind::Daily)]
    kind: Kind,
    #[command(flatten)]
    which: Which,
    /// A row for each of these, too; may be given several times
    #[arg(long, value_enum)]
    by: Vec<By>,
    /// Sort rows by this: figures from large to small, days and names upwards
    #[arg(long, value_enum)]
    sort: Option<Sort>,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// Show so many rows: of days and sessions the newest. The total is of all [default: all; 50 in a
    /// table of sessions]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    format: Format,
}

/// Sessions that a table shows if nothing is said.
const SESSIONS: u32 = 50;

pub(super) fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(&config.data_dir)?;
    let now_ms = now_ms();
    let filter = arguments.which.filter(reader.day(now_ms)?)?;
    let told = Told {
        kind: arguments.kind,
        filter: &filter,
        freshness: Freshness::of(config, &reader)?,
        budgets: budgets::standings(&config.budgets, &reader, now_ms)?,
        now_ms,
        time_zone: reader.time_zone()?,
        next_time_zone: config.time_zone.as_deref(),
    };
    if arguments.kind == Kind::Blocks {
        blocks::run(config, &reader, arguments, &told)?;
        return Ok(ExitCode::SUCCESS);
    }
    let query = arguments.query(&filter)?;
    let mut report = reader.report(&query)?;
    // Of what goes by time the newest are kept, and shown from old to new as ever.
    if arguments.keeps_newest() {
        report.rows.reverse();
    }
    if arguments.format.json {
        output::print_json(&told.as_json(&query.by, &report))?;
    } else if arguments.format.csv {
        output::print_csv(&as_csv(&query.by, &report)?)?;
    } else {
        output::print(&layout::as_text(&told, &query, &report, &layout::Screen::of(config)))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Which {
    /// The filter that is meant, with days of the zone that days are counted in.
    pub(crate) fn filter(&self, today: Date) -> anyhow::Result<Filter> {
        let range = Range { since: self.since, until: self.until, last: self.last };
        let (since, until) = range.days(today).map_err(WrongUsage)?;
        Ok(Filter { since, until, ..self.of.filter()? })
    }
}

impl Of {
    pub(crate) fn filter(&self) -> anyhow::Result<Filter> {
        let here = |name: &String| match name.as_str() {
            "." => std::env::current_dir()
                .map(|folder| folder.to_string_lossy().into_owned())
                .context("cannot tell the current folder"),
            _ => Ok(name.clone()),
        };
        let projects: Vec<String> = self.project.iter().map(here).collect::<anyhow::Result<_>>()?;
        // A status line is to work before the first call of an agent, or in a folder, too.
        let agents = providers::ALL.iter().map(|provider| provider.id().to_owned());
        let is_folder = |path: &&String| Path::new(path).is_absolute() && Path::new(path).is_dir();
        let known = agents.chain(projects.iter().filter(is_folder).cloned()).collect();
        Ok(Filter {
            providers: self.provider.clone(),
            projects,
            models: self.model.clone(),
            known,
            ..Filter::default()
        })
    }
}

impl Arguments {
    fn query(&self, filter: &Filter) -> Result<ReportQuery, WrongUsage> {
        let first = self.kind.dimension();
        let mut by = vec![first];
        for more in self.by.iter().map(|by| by.dimension()) {
            if by.contains(&more) {
                return Err(WrongUsage(format!("the report tells {} apart already", plural(more))));
            }
            by.push(more);
        }
        let is_by_time = matches!(first, Dimension::Day | Dimension::Week | Dimension::Month);
        let sort = match (self.sort, first) {
            (Some(Sort::Last), first) if first != Dimension::Session => {
                return Err(WrongUsage("only the session report is sorted by `last`".to_owned()));
            }
            (Some(sort), _) => sort.sort_by(),
            (None, Dimension::Session) => SortBy::Last,
            (None, _) if is_by_time => SortBy::Key,
            (None, _) => SortBy::Cost,
        };
        let goes_up = matches!(sort, SortBy::Key | SortBy::Last);
        let descending = goes_up == self.reverse;
        Ok(ReportQuery {
            by,
            filter: filter.clone(),
            sort,
            descending: descending != self.keeps_newest(),
            limit: self.limit().map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)),
        })
    }

    /// Whether the rows that are kept are the last ones.
    fn keeps_newest(&self) -> bool {
        let goes_by_time = match self.sort {
            None => !matches!(self.kind, Kind::Project | Kind::Provider | Kind::Model),
            Some(sort) => sort == Sort::Last || (sort == Sort::Name && self.kind.is_by_time()),
        };
        self.limit().is_some() && goes_by_time && !self.reverse
    }

    /// There are too many sessions to look at them all.
    fn limit(&self) -> Option<u32> {
        let is_for_people = !self.format.json && !self.format.csv;
        let is_long = self.kind == Kind::Session && is_for_people;
        self.limit.or(is_long.then_some(SESSIONS))
    }
}

impl Kind {
    fn dimension(self) -> Dimension {
        match self {
            Self::Daily | Self::Blocks => Dimension::Day,
            Self::Weekly => Dimension::Week,
            Self::Monthly => Dimension::Month,
            Self::Session => Dimension::Session,
            Self::Project => Dimension::Project,
            Self::Provider => Dimension::Provider,
            Self::Model => Dimension::Model,
        }
    }

    fn is_by_time(self) -> bool {
        matches!(self, Self::Daily | Self::Weekly | Self::Monthly | Self::Blocks)
    }

    fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }
}

fn plural(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Day => "days",
        Dimension::Week => "weeks",
        Dimension::Month => "months",
        Dimension::Provider => "agents",
        Dimension::Project => "projects",
        Dimension::Model => "models",
        Dimension::Speed => "speeds",
        Dimension::Session => "sessions",
    }
}

/// What every report says beside its rows.
struct Told<'a> {
    kind: Kind,
    filter: &'a Filter,
    freshness: Freshness,
    budgets: Vec<Standing>,
    now_ms: i64,
    time_zone: String,
    /// What the configuration asks for; it is taken up at the next start.
    next_time_zone: Option<&'a str>,
}

impl Told<'_> {
    fn as_json(&self, by: &[Dimension], report: &Report) -> Value {
        let row = |row: &ReportRow| Value::from(object(row_columns(by, row)));
        let rows: Vec<Value> = report.rows.iter().map(row).collect();
        let mut document = self.header();
        document.insert("rows".into(), rows.into());
        document.insert("groups".into(), report.groups.into());
        document.insert("total".into(), object(figure_columns(&report.total)).into());
        document.insert("watermark".into(), report.watermark.into());
        document.into()
    }

    fn header(&self) -> Map<String, Value> {
        let day = |day: Option<Date>| day.map(|day| day.to_string());
        let header = [
            ("report", self.kind.name().into()),
            ("since", day(self.filter.since).into()),
            ("until", day(self.filter.until).into()),
            ("time_zone", self.time_zone.as_str().into()),
            ("budgets", json!(self.budgets)),
        ];
        object(header.into_iter().chain(self.freshness.columns()))
    }
}

fn as_csv(by: &[Dimension], report: &Report) -> io::Result<String> {
    let values = |row| row_columns(by, row).into_iter().map(|(_, value)| value);
    csv(columns::names(by), report.rows.iter().map(values))
}

/// Rows of values under their names.
fn csv(
    names: impl Iterator<Item = &'static str>,
    rows: impl Iterator<Item = impl Iterator<Item = Value>>,
) -> io::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(names)?;
    for row in rows {
        writer.write_record(row.map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        }))?;
    }
    let text = writer.into_inner().map_err(|e| e.into_error())?;
    String::from_utf8(text).map_err(io::Error::other)
}
